"""From a data set's folder to a model's folder. Needs torch."""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

import torch

from solfa.alignment.gather import num_devices, rank
from solfa.alignment.joint import JointProjector
from solfa.alignment.objectives import FineLapConfig, objective, views_of
from solfa.core.errors import InputError, MissingExtra, UnknownName
from solfa.core.registry import parse, with_default
from solfa.core.types import Backbone
from solfa.datasets.bank import PhraseBank
from solfa.datasets.features import Precision
from solfa.datasets.shards import Dataset
from solfa.diffusion.denoisers import DenoiserConfig
from solfa.encoders.checkpoints import device_for
from solfa.encoders.registry import BACKBONES
from solfa.encoders.trained import load_on, read_description
from solfa.training import checkpoint
from solfa.training.batches import concatenated, prepare, spaces_of, stated
from solfa.training.gdr import DenoiserTrainer, save_denoiser
from solfa.training.model_file import check_tuned, load_projectors, save_model
from solfa.training.recipes import RECIPES, Recipe
from solfa.training.teacher import Teacher
from solfa.training.trainer import Outcome, StepReport, Trainer, check_recipe
from solfa.training.validation import match_logit

_MOST_LICENCES = 30


def run(
    name: str,
    data: Path | Mapping[Path, float | None],
    out: Path,
    *,
    audio: str = "taggers",
    text: str = "minilm",
    small: bool = True,
    device: str = "cpu",
    features: Path | None = None,
    precision: Precision = "float32",
    bank: PhraseBank | Path | None = None,
    init: Path | None = None,
    teacher: Path | None = None,
    tune: tuple[str, ...] = (),
    frames: str | None = None,
    resume: bool = False,
    licence: str = "none stated",
    allow_noncommercial: bool = False,
    change: Callable[[Recipe], Recipe] = lambda recipe: recipe,
    report: Callable[[StepReport], None] = lambda progress: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Path, Outcome]:
    """Train by a recipe and write ``OUT/model``; that folder and how the run ended.

    Raises UnknownName if there is no such recipe or backbone. Raises MissingExtra if ``onnx`` is not installed, without
    which no model can be written. Raises InputError if torch cannot use the device, ``out`` holds something else, or
    the data does not fill a batch. Raises InputError, TrainingError or WeightsError as ``Trainer.run`` and
    ``batches.prepare``. What can be known before states are computed is seen before.

    - ``name``: of a recipe: ``figma``, ``finelap``, ``united``
    - ``data``: folder of a data set; or of several, each with its share of an epoch (``Loader``), None for its clips
    - ``out``: folder of the run
    - ``audio``, ``text``: backbones by name; the text one with ``cut`` where the recipe's authors cut (``text_name``)
    - ``small``: sizes for a CPU, in place of the published ones
    - ``device``: a torch device, of the projectors and of backbones on torch
    - ``features``: cache of states; ``features`` in the (first) data set's folder by default
    - ``precision``: of frozen backbones on torch while states are computed: ``float32``, ``tf32`` (CUDA), ``bfloat16``
    - ``bank``: phrases to draw from (see ``batches.prepare``), or the file that has them
    - ``init``: folder of a model to start from
    - ``teacher``: file of a ``Teacher``, for recipes on captions with frozen backbones on one device
    - ``tune``: sides whose backbone is trained too: ``audio``, ``text``
    - ``frames``: ``finelap``'s projector of frames
    - ``resume``: go on with the run that is in ``out``
    - ``licence``: of the projectors, for the card
    - ``allow_noncommercial``: must be True for backbones whose weights may not be used commercially
    - ``change``: makes a variant of the recipe
    - ``report``: called after each step and validation
    - ``progress``: called with the number of blocks of states that are done, and of all
    """
    if name not in RECIPES:
        raise UnknownName("recipe", name, RECIPES)
    text = text_name(text, small=small, init=init)
    if name == "clap" and not tune:
        raise InputError(
            "clap has no projectors to train, it trains the backbones: tune audio,text (--tune audio,text)."
        )
    if frames is not None and name != "finelap":
        raise InputError(f"{name} has one projector for both views; frames={frames!r} is for finelap.")
    options: dict[str, Any] = {"small": small} | ({} if frames is None else {"frames": frames})
    if find_spec("onnx") is None:  # or torch would say so at the end, when the model is written
        raise MissingExtra("training", "pip install 'solfa[torch]'")
    device_for(device)
    weights = data if isinstance(data, Mapping) else {data: None}
    features = features or next(iter(weights)) / "features"
    checkpoint.check_folder(out, features)
    sets = [Dataset.open(folder) for folder in weights]
    dataset, shares = concatenated(sets), _shares(sets, list(weights.values()))
    on: Any = {"device": device, "allow_noncommercial": allow_noncommercial}
    backbones: dict[str, Backbone[Any]] = {
        "audio": load_on(audio, "audio", **on), "text": load_on(text, "text", **on)
    }  # fmt: skip
    recipe = RECIPES[name](*(backbone.spec.dim for backbone in backbones.values()), **options)
    recipe = change(replace(recipe, tune=tune))
    num_clips = len(dataset.split("train"))
    if 0 < num_clips < recipe.batch_size:
        folders = " and ".join(map(str, weights))
        raise InputError(
            f"{folders} has {num_clips} clips to train on, fewer than a batch of {recipe.batch_size}. "
            + (f"Take a smaller one: --batch-size {max(2, num_clips // 2)}." if num_clips > 1 else "Two are the least.")
        )
    check_recipe(recipe, backbones["audio"])
    diffusion = isinstance(recipe.model, DenoiserConfig)
    if diffusion and (tune or init is not None or recipe.measure != "last"):
        raise InputError(
            f"{name} trains on frozen backbones, from the start, to the last weights: "
            "leave out --tune, --init and select."
        )
    if not diffusion:
        with torch.device("meta"):  # whether its networks can be built
            JointProjector(recipe.model)
        objective(recipe.objective)
        if recipe.model.audio.by_row and views_of(recipe.objective).trained != ("global",):
            raise InputError(
                "a tower by row is ranked by pooled vectors alone: give a frame term no weight (alpha 1), or set "
                "model.audio.by_row=false."
            )
    if init is not None:
        load_projectors(init, recipe.model)
        check_tuned(init, {kind: backbones[kind].spec.space for kind in tune})
    spaces = spaces_of(backbones, precision, tune)
    if precision != "float32" and spaces == spaces_of(backbones, "float32", tune):
        raise InputError(f"no frozen backbone runs on torch, nothing to compute in {precision}. Leave it out.")
    if bank is not None and not recipe.num_phrases:
        raise InputError(f"{name} trains on no phrases as it is set: leave the phrase bank out.")
    bank_file = str(bank.absolute()) if isinstance(bank, Path) else None
    bank = PhraseBank.load(bank) if isinstance(bank, Path) else bank
    taught = None if teacher is None else Teacher.load(teacher)
    if taught is not None and (tune or diffusion or isinstance(recipe.objective, FineLapConfig) or num_devices() > 1):
        raise InputError("a teacher is for figma and united, on frozen backbones and one device.")
    data_stated = stated(dataset, spaces)
    if taught is not None:
        data_stated["teacher"] = taught.revision
    if len(sets) > 1:
        data_stated["sets"] = shares
    if bank is not None:
        data_stated["bank"] = hashlib.sha256(repr(bank.clusters).encode()).hexdigest()[:16]
    command = {
        "name": name, "data": {str(f.absolute()): w for f, w in weights.items()}, "audio": audio, "text": text,
        "small": small, "features": str(features.absolute()), "precision": precision, "frames": frames,
        "bank": bank_file, "init": None if init is None else str(init.absolute()), "tune": tune,
        "teacher": None if teacher is None else str(teacher.absolute()),
    }  # fmt: skip
    space = None if init is None else read_description(init)["space"]
    config = checkpoint.describe(recipe.to_json(), data_stated, space, command)
    if (out / checkpoint.CONFIG).exists():
        checkpoint.check_same_run(out, config, resume)
    with checkpoint.locked(out) if rank() == 0 else nullcontext():
        prepared = prepare(
            dataset, features, **backbones, phrases=recipe.num_phrases > 0, bank=bank, precision=precision, tune=tune,
            teacher=taught, seed=recipe.seed, progress=progress if rank() == 0 else lambda done, total: None,
        )  # fmt: skip
        del backbones  # what is frozen leaves the GPU
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        weighted = [(one["num_clips"], one["weight"]) for one in shares if one["weight"] is not None]
        kind = DenoiserTrainer if diffusion else Trainer
        trainer = kind(recipe, replace(prepared, shares=weighted), out, device=device, init=init, config=config)
        outcome = trainer.run(resume=resume, report=report)
        if rank() == 0:
            licences, durations_s = _read(dataset)
            given: Any = {"audio": prepared.audio, "text": prepared.text, "backbones": (audio, text)}
            given["trained_on"] = {
                "recipe": recipe.to_json(), "validation": outcome.text, "steps": outcome.steps,
                "init": space, "data": {**stated(dataset, {}), "licences": licences},
            }  # fmt: skip
            if diffusion:
                return save_denoiser(out / "model", trainer.model.denoiser, **given), outcome
            views, logits = views_of(recipe.objective), {n: each.value for n, each in trainer.objective.logits.items()}
            match = None
            if trainer.val is not None:
                match = match_logit(trainer.model, trainer.val, trainer.device, views.rank, recipe.seed)
            save_model(
                out / "model", trainer.model, name=name, tuned=trainer.tuned, views=views, licence=licence,
                window_s=_window_s(durations_s, recipe), logits=logits if match is None else {**logits, "match": match},
                **given,
            )  # fmt: skip
    return out / "model", outcome


def text_name(text: str, *, small: bool, init: Path | None = None) -> str:
    """The text backbone as a run loads it: with ``cut`` where the published recipes cut long texts off.

    The published sizes do (FIGMA's E5 after 128 tokens, FineLAP's RoBERTa after 30), the small ones read every word; a
    run that starts from a model does as that did. What the name says of ``cut`` itself always counts.
    """
    cut = "" if small else "true"
    if init is not None:
        cut = parse(read_description(init)["text"]["backbone"])[2].get("cut", "")
    return with_default(text, BACKBONES["text"].entry(text), "cut", cut) if cut else text


def _shares(sets: list[Dataset], weights: list[float | None]) -> list[dict[str, Any]]:
    """What each data set is and its share of an epoch. Raises InputError if it is none, or a set comes twice."""
    if len({one.revision for one in sets}) < len(sets):
        raise InputError("one data set was given twice. Give it once, with a weight: --data FOLDER=2.")
    if None in weights and any(w is not None for w in weights):
        raise InputError("give a weight to each data set or to none: --data A=0.7 --data B=0.3.")
    shares = []
    for one, weight in zip(sets, weights, strict=True):
        share = stated(one, {}) | {"weight": weight}
        if weight is not None and not 0 < weight < inf:
            raise InputError(f"{one.name}: a share of {weight}; expected a number above 0.")
        if len(sets) > 1 and not share["num_clips"]:
            raise InputError(f"{one.name} has no clips to train on (split 'train'). Leave it out.")
        shares.append(share)
    return shares


def _read(dataset: Dataset) -> tuple[list[str], list[float]]:
    """Licences (a clip of several sounds names them with semicolons) and durations of what was trained on."""
    licences, durations_s = set[str](), list[float]()
    for record in dataset.split("train"):
        licences.update(each.strip() for each in record.licence.split(";"))
        durations_s.append(record.duration_s)
    found = sorted(licences - {""})
    more = [f"and {len(found) - _MOST_LICENCES} more"] if len(found) > _MOST_LICENCES else []
    return found[:_MOST_LICENCES] + more, durations_s


def _window_s(durations_s: list[float], recipe: Recipe) -> float:
    """The median duration, of cuts where the audio backbone was tuned on cuts; 0.1 s to 10 minutes; 0 by row."""
    if recipe.model.audio.by_row:
        return 0.0
    longest_s = recipe.crop_s if "audio" in recipe.tune else 600.0
    return round(min(max(median(durations_s), 0.1), longest_s), 3)
