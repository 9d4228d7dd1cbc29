"""Onset features of a stretch, and how stretches join to one time grid.

A frame is 1/98 s (225 samples at 22.05 kHz), so that a stretch of 120 s is a whole number of frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.fft import rfft
from numpy.typing import NDArray

from solfa.analysis.filters import block_means, running_max
from solfa.analysis.protocol import Observation
from solfa.audio import at_rate
from solfa.core.types import Audio, FloatArray

SAMPLE_RATE_HZ = 22050
HOP = 225
FRAME_RATE_HZ = SAMPLE_RATE_HZ // HOP  # 98 frames a second
SLOW_EVERY = 7  # frames per row of the slow features: 14 rows a second

_WINDOW = 1024
_BANDS = 48
_LOW_HZ, _HIGH_HZ = 30.0, 10500.0
FLUX_BANDS = 16  # flux channels, low to high
LEVEL_BANDS = 8  # loudness channels, low to high
_LAG = 2  # frames between the spectra that are compared: about half a window
_GAMMA = 1000.0  # log compression, relative to the loud frames of the stretch
_BLOCK = 128  # frames transformed at once: keeps temporaries in the cache
_SILENCE = 1e-5  # root mean square below which a stretch holds no sound (-100 dBFS)


@dataclass(frozen=True, eq=False, slots=True)
class Onsets:
    """The joined features of a track.

    ``flux_TB`` float16 >= 0, rise of log energy in ``FLUX_BANDS`` bands from low to high, ``FRAME_RATE_HZ`` frames a
    second; ``level_SB`` float32, log energy in ``LEVEL_BANDS`` bands, and ``chroma_SP`` float32, energy of the 12
    pitch classes, one row per ``SLOW_EVERY`` frames.
    """

    flux_TB: NDArray[np.float16]
    level_SB: FloatArray
    chroma_SP: FloatArray

    @property
    def duration_s(self) -> float:
        """Length of the grid in seconds."""
        return len(self.flux_TB) / FRAME_RATE_HZ


def observe(audio: Audio) -> Observation:
    """Band flux, levels and chroma of one stretch as float16, about 4 KB per second.

    The flux is that of SuperFlux (Böck & Widmer, DAFx 2013): positive differences of a log-compressed filter bank
    against a version widened by one band, which ignores vibrato. Level is taken relative to the loud frames of the
    stretch, so that gain changes nothing. Computed once for a stretch (``Audio.derive``).
    """
    return audio.derive("onsets", _observe)


def _observe(audio: Audio) -> Observation:
    samples = at_rate(audio, SAMPLE_RATE_HZ).samples
    count = round(len(samples) / HOP)
    power = float(np.mean(np.square(samples, dtype=np.float64))) if count else 0.0
    flux = np.zeros((count, FLUX_BANDS), np.float32)
    level = np.zeros((-(-count // SLOW_EVERY), LEVEL_BANDS), np.float32)
    chroma = np.zeros((len(level), 12), np.float32)
    if power > _SILENCE**2:
        bands, chroma = _spectra(samples, count)
        loud = max(float(np.percentile(bands.mean(axis=1), 95)), 1e-9)
        log_bands = np.log1p(_GAMMA / loud * bands)
        flux = _flux(log_bands)
        level = block_means(log_bands.reshape(count, LEVEL_BANDS, -1).mean(axis=2), SLOW_EVERY).astype(np.float32)
        chroma = block_means(chroma, SLOW_EVERY).astype(np.float32) / loud
    return {
        "start_s": np.asarray([audio.start_s]),
        "flux": flux.astype(np.float16),
        "level": level.astype(np.float16),
        "chroma": np.minimum(chroma, 6e4).astype(np.float16),
    }


def join(observations: Sequence[Observation], duration_s: float) -> Onsets:
    """One grid for the whole track; what no stretch covers is silent."""
    total = max(round(duration_s * FRAME_RATE_HZ), 0)
    slow = -(-total // SLOW_EVERY)
    joined = Onsets(
        np.zeros((total, FLUX_BANDS), np.float16),
        np.zeros((slow, LEVEL_BANDS), np.float32),
        np.zeros((slow, 12), np.float32),
    )
    for part in observations:
        at = round(float(part["start_s"][0]) * FRAME_RATE_HZ)
        _place(joined.flux_TB, np.asarray(part["flux"]), at)
        _place(joined.level_SB, np.asarray(part["level"]), round(at / SLOW_EVERY))
        _place(joined.chroma_SP, np.asarray(part["chroma"]), round(at / SLOW_EVERY))
    return joined


def _place(target: NDArray[np.floating], values: NDArray[np.generic], at: int) -> None:
    room = max(min(len(values), len(target) - at), 0)
    target[at : at + room] = values[:room]


def _spectra(samples: FloatArray, count: int) -> tuple[FloatArray, FloatArray]:
    """Magnitude in mel bands [T, bands] and in pitch classes [T, 12]."""
    mel, pitch = _filters()
    half = _WINDOW // 2
    padded = np.pad(samples, (half, half + HOP), mode="reflect" if len(samples) > half + HOP else "constant")
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::HOP][:count]
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    bands = np.empty((count, _BANDS), np.float32)
    classes = np.empty((count, 12), np.float32)
    for i in range(0, count, _BLOCK):
        magnitude = np.abs(rfft(frames[i : i + _BLOCK] * window, axis=1))
        bands[i : i + _BLOCK] = magnitude @ mel
        classes[i : i + _BLOCK] = magnitude @ pitch
    return bands, classes


def _flux(bands: FloatArray) -> FloatArray:
    """Rise of every band over ``_LAG`` frames, averaged into ``FLUX_BANDS`` channels."""
    widened = running_max(bands, 1)
    rise = np.zeros_like(bands)
    np.maximum(bands[_LAG:] - widened[:-_LAG], 0, out=rise[_LAG:])
    flux: FloatArray = rise.reshape(len(rise), FLUX_BANDS, -1).mean(axis=2)
    return flux


@cache
def _filters() -> tuple[FloatArray, FloatArray]:
    """Triangular mel filters [bins, bands] and pitch-class weights [bins, 12]."""
    hz = np.arange(_WINDOW // 2 + 1) * SAMPLE_RATE_HZ / _WINDOW
    scale = np.log1p(hz / 700.0)
    edges = np.linspace(np.log1p(_LOW_HZ / 700), np.log1p(_HIGH_HZ / 700), _BANDS + 2)
    # A band is never narrower than a bin, or the lowest ones would be empty.
    width = np.maximum(np.diff(edges)[0], np.log1p((hz[1] + edges * 0) / 700))
    mel = np.maximum(0, 1 - np.abs(scale[:, None] - edges[None, 1:-1]) / width[1:-1])
    mel /= mel.sum(axis=0, keepdims=True)
    midi = 69 + 12 * np.log2(np.maximum(hz, 1.0) / 440)
    near = np.exp(-0.5 * (((midi[:, None] - np.arange(12) + 6) % 12 - 6) / 0.7) ** 2)
    pitch = near * ((hz > 110) & (hz < 2500))[:, None]
    return mel.astype(np.float32), pitch.astype(np.float32)
