import numpy as np

from solfa import constraints
from solfa.constraints import Dynamics, Place, presence
from solfa.constraints.presence import Spans


def fit(energy: np.ndarray, constraint: Dynamics) -> float:
    return float(constraint.fit(energy[None], np.array([float(len(energy))]))[0])


def presence_at(rows: np.ndarray, place: Place, duration_s: float) -> float:
    return float(presence.presence_at(spans(rows), place, np.array([duration_s]))[0])


def alone(rows: np.ndarray, duration_s: float) -> float:
    return float(presence.alone(spans(rows), np.array([duration_s]))[0])


def spans(*tracks: np.ndarray) -> Spans:
    return Spans(np.concatenate(tracks), np.repeat(np.arange(len(tracks)), [len(t) for t in tracks]))


START, END = Place(start=0, end=0.15), Place(start=0.85, end=1)


def curve(*levels: float, seconds_each: int = 20) -> np.ndarray:
    return np.repeat(np.array(levels, np.float32), seconds_each)


def test_quiet_start_and_rising() -> None:
    rising = curve(0.1, 0.4, 0.6, 0.8)
    assert fit(rising, Dynamics(text="", shape="quiet", place=START)) > 0.8
    assert fit(rising, Dynamics(text="", shape="loud", place=START)) < 0.2
    assert fit(rising, Dynamics(text="", shape="rises")) > 0.9
    assert fit(rising, Dynamics(text="", shape="falls")) < 0.1


def test_a_flat_track_is_steady_and_neither_rises_nor_falls() -> None:
    flat = curve(0.5, 0.5)
    assert fit(flat, Dynamics(text="", shape="steady")) > 0.8
    assert fit(flat, Dynamics(text="", shape="varies")) < 0.2
    assert fit(flat, Dynamics(text="", shape="rises")) < 0.3


def test_a_track_too_short_to_have_a_shape_says_nothing() -> None:
    assert np.isnan(fit(np.array([0.5, 0.5], np.float32), Dynamics(text="", shape="rises")))


def test_drums_that_come_in_late() -> None:
    late = np.array([[70, 100, 0.9]], np.float32)
    always = np.array([[0, 100, 0.9]], np.float32)
    enters = Place(start=0.5, end=1.0, event="enters")
    assert presence_at(late, enters, 100) > 0.85
    assert presence_at(always, enters, 100) < 0.2
    assert presence_at(always, END, 100) > 0.85
    assert presence_at(late, START, 100) == 0


def test_places_are_at_least_three_seconds_and_inside_the_track() -> None:
    assert Place(start=0, end=0.01).span_s(30) == (0, 3)
    assert Place(start=0.99, end=1).span_s(30) == (27, 30)
    low, high = Place(start=0.5, end=0.5).span_s(30)
    assert high - low == 3


def test_a_place_after_the_end_is_nowhere() -> None:
    there = Place(start=0, end=1, start_s=300, end_s=310)
    assert there.span_s(25) == (25, 25)
    assert presence_at(np.array([[0, 25, 0.9]], np.float32), there, 25) == 0


def test_many_tracks_at_once_are_as_each_by_itself() -> None:
    rng = np.random.default_rng(0)
    energy, seconds = rng.random((6, 32)).astype(np.float32), np.array([4.0, 10, 32, 100, 300, 4000])
    for place in (None, START, END, Place(start=0, end=1, start_s=20), Place(start=0, end=1, start_s=-20)):
        for shape in ("quiet", "loud", "rises", "falls", "steady", "varies"):
            constraint = Dynamics(text="", shape=shape, place=place)
            alone_p = [constraint.fit(energy[i : i + 1], seconds[i : i + 1])[0] for i in range(6)]
            assert np.array_equal(constraint.fit(energy, seconds), np.array(alone_p), equal_nan=True)


def test_a_solo_is_alone() -> None:
    assert alone(np.zeros((0, 3), np.float32), 60) == 1
    assert alone(np.array([[0, 60, 0.9]], np.float32), 60) < 0.15
    assert 0.4 < alone(np.array([[0, 30, 1.0], [10, 20, 0.5]], np.float32), 60) < 0.6


def test_spans_of_many_tracks_are_each_tracks_own() -> None:
    tracks = [
        np.array([[0, 25, 0.9], [20.2, 90, 0.4]], np.float32),
        np.zeros((0, 3), np.float32),
        np.array([[58, 70, 0.7], [200, 201, 0.9]], np.float32),
        np.array([[3.5, 3.6, 0.8]], np.float32),
    ]
    seconds = np.array([90.0, 30.0, 60.0, 0.0])
    together = presence.alone(spans(*tracks), seconds)
    assert together.tolist() == [np.float32(alone(t, s)) for t, s in zip(tracks, seconds, strict=True)]
    assert together[1] == together[3] == 1
    for event in ("in", "enters", "leaves", "only"):
        place = Place(start=0, end=0.3, event=event)
        at = presence.presence_at(spans(*tracks), place, seconds)
        assert at.tolist() == [np.float32(presence_at(t, place, s)) for t, s in zip(tracks, seconds, strict=True)]


def test_every_name_that_the_room_offers_is_there() -> None:
    assert all(hasattr(constraints, name) for name in constraints.__all__)
