"""What every kind of constraint shares: the base class, places in a track, likelihoods, and how a verdict is reached.

A kind of constraint is one file here: its value, the words that say it, how well measurements fit it, how many tracks
meet it by chance, and its evidence. Words are read into these values by ``solfa.query``.

A measurement is a few values with their confidences; the confidence that is left over is spread over what tracks are in
general (the *base rate*). A track of which nothing is known therefore gets exactly the base rate, which is no evidence
at all: a wrong attribute pushes a track down, a missing one does not.

Shape letters: N tracks, A alternative values.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from solfa.core.types import FloatArray, Span

ABSENT = 0.35  # confidence below which something counts as not there (from ``PRESENT`` on it counts as there)
NONE_FOUND, NOT_MEASURED = "none found", "could not be measured"
SHAPE_BASE = 0.3  # base rate of what depends on a place or a shape
_SHOWN = 0.1  # confidence from which on an alternative is worth a word
_UNIT = 1 << 32  # what a probability of 1 is in a sum
_PSEUDO_COUNT = 10.0  # tracks that a prior counts for
_LEAST_S = 3.0  # the shortest stretch that "at the start" can mean

Counts = NDArray[np.int64]
Doubles = NDArray[np.float64]


class Columns(Protocol):
    """Measured attributes of N tracks (``collection.Attributes``)."""

    @property
    def chord_bounds(self) -> Counts:
        """Where the chord sequence of each track begins and ends [shape=(N + 1,)]."""

    def __len__(self) -> int: ...

    def column(self, name: str) -> NDArray[Any]:
        """One measured field of all tracks, with its alternatives."""

    def confidence(self, concept: str) -> FloatArray:
        """How sure it is that a concept is present [shape=(N,)]; NaN where it was not looked for."""

    def measured(self, concept: str) -> bool:
        """Whether a concept was looked for in any track of the collection."""

    def chord_pairs(self) -> NDArray[np.uint8]:
        """Which chord follows which."""


class Tracks(Protocol):
    """All tracks that can be searched (``collection.Collection``)."""

    def attributes(self) -> Columns:
        """Their columns."""

    def energy_profiles(self) -> FloatArray:
        """Mean energy in equal parts of every track, NaN where there is none [shape=(N, parts)]."""


class Timed(Protocol):
    """What happens when in one track (``collection.TrackTimeline``)."""

    @property
    def chords(self) -> NDArray[np.void]:
        """start_s, end_s, label (a key of ``names``), confidence."""

    @property
    def spans(self) -> NDArray[np.void]:
        """concept (a key of ``names``), start_s, end_s, confidence."""

    @property
    def energy(self) -> FloatArray:
        """0..1, every ``energy_hop_s``."""

    @property
    def energy_hop_s(self) -> float: ...

    @property
    def names(self) -> dict[int, str]: ...


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Measured:
    """What was measured about one track: its row in the columns and its timeline, which is all that evidence needs.

    Both are single precision; values are given back as the analysis holds them (``analyze.tidy``).
    """

    table: Columns
    row: int
    timeline: Timed

    @property
    def duration_s(self) -> float:
        """Length of the track."""
        return round(float(self.table.column("duration_s")[self.row]), 3)

    def choices(self, name: str) -> list[tuple[Any, float]]:
        """A value and its best alternatives as a field of the columns has them, each with its confidence."""
        fields = name, f"{name.removesuffix('_bpm')}_confidence"
        values, confidences = (self.table.column(field)[self.row].tolist() for field in fields)
        return [(value, round(sure, 4)) for value, sure in zip(values, confidences, strict=True)]

    def confidence(self, name: str) -> float:
        """How sure it is that a concept is there; NaN where it was not looked for."""
        return round(float(self.table.confidence(name)[self.row]), 4)


class Verdict(NamedTuple):
    """What was measured, how surely, whether that is what was asked (before any negation), and where."""

    measured: str
    confidence: float
    met: bool | None
    spans: tuple[Span, ...] = ()


UNMEASURED = Verdict(NOT_MEASURED, 0.0, None)


@dataclass(frozen=True, eq=False, slots=True)
class Likelihood:
    """P(satisfied) of some tracks [shape=(N,)] and what it is for a track of which nothing is known."""

    p: FloatArray
    base: float

    @classmethod
    def filled(cls, p: FloatArray, base: float) -> "Likelihood":
        """The same with the base rate where P is NaN."""
        return cls(np.where(np.isnan(p), base, p).astype(np.float32), base)

    def negated(self) -> "Likelihood":
        """The same for the opposite constraint."""
        return Likelihood(1 - self.p, 1 - self.base)


@dataclass(frozen=True, eq=False, slots=True)
class Unbased:
    """P(satisfied) of some tracks [shape=(N,)], NaN where it is not known; its base rate is the mean over a collection,
    drawn towards a ``prior`` in small ones."""

    p: FloatArray
    prior: float

    def counted(self) -> tuple[int, int]:
        """Sum and number of what is known. The sum is a whole number, so that parts of a collection add up exactly."""
        known = self.p[~np.isnan(self.p)]
        return int(np.rint(known.astype(np.float64) * _UNIT).astype(np.int64).sum()), len(known)

    def based(self, total: int, count: int) -> Likelihood:
        """The likelihood, by what was ``counted`` over the collection; a base rate is within 0.02..0.98."""
        mean = (total / _UNIT + self.prior * _PSEUDO_COUNT) / (count + _PSEUDO_COUNT)
        return Likelihood.filled(self.p, float(np.clip(mean, 0.02, 0.98)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraint(ABC):
    """Base: ``text`` is the part of the query it came from; ``weight`` 1 is ordinary, > 1 a must.

    ``negated`` asks for the opposite ("no vocals", "not in F major"). Constraints with the same ``any_of`` above 0 are
    alternatives ("piano or guitar"): the one that fits best counts for all of them.
    """

    topic: ClassVar[str]

    text: str
    negated: bool = False
    weight: float = 1.0
    any_of: int = 0

    @property
    def label(self) -> str:
        """The word for what it is about: tempo, key, metre, chords, a vocabulary kind, dynamics, duration."""
        return self.topic

    @property
    def needs_timeline(self) -> bool:
        """Whether columns cannot answer it fully."""
        return False

    @abstractmethod
    def asked(self) -> str:
        """What it asks, in words, before any negation."""

    @abstractmethod
    def from_columns(self, tracks: Tracks) -> "Likelihood | Unbased | None":
        """Likelihood of every track before any negation; None if the columns hold nothing about it.

        For a constraint that needs the timeline this is what the columns can say.
        """

    def from_timelines(self, columns: Columns, rows: NDArray[np.intp], timelines: Sequence[Timed]) -> Likelihood:
        """Likelihood before any negation of the tracks in ``rows`` whose timelines are available.

        Of a constraint that ``needs_timeline`` only.
        """
        raise AssertionError(f"{type(self).__name__} needs no timeline")

    @abstractmethod
    def evidence(self, track: Measured) -> Verdict:
        """What one track has to show, before any negation."""

    def words(self) -> str:
        """What it asks, in words.

        >>> from solfa.constraints import Tempo
        >>> Tempo(text="", low_bpm=90, high_bpm=100, negated=True).words()
        'not 90-100 BPM'
        """
        return f"not {self.asked()}" if self.negated else self.asked()


def judged(
    choices: list[tuple[Any, float]],
    show: Callable[[Any], str],
    fits: Callable[[Any], bool],
    otherwise: Callable[[Any], str] = lambda value: "",
) -> Verdict:
    """The verdict on a value; ``otherwise`` names another reading of it that fits, which leaves it undecided."""
    if not choices:
        return UNMEASURED
    (value, confidence), *others = choices
    if fits(value):
        return Verdict(show(value), confidence, True)
    reading = otherwise(value)
    if not reading:
        second = next(((v, c) for v, c in others if c >= _SHOWN and fits(v)), None)
        reading = "" if second is None else f"or {show(second[0])} ({second[1]:.2f})"
    return Verdict(f"{show(value)}, {reading}" if reading else show(value), confidence, None if reading else False)


def chosen(columns: Columns, name: str, fits_NA: FloatArray, base: float) -> Likelihood:
    """Likelihood from how well a field's value and alternatives fit [shape=(N, A)]."""
    return Likelihood(expected(fits_NA, columns.column(f"{name}_confidence"), base), base)


def expected(fits_NA: NDArray[np.floating], confidences_NA: NDArray[np.floating], base: float) -> FloatArray:
    """P(satisfied) of A alternative values with confidences; the confidence left over gets the base rate [shape=(N,)].

    >>> expected(np.array([[1.0, 0.0]]), np.array([[0.6, 0.3]]), 0.2).round(2) == np.float32(0.62)
    array([ True])
    """
    # Column by column: a sum along an axis of four is slow in numpy.
    total = sum(confidences_NA[:, i] for i in range(confidences_NA.shape[1]))
    known = sum(fits_NA[:, i] * confidences_NA[:, i] for i in range(confidences_NA.shape[1]))
    scale = 1.0 / np.maximum(total, 1.0)
    p: FloatArray = (known * scale + (1.0 - total * scale) * base).astype(np.float32)
    return p


def range_words(
    low: float, high: float, least: float, most: float, unit: str, show: Callable[[float], str] | None = None
) -> str:
    """The range in numbers with their unit, or as ``show`` writes its ends."""
    if low <= least and high >= most:
        return f"any {unit}"
    after = "" if show else f" {unit}"
    first, last = (show or "{:g}".format)(low), (show or "{:g}".format)(high)
    if low <= least:
        return f"at most {last}{after}"
    if high >= most:
        return f"at least {first}{after}"
    return f"{first}{after}" if first == last else f"{first}-{last}{after}"


# --- places ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where in the track something is asked to be, as fractions 0..1 of the track.

    ``event`` says what happens there: it is present there (``in``), begins there and not before (``enters``),
    ends there (``leaves``), or is present nowhere else (``only``).

    Where the query names seconds ("at 0:30", "the last 20 seconds"), ``start_s`` and ``end_s`` hold them and go before
    the fractions; a negative value counts from the end of the track, None means the track's own start or end.
    """

    start: float
    end: float
    event: Literal["in", "enters", "leaves", "only"] = "in"
    start_s: float | None = None
    end_s: float | None = None

    @property
    def absolute(self) -> bool:
        """Whether the place is given in seconds."""
        return self.start_s is not None or self.end_s is not None

    def span_s(self, duration_s: float) -> tuple[float, float]:
        """The place in seconds, at least three long where the track allows; empty if it begins after the track's end.

        >>> Place(start=0.5, end=1.0).span_s(200.0), Place(start=0, end=1, start_s=-20.0).span_s(200.0)
        ((100.0, 200.0), (180.0, 200.0))
        """
        start, end = self.spans_s(np.array([duration_s]))
        return float(start[0]), float(end[0])

    def spans_s(self, duration_s_N: NDArray[np.floating]) -> tuple[Doubles, Doubles]:
        """``span_s`` of many tracks: starts and ends [shape=(N,) each]."""
        duration = duration_s_N.astype(np.float64)
        if self.absolute:
            start, end = (
                default if value is None else np.clip(value + duration if value < 0 else value, 0.0, duration)
                for value, default in ((self.start_s, 0 * duration), (self.end_s, duration))
            )
        else:
            start, end = self.start * duration, self.end * duration
        beyond = (start >= duration) & (self.start_s is not None)
        middle, short = (start + end) / 2, end - start < _LEAST_S
        start, end = np.where(short, middle - _LEAST_S / 2, start), np.where(short, middle + _LEAST_S / 2, end)
        shift = np.where(short, np.maximum(0.0, -start) - np.maximum(0.0, end - duration), 0.0)
        start, end = np.maximum(0.0, start + shift), np.minimum(duration, end + shift)
        return np.where(beyond, duration, start), np.where(beyond, duration, end)

    def words(self) -> str:
        """Where, for people: " in 50-100 % of the track", " entering in 0:55 to 1:05"."""
        verb = {"in": "in", "enters": "entering in", "leaves": "leaving in", "only": "only in"}[self.event]
        until = self.event == "leaves" and not (self.start_s if self.absolute else self.start)
        if not self.absolute and until:
            return f" until {self.end * 100:.0f} % of the track"
        if not self.absolute:
            return f" {verb} {self.start * 100:.0f}-{self.end * 100:.0f} % of the track"
        start = "the start" if self.start_s is None else _clock(self.start_s)
        end = "the end" if self.end_s is None else _clock(self.end_s)
        return f" until {end}" if until else f" {verb} {start} to {end}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(abs(seconds)), 60)
    return f"{minutes}:{rest:02d}" + (" before the end" if seconds < 0 else "")
