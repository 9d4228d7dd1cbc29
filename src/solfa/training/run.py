"""From a data set's folder to a model's folder. Needs torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import distributed

from solfa.core.errors import UnknownName
from solfa.data.scenes.bank import PhraseBank
from solfa.data.shards import Dataset
from solfa.encoders.trained import load_body
from solfa.models.gather import num_devices
from solfa.training.batches import prepare
from solfa.training.model_file import save_model
from solfa.training.recipes import RECIPES, Recipe
from solfa.training.trainer import Outcome, Progress, Trainer, rank


def run(
    name: str,
    data: Path,
    out: Path,
    *,
    audio: str = "taggers",
    text: str = "minilm",
    small: bool = True,
    device: str = "cpu",
    features: Path | None = None,
    bank: PhraseBank | None = None,
    init: Path | None = None,
    tune: tuple[str, ...] = (),
    resume: bool = False,
    allow_noncommercial: bool = False,
    change: Callable[[Recipe], Recipe] = lambda recipe: recipe,
    report: Callable[[Progress], None] = lambda progress: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Path, Outcome]:
    """Train by a recipe and write ``OUT/model``; that folder and how the run ended.

    Parameters
    ----------
    name
        of a recipe: ``figma``, ``finelap``, ``united``
    data
        folder of a data set
    out
        folder of the run
    audio, text
        bodies by name
    small
        sizes for a CPU, in place of the published ones
    device
        a torch device, of the projectors and of bodies on torch
    features
        cache of states; ``features`` in the data set's folder by default
    bank
        phrases to draw from (see ``batches.prepare``)
    init
        folder of a model to start from
    tune
        sides whose body is trained too: ``audio``, ``text``
    resume
        go on with the run that is in ``out``
    allow_noncommercial
        must be True for bodies whose weights may not be used commercially
    change
        makes a variant of the recipe
    report
        called after each step and validation
    progress
        called with the number of blocks of states that are done, and of all, of each split

    Raises
    ------
    UnknownName
        If there is no such recipe or body.
    InputError, TrainingError, WeightsError
        As ``Trainer.run`` and ``batches.prepare``.
    """
    if name not in RECIPES:
        raise UnknownName("recipe", name, RECIPES)
    dataset, labelled = Dataset.open(data), name != "figma"
    given: Any = {"device": device, "allow_noncommercial": allow_noncommercial}
    hears, reads = load_body(audio, "audio", **given), load_body(text, "text", **given)
    if rank() > 0:
        distributed.barrier()  # the first process computes states, the others read them
    prepared = prepare(
        dataset, features or data / "features", audio=hears, text=reads, phrases=labelled,
        bank=bank if labelled else None, make=rank() == 0, tune=tune, progress=progress,
    )  # fmt: skip
    if rank() == 0 and num_devices() > 1:
        distributed.barrier()
    recipe = change(replace(RECIPES[name](prepared.widths, small=small), tune=tune))
    trainer = Trainer(recipe, prepared, out, device=device, init=init)
    outcome = trainer.run(resume=resume, report=report)
    if rank() == 0:
        save_model(
            out / "model", trainer.model, name=name, audio=prepared.audio, text=prepared.text, backbones=(audio, text),
            bodies=trainer.bodies,
            trained_on={
                "recipe": recipe.to_json(), "val_R@1": outcome.best_recall, "steps": outcome.steps,
                "data": {"name": prepared.name, "revision": prepared.revision, "num_clips": len(prepared.train)},
            },
        )  # fmt: skip
    return out / "model", outcome
