"""The filters are scipy's, which is not needed to run them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import fft, ndimage, signal, special

from solfa.analysis import filters
from solfa.analysis.loudness import k_weighting


@pytest.mark.parametrize(("shape", "size", "axis"), [((500,), 98, -1), ((500,), 7, -1), ((30, 60), 20, 1),
                                                     ((30, 60), 9, 0), ((5,), 98, 0), ((1,), 3, 0)])  # fmt: skip
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_running_mean_is_scipys_bit_for_bit(shape: tuple[int, ...], size: int, axis: int, kind: type) -> None:
    values = np.random.default_rng(0).exponential(size=shape).astype(kind)
    for before in (size // 2, size - 1, 0):
        expected = ndimage.uniform_filter1d(values, size, axis=axis, origin=before - size // 2)
        found = filters.running_mean(values, size, axis=axis, before=before)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == kind
    np.testing.assert_array_equal(
        filters.running_mean(values, size, axis=axis), ndimage.uniform_filter1d(values, size, axis=axis)
    )


def test_running_mean_of_nothing_is_nothing() -> None:
    assert filters.running_mean(np.zeros((3, 0), np.float32), 5).shape == (3, 0)


@pytest.mark.parametrize("count", [1, 6, 7, 20])
def test_block_means_are_of_every_so_many_rows(count: int) -> None:
    rows = np.random.default_rng(4).standard_normal((count, 3)).astype(np.float32)
    expected = [rows[i : i + 7].mean(axis=0) for i in range(0, count, 7)]
    np.testing.assert_allclose(filters.block_means(rows, 7), expected, rtol=1e-5)


@pytest.mark.parametrize(("shape", "reach"), [((11, 48), 1), ((300,), 4), ((3,), 4), ((0,), 4)])
def test_running_max_is_scipys_bit_for_bit(shape: tuple[int, ...], reach: int) -> None:
    values = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    np.testing.assert_array_equal(filters.running_max(values, reach), ndimage.maximum_filter1d(values, 2 * reach + 1))


@pytest.mark.parametrize("seed", range(40))
def test_peaks_are_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rough = rng.standard_normal(int(rng.integers(3, 300)))
    for values in (rough, np.convolve(rough, np.ones(9)), np.round(rough)):  # the last has plateaus
        # Which of two equal peaks stays is nobody's promise.
        for distance in (1, 8) if len(np.unique(values)) == len(values) else (1,):
            at, found = signal.find_peaks(values, distance=distance, prominence=0.4)
            own = filters.peaks(values, distance=distance, prominence=0.4)
            assert own == list(zip(at.tolist(), found["prominences"].tolist(), strict=True))


def test_expit_is_scipys_from_one_end_to_the_other() -> None:
    for kind, tolerance in ((np.float32, 3e-6), (np.float64, 1e-13)):
        x = np.array([-700, -88, -40, -1, -1e-9, 0, 1e-9, 1, 40, 700, -np.inf, np.inf], kind)
        np.testing.assert_allclose(filters.expit(x), special.expit(x), rtol=tolerance)
        assert filters.expit(x).dtype == kind


def test_fast_length_is_scipys() -> None:
    lengths = [*range(1, 3000), 44_100, 99_991, 2_646_001, 2**24 + 1]
    assert [filters.fast_length(n) for n in lengths] == [fft.next_fast_len(n, real=True) for n in lengths]


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("seconds", [0, 0.0005, 0.1, 7.3])  # of nothing, of less than a block, over several stretches
def test_second_order_sections_filter_as_scipys(rate: int, seconds: float) -> None:
    noise = np.random.default_rng(2).standard_normal(round(rate * seconds)).astype(np.float32)
    for samples in (noise, np.ones_like(noise)):
        expected = signal.sosfilt(k_weighting(rate), samples) if len(samples) else np.zeros(0)
        np.testing.assert_allclose(filters.filtered(k_weighting(rate), samples), expected, atol=1e-8)  # -160 dB


def test_any_number_of_sections() -> None:
    samples = np.random.default_rng(3).standard_normal(200_000).astype(np.float32)
    for order in (2, 6):
        sections = signal.butter(order, [0.05, 0.2], "bandpass", output="sos")
        np.testing.assert_allclose(filters.filtered(sections, samples), signal.sosfilt(sections, samples), atol=1e-10)
