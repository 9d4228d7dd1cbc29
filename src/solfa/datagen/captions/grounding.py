"""What a text says beyond its facts: statements that contradict or exceed them, and words that cannot be checked.

The gate for texts that a language model writes. Numbers, names, speeds, absences, places, years and circumstances of a
recording are statements that a clip's attributes would have to bear out. A word that is neither theirs nor neutral is
listed, since nothing here can tell whether it is true.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from solfa.constraints import Duration, Dynamics, Presence
from solfa.core.claims import CHORD, MARKINGS, NOTE, marking_of
from solfa.core.vocabulary import concepts, lineage
from solfa.datagen.captions.facts import grammar, harmony
from solfa.query import parse

_WORD = re.compile(r"[^\W_]+(?:['’.&/#♯-][^\W_]+)*[#♯]?")
_NAMES_OF_COUNTS = "one two three four five six seven eight nine ten eleven twelve"
_COUNTS = {word: count for count, word in enumerate(_NAMES_OF_COUNTS.split(), start=1)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Grounding:
    """``invented``: what no attribute bears out, as KIND:WORDS; ``unchecked``: words that nothing here can judge."""

    invented: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()


def grounding(text: str, attributes: Mapping[str, Any]) -> Grounding:
    """What a text says beyond the attributes, in the order of the text.

    >>> grounding("Slow jazz recorded live in 1969 by the Beatles.", {"genre": ["jazz"], "tempo_bpm": 60.0}).invented
    ('circumstance:recorded live', 'number:1969', 'name:Beatles')
    >>> grounding("A jazz piece with shimmering colours.", {"genre": ["jazz"]}).unchecked
    ('shimmering', 'colours')
    """
    told = {**(attributes.get("unsure") or {}), **attributes}  # whether a hedge stands by it, ``reading`` says
    own, plain = _own_words(told), _without_facts(text)
    circumstances = [m[0].lower() for m in _circumstances().finditer(plain) if m[0].lower() not in own]
    speeds, absences = _speeds(text, attributes), _absences(text, attributes)
    invented = [*speeds, *absences, *(f"circumstance:{c}" for c in circumstances)]
    judged = {w for c in (*_speed_words(text), *invented) for w in re.findall(r"[a-z]+(?:-[a-z]+)*", c.lower())}
    unchecked, numbers = [], _numbers(told)
    start = True
    for match in _WORD.finditer(plain):
        word = match[0]
        lower = re.sub(r"['’]s$", "", word.lower())
        if any(c.isdigit() for c in word):
            if lower not in numbers and lower not in own:
                invented.append(f"number:{word}")
        elif lower in own or _is_neutral(lower) or all(p in own or _is_neutral(p) for p in lower.split("-")):
            pass
        elif lower in _COUNTS:
            if str(_COUNTS[lower]) not in numbers:
                invented.append(f"number:{word}")
        elif word[0].isupper() and not start:
            invented.append(f"name:{word}")
        elif lower not in judged:
            unchecked.append(lower)
        start = plain[match.end() : match.end() + 1] in ".!?"
    return Grounding(invented=tuple(dict.fromkeys(invented)), unchecked=tuple(dict.fromkeys(unchecked)))


def _without_facts(text: str) -> str:
    """The text without keys and chords, which ``reading`` holds against the attributes."""
    text = re.sub(rf"(?<![\w#♯])(?:{NOTE})[ -](?:major|minor|maj|min)\b", " ", text)
    return re.sub(rf"(?<![\w#♯])(?!A\b(?! ?[-–,→|])){CHORD}(?![\w#♯])", " ", text)


def _own_words(attributes: Mapping[str, Any]) -> frozenset[str]:
    """Every word of the names of the clip's own concepts, their wider ones, its marking and metre."""
    ids = {i for name in ("instruments", "genre", "mood") for i in attributes.get(name) or ()}
    names = [n for i in ids for wider in (i, *lineage(i)) for n in concepts()[wider].names]
    words = {w for n in names for w in (n.lower(), *re.split(r"[\s-]+", n.lower()))}
    bpm, marking = attributes.get("tempo_bpm"), attributes.get("tempo_marking")
    band = marking or (bpm and marking_of(bpm))
    words |= {t for _, terms in MARKINGS if band in terms for t in terms}
    if attributes.get("voice"):
        words |= {"voice", "voices", "vocal", "vocals", "singing", "sung", "singer", "sings"}
    return frozenset(words | {w + "s" for w in words})


def _numbers(attributes: Mapping[str, Any]) -> frozenset[str]:
    bpm = attributes.get("tempo_bpm")
    metre, beats = attributes.get("metre") or "", attributes.get("beats_per_bar")
    found = {f"{bpm:.0f}", f"{bpm:.1f}", f"{bpm:.2f}", f"{bpm:.0f}bpm", f"{bpm:.0f}-bpm"} if bpm else set()
    found |= {metre, *metre.split("/"), f"{metre}-time"} if metre else set()
    found |= {str(beats), f"{beats}-beat", *(f"{beats}/{n}" for n in (2, 4, 8))} if beats else set()
    chords = harmony(attributes.get("chords") or ())
    found |= {str(len(chords)), str(len(set(chords)))} if chords else set()
    return frozenset(found | {str(len(attributes[n])) for n in ("instruments",) if attributes.get(n)} | {"one", "1"})


def _speeds(text: str, attributes: Mapping[str, Any]) -> list[str]:
    """Words of speed that the tempo does not bear out; "slow" in the name of a genre of the clip is none."""
    bpm = attributes.get("tempo_bpm")
    names = [n.lower() for i in attributes.get("genre") or () for n in concepts()[i].names]
    return [
        f"speed:{said}" for said, (low, high) in _speed_words(text).items()
        if (bpm is None or not low <= bpm <= high) and not any(said in n for n in names)
    ]  # fmt: skip


def _speed_words(text: str) -> dict[str, tuple[float, float]]:
    table = grammar()["rules"]["speeds"].items()
    return {
        m[0].lower(): (low, high) for words, (low, high) in table for m in re.finditer(rf"(?i)\b(?:{words})\b", text)
    }


def _absences(text: str, attributes: Mapping[str, Any]) -> list[str]:
    """What a text says is not there, or is there in a part only, or how long or loud it all is."""
    found = []
    for c in parse(text).constraints:
        if isinstance(c, Presence) and c.negated and not (c.kind == "voice" and attributes.get("voice") is False):
            found.append(f"absence:{c.text}")
        elif isinstance(c, Presence) and (c.solo or c.place is not None):
            found.append(f"place:{c.text}")
        elif isinstance(c, Dynamics | Duration):
            found.append(f"{type(c).__name__.lower()}:{c.text}")
    return found


@cache
def _circumstances() -> re.Pattern[str]:
    return re.compile(rf"(?i)\b(?:{'|'.join(grammar()['rules']['circumstances'])})\b")


def _is_neutral(word: str) -> bool:
    stem = re.sub(r"(?:ing|ed|es|s)$", "", word)
    return bool({word, stem, stem + "e"} & _neutral())


@cache
def _neutral() -> frozenset[str]:
    """Words that state nothing by themselves: those of the grammar's own phrasings, and a list."""
    table = grammar()
    phrasings = [
        p for name, roles in table["facts"].items() if "voice" not in name for ps in roles.values() for p in ps
    ]
    phrasings += [p for texts in table["styles"].values() for p in texts]
    words = {w.lower() for p in phrasings for w in re.findall(r"[A-Za-z]+(?:-[A-Za-z]+)*", re.sub(r"{\w+}", " ", p))}
    return frozenset(words | set(" ".join(table["rules"]["neutral"]).split()))
