"""Extractors by name, and which of them owns which field of an analysis."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from solfa.analysis.extras import tool_spec, tools
from solfa.analysis.protocol import Extractor, ExtractorSpec, Observation
from solfa.core.errors import InputError
from solfa.core.registry import ModelEntry, Registry
from solfa.core.types import Audio, ModelInfo

DEFAULT = "default"

# Name -> loader, imported when it is asked for; installed packages add more (``core.registry``). Only permissive tools
# that need nothing but the base install are defaults; every other one is named by its user, with its licence in its
# spec.
_EXTRACTORS = {
    "solfa-rhythm": "solfa.analysis.rhythm:RhythmExtractor",
    "solfa-harmony": "solfa.analysis.harmony:HarmonyExtractor",
    "solfa-tags": "solfa.analysis.tags:TagsExtractor",
    "loudness": "solfa.analysis.loudness:LoudnessExtractor",
    **dict.fromkeys(tools(), "solfa.analysis.extras:Tool"),
}
DEFAULTS = tuple(_EXTRACTORS)[:4]
_INFO = ModelInfo(name="", kind="extractor", licence="see its spec", commercial_use=True, source="", description="")
_REGISTRY = Registry(
    "extractor", {n: ModelEntry(info=replace(_INFO, name=n), loader=c) for n, c in _EXTRACTORS.items()}
)


def extractors(names: Sequence[str] | None = None) -> tuple[Extractor, ...]:
    """The extractors of these names, in order; where two provide a field, the later one does.

    They are names of ``extractor_specs()``; ``default`` stands for all the permissive defaults. None means ``default``.
    Raises UnknownName if no extractor has one of these names; InputError if there are no names; MissingExtra if a
    tool's package is not installed.
    """
    asked = [DEFAULT] if names is None else list(names)
    if not asked:
        raise InputError("no extractor was named. Name some, or 'default'.")
    wanted = dict.fromkeys(name for entry in asked for name in (DEFAULTS if entry == DEFAULT else (entry,)))
    taken: set[str] = set()
    chosen: list[Extractor] = []
    for extractor in reversed([_REGISTRY.load(name, allow_noncommercial=True) for name in wanted]):
        left = tuple(field for field in extractor.spec.provides if field not in taken)
        taken.update(left)
        if left == extractor.spec.provides:
            chosen.append(extractor)
        elif left:
            # Which fields are left is part of the version: other fields are another analysis.
            version = f"{extractor.spec.version}/{'+'.join(left)}"
            spec = replace(extractor.spec, version=version, provides=left)
            chosen.append(_Part(spec, extractor.observe, extractor.conclude))
    return tuple(reversed(chosen))


def extractor_specs() -> tuple[ExtractorSpec, ...]:
    """What every extractor is, installed or not, the defaults first."""
    entries: dict[str, Any] = dict(_REGISTRY.entries())
    return tuple(tool_spec(name) if name in tools() else entry.resolve().spec for name, entry in entries.items())


@dataclass(frozen=True, slots=True)
class _Part:
    """An extractor of which only the fields that ``spec`` names are taken (``Analyzer``)."""

    spec: ExtractorSpec
    observe: Callable[[Audio], Observation]
    conclude: Callable[[Sequence[Observation], float], dict[str, Any]]
