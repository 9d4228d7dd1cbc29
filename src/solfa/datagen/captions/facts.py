"""Attributes as facts: which there are, and the names and numbers that a text can use for each."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
_MOST_CHORDS, _MOST_PHRASES = 16, 3
_JOINTS = (" - ", "–", ", ", " ", " → ", "-")
_TIGHT_JOINTS = ("–", " - ", "-")


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that a caption says. ``sections`` name the phrasings that can say it, ``slots`` what fills them."""

    kind: str
    sections: tuple[str, ...]
    slots: Mapping[str, str]


@cache
def grammar() -> dict[str, Any]:
    """The tables of ``grammar.toml``."""
    return table_of("solfa.datagen.captions", "grammar.toml")


def pick(rng: Rng, options: Sequence[str]) -> str:
    """One of them."""
    return options[int(rng.integers(len(options)))]


def harmony(labels: Sequence[str]) -> tuple[Chord, ...]:
    """The chords of Harte labels in order, equal neighbours merged, places without a chord left out."""
    return merged(chord for label in labels if (chord := Chord.parse(label)) is not None)


def merged(row: Iterable[T]) -> tuple[T, ...]:
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

    ``language`` is a table of the grammar with its own names, which has no words for hedges and phrases; None is
    English.
    """
    found = list(_Facts(attributes, rng, language).all())
    if language is None:
        places = [(p.text, place) for p in phrases if (place := _place(p, duration_s, rng))]
        chosen = [places[i] for i in sorted(rng.permutation(len(places))[:_MOST_PHRASES])]
        found += [Fact("phrase", ("phrase",), {"phrase": text, "place": place}) for text, place in chosen]
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
    def of(cls, attributes: Mapping[str, Any], rng: Rng | None = None) -> "Spelling":
        """For the key and the chords of a clip, sure or not."""
        key = attributes.get("key") or (attributes.get("unsure") or {}).get("key")
        roots = {c.root for name in ("chords", "some_chords") for c in harmony(attributes.get(name) or ())}
        if key is None:  # from Db (-5) to F# (6)
            center, tonic = sum((root * 7 + 5) % 12 - 5 for root in roots) / max(len(roots), 1), ""
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


class _Facts:
    """The facts of a clip's attributes, in one spelling."""

    def __init__(self, attributes: Mapping[str, Any], rng: Rng, language: Mapping[str, Any] | None) -> None:
        self._known, self._rng, self._language = attributes, rng, language
        self._spelling = Spelling.of(attributes, rng)

    def all(self) -> Iterator[Fact]:
        known = self._known
        yield from self._key(known.get("key"), "key")
        yield from self._tempo(known.get("tempo_bpm"), known.get("tempo_marking"))
        metre = {
            slot: str(v) for slot, name in (("metre", "metre"), ("beats", "beats_per_bar")) if (v := known.get(name))
        }
        if metre:
            # The list languages have no word for the bare count that the query parser reads.
            alone = self._language is not None and "metre" in metre
            yield Fact("metre", ("metre",) if alone else tuple(metre), metre)
        yield from self._chords()
        if self._language is None:
            yield from self._unsure()
        yield from self._concepts()

    def _key(self, name: str | None, section: str) -> Iterator[Fact]:
        if not name:
            return
        key, tonic = Key.parse(name), self._spelling.tonic
        if self._language is not None:
            note = self._language["notes" if key.mode == "major" else "minor_notes"][key.tonic]
            yield Fact("key", ("key",), {"key": self._language[key.mode].format(note=note)})
            return
        # "A sharp minor" is read less often than written; it is a spelling like the others.
        spoken = tonic.replace("#", " sharp").replace("b", " flat") if self._rng.random() < 0.15 else tonic
        yield Fact("key", (section,), {"key": f"{spoken} {key.mode}", "key_short": f"{tonic} {key.mode[:3]}"})

    def _tempo(self, bpm: float | None, marking: str | None) -> Iterator[Fact]:
        slots = {}
        if bpm:
            exact = abs(bpm - round(bpm)) >= 0.05 and self._rng.random() < 0.2
            slots["bpm"] = f"{bpm:.1f}" if exact else f"{bpm:.0f}"
        if marking:
            slots["marking"] = pick(self._rng, (marking, marking.capitalize()))
            slots["Marking"] = marking.capitalize()
        sections = [name for name in ("bpm", "marking") if name in slots]
        if self._language is not None:
            yield from (Fact(name, (name,), slots) for name in sections)
        elif sections:
            yield Fact("tempo", ("tempo" if len(sections) > 1 else sections[0],), slots)

    def _chords(self) -> Iterator[Fact]:
        inverted = self._rng.random() < 0.5
        chords = harmony(self._known.get("chords") or ())
        chords = loop(chords if inverted else merged(Chord(c.root, c.quality) for c in chords))
        if chords:
            section = "chord" if len(chords) == 1 else "chords" if len(chords) <= _MOST_CHORDS else "chords_begin"
            joint = pick(self._rng, _JOINTS if self._language is None else _TIGHT_JOINTS)
            names = [self._spelling.symbol(chord) for chord in chords[:_MOST_CHORDS]]
            yield Fact("chords", (section,), {"chords": joint.join(names)})
        elif self._language is None and (some := harmony(self._known.get("some_chords") or ())):
            order = self._rng.permutation(len(some))[: int(self._rng.integers(1, len(some) + 1))]
            names = [self._spelling.symbol(some[i]) for i in order]
            yield Fact("chords", ("some_chords" if len(names) > 1 else "a_chord",), {"chords": " and ".join(names)})

    def _unsure(self) -> Iterator[Fact]:
        """What is stated with a hedge; each of them half of the time, all where there is nothing else."""
        alone = set(self._known) <= {"unsure"}
        unsure = {n: v for n, v in (self._known.get("unsure") or {}).items() if alone or self._rng.random() < 0.5}
        yield from self._key(unsure.get("key"), "key_unsure")
        if unsure.get("tempo_bpm"):
            yield Fact("tempo", ("tempo_unsure",), {"bpm": f"{unsure['tempo_bpm']:.0f}"})
        if unsure.get("metre"):
            yield Fact("metre", ("metre_unsure",), {"metre": unsure["metre"]})

    def _concepts(self) -> Iterator[Fact]:
        lists = {"instruments": ("instrument", "voice"), "genre": ("genre",), "mood": ("mood",), "use": ("use",)}
        for kind, kinds in lists.items():
            ids = self._known.get("mood" if kind == "use" else kind) or ()
            ids = [i for i in ids if concepts()[i].kind in kinds]
            if names := [self._name(ids[i]) for i in self._rng.permutation(len(ids))]:
                # Other languages are lists, so they get commas only.
                tail = names[-2:] if self._language is None else names[-1:]
                row = ", ".join([*names[: -len(tail)], " and ".join(tail)])
                yield Fact(kind, (kind,), {kind: row})
        sung = any(concepts()[i].kind == "voice" for i in self._known.get("instruments") or ())
        if self._known.get("voice") is not None and not sung:
            yield Fact("voice", ("voice" if self._known["voice"] else "voiceless",), {})

    def _name(self, concept: str) -> str:
        """A true name of a concept: its title or a synonym, or its name in another language where there is one."""
        title = concepts()[concept].title
        if self._language is not None:
            return str(self._language["names"].get(concept, title))
        return pick(self._rng, (title, title, *grammar()["synonyms"].get(concept, ())))


def _place(phrase: Phrase, duration_s: float | None, rng: Rng) -> str:
    """Where the only stretch of a phrase is, in words that are true of it; empty where it is all or several."""
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
