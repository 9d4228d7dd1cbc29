"""What is said about a track: sentences, each with the measurement that it rests on.

The words are a table, ``phrases_en.toml``; another table of the same names is another language.
"""

import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from solfa.constraints.base import ABSENT
from solfa.core.claims import chord_symbol
from solfa.core.errors import InputError
from solfa.core.files import table_of
from solfa.core.filters import PRESENT
from solfa.core.text import clock, printable
from solfa.core.theory import Chord, Key
from solfa.core.types import Analysis
from solfa.core.vocabulary import concepts, is_other_source, lineage
from solfa.language.timeline import Entry, Part, overlaps, timeline
from solfa.relevance.rules import summarize

Certainty = Literal["surely", "probably", "perhaps"]
_SURELY, _PROBABLY = 0.9, 0.7
_MOST_PARTS, _MOST_CHORDS, _MOST_NAMES = 10, 6, 3  # of a paragraph, of a part, of moods and sounds
_NEAR_S, _SAME_S = 10.0, 1.5  # how far from its border the change of a part may be; what happens within is one moment
_CHORDS, _EVENT = 0.6, 0.75  # least confidence of chords, and of what enters, leaves, or plays alone, to be told
_NO_CHORDS = ("voice", "drums", "percussion")  # a source of these kinds plays no chords by itself
_DERIVED = 0.85  # how sure at most is what was concluded from measurements: another key, what returns
_MOST_BYTES = 1_000_000
_LIVELY, _QUIET = ({*table_of("solfa.relevance", "rules.toml")["energy"][name]} for name in ("more", "less"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One sentence about a track, and what it rests on.

    ``start_s`` and ``end_s`` are where it holds. ``field`` is what was measured ("tempo_bpm", "key", "instruments",
    "entering" ...), ``value`` what was found (None: nothing), ``confidence`` 0..1 how sure that is and ``certainty``
    the same in words. ``part`` is the number of the part that it is about (None: the track), ``maker``
    is "measured", or the name of the model whose word it is.
    """

    text: str
    start_s: float
    end_s: float
    field: str
    value: str | float | None
    confidence: float
    certainty: Certainty
    part: int | None = None
    maker: str = "measured"


def certainty_of(confidence: float) -> Certainty:
    """The word for a confidence.

    >>> certainty_of(0.95), certainty_of(0.7), certainty_of(0.5)
    ('surely', 'probably', 'perhaps')
    """
    return "surely" if confidence >= _SURELY else "probably" if confidence >= _PROBABLY else "perhaps"


def spelled(analysis: Analysis, chord: Chord) -> str:
    """A chord as lead sheets write it, spelled as in the likeliest key of the track (flats if none)."""
    return chord_symbol(chord, Key.parse(str(analysis.key.value or "F major")))


def narrate(
    analysis: Analysis, *, language: str = "en", every_s: float | None = None, sections: bool = False
) -> tuple[Claim, ...]:
    """What was measured of a track, a sentence for each claim: first of all of it, then in the order of time.

    The texts joined by spaces are a paragraph, which tells what changes. With ``sections``, or in parts of ``every_s``
    seconds, what plays is said of each part. ``language`` is "en" or a table of phrases (a TOML file).

    Raises InputError if the table cannot be read, lacks a phrase, or has one with other slots than the English one.
    """
    line, entries = timeline(analysis, every_s=every_s), dict[str, list[Entry]]()
    for entry in line.entries:
        entries.setdefault(entry.concept, []).append(entry)
    told = _Telling(phrases(language), analysis, line.parts, entries)
    if told.overview():
        told.form(each=sections or every_s is not None)
    return tuple(told.claims)


@cache
def phrases(language: str = "en") -> Mapping[str, Any]:
    """A table of phrases, read once. Raises InputError as ``narrate`` does."""
    english = table_of("solfa.language", "phrases_en.toml")
    if language == "en":
        return english
    try:
        with Path(language).open("rb") as file:
            own = {"title": {}, "name": {}, "many": {"names": []}} | tomllib.loads(file.read(_MOST_BYTES).decode())
        shape = {name: english[name] for name in ("certainty", "list", "say", "moment", "word")}
        shape |= {"title": dict.fromkeys(own["title"], ""), "name": {name: ["", ""] for name in own["name"]}}
        for section, name in ((section, name) for section, table in shape.items() for name in table):
            if not _fits(shape[section][name], found := own[section][name]):
                raise ValueError(f"[{section}] {name} is {found!r:.60}, expected one like {shape[section][name]!r:.80}")
    except (OSError, ValueError, KeyError, TypeError) as bad:
        why = f"it lacks {bad}" if isinstance(bad, KeyError) else printable(str(getattr(bad, "strerror", None) or bad))
        raise InputError(f"{language} is not a table of phrases: {why}. Expected 'en', or a TOML file like "
                         f"solfa/language/phrases_en.toml (docs/language.md).") from bad  # fmt: skip
    return own


def _fits(english: Any, own: Any) -> bool:
    """Whether a phrase has the form of the English one, and no other slots."""
    if isinstance(english, list):
        return isinstance(own, list) and len(own) == len(english) and all(map(_fits, english, own))
    if not isinstance(own, str) or not own.isprintable() or re.search("[{}]", re.sub(r"{\w+}", "", own)):
        return False
    return {*re.findall(r"{(\w+)}", own.lower())} <= {*re.findall(r"{(\w+)}", english.lower())}


# When, which phrase of the moment, what it is about, values, confidence, and what fills its slots.
_Said = tuple[float, str, str, tuple[str, ...], float, dict[str, Any]]


@dataclass(slots=True)
class _Telling:
    """The claims about one track so far, and what has been named in them."""

    phrases: Mapping[str, Any]
    of: Analysis
    parts: tuple[Part, ...]
    entries: Mapping[str, list[Entry]]
    claims: list[Claim] = field(default_factory=list)
    named: set[str] = field(default_factory=set)
    moment_s: float = -math.inf  # of the last sentence
    number: int = 0  # of the part that is told

    def say(
        self, phrase: Any, about: str, value: Any, sure: float = 1.0, part: Part | None = None,
        start_s: float | None = None, **slots: str,
    ) -> None:  # fmt: skip
        """One sentence; of a pair of phrases the second where what is named takes the plural."""
        if isinstance(phrase, list):
            phrase = phrase[len(value) > 1 or value[0] in self.phrases["many"]["names"]]
        text = phrase.format(maybe=self.phrases["certainty"][certainty_of(sure)], **slots)
        start_s = start_s if start_s is not None else part.start_s if part else 0.0
        self.claims.append(Claim(
            text=text[:1].upper() + text[1:], start_s=start_s, end_s=part.end_s if part else self.of.duration_s,
            field=about, value=", ".join(value) if isinstance(value, tuple) else value, confidence=round(sure, 4),
            certainty=certainty_of(sure), part=self.number if part else None,
        ))  # fmt: skip

    def overview(self) -> bool:
        """What holds for all of the track; False if there is no music to say more of."""
        found, say, word, tags = summarize(self.of), self.phrases["say"], self.phrases["word"], self.of.tags()
        sure = {name: source.confidence or 0.0 for name, source in found.sources.items()}
        self.say(say["lasts"], "duration_s", self.of.duration_s, time=clock(self.of.duration_s))
        if self.of.loudness_lufs.value is None:
            self.say(say["silence"], "loudness_lufs", None)
            return False
        if "music" in tags and tags["music"].confidence < ABSENT:
            self.say(say["no_music"], "music", None, 1 - tags["music"].confidence)
            if sounds := [t for t in self.of.sounds if t.confidence >= PRESENT][:_MOST_NAMES]:
                names = tuple(t.concept for t in sounds)
                self.say(say["sounds"], "sounds", names, sounds[-1].confidence, names=self.titles(names))
            return False
        if found.genre:
            self.say(say["genre"], "genre", found.genre, sure["genre"], name=self.titles([found.genre]))
        kind = next((k for m in found.mood or () for k in (_LIVELY, _QUIET) if m in k), ())  # others contradict it
        if moods := tuple(m for m in found.mood or () if m in kind or m not in _LIVELY | _QUIET)[:_MOST_NAMES]:
            self.say(say["mood"], "mood", moods, tags[moods[-1]].confidence, names=self.titles(moods))
        for name, about in (("tempo", "tempo_bpm"), ("metre", "metre"), ("key", "key")):
            if (value := getattr(found, about)) is None:
                self.say(say[f"no_{name}"], about, None)
            else:
                self.say(say[name], about, value, sure[about], bpm=f"{found.tempo_bpm or 0:.0f}", key=self.key(value),
                         tempo=word.get(found.tempo, ""), metre=found.metre or "")  # fmt: skip
        if (level := found.energy_level) and level != "medium":
            self.say(say["energy"], "energy_level", level, sure["energy_level"], energy=word[level])
        if found.vocals:
            who, _, where = found.vocals.partition("vocals ")
            self.say(say["vocals" if where else "instrumental"], "vocals", found.vocals, sure["vocals"],
                     who=word.get(who.strip() or "vocals", ""), where=word.get(where, ""))  # fmt: skip
        return True

    def form(self, *, each: bool) -> None:
        """What happens when: of each part, or, in a paragraph, what changes in those with the clearest beginnings."""
        parts, heads, key, before = self.parts, dict[tuple[str, ...], Part](), self.of.key.value, None
        chords: tuple[str, ...] = ()
        clearest = [p.start_s for p in sorted(parts[1:], key=lambda p: -p.confidence)[: _MOST_PARTS - 1]]
        told = [(n, p) for n, p in enumerate(parts) if each or not n or p.start_s in clearest]
        for self.number, part in told:
            said, start_s = [*self.moves(part, before)] if before else list[_Said](), part.start_s
            if each or before is None:
                self.moment_s = start_s
                self.tell(part, said)
                self.plays(part, "plays" if each else "begins")
                chords, said = (), []
            head = heads.setdefault((part.label, *sorted(part.present)), part)
            if each or before is None or head is part:
                clear = len(part.chords) <= _MOST_CHORDS and part.chords_confidence >= _CHORDS
                if clear and {*part.chords} != {*chords}:  # others than those told last
                    chords, slots = part.chords, {"names": self.listed(map(self.chord, part.chords))}
                    kind = "chord" if len(chords) == 1 else "chords"
                    said.append((start_s, kind, "chords", chords, part.chords_confidence, slots))
            elif part.label != before.label:
                said.append((start_s, "alike", "label", (part.label,), _DERIVED, {"other": clock(head.start_s)}))
            sure = min(_DERIVED, self.of.key.confidence, part.chords_confidence)
            if part.key not in (None, key) and sure >= _PROBABLY:
                key = part.key
                said.append((start_s, "key", "key", (str(key),), sure, {"key": self.key(key)}))
            self.tell(part, said)
            before = part
        if not each and len(parts) > 2 and part is parts[-1] and head is parts[0]:
            self.say(self.phrases["say"]["ends_alike"], "label", part.label, _DERIVED, part)
        if len(told) < len(parts):
            self.say(self.phrases["say"]["parts"], "parts", len(parts), count=str(len(parts)), told=str(len(told)))

    def tell(self, part: Part, said: Iterable[_Said]) -> None:
        """Say it in the order of time, and the time only where it is another moment."""
        for time_s, kind, about, value, sure, slots in sorted(said, key=lambda one: one[0]):
            again = abs(time_s - self.moment_s) <= _SAME_S
            self.moment_s = self.moment_s if again else time_s
            self.say(self.phrases["moment"][kind][again], about, value, sure, part, time_s, time=clock(time_s), **slots)

    def plays(self, part: Part, verb: str) -> None:
        """What is in a part; that it is alone only where nothing else may be."""
        if not part.present:
            self.say(self.phrases["say"]["none_named"], "instruments", None, 1.0, part)
        sure = {c: self.sure(c, part) for c in part.present}
        harmony = part.chords_confidence >= _CHORDS and bool(part.chords)  # which somebody else plays
        other = harmony and any({*lineage(c)} & {*_NO_CHORDS} and c != "choir" for c in sure)
        alone = len(sure) == 1 and min(sure.values()) >= _EVENT and not other and not any(
            is_other_source(t.concept, part.present[0]) and t.confidence >= ABSENT
            and any(min(s.end_s, part.end_s) - max(s.start_s, part.start_s) > _SAME_S for s in t.spans)
            for t in self.of.tags().values()
        )  # fmt: skip
        for i, (_, group) in enumerate(groupby(sorted(sure, key=lambda c: -sure[c]), lambda c: certainty_of(sure[c]))):
            phrase, names = "as_well" if i else f"{verb}_alone" if alone else verb, tuple(group)
            self.named -= {*names}
            self.say(self.phrases["say"][phrase], "instruments", names, sure[names[-1]], part, **self.names(names))

    def moves(self, part: Part, before: Part) -> Iterator[_Said]:
        """What enters and leaves, and whether it is louder."""
        for way, about, of, other in (("enter", "entering", part, before), ("leave", "leaving", before, part)):
            sure = {c: p for c in of.present if c not in other.present and (p := self.sure(c, of)) >= _EVENT}
            for time_s, group in groupby(sorted((self.edge(c, part, way), c) for c in sure), lambda row: row[0]):
                names = tuple(c for _, c in group)
                kind = "return" if way == "enter" and self.named.issuperset(names) else way
                yield time_s, kind, about, names, min(sure[c] for c in names), self.names(names)
        if part.loudness:
            yield part.start_s, part.loudness, "loudness", (part.loudness,), 1.0, {}

    def edge(self, concept: str, part: Part, way: str) -> float:
        """When a concept enters or leaves, near the start of a part."""
        times = (e.start_s if way == "enter" else e.end_s for e in self.entries[concept])
        nearest = min(times, key=lambda t: abs(t - part.start_s), default=part.start_s)
        return nearest if abs(nearest - part.start_s) <= _NEAR_S else part.start_s

    def sure(self, concept: str, part: Part) -> float:
        """The surest entry of a concept in a part."""
        return max((e.confidence for e, _ in overlaps(self.entries[concept], part)), default=0.0)

    def names(self, found: Iterable[str]) -> dict[str, Any]:
        """Instruments in words, "a piano" at first and then "the piano"; also with a capital letter."""
        text = self.listed(self.phrases["name"].get(c, [concepts()[c].title] * 2)[c in self.named] for c in found)
        self.named.update(found)
        return {"names": text, "Names": text[:1].upper() + text[1:]}

    def titles(self, found: Iterable[str]) -> str:
        """Genres, moods and sounds in words."""
        return self.listed(self.phrases["title"].get(c, concepts()[c].title.removesuffix(" music")) for c in found)

    def listed(self, words: Iterable[str]) -> str:
        """ "a, b and c"."""
        *first, last = words
        return str(self.phrases["list"]["and"].join([*filter(None, [self.phrases["list"]["comma"].join(first)]), last]))

    def chord(self, name: str) -> str:
        """A chord as lead sheets write it, spelled as in the key of the track."""
        return spelled(self.of, Chord.parse(name) or Chord(0, "maj"))

    def key(self, name: Any) -> str:
        """A key in words; nothing of what is none."""
        tonic, _, mode = str(name).partition(" ")
        return str(self.phrases["word"][mode].format(tonic=tonic)) if mode else ""
