"""Queries whose truth is known, made from annotations: what the two figures of `finegrained` are measured with.

Queries state tempo, key, time signature and a loop of four major or minor triads that a track truly contains: for CS@K
one to three of them, for sensitivity two, of which one is exchanged for another track's. They are worded in six ways
(``paraphrases.toml``) that were written without regard to what solfa's query parser reads, so that a search by parsing
and one by vectors meet the same texts. The control is the same in another wording.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from solfa.constraints import Constraint
from solfa.core.annotation import MusicAnnotation
from solfa.core.claims import chord_symbol
from solfa.core.files import table_of
from solfa.core.theory import Chord
from solfa.evaluation.finegrained import (
    CounterfactualQuery,
    Edited,
    KindSatisfaction,
    Rank,
    Sensitivity,
    as_scores,
    attribute_sensitivity,
    constraint_satisfaction,
)
from solfa.evaluation.perturbation import beats_apart, tempi_apart
from solfa.evaluation.ranking import Bools
from solfa.evaluation.truth import constraint_of, holds

_STYLES: dict[str, dict[str, str]] = table_of("solfa.evaluation", "paraphrases.toml")
Wording = Literal["paraphrased", "plain"]
# What a query states: any of "tempo" (BPM, whole), "key" (Key), "metre" ("6/8"), "chords" (tuple of Chord).
Stated = Mapping[str, Any]

_MOST_TARGETS = 200
_FIELDS = ("tempo", "key", "metre", "chords")
_ONES = ("", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
         "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


@dataclass(frozen=True, kw_only=True, slots=True)
class FineQueries:
    """Texts with what each asks, and counterfactuals that differ in the truth of one attribute.

    ``meant`` has what every text states, also of counterfactuals and their controls: for systems that do not read.
    """

    texts: tuple[str, ...]
    counterfactuals: tuple[CounterfactualQuery, ...]
    meant: Mapping[str, tuple[Constraint, ...]]

    @property
    def requirements(self) -> list[tuple[Constraint, ...]]:
        """What each of the texts asks."""
        return [self.meant[text] for text in self.texts]


def loop_of(truth: MusicAnnotation) -> tuple[Chord, ...]:
    """The first four neighbouring triads of a track that are major or minor; empty if there are none."""
    triads: list[Chord | None] = []
    for segment in truth.chords:
        root, _, quality = segment.label.partition("(")[0].partition("/")[0].partition(":")
        named = None if segment.label in ("N", "X") else Chord.parse(root)
        plain = quality.startswith(("min", "maj", "7")) or quality == ""
        chord = Chord(named.root, "min" if quality.startswith("min") else "maj") if named and plain else None
        if not triads or chord != triads[-1]:
            triads.append(chord)
    for i in range(len(triads) - 3):
        four = [c for c in triads[i : i + 4] if c is not None]
        if len(four) == 4 and all(a != b for a, b in pairwise([*four, four[0]])):
            return tuple(four)
    return ()


def stated_of(truth: MusicAnnotation) -> dict[str, Any]:
    """The statements that are true of a track; what is not known is left out."""
    bpm = None if truth.tempo_bpm is None else round(truth.tempo_bpm)
    known = {"tempo": bpm, "key": truth.key, "metre": truth.metre, "chords": loop_of(truth)}
    return {field: value for field, value in known.items() if value}


def worded(stated: Stated, style: str, order: Sequence[int] | None = None) -> str:
    """A query that makes these statements, in one of the styles of ``paraphrases.toml``.

    >>> worded({"tempo": 110, "metre": "6/8"}, "listener")
    'I am after something with about one hundred and ten pulses every minute, that swings in groups of six, so 6/8.'
    """
    table = _STYLES[style]
    slots: dict[str, str] = {}
    if "tempo" in stated:
        slots |= {"bpm": str(stated["tempo"]), "bpm_words": _in_words(stated["tempo"])}
    if "key" in stated:
        slots |= {"note": _spoken(str(stated["key"]).split()[0]), "mode": stated["key"].mode}
    if "metre" in stated:
        slots |= {"signature": stated["metre"], "count": _in_words(int(stated["metre"].split("/")[0]))}
    if "chords" in stated:
        symbols = [chord_symbol(c) for c in stated["chords"]]
        spoken = [f"{_spoken(s.removesuffix('m'))} {'minor' if s.endswith('m') else 'major'}" for s in symbols]
        slots |= {
            "symbols": " - ".join(symbols),
            **dict(zip(("first", "second", "third", "fourth"), spoken, strict=True)),
        }
    parts = [table[field].format(**slots) for field in _FIELDS if field in stated]
    return table["open"] + table["joint"].join(parts[i] for i in order or range(len(parts))) + "."


def _spoken(note: str) -> str:
    return note.replace("#", " sharp").replace("b", " flat")


def _in_words(number: int) -> str:
    if number >= 100:
        rest = f" and {_in_words(number % 100)}" if number % 100 else ""
        return f"{_in_words(number // 100)} hundred{rest}"
    if number < 20:
        return _ONES[number]
    return "-".join(word for word in (_TENS[number // 10], _ONES[number % 10]) if word)


def fine_queries(
    truths: Sequence[MusicAnnotation],
    *,
    num_targets: int = _MOST_TARGETS,
    wording: Wording = "paraphrased",
    seed: int = 0,
) -> FineQueries:
    """Queries about a pool's tracks, by the seed; the first ``num_targets`` tracks get counterfactuals."""
    rng = np.random.default_rng(seed)
    maker = _Maker(truths, wording, rng)
    texts = []
    for stated in maker.known:
        fields = [f for f in rng.permutation(_FIELDS)[: rng.integers(1, 4)].tolist() if f in stated]
        if fields:
            style = str(rng.choice(maker.styles))
            texts.append(maker.text({f: stated[f] for f in fields}, style, rng.permutation(len(fields)).tolist()))
    edits = [
        edit
        for row in range(min(num_targets, len(truths)))
        for field in _FIELDS
        if (edit := maker.counterfactual(row, field))
    ]
    return FineQueries(texts=tuple(texts), counterfactuals=tuple(edits), meant=maker.meant)


class _Maker:
    """Makes texts and counterfactuals over one pool."""

    def __init__(self, truths: Sequence[MusicAnnotation], wording: Wording, rng: np.random.Generator) -> None:
        self.truths, self.rng, self.known = truths, rng, [stated_of(t) for t in truths]
        self.styles = ["plain"] if wording == "plain" else [s for s in _STYLES if s != "plain"]
        self._met: dict[tuple[str, Any], Bools] = {}
        self.meant: dict[str, tuple[Constraint, ...]] = {}

    def text(self, stated: Stated, style: str, order: Sequence[int]) -> str:
        text = worded(stated, style, order)
        self.meant[text] = tuple(constraint_of(field, value) for field, value in stated.items())
        return text

    def met(self, field: str, value: Any) -> Bools:
        if (field, value) not in self._met:
            constraint = constraint_of(field, value)
            self._met[field, value] = np.array([holds(constraint, t) is True for t in self.truths])
        return self._met[field, value]

    def counterfactual(self, row: int, field: str) -> CounterfactualQuery | None:
        """A track's own value of a field exchanged for that of a track which truth would then prefer."""
        stated = self.known[row]
        harmonic = ("key", "chords")  # each says much about the other: never both in one query
        others = [f for f in stated if f != field and not (f in harmonic and field in harmonic)]
        if field not in stated or not others:
            return None
        other, value = str(self.rng.choice(others)), stated[field]
        may = self.met(other, stated[other]) & ~self.met(field, value)
        given = [j for j in self.rng.permutation(np.flatnonzero(may)).tolist() if field in self.known[j]]
        false = next(
            (self.known[j][field] for j in given if self._apart(row, field, value, self.known[j][field])), None
        )
        if false is None:
            return None
        order, styles = self.rng.permutation(2).tolist(), self.rng.permutation(self.styles).tolist()
        turned = order if len(styles) > 1 else order[::-1]
        rivals = np.flatnonzero(may & self.met(field, false))

        def said(with_other: Any, with_value: Any, style: str = styles[0], order: Sequence[int] = order) -> str:
            return self.text({other: with_other, field: with_value}, style, order)

        neither = ~self.met(field, value) & ~self.met(field, false) & np.array([field in k for k in self.known])
        blank = [p for p in self.rng.permutation(np.flatnonzero(neither)).tolist() if other in self.known[p]]
        placebo = None
        if blank:
            about, *rest = blank
            own = self.known[about][other]
            rest.sort(key=lambda p: not self.met(other, own)[p])  # those first that share its other attribute
            if rest:
                placebo = Edited(
                    target=about, text=said(own, value), false_text=said(own, false), rivals=tuple(rest[: len(rivals)])
                )
        return CounterfactualQuery(
            target=row,
            kind=field,
            text=said(stated[other], value),
            false_text=said(stated[other], false),
            rivals=tuple(rivals.tolist()),
            control_text=said(stated[other], value, styles[-1], turned),
            placebo=placebo,
        )

    def _apart(self, row: int, field: str, value: Any, false: Any) -> bool:
        if self.met(field, false)[row]:
            return False
        if field == "tempo":
            return tempi_apart(value, false)
        return field != "metre" or beats_apart(value, false)


def measure(
    rank: Rank, queries: FineQueries, truths: Sequence[MusicAnnotation], k: int, *, seed: int = 0
) -> tuple[dict[str, KindSatisfaction], dict[str, Sensitivity]]:
    """CS@K and attribute sensitivity of a system; raises as `constraint_satisfaction` and `attribute_sensitivity`."""
    found = as_scores(rank(queries.texts), len(truths))
    return (
        constraint_satisfaction(queries.requirements, found, truths, k),
        attribute_sensitivity(rank, queries.counterfactuals, len(truths), seed=seed),
    )
