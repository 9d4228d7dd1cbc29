"""What is said about a track: sentences, each with the measurement that it rests on."""

from dataclasses import dataclass
from typing import Literal

Certainty = Literal["surely", "probably", "perhaps"]
_SURELY, _PROBABLY = 0.9, 0.7


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One sentence about a track, and what it rests on.

    ``start_s`` and ``end_s`` are where it holds. ``field`` is what was measured ("tempo_bpm", "key", "instruments",
    "parts" ...), ``value`` what was found (text for what has no number), ``confidence`` 0..1 how sure that is and
    ``certainty`` the same in words, as the sentence says it. ``maker`` is "measured", or the name of the model whose
    word it is.
    """

    text: str
    start_s: float
    end_s: float
    field: str
    value: str | float | None
    confidence: float
    certainty: Certainty
    maker: str = "measured"


def certainty_of(confidence: float) -> Certainty:
    """The word for a confidence.

    >>> certainty_of(0.95), certainty_of(0.7), certainty_of(0.5)
    ('surely', 'probably', 'perhaps')
    """
    return "surely" if confidence >= _SURELY else "probably" if confidence >= _PROBABLY else "perhaps"
