"""The trained parts: a network that marks beats, which candidate is the beat, which metre it is, how surely.

The network is a small temporal convolution network in plain numpy. Layout after Davies & Böck (EUSIPCO 2019): dilated
convolutions over onset features, here 24 channels, ten layers, receptive field 21 s to each side. Its weights are in
``rhythm.npz``, the other numbers in ``rhythm.json``, which says how all were fitted on rendered music with exact truth.
"""

from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from solfa.analysis.filters import running_mean
from solfa.analysis.rhythm_features import FRAME_RATE_HZ, SLOW_EVERY, Onsets
from solfa.analysis.rhythm_tracking import at_beats, half_beats
from solfa.core.files import table_of
from solfa.core.types import FloatArray

NUM_INPUTS = 26
_BLOCK = 12_000  # frames at once; with _MARGIN to each side, so that the cut changes nothing
_MARGIN = 2_100
# Beats per bar of every metre that is distinguished; 7/8 is 3.5 beats of a quarter.
BEATS_PER_BAR = {"4/4": 4.0, "3/4": 3.0, "2/4": 2.0, "6/8": 2.0, "5/4": 5.0, "7/8": 3.5}

_LAGS = (4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 24)  # in half-beats
_BARS = (2, 3, 4, 5, 6, 7)  # in beats
_DIVISIONS = (1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 3.5)
NUM_METRE_FEATURES = 2 * len(_LAGS) + len(_BARS) + 2 * len(_DIVISIONS) + 3


def rank_tempi(features_CF: FloatArray) -> FloatArray:
    """Probability of each candidate [C] to be the tempo that people would name."""
    scores = np.zeros(len(features_CF), np.float32)
    for net in _stored()["tempo"]["nets"]:
        hidden = np.tanh(_standard(features_CF, net) @ np.asarray(net["w1"]) + np.asarray(net["b1"]))
        scores += (hidden @ np.asarray(net["w2"])) / len(_stored()["tempo"]["nets"])
    return _softmax(scores)


def rank_metres(features_F: FloatArray) -> dict[str, float]:
    """Probability of each metre."""
    model = _stored()["metre"]
    scores = _standard(features_F, model) @ np.asarray(model["w"]) + np.asarray(model["b"])
    return dict(zip(model["classes"], _softmax(scores).tolist(), strict=True))


def tempo_confidence(probability: float, clarity: float) -> float:
    """Chance that a tempo is within 4 %, from the model's probability and the clarity of the beat (both 0..1)."""
    model = _stored()["tempo"]["confidence"]
    logit = model["bias"] + model["probability"] * _logit(probability) + model["clarity"] * clarity
    return float(1 / (1 + np.exp(-logit)))


def metre_confidence(probability: float, tempo_chance: float, uneven: float) -> float:
    """Chance that a metre is right: from the model's probability, the confidence of the tempo, and ``unevenness``."""
    model = _stored()["metre"]["confidence"]
    logit = model["bias"] + model["probability"] * _logit(probability) + model["tempo"] * tempo_chance
    logit += model["uneven"] * uneven
    return float(1 / (1 + np.exp(-logit)))


def _logit(probability: float) -> float:
    clipped = min(max(probability, 1e-3), 1 - 1e-3)
    return float(np.log(clipped / (1 - clipped)))


def _standard(features: FloatArray, model: dict[str, Any]) -> FloatArray:
    standard = (features - np.asarray(model["mean"])) / np.asarray(model["std"])
    return np.asarray(np.clip(standard, -6, 6), np.float32)  # as in fitting: no feature decides alone


def _softmax(scores: FloatArray) -> FloatArray:
    shifted = np.exp(scores - scores.max())
    probabilities: FloatArray = shifted / shifted.sum()
    return probabilities


@cache
def _stored() -> dict[str, Any]:
    return table_of("solfa.analysis", "rhythm.json")


def describe_metre(
    acf_SL: FloatArray, strength_TB: FloatArray, activation_TA: FloatArray, beats_s: FloatArray
) -> FloatArray:
    """Features [NUM_METRE_FEATURES] of a track with at least two beats, for the model that names the metre."""
    halves_s = half_beats(beats_s)
    downbeat_H = at_beats(activation_TA[:, 1], halves_s)
    bands_HB = np.stack([at_beats(band, halves_s) for band in strength_TB.T], axis=1)
    period = float(np.median(np.diff(beats_s)))
    contrast = [_contrast(downbeat_H[::2], bar) for bar in _BARS]
    lags = np.asarray(_DIVISIONS) * period * FRAME_RATE_HZ
    division = []
    for row in (acf_SL[3], acf_SL[4]):
        near = [np.interp(lags * s, np.arange(len(row)), row, right=0.0) for s in (0.98, 1.0, 1.02)]
        division.append(np.max(near, axis=0))
    place = np.log2(0.5454 / period)
    means = [float(downbeat_H[::2].mean()), float(downbeat_H[1::2].mean()), float(place)]
    parts = [_repetition(downbeat_H[:, None]), _repetition(bands_HB), contrast, *division, means]
    return np.concatenate([np.asarray(part, np.float32) for part in parts])


def _repetition(rows_HC: FloatArray) -> FloatArray:
    """Autocorrelation of beat-synchronous rows at ``_LAGS`` half-beats."""
    centred = rows_HC - rows_HC.mean(axis=0)
    power = float(np.square(centred).mean()) + 1e-9
    values = [float((centred[lag:] * centred[:-lag]).mean()) / power if lag < len(centred) else 0.0 for lag in _LAGS]
    return np.asarray(values, np.float32)


def _contrast(downbeat_N: FloatArray, bar: int) -> float:
    """How far the best phase of a bar of so many beats stands out."""
    if len(downbeat_N) < 2 * bar:
        return 0.0
    means = np.asarray([downbeat_N[phase::bar].mean() for phase in range(bar)])
    return float(means.max() - np.delete(means, means.argmax()).mean())


# --- the network ------------------------------------------------------------------------------------------------------


def inputs(strength_TB: FloatArray, slow_SC: FloatArray, low: int, high: int) -> FloatArray:
    """What the network reads from frame `low` to `high` [high - low, NUM_INPUTS]: even onset strength, and `slow`."""
    fast = np.minimum(strength_TB[low:high], 6.0)
    joined: FloatArray = np.concatenate([fast, slow_SC[np.arange(low, high) // SLOW_EVERY]], axis=1)
    return joined.astype(np.float32)


def slow_inputs(onsets: Onsets) -> FloatArray:
    """Relative loudness and change of harmony, a row for ``SLOW_EVERY`` frames."""
    level = onsets.level_SB
    level = (level - level.mean(axis=0)) / (level.std(axis=0) + 0.1)
    return np.concatenate([level, _harmonic_change(onsets.chroma_SP)], axis=1)


def _harmonic_change(chroma_SP: FloatArray) -> FloatArray:
    """Cosine distance between the chroma after and before, over 0.4 s and 1.2 s [S, 2]."""
    row_rate_hz = FRAME_RATE_HZ / SLOW_EVERY
    columns = []
    compressed = np.sqrt(chroma_SP)
    for span_s in (0.4, 1.2):
        size = round(span_s * row_rate_hz)
        before = running_mean(compressed, size, axis=0, before=size - 1)
        after = running_mean(compressed, size, axis=0, before=0)
        norm = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
        columns.append(1 - np.sum(before * after, axis=1) / (norm + 1e-6))
    stacked: FloatArray = np.stack(columns, axis=1) * 4
    return stacked.astype(np.float32)


def activations(onsets: Onsets, strength_TB: FloatArray) -> FloatArray:
    """Probability of a beat and of a downbeat at every frame [T, 2], given ``rhythm_tracking.strength``."""
    slow, frames = slow_inputs(onsets), len(strength_TB)
    out = np.empty((frames, 2), np.float32)
    for start in range(0, frames, _BLOCK):
        low, high = max(0, start - _MARGIN), min(frames, start + _BLOCK + _MARGIN)
        logits = _logits(inputs(strength_TB, slow, low, high))[start - low :][:_BLOCK]
        out[start : start + len(logits)] = 1 / (1 + np.exp(-logits))
    return out


def _logits(x_TC: FloatArray) -> FloatArray:
    """Logits [T, 2]; frames are taken in pairs, so that the layers run at half the rate."""
    weights = _weights()
    frames = len(x_TC)
    pairs = np.pad(x_TC, ((0, frames % 2), (0, 0))).reshape(-1, 2 * NUM_INPUTS)
    hidden = np.maximum(pairs @ weights["in_w"] + weights["in_b"], 0)
    for layer, (kernel, bias) in enumerate(zip(weights["conv_w"], weights["conv_b"], strict=True)):
        dilation, count = 2**layer, len(hidden)
        padded = np.pad(hidden, ((dilation, dilation), (0, 0)))
        taps = np.concatenate([padded[:count], hidden, padded[2 * dilation : 2 * dilation + count]], axis=1)
        hidden = hidden + np.maximum(taps @ kernel + bias, 0)
    logits: FloatArray = (hidden @ weights["out_w"] + weights["out_b"]).reshape(-1, 2)[:frames]
    return logits


@cache
def _weights() -> dict[str, FloatArray]:
    with files("solfa.analysis").joinpath("rhythm.npz").open("rb") as source, np.load(source) as stored:
        return {name: np.asarray(stored[name], np.float32) for name in stored.files}
