"""``solfa train captioner``: what it learns, that it goes on where it stopped, and what it refuses."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small import Hear, body
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from solfa.apps.cli import app  # noqa: E402
from solfa.core.errors import InputError, TrainingError  # noqa: E402
from solfa.datasets.shards import Dataset  # noqa: E402
from solfa.encoders.checkpoints import load_tensors  # noqa: E402
from solfa.language.captioner import folder as folders  # noqa: E402
from solfa.language.captioner.folder import LearnedCaptioner  # noqa: E402
from solfa.language.captioner.networks import CaptionNetwork, LanguageModel  # noqa: E402
from solfa.training import captioner as training  # noqa: E402
from solfa.training.batches import Raw, prepare  # noqa: E402
from solfa.training.captioner import CaptionTrainer, captioner  # noqa: E402
from solfa.training.recipes import Recipe, changed, settings_of  # noqa: E402

TINY = {"model_type": "gpt2", "n_embd": 64, "n_layer": 1, "n_head": 2, "n_positions": 64}


@pytest.fixture(autouse=True)
def small_backbones(monkeypatch):
    monkeypatch.setattr(training, "load_on", lambda name, kind, **options: body(name, kind))
    monkeypatch.setattr(folders, "load_on", lambda name, kind, **options: body(name, kind))


def recipe_of(kind: str = "linear", **changes: object) -> Recipe:
    recipe, _ = captioner(kind, 16, small=True, tune_lm=True, max_tokens=24, vectors=2, hidden=32)
    small = {"batch_size": 16, "warmup_steps": 5, "learning_rate": 1e-2, "epochs": 2, "patience": None, **changes}
    return replace(recipe, **small)  # type: ignore[arg-type]


def trainer_of(folder: Path, out: Path, recipe: Recipe) -> CaptionTrainer:
    dataset = Dataset.open(folder)
    words = Raw(training._WORDS, lambda text: len(text.split()))
    data = prepare(dataset, folder / "features", audio=Hear(), text=words, tune=("text",))
    texts = [text for record in dataset.split("train") for text in record.captions]
    return CaptionTrainer(lambda: CaptionNetwork(recipe.model, LanguageModel.new(TINY, texts)), recipe, data, out)


def test_it_learns_to_say_what_is_in_the_sound(folder, tmp_path):
    trainer = trainer_of(folder, tmp_path / "run", recipe_of(epochs=16))
    outcome = trainer.run()
    assert outcome.best is not None and outcome.best > 0.6 and "probability of a caption's token" in str(outcome.text)
    source, model = trainer._source("val"), trainer.model.eval()
    batch = source.gather(np.arange(16), np.random.default_rng(0)).to(torch.device("cpu"))
    mixed = replace(batch, audio_BD=batch.audio_BD.roll(1, 0), frames_BTD=batch.frames_BTD.roll(1, 0))
    with torch.no_grad():
        right, wrong = (float(model(given)["loss_B"].sum()) for given in (batch, mixed))
    assert wrong > 1.5 * right
    said, swapped = model.write(batch), model.write(mixed)
    assert said[:-1] == swapped[1:] and len(set(said)) > 8
    named = [word in text for text, own in zip(said, batch.texts, strict=True) for word in own.split()[1::2]]
    assert np.mean(named) > 0.6


def test_a_stopped_run_ends_as_one_that_was_not(folder, tmp_path):
    class Stop(Exception):
        pass

    def stop(progress):
        if progress.step == 4:
            raise Stop

    recipe = recipe_of("prefix", checkpoint_every=3, ema_decay=0.9, chunk_size=5)
    straight = trainer_of(folder, tmp_path / "a", recipe)
    straight.run()
    with pytest.raises(Stop):
        trainer_of(folder, tmp_path / "b", recipe).run(report=stop)
    resumed = trainer_of(folder, tmp_path / "b", recipe)
    resumed.run(resume=True)
    tensors = [t.model.state_dict() for t in (straight, resumed)]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


def test_chunks_change_no_gradient(folder, tmp_path):
    norms = []
    for i, size in enumerate((None, 5)):
        recipe = recipe_of(chunk_size=size)
        recipe = replace(recipe, model=replace(recipe.model, kind="linear"))
        trainer = trainer_of(folder, tmp_path / str(i), recipe)
        for module in trainer.model.modules():
            module.p = 0.0 if isinstance(module, torch.nn.Dropout) else getattr(module, "p", None)
        norms.append(trainer.step(next(iter(trainer.loader)))["grad_norm"])
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_a_loss_that_is_not_finite_stops_the_run(folder, tmp_path):
    trainer = trainer_of(folder, tmp_path / "run", recipe_of())
    with torch.no_grad():
        trainer.model.marks.fill_(float("nan"))
    with pytest.raises(TrainingError, match="the loss is not finite"):
        trainer.run()


def test_a_recipe_is_made_again_from_its_record():
    for kind in ("prefix", "qformer", "linear", "encoder-decoder"):
        for small in (True, False):
            recipe, sizes = captioner(kind, 16, small=small)
            assert "model_type" in sizes and recipe.measure == "caption"
            other, _ = captioner(kind, 16, small=not small)
            mode = {"mode": recipe.model.mode}
            again = changed(other, settings_of(json.loads(json.dumps(recipe.to_json()))))
            assert again.to_json() == recipe.to_json() and again.model.mode == mode["mode"]
    published, _ = captioner("prefix", 1024, small=False)
    assert (published.epochs, published.batch_size, published.learning_rate) == (10, 32, 1e-4)
    assert (published.model.hidden, published.model.vectors, published.model.writing) == (768, 1, "sampled")


def train(*given: object):
    return CliRunner().invoke(app, ["train", "captioner", *map(str, given)])


@pytest.fixture
def checkpoint(folder, tmp_path) -> Path:
    texts = [text for record in Dataset.open(folder).split("train") for text in record.captions]
    lm = LanguageModel.new(TINY, texts)
    lm.network.save_pretrained(tmp_path / "lm")
    lm.tokenizer.save(str(tmp_path / "lm" / "tokenizer.json"))
    return tmp_path / "lm"


def test_the_command_makes_a_folder_and_a_frozen_language_model_is_not_in_it(folder, tmp_path, checkpoint):
    out, sizes = tmp_path / "run", ["--set", "model.max_tokens=8", "--set", "model.prompt=Say it."]
    sizes += ["--set", "model.tune_lm=false", "--epochs", 1]
    given = ["--data", folder, "--features", tmp_path / "f", "--lm", checkpoint, "--batch-size", 32]
    done = train("--out", out, "--kind", "encoder-decoder", "--mode", "modulation", *given, *sizes)
    assert done.exit_code == 0, done.output
    assert "describe FILE --captioner" in done.output
    described = json.loads((out / "model" / "captioner.json").read_text())
    assert described["lm"] == str(checkpoint) and described["model"]["prompt"] == "Say it."
    assert not any(name.startswith("bodies.") for name in load_tensors(out / "model" / "connector.safetensors"))
    assert not any("bodies." in name for name in load_tensors(out / "checkpoint.safetensors"))
    clips = Dataset.open(folder).split("val")
    assert isinstance(LearnedCaptioner(out / "model").write(clips.shard_at(0).audio(clips[0])), str)
    sound = tmp_path / "a.wav"
    soundfile.write(sound, np.sin(np.arange(16_000 * 23) * 0.1) * 0.5, 16_000)
    described_by = partial(CliRunner().invoke, app)
    text = described_by(["describe", str(sound), "--captioner", str(out / "model")])
    assert text.exit_code == 0, text.output
    assert "in the words of captioner" in text.output and "nothing was measured" in text.output
    assert re.findall(r"^\d:\d\d-\d:\d\d", text.output, re.M) == ["0:00-0:10", "0:10-0:20"]
    subtitles = described_by(["describe", str(sound), "--captioner", str(out / "model"), "--format", "srt"])
    assert "00:00:10,000 --> 00:00:20,000" in subtitles.output
    plain = described_by(["describe", str(sound), "--captioner", str(out / "model"), "--json"])
    claims = json.loads(plain.output)["claims"]
    assert [claim["maker"].startswith("captioner ") for claim in claims] == [True, True]
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    both = ["describe", str(tmp_path / "bad.wav"), str(sound), "--captioner", str(out / "model")]
    assert described_by(both).exit_code == 3 and "0:10-0:20" in described_by(both).output
    assert isinstance(described_by(["describe", "--all", "--captioner", str(out / "model")]).exception, InputError)
    again = train("--config", out / "config.json", "--out", tmp_path / "again")
    assert again.exit_code == 0, again.output
    other = json.loads((tmp_path / "again" / "model" / "captioner.json").read_text())
    assert other["sha256"] == described["sha256"]
    assert "holds a run" in str(train("--out", out, *given, *sizes).exception)


def test_what_a_captioner_has_no_use_for_is_refused(folder, tmp_path, checkpoint):
    def refused(*given: object) -> str:
        done = train("--data", folder, "--out", tmp_path / "run", *given)
        assert isinstance(done.exception, InputError), done.output
        assert not (tmp_path / "run").exists()
        return str(done.exception)

    assert "takes one --data" in refused("--tune", "audio")
    assert "takes one --data" in refused("--text", "minilm")
    assert "chosen by itself" in refused("--set", "select=global")
    assert "chosen by itself" in refused("--set", "model.tune_lm=false")
    assert "Hugging Face id" in refused("--lm", "nobody/nothing")
    assert "mode of decoders" in refused("--kind", "encoder-decoder", "--mode", "prefix")
    assert "expected 1 to 16384" in refused("--set", "model.vectors=0")
    assert "is not a value of this recipe" in refused("--set", "model.nothing=1")
    figma = CliRunner().invoke(app, ["train", "figma", "--data", str(folder), "--out", "x", "--kind", "prefix"])
    assert "for a captioner" in str(figma.exception)
