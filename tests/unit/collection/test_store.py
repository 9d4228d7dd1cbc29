"""The store agrees with the plainest search to the last bit, and survives its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_store import nearest

from solfa.alignment.scores import INT8_SCALE, quantise
from solfa.collection import FlatStore, Placement, Space, TrackVectors
from solfa.collection.store import SpaceFiles
from solfa.core.errors import CollectionError, InputError
from solfa.core.types import FloatArray
from solfa.encoders.windows import pool, segment_ranges

Found = tuple[list[int], list[float]]


def unit(rng: np.random.Generator, rows: int, dim: int) -> FloatArray:
    values = rng.standard_normal((rows, dim)).astype(np.float32)
    result: FloatArray = values / np.linalg.norm(values, axis=1, keepdims=True)
    return result


def tracks(seed: int, segments: Sequence[int], dim: int, coarse: bool = False) -> list[TrackVectors]:
    """Tracks with so many segments each; coarse vectors make ties."""
    rng = np.random.default_rng(seed)

    def rows(count: int) -> np.ndarray:
        return rng.integers(-1, 2, (count, dim)).astype(np.int8) if coarse else quantise(unit(rng, count, dim))

    return [
        TrackVectors(track_id=int(i), segments_SD=rows(n), frames_TD=rows(3 * n))
        for i, n in zip(rng.permutation(len(segments)) * 3 + 1, segments, strict=True)
    ]


def reopened(directory: Path, space: Space, placements: Sequence[Placement], generation: int = 0) -> FlatStore:
    rows = np.array([astuple(p)[:5] for p in placements], np.int64).reshape(-1, 5)
    return FlatStore(directory, space, generation, rows)


def found(store: FlatStore, query_D: FloatArray, k: int, allowed: Sequence[int] | None = None) -> Found:
    ids, scores = store.nearest(query_D, k, None if allowed is None else np.array(allowed, np.int64))
    assert scores.dtype == np.float32
    return ids.tolist(), scores.tolist()


def written(directory: Path, space: Space, items: Sequence[TrackVectors], generation: int = 0) -> list[Placement]:
    return SpaceFiles(directory, space, generation).append(items)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 1000),
    segments=st.lists(st.integers(0, 4), max_size=25),
    dim=st.sampled_from([1, 7, 32, 512]),
    k=st.integers(1, 30),
    coarse=st.booleans(),
    kept=st.none() | st.lists(st.integers(0, 80), max_size=30),
    rows_a_thread=st.sampled_from([9, 500_000]),
)
def test_the_flat_store_is_the_oracle(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    segments: list[int],
    dim: int,
    k: int,
    coarse: bool,
    kept: list[int] | None,
    rows_a_thread: int,
) -> None:
    directory = tmp_path_factory.mktemp("store")
    space, items = Space(name="s", dim=dim, hop_s=1.0), tracks(seed, segments, dim, coarse)
    half = len(items) // 2
    placements = written(directory, space, items[:half]) + written(directory, space, items[half:])
    flat = reopened(directory, space, placements)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("solfa.collection.flat._ROWS_A_THREAD", rows_a_thread)
        for query in unit(np.random.default_rng(seed + 1), 3, dim):
            assert found(flat, query, k, kept) == nearest(items, query, k, kept)
    for ours, track in zip(flat.windows([t.track_id for t in items]), items, strict=True):
        for name in ("pooled_WD", "frames_TD", "ranges_W2", "start_s_T"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(track.windows(space), name))
    assert flat.track_ids.tolist() == sorted(t.track_id for t in items)


def test_scores_are_cosines_within_the_quantisation(tmp_path: Path) -> None:
    rng, space = np.random.default_rng(0), Space(name="s", dim=512, hop_s=1.0)
    vectors, query = unit(rng, 300, 512), unit(rng, 1, 512)[0]
    items = [
        TrackVectors(track_id=i, segments_SD=quantise(v[None]), frames_TD=quantise(v[None]))
        for i, v in enumerate(vectors)
    ]
    ids, scores = found(reopened(tmp_path, space, written(tmp_path, space, items)), query, 300)
    np.testing.assert_allclose(scores, (vectors @ query)[ids], atol=0.02)
    assert INT8_SCALE == 127.0


def test_a_query_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    store = reopened(tmp_path, Space(name="s", dim=8, hop_s=1.0), [])
    for query in (np.zeros(7), np.zeros((1, 8)), np.full(8, np.nan)):
        with pytest.raises(InputError, match="does not fit 's'"):
            store.nearest(query.astype(np.float32), 3)


def test_what_was_not_committed_does_not_exist(tmp_path: Path) -> None:
    space, items = Space(name="s", dim=32, hop_s=1.0), tracks(0, [2, 3, 1, 2], 32)
    first = written(tmp_path, space, items[:2])
    reader = reopened(tmp_path, space, first)
    query = unit(np.random.default_rng(1), 1, 32)[0]
    before = found(reader, query, 4)
    written(tmp_path, space, items[2:])  # a crash comes before the commit
    assert found(reopened(tmp_path, space, first), query, 4) == before
    with (tmp_path / "frames.0.i8").open("ab") as file:
        file.write(b"half a row")
    SpaceFiles(tmp_path, space, 0).cut((5, 15))
    assert (tmp_path / "segments.0.i8").stat().st_size == 5 * 32
    placements = first + written(tmp_path, space, items[2:])
    assert found(reopened(tmp_path, space, placements), query, 4) == nearest(items, query, 4)
    assert found(reader, query, 4) == before  # a reader from before sees what it saw


def test_compaction_drops_what_nobody_owns(tmp_path: Path) -> None:
    space, items = Space(name="s", dim=32, hop_s=1.0), tracks(0, [2, 3, 1, 2], 32)
    placements = written(tmp_path, space, items)
    store = reopened(tmp_path, space, placements[1:3])
    old = store.windows([items[1].track_id])[0].frames_TD
    generation, moved = store.compact()
    fresh = reopened(tmp_path, space, moved, generation)
    SpaceFiles(tmp_path, space, generation).drop_others()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["frames.1.i8", "segments.1.i8"]
    assert (tmp_path / "segments.1.i8").stat().st_size == 4 * 32
    np.testing.assert_array_equal(fresh.windows([items[1].track_id])[0].frames_TD, old)
    query = unit(np.random.default_rng(1), 1, 32)[0]
    assert found(fresh, query, 3) == nearest(items[1:3], query, 3)


def test_damage_is_found(tmp_path: Path) -> None:
    space, items = Space(name="s", dim=32, hop_s=1.0), tracks(0, [2, 3], 32)
    placements, files = written(tmp_path, space, items), SpaceFiles(tmp_path, space, 0)
    assert files.intact(placements) == placements
    data = bytearray((tmp_path / "frames.0.i8").read_bytes())
    data[-1] ^= 1
    (tmp_path / "frames.0.i8").write_bytes(data)
    assert files.intact(placements) == placements[:1]
    (tmp_path / "frames.0.i8").write_bytes(data[:-32])
    with pytest.raises(CollectionError, match=r"448 bytes, 480 were committed"):
        reopened(tmp_path, space, placements)
    with pytest.raises(CollectionError, match="track 77 has no vectors"):
        reopened(tmp_path / "new", space, []).windows([77])


@given(st.integers(0, 500), st.sampled_from([0.2, 0.5, 1.0, 4.096, 45.0]))
def test_segments_cover_the_track_and_none_is_a_leftover(num_frames: int, hop_s: float) -> None:
    ranges = segment_ranges(num_frames, hop_s)
    covered = {i for start, end in ranges for i in range(start, end)}
    assert covered == set(range(num_frames))
    lengths = {end - start for start, end in ranges}
    assert len(lengths) <= 1 and ranges == sorted(set(ranges))


def test_pooling_is_the_unit_mean() -> None:
    frames = unit(np.random.default_rng(0), 75, 16)
    pooled = pool(frames, segment_ranges(75, 1.0))
    assert pooled.shape == (3, 16)
    np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), 1, rtol=1e-6)
    mean = frames[45:75].mean(axis=0)
    np.testing.assert_allclose(pooled[2], mean / np.linalg.norm(mean), rtol=1e-5)
    assert pool(frames[:0], []).shape == (0, 16)
