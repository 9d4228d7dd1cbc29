"""A piece of music as a value: notes by part, chords, keys, metres and sections in beats, and when each beat is.

Conventions
-----------
Positions are beats from the start of the piece, as its metre counts them: quarters in 4/4, dotted quarters in 6/8,
eighths in 7/8. ``beat_s[i]`` is the time of beat i and between two beats time runs evenly, so a tempo map of any shape
is one row of numbers. Chord labels are Harte's, with a quality of ``core.theory.QUALITIES``.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from solfa.core.errors import InputError
from solfa.core.files import table_of
from solfa.core.theory import Chord, Key

T = TypeVar("T")
Spans = tuple[tuple[float, float, T], ...]  # start beat, end beat, value


@cache
def table() -> dict[str, Any]:
    """All of ``world.toml``: what the music world draws from, and the names of corpora."""
    return table_of("solfa.datagen.world", "world.toml")


MODES: dict[str, list[int]] = table()["modes"]  # pitch classes of each mode, from its tonic


class Note(NamedTuple):
    """A note: where it starts and how long it lasts in beats, MIDI pitch (or drum key), velocity 1-127."""

    start: float
    length: float
    pitch: int
    velocity: int


@dataclass(frozen=True, slots=True)
class Scale:
    """A tonic (pitch class) and a mode of ``MODES``.

    >>> str(Scale(2, "dorian")), str(Scale(2, "dorian").key), Scale(9, "minor").degree(4)
    ('D dorian', 'D minor', 4)
    """

    tonic: int
    mode: str

    def __str__(self) -> str:
        return f"{str(self.key).split()[0]} {self.mode}"

    @property
    def key(self) -> Key:
        """Major or minor, by the third."""
        return Key(self.tonic, "major" if 4 in MODES[self.mode] else "minor")

    def degree(self, i: int) -> int:
        """Pitch class of the scale's i-th degree (0 is the tonic; any integer)."""
        return (self.tonic + MODES[self.mode][i % 7]) % 12

    def moved(self, semitones: int) -> "Scale":
        """The same mode on another tonic."""
        return Scale((self.tonic + semitones) % 12, self.mode)


@dataclass(frozen=True, slots=True)
class MetreShape:
    """Beats in a bar, the even parts of a beat (2 or 3), and the beats that carry a stress."""

    name: str
    beats: int
    division: int
    stressed: tuple[int, ...]


METRES = {
    name: MetreShape(name, row["beats"], row["division"], tuple(row["stressed"]))
    for name, row in table()["metres"].items()
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ScorePart:
    """The notes of one player. ``program`` is General MIDI's from 0; of drums it is the kit.

    ``role``: drums, perc, bass, comp, pad, lead, solo, counter or choir. ``concept`` is a vocabulary id.
    """

    role: str
    concept: str
    program: int
    notes: tuple[Note, ...]
    drums: bool = False

    def moved(self, semitones: int) -> tuple[Note, ...]:
        """Its notes higher or lower, without those that MIDI has no pitch for."""
        return tuple(n._replace(pitch=n.pitch + semitones) for n in self.notes if 0 <= n.pitch + semitones < 128)


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """A piece. Spans are (start beat, end beat, value), sorted and without gaps; events (start, end, kind) may meet."""

    beat_s: NDArray[np.float64]
    metres: tuple[tuple[int, int, str], ...]
    keys: Spans[Scale]
    chords: Spans[str] = ()
    sections: Spans[str] = ()
    events: Spans[str] = ()
    parts: tuple[ScorePart, ...] = ()
    genre: tuple[str, ...] = ()
    swing: float = 0.0
    tempo: str = "steady"
    piece: str = ""
    artist: str = ""
    licence: str = "CC0-1.0"
    about: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.beat_s) < 3 or not np.all(np.isfinite(self.beat_s)) or float(np.diff(self.beat_s).min()) < 0.05:
            raise InputError(f"score {self.piece!r}: expected 3 or more beats, at least 0.05 s apart.")

    @property
    def beats(self) -> int:
        """Whole beats in the piece."""
        return len(self.beat_s) - 1

    def seconds(self, beat: float | NDArray[np.float64]) -> NDArray[np.float64]:
        """Time of positions in beats; those outside go on at the tempo of the edge."""
        at = np.asarray(beat, np.float64)
        inside = np.interp(at, np.arange(len(self.beat_s)), self.beat_s)
        before = np.minimum(at, 0) * (self.beat_s[1] - self.beat_s[0])
        after = np.maximum(at - self.beats, 0) * (self.beat_s[-1] - self.beat_s[-2])
        return np.asarray(inside + before + after)

    def at_beat(self, time_s: float | NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions in beats of times; the inverse of ``seconds``."""
        at = np.asarray(time_s, np.float64)
        inside = np.interp(at, self.beat_s, np.arange(len(self.beat_s)))
        before = np.minimum(at - self.beat_s[0], 0) / (self.beat_s[1] - self.beat_s[0])
        after = np.maximum(at - self.beat_s[-1], 0) / (self.beat_s[-1] - self.beat_s[-2])
        return np.asarray(inside + before + after)

    def bars(self) -> list[tuple[int, int, MetreShape]]:
        """First beat, end beat and metre of each whole bar."""
        return [
            (at, at + METRES[name].beats, METRES[name])
            for start, end, name in self.metres
            for at in range(start, end - METRES[name].beats + 1, METRES[name].beats)
        ]

    def scale_at(self, beat: float) -> Scale:
        """The key that holds at a position."""
        return (span_at(self.keys, beat) or self.keys[-1])[2]

    def chord_at(self, beat: float) -> Chord | None:
        """The chord that holds at a position; None where there is none."""
        found = span_at(self.chords, beat)
        return None if found is None else Chord.parse(found[2])

    def moved(self, semitones: int) -> "Score":
        """The piece in another key; drums are unchanged."""
        return replace(
            self,
            keys=tuple((a, b, scale.moved(semitones)) for a, b, scale in self.keys),
            chords=tuple((a, b, moved_label(label, semitones)) for a, b, label in self.chords),
            parts=tuple(p if p.drums else replace(p, notes=p.moved(semitones)) for p in self.parts),
        )


def moved_label(label: str, semitones: int) -> str:
    """A chord label moved; ``N`` and ``X`` are unchanged.

    >>> moved_label("A:min7/b3", 1), moved_label("N", 3)
    ('Bb:min7/b3', 'N')
    """
    chord = Chord.parse(label)
    return label if chord is None else str(Chord((chord.root + semitones) % 12, chord.quality, chord.bass))


def plain_label(label: str) -> str:
    """A chord label of the wild as one that ``Chord`` knows: what is beyond its qualities is dropped.

    >>> plain_label("D:7(#9)"), plain_label("G:maj6(9)/2"), plain_label("Cb:sus4(b7,9)/5"), plain_label("A")
    ('D:7', 'G:maj6', 'B:sus4/5', 'A:maj')

    Raises InputError if it is no chord label.
    """
    if label in ("N", "X", "&pause"):
        return "N"
    body, _, degree = label.partition("/")
    root, _, quality = body.partition(":")
    quality = quality.partition("(")[0]
    known = table()["chords"]
    chord = Chord.parse(f"{root}:{known['simpler'].get(quality, quality)}")
    if chord is None:
        raise InputError(f"not a chord label: {label!r}.")
    degree = known["degrees"].get(degree, degree)
    try:
        inverted = Chord.parse(f"{chord}/{degree}") if degree else None
    except InputError:
        return str(chord)
    inside = inverted is not None and (inverted.root + (inverted.bass or 0)) % 12 in inverted.pitch_classes
    return str(inverted) if inside else str(chord)


def span_at(rows: Sequence[tuple[float, float, T]], beat: float) -> tuple[float, float, T] | None:
    """The span of sorted ones that holds at a position, None where none does."""
    at = bisect_right(rows, beat + 1e-6, key=lambda row: row[0]) - 1
    return rows[at] if at >= 0 and rows[at][1] > beat + 1e-6 else None


def joined(rows: Iterable[tuple[float, float, T]], gap: float = 1e-3) -> Spans[T]:
    """Spans in order, those of one value that are less than ``gap`` apart made one.

    >>> joined([(0.0, 1.0, "C"), (1.0, 2.0, "C"), (3.0, 4.0, "C")])
    ((0.0, 2.0, 'C'), (3.0, 4.0, 'C'))
    """
    found: list[tuple[float, float, T]] = []
    for start, end, value in rows:
        if found and found[-1][2] == value and start - found[-1][1] < gap:
            start = found.pop()[0]
        found.append((start, end, value))
    return tuple(found)


def tempo_map(shape: str, beats: int, tempo_bpm: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """The times of ``beats`` + 1 beats from 0 on.

    ``shape`` is ``steady``, ``drifting`` (a slow wander of 2 to 6 %), ``ritardando`` or ``accelerando`` (over the whole
    piece, to 0.6-0.8 or 1.25-1.5 of the tempo) or ``step`` (another tempo from a middle beat on).
    """
    place = np.arange(beats) / max(1, beats - 1)
    rate = np.ones(beats)
    if shape == "drifting":
        wander = np.cumsum(rng.standard_normal(beats + 16))
        wander = np.convolve(wander, np.ones(9) / 9, "same")[8:-8]
        wander -= wander.mean()
        rate = 1 + rng.uniform(0.02, 0.06) * wander / max(1e-9, float(np.abs(wander).max()))
    elif shape == "ritardando":
        rate = 1 - (1 - rng.uniform(0.6, 0.8)) * np.clip((place - 0.2) / 0.7, 0, 1)
    elif shape == "accelerando":
        rate = 1 + (rng.uniform(1.25, 1.5) - 1) * np.clip((place - 0.2) / 0.7, 0, 1)
    elif shape == "step":
        rate = np.where(np.arange(beats) < beats // 2, 1.0, rng.choice([0.75, 0.8, 1.2, 1.25, 1.3333]))
    return np.asarray(np.r_[0.0, np.cumsum(60.0 / (tempo_bpm * rate))], np.float64)
