"""What generated queries find, and what ``--not`` and ``--edit`` do, on rendered clips with exact truth.

    python benchmarks/generate.py --data world --split test --work DIR [--denoiser NAME=RUN ...] [--seeds 3]

``--data`` is a data set of ``solfa data world``; its clips are indexed in ``DIR`` with everything on, once. Truth is
what the renderer was told: instruments and genres. Four tables:

- retrieval: attributes that 3 clips or more have as queries (mAP), each clip's own list of words (R@10, MedR); and
  fidelity and diversity of the samples (``evaluation.generative``). ``text`` is the text side that the default model
  was made with, a named denoiser is a run of ``solfa train gdr``: another text encoder, a regression baseline.
  Runs of one name (trained with other seeds) are one row; ± is the deviation over runs and seeds of noise.
- not: queries "A, not B" where clips with A partly have B: share of B, of A, and of A without B among the first ten,
  for ways to exclude.
- edit: "A" edited by "add B": share of B and of A among the first ten, cosine with the query before, by strength.
- slider: the same by weight of the slider of B.

``--seeds`` are those of the noise; pairs A, B are drawn with seed 0.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from gdr import average_precision, unit, words_of
from solfa.api import index, open_searcher
from solfa.collection import Collection
from solfa.datagen.judging import data_set
from solfa.diffusion.retriever import Retriever
from solfa.evaluation.generative import fidelity
from solfa.query import Query, override, parse
from solfa.retrieval import Display, Like, Results, Searcher

TOP = 10
PAIRS = 80
STRENGTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
Truth = dict[int, set[str]]


def truth_of(collection: Collection, data: Path, split: str, sound: Path) -> Truth:
    """Index what is not there; the words that are true of each track."""
    fresh = not sound.exists()
    sound.mkdir(parents=True, exist_ok=True)
    clips = [clip for clip in data_set(data, split, sound).clips if clip.audio]
    if fresh or not collection.stats().tracks:
        index(collection, [clip.audio for clip in clips if clip.audio])
    words = {Path(str(clip.audio)).resolve(): set(words_of(clip)) for clip in clips}
    return {t.id: words[p.resolve()] for t in collection.tracks() for p in t.paths if p.resolve() in words}


def retrieval(searcher: Searcher, truth: Truth, retrievers: dict[str, list[Retriever]], seeds: int) -> None:
    """The first table. A name's retrievers are of trainings that differ in their seed."""
    ids = sorted(truth)
    windows = searcher.store.windows(ids)
    keys = unit(np.stack([each.pooled_WD.astype(np.float32).mean(axis=0) for each in windows]))
    names = sorted({word for words in truth.values() for word in words})
    right = {name: np.array([name in truth[i] for i in ids]) for name in names}
    right = {name: there for name, there in right.items() if 3 <= there.sum() <= 0.6 * len(ids)}
    texts = [*right, *(", ".join(sorted(truth[i])) for i in ids)]

    def judged(label: str, queries_SXD: np.ndarray, samples: np.ndarray | None = None) -> None:
        found = []
        for queries in queries_SXD:
            scores = queries @ keys.T
            mean_ap = np.mean(
                [average_precision(row, there) for row, there in zip(scores, right.values(), strict=False)]
            )
            ranks = np.array([(row > row[i]).sum() + 1 for i, row in enumerate(scores[len(right) :])])
            found.append((mean_ap, (ranks <= TOP).mean(), 100 * np.median(ranks) / len(ids)))
        mean, spread = np.mean(found, axis=0), np.std(found, axis=0)
        said = "  ".join(
            f"{n} {m:.3f} ± {s:.3f}" for n, m, s in zip(("mAP", "R@10", "MedR%"), mean, spread, strict=True)
        )
        real = fidelity(samples, keys) if samples is not None else fidelity(queries_SXD[0], keys)
        kept = ("FD", "precision", "coverage", "Vendi", "MICS", "MIVS", "centroid distance")
        print(f"{label:26} {said}  " + "  ".join(f"{name} {real[name]:.3f}" for name in kept if name in real))

    text_side = searcher.model.text
    judged("text", np.stack([unit(np.concatenate([text_side.encode([t]).global_BD for t in texts]))]))
    for name, trained in retrievers.items():
        generates = trained[0].spec.generates
        for count in (1, 5) if generates else (1,):
            runs = [(one, 100 * seed) for one in trained for seed in range(seeds if generates else 1)]
            made = [[one.generate(t, samples=count, seed=seed) for t in texts] for one, seed in runs]
            queries = np.stack([[m.vector_D for m in run] for run in made])
            several = np.stack([unit(m.latents_STD.mean(axis=1)) for m in made[0]]) if count > 1 else None
            judged(f"{name}, {count} samples", queries, several)


def pairs(truth: Truth, joint: int, apart: int) -> list[tuple[str, str]]:
    """Words A, B of which so many clips have both, and A without B; drawn with seed 0."""
    names = sorted({word for words in truth.values() for word in words})
    found = [
        (a, b) for a in names for b in names if a != b and _measured(b)
        and sum({a, b} <= words for words in truth.values()) >= joint
        and sum(a in words and b not in words for words in truth.values()) >= apart
    ]  # fmt: skip
    order = np.random.default_rng(0).permutation(len(found))[:PAIRS]
    return [found[i] for i in sorted(order)]


def _measured(name: str) -> bool:
    constraints = parse(name).constraints
    return len(constraints) == 1 and constraints[0].label == "instrument"


def shares(found: Results, truth: Truth, a: str, b: str) -> tuple[float, ...]:
    """Of B, of A, and of A without B among the hits."""
    own = [truth[hit.track_id] for hit in found.hits]
    return tuple(
        float(np.mean(each)) for each in zip(*((b in w, a in w, a in w and b not in w) for w in own), strict=True)
    )


def excluding(searcher: Searcher, truth: Truth, retriever: Retriever, seeds: int) -> None:
    """The second table."""
    chosen = pairs(truth, 3, 3)
    display = Display(k=TOP, duplicates=True)
    print(f"not: {len(chosen)} pairs of {len({b for _, b in chosen})} excluded instruments")

    def generated(query: Query, negative: str, seed: int) -> Like:
        made = retriever.generate(query.text, negative, seed=seed)
        plain = retriever.generate(query.text, seed=seed).vector_D
        cosines.append(float(plain @ made.vector_D))
        return retriever.instead(made, searcher)

    def away(b: str) -> Like:
        vector = searcher.model.text.encode([b]).global_BD[0]
        return Like(vector, b, weight=-1.0)

    def ways(a: str, b: str, seed: int) -> Iterator[tuple[str, Callable[[], Results]]]:
        plain, measured = parse(a), override(parse(a), avoid=(b,))
        measured = replace(measured, negated_phrases=())
        find = searcher.search
        for by in ("search", "vectors"):
            at = {"display": display, "by": by}
            yield f"{by}: nothing excluded", lambda at=at: find(plain, **at)
            yield f"{by}: subtraction", lambda at=at: find(plain, like=[away(b)], **at)
            yield f"{by}: generated, not excluded", lambda at=at: find(plain, instead=generated(plain, "", seed), **at)
            yield f"{by}: generated away", lambda at=at: find(plain, instead=generated(plain, b, seed), **at)
        at = {"display": display}
        yield "search: attributes", lambda: find(measured, **at)
        yield "search: attributes, subtraction", lambda: find(measured, like=[away(b)], **at)
        yield "search: attributes, generated away", lambda: find(measured, instead=generated(plain, b, seed), **at)
        yield (
            "search: attributes, subtraction, generated away",
            lambda: find(measured, like=[away(b)], instead=generated(plain, b, seed), **at),
        )
        yield "search: as the product does", lambda: find(override(parse(a), avoid=(b,)), **at)

    rows: dict[str, list[list[tuple[float, ...]]]] = {}
    apart: dict[str, list[float]] = {}
    for seed in range(seeds):
        for a, b in chosen:
            for name, find in ways(a, b, seed):
                if seed and "generated" not in name:
                    continue
                cosines: list[float] = []
                rows.setdefault(name, [[] for _ in range(seeds)])[seed].append(shares(find(), truth, a, b))
                apart.setdefault(name, []).extend(cosines)
    product = np.array(rows["search: as the product does"][0])
    for name, found in sorted(rows.items()):
        runs = np.array([run for run in found if run])
        (b, a, right), spread = runs.mean(axis=(0, 1)), runs.mean(axis=1).std(axis=0)[2]
        more = runs.mean(axis=0)[:, 2] - product[:, 2]
        error = more.std() / len(chosen) ** 0.5
        kept = f"  cosine with the query unnegated {np.mean(apart[name]):.3f}" if apart[name] else ""
        print(f"{name:48} B {b:.3f}  A {a:.3f}  A without B {right:.3f} ± {spread:.3f}, "
              f"against the product {more.mean():+.3f} ± {error:.3f}{kept}")  # fmt: skip


def editing(searcher: Searcher, truth: Truth, retriever: Retriever, seeds: int) -> None:
    """The third and the fourth table; ordered by vectors, so that only what was generated counts."""
    chosen = pairs(truth, 3, 3)[::2]
    display = Display(k=TOP, duplicates=True)
    sliders = {b: retriever.slider(b) for b in {b for _, b in chosen}}
    rows: dict[str, list[tuple[float, ...]]] = {}
    for seed in range(seeds):
        for a, b in chosen:
            made = retriever.generate(a, seed=seed)
            changed = {f"strength {s:g}": retriever.edit(made, f"{a}, {b}", strength=s) for s in STRENGTHS}
            changed |= {f"slider {w:+g}": made.toward(sliders[b], w) for w in (-1, -0.5, 0, 0.5, 1)}
            for name, new in changed.items():
                like = retriever.instead(new, searcher)
                found = searcher.search(parse(a), instead=like, by="vectors", display=display)
                cosine = float(new.vector_D @ made.vector_D)
                rows.setdefault(name, []).append((*shares(found, truth, a, b), cosine))
    for name, found in rows.items():
        b, a, _, cosine = np.mean(found, axis=0)
        print(f"edit {name:14} share of B {b:.3f}  share of A {a:.3f}  cosine with the query before {cosine:.3f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--denoiser", action="append", default=[], help="NAME=RUN, repeatable")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=("retrieval", "not", "edit"))
    args = parser.parse_args()
    shipped = Retriever()
    others = dict[str, list[Retriever]]()
    for name, _, run in (each.partition("=") for each in args.denoiser):
        others.setdefault(name, []).append(Retriever(run))
    with Collection.open(args.work / "collection", create=True) as collection:
        truth = truth_of(collection, args.data, args.split, args.work / "sound")
        searcher = open_searcher(collection)
        print(f"{len(truth)} clips, {args.seeds} seeds of noise, guidance 3")
        if args.only in (None, "retrieval"):
            retrieval(searcher, truth, {"shipped": [shipped], **others}, args.seeds)
        if args.only in (None, "not"):
            excluding(searcher, truth, shipped, args.seeds)
        if args.only in (None, "edit"):
            editing(searcher, truth, shipped, args.seeds)


if __name__ == "__main__":
    main()
