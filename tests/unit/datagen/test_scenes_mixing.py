"""Clipping and mixing: the rules of FineLAP's synthesis, on sounds whose truth is known."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solfa.core.types import FloatArray
from solfa.datagen.scenes import mixing
from solfa.datagen.scenes.clipping import FRAME, HOP, THRESHOLD_DB, background_cuts, event_span, frame_energy_db
from solfa.datagen.scenes.mixing import mix, noise
from solfa.datagen.scenes.pipeline import rule_caption, table

RATE = 8000


def reference_span(samples: np.ndarray, width: int) -> tuple[int, int] | None:
    """The rule in plain loops, as FineLAP states it."""
    energies = []
    for at in range(0, len(samples) - FRAME + 1, HOP):
        frame = samples[at : at + FRAME].astype(np.float64)
        energies.append(10 * np.log10((frame**2).sum() + 1e-12))
    size = min(width, len(energies))
    windows = [energies[i : i + size] for i in range(len(energies) - size + 1)] if energies else []
    for onset, window in enumerate(windows):
        if any(e > THRESHOLD_DB for e in window):
            for offset in range(onset + size, len(windows)):
                if all(e <= THRESHOLD_DB for e in windows[offset]):
                    return onset * HOP, offset * HOP
            return onset * HOP, (len(energies) - 1) * HOP
    return None


@settings(max_examples=60)
@given(
    levels=st.lists(st.sampled_from([0.0, 0.001, 0.02, 0.5]), min_size=0, max_size=40),
    window=st.integers(1, 12),
    tail=st.integers(0, 700),
)
def test_events_are_cut_as_the_rule_says(levels: list[float], window: int, tail: int) -> None:
    rng = np.random.default_rng(0)
    samples = np.concatenate([np.repeat(np.array(levels), 700), np.zeros(tail)]) * rng.standard_normal(
        700 * len(levels) + tail
    )
    sound = samples.astype(np.float32)
    assert event_span(sound, window=window) == reference_span(sound, window)


def test_a_tight_event_has_no_silence_around_it() -> None:
    samples = np.zeros(60_000, np.float32)
    samples[20_000:31_000] = 0.3
    start, end = event_span(samples, tight=True) or (0, 0)
    assert 20_000 - 1024 < start < 20_000 + 1024 and 31_000 - 1024 < end < 31_000 + 1024
    loose = event_span(samples) or (0, 0)
    assert loose[0] < start and abs(loose[1] - end) < 1024


def test_energy_is_of_the_sum_of_squares() -> None:
    assert frame_energy_db(np.full(2048, 0.1, np.float32)) == pytest.approx([10 * np.log10(10.24)] * 3)
    assert len(frame_energy_db(np.ones(1023, np.float32))) == 0


def test_backgrounds_do_not_overlap_and_short_ones_are_repeated_without_a_gap() -> None:
    ramp = np.arange(1, 26, dtype=np.float32)
    assert [c.tolist() for c in background_cuts(ramp, 10, 5)] == [list(range(1, 11)), list(range(11, 21))]
    assert background_cuts(np.ones(4, np.float32), 10, 5) == []
    (looped,) = background_cuts(np.ones(3 * RATE, np.float32), 10 * RATE, RATE)
    assert len(looped) == 10 * RATE and looped[RATE:-RATE].min() > 0.9 and looped.max() < 1.5


def _events(*seconds: float) -> list[tuple[str, str, FloatArray]]:
    rng = np.random.default_rng(5)
    return [
        (f"label {i}", f"{i}.wav", (rng.standard_normal(round(s * RATE)) * 0.1).astype(np.float32))
        for i, s in enumerate(seconds)
    ]


@settings(max_examples=40)
@given(seconds=st.lists(st.floats(0.05, 7.5), min_size=1, max_size=5), seed=st.integers(0, 2**32))
def test_a_scene_is_what_was_drawn(seconds: list[float], seed: int) -> None:
    behind = noise(10 * RATE, np.random.default_rng(seed))
    scene = mix(_events(*seconds), behind, RATE, np.random.default_rng(seed))
    assert np.abs(scene.samples).max() == pytest.approx(0.95, rel=1e-5)
    total = scene.background.astype(np.float64)
    floor = np.sqrt(np.mean(np.square(total)))
    for event in scene.events:
        total[event.start : event.end] += event.stem
        measured = 20 * np.log10(np.sqrt(np.mean(np.square(event.stem, dtype=np.float64))) / floor)
        assert 12 <= event.snr_db <= 20 and measured == pytest.approx(event.snr_db, abs=0.1)
        assert 0 <= event.start < event.end <= 10 * RATE
    assert np.abs(total - scene.samples).max() < 1e-5
    for i, length in enumerate(seconds):
        copies = sorted((e.start, e.end) for e in scene.events if e.source == f"{i}.wav")
        assert 1 <= len(copies) <= (3 if length < 3 else 1)
        assert all(end <= start for (_, end), (start, _) in pairwise(copies))
    for spans in (p.spans_s for p in scene.phrases()):
        assert all(a < b for a, b in spans) and all(x[1] < y[0] for x, y in pairwise(spans))
    again = mix(_events(*seconds), behind, RATE, np.random.default_rng(seed))
    assert np.array_equal(again.samples, scene.samples)


def test_copies_that_find_no_place_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixing, "NUM_COPIES", (3, 3))
    monkeypatch.setattr(mixing, "REPEAT_BELOW_S", 8.0)
    behind = noise(10 * RATE, np.random.default_rng(0))
    counts = {len(mix(_events(4.9), behind, RATE, np.random.default_rng(s)).events) for s in range(20)}
    assert 3 not in counts and 1 in counts


def test_every_template_is_used() -> None:
    said = {rule_caption(["dog"], np.random.default_rng(seed)) for seed in range(200)}
    assert said == {t.format("dog") for t in table()["templates"]} and len(said) == 10
