"""Where a caption states its tempo, key, metre and chords: the spans that a perturbation may change.

Conventions
-----------
The five kinds are FIGMA's: ``key``, ``bpm``, ``marking``, ``beats``, ``chords``. Only explicit statements count, in
the forms of the MusicBench and FGMCaps captions. A kind that a caption states not at all or more
than once has no claim: an edit there would leave a contradiction, so it is skipped and counted.
"""

import re
from dataclasses import dataclass
from typing import Literal

from solfa.core.theory import Chord, Key, pitch_class

Kind = Literal["key", "bpm", "marking", "beats", "chords"]
KINDS: tuple[Kind, ...] = ("key", "bpm", "marking", "beats", "chords")

# Upper bounds of FIGMA's tempo bands in BPM as inferred (spec: largo < 60, adagio 60-75, ...), and their terms.
MARKINGS: tuple[tuple[float, tuple[str, ...]], ...] = (
    (60.0, ("largo", "grave", "larghissimo", "lento")),
    (76.0, ("adagio", "larghetto")),
    (108.0, ("andante", "andantino")),
    (120.0, ("moderato",)),
    (156.0, ("allegro", "allegretto")),
    (176.0, ("vivace", "vivacissimo")),
    (float("inf"), ("presto", "prestissimo")),
)

NOTE = r"[A-G](?:[#♯]|[b♭]| sharp| flat)?"
_SUFFIX = r"(?:minmaj7|maj7|min7|maj9|min9|maj|min|m7b5|m7|m6|m9|m|M7|dim7|dim|aug|sus2|sus4|sus|add9|13|11|6|7|9|5)?"
CHORD = rf"[A-G][#♯b♭]?{_SUFFIX}(?:/[A-G][#♯b♭]?)?"
_SEPARATOR = r"(?:\s*(?:,|-|–|→|->|\|)\s*(?:and )?|\s+)"
_PATTERNS: dict[Kind, tuple[str, ...]] = {
    "key": (rf"(?<![\w#♯])(?P<value>{NOTE}[ -](?:major|minor|maj|min))\b(?! (?:7|chord|seventh))",),
    "bpm": (
        r"(?<![\d.])(?P<value>\d{2,3}(?:\.\d+)?) ?(?:bpm|beats per minute)\b",
        r"\b(?:bpm|tempo)(?: of this song)? (?:is|of|:) ?(?P<value>\d{2,3}(?:\.\d+)?)(?![\d.]*\d| ?(?:bpm|beats))",
    ),
    "marking": (rf"\b(?P<value>{'|'.join(t for _, terms in MARKINGS for t in terms)})\b",),
    "beats": (
        r"\bbeat counts? (?:to|is|of) (?P<value>\d)\b",
        r"\bbeat (?:is|of this song is) (?P<value>\d)(?![\d/])",
        r"\b(?P<value>\d)-beat\b",
        r"\b(?P<value>\d) beats (?:per|to the|in a) (?:bar|measure)\b",
        r"(?<![\d/])(?P<value>\d)/(?:2|4|8)(?![\d/])",
    ),
    "chords": (rf"(?<![\w#♯/])(?P<value>{CHORD}(?:{_SEPARATOR}{CHORD})+)(?![\w#♯]|[ -](?:major|minor|maj|min)\b)",),
}
# Words before a value that is not stated for sure, or is one of several: no claim.
_HEDGE = re.compile(
    r"(?i)\b(?:probably|prob\.|perhaps|possibly|maybe|may be|might be|seem(?:s|ingly)?|likely|apparently|around|"
    r"such as|includes?|including)(?!\w)[^.;:]{0,24}$"
)
_CASELESS = ("bpm", "marking", "beats")


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionClaim:
    """One stated attribute: the characters ``start:end`` of the caption, and what they say."""

    kind: Kind
    start: int
    end: int
    value: str


def find_claims(text: str) -> dict[Kind, CaptionClaim]:
    """The attributes that a caption states exactly once, for sure: "probably in F major" is no claim.

    >>> found = find_claims("An Allegro in F# minor at 132 BPM, 4/4, over Bm - G - D - A.")
    >>> {kind: claim.value for kind, claim in found.items()}
    {'key': 'F# minor', 'bpm': '132', 'marking': 'Allegro', 'beats': '4', 'chords': 'Bm - G - D - A'}
    """
    claims: dict[Kind, CaptionClaim] = {}
    for kind, patterns in _PATTERNS.items():
        flags = re.IGNORECASE if kind in _CASELESS else 0
        spans = {
            m.span("value") for p in patterns for m in re.finditer(p, text, flags)
            if not _HEDGE.search(text[max(0, m.start("value") - 48) : m.start("value")])
        }  # fmt: skip
        if len(spans) == 1:
            (start, end) = spans.pop()
            claims[kind] = CaptionClaim(kind=kind, start=start, end=end, value=text[start:end])
    return claims


def tempo_marking(tempo_bpm: float) -> str:
    """The Italian term of a tempo.

    >>> tempo_marking(59.9), tempo_marking(60), tempo_marking(119.9), tempo_marking(300)
    ('largo', 'adagio', 'moderato', 'presto')
    """
    return next(terms[0] for upper, terms in MARKINGS if tempo_bpm < upper)


def main_marking(term: str) -> str:
    """The marking that stands for all of the same tempo range.

    >>> main_marking("Allegretto")
    'allegro'
    """
    return next(terms[0] for _, terms in MARKINGS if term.lower() in terms)


def claimed_key(value: str) -> Key:
    """The key that a claim states.

    >>> str(claimed_key("B flat min")), str(claimed_key("F#-major"))
    ('Bb minor', 'F# major')
    """
    note, _, mode = re.split(r"([ -])(?=ma|mi)", value)
    tonic = pitch_class(note.replace(" sharp", "#").replace(" flat", "b"))
    return Key(tonic, "major" if mode.startswith("maj") else "minor")


def claimed_triads(value: str) -> list[tuple[int, str]]:
    """Root (pitch class) and triad of every chord that a claim states.

    >>> claimed_triads("Am7 - Fmaj7/A - C - Bdim")
    [(9, 'min'), (5, 'maj'), (0, 'maj'), (11, 'dim')]
    """
    found = []
    for match in re.finditer(CHORD, value):
        root, suffix = re.match(r"([A-G][#♯b♭]?)([^/]*)", match[0]).groups()  # type: ignore[union-attr]
        other = next((q for q in ("dim", "aug", "sus2", "sus4") if suffix.startswith(q)), None)
        if suffix in ("m7b5", "sus"):
            other = {"m7b5": "dim", "sus": "sus4"}[suffix]
        minor = suffix.startswith("m") and not suffix.startswith("maj")
        found.append((pitch_class(root), other or ("min" if minor else "maj")))
    return found


def chord_symbol(chord: Chord, key: Key | None = None) -> str:
    """A chord as lead sheets write it, spelled as in a key if one is given.

    >>> chord_symbol(Chord(9, "min")), chord_symbol(Chord(5, "maj")), chord_symbol(Chord(2, "min7"))
    ('Am', 'F', 'Dm7')
    >>> chord_symbol(Chord(3, "maj")), chord_symbol(Chord(3, "maj"), Key(4, "major"))
    ('Eb', 'D#')
    """
    root, _, quality = str(Chord(chord.root, chord.quality)).partition(":")
    if key is not None:
        root = key.spell(root)
    names = {"maj": "", "min": "m", "min7": "m7", "min6": "m6", "min9": "m9", "maj6": "6", "hdim7": "m7b5"}
    return root + names.get(quality, quality)
