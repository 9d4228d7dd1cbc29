"""Whether a judge can be trusted: order-consistency and agreement with people.

Conventions
-----------
A pairwise verdict names a place, not a track: ``first``, ``second`` or ``tie``. Each pair is judged twice, the second
time with places changed. InputError is raised where two lists differ in number or are empty, and for unknown values.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from solfa.core.errors import InputError
from solfa.evaluation.significance import Interval, interval

Verdict = Literal["first", "second", "tie"]
_SWAPPED: dict[str, Verdict] = {"first": "second", "second": "first", "tie": "tie"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Consistency:
    """``rate``: share of pairs with the same winner in both orders. ``first_bias``: among the pairs that were not
    consistent, how much more often the first place won than the second, -1..1 (0 if all were consistent).
    ``winners``: the verdict on each pair in its first order, ``tie`` where the orders disagree.
    """

    rate: Interval
    first_bias: float
    winners: tuple[Verdict, ...]


def order_consistency(verdicts: Sequence[Verdict], swapped: Sequence[Verdict], *, seed: int = 0) -> Consistency:
    """How often a judge holds to its verdicts on (A, B) when places are changed: ``swapped`` are those on (B, A)."""
    if len(verdicts) != len(swapped):
        raise InputError(f"{len(verdicts)} verdicts but {len(swapped)} with places changed.")
    unknown = {*verdicts, *swapped} - set(_SWAPPED)
    if unknown:
        raise InputError(f"a verdict must be first, second or tie, got {sorted(map(str, unknown))[0]!r}.")
    turned = [_SWAPPED[v] for v in swapped]
    held = [a == b for a, b in zip(verdicts, turned, strict=True)]
    places = [v for a, b, ok in zip(verdicts, swapped, held, strict=True) if not ok for v in (a, b)]
    decided = sum(p != "tie" for p in places)
    return Consistency(
        rate=interval(held, seed=seed),
        first_bias=(places.count("first") - places.count("second")) / decided if decided else 0.0,
        winners=tuple(a if ok else "tie" for a, ok in zip(verdicts, held, strict=True)),
    )


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Cohen's kappa of two raters' labels of the same items, -1..1: agreement beyond chance.

    Raises InputError if the two differ in number, there are none, or both raters give one label throughout (kappa is 0
    / 0).

    >>> cohen_kappa(["a", "a", "b", "b"], ["a", "b", "b", "b"])
    0.5
    """
    num = len(first)
    if num != len(second) or not num:
        raise InputError(f"{num} and {len(second)} labels; kappa needs the same items, at least one.")
    agreed = sum(a == b for a, b in zip(first, second, strict=True)) / num
    by_chance = sum(first.count(label) * second.count(label) for label in {*first, *second}) / num**2
    if by_chance == 1:
        raise InputError("both raters give one label throughout; kappa is not defined (0 / 0).")
    return (agreed - by_chance) / (1 - by_chance)
