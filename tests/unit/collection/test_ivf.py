"""The derived index: what it returns is exact, what it misses is little, and losing it costs time only."""

from __future__ import annotations

from dataclasses import astuple
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy_store import nearest

from solfa.alignment.scores import quantise
from solfa.collection import FlatStore, Placement, Space, TrackVectors, ivf
from solfa.collection.store import SpaceFiles
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
    placements = SpaceFiles(tmp_path, SPACE, 0).append(tracks)
    assert opened(tmp_path, placements).index()
    return tmp_path, tracks, placements


def test_scores_are_exact_and_few_are_missed(large: tuple[Path, list[TrackVectors], list[Placement]]) -> None:
    directory, tracks, placements = large
    store = opened(directory, placements)
    for allowed in (None, np.arange(1, 1001)):
        recalls = []
        for query in clustered(np.random.default_rng(5), 40):
            ids, scores = store.nearest(query, 10, allowed)
            every = dict(zip(*nearest(tracks, query, 1500, None if allowed is None else range(1, 1001)), strict=True))
            recalls.append(len({*ids.tolist()} & {*list(every)[:10]}) / 10)
            # A track may be found by another segment than its best one; it then scores as that segment does.
            assert all(score <= every[i] for i, score in zip(ids.tolist(), scores.tolist(), strict=True))
        assert np.mean(recalls) >= 0.95


def test_a_few_allowed_tracks_are_scanned_exactly(large: tuple[Path, list[TrackVectors], list[Placement]]) -> None:
    directory, tracks, placements = large
    allowed, store = np.array([3, 77, 500, 1200]), opened(directory, placements)
    for query in clustered(np.random.default_rng(5), 5):
        ids, scores = store.nearest(query, 4, allowed)
        assert (ids.tolist(), scores.tolist()) == nearest(tracks, query, 4, allowed.tolist())


def test_what_came_later_is_always_seen(large: tuple[Path, list[TrackVectors], list[Placement]]) -> None:
    directory, _, placements = large
    late, files = make(1, 5000, 30), SpaceFiles(directory, SPACE, 0)
    store = opened(directory, placements + files.append(late))
    for track in late:
        if len(track.segments_SD):
            assert store.nearest(track.segments_SD[0].astype(np.float32) / 127, 1)[0].tolist() == [track.track_id]
    assert not store.index()  # not stale yet
    stale = opened(directory, placements + files.append(make(2, 6000, 600)))
    assert stale.index()


def test_it_can_be_lost_or_damaged(large: tuple[Path, list[TrackVectors], list[Placement]]) -> None:
    directory, tracks, placements = large
    file, data = directory / "cells.0.npz", (directory / "cells.0.npz").read_bytes()
    query = clustered(np.random.default_rng(5), 1)[0]
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    endless, parts = BytesIO(), dict(np.load(file))
    np.savez(endless, **{**parts, "centres": np.full_like(parts["centres"], np.nan)})
    for damage in (b"", b"PK\x03\x04 not really", data[:-100], bytes(flipped), endless.getvalue()):
        file.write_bytes(damage)
        found = opened(directory, placements).nearest(query, 10)  # scans everything
        assert found[0].tolist() == nearest(tracks, query, 10)[0]
    file.unlink()
    assert opened(directory, placements).index() and file.exists()


def test_the_same_vectors_give_the_same_index() -> None:
    rows = quantise(clustered(np.random.default_rng(0), 3000))
    a, b = ivf.build(rows), ivf.build(rows)
    np.testing.assert_array_equal(a.rows, b.rows)
    assert sorted(a.rows.tolist()) == list(range(3000))


def test_small_collections_have_none(tmp_path: Path) -> None:
    store = opened(tmp_path, SpaceFiles(tmp_path, SPACE, 0).append(make(0, 1, 50)))
    assert not store.index() and not (tmp_path / "cells.0.npz").exists()
