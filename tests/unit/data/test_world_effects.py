"""Effects: as long and as timely as what came in, and as loud as drawn."""

import numpy as np
import pytest

from solfa.core.types import FloatArray
from solfa.data.world import effects

RATE_HZ = 24000


def clicks(seconds: float = 3.0) -> FloatArray:
    """Short chords every 0.37 s."""
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    wave = sum(np.sin(2 * np.pi * f * time_s) for f in (311.0, 466.0, 932.0, 1550.0)) * np.exp(-12 * (time_s % 0.37))
    return np.asarray(0.2 * wave, np.float32)


@pytest.mark.parametrize("name", [name for name, _, _ in effects.CHAIN])
@pytest.mark.parametrize("seed", range(4))
def test_effects_keep_length_and_time_and_follow_from_their_seed(name: str, seed: int) -> None:
    effect = next(e for n, e, _ in effects.CHAIN if n == name)
    sound = clicks()
    got = effect(sound, RATE_HZ, np.random.default_rng(seed))
    assert got.shape == sound.shape and got.dtype == np.float32 and np.all(np.isfinite(got))
    assert not np.array_equal(got, sound)
    assert abs(effects._delay(sound, got)) <= 0.001 * RATE_HZ
    assert np.array_equal(got, effect(sound, RATE_HZ, np.random.default_rng(seed)))


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 12.5, 30.0])
def test_backgrounds_lie_at_the_snr_that_was_drawn(snr_db: float) -> None:
    sound, noise = clicks(), np.asarray(np.random.default_rng(0).standard_normal(3 * RATE_HZ), np.float32)
    added = effects.add_at(sound, noise, snr_db) - sound
    assert 10 * np.log10(np.mean(sound**2) / np.mean(added**2)) == pytest.approx(snr_db, abs=0.01)


def test_silence_is_left_alone() -> None:
    silence = np.zeros(1000, np.float32)
    assert np.array_equal(effects.add_at(clicks()[:1000], silence, 10), clicks()[:1000])
    assert not effects.treat(silence, RATE_HZ, np.random.default_rng(1), dry=1.0).samples.any()


def test_varispeed_moves_pitch_and_time_by_its_ratio() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(2 * RATE_HZ) / RATE_HZ).astype(np.float32)
    fast = effects.varispeed(tone, RATE_HZ, 2 ** (2 / 12))
    assert len(fast) == pytest.approx(len(tone) / 2 ** (2 / 12), abs=2)
    spectrum = np.abs(np.fft.rfft(fast * np.hanning(len(fast))))
    assert np.argmax(spectrum) * RATE_HZ / len(fast) == pytest.approx(440 * 2 ** (2 / 12), rel=0.002)


def test_treated_sound_is_never_clipped_and_says_what_was_done() -> None:
    done = set[str]()
    for seed in range(60):
        got = effects.treat(clicks(1.0), RATE_HZ, np.random.default_rng(seed))
        assert 0.24 < float(np.abs(got.samples).max()) <= 0.9701
        done |= set(got.done)
    assert done >= {"eq", "compression", "room", "codec", "hiss"}
    noise = clicks(1.0)[::-1].copy()
    with_noise = effects.treat(clicks(1.0), RATE_HZ, np.random.default_rng(3), background=noise, snr_db=6.0, dry=1.0)
    assert with_noise.done == ("background",)
