"""Speed of the tagging networks: ``python benchmarks/tagging.py [--threads N] [--seconds S]``.

Synthetic sound (the networks take the same time for any), median of five runs, by the clock and by processor time: on a
machine that others use as well, only the second says what the code costs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from solfa.analysis.tagging import SAMPLE_RATE_HZ, musicnn_mel, tag_frames, yamnet_mel
from solfa.core.types import Audio
from solfa.weights import session, set_threads


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of five runs: clock, processor."""
    work()
    runs = []
    for _ in range(5):
        clock, processor = time.perf_counter(), time.process_time()
        work()
        runs.append((time.perf_counter() - clock, time.process_time() - processor))
    return tuple(np.median(runs, axis=0))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=120)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    samples = np.random.default_rng(0).standard_normal(arguments.seconds * SAMPLE_RATE_HZ).astype(np.float32) * 0.1
    windows = samples[: 24 * SAMPLE_RATE_HZ].reshape(-1, 3 * SAMPLE_RATE_HZ)
    patches = windows.reshape(-1, SAMPLE_RATE_HZ)[:, :15600]
    mel, log_mel = musicnn_mel(windows), yamnet_mel(patches)[:, None]
    parts: dict[str, tuple[float, Callable[[], object]]] = {
        "mel of musicnn": (24, lambda: musicnn_mel(windows)),
        "musicnn, both": (24, lambda: [session("musicnn", threads=1).run(None, {"mel": m[None]}) for m in mel]),
        "mel of YAMNet": (24, lambda: yamnet_mel(patches)),
        "YAMNet": (24, lambda: [session("yamnet", threads=1).run(None, {"patch": p}) for p in np.split(log_mel, 8)]),
        "all (tag_frames)": (arguments.seconds, lambda: tag_frames(Audio(samples, SAMPLE_RATE_HZ))),
    }
    print(f"all with {arguments.threads} threads, parts with one")
    print("| part | x real time | x real time per core, by processor time |\n|---|---|---|")
    for name, (seconds, work) in parts.items():
        clock, processor = timed(work)
        print(f"| {name} | {seconds / clock:.0f} | {seconds / processor:.0f} |")


if __name__ == "__main__":
    main()
