"""Log-mel spectrograms as the pretrained taggers were trained on them; 16 kHz sound in.

Shape letters: T windows, F spectral frames in a window, M mel bands.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.fft import rfft
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from solfa.core.types import FloatArray

SAMPLE_RATE_HZ = 16000
_FFT = 512


def musicnn_mel(windows_TN: FloatArray) -> FloatArray:
    """Log-mel of 3 s windows for musicnn [shape=(T, 187, 96)].

    librosa's ``melspectrogram`` with n_fft 512, hop 256, 96 bands (Slaney scale and area), then ``log10(10000 x + 1)``,
    in float32. Each window is framed on its own (centred frames, zeros outside), so that windows start exactly 3 s
    apart, which a running spectrogram (187 hops = 2.992 s) would not give.
    ``windows_TN`` float32 [shape=(T, 48000)] is sound at 16 kHz, one window a row.
    """
    padded = np.pad(windows_TN, ((0, 0), (_FFT // 2, _FFT // 2)))
    mel = np.empty((len(windows_TN), 187, 96), np.float32)
    for frames, out in zip(_frames(padded, _FFT, 256, 187), mel, strict=True):  # one at a time stays in the cache
        spectrum = rfft(frames * _hann(_FFT))
        np.matmul(spectrum.real**2 + spectrum.imag**2, _slaney_bank(), out=out)
    np.log10(10000 * mel + 1, out=mel)
    return mel


def yamnet_mel(patches_TN: FloatArray) -> FloatArray:
    """Log-mel of 0.975 s patches for YAMNet [shape=(T, 96, 64)].

    Magnitude of a 512-point FFT of 25 ms Hann frames every 10 ms, 64 HTK bands between 125 and 7500 Hz, then
    ``log(x + 0.001)``; equals the front end inside ``yamnet.tflite`` to 2e-5.
    ``patches_TN`` float32 [shape=(T, 15600)] is sound at 16 kHz, one patch a row.
    """
    mel = np.empty((len(patches_TN), 96, 64), np.float32)
    for frames, out in zip(_frames(patches_TN, 400, 160, 96), mel, strict=True):
        np.matmul(np.abs(rfft(frames * _hann(400), _FFT)), _htk_bank(), out=out)
    np.log(mel + np.float32(0.001), out=mel)
    return mel


def _frames(rows: FloatArray, size: int, hop: int, count: int) -> FloatArray:
    row, item = rows.strides
    return as_strided(rows, (len(rows), count, size), (row, hop * item, item), writeable=False)


@cache
def _hann(size: int) -> FloatArray:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


@cache
def _slaney_bank() -> FloatArray:
    hz = np.linspace(0, SAMPLE_RATE_HZ / 2, _FFT // 2 + 1)
    top = _KNEE + float(np.log(SAMPLE_RATE_HZ / 2 / _KNEE_HZ)) / _LOG_STEP
    edges = _slaney_to_hz(np.linspace(0, top, 98))
    bank: FloatArray = (_triangles(hz, edges) * (2 / (edges[2:] - edges[:-2]))).astype(np.float32)
    return bank


@cache
def _htk_bank() -> FloatArray:
    # TensorFlow's: triangles are straight on the mel scale, and bin 0 belongs to no band.
    mels = 1127 * np.log1p(np.linspace(0, SAMPLE_RATE_HZ / 2, _FFT // 2 + 1) / 700)
    low, high = 1127 * np.log1p(np.array([125.0, 7500.0]) / 700)
    bank = _triangles(mels, np.linspace(low, high, 66))
    bank[0] = 0
    weights: FloatArray = bank.astype(np.float32)
    return weights


def _triangles(points: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    x = points[:, None]
    return np.maximum(0.0, np.minimum((x - low) / (centre - low), (high - x) / (high - centre)))


# Slaney's scale: linear below 1 kHz, then 27 bands for each factor of 6.4.
_LINEAR_HZ, _KNEE_HZ = 200 / 3, 1000.0
_KNEE, _LOG_STEP = _KNEE_HZ / _LINEAR_HZ, float(np.log(6.4) / 27)


def _slaney_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < _KNEE, mel * _LINEAR_HZ, _KNEE_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _KNEE) - _KNEE)))
