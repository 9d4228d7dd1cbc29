"""Text to music on real recordings with human captions: ``python benchmarks/retrieval.py --data FOLDER``.

``FOLDER`` holds sound files and an ``index.csv`` with the columns file, description, genre, feel, instruments. Every
caption is a query, its own clip the only right answer. R@k in per cent, MedR the median rank, with 95 % bootstrap
intervals over queries; all rows of a table see the same clips and queries.

With ``--soundfont A --soundfont B`` (needs ``fluidsynth``) also: instruments playing alone, other melodies through
another soundfont, found by their like (sound to sound) and by their names (text to sound).
"""

from __future__ import annotations

import argparse
import csv
import math
import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import gm
from solfa.audio import stretches
from solfa.core.types import FloatArray
from solfa.core.vocabulary import concept
from solfa.encoders.bridge import load
from solfa.encoders.bridge_space import axes
from solfa.evaluation.ranking import Relevance, Scores, rank_relevant
from solfa.evaluation.retrieval import evaluate

Matrix = NDArray[np.floating]
_FIELDS = {
    "description": ("description",),
    "tags": ("genre", "feel", "instruments"),
    "all": ("description", "genre", "feel", "instruments"),
}


def row(name: str, scores: Matrix, seed: int) -> str:
    """One line of the table, from a square matrix queries x clips: ties stand against the right clip."""
    ranks = rank_relevant(Scores.of(scores), Relevance.of_targets(np.arange(len(scores)), len(scores)))
    found = evaluate(ranks, ("R@1", "R@5", "R@10", "MedR"), seed=seed)
    cells = []
    for metric, i in found.items():
        scale = 1 if metric == "MedR" else 100
        cells.append(f"{scale * i.value:5.1f} [{scale * i.low:4.1f}, {scale * i.high:4.1f}]")
    return f"| {name:26} | " + " | ".join(cells) + f" | {float(np.exp(np.log(ranks.first).mean())):5.2f} |"


def masked(texts: FloatArray, sounds: FloatArray, nets: Sequence[str]) -> Matrix:
    """Cosines on the tag axes of some networks only."""
    on = np.array([net in nets for net, _ in axes()])
    a, b = texts[:, : len(on)][:, on], sounds[:, : len(on)][:, on]
    cosines: Matrix = (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T
    return cosines


def bm25(queries: Sequence[str], sounds: FloatArray, top: int = 20) -> Matrix:
    """Okapi BM25 of the query's words against the names of each clip's strongest tags."""
    names = [name for _, name in axes()]
    documents = [_words(" ".join(names[i] for i in np.argsort(-s[: len(names)])[:top])) for s in sounds]
    frequency = Counter(word for document in documents for word in set(document))
    mean = float(np.mean([len(d) for d in documents]))
    scores = np.zeros((len(queries), len(documents)))
    for q, query in enumerate(queries):
        for word in set(_words(query)) & set(frequency):
            idf = math.log(1 + (len(documents) - frequency[word] + 0.5) / (frequency[word] + 0.5))
            for d, document in enumerate(documents):
                count = document.count(word)
                scores[q, d] += idf * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(document) / mean))
    return scores


def instruments(soundfonts: Sequence[Path], per_concept: int) -> None:
    """Print nearest neighbours across two soundfonts, and the average precision of names."""
    model, names = load(), sorted(gm.MELODIC)
    owner = np.repeat(np.arange(len(names)), per_concept)
    first, second = (
        np.concatenate([model.audio.encode([c.audio]).global_BD for c in gm.solos(f, per_concept, seed)])
        for seed, f in enumerate(soundfonts)
    )
    texts = model.text.encode([concept(name).title for name in names]).global_BD
    found = owner[(first @ second.T).argmax(axis=1)] == owner
    precision = []
    for i, scores in enumerate(texts @ second.T):
        right = owner[np.argsort(-scores, kind="stable")] == i
        precision.append(float((np.cumsum(right) / np.arange(1, len(right) + 1))[right].mean()))
    print(f"\n{len(names)} instruments alone, {per_concept} melodies each, two soundfonts")
    print(f"like this: nearest neighbour right {100 * found.mean():.0f} % (chance {100 / len(names):.0f} %)")
    print(f"by name: mean average precision {np.mean(precision):.2f} (chance about {1.5 / len(names):.2f})")


def _words(text: str) -> list[str]:
    return [w.rstrip("s") for w in re.findall(r"[a-z0-9]+", text.lower())]


def main() -> None:
    """Encode, score, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--soundfont", type=Path, action="append", default=[])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with (arguments.data / "index.csv").open(encoding="utf-8", newline="") as stream:
        index = list(csv.DictReader(stream))
    model = load()
    started = time.perf_counter()
    clips = [next(iter(stretches(arguments.data / entry["file"]))) for entry in index]
    sounds = np.concatenate([model.audio.encode([clip]).global_BD for clip in clips])
    seconds = sum(clip.duration_s for clip in clips)
    print(f"{len(clips)} clips, {seconds:.0f} s of sound in {time.perf_counter() - started:.1f} s; space {model.space}")
    for name, fields in _FIELDS.items():
        queries = [", ".join(entry[f] for f in fields if entry[f]) for entry in index]
        started = time.perf_counter()
        texts = model.text.encode(queries).global_BD
        print(f"\nqueries: {name} ({(time.perf_counter() - started) / len(queries) * 1e3:.0f} ms a query)")
        print("| model | R@1 | R@5 | R@10 | MedR | geometric mean rank |\n|---|---|---|---|---|---|")
        print(row("bridge", texts @ sounds.T, arguments.seed))
        print(row("YAMNet only", masked(texts, sounds, ["yamnet"]), arguments.seed))
        print(row("musicnn only", masked(texts, sounds, ["mtt", "msd"]), arguments.seed))
        print(row("BM25 on tag names", bm25(queries, sounds), arguments.seed))
        print(row("chance", np.random.default_rng(arguments.seed).random((len(queries),) * 2), arguments.seed))
    if len(arguments.soundfont) == 2:
        instruments(arguments.soundfont, 2)


if __name__ == "__main__":
    main()
