"""``solfa train`` as it is used: runs made again from their record, several data sets, phrase banks, trackers."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from small import BANK, body, make_data
from typer.testing import CliRunner

from solfa.apps.cli import app
from solfa.core.errors import InputError, MissingExtra
from solfa.datasets.shards import Dataset
from solfa.encoders import trained
from solfa.training import run as running


@pytest.fixture(autouse=True)
def small_backbones(monkeypatch):
    monkeypatch.setattr(trained, "load_backbone", body)


def train(*given: object):
    return CliRunner().invoke(app, ["train", *map(str, given)])


def losses(out: Path) -> list[float]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def config(out: Path) -> dict:
    return json.loads((out / "config.json").read_text())


@pytest.mark.usefixtures("without_model")
def test_a_run_is_made_again_from_its_config(folder, tmp_path):
    sizes = ["model.audio.whole.width=32", "model.text.whole.width=32", "objective.bias=-3", "bucket_batches=2"]
    given = [f"--set={size}" for size in ("objective.beta=0.5", "num_phrases=4", sizes[2], sizes[3])]
    BANK.save(tmp_path / "bank.jsonl")
    out, again = tmp_path / "run", tmp_path / "again"
    options = ["--features", tmp_path / "f", "--bank", tmp_path / "bank.jsonl", "--epochs", 1, "--batch-size", 32]
    done = train("finelap", "--data", folder, "--out", out, *options, "--frames", "linear", "--seed", 3, *given)
    assert done.exit_code == 0, done.output
    assert train("--config", out / "config.json", "--out", again).exit_code == 0
    one, other = config(out), config(again)
    assert one["fixed"] == other["fixed"] and one["command"] == other["command"]
    assert losses(out) == losses(again) and one["fixed"]["recipe"]["objective"]["beta"] == 0.5
    assert one["fixed"]["data"]["bank"] == other["fixed"]["data"]["bank"] != ""
    done = train(
        "finelap", f"--config={out / 'config.json'}", "--out", tmp_path / "b", "--lr", 0.01, "--frames", "bigru"
    )
    assert done.exit_code == 0 and config(tmp_path / "b")["fixed"]["recipe"]["learning_rate"] == 0.01
    assert config(tmp_path / "b")["fixed"]["recipe"]["model"]["audio"]["rows"]["kind"] == "bigru"
    assert "is of the recipe finelap" in str(train("figma", "--config", out / "config.json", "--out", again).exception)
    plain = {**one, "command": {**one["command"], "audio": 3}}
    for text in ("{}", "[", "3", "[" * 100_000, json.dumps(plain), json.dumps({**one, "fixed": {"recipe": 3}})):
        (tmp_path / "bad.json").write_text(text)
        error = train("--config", tmp_path / "bad.json", "--out", tmp_path / "no").exception
        assert isinstance(error, InputError) and "not the config.json of a run" in str(error)
    assert isinstance(train("--config", tmp_path / "none", "--out", tmp_path / "no").exception, InputError)
    assert "--data FOLDER" in str(train("figma", "--out", tmp_path / "no").exception)
    assert not (tmp_path / "no").exists()


def test_sizes_of_projectors_are_flags(folder, tmp_path):
    given = ["figma", "--data", folder, "--features", tmp_path / "f", "--epochs", 1, "--batch-size", 32]
    widths = [f"--set=model.{side}.whole.{what}" for side in ("audio", "text") for what in ("width=32", "out_dim=24")]
    assert train(*given, "--out", tmp_path / "run", *widths).exit_code == 0
    assert json.loads((tmp_path / "run" / "model" / "model.json").read_text())["dim"] == 24
    before = sorted(tmp_path.iterdir())
    for wrong in (widths[1:2], ["--set=model.audio.whole.num_heads=7"], ["--set=objective.alpha=3"]):
        assert isinstance(train(*given, "--out", tmp_path / "no", *wrong).exception, InputError)
    assert sorted(tmp_path.iterdir()) == before  # seen before states are computed


def test_several_data_sets_with_weights(folder, tmp_path):
    bare = make_data(tmp_path / "bare=1", clips=20, splits={"train": 1, "val": 1}, timed=False)
    both = ["--data", f"{folder}=0.75", "--data", f"{tmp_path / 'bare=1'}=0.25"]
    sizes = [f"--set=model.{side}.whole.{what}=32" for side in ("audio", "text") for what in ("width", "feed_forward")]
    given = ["united", "--features", tmp_path / "f", "--batch-size", 16, "--set", "checkpoint_every=3", *sizes]
    done = train(*given, *both, "--out", tmp_path / "run", "--epochs", 2)
    assert done.exit_code == 0, done.output
    data = config(tmp_path / "run")["fixed"]["data"]
    revisions = [Dataset.open(folder).revision, bare.revision]
    assert [(s["revision"], s["num_clips"], s["weight"]) for s in data["sets"]] == [
        (revisions[0], 96, 0.75), (revisions[1], 20, 0.25),
    ]  # fmt: skip
    assert data["num_clips"] == 116 and data["revision"] == " + ".join(revisions)
    assert "notes + notes" in (tmp_path / "run" / "model" / "README.md").read_text()
    again = train("--config", tmp_path / "run" / "config.json", "--out", tmp_path / "again")
    assert again.exit_code == 0 and losses(tmp_path / "again") == losses(tmp_path / "run")
    plain = train(*given, "--data", folder, "--data", tmp_path / "bare=1", "--out", tmp_path / "plain", "--epochs", 1)
    assert plain.exit_code == 0 and losses(tmp_path / "plain") != losses(tmp_path / "run")[:7]
    more = [*given, "--epochs", 2, "--resume", "--out", tmp_path / "run"]
    other = train(*more, "--data", f"{folder}=0.5", "--data", f"{tmp_path / 'bare=1'}=0.5")
    assert "data.sets" in str(other.exception)
    assert train(*more, *both).exit_code == 0
    for wrong, told in ([(folder, folder), "given twice"], [(f"{folder}=1", tmp_path / "bare=1"), "to none"],
                        [(f"{folder}=-1",), "a share of -1"], [(f"{folder}=nan",), "a share of nan"],
                        [(f"{folder}=x",), "not a data set"]):  # fmt: skip
        sets = [part for one in wrong for part in ("--data", one)]
        error = train(*given, *sets, "--out", tmp_path / "no").exception
        assert isinstance(error, InputError) and told in str(error)


@pytest.mark.usefixtures("without_model")
def test_a_bank_of_ones_own(folder, tmp_path):
    given = [
        "--data",
        folder,
        "--features",
        tmp_path / "f",
        "--epochs",
        1,
        "--batch-size",
        32,
        "--out",
        tmp_path / "run",
    ]
    (tmp_path / "bank.jsonl").write_text('{"phrase": "rain", "alternatives": []}\n' * 1)
    few = train("united", *given, "--bank", tmp_path / "bank.jsonl").exception
    assert "Use a larger bank or fewer phrases" in str(few)  # its one cluster, and those of the data, are not twenty
    done = train("united", *given, "--bank", tmp_path / "bank.jsonl", "--set", "num_phrases=5", "--resume")
    assert "num_phrases: 20 there, 5 now" in str(done.exception)
    given[-1] = tmp_path / "other"
    assert train("united", *given, "--bank", tmp_path / "bank.jsonl", "--set", "num_phrases=5").exit_code == 0
    assert "leave the phrase bank out" in str(
        train("figma", *given[:-1], tmp_path / "x", "--bank", tmp_path / "bank.jsonl").exception
    )
    assert "cannot be read" in str(train("united", *given[:-1], tmp_path / "x", "--bank", tmp_path / "no").exception)


def test_sigterm_is_one_line_and_its_own_exit_code(folder, tmp_path, monkeypatch):
    step = running.Trainer.step

    def ended(self, batch):
        os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch)

    monkeypatch.setattr(running.Trainer, "step", ended)
    given = ["figma", "--data", folder, "--features", tmp_path / "f", "--epochs", 1, "--batch-size", 32]
    done = train(*given, "--out", tmp_path / "run")
    assert done.exit_code == 143
    assert "solfa: stopped at step 1, a checkpoint is written; go on with --resume" in done.output


@pytest.mark.usefixtures("without_model")
@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_the_command_writes_for_trackers(name, folder, tmp_path, monkeypatch):
    seen: list[tuple] = []
    module = SimpleNamespace(
        init=lambda **given: seen.append(("init", given)), finish=lambda: seen.append(("finish",)),
        log=lambda metrics, step: seen.append(("log", metrics, step)),
    )  # fmt: skip
    given = [
        "figma",
        "--data",
        folder,
        "--features",
        tmp_path / "f",
        "--epochs",
        1,
        "--batch-size",
        32,
        "--track",
        name,
    ]
    monkeypatch.setitem(sys.modules, name, None)
    error = train(*given, "--out", tmp_path / "no").exception
    assert isinstance(error, MissingExtra) and f"pip install {name}" in str(error) and not (tmp_path / "no").exists()
    monkeypatch.setitem(sys.modules, name, module)
    assert train(*given, "--out", tmp_path / "run").exit_code == 0
    assert seen[0][0] == "init" and seen[0][1]["project"] == "solfa" and seen[0][1]["group"] == "run"
    assert seen[0][1]["config"]["name"] == "figma" and seen[-1] == ("finish",)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in line.items() if k != "clips_per_s"} for line in lines] == [one[1] for one in seen[1:-1]]
    assert isinstance(train(*given, "--track", "nope", "--out", tmp_path / "no").exception, InputError)
