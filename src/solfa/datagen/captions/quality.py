"""Which captions are good enough, rule by rule: every refusal has a name, so that it can be counted."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from solfa.audio.tags import clean
from solfa.core.vocabulary import concepts
from solfa.datagen.captions.facts import grammar
from solfa.datagen.captions.grounding import grounding
from solfa.datagen.captions.reading import agreement
from solfa.query.source import MAX_CHARS

# Rule -> what breaks it. A language model's answer may also break those of ``llm.Answer``, a clip those of ``Write``.
CAPTION_RULES = {
    "empty": "no text",
    "too_long": "more words than the limit, or more characters than can be parsed",
    "control_characters": "control or invisible characters",
    "wrong_script": "letters that are not Latin",
    "markup": "tags, links, code or Markdown",
    "sentences": "more than one sentence where one was asked for",
    "subjective": "a word of judgement",
    "false": "something else than an attribute says, or an attribute that is not known",
    "invented": "a statement that no attribute bears out: a number, a name, a speed, a place, a circumstance",
    "missing": "an attribute is left out where all were asked for",
}
_MARKUP = re.compile(r"<[a-z/!]|https?://|```|\*\*|\]\(|^\s*[#>]\s", re.IGNORECASE | re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?](?=\s+\S)")


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionRules:
    """What is asked of a caption: all attributes, one sentence, no judgement, no invention, so many words."""

    complete: bool = True
    grounded: bool = False
    one_sentence: bool = False
    objective: bool = False
    most_words: int = 300


def broken_rules(text: str, attributes: Mapping[str, Any], rules: CaptionRules) -> tuple[str, ...]:
    """The names of ``CAPTION_RULES`` that a caption breaks, in their order; none if it is good.

    >>> broken_rules("A beautiful piece in F major.", {"key": "F major"}, CaptionRules(objective=True))
    ('subjective',)
    """
    if not clean(text):
        return ("empty",)
    if len(text.split()) > rules.most_words or len(text) > MAX_CHARS:
        return ("too_long",)
    seen = agreement(text, attributes)
    checks = {
        "control_characters": any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn") for c in text),
        "wrong_script": any(c.isalpha() and not unicodedata.name(c, "").startswith("LATIN") for c in text),
        "markup": _MARKUP.search(text) is not None,
        "sentences": rules.one_sentence and _SENTENCE_END.search(text.strip()) is not None,
        "subjective": rules.objective and bool(_judgement(text, attributes)),
        "false": bool(seen.false),
        "invented": rules.grounded and bool(grounding(text, attributes).invented),
        "missing": rules.complete and bool(seen.missing),
    }
    return tuple(rule for rule, broken in checks.items() if broken)


def _judgement(text: str, attributes: Mapping[str, Any]) -> set[str]:
    """Words of judgement that are not names of the clip's own moods and genres."""
    own = {
        word
        for name in ("mood", "genre")
        for concept in attributes.get(name) or ()
        for phrase in concepts()[concept].names
        for word in phrase.lower().split()
    }
    return (set(grammar()["rules"]["judgement"]["subjective"]) & set(re.findall(r"[a-z]+", text.lower()))) - own
