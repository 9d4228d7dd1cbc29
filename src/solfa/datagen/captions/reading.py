"""What a text states, held against what is known: which attributes it leaves out and which it gets wrong.

Two readers: ``core.claims`` for the explicit statements that perturbations change, and ``query.parse`` for
everything that a search would understand, in any language that it reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from solfa.constraints import Chords, Constraint, InKey, Metre, Presence, Tempo
from solfa.core.claims import CHORD, MARKINGS, Claim, Kind, chord_symbol, find_claims, marking_of
from solfa.core.theory import Chord, Key, pitch_class
from solfa.core.vocabulary import concepts, lineage
from solfa.datagen.captions.facts import harmony, loop, merged
from solfa.query import parse

_ENOUGH_CHORDS = 8  # a beginning of a long progression that may stand for it


# Attribute -> the kind of claim that states it.
_CLAIMED: dict[str, Kind] = {
    "key": "key",
    "tempo_bpm": "bpm",
    "tempo_marking": "marking",
    "metre": "beats",
    "beats_per_bar": "beats",
    "chords": "chords",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Names of the attributes that a text leaves out, and of those about which it says something else."""

    missing: tuple[str, ...] = ()
    false: tuple[str, ...] = ()


def claims_agree(text: str, attributes: Mapping[str, Any], *, complete: bool) -> bool:
    """Whether every explicit claim of a text is true of the attributes; with ``complete`` also none is left out.

    >>> claims_agree("Jazz in F major.", {"key": "F major", "tempo_bpm": 90.0}, complete=False)
    True
    """
    claims = find_claims(text)
    expected = _expected(attributes)
    if any(not _claim_holds(claim, attributes) for claim in claims.values()):
        return False
    return not complete or expected <= set(claims)


def agreement(text: str, attributes: Mapping[str, Any]) -> Agreement:
    """What a text leaves out or gets wrong. An attribute that is not known is never missing and cannot be false.

    Raises InputError if the text is blank or too long to be parsed.
    """
    claims = find_claims(text)
    constraints = parse(text).constraints
    unsure = attributes.get("unsure") or {}
    hedged = {**unsure, **attributes}
    # A hedge reaches no further than its clause.
    bare = {c.kind: c for part in re.split(r"[,;]| and ", text) for c in find_claims(part).values()} if unsure else {}
    missing, false = [], []
    for name in (*_CLAIMED, "voice"):
        kind = _CLAIMED.get(name)
        claim = None if kind is None else claims.get(kind) or (bare.get(kind) if name in unsure else None)
        verdicts = [_claim_holds(claim, attributes)] if claim else []
        verdicts += [v for c in constraints if (v := _constraint_holds(name, c, hedged)) is not None]
        known = attributes.get(name) not in (None, "", [], ())
        if False in verdicts:
            false.append(name)
        elif known and not verdicts:
            missing.append(name)
    for name in ("instruments", "genre", "mood"):
        lost, wrong = _concepts(name, attributes, constraints, text)
        missing += lost
        false += wrong
    return Agreement(missing=tuple(missing), false=tuple(false))


def _expected(attributes: Mapping[str, Any]) -> set[str]:
    """The kinds of claims that a complete English text makes."""
    kinds: set[str] = {kind for name, kind in _CLAIMED.items() if name != "chords" and attributes.get(name)}
    if any(numerator > 9 for numerator in _counts(attributes)):
        kinds.discard("beats")  # claims know one digit
    chords = loop(harmony(attributes.get("chords") or ()))
    if len(merged([_bare(c) for c in chords])) > 1 and all(re.fullmatch(CHORD, chord_symbol(c)) for c in chords):
        kinds.add("chords")
    return kinds


def _counts(attributes: Mapping[str, Any]) -> set[int]:
    metre, beats = attributes.get("metre"), attributes.get("beats_per_bar")
    return ({int(metre.partition("/")[0])} if metre else set()) | ({int(beats)} if beats else set())


def _claim_holds(claim: Claim, attributes: Mapping[str, Any]) -> bool:
    value = claim.value
    if claim.kind == "key":
        note = re.split(r"[ -](?=maj|min)", value)[0]
        plain = note.replace(" sharp", "#").replace(" flat", "b")
        said = Key(pitch_class(plain), "major" if "maj" in value else "minor")
        return bool(attributes.get("key")) and said == Key.parse(attributes["key"])
    if claim.kind == "bpm":
        return bool(attributes.get("tempo_bpm")) and abs(float(value) - attributes["tempo_bpm"]) <= 0.51
    if claim.kind == "marking":
        known = attributes.get("tempo_marking") or (attributes.get("tempo_bpm") and marking_of(attributes["tempo_bpm"]))
        band = next(terms for _, terms in MARKINGS if value.lower() in terms)
        return known in band
    if claim.kind == "beats":
        return int(value) in _counts(attributes)
    said_chords = [_signature(m[0]) for m in re.finditer(CHORD, value)]
    return _same_chords(said_chords, [_signature(chord_symbol(c)) for c in harmony(attributes.get("chords") or ())])


def _signature(symbol: str) -> tuple[int, str]:
    """Root and quality of a chord symbol; the bass note is left out."""
    match = re.fullmatch(r"([A-G][#♯b♭]?)(.*)", symbol.partition("/")[0])
    assert match is not None
    spelled = {"min": "m", "maj": "", "M7": "maj7", "min7": "m7", "min9": "m9", "sus": "sus4"}
    return pitch_class(match[1]), spelled.get(match[2], match[2])


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
        if not _counts(attributes):
            return None  # "waltz" is a genre as well; a number would be a claim
        said = {int(m.partition("/")[0]) for m in constraint.metres}
        return bool(said & _counts(attributes))
    if name == "chords" and isinstance(constraint, Chords) and not constraint.transposable:
        chords = [_bare(c) for c in harmony(attributes.get("chords") or ())]
        if not chords and attributes.get("some_chords"):
            return {_bare(c) for c in constraint.chords} <= {_bare(c) for c in harmony(attributes["some_chords"])}
        return _same_chords([_bare(c) for c in constraint.chords], chords)
    if name == "voice" and isinstance(constraint, Presence) and constraint.kind == "voice":
        return attributes.get("voice") is not None and bool(attributes["voice"]) != constraint.negated
    return None


def _bare(chord: Chord) -> tuple[int, str]:
    return chord.root, chord.quality


def _concepts(
    name: str, attributes: Mapping[str, Any], constraints: Sequence[Constraint], text: str
) -> tuple[list[str], list[str]]:
    """The concepts of a list attribute that a text leaves out, and those that it names though they are not known."""
    kinds = {"instruments": ("instrument", "voice"), "genre": ("genre",), "mood": ("mood", "use")}[name]
    known = set(attributes.get(name) or ())
    said = {c.concept for c in constraints if isinstance(c, Presence) and not c.negated and c.kind in kinds}
    wider = {w for k in known for w in lineage(k)}
    allowed = known | wider | ({"voice"} if attributes.get("voice") else set())
    missing = [k for k in sorted(known) if not any(k in lineage(s) for s in said) and not _names(text, k)]
    return [f"{name}:{k}" for k in missing], [f"{name}:{s}" for s in sorted(said - allowed)]


def _names(text: str, concept: str) -> bool:
    """Whether a text uses a name of a concept; the parser passes over some that can mean other things ("trap")."""
    names = "|".join(re.escape(n) for n in concepts()[concept].names)
    return re.search(rf"(?<!\w)(?:{names})(?!\w)", text, re.IGNORECASE) is not None
