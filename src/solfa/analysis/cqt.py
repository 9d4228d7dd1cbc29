"""Constant-Q magnitudes of one stretch, which the networks of chords and key read, in numpy.

They are those of ``librosa.hybrid_cqt``, as the teacher of the chord network reads them (Jiang et al., ISMIR 2019): 36
bins an octave, a frame every 512 samples of 22050 Hz, filters longer than a hop exact (*full* part), shorter ones as
windowed sums of an STFT (*pseudo* part).
Here the full part is one FFT of the stretch: a Hann-windowed filter is a narrow bump in frequency (known in closed
form), so each bin is a slice of that spectrum, folded onto the frame rate and transformed back (Holighaus et al.,
TASLP 2013, have the same idea). No octave-wise resampling, and every frame is exact.
"""

from functools import lru_cache

import numpy as np
import soxr
from numpy.typing import NDArray

from solfa.analysis.filters import fast_length
from solfa.core.types import FloatArray

RATE_HZ = 22050
HOP = 512
BINS_PER_OCTAVE = 36
N_BINS = 252
FMIN_HZ = 440.0 * 2.0 ** (-45 / 12)  # C1, the lowest bin
# Relative bandwidth of a filter: neighbours on the 36-bin grid touch.
_ALPHA = (2.0 ** (2 / BINS_PER_OCTAVE) - 1) / (2.0 ** (2 / BINS_PER_OCTAVE) + 1)
# The bump is cut off where the Hann side lobes are below -60 dB.
_LOBES = 6.0
_STEPS = 4096  # of the table of that bump, between two of its zeros
_PSEUDO_N_FFT = 1024
_TUNING_N_FFT = 4096


def filter_lengths(tuning: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre frequencies in Hz and filter lengths in samples, both [shape=(N_BINS,)].

    ``tuning`` is in semitones above A4 = 440 Hz.
    """
    centres = FMIN_HZ * 2.0 ** (np.arange(N_BINS) / BINS_PER_OCTAVE + tuning / 12)
    return centres, RATE_HZ / (_ALPHA * centres)


def cqt(samples: FloatArray, tuning: float = 0.0) -> FloatArray:
    """Magnitudes float32 [shape=(1 + N // HOP, N_BINS)] of N samples at ``RATE_HZ``; frame i is centred on ``i * HOP``.

    The whole grid is shifted by ``tuning``, semitones above A4 = 440 Hz.
    """
    frames = 1 + len(samples) // HOP
    centres, lengths = filter_lengths(tuning)
    n_full = int(np.sum(2.0 ** np.ceil(np.log2(lengths)) >= 2 * HOP))
    out = np.empty((frames, N_BINS), np.float32)
    out[:, :n_full] = _full(samples, frames, centres[:n_full], lengths[:n_full])
    out[:, n_full:] = _stft(samples, _PSEUDO_N_FFT, HOP)[:frames] @ _pseudo_kernel(round(tuning, 4), n_full)
    return out


def _full(samples: FloatArray, frames: int, centres: NDArray[np.float64], lengths: NDArray[np.float64]) -> FloatArray:
    # Room for half a filter of silence after the end (and, the transform being circular, before the start).
    n_frames = fast_length(frames + int(np.ceil(lengths[0] / 2 / HOP)) + 1)
    # Filters longer than a hop are below 2.5 kHz: a quarter of the rate holds their spectrum.
    spectrum = 4 * np.fft.rfft(soxr.resample(samples, 4, 1), n_frames * HOP // 4)
    hz_per_bin = RATE_HZ / (n_frames * HOP)
    out, (bump, rise) = np.empty((frames, len(centres)), np.float32), _bump()
    for k, (centre, length) in enumerate(zip(centres, lengths, strict=True)):
        reach = _LOBES * RATE_HZ / length
        low = max(0, int(np.ceil((centre - reach) / hz_per_bin)))
        high = min(len(spectrum), int((centre + reach) / hz_per_bin) + 1)
        offset = np.abs(np.arange(low, high) * hz_per_bin - centre) * (length / RATE_HZ * _STEPS)
        step = offset.astype(np.int32)
        band = spectrum[low:high] * (bump.take(step) + (offset - step).astype(np.float32) * rise.take(step))
        # Sampling at the frame rate folds the spectrum modulo the number of frames.
        first = low % n_frames
        folded = np.zeros(-(-(first + len(band)) // n_frames) * n_frames, np.complex64)
        folded[first : first + len(band)] = band
        rows = np.fft.ifft(folded.reshape(-1, n_frames).sum(axis=0))[:frames]
        np.abs(rows, out=out[:, k])
        out[:, k] *= np.sqrt(length) / HOP
    return out


def _hann_response(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spectrum of a Hann window of unit sum, ``u`` in units of 1 / length."""
    square = u * u
    divisor = np.pi * u * (1 - square)  # 0 at -1, 0 and 1
    singular = np.abs(divisor) < 1e-6
    divisor[singular] = 1.0
    response: NDArray[np.float64] = np.sin(np.pi * u) / divisor
    response[singular] = np.where(square[singular] < 0.5, 1.0, 0.5)
    return response


@lru_cache(maxsize=1)
def _bump() -> tuple[FloatArray, FloatArray]:
    """``_hann_response`` of one side in steps of 1 / ``_STEPS``, and what each adds to the last: exact to 1e-7."""
    response = _hann_response(np.arange(round(_LOBES * _STEPS) + 3) / _STEPS)
    return response[:-1].astype(np.float32), np.diff(response).astype(np.float32)


@lru_cache(maxsize=8)
def _pseudo_kernel(tuning: float, first: int) -> FloatArray:
    """STFT magnitudes to the top bins, float32 [shape=(n_fft/2 + 1, N_BINS - first)]."""
    centres, lengths = filter_lengths(tuning)
    hz = np.arange(_PSEUDO_N_FFT // 2 + 1) * RATE_HZ / _PSEUDO_N_FFT
    u = (hz[:, None] - centres[None, first:]) * (lengths[first:] / RATE_HZ)
    kernel = np.abs(_hann_response(u)) * (lengths[first:] / _PSEUDO_N_FFT) / np.sqrt(_PSEUDO_N_FFT)
    return np.ascontiguousarray(kernel, np.float32)


def _stft(samples: FloatArray, n_fft: int, hop: int) -> FloatArray:
    """Hann-windowed magnitudes float32 [shape=(1 + N // hop, n_fft/2 + 1)], frames centred, silence outside."""
    padded = np.pad(samples, n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    window = np.hanning(n_fft + 1)[:-1].astype(np.float32)
    magnitudes = np.empty((len(frames), n_fft // 2 + 1), np.float32)
    for block in range(0, len(frames), step := 2**17 // n_fft):  # keeps temporaries in the cache
        np.abs(np.fft.rfft(frames[block : block + step] * window), out=magnitudes[block : block + step])
    return magnitudes


def tuning_of(samples: FloatArray) -> float:
    """Semitones above A4 = 440 Hz, -0.5..0.5, of the partials of samples at ``RATE_HZ``.

    Peaks of a 4096-point STFT between 80 and 1700 Hz, interpolated and weighted by the root of their magnitude, are
    counted by their offset from the grid in cents; the tuning is the peak of that histogram, smoothed by a few cents.
    """
    magnitudes = _stft(samples, _TUNING_N_FFT, _TUNING_N_FFT)
    low, high = int(80 * _TUNING_N_FFT / RATE_HZ), int(1700 * _TUNING_N_FFT / RATE_HZ)
    here, left, right = (magnitudes[:, low + d : high + d] for d in (0, -1, 1))
    # A partial stands out of its frame: local maximum, within 40 dB of the frame's loudest.
    peak = (here > left) & (here >= right) & (here > 0.01 * here.max(axis=1, keepdims=True)) & (here > 1e-3)
    frame, at = np.nonzero(peak)
    a, b, c = (np.log(m[frame, at] + 1e-9) for m in (left, here, right))
    shift = 0.5 * (a - c) / np.minimum(a - 2 * b + c, -1e-6)
    cents = 1200 * np.log2((low + at + shift) * RATE_HZ / _TUNING_N_FFT / 440.0)
    weights = np.sqrt(here[frame, at]).astype(np.float64)
    evidence = np.bincount((np.round(cents).astype(int) + 50) % 100, weights, minlength=100)
    offsets = (np.arange(100) + 50) % 100 - 50
    smooth = np.fft.irfft(np.fft.rfft(evidence) * np.fft.rfft(np.exp(-0.5 * (offsets / 6.0) ** 2)), 100)
    return float(np.argmax(smooth) - 50) / 100 if evidence.any() else 0.0
