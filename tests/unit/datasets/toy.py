"""A small data set and a body that can be predicted by hand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from solfa.core.clip import Clip, Phrase
from solfa.core.types import Audio, EncoderSpec, States
from solfa.datasets.building import ShardTask
from solfa.datasets.shards import Failure, Member

RATE = 8000


@dataclass(frozen=True)
class Make:
    """Four clips and one failure a shard: tones of different lengths, the last one without words."""

    clips: int = 4
    words: str = "tone"
    loud: float = 0.25

    def __call__(self, task: ShardTask) -> Iterator[Member | Failure]:
        for i in range(self.clips):
            duration_s = 0.25 + float(task.rng().choice([0.0, 0.25])) + i / 8
            bare = i == self.clips - 1
            record = Clip(
                id=f"{task.split}{task.number}-{i}", duration_s=duration_s,
                captions=() if bare else (f"{self.words} {task.number} {i}", "a clip"),
                phrases=() if i % 2 else (Phrase(text="hum", spans_s=((0.0, 0.125), (0.2, 0.25))),),
                attributes={"tempo_bpm": 100.0 + i, "key": "F major"}, licence="CC0", source="toy",
            )  # fmt: skip
            samples = np.full(round(duration_s * RATE), self.loud, np.float32)
            yield Member(record=record, samples=samples, sample_rate_hz=RATE, format="wav")
        yield Failure(item="d", reason="silent")


@dataclass
class CountingBody:
    """A backbone of four dimensions that counts what it is asked for: sound gives a state for each 1000 samples, text
    one for each word."""

    space: str
    scale: float = 1.0
    width: int = 4
    asked: list[int] = field(default_factory=list)

    @property
    def spec(self) -> EncoderSpec:
        return EncoderSpec(
            name="counting", space=self.space, dim=4, licence="", commercial_use=True, sample_rate_hz=RATE, hop_s=0.125
        )

    def states(self, batch: Sequence[Audio | str]) -> States:
        self.asked.append(len(batch))
        rows = [self._rows(item) for item in batch]
        longest = max(map(len, rows))
        states, mask = np.zeros((len(rows), longest, self.width), np.float32), np.zeros((len(rows), longest), np.bool_)
        for i, row in enumerate(rows):
            states[i, : len(row)], mask[i, : len(row)] = row, True
        pooled = np.stack([np.full(3, len(row), np.float32) for row in rows])
        return States(pooled_BD=pooled, states_BTD=states, mask_BT=mask)

    def _rows(self, item: Audio | str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        if isinstance(item, str):
            values = [float(len(word)) for word in item.split()]
        else:
            values = [float(item.samples[i]) + i for i in range(0, len(item.samples), 1000)]
        return self.scale * np.array(values)[:, None] * np.ones(self.width)
