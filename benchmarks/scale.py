"""A collection in a Lance store and in shards: sizes, times, and whether shards answer as one machine does.

    python benchmarks/scale.py DIR --tracks 100000 [--shards 1 2 4] [--queries 500] [--hop-s 8]

Makes a collection (a part of it by synthetic_collection.py, the rest as copies with noise in the vectors and other
names), copies it to DIR/store and that part back, and asks both a searcher of the folder and shards the same random
queries with filters. The hits, scores and evidence of each are compared for equality. Steps that were done are not done
again. Ray runs on this machine: shards share its cores, so times say what the plan costs, not what more nodes gain.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import ray

import synthetic_collection
from search import synthetic_model
from solfa.cluster.lance_store import LanceStore
from solfa.cluster.shards import ShardedSearcher
from solfa.collection import Collection, Space, TrackVectors
from solfa.collection.store import SpaceFiles, space_directory
from solfa.core.types import JointModel
from solfa.query import parse, parse_where
from solfa.retrieval import Display, Results, Searcher

SPACE, DIM, TIMES = "synthetic/1", 512, 25
PARTS = (
    ("slow", "around 80 bpm", "110 BPM", "between 95 and 105 bpm", "fast", ""),
    ("D minor", "F major", "in A minor", "", ""),
    ("waltz", "6/8", "4/4", "", ""),
    ("Dm-Gm-A7", "Am-F-C-G", "i-VI-III-VII in any key", "", "", ""),
    ("solo piano", "warm Rhodes", "no vocals", "drums come in late", "guitar solo near the end", "female vocals", ""),
    ("dark ambient drone", "melancholic", "distant bells and rain", "upbeat funk", "driving synths", ""),
    ("blue river", "the silent machines", "builds up", "under 3 minutes", "", "", ""),
)
FILTERS = ("tempo_bpm=95..115", "genre=Rock", "date=1990..2010", "key=A minor", "duration_s>200", "instrument=piano",
           "artist~blue", "metre=3/4", "title~winter", "genre!=Jazz")  # fmt: skip


def loaded(name: str, allowed: bool) -> JointModel:
    return synthetic_model(SPACE, DIM, HOP_S)


HOP_S = 8.0


TABLES = ("track", "file", "scoring", "document", "timeline", "heard")


def build(directory: Path, tracks: int) -> None:
    base = tracks // TIMES
    synthetic_collection.build(directory, base, dim=DIM, hop_s=HOP_S, space=SPACE)
    space, rng = Space(name=SPACE, dim=DIM, hop_s=HOP_S), np.random.default_rng(1)
    files = SpaceFiles(space_directory(directory, 1), space, 0)
    with closing(sqlite3.connect(directory / "collection.sqlite")) as db:
        columns = {table: [row[1] for row in db.execute(f"PRAGMA table_info({table})")] for table in TABLES}
        places = db.execute("SELECT track_id, segment_at, segments, frame_at, frames FROM vector").fetchall()
        rows = [np.array(mapped) for mapped in files.mapped(files.rows())]
        for copy in range(1, TIMES):
            off = copy * base
            number = f"id - 1 + {off}"
            path = f"CAST(printf('/music/%03d/%06d.flac', ({number}) / 1000, {number}) AS BLOB)"
            new = {"id": f"id + {off}", "track_id": f"track_id + {off}", "hash": f"printf('%040x', {number})",
                   "path": path, "crc": "NULL"}  # fmt: skip
            for table, names in columns.items():
                own, key = [new.get(name, name) for name in names], "id" if "id" in names else "track_id"
                db.execute(f"INSERT INTO {table} SELECT {', '.join(own)} FROM {table} WHERE {key} <= {base}")
            said = "title, artist, album, genre, comment, path"
            db.execute(
                f"INSERT INTO words (rowid, {said}) SELECT rowid + {off}, {said} FROM words WHERE rowid <= {base}"
            )
            noise = (rng.integers(-4, 5, one.shape, np.int16) for one in rows)
            segments, frames = (
                np.clip(one + own, -127, 127).astype(np.int8) for one, own in zip(rows, noise, strict=True)
            )
            placed = files.append(
                TrackVectors(track_id=i + off, segments_SD=segments[a : a + s], frames_TD=frames[b : b + t])
                for i, a, s, b, t in places
            )
            vectors = [(p.track_id, p.segment_at, p.segments, p.frame_at, p.frames, p.crc) for p in placed]
            db.executemany("INSERT INTO vector VALUES (1,?,?,?,?,?,?,x'')", vectors)
        db.execute("UPDATE space SET segment_rows = ?, frame_rows = ?", files.rows())
        db.commit()


def questions(count: int) -> list[tuple[str, tuple[str, ...], Display]]:
    rng, found = np.random.default_rng(2), []
    while len(found) < count:
        text = ", ".join(part for part in (str(rng.choice(one)) for one in PARTS) if part)
        where = tuple(rng.choice(FILTERS, rng.integers(0, 3), replace=False).tolist())
        if text or where:
            k, page, per_artist = (int(rng.choice(of)) for of in ([5, 10, 20], [1, 1, 2], [0, 0, 2]))
            # Each track has copies that count as the same recording: collapsing them describes many hits.
            shown = Display(k=k, page=page, per_artist=per_artist, duplicates=bool(rng.random() < 0.8))
            found.append((text or "piano", where, shown))
    return found


def size(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def timed(name: str, call: object) -> object:
    at = time.perf_counter()
    made = call()  # type: ignore[operator]
    print(f"{name}: {time.perf_counter() - at:.1f} s", flush=True)
    return made


def ask(
    searcher: Searcher | ShardedSearcher, asked: list[tuple[str, tuple[str, ...], Display]]
) -> tuple[list[Results], list[float]]:
    answers, ms = [], []
    for text, where, shown in asked:
        query, filters, at = parse(text), [parse_where(one) for one in where], time.perf_counter()
        answers.append(searcher.search(query, where=filters, display=shown))
        ms.append((time.perf_counter() - at) * 1000)
    return answers, ms


def told(name: str, ms: list[float]) -> None:
    p50, p90, p99 = np.percentile(ms, (50, 90, 99))
    print(f"{name}: p50 {p50:.1f} ms, p90 {p90:.1f}, p99 {p99:.1f}; load {os.getloadavg()[0]:.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--tracks", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--shards", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--replicas", type=int, default=1)
    args = parser.parse_args()
    folder, store = args.directory / "folder", LanceStore(f"lance://{args.directory}/store")
    os.environ["SOLFA_HOME"], os.environ["LANCE_LOG"] = str(args.directory / "home"), "error"
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    if not folder.exists():
        timed(f"make {args.tracks} tracks", lambda: build(folder, args.tracks))
    if not Path(store.uri).exists():
        timed("copy folder to store", lambda: store.copy_from(folder))
        back = args.directory / "back"
        timed("copy a part back", lambda: store.copy_to(back, (1, args.tracks // TIMES)))
        shutil.rmtree(back)
    for name, path in (("folder", folder), ("store", Path(store.uri))):
        print(f"{name}: {size(path) / 1e9:.2f} GB, {size(path) / args.tracks:.0f} bytes a track")
    asked = questions(args.queries)
    with Collection.open(folder) as collection:
        alone = Searcher(collection, lambda: loaded("", False))
        ask(alone, asked[:20])
        expected, ms = ask(alone, asked)
        told("one machine", ms)
        print(
            f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB (mapped pages included)"
        )
    ray.init(address="local", num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False)
    for shards in args.shards:
        searcher = timed(f"open {shards} shards", lambda n=shards: ShardedSearcher(
            f"lance://{args.directory}/store", n, replicas=args.replicas, loaded=loaded))  # fmt: skip
        assert isinstance(searcher, ShardedSearcher)
        ask(searcher, asked[:20])
        found, ms = ask(searcher, asked)
        told(f"{shards} shards", ms)
        same = sum(
            (a.hits, a.candidates, a.note) == (b.hits, b.candidates, b.note)
            for a, b in zip(expected, found, strict=True)
        )
        print(f"{shards} shards: {same} of {len(asked)} answers equal, {sum(len(a.hits) for a in expected)} hits")
        searcher.close()
        for copy in (args.directory / "home" / "caches" / "lance").glob("*/*"):
            shutil.rmtree(copy)


if __name__ == "__main__":
    main()
