"""Chord progressions made up in any key and mode: loops that people use, or a walk; coloured, borrowed, inverted.

Degrees count from 0 (the tonic). A *colour* says how far chords are stacked: ``power``, ``triad``, ``pop`` (triads with
a sixth, suspension or seventh now and then), ``seventh``, ``jazz`` (sevenths, ninths, sixths, secondary dominants,
diminished passing chords).
"""

import numpy as np

from solfa.core.theory import QUALITIES, Chord
from solfa.core.types import Rng
from solfa.datagen.world.score import MODES, Scale, table

_BY_INTERVALS = {frozenset(tones): name for name, tones in QUALITIES.items() if name not in ("min7", "maj6", "min6")}
_BY_INTERVALS[frozenset((0, 3, 7, 10))] = "min7"  # and never the maj6 with the same notes on another root


def diatonic(scale: Scale, degree: int, tones: int = 3) -> Chord:
    """The chord of ``tones`` thirds (3 to 5) on a degree; fewer where the notes have no name together.

    >>> [str(diatonic(Scale(0, "major"), d, 4)) for d in (0, 1, 4, 6)]
    ['C:maj7', 'D:min7', 'G:7', 'B:hdim7']
    """
    root = scale.degree(degree)
    for n in range(tones, 2, -1):
        notes = frozenset((scale.degree(degree + 2 * i) - root) % 12 for i in range(n))
        if notes in _BY_INTERVALS:
            return Chord(root, _BY_INTERVALS[notes])
    return Chord(root, "5")


def progression(scale: Scale, colour: str, rng: Rng, inversions: float = 0.1) -> list[Chord]:
    """Two to twelve chords that can be repeated; ``inversions`` is how likely one does not stand on its root."""
    if rng.random() < 0.7:
        loops = table()["harmony"]["loops"][scale.mode]
        degrees = list(loops[int(rng.integers(len(loops)))])
    else:
        degrees = [0]
        while len(degrees) < (8 if rng.random() < 0.25 else 4):
            degrees.append(int(rng.choice(table()["harmony"]["walk"][degrees[-1]])))
    if rng.random() < 0.1:
        at = int(rng.integers(len(degrees)))
        degrees = degrees[at:] + degrees[:at]
    chords = [_coloured(scale, degree, colour, rng) for degree in degrees]
    if colour != "power":
        _borrow(chords, scale, colour, rng)
    return [_inverted(chord, rng) if rng.random() < inversions else chord for chord in chords]


def _coloured(scale: Scale, degree: int, colour: str, rng: Rng) -> Chord:
    triad = diatonic(scale, degree)
    if scale.mode == "minor" and degree == 4 and rng.random() < 0.65:
        return Chord(triad.root, "7" if colour in ("seventh", "jazz") or rng.random() < 0.3 else "maj")
    if colour == "power":
        return Chord(triad.root, "5") if triad.quality in ("maj", "min") else triad
    inside = {(scale.degree(i) - triad.root) % 12 for i in range(7)}
    draw = rng.random()
    if colour == "pop" and draw < 0.35:
        fit = [name for name, tones in (("sus4", {5, 7}), ("sus2", {2, 7})) if tones <= inside]
        fit += [f"{triad.quality}6"] if triad.quality in ("maj", "min") and 9 in inside else []
        if fit and draw < 0.15:
            return Chord(triad.root, str(rng.choice(fit)))
        return diatonic(scale, degree, 4)
    if colour in ("seventh", "jazz"):
        if colour == "jazz" and degree == 0 and draw < 0.15 and 9 in inside and triad.quality in ("maj", "min"):
            return Chord(triad.root, "maj6" if triad.quality == "maj" else "min6")
        if scale.mode == "minor" and degree == 0 and colour == "jazz" and draw < 0.25:
            return Chord(triad.root, "minmaj7")
        return diatonic(scale, degree, 5 if colour == "jazz" and draw > 0.65 else 4)
    return triad


def _borrow(chords: list[Chord], scale: Scale, colour: str, rng: Rng) -> None:
    # A chord from beyond the scale now and then, in place of one that is not the first.
    for i in range(1, len(chords)):
        follows, draw = chords[(i + 1) % len(chords)], rng.random()
        if colour == "jazz" and draw < 0.12 and chords[i].root != (follows.root + 7) % 12:
            chords[i] = Chord((follows.root + 7) % 12, str(rng.choice(["7", "7", "9"])))
        elif colour in ("jazz", "seventh") and draw < 0.18:
            chords[i] = Chord((follows.root - 1) % 12, "dim7")
        elif scale.mode == "major" and chords[i] == diatonic(scale, 3) and draw < 0.15:
            chords[i] = Chord(scale.degree(3), "min")
        elif scale.mode == "major" and draw < 0.05:
            chords[i] = Chord((scale.tonic + 10) % 12, "maj")
        elif scale.mode in ("major", "minor") and draw > 0.985:
            chords[i] = Chord(scale.degree(4), "aug")


def _inverted(chord: Chord, rng: Rng) -> Chord:
    tones = [t for t in QUALITIES[chord.quality][1:] if t not in (2, 8)]
    weights = np.array([0.5, 0.35, 0.15, 0.1][: len(tones)])
    return Chord(chord.root, chord.quality, int(rng.choice(tones, p=weights / weights.sum())))


def draw_scale(rng: Rng) -> Scale:
    """A key: every tonic alike; major and minor most, the other modes in a third of the pieces."""
    shares = (0.36, 0.32, 0.1, 0.05, 0.06, 0.09, 0.02)
    return Scale(int(rng.integers(12)), str(rng.choice(list(MODES), p=shares)))


def modulated(scale: Scale, rng: Rng) -> Scale:
    """Another key that songs go to from this one: a step or two up, the dominant's, the relative or parallel one."""
    if scale.mode in ("major", "minor") and rng.random() < 0.4:
        other = "minor" if scale.mode == "major" else "major"
        relative = scale.key.relative.tonic
        return Scale(int(rng.choice([scale.tonic, relative])), other)
    return scale.moved(int(rng.choice([1, 2, 2, 3, 5, 7, -2, -1])))
