"""Clipping and mixing: the rules of FineLAP's synthesis, on sounds whose truth is known."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solfa.core.errors import InputError
from solfa.datagen.scenes.captions import rule_caption, table
from solfa.datagen.scenes.clipping import ClipRule, background_cuts, event_span, frame_energy_db
from solfa.datagen.scenes.mixing import MixRule, Sound, mix, noise

RATE = 8000


def reference_span(samples: np.ndarray, rule: ClipRule) -> tuple[int, int] | None:
    """The rule in plain loops, as FineLAP states it."""
    energies = []
    for at in range(0, len(samples) - rule.frame + 1, rule.hop):
        frame = samples[at : at + rule.frame].astype(np.float64)
        energies.append(10 * np.log10((frame**2).sum() + 1e-12))
    size = min(rule.window, len(energies))
    windows = [energies[i : i + size] for i in range(len(energies) - size + 1)] if energies else []
    for onset, window in enumerate(windows):
        if any(e > rule.threshold_db for e in window):
            for offset in range(onset + size, len(windows)):
                if all(e <= rule.threshold_db for e in windows[offset]):
                    return onset * rule.hop, offset * rule.hop
            return onset * rule.hop, (len(energies) - 1) * rule.hop
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
    rule = ClipRule(window=window)
    assert event_span(samples.astype(np.float32), rule) == reference_span(samples.astype(np.float32), rule)


def test_a_tight_event_has_no_silence_around_it() -> None:
    samples = np.zeros(60_000, np.float32)
    samples[20_000:31_000] = 0.3
    start, end = event_span(samples, ClipRule(tight=True)) or (0, 0)
    assert 20_000 - 1024 < start < 20_000 + 1024 and 31_000 - 1024 < end < 31_000 + 1024
    loose = event_span(samples, ClipRule()) or (0, 0)
    assert loose[0] < start and abs(loose[1] - end) < 1024


def test_energy_is_of_the_sum_of_squares() -> None:
    assert frame_energy_db(np.full(2048, 0.1, np.float32), ClipRule()) == pytest.approx([10 * np.log10(10.24)] * 3)
    assert len(frame_energy_db(np.ones(1023, np.float32), ClipRule())) == 0


def test_backgrounds_do_not_overlap_and_short_ones_are_repeated_without_a_gap() -> None:
    ramp = np.arange(1, 26, dtype=np.float32)
    assert [c.tolist() for c in background_cuts(ramp, 10, 5)] == [list(range(1, 11)), list(range(11, 21))]
    assert background_cuts(np.ones(4, np.float32), 10, 5) == []
    (looped,) = background_cuts(np.ones(3 * RATE, np.float32), 10 * RATE, RATE)
    assert len(looped) == 10 * RATE and looped[RATE:-RATE].min() > 0.9 and looped.max() < 1.5


def _events(*seconds: float) -> list[Sound]:
    rng = np.random.default_rng(5)
    return [
        Sound(f"label {i}", f"{i}.wav", (rng.standard_normal(round(s * RATE)) * 0.1).astype(np.float32))
        for i, s in enumerate(seconds)
    ]


@settings(max_examples=40)
@given(seconds=st.lists(st.floats(0.05, 7.5), min_size=1, max_size=5), seed=st.integers(0, 2**32))
def test_a_scene_is_what_was_drawn(seconds: list[float], seed: int) -> None:
    rule, behind = MixRule(), noise(10 * RATE, np.random.default_rng(seed))
    scene = mix(_events(*seconds), behind, rule, RATE, np.random.default_rng(seed))
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
    again = mix(_events(*seconds), behind, rule, RATE, np.random.default_rng(seed))
    assert np.array_equal(again.samples, scene.samples)


def test_copies_that_find_no_place_are_left_out() -> None:
    rule = MixRule(num_copies=(3, 3), repeat_below_s=8.0)
    scenes = [
        mix(_events(4.9), noise(10 * RATE, np.random.default_rng(0)), rule, RATE, np.random.default_rng(s))
        for s in range(20)
    ]
    counts = {len(s.events) for s in scenes}
    assert 3 not in counts and 1 in counts


@pytest.mark.parametrize("wrong", ["silent background", "short background", "silent event", "long event"])
def test_what_cannot_be_mixed_is_refused(wrong: str) -> None:
    behind = noise(10 * RATE, np.random.default_rng(0))
    events = _events(1.0)
    if wrong == "silent background":
        behind = np.zeros_like(behind)
    elif wrong == "short background":
        behind = behind[:-1]
    elif wrong == "silent event":
        events = [Sound("a", "a.wav", np.zeros(RATE, np.float32))]
    else:
        events = _events(10.0)
    with pytest.raises(InputError):
        mix(events, behind, MixRule(), RATE, np.random.default_rng(0))


def test_captions_say_ten_seconds_and_background_only_where_there_are() -> None:
    def said(**about: Any) -> set[str]:
        return {rule_caption(["dog"], np.random.default_rng(seed), **about) for seed in range(200)}

    assert said() == {t.format("dog") for t in table()["templates"]} and len(said()) == 10
    assert said() - said(duration_s=4.0, background=False) == {
        "A ten-second mixture of dog.", "Heard over a background: dog."
    }  # fmt: skip
