"""Silent windows are run once, and all others give the same to the last bit."""

import numpy as np
import pytest

from solfa.core.types import Audio
from solfa.tagging import frames
from solfa.tagging.mel import SAMPLE_RATE_HZ
from solfa.testing.synth import song


def test_silence_costs_one_window_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    runs, run = [], frames._run
    monkeypatch.setattr(frames, "_run", lambda *a: runs.append(1) or run(*a))
    sound = np.asarray(song(bars=3, sample_rate_hz=SAMPLE_RATE_HZ).audio.samples[: 3 * SAMPLE_RATE_HZ])
    rest = np.zeros_like(sound)

    def scores(*parts: np.ndarray) -> frames.TagFrames:
        return frames.tag_frames(Audio(np.concatenate(parts), SAMPLE_RATE_HZ))

    alone, silent = scores(sound), scores(rest)
    runs.clear()
    mixed = scores(rest, rest, sound, rest, sound, rest)
    assert len(runs) == 2
    for field in ("mtt_TL", "msd_TD", "yamnet_PL"):
        one, none, got = (getattr(f, field) for f in (alone, silent, mixed))
        np.testing.assert_array_equal(got, np.concatenate([none, none, one, none, one, none]))
