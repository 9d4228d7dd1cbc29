"""A model folder: torch and ONNX agree, damage is seen, nothing else is needed, the hub takes and gives it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small import BANK, NOTES, Hear, Read, body, make_data
from tiny_recipes import features_of, tiny, torch

from solfa.alignment.joint import JointProjector
from solfa.apps.cli import app
from solfa.core.errors import InputError, MissingExtra, UnknownName, WeightsError
from solfa.core.types import Audio, States, View, Views
from solfa.datasets.shards import Dataset
from solfa.encoders import trained
from solfa.encoders.registry import load_model
from solfa.training import checkpoint, model_file
from solfa.training.batches import PairSource, prepare
from solfa.training.recipes import finelap
from solfa.training.run import run
from solfa.training.trainer import Trainer


@pytest.fixture(autouse=True)
def small_backbones(monkeypatch):
    monkeypatch.setattr(trained, "load_backbone", body)


def saved(data, folder: Path, name: str = "figma") -> tuple[Path, JointProjector]:
    torch.manual_seed(0)
    model = JointProjector(tiny(name, data).model).eval()
    given = {"name": name, "audio": Hear.spec, "text": Read.spec, "backbones": ("hear", "read"), "trained_on": {}}
    return model_file.save_model(folder, model, **given), model


@pytest.mark.parametrize("name", ["figma", "finelap"])
def test_the_folder_gives_the_vectors_of_training(name, data, folder, tmp_path):
    path, model = saved(data, tmp_path / "model", name)
    loaded = trained.load(source=path)
    records = Dataset.open(folder).split("val")
    sounds = [Dataset.open(folder).audio(record) for record in records]
    detected, said = loaded.audio.encode(sounds), loaded.text.encode([record.captions[0] for record in records])
    audio, text = features_of(model, data.val)
    for got, want in ((detected, audio), (said, text)):
        np.testing.assert_allclose(got.global_BD, want.global_BD, atol=2e-3)  # training reads states in float16
        np.testing.assert_allclose(got.frames_BTD, want.frames_BTD, atol=2e-3)
        assert (got.mask_BT == want.mask_BT).all()
    alone = loaded.audio.encode(sounds[3:4])
    assert np.array_equal(alone.global_BD[0], detected.global_BD[3])
    assert said.mask_BT.shape[1] == (1 if name == "finelap" else 8)
    begun = Trainer(tiny(name, data), data, tmp_path / "run", init=path).model.state_dict()
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), begun.values(), strict=True))
    with pytest.raises(InputError, match="other projectors"):
        Trainer(tiny("finelap" if name == "figma" else "figma", data), data, tmp_path / "run", init=path)


def test_an_item_without_states_has_no_frames(data, tmp_path):
    loaded = trained.load(source=saved(data, tmp_path / "model")[0])
    features = loaded.audio.encode([Audio(np.zeros(0, np.float32), 4000), Audio(np.ones(4000, np.float32), 4000)])
    assert features.mask_BT.sum(axis=1).tolist() == [0, 4] and np.isfinite(features.global_BD).all()
    assert loaded.audio.encode([]).global_BD.shape == (0, 16)


def test_damage_and_other_bodies_are_seen(data, tmp_path, monkeypatch):
    path, model = saved(data, tmp_path / "model")
    config = model.config
    with pytest.raises(InputError, match="not a folder"):
        trained.load(source=tmp_path / "none")
    network = (path / "audio.onnx").read_bytes()
    (path / "audio.onnx").write_bytes(network[:-1] + b"\0")
    with pytest.raises(WeightsError, match="not the file"):
        trained.load(source=path)
    (path / "audio.onnx").write_bytes(network)
    monkeypatch.setattr(trained, "load_backbone", lambda name, kind, **options: Read())
    with pytest.raises(WeightsError, match="was trained on 'hear/1'"):
        trained.load(source=path)
    described = json.loads((path / "model.json").read_text())
    (path / "model.json").write_text(json.dumps({**described, "projectors": {}}))
    with pytest.raises(InputError, match="other projectors"):
        model_file.load_projectors(path, config)
    harm = [("width", 1 << 16), ("num_layers", 10**9), ("in_dim", "16"), ("in_dim", True), ("feed_forward", None),
            ("dropout", float("nan")), ("activation", "exec"), ("norm_first", 1), ("num_heads", 0)]  # fmt: skip
    for field, value in harm:
        towers = json.loads(json.dumps(described["projectors"]))
        towers["audio"]["whole"][field] = value
        (path / "model.json").write_text(json.dumps({**described, "projectors": towers}))
        with pytest.raises(InputError, match="other projectors"):
            model_file.load_projectors(path, config)
    weights = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(weights[:-1] + b"\0")
    (path / "model.json").write_text(json.dumps(described))
    with pytest.raises(WeightsError, match="not the file"):
        model_file.load_projectors(path, config)
    monkeypatch.setattr(trained, "load_backbone", body)
    for dim in (10**12, 8, -1):
        (path / "model.json").write_text(json.dumps({**described, "dim": dim}))
        with pytest.raises(WeightsError, match=r"does not fit its model\.json"):
            trained.load(source=path)
    for text in ("{}", "[", json.dumps({**described, "dim": "many"}), " " * (1 << 21), "[" * 100_000):
        (path / "model.json").write_text(text)
        with pytest.raises(WeightsError, match=r"model\.json"):
            trained.load(source=path)


def test_learnt_temperatures_are_saved_loaded_and_trained_on(data, folder, tmp_path, monkeypatch):
    options = {"bank": BANK, "features": tmp_path / "features"}

    def small(recipe):
        return replace(recipe, epochs=2, batch_size=16, num_phrases=5, warmup_steps=0)

    path, _ = run("finelap", folder, tmp_path / "run", change=small, **options)
    logits = dict(trained.load(source=path).logits)
    logits.pop("match", None)  # is fitted when training has ended
    tensors, _ = checkpoint.load(tmp_path / "run" / checkpoint.BEST)
    assert set(logits) == {"clip", "frame"} and logits["clip"] != logits["frame"]
    for name, logit in logits.items():
        kept = checkpoint.part(tensors, f"objective.{name}")  # of the step whose weights were kept, not of the last
        assert logit.bias == float(kept["bias"]) and logit.temperature == pytest.approx(float((-kept["scale"]).exp()))
        assert abs(logit.bias + 4) > 1e-4 and abs(logit.temperature - 0.1) > 1e-5
    begun = Trainer(small(finelap(data.audio.dim, data.text.dim, small=True)), data, tmp_path / "more", init=path)
    for name, logit in logits.items():
        value = begun.objective.logits[name].value
        assert (value.temperature, value.bias) == pytest.approx((logit.temperature, logit.bias), rel=1e-6)
    described = json.loads((path / "model.json").read_text())
    one = {"temperature": 1, "bias": 0}
    wrong_ones = [3, {"clip": 3}, {"clip": {}}, {"x": one}]
    wrong_ones += [{"clip": {**one, "temperature": t}} for t in (0, "1", float("inf"))]
    for wrong in [*wrong_ones, {"frame": {**one, "bias": float("inf")}}]:
        (path / "model.json").write_text(json.dumps({**described, "logits": wrong}))
        with pytest.raises(WeightsError, match=r"no model\.json of"):
            trained.load(source=path)
    del described["logits"]  # a folder of before
    (path / "model.json").write_text(json.dumps(described))
    assert trained.load(source=path).logits == {}


def test_saving_replaces_a_model_and_nothing_else(data, tmp_path):
    path, _ = saved(data, tmp_path / "model")
    saved(data, tmp_path / "model")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("keep me")
    with pytest.raises(WeightsError, match=r"no model\.json"):
        saved(data, tmp_path / "letters")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["letters", "model"]
    card = (path / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: solfa") and "`hear`, frozen; licence: CC0" in card
    assert "validation: none, the last weights were kept" in card and "started from" not in card


@pytest.mark.parametrize("frames", ["bigru", "linear", "shared"])
def test_every_projector_is_the_same_without_torch(frames, tmp_path):
    model = JointProjector(finelap(16, 12, frames=frames, small=True).model)
    given = {"name": "n", "audio": Hear.spec, "text": Read.spec, "backbones": ("hear", "read"), "trained_on": {}}
    model_file.save_model(tmp_path / "model", model, **given)  # compares both, and refuses a difference


def test_a_network_that_differs_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(model_file, "_PARITY", 0.0)
    with pytest.raises(WeightsError, match="differs from torch"):
        saved(data, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_from_a_data_set_to_a_model_by_name(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SOLFA_HOME", str(tmp_path / "home"))
    blocks: list[tuple[int, int]] = []
    options = {"bank": BANK, "features": tmp_path / "features", "progress": lambda *done: blocks.append(done)}

    def small(recipe):
        return replace(recipe, epochs=2, batch_size=16, num_phrases=5)

    with pytest.raises(UnknownName, match="figma"):
        run("figm", folder, tmp_path / "run", **options)
    path, outcome = run("united", folder, tmp_path / "run", change=small, **options)
    assert outcome.epochs == 2
    model = load_model(f"trained:{path}")
    assert model.views == Views(trained=("global", "frame", "mix"), rank=View(name="mix", alpha=0.6))
    assert model.audio.spec.window_s == 1.5 and outcome.measure == "mix"
    texts = [f"{name} sound" for name in NOTES]
    assert model.text.encode(texts).global_BD.shape == (7, 128)
    assert blocks[-1] == (7, 7)
    described = json.loads((path / "model.json").read_text())
    card = (path / "README.md").read_text()
    assert f"- validation: R@1 in the mix view {outcome.best:.4f}\n" in card
    assert "- data: `notes`, revision " in card and "96 clips to train on; licences: none stated" in card
    hostile = {"name": "x\n---\nlicense: mit", "licences": ["CC0", "\x1b[31m"]}
    said = model_file.card({**described, "trained_on": {**described["trained_on"], "data": hostile}})
    assert "\nlicense: mit" not in said and "\x1b" not in said and "licences: CC0, " in said
    assert described["trained_on"]["recipe"]["name"] == "united" and described["audio"]["backbone"] == "taggers"


def test_the_command(folder, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    command = [
        "train",
        "figma",
        "--data",
        str(folder),
        "--out",
        str(tmp_path / "run"),
        "--features",
        str(tmp_path / "f"),
    ]
    done = CliRunner().invoke(app, [*command, "--epochs", "1", "--batch-size", "32"], catch_exceptions=False)
    assert done.exit_code == 0 and "--model trained:" in done.output.replace("\n", " ")
    assert CliRunner().invoke(app, command).exception.args[0].startswith(f"{tmp_path / 'run'} holds a run")
    assert CliRunner().invoke(app, [*command, "--size", "huge"]).exit_code == 2
    more = [
        "--precision",
        "bfloat16",
        "--lr",
        "0.01",
        "--out",
        str(tmp_path / "other"),
        "--init",
        str(tmp_path / "run/model"),
    ]
    done = CliRunner().invoke(app, [*command, *more, "--epochs", "1", "--batch-size", "32"], catch_exceptions=False)
    recipe = json.loads((tmp_path / "other" / "config.json").read_text())["fixed"]["recipe"]
    assert done.exit_code == 0 and recipe["precision"] == "bfloat16" and recipe["learning_rate"] == 0.01


def test_the_command_writes_for_tensorboard(folder, tmp_path, monkeypatch):
    from types import SimpleNamespace

    from typer.testing import CliRunner

    seen = []

    def writer(place, purge_step):
        assert place == str(tmp_path / "run" / "tensorboard") and purge_step == 1
        return SimpleNamespace(add_scalar=lambda *given: seen.append(given), close=lambda: None)

    command = ["train", "figma", "--data", str(folder), "--features", str(tmp_path / "f"), "--epochs", "1"]
    command += ["--tensorboard", "--batch-size", "32", "--out"]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert isinstance(CliRunner().invoke(app, [*command, str(tmp_path / "no")]).exception, MissingExtra)
    assert not (tmp_path / "no").exists()
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=writer))
    CliRunner().invoke(app, [*command, str(tmp_path / "run")], catch_exceptions=False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert [(step["loss"], step["step"]) for step in steps] == [given[1:] for given in seen if given[0] == "loss"]
    assert "val_R@1" in {given[0] for given in seen}


def test_bad_clips_are_named(folder, tmp_path, data):
    class Deaf(Hear):
        def states(self, batch):
            good = super().states(batch)
            return States(good.pooled_BD, good.states_BTD[:, :0], good.mask_BT[:, :0])

    cache = tmp_path / "features"
    deaf = prepare(Dataset.open(folder), cache, audio=Deaf(), text=Read())
    with pytest.raises(InputError, match=r"96 clips: sound has no frame: train0-0, .*, train0-7 and 88 more\."):
        PairSource(deaf.train)
    mute = data.train.relabelled(captions=[(), *data.train.captions[1:]])
    with pytest.raises(InputError, match=r"1 clips: no caption, or one of no token: train0-0\."):
        PairSource(mute)
    for split in ("train", "val"):
        bare = make_data(tmp_path / split, splits={"train": 1, "val": 1}, mute=(split, 3))
        with pytest.raises(InputError, match=f"1 clips: no caption: {split}0-3. Leave"):
            prepare(bare, tmp_path / "f1", audio=Hear(), text=Read())
    assert not (tmp_path / "f1").exists()
    with pytest.raises(InputError, match="does not know"):
        from solfa.datasets.bank import Cluster, PhraseBank

        other = PhraseBank(Cluster(phrase=f"thing {i}") for i in range(9))
        options = {"audio": Hear(), "text": Read(), "phrases": True, "bank": other}
        given = prepare(Dataset.open(folder), tmp_path / "f2", **options)
        PairSource(given.train, other, 4).gather(np.arange(4), np.random.default_rng(0))


def test_phrases_and_labels_of_a_batch(data):
    batch = PairSource(data.train, BANK, 4).gather(np.arange(6), np.random.default_rng(0))
    assert batch.grounded_B.tolist() == [True, False] * 3 and batch.labels_BNT.shape == (6, 4, 6)
    assert batch.labels_BNT[0].sum(dim=1).tolist() == [2, 2, 2, 0]  # three notes of half a second, one negative
    assert batch.labels_BNT[0, 0].tolist() == [True, True, False, False, False, False]
    assert not batch.labels_BNT[1].any() and not batch.phrases_BND[1].any()
    assert batch.frames_BTD.dtype == torch.float16 and batch.to(torch.device("cpu")).frames_BTD.dtype == torch.float32


def test_importing_solfa_and_training_by_name_loads_no_torch():
    code = "import solfa, solfa.apps.training, solfa.encoders.trained, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_device_reaches_the_bodies_that_run_on_torch(monkeypatch):
    seen = {}
    monkeypatch.setattr(trained, "load_backbone", lambda name, kind, **options: seen.setdefault(name, options))
    for name, kind in (("taggers", "audio"), ("muq:/weights", "audio"), ("minilm", "text"), ("roberta", "text")):
        trained.load_on(name, kind, device="cuda", allow_noncommercial=False)
    assert {name: "device" in options for name, options in seen.items()} == {
        "taggers": False, "muq:/weights": True, "minilm": False, "roberta": True,
    }  # fmt: skip
