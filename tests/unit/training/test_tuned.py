"""Tuned that are trained too: gradients, resumption, and a folder that needs nothing else."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from small import BANK, NOTES, RATE, Hear, Read
from test_hub import Hub
from test_trainer import curve
from tiny_recipes import features_of, tiny, torch

from solfa.alignment.joint import Projected
from solfa.apps.cli import app
from solfa.core.errors import InputError, TrainingError, WeightsError
from solfa.core.registry import with_source
from solfa.core.types import Audio
from solfa.datasets.shards import Dataset
from solfa.encoders import trained
from solfa.encoders.registry import load_backbone
from solfa.training import checkpoint, model_file
from solfa.training import hub as hub_files
from solfa.training.batches import prepare
from solfa.training.trainer import Trainer

transformers = pytest.importorskip("transformers")
BOTH = ("audio", "text")


@pytest.fixture(scope="session")
def places(tmp_path_factory):
    """Folders of a tiny HuBERT that hears the notes as MERT does, a tiny BERT, a tiny T5, whose weights are tied."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    torch.manual_seed(0)
    made = {name: tmp_path_factory.mktemp(name) for name in ("mert", "minilm-torch", "t5")}
    hubert = transformers.HubertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
    )  # fmt: skip
    transformers.HubertModel(hubert).save_pretrained(made["mert"])
    config = made["mert"] / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sample_rate": RATE}))
    (made["mert"] / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True}))
    words = ["[CLS]", "[SEP]", "[UNK]", "the", "then", "and", "at", "last", "sound", "a", "is", "heard", *NOTES]
    for name in ("minilm-torch", "t5"):
        tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 1), ("[CLS]", 0))
        tokenizer.save(str(made[name] / "tokenizer.json"))
    sizes = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    bert = transformers.BertConfig(**sizes, intermediate_size=24, max_position_embeddings=260)
    transformers.BertModel(bert).save_pretrained(made["minilm-torch"])
    t5 = transformers.T5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2)
    transformers.T5EncoderModel(t5).save_pretrained(made["t5"])
    return made


@pytest.fixture
def data(places, folder, tmp_path):
    """Makes the data of a run: torch bodies where they are tuned, and others elsewhere."""

    def make(tune, text="minilm-torch", phrases=True):
        audio = load_backbone(f"mert:{places['mert']}", allow_noncommercial=True) if "audio" in tune else Hear()
        name = with_source(text, str(places[text.partition("?")[0]]))
        given = {"audio": audio, "text": load_backbone(name, "text") if "text" in tune else Read()}
        return prepare(Dataset.open(folder), tmp_path / "features", phrases=phrases, bank=BANK, tune=tune, **given)

    return make


def recipe(name, data, **changes):
    changes = {"crop_s": 1.0, "body_lr": 0.5, "tune": tuple(data.tuned), **changes}
    return tiny(name, data, **changes)


def reference(trainer, batch):
    """Gradients by plain autograd over the whole batch, bodies called by hand."""
    model, bodies = trainer.model, trainer.tuned
    audio, frames, text, tokens = batch.audio_BD, batch.frames_BTD, batch.text_BD, batch.tokens_BLD
    phrases = batch.phrases_BND
    if "audio" in bodies:
        audio, frames, mask = bodies["audio"].network(bodies["audio"].prepare(batch.sounds))
        assert torch.equal(mask, batch.frame_mask_BT)
    if "text" in bodies:
        text, tokens, mask = bodies["text"].network(bodies["text"].prepare(batch.texts))
        assert torch.equal(mask, batch.token_mask_BL)
        one = [
            torch.cat([bodies["text"].network(bodies["text"].prepare([t]))[0] for t in own]) for own in batch.phrases
        ]
        phrases = torch.stack(one)
    whole = model.text.pooled(phrases.flatten(0, 1)).unflatten(0, phrases.shape[:2])
    rows = model.text.rows(tokens, batch.token_mask_BL)
    made = {
        "audio_BD": model.audio.pooled(audio),
        "frames_BTD": model.audio.rows(frames, batch.frame_mask_BT),
        "text_BD": model.text.pooled(text),
        "tokens_BLD": rows,
        "phrases_BND": whole,
    }
    terms = trainer.objective.losses(Projected.of(made, batch, batch.token_mask_BL, 0))
    return torch.autograd.grad(sum(terms.values()), trainer.parameters, allow_unused=True)


@pytest.mark.parametrize("tune", [("audio",), ("text",), BOTH])
def test_gradients_are_those_of_plain_autograd_in_chunks_too(tune, data, tmp_path):
    given = data(tune)
    for size in (None, 5, 1):
        trainer = Trainer(recipe("united", given, dropout=0.0, chunk_size=size), given, tmp_path / f"{size}")
        batch = next(iter(trainer.loader)).to(trainer.device)
        assert batch.grounded_B.any() and not batch.grounded_B.all()
        assert batch.labels_BNT.any()
        trainer.model.train()
        trainer._backward(batch)
        expected = reference(trainer, batch)
        used = 0
        for parameter, grad in zip(trainer.parameters, expected, strict=True):
            assert (grad is None) == (parameter.grad is None)
            if grad is not None:
                assert (parameter.grad - grad).norm() <= 5e-5 * grad.norm() + 1e-7
                used += bool(grad.abs().max() > 1e-6) * any(parameter is p for p in trainer.model.bodies.parameters())
        assert used > 10 * len(tune)


@pytest.mark.parametrize("tune", [("audio",), ("text",)])
def test_a_step_moves_the_tuned_body_alone(tune, data, tmp_path):
    given = data(tune)
    trainer = Trainer(recipe("united", given, precision="bfloat16", ema_decay=0.5), given, tmp_path / "run")
    body, projectors = trainer.tuned[tune[0]], trainer.model.audio.state_dict()
    before = {n: t.clone() for n, t in body.network.state_dict().items()}
    projectors = {n: t.clone() for n, t in projectors.items()}
    batches = iter(trainer.loader)
    assert np.isfinite([trainer.step(next(batches))["loss"] for _ in range(2)]).all()
    assert sum(not torch.equal(before[n], t) for n, t in body.network.state_dict().items()) > 10
    assert any(not torch.equal(projectors[n], t) for n, t in trainer.model.audio.state_dict().items())
    assert all(torch.equal(before[n], t) for n, t in given.tuned[tune[0]].network.state_dict().items())
    assert set(trainer.tuned) == set(trainer.model.bodies) == set(tune) and not body.network.training
    rates = {group["factor"]: group["lr"] for group in trainer.optimizer.param_groups}
    assert rates[0.5] == 0.5 * rates[1.0] > 0
    still = Trainer(recipe("united", given, body_lr=0.0, weight_decay=0.1), given, tmp_path / "still")
    still.step(next(iter(still.loader)))
    assert all(torch.equal(before[n], t) for n, t in still.tuned[tune[0]].network.state_dict().items())


class Killed(Exception):
    pass


def test_a_stopped_run_goes_on_with_the_same_bits(data, tmp_path):
    given = data(BOTH)
    settings = recipe("united", given, checkpoint_every=2, chunk_size=9, ema_decay=0.9, epochs=1)

    def stop(progress):
        if progress.step == 3:
            raise Killed

    Trainer(settings, given, tmp_path / "whole").run()
    with pytest.raises(Killed):
        Trainer(settings, given, tmp_path / "killed").run(report=stop)
    Trainer(settings, given, tmp_path / "killed").run(resume=True)
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    for file in (checkpoint.BEST, checkpoint.CHECKPOINT):
        one, other = (checkpoint.load(tmp_path / run / file)[0] for run in ("killed", "whole"))
        assert one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)
    with pytest.raises(InputError, match=r"body_lr: 0\.5 there, 0\.1 now"):
        Trainer(replace(settings, body_lr=0.1), given, tmp_path / "killed").run(resume=True)


@pytest.mark.parametrize("text", ["minilm-torch", "t5?special_tokens=false&max_tokens=40"])
def test_the_folder_needs_nothing_else(text, data, folder, tmp_path, monkeypatch):
    given = data(BOTH, text)
    trainer = Trainer(recipe("figma", given, epochs=1, ema_decay=0.5), given, tmp_path / "run")
    outcome = trainer.run()
    assert outcome.best is not None
    best, _ = checkpoint.load(tmp_path / "run" / checkpoint.BEST)
    assert all(torch.equal(best[f"model.{n}"], t) for n, t in trainer.model.state_dict().items())

    def save(to):
        names = ("mert:/secret/place", with_source(text, "/secret/place"))
        specs = {"audio": given.audio, "text": given.text, "backbones": names, "trained_on": {}}
        return model_file.save_model(to, trainer.model, name="figma", tuned=trainer.tuned, **specs)

    path = save(tmp_path / "model")
    assert "secret" not in (path / "model.json").read_text() and "`mert`, tuned" in (path / "README.md").read_text()
    hub = Hub()
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", hub)
    hub_files.push(path, "me/notes")
    path = hub_files.pull("me/notes", tmp_path / "pulled")
    loaded = trained.load(source=path, allow_noncommercial=True)
    assert not loaded.audio.spec.commercial_use
    with pytest.raises(InputError, match="non-commercial"):
        trained.load(source=path)
    dataset = Dataset.open(folder)
    records = list(dataset.split("val"))[:6]
    want_audio, want_text = features_of(trainer.model, trainer.val)
    detected = loaded.audio.encode([dataset.audio(record) for record in records])
    said = loaded.text.encode([record.captions[0] for record in records])
    for got, want in ((detected, want_audio), (said, want_text)):
        np.testing.assert_allclose(got.global_BD, want.global_BD[:6], atol=1e-5)
        np.testing.assert_allclose(got.frames_BTD, want.frames_BTD[:6, : got.frames_BTD.shape[1]], atol=1e-5)
    alone = loaded.audio.encode([dataset.audio(records[2])])
    assert np.array_equal(alone.global_BD[0], detected.global_BD[2])

    again = Trainer(recipe("figma", given), given, tmp_path / "again", init=path)
    assert all(torch.equal(best[f"model.{n}"], t) for n, t in again.model.state_dict().items())
    frozen = data(())
    with pytest.raises(
        InputError, match=r"other projectors|tuned audio backbone; start from it with --audio mert:.*--tune"
    ):
        Trainer(recipe("figma", frozen), frozen, tmp_path / "no", init=path)

    space = loaded.space
    with torch.no_grad():
        next(trainer.tuned["text"].network.parameters()).add_(1e-3)
    assert trained.load(source=save(tmp_path / "model"), allow_noncommercial=True).space != space


def test_damage_to_a_tuned_body_is_seen(data, tmp_path):
    given = data(("text",), phrases=False)
    trainer = Trainer(recipe("figma", given), given, tmp_path / "run")
    specs = {"audio": Hear.spec, "text": given.text, "backbones": ("hear", "minilm-torch"), "trained_on": {}}
    path = model_file.save_model(tmp_path / "model", trainer.model, name="n", tuned=trainer.tuned, **specs)
    described = trained.read_description(path)
    whole = tmp_path / "whole"
    shutil.copytree(path, whole)
    harm = {
        "config.json": b"{}", "tuned.safetensors": b"junk", "model.safetensors": b"junk", "tokenizer.json": b"{}",
        "more.json": b"{}",
    }  # fmt: skip
    for name, content in harm.items():
        (path / "text_body" / name).write_bytes(content)
        with pytest.raises(WeightsError, match="not the file"):
            trained._rebuilt(path, "text", described)
        shutil.rmtree(path)
        shutil.copytree(whole, path)
    for change in ({"file": "../model.safetensors"}, {"file": ".."}):
        with pytest.raises(WeightsError, match="lacks files"):
            trained._rebuilt(path, "text", {**described, "text": {**described["text"], **change}})
    (path / "text_body" / "tuned.safetensors").unlink()
    with pytest.raises(WeightsError, match="lacks files"):
        trained._rebuilt(path, "text", described)
    shutil.rmtree(path / "text_body")
    with pytest.raises(WeightsError, match="lacks files"):
        trained._rebuilt(path, "text", described)


def test_what_cannot_be_tuned_is_refused(data, folder, tmp_path):
    for tune, body in (("audio", "hear"), ("text", "read")):
        with pytest.raises(InputError, match=f"{body} cannot be tuned: what is tuned runs on torch"):
            prepare(Dataset.open(folder), tmp_path / "f", audio=Hear(), text=Read(), tune=(tune,))
    with pytest.raises(InputError, match="'video' cannot be tuned; what can is audio and text"):
        prepare(Dataset.open(folder), tmp_path / "f", audio=Hear(), text=Read(), tune=("video",))
    given = data(("text",))
    with pytest.raises(InputError, match=r"tunes \[\], the data was prepared to tune \['text'\]"):
        Trainer(recipe("figma", given, tune=()), given, tmp_path / "run")


def test_states_that_are_not_finite_name_their_clips(data, tmp_path):
    given = data(("audio",))
    trainer = Trainer(recipe("figma", given), given, tmp_path / "run")
    batch = next(iter(trainer.loader))
    sounds = (Audio(np.full(RATE, np.inf, np.float32), RATE), *batch.sounds[1:])
    with pytest.raises(TrainingError, match=f"states that are not finite: {batch.ids[0]}\\."):
        trainer.step(replace(batch, sounds=sounds))


def test_the_command_tunes(places, folder, tmp_path):
    from typer.testing import CliRunner

    command = ["train", "finelap", "--data", str(folder), "--out", str(tmp_path / "run"), "--tune", "audio,text"]
    command += ["--features", str(tmp_path / "features"), "--epochs", "1", "--batch-size", "32", "--crop-s", "1"]
    reads = f"minilm-torch:{places['minilm-torch']}?special_tokens=false"
    bodies = ["--audio", f"mert:{places['mert']}", "--text", reads]
    done = CliRunner().invoke(app, [*command, *bodies, "--allow-noncommercial"], catch_exceptions=False)
    assert done.exit_code == 0
    fixed = json.loads((tmp_path / "run" / "config.json").read_text())["fixed"]["recipe"]
    assert fixed["tune"] == ["audio", "text"] and fixed["crop_s"] == 1.0 and fixed["body_lr"] == 0.1
    model = trained.load(source=tmp_path / "run" / "model", allow_noncommercial=True)
    said = model.text.encode(["alto sound", ""])
    assert np.isfinite(said.global_BD).all() and said.mask_BT.any(axis=1).tolist() == [True, False]  # words alone
    refused = CliRunner().invoke(app, [*command[:3], str(folder), "--out", str(tmp_path / "no"), "--tune", "audio"])
    assert isinstance(refused.exception, InputError) and "taggers cannot be tuned" in str(refused.exception)
