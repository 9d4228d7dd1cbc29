"""Sound that nobody would call a recording of music gets plain, finite answers, unsure of what is not there."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from fakes.files import write_audio
from fakes.synth import song
from solfa.analysis.analyze import analyze
from solfa.core.types import Analysis, FloatArray

RATE = 22050
SONG = song("C:maj A:min F:maj G:maj", tempo_bpm=120, bars=4, seed=1, sample_rate_hz=RATE).audio.samples
TIME = np.arange(6 * RATE) / RATE
RNG = np.random.default_rng(0)


def ticks(bpm: float, accent: int = 1) -> FloatArray:
    """A metronome of 12 s; every beat that does not begin a bar is softer."""
    out = np.zeros(12 * RATE, np.float32)
    beats = np.round(np.arange(0, 11.9, 60 / bpm) * RATE).astype(int)
    out[beats] = np.where(np.arange(len(beats)) % accent, 0.4, 0.8)
    ring = np.exp(-np.arange(600) / 100) * np.sin(2 * np.pi * 1500 * np.arange(600) / RATE)
    return np.convolve(out, ring)[: len(out)].astype(np.float32)


def chirps(each_s: float) -> FloatArray:
    return np.sin(2 * np.pi * 2000 * (TIME % each_s) ** 2)


NO_MUSIC = {
    "white noise": 0.2 * RNG.standard_normal(len(TIME)),
    "sine": 0.3 * np.sin(2 * np.pi * 440 * TIME),
    "hum": sum(0.1 / h * np.sin(2 * np.pi * 50 * h * TIME) for h in range(1, 12)),
    "constant": np.full(len(TIME), 0.5),
    "every other sample": np.resize([1.0, -1.0], len(TIME)),
    "chirps": 0.4 * chirps(0.7),
    "one sample": np.array([0.5]),
    "10 ms": 0.2 * RNG.standard_normal(RATE // 100),
    "a click in silence": np.eye(1, len(TIME), len(TIME) // 2)[0] * 0.9,
}
MUSIC = {
    "0.2 s": (SONG[: RATE // 5], RATE),
    "one bar": (SONG[: 2 * RATE], RATE),
    "reversed": (SONG[::-1], RATE),
    "clipped": (np.clip(50 * SONG, -1, 1), RATE),
    "out of phase": (np.c_[SONG, -SONG], RATE),
    "30 dB over full scale": (SONG * 30, RATE),
    "40 dB quieter": (SONG * 0.01, RATE),
    "with a constant": (0.3 * SONG + 0.6, RATE),
    "telephone": (SONG[::3], RATE // 3),
    "4 kHz": (SONG[::5], RATE // 5),
    "192 kHz": (np.repeat(SONG[: 3 * RATE], 9), 9 * RATE),
}


def measured(folder: Path, samples: FloatArray, rate: int = RATE) -> Analysis:
    found = analyze(write_audio(folder / "odd.wav", np.asarray(samples, np.float32), rate, "FLOAT"))
    json.dumps(asdict(found), allow_nan=False)
    sure = [found.tempo_bpm, found.metre, found.key, found.loudness_lufs, found.voice, *found.chords]
    sure += [*found.instruments, *found.genres, *found.moods, *found.sounds]
    assert all(0 <= s.confidence <= 1 for s in sure)
    return found


@pytest.mark.parametrize("name", NO_MUSIC)
def test_what_is_no_music_has_no_sure_attributes(tmp_path: Path, name: str) -> None:
    found = measured(tmp_path, NO_MUSIC[name])
    assert max(found.tempo_bpm.confidence, found.metre.confidence, found.key.confidence) < 0.5
    assert {c.label for c in found.chords} <= {"N"}
    named = (found.voice, *found.genres, *found.moods, *found.instruments)
    assert [t.concept for t in named if t.confidence >= 0.5 and t.concept != "sound_effects"] == []


@pytest.mark.parametrize("name", MUSIC)
def test_oddly_recorded_music_is_measured(tmp_path: Path, name: str) -> None:
    found = measured(tmp_path, *MUSIC[name])
    assert found.duration_s > 0
    if found.duration_s > 5:
        assert found.key.value == "C major" and round(np.log2(found.tempo_bpm.value / 120), 1) in (-1, 0, 1)


@pytest.mark.parametrize(("bpm", "accent"), [(50, 1), (60, 1), (97, 1), (120, 4), (140, 5), (100, 3)])
def test_a_metronome_has_a_tempo_but_no_key_and_is_not_sure(tmp_path: Path, bpm: float, accent: int) -> None:
    found = measured(tmp_path, ticks(bpm, accent))
    assert found.tempo_bpm.value == pytest.approx(bpm, rel=0.01) and 0.1 < found.tempo_bpm.confidence < 0.5
    assert found.key.value is found.metre.value is None
