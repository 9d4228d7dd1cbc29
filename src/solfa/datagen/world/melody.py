"""Tunes over chords: a rhythm that returns with its section, chord tones on the stresses, steps between."""

from collections.abc import Iterator

from solfa.core.theory import QUALITIES, Chord
from solfa.core.types import Rng
from solfa.datagen.world.score import MODES, MetreShape, Note, Score, table

_SPAN = 17
Bar = tuple[int, int, MetreShape, int]  # first beat, end beat, metre, number of the section


def melody(chart: Score, bars: list[Bar], program: int, busy: float, rng: Rng) -> list[Note]:
    """A tune for the given bars (first beat, end beat, metre, section); ``busy`` 0-1 sets how many notes there are."""
    low = table()["lowest"].get(str(program), 60) + int(rng.integers(0, 4))
    rhythms: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    pitch, notes = low + _SPAN // 2, list[Note]()
    for i, (a, _, metre, section) in enumerate(bars):
        place = (chart.sections[section][2], metre.name, i % 2)
        if place not in rhythms:
            rhythms[place] = _rhythm(metre, busy, rng)
        for onset, length in rhythms[place]:
            chord = chart.chord_at(a + onset)
            if chord is None or rng.random() < 0.04:
                continue
            strong = onset in metre.stressed or length >= 1.0
            pitch = _next_pitch(pitch, low, chord, chart, a + onset, strong, rng)
            notes.append(Note(a + onset, length * float(rng.uniform(0.75, 0.98)), pitch, 84 + (8 if strong else 0)))
    return notes


def _rhythm(metre: MetreShape, busy: float, rng: Rng) -> list[tuple[float, float]]:
    grid = 1 / metre.division if busy < 0.9 or metre.division != 2 else 0.25
    steps = round(metre.beats / grid)
    onsets = []
    for i in range(steps):
        on_beat = i % max(1, round(1 / grid)) == 0
        if rng.random() < (0.35 + 0.5 * busy if on_beat else 0.08 + 0.5 * busy * (0.7 if grid > 0.25 else 0.9)):
            onsets.append(i)
    onsets = onsets or [0]
    ends = [*onsets[1:], steps]
    return [(a * grid, min(b - a, steps) * grid) for a, b in zip(onsets, ends, strict=True)]


def _next_pitch(pitch: int, low: int, chord: Chord, chart: Score, beat: float, strong: bool, rng: Rng) -> int:
    tones = {(chord.root + t) % 12 for t in QUALITIES[chord.quality]}
    scale = chart.scale_at(beat)
    inside = tones if strong else tones | {scale.degree(d) for d in range(len(MODES[scale.mode]))}
    # Notes of the scale a semitone from a chord tone that has been altered would say another chord.
    allowed = [p for p in range(low, low + _SPAN + 1) if p % 12 in inside]
    target = pitch + int(rng.choice([-4, -2, -1, -1, 0, 1, 1, 2, 2, 5] if strong else [-2, -2, -1, 1, 2, 2, 3]))
    return min(allowed, key=lambda p: (abs(p - target), p == pitch, p))


def guide_tones(chart: Score, bars: list[Bar]) -> list[Note]:
    """A slow second voice on the third or the seventh of each chord, moving as little as it can."""
    notes, last = list[Note](), 67
    for start, length, chord in held(chart, bars):
        tones = {(chord.root + t) % 12 for t in QUALITIES[chord.quality][1:4]}
        last = min((p for p in range(60, 80) if p % 12 in tones), key=lambda p: (abs(p - last), p))
        notes.append(Note(start, length, last, 72))
    return notes


def held(chart: Score, bars: list[Bar]) -> Iterator[tuple[float, float, Chord]]:
    """Start, length and chord of what is held through these bars, in beats."""
    for start, end, label in chart.chords:
        chord = Chord.parse(label)
        spans = [(max(start, a), min(end, b)) for a, b, _, _ in bars if a < end and b > start]
        if chord is not None and spans:
            yield spans[0][0], spans[-1][1] - spans[0][0], chord
