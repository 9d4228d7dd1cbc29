"""What a hit's score means: the share of what was asked that truly holds, on music with known truth.

    solfa data world WORLD --count 1000 --seed 0
    python benchmarks/scores.py --world WORLD --scratch DIR [--seed 0]

Indexes the val and the test split with everything on, asks for one to four of tempo, key, metre and chords of tracks
drawn at random, and notes for every track of the pool its score and which share of the constraints holds for it. Fits
the curve of ``retrieval.fusion.to_unit`` on val (prints slope and offset to set there) and prints how the scores of the
shipped curve agree with the truth on test.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from solfa.api import index, open_searcher
from solfa.collection import Collection
from solfa.core.annotation import MusicAnnotation
from solfa.datagen.judging import data_set
from solfa.evaluation.truth import holds
from solfa.jobs import ProcessExecutor
from solfa.query import parse
from solfa.retrieval import Display, fusion

QUERIES = 150


def texts(truths: list[MusicAnnotation], rng: np.random.Generator) -> list[str]:
    """Queries about tracks drawn at random."""
    made = []
    for _ in range(QUERIES):
        music = truths[int(rng.integers(len(truths)))]
        parts = [f"around {music.tempo_bpm:.0f} bpm" if music.tempo_bpm else "", f"in {music.key}" if music.key else ""]
        parts += [f"in {music.metre}" if music.metre else "", "no vocals"]
        known = [part for part in parts if part]
        picks = rng.permutation(len(known))[: rng.integers(1, 5)]
        made.append(", ".join(known[i] for i in picks))
    return made


def measured(world: Path, split: str, scratch: Path, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of hits, and the share of the constraints of each that holds; what is not known is left out."""
    sound = scratch / f"sound-{split}"
    sound.mkdir(parents=True, exist_ok=True)
    items = [
        item for item in data_set(world, split, sound).clips if item.annotation is not None and item.audio is not None
    ]
    # The instruments are left out: whether somebody sings in a background is not annotated.
    truths = [replace(item.annotation, instruments=()) for item in items if item.annotation is not None]
    row_of = {str(item.audio): row for row, item in enumerate(items)}
    scores, shares = [], []
    with Collection.open(scratch / f"collection-{split}", create=True) as collection:
        index(collection, [item.audio for item in items if item.audio], executor=ProcessExecutor(2))
        searcher, whole = open_searcher(collection), Display(k=len(items), duplicates=True)
        for text in texts(truths, np.random.default_rng(seed)):
            query = parse(text)
            for hit in searcher.search(query, display=whole).hits:
                known = [holds(c, truths[row_of[str(hit.path)]]) for c in query.constraints]
                true = [value for value in known if value is not None]
                if true:
                    scores.append(hit.score)
                    shares.append(np.mean(true))
    return np.array(scores, np.float64), np.array(shares, np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    score, share = measured(args.world, "val", args.scratch, args.seed)
    place = (np.log(score / (1 - score)) - fusion.OFFSET) / fusion.SLOPE

    def loss(curve: NDArray[np.float64]) -> float:
        p = 1 / (1 + np.exp(-(curve[0] * place + curve[1])))
        return float(-np.mean(share * np.log(p + 1e-9) + (1 - share) * np.log(1 - p + 1e-9)))

    found = minimize(loss, [fusion.SLOPE, fusion.OFFSET])
    shipped = loss(np.array([fusion.SLOPE, fusion.OFFSET]))
    print(f"val: {len(score)} hits; best slope {found.x[0]:.2f}, offset {found.x[1]:.2f}, log loss {found.fun:.3f}; "
          f"shipped {fusion.SLOPE:g}, {fusion.OFFSET:g}: {shipped:.3f}; one half for all: {np.log(2):.3f}")  # fmt: skip
    score, share = measured(args.world, "test", args.scratch, args.seed + 1)
    print(f"test: {len(score)} hits")
    for low in np.arange(0, 1, 0.1):
        inside = (score >= low) & (score < low + 0.1)
        if inside.sum() >= 20:
            print(f"  score {low:.1f}-{low + 0.1:.1f}: {inside.sum():6} hits, mean score {score[inside].mean():.2f}, "
                  f"share that holds {share[inside].mean():.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
