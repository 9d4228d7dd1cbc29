from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from solfa.core.clip import Clip, Phrase, joined_phrases
from solfa.core.errors import InputError

FULL = Clip(
    id="a-1",
    audio=Path("a-1.flac"),
    duration_s=10.0,
    captions=("Rock in A minor.", "A song."),
    phrases=(Phrase(text="guitar solo", spans_s=((1.0, 2.5), (4.0, 10.0))),),
    attributes={"tempo_bpm": 110.0, "chords": ["A:min", "F:maj"]},
    split="train",
)


@pytest.mark.parametrize("bad", [{"id": "rock/a b"}, {"split": "dev"}, {"duration_s": 0.0}, {"start_s": -1.0}])
def test_what_a_reader_gives_may_be_looser_than_what_is_written(bad: dict[str, object]) -> None:
    with pytest.raises(InputError):
        replace(FULL, **bad).to_json()  # type: ignore[arg-type]


def test_json_round_trip_gives_an_equal_record() -> None:
    assert Clip.from_json(json.loads(json.dumps(FULL.to_json()))) == FULL


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../x"}, {"split": "dev"}, {"duration_s": 0.0}, {"duration_s": float("nan")}, {"duration_s": 10**400},
        {"start_s": -1.0}, {"start_s": float("inf")}, {"start_s": "0"}, {"captions": "one text"}, {"captions": [1]},
        {"attributes": None}, {"attributes": ["key"]}, {"track": 5}, {"licence": {}}, {"phrases": "p"},
        {"attributes": {"labels": 5}}, {"attributes": {"labels": [5]}}, {"annotation": {}}, {"audio": None},
    ],
)  # fmt: skip
def test_rules_are_held(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Clip.from_json({**FULL.to_json(), **change})


@pytest.mark.parametrize("spans", [[[2, 1]], [[0, 3], [2, 4]], [[0, 11]], [["x", 1]], [[1]], [[0, 10**400]]])
def test_spans_must_be_sorted_and_inside(spans: list[object]) -> None:
    with pytest.raises(InputError):
        Clip.from_json({**FULL.to_json(), "phrases": [{"text": "p", "spans_s": spans}]})


@pytest.mark.parametrize(
    "data", [None, [], {}, {"schema": "solfa.record/2"}, {"schema": "solfa.record/1"}, {**FULL.to_json(), "extra": 1}]
)
def test_other_shapes_are_refused(data: object) -> None:
    with pytest.raises(InputError):
        Clip.from_json(data)


@pytest.mark.parametrize("times_s", [(-1.0, 1.0), (math.nan, 1.0), (0.0, math.inf)])
def test_times_of_phrases_are_times(times_s: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="finite times from 0 s on"):
        joined_phrases([("dog", *times_s)])
