"""Noise, hum, steady tones and sweeps have no tempo, metre, key or chords; sparse and steady music keeps its own.

The bounds were set on other seeds and parameters than these (docs/analysis.md).
"""

from __future__ import annotations

import numpy as np
import pytest

from solfa.analysis.analyze import analyze
from solfa.analysis.harmony import HarmonyExtractor
from solfa.analysis.rhythm import RhythmExtractor
from solfa.core.types import Analysis, Audio, FloatArray

RATE = 22050
SECONDS = 20
COUNT = SECONDS * RATE
TIME = np.arange(COUNT) / RATE


def measured(samples: FloatArray) -> Analysis:
    loud = np.asarray(samples / np.abs(samples).max() * 0.3, np.float32)
    return analyze([Audio(loud, RATE)], [RhythmExtractor(), HarmonyExtractor()])


def coloured(seed: int, power: float, low_hz: float = 20.0, high_hz: float = 11025.0) -> FloatArray:
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(COUNT))
    hz = np.fft.rfftfreq(COUNT, 1 / RATE)
    shaped = spectrum * np.maximum(hz, 20.0) ** (-power / 2) * ((hz >= low_hz) & (hz <= high_hz))
    return np.fft.irfft(shaped, COUNT)


def hum(hz: float, partials: int) -> FloatArray:
    rng = np.random.default_rng(partials)
    return np.sum([rng.uniform(0.3, 1) / h * np.sin(2 * np.pi * (h * hz * TIME + rng.random()))
                   for h in range(1, partials + 1) if h * hz < RATE / 2], axis=0)  # fmt: skip


def clicks(seed: int, a_second: float) -> FloatArray:
    rng = np.random.default_rng(seed)
    out = np.zeros(COUNT)
    out[rng.integers(0, COUNT, round(a_second * SECONDS))] = rng.uniform(-1, 1, round(a_second * SECONDS))
    return np.convolve(out, np.exp(-np.arange(400) / 60) * rng.standard_normal(400))[:COUNT]


def pulses(every_s: float, ring_s: float, hz: float) -> FloatArray:
    phase = TIME % every_s
    return np.sin(2 * np.pi * hz * TIME) * np.exp(-phase / ring_s)


NOISES = {
    "white": coloured(11, 0.0),
    "pink": coloured(12, 1.0),
    "brown": coloured(13, 2.1),
    "band": coloured(14, 0.3, 700, 1500),
    "hum of 50 Hz": hum(50.0, 13),
    "hum of 60 Hz": hum(60.0, 31),
    "hum of 173 Hz": hum(173.0, 9),
    "sine": np.sin(2 * np.pi * 523.25 * TIME),
    "sweep": np.sin(2 * np.pi * np.cumsum(60 * 90 ** (TIME / SECONDS)) / RATE),
    "clicks": clicks(15, 9.0),
    "constant": np.ones(COUNT),
}


@pytest.mark.parametrize("name", NOISES)
def test_what_is_no_music_has_no_tempo_and_no_key(name: str) -> None:
    found = measured(NOISES[name])
    assert max(found.tempo_bpm.confidence, found.metre.confidence) < 0.2
    assert found.key.value is None and {c.label for c in found.chords} == {"N"}


def test_a_sparse_rhythm_keeps_its_tempo() -> None:
    wood = measured(pulses(0.6, 0.03, 900.0))  # 100 BPM and nothing else
    assert wood.tempo_bpm.confidence > 0.3 and round(np.log2(wood.tempo_bpm.value / 100), 2) in (-1, 0, 1)


def test_a_slow_solo_over_a_drone_keeps_its_key() -> None:
    notes = np.array([0, 4, 7, 12, 11, 7, 5, 2, 4, 0])[(TIME // 2).astype(int)]  # C major, a note every two seconds
    melody = np.sin(2 * np.pi * np.cumsum(261.63 * 2 ** (notes / 12)) / RATE) * np.exp(-(TIME % 2))
    found = measured(melody + 0.3 * hum(130.81, 4))
    assert found.key.value in ("C major", "C minor") and found.key.confidence > 0.3
