"""Attributes as facts: which there are, and the names and numbers that a text can use for each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any, TypeVar

from solfa.core.claims import chord_symbol
from solfa.core.clip import Phrase
from solfa.core.files import table_of
from solfa.core.theory import Chord, Key
from solfa.core.types import Rng
from solfa.core.vocabulary import concepts

T = TypeVar("T")
MOST_CHORDS = 16
_MOST_PHRASES = 3
_JOINTS = (" - ", "–", ", ", " ", " → ", "-")
_TIGHT_JOINTS = ("–", " - ", "-")


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that a caption says. ``sections`` name the phrasings that can say it, ``slots`` what fills them."""

    kind: str
    sections: tuple[str, ...]
    slots: dict[str, str]


@cache
def grammar() -> dict[str, Any]:
    """The tables of ``grammar.toml``."""
    return table_of("solfa.datagen.captions", "grammar.toml")


def pick(rng: Rng, options: Sequence[str]) -> str:
    """One of them."""
    return options[int(rng.integers(len(options)))]


def harmony(labels: Sequence[str]) -> tuple[Chord, ...]:
    """The chords of Harte labels in order, equal neighbours merged, places without a chord left out."""
    return merged([chord for label in labels if (chord := Chord.parse(label)) is not None])


def merged(row: Sequence[T]) -> tuple[T, ...]:
    """The row without what equals its left neighbour."""
    return tuple(value for value, _ in groupby(row))


def loop(chords: Sequence[Chord]) -> tuple[Chord, ...]:
    """The shortest beginning that, repeated at least twice and cut off anywhere, gives the sequence; or all of it.

    >>> [str(c) for c in loop(harmony(["C", "G", "C", "G", "C"]))]
    ['C:maj', 'G:maj']
    """
    for size in range(2, len(chords) // 2 + 1):
        if all(c == chords[i % size] for i, c in enumerate(chords)):
            return tuple(chords[:size])
    return tuple(chords)


def facts_of(
    attributes: Mapping[str, Any],
    phrases: Sequence[Phrase],
    duration_s: float | None,
    rng: Rng,
    language: Mapping[str, Any] | None = None,
) -> list[Fact]:
    """Every fact of the attributes, and at most three of the timed phrases, with names drawn at random.

    ``language`` is a table of the grammar with its own names; None is English.
    """
    unsure = attributes.get("unsure") or {}
    sounding = harmony([*(attributes.get("chords") or ()), *(attributes.get("some_chords") or ())])
    spelling = Spelling.of(attributes.get("key") or unsure.get("key"), sounding, rng)
    found = [
        *_key(attributes, rng, language, spelling.tonic),
        *_tempo(attributes, rng, language),
        *_metre(attributes, language),
        *_chords(attributes, rng, language, spelling),
        *(_unsure(unsure, rng, spelling, alone=set(attributes) <= {"unsure"}) if language is None else ()),
        *_concepts(attributes, rng, language),
    ]
    if language is None:
        places = [(p.text, place) for p in phrases if (place := _place(p, duration_s, rng))]
        chosen = sorted(rng.permutation(len(places))[:_MOST_PHRASES])
        found += [Fact("phrase", ("phrase",), {"phrase": places[i][0], "place": places[i][1]}) for i in chosen]
    return found


# Where a tonic stands on the line of fifths, C major being 0, by its spelling.
_FIFTHS = {"C": 0, "D": 2, "E": 4, "F": -1, "G": 1, "A": 3, "B": 5}
_BLACK = {1: ("C#", "Db"), 3: ("D#", "Eb"), 6: ("F#", "Gb"), 8: ("G#", "Ab"), 10: ("A#", "Bb")}


def _fifths(note: str, mode: str = "major") -> int:
    return _FIFTHS[note[0]] + 7 * note.count("#") - 7 * note.count("b") - (3 if mode == "minor" else 0)


@dataclass(frozen=True, slots=True)
class Spelling:
    """One spelling for all the notes of a text: the tonic, and flats or sharps for the black keys.

    ``of`` draws it; without ``rng`` it is the usual one. Chords are spelled within the key, or where none is known on
    the side of the line of fifths that keeps them together.
    """

    tonic: str
    flats: bool

    @classmethod
    def of(cls, key: str | None, chords: Sequence[Chord], rng: Rng | None = None) -> Spelling:
        """For a key as `Key` writes it, None if not known."""
        roots = {c.root for c in chords}
        if key is None:
            center, tonic = sum(_nearest(r) for r in roots) / max(len(roots), 1), ""
        else:
            known = Key.parse(key)
            tonic = str(known).partition(" ")[0]
            others = [n for n in _BLACK.get(known.tonic, ()) if abs(_fifths(n, known.mode)) <= 7]
            if rng is not None and others and rng.random() < 0.15:
                tonic = pick(rng, others)
            center = float(_fifths(tonic, known.mode))
        if center >= 1 or center <= -1:
            return cls(tonic, center < 0)
        far = [sum(abs(_fifths(_BLACK[r][i]) - center) for r in roots if r in _BLACK) for i in (0, 1)]
        return cls(tonic, far[1] <= far[0])

    def symbol(self, chord: Chord) -> str:
        """A chord as lead sheets write it, with its bass."""
        root, text = self.note(chord.root), re.sub(r"^[A-G][#b]?", "", chord_symbol(chord))
        return f"{root}{text}/{self.note((chord.root + chord.bass) % 12)}" if chord.bass else root + text

    def note(self, pitch_class: int) -> str:
        """The name of a pitch class."""
        return _BLACK[pitch_class][self.flats] if pitch_class in _BLACK else "C D EF G A B"[pitch_class]


def _nearest(pitch_class: int) -> int:
    """Place on the line of fifths, from Db (-5) to F# (6)."""
    return (pitch_class * 7 + 5) % 12 - 5


def _key(
    attributes: Mapping[str, Any], rng: Rng, language: Mapping[str, Any] | None, tonic: str, section: str = "key"
) -> list[Fact]:
    if not attributes.get("key"):
        return []
    key = Key.parse(attributes["key"])
    if language is not None:
        notes = language["notes" if key.mode == "major" else "minor_notes"]
        return [Fact("key", ("key",), {"key": language[key.mode].format(note=notes[key.tonic])})]
    # "A sharp minor" is read less often than written; it is a spelling like the others.
    spoken = tonic.replace("#", " sharp").replace("b", " flat") if rng.random() < 0.15 else tonic
    return [Fact("key", (section,), {"key": f"{spoken} {key.mode}", "key_short": f"{tonic} {key.mode[:3]}"})]


def _tempo(attributes: Mapping[str, Any], rng: Rng, language: Mapping[str, Any] | None) -> list[Fact]:
    bpm, marking = attributes.get("tempo_bpm"), attributes.get("tempo_marking")
    slots = {}
    if bpm:
        exact = abs(bpm - round(bpm)) >= 0.05 and rng.random() < 0.2
        slots["bpm"] = f"{bpm:.1f}" if exact else f"{bpm:.0f}"
    if marking:
        slots |= {"marking": pick(rng, (marking, marking.capitalize())), "Marking": marking.capitalize()}
    if language is not None:
        return [Fact(name, (name,), slots) for name in ("bpm", "marking") if name in slots]
    section = "tempo" if bpm and marking else "bpm" if bpm else "marking"
    return [Fact("tempo", (section,), slots)] if slots else []


def _metre(attributes: Mapping[str, Any], language: Mapping[str, Any] | None) -> list[Fact]:
    values = {"metre": attributes.get("metre"), "beats": attributes.get("beats_per_bar")}
    slots = {name: str(value) for name, value in values.items() if value}
    # The list languages have no word for the bare count that the query parser reads.
    sections = tuple(slots) if language is None or "metre" not in slots else ("metre",)
    return [Fact("metre", sections, slots)] if slots else []


def _unsure(attributes: Mapping[str, Any], rng: Rng, spelling: Spelling, *, alone: bool) -> list[Fact]:
    """What is told with a hedge; each of them half of the time, all where there is nothing else."""
    unsure = {name: value for name, value in attributes.items() if alone or rng.random() < 0.5}
    found = _key(unsure, rng, None, spelling.tonic, "key_unsure")
    if unsure.get("tempo_bpm"):
        found.append(Fact("tempo", ("tempo_unsure",), {"bpm": f"{unsure['tempo_bpm']:.0f}"}))
    if unsure.get("metre"):
        found.append(Fact("metre", ("metre_unsure",), {"metre": unsure["metre"]}))
    return found


def _chords(
    attributes: Mapping[str, Any], rng: Rng, language: Mapping[str, Any] | None, spelling: Spelling
) -> list[Fact]:
    inverted = rng.random() < 0.5
    chords = harmony(attributes.get("chords") or ())
    chords = loop(chords if inverted else merged([Chord(c.root, c.quality) for c in chords]))
    if not chords and language is None and (some := harmony(attributes.get("some_chords") or ())):
        names = [spelling.symbol(some[i]) for i in rng.permutation(len(some))[: int(rng.integers(1, len(some) + 1))]]
        return [Fact("chords", ("some_chords" if len(names) > 1 else "a_chord",), {"chords": " and ".join(names)})]
    if not chords:
        return []
    names = [spelling.symbol(chord) for chord in chords[:MOST_CHORDS]]
    section = "chord" if len(chords) == 1 else "chords" if len(chords) <= MOST_CHORDS else "chords_begin"
    joint = pick(rng, _JOINTS if language is None else _TIGHT_JOINTS)
    return [Fact("chords", (section,), {"chords": joint.join(names)})]


def _concepts(attributes: Mapping[str, Any], rng: Rng, language: Mapping[str, Any] | None) -> list[Fact]:
    def names(field: str, kinds: tuple[str, ...]) -> list[str]:
        ids = [i for i in attributes.get(field) or () if concepts()[i].kind in kinds]
        return [name_of(ids[i], rng, language) for i in rng.permutation(len(ids))]

    rows = {
        "instruments": names("instruments", ("instrument", "voice")),
        "genre": names("genre", ("genre",)),
        "mood": names("mood", ("mood",)),
        "use": names("mood", ("use",)),
    }
    found = [Fact(kind, (kind,), {kind: enumerated(row, language is None)}) for kind, row in rows.items() if row]
    sung = any(concepts()[i].kind == "voice" for i in attributes.get("instruments") or ())
    if attributes.get("voice") is not None and not sung:
        found.append(Fact("voice", ("voice" if attributes["voice"] else "voiceless",), {}))
    return found


def name_of(concept: str, rng: Rng, language: Mapping[str, Any] | None = None) -> str:
    """A true name of a concept: its title or a synonym, or its name in another language where there is one."""
    title = concepts()[concept].title
    if language is not None:
        name: str = language["names"].get(concept, title)
        return name
    return pick(rng, (title, title, *grammar()["synonyms"].get(concept, ())))


def enumerated(names: Sequence[str], english: bool = True) -> str:
    """Names in a row: "piano, bass and drums"; other languages are lists, so they get commas only."""
    if not english or len(names) < 2:
        return ", ".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _place(phrase: Phrase, duration_s: float | None, rng: Rng) -> str:
    """Where the only stretch of a phrase lies, in words that are true of it; empty where it is all or several."""
    if len(phrase.spans_s) != 1:
        return ""
    start, end = phrase.spans_s[0]
    last, begin = int(end + 0.999), f"0:{int(start):02d}"
    clock = f"at {begin}" if end - start < 1.5 else f"from {begin} to 0:{last:02d}"
    options = [clock] if last < 60 else []
    if duration_s:
        a, b = start / duration_s, end / duration_s
        if b - a > 0.9:
            return ""
        inside = {
            "at the beginning": b <= 0.3, "in the first half": b <= 0.5, "in the second half": a >= 0.5,
            "near the end": a >= 0.75, "in the middle": a >= 0.33 and b <= 0.67,
        }  # fmt: skip
        options += [words for words, holds in inside.items() if holds]
    return pick(rng, options) if options else ""
