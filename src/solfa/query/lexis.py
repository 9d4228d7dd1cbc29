"""The data of the grammar in TOML files next to this one: words, lists of patterns, and regexes made of them."""

import re
from functools import cache
from typing import Any

from solfa.core.files import table_of

_GRAMMAR: dict[str, dict[str, str | list[str]]] = table_of("solfa.query", "grammar.toml")
_SLOT = re.compile(r"<<(\w+)>>")


@cache
def words_table() -> dict[str, Any]:
    """``words.toml``: names of concepts, words that need care, words that say nothing."""
    return table_of("solfa.query", "words.toml")


@cache
def patterns_table() -> dict[str, Any]:
    """``patterns.toml``: lists of regex fragments, each without capturing groups; and how chords may be spelled."""
    table = table_of("solfa.query", "patterns.toml")
    qualities = [*table["chord_quality"].values(), *table["nearest_chord_quality"].values()]
    return table | {"chord_spelling": [re.escape(name) for names in qualities for name in names]}


@cache
def stop_words() -> frozenset[str]:
    """Small words."""
    return frozenset(words_table()["stop"])


@cache
def empty_words() -> frozenset[str]:
    """Small words, and words that say nothing about how the music sounds."""
    return stop_words().union(words_table()["noise"])


@cache
def symbols() -> dict[int, str]:
    """Plain signs of symbols and marks that mean the same, for ``str.translate``."""
    return str.maketrans({c: plain for plain, signs in patterns_table()["symbol"].items() for c in signs})


@cache
def any_of(name: str) -> str:
    """A group that matches any fragment of a list, longer ones first; fragments may name other lists."""
    fragments = sorted(patterns_table()[name], key=len, reverse=True)
    return "(?:" + "|".join(_SLOT.sub(lambda m: any_of(m[1]), f) for f in fragments) + ")"


@cache
def rx(template: str) -> re.Pattern[str]:
    """The compiled template; ``<<name>>`` stands for ``any_of(name)``."""
    return re.compile(_SLOT.sub(lambda m: any_of(m[1]), template))


class Regexes:
    """The regexes of one table of ``grammar.toml``, each compiled when it is first used.

    >>> bool(Regexes("compare").other.search("no other sound "))
    True
    """

    def __init__(self, table: str) -> None:
        self._table = table

    def __getattr__(self, name: str) -> re.Pattern[str]:
        if name not in _GRAMMAR[self._table]:
            raise AttributeError(f"no regex {name!r} in the table {self._table!r} of grammar.toml")
        self.__dict__[name] = rx(self._template(name))
        return self.__dict__[name]  # type: ignore[no-any-return]

    def _template(self, name: str) -> str:
        own = _GRAMMAR[self._table]
        return _SLOT.sub(lambda m: f"(?:{self._template(m[1])})" if m[1] in own else m[0], "".join(own[name]))


def whole(template: str) -> re.Pattern[str]:
    """``rx`` that matches whole words only."""
    return rx(rf"(?<![^\W_])(?:{template})(?![^\W_])")
