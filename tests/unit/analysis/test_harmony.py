"""Key and chords of songs whose truth is known."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import soxr

from fakes import synth
from solfa.analysis.harmony import HarmonyExtractor
from solfa.core.theory import Chord, Key
from solfa.core.types import Audio, ChordSegment, Estimate

song = cache(synth.song)  # several tests ask about one song


@cache
def detected(*stretches: Audio) -> tuple[Estimate[str], tuple[ChordSegment, ...]]:
    extractor = HarmonyExtractor()
    duration_s = sum(s.duration_s for s in stretches)
    found = extractor.conclude([extractor.observe(s) for s in stretches], duration_s)
    assert set(found) == set(extractor.spec.provides)
    return found["key"], found["chords"]


def agreement(truth: tuple[ChordSegment, ...], found: tuple[ChordSegment, ...], *, triads: bool = False) -> float:
    """Share of the time at which root and quality (or triad) are the same."""

    def at(chords: tuple[ChordSegment, ...], time_s: float) -> object:
        label = next((c.label for c in chords if c.start_s <= time_s < c.end_s), "N")
        chord = Chord.parse(label)
        return None if chord is None else (chord.root, chord.triad if triads else chord.quality)

    times = np.arange(0.05, truth[-1].end_s, 0.1)
    return float(np.mean([at(truth, t) == at(found, t) for t in times]))


def transposed(labels: str, shift: int) -> str:
    chords = [Chord.parse(c) for c in labels.split()]
    return " ".join(str(Chord((c.root + shift) % 12, c.quality)) for c in chords if c)


@pytest.mark.parametrize(
    ("chords", "key"),
    [
        ("C:maj A:min F:maj G:maj", "C major"),
        ("A:min D:min E:7 A:min", "A minor"),
        ("D:min7 G:7 C:maj7 C:maj7", "C major"),
        ("Bb:maj Eb:maj F:maj Bb:maj", "Bb major"),
        ("E:min A:min B:7 E:min", "E minor"),
        ("G:7 C:7 G:7 D:7", "G major"),  # blues: only D:7 is in the scale of the key
    ],
)
def test_key_and_chords_of_plain_songs(chords: str, key: str) -> None:
    truth = song(chords, drums=False)
    found_key, found = detected(truth.audio)
    assert agreement(truth.chords, found, triads=True) > 0.9
    assert found_key.value == key
    assert found_key.confidence > found_key.alternatives[0].confidence


def test_sevenths_are_told_from_triads() -> None:
    chords = (
        "D:min7 G:7 C:maj7 A:min7",
        "F:maj7 D:min7 G:min7 C:7",
        "E:min7 A:7 D:maj7 B:min7",
        "Bb:maj7 G:min7 C:min7 F:7",
    )
    truths = [song(labels, drums=False) for labels in chords]
    right = [agreement(truth.chords, detected(truth.audio)[1]) for truth in truths]
    assert np.mean(right) > 0.75 and min(right) > 0.5  # 0 if every chord were taken for a triad


def test_detuned_sound_is_heard_in_the_same_key() -> None:
    truth = song("C:maj A:min F:maj G:maj")
    rate = truth.audio.sample_rate_hz
    sharp = soxr.resample(truth.audio.samples, rate * 2 ** (30 / 1200), rate)
    key, chords = detected(Audio(np.asarray(sharp, np.float32), rate))
    assert key.value == "C major"
    assert agreement(truth.chords, chords, triads=True) > 0.85


@pytest.mark.parametrize("shift", [3, 6, 11])
def test_transposed_song_has_the_transposed_key_and_chords(shift: int) -> None:
    labels = "F:maj D:min Bb:maj C:maj"
    here, there = song(labels, drums=False), song(transposed(labels, shift), drums=False)
    key, _ = detected(here.audio)
    moved, chords = detected(there.audio)
    assert key.value and moved.value
    assert Key.parse(moved.value) == Key((Key.parse(key.value).tonic + shift) % 12, Key.parse(key.value).mode)
    assert agreement(there.chords, chords, triads=True) > 0.9


def test_hearing_in_stretches_changes_little() -> None:
    audio = song("C:maj A:min F:maj G:maj", bars=24).audio
    whole_key, whole = detected(audio)
    cut = 20 * audio.sample_rate_hz
    parts = [
        Audio(audio.samples[i : i + cut], audio.sample_rate_hz, i / audio.sample_rate_hz)
        for i in range(0, len(audio.samples), cut)
    ]
    key, chords = detected(*parts)
    assert key.value == whole_key.value
    assert agreement(whole, chords) > 0.95


def test_segments_follow_one_another_and_fill_the_track() -> None:
    audio = song("C:maj7 A:min7 F:maj G:sus4").audio
    _, chords = detected(audio)
    assert chords[0].start_s == 0.0
    assert chords[-1].end_s == pytest.approx(audio.duration_s)
    assert all(a.end_s == b.start_s and a.label != b.label for a, b in pairwise(chords))
    assert all(0.0 <= c.confidence <= 1.0 and c.end_s > c.start_s for c in chords)
    for c in chords:
        Chord.parse(c.label)


def test_key_confidences_are_a_distribution() -> None:
    key, _ = detected(song("C:maj G:maj A:min F:maj").audio)
    parts = [key.confidence, *(a.confidence for a in key.alternatives)]
    assert parts == sorted(parts, reverse=True)
    assert 0.0 < sum(parts) <= 1.0 + 1e-9
    assert key.value not in [a.value for a in key.alternatives]


@pytest.mark.parametrize("seconds", [0.0, 0.0001, 0.1, 0.5, 30.0])
def test_silence_has_no_key(seconds: float) -> None:
    audio = Audio(np.zeros(int(seconds * 44100), np.float32), 44100)
    key, chords = detected(audio)
    assert key == Estimate(value=None, confidence=0.0)
    assert {c.label for c in chords} <= {"N"}


@pytest.mark.parametrize("seconds", [0.01, 0.1, 0.3])
def test_a_moment_of_music_has_no_key(seconds: float) -> None:
    audio = song().audio
    key, _ = detected(Audio(audio.samples[: int(seconds * audio.sample_rate_hz)], audio.sample_rate_hz))
    assert key.value is None


def test_nothing_observed_is_nothing_concluded() -> None:
    assert HarmonyExtractor().conclude([], 0.0) == {"key": Estimate(value=None, confidence=0.0), "chords": ()}


def test_noise_is_less_sure_than_music() -> None:
    noise = np.random.default_rng(0).standard_normal(20 * 22050).astype(np.float32) * 0.2
    noise_key, noise_chords = detected(Audio(noise, 22050))
    music_key, music_chords = detected(song("C:maj A:min F:maj G:maj").audio)
    assert noise_key.confidence < music_key.confidence

    def mean(chords: tuple[ChordSegment, ...]) -> float:
        lengths = np.array([c.end_s - c.start_s for c in chords if c.label != "N"])
        sure = np.array([c.confidence for c in chords if c.label != "N"])
        return float((lengths * sure).sum() / lengths.sum()) if len(sure) else 0.0

    assert mean(noise_chords) < mean(music_chords)


def test_observations_are_small_and_finite() -> None:
    audio = song(bars=16).audio
    seen = HarmonyExtractor().observe(audio)
    assert sum(a.nbytes for a in seen.values()) < 6000 * audio.duration_s
    assert all(np.isfinite(a.astype(np.float64)).all() for a in seen.values())


def test_loudness_hardly_matters() -> None:
    truth = song("C:maj A:min F:maj G:maj")
    quiet = Audio(truth.audio.samples * np.float32(0.02), truth.audio.sample_rate_hz)
    assert detected(quiet)[0].value == detected(truth.audio)[0].value
    assert agreement(detected(truth.audio)[1], detected(quiet)[1]) > 0.9
