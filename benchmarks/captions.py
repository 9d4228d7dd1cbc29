"""Text to audio with the whole product: human descriptions as queries, every track of the folder as the pool.

    python benchmarks/captions.py --data DIR --collection DIR [--columns description,genre,feel,instruments]

DIR holds index.csv (columns file, description, ...) and the files. Prints R@1, R@5, R@10 and the median rank (also as
% of the pool), each with a 95 % bootstrap interval (seed 0), for the product and for ablations: attributes only, sound
only. File names and tags are not used (--names to use them as the product does): a description must be found by what
is heard.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from solfa.api import index, open_searcher
from solfa.collection import Collection
from solfa.evaluation.ranking import Relevance, rank_lists
from solfa.evaluation.retrieval import evaluate
from solfa.jobs import ProcessExecutor
from solfa.query import Query, parse
from solfa.retrieval import Display, Searcher


def text_of(row: dict[str, str], columns: list[str]) -> str:
    return ". ".join(row[c].strip().rstrip(".") for c in columns if row[c].strip())


def variant(query: Query, name: str, names: bool) -> Query:
    query = query if names else replace(query, words="")
    return replace(query, constraints=()) if name == "sound only" else query


def by_attributes(searcher: Searcher, query: Query) -> list[int]:
    """Tracks by the evidence of constraints alone, best first; ties by id, as search has them."""
    ids, attributes, _ = searcher.evidence(query)
    return [int(i) for i in ids[np.argsort(-attributes, kind="stable")]]


def report(name: str, lists: list[list[int]], targets: list[int], pool: int) -> None:
    found = evaluate(rank_lists(lists, Relevance.of_targets(targets, pool)), ("R@1", "R@5", "R@10", "MedR", "MedR%"))
    parts = [f"{metric} {i.value:.3g} [{i.low:.2g}, {i.high:.2g}]" for metric, i in found.items()]
    print(f"{name:<18} {'  '.join(parts)}, pool {pool}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--collection", type=Path, required=True)
    parser.add_argument("--columns", default="description")
    parser.add_argument("--names", action="store_true", help="let file names and tags count")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    with (args.data / "index.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    queries = [(row["file"], text_of(row, args.columns.split(","))) for row in rows]
    queries = [(file, text) for file, text in queries if text]
    with Collection.open(args.collection, create=True) as collection:
        done = index(collection, [args.data], executor=ProcessExecutor(args.workers))
        print(f"indexed {done.audio_s:.0f} s of music in {done.seconds:.1f} s, {len(done.failed)} failed")
        searcher = open_searcher(collection)
        rows = {t.id: row for row, t in enumerate(collection.tracks())}
        row_of = {path.name: rows[t.id] for t in collection.tracks() for path in t.paths}
        whole = Display(k=len(rows), duplicates=True)
        for name in ("product", "attributes only", "sound only"):
            lists = []
            for _, text in queries:
                asked = variant(parse(text), name, args.names)
                if name == "attributes only":
                    lists.append([rows[i] for i in by_attributes(searcher, asked)] if asked.constraints else [])
                    continue
                understood = asked.constraints or asked.phrases or asked.negated_phrases or asked.words
                hits = searcher.search(asked, display=whole).hits if understood else ()
                lists.append([rows[hit.track_id] for hit in hits])
            report(name, lists, [row_of[file] for file, _ in queries], len(rows))


if __name__ == "__main__":
    main()
