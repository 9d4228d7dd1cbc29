"""Text from outside, made safe to show."""

from __future__ import annotations


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
