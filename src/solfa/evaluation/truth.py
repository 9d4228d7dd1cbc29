"""Whether a track truly meets what a query asks, by the annotation of its music, not by what a system measured.

Conventions
-----------
`holds` answers True, False or None (not known). None never counts as met. Tempo is met within 4 % of the bounds, the
tolerance of tempo accuracy; a feel ("slow") also by half or double the tempo. Chords are met where the true chord
sequence, without silence and repeats, holds the asked loop in any rotation.
"""

from collections.abc import Sequence
from typing import Any

from solfa.constraints import Chords, Constraint, Duration, InKey, Metre, Presence, Tempo
from solfa.core.annotation import MusicAnnotation
from solfa.core.errors import InputError
from solfa.core.theory import Chord
from solfa.core.types import ChordSegment
from solfa.core.vocabulary import concepts, lineage
from solfa.evaluation.mir import TEMPO_TOLERANCE


def holds(constraint: Constraint, music: MusicAnnotation) -> bool | None:
    """Whether the track truly meets the constraint; None where that is not known.

    Raises UnknownName if a concept is not in the vocabulary.
    """
    plain = _holds(constraint, music)
    return plain if plain is None or not constraint.negated else not plain


def _holds(constraint: Constraint, music: MusicAnnotation) -> bool | None:
    if isinstance(constraint, Tempo):
        return None if music.tempo_bpm is None else _tempo_holds(constraint, music.tempo_bpm)
    if isinstance(constraint, InKey):
        return None if music.key is None else constraint.fits(music.key)
    if isinstance(constraint, Metre):
        return None if music.metre is None else music.metre in constraint.metres
    if isinstance(constraint, Chords):
        return _chords_hold(constraint, music.chords) if music.chords else None
    if isinstance(constraint, Duration):
        return constraint.low_s <= music.duration_s <= constraint.high_s
    if isinstance(constraint, Presence) and constraint.place is None and not constraint.solo:
        return _presence_holds(constraint, music)
    return None  # places, solos and dynamics are not part of this truth


def _tempo_holds(constraint: Tempo, bpm: float) -> bool:
    low, high = constraint.low_bpm * (1 - TEMPO_TOLERANCE), constraint.high_bpm * (1 + TEMPO_TOLERANCE)
    return any(low <= bpm * f <= high for f in ((1.0,) if constraint.exact else (1.0, 0.5, 2.0)))


def _presence_holds(constraint: Presence, music: MusicAnnotation) -> bool | None:
    # Instruments are all annotated, or none is; a label that is no concept may stand for any of them.
    labels, wider = {i.label for i in music.instruments}, lineage(constraint.concept)
    if any(constraint.concept in lineage(label) for label in labels & concepts().keys()):
        return True
    known = bool(labels) and labels <= concepts().keys() and constraint.kind in ("instrument", "voice")
    return False if known and not labels & set(wider) else None


def _chords_hold(constraint: Chords, segments: Sequence[ChordSegment]) -> bool:
    loose = constraint.loose_quality
    asked = collapsed([(c.root, c.triad if loose else c.quality) for c in constraint.chords])
    true = collapsed([_parsed(s.label, loose) for s in segments if s.label != "N"])
    for shift in range(12) if constraint.transposable else (0,):
        loop = [((root + shift) % 12, quality) for root, quality in asked]
        if any(contains(true, loop[turn:] + loop[:turn]) for turn in range(len(loop))):
            return True
    return False


def contains(chords: Sequence[tuple[int, str]], part: Sequence[tuple[int, str]]) -> bool:
    """Whether chords hold a part without a gap."""
    return any(chords[i : i + len(part)] == part for i in range(len(chords) - len(part) + 1))


def _parsed(label: str, loose: bool) -> tuple[int, str]:
    try:
        # Added notes ("maj(9)") do not change the triad; where the quality counts they make another chord.
        chord = Chord.parse(label.partition("(")[0] if loose else label)
    except InputError:  # an annotator's chord that solfa has no name for matches nothing that can be asked
        chord = None
    return (-1, label) if chord is None else (chord.root, chord.triad if loose else chord.quality)


def collapsed(chords: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Chords without repeats."""
    return [c for i, c in enumerate(chords) if i == 0 or c != chords[i - 1]]


def constraint_of(field: str, value: Any) -> Constraint:
    """One statement as a constraint, independent of solfa's parser. A time signature means itself: 6/8 is not 3/4."""
    if field == "tempo":
        return Tempo(text="", low_bpm=value, high_bpm=value)
    if field == "key":
        return InKey(text="", tonic=value.tonic, mode=value.mode)
    return Metre(text="", metres=(value,)) if field == "metre" else Chords(text="", chords=value)
