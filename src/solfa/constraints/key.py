"""Key: a tonic, a mode, or both."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from solfa.constraints.base import Constraint, Likelihood, Measured, Tracks, Verdict, chosen, judged
from solfa.core.theory import Key, Mode
from solfa.core.types import FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class InKey(Constraint):
    """A tonic, a mode, or both. ``compatible`` also takes the relative key and neighbours on the wheel."""

    topic: ClassVar[str] = "key"

    tonic: int | None = None
    mode: Mode | None = None
    compatible: bool = False

    def asked(self) -> str:
        """The key by name."""
        if self.tonic is None:
            text = f"{self.mode}"
        elif self.mode is None:
            text = f"{str(Key(self.tonic, 'major')).split()[0]} (major or minor)"
        else:
            text = str(Key(self.tonic, self.mode))
        return f"{text} or a neighbour on the wheel" if self.compatible else text

    def fits(self, key: Key) -> bool:
        """Whether a key is what is asked; related keys are only if asked for.

        >>> InKey(text="", tonic=5, mode="major").fits(Key(5, "major"))
        True
        """
        if self.tonic is None:
            return key.mode == self.mode
        if self.mode is None:
            return key.tonic == self.tonic
        asked = Key(self.tonic, self.mode)
        neighbours = {asked.relative, *(Key((asked.tonic + fifth) % 12, asked.mode) for fifth in (5, 7))}
        return key == asked or (self.compatible and key in neighbours)

    @property
    def base(self) -> float:
        """Share of the 24 keys that are what is asked."""
        return float(self._fits_of_codes.sum()) / 24

    @property
    def _fits_of_codes(self) -> FloatArray:
        """0 or 1 for the numbers 0..23 of keys, and 0 at the end for -1, no key."""
        return np.array([*(self.fits(key_from_code(code)) for code in range(24)), 0], np.float32)

    def from_columns(self, tracks: Tracks) -> Likelihood:
        """From the measured key and its alternatives."""
        columns = tracks.attributes()
        return chosen(columns, "key", self._fits_of_codes[columns.column("key")], self.base)

    def evidence(self, track: Measured) -> Verdict:
        """The measured key; undecided where an alternative would fit."""
        asked = None if self.tonic is None or self.mode is None else Key(self.tonic, self.mode)

        def show(key: Key) -> str:
            return f"{key}, a neighbour of {asked}" if asked and key != asked and self.fits(key) else str(key)

        return judged([(key_from_code(v), c) for v, c in track.choices("key") if v >= 0], show, self.fits)


def key_from_code(code: int) -> Key:
    """The key with a number of ``collection.records.key_number``."""
    return Key(code % 12, "minor" if code >= 12 else "major")
