"""What Ray costs against worker processes on the same cores, and what a second worker brings.

    python benchmarks/cluster_index.py [--songs 40] [--seconds 30] [--rounds 2] [--waits 100]

First items that only wait for 0.3 s are spread, which shows what an executor itself costs, also on a busy machine. Then
made-up songs (mp3) are indexed into fresh collections with everything on, in turn by two processes, by two workers on a
Ray cluster of this machine, and by one: wall clock from the first finished file to the last (what starts once is told
apart), and processor time of all processes that take part, Ray's own servers too, which a busy machine changes less.
Ray would give its workers a niceness of 15; here they have the same as the processes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import psutil
import ray

from solfa.analysis.registry import extractors
from solfa.api import DEFAULT_MODEL
from solfa.cluster.ray_executor import RayExecutor
from solfa.collection import Collection, Progress
from solfa.encoders.registry import load_model
from solfa.jobs import Executor, ProcessExecutor

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from fakes.files import write_audio
from fakes.synth import song

_WAIT_S = 0.3
Row = tuple[float, float, float, float]


def processor_s() -> float:
    """Of this process and all below it that are alive."""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def indexed(files: list[Path], executor: Executor, model: str) -> Row:
    """Seconds until the first file, from there to the last, the same for all, and processor seconds."""
    moments: list[tuple[float, float]] = []

    def note(progress: Progress) -> None:
        assert not progress.reason, progress
        moments.append((time.perf_counter(), processor_s() if progress.done == len(files) else 0.0))

    with tempfile.TemporaryDirectory() as folder, Collection.open(folder, create=True) as collection:
        before_s, start_s = processor_s(), time.perf_counter()
        collection.add(files, model=partial(load_model, model), extractors=extractors, executor=executor, progress=note)
    (first_s, _), (last_s, used_s) = moments[0], moments[-1]
    return first_s - start_s, last_s - first_s, last_s - start_s, used_s - before_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each song")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--waits", type=int, default=100)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for i in range(args.songs):
            tempo_bpm = 90.0 + 7 * (i % 12)
            made = song(tempo_bpm=tempo_bpm, bars=round(args.seconds * tempo_bpm / 240), seed=i, sample_rate_hz=44_100)
            files.append(write_audio(Path(folder, f"{i}.mp3"), made.audio.samples, 44_100))
        os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
        start_s = time.perf_counter()
        ray.init("local", num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
        print(f"the cluster started in {time.perf_counter() - start_s:.1f} s", flush=True)
        kinds: dict[str, Executor] = {
            "2 processes": ProcessExecutor(2), "2 on Ray": RayExecutor(workers=2), "1 on Ray": RayExecutor(workers=1),
        }  # fmt: skip
        for kind, executor in kinds.items():
            moments = [time.perf_counter() for _ in executor.map(time.sleep, [_WAIT_S] * args.waits)]
            each_ms = 1000 * (moments[-1] - moments[0]) / (args.waits - 1)
            print(f"{args.waits} waits of {1000 * _WAIT_S:.0f} ms, {kind}: one in {each_ms:.1f} ms", flush=True)
        rows: dict[str, list[Row]] = {kind: [] for kind in kinds}
        for _ in range(args.rounds):
            for kind, executor in kinds.items():
                rows[kind].append(indexed(files, executor, args.model))
                print(kind, *(f"{value:.1f}" for value in rows[kind][-1]), f"load {os.getloadavg()[0]:.1f}", flush=True)
    print(f"{'':12}{'first file s':>14}{'the others s':>14}{'all s':>10}{'processor s':>14}{'ms a file':>12}")
    for kind, values in rows.items():
        first, others, total, used = (statistics.median(column) for column in zip(*values, strict=True))
        each_ms = 1000 * others / (args.songs - 1)
        print(f"{kind:12}{first:14.1f}{others:14.1f}{total:10.1f}{used:14.1f}{each_ms:12.0f}")


if __name__ == "__main__":
    main()
