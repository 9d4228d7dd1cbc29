"""What happens when in a track: its parts, which of them repeat, and when instruments and voices are there.

Everything is read from the analysis; the parts are those of ``analysis.sections``.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeVar

from solfa.analysis.sections import form
from solfa.core.filters import PRESENT
from solfa.core.theory import KEYS, Chord, Key
from solfa.core.types import Analysis, ChordSegment, Span, TagTrack
from solfa.core.vocabulary import lineage

Loudness = Literal["louder", "softer"]
_GAP_S, _SHORT_S = 6.0, 4.0  # an instrument is still there after so short a rest, and not there for so short a time
_REST_S = 1.0  # so little at the end is no part of a fixed length, but belongs to the one before
_SHARE = 0.5  # of a part in which an instrument counts as present in it
_CHANGE = 0.1  # of the energy (0..1; 4.5 LU): less is no change that a listener could be sure of
_LEAST = 0.1  # of a part that a chord lasts to be one of its chords
_IN_KEY, _OFF_KEY = 0.6, 0.4  # of a part whose chords are of the key of the track, from which on it is, and is not
_CLOSE, _AS_LONG = 0.2, 0.6  # of a narrower concept to a wider: difference of confidence, share of its length
_KIT = ("drum_machine", "bass_drum", "snare_drum", "hi_hat", "cymbal", "percussion")  # what drums stand for


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part of the form; parts that sound alike share a ``label`` ("A", "B" ...).

    ``present``, ``entering`` and ``leaving`` are ids of the vocabulary, surest first, the latter two compared with the
    part before, as is ``loudness`` (None: no clear difference). ``chords`` are Harte labels in the order of their first
    appearance, the short ones left out, with their mean confidence; ``key`` is None where it is not clear.
    ``confidence`` is the salience 0..1 of the boundary that the part starts with.
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


_Timed = TypeVar("_Timed", Entry, ChordSegment)


def timeline(analysis: Analysis, *, every_s: float | None = None) -> Timeline:
    """Parts and entries of a track; one part and no entries where nothing was measured.

    ``every_s`` makes parts of that length (the last is what is left, a second or more) without labels, instead
    of those of the form.
    """
    tags = [t for t in (analysis.voice, *analysis.instruments) if t.confidence >= PRESENT]
    entries = {tag.concept: [*_entries(tag)] for tag in tags}
    names, parts, energy_before = named(tags), list[Part](), 0.0
    if every_s is None:
        spans, labels = form(analysis)
    else:
        whole_s = analysis.duration_s - min(_REST_S, every_s / 2)
        starts = [every_s * i for i in range(max(1, math.ceil(whole_s / every_s)))]
        ends, labels = [*starts[1:], analysis.duration_s], ("",) * len(starts)
        spans = tuple(Span(start_s=a, end_s=b, confidence=1.0) for a, b in zip(starts, ends, strict=True))
    for span, label in zip(spans, labels, strict=True):
        before, least_s = parts[-1].present if parts else (), _SHARE * (span.end_s - span.start_s)
        present = tuple(n for n in names if sum(s for _, s in overlaps(entries[n], span)) >= least_s > 0)
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


def overlaps(items: Sequence[_Timed], span: Span | Part) -> Iterator[tuple[_Timed, float]]:
    """What of ordered items, of which none overlap, is in a span of the track, and for how many seconds."""
    for i in range(bisect_right(items, span.start_s, key=lambda item: item.end_s), len(items)):
        if items[i].start_s >= span.end_s:
            return
        yield items[i], min(items[i].end_s, span.end_s) - max(items[i].start_s, span.start_s)


def named(tags: Iterable[TagTrack]) -> tuple[str, ...]:
    """The concepts that name each source once, surest first.

    Drums stand for the parts of a kit. A narrower concept stands for a wider one (a cello for strings) where it is
    about as sure and lasts about as long, else the wider one for both.
    """
    known = {t.concept: t for t in tags}
    if "drums" in known:
        known = {c: t for c, t in known.items() if c not in _KIT}
    kept = set[str]()  # but for what the narrower ones stand for
    for name, tag in known.items():
        cases = [t for c, t in known.items() if name in lineage(c)[1:] and t.confidence >= tag.confidence - _CLOSE]
        if sum(t.share for t in cases) < _AS_LONG * max(tag.share, 0.01):
            kept.add(name)
    names = (c for c in kept if kept.isdisjoint(lineage(c)[1:]))
    return tuple(sorted(names, key=lambda c: (-known[c].confidence, c)))


def _entries(tag: TagTrack) -> list[Entry]:
    """The spans of a concept, joined over short rests; short ones only where it has no longer one."""
    rows = list[list[Span]]()
    for span in tag.spans:
        if not rows or span.start_s - rows[-1][-1].end_s > _GAP_S:
            rows.append([])
        rows[-1].append(span)
    lengths_s = [sum(s.end_s - s.start_s for s in row) for row in rows]
    weights = [sum((s.end_s - s.start_s) * s.confidence for s in row) for row in rows]
    least_s = max(1e-3, min(_SHORT_S, max(lengths_s, default=0.0)))
    return [
        Entry(concept=tag.concept, start_s=row[0].start_s, end_s=row[-1].end_s,
              confidence=round(min(tag.confidence, weight / length_s), 4))
        for row, length_s, weight in zip(rows, lengths_s, weights, strict=True) if length_s >= least_s
    ]  # fmt: skip


def _chords(analysis: Analysis, span: Span) -> tuple[dict[Chord, float], float]:
    """Seconds of each chord, inversion or not, in the order of their first appearance; and their mean confidence."""
    lasting, sure = dict[Chord, float](), 0.0
    for segment, seconds in overlaps(analysis.chords, span):
        if (found := Chord.parse(segment.label)) is not None:
            chord = found if found.bass is None else Chord(found.root, found.quality)
            lasting[chord] = lasting.get(chord, 0.0) + seconds
            sure += seconds * segment.confidence
    return lasting, round(sure / sum(lasting.values()), 4) if lasting else 0.0


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
    hop_s = analysis.energy.hop_s or 1.0
    values = analysis.energy.values[int(span.start_s / hop_s) : max(1, round(span.end_s / hop_s))]
    return sum(values) / max(1, len(values))
