"""The constant-Q transform against its definition, and the tuning against what was played."""

from __future__ import annotations

import numpy as np
import pytest
import soxr

from fakes.synth import song
from solfa.analysis.cqt import HOP, N_BINS, RATE_HZ, cqt, filter_lengths, tuning_of


@pytest.mark.parametrize("tuning", [0.0, 0.3])
def test_full_part_is_the_windowed_sum_it_stands_for(tuning: float) -> None:
    """Each frame is the inner product with a Hann-windowed tone of the filter's length, by definition."""
    samples = np.random.default_rng(0).standard_normal(3 * RATE_HZ).astype(np.float32)
    magnitudes = cqt(samples, tuning)
    centres, lengths = filter_lengths(tuning)
    padded = np.pad(samples.astype(np.float64), 2 * RATE_HZ)
    for k in (0, 40, 130, 200):
        for frame in (0, 50, 128):
            n = np.arange(-int(lengths[k] / 2), int(lengths[k] / 2) + 1)
            window = 0.5 + 0.5 * np.cos(2 * np.pi * n / lengths[k])
            part = padded[2 * RATE_HZ + frame * HOP + n]
            direct = np.abs((part * window * np.exp(-2j * np.pi * centres[k] * n / RATE_HZ)).sum()) / window.sum()
            assert magnitudes[frame, k] == pytest.approx(direct * np.sqrt(lengths[k]), rel=0.03, abs=0.02)


def test_a_tone_peaks_in_its_bin_with_its_level() -> None:
    t = np.arange(2 * RATE_HZ) / RATE_HZ
    for k in (36, 108, 180, 240):
        centres, lengths = filter_lengths(0.0)
        middle = cqt((0.5 * np.sin(2 * np.pi * centres[k] * t)).astype(np.float32))[43]
        assert int(np.argmax(middle)) == k
        if k < 219:  # full part: half the amplitude times the root of the length
            assert middle[k] == pytest.approx(0.25 * np.sqrt(lengths[k]), rel=0.01)


@pytest.mark.parametrize("n", [1, 511, 512, 5000])
def test_any_length_gives_its_frames(n: int) -> None:
    assert cqt(np.ones(n, np.float32)).shape == (1 + n // HOP, N_BINS)


@pytest.mark.parametrize("cents", [-45, -20, 0, 15, 40])
def test_tuning_is_found(cents: int) -> None:
    samples = song(bars=4).audio.samples
    moved = soxr.resample(samples, RATE_HZ * 2 ** (cents / 1200), RATE_HZ).astype(np.float32)
    assert 100 * tuning_of(moved) == pytest.approx(cents, abs=3)


def test_silence_is_in_tune() -> None:
    assert tuning_of(np.zeros(RATE_HZ, np.float32)) == 0.0
