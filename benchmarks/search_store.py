"""How fast candidates are found among many tracks: our store, the oracle's arithmetic, and other engines, in one run.

    python benchmarks/synthetic_collection.py DIR --tracks 100000
    python benchmarks/search_store.py DIR [--rounds 15] [--peers]
    python benchmarks/search_store.py DIR --ann [--copies 3]

The first part times what a search asks of a collection (opening, columns, filters, nearest, frames, timelines). With
``--peers`` the same scan is done by other exact engines over the same int8 rows. ``--ann`` writes the segments of DIR
several times over, with noise, into a scratch store of more than a million rows and compares the derived index with the
exact scan. Times are the median of processor time, and median, least and most wall clock; the load of the
machine is printed, since it changes the latter.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from solfa.alignment.scores import quantise
from solfa.collection import Collection, FlatStore, Space, ivf
from solfa.core.filters import Filter
from solfa.core.types import FloatArray


def timed(name: str, call: Callable[[], Any], rounds: int) -> Any:
    result, wall_ms, cpu_ms = None, [], []
    for _ in range(rounds):
        at, cpu = time.perf_counter(), time.process_time()
        result = call()
        wall_ms.append((time.perf_counter() - at) * 1000)
        cpu_ms.append((time.process_time() - cpu) * 1000)
    print(f"{name:58}{np.median(cpu_ms):10.2f}{np.median(wall_ms):10.2f}{np.min(wall_ms):10.2f}{np.max(wall_ms):10.2f}")
    return result


_HEADER = f"{'processor':>10}{'median':>10}{'least':>10}{'most':>10}"


def queries(store: FlatStore, count: int, seed: int) -> FloatArray:
    """Segments of the store with noise: near something, as a query is, but not in it."""
    rng = np.random.default_rng(seed)
    rows = store.sample(count).astype(np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    noise = rng.standard_normal(rows.shape).astype(np.float32)
    mixed = rows + 0.7 * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    unit: FloatArray = (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)
    return unit


def collection_times(directory: Path, space: str, rounds: int) -> None:
    print(f"{'ms':58}{_HEADER}")
    shelf: Collection = timed("open", lambda: Collection.open(directory), 1)
    table = timed("columns of all tracks, once", shelf.attributes, 1)
    store = timed("placements and memory maps, once", lambda: shelf.store(space), 1)
    some = queries(store, 64, 0)
    turn = iter(range(1_000_000))

    def query() -> FloatArray:
        vector: FloatArray = some[next(turn) % len(some)]
        return vector

    shelf.nearest(space, query(), 1)
    found, _ = timed("nearest 800 of all", lambda: shelf.nearest(space, query(), 800), rounds)
    tempo = Filter(field="tempo_bpm", kind="number", text="", low=90, high=130)
    key = Filter(field="key", kind="key", text="", values=("F major",))
    piano = Filter(field="instrument", kind="concept", text="", values=("piano",))
    artist = Filter(field="artist", kind="text", text="", values=("blue",), contains=True)
    for name, filters in {"tempo": [tempo], "tempo and key": [tempo, key], "tempo, key, piano": [tempo, key, piano],
                          "artist contains": [artist]}.items():  # fmt: skip
        ids = timed(f"filter {name}", lambda f=filters: shelf.select(f), rounds)
        passed = f"{len(ids)} ({len(ids) / len(table):.1%})"
        timed(f"  nearest 800 of the {passed}", lambda i=ids: shelf.nearest(space, query(), 800, i), rounds)
    wanted = found[:200].tolist()
    timed("one concept's column, first time", lambda: [table.confidence(c) for c in ("drums", "violin")], 1)
    timed(
        "frames of 200 candidates, summed",
        lambda: [w.frames_TD.sum(dtype=np.int64) for w in store.windows(wanted)],
        rounds,
    )
    timed("timelines of 200 candidates", lambda: shelf.timelines(wanted), rounds)
    timed("rows and analyses of 10 hits", lambda: [(shelf.track(i), shelf.analysis(i)) for i in wanted[:10]], rounds)
    timed("full text, two words", lambda: shelf.text_search("blue river"), rounds)
    stats = shelf.stats()
    print(f"{stats.tracks} tracks, {len(store.track_ids)} with vectors, {stats.size_bytes / 1e9:.2f} GB on disk; "
          f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB (mapped pages included); "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip


def peers(store: FlatStore, rounds: int) -> None:
    """The same question, top 800 rows, to exact engines over the same rows."""
    import faiss
    import numkong

    rows = store._segments
    query = quantise(queries(store, 1, 0))
    as_float = query.astype(np.float32)
    print(f"\n{'exact scan of ' + str(rows.shape) + ', ms':58}{_HEADER}")
    ours = timed("numkong int8, memory-mapped", lambda: np.asarray(numkong.cdist(query, rows, "dot"))[0], rounds)

    def blocks() -> FloatArray:
        out, scratch = np.empty(len(rows), np.float32), np.empty((8192, rows.shape[1]), np.float32)
        for start in range(0, len(rows), 8192):
            block = scratch[: len(rows[start : start + 8192])]
            np.copyto(block, rows[start : start + 8192])
            np.dot(block, as_float[0], out=out[start : start + 8192])
        return out

    assert np.array_equal(ours, timed("numpy, blocks as float32", blocks, 3))
    index = faiss.IndexScalarQuantizer(
        rows.shape[1], faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
    )
    for start in range(0, len(rows), 65_536):
        index.add(rows[start : start + 65_536].astype(np.float32))
    for threads in (1, 2):
        faiss.omp_set_num_threads(threads)
        best = timed(
            f"faiss SQ8, {threads} thread(s), rows copied to memory", lambda: index.search(as_float, 800), rounds
        )
    assert np.array_equal(np.sort(best[0][0]), np.sort(ours)[-800:])


def ann(store: FlatStore, copies: int, rounds: int) -> None:
    """The derived index over more than a million rows against the exact scan of the same rows."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        with (Path(folder) / "segments.0.i8").open("wb") as file:
            for _ in range(copies):
                for start in range(0, len(store._segments), 65_536):
                    rows = store._segments[start : start + 65_536].astype(np.float32)
                    rows += rng.normal(0, 3.0, rows.shape).astype(np.float32)
                    norms = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
                    file.write(quantise(rows / norms).tobytes())
        total = copies * len(store._segments) // 8 * 8
        at = np.arange(0, total, 8, dtype=np.int64)
        placements = np.stack([at // 8 + 1, at, np.full_like(at, 8), 0 * at, 0 * at], axis=1)
        large = FlatStore(Path(folder), Space(name="x", dim=store.space.dim, hop_s=1.0), 0, placements)
        some = queries(large, 40, 1)
        print(f"\n{'ms, ' + str(total) + ' segments':58}{_HEADER}")
        timed("exact scan, 800 tracks", lambda: large.nearest(some[0], 800), rounds)
        exact = [large.nearest(query, 100)[0].tolist() for query in some]
        started = time.perf_counter()
        assert large.index(), f"not over {ivf.WORTH_IT} segments: use more --copies"
        print(f"index made in {time.perf_counter() - started:.0f} s")
        timed("with the derived index, 800 tracks", lambda: large.nearest(some[0], 800), rounds)
        found = [large.nearest(query, 100)[0].tolist() for query in some]
        for k in (10, 100):
            shares = [len({*a[:k]} & {*b[:k]}) / k for a, b in zip(found, exact, strict=True)]
            print(f"recall@{k}: {np.mean(shares):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--space", default="synthetic/1")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--ann", action="store_true")
    parser.add_argument("--copies", type=int, default=3)
    args = parser.parse_args()
    if not args.ann:
        collection_times(args.directory, args.space, args.rounds)
    with Collection.open(args.directory) as shelf:
        if args.peers:
            peers(shelf.store(args.space), args.rounds)
        if args.ann:
            ann(shelf.store(args.space), args.copies, args.rounds)


if __name__ == "__main__":
    main()
