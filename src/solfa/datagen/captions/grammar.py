"""Captions from attributes, offline: many phrasings, several styles, every stated fact true.

The phrasings are data (``grammar.toml``); here is how they are put together. A caption follows from its attributes and
its seed alone. Which style and which phrasings are drawn depends on the seed and on which attributes there are, never
on their values, so that nothing but the words for a key or a tempo gives it away.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from solfa.core.clip import Phrase
from solfa.core.errors import InputError, UnknownName
from solfa.core.types import Rng
from solfa.datagen.captions.checks import claims_agree
from solfa.datagen.captions.facts import Fact, facts_of, grammar, pick

# Style -> how often it is drawn. A full style says every attribute.
_SHARES = {
    "sentence": 0.14, "figma": 0.1, "prose": 0.2, "request": 0.1, "tags": 0.06, "catalogue": 0.04, "producer": 0.06,
    "late": 0.05, "partial": 0.17, "short": 0.04, "german": 0.02, "spanish": 0.01, "french": 0.01,
}  # fmt: skip
STYLES = tuple(_SHARES)
FULL_STYLES = tuple(s for s in STYLES if s not in ("partial", "short"))
LANGUAGES = ("german", "spanish", "french")
ENGLISH_ONLY = frozenset(("unsure", "some_chords"))  # attributes
_DECISIVE = ("key", "tempo", "metre", "chords")
_ATTEMPTS = 12


def caption(
    attributes: Mapping[str, Any],
    phrases: Sequence[Phrase] = (),
    *,
    seed: int | str,
    style: str | None = None,
    num: int = 1,
    duration_s: float | None = None,
) -> tuple[str, ...]:
    """Different captions of one clip, at most ``num``: few attributes do not give many texts.

    ``attributes`` are as in `Clip`; a missing one is not spoken of, names that are unknown here are passed over.
    Some ``phrases`` are stated, with their place (which needs ``duration_s``, the length of the clip), in the styles
    that have room. ``style`` is one of ``STYLES``; None draws one for each caption. The same ``seed`` gives the
    same captions. Raises InputError if there is no attribute to state, or ``num`` is below 1, or an attribute is
    not of its form; UnknownName if there is no such style.

    >>> caption({"key": "F major", "tempo_bpm": 110.0, "metre": "4/4"}, seed=2, style="tags")
    ('metre: 4/4, 110 bpm, in F major',)
    """
    if style is not None and style not in STYLES:
        raise UnknownName("caption style", style, STYLES)
    if num < 1:
        raise InputError(f"{num} captions were asked for; expected at least 1.")
    texts: dict[str, None] = {}
    for index in range(2 * num):
        chosen = style or drawn_style(f"{seed}/{index}", attributes)
        texts[_caption(attributes, phrases, _rng(f"{seed}/{chosen}/{index}"), chosen, duration_s)] = None
        if len(texts) == num:
            break
    return tuple(texts)


def drawn_style(seed: int | str, attributes: Mapping[str, Any]) -> str:
    """The style that a seed draws, as often as their shares say; a language only where it has words for something."""
    style = STYLES[int(_rng(f"style/{seed}").choice(len(STYLES), p=list(_SHARES.values())))]
    return "tags" if style in LANGUAGES and set(attributes) <= ENGLISH_ONLY else style


def _rng(seed: str) -> Rng:
    digest = hashlib.sha256(seed.encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def _caption(
    attributes: Mapping[str, Any], phrases: Sequence[Phrase], rng: Rng, chosen: str, duration_s: float | None
) -> str:
    language = grammar()[chosen] if chosen in LANGUAGES else None
    text = ""
    # Words can run together ("A" and a key make a chord): drawn again until the text reads as it was meant.
    for _ in range(_ATTEMPTS):
        facts = facts_of(attributes, () if chosen == "figma" else phrases, duration_s, rng, language)
        if not facts:
            raise InputError(
                f"nothing to say: none of the attributes ({', '.join(attributes) or 'none given'}) is one that "
                f"captions can state. Expected tempo_bpm, key, chords, metre, instruments, voice, genre or mood."
            )
        facts = [facts[i] for i in rng.permutation(len(facts))]
        text = _COMPOSERS[chosen](facts, rng)
        if claims_agree(_without_phrases(text, facts), attributes, complete=chosen in FULL_STYLES and language is None):
            break
    return text


def _without_phrases(text: str, facts: Sequence[Fact]) -> str:
    """The text without the words of timed phrases, which may refer to another key than that of the whole."""
    for phrase in [f.slots["phrase"] for f in facts if f.kind == "phrase"]:
        text = text.replace(phrase, "").replace(_upper(phrase), "")
    return text


def _say(fact: Fact, role: str, rng: Rng) -> str:
    phrasings = grammar()["facts"][pick(rng, fact.sections)][role]
    capitals = {name.capitalize(): _upper(fact.slots[name]) for name in ("phrase", "place") if name in fact.slots}
    return pick(rng, phrasings).format(**fact.slots, **capitals)


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _article(text: str) -> str:
    """Every "a(n)" as a or an; note names and numbers as they are said."""

    def choose(match: re.Match[str]) -> str:
        word = match["next"]
        an = re.match(r"[aeiouAEIOU](?!\w*[Ee]uro)|[FHLMNRSX]\b|8|1[18]\b", word)
        you = re.match(r"(?i)(?:uni|uk|use|eu|one)", word)
        return f"{match['a']}{'n' if an and not you else ''} {word}"

    return re.sub(r"\b(?P<a>[Aa])\(n\) (?P<next>\S+)", choose, text)


def _head(facts: list[Fact], rng: Rng, *, always: bool = False) -> tuple[str, list[Fact]]:
    """ "sad jazz piece", and the facts that it leaves to say."""
    by_kind = {f.kind: f for f in facts}
    said = [by_kind[k] for k in ("mood", "genre") if k in by_kind and (always or rng.random() < 0.7)]
    words = [*(f.slots[f.kind] for f in said), pick(rng, grammar()["styles"]["noun"])]
    return " ".join(words), [f for f in facts if f not in said]


def _sentence(facts: list[Fact], rng: Rng, frames: str = "sentence") -> str:
    head, rest = _head(facts, rng)
    parts = [_say(f, "with", rng) for f in sorted(rest, key=lambda f: f.kind == "phrase")]  # what happens when: last
    text = pick(rng, grammar()["styles"][frames]).format(head=head, A="A(n)", **{"with": ", ".join(parts)})
    return _article(re.sub(r" (?=[.,?]$)| (?=, please)", "", text))


def _figma(facts: list[Fact], rng: Rng) -> str:
    """One objective sentence, as the captions of FGMCaps are."""
    head, rest = _head(facts, rng, always=True)
    if not rest:
        return _article(f"A(n) {head}.")
    rest = [Fact(f.kind, ("beats",), f.slots) if "beats" in f.slots else f for f in rest]
    verbs = [_say(f, "verb", rng) for f in rest]
    verb = verbs[0] if len(verbs) == 1 else f"{', '.join(verbs[:-1])}, and {verbs[-1]}"
    return _article(pick(rng, grammar()["styles"]["figma"]).format(head=head, verb=verb))


def _prose(facts: list[Fact], rng: Rng) -> str:
    head, rest = _head(facts, rng)
    opening = _article(pick(rng, grammar()["styles"]["prose"]).format(head=head))
    return " ".join([opening, *_sentences(rest, rng)])


def _sentences(facts: Sequence[Fact], rng: Rng) -> list[str]:
    """A sentence for each fact, or for two of them."""
    texts, left, styles = [], list(facts), grammar()["styles"]
    while left:
        fact, subject = left.pop(0), pick(rng, styles["subject"])
        if left and rng.random() < 0.5:
            other, says = left.pop(0), _say(fact, "says", rng)
            low = says if re.match(r"\w*[A-Z0-9#]\w*[A-Z0-9#]|[A-G]\b|I\b|A\b", says) else says[:1].lower() + says[1:]
            texts.append(pick(rng, styles["joined"]).format(
                says=says, says_low=low, Subject=subject, subject=subject[:1].lower() + subject[1:],
                verb=_say(other, "verb", rng), verb_2=_say(fact, "verb", rng),
            ))  # fmt: skip
        elif rng.random() < 0.5:
            texts.append(f"{subject} {_say(fact, 'verb', rng)}.")
        else:
            texts.append(f"{_say(fact, 'says', rng)}.")
    return [_article(t) for t in texts]


def _late(facts: list[Fact], rng: Rng) -> str:
    """A long text whose first sixty words say little; what distinguishes clips comes last."""
    table = grammar()["late"]
    decisive = [f for f in facts if f.kind in _DECISIVE]
    fillers = [table["filler"][i] for i in rng.permutation(len(table["filler"]))[: int(rng.integers(2, 4))]]
    parts = [pick(rng, table["opening"]), *fillers]
    for sentence in _sentences([f for f in facts if f.kind not in _DECISIVE], rng):
        parts.insert(int(rng.integers(1, len(parts) + 1)), sentence)
    return " ".join([*parts, *([pick(rng, table["turn"]), *_sentences(decisive, rng)] if decisive else [])])


def _list(facts: list[Fact], rng: Rng, role: str) -> str:
    joint = pick(rng, grammar()["styles"][f"{role}_joint"])
    return joint.join(_say(f, role, rng) for f in facts) + ("." if joint == ". " else "")


def _partial(facts: list[Fact], rng: Rng) -> str:
    """Some of the facts, at least two where there are as many, in a style of the full ones."""
    size = int(rng.integers(min(2, len(facts)), max(3, len(facts))))
    return _COMPOSERS[pick(rng, ("sentence", "prose", "request", "tags", "producer"))](facts[:size], rng)


def _short(facts: list[Fact], rng: Rng) -> str:
    """One or two facts."""
    return _COMPOSERS[pick(rng, ("sentence", "tags", "producer"))](facts[: int(rng.integers(1, 3))], rng)


def _foreign(facts: list[Fact], rng: Rng, language: str) -> str:
    table = grammar()[language]
    parts = [pick(rng, table[pick(rng, f.sections)]).format(**f.slots) for f in facts]
    return _upper(pick(rng, (", ", "; ")).join(parts))


_COMPOSERS: dict[str, Callable[[list[Fact], Rng], str]] = {
    "sentence": _sentence,
    "figma": _figma,
    "prose": _prose,
    "request": partial(_sentence, frames="request"),
    "tags": partial(_list, role="item"),
    "catalogue": partial(_list, role="label"),
    "producer": partial(_list, role="note"),
    "late": _late,
    "partial": _partial,
    "short": _short,
    **{language: partial(_foreign, language=language) for language in LANGUAGES},
}
