"""Periodicity of the onsets and tempo candidates; then beats by dynamic programming, and downbeats along a bar."""

import numpy as np
from numpy.fft import irfft, rfft
from numpy.typing import NDArray

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
# Hum, steady tones, sweeps and noise remain below these, music whose tempo is sure does not (docs/analysis.md).
_SLOWEST_S = 2  # a beat is no rarer
_LEAST_RISE = 0.1  # of log energy: the median of the steepest rise in each two seconds that sound
_LEAST_REPEAT, _REPEAT_S = 0.065, 30.0  # autocorrelation; the shorter the sound, the more noise repeats by chance
NUM_FEATURES = _NUM_STREAMS * len(_RATIOS) + 2

_LOCAL_S, _LOCAL_HOP_S = 8.0, 2.0  # windows that the local tempo is measured in
_DRIFT = 0.16  # how far the local tempo may be from that of the track, as a share
_STEPS = 33  # local tempi that are considered
_INERTIA = 60.0  # cost of a change of local tempo, per squared log ratio times 1000
_TIGHTNESS = 120.0  # cost of an uneven beat, per squared log ratio
_PHASE_SLIP = -6.0  # log probability that a bar is cut short
_EVEN, _MOST_UNEVEN = 0.01, 1.5  # steps of beats that are this far from alike (median) count as even; log ratio to it


def strength(onsets: Onsets) -> FloatArray:
    """Onset strength per band [T, bands]: above the local mean, and even in level over the track."""
    even = np.empty(onsets.flux_TB.shape, np.float32)
    for band, flux in enumerate(onsets.flux_TB.T):  # one at a time: a track of hours has long columns
        rise = flux.astype(np.float32)
        above = np.maximum(rise - running_mean(rise, FRAME_RATE_HZ), 0)
        power = np.square(above)
        # Its running sum leaves rounding behind, which may be below zero where nothing sounds for six seconds.
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


# --- beats and bars ---------------------------------------------------------------------------------------------------


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
    for start in range(step := int(reach[0]), count, step):  # so many frames at once look only at those before them
        t = np.arange(start, min(start + step, count))
        at = t[:, None] - reach
        total = np.where(at >= 0, score[at], -np.inf) - _TIGHTNESS * np.square(log_reach - log_period[t, None])
        best = total.argmax(axis=1)
        gain = total[np.arange(len(t)), best]
        score[t] += np.maximum(gain, 0)
        before[t] = np.where(gain > 0, t - reach[best], -1)
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
    return np.asarray([_peak_frame(salience, f) for f in found], np.float32)


def _peak_frame(salience: FloatArray, frame: int) -> float:
    """The top of the parabola through a peak and its neighbours."""
    if not 0 < frame < len(salience) - 1:
        return float(frame)
    left, top, right = (float(v) for v in salience[frame - 1 : frame + 2])
    bend = left - 2 * top + right
    return frame + float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if bend < 0 else float(frame)


def local_period(salience_T: FloatArray, period: float) -> FloatArray:
    """The period in frames at every frame, near ``period``: the smoothest ridge of the local autocorrelation."""
    count = len(salience_T)
    size = min(count, round(max(_LOCAL_S * FRAME_RATE_HZ, 5 * period)))
    hop = round(_LOCAL_HOP_S * FRAME_RATE_HZ)
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
    # The track's own tempo is the default where the window shows nothing.
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


def unevenness(beats_s: FloatArray) -> float:
    """How uneven the steps of at least two beats are: 0 where they differ by 1 % (median), 1 at 2.7 %, at most 1.5."""
    steps = np.log(np.diff(beats_s))
    spread = float(np.median(np.abs(steps - np.median(steps))))
    return float(np.clip(np.log(max(spread, _EVEN) / _EVEN), 0.0, _MOST_UNEVEN))


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
