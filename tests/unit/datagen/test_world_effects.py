"""Effects: as long and as timely as what came in, and as loud as drawn."""

import numpy as np
import pytest

from solfa.core.types import FloatArray
from solfa.datagen.world import effects

RATE_HZ = 24000


def clicks(seconds: float = 3.0) -> FloatArray:
    """Short chords every 0.37 s."""
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    wave = sum(np.sin(2 * np.pi * f * time_s) for f in (311.0, 466.0, 932.0, 1550.0)) * np.exp(-12 * (time_s % 0.37))
    return np.asarray(0.2 * wave, np.float32)


@pytest.mark.parametrize("name", [name for name, *_ in effects.CHAIN])
@pytest.mark.parametrize("seed", range(3))
def test_effects_keep_length_and_time_and_follow_from_their_seed(name: str, seed: int) -> None:
    effect = next(e for n, e, *_ in effects.CHAIN if n == name)
    sound = clicks()
    got = effect(sound, RATE_HZ, np.random.default_rng(seed))
    assert got.shape == sound.shape and got.dtype == np.float32 and np.all(np.isfinite(got))
    assert not np.array_equal(got, sound)
    assert abs(effects._delay(sound, got)) <= 0.001 * RATE_HZ
    assert np.array_equal(got, effect(sound, RATE_HZ, np.random.default_rng(seed)))


@pytest.mark.parametrize("name", [name for name, *_ in effects.CHAIN])
def test_effects_take_stereo_and_keep_its_sides_apart(name: str) -> None:
    effect = next(e for n, e, *_ in effects.CHAIN if n == name)
    left = clicks(2.0)
    sound = np.stack([left, 0.25 * left])
    got = effect(sound, RATE_HZ, np.random.default_rng(0))
    assert got.shape == sound.shape and got.dtype == np.float32 and np.all(np.isfinite(got))
    assert abs(effects._delay(left, got[0])) <= 0.001 * RATE_HZ
    assert np.mean(got[0] ** 2) > 4 * np.mean(got[1] ** 2)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 12.5, 30.0])
def test_backgrounds_lie_at_the_snr_that_was_drawn(snr_db: float) -> None:
    sound, noise = clicks(), np.asarray(np.random.default_rng(0).standard_normal(3 * RATE_HZ), np.float32)
    added = effects.add_at(sound, noise, snr_db) - sound
    assert 10 * np.log10(np.mean(sound**2) / np.mean(added**2)) == pytest.approx(snr_db, abs=0.01)


def test_silence_is_left_alone() -> None:
    silence = np.zeros(1000, np.float32)
    assert np.array_equal(effects.add_at(clicks()[:1000], silence, 10), clicks()[:1000])
    assert not effects.treat(silence, RATE_HZ, np.random.default_rng(1), dry=1.0)[0].any()


@pytest.mark.parametrize("semitones", [2, -1])
def test_varispeed_moves_pitch_and_time_together(semitones: int) -> None:
    ratio = 2 ** (semitones / 12)
    time_s = np.arange(4 * RATE_HZ) / RATE_HZ
    tone = (np.sin(2 * np.pi * 440 * time_s) * (time_s % 1 > 0.5)).astype(np.float32)
    got = effects.varispeed(tone, RATE_HZ, ratio)
    assert len(got) == pytest.approx(len(tone) / ratio, abs=3)
    spectrum = np.abs(np.fft.rfft(got * np.hanning(len(got)), 1 << 18))
    wanted = 440 * 2 ** (semitones / 12)
    assert np.argmax(spectrum) * RATE_HZ / (1 << 18) == pytest.approx(wanted, rel=0.004)
    level = np.sqrt(np.convolve(got**2, np.ones(480) / 480, "same"))
    for edge in (0.5, 1.5, 2.5):  # where each tone begins, half of its level is reached
        begun = np.flatnonzero(level[int((edge - 0.2) / ratio * RATE_HZ) :] > 0.35)[0] / RATE_HZ
        assert begun == pytest.approx(0.2 / ratio, abs=0.02)


def test_treated_sound_is_never_clipped_and_says_what_was_done() -> None:
    done = set[str]()
    for seed in range(60):
        samples, names = effects.treat(clicks(1.0), RATE_HZ, np.random.default_rng(seed))
        assert 0.24 < float(np.abs(samples).max()) <= 0.9701
        done |= set(names)
    assert done >= {"eq", "compression", "room", "codec", "hiss"}
    noise = clicks(1.0)[::-1].copy()
    _, names = effects.treat(clicks(1.0), RATE_HZ, np.random.default_rng(3), background=noise, snr_db=6.0, dry=1.0)
    assert names == ("background",)


def test_stereo_is_left_at_its_level() -> None:
    sound = np.stack([clicks(1.0), clicks(1.0)[::-1]])
    loudest = float(np.abs(sound).max())
    got, _ = effects.treat(sound, RATE_HZ, np.random.default_rng(0), dry=1.0)
    assert np.allclose(got, sound)
    got, _ = effects.treat(sound * 2 / loudest, RATE_HZ, np.random.default_rng(0), dry=1.0)
    assert float(np.abs(got).max()) == pytest.approx(0.97)
