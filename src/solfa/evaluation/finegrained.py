"""Does a search understand "F major, 110 BPM, 4/4, Am-F-C-G"? Two figures, proposed to the field.

Definitions, controls and reasons: docs/evaluation.md, "Fine-grained search".

Conventions
-----------
A system gives a score for every text and track [shape=(Q, N)], -inf for what it does not return; of equal scores the
wrong one ranks ahead. Lists of rows, best first, are taken from systems without scores: they have no ties. What is not
known of a track counts as not met, as missing results do. Rank drops are in doublings of a track's rank among its
*rivals*, the tracks that truth brings above it when one attribute of a query about it is made false.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from solfa.constraints import Constraint
from solfa.core.annotation import MusicAnnotation
from solfa.core.errors import InputError
from solfa.evaluation.ranking import Bools, Floats, check_list
from solfa.evaluation.significance import Difference, Interval, compare_paired, interval
from solfa.evaluation.truth import holds

Requirement = tuple[Constraint, ...]
# Scores of all tracks for each text [shape=(Q, N)], or lists of rows, best first.
Rank = Callable[[Sequence[str]], Sequence[Sequence[int]] | Floats]


def requirements_of(constraints: Sequence[Constraint]) -> list[Requirement]:
    """The constraints with alternatives (the same ``any_of`` above 0) put together."""
    groups: dict[int, list[Constraint]] = {}
    for i, constraint in enumerate(constraints):
        groups.setdefault(constraint.any_of or -1 - i, []).append(constraint)
    return [tuple(group) for group in groups.values()]


@dataclass(frozen=True, kw_only=True, slots=True)
class KindSatisfaction:
    """CS@K of one kind of constraint: the share met among the first K, and what chance, the best ``constant`` list and
    the truth earn.

    ``lift`` is (share - constant) / (attainable - constant) of the means. ``num`` constraints were scored,
    ``num_left_out`` were met by no track or by all. ``shares`` has the share for each.
    """

    share: Interval
    chance: float
    constant: float
    attainable: float
    num_left_out: int
    shares: tuple[float, ...]

    @property
    def lift(self) -> float | None:
        """0 for the best constant list, 1 at best; None where a constant list attains all there is."""
        room = self.attainable - self.constant
        return (self.share.value - self.constant) / room if room > 1e-12 else None


def constraint_satisfaction(
    queries: Sequence[Sequence[Constraint]],
    results: Sequence[Sequence[int]] | Floats,
    truths: Sequence[MusicAnnotation],
    k: int,
) -> dict[str, KindSatisfaction]:
    """CS@K of a system's results for each query: scores [shape=(Q, N)], or rows of tracks, best first.

    ``queries`` has what each query states, ``truths`` what is known of every track of the pool. The result is by kind,
    with ``every`` over all requirements and ``joint`` of all requirements of a query at once. Intervals keep the
    constraints of a query together.

    Raises InputError if queries and results differ in number, a result is outside the pool or named twice, `k` is not
    in 1..N, or no constraint can be scored.
    """
    if len(queries) != len(results) or not 1 <= k <= len(truths):
        raise InputError(
            f"{len(queries)} queries, {len(results)} result lists, {len(truths)} tracks and k = {k} do not fit."
        )
    scores = as_scores(results, len(truths))
    rows: dict[str, list[tuple[int, float, Bools]]] = {}
    left_out: Counter[str] = Counter()
    for q, constraints in enumerate(queries):
        requirements = requirements_of(constraints)
        met = [_met(requirement, truths) for requirement in requirements]
        named = [(requirement[0].label, m) for requirement, m in zip(requirements, met, strict=True)]
        named += [("every", m) for m in met] + ([("joint", np.logical_and.reduce(met))] if met else [])
        for kind, who in named:
            if 0 < who.sum() < len(truths):
                top = np.lexsort((who, -scores[q]))[:k]  # of equal scores those first that do not meet it
                share = float((who[top] & (scores[q, top] > -np.inf)).sum() / k)
                rows.setdefault(kind, []).append((q, share, who))
            else:
                left_out[kind] += 1
    if "every" not in rows:
        raise InputError("no constraint is met by some but not all tracks of the pool; there is nothing to score.")
    if "joint" not in rows:
        raise InputError("no query's constraints are all met at once by any track; the pool does not fit the queries.")
    kinds = [*(kind for kind in rows if kind not in ("every", "joint")), "every", "joint"]
    return {kind: _summary(rows[kind], left_out[kind], k) for kind in kinds}


def as_scores(results: Sequence[Sequence[int]] | Floats, num_items: int) -> Floats:
    """Results as scores [shape=(Q, N)]: those of a list decrease from row to row, what it does not hold has -inf.

    Raises InputError if scores have another shape or are NaN, or a list names a track twice or one outside the pool.
    """
    if isinstance(results, np.ndarray) and results.dtype.kind == "f":
        if results.ndim != 2 or results.shape[1] != num_items or np.isnan(results).any():
            raise InputError(f"scores of shape {results.shape} for {num_items} tracks; none may be NaN.")
        return np.asarray(results, np.float64)
    scores = np.full((len(results), num_items), -np.inf)
    for q, returned in enumerate(results):
        check_list(returned, num_items, q)
        scores[q, np.asarray(returned, np.int64)] = -np.arange(len(returned), dtype=np.float64)
    return scores


def _met(requirement: Requirement, truths: Sequence[MusicAnnotation]) -> Bools:
    return np.array([any(holds(c, t) is True for c in requirement) for t in truths])


def _summary(rows: list[tuple[int, float, Bools]], left_out: int, k: int) -> KindSatisfaction:
    share, met = np.array([s for _, s, _ in rows]), np.stack([who for _, _, who in rows])
    return KindSatisfaction(
        share=interval(share, groups=[q for q, _, _ in rows], proportion=True),
        chance=float(met.mean()),
        constant=float(np.sort(met.mean(axis=0))[-k:].sum() / k),
        attainable=float(np.mean(np.minimum(met.sum(axis=1), k)) / k),
        num_left_out=left_out,
        shares=tuple(share.tolist()),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Edited:
    """A text about the track in row ``target``, the text with one value edited, and the rows of its ``rivals``."""

    target: int
    text: str
    false_text: str
    rivals: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CounterfactualQuery(Edited):
    """A text that is true of its track and its counterfactual with one attribute of ``kind`` made false.

    ``control_text`` is another wording with the same truth, ``placebo`` the same edit about another track, for which
    neither value holds; None where there is none.
    """

    kind: str
    control_text: str | None = None
    placebo: Edited | None = None


class Control(NamedTuple):
    """Rank drops of a control, and the paired difference by which those of the attribute are larger."""

    rank_drop: Interval
    beyond: Difference


@dataclass(frozen=True, kw_only=True, slots=True)
class Sensitivity:
    """How far tracks drop among their rivals when one attribute of the query is made false.

    ``rank_drop`` in doublings of the rank, ``attainable`` what the truth gives, ``share_dropped`` the share of tracks
    that dropped at all; ``controls`` by name (``control``, ``placebo``), where there are any. ``rank_drops`` by track;
    ``num_left_out`` had no rival.
    """

    rank_drops: tuple[float, ...]
    rank_drop: Interval
    attainable: float
    share_dropped: Interval
    num_left_out: int
    controls: Mapping[str, Control]

    @property
    def detected(self) -> bool:
        """Whether the attribute matters to the system, beyond chance, mere wording and the edited word itself."""
        beyond = [control.beyond for control in self.controls.values()]
        return self.rank_drop.low > 0 and all(d.real and d.difference.value > 0 for d in beyond)


def sensitivity_metrics(result: Mapping[str, Sensitivity]) -> dict[str, Interval]:
    """Rank drops, shares and controls, by the names that reports use (``key fall``)."""
    named: dict[str, Interval] = {}
    for kind, s in result.items():
        named |= {f"{kind} fall": s.rank_drop, f"{kind} fell": s.share_dropped}
        named |= {f"{kind} {name}": control.rank_drop for name, control in s.controls.items()}
    return named


def attribute_sensitivity(
    rank: Rank, counterfactuals: Sequence[CounterfactualQuery], num_items: int, *, seed: int = 0
) -> dict[str, Sensitivity]:
    """Attribute sensitivity, by kind, of a system that scores a pool of ``num_items`` tracks.

    Raises InputError if no counterfactual has a rival, or the system's results do not fit the pool.
    """
    kept = [t for t in counterfactuals if t.rivals]
    if not kept:
        raise InputError(
            f"none of {len(counterfactuals)} counterfactual queries has a rival among {num_items} tracks: nothing to "
            f"measure."
        )
    texts = dict.fromkeys(
        text for t in kept for edit in (t, t.placebo) if edit for text in (edit.text, edit.false_text)
    )
    texts |= dict.fromkeys(t.control_text for t in kept if t.control_text is not None)
    row_of = {text: row for row, text in enumerate(texts)}
    scores = as_scores(rank(list(texts)), num_items)
    if len(scores) != len(texts):
        raise InputError(f"{len(scores)} result lists for {len(texts)} texts: not every text was ranked.")

    def rank_drop(edit: Edited, false_text: str) -> float:
        both = scores[[row_of[edit.text], row_of[false_text]]]
        # Ranks of the target among its rivals, from 1, a rival with the same score ahead.
        true, false = 1 + (both[:, list(edit.rivals)] >= both[:, [edit.target]]).sum(axis=1)
        return float(np.log2(false / true))

    rank_drops = np.array([rank_drop(t, t.false_text) for t in kept])
    others = {
        "control": np.array([rank_drop(t, t.control_text) if t.control_text else np.nan for t in kept]),
        "placebo": np.array([rank_drop(t.placebo, t.placebo.false_text) if t.placebo else np.nan for t in kept]),
    }
    rivals, result = np.array([len(t.rivals) for t in kept]), {}
    for kind in dict.fromkeys(t.kind for t in kept):
        own = np.array([t.kind == kind for t in kept])
        controls = {}
        for name, other in others.items():
            if (there := own & np.isfinite(other)).any():
                controls[name] = Control(
                    interval(other[there], proportion=False, seed=seed),
                    compare_paired(other[there], rank_drops[there], seed=seed),
                )
        result[kind] = Sensitivity(
            rank_drops=tuple(rank_drops[own].tolist()),
            rank_drop=interval(rank_drops[own], proportion=False, seed=seed),
            attainable=float(np.log2(1 + rivals[own]).mean()),
            share_dropped=interval(rank_drops[own] > 0, seed=seed),
            num_left_out=sum(t.kind == kind and not t.rivals for t in counterfactuals),
            controls=controls,
        )
    return result
