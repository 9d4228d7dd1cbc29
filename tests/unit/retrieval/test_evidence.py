"""A verdict never contradicts the value that is shown beside it, whatever was measured and asked."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from solfa.collection import TrackTimeline
from solfa.collection.records import CHORD, SPAN, key_number
from solfa.constraints import (
    FASTEST_BPM,
    SLOWEST_BPM,
    Chords,
    Constraint,
    Duration,
    Dynamics,
    InKey,
    Measured,
    Metre,
    Presence,
    Tempo,
)
from solfa.core.theory import Chord
from solfa.core.types import FileTags
from solfa.query import parse
from solfa.retrieval.evidence import describe, of_names
from solfa.retrieval.types import Evidence


def track(
    *,
    bpm: list[tuple[float, float]] = [],  # noqa: B006
    key: list[tuple[str, float]] = [],  # noqa: B006
    metre: list[tuple[tuple[int, int], float]] = [],  # noqa: B006
    concepts: dict[str, float] | None = None,
    energy: list[float] | None = None,
    duration_s: float = 200.0,
    chords: list[str] | None = None,
) -> Measured:
    """A track of which this was measured: values with their confidences, best first."""

    def column(values: list[Any], empty: Any) -> np.ndarray:
        return np.array([[*values, *[empty] * (4 - len(values))][:4]])

    columns: dict[str, np.ndarray] = {"duration_s": np.array([duration_s], np.float32)}
    for name, choices, empty, code in (
        ("tempo", bpm, np.nan, float), ("key", key, -1, key_number), ("metre", metre, (0, 0), tuple)
    ):  # fmt: skip
        columns["tempo_bpm" if name == "tempo" else name] = column([code(v) for v, _ in choices], empty)  # type: ignore[operator]
        columns[f"{name}_confidence"] = column([c for _, c in choices], 0.0)
    there = concepts or {}
    spans = [(i, 10.0, 20.0, c) for i, c in enumerate(there.values())]
    played = [(2.0 * i, 2.0 * i + 2, 1000 + i, 0.9) for i in range(len(chords or []))]
    names = {**dict(enumerate(there)), **dict(enumerate(chords or [], start=1000))}
    timeline = TrackTimeline(
        chords=np.array(played, CHORD), spans=np.array(spans, SPAN), energy=np.array(energy or [], np.float32),
        energy_hop_s=duration_s / max(1, len(energy or [])), names=names,
    )  # fmt: skip
    table = SimpleNamespace(
        column=columns.__getitem__, confidence=lambda name: np.array([there.get(name, np.nan)], np.float32)
    )
    return Measured(table=table, row=0, timeline=timeline)  # type: ignore[arg-type]


def read(text: str) -> Constraint:
    [found] = parse(text).constraints
    return found


BPM = st.floats(30, 300).map(lambda v: round(v, 2))


@given(BPM, BPM, BPM, st.floats(0, 1), BPM, st.floats(0, 0.5), st.booleans(), st.booleans())
def test_tempo_verdicts_follow_the_number(
    low: float, high: float, bpm: float, sure: float, other: float, less: float, negated: bool, exact: bool
) -> None:
    low, high = min(low, high), max(low, high)
    asked = Tempo(text="", low_bpm=low, high_bpm=high, negated=negated, exact=exact)
    told = describe(asked, track(bpm=[(bpm, sure), (other, less)]))
    shown = float(told.measured.split()[0])
    assert shown == pytest.approx(bpm, abs=0.051)
    near = 2**0.025 if low == high else 1.0  # of a single number: within 2 %
    inside = low / near <= shown <= high * near
    assert told.satisfied in (None, inside != negated)
    if not inside and told.satisfied is None and sure >= 0.5:
        assert re.search("just outside|double|half|, or ", told.measured), told
    if sure < 0.5:
        assert told.satisfied is None and re.search("unsure|just outside|double|half|, or ", told.measured), told
    if inside and low == high and abs(shown - low) > 0.06:
        assert "within 2 %" in told.measured


@pytest.mark.parametrize(
    ("text", "bpm", "verdict"),
    [
        ("at least 150 bpm", 129.0, False),
        ("at least 150 bpm", 187.0, True),
        ("under 120 bpm", 150.0, False),  # nearly all music is, in half time
        ("over 120 bpm", 70.0, False),
        ("120-140 bpm", 65.0, None),  # in double time
        ("124-128 bpm", 130.0, None),  # just outside
        ("124-128 bpm", 134.0, False),
        ("110 bpm", 111.0, True),
        ("110 bpm", 119.0, False),
        ("fast", 64.0, None),  # twice as fast in double time
        ("fast", 100.0, False),
        ("slower than 90 bpm but faster than 70", 80.0, True),
        ("slower than 90 bpm but faster than 70", 100.0, False),
    ],
)
def test_tempo_as_people_ask(text: str, bpm: float, verdict: bool | None) -> None:
    told = describe(read(text), track(bpm=[(bpm, 0.9)]))
    assert told.satisfied is verdict, told


def test_a_fitting_alternative_is_named_and_leaves_it_open() -> None:
    told = describe(InKey(text="", tonic=9, mode="minor"), track(key=[("C major", 0.6), ("A minor", 0.3)]))
    assert told.satisfied is None and told.measured == "C major, or A minor (0.30)"
    told = describe(InKey(text="", tonic=9, mode="minor"), track(key=[("C major", 0.9), ("A minor", 0.05)]))
    assert told.satisfied is False and told.measured == "C major"


ROOTS = ("C", "D", "E", "F", "G", "A")
CHORDS = st.lists(
    st.sampled_from([f"{root}:{kind}" for root in ROOTS for kind in ("maj", "min")]), min_size=4, max_size=4
)


@given(CHORDS, CHORDS, st.booleans())
def test_chord_verdicts_follow_the_chords(asked: list[str], played: list[str], any_key: bool) -> None:
    """A tick is for the chords asked, in the key asked unless any will do; what is only near is said to be."""
    assume(all(a != b for own in (asked, played) for a, b in zip(own, [*own[1:], own[0]], strict=True)))
    wanted = tuple(chord for chord in map(Chord.parse, asked) if chord is not None)
    for there in (played, asked, [asked[0], "Bb:maj", *asked[2:]]):
        told = describe(Chords(text="", chords=wanted, transposable=any_key), track(chords=there * 10))
        if told.satisfied is False:
            assert told.measured == "none found" and there != asked
            continue
        shift = int(found[0]) if (found := re.findall(r"([+-]\d+) semitones", told.measured)) else 0
        names = told.measured.removeprefix("nearly: ").split(",")[0].split("-")
        shown = [(chord.root, chord.triad) for chord in map(Chord.parse, names) if chord is not None]
        moved = [((chord.root + shift) % 12, chord.triad) for chord in wanted]
        same = shown in [moved[at:] + moved[:at] for at in range(4)]
        assert told.measured.startswith("nearly") is not same
        assert not told.satisfied or (same and (any_key or not shift))
    assert describe(Chords(text="", chords=wanted), track(chords=asked * 10)).satisfied


def test_a_neighbour_of_the_key_is_said_to_be_one() -> None:
    told = describe(InKey(text="", tonic=9, mode="minor", compatible=True), track(key=[("C major", 0.9)]))
    assert told.satisfied and told.measured == "C major, a neighbour of A minor"


@given(st.sampled_from(["4/4", "3/4", "2/4", "6/8", "12/8", "5/4", "7/8"]), st.floats(0.5, 1), st.booleans())
def test_metre_verdicts_follow_the_metre(metre: str, sure: float, negated: bool) -> None:
    beats, _, unit = metre.partition("/")
    told = describe(
        Metre(text="", metres=("3/4",), negated=negated), track(metre=[((int(beats), int(unit)), round(sure, 4))])
    )
    assert told.measured.startswith(metre) and told.satisfied in (None, (metre == "3/4") != negated)
    assert (told.satisfied is None) == (metre == "6/8")


@given(st.floats(1, 2000), st.floats(0, 1000), st.floats(0, 1000))
def test_length_verdicts_follow_the_seconds(seconds: float, low: float, more: float) -> None:
    told = describe(Duration(text="", low_s=low, high_s=low + more), track(duration_s=round(seconds, 3)))
    minutes, rest = map(int, told.measured.split(":"))
    shown = 60 * minutes + rest
    assert told.satisfied == (round(low) <= shown <= round(low + more))


@given(st.lists(st.floats(0, 1), min_size=8, max_size=60), st.sampled_from(["rises", "falls", "quiet", "loud"]))
def test_dynamics_verdicts_follow_the_energies(energy: list[float], shape: str) -> None:
    told = describe(Dynamics(text="", shape=shape), track(energy=energy))  # type: ignore[arg-type]
    numbers = [float(n) for n in re.findall(r"\d\.\d\d", told.measured)]
    assume(told.satisfied is not None)
    if shape in ("rises", "falls"):
        gain = (numbers[1] - numbers[0]) * (1 if shape == "rises" else -1)
        assert told.satisfied == (gain > 0.1)
    else:
        assert told.satisfied == ((numbers[0] > 0.5) == (shape == "loud"))


@pytest.mark.parametrize(
    ("confidence", "negated", "verdict"),
    [(0.9, False, True), (0.9, True, False), (0.42, False, None), (0.42, True, None), (0.1, True, True)],
)
def test_presence_verdicts_follow_the_words(confidence: float, negated: bool, verdict: bool | None) -> None:
    told = describe(
        Presence(text="", concept="piano", kind="instrument", negated=negated), track(concepts={"piano": confidence})
    )
    assert told.satisfied is verdict
    assert (
        told.measured
        == {True: "present", None: "may be present", False: "none found"}[
            None if verdict is None else verdict != negated
        ]
    )


def test_a_narrower_thing_met_by_its_family_is_open() -> None:
    asked = Presence(text="", concept="rhodes", kind="instrument")

    def told(confidence: float) -> Evidence:
        return describe(asked, track(concepts={"electric_piano": confidence}))

    assert told(0.9).satisfied is None and "its kind cannot be determined" in told(0.9).measured
    assert told(0.1).satisfied is False and told(0.1).measured.startswith("no ")


def test_an_open_range_has_no_other_end() -> None:
    assert describe(Tempo(text="", low_bpm=SLOWEST_BPM, high_bpm=90), track(bpm=[(60.0, 0.9)])).satisfied
    assert describe(Tempo(text="", low_bpm=90, high_bpm=FASTEST_BPM), track(bpm=[(260.0, 0.9)])).satisfied


def test_words_of_a_name_are_found_where_underscores_join_them() -> None:
    row: Any = SimpleNamespace(tags=FileTags(title="The Gnu"), paths=("/music/gnu_flute.ogg",))
    found = of_names("flute gnu strings", row, 0.7)
    assert (found.asked, found.measured) == ("flute gnu", "in title, path")
