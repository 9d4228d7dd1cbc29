"""Relevance in numbers: how long its stages take, on a collection of synthetic_collection.py.

python benchmarks/synthetic_collection.py DIR --tracks 10000 --dim 64
python benchmarks/relevance.py summaries DIR
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

from solfa.collection import Collection
from solfa.relevance import summaries


def measure_summaries(directory: Path) -> None:
    """Summaries by rules of every track, from the opened collection, and how often each field is known."""
    with Collection.open(directory) as collection:
        start_s = time.perf_counter()
        known = [summary.known().keys() for _, summary in summaries(collection)]
        took_s = time.perf_counter() - start_s
    print(f"{len(known)} summaries in {took_s:.1f} s ({1000 * took_s / max(len(known), 1):.2f} ms each)")
    for name, count in Counter(name for fields in known for name in fields).most_common():
        print(f"{name:<18} {count / len(known):6.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure", choices=["summaries"])
    parser.add_argument("directory", type=Path)
    args = parser.parse_args()
    measure_summaries(args.directory)


if __name__ == "__main__":
    main()
