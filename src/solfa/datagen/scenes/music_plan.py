"""What happens in a piece of loops and hits, bar by bar, and the timed phrases that follow from it.

A plan is drawn first and is the truth: which instrument sounds in which bar, where a fill, a break, a build-up, a drop
or a change of key lies. Phrases are those of ``music_phrases.toml``, with the spans that table defines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from solfa.core.clip import Phrase
from solfa.core.types import Rng
from solfa.datagen.scenes.music_words import music_cluster

BEATS = 4
_REST_BARS = 2  # of silence make the next note an entry, and the last one an exit
_LEAST_S, _DROP_S = 1.0, 2.0
DRUMS = "drums"

Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A piece in 4/4: ``active[instrument][bar]``; bars of the events, None where there is none.

    ``fills`` are bars whose second half is a drum fill. The drums rest in ``break_bar`` and roll in ``build_bar``; the
    drop is the bar after either. From ``key_bar`` on everything pitched is ``key_shift`` semitones higher.
    """

    tempo_bpm: float
    active: dict[str, tuple[bool, ...]]
    fills: tuple[int, ...] = ()
    break_bar: int | None = None
    build_bar: int | None = None
    key_bar: int | None = None
    key_shift: int = 0

    @property
    def bar_s(self) -> float:
        """Length of a bar."""
        return BEATS * 60 / self.tempo_bpm

    @property
    def num_bars(self) -> int:
        """Bars, the last of which may be cut."""
        return len(next(iter(self.active.values())))

    @property
    def drop_bar(self) -> int | None:
        """The bar in which the drums come back."""
        before = self.break_bar if self.break_bar is not None else self.build_bar
        return None if before is None else before + 1


def draw_plan(instruments: Sequence[str], pitched: Sequence[str], duration_s: float, rng: Rng) -> Plan:
    """A piece of two to four of the instruments (vocabulary ids), among them the drums if they can be had.

    ``pitched`` are those that a change of key is heard by.
    """
    tempo_bpm = float(rng.uniform(90, 165))
    bars = int(np.ceil(duration_s * tempo_bpm / 60 / BEATS))
    others = [i for i in instruments if i != DRUMS]
    chosen = list(rng.choice(others, min(len(others), int(rng.integers(1, 4))), replace=False))
    band = [DRUMS, *map(str, chosen)] if DRUMS in instruments else list(map(str, chosen))
    first = band[int(rng.integers(len(band)))]
    active = {i: np.ones(bars, bool) for i in band}
    for instrument in band:
        if instrument != first and rng.random() < 0.5:
            active[instrument][: int(rng.integers(1, max(2, bars - 1)))] = False
        if instrument != first and rng.random() < 0.25:
            active[instrument][int(rng.integers(max(1, bars // 2), bars)) :] = False
    plays = {i: a for i, a in active.items() if a.any()}
    events = _drum_events(plays, bars, rng)
    tonal = [b for b in range(bars) if any(plays[i][b] for i in plays if i in pitched)]
    heard = [b for b in range(2, bars - 1) if {b - 1, b} <= {*tonal}]  # both keys sound side by side
    if heard and rng.random() < 0.35:
        events |= {"key_bar": heard[int(rng.integers(len(heard)))], "key_shift": int(rng.integers(1, 4))}
    return Plan(tempo_bpm=tempo_bpm, active={i: tuple(map(bool, a)) for i, a in plays.items()}, **events)


def _drum_events(plays: dict[str, np.ndarray[tuple[int], np.dtype[np.bool_]]], bars: int, rng: Rng) -> dict[str, Any]:
    drums = plays.get(DRUMS)
    if drums is None:
        return {}
    inner = [b for b in range(1, bars - 1) if drums[b - 1 : b + 2].all()]
    kind = rng.choice(["", "break_bar", "build_bar"], p=[0.4, 0.35, 0.25])
    events: dict[str, Any] = {}
    # Somebody must go on while the drums rest, else it is silence and no break.
    inner = [b for b in inner if kind != "break_bar" or any(a[b] for i, a in plays.items() if i != DRUMS)]
    if kind and inner:
        at = inner[int(rng.integers(len(inner)))]
        events[str(kind)] = at
        if kind == "break_bar":
            drums[at] = False
    free = [b for b in range(1, bars - 1) if drums[b] and b not in events.values()]
    events["fills"] = tuple(b for b in free if rng.random() < 0.25)
    return events


def phrases_of(plan: Plan, duration_s: float) -> tuple[Phrase, ...]:
    """Everything that happens, with its spans inside 0..duration; spans of one phrase never overlap."""
    found: dict[str, list[Span]] = {}
    for kind, instrument, start, end in _events(plan):
        span = (max(0.0, start), min(duration_s, end))
        if span[1] - span[0] > 1e-3:
            found.setdefault(music_cluster(kind, instrument).phrase, []).append(span)
    return tuple(Phrase(text=text, spans_s=tuple(sorted(spans))) for text, spans in found.items())


def _events(plan: Plan) -> Iterator[tuple[str, str, float, float]]:
    bar = plan.bar_s
    for instrument, active in plan.active.items():
        for start, end in _runs(active):
            yield "plays", instrument, start * bar, end * bar
            rest_before = start - max((e for s, e in _runs(active) if e <= start), default=-_REST_BARS)
            if start > 0 and rest_before >= _REST_BARS:
                yield "enters", instrument, start * bar, start * bar + max(bar, _LEAST_S)
            rest_after = min((s for s, _ in _runs(active) if s >= end), default=end + _REST_BARS) - end
            if end < plan.num_bars and rest_after >= _REST_BARS:
                yield "leaves", instrument, end * bar - max(bar, _LEAST_S), end * bar
    sounding = [tuple(i for i, a in plan.active.items() if a[b]) for b in range(plan.num_bars)]
    at = 0
    for who, same in groupby(sounding):
        length = len(list(same))
        if len(who) == 1:
            yield "alone", who[0], at * bar, (at + length) * bar
        at += length
    for b in plan.fills:
        yield "fill", "", (b + 0.5) * bar, (b + 1) * bar
    if plan.break_bar is not None:
        yield "break", "", plan.break_bar * bar, (plan.break_bar + 1) * bar
    if plan.build_bar is not None:
        yield "build_up", "", plan.build_bar * bar, (plan.build_bar + 1) * bar
    if plan.drop_bar is not None:
        yield "drop", "", plan.drop_bar * bar, plan.drop_bar * bar + max(bar, _DROP_S)
    if plan.key_bar is not None:
        yield "key_change", "", (plan.key_bar - 1) * bar, (plan.key_bar + 1) * bar


def _runs(active: Sequence[bool]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff([False, *active, False]))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
