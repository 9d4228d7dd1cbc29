"""A small temporal convolution network that marks beats and downbeats, in plain numpy.

Layout after Davies & Böck (EUSIPCO 2019): dilated convolutions over onset features, here 24 channels, ten layers,
receptive field 21 s to each side. It was trained from nothing on rendered music with exact truth; how is written in
``rhythm.json``.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np

from solfa.analysis.filters import running_mean
from solfa.analysis.rhythm_features import FRAME_RATE_HZ, SLOW_EVERY, Onsets
from solfa.core.types import FloatArray

NUM_INPUTS = 26
_BLOCK = 12_000  # frames at once; with _MARGIN to each side, so that the cut changes nothing
_MARGIN = 2_100


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
    """Probability of a beat and of a downbeat at every frame [T, 2], given ``rhythm_tempo.strength``."""
    slow, frames = slow_inputs(onsets), len(strength_TB)
    out = np.empty((frames, 2), np.float32)
    for start in range(0, frames, _BLOCK):
        low, high = max(0, start - _MARGIN), min(frames, start + _BLOCK + _MARGIN)
        logits = _forward(inputs(strength_TB, slow, low, high))[start - low :][:_BLOCK]
        out[start : start + len(logits)] = 1 / (1 + np.exp(-logits))
    return out


def _forward(x_TC: FloatArray) -> FloatArray:
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
