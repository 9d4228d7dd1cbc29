"""How unlike each other the captions of a set are: distinct n-grams and self-BLEU.

Both depend on how many texts and how many words are compared, so figures are comparable only between sets cut to the
same number of texts; `diversity` draws such a sample.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solfa.core.errors import InputError
from solfa.evaluation.text import Tokens, words


@dataclass(frozen=True, kw_only=True, slots=True)
class Diversity:
    """``distinct`` 1-, 2- and 3-grams as shares in 0..1; ``self_bleu`` in 0..1, lower is more diverse."""

    texts: int
    mean_words: float
    distinct: tuple[float, float, float]
    self_bleu: float


def distinct(texts: Sequence[Tokens], n: int) -> float:
    """Different n-grams as a share of all n-grams of the texts (Li et al., NAACL 2016, "distinct-n"); 0 without any.

    >>> distinct([["a", "b", "a", "b"]], 2)
    0.6666666666666666
    """
    grams = [tuple(t[i : i + n]) for t in texts for i in range(len(t) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def self_bleu(texts: Sequence[Tokens]) -> float:
    """Mean BLEU-4 of each text against all the others (Zhu et al., SIGIR 2018, "Texygen").

    Raises
    ------
    InputError
        If there are fewer than two texts, or one is empty.
    """
    if len(texts) < 2 or not all(texts):
        raise InputError(f"{len(texts)} texts: self-BLEU needs at least two, none of them empty.")
    scores = []
    counts = [[Counter(tuple(t[i : i + n]) for i in range(len(t) - n + 1)) for t in texts] for n in range(1, 5)]
    most: list[dict[tuple[str, ...], list[int]]] = [{} for _ in counts]
    for of_n, table in zip(counts, most, strict=True):
        for counter in of_n:
            for gram, count in counter.items():
                table[gram] = sorted((*table.get(gram, (0, 0)), count))[-2:]
    lengths = np.array([len(t) for t in texts])
    for i, text in enumerate(texts):
        others = np.delete(lengths, i)
        closest = others[np.lexsort((others, np.abs(others - len(text))))[0]]
        shares = []
        for of_n, table in zip(counts, most, strict=True):
            own = of_n[i]
            # The most that any other text has: the second largest where this one has the largest.
            clipped = sum(min(c, table[g][0] if table[g][1] == c else table[g][1]) for g, c in own.items())
            shares.append(clipped / max(own.total(), 1))
        scores.append(math.exp(min(0.0, 1 - closest / len(text))) * math.prod(shares) ** 0.25)
    return float(np.mean(scores))


def diversity(texts: Sequence[str], *, sample: int = 200, seed: int = 0) -> Diversity:
    """The measures on at most ``sample`` texts drawn at random.

    Raises
    ------
    InputError
        As in ``self_bleu``.
    """
    order = np.random.default_rng(seed).permutation(len(texts))[:sample]
    tokens = [words(texts[i]) for i in order]
    shares = (distinct(tokens, 1), distinct(tokens, 2), distinct(tokens, 3))
    mean = float(np.mean([len(t) for t in tokens])) if tokens else 0.0
    return Diversity(texts=len(tokens), mean_words=mean, distinct=shares, self_bleu=self_bleu(tokens))
