"""What a track is for ("late-night reading"), read as targets for the fields of a summary.

``contexts.toml`` next to this file says what situations ask for; the words of the query grammar are read as well.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_args

import numpy as np

from solfa.constraints import Constraint, Dynamics, InKey, Metre, Presence, Tempo
from solfa.core.errors import InputError
from solfa.core.files import table_of
from solfa.core.filters import folded
from solfa.core.theory import KEYS
from solfa.core.vocabulary import lineage
from solfa.query import parse
from solfa.query.concepts import concept_named
from solfa.query.lexis import empty_words
from solfa.relevance.summary import EnergyLevel, TempoClass, TrackSummary

_TABLE = table_of("solfa.relevance", "contexts.toml")
LEVELS = {"energy_level": get_args(EnergyLevel), "tempo": get_args(TempoClass)[:3]}  # "variable" is at no level
_FIELDS = {"instrument": "instruments", "voice": "vocals", "genre": "genre", "mood": "mood", "use": "suitable_usages"}
_NAMED = r"(?P<no>\b(?:no|not|never|without) (?:\w+ ){{0,2}})?(?<!\w){}(?!\w)"  # negated: told as not understood
MISSED = 0.25  # what a value that holds nothing of what is asked counts against a track, or for it if that is avoided


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What ``words`` of a context ask of one field: values that speak for and against a track, or a range of tempo."""

    field: str
    words: str
    wanted: tuple[str, ...] = ()
    avoided: tuple[str, ...] = ()
    tempo: Tempo | None = None
    weight: float = 1.0

    def fit(self, summary: TrackSummary) -> float | None:
        """How well the field fits, -1..1; None if it is not known."""
        value = getattr(summary, self.field)
        if value is None:
            return None
        if self.tempo is not None:
            return 2 * float(self.tempo.fit(np.array([value]))[0]) - 1
        if levels := LEVELS.get(self.field):
            steps = [abs(levels.index(value) - levels.index(level)) for level in self.wanted if value in levels]
            return 1 - 2 * min(steps) / (len(levels) - 1) if steps else 0.0
        found = terms(value)
        hits, against = len(found.intersection(self.wanted)), len(found.intersection(self.avoided))
        if not hits and not against:
            return -MISSED if self.wanted else MISSED
        return (hits - against) / (hits + against + 0.5)


@lru_cache(256)
def read_context(text: str) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """The targets of a context, and its words that ask for nothing that a summary says.

    Raises InputError if the text is blank or too long.
    """
    targets, low = [target for constraint in parse(text).constraints for target in _asked(constraint)], folded(text)
    read = {*empty_words()}
    for table in _TABLE.values():
        named = [w for w in table.get("words", ()) if w in low  # a pattern is compiled for few
                 for found in re.finditer(_NAMED.format(re.escape(w)), low) if not found["no"]]  # fmt: skip
        targets += _of(table, max(named, key=len)) if named else ()
        read.update(" ".join(named).split())
    read.update(re.findall(r"[^\W_]+", folded(" ".join(target.words for target in targets))))
    concepts = {value for target in targets for value in target.wanted}
    left = [w for w in re.findall(r"[^\W_]+", low) if w not in read and concept_named(w) not in concepts]
    return tuple(dict.fromkeys(targets)), tuple(dict.fromkeys(left))


def _asked(constraint: Constraint) -> Iterator[Target]:
    """The targets of one constraint of the query grammar; none for what a summary does not say."""
    words, no, table = constraint.text, constraint.negated, _TABLE
    if isinstance(constraint, Tempo) and not no:
        yield Target(field="tempo_bpm", words=words, tempo=constraint)
    elif isinstance(constraint, Metre | InKey) and not no:
        keys = constraint.metres if isinstance(constraint, Metre) else [str(k) for k in KEYS if constraint.fits(k)]
        yield Target(field=constraint.topic, words=words, wanted=tuple(map(folded, keys)))
    elif isinstance(constraint, Dynamics) and constraint.shape in ("quiet", "loud") and not no:
        yield from _of(table["soft" if constraint.shape == "quiet" else "loud"], words)
    elif isinstance(constraint, Presence) and (field := _FIELDS.get(constraint.kind)):
        value, no = ("instrumental", False) if no and constraint.concept == "voice" else (constraint.concept, no)
        yield from _of({field: [] if no else [value], "avoid": {field: [value] if no else []}}, words)
        yield from () if no else _of(table.get(value, {}), words)


def _of(table: Mapping[str, Any], words: str) -> Iterator[Target]:
    """The targets of one table of ``contexts.toml``."""
    avoid = table.get("avoid", {})
    for field, weight in (_TABLE["weights"] | table.get("weights", {})).items():
        if field in table or field in avoid:
            yield Target(field=field, words=words, wanted=tuple(table.get(field, ())),
                         avoided=tuple(avoid.get(field, ())), weight=weight)  # fmt: skip


def terms(value: str | Iterable[str]) -> frozenset[str]:
    """What a value of a summary names: its text, and ids of the concepts in it with the wider ones."""
    return _terms(value) if isinstance(value, str) else frozenset().union(*map(_terms, value))


@lru_cache(4096)
def _terms(text: str) -> frozenset[str]:
    plain = folded(text.replace("_", " "))
    names = {concept_named(text) or concept_named(plain), *map(concept_named, text.split("_"))} - {None}
    try:
        found = [c for c in parse(text).constraints if isinstance(c, Presence)] if not names else []
    except InputError:  # blank
        found = []
    if any(c.negated and c.concept == "voice" for c in found):
        return frozenset({plain, "instrumental"})
    names |= {c.concept for c in found if not c.negated}
    return frozenset({plain}.union(*(lineage(name) for name in names if name)))
