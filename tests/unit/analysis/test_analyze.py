"""One decode feeds every extractor; the result is plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes.files import write_audio
from solfa.analysis.analyze import DECODER_VERSION, Analyzer, analysis_version, analyze
from solfa.analysis.loudness import LoudnessExtractor
from solfa.analysis.protocol import STRETCH_S, ExtractorSpec, Observation
from solfa.core.errors import DecodeError, InputError
from solfa.core.types import Alternative, Audio, ChordSegment, Estimate, TagTrack


class Counting:
    """Remembers what it heard; answers in numpy numbers with too many digits."""

    def __init__(self, name: str = "counting", provides: tuple[str, ...] = ("tempo_bpm", "beats_s", "chords")) -> None:
        self.detected: list[tuple[float, float]] = []
        self._spec = ExtractorSpec(name=name, version="3", licence="Apache-2.0", commercial_use=True, provides=provides)

    @property
    def spec(self) -> ExtractorSpec:
        return self._spec

    def observe(self, audio: Audio) -> Observation:
        self.detected.append((audio.start_s, audio.duration_s))
        return {"length": np.array([len(audio.samples)])}

    def conclude(self, observations: Sequence[Observation], duration_s: float) -> dict[str, Any]:
        return {
            "tempo_bpm": Estimate(value=np.float32(120.123456), confidence=np.float64(1.00001), unit="BPM"),
            "beats_s": np.array([0.123456, 0.65]),
            "chords": (ChordSegment(start_s=0.0, end_s=duration_s, label="N", confidence=-0.1),),
            "key": Estimate(value="C major", confidence=0.5),  # not among what it provides
        }


def test_every_stretch_is_heard_once_and_in_order(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", np.resize(np.float32([0.1, -0.1]), 8000 * 250), 8000)
    counting = Counting()
    analysis = analyze(path, (counting, LoudnessExtractor()))
    assert counting.detected == [(0.0, STRETCH_S), (STRETCH_S, STRETCH_S), (2 * STRETCH_S, 10.0)]
    assert analysis.duration_s == 250.0
    assert analysis.extractors == ("counting@3", "loudness@1")


class Fixed(Counting):
    """Tempo, metre, key and chords of a given confidence, and how sure it is that there is music."""

    def __init__(self, sure: float, **sounds: float) -> None:
        super().__init__("fixed", ("tempo_bpm", "metre", "beats_s", "key", "chords", "sounds"))
        self._sure, self._sounds = sure, sounds

    def conclude(self, observations: Sequence[Observation], duration_s: float) -> dict[str, Any]:
        other = (Alternative(value=60.0, confidence=0.1),)
        chords = (("A:min", 0.5), ("N", 0.9))
        return {
            "tempo_bpm": Estimate(value=120.0, confidence=self._sure, alternatives=other, unit="BPM"),
            "metre": Estimate(value="4/4", confidence=self._sure),
            "beats_s": (0.5, 1.0),
            "key": Estimate(value="C major", confidence=self._sure),
            "chords": tuple(ChordSegment(start_s=0.0, end_s=1.0, label=c, confidence=p) for c, p in chords),
            "sounds": tuple(TagTrack(concept=k, kind="sound", confidence=p) for k, p in self._sounds.items()),
        }


def test_what_only_music_has_is_less_sure_where_there_may_be_none() -> None:
    found = analyze([Audio(np.ones(8000, np.float32), 8000)], (Fixed(0.9, music=0.25),))
    assert [found.tempo_bpm.confidence, found.metre.confidence, found.key.confidence] == [0.45] * 3
    assert found.tempo_bpm.alternatives[0].confidence == 0.05
    assert [c.confidence for c in found.chords] == [0.25, 0.9]  # that there is no chord is not doubted


@pytest.mark.parametrize("sounds", [{"music": 0.01}, {"silence": 1.0}])
@pytest.mark.parametrize(("sure", "tempo"), [(0.9, 120.0), (0.6, 120.0), (0.5, None)])
def test_what_is_no_music_has_at_most_an_even_pulse(sounds: dict[str, float], sure: float, tempo: float | None) -> None:
    found = analyze([Audio(np.ones(8000, np.float32), 8000)], (Fixed(sure, **sounds),))
    assert found.tempo_bpm.value == tempo and found.tempo_bpm.confidence < 0.5
    assert bool(found.beats_s) == (tempo is not None)
    assert found.metre.value is found.key.value is None and not found.chords


@pytest.mark.parametrize("sounds", [{}, {"music": 0.5}])
def test_music_and_what_no_tool_looked_at_stand(sounds: dict[str, float]) -> None:
    assert analyze([Audio(np.ones(8000, np.float32), 8000)], (Fixed(0.9, **sounds),)).key.confidence == 0.9


def test_results_are_plain_bounded_numbers() -> None:
    analysis = analyze([Audio(np.zeros(8000, np.float32), 8000)], (Counting(),))
    assert analysis.tempo_bpm == Estimate(value=120.12, confidence=1.0, unit="BPM")
    assert type(analysis.tempo_bpm.value) is float
    assert analysis.beats_s == (0.123, 0.65) and type(analysis.beats_s[0]) is float
    assert analysis.chords[0].confidence == 0.0
    assert analysis.key.value is None  # only what a tool declares is taken from it


def test_what_nobody_measures_is_empty_with_confidence_zero() -> None:
    analysis = analyze([Audio(np.zeros(8000, np.float32), 8000)], ())
    for estimate in (analysis.tempo_bpm, analysis.key, analysis.metre, analysis.loudness_lufs):
        assert (estimate.value, estimate.confidence) == (None, 0.0)
    assert (analysis.voice.concept, analysis.voice.confidence) == ("voice", 0.0)
    assert analysis.chords == analysis.instruments == ()


def test_two_tools_for_one_field_are_a_mistake() -> None:
    with pytest.raises(InputError, match="'counting' and 'other' both provide 'tempo_bpm'"):
        Analyzer((Counting(), Counting("other")))


def test_the_version_names_the_tools_whatever_their_order() -> None:
    a, b = Counting("a"), Counting("b")
    assert analysis_version((a, b)) == analysis_version((b, a)) == f"decode@{DECODER_VERSION}+a@3+b@3"
    assert analysis_version((a,)) != analysis_version((a, b))


def test_a_bad_file_is_a_decode_error(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(DecodeError, match=r"a\.wav"):
        analyze(tmp_path / "a.wav", (LoudnessExtractor(),))
