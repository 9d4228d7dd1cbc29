"""Hours of silence cost nothing, and what sounds around them stays where it is."""

from __future__ import annotations

import numpy as np

from fakes.synth import song
from solfa.analysis.analyze import Analyzer
from solfa.analysis.registry import extractors
from solfa.core.types import Audio

RATE, STRETCH_S = 22050, 30.0  # shorter than the stretches of a file, for time


class Counting:
    def __init__(self, inner) -> None:
        self.inner, self.spec, self.calls = inner, inner.spec, 0

    def observe(self, audio):
        self.calls += 1
        return self.inner.observe(audio)

    def conclude(self, observations, duration_s):
        return self.inner.conclude(observations, duration_s)


def test_silence_is_observed_once_and_changes_nothing() -> None:
    music = song(seed=1, chords="A:min F:maj C:maj G:maj", tempo_bpm=120.0, bars=4).audio
    quiet = np.zeros(round(STRETCH_S * RATE), np.float32)
    faint = quiet + np.float32(1e-3)  # not silent: observed each time
    faint[::2] *= -1

    def hear(parts: list[np.ndarray]):
        tools = [Counting(e) for e in extractors() if {"beats_s", "key", "energy"} & {*e.spec.provides}]
        analyzer = Analyzer(tools)
        for k, samples in enumerate(parts):
            analyzer.observe(Audio(samples, RATE, k * STRETCH_S))
        return analyzer.conclude(), [tool.calls for tool in tools]

    sounding = np.zeros_like(quiet)
    part = np.asarray(music.samples[: len(quiet)])
    sounding[: len(part)] = part
    silent, calls = hear([quiet, sounding, quiet, quiet, sounding, quiet])
    assert calls == [3, 3, 3]
    assert silent.energy.values[40] == 0 and max(silent.energy.values[120:140]) > 0
    assert any(4 * STRETCH_S <= beat <= 4 * STRETCH_S + 5 for beat in silent.beats_s)
    assert {(beat + 1) // STRETCH_S for beat in silent.beats_s} == {1, 4}
    assert max((beat + 1) % STRETCH_S for beat in silent.beats_s) < 12
    assert abs(silent.tempo_bpm.value / 120 - 1) < 0.04 and silent.key.value == hear([part])[0].key.value is not None
    assert hear([faint, faint])[1] == [2, 2, 2]
