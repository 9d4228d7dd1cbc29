"""Beats by dynamic programming along a slowly changing period, and downbeats along a bar of known length."""

from __future__ import annotations

import numpy as np
from numpy.fft import irfft, rfft
from numpy.typing import NDArray

from solfa.analysis.filters import fast_length
from solfa.analysis.rhythm_features import FRAME_RATE_HZ
from solfa.core.types import FloatArray

_WINDOW_S, _HOP_S = 8.0, 2.0
_DRIFT = 0.16  # how far the local tempo may lie from that of the track, as a share
_STEPS = 33  # local tempi that are considered
_INERTIA = 60.0  # cost of a change of local tempo, per squared log ratio times 1000
_TIGHTNESS = 120.0  # cost of an uneven beat, per squared log ratio
_PHASE_SLIP = -6.0  # log probability that a bar is cut short


def track_beats(salience_T: FloatArray, tempo_bpm: float) -> FloatArray:
    """Beat times in seconds [N] of a track whose tempo is about ``tempo_bpm`` throughout.

    Dynamic programming over onset salience as in Ellis (JNMR 2007), with a period that follows the local tempo.
    """
    period_T = local_period(salience_T, 60.0 * FRAME_RATE_HZ / tempo_bpm)
    salience = salience_T / (salience_T.std() + 1e-9)
    count = len(salience)
    score = salience.astype(np.float64)
    before = np.full(count, -1)
    nominal = float(np.median(period_T))
    reach = np.arange(round(0.6 * nominal), round(1.6 * nominal) + 1)
    log_reach = np.log(reach)
    log_period = np.log(period_T)
    for t in range(int(reach[0]), count):
        usable = reach[: t - reach[0] + 1] if t < reach[-1] else reach
        total = score[t - usable] - _TIGHTNESS * np.square(log_reach[: len(usable)] - log_period[t])
        best = int(total.argmax())
        if total[best] > 0:
            score[t] += total[best]
            before[t] = t - usable[best]
    return _backtrace(score, before, salience, nominal) / np.float32(FRAME_RATE_HZ)


def _backtrace(score: NDArray[np.float64], before: NDArray[np.int_], salience: FloatArray, period: float) -> FloatArray:
    tail = max(0, len(score) - round(1.2 * period))
    at = tail + int(np.argmax(score[tail:]))
    frames = []
    while at >= 0:
        frames.append(at)
        at = int(before[at])
    found = np.asarray(frames[::-1])
    # Beats that were only carried on into silence before the first or after the last sound are no beats.
    peak = np.array([salience[max(0, f - 2) : f + 3].max() for f in found])
    loud = np.flatnonzero(peak > 0.15 * np.median(peak))
    found = found[loud[0] : loud[-1] + 1] if len(loud) else found[:0]
    return np.asarray([_refine(salience, f) for f in found], np.float32)


def _refine(salience: FloatArray, frame: int) -> float:
    """The top of the parabola through a peak and its neighbours."""
    if not 0 < frame < len(salience) - 1:
        return float(frame)
    left, top, right = (float(v) for v in salience[frame - 1 : frame + 2])
    bend = left - 2 * top + right
    return frame + float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if bend < 0 else float(frame)


def local_period(salience_T: FloatArray, period: float) -> FloatArray:
    """The period in frames at every frame, near ``period``: the smoothest ridge of the local autocorrelation."""
    count = len(salience_T)
    size = min(count, round(max(_WINDOW_S * FRAME_RATE_HZ, 5 * period)))
    hop = round(_HOP_S * FRAME_RATE_HZ)
    starts = np.arange(0, count - size + 1, hop)
    ratios = np.exp(np.linspace(np.log(1 - _DRIFT), -np.log(1 - _DRIFT), _STEPS))
    length = fast_length(2 * size)
    comb = np.zeros((len(starts), _STEPS))
    for row, start in enumerate(starts):
        window = salience_T[start : start + size] - salience_T[start : start + size].mean()
        acf = irfft(np.square(np.abs(rfft(window, length))), length)[:size]
        acf /= acf[0] + 1e-9
        for multiple, weight in ((1, 1.0), (2, 1.0), (4, 1.0)):
            comb[row] += weight * np.interp(period * ratios * multiple, np.arange(size), acf, right=0.0)
    steps = np.log(ratios)
    cost = _INERTIA * np.square(steps[:, None] - steps[None, :]) * 1000 / _STEPS
    # The track's own tempo is the default where the window tells nothing.
    comb -= 0.5 * np.square(steps / _DRIFT)
    path = _viterbi(comb, -cost)
    centres = starts + size / 2
    local: FloatArray = np.interp(np.arange(count), centres, period * ratios[path]).astype(np.float32)
    return local


def _viterbi(gain_NS: NDArray[np.float64], move_SS: NDArray[np.float64]) -> NDArray[np.int_]:
    """The state sequence of greatest total gain."""
    total = gain_NS[0]
    back = np.zeros(gain_NS.shape, int)
    for n in range(1, len(gain_NS)):
        options = total[:, None] + move_SS
        back[n] = options.argmax(axis=0)
        total = options.max(axis=0) + gain_NS[n]
    path = [int(total.argmax())]
    for n in range(len(gain_NS) - 1, 0, -1):
        path.append(int(back[n][path[-1]]))
    return np.asarray(path[::-1])


def at_beats(activation_T: FloatArray, beats_s: FloatArray) -> FloatArray:
    """The greatest value within 30 ms of each beat."""
    frames = np.round(beats_s * FRAME_RATE_HZ).astype(int)
    shifted = frames[:, None] + np.arange(-3, 4)
    values: FloatArray = activation_T[np.clip(shifted, 0, len(activation_T) - 1)].max(axis=1)
    return values


def half_beats(beats_s: FloatArray) -> FloatArray:
    """The beats and the points half way between them [2 N - 1]."""
    halves = np.empty(2 * len(beats_s) - 1, np.float32)
    halves[::2] = beats_s
    halves[1::2] = (beats_s[:-1] + beats_s[1:]) / 2
    return halves


def track_downbeats(activation_T: FloatArray, beats_s: FloatArray, beats_per_bar: float) -> FloatArray:
    """Times at which a bar begins: bars of one length, with rare slips of phase.

    ``activation_T`` is the probability of a downbeat at every frame, ``beats_s`` at least two beats. ``beats_per_bar``
    is a multiple of a half; with 3.5 (7/8) every other bar begins between two beats.
    """
    grid_s = beats_s if beats_per_bar == int(beats_per_bar) else half_beats(beats_s)
    length = round(beats_per_bar if grid_s is beats_s else 2 * beats_per_bar)
    probability = np.clip(at_beats(activation_T, grid_s).astype(np.float64), 0.02, 0.98)
    gain = np.tile(np.log(1 - probability)[:, None], (1, length))
    gain[:, 0] = np.log(probability)
    move = np.full((length, length), -np.inf)
    for phase in range(length):
        move[phase, 0] = _PHASE_SLIP
        move[phase, (phase + 1) % length] = 0.0
    starts: FloatArray = grid_s[_viterbi(gain, move) == 0]
    return starts
