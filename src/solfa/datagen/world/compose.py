"""Pieces made up whole: a key, a metre, a tempo map, sections with their own loops, a style and its band."""

from itertools import chain, cycle

import numpy as np

from solfa.core.types import Rng
from solfa.datagen.world.arrange import arrange
from solfa.datagen.world.harmony import draw_scale, modulated, progression
from solfa.datagen.world.score import METRES, Scale, Score, ScorePart, Spans, joined, table, tempo_map
from solfa.datagen.world.styles import Style, styles

Stretch = tuple[int, int, str]
_OFTEN = {"odd": 3.0, "waltz": 1.5}  # so that rare metres are drawn as well


def draw_tempo(style: Style, rng: Rng) -> float:
    """A tempo of the style in BPM, one in eight beyond its range."""
    low, high = style.tempo
    if rng.random() < 0.125:
        low, high = low * 0.8, high * 1.2
    return round(float(np.exp(rng.uniform(np.log(low), np.log(high)))), 1)


def draw_shape(rng: Rng) -> str:
    """A shape of tempo for ``tempo_map``."""
    shapes = table()["tempo"]
    return str(rng.choice(list(shapes), p=list(shapes.values())))


def compose(
    seconds: float,
    rng: Rng,
    *,
    metre: str = "",
    tempo_bpm: float = 0.0,
    keep: tuple[ScorePart, ...] = (),
    style: str = "",
) -> Score:
    """A piece of about twice ``seconds``, so that a clip of that length can begin anywhere in its first half.

    ``metre``, ``tempo_bpm`` and ``keep`` are given by a part that is already there (a drummer); the style draws them
    otherwise. ``style`` is a style's name; any otherwise.
    """
    fit = [s for s in styles().values() if (not style or s.name == style) and (not metre or metre in s.metres)]
    often = np.array([_OFTEN.get(s.name, 1.0) for s in fit])
    chosen = fit[int(rng.choice(len(fit), p=often / often.sum()))] if fit else styles()["pop"]
    shares = np.sqrt(list(chosen.metres.values()))  # rare metres are wanted more often than they are
    metre = metre or str(rng.choice(list(chosen.metres), p=shares / shares.sum()))
    bpm = tempo_bpm or draw_tempo(chosen, rng)
    if METRES[metre].name == "7/8" and not tempo_bpm:
        bpm *= 1.6  # its beats are eighths
    bar_beats = METRES[metre].beats
    n_bars = int(np.ceil(2.0 * seconds * bpm / 60 / bar_beats)) + 2
    sections = _sections(n_bars, max(2, round(rng.uniform(0.35, 0.9) * seconds * bpm / 60 / bar_beats)), rng)
    metres = _metres(metre, sections, bar_beats, rng) if not keep else ((0, sections[-1][1] * bar_beats, metre),)
    spans = _section_beats(sections, metres)
    beats = metres[-1][1]
    keys, chords = _harmony(spans, metres, chosen, rng)
    shape = "steady" if tempo_bpm else draw_shape(rng)
    chart = Score(
        beat_s=tempo_map(shape, beats, bpm, rng), metres=metres, keys=keys, chords=chords, sections=spans,
        tempo=shape, about={"source": "made up"},
    )  # fmt: skip
    return arrange(chart, chosen, rng, keep)


def _sections(n_bars: int, long: int, rng: Rng) -> list[Stretch]:
    # (first bar, end bar, name): even lengths, names that return.
    long = min((2, 4, 8, 12, 16), key=lambda n: abs(n - long))
    first = ["intro"] if rng.random() < 0.4 else []
    names = chain(first, cycle(("verse", "chorus", "verse", "chorus", "bridge", "chorus")))
    found = [(at, at + long, name) for at, name in zip(range(0, n_bars, long), names, strict=False)]
    if len(found) > 2 and rng.random() < 0.3:
        found[-1] = (*found[-1][:2], "outro")
    return found


def _metres(metre: str, sections: list[Stretch], bar_beats: int, rng: Rng) -> tuple[Stretch, ...]:
    end = sections[-1][1] * bar_beats
    partner = {"4/4": "3/4", "3/4": "4/4", "6/8": "9/8", "5/4": "4/4", "2/4": "3/4"}.get(metre)
    if partner is None or len(sections) < 2 or rng.random() > 0.06:
        return ((0, end, metre),)
    at = int(rng.integers(1, len(sections)))
    middle = sections[at][0] * bar_beats
    bars = sections[-1][1] - sections[at][0]
    return ((0, middle, metre), (middle, middle + bars * METRES[partner].beats, partner))


def _section_beats(sections: list[Stretch], metres: tuple[Stretch, ...]) -> Spans[str]:
    edges = [start for a, b, name in metres for start in range(a, b, METRES[name].beats)] + [metres[-1][1]]
    return tuple((float(edges[a]), float(edges[b]), name) for a, b, name in sections)


def _harmony(spans: Spans[str], metres: tuple[Stretch, ...], style: Style, rng: Rng) -> tuple[Spans[Scale], Spans[str]]:
    scale, colour = draw_scale(rng), str(rng.choice(style.colour))
    change_at = int(rng.integers(1, len(spans))) if len(spans) > 1 and rng.random() < 0.15 else None
    inversions, per_bar = float(rng.choice([0.0, 0.1, 0.3])), float(rng.choice([0.5, 1, 1, 1, 2]))
    loops: dict[tuple[Scale, str], list[str]] = {}
    keys, chords = list[tuple[float, float, Scale]](), list[tuple[float, float, str]]()
    for i, (start, end, name) in enumerate(spans):
        if i == change_at:
            scale = modulated(scale, rng)
        keys.append((start, end, scale))
        if (scale, name) not in loops:
            loops[scale, name] = [str(c) for c in progression(scale, colour, rng, inversions)]
        loop, at, k = loops[scale, name], start, 0
        while at < end - 1e-6:
            beats = next(METRES[m].beats for a, b, m in metres if a <= at < b)
            length = beats / per_bar
            if per_bar == 2 and beats % 2:
                length = float((beats + 1) // 2 if abs((at - start) % beats) < 1e-6 else beats // 2)
            stop = min(at + length, end)
            chords.append((at, stop, loop[k % len(loop)]))
            at, k = stop, k + 1
    return joined(keys), joined(chords)
