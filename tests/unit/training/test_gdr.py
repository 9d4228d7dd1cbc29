"""Denoisers and their training: shapes, guidance by a null text, latents, ``solfa train gdr`` from data to a query."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from small import Hear, Read, body
from tiny_recipes import torch
from typer.testing import CliRunner

from solfa.apps.cli import app
from solfa.core.errors import InputError, WeightsError
from solfa.core.types import Audio
from solfa.diffusion.denoisers import Generator, MlpDenoiserConfig, UNetConfig
from solfa.diffusion.network import load
from solfa.diffusion.samplers import sample
from solfa.encoders import trained
from solfa.encoders.registry import load_backbone, load_model
from solfa.evaluation.generative import intra_prompt_vendi
from solfa.training import checkpoint
from solfa.training.gdr import DenoiserTrainer, DenoisingLoss, save_denoiser
from solfa.training.recipes import RECIPES, changed

SMALL = {"channels": (8, 16), "factors": (2, 4), "items": (1, 2), "attention": (0, 1), "heads": 2, "head_dim": 4}
UNET = UNetConfig(dim=6, text_dim=5, length=16, time_dim=8, null_tokens=2, **SMALL)
MLP = MlpDenoiserConfig(dim=6, text_dim=5, width=16, layers=2, time_dim=8, null_tokens=2)
TINY = {"gdr": ["model.channels=16,32", "model.head_dim=8", "model.time_dim=32"], "gdr-mlp": ["model.width=64"]}


def batch(num: int = 4, length: int = 20, tokens: int = 7) -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(0)
    frames = torch.randn((num, length, 6), generator=draw)
    lengths = torch.tensor([length, 3, 1, length - 1] * (num // 4))[:, None]
    text = torch.randn((num, tokens, 5), generator=draw)
    return (
        frames,
        torch.arange(length) < lengths,
        text,
        torch.arange(tokens) < torch.tensor([[tokens], [2]] * (num // 2)),
    )


@pytest.mark.parametrize("config", [UNET, MLP], ids=["unet", "mlp"])
def test_every_parameter_learns_and_shapes_are_those_of_latents(config):
    model = Generator(config)
    torch.manual_seed(3)
    model.errors(*batch())["error_B"].mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    z = torch.randn(4, config.length, 6)
    assert model(z, torch.tensor([0, 5, 500, 999]), *batch()[2:]).shape == z.shape


def test_the_published_unet_has_the_published_sizes():
    with torch.device("meta"):
        model = Generator(UNetConfig(dim=512, text_dim=768))
        found = model(torch.zeros(2, 64, 512), torch.zeros(2), torch.zeros(2, 77, 768), torch.ones(2, 77, dtype=bool))
    assert found.shape == (2, 64, 512) and 8.7e8 < sum(p.numel() for p in model.parameters()) < 8.8e8


@pytest.mark.parametrize("config", [UNET, MLP], ids=["unet", "mlp"])
def test_padding_and_neighbours_change_nothing(config):
    model, (_, _, text, mask) = Generator(config).eval(), batch()
    z, t = torch.randn(4, config.length, 6), torch.tensor([3, 30, 300, 900])
    together = model(z, t, text, mask)
    more = torch.cat([text, 9 * torch.ones(4, 3, 5)], 1), torch.cat([mask, torch.zeros(4, 3, dtype=bool)], 1)
    torch.testing.assert_close(model(z, t, *more), together)
    torch.testing.assert_close(model(z[1:2], t[1:2], text[1:2, :2], mask[1:2, :2]), together[1:2])


@pytest.mark.parametrize(
    ("config", "values"),
    [
        (UNET, {"channels": (8,)}), (UNET, {"length": 15}), (UNET, {"groups": 3}), (UNET, {"prediction": "x"}),
        (UNET, {"null_tokens": 0}), (UNET, {"text_dropout": 1.0}), (UNET, {"generates": False, "prediction": "v"}),
        (MLP, {"length": 64}), (MLP, {"dropout": 1.0}), (MLP, {"width": 0}), (MLP, {"time_dim": 1}),
        (MLP, {"temperature": 0.0}), (UNET, {"contrastive": -1.0}),
    ],
)  # fmt: skip
def test_sizes_that_mean_nothing_are_refused(config, values):
    with pytest.raises(InputError, match="out of range"):
        replace(config, **values)


def test_latents_are_crops_or_repeated():
    torch.manual_seed(0)
    model = Generator(UNET)
    frames = torch.arange(40.0)[None, :, None].expand(2, -1, 6)
    mask = torch.arange(40) < torch.tensor([[40], [3]])
    long, short = model.latents(frames, mask)[:, :, 0].tolist()
    assert long == [long[0] + i for i in range(16)] and short == [i % 3 for i in range(16)]
    starts = {model.latents(frames, mask)[0, 0, 0].item() for _ in range(300)}
    assert starts == set(map(float, range(25)))
    mean = Generator(MLP).latents(frames, mask)
    assert mean.shape == (2, 1, 6) and mean[:, 0, 0].tolist() == [19.5, 1.0]


def test_texts_are_dropped_at_the_stated_share():
    torch.manual_seed(0)
    model = Generator(replace(UNET, null_tokens=3, text_dropout=0.5))
    text, mask = torch.ones(4000, 2, 5), torch.ones(4000, 2, dtype=torch.bool)
    mask[:, 1] = torch.arange(4000) % 2 == 0
    found, real = model.some_null(text, mask)
    null = real[:, 2]
    assert null.float().mean() == pytest.approx(0.5, abs=0.02)
    assert (real[null] == torch.tensor([False, False, True, True, True])).all() and (
        real[~null, :2] == mask[~null]
    ).all()
    assert not real[~null, 2:].any() and torch.equal(found[7, 2:], model.null_LE) and torch.equal(found[:, :2], text)


def test_the_contrastive_term_is_an_addition():
    made = Generator(UNET).errors(*batch())
    alone, both = (DenoisingLoss(replace(UNET, contrastive=weight)).losses(made) for weight in (0.0, 0.5))
    assert set(alone) == {"mse"} and both["mse"] == alone["mse"] and both["contrastive"] > 0
    right = {**made, "predicted_BD": made["right_BD"]}
    assert DenoisingLoss(replace(UNET, contrastive=0.5)).losses(right)["contrastive"] < both["contrastive"]


def tiny(name: str, **values: object):
    given = dict(pair.split("=") for pair in TINY[name]) | {"batch_size": "32"}
    return changed(RECIPES[name](16, 16, small=True), given | {key: str(value) for key, value in values.items()})


@pytest.mark.parametrize(("name", "generates"), [("gdr", True), ("gdr-mlp", True), ("gdr-mlp", False)])
def test_a_generated_query_finds_its_own_sound(name, generates, data, tmp_path):
    # Sound and text come from two encoders that know nothing of each other.
    goal = {"model.generates": str(generates).lower(), "epochs": 60, "learning_rate": 3e-3, "ema_decay": 0.98}
    trainer = DenoiserTrainer(tiny(name, **goal), data, tmp_path / "run")
    curve: list[float] = []
    trainer.run(report=lambda at: curve.append(at.metrics.get("mse", curve[-1] if curve else 0)))
    assert np.mean(curve[-6:]) < 0.8 * np.mean(curve[:6])
    save_denoiser(
        tmp_path / "model",
        trainer.model.denoiser,
        audio=data.audio,
        text=data.text,
        backbones=("a", "b"),
        trained_on={},
    )
    denoiser = load(tmp_path / "model")
    keys = np.stack([s[m].mean(axis=0) for s, m in zip(*frames_of(data), strict=True)]).astype(np.float32)
    unit = (keys - keys.mean(axis=0)) / np.linalg.norm(keys - keys.mean(axis=0), axis=1, keepdims=True)
    ranks, latents = [], []
    for row in range(24):
        text = Read().states([data.train.captions[row][0]])
        states = text.states_BTD[0][text.mask_BT[0]]
        found = sample(denoiser, states, scale=1.5, samples=4)
        latents.append(sample(denoiser, states, scale=1, samples=4, seed=1).mean(axis=1))
        scores = unit @ (found.mean(axis=(0, 1)) - keys.mean(axis=0))
        ranks.append(int((scores > scores[row]).sum()))
    assert np.median(ranks) / len(keys) < 0.2  # chance is 0.5
    diversity = intra_prompt_vendi(np.stack(latents) - keys.mean(axis=0))
    assert diversity > 1.01 if generates else diversity == pytest.approx(1)


def frames_of(data):
    states = data.train.audio(np.arange(len(data.train)))
    return states.states_BTD, states.mask_BT


def test_a_killed_run_goes_on_with_the_same_bits(data, tmp_path):
    recipe = tiny("gdr", epochs=4, checkpoint_every=2, **{"model.contrastive": 0.5})
    whole = DenoiserTrainer(recipe, data, tmp_path / "whole")
    whole.run()

    def stop(at) -> None:
        if at.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        DenoiserTrainer(recipe, data, tmp_path / "cut").run(report=stop)
    again = DenoiserTrainer(recipe, data, tmp_path / "cut")
    again.run(resume=True)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
    one, other = ((tmp_path / name / checkpoint.METRICS).read_text() for name in ("whole", "cut"))
    assert [json.loads(x)["step"] for x in one.splitlines()] == [json.loads(x)["step"] for x in other.splitlines()]


@pytest.fixture
def small_backbones(monkeypatch):
    monkeypatch.setattr(trained, "load_backbone", body)


@pytest.mark.usefixtures("small_backbones")
def test_the_command_trains_and_refuses_what_it_cannot(folder, tmp_path):
    def train(*given: object):
        return CliRunner().invoke(app, ["train", *map(str, given)])

    common = ["--data", folder, "--features", tmp_path / "f", "--epochs", 1, "--batch-size", 32]
    sizes = [f"--set={size}" for size in (*TINY["gdr"], "model.prediction=v")]
    done = train("gdr", "--out", tmp_path / "run", *common, *sizes)
    assert done.exit_code == 0, done.output
    assert "diffusion.network.load" in done.output
    denoiser = load(tmp_path / "run")
    assert (denoiser.spec.prediction, denoiser.spec.space, denoiser.spec.text_space) == ("v", "hear/1", "read/1")
    assert denoiser.about["trained_on"]["data"]["name"] == "notes"
    assert sample(denoiser, np.ones((3, 16), np.float32), steps=4).shape == (1, 64, 16)
    again = train("gdr", "--config", tmp_path / "run" / "config.json", "--out", tmp_path / "again")
    assert again.exit_code == 0, again.output
    assert load(tmp_path / "again").spec.mean_D.tolist() == denoiser.spec.mean_D.tolist()
    for given, says in (
        (["--tune", "audio"], "frozen backbones"), (["--set", "select=global"], "select"),
        (["--set", "model.prediction=noise"], "sample or epsilon or v"),
        (["--set", "model.channels=a,b"], "whole numbers"), (["--set", "model.channels=16,15"], "sizes do not fit"),
    ):  # fmt: skip
        refused = train("gdr", "--out", tmp_path / "no", *common, *given)
        assert refused.exit_code != 0 and says in str(refused.exception), (given, refused.exception)


def test_a_file_that_is_no_denoiser_is_named(data, tmp_path):
    model = Generator(MlpDenoiserConfig(dim=16, text_dim=16, width=16, time_dim=8))
    folder = save_denoiser(tmp_path / "m", model, audio=Hear.spec, text=Read.spec, backbones=("a", "b"), trained_on={})
    whole = (folder / "gdr.onnx").read_bytes()
    for wrong in (b"", whole[: len(whole) // 2], whole.replace(b"solfa.gdr/1", b"solfa.gdr/9")):
        (tmp_path / "gdr.onnx").write_bytes(wrong)
        with pytest.raises(WeightsError):
            load(tmp_path / "gdr.onnx")
    with pytest.raises(InputError, match=r"no gdr\.onnx"):
        load(tmp_path / "none")


def test_towers_are_the_vectors_of_a_joint_model():
    model, rng = load_model("bridge"), np.random.default_rng(0)
    audio = Audio(rng.uniform(-0.3, 0.3, 16000 * 7).astype(np.float32), 16000)
    own = load_backbone("tower:bridge", "audio")
    np.testing.assert_array_equal(own.states([audio]).states_BTD, model.audio.encode([audio]).frames_BTD)
    assert own.spec.space == model.space and own.spec.hop_s == 3
    text = load_backbone("tower:bridge", "text")
    np.testing.assert_array_equal(text.states(["piano"]).states_BTD, model.text.encode(["piano"]).frames_BTD)


def test_towers_of_a_windowed_model_have_a_vector_for_each_window(monkeypatch):
    bridge = load_model("bridge")

    class Windowed:
        spec, encode = replace(bridge.audio.spec, window_s=6.0), bridge.audio.encode

    monkeypatch.setattr("solfa.encoders.towers.load_model", lambda *_, **__: replace(bridge, audio=Windowed()))
    own = load_backbone("tower:bridge", "audio")
    audio = Audio(np.random.default_rng(0).uniform(-0.3, 0.3, 16000 * 13).astype(np.float32), 16000)
    found = own.states([audio]).states_BTD[0]
    assert own.spec.hop_s == 6 and len(found) == 2
    first = Audio(audio.samples[: 6 * 16000], 16000)
    np.testing.assert_array_equal(found[0], bridge.audio.encode([first]).global_BD[0])
