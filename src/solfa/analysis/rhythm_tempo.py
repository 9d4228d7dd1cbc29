"""Periodicity of the onsets, tempo candidates, and what tells the beat from its half, double and triple."""

from __future__ import annotations

import numpy as np
from numpy.fft import irfft, rfft

from solfa.analysis.filters import fast_length, running_max, running_mean
from solfa.analysis.rhythm_features import FRAME_RATE_HZ, Onsets
from solfa.core.types import FloatArray

SLOWEST_BPM, FASTEST_BPM = 38.0, 260.0
MAX_CANDIDATES = 16

_WINDOW_S, _HOP_S, _MAX_LAG_S = 12.0, 3.0, 8.0
_BANDS = ((0, 4), (4, 10), (10, 16), (0, 16))  # onset streams: low, middle, high, all; then beats and downbeats
_NUM_STREAMS = len(_BANDS) + 2
_ALL, _BEATS = 3, 4
# Lags, in periods of a candidate, at which its autocorrelation is read.
_RATIOS = (1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1.0, 4 / 3, 3 / 2, 2.0, 5 / 2, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
_TOLERANCE = 0.015  # a peak counts this far from its lag
# Hum, steady tones, sweeps and noise stay below these, music whose tempo is sure does not (docs/analysis.md).
_SLOWEST_S = 2  # a beat is no rarer
_LEAST_RISE = 0.1  # of log energy: the median of the steepest rise in each two seconds that sound
_LEAST_REPEAT, _REPEAT_S = 0.065, 30.0  # autocorrelation; the shorter the sound, the more noise repeats by chance
NUM_FEATURES = _NUM_STREAMS * len(_RATIOS) + 2


def strength(onsets: Onsets) -> FloatArray:
    """Onset strength per band [T, bands]: above the local mean, and even in level over the track."""
    even = np.empty(onsets.flux_TB.shape, np.float32)
    for band, flux in enumerate(onsets.flux_TB.T):  # one at a time: a track of hours has long columns
        rise = flux.astype(np.float32)
        above = np.maximum(rise - running_mean(rise, FRAME_RATE_HZ), 0)
        power = np.square(above)
        # Its running sum leaves rounding behind, which may lie below zero where nothing sounds for six seconds.
        spread = np.sqrt(np.maximum(running_mean(power, 6 * FRAME_RATE_HZ), 0))
        even[:, band] = above / (spread + 0.2 * np.sqrt(power.mean()) + 1e-6)
    return even


def periodicity(strength_TB: FloatArray, activation_TA: FloatArray) -> FloatArray:
    """Autocorrelation of onset and activation streams by lag in frames, 1 at lag 0, up to 8 s [shape=(S, L)].

    Its magnitude is compressed as in Percival & Tzanetakis (2014); the mean over the windows that hold any onset.
    """
    bands = [strength_TB[:, a:b].sum(axis=1) for a, b in _BANDS]
    streams = np.concatenate([np.stack(bands), activation_TA.T])
    size = min(streams.shape[1], round(_WINDOW_S * FRAME_RATE_HZ))
    lags = min(size, round(_MAX_LAG_S * FRAME_RATE_HZ))
    length = fast_length(2 * size)
    total, count = np.zeros((_NUM_STREAMS, lags)), 0
    for start in range(0, streams.shape[1] - size + 1, round(_HOP_S * FRAME_RATE_HZ)):
        window = streams[:, start : start + size]
        if window[_ALL].max() < 1e-3:  # a rest of minutes says nothing of how even the music around it is
            continue
        window = window - window.mean(axis=1, keepdims=True)
        acf = irfft(np.abs(rfft(window, length, axis=1)), length, axis=1)[:, :lags]
        total += acf / (acf[:, :1] + 1e-9)
        count += 1
    # Fewer samples overlap at longer lags; the half keeps the noisy ends from being blown up.
    overlap = 1 - 0.75 * np.arange(lags) / max(size, 1)
    mean: FloatArray = (total / max(count, 1) / overlap).astype(np.float32)
    return mean


def has_pulse(onsets: Onsets, acf_SL: FloatArray) -> bool:
    """Whether what sounds has onsets, and whether they (or beats) repeat after 0.2 to 2 s more than those of noise."""
    rise = onsets.flux_TB.mean(axis=1, dtype=np.float32)
    peaks = np.maximum.reduceat(rise, np.arange(0, len(rise), _SLOWEST_S * FRAME_RATE_HZ))
    peaks = peaks[peaks > 0]
    if float(np.median(peaks)) < _LEAST_RISE:
        return False
    repeats = float(acf_SL[_ALL : _BEATS + 1, FRAME_RATE_HZ // 5 : _SLOWEST_S * FRAME_RATE_HZ].max(initial=0.0))
    bound: float = _LEAST_REPEAT * max(1.0, _REPEAT_S / (_SLOWEST_S * len(peaks))) ** 0.5
    return repeats > bound


def candidates(acf_SL: FloatArray) -> FloatArray:
    """Tempi in BPM that may be the beat: peaks of a comb over the autocorrelation, and their simple multiples."""
    grid = np.exp(np.arange(np.log(SLOWEST_BPM), np.log(FASTEST_BPM), 0.005))
    lag = 60.0 * FRAME_RATE_HZ / grid
    acf = acf_SL[_ALL] + acf_SL[_BEATS] + 0.5 * acf_SL[:_ALL].mean(axis=0)
    comb = sum(weight * _read(acf, lag * k) for k, weight in ((1, 1.0), (2, 0.8), (3, 0.4), (4, 0.8)))
    comb = np.asarray(comb)
    peaks = np.flatnonzero((comb == running_max(comb, 4)) & (comb > 0))
    best = grid[peaks[np.argsort(-comb[peaks], kind="stable")][:8]]
    chosen: list[float] = []
    for ratio in (1.0, 2.0, 0.5, 1.5, 2 / 3, 3.0, 1 / 3, 4 / 3, 0.75):
        for bpm in best[: 8 if ratio == 1.0 else 3] * ratio:
            if SLOWEST_BPM <= bpm <= FASTEST_BPM and all(abs(np.log(bpm / c)) > 0.03 for c in chosen):
                chosen.append(float(bpm))
    return np.asarray(chosen[:MAX_CANDIDATES], np.float32)


def describe(acf_SL: FloatArray, bpm_C: FloatArray) -> FloatArray:
    """Features [C, NUM_FEATURES] of each candidate, for the model that picks the beat."""
    period = 60.0 * FRAME_RATE_HZ / bpm_C
    lags = period[:, None] * np.asarray(_RATIOS)
    spread = np.asarray([1 - _TOLERANCE, 1.0, 1 + _TOLERANCE])
    rows = [np.max([_read(acf, lags * s) for s in spread], axis=0) for acf in acf_SL]
    place = np.log2(bpm_C / 110.0)
    features: FloatArray = np.concatenate([*rows, place[:, None], np.square(place)[:, None]], axis=1).astype(np.float32)
    return features


def at_tempi(acf_SL: FloatArray, count: int) -> FloatArray:
    """Autocorrelation of onsets and of beats at ``count`` tempi, evenly spaced in log BPM [shape=(2, count)]."""
    lag = (60.0 * FRAME_RATE_HZ / np.geomspace(SLOWEST_BPM, FASTEST_BPM, count)).astype(np.float32)
    return np.stack([_read(acf_SL[stream], lag) for stream in (_ALL, _BEATS)])


def _read(acf: FloatArray, lag: FloatArray) -> FloatArray:
    """The autocorrelation at fractional lags; beyond the longest lag 0."""
    value: FloatArray = np.interp(lag, np.arange(len(acf)), acf, right=0.0).astype(np.float32)
    return value


def salience(strength_TB: FloatArray, activation_TA: FloatArray) -> FloatArray:
    """What the beat tracker follows [T]: where the network finds beats, with onsets to hold the phase."""
    onset = strength_TB.mean(axis=1)
    mixed: FloatArray = activation_TA[:, 0] + 0.1 * onset / (onset.std() + 1e-6)
    return mixed


def refine(bpm: float, beats_s: FloatArray) -> float:
    """The tempo of the tracked beats where it agrees with the candidate; it is finer than a lag in frames."""
    steps = np.diff(beats_s)
    usual = steps[np.abs(np.log(steps * bpm / 60)) < 0.1]
    if len(usual) < 4:
        return bpm
    return float(60 / usual.mean())
