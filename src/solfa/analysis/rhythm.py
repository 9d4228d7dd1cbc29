"""Tempo, beats, downbeats and metre: the permissive default."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from solfa.analysis import rhythm_features, rhythm_tracking
from solfa.analysis.protocol import ExtractorSpec, Observation, empty
from solfa.analysis.rhythm_model import (
    BEATS_PER_BAR,
    activations,
    describe_metre,
    metre_confidence,
    rank_metres,
    rank_tempi,
    tempo_confidence,
)
from solfa.analysis.rhythm_tracking import at_beats, track_beats, track_downbeats, unevenness
from solfa.core.types import Alternative, Audio, Estimate, FloatArray

_SHORTEST_S = 3.0  # less sound than this has no measurable tempo
_NUM_ALTERNATIVES = 5
_NO_BEAT = 0.2  # confidence of the tempo
_RELATED = (0.5, 2.0, 2 / 3, 1.5)  # tempi that people may tap as well: always among the alternatives


class RhythmExtractor:
    """Tempo, metre, beats and downbeats of a track.

    Onset features are kept per stretch (about 4 KB a second); the end joins them, marks beats with a small network,
    ranks tempo candidates, and follows the beat by dynamic programming.
    """

    spec = ExtractorSpec(
        name="solfa-rhythm",
        version="4",
        licence="Apache-2.0",
        commercial_use=True,
        provides=("tempo_bpm", "metre", "beats_s", "downbeats_s"),
    )

    def observe(self, audio: Audio) -> Observation:
        """Onset features of one stretch."""
        return rhythm_features.observe(audio)

    def conclude(self, observations: Sequence[Observation], duration_s: float) -> dict[str, Any]:
        """Tempo, metre, beats and downbeats; without sound, or in under three seconds of it, none of them."""
        onsets = rhythm_features.join(observations, duration_s)
        if onsets.duration_s < _SHORTEST_S or not onsets.flux_TB.any():
            return empty(self.spec.provides)
        strength = rhythm_tracking.strength(onsets)
        activation = activations(onsets, strength)
        found = rhythm_tracking.periodicity(strength, activation)
        if not rhythm_tracking.has_pulse(onsets, found):
            return empty(self.spec.provides)
        bpm_C = rhythm_tracking.candidates(found)
        if len(bpm_C) == 0:
            return empty(self.spec.provides)
        chance_C = rank_tempi(rhythm_tracking.describe(found, bpm_C))
        best = int(chance_C.argmax())
        beats = track_beats(rhythm_tracking.salience(strength, activation), float(bpm_C[best]))
        # The tracker goes on through rests of minutes; a beat is where something sounds within a second.
        near = np.convolve(onsets.flux_TB.any(axis=1), np.ones(2 * rhythm_features.FRAME_RATE_HZ + 1), "same") > 0.5
        beats = beats[near[np.minimum((beats * rhythm_features.FRAME_RATE_HZ).astype(int), len(near) - 1)]]
        if len(beats) < 4:
            return empty(self.spec.provides)
        clarity = float(at_beats(activation[:, 0], beats).mean())
        tempo = _tempo(bpm_C, chance_C, best, beats, clarity)
        metre = _metre(describe_metre(found, strength, activation, beats), tempo.confidence, unevenness(beats))
        downbeats = track_downbeats(activation[:, 1], beats, BEATS_PER_BAR[str(metre.value)])
        return {
            "tempo_bpm": tempo,
            "metre": metre,
            "beats_s": tuple(beats.tolist()),
            "downbeats_s": tuple(downbeats.tolist()),
        }


def local_periodicity(audio: Audio, edges_s: Sequence[float], count: int) -> FloatArray:
    """Autocorrelation of onsets and of beats at ``count`` tempi in parts of a stretch [shape=(parts, 2, count)].

    Part i is of the seconds ``edges_s[i]`` to ``edges_s[i + 1]`` of the stretch; the tempi are evenly spaced in log BPM
    from 38 to 260. Zeros where there is no onset.
    """
    seen = {**rhythm_features.observe(audio), "start_s": np.zeros(1)}
    onsets, found = rhythm_features.join([seen], audio.duration_s), np.zeros((len(edges_s) - 1, 2, count), np.float32)
    if not onsets.flux_TB.any():
        return found
    strength = rhythm_tracking.strength(onsets)
    activation = activations(onsets, strength)
    edges = np.rint(np.asarray(edges_s) * rhythm_features.FRAME_RATE_HZ).astype(int)
    for row, (first, last) in enumerate(pairwise(edges.tolist())):
        if onsets.flux_TB[first:last].any():
            local = rhythm_tracking.periodicity(strength[first:last], activation[first:last])
            found[row] = rhythm_tracking.at_tempi(local, count)
    return found


def _tempo(bpm_C: FloatArray, chance_C: FloatArray, best: int, beats_s: FloatArray, clarity: float) -> Estimate[float]:
    value = rhythm_tracking.refine(float(bpm_C[best]), beats_s)
    confidence = tempo_confidence(float(chance_C[best]), clarity)
    rest = {float(b): float(c) for b, c in zip(bpm_C, chance_C, strict=True) if abs(np.log(b / value)) > 0.05}
    for ratio in _RELATED:
        if not any(abs(np.log(bpm / (value * ratio))) < 0.05 for bpm in rest):
            rest[value * ratio] = 0.0
    left = (1 - confidence) / max(sum(rest.values()), 1e-9)
    scored = [(chance * left, _snap(bpm, value)) for bpm, chance in rest.items()]
    scored.sort(key=lambda pair: (-pair[0], pair[1]))
    related = [pair for pair in scored if any(abs(np.log(pair[1] / (value * r))) < 0.05 for r in _RELATED)]
    kept = sorted({*scored[:_NUM_ALTERNATIVES], *related}, key=lambda pair: (-pair[0], pair[1]))
    alternatives = tuple(Alternative(value=round(bpm, 2), confidence=round(c, 4)) for c, bpm in kept)
    return Estimate(value=round(value, 2), confidence=round(confidence, 4), alternatives=alternatives, unit="BPM")


def _snap(bpm: float, value: float) -> float:
    """A candidate that is a simple multiple of the measured tempo, made exact."""
    for ratio in (*_RELATED, 3.0, 1 / 3, 4.0, 0.25, 4 / 3, 0.75):
        if abs(np.log(bpm / (value * ratio))) < 0.03:
            return value * ratio
    return bpm


def _metre(features_F: FloatArray, tempo_chance: float, uneven: float) -> Estimate[str]:
    chances = rank_metres(features_F)
    ordered = sorted(chances, key=lambda name: (-chances[name], name))
    confidence = metre_confidence(chances[ordered[0]], tempo_chance, uneven)
    if tempo_chance < _NO_BEAT:  # no beats to count; that most music is in 4/4 is no measurement
        confidence = min(confidence, tempo_chance)
    left = (1 - confidence) / max(1 - chances[ordered[0]], 1e-9)
    alternatives = tuple(
        Alternative(value=name, confidence=round(chances[name] * left, 4))
        for name in ordered[1:]
        if chances[name] > 0.005
    )
    return Estimate(value=ordered[0], confidence=round(confidence, 4), alternatives=alternatives)
