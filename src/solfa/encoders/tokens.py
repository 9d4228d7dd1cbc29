"""Text to token numbers, in pieces that a network reads at once."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from solfa.core.errors import WeightsError
from solfa.encoders.checkpoints import locate
from solfa.weights import path

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def pieces(text: str, count: Callable[[str], int], limit: int) -> list[str]:
    """A text in pieces of at most ``limit`` tokens that together hold every word of it, cut between clauses.

    ``count`` says how many tokens a text has for the model, special ones included.
    """
    if count(text) <= limit:
        return [text]
    clauses = [clause for clause in re.split(r"(?<=[.,;:!?\n])\s+", text) if clause.strip()]
    out: list[str] = []
    for clause in (part for c in clauses for part in _halves(c, count, limit)):
        joined = f"{out[-1]} {clause}" if out else clause
        if out and count(joined) <= limit:
            out[-1] = joined
        else:
            out.append(clause)
    return out


def token_pieces(text: str, tokenizer: "Tokenizer", limit: int) -> list[list[int]]:
    """The token numbers of a text, in pieces as ``pieces`` cuts them."""
    parts = pieces(text, lambda part: len(tokenizer.encode(part).ids), limit)
    return [tokenizer.encode(part).ids for part in parts]


def clean(text: str) -> str:
    """The text that a tokenizer takes: half a surrogate pair, as hostile or cut text may hold, is none."""
    return text.encode("utf-8", "replace").decode()


def _halves(clause: str, count: Callable[[str], int], limit: int) -> list[str]:
    """A clause, halved between words (within a word where it has only one) until every part fits."""
    if count(clause) <= limit or len(clause) < 2:
        return [clause]
    words = clause.split()
    if len(words) > 1:
        half = len(words) // 2
        sides = " ".join(words[:half]), " ".join(words[half:])
    else:
        sides = clause[: len(clause) // 2], clause[len(clause) // 2 :]
    return [part for side in sides for part in _halves(side, count, limit)]


def tokenizer(place: Path) -> "Tokenizer":
    """The tokenizer in ``tokenizer.json`` of a folder, or in a file like it; it neither cuts nor fills up.

    Raises WeightsError if there is no such file or it cannot be read.
    """
    from tokenizers import Tokenizer

    file = place if place.is_file() else place / "tokenizer.json"
    if not file.is_file():
        raise WeightsError(f"{place} has no tokenizer.json.")
    try:
        made: Tokenizer = Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises Exception itself
        raise WeightsError(f"{file} is not a tokenizer: {error}") from error
    made.no_truncation()
    made.no_padding()
    return made


def tokenizer_of(file: Path, given: str | Path | None, *, hub: str = "", pulled: str = "") -> "Tokenizer":
    """``tokenizer`` of the folder given, of that of the weights, or of what was ``pulled`` or the hub's cache has."""
    if given is None and (file.parent / "tokenizer.json").is_file():
        return tokenizer(file.parent)
    return tokenizer(path(pulled) if pulled and given is None else locate(str(given or hub)))
