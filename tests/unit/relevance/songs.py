"""A collection of short tones by artists, and what it is searched with; module-level, so that workers can import it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mutagen
import numpy as np

from fakes.files import write_audio
from fakes.tiny import tiny_model
from solfa.analysis.protocol import ExtractorSpec, Observation
from solfa.collection import Collection
from solfa.core.types import Audio, Curve, Estimate

RATE = 16_000
KEYS = ("C major", "G major", "D major", "A minor")


class Numbers:
    """Concludes tempo, key, loudness and energy from the length of a track."""

    spec = ExtractorSpec(name="numbers", version="1", licence="Apache-2.0", commercial_use=True,
                         provides=("tempo_bpm", "key", "loudness_lufs", "energy"))  # fmt: skip

    def observe(self, audio: Audio) -> Observation:
        return {}

    def conclude(self, observations: Sequence[Observation], duration_s: float) -> dict[str, Any]:
        number = round((duration_s - 2.0) * 100)
        return {
            "tempo_bpm": Estimate(value=80.0 + 5 * number, confidence=0.9, unit="BPM"),
            "key": Estimate(value=KEYS[number % len(KEYS)], confidence=0.9),
            "loudness_lufs": Estimate(value=-30.0 + number, confidence=1.0),
            "energy": Curve(hop_s=1.0, values=(number / 50,) * 2),
        }


def extractors() -> tuple[Numbers, ...]:
    return (Numbers(),)


def record(folder: Path, artists: Sequence[str], seed: int = 0) -> list[Path]:
    """A tone for each artist; track i is 2 + i / 100 s long, so that ``Numbers`` knows it."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, paths = np.random.default_rng(seed), []
    for i, artist in enumerate(artists):
        t = np.arange(round((2 + i / 100) * RATE)) / RATE
        tone = sum(rng.uniform(0.05, 0.3) * np.sin(2 * np.pi * rng.uniform(60, 7000) * t) for _ in range(3))
        path = write_audio(folder / f"{i:02d}.flac", np.asarray(tone, np.float32), RATE)
        tagged = mutagen.File(path)
        tagged["artist"], tagged["title"] = artist, f"song {i}"
        tagged.save()
        paths.append(path)
    return paths


def shelve(directory: Path, *music: Path) -> Collection:
    """The collection of these folders."""
    shelf = Collection.open(directory, create=True)
    shelf.add(music, model=tiny_model, model_name="tiny", extractors=extractors)
    return shelf
