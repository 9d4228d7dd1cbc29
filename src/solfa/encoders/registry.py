"""Models by name: the built-in ones and those of installed packages, through one door.

A package adds a model with an entry point of the group ``solfa.models`` that names a ``ModelEntry``::

    [project.entry-points."solfa.models"]
    mine = "my_package.solfa:ENTRY"

A name may carry where the weights lie, and options: ``clap:/path/to/checkpoint.pt``, ``mert?layer=7&window_s=10``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from solfa.core.errors import InputError, MissingExtra, UnknownName, WeightsError
from solfa.core.files import table_of
from solfa.core.types import JointModel, ModelInfo
from solfa.encoders.selftest import check_once

GROUP = "solfa.models"
JOINT = "joint model"
# How an option's type is read off words, and what is of it.
_TYPES: dict[str, tuple[Callable[[str], Any], type]] = {
    "int": (int, Integral),
    "float": (float, Real),
    "bool": ({"true": True, "false": False}.__getitem__, bool),
    "str": (str, str),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelEntry:
    """A model that can be loaded.

    ``loader`` is ``package.module:function``, imported when the model is asked for; the function takes keyword options
    (``source`` and ``device`` where they make sense) and gives a ``JointModel``, or a ``Backbone`` where ``info.kind``
    says so. ``defaults`` are options that it gets where the caller gives no others.
    """

    info: ModelInfo
    loader: str
    defaults: Mapping[str, Any] = field(default_factory=dict)


def entry_of(kind: str, name: str, row: Mapping[str, Any]) -> ModelEntry:
    """The entry of a row of ``models.toml`` or ``backbones.toml``; the rest are options of its loader."""
    rest = dict(row)
    told = {key: rest.pop(key) for key in ("description", "licence", "commercial_use")}
    loader, source = rest.pop("loader"), rest.pop("source", "")
    info = ModelInfo(name=name, kind=kind, source=source or f"Hugging Face hub, {row['hub']}", **told)
    return ModelEntry(info=info, loader=loader, defaults=rest)


@cache
def _built_in() -> dict[str, ModelEntry]:
    rows = table_of("solfa.encoders", "models.toml")
    return {name: entry_of(JOINT, name, row) for name, row in rows.items()}


def available() -> tuple[ModelInfo, ...]:
    """What can be asked for, built-in models first; nothing is loaded but the notes of installed packages."""
    return tuple(entry.info for entry in installed(JOINT).values())


def load_model(name: str, *, allow_noncommercial: bool = False, **options: Any) -> JointModel:
    """A model that passed the self-test.

    Raises UnknownName if no model has this name; InputError if the weights are non-commercial and were not allowed, or
    the loader takes no such option; MissingExtra, MissingWeights or WeightsError if packages or files are missing,
    wrong or dead.

    Parameters
    ----------
    name
        A name of ``available()``, or ``NAME:SOURCE`` with a place of weights.
    allow_noncommercial
        Must be True for weights that may not be used commercially.
    **options
        What the model's loader takes, such as ``device``.
    """
    # Installed packages are looked at only when asked for: a broken one must not stop the others.
    entries = _built_in() if parse(name)[0] in _built_in() else installed(JOINT)
    model: JointModel = load_entry("model", name, entries, allow_noncommercial, options)
    check_once(model)
    return model


def load_entry(
    what: str, name: str, entries: Mapping[str, ModelEntry], allow_noncommercial: bool, options: Mapping[str, Any]
) -> Any:
    """What the loader of an entry gives; ``name`` is as ``parse`` takes it. Raises as ``load_model``."""
    base, source, said = parse(name)
    if base not in entries:
        if what == "model" and (folder := _trained(name)):
            raise InputError(f"unknown model {name!r}, but the folder {folder} is one. Say: trained:{folder}")
        raise UnknownName(what, base, entries)
    entry = entries[base]
    if not (entry.info.commercial_use or allow_noncommercial):
        raise InputError(
            f"the weights of {what} {base!r} may not be used commercially ({entry.info.licence}). "
            f"If your use is non-commercial, say so: --allow-noncommercial (allow_noncommercial=True)."
        )
    given = {**said, **options} | ({"source": source} if source else {})
    loader = _loader(entry, what, given)
    kinds = {key: parameter.annotation for key, parameter in inspect.signature(loader).parameters.items()}
    given = {key: _typed(f"{what} {base!r}", key, value, kinds[key]) for key, value in given.items()}
    if "allow_noncommercial" in kinds:  # of what the model is built on
        given["allow_noncommercial"] = allow_noncommercial
    return loader(**{**entry.defaults, **given})


def parse(name: str) -> tuple[str, str, dict[str, str]]:
    """Name, source and options of ``NAME:SOURCE?option=value&option=value``; what is not there is empty."""
    found = re.fullmatch(r"([^:?]*)(?::(.*?))?(?:\?(\w+=[^&]*(?:&\w+=[^&]*)*))?", name, re.DOTALL)
    if not found:
        return name, "", {}
    pairs = [pair.split("=", 1) for pair in found[3].split("&")] if found[3] else []
    return found[1], found[2] or "", dict(pairs)


def with_source(name: str, source: str) -> str:
    """The name with another source and the same options."""
    base, _, options = parse(name)
    return _named(base, source, options)


def with_default(name: str, entry: ModelEntry, key: str, value: str) -> str:
    """The name with an option that it does not say itself; as it is where the entry's loader takes no such option."""
    base, source, said = parse(name)
    module, _, function = entry.loader.partition(":")
    takes = inspect.signature(getattr(import_module(module), function)).parameters
    return name if key in said or key not in takes else _named(base, source, {**said, key: value})


def _named(base: str, source: str, options: Mapping[str, str]) -> str:
    said = "&".join(f"{key}={value}" for key, value in options.items())
    return base + (source and f":{source}") + (said and f"?{said}")


def _typed(what: str, key: str, value: Any, annotation: Any) -> Any:
    """An option of its type; a name's options are words, which are read."""
    kind = getattr(annotation, "__name__", annotation)
    if kind not in _TYPES:
        return value
    read, fits = _TYPES[kind]
    try:
        made = read(value) if isinstance(value, str) else value
    except (ValueError, KeyError):
        made = None
    if not isinstance(made, fits) or isinstance(made, bool) != (kind == "bool"):
        raise InputError(f"{what} takes {key} as {kind}, got {value!r}.")
    return made


def absolute(name: str) -> str:
    """The same model by a name that holds in any working directory: a source that is a path here becomes absolute."""
    source = parse(name)[1]
    try:
        there = bool(source) and Path(source).expanduser().exists()
    except (OSError, RuntimeError):  # too long for a path, or nobody's home
        return name
    return with_source(name, str(Path(source).expanduser().absolute())) if there else name


def _trained(name: str) -> Path | None:
    """The folder of a trained model, if that or the folder of its run is what a name is."""
    try:
        return next((f for f in (Path(name), Path(name, "model")) if (f / "model.json").is_file()), None)
    except OSError:  # too long for a path
        return None


def installed(kind: str) -> dict[str, ModelEntry]:
    """Entries of one kind by name: the built-in joint models, and what installed packages offer."""
    return {name: entry for name, entry in _entries().items() if entry.info.kind == kind}


def _loader(entry: ModelEntry, what: str, options: Mapping[str, Any]) -> Callable[..., Any]:
    """The loader function, after it was seen to take these options; one for many entries is told ``name``."""
    module, _, function = entry.loader.partition(":")
    try:
        loader: Callable[..., Any] = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        if error.name in ("torch", "transformers"):
            raise MissingExtra(f"{what} {entry.info.name!r}", "pip install 'solfa[torch]'") from error
        raise
    parameters = list(inspect.signature(loader).parameters)
    known = [key for key in parameters if key not in ("name", "hub", "allow_noncommercial")]
    if "name" in parameters:
        loader = partial(loader, name=entry.info.name)
    unknown = sorted(set(options) - set(known))
    if unknown:
        takes = ", ".join(known) or "none"
        raise InputError(f"{what} {entry.info.name!r} takes no option {', '.join(unknown)}. It takes: {takes}.")
    return loader


def _entries() -> dict[str, ModelEntry]:
    found = dict(_built_in())
    for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
        if point.name in found:
            raise InputError(f"two packages offer a model named {point.name!r}; one is {point.value}. Uninstall one.")
        found[point.name] = _third_party(point)
    return found


def _third_party(point: EntryPoint) -> ModelEntry:
    try:
        entry = point.load()
    except (ImportError, AttributeError) as error:
        raise WeightsError(
            f"the model {point.name!r} of an installed package cannot be loaded ({point.value}): {error}. "
            f"Repair or uninstall the package."
        ) from error
    if not isinstance(entry, ModelEntry) or entry.info.name != point.name:
        raise WeightsError(
            f"the entry point {point.name!r} ({point.value}) is not a solfa ModelEntry of that name; "
            f"tell the package's author."
        )
    return entry
