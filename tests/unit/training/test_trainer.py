"""The loop: it learns, goes on after a kill with the same bits, and says what is wrong."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_recipes import features_of, tiny, torch

from solfa.alignment.objectives import FigmaConfig, FineLapConfig, UnitedConfig, views_of
from solfa.core.errors import InputError, TrainingError, WeightsError
from solfa.core.types import View
from solfa.encoders.trained import read_description
from solfa.evaluation.ranking import Relevance, rank_relevant
from solfa.evaluation.retrieval import hit_at
from solfa.evaluation.similarity import joint_scores
from solfa.training import checkpoint, validation
from solfa.training import trainer as trainer_module
from solfa.training.model_file import save_model
from solfa.training.recipes import RECIPES
from solfa.training.trainer import Terminated, Trainer
from solfa.training.validation import detection, recalls


def curve(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / checkpoint.METRICS).read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "clips_per_s"} for line in lines]


@pytest.mark.parametrize("name", ["figma", *(pytest.param(n, marks=pytest.mark.slow) for n in ("finelap", "united"))])
def test_every_recipe_learns(name, data, tmp_path):
    objective = {"figma": FigmaConfig(), "finelap": FineLapConfig(bias=-3.0), "united": UnitedConfig(bias=-3.0)}[name]
    recipe = tiny(name, data, epochs=25, objective=objective, ema_decay=0.9)
    trainer = Trainer(recipe, data, tmp_path / "run")
    view = views_of(objective).rank
    before = recalls(trainer.model, data.val, trainer.device, view)
    outcome = trainer.run()
    lines = curve(tmp_path / "run")
    steps = [line for line in lines if "loss" in line]
    assert len(steps) == outcome.steps == 25 * 6 and steps[-1]["loss"] < 0.5 * steps[0]["loss"]
    assert outcome.best == max(line["val_R@1"] for line in lines if "val_R@1" in line)
    assert outcome.best >= 5 / 48 > 3 / 48 >= sum(before) / 2  # chance is 1 in 48
    assert outcome.measure == view.name == {"figma": "mix", "finelap": "global", "united": "mix"}[name]
    assert recalls(trainer.model, data.val, trainer.device, view) == pytest.approx(
        [
            next(line[f"val_{way}_R@1"] for line in lines if line.get("val_R@1") == outcome.best)
            for way in ("T2A", "A2T")
        ]
    )


def test_the_tutorial_learns(data, tmp_path):
    recipe = RECIPES["tutorial"](data.audio.dim, data.text.dim, small=True)
    trainer = Trainer(replace(recipe, batch_size=16, epochs=15, patience=None), data, tmp_path / "run")
    outcome = trainer.run()
    losses = [line["loss"] for line in curve(tmp_path / "run") if "loss" in line]
    assert np.mean(losses[-6:]) < 0.8 * np.mean(losses[:6]) and outcome.best >= 5 / 48  # chance is 1 in 48


def test_validation_ranks_whole_vectors_and_makes_nothing_else(data, tmp_path, monkeypatch):
    trainer = Trainer(tiny("figma", data), data, tmp_path / "run")
    audio, text = features_of(trainer.model, data.val)
    scores, relevance = joint_scores(audio, text, "global"), Relevance.of_targets(range(48), 48)
    both = (scores, relevance), (scores.transposed(), relevance.transposed())
    expected = [hit_at(rank_relevant(*one), 1).mean() for one in both]

    def made(*given):
        raise AssertionError("rows were made")

    for tower in (trainer.model.audio, trainer.model.text):
        monkeypatch.setattr(tower, "rows", made)
    for name in ("audio", "texts"):
        monkeypatch.setattr(data.val, name, made)
    assert list(recalls(trainer.model, data.val, trainer.device)) == expected


@pytest.mark.parametrize("direction", ["frames", "tokens"])
@pytest.mark.parametrize("name", ["figma", "finelap"])
def test_validation_ranks_in_a_view_as_search_and_evaluation_do(name, direction, data, tmp_path):
    trainer = Trainer(tiny(name, data), data, tmp_path / "run")
    audio, text = features_of(trainer.model, data.val)
    captions = [own[0] for own in data.val.captions]
    for view in (View(name="frame", direction=direction), View(name="mix", alpha=0.3, direction=direction)):
        scores = joint_scores(audio, text, view)
        expected = scores.block(slice(0, 48), slice(0, 48))
        by_frame = validation._by_frames(trainer.model, data.val, captions, trainer.device, view)
        share = view.alpha if view.name == "mix" else 0.0
        got = share * (text.global_BD @ audio.global_BD.T) + (1 - share) * by_frame
        np.testing.assert_allclose(got, expected, atol=1e-5)
        hits = hit_at(rank_relevant(scores, Relevance.of_targets(range(48), 48)), 1)
        found = recalls(trainer.model, data.val, trainer.device, view)[0]
        assert found == pytest.approx(hits.mean(), abs=1.5 / 48)  # scores are equal to rounding, and may be tied


@pytest.mark.parametrize(("changes", "measure"), [
    ({"objective": FigmaConfig(alpha=0.0)}, "frame"), ({"objective": FigmaConfig(alpha=1.0)}, "global"),
    ({"select": "global"}, "global"), ({"select": "detection"}, "detection"), ({"select": "last"}, "last"),
])  # fmt: skip
def test_the_weights_are_those_of_the_best_epoch_by_the_measure(changes, measure, data, tmp_path):
    recipe = tiny("figma", data, epochs=4, ema_decay=None, learning_rate=0.02, patience=1, **changes)
    seen = []

    def keep(progress):
        if "val_loss" in progress.metrics:
            kept = {n: t.detach().clone() for n, t in trainer.model.state_dict().items()}
            seen.append((next((v for k, v in progress.metrics.items() if k in ("val_R@1", "val_mAP")), None), kept))

    trainer = Trainer(recipe, data, tmp_path / "run")
    outcome = trainer.run(report=keep)
    assert outcome.measure == measure and all(np.isfinite(line["val_loss"]) for line in curve(tmp_path / "run")[6::7])
    if measure == "last":
        assert outcome.best is None and outcome.text is None and len(seen) == 4 and not outcome.stopped_early
        best = 3
    else:
        scores = [score for score, _ in seen]
        best = int(np.argmax(scores))  # the first of equal ones
        assert outcome.best == scores[best] and f"{scores[best]:.4f}" in outcome.text
        now = (
            detection(trainer.model, data.val, trainer.device)
            if measure == "detection"
            else sum(recalls(trainer.model, data.val, trainer.device, View(name=measure))) / 2
        )
        assert now == outcome.best
    assert all(torch.equal(t, seen[best][1][n]) for n, t in trainer.model.state_dict().items())


def test_detection_is_average_precision_of_frames(data, tmp_path, monkeypatch):
    scores, true = np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])
    assert validation.average_precision(scores, true) == pytest.approx((1 + 2 / 3) / 2)
    assert validation.average_precision(np.zeros(4), true) == 0.5  # one score for all finds nothing
    trainer = Trainer(tiny("finelap", data), data, tmp_path / "run")
    before = detection(trainer.model, data.val, trainer.device)
    trainer = Trainer(
        tiny("finelap", data, epochs=20, objective=FineLapConfig(alpha=0, bias=-3.0)), data, tmp_path / "b"
    )
    outcome = trainer.run()
    assert outcome.measure == "detection" and outcome.best > 0.8 > before + 0.2
    bare = replace(data, val=data.val.relabelled(phrases=[()] * len(data.val)))
    with pytest.raises(InputError, match=r"no clip of the validation split has timed phrases.*select=last"):
        Trainer(tiny("figma", data, select="detection"), bare, tmp_path / "c")


def test_same_seed_same_bits_and_another_seed_another_curve(data, tmp_path):
    for run, seed in (("a", 0), ("b", 0), ("c", 1)):
        Trainer(tiny("united", data, seed=seed), data, tmp_path / run).run()
    assert curve(tmp_path / "a") == curve(tmp_path / "b") != curve(tmp_path / "c")


@pytest.mark.parametrize("name", ["figma", "finelap", "united"])
def test_chunks_change_nothing(name, data, tmp_path):
    whole, chunks = (tiny(name, data, chunk_size=size) for size in (None, 5))
    flat = {}
    for key, recipe in (("whole", whole), ("chunks", chunks)):
        trainer = Trainer(recipe, data, tmp_path / key)
        for module in trainer.model.modules():  # dropout draws other masks for other shapes
            if hasattr(module, "dropout"):
                module.dropout = 0.0
        batch = next(iter(trainer.loader))
        terms = trainer._backward(batch.to(trainer.device))
        flat[key] = torch.cat([*(t[None] for t in terms.values()), *(p.grad.flatten() for p in trainer.parameters)])
    torch.testing.assert_close(flat["whole"], flat["chunks"], atol=2e-6, rtol=1e-4)


SCRIPT = """
import os, signal, sys
sys.path.insert(0, {here!r})
from pathlib import Path
import torch
torch.set_num_threads(1)
from tiny_recipes import tiny
from small import BANK, Hear, Read
from solfa.datasets.shards import Dataset
from solfa.training.batches import prepare
from solfa.training.trainer import Trainer, joined
folder = Path({folder!r})
data = prepare(Dataset.open(folder), folder / "features", audio=Hear(), text=Read(), phrases=True, bank=BANK)
run, last = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None

def report(_):
    if last is not None and (run / "metrics.jsonl").read_text().count("\\n") >= last:
        os.kill(os.getpid(), signal.SIGKILL)

with joined():
    Trainer(tiny({name!r}, data, **{changes!r}), data, run).run(resume=True, report=report)
"""


def script(path: Path, folder: Path, name: str, **changes: object) -> Path:
    path.write_text(SCRIPT.format(here=str(Path(__file__).parent), folder=str(folder), name=name, changes=changes))
    return path


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_same_bits(data, folder, tmp_path):
    code = script(tmp_path / "train.py", folder, "united", epochs=6, checkpoint_every=4, chunk_size=10)
    subprocess.run([sys.executable, code, tmp_path / "whole"], check=True, timeout=300)
    for lines in (6, 17, 29):  # killed three times, within an epoch
        killed = subprocess.run([sys.executable, code, tmp_path / "killed", str(lines)], timeout=300, check=False)
        assert killed.returncode == -signal.SIGKILL
    subprocess.run([sys.executable, code, tmp_path / "killed"], check=True, timeout=300)
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    for file in (checkpoint.BEST, checkpoint.CHECKPOINT):
        one, other = (checkpoint.load(tmp_path / run / file)[0] for run in ("killed", "whole"))
        assert one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.slow
def test_two_processes_train_as_one(data, folder, tmp_path):
    # FIGMA draws nothing but the order and dropout; without dropout one process and two see the same.
    code = script(tmp_path / "train.py", folder, "figma", epochs=2, dropout=0.0)
    subprocess.run([sys.executable, code, tmp_path / "one"], check=True, timeout=300)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*command, code, tmp_path / "two"], check=True, timeout=300, capture_output=True)
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert len(one) == len(two) > 10
    for a, b in zip(one, two, strict=True):
        assert a.get("loss", 0) == pytest.approx(b.get("loss", 0), rel=1e-3)


def test_learning_rate_and_early_stopping(data, tmp_path):
    trainer = Trainer(tiny("figma", data, epochs=10), data, tmp_path / "a")
    rates = [trainer.learning_rate(step) for step in range(trainer.num_steps)]
    assert rates[0] == pytest.approx(3e-3 / 5) and max(rates) == 3e-3 and rates[-1] < 1e-5
    constant = Trainer(tiny("figma", data, schedule="constant"), data, tmp_path / "b")
    assert constant.learning_rate(11) == 3e-3
    frozen = tiny("figma", data, epochs=10, patience=2, learning_rate=0.0)
    outcome = Trainer(frozen, data, tmp_path / "c").run()
    assert outcome.stopped_early and outcome.epochs == 3
    warming = Trainer(replace(frozen, warmup_steps=25), data, tmp_path / "d").run()  # six steps an epoch
    assert warming.stopped_early and warming.epochs == 6


def test_what_is_not_finite_stops_the_run_and_names_the_clips(data, tmp_path, monkeypatch):
    trainer = Trainer(tiny("figma", data), data, tmp_path / "run")
    batch = next(iter(trainer.loader))
    batch.frames_BTD[0, 0, 0] = torch.nan
    weights = [p.clone() for p in trainer.parameters]
    with pytest.raises(TrainingError, match=f"have states that are not finite: {batch.ids[0]}. Compute"):
        trainer.step(batch)
    assert all(torch.equal(a, b) for a, b in zip(weights, trainer.parameters, strict=True))
    monkeypatch.setattr(trainer_module, "gather", lambda rows: torch.ones(32))  # of another process, too
    batch.frames_BTD[0, 0, 0] = 0.0
    broken = {"loss": math.nan}
    assert "Another process names clips" in trainer_module._not_finite(1, broken, batch, tuned=False)
    monkeypatch.undo()
    with torch.no_grad():
        trainer.parameters[0].fill_(torch.inf)
    with pytest.raises(TrainingError, match=f"learning rate.*{batch.ids[-1]}"):
        trainer.step(next(iter(Trainer(tiny("figma", data), data, tmp_path / "other").loader)))


def test_the_running_mean_of_a_short_run_is_near_its_weights_and_not_where_they_began(data, tmp_path):
    trainer = Trainer(tiny("figma", data, ema_decay=0.999, schedule="constant"), data, tmp_path / "run")
    began = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
    for _ in range(3):
        for batch in trainer.loader:
            trainer.step(batch)
    moved, left = (
        sum(float((kept[n] - p.detach()).square().sum()) for n, p in trainer.model.named_parameters())
        for kept in (began, trainer.mean)
    )
    assert 0 < left < 0.25 * moved


def test_a_batch_that_does_not_fit_says_what_is_long(data, tmp_path, monkeypatch):
    trainer = Trainer(tiny("figma", data, chunk_size=8), data, tmp_path / "run")

    def full(batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trainer, "_backward", full)
    with pytest.raises(TrainingError, match=r"step 1: 8 pairs do not fit.*6 frames \(train.*smaller --chunk-size"):
        trainer.step(next(iter(trainer.loader)))


def test_a_run_goes_on_only_from_the_model_it_started_from(data, tmp_path):
    first = Trainer(tiny("figma", data), data, tmp_path / "first")
    given = {"audio": data.audio, "text": data.text, "backbones": ("hear", "read"), "trained_on": {}}
    path = save_model(tmp_path / "model", first.model, name="figma", **given)

    def stop(progress):  # before there is a checkpoint
        raise InterruptedError

    with pytest.raises(InterruptedError):
        Trainer(tiny("figma", data), data, tmp_path / "run", init=path).run(report=stop)
    space = read_description(path)["space"]
    with pytest.raises(InputError, match=f"init: '{space}' there, None now"):
        Trainer(tiny("figma", data), data, tmp_path / "run").run(resume=True)
    Trainer(tiny("figma", data), data, tmp_path / "run", init=path).run(resume=True)


def test_a_folder_is_of_one_process_and_half_files_of_killed_ones_go(tmp_path):
    with checkpoint.locked(tmp_path / "run"):
        half = tmp_path / "run" / ".solfa-0123.tmp"
        half.mkdir()
        (tmp_path / "run" / ".solfa-4567.tmp").write_bytes(b"half a checkpoint")
        with pytest.raises(InputError, match="another process is training here"), checkpoint.locked(tmp_path / "run"):
            raise AssertionError
        assert half.exists()
    with checkpoint.locked(tmp_path / "run"):
        assert not list((tmp_path / "run").glob("*.tmp"))


def test_what_the_disk_refuses_is_one_clear_error(tmp_path):
    with pytest.raises(InputError, match=r"best.safetensors: No space.*--resume"), checkpoint.locked(tmp_path / "run"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "best.safetensors")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Not a directory"), checkpoint.locked(tmp_path / "file" / "run"):
        raise AssertionError


def test_the_revision_is_of_this_package_and_no_other_repository(tmp_path, monkeypatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "init", "-q"], check=True)
    package = tmp_path / "venv" / "checkpoint.py"
    package.parent.mkdir()
    package.write_text("")
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    monkeypatch.setattr(checkpoint, "__file__", str(package))
    assert checkpoint._git_revision() is None
    subprocess.run([*git, "add", str(package)], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "ours"], check=True)
    clean = checkpoint._git_revision()
    assert clean is not None and len(clean) == 40
    package.write_text("changed")
    assert checkpoint._git_revision() == f"{clean}-dirty"


def test_a_folder_with_a_run_is_refused_or_must_be_the_same_run(data, tmp_path):
    recipe = tiny("figma", data)
    Trainer(recipe, data, tmp_path / "run").run()
    with pytest.raises(InputError, match="--resume"):
        Trainer(recipe, data, tmp_path / "run").run()
    before = curve(tmp_path / "run")
    Trainer(recipe, data, tmp_path / "run").run(resume=True)  # it had ended: nothing more to do
    assert curve(tmp_path / "run") == before
    with pytest.raises(InputError, match=r"learning_rate: 0.003 there, 0.1 now"):
        Trainer(replace(recipe, learning_rate=0.1), data, tmp_path / "run").run(resume=True)
    with pytest.raises(InputError, match=r"data\.revision"):
        Trainer(recipe, replace(data, stated={**data.stated, "revision": "other"}), tmp_path / "run").run(resume=True)
    (tmp_path / "run" / checkpoint.CHECKPOINT).write_bytes(b"junk" * 100)
    with pytest.raises(WeightsError, match="not a checkpoint"):
        Trainer(recipe, data, tmp_path / "run").run(resume=True)


def test_what_changes_no_step_may_change_and_is_history(data, tmp_path):
    recipe = tiny("figma", data, epochs=3, schedule="constant", dropout=0.0)
    Trainer(recipe, data, tmp_path / "long").run()
    run = tmp_path / "run"
    assert Trainer(replace(recipe, epochs=1), data, run).run().epochs == 1
    changed = replace(recipe, chunk_size=5, patience=7, checkpoint_every=2)
    assert Trainer(changed, data, run).run(resume=True).epochs == 3
    for one, other in zip(curve(run), curve(tmp_path / "long"), strict=True):
        # Chunks round otherwise: losses stay, ranks of a model that has hardly learned may change places.
        one, other = ({k: v for k, v in line.items() if "R@" not in k} for line in (one, other))
        assert one == pytest.approx(other, rel=1e-3, abs=0.03)
    history = [json.loads(line) for line in (run / checkpoint.HISTORY).read_text().splitlines()]
    kept = [{k: line[k] for k in ("step", "num_devices", *checkpoint.MAY_CHANGE)} for line in history]
    assert kept == [
        {"step": 0, "num_devices": 1, "epochs": 1, "chunk_size": None, "patience": None, "checkpoint_every": 100},
        {"step": 6, "num_devices": 1, "epochs": 3, "chunk_size": 5, "patience": 7, "checkpoint_every": 2},
    ]
    assert all(set(line["versions"]) == {"solfa", "torch", "python"} and line["device"] == "cpu" for line in history)
    stopped = tiny("figma", data, epochs=10, patience=1, learning_rate=0.0)
    assert Trainer(stopped, data, tmp_path / "early").run().epochs == 2
    assert Trainer(replace(stopped, patience=3), data, tmp_path / "early").run(resume=True).epochs == 4


def test_a_cosine_of_more_epochs_is_followed_from_the_step_that_was_reached(data, tmp_path):
    recipe = tiny("figma", data, epochs=2)
    Trainer(recipe, data, tmp_path / "run").run()
    trainer = Trainer(replace(recipe, epochs=4), data, tmp_path / "run")
    trainer.run(resume=True)
    rates = [line["lr"] for line in curve(tmp_path / "run") if "lr" in line]
    assert rates[12:] == [trainer.learning_rate(step) for step in range(12, 24)] and rates[11] < rates[12]


@pytest.mark.parametrize("step", [2, 6, 12])
def test_sigterm_writes_a_checkpoint_and_the_run_goes_on_with_the_same_bits(step, data, tmp_path):
    recipe = tiny("united", data, epochs=2, checkpoint_every=10**6, bucket_batches=3)
    Trainer(recipe, data, tmp_path / "whole").run()

    def end(progress):
        if progress.step == step and "loss" in progress.metrics:
            os.kill(os.getpid(), signal.SIGTERM)

    handler = signal.getsignal(signal.SIGTERM)
    if step == 12:  # it has ended: nothing is left to do
        Trainer(recipe, data, tmp_path / "run").run(report=end)
    else:
        with pytest.raises(Terminated, match=f"at step {step}, a checkpoint is written"):
            Trainer(recipe, data, tmp_path / "run").run(report=end)
        assert checkpoint.load(tmp_path / "run" / checkpoint.CHECKPOINT)[1]["step"] == step
        Trainer(recipe, data, tmp_path / "run").run(resume=True)
    assert signal.getsignal(signal.SIGTERM) is handler
    assert curve(tmp_path / "run") == curve(tmp_path / "whole")
    for file in (checkpoint.BEST, checkpoint.CHECKPOINT):
        one, other = (checkpoint.load(tmp_path / run / file)[0] for run in ("run", "whole"))
        assert one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_a_checkpoint_of_another_model_is_refused(data, tmp_path):
    Trainer(tiny("figma", data), data, tmp_path / "a").run()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / checkpoint.CHECKPOINT).write_bytes((tmp_path / "a" / checkpoint.CHECKPOINT).read_bytes())
    with pytest.raises(WeightsError, match="does not fit this model"):
        Trainer(tiny("finelap", data), data, tmp_path / "b").run(resume=True)


def test_counters_of_another_form_are_refused(data, tmp_path):
    Trainer(tiny("figma", data), data, tmp_path / "run").run()
    file = tmp_path / "run" / checkpoint.CHECKPOINT
    tensors, state = checkpoint.load(file)
    for change in ({"step": "12"}, {"loader": 3}, {"more": 1}):
        checkpoint.save(file, tensors, {**state, **change})
        with pytest.raises(WeightsError, match="does not fit this model"):
            Trainer(tiny("figma", data), data, tmp_path / "run").run(resume=True)


def test_a_run_goes_on_with_the_blocks_that_its_kernel_was_tuned_to(data, tmp_path, monkeypatch):
    taken, choices = [], {"forward, float32, width 64, tokens 16": [64, 64, 32, 8, 4, 4]}
    monkeypatch.setattr(trainer_module, "kernel_choices", lambda: choices)
    monkeypatch.setattr(trainer_module, "use_kernel_choices", taken.append)
    Trainer(tiny("figma", data), data, tmp_path / "run").run()
    Trainer(tiny("figma", data), data, tmp_path / "run").run(resume=True)
    assert taken == [choices]
    file = tmp_path / "run" / checkpoint.CHECKPOINT
    tensors, state = checkpoint.load(file)
    del state["kernels"]  # of an earlier release
    checkpoint.save(file, tensors, state)
    Trainer(tiny("figma", data), data, tmp_path / "run").run(resume=True)
    assert taken == [choices, {}]


def test_lines_of_metrics_that_are_not_whole_go(data, tmp_path):
    Trainer(tiny("figma", data), data, tmp_path / "run").run()
    before = curve(tmp_path / "run")
    with (tmp_path / "run" / checkpoint.METRICS).open("ab") as file:
        file.write(b'\0\0\n{}\n3\n{"step": "x"}\n\xff\n{"step": 1')
    Trainer(tiny("figma", data), data, tmp_path / "run").run(resume=True)
    assert curve(tmp_path / "run") == before


def test_values_of_a_recipe_that_mean_nothing_are_refused(data):
    bad = {"epochs": 0, "chunk_size": -3, "warmup_steps": -1, "grad_clip": 0.0, "ema_decay": 1.5, "patience": 0,
           "checkpoint_every": 0, "learning_rate": float("nan"), "select": "best",
           "precision": "float16", "schedule": "x"}  # fmt: skip
    for name, value in bad.items():
        with pytest.raises(InputError, match=f"recipe: out of range: {name} {value!r}"):
            tiny("figma", data, **{name: value})


def test_batches_larger_than_the_data_and_uneven_ones(data, tmp_path):
    with pytest.raises(InputError, match="do not fill one batch"):
        Trainer(tiny("figma", data, batch_size=1000), data, tmp_path)


def test_config_says_what_the_run_was(data, tmp_path):
    Trainer(tiny("figma", data), data, tmp_path / "run").run()
    config = json.loads((tmp_path / "run" / checkpoint.CONFIG).read_text())
    assert config["fixed"]["data"]["revision"] == data.stated["revision"] and config["fixed"]["recipe"]["seed"] == 0
    assert config["fixed"]["recipe"]["model"]["audio"]["whole"]["kind"] == "transformer"
    assert set(config["versions"]) == {"solfa", "torch", "python"}
    assert np.isfinite([line["loss"] for line in curve(tmp_path / "run") if "loss" in line]).all()


@pytest.mark.gpu
def test_a_gpu_follows_the_same_curve(data, tmp_path):
    losses = []
    for device in ("cpu", "cuda"):
        trainer = Trainer(tiny("united", data, epochs=2), data, tmp_path / device, device=device)
        for module in trainer.model.modules():  # dropout draws other masks on another device
            if hasattr(module, "dropout"):
                module.dropout = 0.0
        trainer.run()
        losses.append([line["loss"] for line in curve(tmp_path / device) if "loss" in line])
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.01)
