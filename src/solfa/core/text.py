"""Text from outside, made safe to show; values as JSON has them."""

import unicodedata
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from solfa.core.theory import Chord


def clock(seconds: float) -> str:
    """``m:ss``, or ``h:mm:ss`` from an hour on.

    >>> clock(70), clock(3725.4)
    ('1:10', '1:02:05')
    """
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def printable(text: str, keep: str = "") -> str:
    """The text without control characters and lone surrogates: a file name must not drive a terminal or a playlist.

    >>> printable("a\\x1b[31mb\\n"), printable("two\\nlines", keep="\\n")
    ('a\ufffd[31mb\ufffd', 'two\\nlines')
    """
    return "".join(c if c.isprintable() or c in keep else "\N{REPLACEMENT CHARACTER}" for c in text)


def is_latin(text: str) -> bool:
    """Whether every letter is of the Latin script.

    >>> is_latin("Über 90 BPM ♪"), is_latin("a slow 音乐")
    (True, False)
    """
    return all(unicodedata.name(c, "").startswith("LATIN") for c in text if c.isalpha())


def plain(value: Any, digits: int | None = None) -> Any:
    """A value as JSON has it: dataclasses are objects, tuples lists, chords and paths text.

    Floats are rounded to ``digits`` decimals if given. A path that is not valid Unicode has replacement characters.

    >>> plain((Chord(9, "min"), Path("a.mp3"), 0.123456), digits=4)
    ['A:min', 'a.mp3', 0.1235]
    """
    if isinstance(value, float):
        return value if digits is None else round(value, digits)
    if isinstance(value, Chord | Path):
        return str(value).encode("utf-8", "replace").decode()
    if isinstance(value, list | tuple):
        return [plain(item, digits) for item in value]
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    return {name: plain(item, digits) for name, item in value.items()} if isinstance(value, dict) else value
