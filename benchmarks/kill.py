"""kill -9 at random moments of an index run: what was finished is there, and the end is as if nothing had happened.

    python benchmarks/kill.py --kills 100 [--files 24] [--seed 0]

A child process indexes a folder of short made-up files (serially or with worker processes, drawn by chance), prints
every file once it is reported as done, then indexes all again, which compacts. It is killed after a random number of
files plus a random moment. After every kill the collection must open, hold every file that was reported, undamaged and
equal to an uninterrupted run; after the last run, everything must be equal to it. Prints one line and exits with 1 on
any fault.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from solfa.analysis.protocol import Extractor
from solfa.analysis.registry import extractors as extractors_named
from solfa.collection import Collection, Progress
from solfa.collection.repair import examine
from solfa.jobs import Executor, ProcessExecutor, SerialExecutor

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from fakes.files import write_audio
from fakes.synth import song
from fakes.tiny import tiny_model

Content = dict[str, Any]


def extractors() -> Sequence[Extractor]:
    return extractors_named(["loudness"])


def content(collection: Collection) -> Content:
    """What the collection says about every path, without the numbers that depend on the order of arrival."""
    found: Content = {}
    for row in collection.tracks():
        frames = collection.store(tiny_model().space).windows([row.id])[0].frames_TD
        mean = frames.astype(np.float32).mean(axis=0)
        scores = collection.nearest(tiny_model().space, mean, 1, np.array([row.id]))[1].tolist()
        [timeline] = collection.timelines([row.id])
        value = (row.hash, row.tags, collection.analysis(row.id), frames.tobytes(), timeline.energy.tobytes(), scores)
        found.update({str(path): value for path in row.paths})
    for failure in collection.failures():
        found[str(failure.path)] = failure.reason
    return found


def child(directory: str, music: str, processes: bool) -> None:
    executor: Executor = ProcessExecutor(2) if processes else SerialExecutor()

    def say(progress: Progress) -> None:
        os.write(1, f"{progress.path}\n".encode())

    with Collection.open(directory, create=True) as collection:
        collection.add([music], model=tiny_model, extractors=extractors, executor=executor, progress=say)
        os.write(1, b"indexed\n")
        collection.add([music], model=tiny_model, extractors=extractors, executor=executor, force=True)  # and compact


def make_music(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        made = song(tempo_bpm=100.0 + 3 * i, bars=2 + i % 5, seed=i, sample_rate_hz=16_000)
        write_audio(folder / f"{i:03d}.flac", made.audio.samples, made.audio.sample_rate_hz)
    (folder / "bad.mp3").write_text("not music")
    shutil.copy(folder / "000.flac", folder / "copy.flac")


def run_and_kill(directory: Path, music: Path, rng: np.random.Generator, files: int) -> tuple[list[str], bool]:
    """One child, killed at random; the files it reported, and whether it had finished before."""
    processes = bool(rng.random() < 0.3)
    command = [sys.executable, __file__, "--child", str(directory), str(music), str(int(processes))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    reported, wait_for = [], int(rng.integers(0, files + 2))
    if wait_for == 0:
        time.sleep(float(rng.uniform(0, 2)))
    for line in process.stdout:
        reported.append(line.strip())
        if len(reported) >= wait_for:
            break
    time.sleep(float(rng.exponential(0.02)))
    process.send_signal(signal.SIGKILL)
    reported += [line.strip() for line in process.stdout]
    return [path for path in reported if path != "indexed"], process.wait() == 0


def check(directory: Path, reference: Content, reported: list[str]) -> list[str]:
    """What is wrong with the collection after a kill."""
    try:
        with Collection.open(directory, create=True) as collection:
            now = content(collection)
    except Exception as error:
        return [f"it does not open: {error!r}"]
    faults = [f"lost {path}" for path in reported if path not in now]
    faults += [f"wrong {path}" for path, value in now.items() if reference.get(path) != value]
    return faults + list(examine(directory).found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child[0], args.child[1], args.child[2] == "1")
        return 0
    rng, faults, kills, runs = np.random.default_rng(args.seed), list[str](), 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        music = Path(scratch, "music")
        make_music(music, args.files)
        with Collection.open(Path(scratch, "reference"), create=True) as whole:
            whole.add([music], model=tiny_model, extractors=extractors)
            reference = content(whole)
        while kills < args.kills:
            directory, done, runs = Path(scratch, f"shelf{runs}"), False, runs + 1
            while not done and kills < args.kills:
                reported, done = run_and_kill(directory, music, rng, args.files)
                kills += not done
                faults += check(directory, reference, reported)
            subprocess.run([sys.executable, __file__, "--child", str(directory), str(music), "0"], check=True,
                           stdout=subprocess.DEVNULL)  # fmt: skip
            with Collection.open(directory) as resumed:
                if content(resumed) != reference:
                    faults.append("the resumed result differs from the uninterrupted one")
    print(
        f"{kills} kills in {runs} index runs of {args.files + 2} files: {len(faults)} faults {sorted(set(faults))[:5]}"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
