"""The word lists of the parser: ``words.toml`` and ``patterns.toml`` beside this file, and regexes made of them."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from solfa.core.files import table_of

OF_TRACK = re.compile(
    r"\b(?:first|last|final|opening|closing|jingle|bed|spot|ad|cut|sting|promo|bumper"
    r"|(?:length|duration|lasts|lasting)(?: of| is| ?[:=])?) ?\d+\s?$"
)
_SLOT = re.compile(r"<<(\w+)>>")


@cache
def words_table() -> dict[str, Any]:
    """``words.toml``: names of concepts, words that need care, words that say nothing."""
    return table_of("solfa.query", "words.toml")


@cache
def patterns_table() -> dict[str, Any]:
    """``patterns.toml``: lists of regex fragments, each without capturing groups."""
    return table_of("solfa.query", "patterns.toml")


@cache
def empty_words() -> frozenset[str]:
    """Small words, and words that say nothing about how the music sounds."""
    return frozenset(words_table()["stop"] + words_table()["noise"])


@cache
def any_of(name: str) -> str:
    """A group that matches any fragment of a list, longer ones first; fragments may name other lists."""
    fragments = sorted(patterns_table()[name], key=len, reverse=True)
    return "(?:" + "|".join(_SLOT.sub(lambda m: any_of(m[1]), f) for f in fragments) + ")"


@cache
def rx(template: str) -> re.Pattern[str]:
    """The compiled template; ``<<name>>`` stands for ``any_of(name)``."""
    return re.compile(_SLOT.sub(lambda m: any_of(m[1]), template))


def whole(template: str) -> re.Pattern[str]:
    """``rx`` that matches whole words only."""
    return rx(rf"(?<![^\W_])(?:{template})(?![^\W_])")
