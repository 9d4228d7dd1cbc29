"""Loudness against the standard's own numbers, and the energy curve's shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fakes.files import write_audio
from solfa.analysis.analyze import analyze
from solfa.analysis.loudness import LoudnessExtractor, integrated_lufs
from solfa.core.types import Analysis, Audio, FloatArray

LOUDNESS = (LoudnessExtractor(),)


def sine(dbfs: float, seconds: float, rate: int = 48_000, hz: float = 997.0) -> FloatArray:
    t = np.arange(round(seconds * rate)) / rate
    tone: FloatArray = (10 ** (dbfs / 20) * np.sin(2 * np.pi * hz * t)).astype(np.float32)
    return tone


def measure(samples: FloatArray, rate: int = 48_000, stretch_s: float = 120.0) -> Analysis:
    step = round(stretch_s * rate)
    return analyze(
        (Audio(samples[i : i + step], rate, i / rate) for i in range(0, max(1, len(samples)), step)), LOUDNESS
    )


def lufs(samples: FloatArray, rate: int = 48_000, stretch_s: float = 120.0) -> float:
    value = measure(samples, rate, stretch_s).loudness_lufs.value
    assert value is not None
    return value


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("dbfs", [-23.0, -36.0])
def test_a_full_scale_sine_in_one_channel_is_minus_three(rate: int, dbfs: float) -> None:
    # BS.1770-4: 0 dBFS, 997 Hz in one front channel reads -3.01 LUFS.
    assert lufs(sine(dbfs, 20, rate), rate) == pytest.approx(dbfs - 3.01, abs=0.1)


def test_stereo_adds_the_channels_up(tmp_path: Path) -> None:
    tone = sine(-23, 20)
    both = analyze(write_audio(tmp_path / "a.wav", np.stack([tone, tone], 1), 48_000), LOUDNESS)
    assert both.loudness_lufs.value == pytest.approx(-23.0, abs=0.1)  # EBU Tech 3341, case 1
    opposed = analyze(write_audio(tmp_path / "b.wav", np.stack([tone, -tone], 1), 48_000), LOUDNESS)
    assert opposed.loudness_lufs.value == pytest.approx(-23.0, abs=0.1)  # the mono mix is silent
    left = analyze(write_audio(tmp_path / "c.wav", np.stack([tone, 0 * tone], 1), 48_000), LOUDNESS)
    assert left.loudness_lufs.value == pytest.approx(-26.0, abs=0.1)


def test_gates_of_ebu_tech_3341() -> None:
    # Cases 3 and 4 (there in stereo, 3.01 LU louder): quiet ends do not count.
    parts = [sine(-36, 10), sine(-23, 60), sine(-36, 10)]
    assert lufs(np.concatenate(parts)) == pytest.approx(-26.0, abs=0.1)
    parts = [sine(-72, 10), sine(-36, 10), sine(-23, 60), sine(-36, 10), sine(-72, 10)]
    assert lufs(np.concatenate(parts)) == pytest.approx(-26.0, abs=0.1)


def test_the_weighting_is_that_of_the_standard() -> None:
    # Relative gains of the K curve from BS.1770-4's own coefficients at 48 kHz.
    def gain(hz: float) -> float:
        z = np.exp(-2j * np.pi * hz / 48_000)
        shelf = (1.53512485958697 - 2.69169618940638 * z + 1.19839281085285 * z**2) / (
            1 - 1.69065929318241 * z + 0.73248077421585 * z**2
        )
        high_pass = (1 - 2 * z + z**2) / (1 - 1.99004745483398 * z + 0.99007225036621 * z**2)
        return float(20 * np.log10(abs(shelf * high_pass)))

    reference = lufs(sine(-20, 10)) - gain(997)
    for hz in (30, 60, 100, 500, 2000, 5000, 12_000):
        assert lufs(sine(-20, 10, hz=hz)) - reference == pytest.approx(gain(hz), abs=0.05)


def test_how_the_track_is_cut_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    noise = (rng.normal(0, 0.1, 30 * 48_000) * np.linspace(0.1, 1, 30 * 48_000)).astype(np.float32)
    assert lufs(noise, stretch_s=4.0) == pytest.approx(lufs(noise), abs=0.01)
    whole, cut = measure(noise).energy.values, measure(noise, stretch_s=4.0).energy.values
    np.testing.assert_allclose(whole, cut, atol=0.005)


@pytest.mark.parametrize("seconds", [0.0, 1 / 48_000, 0.3])
def test_too_short_to_measure(seconds: float) -> None:
    short = measure(sine(-20, seconds))
    assert (short.loudness_lufs.value, short.loudness_lufs.confidence) == (None, 0.0)


def test_silence_has_no_loudness_and_no_energy() -> None:
    silent = measure(np.zeros(48_000 * 10, np.float32))
    assert silent.loudness_lufs.value is None
    assert silent.energy.values == (0.0,) * 10
    assert integrated_lufs(np.zeros(0), np.zeros(0)) is None


def test_energy_follows_the_sound() -> None:
    curve = measure(np.concatenate([np.zeros(10 * 48_000, np.float32), sine(-20, 10), sine(-50, 10)])).energy
    assert (curve.hop_s, len(curve.values)) == (1.0, 30)
    values = np.array(curve.values)
    assert values[:8].max() == 0.0
    np.testing.assert_allclose(values[12:18], (-23.0 + 50) / 45, atol=0.01)
    assert 0 <= values[22:28].max() < 0.01
    assert values.min() >= 0 and values.max() <= 1


def test_agreement_with_pyloudnorm() -> None:
    pyloudnorm = pytest.importorskip("pyloudnorm")
    rng = np.random.default_rng(1)
    for rate in (44_100, 48_000):
        loud = np.repeat(rng.uniform(0.01, 0.3, 20), rate).astype(np.float32)
        noise = (rng.normal(0, 1, 20 * rate) * loud).astype(np.float32)
        assert lufs(noise, rate) == pytest.approx(pyloudnorm.Meter(rate).integrated_loudness(noise), abs=0.1)
