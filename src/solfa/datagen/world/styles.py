"""The table of styles, patterns and instruments that the arranger draws from: ``world.toml`` as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from solfa.datagen.world.score import table


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """One style. Patterns are by metre; a metre without any has the plain one of the table."""

    name: str
    genre: Sequence[str]
    tempo: Sequence[float]
    metres: Mapping[str, float]
    colour: Sequence[str]
    comp_pool: Sequence[int]
    lead_pool: Sequence[int]
    bass_pool: Sequence[int]
    kit: Sequence[int]
    drums: Mapping[str, Sequence[str]]
    bass: Mapping[str, Sequence[str]]
    comp: Mapping[str, Sequence[str]]
    pad_pool: Sequence[int] = ()
    lead: float = 0.5
    swing: float = 0.0
    drumless: float = 0.12
    breaks: float = 0.15
    pads: float = 0.35

    def pattern(self, kind: str, metre: str, rng: np.random.Generator) -> str:
        """A pattern for one bar; ``kind`` is drums, bass or comp."""
        known = getattr(self, kind).get(metre) or (table()["plain"][kind][metre],)
        return str(known[int(rng.integers(len(known)))])


@cache
def styles() -> dict[str, Style]:
    """Every style by name."""
    return {name: Style(name=name, **row) for name, row in table()["styles"].items()}


def pool(name: str) -> Sequence[int]:
    """All programs (or kits) for a role, whatever the style."""
    found: list[int] = table()["pools"][name]
    return found


def concept_of(program: int) -> str:
    """The vocabulary id of a General MIDI program; empty where it has none.

    >>> concept_of(4), concept_of(119)
    ('electric_piano', '')
    """
    return str(table()["gm"]["concepts"][program])


def is_voice_like(program: int) -> bool:
    """Whether a program imitates voices."""
    return program in table()["gm"]["voice_like"]


def kit_concept(kit: int) -> str:
    """What a drum kit is called: kits 24 and 25 are machines."""
    return "drum_machine" if kit in (24, 25) else "drums"
