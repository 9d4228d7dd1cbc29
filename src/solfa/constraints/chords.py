"""A chord sequence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from solfa.constraints.base import (
    NONE_FOUND,
    UNMEASURED,
    Columns,
    Constraint,
    Likelihood,
    Measured,
    Timed,
    Tracks,
    Unbased,
    Verdict,
)
from solfa.constraints.progression import Progressions, code, collapse, match, pair_share, places
from solfa.core.filters import PRESENT
from solfa.core.theory import Chord

_BASE = 0.08
_FOUND = 0.25  # P from which on something of the sequence is shown


@dataclass(frozen=True, kw_only=True, slots=True)
class Chords(Constraint):
    """A chord sequence, matched in order and up to rotation (``constraints.progression``).

    ``transposable``: only the intervals between roots count (Roman numerals, "I-vi-IV-V in any key").
    For Roman numerals without a key, roots are relative to C. ``loose_quality``: the triad is enough.
    Neighbouring chords differ: how long a chord lasts is not asked.
    """

    topic: ClassVar[str] = "chords"

    chords: tuple[Chord, ...]
    transposable: bool = False
    loose_quality: bool = True

    @property
    def needs_timeline(self) -> bool:
        """Always: columns only know which chord follows which."""
        return True

    def asked(self) -> str:
        """The sequence in Harte syntax."""
        how = ", in any key" if self.transposable else ""
        exact = "" if self.loose_quality else ", exactly"
        return "-".join(map(str, self.chords)) + how + exact

    def from_columns(self, tracks: Tracks) -> Unbased:
        """From the share of the asked changes that each track has anywhere."""
        columns = tracks.attributes()
        share = pair_share(columns.chord_pairs(), self.chords, self.transposable) ** 2
        share[np.diff(columns.chord_bounds) == 0] = np.nan
        return Unbased(share, _BASE)

    def from_timelines(self, columns: Columns, rows: NDArray[np.intp], timelines: Sequence[Timed]) -> Likelihood:
        """From the best place of the sequence in each track."""
        p = np.full(len(timelines), np.nan, np.float32)
        if filled := [i for i, timeline in enumerate(timelines) if len(timeline.chords)]:
            chords = progressions([timelines[i] for i in filled])
            p[filled] = match(chords, self.chords, self.transposable, self.loose_quality, moved=False).p_N
        return Likelihood.filled(p, _BASE)

    def evidence(self, track: Measured) -> Verdict:
        """Where the sequence is, and how far it was moved."""
        if not len(track.timeline.chords):
            return UNMEASURED
        chords = progressions([track.timeline])
        found = match(chords, self.chords, self.transposable, self.loose_quality)
        p, shift = float(found.p_N[0]), int(found.shift_N[0])
        if p < _FOUND:
            return Verdict(NONE_FOUND, 1 - p, False)
        spans, played = places(chords, found, len(self.chords))
        moved = f", {shift if shift <= 6 else shift - 12:+d} semitones" if shift else ""
        same = self._same(played, shift)
        nearly = "" if same else "nearly: "
        shown = f"{nearly}{'-'.join(played)}{moved}, {100 * float(found.coverage_N[0]):.0f} % of the track"
        return Verdict(shown, p, True if p >= PRESENT and same and (self.transposable or not shift) else None, spans)

    def _same(self, played: Sequence[str], shift: int) -> bool:
        """Whether these are the asked chords, moved by some semitones, from any of them on."""
        asked = [((c.root + shift) % 12, c.triad) for c in self.chords]
        there = [(c.root, c.triad) for c in map(Chord.parse, played) if c is not None]
        return any(there == asked[at:] + asked[:at] for at in range(len(asked)))


def progressions(timelines: Sequence[Timed]) -> Progressions:
    """The collapsed chords of tracks, each of which has some."""
    bounds = np.cumsum([0, *(len(t.chords) for t in timelines)])
    chords = np.concatenate([t.chords for t in timelines])
    numbers, inverse = np.unique(chords["label"], return_inverse=True)
    codes = np.array([code(timelines[0].names[number]) for number in numbers.tolist()], np.int64)[inverse]
    return collapse(codes, chords["start_s"], chords["end_s"], chords["confidence"], bounds)
