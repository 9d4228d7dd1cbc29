"""What a caption says, held against the attributes of its clip; and the rules that it breaks, each by its name.

Two readers: ``core.claims`` for the explicit statements that perturbations change, and ``query.parse`` for everything
that a search would understand, in any language that it reads. Numbers, names, speeds, absences, places, years and
circumstances of a recording are statements that attributes would have to bear out. A word that is neither theirs nor
neutral is listed, since nothing here can decide whether it is true.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from solfa.audio.tags import clean
from solfa.constraints import Chords, Constraint, Duration, Dynamics, InKey, Metre, Presence, Tempo
from solfa.core.claims import (
    CHORD,
    MARKINGS,
    NOTE,
    CaptionClaim,
    Kind,
    chord_symbol,
    claimed_key,
    find_claims,
    tempo_marking,
)
from solfa.core.text import is_latin
from solfa.core.theory import Chord, Key, pitch_class
from solfa.core.vocabulary import concepts, lineage
from solfa.datagen.captions.facts import grammar, harmony, loop, merged
from solfa.query import parse
from solfa.query.source import MAX_CHARS

_MARKUP = re.compile(r"<[a-z/!]|https?://|```|\*\*|\]\(|^\s*[#>]\s", re.IGNORECASE | re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?](?=\s+\S)")
_WORD = re.compile(r"[^\W_]+(?:['’.&/#♯-][^\W_]+)*[#♯]?")
_NAMES_OF_COUNTS = "one two three four five six seven eight nine ten eleven twelve"
_COUNTS = {word: str(count) for count, word in enumerate(_NAMES_OF_COUNTS.split(), start=1)}
_ENOUGH_CHORDS = 8  # a beginning of a long progression that may stand for it
# Attribute -> the kind of claim that states it; and the kinds of concepts that a list of them holds.
_CLAIMED: dict[str, Kind] = {
    "key": "key", "tempo_bpm": "bpm", "tempo_marking": "marking", "metre": "beats", "beats_per_bar": "beats",
    "chords": "chords",
}  # fmt: skip
_LISTS = {"instruments": ("instrument", "voice"), "genre": ("genre",), "mood": ("mood", "use")}


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionRules:
    """What is asked of a caption: all attributes, one sentence, no judgement, no invention, so many words."""

    complete: bool = True
    grounded: bool = False
    one_sentence: bool = False
    objective: bool = False
    most_words: int = 300


def broken_rules(text: str, attributes: Mapping[str, Any], rules: CaptionRules) -> tuple[str, ...]:
    """The names of the rules that a caption breaks, in a fixed order; none if it is good.

    A language model's answer may also break those of ``llm.Answer``, a clip those of ``WriteCaptions``.

    >>> broken_rules("A beautiful piece in F major.", {"key": "F major"}, CaptionRules(objective=True))
    ('subjective',)
    """
    if not clean(text):
        return ("empty",)
    if len(text.split()) > rules.most_words or len(text) > MAX_CHARS:
        return ("too_long",)
    seen = read(text, attributes)
    names = " ".join(n for field in ("mood", "genre") for i in attributes.get(field) or () for n in concepts()[i].names)
    judging = set(grammar()["rules"]["judgement"]["subjective"]) - set(names.lower().split())
    checks = {
        "control_characters": any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn") for c in text),
        "wrong_script": not is_latin(text),
        "markup": _MARKUP.search(text) is not None,
        "sentences": rules.one_sentence and _SENTENCE_END.search(text.strip()) is not None,
        "subjective": rules.objective and not judging.isdisjoint(re.findall(r"[a-z]+", text.lower())),
        "false": bool(seen.false),  # something else than an attribute says, or an attribute that is not known
        "invented": rules.grounded and bool(seen.invented),
        "missing": rules.complete and bool(seen.missing),
    }
    return tuple(rule for rule, broken in checks.items() if broken)


def claims_agree(text: str, attributes: Mapping[str, Any], *, complete: bool) -> bool:
    """Whether every explicit claim of a text is true of the attributes; with ``complete`` also none is left out.

    >>> claims_agree("Jazz in F major.", {"key": "F major", "tempo_bpm": 90.0}, complete=False)
    True
    """
    claims = find_claims(text)
    expected: set[str] = {kind for name, kind in _CLAIMED.items() if name != "chords" and attributes.get(name)}
    if any(count > 9 for count in _counts(attributes)):
        expected.discard("beats")  # claims know one digit
    chords = loop(harmony(attributes.get("chords") or ()))
    if len(merged(map(_bare, chords))) > 1 and all(re.fullmatch(CHORD, chord_symbol(c)) for c in chords):
        expected.add("chords")
    return all(_claim_holds(c, attributes) for c in claims.values()) and (not complete or expected <= set(claims))


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a text leaves out, gets wrong, adds, and says that cannot be judged.

    ``missing`` and ``false`` are attributes that it does not state, or states otherwise (list attributes as NAME:ID);
    ``invented`` is what no attribute bears out, as KIND:WORDS; ``unchecked`` are words that nothing here can judge.
    """

    missing: tuple[str, ...] = ()
    false: tuple[str, ...] = ()
    invented: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()


def read(text: str, attributes: Mapping[str, Any]) -> Reading:
    """A text held against attributes. One that is not known is never missing and cannot be false.

    Raises InputError if the text is blank or too long to be parsed.

    >>> read("Slow jazz recorded live in 1969 by the Beatles.", {"genre": ["jazz"], "tempo_bpm": 60.0}).invented
    ('circumstance:recorded live', 'number:1969', 'name:Beatles')
    >>> read("A jazz piece with shimmering colours.", {"genre": ["jazz"]}).unchecked
    ('shimmering', 'colours')
    """
    constraints = parse(text).constraints
    missing, false = _stated(text, attributes, constraints)
    invented, unchecked = _beyond(text, attributes, constraints)
    return Reading(missing=missing, false=false, invented=invented, unchecked=unchecked)


_Names = tuple[str, ...]


def _stated(text: str, attributes: Mapping[str, Any], constraints: Sequence[Constraint]) -> tuple[_Names, _Names]:
    """What is missing and what is false."""
    claims, unsure = find_claims(text), attributes.get("unsure") or {}
    hedged = {**unsure, **attributes}
    # A hedge reaches no further than its clause.
    bare = {c.kind: c for part in re.split(r"[,;]| and ", text) for c in find_claims(part).values()} if unsure else {}
    missing, false = [], []
    for name in (*_CLAIMED, "voice"):
        kind = _CLAIMED.get(name)
        claim = None if kind is None else claims.get(kind) or (bare.get(kind) if name in unsure else None)
        verdicts = [_claim_holds(claim, attributes)] if claim else []
        verdicts += [v for c in constraints if (v := _constraint_holds(name, c, hedged)) is not None]
        if False in verdicts:
            false.append(name)
        elif not verdicts and attributes.get(name) not in (None, "", [], ()):
            missing.append(name)
    present = [c for c in constraints if isinstance(c, Presence) and not c.negated]
    for name, kinds in _LISTS.items():
        known = set(attributes.get(name) or ())
        said = {c.concept for c in present if c.kind in kinds}
        allowed = {w for k in known for w in lineage(k)} | ({"voice"} if attributes.get("voice") else set())
        given = {w for s in said for w in lineage(s)}
        # The parser passes over names that can mean other things ("trap").
        missing += [f"{name}:{k}" for k in sorted(known - given) if not _names(text, k)]
        false += [f"{name}:{s}" for s in sorted(said - allowed)]
    return tuple(missing), tuple(false)


def _names(text: str, concept: str) -> bool:
    names = "|".join(re.escape(n) for n in concepts()[concept].names)
    return re.search(rf"(?<!\w)(?:{names})(?!\w)", text, re.IGNORECASE) is not None


def _counts(attributes: Mapping[str, Any]) -> set[int]:
    """Beats in a bar."""
    metre, beats = attributes.get("metre"), attributes.get("beats_per_bar")
    return ({int(metre.partition("/")[0])} if metre else set()) | ({int(beats)} if beats else set())


def _claim_holds(claim: CaptionClaim, attributes: Mapping[str, Any]) -> bool:
    value, bpm = claim.value, attributes.get("tempo_bpm")
    if claim.kind == "key":
        return bool(attributes.get("key")) and claimed_key(value) == Key.parse(attributes["key"])
    if claim.kind == "bpm":
        return bpm is not None and abs(float(value) - bpm) <= 0.51
    if claim.kind == "marking":
        return _marking(attributes) in next(terms for _, terms in MARKINGS if value.lower() in terms)
    if claim.kind == "beats":
        return int(value) in _counts(attributes)
    known = [_signature(chord_symbol(c)) for c in harmony(attributes.get("chords") or ())]
    return _same_chords([_signature(m[0]) for m in re.finditer(CHORD, value)], known)


def _marking(attributes: Mapping[str, Any]) -> str | None:
    bpm = attributes.get("tempo_bpm")
    return attributes.get("tempo_marking") or (tempo_marking(bpm) if bpm else None)


def _signature(symbol: str) -> tuple[int, str]:
    """Root and quality of a chord symbol; the bass note is left out."""
    root, quality = re.match(r"([A-G][#♯b♭]?)([^/]*)", symbol).groups()  # type: ignore[union-attr]
    spelled = {"min": "m", "maj": "", "M7": "maj7", "min7": "m7", "min9": "m9", "sus": "sus4"}
    return pitch_class(root), spelled.get(quality, quality)


def _bare(chord: Chord) -> tuple[int, str]:
    return chord.root, chord.quality


def _same_chords(said: Sequence[Any], known: Sequence[Any]) -> bool:
    """Whether a stated sequence is the known one: all of it, the loop that it repeats, or a long beginning."""
    said, known = merged(said), merged(known)  # basses are not compared, so neighbours may have become equal
    if not said or len(said) > len(known):
        return False
    if len(said) == len(known) or len(said) >= _ENOUGH_CHORDS:
        return said == known[: len(said)]
    return len(said) * 2 <= len(known) and all(c == said[i % len(said)] for i, c in enumerate(known))


def _constraint_holds(name: str, constraint: Constraint, attributes: Mapping[str, Any]) -> bool | None:
    """Whether a constraint is true of an attribute; None if it is not about it."""
    if name == "key" and isinstance(constraint, InKey) and constraint.tonic is not None and constraint.mode is not None:
        known: str = attributes.get("key") or ""
        return bool(known) and Key(constraint.tonic, constraint.mode) == Key.parse(known)
    if name == "tempo_bpm" and isinstance(constraint, Tempo) and constraint.low_bpm == constraint.high_bpm:
        return abs(constraint.low_bpm - (attributes.get("tempo_bpm") or 0.0)) <= 0.51
    if name in ("metre", "beats_per_bar") and isinstance(constraint, Metre):
        if not (counts := _counts(attributes)):
            return None  # "waltz" is a genre as well; a number would be a claim
        return not counts.isdisjoint(int(m.partition("/")[0]) for m in constraint.metres)
    if name == "chords" and isinstance(constraint, Chords) and not constraint.transposable:
        said, chords = [_bare(c) for c in constraint.chords], harmony(attributes.get("chords") or ())
        if not chords and attributes.get("some_chords"):
            return set(said) <= {_bare(c) for c in harmony(attributes["some_chords"])}
        return _same_chords(said, [_bare(c) for c in chords])
    if name == "voice" and isinstance(constraint, Presence) and constraint.kind == "voice":
        return attributes.get("voice") is not None and bool(attributes["voice"]) != constraint.negated
    return None


def _beyond(text: str, attributes: Mapping[str, Any], constraints: Sequence[Constraint]) -> tuple[_Names, _Names]:
    """What is invented and what cannot be checked, in the order of the text."""
    given = {**(attributes.get("unsure") or {}), **attributes}  # whether a hedge stands by it, ``_stated`` says
    own, numbers = _own_words(given), _numbers(given)
    # Keys and chords are held against the attributes elsewhere.
    plain = re.sub(rf"(?<![\w#♯])(?:{NOTE})[ -](?:major|minor|maj|min)\b", " ", text)
    plain = re.sub(rf"(?<![\w#♯])(?!A\b(?! ?[-–,→|])){CHORD}(?![\w#♯])", " ", plain)
    speeds = {
        m[0].lower(): bounds for words, bounds in grammar()["rules"]["speeds"].items()
        for m in re.finditer(rf"(?i)\b(?:{words})\b", text)
    }  # fmt: skip
    invented = [*_wrong_speeds(speeds, attributes), *_limits(constraints, attributes)]
    circumstances = re.finditer(rf"(?i)\b(?:{'|'.join(grammar()['rules']['circumstances'])})\b", plain)
    invented += [f"circumstance:{c}" for m in circumstances if (c := m[0].lower()) not in own]
    judged = set(re.findall(r"[a-z]+(?:-[a-z]+)*", " ".join([*speeds, *invented]).lower()))
    unchecked, start = [], True
    for match in _WORD.finditer(plain):
        word = match[0]
        lower = re.sub(r"['’]s$", "", word.lower())
        if any(c.isdigit() for c in word):
            if lower not in numbers and lower not in own:
                invented.append(f"number:{word}")
        elif lower in own or _is_neutral(lower) or all(p in own or _is_neutral(p) for p in lower.split("-")):
            pass
        elif lower in _COUNTS:
            if _COUNTS[lower] not in numbers:
                invented.append(f"number:{word}")
        elif word[0].isupper() and not start:
            invented.append(f"name:{word}")
        elif lower not in judged:
            unchecked.append(lower)
        start = plain[match.end() : match.end() + 1] in ".!?"
    return tuple(dict.fromkeys(invented)), tuple(dict.fromkeys(unchecked))


def _wrong_speeds(speeds: Mapping[str, Sequence[float]], attributes: Mapping[str, Any]) -> Iterator[str]:
    """Words of speed that the tempo does not bear out; "slow" in the name of a genre of the clip is none."""
    bpm = attributes.get("tempo_bpm")
    names = [n.lower() for i in attributes.get("genre") or () for n in concepts()[i].names]
    for said, (low, high) in speeds.items():
        if (bpm is None or not low <= bpm <= high) and not any(said in n for n in names):
            yield f"speed:{said}"


def _limits(constraints: Sequence[Constraint], attributes: Mapping[str, Any]) -> Iterator[str]:
    """What a text says is not there, or is there in a part only, or how long or loud it all is."""
    for c in constraints:
        if isinstance(c, Presence) and c.negated and not (c.kind == "voice" and attributes.get("voice") is False):
            yield f"absence:{c.text}"
        elif isinstance(c, Presence) and (c.solo or c.place is not None):
            yield f"place:{c.text}"
        elif isinstance(c, Dynamics | Duration):
            yield f"{type(c).__name__.lower()}:{c.text}"


def _own_words(attributes: Mapping[str, Any]) -> frozenset[str]:
    """Every word of the names of the clip's own concepts, their wider ones, its marking and metre."""
    wider = {w for name in _LISTS for i in attributes.get(name) or () for w in lineage(i)}
    names = [n.lower() for w in wider for n in concepts()[w].names]
    words = {w for n in names for w in (n, *re.split(r"[\s-]+", n))}
    words |= {t for _, terms in MARKINGS if _marking(attributes) in terms for t in terms}
    if attributes.get("voice"):
        words |= {"voice", "voices", "vocal", "vocals", "singing", "sung", "singer", "sings"}
    return frozenset(words | {w + "s" for w in words})


def _numbers(attributes: Mapping[str, Any]) -> frozenset[str]:
    bpm, chords = attributes.get("tempo_bpm"), harmony(attributes.get("chords") or ())
    metre, beats = attributes.get("metre") or "", attributes.get("beats_per_bar")
    found = {f"{bpm:.0f}", f"{bpm:.1f}", f"{bpm:.2f}", f"{bpm:.0f}bpm", f"{bpm:.0f}-bpm"} if bpm else set()
    found |= {metre, *metre.split("/"), f"{metre}-time"} if metre else set()
    found |= {str(beats), f"{beats}-beat", *(f"{beats}/{n}" for n in (2, 4, 8))} if beats else set()
    found |= {str(len(chords)), str(len(set(chords)))} if chords else set()
    return frozenset(found | {str(len(attributes.get("instruments") or "1")), "one", "1"})


def _is_neutral(word: str) -> bool:
    stem = re.sub(r"(?:ing|ed|es|s)$", "", word)
    return bool({word, stem, stem + "e"} & _neutral())


@cache
def _neutral() -> frozenset[str]:
    """Words that state nothing by themselves: those of the grammar's own phrasings, and a list."""
    table = grammar()
    roles = [texts for name, fact in table["facts"].items() if "voice" not in name for texts in fact.values()]
    phrasings = re.sub(r"{\w+}", " ", " ".join(p for texts in (*roles, *table["styles"].values()) for p in texts))
    words = {w.lower() for w in re.findall(r"[A-Za-z]+(?:-[A-Za-z]+)*", phrasings)}
    return frozenset(words | set(" ".join(table["rules"]["neutral"]).split()))
