"""FIGMA's token saturation, and how recall depends on the size of the pool.

Conventions
-----------
A caption cut to k tokens ends with its k-th token as the model's own tokenizer counts them (special tokens do not
count); the audio pool remains as it is. The curve of a model that reads the whole caption keeps rising; one that stops
reading goes flat (FIGMA, arXiv 2606.06615: CLAP-like models at 40-50 tokens). No captions, a step below 1 and a size
that the pool does not have raise InputError.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from solfa.core.errors import InputError
from solfa.evaluation.ranking import Ranks
from solfa.evaluation.retrieval import evaluate
from solfa.evaluation.significance import Interval, interval

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# The characters that each token of a text covers, first to last, special tokens left out.
TokenSpans = Callable[[str], Sequence[tuple[int, int]]]
# The ranks of one pool for one wording of its captions.
RankTexts = Callable[[Sequence[str]], Ranks]

FIGMA_STEPS = tuple(range(5, 180, 5))


@dataclass(frozen=True, kw_only=True, slots=True)
class SaturationPoint:
    """Scores with captions cut to ``num_tokens`` (None: whole). ``share_cut`` of the captions were longer."""

    num_tokens: int | None
    share_cut: float
    metrics: dict[str, Interval]


def gain_after(points: Sequence[SaturationPoint], num_tokens: int, metric: str = "R@10") -> float:
    """What the words beyond ``num_tokens`` add to a metric; near 0 for a model that does not read them."""
    for point in points:
        if point.num_tokens == num_tokens:
            return points[-1].metrics[metric].value - point.metrics[metric].value
    steps = ", ".join(str(p.num_tokens) for p in points[:-1])
    raise InputError(f"the curve has no point at {num_tokens} tokens. It has: {steps}.")


def tokenizer_spans(tokenizer: "Tokenizer") -> TokenSpans:
    """The token spans of a ``tokenizers.Tokenizer``, the kind that every solfa text encoder has."""

    def spans(text: str) -> list[tuple[int, int]]:
        return [s for s in tokenizer.encode(text, add_special_tokens=False).offsets if s[1] > s[0]]

    return spans


def cut_tokens(text: str, num_tokens: int, spans: TokenSpans) -> str:
    """The text up to the end of its ``num_tokens``-th token; the whole text if it has no more.

    >>> words = lambda text: [m.span() for m in __import__("re").finditer(r"\\w+", text)]
    >>> cut_tokens("slow waltz, in F", 2, words)
    'slow waltz'
    """
    if num_tokens < 1:
        raise InputError(f"a caption must keep at least one token, got {num_tokens}.")
    places = spans(text)
    return text if len(places) <= num_tokens else text[: places[num_tokens - 1][1]]


def saturation(
    rank: RankTexts,
    captions: Sequence[str],
    spans: TokenSpans,
    *,
    steps: Sequence[int] = FIGMA_STEPS,
    metrics: Sequence[str] = ("R@1", "R@5", "R@10"),
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> list[SaturationPoint]:
    """The saturation curve of a model over one pool, ascending, the captions as they are last.

    ``rank`` ranks the pool's audio for the cut captions, in the order given; ``spans`` is the model's own tokenizer.
    Captions of one of the ``groups`` belong together in the bootstrap. ``steps`` are numbers of tokens: those beyond
    the longest caption are left out, as they repeat the whole. ``metrics`` are named as in `retrieval`.
    """
    if not captions:
        raise InputError("no captions to cut.")
    lengths = np.array([len(spans(c)) for c in captions])
    points = []
    for step in [*sorted(s for s in set(steps) if s < lengths.max()), None]:
        texts = captions if step is None else [cut_tokens(c, step, spans) for c in captions]
        points.append(
            SaturationPoint(
                num_tokens=step,
                share_cut=0.0 if step is None else float((lengths > step).mean()),
                metrics=evaluate(rank(texts), metrics, groups=groups, seed=seed),
            )
        )
    return points


def pool_size_curve(
    ranks: Ranks, sizes: Sequence[int], k: int, *, groups: ArrayLike | None = None, seed: int = 0
) -> dict[int, Interval]:
    """R@K as it would be in smaller pools: all relevant items and ``size`` random irrelevant ones.

    No pool is drawn. If ``a`` of the pool's irrelevant items rank ahead of the first relevant one, the number of them
    in a random sample is hypergeometric, so each query's expected hit is known exactly.

    Raises InputError if a size is negative or larger than the pool, or an item was not returned.

    >>> r = Ranks(np.array([0, 1]), np.array([3]), np.ones(1), 5)   # 2 of 4 irrelevant items stand ahead
    >>> round(pool_size_curve(r, [0, 2, 4], k=1)[2].value, 9)       # P(neither is drawn) = 1/6
    0.166666667
    """
    ahead, irrelevant = ranks.first - 1, ranks.num_items - ranks.counts
    if (ahead < 0).any():
        raise InputError("a pool-size curve needs the rank of every answer; some were not returned at all.")
    for size in sizes:
        if not 0 <= size <= irrelevant.min():
            raise InputError(f"a pool of {size} irrelevant items cannot be drawn from {int(irrelevant.min())}.")
    return {
        size: interval(stats.hypergeom.cdf(k - 1, irrelevant, ahead, size), groups=groups, seed=seed) for size in sizes
    }
