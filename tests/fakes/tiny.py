"""A joint model small enough to predict by hand: for tests of indexing and search, never for music.

Sound: one frame a second. A frame is the square roots of its energy shares in eight bands (edges 0, 125, 250, 500,
1000, 2000, 4000, 6000, 8000 Hz), one number for how noise-like it is (spectral flatness) and one for silence, scaled
to length one and turned by a fixed rotation into 32 dimensions.

Text: one frame a word. ``low``, ``bass`` point at the bands below 250 Hz, ``middle`` at 250-1000 Hz, ``high`` at
1-4 kHz, ``bright`` above 4 kHz, ``noisy`` at the noise axis and the top bands, ``silent`` at the silence axis. Every
other word points somewhere of its own, at right angles to all sound.
"""

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from solfa.core.types import Audio, EncoderSpec, Features, FloatArray, JointModel

_DIM = 32
_EDGES_HZ = (0, 125, 250, 500, 1000, 2000, 4000, 6000, 8000)
_NOISE, _SILENCE, _HEARD = 8, 9, 10
_WORDS: dict[str, tuple[int, ...]] = {
    "low": (0, 1),
    "bass": (0, 1),
    "middle": (2, 3),
    "high": (4, 5),
    "bright": (6, 7),
    "noisy": (6, 7, _NOISE, _NOISE),
    "silent": (_SILENCE,),
}


def tiny_model() -> JointModel:
    """A deterministic joint model, numpy only; about 5000 times real time."""
    return JointModel(name="tiny", audio=_TinyAudio(), text=_TinyText())


def _spec(hop_s: float, sample_rate_hz: int) -> EncoderSpec:
    return EncoderSpec(
        name="tiny",
        space="tiny/1/32",
        dim=_DIM,
        licence="Apache-2.0",
        commercial_use=True,
        sample_rate_hz=sample_rate_hz,
        hop_s=hop_s,
    )


class _TinyAudio:
    @property
    def spec(self) -> EncoderSpec:
        return _spec(hop_s=1.0, sample_rate_hz=16000)

    def encode(self, batch: Sequence[Audio]) -> Features:
        """One frame a second; the last one may be shorter."""
        return _features([np.stack([_sound(s) for s in _seconds(audio)]) for audio in batch])


class _TinyText:
    @property
    def spec(self) -> EncoderSpec:
        return _spec(hop_s=0.0, sample_rate_hz=0)

    def encode(self, batch: Sequence[str]) -> Features:
        """One frame a word."""
        return _features([np.stack([_word(w) for w in text.lower().split() or [""]]) for text in batch])


def _seconds(audio: Audio) -> list[tuple[FloatArray, int]]:
    step = audio.sample_rate_hz
    starts = range(0, max(1, len(audio.samples)), step)
    return [(audio.samples[s : s + step], step) for s in starts]


def _sound(second: tuple[FloatArray, int]) -> FloatArray:
    samples, rate = second
    values = np.zeros(_DIM, np.float64)
    power = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2 if len(samples) else np.zeros(1)
    total = float(power.sum())
    if total < 1e-9:
        values[_SILENCE] = 1.0
        return _turn(values)
    hz = np.fft.rfftfreq(max(1, len(samples)), 1 / rate)
    for band, (low, high) in enumerate(pairwise(_EDGES_HZ)):
        values[band] = np.sqrt(power[(hz >= low) & (hz < high)].sum() / total)
    heard = power[(hz > 0) & (hz < _EDGES_HZ[-1])] + 1e-12
    values[_NOISE] = np.exp(np.log(heard).mean()) / heard.mean() if len(heard) else 0.0
    return _turn(values)


def _word(word: str) -> FloatArray:
    values = np.zeros(_DIM, np.float64)
    if word in _WORDS:
        np.add.at(values, list(_WORDS[word]), 1.0)
    else:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
        values[_HEARD:] = np.random.default_rng(seed).standard_normal(_DIM - _HEARD)
    return _turn(values)


def _turn(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> FloatArray:
    rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((_DIM, _DIM)))
    turned = rotation @ values
    unit: FloatArray = (turned / np.linalg.norm(turned)).astype(np.float32)
    return unit


def _features(rows: Sequence[FloatArray]) -> Features:
    longest = max((len(r) for r in rows), default=0)
    frames = np.zeros((len(rows), longest, _DIM), np.float32)
    mask = np.zeros((len(rows), longest), np.bool_)
    pooled = np.zeros((len(rows), _DIM), np.float32)
    for i, row in enumerate(rows):
        frames[i, : len(row)], mask[i, : len(row)] = row, True
        mean = row.mean(axis=0)
        pooled[i] = mean / max(float(np.linalg.norm(mean)), 1e-9)
    return Features(global_BD=pooled, frames_BTD=frames, mask_BT=mask)
