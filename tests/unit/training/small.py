"""A world small enough to learn in seconds: clips of three notes, captions that name them, bodies for both."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from solfa.core.clip import Clip, Phrase
from solfa.core.types import Audio, EncoderSpec, States
from solfa.datasets.bank import Cluster, PhraseBank
from solfa.datasets.building import ShardTask, build
from solfa.datasets.shards import Dataset, Member
from solfa.encoders.vectors import pack_states

RATE = 4000
NOTES = {"alto": 300.0, "bass": 110.0, "cello": 170.0, "duck": 500.0, "eagle": 800.0, "fife": 1200.0, "gong": 1700.0}
BANK = PhraseBank(Cluster(phrase=f"{name} sound", alternatives=(f"a {name} is heard",)) for name in NOTES)


class Notes:
    """Makes clips of three notes of half a second, with a caption (but the mute one), every second one with phrases."""

    def __init__(
        self, clips: int, mute: tuple[str, int] | None = None, timed: bool = True, tracked: bool = False
    ) -> None:
        self.clips, self.mute, self.timed, self.tracked = clips, mute, timed, tracked

    def __call__(self, task: ShardTask) -> Iterator[Member]:
        rng = task.rng()
        t = np.arange(RATE // 2) / RATE
        for i in range(self.clips):
            names = [str(name) for name in rng.choice(list(NOTES), 3, replace=False)]
            samples = np.concatenate([0.4 * np.sin(2 * np.pi * NOTES[name] * t) for name in names]).astype(np.float32)
            timed = [Phrase(text=f"{name} sound", spans_s=((n / 2, n / 2 + 0.5),)) for n, name in enumerate(names)]
            record = Clip(
                id=f"{task.split}{task.number}-{i}", duration_s=1.5,
                track=f"track {task.split}{task.number}-{i}" if self.tracked else "",
                captions=(f"the {names[0]} then {names[1]} and {names[2]} at last",) * (self.mute != (task.split, i)),
                phrases=tuple(timed) if i % 2 == 0 and self.timed else (),
            )  # fmt: skip
            yield Member(record=record, samples=samples, sample_rate_hz=RATE, format="wav")


def make_data(folder: Path, clips: int = 48, splits: Mapping[str, int] | None = None, **how: Any) -> Dataset:
    shards = splits or {"train": 2, "val": 1}
    return build(folder, Notes(clips, **how), name="notes", config={"clips": clips}, seed=1, num_shards=shards)


class Hear:
    """Energies of sixteen bands, four states a second."""

    spec = EncoderSpec(
        name="hear", space="hear/1", dim=16, licence="CC0", commercial_use=True, sample_rate_hz=RATE, hop_s=0.25
    )

    def states(self, batch: Sequence[Audio]) -> States:
        return pack_states([self._rows(audio.samples) for audio in batch], 16)

    def _rows(self, samples: np.ndarray) -> np.ndarray:
        size = RATE // 4
        count = len(samples) // size
        power = np.abs(np.fft.rfft(samples[: count * size].reshape(count, size), axis=1))[:, : size // 2]
        edges = np.geomspace(15, size // 2, 17).astype(int)
        bands = np.stack([power[:, a:b].sum(axis=1) for a, b in itertools.pairwise(edges)], axis=1)
        return np.log1p(bands).astype(np.float32)


class Read:
    """A fixed random vector for each word."""

    spec = EncoderSpec(name="read", space="read/1", dim=16, licence="CC0", commercial_use=True)

    def states(self, batch: Sequence[str]) -> States:
        return pack_states([np.stack([self._word(word) for word in text.split()]) for text in batch], 16)

    def _word(self, word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
        return np.random.default_rng(seed).standard_normal(16).astype(np.float32)


def body(name: str, kind: str = "audio", **options: object) -> Hear | Read:
    """In place of ``load_backbone``."""
    return Hear() if kind == "audio" else Read()
