"""How unlike each other the captions of a set are: distinct n-grams and self-BLEU.

Both depend on how many texts and how many words are compared, so figures are comparable only between sets cut to the
same number of texts; `diversity` draws such a sample. Fewer than two texts, or an empty one, raise InputError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solfa.core.errors import InputError
from solfa.evaluation.text import Tokens, bleu, words


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
    """Mean BLEU-4 of each text against all the others (Zhu et al., SIGIR 2018, "Texygen")."""
    if len(texts) < 2 or not all(texts):
        raise InputError(f"{len(texts)} texts: self-BLEU needs at least two, none of them empty.")
    others = [[t for j, t in enumerate(texts) if j != i] for i in range(len(texts))]
    return float(np.mean([bleu([t], [rest])[-1] for t, rest in zip(texts, others, strict=True)]))


def diversity(texts: Sequence[str], *, sample: int = 200, seed: int = 0) -> Diversity:
    """The measures on at most ``sample`` texts drawn at random."""
    order = np.random.default_rng(seed).permutation(len(texts))[:sample]
    tokens = [words(texts[i]) for i in order]
    shares = (distinct(tokens, 1), distinct(tokens, 2), distinct(tokens, 3))
    mean = float(np.mean([len(t) for t in tokens])) if tokens else 0.0
    return Diversity(texts=len(tokens), mean_words=mean, distinct=shares, self_bleu=self_bleu(tokens))
