"""How likely a statement about a clip is true, and from which likelihood on it is told.

A statement is a key, a tempo, a metre, a whole sequence of chords, one chord that occurs, or one instrument. Its
likelihood is a logistic regression on what the analysis says around it (a key is surer where its tonic chord is
played); the threshold for a target precision is read off the precision of everything above it on clips that the
regression was not fitted on. ``benchmarks/caption_truth.py`` fits the table that is shipped, ``trust.json``, on music
whose truth is known, and measures it on other pieces.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
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
from solfa.core.types import Analysis, ChordSegment, Estimate, TagTrack
from solfa.core.vocabulary import lineage

SCHEMA = "solfa.trust/1"
# Statement -> the field of the analysis that it rests on.
FIELDS = {
    "tempo": "tempo_bpm", "metre": "metre", "key": "key", "chords": "chords", "some_chords": "chords",
    "instruments": "instruments",
}  # fmt: skip
_STEPS: dict[str, Sequence[int]] = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10), "": range(12)}
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


def _rival(estimate: Estimate[Any]) -> float:
    return odds(max((a.confidence for a in estimate.alternatives), default=0.0))


def _sounding(analysis: Analysis, start_s: float, end_s: float) -> list[tuple[float, ChordSegment, Chord]]:
    """The chords of a clip with their length in s."""
    rows = [(min(c.end_s, end_s) - max(c.start_s, start_s), c) for c in analysis.chords]
    return [(s, c, chord) for s, c in rows if s > 0.05 and (chord := Chord.parse(c.label)) is not None]


def _scale(key: Key | None) -> set[int]:
    """Pitch classes of a key; all of them where none is known."""
    return {((key.tonic if key else 0) + i) % 12 for i in _STEPS[key.mode if key else ""]}


def _key_of(analysis: Analysis) -> Key | None:
    return Key.parse(analysis.key.value) if analysis.key.value else None


def tempo_features(analysis: Analysis, start_s: float, end_s: float) -> list[float]:
    """Of the statement that the clip has the tempo of the track."""
    bpm = analysis.tempo_bpm.value or 0.0
    gaps = np.diff([b for b in analysis.beats_s if start_s <= b < end_s])
    middle = float(np.median(gaps)) if len(gaps) else 0.0
    uneven = float(np.median(np.abs(gaps - middle)) / middle) if middle else 1.0
    drift = abs(60.0 / middle / bpm - 1) if middle and bpm else 1.0
    height = math.log2(max(bpm, 20.0) / 110)
    ends = abs(float(gaps[: len(gaps) // 2].mean() / gaps[len(gaps) // 2 :].mean()) - 1) if len(gaps) > 3 else 1.0
    return [odds(analysis.tempo_bpm.confidence), _rival(analysis.tempo_bpm), min(uneven, 0.3), min(drift, 0.3), height,
            abs(height), odds(analysis.metre.confidence), min(ends, 0.3)]  # fmt: skip


def metre_features(analysis: Analysis, start_s: float, end_s: float) -> list[float]:
    """Of the statement that the clip has the metre of the track."""
    value = analysis.metre.value or ""
    downs = np.diff([b for b in analysis.downbeats_s if start_s <= b < end_s])
    uneven = float(np.std(downs) / np.mean(downs)) if len(downs) > 1 else 0.5
    return [odds(analysis.metre.confidence), _rival(analysis.metre), odds(analysis.tempo_bpm.confidence),
            float(value == "4/4"), float(value == "3/4"), min(uneven, 0.5),
            math.log2(max(analysis.tempo_bpm.value or 0, 20.0) / 110), float(len(downs))]  # fmt: skip


def key_features(analysis: Analysis, start_s: float, end_s: float) -> list[float]:
    """Of the statement that the clip is in the key of the track."""
    key, sounding = _key_of(analysis) or Key(0, "major"), _sounding(analysis, start_s, end_s)
    total = sum(s for s, _, _ in sounding) or 1.0

    def share(of: Key) -> float:
        return sum(s for s, _, chord in sounding if _is_tonic(chord, of)) / total

    inside = sum(s for s, _, chord in sounding if chord.pitch_classes <= _scale(key)) / total
    dominant = sum(s for s, _, c in sounding if c.root == (key.tonic + 7) % 12 and c.triad == "maj") / total
    sure = sum(s * c.confidence for s, c, _ in sounding) / total
    first, last = (sounding[i][2] if sounding else None for i in (0, -1))
    related = [a.confidence for a in analysis.key.alternatives if a.value == str(key.relative)]
    return [odds(analysis.key.confidence), _rival(analysis.key), odds(related[0] if related else 0.0), share(key),
            share(key.relative), inside, dominant, sure, float(first is not None and _is_tonic(first, key)),
            float(last is not None and _is_tonic(last, key)), float(key.mode == "minor"),
            float(len({(c.root, c.quality) for _, _, c in sounding}))]  # fmt: skip


def _is_tonic(chord: Chord, key: Key) -> bool:
    return chord.root == key.tonic and chord.triad == ("min" if key.mode == "minor" else "maj")


def told_chords(analysis: Analysis, start_s: float, end_s: float) -> tuple[list[Chord], list[float]]:
    """The chords of a clip in order, without inversions, neighbours merged; and the features of that sequence."""
    rows = _sounding(analysis, start_s, end_s)
    merged = [list(group) for _, group in groupby(rows, key=lambda r: (r[2].root, r[2].quality))]
    chords = [Chord(g[0][2].root, g[0][2].quality) for g in merged]
    if not chords:
        return [], []
    lengths = [sum(s for s, _, _ in g) for g in merged]
    sure = [max(c.confidence for _, c, _ in g) for g in merged]
    kinds = len({(c.root, c.quality) for c in chords})
    repeated = sum(chords[i] == chords[j] for i in range(len(chords)) for j in range(i)) / len(chords)
    silent = max(0.0, 1.0 - sum(lengths) / (end_s - start_s))
    bass = sum(s for s, _, c in rows if c.bass) / (end_s - start_s)
    scale = _scale(_key_of(analysis))
    inside = float(np.mean([c.pitch_classes <= scale for c in chords]))
    even = float(np.std(lengths[1:-1]) / np.mean(lengths[1:-1])) if len(lengths) > 3 else 0.5
    return chords, [
        sum(math.log(max(p, 0.02)) for p in sure), odds(min(sure)), float(np.mean([odds(p) for p in sure])),
        math.log(len(chords)), float(kinds), repeated, math.log(min(lengths)), math.log(lengths[0]),
        math.log(lengths[-1]), silent, bass, inside, float(np.mean([c.quality in ("maj", "min") for c in chords])),
        even,
        odds(analysis.key.confidence), odds(analysis.tempo_bpm.confidence),
    ]  # fmt: skip


def each_chord(analysis: Analysis, start_s: float, end_s: float) -> list[tuple[Chord, list[float]]]:
    """The chords that occur in a clip, each once, and the features of the statement that it does."""
    rows = _sounding(analysis, start_s, end_s)
    scale = _scale(_key_of(analysis))
    found = []
    for chord in dict.fromkeys(Chord(c.root, c.quality) for _, _, c in rows):
        mine = [(s, c) for s, c, other in rows if (other.root, other.quality) == (chord.root, chord.quality)]
        bass = sum(s for s, _, other in rows if other.bass and other.root == chord.root)
        rivals = sum(s for s, _, other in rows if other.root == chord.root and other.quality != chord.quality)
        lasting = sum(s for s, _ in mine)
        found.append((chord, [
            odds(max(c.confidence for _, c in mine)), odds(float(np.mean([c.confidence for _, c in mine]))),
            math.log(lasting), float(len(mine)), float(chord.pitch_classes <= scale), rivals, bass / lasting,
            float(chord.quality == "maj"), float(chord.quality == "min"), math.log(len(rows)),
            odds(analysis.key.confidence),
        ]))  # fmt: skip
    return found


def each_instrument(analysis: Analysis, start_s: float, end_s: float) -> list[tuple[TagTrack, list[float]]]:
    """The instruments that a clip may have, the parts of a kit as one; and the features of that statement."""
    tags = {t.concept: t for t in analysis.instruments if _overlap_s(t, start_s, end_s) >= _SHORTEST_S}
    parts = [tags.pop(name) for name in KIT if name in tags]
    if parts and parts[0].concept != "percussion":
        tags["drums"] = replace(parts[0], concept="drums")
    elif parts:
        tags["percussion"] = parts[0]
    order = sorted(tags.values(), key=lambda t: -t.confidence)
    return [
        (tag, [
            odds(tag.confidence), _overlap_s(tag, start_s, end_s) / (end_s - start_s), float(rank),
            odds(max(p.confidence for p in parts)) if tag.concept == "drums" else 0.0,
            *(float(tag.concept == name) for name in _COMMON), float(len(lineage(tag.concept))),
            odds(max(t.confidence for t in tags.values() if lineage(tag.concept)[-1] in lineage(t.concept))),
        ])
        for rank, tag in enumerate(order)
    ]  # fmt: skip


def _overlap_s(tag: TagTrack, start_s: float, end_s: float) -> float:
    """How long a tag is in the clip; a tool that gives no places vouches for all of the track."""
    spans = [(s.start_s, s.end_s) for s in tag.spans] or [(start_s, end_s)]
    return sum(max(0.0, min(b, end_s) - max(a, start_s)) for a, b in spans)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A statement that could be told: its value, what the regression sees, the confidence of the analysis itself."""

    value: Any
    features: Sequence[float]
    confidence: float


def candidates(analysis: Analysis, start_s: float, end_s: float) -> dict[str, list[Candidate]]:
    """Everything that the analysis would say of a clip, sure or not, by statement of ``FIELDS``."""
    chords, of_chords = told_chords(analysis, start_s, end_s)
    sure = [c.confidence for _, c, _ in _sounding(analysis, start_s, end_s)]
    single = {
        "tempo": (analysis.tempo_bpm, tempo_features), "metre": (analysis.metre, metre_features),
        "key": (analysis.key, key_features),
    }  # fmt: skip
    found = {
        name: [Candidate(e.value, features(analysis, start_s, end_s), e.confidence)] if e.value else []
        for name, (e, features) in single.items()
    }
    if found["tempo"] and found["tempo"][0].features[3] > _TEMPO_GAP:
        found["tempo"] = []  # the beats of the clip are off the tempo of the track
    found["chords"] = [Candidate(tuple(chords), of_chords, math.prod(sure))] if chords else []
    found["some_chords"] = [Candidate(c, f, 1 / (1 + math.exp(-f[0]))) for c, f in each_chord(analysis, start_s, end_s)]
    found["instruments"] = [Candidate(t, f, t.confidence) for t, f in each_instrument(analysis, start_s, end_s)]
    return found


def tool_of(extractors: Sequence[str], field: str) -> str:
    """NAME@VERSION of the one of these extractors that gave a field."""
    return next((e for e in reversed(extractors) if field in _provided().get(e.partition("@")[0], ())), "")


@cache
def _provided() -> dict[str, frozenset[str]]:
    return {spec.name: frozenset(spec.provides) for spec in extractor_specs()}


@dataclass(frozen=True, slots=True)
class Trust:
    """A fitted table: which likelihood a statement has, and from which on it is told."""

    table: Mapping[str, Any]

    @classmethod
    def load(cls, path: Path | None = None) -> Trust:
        """The table of a file, by default the one that is shipped.

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
                f"{place} is no table of {SCHEMA} ({bad}). Make one with benchmarks/caption_truth.py fit."
            ) from bad
        return cls(table)

    def told(
        self, analysis: Analysis, start_s: float, end_s: float, precision: float
    ) -> dict[str, list[tuple[Any, bool]]]:
        """The values of each statement that are sure enough, surest first, and whether each needs a hedge.

        What another tool measured than the table was fitted on (``unfitted``) is told from its own confidence on.
        """
        found = {}
        for name, rows in candidates(analysis, start_s, end_s).items():
            sure, hedged = (precision, min(_HEDGED, precision))
            if fitted := self.is_fitted(name, analysis):
                sure, hedged = self.thresholds(name, precision)
            scored = [(self.score(name, c.features) if fitted else c.confidence, c.value) for c in rows]
            scored.sort(key=lambda row: -row[0])
            found[name] = [(value, score < sure) for score, value in scored if score >= min(sure, hedged)]
        return found

    def is_fitted(self, statement: str, analysis: Analysis) -> bool:
        """Whether the table was fitted on the tool that measured this."""
        return statement not in self.unfitted(analysis.extractors)

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
        """Scores from which on a statement is told, and told with a hedge; infinite where no score is enough.

        Above the first, the precision exceeds the target by a standard error; between the two it is at
        least 0.7.
        """
        curve = self.table["statements"][statement]["curve"]
        sure, told, true = math.inf, 0, 0
        for score, n, right in curve:
            if _at_least(right, n) >= precision:
                sure, told, true = score, n, right
        band = [score for score, n, right in curve if n > told and _at_least(right - true, n - told) >= _HEDGED]
        return sure, min(band, default=sure)


def _at_least(true: int, told: int) -> float:
    """A share, less its standard error."""
    share = true / told
    return share - _SURER * math.sqrt(max(share * (1 - share), 0.25 / told) / told)
