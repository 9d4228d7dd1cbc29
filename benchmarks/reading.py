"""How queries are read: constraints expected and read over a file of readings written by hand.

    python benchmarks/reading.py [--half dev|held] [--by HAND] [--wrong]

``readings/dev.jsonl`` may be looked at and tuned on; ``readings/held.jsonl`` was written before the grammar that it
judges and is looked at once per release. A line is ``{"by", "text", "expect", "may", "not"}``: who writes, the query,
what must be read, what may be read as well (counts neither way), and readings that turn the query round. A reading is

    [!]CONCEPT [@EVENT A..B]    drums, !voice, strings @enters 60s.., choir @in 0.85..1 (fractions, or seconds with s)
    [!]tempo 120 | 90-100 | ~95 | <120 | >90 | slow | medium | fast        (~ allows 12 %, else 4 %)
    [!]length 120 | 90-120 | <60 | >300 | ~90     (seconds; a plain one allows 12 %, ~ allows 20 %)
    [!]key A minor | A | minor [compatible], metre 3/4, chords Am F C G, dynamics loud [@...]
    unread WORDS    the words are said to be not understood
    A | B           either

Weights and groups are not compared. Precision and recall are those of constraints; a reading is exact if nothing is
missing and nothing too much; an inversion is a constraint with its sign, its bound or its event turned round.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from solfa.constraints import Chords, Constraint, Duration, Dynamics, InKey, Metre, Place, Presence, Tempo
from solfa.query import Query, parse, parse_value

READINGS = Path(__file__).parent / "readings"
_TRACK_S = 200.0  # places in seconds and in fractions are compared on a track of this length
_FEELS = {"slow": (0.0, 96.0), "medium": (74.0, 131.0), "fast": (109.0, 400.0)}
_KINDS = {"tempo": Tempo, "length": Duration, "key": InKey, "metre": Metre, "chords": Chords, "dynamics": Dynamics}


def matches(atom: str, constraint: Constraint, *, turned: bool = False) -> bool:
    """Whether a constraint is what the atom says; ``turned``: whether it says the reverse."""
    sign = atom.startswith("!")
    words, _, where = atom.removeprefix("!").partition(" @")
    kind, _, value = words.partition(" ")
    place = getattr(constraint, "place", None)
    if not (isinstance(constraint, _KINDS.get(kind, Presence))):
        return False
    if isinstance(constraint, (Tempo, Duration)) and value:
        return _range(kind, value, sign, constraint, turned)
    if isinstance(constraint, Presence):
        same = constraint.concept == words
    elif isinstance(constraint, Dynamics):
        same = constraint.shape == value
    elif isinstance(constraint, Metre):
        same = value in constraint.metres or not value
    elif isinstance(constraint, InKey):
        same = not value or _key(constraint) == _key(parse_value(InKey, value.removesuffix(" compatible"))[0], value)
    else:
        same = (
            isinstance(constraint, Chords) and constraint.chords == parse_value(Chords, value)[0].chords
            if value
            else True
        )
    if not same:
        return False
    if not turned:
        return constraint.negated == sign and _place(where, place)
    if place is not None and {where.partition(" ")[0], place.event} == {"enters", "leaves"}:
        return constraint.negated == sign
    return constraint.negated != sign and (place is None or (bool(where or sign) and place.event == "in"))


def _key(key: InKey, words: str = "") -> tuple[object, ...]:
    return key.tonic, key.mode, key.compatible or words.endswith("compatible")


def _range(kind: str, value: str, sign: bool, constraint: Tempo | Duration, turned: bool) -> bool:
    got = (constraint.low_bpm, constraint.high_bpm) if isinstance(constraint, Tempo) else None
    got = got or (constraint.low_s, constraint.high_s)  # type: ignore[union-attr]
    top, bottom = (399.0, 21.0) if kind == "tempo" else (86000.0, 0.0)
    if value in _FEELS:
        low, high = _FEELS[value]
        beyond = {"slow": got[0] >= 70 and got[1] > 200, "fast": got[1] < 135 and got[0] < 41}.get(value, False)
        inside = low <= got[0] and got[1] <= high
        beyond = beyond and not constraint.negated
        good = (inside and not constraint.negated) if not sign else ((inside and constraint.negated) or beyond)
        return not good and (inside or beyond) if turned else good
    slack = (0.2 if "~" in value else 0.12) if kind == "length" else 0.12 if "~" in value else 0.04
    numbers = [float(n) for n in re.findall(r"\d+", value)]
    if "<" in value or ">" in value:
        number, below = numbers[0], "<" in value
        open_below, open_above = got[0] <= bottom, got[1] >= top
        edge = got[1] if below != sign else got[0]
        right = (open_below and not open_above) if below else (open_above and not open_below)
        right = right and abs(edge / number - 1) <= slack if edge else False
        if turned:
            near = abs((got[0] if below else got[1]) / number - 1) <= slack
            return near and (open_above if below else open_below) and not constraint.negated
        return right and not constraint.negated
    same = abs(got[0] / numbers[0] - 1) <= slack and abs(got[1] / numbers[-1] - 1) <= slack
    return same and constraint.negated == (not sign if turned else sign)


def _place(where: str, place: Place | None) -> bool:
    """Whether a place is the one written; the edge that an event is about counts, else most of the stretch."""
    if not where or place is None:
        return not where and place is None
    event, _, span = where.partition(" ")
    if event != place.event:
        return False
    if not span:
        return True
    ends = []
    for text, default in zip(span.split(".."), (0.0, _TRACK_S), strict=True):
        number = float(text.removesuffix("s")) if text else default
        number = number * _TRACK_S if text and not text.endswith("s") else number
        ends.append(number + _TRACK_S if number < 0 else number)
    track = max(_TRACK_S, *ends)
    got = place.span_s(track)
    if event in ("enters", "leaves"):
        return abs(got[event == "leaves"] - ends[event == "leaves"]) <= 0.11 * track
    both = min(got[1], ends[1]) - max(got[0], ends[0])
    return both >= 0.4 * (max(got[1], ends[1]) - min(got[0], ends[0]))


def judge(row: dict[str, Any], query: Query) -> tuple[int, list[str], list[str], list[str]]:
    """Number of expected readings met; those missed, the constraints too many, and the inversions."""
    left = list(query.constraints)
    missed, inverted = [], []
    for wanted in row["expect"]:
        options = wanted.split(" | ")
        found = [c for c in left if any(matches(o, c) for o in options)]
        unread = [o.removeprefix("unread ") for o in options if o.startswith("unread ")]
        if not found and not any(words in unknown for words in unread for unknown in query.unknown):
            missed.append(wanted)
            turned = [c for c in query.constraints if any(matches(o, c, turned=True) for o in options)]
            inverted += [f"{c.label}: {c.words()}" for c in turned[:1]]
        else:
            left = [c for c in left if c not in found]
    reverse = [c for c in query.constraints if any(matches(n, c) for n in row.get("not", []))]
    inverted += [text for c in reverse if (text := f"{c.label}: {c.words()}") not in inverted]
    may = [o for m in row.get("may", []) for o in (m, m.partition(" @")[0])]
    kinds = ("instrument", "voice", "genre", "mood", "use")
    extra = [
        f"{c.label}: {c.words()}"
        for c in left
        if not any(matches(o, c) for o in may) and not (isinstance(c, Presence) and c.kind not in kinds)
    ]
    return len(row["expect"]) - len(missed), missed, extra, inverted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=("dev", "held"), default="dev", help="held: once per release")
    parser.add_argument("--by", help="only the readings of this hand")
    parser.add_argument("--wrong", action="store_true", help="list the readings that are not exact")
    args = parser.parse_args()
    lines = READINGS.joinpath(f"{args.half}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for line in lines if args.by in (None, (row := json.loads(line))["by"])]
    totals: dict[str, Counter[str]] = {}
    for row in rows:
        met, missed, extra, inverted = judge(row, parse(row["text"]))
        for name in (row["by"], "all"):
            totals.setdefault(name, Counter()).update(
                readings=1, met=met, missed=len(missed), extra=len(extra), inverted=len(inverted),
                exact=not (missed or extra or inverted),
            )  # fmt: skip
        if args.wrong and (missed or extra or inverted):
            print(f"{row['text']}\n    missed {missed}  extra {extra}" + f"  INVERTED {inverted}" * bool(inverted))
    print(f"{'':12}{'readings':>9}{'precision':>11}{'recall':>8}{'exact':>7}{'inversions':>12}")
    for name, t in totals.items():
        precision, recall = (t["met"] / max(1, t["met"] + t[other]) for other in ("extra", "missed"))
        exact = t["exact"] / t["readings"]
        print(f"{name:12}{t['readings']:9}{precision:11.1%}{recall:8.1%}{exact:7.1%}{t['inverted']:12}")


if __name__ == "__main__":
    main()
