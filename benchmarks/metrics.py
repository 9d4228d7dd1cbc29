"""Speed and agreement of solfa's metrics beside the reference implementations, in one run.

    python benchmarks/metrics.py [--items 20000] [--queries N] [--dim 512] [--clips 300] [--seed 0]

R@K against a full argsort of the score matrix; PSDS against sed_scores_eval (if installed). Peak memory is that of
Python's allocations (numpy's included), by tracemalloc, in a second run that is not timed. Seconds are processor time
of all threads, so that a busy machine does not change them.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from solfa.core.intervals import Segment
from solfa.evaluation.events import ClipScores, ClipTruth, SystemScores
from solfa.evaluation.psds import PSDS1, PSDS2, psds
from solfa.evaluation.ranking import Relevance, rank_relevant
from solfa.evaluation.retrieval import hit_at
from solfa.evaluation.similarity import cosine_scores, unit_rows


def measured(run: Callable[[], float]) -> tuple[float, float, float]:
    """Result, seconds of processor time, peak MiB."""
    start = time.process_time()
    result = run()
    seconds = time.process_time() - start
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return result, seconds, peak


def show(what: str, rows: dict[str, tuple[float, float, float]]) -> None:
    print(f"\n{what}\n{'':28}{'result':>16}{'cpu s':>10}{'peak MiB':>10}")
    for name, (result, seconds, peak) in rows.items():
        print(f"{name:28}{result:16.12f}{seconds:10.2f}{peak:10.0f}")


def retrieval(num: int, num_queries: int, dim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    items = rng.standard_normal((num, dim)).astype(np.float32)
    own = np.arange(num_queries) % num
    queries = items[own] + 9.0 * rng.standard_normal((num_queries, dim)).astype(np.float32)
    scores, relevance = cosine_scores(queries, items), Relevance.of_targets(own, num)

    def argsort() -> float:
        order = np.argsort(-(unit_rows(queries) @ unit_rows(items).T), axis=1)
        return float((order[:, :10] == own[:, None]).any(axis=1).mean())

    show(
        f"R@10, {num_queries} queries x {num} items, {dim} dimensions",
        {
            "solfa, blockwise": measured(lambda: float(hit_at(rank_relevant(scores, relevance), 10).mean())),
            "plain argsort": measured(argsort),
        },
    )


def detection(num: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = tuple(f"class{c}" for c in range(10))
    borders = np.arange(157) * 0.064
    truth, clips = {}, {}
    for i in range(num):
        values = rng.random((156, 10))
        events = []
        for c, label in enumerate(classes):
            if rng.random() < 0.3:
                onset, offset = np.sort(rng.random(2) * 9.9)
                events.append(Segment(float(onset), float(offset) + 0.05, label))
                values[(borders[:-1] > onset) & (borders[1:] < offset), c] += 0.5
        smooth = np.stack([np.convolve(values[:, c], np.ones(5) / 5, "same") for c in range(10)], axis=1)
        truth[f"{i}"] = ClipTruth(duration_s=10.0, events=tuple(events))
        clips[f"{i}"] = ClipScores(smooth, borders)
    system = SystemScores(classes, clips)
    for name, setting in (("PSDS1", PSDS1), ("PSDS2", PSDS2)):
        rows = {"solfa": measured(lambda s=setting: psds(truth, system, s).value)}  # type: ignore[misc]
        try:
            import sed_scores_eval as sse
            from sed_scores_eval.base_modules.scores import create_score_dataframe
        except ImportError:
            print("sed_scores_eval is not installed: no comparison")
        else:
            frames = {n: create_score_dataframe(c.values_TC, c.boundaries_s, list(classes)) for n, c in clips.items()}
            events = {n: [(e.start_s, e.end_s, e.label) for e in t.events] for n, t in truth.items()}
            durations = dict.fromkeys(clips, 10.0)

            def reference(s: object = setting, f: object = frames, e: object = events, d: object = durations) -> float:
                return float(
                    sse.intersection_based.psds(
                        f,
                        e,
                        d,
                        dtc_threshold=s.dtc,
                        gtc_threshold=s.gtc,
                        cttc_threshold=s.cttc,  # type: ignore[attr-defined]
                        alpha_ct=s.alpha_ct,
                        alpha_st=s.alpha_st,
                        max_efpr=s.max_efpr_per_hour,  # type: ignore[attr-defined]
                    )[0]
                )

            rows["sed_scores_eval"] = measured(reference)
        show(f"{name}, {num} clips of 156 frames, 10 classes", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--queries", type=int, help="as many as items if not given")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    retrieval(options.items, options.queries or options.items, options.dim, options.seed)
    detection(options.clips, options.seed)
