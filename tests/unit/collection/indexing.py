"""What the tests of this room index with: module-level functions, so that worker processes can import them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fakes.files import write_audio
from fakes.tiny import tiny_model
from solfa.analysis.loudness import LoudnessExtractor
from solfa.analysis.protocol import Extractor, ExtractorSpec, Observation
from solfa.collection import AddReport, Collection
from solfa.core.types import Audio, Estimate, Features, FloatArray, JointModel, Span, TagTrack

SPACE = "tiny/1/32"
RATE = 16_000
detected: list[str] = []  # one entry for each stretch that an extractor of this process heard


class Fake:
    """Says how loud the first sample is, as a tempo, a key and an instrument; counts what it hears."""

    def __init__(self, version: str) -> None:
        self._version = version

    @property
    def spec(self) -> ExtractorSpec:
        return ExtractorSpec(
            name="fake",
            version=self._version,
            licence="Apache-2.0",
            commercial_use=True,
            provides=("tempo_bpm", "key", "instruments"),
        )

    def observe(self, audio: Audio) -> Observation:
        detected.append(self._version)
        return {"peak": np.array([np.abs(audio.samples).max()])}

    def conclude(self, observations: Sequence[Observation], duration_s: float) -> dict[str, Any]:
        peak = max(float(o["peak"][0]) for o in observations)
        return {
            "tempo_bpm": Estimate(value=60 + 100 * peak, confidence=0.9, unit="BPM"),
            "key": Estimate(value="F major" if peak > 0.5 else "D minor", confidence=0.8),
            "instruments": (
                TagTrack(
                    concept="rhodes",
                    kind="instrument",
                    confidence=peak,
                    share=0.5,
                    spans=(Span(start_s=0.0, end_s=1.0, confidence=peak),),
                ),
            ),
        }


def extractors(version: str = "1") -> tuple[Extractor, ...]:
    return (LoudnessExtractor(), Fake(version))


newer_extractors = partial(extractors, "2")


class _Backwards:
    """The tiny audio tower with its dimensions reversed: another space."""

    def __init__(self) -> None:
        self._inner = tiny_model().audio
        self.spec = replace(self._inner.spec, space="tiny/backwards/32", name="backwards")

    def encode(self, batch: Sequence[Audio]) -> Features:
        features = self._inner.encode(batch)
        return Features(features.global_BD[:, ::-1], features.frames_BTD[:, :, ::-1], features.mask_BT)


def other_model() -> JointModel:
    return JointModel(name="backwards", audio=_Backwards(), text=tiny_model().text)


def tune(seed: int, seconds: float = 2.0) -> FloatArray:
    """A tone of its own for every seed."""
    t = np.arange(round(seconds * RATE)) / RATE
    rng = np.random.default_rng(seed)
    tone = sum(rng.uniform(0.1, 0.3) * np.sin(2 * np.pi * rng.uniform(60, 6000) * t) for _ in range(3))
    return np.asarray(tone, np.float32)


def make_music(folder: Path, count: int, suffix: str = ".wav", seconds: float = 2.0) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    return [write_audio(folder / f"{i:02d}{suffix}", tune(i, seconds), RATE) for i in range(count)]


def index(collection: Collection, *paths: Path, **options: Any) -> AddReport:
    detected.clear()
    return collection.add(paths, **({"model": tiny_model, "extractors": extractors} | options))


def content(collection: Collection) -> dict[str, Any]:
    """Everything that a collection holds, without the numbers that depend on the order of arrival."""
    store = collection.store(SPACE)
    result = {}
    for row in collection.tracks():
        frames = store.windows([row.id])[0].frames_TD
        [timeline] = collection.timelines([row.id])
        _, scores = collection.nearest(SPACE, frames[0].astype(np.float32), 1, np.array([row.id]))
        result[row.hash] = (
            row.paths,
            row.tags,
            collection.analysis(row.id),
            frames.tobytes(),
            timeline.energy.tobytes(),
            scores.tolist(),
        )
    return result | {"failures": collection.failures()}
