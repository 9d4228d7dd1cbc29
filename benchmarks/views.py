"""What search ranks by against what was trained: global, frame, mix, and the mean frame that search once used.

    solfa data soundfonts && solfa data world WORLD --count 1200 --seed 0
    python benchmarks/views.py --world WORLD --scratch DIR [--seeds 0,1,2]
        [--captions DIR] [--recipes figma,finelap,united]

Trains each recipe at its small sizes on the taggers and MiniLM for each seed, indexes the test split and, with
--captions, a folder of whole tracks with an index.csv (columns file, description), and asks every caption through the
public API (``solfa.api.open_searcher``, ``by="vectors"``). Prints R@1 and R@10 of each view, mean and range over
seeds. "mean frame" is the way that search once ranked: the pooled text against the mean of all frames. "shuffled"
answers with the captions of other clips: what a system that does not listen gets.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from solfa.alignment.scores import Texts, window_scores
from solfa.api import index, open_searcher
from solfa.collection import Collection
from solfa.core.types import Audio, States
from solfa.datagen.judging import data_set
from solfa.encoders import trained
from solfa.encoders.registry import load_model
from solfa.evaluation.ranking import Relevance, Scores, rank_lists, rank_relevant
from solfa.evaluation.retrieval import evaluate
from solfa.query import parse
from solfa.retrieval import Display
from solfa.training.recipes import Recipe
from solfa.training.run import run

METRICS = ("R@1", "R@10")


class Kept:
    """A backbone whose states of sound are kept on disk: the same windows are asked for by every model."""

    def __init__(self, backbone: Any, folder: Path) -> None:
        self._backbone, self._folder = backbone, folder
        folder.mkdir(parents=True, exist_ok=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    def states(self, batch: Sequence[Any]) -> States:
        if len(batch) != 1 or not isinstance(batch[0], Audio):
            found: States = self._backbone.states(batch)
            return found
        key = hashlib.sha256(batch[0].samples.tobytes() + str(batch[0].sample_rate_hz).encode()).hexdigest()
        file = self._folder / f"{key[:32]}.npz"
        if not file.exists():
            made = self._backbone.states(batch)
            np.savez(file, pooled=made.pooled_BD, states=made.states_BTD, mask=made.mask_BT)
        with np.load(file) as kept:
            return States(pooled_BD=kept["pooled"], states_BTD=kept["states"], mask_BT=kept["mask"])


def recalls(directory: Path, model: str, files: list[Path], captions: list[tuple[str, int]]) -> dict[str, list[float]]:
    """R@1 and R@10 of text to audio, by the name of the way."""
    found: dict[str, list[float]] = {}
    relevance = Relevance.of_targets([row for _, row in captions], len(files))
    with Collection.open(directory, create=True) as collection:
        index(collection, files, model=model, extractors=["loudness"])
        row_of = {path.resolve(): row for row, path in enumerate(files)}
        rows = {track.id: row_of[track.paths[0].resolve()] for track in collection.tracks()}
        whole = Display(k=len(files), duplicates=True)
        joint = load_model(model)
        for view in ("global", "frame", "mix") if joint.audio.spec.window_s else ("global",):
            searcher = open_searcher(collection, view=view)
            lists = [
                [rows[h.track_id] for h in searcher.search(parse(text), display=whole, by="vectors").hits]
                for text, _ in captions
            ]
            ranks = rank_lists(lists, relevance)
            found[view] = [i.value for i in evaluate(ranks, METRICS, num_resamples=10).values()]
        ids = sorted(rows, key=rows.__getitem__)
        tracks = collection.store(joint.space).windows(ids)
        frames = [w.frames_TD.astype(np.float32).mean(axis=0) for w in tracks]
        mean = np.stack([f / np.linalg.norm(f) for f in frames])
        asked = Texts.of(joint.text.encode([text for text, _ in captions]))
        by_window = [window_scores(joint.views.rank, w, asked) for w in tracks] if joint.audio.spec.window_s else []
        matrices = {"mean frame (once)": asked.pooled_XD @ mean.T}
        if any(len(w) > 1 for w in by_window):  # the rule from windows to a track, in the view that the model ranks by
            matrices["best window alone"] = np.stack([w.max(axis=0) for w in by_window], axis=1)
            matrices["mean window alone"] = np.stack([w.mean(axis=0) for w in by_window], axis=1)
        for name, matrix in matrices.items():
            ranks = rank_relevant(Scores.of(matrix.astype(np.float64)), relevance)
            found[name] = [i.value for i in evaluate(ranks, METRICS, num_resamples=10).values()]
        order = np.random.default_rng(0).permutation(len(files))
        shuffled = Relevance.of_targets([int(order[row]) for _, row in captions], len(files))
        found["shuffled"] = [i.value for i in evaluate(rank_lists(lists, shuffled), METRICS, num_resamples=10).values()]
    return found


def smaller(recipe: Recipe, *, seed: int, epochs: int) -> Recipe:
    """What two cores train in minutes."""
    return replace(recipe, seed=seed, epochs=epochs, precision="bfloat16", bucket_batches=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--captions", type=Path)
    parser.add_argument("--recipes", default="figma,finelap,united")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=8)
    args = parser.parse_args()
    load_on = trained.load_on
    trained.load_on = lambda name, kind, **options: (  # type: ignore[assignment]
        Kept(load_on(name, kind, **options), args.scratch / "states")
        if kind == "audio"
        else load_on(name, kind, **options)
    )
    sound = args.scratch / "test"
    sound.mkdir(parents=True, exist_ok=True)
    clips = data_set(args.world, "test", sound)
    pools = {"world": ([i.audio for i in clips.clips], [(c, r) for r, i in enumerate(clips.clips) for c in i.captions])}
    if args.captions is not None:
        with (args.captions / "index.csv").open(encoding="utf-8") as file:
            listed = list(csv.DictReader(file))
        pools["tracks"] = (
            [args.captions / row["file"] for row in listed],
            [(row["description"], number) for number, row in enumerate(listed) if row["description"].strip()],
        )
    for recipe in args.recipes.split(","):
        values: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
        for seed in map(int, args.seeds.split(",")):
            out = args.scratch / f"{recipe}-{seed}"
            if not (out / "model" / "model.json").exists():
                run(
                    recipe,
                    args.world,
                    out,
                    change=partial(smaller, seed=seed, epochs=args.epochs),
                    resume=(out / "config.json").exists(),
                )
            for pool, (files, captions) in pools.items():
                directory = args.scratch / f"{recipe}-{seed}-{pool}"
                for way, numbers in recalls(directory, f"trained:{out / 'model'}", files, captions).items():
                    values[pool, way].append(numbers)
                print(f"{recipe} seed {seed}, {pool}: {len(files)} sounds, {len(captions)} captions", flush=True)
        for (pool, way), rows in values.items():
            numbers = 100 * np.array(rows)
            cells = [
                f"{name} {column.mean():.1f} ({column.min():.1f}-{column.max():.1f})"
                for name, column in zip(METRICS, numbers.T, strict=True)
            ]
            print(f"{recipe:8} {pool:7} {way:18} {'  '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
