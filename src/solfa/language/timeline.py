"""What happens when in a track: its parts, which of them repeat, and when instruments and voices are there.

Everything is read from the analysis; the parts are those of ``analysis.sections``.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import islice
from typing import Literal

from solfa.analysis.sections import form
from solfa.core.filters import PRESENT
from solfa.core.theory import KEYS, Chord, Key
from solfa.core.types import Analysis, Span, TagTrack
from solfa.core.vocabulary import lineage

Loudness = Literal["louder", "softer"]
_GAP_S, _SHORT_S = 6.0, 4.0  # an instrument is still there after so short a rest, and not there for so short a time
_SHARE = 0.5  # of a part in which an instrument counts as present in it
_CHANGE = 0.1  # of the energy (0..1; 4.5 LU): less is no change that a listener could be sure of
_LEAST = 0.1  # of a part that a chord lasts to be one of its chords
_IN_KEY, _OFF_KEY = 0.6, 0.4  # of a part whose chords are of the key of the track, from which on it is, and is not
_CLOSE, _AS_LONG = 0.2, 0.6  # of a narrower concept to a wider: difference of confidence, share of its length
_PARTS = {"drum_machine", "bass_drum", "snare_drum", "hi_hat", "cymbal"}  # of a kit
_KIT = {"drums", *_PARTS} - {"cymbal"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part of the form, from ``start_s`` to ``end_s``.

    ``label`` is "A", "B" ...: parts that sound alike share it. ``present``, ``entering`` and ``leaving`` are ids of
    the vocabulary, surest first: in this part; and not in the one before; and in the one before but not here.
    ``chords`` are Harte labels in the order of their first appearance, the short ones left out, with their mean
    confidence; ``key`` is None where it is not clear. ``loudness`` compares with the part before (None: no clear
    difference, or the first part).
    ``confidence`` is the salience 0..1 of the boundary that it starts with.
    """

    start_s: float
    end_s: float
    label: str
    entering: tuple[str, ...] = ()
    leaving: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    chords: tuple[str, ...] = ()
    key: str | None = None
    chords_confidence: float = 0.0
    loudness: Loudness | None = None
    confidence: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An instrument or voice (id of the vocabulary) is there from ``start_s`` to ``end_s``; short rests do not end it.

    ``confidence`` is the mean over the spans that were measured, and no more than that of its presence in the track.
    """

    concept: str
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """Parts from the first second to the last, and entries in the order of their start."""

    duration_s: float
    parts: tuple[Part, ...]
    entries: tuple[Entry, ...]

    def of(self, concept: str) -> list[Entry]:
        """The entries of one concept."""
        return [entry for entry in self.entries if entry.concept == concept]


def timeline(analysis: Analysis, *, every_s: float | None = None) -> Timeline:
    """Parts and entries of a track; one part and no entries where nothing was measured.

    ``every_s`` makes parts of that length (the last is what is left) without labels, instead of those of the form.
    """
    tags = [t for t in (analysis.voice, *analysis.instruments) if t.confidence >= PRESENT]
    entries = {tag.concept: [*_entries(tag)] for tag in tags}
    names, parts, energy_before = named(tags), list[Part](), 0.0
    spans, labels = form(analysis) if every_s is None else _windows(analysis.duration_s, every_s)
    for span, label in zip(spans, labels, strict=True):
        before, least_s = parts[-1].present if parts else (), _SHARE * (span.end_s - span.start_s)
        present = tuple(n for n in names if _lasts_s(entries[n], span) >= least_s > 0)
        chords, sure, energy = *_chords(analysis, span), _energy(analysis, span)
        change = energy - energy_before if parts else 0.0
        parts.append(Part(
            start_s=span.start_s, end_s=span.end_s, label=label, confidence=span.confidence, present=present,
            entering=tuple(c for c in present if parts and c not in before),
            leaving=tuple(c for c in before if c not in present), chords_confidence=sure,
            chords=tuple(str(c) for c, s in chords.items() if s >= _LEAST * sum(chords.values())),
            key=_key(analysis, chords),
            loudness=None if abs(change) < _CHANGE else "louder" if change > 0 else "softer",
        ))  # fmt: skip
        energy_before = energy
    ordered = sorted((e for own in entries.values() for e in own), key=lambda e: (e.start_s, -e.confidence, e.concept))
    return Timeline(duration_s=analysis.duration_s, parts=tuple(parts), entries=tuple(ordered))


def overlaps(entries: Sequence[Entry], span: Span | Part) -> Iterator[Entry]:
    """The entries of one concept that are in a span of the track."""
    for i in range(bisect_right(entries, span.start_s, key=lambda e: e.end_s), len(entries)):
        if entries[i].start_s >= span.end_s:
            return
        yield entries[i]


def _windows(duration_s: float, every_s: float) -> tuple[tuple[Span, ...], tuple[str, ...]]:
    count = max(1, math.ceil(duration_s / every_s - 1e-6))
    ends = [*(every_s * (i + 1) for i in range(count - 1)), duration_s]
    return tuple(Span(start_s=every_s * i, end_s=end, confidence=1.0) for i, end in enumerate(ends)), ("",) * count


def named(tags: Iterable[TagTrack]) -> tuple[str, ...]:
    """The concepts that name each source once, surest first.

    Drums stand for the parts of a kit. A narrower concept stands for a wider one (a cello for strings) where it is
    about as sure and lasts about as long, else the wider one for both.
    """
    known = {t.concept: t for t in tags}
    if not known.keys().isdisjoint(_KIT):
        known = {c: t for c, t in known.items() if c not in (_PARTS | {"percussion"}) or c == "drums"}
    narrower = {
        c: [n for n, t in known.items() if c in lineage(n)[1:] and t.confidence >= known[c].confidence - _CLOSE]
        for c in known
    }
    replaced = {c for c in known if sum(known[n].share for n in narrower[c]) >= _AS_LONG * max(known[c].share, 0.01)}
    covered = {n for n in known if any(w in known and w not in replaced for w in lineage(n)[1:])}
    names = known.keys() - replaced - covered
    return tuple(sorted(names, key=lambda c: (-known[c].confidence, c)))


def _entries(tag: TagTrack) -> Iterator[Entry]:
    """The spans of a concept, joined over short rests; short ones only where it has no longer one."""
    rows = list[tuple[float, float, float, float]]()  # start, end, how long it was measured there, weighted confidence
    for span in tag.spans:
        start_s, length_s = span.start_s, span.end_s - span.start_s
        weight = length_s * span.confidence
        if rows and start_s - rows[-1][1] <= _GAP_S:
            start_s, _, before_s, other = rows.pop()
            length_s, weight = length_s + before_s, weight + other
        rows.append((start_s, span.end_s, length_s, weight))
    least_s = min(_SHORT_S, max((length_s for _, _, length_s, _ in rows), default=0.0))
    for start_s, end_s, length_s, weight in rows:
        if length_s >= max(least_s, 1e-3):
            sure = round(min(tag.confidence, weight / length_s), 4)
            yield Entry(concept=tag.concept, start_s=start_s, end_s=end_s, confidence=sure)


def _lasts_s(entries: Sequence[Entry], span: Span) -> float:
    return sum(min(e.end_s, span.end_s) - max(e.start_s, span.start_s) for e in overlaps(entries, span))


def _chords(analysis: Analysis, span: Span) -> tuple[dict[Chord, float], float]:
    """How many seconds each chord lasts, in the order of their first appearance; and their mean confidence.

    Inversions do not count.
    """
    lasting, sure = dict[Chord, float](), 0.0
    first = max(0, bisect_right(analysis.chords, span.start_s, key=lambda c: c.start_s) - 1)
    for segment in islice(analysis.chords, first, None):
        if segment.start_s >= span.end_s:
            break
        seconds = min(segment.end_s, span.end_s) - max(segment.start_s, span.start_s)
        if seconds > 0 and (chord := _bare(segment.label)) is not None:
            lasting[chord] = lasting.get(chord, 0.0) + seconds
            sure += seconds * segment.confidence
    return lasting, round(sure / sum(lasting.values()), 4) if lasting else 0.0


@lru_cache(4096)
def _bare(label: str) -> Chord | None:
    chord = Chord.parse(label)
    return None if chord is None else Chord(chord.root, chord.quality)


def _key(analysis: Analysis, lasting: Mapping[Chord, float]) -> str | None:
    """The key of the track where chords are of it most of the time, else the only other one that all are of."""
    if analysis.key.value is None or analysis.key.confidence < PRESENT or not lasting:
        return None
    fits, total = dict.fromkeys(KEYS, 0.0), sum(lasting.values())
    for chord, seconds in lasting.items():
        for key in _keys(chord):
            fits[key] += seconds
    own = Key.parse(analysis.key.value)
    if fits[own] >= _OFF_KEY * total:
        return str(own) if fits[own] >= _IN_KEY * total else None
    triads = {(c.root, c.triad) for c in lasting}
    others = [k for k, fit in fits.items() if fit >= (1 - _LEAST) * total and (k.tonic, k.mode[:3]) in triads]
    return str(others[0]) if len(others) == 1 and len(lasting) > 2 else None


@cache
def _keys(chord: Chord) -> tuple[Key, ...]:
    """The keys that have all notes of a chord; a minor one also has the leading note."""
    steps = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10, 11)}
    scales = {key: {(key.tonic + step) % 12 for step in steps[key.mode]} for key in KEYS}
    return tuple(key for key, scale in scales.items() if chord.pitch_classes <= scale)


def _energy(analysis: Analysis, span: Span) -> float:
    """Mean energy 0..1 of a part, of the seconds between its borders."""
    curve = analysis.energy
    first = int(span.start_s / curve.hop_s) if curve.hop_s else 0
    values = curve.values[first : max(first + 1, round(span.end_s / curve.hop_s))] if curve.hop_s else ()
    return sum(values) / len(values) if values else 0.0
