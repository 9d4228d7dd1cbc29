"""What rules without sound earn on counterfactual captions: edits made independently, and values exchanged in pairs.

    python benchmarks/blind.py WORLD [--count 1000] [--seed 0]

WORLD is a data set of ``solfa data world``. Captions are the grammar's ("figma"), without instruments and moods.
"Independent" edits are the obvious ones: another key, number, marking, count, or order of the chords, and nothing else.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import numpy as np

from solfa.core.claims import KINDS, MARKINGS, CaptionClaim, claimed_key, find_claims
from solfa.core.theory import Key
from solfa.datagen.captions import caption
from solfa.datasets.shards import Dataset
from solfa.evaluation.blind import Unigrams, plausibility
from solfa.evaluation.perturbation import EDITS, counterfactuals
from solfa.evaluation.significance import interval


def edited(claim: CaptionClaim, rng: np.random.Generator) -> str:
    """Another value, whatever else the caption says."""
    if claim.kind == "key":
        others = [
            str(Key(t, m)) for t in range(12) for m in ("major", "minor") if Key(t, m) != claimed_key(claim.value)
        ]
    elif claim.kind == "bpm":
        others = [
            f"{float(claim.value) * f:.{len(claim.value.partition('.')[2])}f}" for f in (0.5, 0.65, 0.8, 1.25, 1.6, 2)
        ]
    elif claim.kind == "marking":
        others = [terms[0] for _, terms in MARKINGS if claim.value.lower() not in terms]
    elif claim.kind == "beats":
        others = [n for n in "234567" if n != claim.value]
    else:
        chords = claim.value.replace("-", " ").replace("–", " ").replace("→", " ").replace(",", " ").split()
        others = [" - ".join(rng.permutation(chords).tolist())]
    return str(rng.choice(others))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    opened = Dataset.open(options.world)
    captions = []
    for record in islice((r for split in ("test", "val", "train") for r in opened.split(split)), options.count):
        known = {n: v for n, v in record.attributes.items() if n not in ("instruments", "mood")}
        if all(known.get(n) for n in ("key", "tempo_bpm", "metre", "chords")):
            captions.append(caption(known, seed=f"blind/{record.id}", style="figma", num=1)[0])
    half = len(captions) // 2
    words = Unigrams(captions[half:])  # rules are fitted on captions that they are not tried on
    rules = {"plausibility": plausibility, "words": words.score, "length": lambda t: -float(len(t))}
    print(
        f"{opened.name} {opened.revision}, {half} captions, seed {options.seed}; preferred by a rule, per cent [95 %]\n"
    )
    print(f"| edits | attribute | captions | {' | '.join(rules)} |\n|---|---|---|{'---|' * len(rules)}")
    rng = np.random.default_rng(options.seed)
    for kind in KINDS:
        found = [(t, c) for t in captions[:half] if (c := find_claims(t).get(kind)) is not None]
        pairs = [(t, t[: c.start] + edited(c, rng) + t[c.end :]) for t, c in found]
        show("independent", kind, [(t, f) for t, f in pairs if t != f], None, rules)
    for kind in EDITS:
        made = counterfactuals(captions[:half], kind, seed=options.seed)
        pairs = [(c.true, c.text) for c in made]
        show("exchanged", kind, pairs, [min(c.row, c.partner) for c in made], rules)


def show(edits: str, kind: str, pairs: list[tuple[str, str]], groups: list[int] | None, rules: dict) -> None:
    if not pairs:
        return
    cells = []
    for rule in rules.values():
        margins = np.sign([rule(true) - rule(false) for true, false in pairs])
        share = interval(0.5 + margins / 2, groups=groups, proportion=True)
        cells.append(f"{100 * share.value:.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]")
    print(f"| {edits} | {kind} | {len(pairs)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
