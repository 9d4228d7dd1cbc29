"""Captions against music whose truth is known: fits what is sure enough to be told, and measures what is told.

    python benchmarks/caption_truth.py render WORLD --seed 11 --train 16 --val 4 --test 4 --corpus pop909=DIR ...
    python benchmarks/caption_truth.py fit WORLD/clips.jsonl[:train,val] ... --save trust.json
    python benchmarks/caption_truth.py report WORLD/clips.jsonl[:test] ... [--trust trust.json] [--precision 0.9]
    python benchmarks/caption_truth.py diversity WORLD/clips.jsonl [--people CAPTIONS.csv --column caption]

``render`` makes clips of 10 s (shards of 50 for each split) and analyses them; corpora are those of `solfa data world`.
Splits hold other pieces, artists and drummers, and ``test`` another soundfont. ``report`` prints for each kind of
statement how many are told, the share that is true with a 95 % Wilson interval, and how many clips are left with what.
``diversity`` prints distinct n-grams and self-BLEU of captions, and of a table of captions that people wrote.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from solfa.analysis.analyze import analyze
from solfa.analysis.document import from_json, to_json
from solfa.analysis.registry import extractors
from solfa.core.types import Analysis
from solfa.data.building import build
from solfa.data.captions.attributes import attributes_of
from solfa.data.captions.grammar import LANGUAGES, STYLES, caption
from solfa.data.captions.trust import FIELDS, Trust, candidates, fit, holds
from solfa.data.records import SPLITS
from solfa.data.world.generate import World
from solfa.data.world.soundfonts import here
from solfa.evaluation.diversity import diversity

SECONDS = 10.0


def render(args: argparse.Namespace) -> None:
    """Make and analyse the clips."""
    world = World(
        soundfonts=tuple(f.path for f in here()), held_out=next(f.file for f in here() if f.held_out),
        corpora={name: Path(folder) for name, folder in (c.split("=", 1) for c in args.corpus)}, seconds=SECONDS,
        clips_per_shard=50, captions=1,
    )  # fmt: skip
    world.prepare()
    shards = {split: n for split in SPLITS if (n := getattr(args, split))}
    made = build(args.clips[0], world, name="world", config=world.config(), seed=args.seed, num_shards=shards)
    tools = extractors()
    with (Path(args.clips[0]) / "clips.jsonl").open("w") as file:
        for split in shards:
            for record in made.split(split):
                row = {"split": split, "id": record.id, "piece": record.piece, "truth": dict(record.attributes),
                       "analysis": to_json(analyze([made.audio(record)], tools))}  # fmt: skip
                file.write(json.dumps(row) + "\n")


def clips(names: list[str]) -> Iterator[tuple[Analysis, dict[str, Any], float, float, str]]:
    """The rows of files, of all splits or those named behind a colon."""
    for name in names:
        path, _, splits = name.partition(":")
        for line in Path(path).read_text().splitlines():
            row = json.loads(line)
            if not splits or row["split"] in splits.split(","):
                yield from_json(row["analysis"]), row["truth"], 0.0, SECONDS, row["piece"]


def wilson(true: int, told: int) -> str:
    """A share with its 95 % interval."""
    if not told:
        return "-"
    share, z = true / told, 1.96
    center = (share + z * z / (2 * told)) / (1 + z * z / told)
    half = z * np.sqrt(share * (1 - share) / told + z * z / (4 * told * told)) / (1 + z * z / told)
    return f"{share:.3f} [{center - half:.2f}, {center + half:.2f}]"


def report(args: argparse.Namespace) -> None:
    """Print how true what is told is."""
    trust, rows = Trust.load(args.trust), list(clips(args.clips))
    print(f"{len(rows)} clips, precision aimed at {args.precision:g}\n")
    print("| statement | could be told | of these true | told | of these true | hedged | of these true |")
    print("|---|---|---|---|---|---|---|")
    wrong: Counter[int] = Counter()
    for name in FIELDS:
        counts = {kind: [0, 0] for kind in ("all", "told", "hedged")}
        for i, (analysis, truth, start, end, _) in enumerate(rows):
            told = trust.told(analysis, start, end, args.precision)
            for value, hedged in told[name]:
                if (verdict := holds(name, value, truth)) is not None:
                    kind = counts["hedged" if hedged else "told"]
                    kind[0] += 1
                    kind[1] += verdict
                    wrong[i] += not hedged and not verdict
            for candidate in candidates(analysis, start, end)[name]:
                if (verdict := holds(name, candidate.value, truth)) is not None:
                    counts["all"][0] += 1
                    counts["all"][1] += verdict
        cells = " | ".join(f"{n} | {wilson(k, n)}" for n, k in counts.values())
        print(f"| {name} | {cells} |")
    known = [attributes_of(a, end_s=e, trust=trust, precision=args.precision)[0] for a, _, _, e, _ in rows]
    sure = [set(k) - {"unsure", "tempo_marking", "beats_per_bar"} for k in known]
    print(f"\nclips with something to tell: {wilson(sum(map(bool, known)), len(known))}; "
          f"for sure: {wilson(sum(map(bool, sure)), len(sure))}; "
          f"more than the absence of a voice: {wilson(sum(bool(s - {'voice'}) for s in sure), len(sure))}; "
          f"everything told is true: {wilson(sum(wrong[i] == 0 for i in range(len(rows))), len(rows))}")  # fmt: skip


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
            d = diversity(texts, sample=sample, seed=args.seed)
            shares = ", ".join(f"{s:.2f}" for s in d.distinct)
            print(f"| {name or 'drawn styles'} | {d.texts} | {d.mean_words:.0f} | {shares} | {d.self_bleu:.2f} |")


def main() -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("render", "fit", "report", "diversity"))
    parser.add_argument("clips", nargs="+", help="the folder to make, or files that render made")
    parser.add_argument("--seed", type=int, default=0)
    for split in SPLITS:
        parser.add_argument(f"--{split}", type=int, default=0, help="shards of 50 clips")
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
        {"render": render, "report": report, "diversity": spread}[args.command](args)


if __name__ == "__main__":
    main()
