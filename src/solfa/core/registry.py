"""Models, backbones and analysis tools by name: built-in ones and those of installed packages, through one door.

A package adds one with an entry point of the group ``solfa.models`` that names a ``ModelEntry``, whose ``info.kind``
says what it is: ``joint model``, ``audio backbone``, ``text backbone`` or ``extractor``::

    [project.entry-points."solfa.models"]
    mine = "my_package.solfa:ENTRY"

A name may carry where the weights are, and options: ``clap:/path/to/checkpoint.pt``, ``mert?layer=7&window_s=10``.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from solfa.core.errors import InputError, MissingExtra, UnknownName, WeightsError
from solfa.core.types import ModelInfo

GROUP = "solfa.models"
_READERS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "bool": {"true": True, "false": False}.__getitem__,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelEntry:
    """Something that can be loaded by name.

    ``loader`` is ``package.module:function``, imported when it is asked for; the function takes keyword options
    (``source`` and ``device`` where they make sense) and gives a ``JointModel``, a ``Backbone`` or an ``Extractor``, as
    ``info.kind`` says. ``defaults`` are options that it gets where the caller gives no others. A loader that takes
    ``name`` or ``allow_noncommercial`` is given them.
    """

    info: ModelInfo
    loader: str
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def resolve(self) -> Callable[..., Any]:
        """The loader itself. Raises MissingExtra if it needs torch or transformers and they are not installed."""
        module, _, function = self.loader.partition(":")
        try:
            loader: Callable[..., Any] = getattr(import_module(module), function)
        except ModuleNotFoundError as error:
            if error.name in ("torch", "transformers"):
                what = f"{self.info.kind.removeprefix('joint ')} {self.info.name!r}"
                raise MissingExtra(what, "pip install 'solfa[torch]'") from error
            raise
        return loader

    def takes(self, option: str) -> bool:
        """Whether the loader has this option."""
        return option in inspect.signature(self.resolve()).parameters


class Registry:
    """Entries of one kind (``ModelInfo.kind``) by name, the built-in ones first."""

    def __init__(self, kind: str, built_in: Mapping[str, ModelEntry]) -> None:
        self.kind, self.built_in = kind, built_in
        self._what = kind.removeprefix("joint ")

    def entries(self) -> dict[str, ModelEntry]:
        """All of them; nothing is loaded but the entries of installed packages.

        Raises WeightsError if a package's entry is broken; InputError if two have one name.
        """
        found = dict(self.built_in)
        for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
            entry = _third_party(point)
            if entry.info.kind != self.kind:
                continue
            if point.name in found:
                raise InputError(
                    f"two packages offer the {self._what} {point.name!r}; one is {point.value}. Uninstall one."
                )
            found[point.name] = entry
        return found

    def infos(self) -> tuple[ModelInfo, ...]:
        """What can be asked for."""
        return tuple(entry.info for entry in self.entries().values())

    def entry(self, name: str) -> ModelEntry:
        """The entry that a name, with or without source and options, stands for. Raises UnknownName if there is none.

        Installed packages are looked at only when asked for: a broken one does not stop the built-in entries.
        """
        base = parse(name)[0]
        entries = self.built_in if base in self.built_in else self.entries()
        if base not in entries:
            raise UnknownName(self._what, base, entries)
        return entries[base]

    def load(self, name: str, *, allow_noncommercial: bool = False, **options: Any) -> Any:
        """What the loader gives for ``NAME``, ``NAME:SOURCE`` or ``NAME?option=value``.

        Raises UnknownName if there is no such name; InputError if the weights are non-commercial and were not allowed,
        or the loader takes no such option or value; MissingExtra if torch is needed and missing; and what the loader
        raises.
        """
        entry, (base, source, said) = self.entry(name), parse(name)
        if not (entry.info.commercial_use or allow_noncommercial):
            raise InputError(
                f"the weights of {self._what} {base!r} may not be used commercially ({entry.info.licence}). "
                f"If your use is non-commercial, add: --allow-noncommercial (allow_noncommercial=True)."
            )
        given = {**said, **options} | ({"source": source} if source else {})
        loader = entry.resolve()
        kinds = {key: parameter.annotation for key, parameter in inspect.signature(loader).parameters.items()}
        passed = {"name": base, "allow_noncommercial": allow_noncommercial}
        if unknown := sorted(set(given) - (kinds.keys() - passed.keys())):
            takes = ", ".join(key for key in kinds if key not in passed) or "none"
            raise InputError(f"{self._what} {base!r} takes no option {', '.join(unknown)}. It takes: {takes}.")
        given = {key: _typed(f"{self._what} {base!r}", key, value, kinds[key]) for key, value in given.items()}
        return loader(**{**entry.defaults, **given, **{key: passed[key] for key in passed.keys() & kinds}})


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
    return name if key in said or not entry.takes(key) else _named(base, source, {**said, key: value})


def absolute(name: str) -> str:
    """The same name so that it holds in any working directory: a source that is a path here becomes absolute."""
    source = parse(name)[1]
    try:
        there = bool(source) and Path(source).expanduser().exists()
    except (OSError, RuntimeError):  # too long for a path, or nobody's home
        return name
    return with_source(name, str(Path(source).expanduser().absolute())) if there else name


def _named(base: str, source: str, options: Mapping[str, str]) -> str:
    said = "&".join(f"{key}={value}" for key, value in options.items())
    return base + (source and f":{source}") + (said and f"?{said}")


def _typed(what: str, key: str, value: Any, annotation: Any) -> Any:
    """An option of its type; a name's options are words, which are read."""
    kind = getattr(annotation, "__name__", annotation)
    try:
        if kind == "str" and not isinstance(value, str):
            raise TypeError
        return _READERS[kind](str(value).lower()) if kind in _READERS else value
    except (TypeError, ValueError, KeyError):
        raise InputError(f"{what} takes {key} as {kind}, got {value!r}.") from None


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
            f"report it to the author of the package."
        )
    return entry
