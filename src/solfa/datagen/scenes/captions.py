"""Captions of scenes: ten templates with one slot for the joined labels, or a language model's sentence."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from solfa.core.files import table_of
from solfa.datagen.captions.checks import CaptionRules, broken_rules
from solfa.datagen.captions.llm import Answer, Captioner

_RULES = CaptionRules(complete=False, one_sentence=True, objective=True, most_words=80)
# Rules that hold a caption of music against its attributes; sounds are held against their labels instead.
_OF_MUSIC = ("false", "missing")


@cache
def table() -> dict[str, Any]:
    """``captions.toml``: ``templates``, and ``instructions`` for a language model."""
    return table_of("solfa.datagen.scenes", "captions.toml")


def rule_caption(
    labels: Sequence[str], rng: np.random.Generator, *, duration_s: float = 10.0, background: bool = True
) -> str:
    """One of ten sentences with the labels, lower-cased and joined by commas, in the given order.

    What is not ten seconds long is not called so, and what has no background is not said to lie over one.

    >>> rule_caption(["dog barking", "Piano"], np.random.default_rng(0))
    'Heard over a background: dog barking, piano.'
    """
    untrue = {"ten-second": abs(duration_s - 10.0) > 0.5, "background": not background}
    told: list[str] = [t for t in table()["templates"] if not any(word in t for word, wrong in untrue.items() if wrong)]
    return told[int(rng.integers(len(told)))].format(", ".join(label.lower() for label in labels))


def llm_caption(labels: Sequence[str], captioner: Captioner, seed: str) -> Answer:
    """A language model's sentence that names every label, or the rules that its answers broke.

    Raises InputError or SolfaError as ``Captioner.ask``.
    """

    def check(text: str) -> tuple[str, ...]:
        broken = tuple(rule for rule in broken_rules(text, {}, _RULES) if rule not in _OF_MUSIC)
        return broken if all(label.lower() in text.lower() for label in labels) else (*broken, "missing")

    return captioner.ask(table()["instructions"], [{"sound": label} for label in labels], seed=seed, check=check)
