"""Pitch classes, keys and chords: the little music theory that analysis and queries share.

Pitch classes are 0..11 with C = 0. Names follow the usual spelling (``Bb minor``, ``F# minor``), chords are written
in Harte / mir_eval syntax (``Bb:min7``; no chord is ``N``).
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from solfa.core.errors import InputError

Mode = Literal["major", "minor"]
MODES: tuple[Mode, Mode] = ("major", "minor")

_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_MAJOR_NAMES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_AS_FLATS = {"C#": "Db", "D#": "Eb", "F#": "Gb", "G#": "Ab", "A#": "Bb"}
_AS_SHARPS = {flat: sharp for sharp, flat in _AS_FLATS.items()}
_MINOR_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B")

# Intervals above the root of every chord quality that a label can carry (Harte et al., ISMIR 2005).
QUALITIES: dict[str, tuple[int, ...]] = {
    "maj": (0, 4, 7),
    "min": (0, 3, 7),
    "dim": (0, 3, 6),
    "aug": (0, 4, 8),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
    "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11),
    "min7": (0, 3, 7, 10),
    "minmaj7": (0, 3, 7, 11),
    "dim7": (0, 3, 6, 9),
    "hdim7": (0, 3, 6, 10),
    "maj6": (0, 4, 7, 9),
    "min6": (0, 3, 7, 9),
    "9": (0, 4, 7, 10, 2),
    "maj9": (0, 4, 7, 11, 2),
    "min9": (0, 3, 7, 10, 2),
    "5": (0, 7),
}


def pitch_class(name: str) -> int:
    """Pitch class of a note name.

    Raises InputError if the name is not a letter A-G with any number of ``#``/``♯`` or ``b``/``♭``.

    >>> pitch_class("Bb"), pitch_class("F##"), pitch_class("c")
    (10, 7, 0)
    """
    match = re.fullmatch(r"([A-Ga-g])([#♯]*|[b♭]*)", name)
    if match is None:
        raise InputError(f"not a note name: {name!r}. Expected a letter A-G with # or b, like Bb or F#.")
    accidentals = match[2]
    shift = len(accidentals) if accidentals[:1] in "#♯" else -len(accidentals)
    return (_LETTERS[match[1].upper()] + shift) % 12


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """A tonic and a mode.

    >>> str(Key(5, "major")), str(Key(5, "major").relative), Key(5, "major").camelot
    ('F major', 'D minor', '7B')
    """

    tonic: int
    mode: Mode

    def __str__(self) -> str:
        return f"{(_MAJOR_NAMES if self.mode == 'major' else _MINOR_NAMES)[self.tonic]} {self.mode}"

    @property
    def relative(self) -> "Key":
        """The key with the same notes and the other mode."""
        return Key((self.tonic + 9) % 12, "minor") if self.mode == "major" else Key((self.tonic + 3) % 12, "major")

    @property
    def fifths(self) -> int:
        """Place on the circle of fifths, 0..11 from C major up; that of the relative key."""
        return 7 * (self if self.mode == "major" else self.relative).tonic % 12

    def spell(self, note: str) -> str:
        """A note name with the accidental of this key's signature; as it is in C major and A minor, which have none.

        >>> Key(4, "major").spell("Eb"), Key(5, "major").spell("A#"), Key(0, "major").spell("F#")
        ('D#', 'Bb', 'F#')
        """
        if not self.fifths:
            return note
        return (_AS_FLATS if self.fifths > 6 or "b" in str(self) else _AS_SHARPS).get(note, note)

    @property
    def camelot(self) -> str:
        """Place on the DJs' wheel: 1A-12A minor, 1B-12B major."""
        return f"{(self.fifths + 7) % 12 + 1}{'B' if self.mode == 'major' else 'A'}"

    @classmethod
    def parse(cls, text: str) -> "Key":
        """The key that ``str(key)`` wrote.

        Raises InputError if the text is not ``NOTE major`` or ``NOTE minor``.
        """
        note, _, mode = text.strip().partition(" ")
        if mode == "major":
            return cls(pitch_class(note), "major")
        if mode == "minor":
            return cls(pitch_class(note), "minor")
        raise InputError(f"not a key: {text!r}. Expected something like 'F major' or 'C# minor'.")


KEYS = tuple(Key(tonic, mode) for mode in MODES for tonic in range(12))


@dataclass(frozen=True, slots=True)
class Chord:
    """A root, a quality of ``QUALITIES`` and a bass note; ``Chord.parse("N")`` is None.

    >>> str(Chord.parse("A#:min7/b3")), str(Chord(0, "maj"))
    ('Bb:min7/b3', 'C:maj')
    """

    root: int
    quality: str
    bass: int | None = None  # interval above the root in semitones, None for root position

    def __str__(self) -> str:
        names = _MINOR_NAMES if self.quality.startswith("min") else _MAJOR_NAMES
        slash = f"/{_DEGREES[self.bass]}" if self.bass else ""
        return f"{names[self.root]}:{self.quality}{slash}"

    @property
    def pitch_classes(self) -> frozenset[int]:
        """The notes of the chord, without the bass."""
        return frozenset((self.root + i) % 12 for i in QUALITIES[self.quality])

    @property
    def triad(self) -> str:
        """``maj`` or ``min`` where the chord has one of these thirds, else its own quality."""
        intervals = QUALITIES[self.quality]
        if 7 in intervals and 4 in intervals:
            return "maj"
        return "min" if 7 in intervals and 3 in intervals else self.quality

    @classmethod
    @lru_cache(4096)
    def parse(cls, label: str) -> "Chord | None":
        """The chord of a Harte label; None for ``N`` and ``X``.

        Raises InputError if the label is not ``ROOT[:QUALITY][/DEGREE]`` with a known quality.
        """
        if label in ("N", "X"):
            return None
        chord, _, degree = label.partition("/")
        root, _, quality = chord.partition(":")
        quality = quality or "maj"
        if quality not in QUALITIES:
            raise InputError(f"unknown chord quality in {label!r}. Known: {', '.join(QUALITIES)}.")
        bass = None
        if degree:
            if degree not in _DEGREES:
                raise InputError(f"unknown bass degree in {label!r}. Expected one of {', '.join(_DEGREES)}.")
            bass = _DEGREES.index(degree) or None
        return cls(pitch_class(root), quality, bass)


_DEGREES = ("1", "b2", "2", "b3", "3", "4", "b5", "5", "b6", "6", "b7", "7")
