"""What is true of a rendered clip: music from the score, instruments from the energy of their stems.

A chord is given only where its root and third (of a power chord, both notes) sound; where nothing pitched sounds it is
``N``, and where too little does, ``X``. An instrument is active where its stem is less than 32 dB below the mix; rests
of up to 0.7 s are bridged. Events are given only where the sound confirms them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from solfa.core.annotation import MusicAnnotation
from solfa.core.claims import tempo_marking
from solfa.core.clip import Phrase, joined_phrases
from solfa.core.intervals import Segment
from solfa.core.theory import QUALITIES, Chord
from solfa.core.types import BoolArray, ChordSegment, Curve, FloatArray
from solfa.datagen.captions.facts import harmony
from solfa.datagen.world.render import Stem, frame_db
from solfa.datagen.world.score import METRES, Scale, Score, joined, moved_label
from solfa.datagen.world.singing import CONCEPTS
from solfa.datagen.world.styles import is_voice_like
from solfa.datasets.phrases import event_phrase

HOP_S = 0.05
_BELOW_MIX_DB, _BRIDGED_S, _SHORTEST_S = 32.0, 0.7, 0.15
_LEAST_S = 1.0  # on either side of a change that is stated
_STEADY = 1.06  # tempo is one number where the slowest and fastest bar differ by less

T = TypeVar("T")
Stretches = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The stretch of a piece that a clip of ``seconds`` shows, from ``begin_s`` on, ``shift`` semitones higher.

    The shift and ``cents`` more (tuning, no other key) are by varispeed, so it is played ``ratio`` times as fast.
    """

    begin_s: float
    seconds: float
    shift: int = 0
    cents: float = 0.0

    @property
    def ratio(self) -> float:
        """How many times as fast it is played."""
        return float(2 ** ((self.shift + self.cents / 100) / 12))

    def clip_s(self, score_s: float | NDArray[np.float64]) -> NDArray[np.float64]:
        """Times in the clip of times in the piece."""
        return (np.asarray(score_s, np.float64) - self.begin_s) / self.ratio

    def cut(self, start_s: float, end_s: float, shortest_s: float = 0.05) -> tuple[float, float] | None:
        """What of a span of the piece is in the clip, if at least ``shortest_s`` does."""
        a, b = (float(t) for t in self.clip_s(np.array([start_s, end_s])))
        a, b = max(a, 0.0), min(b, self.seconds)
        return (round(a, 4), round(b, 4)) if b - a >= shortest_s else None


def annotate(score: Score, stems: Sequence[Stem], window: Window, rate: int, clip: FloatArray) -> MusicAnnotation:
    """The truth of the clip; ``stems`` are as played, before any shift."""

    def spans(rows: Sequence[tuple[float, float, T]]) -> list[tuple[float, float, T]]:
        cut = [(window.cut(float(score.seconds(a)), float(score.seconds(b))), value) for a, b, value in rows]
        return [(*span, value) for span, value in cut if span is not None]

    bars = score.bars()
    beats = window.clip_s(score.beat_s[:-1])
    downs = window.clip_s(score.seconds(np.array([a for a, _, _ in bars], np.float64)))
    tempi = _tempi(score, window)
    bpm = [value for a, b, value in tempi if b - a > 0.5] or [value for _, _, value in tempi]
    keys = [(a, b, scale.moved(window.shift)) for a, b, scale in spans(score.keys)]
    sounding = {(n.pitch + window.shift) % 12 for s in stems if not s.part.drums for n in s.part.notes}
    longest = max(keys, key=lambda k: k[1] - k[0], default=None)
    metres = spans(score.metres)
    chords = joined((a, b, _sounding(label, score, stems, window, a, b)) for a, b, label in spans(score.chords))
    return MusicAnnotation(
        duration_s=window.seconds,
        tempo_bpm=_weighted_median(tempi) if max(bpm) <= _STEADY * min(bpm) else None,
        key=longest[2].key if longest and _is_told(longest, sounding, window) else None,
        metre=metres[0][2] if len(metres) == 1 else None,
        beats_s=tuple(float(t) for t in np.round(beats, 4) if 0 <= t < window.seconds),
        downbeats_s=tuple(float(t) for t in np.round(downs, 4) if 0 <= t < window.seconds),
        chords=tuple(ChordSegment(start_s=a, end_s=b, label=label, confidence=1.0) for a, b, label in chords),
        tempi=tuple(tempi),
        keys=tuple(Segment(a, b, str(k)) for a, b, k in keys),
        metres=tuple(Segment(a, b, m) for a, b, m in metres),
        sections=tuple(Segment(a, b, s) for a, b, s in spans(score.sections)),
        instruments=tuple(
            sorted(Segment(a, b, name) for name, rows in active(stems, window, rate).items() for a, b in rows)
        ),
        energy=Curve(hop_s=0.5, values=tuple(round(float(v), 1) for v in frame_db(clip, rate, 0.5)), unit="dB"),
    )


def _is_told(span: tuple[float, float, Scale], sounding: set[int], window: Window) -> bool:
    # One key for nearly the whole clip, of which the tonic and the third are played.
    start, end, scale = span
    return end - start >= 0.8 * window.seconds and {scale.tonic, scale.degree(2)} <= sounding


def _tempi(score: Score, window: Window) -> list[tuple[float, float, float]]:
    # Bar by bar; neighbours within 1 % are one.
    found: list[tuple[float, float, float]] = []
    for a, b, _ in score.bars():
        start, end = float(score.seconds(a)), float(score.seconds(b))
        span = window.cut(start, end)
        if span is None:
            continue
        bpm = round(60 * (b - a) / (end - start) * window.ratio, 2)
        if found and abs(bpm / found[-1][2] - 1) < 0.01:
            found[-1] = (found[-1][0], span[1], found[-1][2])
        else:
            found.append((*span, bpm))
    return found


def _weighted_median(tempi: Sequence[tuple[float, float, float]]) -> float:
    rows = sorted((bpm, b - a) for a, b, bpm in tempi)
    ends = np.cumsum([length for _, length in rows])
    return rows[int(np.searchsorted(ends, ends[-1] / 2))][0]


def _sounding(label: str, score: Score, stems: Sequence[Stem], window: Window, start_s: float, end_s: float) -> str:
    chord = Chord.parse(label)
    if chord is None:
        return "N"
    first, last = (float(score.at_beat(t * window.ratio + window.begin_s)) for t in (start_s, end_s))
    classes: set[int] = set()
    for part in (s.part for s in stems if not s.part.drums):
        classes |= {n.pitch % 12 for n in part.notes if min(n.start + n.length, last) - max(n.start, first) > 0.1}
    if not classes:
        return "N"
    needed = {(chord.root + t) % 12 for t in QUALITIES[chord.quality][:2]}
    return moved_label(label, window.shift) if needed <= classes else "X"


def active(stems: Sequence[Stem], window: Window, rate: int) -> dict[str, Stretches]:
    """When each instrument is present, by vocabulary id, loudest first; ``voice_like`` for all parts that are so."""
    if not stems:
        return {}
    power = np.stack([10 ** (frame_db(s.samples, rate, HOP_S) / 10) for s in stems])
    wide = max(1, round(0.5 / HOP_S))
    mix = np.convolve(power.sum(axis=0), np.ones(2 * wide + 1) / (2 * wide + 1), "same")
    floor = np.maximum(mix, power.sum(axis=0).mean() / 10) * 10 ** (-_BELOW_MIX_DB / 10)
    rows: dict[str, list[int]] = {}
    for i, stem in enumerate(stems):
        rows.setdefault(stem.part.concept, []).append(i)
        if not stem.part.drums and is_voice_like(stem.part.program):
            rows.setdefault("voice_like", []).append(i)
    loud = sorted(rows, key=lambda name: (-float(power[rows[name]].sum()), name))
    found = {name: _spans(power[rows[name]].sum(axis=0) > floor, window) for name in loud}
    return {name: spans for name, spans in found.items() if spans and name}


def _spans(on: BoolArray, window: Window) -> Stretches:
    edges = np.flatnonzero(np.diff(np.r_[0, on.astype(np.int8), 0])).reshape(-1, 2) * HOP_S + window.begin_s
    shown = [(*span, None) for a, b in edges if (span := window.cut(a, b)) is not None]
    return tuple((a, b) for a, b, _ in joined(shown, _BRIDGED_S) if b - a >= _SHORTEST_S)


def _by_instrument(truth: MusicAnnotation) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for segment in truth.instruments:
        if segment.label != "voice_like":
            found.setdefault(segment.label, []).append((segment.start_s, segment.end_s))
    return found


def attributes_of(truth: MusicAnnotation, score: Score) -> dict[str, Any]:
    """The record's attributes; what is not the same all through the clip is left out."""
    total_s = {name: sum(b - a for a, b in rows) for name, rows in _by_instrument(truth).items()}
    labels, voices = [c.label for c in truth.chords], any(s.label == "voice_like" for s in truth.instruments)
    sung = any(name in total_s for name in CONCEPTS.values())
    found: dict[str, Any] = {
        "genre": list(score.genre),
        "instruments": sorted((n for n in total_s if total_s[n] >= 0.4), key=lambda n: (-total_s[n], n)),
        # Where some of the harmony is unknown, the sequence is not known.
        "chords": [] if "X" in labels else [str(c) for c in harmony(labels)],
        "mode": truth.keys[0].label.partition(" ")[2] if len(truth.keys) == 1 else None,
        "keys": [k.label for k in truth.keys] if len(truth.keys) > 1 else None,
        "key": None if truth.key is None else str(truth.key),
        "metre": truth.metre,
        "beats_per_bar": None if truth.metre is None else METRES[truth.metre].beats,
        "tempo_bpm": None if truth.tempo_bpm is None else round(truth.tempo_bpm, 1),
        "tempo_marking": None if truth.tempo_bpm is None else tempo_marking(truth.tempo_bpm),
        "voice": True if sung else None if voices else False,
        "voice_like": voices or None,
        "swing": score.swing > 0.08 or None,
    }
    return {name: value for name, value in found.items() if value not in (None, [])}


def phrases_of(truth: MusicAnnotation, score: Score, stems: Sequence[Stem], window: Window) -> tuple[Phrase, ...]:
    """What happens, and when, in the words of ``datasets/phrases.toml``."""
    seconds, found = window.seconds, list[tuple[str, float, float]]()

    def tell(kind: str, span: tuple[float, float], concept: str = "") -> None:
        if span[1] - span[0] > 0.05:
            found.append((event_phrase(kind, concept), *span))

    bar_s = float(np.median(np.diff(truth.downbeats_s))) if len(truth.downbeats_s) > 1 else 2.0
    spans = _by_instrument(truth)
    for concept, rows in spans.items():
        last = 0.0
        for a, b in rows:
            tell("plays", (a, b), concept)
            if a >= 1.0 and a - last >= (2 * bar_s if last else 1.0) - 0.1:
                tell("enters", (a, min(seconds, max(a + 1.0, _bar_end(truth, a)))), concept)
            last = b
        if seconds - last >= 2 * bar_s and last > 1.0:
            tell("leaves", (max(0.0, last - bar_s, rows[-1][0]), last), concept)
    for span, concept in _alone(spans, seconds):
        tell("alone", span, concept)
    solos = {s.part.concept for s in stems if s.part.role == "solo"}
    for concept in sorted(solos & set(spans)):
        if len(spans) > 1 and not any(s.part.concept == concept and s.part.role != "solo" for s in stems):
            for span in (span for span in spans[concept] if span[1] - span[0] > 1.5):
                tell("solo", span, concept)
    for kind, when in _happenings(truth, score, spans, window):
        tell(kind, when)
    return joined_phrases(found)


def _bar_end(truth: MusicAnnotation, time_s: float) -> float:
    return next((d for d in truth.downbeats_s if d > time_s + 0.1), time_s + 1.0)


def _alone(spans: dict[str, list[tuple[float, float]]], seconds: float) -> list[tuple[tuple[float, float], str]]:
    edges = sorted({0.0, seconds, *(t for rows in spans.values() for row in rows for t in row)})
    rows = [
        (a, b, [n for n, own in spans.items() if any(s < (a + b) / 2 < e for s, e in own)]) for a, b in pairwise(edges)
    ]
    return [((a, b), names[0]) for a, b, names in joined(rows) if len(names) == 1 and b - a >= 2.0]


def _happenings(
    truth: MusicAnnotation, score: Score, spans: dict[str, list[tuple[float, float]]], window: Window
) -> Iterator[tuple[str, tuple[float, float]]]:
    drums = [row for name in ("drums", "drum_machine") for row in spans.get(name, ())]
    for a, b, kind in score.events:
        begin_s, end_s = float(score.seconds(a)), float(score.seconds(b))
        span = window.cut(begin_s, end_s, {"fill": 0.2, "crescendo": 3.0, "diminuendo": 3.0}.get(kind, 1.0))
        if span is None:
            continue
        start, end = span
        begins, share = float(window.clip_s(begin_s)), sum(max(0.0, min(d, end) - max(c, start)) for c, d in drums)
        share /= end - start
        if kind in ("crescendo", "diminuendo") and truth.energy is not None:
            values = np.array(truth.energy.values)[int(start / 0.5) : int(end / 0.5)]
            third = max(1, len(values) // 3)
            rise = float(values[-third:].mean() - values[:third].mean()) if len(values) > 3 else 0.0
            if (rise if kind == "crescendo" else -rise) > 4.0:
                yield kind, span
        elif kind == "drop" and begins > 1.0 and share > 0.5:
            yield kind, (start, min(window.seconds, max(end, start + 2.0)))
        elif (kind == "fill" and share > 0.5 and begins > -0.2) or (
            kind == "break" and drums and share < 0.3 and end - start >= 1.5
        ):
            yield kind, span
    changes: dict[str, Sequence[tuple[float, float, Any]]] = {"key_change": truth.keys, "metre_change": truth.metres}
    changes[""] = truth.tempi if score.tempo == "step" else ()
    for kind, rows in changes.items():
        for (a, b, old), (c, d, new) in pairwise(rows):
            change = kind or _tempo_change(old, new)
            if min(b - a, d - c) >= _LEAST_S and change:
                bar = max((beat for beat in truth.downbeats_s if beat < c - 0.1), default=c - 1.0)
                yield change, (max(0.0, bar), min(window.seconds, _bar_end(truth, c)))
    if score.tempo in ("ritardando", "accelerando"):
        (a, b, old), (_, end, new) = truth.tempi[0], truth.tempi[-1]
        if change := _tempo_change(old, new):
            yield change, (b if b - a > 3.0 else a, end)


def _tempo_change(before_bpm: float, after_bpm: float) -> str:
    ratio = after_bpm / before_bpm
    return "" if 0.93 < ratio < 1.07 else "speeds_up" if ratio > 1 else "slows_down"
