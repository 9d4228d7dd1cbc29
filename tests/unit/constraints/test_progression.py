import time
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solfa.collection.attributes import neighbours
from solfa.constraints import Chords, progression
from solfa.constraints.progression import Progressions, code, collapse, pair_share, places
from solfa.core.theory import Chord
from solfa.core.types import Span

Row = tuple[str, float, float, float]


@dataclass
class Found:
    p: float
    shift: int
    spans: tuple[Span, ...]
    played: tuple[str, ...]


def segments(labels: str, length_s: float = 2.0, confidence: float = 0.9, repeat: int = 4) -> list[Row]:
    names = labels.split() * repeat
    return [(name, i * length_s, (i + 1) * length_s, confidence) for i, name in enumerate(names)]


def from_rows(*tracks: list[Row]) -> Progressions:
    rows = [row for track in tracks for row in track]
    numbers = np.array([[start, end, sure] for _, start, end, sure in rows], np.float32).reshape(-1, 3).T
    codes = np.array([code(row[0]) for row in rows], np.int64)
    return collapse(codes, *numbers, np.cumsum([0, *map(len, tracks)]))


def track(labels: str, **options: float) -> Progressions:
    return from_rows(segments(labels, **options))


def match(track: Progressions, asked: Chords) -> Found:
    found = progression.match(track, *parts(asked))
    return Found(float(found.p_N[0]), int(found.shift_N[0]), *places(track, found, len(asked.chords)))


def parts(asked: Chords) -> tuple[tuple[Chord, ...], bool, bool]:
    return asked.chords, asked.transposable, asked.loose_quality


def sequence(labels: str, **options: bool) -> Chords:
    chords = tuple(c for c in map(Chord.parse, labels.split()) if c is not None)
    return Chords(text=labels, chords=chords, **options)


LOOP = "A:min F:maj C:maj G:maj"


def test_the_sequence_itself_its_rotation_and_sevenths_match() -> None:
    for asked in (LOOP, "C:maj G:maj A:min F:maj"):
        found = match((track(LOOP)), sequence(asked))
        assert found.p > 0.9 and found.shift == 0 and found.spans
    assert match((track("A:min7 F:maj7 C:maj G:7")), sequence(LOOP)).p > 0.9
    assert match((track("A:min7 F:maj7 C:maj G:7")), sequence(LOOP, loose_quality=False)).p < 0.9


def test_another_order_or_other_chords_do_not_match() -> None:
    assert match((track("A:min C:maj F:maj G:maj")), sequence(LOOP)).p < 0.6
    assert match((track("E:maj B:maj C#:min A:maj")), sequence("D:min G:7 C:maj7")).p < 0.3


def test_a_transposed_sequence_counts_fully_only_if_asked() -> None:
    moved = track("B:min G:maj D:maj A:maj")
    assert match(moved, sequence(LOOP)).p < 0.5
    found = match(moved, sequence(LOOP, transposable=True))
    assert found.p > 0.9 and found.shift == 2


def test_unsure_chords_are_weaker_evidence() -> None:
    sure, unsure = (match((track(LOOP, confidence=c)), sequence(LOOP)).p for c in (0.95, 0.5))
    assert sure > unsure


def test_blips_do_not_break_a_match_and_the_place_is_found() -> None:
    head = segments("E:min B:min", repeat=3)
    offset = head[-1][2]
    loop = [(label, start + offset, end + offset, sure) for label, start, end, sure in segments(LOOP, repeat=2)]
    label, start, end, sure = loop[1]
    blip = [("D:dim", start, start + 0.1, 0.4), (label, start + 0.1, end, sure)]
    found = match(from_rows([*head, loop[0], *blip, *loop[2:]]), sequence(LOOP))
    assert found.p > 0.85
    assert found.spans[0].start_s == pytest.approx(offset, abs=0.5)


def test_nothing_played_is_no_match() -> None:
    assert match((track("N", repeat=1)), sequence(LOOP)).p < 0.05


@given(st.integers(0, 11))
def test_transposing_track_and_sequence_together_changes_nothing(shift: int) -> None:
    def move(text: str) -> str:
        return " ".join(str(Chord((c.root + shift) % 12, c.quality)) for c in map(Chord.parse, text.split()) if c)

    here = match((track(LOOP)), sequence(LOOP))
    there = match((track(move(LOOP))), sequence(move(LOOP)))
    assert there.p == pytest.approx(here.p) and there.spans == here.spans


def codes(text: str) -> list[int]:
    return [1 + c.root + 12 * (c.triad == "min") for c in map(Chord.parse, text.split()) if c]


def test_pair_share_finds_the_cycle_in_any_track_without_leaking_over_their_borders() -> None:
    tracks = [
        codes(LOOP) * 2,
        [],
        codes("A:min F:maj"),
        codes("C:maj G:maj"),
        codes("D:maj E:maj"),
        codes("B:min G:maj D:maj A:maj B:min"),
    ]
    bounds = np.cumsum([0, *map(len, tracks)])
    flat = neighbours(np.array([c for t in tracks for c in t], np.uint8), bounds)
    assert pair_share(flat, *parts(sequence(LOOP))[:2]).tolist() == [1, 0, 0.25, 0.25, 0, 0]
    assert pair_share(flat, *parts(sequence(LOOP, transposable=True))[:2])[5] == 1
    assert pair_share(flat, *parts(sequence("D:maj"))[:2]).tolist() == [0, 0, 0, 0, 1, 1]
    assert pair_share(np.zeros((128, 0), np.uint8), *parts(sequence(LOOP))[:2]).tolist() == []


def test_tracks_scored_together_score_as_they_do_alone() -> None:
    tracks = [
        segments(LOOP),
        segments("A:min", repeat=1),
        segments("B:min G:maj D:maj A:maj"),
        segments("N", repeat=2),
    ]
    for asked in (sequence(LOOP), sequence("A:min F:maj"), sequence("D:maj"), sequence(LOOP, transposable=True)):
        together = progression.match(from_rows(*tracks), *parts(asked)).p_N
        alone = [progression.match(from_rows(t), *parts(asked)).p_N[0] for t in tracks]
        assert together.tolist() == pytest.approx(alone)


def test_a_long_sequence_is_found_from_its_start_and_takes_time_by_its_length() -> None:
    rng = np.random.default_rng(0)
    labels = " ".join(str(Chord(int(root), "maj")) for root in rng.integers(1, 12, 100).cumsum() % 12)
    asked = sequence(labels)
    start = time.process_time()
    assert match(track("E:min B:min " + labels, repeat=1), asked).p > 0.9
    progression.match(from_rows(*[segments(LOOP, repeat=20)] * 200), *parts(asked))
    assert time.process_time() - start < 5
