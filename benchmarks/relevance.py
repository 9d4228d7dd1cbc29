"""Relevance in numbers: how long its stages take, and how good judges are on planted cases.

python benchmarks/synthetic_collection.py DIR --tracks 10000 --dim 64
python benchmarks/relevance.py summaries DIR
python benchmarks/relevance.py rerank DIR
python benchmarks/relevance.py judge --noise 0.3 --seed 1
python benchmarks/relevance.py judge --judge http://localhost:8000/v1 --model NAME --pairs 40
"""

from __future__ import annotations

import argparse
import time
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from search import synthetic_model
from solfa.api import open_searcher, read_query
from solfa.collection import Collection
from solfa.encoders.bridge_text import MEANINGS
from solfa.evaluation.judges import cohen_kappa, order_consistency
from solfa.language import narrate
from solfa.llm import Endpoint, ModelClient
from solfa.relevance import LlmJudge, RuleJudge, TrackSummary, summaries
from solfa.relevance.judge import PairVerdict
from solfa.relevance.rerank import BUDGET_MS, MOST, rerank, stages_ms
from solfa.retrieval import Display, Searcher

ROUNDS = 10
MOST_NARRATED = 1000
CONTEXTS = Path(__file__).with_name("relevance_contexts.toml")
QUERIES = ("piano", "calm ambient with pads, no drums", "rock with electric guitar", "slow waltz in D minor",
           "house music around 125 bpm", "female vocals, sad", "orchestral, epic", "jazz trio", "drums and bass",
           "acoustic guitar, happy")  # fmt: skip


def measure_summaries(directory: Path) -> None:
    """Summaries by rules of every track, from the opened collection, and how often each field is known."""
    with Collection.open(directory) as collection:
        start_s, cpu_s = time.perf_counter(), time.process_time()
        known = [summary.known().keys() for _, summary in summaries(collection)]
        took_s, cpu_s = time.perf_counter() - start_s, time.process_time() - cpu_s
        ids = [row.id for row in collection.tracks()][:MOST_NARRATED]
        told_s, told_cpu_s = time.perf_counter(), time.process_time()
        told = [narrate(collection.analysis(track_id)) for track_id in ids]
        told_s, told_cpu_s = time.perf_counter() - told_s, time.process_time() - told_cpu_s
    print(f"{len(known)} summaries in {took_s:.1f} s, {cpu_s:.1f} s of one core")
    length = np.mean([len(claims) for claims in told])
    print(f"{len(told)} narrations of {length:.0f} sentences in {told_s:.1f} s, {told_cpu_s:.1f} s of one core")
    for name, count in Counter(name for fields in known for name in fields).most_common():
        print(f"{name:<18} {count / len(known):6.1%}")


def measure_rerank(directory: Path) -> None:
    """Each stage of searches whose hits are reordered for a context; no text was encoded before in its round."""
    contexts = list(tomllib.loads(CONTEXTS.read_text(encoding="utf-8")))
    stages: dict[str, list[float]] = {name: [] for name in BUDGET_MS}
    judged = []
    with Collection.open(directory) as collection:
        space = next(iter(collection.spaces()))
        model = synthetic_model(space, collection.store(space).space.dim) if space.startswith("synthetic") else None
        for number in range(-1, len(QUERIES) * ROUNDS):  # the first search is left out: it reads the collection
            if number % len(QUERIES) == 0 or number < 0:
                MEANINGS.clear()
                searcher = open_searcher(collection) if model is None else Searcher(collection, lambda: model)
                searcher.search(read_query("quiet"))
            query, context = read_query(QUERIES[number % len(QUERIES)]), contexts[number % len(contexts)]
            found = searcher.search(query, display=Display(k=MOST, duplicates=True))
            reordered = rerank(collection, found, context, RuleJudge())
            if number >= 0:
                for name, ms in stages_ms(reordered.timing_ms).items():
                    stages[name].append(ms)
                judged.append(sum(any(e.constraint == "for" for e in hit.evidence) for hit in reordered.hits))
        full = {str(i): summary for i, summary in list(summaries(collection, searcher.store.track_ids[:MOST].tolist()))}
        alone = []
        for context in contexts * 10:
            start_s = time.perf_counter()
            RuleJudge().listwise(context, full)
            alone.append(1000 * (time.perf_counter() - start_s))
    print(f"{len(judged)} searches, {np.mean(judged):.0f} hits judged in each on average")
    for name, values in stages.items():
        p50, p95 = np.percentile(values, (50, 95))
        print(f"{name:<11} p50 {p50:7.1f} ms  p95 {p95:7.1f} ms  budget {BUDGET_MS[name]:g} ms")
    print(f"listwise of {len(full)}: p50 {np.median(alone):.1f} ms, p95 {np.percentile(alone, 95):.1f} ms, "
          f"first {alone[0]:.1f} ms")  # fmt: skip


def made_up(name: str, noise: float, rng: np.random.Generator) -> TrackSummary:
    """The track that fits a context; with ``noise`` each field is unknown with that probability, and that of another
    random track with half of it."""
    table = tomllib.loads(CONTEXTS.read_text(encoding="utf-8"))
    names, fields = list(table), {}
    for field, value in table[name].items():
        draw = rng.random()
        if draw >= noise:
            source = names[rng.integers(len(names))] if draw < 1.5 * noise else name
            value = table[source][field]
            fields[field] = tuple(value) if isinstance(value, list) else value
    return TrackSummary(description="", **fields)


def planted(noise: float, num_pairs: int, seed: int) -> list[tuple[str, TrackSummary, TrackSummary, str]]:
    """Contexts with two tracks, one of which was made for it, and which of them that is; in random order."""
    rng, names = np.random.default_rng(seed), list(tomllib.loads(CONTEXTS.read_text(encoding="utf-8")))
    pairs = [(context, other) for context in names for other in names if other != context]
    chosen = rng.permutation(len(pairs))[:num_pairs] if num_pairs else range(len(pairs))
    made = []
    for i in chosen:
        context, other = pairs[i]
        right, wrong = made_up(context, noise, rng), made_up(other, noise, rng)
        first = rng.random() < 0.5
        made.append((context, *((right, wrong) if first else (wrong, right)), "first" if first else "second"))
    return made


def measure_order(noise: float, seed: int) -> None:
    """nDCG@10 of 48 tracks, three made for each context, in random order and in that of the rules."""
    rng, names = np.random.default_rng(seed), list(tomllib.loads(CONTEXTS.read_text(encoding="utf-8")))
    tracks = [(name, made_up(name, noise, rng)) for name in names for _ in range(3)]
    before, after = [], []
    for context in names:
        shuffled = {str(i): tracks[i][1] for i in rng.permutation(len(tracks))}
        for order, values in ((shuffled, before), (RuleJudge().listwise(context, shuffled).order, after)):
            gains = [float(tracks[int(i)][0] == context) for i in list(order)[:10]]
            worth = 1 / np.log2(np.arange(2, 12))
            values.append(np.dot(gains, worth) / worth[:3].sum())
    print(f"nDCG@10 of 48 tracks: {np.mean(before):.2f} in random order, {np.mean(after):.2f} by the rules")


def measure_judge(args: argparse.Namespace) -> None:
    """Agreement with the planted truth, ties, order, and whether confidence says anything."""
    judge: RuleJudge | LlmJudge = RuleJudge()
    if args.judge != "rules":
        endpoint = Endpoint(url=args.judge, model=args.model, temperature=0.0, timeout_s=300.0)
        judge = LlmJudge(client=ModelClient(endpoint, args.answers))
    cases = planted(args.noise, args.pairs, args.seed)
    verdicts: list[PairVerdict] = []
    swapped: list[PairVerdict] = []
    start_s = time.perf_counter()
    for context, a, b, _ in cases:
        verdicts.append(judge.pairwise(context, a, b))
        swapped.append(judge.pairwise(context, b, a))
    took_s = time.perf_counter() - start_s
    truth, winners = [case[3] for case in cases], [v.winner for v in verdicts]
    right = [w == t for w, t in zip(winners, truth, strict=True)]
    decided = [w != "tie" for w in winners]
    held = order_consistency(winners, [v.winner for v in swapped]).rate.value
    if args.judge != "rules":  # the judge makes a tie of what depends on the order: count what it answered
        held = np.mean([not v.reason.startswith("the orders disagree") for v in verdicts])
    confident = [v.confidence for v in verdicts]
    rho = spearmanr(confident, right).statistic if len(set(confident)) > 1 and len(set(right)) > 1 else float("nan")
    unread = sum("can be read" in v.reason for v in verdicts)
    print(f"{len(cases)} pairs, noise {args.noise}, seed {args.seed}, {took_s:.1f} s")
    print(f"right {np.mean(right):.1%} of all, {np.sum(right) / max(np.sum(decided), 1):.1%} of those decided; "
          f"kappa {cohen_kappa(truth, winners):.2f}")  # fmt: skip
    print(f"ties {1 - np.mean(decided):.1%}, same verdict in both orders {held:.1%}, answers not read {unread}")
    print(f"Spearman of confidence and correctness {rho:.2f}")
    if args.judge == "rules":
        measure_order(args.noise, args.seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure", choices=["summaries", "rerank", "judge"])
    parser.add_argument("directory", type=Path, nargs="?")
    parser.add_argument("--judge", default="rules")
    parser.add_argument("--model", default="")
    parser.add_argument("--answers", type=Path, default=Path("answers"))
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--pairs", type=int, default=0, help="Pairs drawn (default: all).")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.measure == "judge":
        measure_judge(args)
    elif args.directory is None:
        parser.error("name the collection")
    else:
        {"summaries": measure_summaries, "rerank": measure_rerank}[args.measure](args.directory)


if __name__ == "__main__":
    main()
