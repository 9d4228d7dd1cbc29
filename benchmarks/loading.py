"""Speed of the loader: ``python benchmarks/loading.py DIR [--clips 1536] [--batch 256] [--step-ms 30] [--seed 0]``.

Makes in DIR a data set of short clips and a cache of states in the sizes of MuQ (250 x 1024 for ten seconds) and of 128
text tokens (128 x 1024), float16, random; and a data set of ten-second flac clips at 44.1 kHz. Then:

- batches a second that the loader gives out, and how long a training loop waits for each when a step takes --step-ms
  (a sleep, as an accelerator leaves the processor free);
- clips decoded, resampled to 24 kHz and cut, by threads and, for comparison, by processes;
- one clip's bytes read at random from a shard and, for comparison, from our Parquet export; indexes opened.

Two passes, the second counts: files are in memory then. Processor time is of all threads together.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from solfa.core.clip import Clip
from solfa.core.types import EncoderSpec, States
from solfa.datasets.building import ShardTask, build
from solfa.datasets.exports import export
from solfa.datasets.features import FrozenFeatures, compute
from solfa.datasets.loading import AudioSource, Loader
from solfa.datasets.shards import Dataset, Member, ShardIndex

PER_SHARD = 256


@dataclass(frozen=True)
class Clips:
    """Noise and a tone, ``duration_s`` long."""

    duration_s: float
    sample_rate_hz: int

    def __call__(self, task: ShardTask) -> Iterator[Member]:
        rng = task.rng()
        for i in range(PER_SHARD):
            time_s = np.arange(round(self.duration_s * self.sample_rate_hz)) / self.sample_rate_hz
            tone = 0.5 * np.sin(2 * np.pi * rng.uniform(100, 2000) * time_s)
            samples = (tone + 0.05 * rng.standard_normal(len(time_s))).astype(np.float32).clip(-1, 1)
            record = Clip(id=f"{task.number}-{i}", duration_s=self.duration_s, captions=(f"{task.number} {i}",))
            yield Member(record=record, samples=samples, sample_rate_hz=self.sample_rate_hz)


class RandomBody:
    """States of a fixed size, random."""

    def __init__(self, space: str, frames: int) -> None:
        self.spec = EncoderSpec(
            name=space, space=space, dim=1024, licence="", commercial_use=True, sample_rate_hz=24_000, hop_s=0.04
        )
        self._frames, self._rng = frames, np.random.default_rng(0)

    def states(self, batch: Sequence[Any]) -> States:
        """One block of numbers, turned a little for each item."""
        rows = self._rng.standard_normal((self._frames, 1024), np.float32)
        states = np.stack([np.roll(rows, i, axis=0) for i in range(len(batch))])
        return States(pooled_BD=states[:, 0], states_BTD=states, mask_BT=np.ones(states.shape[:2], np.bool_))


def timed(batches: Callable[[], Iterator[Any]], step_s: float = 0.0) -> tuple[float, float, float]:
    """Seconds for each batch: by the clock, by processor time, and spent waiting for it; of a second pass."""
    for _ in batches():
        pass
    waited, num, iterator = 0.0, 0, batches()
    start, start_work = time.perf_counter(), time.process_time()
    while True:
        asked = time.perf_counter()
        if next(iterator, None) is None:
            break
        waited += time.perf_counter() - asked
        num += 1
        time.sleep(step_s)
    return (time.perf_counter() - start) / num, (time.process_time() - start_work) / num, waited / num


def features_table(folder: Path, dataset: Dataset, batch: int, step_s: float, seed: int) -> None:
    """Batches of cached states."""
    detected, said = RandomBody("muq-sized", 250), RandomBody("text-sized", 128)
    records, cache = dataset.split("train"), folder / "cache"
    compute(cache, records, audio=detected, text=said)
    features = FrozenFeatures.open(cache, records, audio_space=detected.spec.space, text_space=said.spec.space)
    size = batch * (250 + 128) * 1024 * 2 / 1e6
    print(f"\ncached states: {len(features)} clips, {size:.0f} MB a batch of {batch}\n")
    print(f"| threads | batches a second | GB/s | processor ms a batch | waiting a step of {step_s * 1e3:.0f} ms |")
    print("|---|---|---|---|---|")
    for workers in (0, 1, 2, 4):

        def epochs(workers: int = workers) -> Iterator[Any]:
            loader = Loader(features, batch_size=batch, seed=seed, workers=workers)
            for _ in range(3):
                yield from loader

        each_s, work_s, _ = timed(epochs)
        waited_s = timed(epochs, step_s)[2]
        rate = size / 1e3 / each_s
        print(f"| {workers} | {1 / each_s:.1f} | {rate:.1f} | {work_s * 1e3:.0f} | {waited_s * 1e3:.1f} ms |")


def conversion(seed: int) -> None:
    """Why states stay float16 on their way to the accelerator."""
    half = np.random.default_rng(seed).standard_normal((64, 250, 1024)).astype(np.float16)
    times_s = []
    for kind in (np.float16, np.float32):
        into = np.zeros(half.shape, kind)
        runs = []
        for _ in range(9):
            start = time.process_time()
            np.copyto(into, half)
            runs.append(time.process_time() - start)
        times_s.append(min(runs))
    print(f"\nfloat16 to float32 in numpy takes {times_s[1] / times_s[0]:.0f} times as long as copying float16")


def _gather(source: AudioSource, rows: list[int]) -> Any:
    return source.gather(np.array(rows), np.random.default_rng(0))


def audio_table(dataset: Dataset, seed: int) -> None:
    """Batches of sound."""
    source, batch = AudioSource(dataset.split("train"), crop_s=10.0, sample_rate_hz=24_000), 16
    print("\nsound: ten seconds of flac at 44.1 kHz to 24 kHz\n")
    print("| made by | clips a second | x real time | processor ms a clip |\n|---|---|---|---|")

    def show(name: str, batches: Callable[[], Iterator[Any]]) -> None:
        each_s, work_s, _ = timed(batches)
        work = "" if "process" in name else f"{work_s * 1e3 / batch:.1f}"
        print(f"| {name} | {batch / each_s:.0f} | {10 * batch / each_s:.0f} | {work} |")

    for workers in (0, 1, 2, 4):
        show(f"{workers} threads", partial(iter, Loader(source, batch_size=batch, seed=seed, workers=workers)))
    rows = [list(range(at, at + batch)) for at in range(0, len(source), batch)]
    for workers in (1, 2):
        with ProcessPoolExecutor(workers) as pool:
            show(f"{workers} processes", lambda pool=pool: pool.map(_gather, [source] * len(rows), rows))


def access_table(folder: Path, dataset: Dataset, seed: int) -> None:
    """One clip at a random place, by processor time."""
    import pyarrow.parquet

    if not (folder / "parquet").exists():
        export(dataset, "parquet", folder / "parquet")
    table = pyarrow.parquet.ParquetFile(next((folder / "parquet" / "data").iterdir()))
    shard, path = dataset.shards[0], dataset.shards[0].path
    names, rng = list(shard.index.members), np.random.default_rng(seed)
    rows = rng.integers(0, len(names), 100).tolist()

    def each_ms(read: Callable[[int], object]) -> float:
        start = time.process_time()
        for row in rows:
            read(row)
        return (time.process_time() - start) / len(rows) * 1e3

    size = shard.index.size_bytes / len(names) / 1e6
    group = table.metadata.row_group(0).num_rows
    print(f"\none clip of {size:.1f} MB at random\n\n| from | processor ms |\n|---|---|")
    print(f"| a shard | {each_ms(lambda row: shard.read(names[row], 'flac')):.2f} |")
    print(f"| Parquet, row groups of {group} | {each_ms(lambda r: table.read_row_group(r // group, ['audio'])):.1f} |")
    index_s = each_ms(lambda _: ShardIndex.read(path)) / 1e3 / len(names)
    print(f"\nindexes of FGMCaps' 380,878 clips would open in {index_s * 380_878:.1f} s of processor time")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=1536)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--step-ms", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    shards = {"train": max(1, arguments.clips // PER_SHARD)}
    short = build(arguments.folder / "short", Clips(0.05, 8000), name="short", config={}, seed=0, num_shards=shards)
    start = time.process_time()
    whole = Clips(10.0, 44_100)
    long = build(arguments.folder / "long", whole, name="long", config={}, seed=0, num_shards={"train": 1})
    print(f"{PER_SHARD} clips of ten seconds made and written in {time.process_time() - start:.1f} s of processor time")
    features_table(arguments.folder, short, arguments.batch, arguments.step_ms / 1e3, arguments.seed)
    conversion(arguments.seed)
    audio_table(long, arguments.seed)
    access_table(arguments.folder, long, arguments.seed)


if __name__ == "__main__":
    main()
