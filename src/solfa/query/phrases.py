"""What is left for the embedding and for full-text search: clauses without measured words and request openings."""

from __future__ import annotations

import re
from functools import cache

from solfa.query.lexis import Regexes, empty_words, words_table
from solfa.query.source import Source

regex = Regexes("phrases")

MAX_PHRASE_WORDS = 24


@cache
def _filler() -> re.Pattern[str]:
    openings = sorted(words_table()["filler"], key=len, reverse=True)
    return re.compile(r"(?<![^\W_])(?:" + "|".join(map(re.escape, openings)) + r")(?![^\W_'])")


@cache
def _stop_words() -> frozenset[str]:
    return frozenset(words_table()["stop"])


_DROPPED, _UNWANTED, _SPOKEN = 1, 2, 4


def rest(source: Source) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Phrases, negated phrases and words for full-text search."""
    marks = bytearray(len(source.text))
    for mention in source.mentions:
        _mark(marks, mention.start, mention.end, _SPOKEN if mention.spoken else _DROPPED)
    for start, end in source.unknown:
        _mark(marks, start, end, _DROPPED)
    for match in _filler().finditer(source.low):
        if not any(marks[match.start() : match.end()]):
            _mark(marks, *match.span(), _DROPPED)
    for start, end in source.reach:
        _mark(marks, start, end, _UNWANTED)
    wanted, unwanted = _phrases(source, marks, 0), _phrases(source, marks, _UNWANTED)
    words = _words(source, marks)
    if not (wanted or unwanted or words or source.mentions or source.unknown):
        plain = [t.word for t in source.tokens if t.is_word]  # nothing but small words: a title, perhaps
        wanted, words = ([" ".join(source.text.split())] if plain else []), plain
    return tuple(dict.fromkeys(wanted)), tuple(dict.fromkeys(unwanted)), " ".join(dict.fromkeys(words))


def _words(source: Source, marks: bytearray) -> list[str]:
    """The words that say something and are not unwanted; "blink182" is one word."""
    words: list[str] = []
    previous_end = -1
    for token in source.tokens:
        if not token.is_word or marks[token.start] & (_DROPPED | _UNWANTED):
            continue
        word = source.spelling.get(token.start, token.word)
        if token.start == previous_end and words:
            words[-1] += word
            previous_end = token.end
        elif word not in empty_words():
            words.append(word)
            previous_end = token.end
    return words


def _mark(marks: bytearray, start: int, end: int, bit: int) -> None:
    for i in range(start, end):
        marks[i] |= bit


class _Phrase:
    """A phrase being put together."""

    def __init__(self) -> None:
        self.words: list[tuple[str, str, bool]] = []  # as written, folded, whether it may never be trimmed
        self.done: list[str] = []

    def flush(self) -> None:
        """Ends the phrase; one without a word that says something is left out."""
        stop = _stop_words()
        degree = words_table()["degree"]
        words = self.words
        while words and words[0][1] in stop and not words[0][2] and words[0][1] not in degree:
            words.pop(0)
        self.trim()
        for i in range(0, len(words), MAX_PHRASE_WORDS):
            part = words[i : i + MAX_PHRASE_WORDS]
            if any(word not in empty_words() for _, word, _ in part):
                self.done.append(" ".join(written for written, _, _ in part))
        words.clear()

    def trim(self) -> None:
        """Drops small words from the end."""
        stop = _stop_words()
        while self.words and self.words[-1][1] in stop and not self.words[-1][2]:
            self.words.pop()


def _phrases(source: Source, marks: bytearray, kind: int) -> list[str]:
    breaks = {
        i
        for match in regex.split.finditer(source.low)
        if not any(marks[i] & (_DROPPED | _SPOKEN) for i in range(*match.span()))
        for i in range(*match.span())
    }
    phrase, previous_end = _Phrase(), -1
    for token in source.tokens:
        mark = marks[token.start]
        if token.start in breaks:
            phrase.flush()
            continue
        if mark & _DROPPED or (mark & _UNWANTED) != kind:
            phrase.trim()
            if (mark & _UNWANTED) != kind:
                phrase.flush()
            continue
        written = source.text[token.start : token.end]
        glued = token.start == previous_end and bool(phrase.words)
        previous_end = token.end
        if not token.is_word:
            if token.word in "-&'/" and glued:
                last, word, kept = phrase.words[-1]
                phrase.words[-1] = (last + written, word, kept)
            elif token.word == "&":
                phrase.words.append(("&", "and", False))
            elif token.word not in "-'/\"":
                previous_end = -1
            continue
        written = source.spelling.get(token.start, written)
        if glued:
            phrase.words[-1] = (phrase.words[-1][0] + written, token.word, bool(mark & _SPOKEN))
        else:
            phrase.words.append((written, token.word, bool(mark & _SPOKEN)))
    phrase.flush()
    return phrase.done
