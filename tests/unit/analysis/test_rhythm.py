"""The rhythm extractor on songs whose truth is exact."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from fakes.synth import Song, song
from solfa.analysis.rhythm import RhythmExtractor
from solfa.analysis.rhythm_features import Onsets
from solfa.analysis.rhythm_tracking import strength, unevenness
from solfa.core.types import Audio, FloatArray

TOOL = RhythmExtractor()


def hear(samples: FloatArray, sample_rate_hz: int = 22050, stretch_s: float = 120.0) -> dict[str, Any]:
    size = round(stretch_s * sample_rate_hz)
    parts = [
        TOOL.observe(Audio(samples[i : i + size], sample_rate_hz, i / sample_rate_hz))
        for i in range(0, max(len(samples), 1), size)
    ]
    return TOOL.conclude(parts, len(samples) / sample_rate_hz)


def found_share(truth_s: tuple[float, ...], heard_s: tuple[float, ...], within_s: float = 0.07) -> float:
    """F-measure of two lists of times."""
    truth, detected = np.asarray(truth_s), np.asarray(heard_s)
    if len(detected) == 0:
        return 0.0
    close = np.abs(truth[:, None] - detected[None, :]) < within_s
    recall, precision = close.any(axis=1).mean(), close.any(axis=0).mean()
    return float(2 * recall * precision / max(recall + precision, 1e-9))


@cache
def long_song(tempo_bpm: float, beats_per_bar: int = 4) -> Song:
    return song(tempo_bpm=tempo_bpm, beats_per_bar=beats_per_bar, bars=round(24 * tempo_bpm / 60 / beats_per_bar))


@cache
def hear_song(tempo_bpm: float, beats_per_bar: int = 4) -> dict[str, Any]:
    """What is found in ``long_song``; several tests ask about one."""
    return hear(long_song(tempo_bpm, beats_per_bar).audio.samples)


def test_strength_is_finite_where_a_burst_is_long_over() -> None:
    flux = np.zeros((2000, 1), np.float16)
    # Numbers whose running sum of squares ends below zero in float32.
    flux[:98, 0] = np.exp(np.random.default_rng(194).normal(0, 2, 98))
    found = strength(Onsets(flux, np.zeros((1, 1), np.float32), np.zeros((1, 12), np.float32)))
    assert np.isfinite(found).all() and not found[300:].any()


@pytest.mark.parametrize("tempo_bpm", [84.0, 96.0, 110.0, 123.4, 140.0])
def test_names_the_tempo_and_marks_the_beats(tempo_bpm: float) -> None:
    made, detected = long_song(tempo_bpm), hear_song(tempo_bpm)
    assert detected["tempo_bpm"].value == pytest.approx(tempo_bpm, rel=0.01)
    assert detected["tempo_bpm"].unit == "BPM"
    assert detected["metre"].value == "4/4"
    assert found_share(made.beats_s, detected["beats_s"]) > 0.95
    assert found_share(made.downbeats_s, detected["downbeats_s"]) > 0.9


@pytest.mark.parametrize("tempo_bpm", [60.0, 175.0])
def test_a_tempo_at_the_edge_is_heard_or_offered(tempo_bpm: float) -> None:
    estimate = hear_song(tempo_bpm)["tempo_bpm"]
    offered = [estimate.value, *(a.value for a in estimate.alternatives)]
    assert any(bpm == pytest.approx(tempo_bpm, rel=0.02) for bpm in offered)


@pytest.mark.parametrize("ratio", [0.5, 2.0, 2 / 3, 1.5])
def test_half_double_and_three_to_two_are_alternatives(ratio: float) -> None:
    estimate = hear_song(110.0)["tempo_bpm"]
    assert any(a.value == pytest.approx(estimate.value * ratio, rel=0.03) for a in estimate.alternatives)
    total = estimate.confidence + sum(a.confidence for a in estimate.alternatives)
    assert estimate.confidence <= total <= 1.001
    assert [a.confidence for a in estimate.alternatives] == sorted(a.confidence for a in estimate.alternatives)[::-1]


def test_a_waltz_is_in_three() -> None:
    made, detected = long_song(120.0, 3), hear_song(120.0, 3)
    assert detected["metre"].value == "3/4"
    assert found_share(made.downbeats_s, detected["downbeats_s"]) > 0.9


def test_downbeats_are_beats_in_common_time() -> None:
    detected = hear_song(110.0)
    assert set(detected["downbeats_s"]) <= set(detected["beats_s"])
    assert list(detected["beats_s"]) == sorted(detected["beats_s"])


@pytest.mark.parametrize("gain", [0.003, 0.2])
def test_gain_changes_nothing(gain: float) -> None:
    samples = long_song(104.0).audio.samples
    loud, quiet = hear_song(104.0), hear((samples * gain).astype(np.float32))
    assert quiet["tempo_bpm"].value == pytest.approx(loud["tempo_bpm"].value, rel=0.002)
    assert quiet["metre"].value == loud["metre"].value
    assert found_share(loud["beats_s"], quiet["beats_s"], within_s=0.02) > 0.98


@pytest.mark.parametrize("stretch_s", [10.0, 7.5])
def test_cutting_into_stretches_changes_nothing(stretch_s: float) -> None:
    whole, cut = hear_song(116.0), hear(long_song(116.0).audio.samples, stretch_s=stretch_s)
    assert cut["tempo_bpm"].value == pytest.approx(whole["tempo_bpm"].value, rel=0.003)
    assert found_share(whole["beats_s"], cut["beats_s"], within_s=0.03) > 0.97


@pytest.mark.parametrize("sample_rate_hz", [16000, 44100])
def test_any_sample_rate_will_do(sample_rate_hz: int) -> None:
    made = song(tempo_bpm=110.0, bars=10, sample_rate_hz=sample_rate_hz)
    detected = hear(made.audio.samples, sample_rate_hz)
    assert detected["tempo_bpm"].value == pytest.approx(110.0, rel=0.01)


def test_beats_follow_a_tempo_that_drifts() -> None:
    """Clicks whose tempo rises from 100 to 116 in 40 s."""
    beats, at = [], 0.0
    while at < 40.0:
        beats.append(at)
        at += 60.0 / (100 + 16 * at / 40)
    samples = np.zeros(22050 * 41, np.float32)
    rng = np.random.default_rng(0)
    burst = (rng.standard_normal(1500) * np.exp(-np.arange(1500) / 300)).astype(np.float32) * 0.3
    for beat in beats:
        samples[round(beat * 22050) :][: len(burst)] += burst
    detected = hear(samples)
    assert 100 <= detected["tempo_bpm"].value <= 116
    assert found_share(tuple(beats), detected["beats_s"]) > 0.95


@pytest.mark.parametrize(
    ("spread", "low", "high"), [(0.0, 0.0, 0.0), (0.008, 0.0, 0.4), (0.05, 0.8, 1.4), (0.5, 1.5, 1.5)]
)
def test_unevenness_grows_with_the_spread_of_the_steps(spread: float, low: float, high: float) -> None:
    steps = 0.5 * np.exp(np.random.default_rng(0).normal(0, spread, 400))
    assert low <= unevenness(np.cumsum(steps)) <= high


def test_rests_do_not_make_even_beats_uneven() -> None:
    beats = np.arange(64) * 0.5
    assert unevenness(np.concatenate([beats, 70 + beats, 300 + beats])) == 0


def test_a_metre_is_less_sure_where_the_tempo_wanders() -> None:
    """The same song, played with rubato: up to a sixth faster and slower in turns of five seconds."""
    samples = long_song(110.0).audio.samples
    rate = np.exp(0.16 * np.sin(2 * np.pi * np.arange(len(samples)) / (5 * 22050)))
    at = np.cumsum(rate)
    wandering = hear(np.interp(at[at < len(samples)], np.arange(len(samples)), samples).astype(np.float32))
    assert unevenness(np.asarray(wandering["beats_s"])) > 0.3
    assert wandering["metre"].confidence < hear_song(110.0)["metre"].confidence - 0.1


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.5, 2.0, 30.0])
def test_silence_has_no_tempo(seconds: float) -> None:
    detected = hear(np.zeros(round(seconds * 22050), np.float32))
    assert detected["tempo_bpm"].value is None and detected["tempo_bpm"].confidence == 0.0
    assert detected["metre"].value is None
    assert detected["beats_s"] == () and detected["downbeats_s"] == ()


def test_no_observation_has_no_tempo() -> None:
    assert TOOL.conclude([], 0.0)["tempo_bpm"].value is None


@pytest.mark.parametrize("seconds", [0.001, 0.3, 1.0, 3.1, 5.0])
def test_a_fraction_of_music_raises_nothing(seconds: float) -> None:
    samples = long_song(120.0).audio.samples[: round(seconds * 22050)]
    detected = hear(samples)
    assert all(0 <= beat <= seconds + 0.05 for beat in detected["beats_s"])


def drone() -> FloatArray:
    t = np.arange(20 * 22050) / 22050
    swell = 1 + 0.5 * np.sin(2 * np.pi * 0.07 * t)
    return (0.2 * swell * (np.sin(2 * np.pi * 220 * t) + np.sin(2 * np.pi * 277.2 * t))).astype(np.float32)


def noise() -> FloatArray:
    return np.random.default_rng(1).standard_normal(20 * 22050).astype(np.float32) * 0.1


@pytest.mark.parametrize("samples", [drone(), noise()], ids=["drone", "noise"])
def test_music_without_beat_is_not_sure(samples: FloatArray) -> None:
    beatless = hear(samples)["tempo_bpm"].confidence
    assert beatless < 0.4
    assert beatless < hear_song(110.0)["tempo_bpm"].confidence - 0.2


def test_a_stretch_costs_little_memory() -> None:
    part = TOOL.observe(song(bars=15).audio)
    size = sum(array.nbytes for array in part.values())
    assert size < 5_000 * song(bars=15).audio.duration_s


def test_one_answer_for_one_input() -> None:
    assert hear(long_song(110.0).audio.samples) == hear_song(110.0)
