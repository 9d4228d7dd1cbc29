"""Does a search understand "F major, 110 BPM, 4/4, Am-F-C-G"? Two figures, proposed to the field.

Constraint satisfaction@K
-------------------------
A query states *wishes* (a constraint, or alternatives: "piano or guitar"). CS@K of a wish is the share of the first K
tracks that truly meet it. Unknown truth and missing results count as not met. A wish that no track of the pool meets,
or that all do, tells nothing and is left out (and counted). Beside the share stand what chance would give (the share of
the pool that meets it) and what is attainable (min(K, tracks that meet it) / K); ``lift`` puts the share between them:
0 is chance, 1 the best possible. ``joint`` is the share of the first K that meet every wish of the query at once.

Attribute sensitivity
---------------------
Take a query whose every attribute is true of a track, and its twin with exactly one attribute made false. The *fall* is
log2(rank by the twin / rank by the query): how often the track's rank doubles. 0: the attribute is not heard. It is
averaged per attribute, with the share of tracks that fell at all. A model also falls because words changed, not only
because truth did; so a third wording with the same truth can be given, and the fall that it causes (``control``) is
reported beside. An attribute is heard if its fall is surely above both 0 and the control's. A query that states much
holds its track on top of a small pool even with one statement false: state as little as the pool needs (two attributes
for a hundred tracks), and give the fall of a system that ranks by truth beside, which is what is attainable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from solfa.core.errors import InputError
from solfa.core.query import Constraint
from solfa.evaluation.claims import KINDS, Kind
from solfa.evaluation.perturbation import perturb
from solfa.evaluation.relevance import Bools, Floats, Ints
from solfa.evaluation.significance import Difference, Interval, compare_paired, interval
from solfa.evaluation.truth import TrackTruth, holds
from solfa.query.explain import label

Wish = tuple[Constraint, ...]
# The rank, 1..N, of one target track for each text, ties pessimistic.
RankTargets = Callable[[Sequence[str], Ints], Ints]


def wishes_of(constraints: Sequence[Constraint]) -> list[Wish]:
    """The constraints with alternatives (the same ``any_of`` above 0) put together."""
    groups: dict[int, list[Constraint]] = {}
    for i, constraint in enumerate(constraints):
        groups.setdefault(constraint.any_of or -1 - i, []).append(constraint)
    return [tuple(group) for group in groups.values()]


@dataclass(frozen=True, kw_only=True, slots=True)
class KindSatisfaction:
    """CS@K of one kind of wish: the share met among the first K, beside chance and what is attainable.

    ``lift`` is (share - chance) / (attainable - chance) of the means. ``num`` wishes were scored, ``num_left_out`` were
    met by no track or by all. ``shares`` has the share for each wish.
    """

    share: Interval
    chance: float
    attainable: float
    num_left_out: int
    shares: tuple[float, ...]

    @property
    def num(self) -> int:
        """Wishes scored."""
        return self.share.num

    @property
    def lift(self) -> float:
        """0 by chance, 1 at best."""
        return (self.share.value - self.chance) / (self.attainable - self.chance)


@dataclass(frozen=True, kw_only=True, slots=True)
class Satisfaction:
    """CS@``k`` by kind, over all wishes (``every``), and of all wishes of a query at once (``joint``)."""

    k: int
    kinds: dict[str, KindSatisfaction]
    every: KindSatisfaction
    joint: KindSatisfaction

    def metrics(self) -> dict[str, Interval]:
        """The shares, by the names that reports use (``CS@5 tempo``)."""
        named = {**self.kinds, "every": self.every, "joint": self.joint}
        return {f"CS@{self.k} {name}": kind.share for name, kind in named.items()}


def constraint_satisfaction(
    queries: Sequence[Sequence[Constraint]],
    results: Sequence[Sequence[int]] | Ints,
    truths: Sequence[TrackTruth],
    k: int,
    *,
    seed: int = 0,
) -> Satisfaction:
    """CS@K of a system's results: for each query the rows of the tracks returned, best first, at least ``k`` deep.

    ``queries`` has what each query states, ``truths`` what is known of every track of the pool. The bootstrap draws
    whole queries.

    Raises
    ------
    InputError
        If queries and results differ in number, a result is outside the pool or named twice, `k` is not in 1..N, or no
        wish can be scored.
    """
    if len(queries) != len(results) or not 1 <= k <= len(truths):
        raise InputError(
            f"{len(queries)} queries, {len(results)} result lists, {len(truths)} tracks and k = {k} do not fit."
        )
    rows: dict[str, list[tuple[int, float, float, float]]] = {}
    left_out: dict[str, int] = {}
    for q, (constraints, returned) in enumerate(zip(queries, results, strict=True)):
        top = np.asarray(returned, np.int64)[:k]
        if len(top) and (top.min() < 0 or top.max() >= len(truths) or len(np.unique(top)) < len(top)):
            raise InputError(f"the results of query {q} name a track twice or one outside the pool.")
        wishes = wishes_of(constraints)
        met = [_met(wish, truths) for wish in wishes]
        named = [(label(wish[0]), m) for wish, m in zip(wishes, met, strict=True)]
        named += [("every wish", m) for m in met] + ([("joint", np.logical_and.reduce(met))] if met else [])
        for kind, who in named:
            if 0 < who.sum() < len(truths):
                attainable = min(k, int(who.sum())) / k
                rows.setdefault(kind, []).append((q, float(who[top].sum() / k), float(who.mean()), attainable))
            else:
                left_out[kind] = left_out.get(kind, 0) + 1
    if "every wish" not in rows:
        raise InputError("no wish is met by some but not all tracks of the pool; there is nothing to score.")
    if "joint" not in rows:
        raise InputError("no query's wishes are all met at once by any track; the pool does not fit the queries.")
    kinds = {kind: _summary(values, left_out.get(kind, 0), seed) for kind, values in rows.items()}
    every, joint = kinds.pop("every wish"), kinds.pop("joint")
    return Satisfaction(k=k, kinds=kinds, every=every, joint=joint)


def _met(wish: Wish, truths: Sequence[TrackTruth]) -> Bools:
    return np.array([any(holds(c, t) is True for c in wish) for t in truths])


def _summary(rows: list[tuple[int, float, float, float]], left_out: int, seed: int) -> KindSatisfaction:
    query, share, chance, attainable = (np.array(column) for column in zip(*rows, strict=True))
    return KindSatisfaction(
        share=interval(share, groups=query, seed=seed),
        chance=float(chance.mean()),
        attainable=float(attainable.mean()),
        num_left_out=left_out,
        shares=tuple(share.tolist()),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TwinQuery:
    """A text that is true of the track in row ``target``, its twin with one attribute of ``kind`` made false, and,
    if there is one, another wording with the same truth.
    """

    target: int
    kind: str
    text: str
    false_text: str
    control_text: str | None = None


def twin_queries(
    texts: Sequence[str],
    targets: Sequence[int],
    *,
    kinds: Sequence[Kind] = KINDS,
    controls: Sequence[str] | None = None,
    seed: int = 0,
) -> list[TwinQuery]:
    """Twins of texts for every attribute of ``kinds`` that they state (see `perturbation.perturb`).

    Each text is true, in every attribute, of the track in its row of ``targets``; ``controls`` are other wordings of
    the texts with the same truth.

    Raises
    ------
    InputError
        If numbers differ.
    """
    if len(texts) != len(targets) or (controls is not None and len(controls) != len(texts)):
        raise InputError(f"{len(texts)} texts, {len(targets)} targets and their controls must be as many.")
    return [
        TwinQuery(
            target=target, kind=kind, text=text, false_text=twin, control_text=None if controls is None else controls[i]
        )
        for i, (text, target) in enumerate(zip(texts, targets, strict=True))
        for kind in kinds
        if (twin := perturb(text, kind, seed=seed)) is not None
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sensitivity:
    """How far tracks fall when one attribute of the query is made false.

    ``fall`` in doublings of the rank, ``fall_percent`` in points of the pool, ``fell`` the share of tracks that fell at
    all, ``control`` the fall by another wording with the same truth, ``beyond_control`` the paired difference.
    ``falls`` has the fall of each track.
    """

    falls: tuple[float, ...]
    fall: Interval
    fall_percent: Interval
    fell: Interval
    control: Interval | None = None
    beyond_control: Difference | None = None

    @property
    def heard(self) -> bool:
        """Whether the attribute matters to the system, beyond chance and beyond mere wording."""
        beyond = self.beyond_control is None or (self.beyond_control.real and self.beyond_control.difference.value > 0)
        return self.fall.low > 0 and beyond


def sensitivity_metrics(result: Mapping[str, Sensitivity]) -> dict[str, Interval]:
    """Falls, shares and controls, by the names that reports use (``key fall``)."""
    named = {f"{kind} {name}": getattr(s, name) for kind, s in result.items() for name in ("fall", "fell", "control")}
    return {name: value for name, value in named.items() if value is not None}


def attribute_sensitivity(
    rank: RankTargets, twins: Sequence[TwinQuery], num_items: int, *, seed: int = 0
) -> dict[str, Sensitivity]:
    """Attribute sensitivity, by kind, of a system that ranks targets in a pool of ``num_items``, at least 2.

    Raises
    ------
    InputError
        If there are no twins, the pool is smaller than 2, or a rank is not in 1..`num_items`.
    """
    if not twins or num_items < 2:
        raise InputError(f"{len(twins)} twin queries over a pool of {num_items}: there is nothing to measure.")
    targets = np.array([t.target for t in twins], np.int64)
    true = _ranks(rank, [t.text for t in twins], targets, num_items)
    false = _ranks(rank, [t.false_text for t in twins], targets, num_items)
    controlled = np.array([t.control_text is not None for t in twins])
    control = np.ones(len(twins))
    if controlled.any():
        texts = [t.control_text for t in twins if t.control_text is not None]
        control[controlled] = _ranks(rank, texts, targets[controlled], num_items)
    kinds = np.array([t.kind for t in twins])
    result = {}
    for kind in dict.fromkeys(kinds.tolist()):
        own = kinds == kind
        paired = own & controlled
        by_word, by_truth = np.log2(control[paired] / true[paired]), np.log2(false[paired] / true[paired])
        falls = np.log2(false[own] / true[own])
        result[kind] = Sensitivity(
            falls=tuple(falls.tolist()),
            fall=interval(falls, seed=seed),
            fall_percent=interval(100 * (false[own] - true[own]) / (num_items - 1), seed=seed),
            fell=interval(false[own] > true[own], seed=seed),
            control=interval(by_word, seed=seed) if len(by_word) else None,
            beyond_control=compare_paired(by_word, by_truth, seed=seed) if len(by_word) else None,
        )
    return result


def _ranks(rank: RankTargets, texts: Sequence[str], targets: Ints, num_items: int) -> Floats:
    ranks = np.asarray(rank(texts, targets), np.float64)
    if ranks.shape != (len(texts),) or not ((ranks >= 1) & (ranks <= num_items)).all():
        raise InputError(f"a rank lies outside 1..{num_items}, or not every text was ranked.")
    return ranks
