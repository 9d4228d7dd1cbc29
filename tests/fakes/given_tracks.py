"""A small collection whose measurements are given, so that every ranking can be predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from fakes.tiny import tiny_model
from solfa.analysis.protocol import ExtractorSpec, Observation
from solfa.collection import Collection
from solfa.core.types import Alternative, Audio, ChordSegment, Curve, Estimate, Span, TagTrack

RATE = 16000
LOOP = ("A:min", "F:maj", "C:maj", "G:maj")


@dataclass(frozen=True)
class Given:
    """What is true of a track: its length in seconds tells the tracks apart."""

    name: str
    seconds: int
    tempo_bpm: float | None = 120.0
    key: str | None = "C major"
    metre: str | None = "4/4"
    chords: tuple[str, ...] = ()
    sound: str = "middle"
    tags: tuple[tuple[str, str, float], ...] = ()
    rises: bool = False
    sure: float = 0.9


TRACKS = (
    Given("right", 20, 110.0, "F major", chords=LOOP, sound="low", tags=(("rhodes", "instrument", 0.9),)),
    Given("wrong-tempo", 21, 150.0, "F major", chords=LOOP, sound="low", tags=(("rhodes", "instrument", 0.9),)),
    Given("wrong-key", 22, 110.0, "B minor", chords=LOOP, sound="low", tags=(("rhodes", "instrument", 0.9),)),
    Given("unmeasured", 23, None, None, None, sound="low"),
    Given("singing", 24, 110.0, "F major", chords=LOOP, sound="low", tags=(("voice", "voice", 0.95),)),
    Given("bright-waltz", 25, 180.0, "D minor", "3/4", sound="bright", tags=(("drums", "instrument", 0.9),)),
    Given("moved-chords", 26, 75.0, "G major", chords=("B:min", "G:maj", "D:maj", "A:maj"), sound="noisy"),
    Given("grows", 27, 95.0, "E minor", sound="high", rises=True, tags=(("drums", "instrument", 0.8),)),
)


class GivenExtractor:
    """Concludes what ``TRACKS`` says about a track of that length."""

    spec = ExtractorSpec(
        name="given", version="1", licence="Apache-2.0", commercial_use=True,
        provides=("tempo_bpm", "metre", "key", "chords", "voice", "instruments", "energy"),
    )  # fmt: skip

    def observe(self, audio: Audio) -> Observation:
        return {}

    def conclude(self, observations: Sequence[Observation], duration_s: float) -> dict[str, Any]:
        given = next((t for t in TRACKS if abs(t.seconds - duration_s) < 0.01), Given("other", 0, None, None, None))

        def estimate(value: Any) -> Estimate[Any]:
            return Estimate(value=value, confidence=0.0 if value is None else given.sure)

        tempo = estimate(given.tempo_bpm)
        if given.tempo_bpm:
            tempo = replace(tempo, alternatives=(Alternative(value=given.tempo_bpm / 2, confidence=0.05),))
        chords = tuple(
            ChordSegment(start_s=2.0 * i, end_s=2.0 * i + 2, label=label, confidence=given.sure)
            for i, label in enumerate(given.chords * 2)
        )
        known = {"voice": 0.05, "rhodes": 0.05, "drums": 0.05} | {name: c for name, _, c in given.tags}
        start = duration_s * 0.6 if given.rises else 0.0
        tags = {
            name: TagTrack(concept=name, kind="voice" if name == "voice" else "instrument", confidence=c, share=0.5,
                           spans=(Span(start_s=start, end_s=duration_s, confidence=c),) if c > 0.5 else ())
            for name, c in known.items()
        }  # fmt: skip
        energy = np.linspace(0.1, 0.9, given.seconds) if given.rises else np.full(given.seconds, 0.5)
        return {
            "tempo_bpm": tempo, "metre": estimate(given.metre), "key": estimate(given.key), "chords": chords,
            "voice": tags.pop("voice"), "instruments": tuple(tags.values()) if given.tempo_bpm else (),
            "energy": Curve(hop_s=1.0, values=tuple(energy)),
        }  # fmt: skip


def extractors() -> tuple[GivenExtractor, ...]:
    return (GivenExtractor(),)


def sound(kind: str, seconds: int) -> np.ndarray:
    t = np.arange(seconds * RATE) / RATE
    if kind == "noisy":
        return np.random.default_rng(seconds).standard_normal(len(t)) * 0.1
    hz = {"low": 80.0, "middle": 400.0, "high": 1500.0, "bright": 5000.0}[kind]
    return 0.3 * np.sin(2 * np.pi * (hz + 0.3 * seconds) * t)


def write_tracks(folder: Path) -> Path:
    """The folder, with a WAV file of every track in it."""
    for track in TRACKS:
        soundfile.write(folder / f"{track.name}.wav", sound(track.sound, track.seconds), RATE)
    return folder


def write_collection(music: Path, directory: Path) -> Path:
    """The directory, with a collection of what ``write_tracks`` wrote in it, by the tiny model."""
    with Collection.open(directory, create=True) as collection:
        report = collection.add([music], model=tiny_model, extractors=extractors)
    assert report.added == len(TRACKS) and not report.failed
    return directory
