"""What ``solfa train`` refuses, and that it does so before states are computed."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path

import pytest
from small import body, make_data
from typer.testing import CliRunner

from solfa.apps.cli import app
from solfa.core.errors import InputError, MissingExtra, MissingWeights, SolfaError, WeightsError
from solfa.encoders import minilm, trained
from solfa.encoders.registry import load_model
from solfa.training import run as running
from solfa.training import trainer


@pytest.fixture(autouse=True)
def small_backbones(without_model, monkeypatch):
    monkeypatch.setattr(trained, "load_backbone", body)


@pytest.fixture(scope="module")
def done(folder, tmp_path_factory) -> Path:
    """The folder of a run."""
    out = tmp_path_factory.mktemp("done") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained, "load_backbone", body)
        result = train(folder, out)
    assert result.exit_code == 0
    return out


def train(folder: Path, out: Path, *more: str, recipe: str = "figma"):
    command = ["train", recipe, "--data", str(folder), "--out", str(out), "--features", str(out.parent / "features")]
    command += ["--set=model.audio.whole.width=32", "--set=model.text.whole.width=32"] if recipe == "figma" else []
    return CliRunner().invoke(app, [*command, "--epochs", "1", "--batch-size", "32", *more])


def refused(folder: Path, out: Path, *more: str, recipe: str = "figma") -> SolfaError:
    """The error, seen to come before any work."""
    before = sorted(out.parent.rglob("*"))
    error = train(folder, out, *more, recipe=recipe).exception
    assert isinstance(error, SolfaError), error
    assert sorted(out.parent.rglob("*")) == before
    return error


def test_onnx_is_missed_before_the_first_step(folder, tmp_path, monkeypatch):
    real = running.find_spec
    monkeypatch.setattr(running, "find_spec", lambda name: None if name == "onnx" else real(name))
    error = refused(folder, tmp_path / "run")
    assert isinstance(error, MissingExtra) and "pip install 'solfa[torch]'" in str(error)


def test_scipy_is_missed_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    monkeypatch.delitem(sys.modules, "solfa.training.validation")
    with pytest.raises(MissingExtra, match=r"pip install 'solfa\[torch\]'"):
        import_module("solfa.training.validation")


@pytest.mark.parametrize("device", ["nope", "cuda:99"])
def test_devices_that_torch_cannot_use(device, folder, tmp_path, monkeypatch):
    assert f"the device {device!r} cannot be used" in str(refused(folder, tmp_path / "run", "--device", device))
    monkeypatch.setenv("WORLD_SIZE", "2")  # as torchrun does
    assert f"the device {device!r} cannot be used" in str(refused(folder, tmp_path / "run", "--device", device))


def test_a_folder_of_other_files(folder, tmp_path):
    out = tmp_path / "letters"
    out.mkdir()
    (out / "dear.txt").write_text("keep me")
    assert "holds other files, not a run" in str(refused(folder, out))
    assert "it is a file" in str(refused(folder, out / "dear.txt"))
    (out / "dear.txt").rename(out / ".hidden")
    (out / "features").mkdir()
    assert train(folder, out, "--features", str(out / "features")).exit_code == 0


def test_a_folder_with_a_run(folder, done, tmp_path):
    features = ("--features", str(tmp_path / "features"))
    assert "--resume" in str(refused(folder, done, *features))
    other = str(refused(folder, done, *features, "--resume", "--lr", "0.5"))
    assert "learning_rate: 0.0005 there, 0.5 now" in other and "same options with --resume" in other
    assert not (tmp_path / "features").exists()
    assert train(folder, done, "--resume").exit_code == 0


def test_numbers_that_are_none(folder, tmp_path):
    for given in (("--lr", "inf"), ("--body-lr", "inf"), ("--crop-s", "inf"), ("--seed", "9" * 30)):
        assert train(folder, tmp_path / "run", *given).exit_code == 2
    assert not list(tmp_path.iterdir())


def test_phrases_are_needed_where_frames_are_trained_on_them(tmp_path):
    make_data(tmp_path / "data", splits={"train": 1}, timed=False)
    for recipe in ("finelap", "united"):
        error = train(tmp_path / "data", tmp_path / recipe, recipe=recipe).exception
        assert isinstance(error, InputError) and "has timed phrases" in str(error)
    assert not (tmp_path / "features").exists()
    assert train(tmp_path / "data", tmp_path / "run").exit_code == 0


def test_a_batch_larger_than_the_data(folder, tmp_path):
    error = str(refused(folder, tmp_path / "run", "--batch-size", "97"))
    assert "96 clips" in error and "--batch-size 48" in error
    make_data(tmp_path / "one" / "data", clips=1, splits={"train": 1})
    assert "Two are the least" in str(refused(tmp_path / "one" / "data", tmp_path / "one" / "run"))


def test_a_batch_that_cannot_be_spread(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "num_devices", lambda: 3)
    with pytest.raises(InputError, match="Use: --batch-size 63"):
        running.run("figma", folder, tmp_path / "run", features=tmp_path / "features")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda place, mode: place != tmp_path)
    assert f"{tmp_path / 'a' / 'run'} cannot be used: Permission denied" in str(refused(folder, tmp_path / "a" / "run"))


def test_a_model_to_start_from_that_is_none_or_another(folder, done, tmp_path):
    error = refused(folder, tmp_path / "run", "--init", str(tmp_path / "no"))
    assert isinstance(error, WeightsError) and "no model.json" in str(error)
    assert f"its model is {done / 'model'}" in str(refused(folder, tmp_path / "run", "--init", str(done)))
    error = refused(folder, tmp_path / "run", "--init", str(done / "model"), recipe="finelap")
    assert isinstance(error, InputError) and "other projectors" in str(error)


def test_missing_files_of_the_text_body_are_missed_before_sound_is_heard(folder, tmp_path, monkeypatch):
    def missing(name):
        raise MissingWeights(name)

    def computed(*given):
        raise AssertionError("states were computed")

    deaf = body("taggers")
    deaf.states = computed
    monkeypatch.setattr(minilm, "path", missing)
    monkeypatch.setattr(trained, "load_backbone", lambda name, kind, **o: deaf if kind == "audio" else minilm.MiniLM())
    error = train(folder, tmp_path / "run").exception
    assert isinstance(error, MissingWeights) and "solfa models pull minilm" in str(error)


def test_an_interrupted_run_says_how_to_go_on(folder, tmp_path, monkeypatch):
    def interrupted(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(running.Trainer, "step", interrupted)
    result = train(folder, tmp_path / "run")
    assert result.exit_code == 130 and "stopped; go on with --resume" in result.output
    monkeypatch.undo()
    monkeypatch.setattr(trained, "load_backbone", body)
    assert train(folder, tmp_path / "run", "--resume").exit_code == 0


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_files_of_a_model_are_for_all_whom_umask_lets(done):
    umask = os.umask(0)
    os.umask(umask)
    assert {f.stat().st_mode & 0o777 for f in (done / "model").iterdir()} == {0o666 & ~umask}


def test_names_of_models_that_are_nearly_right(done):
    with pytest.raises(WeightsError, match=f"trained:{done}/model"):
        load_model(f"trained:{done}")
    for name in ("trained", "trained:"):
        with pytest.raises(InputError, match="trained:FOLDER"):
            load_model(name)
    for folder in (done, done / "model"):
        with pytest.raises(InputError, match=f"Use: trained:{done}/model"):
            load_model(str(folder))
    with pytest.raises(InputError, match="unknown model"):
        load_model("x" * 5000)


def test_without_a_validation_split_it_is_said_once(tmp_path, folder, done):
    make_data(tmp_path / "data", splits={"train": 1})
    result = train(tmp_path / "data", tmp_path / "run")
    assert result.exit_code == 0 and result.output.count("no val split: the last weights are kept") == 1
    assert "no val split" not in train(folder, done, "--resume").output


def test_ablations_are_flags(folder, tmp_path):
    more = ["--frames", "linear", "--set", "objective.clip_loss=infonce", "--set", "patience=none"]
    assert train(folder, tmp_path / "run", *more, recipe="finelap").exit_code == 0
    recipe = json.loads((tmp_path / "run" / "config.json").read_text())["fixed"]["recipe"]
    assert recipe["objective"]["clip_loss"] == "infonce" and recipe["patience"] is None
    assert recipe["model"]["audio"]["rows"]["kind"] == "mlp"
    for wrong in (["--frames", "linear"], ["--set", "objective.alpha"], ["--set", "beta=2"]):
        assert isinstance(train(folder, tmp_path / "none", *wrong).exception, InputError)
    assert not (tmp_path / "none").exists()
