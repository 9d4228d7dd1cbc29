import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from solfa.alignment.scores import (
    EMPTY_SCORE,
    best_window,
    frame_scores,
    quantise,
    similarity,
    smooth,
)

grids = st.tuples(st.integers(1, 12), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.floats(-1, 1, width=32))
)


def frame_score(grid: np.ndarray, frames: np.ndarray, tokens: np.ndarray) -> float:
    """Of one window and one text, without what is masked."""
    real = grid[frames][:, tokens]
    return float(frame_scores(real, np.array([[0, real.shape[0]]]), np.array([real.shape[1]]))[0, 0])


def loops(grid: np.ndarray, frames: np.ndarray, tokens: np.ndarray) -> float:
    rows = [max(grid[t, k] for k in np.flatnonzero(tokens)) for t in np.flatnonzero(frames)]
    return float(np.mean(np.array(rows, np.float64)))


@given(grids, st.randoms(use_true_random=False))
def test_frame_score_equals_loops_and_ignores_padding(grid: np.ndarray, random) -> None:
    frames = np.array([random.random() < 0.7 for _ in range(grid.shape[0])])
    tokens = np.array([random.random() < 0.7 for _ in range(grid.shape[1])])
    if not frames.any() or not tokens.any():
        assert frame_score(grid, frames, tokens) == EMPTY_SCORE
        return
    score = frame_score(grid, frames, tokens)
    assert score == pytest.approx(loops(grid, frames, tokens), abs=1e-6)
    padded = np.pad(grid, ((0, 3), (0, 2)), constant_values=1.0)
    assert frame_score(padded, np.pad(frames, (0, 3)), np.pad(tokens, (0, 2))) == score


@given(grids)
def test_removing_a_token_never_raises_the_score(grid: np.ndarray) -> None:
    every = np.ones(grid.shape[0], bool), np.ones(grid.shape[1], bool)
    fewer = every[1].copy()
    fewer[0] = False
    assert frame_score(grid, every[0], fewer) <= frame_score(grid, *every)


@given(st.lists(st.integers(0, 7), min_size=1, max_size=5), st.integers(1, 5))
def test_items_scored_together_score_as_they_do_alone(lengths: list[int], width: int) -> None:
    rng = np.random.default_rng(sum(lengths))
    grids = [rng.standard_normal((n, 3)).astype(np.float32) for n in lengths]
    bounds = np.cumsum([0, *lengths])
    together = smooth(np.concatenate(grids), width, bounds)
    assert np.allclose(together, np.concatenate([smooth(g, width) for g in grids]), atol=1e-5)
    ranges = np.stack([bounds[:-1], bounds[1:]], axis=1)
    for direction in ("frames", "tokens"):
        scores = frame_scores(np.concatenate(grids), ranges, np.array([2, 0, 1]), direction)
        for row, grid in zip(scores, grids, strict=True):
            alone = [frame_scores(part, np.array([[0, len(grid)]]), np.array([part.shape[1]]), direction)[0, 0]
                     for part in (grid[:, :2], grid[:, :0], grid[:, 2:])]  # fmt: skip
            assert row.tolist() == alone


def test_int8_products_are_exact_and_close_to_float() -> None:
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((50, 512)).astype(np.float32)
    frames /= np.linalg.norm(frames, axis=1, keepdims=True)
    tokens = frames[:5]
    exact = similarity(frames, tokens)
    assert np.abs(similarity(quantise(frames), tokens) - exact).max() < 0.015
    many = np.tile(frames, (400, 1))  # more than one product's worth
    for some in (tokens, tokens[:1], tokens[:0]):
        np.testing.assert_allclose(similarity(many, some), many @ some.T, atol=1e-6)
    whole = quantise(frames).astype(np.int64)
    assert (whole.astype(np.float32) @ whole.astype(np.float32).T == whole @ whole.T).all()


@given(grids, st.integers(1, 20))
def test_smoothing_keeps_shape_bounds_and_constants(grid: np.ndarray, width: int) -> None:
    smoothed = smooth(grid, width)
    assert smoothed.shape == grid.shape
    assert smoothed.min() >= grid.min() - 1e-5 and smoothed.max() <= grid.max() + 1e-5
    assert np.allclose(smooth(np.full_like(grid, 0.25), width), 0.25)


def test_best_window_is_the_earliest_of_equals() -> None:
    score = np.array([0, 1, 1, 0, 1, 1], np.float32)
    assert best_window(score, 2) == (1, 3)
    assert best_window(score, 10) == (0, 6)
