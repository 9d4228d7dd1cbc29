"""Recipes: everything that a run is, as one frozen value. A variant is ``dataclasses.replace``. Needs torch.

Those of ``RECIPES`` are in ``recipes.toml``, in the published sizes and settings and, with ``small=True``, in those
for a CPU and a few thousand clips. Each takes the widths of the two backbones' states (``EncoderSpec.dim``), which are
those of their pooled vectors too; ``finelap`` also the name of its projector of ``frames``.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import partial
from math import inf
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from solfa.alignment.joint import JointConfig, TowerConfig
from solfa.alignment.objectives import KINDS as OBJECTIVES
from solfa.alignment.objectives import FigmaConfig, FineLapConfig, views_of
from solfa.alignment.objectives import to_json as objective_json
from solfa.alignment.projectors import KINDS as PROJECTORS
from solfa.core.errors import InputError
from solfa.core.files import table_of
from solfa.diffusion.denoisers import CONFIGS

# Of a recipe, what its function, the backbones and the command line say.
_NO_SETTING = ("name", "tune", "shared", "in_dim", "dim", "text_dim", "num_devices")
_LEAST = {
    "epochs": 1, "batch_size": 2, "chunk_size": 1, "learning_rate": 0, "weight_decay": 0, "warmup_steps": 0,
    "grad_clip": 1e-9, "num_phrases": 0, "bucket_batches": 1, "patience": 1, "checkpoint_every": 1,
    "seed": 0, "body_lr": 0, "crop_s": 0.1,
    "time_masks": 0, "mel_masks": 0, "time_mask_frames": 1, "mel_mask_bands": 1,
}  # fmt: skip
_CHOICES: dict[str, tuple[str | None, ...]] = {
    "precision": ("float32", "bfloat16"), "schedule": ("constant", "cosine"),
    "select": (None, "global", "frame", "mix", "detection", "last"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A training run. Raises InputError if a value is out of range.

    - ``name``: of the recipe
    - ``model``, ``objective``: what is trained (``JointConfig``, ``CaptionerConfig``, ``DenoiserConfig``), and on what
      (None: what the model itself says)
    - ``epochs``: passes over the data at most
    - ``batch_size``: pairs of one step, of all devices together
    - ``chunk_size``: pairs of one device that are projected at once with gradients; smaller than the batch, it bounds
      memory without changing the loss (gradient cache: Gao et al., RepL4NLP 2021)
    - ``learning_rate``, ``weight_decay``: of Adam (decoupled where it is above 0)
    - ``warmup_steps``, ``schedule``: linear warm-up, then constant or a cosine down to 0
    - ``grad_clip``: largest norm of the gradient, None for none
    - ``ema_decay``: of a running mean of weights that is validated and kept instead of the last ones, None for none;
      less in the first steps, (1 + step) / (10 + step)
    - ``precision``: ``bfloat16`` runs the projectors under autocast; losses are float32 always
    - ``num_phrases``: phrases of each labelled clip
    - ``bucket_batches``: so many batches are sorted by the length of cached states together, so that little is padded
      (``Loader``)
    - ``select``: what the validation split is scored by; the weights of the best epoch are kept: R@1, mean of both
      directions, in the ``global``, ``frame`` or ``mix`` view; ``detection`` of timed phrases by frames
      (``validation.detection``); ``last`` keeps the last weights and never stops early. None is what the objective
      trains (``measure``)
    - ``patience``: epochs after the warm-up without a better validation score until a run stops; None never stops early
    - ``checkpoint_every``: steps between checkpoints (one more at the end of each epoch)
    - ``tune``: sides whose backbone is trained too: ``audio``, ``text``
    - ``body_lr``: learning rate of backbones, as a factor of ``learning_rate``
    - ``crop_s``: length of the cut of a clip that a tuned audio backbone gets in a step
    - ``time_masks``, ``mel_masks``: SpecAugment: stripes of time and of frequency over the spectrogram that a tuned
      audio backbone gets in a step
    - ``time_mask_frames``, ``mel_mask_bands``: a stripe is narrower than this
    - ``seed``: random seed
    """

    name: str
    model: Any
    objective: Any
    epochs: int
    batch_size: int
    chunk_size: int | None = None
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    warmup_steps: int = 0
    schedule: Literal["constant", "cosine"] = "constant"
    grad_clip: float | None = None
    ema_decay: float | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    num_phrases: int = 0
    bucket_batches: int = 1
    select: Literal["global", "frame", "mix", "detection", "last"] | None = None
    patience: int | None = 3
    checkpoint_every: int = 500
    seed: int = 0
    tune: tuple[str, ...] = ()
    body_lr: float = 0.1
    crop_s: float = 10.0
    time_masks: int = 0
    mel_masks: int = 0
    time_mask_frames: int = 64
    mel_mask_bands: int = 8

    def __post_init__(self) -> None:
        values = {name: getattr(self, name) for name in (*_LEAST, "ema_decay", *_CHOICES)}
        bad = [name for name, least in _LEAST.items() if values[name] is not None and not least <= values[name] < inf]
        bad += [] if 0 <= (self.ema_decay or 0) < 1 else ["ema_decay"]
        bad += [name for name, choices in _CHOICES.items() if values[name] not in choices]
        if bad:
            raise InputError(f"recipe: out of range: {', '.join(f'{name} {values[name]!r}' for name in bad)}.")

    @property
    def measure(self) -> str:
        """``select``, or by default the view that the objective ranks by; ``detection`` where no caption is trained.

        ``caption`` where captions are written.
        """
        phrases_alone = isinstance(self.objective, FineLapConfig) and self.objective.alpha == 0
        default = "caption" if self.objective is None else "detection" if phrases_alone else ""
        return self.select or default or views_of(self.objective).rank.name

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, as ``config.json`` of a run has it."""
        trained_on = {} if self.objective is None else {"objective": objective_json(self.objective)}
        plain = {**asdict(self), "objective": None, "model": self.model.to_json(), **trained_on}
        unused = (set() if self.tune else {"tune", "body_lr", "crop_s"}) | (set() if trained_on else {"objective"})
        if not (self.time_masks or self.mel_masks):
            unused |= {"time_masks", "mel_masks", "time_mask_frames", "mel_mask_bands"}
        return {k: v for k, v in plain.items() if k not in unused}


def _recipe(name: str, audio_dim: int, text_dim: int, *, small: bool = False, frames: str = "transformer") -> Recipe:
    tables = table_of("solfa.training", "recipes.toml")
    own, size = tables[name], "small" if small else "published"
    values = merged(tables["small"] if small else {}, own["common"], own.get(size, {}))
    if "frames" in own:
        chosen = merged(own["frames"][frames], own[f"{size}_frames"].get(frames, {}))
        values = merged(values, {"model": {"audio": chosen}})
    towers: dict[str, Any] = {}
    if "kind" in values["model"]:
        model = _config(values.pop("model"), dim=audio_dim, text_dim=text_dim)
        return Recipe(name=name, model=model, objective=None, **_without_none(values))
    for side, in_dim in (("audio", audio_dim), ("text", text_dim)):
        towers[side] = TowerConfig(**{
            key: _config(given, in_dim=in_dim) if isinstance(given, dict) else given
            for key, given in values["model"][side].items()
        })  # fmt: skip
    values |= {"name": name, "model": JointConfig(**towers), "objective": _config(values["objective"])}
    return Recipe(**_without_none(values))


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: None if value == "none" else value for key, value in values.items()}


def merged(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """The tables as one, the later of two values counts."""
    out: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            out[key] = merged(out.get(key, {}), value) if isinstance(value, Mapping) else value
    return out


def _config(values: Mapping[str, Any], **more: Any) -> Any:
    """The configuration of a projector or an objective, of the class that its ``kind`` names."""
    given = {key: value for key, value in _without_none(values).items() if key != "kind"}
    inner: dict[str, Any] = {key: FigmaConfig(**value) for key, value in given.items() if isinstance(value, Mapping)}
    inner |= {key: tuple(value) for key, value in given.items() if isinstance(value, list)}
    return {**PROJECTORS, **OBJECTIVES, **CONFIGS}[values["kind"]](**{**given, **inner, **more})


RECIPES: dict[str, Callable[..., Recipe]] = {
    name: partial(_recipe, name)
    for name in ("figma", "finelap", "united", "solfa-1", "tutorial", "clap", "gdr", "gdr-mlp")
}
figma, finelap, united = RECIPES["figma"], RECIPES["finelap"], RECIPES["united"]


def settings_of(recipe: Mapping[str, Any]) -> dict[str, str]:
    """What ``changed`` takes to make this recipe of the one of its name: the values of its ``to_json`` as text."""
    texts: dict[str, str] = {}
    for name, value in recipe.items():
        if isinstance(value, Mapping):
            texts.update({f"{name}.{inner}": text for inner, text in settings_of(value).items()})
        elif name not in (*_NO_SETTING, "kind", "rows"):
            texts[name] = str(value).lower() if value is None or isinstance(value, bool) else str(value)
    return texts


def changed(recipe: Recipe, values: Mapping[str, str]) -> Recipe:
    """The recipe with values given as text, by name: ``patience``, ``objective.alpha``; ``none`` where None is allowed.

    Raises InputError if the recipe has no such value, or the text is none of its type.
    """
    for name, text in values.items():
        recipe = _changed(recipe, name, text, name)
    return recipe


def _changed(owner: Any, name: str, text: str, asked: str) -> Any:
    first, _, rest = name.partition(".")
    known = [f.name for f in fields(owner) if f.name not in _NO_SETTING] if is_dataclass(owner) else []
    if first not in known or is_dataclass(getattr(owner, first)) is not bool(rest):
        names = [f"{n}.*" if is_dataclass(getattr(owner, n)) else n for n in known]
        raise InputError(f"{asked!r} is not a value of this recipe. Available: {', '.join(names) or 'nothing'}.")
    if rest:
        return replace(owner, **{first: _changed(getattr(owner, first), rest, text, asked)})
    hint = get_type_hints(type(owner))[first]
    if get_origin(hint) is tuple:
        numbers = text.strip("[]()").split(",")
        if not all(number.strip().isdigit() for number in numbers):
            raise InputError(f"{asked}={text}: expected whole numbers with commas.")
        return replace(owner, **{first: tuple(map(int, numbers))})
    kinds = [hint] if get_origin(hint) is Literal else get_args(hint) or [hint]
    for kind in kinds:
        if text in get_args(kind):
            return replace(owner, **{first: text})
        words = {"none": None} if kind is NoneType else {"true": True, "false": False} if kind is bool else {}
        with suppress(KeyError, ValueError):
            value = kind(text) if kind in (int, float, str) else words[text]
            break
    else:
        names = [str(getattr(k, "__name__", k)) for kind in kinds for k in get_args(kind) or [kind]]
        raise InputError(f"{asked}={text}: expected {' or '.join(names).replace('NoneType', 'none')}.")
    return replace(owner, **{first: value})
