"""A band for a chart: drums, bass, chords, pads, melody and percussion in a style, with entries, breaks, solos, fills.

The chart says when chords, keys, metres and sections hold; every note played here follows from it, so the chart is the
truth of what sounds. All chance comes from one generator.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from solfa.core.theory import QUALITIES, Chord
from solfa.core.types import Rng
from solfa.datagen.world.melody import Bar, guide_tones, held, melody
from solfa.datagen.world.score import METRES, MetreShape, Note, Score, ScorePart, span_at, table
from solfa.datagen.world.styles import Style, concept_of, is_voice_like, kit_concept, pool, styles


@dataclass(frozen=True, slots=True)
class Band:
    """Who plays in which section: a row of booleans per seat, and what happens on the way."""

    seats: dict[str, list[bool]]
    solo: int | None = None
    breaks: int | None = None
    fills: frozenset[int] = frozenset()
    swell: dict[int, int] = field(default_factory=dict)  # section: +1 crescendo, -1 diminuendo


def style_for(metre: str, rng: Rng) -> Style:
    """A style that has patterns for a metre; any, where none has."""
    fit = [s for s in styles().values() if metre in s.metres] or list(styles().values())
    return fit[int(rng.integers(len(fit)))]


def arrange(chart: Score, style: Style, rng: Rng, keep: tuple[ScorePart, ...] = ()) -> Score:
    """The chart played by a band; one piece in four is scored for other instruments than the style's.

    The chart's own parts are left out. ``keep`` are parts that come with it (a melody, a drummer); no part of the same
    role is made up.
    """
    starts = [a for a, _, _ in chart.sections]
    bars = [(a, b, metre, max(0, bisect_right(starts, a) - 1)) for a, b, metre in chart.bars()]
    programs = _programs(style, rng)
    band = _plan(chart, style, rng, {part.role for part in keep})
    parts = list(keep)
    for seat in band.seats:
        role = seat.rstrip("2")
        if role in ("drums", "perc"):
            parts.append(_drums(role, style, chart, bars, band, rng))
        else:
            parts.append(_pitched(seat, programs, style, chart, bars, band, rng))
    parts = [_dynamics(part, chart, band) for part in parts if part.notes]
    return replace(
        chart, parts=tuple(parts), events=(*chart.events, *_events(chart, bars, band)),
        genre=tuple(style.genre) if "drums" in band.seats or style.drumless >= 0.3 else (),
        swing=style.swing * 0.165 if all(METRES[m].division == 2 for _, _, m in chart.metres) else 0.0,
        about={**chart.about, "style": style.name},
    )  # fmt: skip


def _programs(style: Style, rng: Rng) -> dict[str, int]:
    other = rng.random() < 0.25

    def draw(role: str, own: Sequence[int]) -> int:
        options = pool(role) if other or not own else own
        return int(options[int(rng.integers(len(options)))])

    return {
        "comp": draw("comp", style.comp_pool), "comp2": draw("comp", ()), "pad": draw("pad", style.pad_pool),
        "bass": draw("bass", style.bass_pool), "lead": draw("lead", style.lead_pool), "lead2": draw("lead", ()),
        "counter": draw("counter", ()), "drums": draw("kits", style.kit),
    }  # fmt: skip


def _plan(chart: Score, style: Style, rng: Rng, kept: set[str]) -> Band:
    n = len(chart.sections)
    chances = {
        "drums": 1 - style.drumless, "bass": 0.88, "comp": 1.0, "comp2": 0.3, "pad": style.pads,
        "lead": 0.25 + style.lead, "counter": 0.2, "perc": 0.22,
    }  # fmt: skip
    alone = rng.random() < 0.08
    seats = {
        seat: [True] * n
        for seat, chance in chances.items()
        if rng.random() < chance and seat.rstrip("2") not in kept and (not alone or seat in ("comp", "lead"))
    }
    if n > 1 and rng.random() < 0.55:  # the band enters one by one, or leaves so
        order, late = rng.permutation(list(seats)), rng.random() < 0.75
        for i, seat in enumerate(order[1:], 1):
            at = int(rng.integers(0, n)) if i > 1 else min(1, n - 1)
            seats[str(seat)] = [(s >= at) if late else (s < n - at) for s in range(n)]
    breaks = int(rng.integers(1, n)) if n > 1 and rng.random() < style.breaks + 0.1 else None
    for seat in ("drums", "bass", "perc"):
        if breaks is not None and seat in seats:
            seats[seat][breaks] = False
    solo = int(rng.integers(0, n)) if rng.random() < 0.22 and "lead" not in kept else None
    if solo is not None:
        seats["lead2"] = [s == solo for s in range(n)]
        for seat in ("lead", "counter"):
            if seat in seats:
                seats[seat][solo] = False
    fills = frozenset(s for s in range(n) if rng.random() < 0.5) if "drums" in seats else frozenset()
    swell = {int(rng.integers(0, n)): int(rng.choice([1, -1]))} if rng.random() < 0.15 else {}
    return Band(seats, solo, breaks, fills, swell)


def _events(chart: Score, bars: list[Bar], band: Band) -> Iterator[tuple[float, float, str]]:
    for section, way in band.swell.items():
        start, end, _ = chart.sections[section]
        yield start, end, "crescendo" if way > 0 else "diminuendo"
    for a, b, metre, section in bars:
        if _is_fill(a, b, section, chart, band):
            yield b - _fill_beats(metre), b, "fill"
    if band.breaks is not None and "drums" in band.seats:
        start, end, _ = chart.sections[band.breaks]
        yield start, end, "break"
        drums = band.seats["drums"]
        if band.breaks + 1 < len(drums) and drums[band.breaks + 1]:
            yield end, next((b for a, b, _, _ in bars if a >= end), end + 2), "drop"


def _is_fill(a: int, b: int, section: int, chart: Score, band: Band) -> bool:
    last = b >= chart.sections[section][1] - 1e-6
    return last and section in band.fills and band.seats["drums"][section] and b - a > 1


def _fill_beats(metre: MetreShape) -> int:
    return 2 if metre.beats >= 4 else 1


# --- drums ----------------------------------------------------------------------------------------------------------


def _drums(role: str, style: Style, chart: Score, bars: list[Bar], band: Band, rng: Rng) -> ScorePart:
    drums = table()["drums"]
    key = str(rng.choice(list(drums["players"])))
    kits = pool("kits") if rng.random() < 0.2 else style.kit
    kit = int(kits[int(rng.integers(len(kits)))])
    patterns: dict[tuple[str, str], str] = {}
    notes: list[Note] = []
    for a, b, metre, section in bars:
        if not band.seats[role][section]:
            continue
        kind = (metre.name, chart.sections[section][2])
        if kind not in patterns:
            own = f"{key} {rng.choice(drums['percussion'][key])}"
            patterns[kind] = own if role == "perc" else style.pattern("drums", metre.name, rng)
        hits = list(drum_hits(patterns[kind], a, b))
        if role == "drums" and _is_fill(a, b, section, chart, band):
            start = b - _fill_beats(metre)
            hits = [n for n in hits if n.start < start - 1e-6] + _fill(start, b, metre, rng)
        if role == "drums" and a == chart.sections[section][0] and rng.random() < 0.4:
            hits.append(Note(a, 1.0, drums["keys"]["X"], 100))
        notes += hits
    concept = drums["players"][key] if role == "perc" else kit_concept(kit)
    return ScorePart(role=role, concept=concept, program=kit if role == "drums" else 0, notes=tuple(notes), drums=True)


def drum_hits(pattern: str, start: float, end: float) -> Iterator[Note]:
    """The notes of a drum pattern stretched over a bar.

    >>> [n[::2] for n in drum_hits("K x... / S ..X.", 0, 2)]
    [(0.0, 36), (1.0, 38)]
    """
    drums = table()["drums"]
    for line in pattern.split("/"):
        key, steps = line.strip()[0], line.strip()[1:].replace(" ", "")
        for i, symbol in enumerate(steps):
            if symbol != ".":
                name, velocity = (symbol, 88) if symbol in "Nn" else (key, drums["velocity"][symbol])
                yield Note(start + i * (end - start) / len(steps), 0.2, drums["keys"][name], velocity)


def _fill(start: float, end: float, metre: MetreShape, rng: Rng) -> list[Note]:
    steps = int((end - start) * (4 if metre.division == 2 else 3 if metre.division == 3 else 2))
    drums = table()["drums"]
    text = str(rng.choice(drums["fills"]))
    keys = [text[i * len(text) // steps] for i in range(steps)]
    hit = [(i, drums["keys"][key]) for i, key in enumerate(keys) if key != "."]
    return [Note(start + i * (end - start) / steps, 0.2, key, int(rng.integers(78, 118))) for i, key in hit]


# --- pitched parts --------------------------------------------------------------------------------------------------


def _pitched(
    seat: str, programs: dict[str, int], style: Style, chart: Score, bars: list[Bar], band: Band, rng: Rng
) -> ScorePart:
    role, program = seat.rstrip("2"), programs[seat]
    active = [bar for bar in bars if band.seats[seat][bar[3]]]
    if role == "bass":
        notes = _bass(style, chart, active, rng)
    elif role == "comp":
        grounded = "bass" not in band.seats
        notes = _comp(style, chart, active, rng, 60 if seat == "comp2" else 52, grounded and seat == "comp")
    elif role == "pad":
        notes = _held(chart, active, int(rng.integers(52, 62)))
    elif role == "counter":
        notes = guide_tones(chart, active)
    else:
        notes = melody(chart, active, program, 1.0 if seat == "lead2" else style.lead, rng)
    name = "solo" if seat == "lead2" else "choir" if is_voice_like(program) else role
    return ScorePart(role=name, concept=concept_of(program), program=program, notes=tuple(notes))


def hits(pattern: str, start: float, end: float, changes: list[float]) -> Iterator[tuple[float, float, str]]:
    """(start, end, symbol) of what sounds in a bar: holds are joined, and struck again where the chord changes.

    >>> list(hits("1-.5", 0, 4, [1.0]))
    [(0.0, 1.0, '1'), (1.0, 2.0, '1'), (3.0, 4.0, '5')]
    """
    step = (end - start) / len(pattern)
    for struck in re.finditer("[^.-]-*", pattern):
        begin, stop = start + struck.start() * step, start + struck.end() * step
        for a, b in pairwise([begin, *(c for c in changes if begin < c < stop), stop]):
            yield a, b, struck[0][0]


def _patterned(
    kind: str, style: Style, chart: Score, bars: list[Bar], rng: Rng
) -> Iterator[tuple[float, float, str, Chord]]:
    starts, chosen = [a for a, _, _ in chart.chords], dict[tuple[str, str], str]()
    for a, b, metre, section in bars:
        place = (metre.name, chart.sections[section][2])
        pattern = chosen.setdefault(place, style.pattern(kind, metre.name, rng))
        inside = starts[bisect_right(starts, a) : bisect_right(starts, b - 1e-6)]
        for start, end, symbol in hits(pattern, a, b, inside):
            held_span, chord = span_at(chart.chords, start), chart.chord_at(start)
            if held_span is not None and chord is not None:
                yield start, min(end, held_span[1]), symbol, chord


def _bass(style: Style, chart: Score, bars: list[Bar], rng: Rng) -> list[Note]:
    low, notes = int(rng.integers(28, 34)), list[Note]()
    row = list(_patterned("bass", style, chart, bars, rng))
    for i, (start, end, symbol, chord) in enumerate(row):
        tones = QUALITIES[chord.quality]
        root = low + (chord.root - low) % 12
        first = i == 0 or row[i - 1][3] != chord
        third = next((t for t in (3, 4, 5, 2) if t in tones), 0)
        fifth = next((t for t in (7, 6, 8) if t in tones), 0)
        above = {"1": chord.bass or 0, "3": third, "5": fifth, "8": 12, "7": tones[3] if len(tones) > 3 else 12}
        pitch = root + (chord.bass or 0 if first else above.get(symbol, 0))
        if symbol == "w" and not first:
            following = row[i + 1][3] if i + 1 < len(row) else chord
            goal = low + (following.root + (following.bass or 0) - low) % 12
            pitch = goal + int(rng.choice([-1, 1, -2, 2])) if following != chord else root + int(rng.choice(tones[:3]))
        stress = 8 if abs(start - round(start)) < 1e-6 else 0
        notes.append(Note(start, (end - start) * 0.94, pitch, 82 + stress))
    return notes


def _comp(style: Style, chart: Score, bars: list[Bar], rng: Rng, low: int, grounded: bool) -> list[Note]:
    notes, step, previous, last = list[Note](), 0, tuple[int, ...](), None
    for start, end, symbol, chord in _patterned("comp", style, chart, bars, rng):
        if chord != last:
            previous, last, step = voicing(chord, low, previous), chord, 0
            if grounded:
                bottom = low - 14 + (chord.root + (chord.bass or 0) - (low - 14)) % 12
                notes.append(Note(start, max(end - start, 0.9), bottom, 80))
        tones = list(previous)
        if symbol == "a":
            order = tones + tones[-2:0:-1]
            tones, step = [order[step % len(order)]], step + 1
        elif symbol == "l":
            tones = tones[:1]
        elif symbol == "h":
            tones = tones[1:] or tones
        stress = 8 if abs(start - round(start)) < 1e-6 else 0
        notes += [Note(start, (end - start) * 0.95, pitch, 70 + stress) for pitch in tones]
    return notes


def _held(chart: Score, bars: list[Bar], low: int) -> list[Note]:
    notes, previous = list[Note](), tuple[int, ...]()
    for start, length, chord in held(chart, bars):
        previous = voicing(chord, low, previous)
        notes += [Note(start, length, pitch, 68) for pitch in previous]
    return notes


def voicing(chord: Chord, low: int, previous: tuple[int, ...] = ()) -> tuple[int, ...]:
    """The chord's notes upwards from about ``low``, in the inversion that moves least from ``previous``.

    >>> voicing(Chord(5, "maj"), 55, voicing(Chord(0, "maj"), 55))
    (57, 60, 65)
    """
    classes = sorted(chord.pitch_classes)
    options = []
    for bottom in range(low - 3, low + 6):
        if bottom % 12 in classes:
            options.append(tuple(sorted(bottom + (c - bottom) % 12 for c in classes)))
    if not previous:
        return options[len(options) // 2]
    return min(options, key=lambda o: sum(min(abs(p - q) for q in previous) for p in o) + 0.2 * abs(o[0] - low))


def _dynamics(part: ScorePart, chart: Score, band: Band) -> ScorePart:
    # Swells over a section, and the band steps back under a solo.
    starts, notes = [a for a, _, _ in chart.sections], []
    for note in part.notes:
        section = max(0, bisect_right(starts, note.start) - 1)
        start, end, _ = chart.sections[section]
        scale = 0.85 if section == band.solo and part.role != "solo" else 1.0
        if section in band.swell:
            place = float(np.clip((note.start - start) / (end - start), 0, 1))
            scale *= 0.35 + 0.75 * (place if band.swell[section] > 0 else 1 - place)
        notes.append(note._replace(velocity=int(np.clip(note.velocity * scale, 8, 127))))
    return replace(part, notes=tuple(notes))
