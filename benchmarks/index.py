"""How fast a folder is indexed with everything on, and where the time goes.

    python benchmarks/index.py [PATH ...] [--workers 2] [--model bridge] [--stages-only | --whole-only]

Without a path, made-up songs (mp3) are indexed. First every stage is timed by itself in one process
with one thread, as processor time, so that a busy machine does not change the shares; what several stages share
(resampling, network outputs) is booked on the first that asks for it. Then the whole run is timed with worker processes
into a fresh collection, wall clock and processor time, with the peak memory of a worker.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from solfa.analysis.analyze import Analyzer, analysis_version
from solfa.analysis.protocol import STRETCH_S, Extractor
from solfa.analysis.registry import extractors as make_extractors
from solfa.api import DEFAULT_MODEL
from solfa.audio import SUFFIXES, ContentHash, read_tags, stretches
from solfa.collection import Collection, Progress, Space, TrackVectors
from solfa.collection.database import Database
from solfa.collection.indexing import IndexedFile
from solfa.collection.writer import Writer
from solfa.core.types import JointModel
from solfa.encoders.registry import load_model
from solfa.encoders.windows import candidates, embed
from solfa.jobs import ProcessExecutor, SerialExecutor
from solfa.weights import set_threads

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from fakes.files import write_audio
from fakes.synth import song


class Clock:
    """Processor seconds and wall seconds of each stage."""

    def __init__(self) -> None:
        self.cpu_s: dict[str, float] = defaultdict(float)
        self.wall_s: dict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            yield
        finally:
            self.cpu_s[name] += time.process_time() - cpu
            self.wall_s[name] += time.perf_counter() - wall


def hear(path: Path, clock: Clock, extractors: tuple[Extractor, ...], model: JointModel) -> IndexedFile:
    """What hearing.FileIndexer does, stage by stage."""
    with clock.stage("tags"):
        tags = read_tags(path)
    content, kept, end_s = ContentHash(), [], 0.0
    each = [(e, Analyzer((e,))) for e in extractors]
    pieces = stretches(path, STRETCH_S, content=content)
    while True:
        with clock.stage("decode, downmix, hash"):
            audio = next(pieces, None)
        if audio is None:
            break
        end_s = audio.start_s + audio.duration_s
        for extractor, analyzer in each:
            with clock.stage(extractor.spec.name):
                analyzer.observe(audio)
        kept.append(audio)
    with clock.stage(f"encoder {model.name}"):
        windows = embed(model, kept)
    analysis = Analyzer(()).conclude()
    for extractor, analyzer in each:
        with clock.stage(extractor.spec.name):
            part = analyzer.conclude()
        analysis = replace(analysis, **{name: getattr(part, name) for name in extractor.spec.provides})
    with clock.stage("pool, quantise"):
        space = Space.of(model.audio.spec)
        vectors = TrackVectors.of(0, space, candidates(model.views, windows), windows)
    return IndexedFile(
        path=str(path), size=0, mtime_ns=0, hash=content.hex, duration_s=end_s, tags=tags, analysis=analysis,
        vectors=vectors,
    )  # fmt: skip


def stages(files: list[Path], model: str, scratch: Path) -> None:
    set_threads(1)
    extractors, joint, clock = make_extractors(), load_model(model), Clock()
    hear(files[0], Clock(), extractors, joint)  # loads the networks
    space = Space.of(joint.audio.spec)
    directory = scratch / "stages"
    Collection.open(directory, create=True).close()
    database, audio_s = Database(directory), 0.0
    with database.lock(), database.writer() as db:
        writer = Writer(db, directory)
        writer.space(space)
        for path in files:
            indexed = hear(path, clock, extractors, joint)
            audio_s += indexed.duration_s
            with clock.stage("store (commit, fsync)"):
                writer.commit([indexed], analysis_version(extractors))
    total = sum(clock.cpu_s.values())
    print(f"\n{len(files)} files, {audio_s / 60:.1f} min of sound; one process, one thread")
    print(f"{'stage':32}{'cpu ms / min':>14}{'x real time':>14}{'share':>8}")
    for name, cpu_s in sorted(clock.cpu_s.items(), key=lambda item: -item[1]):
        rate = audio_s / max(cpu_s, 1e-9)
        print(f"{name:32}{1000 * cpu_s / (audio_s / 60):14.1f}{rate:14.0f}{cpu_s / total:8.1%}")
    print(f"{'all':32}{1000 * total / (audio_s / 60):14.1f}{audio_s / total:14.0f}{1:8.0%}")


def peak_mib(pid: int | None) -> float:
    """Highest resident memory of a process so far, 0 where /proc does not say.

    ``ru_maxrss`` of a child would count its parent, whose memory it shares until it executes its own program.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def whole(files: list[Path], model: str, workers: int, scratch: Path) -> None:
    executor = SerialExecutor() if workers == 0 else ProcessExecutor(workers)
    first_s, peaks_mib = list[float](), [0.0]

    def watch(progress: Progress) -> None:
        first_s.append(progress.seconds)
        peaks_mib.extend(peak_mib(process.pid) for process in multiprocessing.active_children())

    with Collection.open(scratch / "whole", create=True) as collection:
        report = collection.add(
            files,
            model=partial(load_model, model),
            extractors=make_extractors,
            executor=executor,
            progress=watch,
        )
        size = collection.stats().size_bytes
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = usage.ru_utime + usage.ru_stime
    print(f"\nindex with {workers} workers: {report.audio_s / 60:.1f} min in {report.seconds:.1f} s = "
          f"{report.audio_s / report.seconds:.0f} x real time (first file after {first_s[0]:.1f} s); "
          f"{cpu_s:.1f} s of processor time = {report.audio_s / max(cpu_s, 1e-9):.0f} x a core; "
          f"{len(report.failed)} failed; worker peak {max(peaks_mib):.0f} MiB; "
          f"{size / max(report.audio_s, 1) * 0.06:.0f} kB a minute on disk; load {os.getloadavg()[0]:.1f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--songs", type=int, default=8, help="made-up songs where no path is given")
    parser.add_argument("--minutes", type=float, default=3.0, help="length of each made-up song")
    parser.add_argument("--limit", type=int, default=10_000, help="at most so many files")
    parser.add_argument("--stages-only", action="store_true")
    parser.add_argument("--whole-only", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        files = [f for p in args.paths for f in (sorted(p.rglob("*")) if p.is_dir() else [p])]
        files = [f for f in files if f.suffix.lower() in SUFFIXES][: args.limit]
        if not files:
            for i in range(args.songs):
                tempo_bpm = 90.0 + 7 * i
                bars = round(args.minutes * tempo_bpm / 4)
                made = song(tempo_bpm=tempo_bpm, bars=bars, seed=i, sample_rate_hz=44_100)
                stereo = np.stack([made.audio.samples, 0.8 * made.audio.samples], axis=1)
                files.append(write_audio(scratch / f"{i}.mp3", stereo, 44_100))
        if not args.whole_only:
            stages(files, args.model, scratch)
        if not args.stages_only:
            whole(files, args.model, args.workers, scratch)


if __name__ == "__main__":
    main()
