"""How likely a statement about a clip is true, and from which likelihood on it is stated.

A statement is a key, a tempo, a metre, a whole sequence of chords, one chord that occurs, or one instrument. Its
likelihood is a logistic regression on what the analysis says around it (a key is surer where its tonic chord is
played); the threshold for a target precision is read off the precision of everything above it on clips that the
regression was not fitted on. ``benchmarks/caption_truth.py`` fits the table that is shipped, ``trust.json``, on music
whose truth is known, and measures it on other pieces.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from solfa.analysis.registry import extractor_specs
from solfa.core.errors import InputError
from solfa.core.theory import Chord, Key
from solfa.core.types import Analysis, Estimate, TagTrack
from solfa.core.vocabulary import lineage

SCHEMA = "solfa.trust/1"
# Statement -> the field of the analysis that it rests on.
FIELDS = {
    "tempo": "tempo_bpm", "metre": "metre", "key": "key", "chords": "chords", "some_chords": "chords",
    "instruments": "instruments",
}  # fmt: skip
_STEPS: dict[str, Sequence[int]] = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
# One kit has one name, however many of its parts a tagger names.
KIT = ("drums", "drum_machine", "bass_drum", "snare_drum", "hi_hat", "cymbal", "percussion")
_COMMON = ("drums", "keyboard", "piano", "synthesizer", "guitar", "electric_guitar", "acoustic_guitar", "bass",
           "bass_guitar", "strings", "brass", "woodwind", "mallets", "organ")  # fmt: skip
_HEDGED = 0.7  # precision of what is said with "probably"
_SURER = 1.0  # standard errors by which the precision above a threshold exceeds the target
_TEMPO_GAP = 0.04  # how far the beats of a clip may be from the tempo of the track
_SHORTEST_S = 1.0
_PARTS = ("mean", "scale", "weights", "curve")  # of what was fitted for a statement


def odds(confidence: float) -> float:
    """Log odds of a confidence, at most 6 either way."""
    p = min(max(confidence, 0.0025), 0.9975)
    return math.log(p / (1 - p))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A possible statement: its value, what the regression sees, the confidence of the analysis itself."""

    value: Any
    features: Sequence[float]
    confidence: float


def candidates(analysis: Analysis, start_s: float, end_s: float) -> dict[str, list[Candidate]]:
    """Everything that the analysis would say of a clip, sure or not, by statement of ``FIELDS``."""
    clip = _Clip(analysis, start_s, end_s)
    return {
        "tempo": clip.tempo(), "metre": clip.metre(), "key": clip.keys(), "chords": clip.sequence(),
        "some_chords": clip.each_chord(), "instruments": clip.each_instrument(),
    }  # fmt: skip


class _Clip:
    """What an analysis says of a clip, and the features of each statement."""

    def __init__(self, analysis: Analysis, start_s: float, end_s: float) -> None:
        self._of, self._start_s, self._end_s = analysis, start_s, end_s
        self._key = Key.parse(analysis.key.value) if analysis.key.value else None
        # The chords of the clip with their length in s.
        rows = [(min(c.end_s, end_s) - max(c.start_s, start_s), c) for c in analysis.chords]
        self._chords = [(s, c, chord) for s, c in rows if s > 0.05 and (chord := Chord.parse(c.label)) is not None]
        # Pitch classes of the key; all of them where none is known.
        tonic, steps = (self._key.tonic, _STEPS[self._key.mode]) if self._key else (0, range(12))
        self._scale = {(tonic + i) % 12 for i in steps}

    def _single(self, estimate: Estimate[Any], features: Sequence[float]) -> list[Candidate]:
        return [Candidate(estimate.value, features, estimate.confidence)] if estimate.value else []

    def tempo(self) -> list[Candidate]:
        """That the clip has the tempo of the track; none where its beats are off it."""
        estimate, bpm = self._of.tempo_bpm, self._of.tempo_bpm.value or 0.0
        gaps = np.diff([b for b in self._of.beats_s if self._start_s <= b < self._end_s])
        middle = float(np.median(gaps)) if len(gaps) else 0.0
        uneven = float(np.median(np.abs(gaps - middle)) / middle) if middle else 1.0
        drift = min(abs(60.0 / middle / bpm - 1) if middle and bpm else 1.0, 0.3)
        height = math.log2(max(bpm, 20.0) / 110)
        ends = abs(float(gaps[: len(gaps) // 2].mean() / gaps[len(gaps) // 2 :].mean()) - 1) if len(gaps) > 3 else 1.0
        features = [odds(estimate.confidence), _rival(estimate), min(uneven, 0.3), drift, height, abs(height),
                    odds(self._of.metre.confidence), min(ends, 0.3)]  # fmt: skip
        return self._single(estimate, features) if drift <= _TEMPO_GAP else []

    def metre(self) -> list[Candidate]:
        """That the clip has the metre of the track."""
        estimate, bpm = self._of.metre, self._of.tempo_bpm
        downs = np.diff([b for b in self._of.downbeats_s if self._start_s <= b < self._end_s])
        uneven = float(np.std(downs) / np.mean(downs)) if len(downs) > 1 else 0.5
        return self._single(estimate, [
            odds(estimate.confidence), _rival(estimate), odds(bpm.confidence), float(estimate.value == "4/4"),
            float(estimate.value == "3/4"), min(uneven, 0.5), math.log2(max(bpm.value or 0, 20.0) / 110),
            float(len(downs)),
        ])  # fmt: skip

    def keys(self) -> list[Candidate]:
        """That the clip is in the key of the track."""
        if (key := self._key) is None:
            return []
        estimate, rows = self._of.key, self._chords
        total = sum(s for s, _, _ in rows) or 1.0

        def share(holds: Callable[[Chord], bool]) -> float:
            return sum(s for s, _, chord in rows if holds(chord)) / total

        first, last = (rows[i][2] if rows else None for i in (0, -1))
        related = [a.confidence for a in estimate.alternatives if a.value == str(key.relative)]
        return self._single(estimate, [
            odds(estimate.confidence), _rival(estimate), odds(related[0] if related else 0.0),
            share(lambda c: _is_tonic(c, key)), share(lambda c: _is_tonic(c, key.relative)),
            share(lambda c: c.pitch_classes <= self._scale),
            share(lambda c: c.root == (key.tonic + 7) % 12 and c.triad == "maj"),
            sum(s * c.confidence for s, c, _ in rows) / total, float(first is not None and _is_tonic(first, key)),
            float(last is not None and _is_tonic(last, key)), float(key.mode == "minor"),
            float(len({_bare(c) for _, _, c in rows})),
        ])  # fmt: skip

    def sequence(self) -> list[Candidate]:
        """That the chords of the clip in order, without inversions and with neighbours merged, are these."""
        groups = [list(group) for _, group in groupby(self._chords, key=lambda r: _bare(r[2]))]
        chords = tuple(_bare(g[0][2]) for g in groups)
        if not chords:
            return []
        length_s = self._end_s - self._start_s
        lengths = [sum(s for s, _, _ in g) for g in groups]
        sure = [max(c.confidence for _, c, _ in g) for g in groups]
        repeated = sum(chords[i] == chords[j] for i in range(len(chords)) for j in range(i)) / len(chords)
        bass = sum(s for s, _, c in self._chords if c.bass) / length_s
        even = float(np.std(lengths[1:-1]) / np.mean(lengths[1:-1])) if len(lengths) > 3 else 0.5
        features = [
            sum(math.log(max(p, 0.02)) for p in sure), odds(min(sure)), float(np.mean([odds(p) for p in sure])),
            math.log(len(chords)), float(len(set(chords))), repeated, math.log(min(lengths)), math.log(lengths[0]),
            math.log(lengths[-1]), max(0.0, 1.0 - sum(lengths) / length_s), bass,
            float(np.mean([c.pitch_classes <= self._scale for c in chords])),
            float(np.mean([c.quality in ("maj", "min") for c in chords])), even, odds(self._of.key.confidence),
            odds(self._of.tempo_bpm.confidence),
        ]  # fmt: skip
        return [Candidate(chords, features, math.prod(c.confidence for _, c, _ in self._chords))]

    def each_chord(self) -> list[Candidate]:
        """That a chord occurs in the clip, for each that does."""
        rows, found = self._chords, []
        for chord in dict.fromkeys(_bare(c) for _, _, c in rows):
            mine = [(s, c.confidence) for s, c, other in rows if _bare(other) == chord]
            bass = sum(s for s, _, other in rows if other.bass and other.root == chord.root)
            rivals = sum(s for s, _, other in rows if other.root == chord.root and other.quality != chord.quality)
            lasting, surest = sum(s for s, _ in mine), odds(max(p for _, p in mine))
            found.append(Candidate(chord, [
                surest, odds(float(np.mean([p for _, p in mine]))), math.log(lasting), float(len(mine)),
                float(chord.pitch_classes <= self._scale), rivals, bass / lasting, float(chord.quality == "maj"),
                float(chord.quality == "min"), math.log(len(rows)), odds(self._of.key.confidence),
            ], 1 / (1 + math.exp(-surest))))  # fmt: skip
        return found

    def each_instrument(self) -> list[Candidate]:
        """That an instrument is in the clip, for each that may be; the parts of a kit are one."""
        tags = {t.concept: t for t in self._of.instruments if self._present_s(t) >= _SHORTEST_S}
        parts = [tags.pop(name) for name in KIT if name in tags]
        if parts:
            kit = "percussion" if parts[0].concept == "percussion" else "drums"
            tags[kit] = replace(parts[0], concept=kit)
        return [
            Candidate(tag, [
                odds(tag.confidence), self._present_s(tag) / (self._end_s - self._start_s), float(rank),
                odds(max(p.confidence for p in parts)) if tag.concept == "drums" else 0.0,
                *(float(tag.concept == name) for name in _COMMON), float(len(lineage(tag.concept))),
                odds(max(t.confidence for t in tags.values() if lineage(tag.concept)[-1] in lineage(t.concept))),
            ], tag.confidence)
            for rank, tag in enumerate(sorted(tags.values(), key=lambda t: -t.confidence))
        ]  # fmt: skip

    def _present_s(self, tag: TagTrack) -> float:
        """How long a tag is in the clip; a tool that gives no places covers all of the track."""
        spans = [(s.start_s, s.end_s) for s in tag.spans] or [(self._start_s, self._end_s)]
        return sum(max(0.0, min(b, self._end_s) - max(a, self._start_s)) for a, b in spans)


def _rival(estimate: Estimate[Any]) -> float:
    return odds(max((a.confidence for a in estimate.alternatives), default=0.0))


def _bare(chord: Chord) -> Chord:
    """Without its bass."""
    return Chord(chord.root, chord.quality)


def _is_tonic(chord: Chord, key: Key) -> bool:
    return chord.root == key.tonic and chord.triad == ("min" if key.mode == "minor" else "maj")


def tool_of(extractors: Sequence[str], field: str) -> str:
    """NAME@VERSION of the one of these extractors that gave a field."""
    return next((e for e in reversed(extractors) if field in _provided().get(e.partition("@")[0], ())), "")


@cache
def _provided() -> dict[str, frozenset[str]]:
    return {spec.name: frozenset(spec.provides) for spec in extractor_specs()}


@dataclass(frozen=True, slots=True)
class Trust:
    """A fitted table: which likelihood a statement has, and from which on it is stated."""

    table: Mapping[str, Any]

    @classmethod
    @cache
    def load(cls, path: Path | None = None) -> "Trust":
        """The table of a file, by default the one that is shipped; read once in each process.

        Raises InputError if it cannot be read, or is not such a table.
        """
        place = files("solfa.datagen.captions").joinpath("trust.json") if path is None else path
        try:
            table = json.loads(place.read_bytes())
            for name in FIELDS:
                one = {part: np.array(table["statements"][name][part], np.float64) for part in _PARTS}
                sizes = {one["mean"].shape, one["scale"].shape, one["weights"][1:].shape}
                finite = np.isfinite(np.concatenate([v.ravel() for v in one.values()])).all()
                if len(sizes) != 1 or one["curve"].shape[1:] != (3,) or not finite:
                    raise ValueError(f"{name}: weights, means and scales do not fit")
            if table["schema"] != SCHEMA or not isinstance(table["tools"], dict):
                raise ValueError("another schema")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as bad:
            raise InputError(
                f"{place} is not a table of {SCHEMA} ({bad}). Make one with benchmarks/caption_truth.py fit."
            ) from bad
        return cls(table)

    def statements(
        self, analysis: Analysis, start_s: float, end_s: float, precision: float
    ) -> dict[str, list[tuple[Any, bool]]]:
        """The values of each statement that are sure enough, surest first, and whether each needs a hedge.

        What another tool measured than the table was fitted on (``unfitted``) is stated from its own confidence on.
        """
        found, unfitted = {}, self.unfitted(analysis.extractors)
        for name, rows in candidates(analysis, start_s, end_s).items():
            own = name in unfitted
            sure, hedged = (precision, min(_HEDGED, precision)) if own else self.thresholds(name, precision)
            scored = [(c.confidence if own else self.score(name, c.features), c.value) for c in rows]
            scored.sort(key=lambda row: -row[0])
            found[name] = [(value, score < sure) for score, value in scored if score >= min(sure, hedged)]
        return found

    def unfitted(self, extractors: Sequence[str]) -> dict[str, str]:
        """The statements whose tool is another than the table was fitted on, and that tool (NAME@VERSION)."""
        tools = {name: tool_of(extractors, field) for name, field in FIELDS.items()}
        return {name: tool for name, tool in tools.items() if self.table["tools"].get(FIELDS[name]) != tool}

    def score(self, statement: str, features: Sequence[float]) -> float:
        """Log odds that a statement is true."""
        one = self.table["statements"][statement]
        if (num := len(features)) != len(one["mean"]):
            raise InputError(f"the table was fitted with {len(one['mean'])} features of {statement}, expected {num}.")
        x = (np.array(features) - one["mean"]) / one["scale"]
        return float(x @ one["weights"][:-1] + one["weights"][-1])

    def thresholds(self, statement: str, precision: float) -> tuple[float, float]:
        """Scores from which on a statement is made, and made with a hedge; infinite where no score is enough.

        Above the first, the precision exceeds the target by a standard error; between the two it is at
        least 0.7.
        """
        curve = self.table["statements"][statement]["curve"]
        sure, made, true = math.inf, 0, 0
        for score, n, right in curve:
            if _at_least(right, n) >= precision:
                sure, made, true = score, n, right
        band = [score for score, n, right in curve if n > made and _at_least(right - true, n - made) >= _HEDGED]
        return sure, min(band, default=sure)


def _at_least(true: int, made: int) -> float:
    """A share, less its standard error."""
    share = true / made
    return share - _SURER * math.sqrt(max(share * (1 - share), 0.25 / made) / made)
