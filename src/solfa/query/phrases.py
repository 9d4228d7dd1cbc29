"""What is left for the embedding and for full-text search: clauses without measured words and request openings.

A sentence about the file ("an uncompressed version is available here") is not compared by sound, if another is.
"""

import re
from functools import cache

from solfa.query.lexis import Regexes, empty_words, stop_words, words_table
from solfa.query.source import Source

regex = Regexes("phrases")

MAX_PHRASE_WORDS = 24


@cache
def _filler() -> re.Pattern[str]:
    openings = sorted(words_table()["filler"], key=len, reverse=True)
    return re.compile(r"(?<![^\W_])(?:" + "|".join(map(re.escape, openings)) + r")(?![^\W_'])")


_DROPPED, _UNWANTED, _SPOKEN, _OF_FILE = 1, 2, 4, 8


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
    about, asked = bytearray(marks), bytearray(len(source.text))
    for mention in source.mentions:
        if mention.constraint is not None:
            asked[mention.start] = 1
    for match in regex.sentence.finditer(source.raw):
        if regex.of_file.search(source.low, *match.span()) and asked.find(1, *match.span()) == -1:
            _mark(about, *match.span(), _OF_FILE)
    if 1 not in asked and not _phrases(source, about, 0):  # of the music nothing is said
        about = marks
    wanted, unwanted = _phrases(source, about, 0), _phrases(source, about, _UNWANTED)
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


Word = tuple[str, str, bool]  # as written, folded, whether it may never be trimmed


def _trim(words: list[Word]) -> None:
    """Drops small words from the end."""
    while words and words[-1][1] in stop_words() and not words[-1][2]:
        words.pop()


def _flush(words: list[Word], done: list[str]) -> None:
    """Ends a phrase; one without a word that says something is left out."""
    while words and words[0][1] in stop_words() and not words[0][2] and words[0][1] not in words_table()["degree"]:
        words.pop(0)
    _trim(words)
    for i in range(0, len(words), MAX_PHRASE_WORDS):
        part = words[i : i + MAX_PHRASE_WORDS]
        if any(word not in empty_words() for _, word, _ in part):
            done.append(" ".join(written for written, _, _ in part))
    words.clear()


def _phrases(source: Source, marks: bytearray, kind: int) -> list[str]:
    breaks = {
        i
        for match in regex.split.finditer(source.low)
        if not any(marks[i] & (_DROPPED | _SPOKEN) for i in range(*match.span()))
        for i in range(*match.span())
    }
    words: list[Word] = []
    done: list[str] = []
    previous_end = -1
    for token in source.tokens:
        mark = marks[token.start]
        other = mark & (_UNWANTED | _OF_FILE) != kind
        if token.start in breaks:
            _flush(words, done)
        elif mark & _DROPPED or other:
            (_flush(words, done) if other else _trim(words))
        elif token.is_word or token.word == "&" or (token.word in "-'/" and words and token.start == previous_end):
            written = source.spelling.get(token.start, source.text[token.start : token.end])
            if words and token.start == previous_end:
                last, word, kept = words.pop()
                word, kept = (token.word, bool(mark & _SPOKEN)) if token.is_word else (word, kept)
                words.append((last + written, word, kept))
            else:
                words.append((written, token.word if token.is_word else "and", bool(mark & _SPOKEN) and token.is_word))
            previous_end = token.end
        else:
            previous_end = token.end if token.word in "-'/\"" else -1
    _flush(words, done)
    return done
