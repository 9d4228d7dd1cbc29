"""The derived index: what it returns is exact, what it misses is little, and losing it costs time only."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from numpy_store import NumpyStore

from solfa.alignment.scores import quantise
from solfa.collection import Placement, Space, TrackVectors, ivf
from solfa.collection.flat import FlatStore
from solfa.core.types import FloatArray

SPACE = Space(name="s", dim=32, hop_s=1.0)


def clustered(rng: np.random.Generator, count: int) -> FloatArray:
    centres = np.random.default_rng(9).standard_normal((40, 32))
    values = centres[rng.integers(0, 40, count)] + 0.5 * rng.standard_normal((count, 32))
    unit: FloatArray = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    return unit


def make(seed: int, first: int, count: int) -> list[TrackVectors]:
    rng = np.random.default_rng(seed)
    none = np.zeros((0, 32), np.int8)
    return [
        TrackVectors(track_id=first + i, segments_SD=quantise(clustered(rng, int(rng.integers(0, 9)))), frames_TD=none)
        for i in range(count)
    ]


def opened(directory: Path, placements: list[Placement]) -> FlatStore:
    return FlatStore(directory, SPACE, 0, np.array([astuple(p)[:5] for p in placements], np.int64).reshape(-1, 5))


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[TrackVectors], list[Placement]]:
    monkeypatch.setattr(ivf, "WORTH_IT", 1000)
    monkeypatch.setattr(ivf, "VISITED", 20)
    tracks = make(0, 1, 1500)
    placements = opened(tmp_path, []).append(tracks)
    assert opened(tmp_path, placements).index()
    return tmp_path, tracks, placements


def test_scores_are_exact_and_few_are_missed(large: tuple[Path, list[TrackVectors], list[Placement]]) -> None:
    directory, tracks, placements = large
    store, oracle = opened(directory, placements), NumpyStore(SPACE, tracks)
    queries = clustered(np.random.default_rng(5), 40)
    for allowed in (None, np.arange(1, 1001)):
        found, truth = store.nearest(queries, 10, allowed), oracle.nearest(queries, 10, allowed)
        recall = np.mean(
            [len(set(a) & set(b)) / 10 for a, b in zip(found.track_ids_QK, truth.track_ids_QK, strict=True)]
        )
        assert recall >= 0.95
        everything = oracle.nearest(queries, 1500, allowed)
        for q in range(len(queries)):
            exact = dict(zip(everything.track_ids_QK[q].tolist(), everything.scores_QK[q].tolist(), strict=True))
            # A track may be found by another segment than its best one; it then scores as that segment does.
            for track_id, score in zip(found.track_ids_QK[q].tolist(), found.scores_QK[q].tolist(), strict=True):
                assert score <= exact[track_id] and (allowed is None or track_id <= 1000)
        same = found.track_ids_QK == truth.track_ids_QK
        np.testing.assert_array_equal(found.segments_QK[same], truth.segments_QK[same])


def test_a_few_allowed_tracks_are_scanned_exactly(large: tuple[Path, list[TrackVectors], list[Placement]]) -> None:
    directory, tracks, placements = large
    allowed = np.array([3, 77, 500, 1200])
    queries = clustered(np.random.default_rng(5), 5)
    found = opened(directory, placements).nearest(queries, 4, allowed)
    truth = NumpyStore(SPACE, tracks).nearest(queries, 4, allowed)
    np.testing.assert_array_equal(found.track_ids_QK, truth.track_ids_QK)
    np.testing.assert_array_equal(found.scores_QK, truth.scores_QK)


def test_what_came_later_is_always_seen(large: tuple[Path, list[TrackVectors], list[Placement]]) -> None:
    directory, _, placements = large
    late = make(1, 5000, 30)
    store = opened(directory, placements + opened(directory, placements).append(late))
    for track in late:
        if len(track.segments_SD):
            query = track.segments_SD[:1].astype(np.float32) / 127
            assert store.nearest(query, 1).track_ids_QK[0, 0] == track.track_id
    assert not store.index()  # not stale yet
    more = make(2, 6000, 600)
    stale = opened(directory, placements + opened(directory, placements).append(more))
    assert stale.index()


def test_it_can_be_lost_or_damaged(large: tuple[Path, list[TrackVectors], list[Placement]]) -> None:
    directory, tracks, placements = large
    file = directory / "cells.0.npz"
    queries = clustered(np.random.default_rng(5), 5)
    truth = NumpyStore(SPACE, tracks).nearest(queries, 10)
    for damage in (b"", b"PK\x03\x04 not really", file.read_bytes()[:-100]):
        file.write_bytes(damage)
        found = opened(directory, placements).nearest(queries, 10)  # scans everything
        np.testing.assert_array_equal(found.track_ids_QK, truth.track_ids_QK)
    file.unlink()
    assert opened(directory, placements).index() and file.exists()


def test_the_same_vectors_give_the_same_index() -> None:
    rows = quantise(clustered(np.random.default_rng(0), 3000))
    a, b = ivf.build(rows), ivf.build(rows)
    np.testing.assert_array_equal(a.rows, b.rows)
    assert sorted(a.rows.tolist()) == list(range(3000))


def test_small_collections_have_none(tmp_path: Path) -> None:
    store = opened(tmp_path, opened(tmp_path, []).append(make(0, 1, 50)))
    assert not store.index() and not (tmp_path / "cells.0.npz").exists()
