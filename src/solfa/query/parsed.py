"""What a query asks: constraints that can be measured, and phrases that can only be compared.

Every constraint remembers the words it came from, so that the parse can be shown and overridden, and nothing is guessed
silently.
"""

from __future__ import annotations

from dataclasses import dataclass

from solfa.constraints import Constraint


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A parsed query.

    ``phrases`` is the rest that is compared by embedding (with negated phrases apart); ``words`` is what full-text
    search on tags sees; ``unknown`` is what was not understood and not compared either (said to the user). ``notes``
    say what was assumed ("'slow' read as 40-76 BPM") and why something is unknown.
    """

    text: str
    constraints: tuple[Constraint, ...] = ()
    phrases: tuple[str, ...] = ()
    negated_phrases: tuple[str, ...] = ()
    words: str = ""
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
