"""From chords and pitch-class energy to a key.

Two kinds of evidence. A log-linear model judges the chords: each of the 24 keys is scored by the same weights (one set
for major, one for minor) on what sounds *relative to its tonic*: chord histogram, bass, chord changes, first and last
chord; it was fitted on chord charts and knows progressions. The classic one correlates the track's chroma with a key
profile; it does not depend on the labels of chords, and decides riffs, power chords and melodies. Their weighted sum,
through a softmax over the 24 keys, is the probability. Constants: ``harmony.json``, ``tools/fit_harmony.py``.
"""

from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solfa.analysis.harmony_chords import BASS, Decoded, tables, vocabulary
from solfa.core.types import FloatArray

# Chord classes that mean different things to a key (``class`` in chords.toml).
_N_CLASSES = 8
# Chord changes are counted between three kinds of chord: major, minor, dominant seventh.
_KINDS = np.array([0, 1, 2, 0, 1, -1, -1, -1])
_N_KINDS = 3
# Columns before the changes: bass of the network, chord histogram, first and last chord (major, minor each).
_N_PROFILE = 1 + _N_CLASSES + 4
N_FEATURES = 12 * _N_PROFILE + 12 * 12 * _N_KINDS**2
# A key needs this much sound.
MIN_SOUNDING_S = 2.0
# Bounds of ``has_harmony``, set between noises and real music (docs/analysis.md). Change: L1 distance of the chroma of
# 1.5 s to the next, and that where there is one chord alone. Pitch classes: perplexity of the mean chroma.
_STEADY_BLOCKS, _LEAST_CHANGE, _LEAST_CHANGE_OF_ONE = 5, 0.055, 0.1
_CLEAR_CHORDS, _EVEN_CLASSES, _LEAST_FIT = 0.25, 11.85, 0.67


@cache
def _group_table() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Root and chord class of each group of the chord vocabulary; -1 for no chord."""
    table = vocabulary()
    first = [int(np.flatnonzero(table.group == g)[0]) for g in range(int(table.group.max()) + 1)]
    classes = {quality: row.get("class", -1) for quality, row in tables()["quality"].items()}
    return table.root[first], np.array([classes.get(table.quality[s], -1) for s in first])


def chord_features(decoded: Decoded) -> NDArray[np.float32] | None:
    """What the chords say to each of the twelve tonics: float32 [shape=(12, N_FEATURES)]; None without chords."""
    roots, classes = _group_table()
    histogram = np.zeros((12, _N_CLASSES))
    np.add.at(histogram, (roots[1:], classes[1:]), decoded.share[1:])
    groups = vocabulary().group[decoded.path]
    runs = [g for g in groups[np.r_[True, groups[1:] != groups[:-1]]].tolist() if roots[g] >= 0]
    if not runs or histogram.sum() <= 0:
        return None
    profile = np.zeros((12, _N_PROFILE))
    bass = decoded.heads[BASS + 1 : BASS + 13]
    profile[:, 0] = bass / max(float(bass.sum()), 1e-9) - 1 / 12
    profile[:, 1 : 1 + _N_CLASSES] = histogram / histogram.sum()
    for column, group in ((1 + _N_CLASSES, runs[0]), (3 + _N_CLASSES, runs[-1])):
        if _KINDS[classes[group]] >= 0:
            profile[roots[group], column + (_KINDS[classes[group]] == 1)] = 1.0
    changes = np.zeros((12, 12, _N_KINDS, _N_KINDS))
    for a, b in pairwise(runs):
        kinds = _KINDS[classes[a]], _KINDS[classes[b]]
        if min(kinds) >= 0:
            changes[roots[a], roots[b], kinds[0], kinds[1]] += 1
    changes /= max(1.0, changes.sum())
    rows = [
        np.r_[np.roll(profile, -tonic, axis=0).ravel(), np.roll(changes, (-tonic, -tonic), axis=(0, 1)).ravel()]
        for tonic in range(12)
    ]
    return np.array(rows, np.float32)


def profile_fit(chroma: FloatArray) -> NDArray[np.float64]:
    """Correlation -1..1 of the track's chroma [shape=(B, 12)] with each key's profile: [shape=(2, 12)]."""
    mean = chroma.mean(axis=0).astype(np.float64)
    mean -= mean.mean()
    size = float(np.linalg.norm(mean))
    profiles = np.array([tables()["profile"][mode] for mode in ("major", "minor")])
    profiles = profiles - profiles.mean(axis=1, keepdims=True)
    profiles = profiles / np.linalg.norm(profiles, axis=1, keepdims=True)
    moved = np.array([np.roll(mean, -tonic) for tonic in range(12)])
    return profiles @ moved.T / size if size > 1e-9 else np.zeros((2, 12))


def has_harmony(chroma: FloatArray, decoded: Decoded) -> bool:
    """Whether pitches change, and chords or the key profiles fit them better than they fit noise.

    ``chroma`` [shape=(B, 12)] and ``decoded.clear`` are of what sounds. Mains hum and steady tones do not change;
    noise, sweeps and clicks have no clear chords, and pitch classes that are alike or fit no key.
    """
    shares = chroma / chroma.sum(axis=1, keepdims=True)
    change = float(np.abs(np.diff(shares, axis=0)).sum(axis=1).mean()) if len(shares) >= _STEADY_BLOCKS else np.inf
    if change < (_LEAST_CHANGE if np.ptp(vocabulary().group[decoded.path]) else _LEAST_CHANGE_OF_ONE):
        return False
    mean = shares.mean(axis=0)
    classes = float(np.exp(-(mean * np.log(mean + 1e-9)).sum()))
    fits = float(profile_fit(chroma).max()) + decoded.clear / 2 > _LEAST_FIT
    return fits and (decoded.clear >= _CLEAR_CHORDS or classes < _EVEN_CLASSES)


def chord_scores(rows: NDArray[np.float32], model: Mapping[str, Any]) -> NDArray[np.float64]:
    """Log-probability of each key by the chords alone [shape=(2, 12)]."""
    scores = np.stack([rows @ np.asarray(model[mode], np.float64) for mode in ("major", "minor")])
    scores[1] += model["minor_bias"]
    shifted = scores - scores.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()), np.float64)


def evidence(
    rows: NDArray[np.float32] | None, clear: float, chroma: FloatArray, model: Mapping[str, Any]
) -> NDArray[np.float64]:
    """Score of each key [shape=(2, 12)]; chords count by how clear they are (``Decoded.clear``)."""
    total = model["profile_weight"] * profile_fit(chroma)
    if rows is not None:
        total = total + model["chord_weight"] * clear * chord_scores(rows, model)
    return np.asarray(total, np.float64)


def probabilities(scores: NDArray[np.float64], model: Mapping[str, Any]) -> NDArray[np.float64]:
    """Probability of each key [shape=(2, 12)], major then minor, from ``evidence``."""
    sharp = np.exp((scores - scores.max()) * model["sharpness"])
    return np.asarray(sharp / sharp.sum(), np.float64)
