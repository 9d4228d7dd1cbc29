"""One definition of each view: numpy against plain loops, and against the loss's own frame score."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solfa.alignment.scores import Texts, laid_out, track_scores, window_scores
from solfa.core.errors import InputError
from solfa.core.types import Direction, FloatArray, View


def unit(rng: np.random.Generator, *shape: int) -> FloatArray:
    rows = rng.standard_normal(shape)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def plain_frame_score(frames: FloatArray, tokens: FloatArray, direction: str) -> float:
    cosines = [[float(f @ t) for t in tokens] for f in frames]
    if direction == "tokens":
        cosines = [list(column) for column in zip(*cosines, strict=True)]
    return float(np.mean([max(row) for row in cosines]))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["frames", "tokens"]))
def test_views_are_what_plain_loops_compute(seed: int, direction: Direction) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 6, size=3)
    windows = laid_out(unit(rng, 3, 8), unit(rng, int(counts.sum()), 8), counts, 10.0, 2.0)
    texts = Texts(unit(rng, 2, 8), (unit(rng, 4, 8), unit(rng, 1, 8)))
    for x, tokens in enumerate(texts.tokens):
        for w, (first, last) in enumerate(windows.ranges_W2.tolist()):
            by_global = float(np.asarray(windows.pooled_WD)[w] @ texts.pooled_XD[x])
            by_frame = plain_frame_score(np.asarray(windows.frames_TD)[first:last], tokens, direction)
            expected = {"global": by_global, "frame": by_frame, "mix": 0.3 * by_global + 0.7 * by_frame}
            for name, value in expected.items():
                view = View(name=name, alpha=0.3, direction=direction)  # type: ignore[arg-type]
                assert window_scores(view, windows, texts)[w, x] == pytest.approx(value, abs=1e-6)


def test_the_loss_scores_pairs_as_search_does() -> None:
    torch = pytest.importorskip("torch")
    from solfa.alignment.pairwise import frame_scores

    rng = np.random.default_rng(0)
    frames, tokens = unit(rng, 4, 5, 8), unit(rng, 3, 6, 8)
    real = torch.ones(4, 5, dtype=torch.bool), torch.ones(3, 6, dtype=torch.bool)
    directions: tuple[Direction, ...] = ("frames", "tokens")
    for direction in directions:
        trained = frame_scores(torch.tensor(frames), real[0], torch.tensor(tokens), real[1], direction=direction)
        windows = laid_out(frames[:, 0], frames.reshape(-1, 8), [5] * 4, 10.0, 2.0)
        searched = window_scores(View(name="frame", direction=direction), windows, Texts(tokens[:, 0], tuple(tokens)))
        np.testing.assert_allclose(trained.numpy(), searched, atol=1e-6)


def test_frames_lie_in_their_windows_in_time() -> None:
    windows = laid_out(np.zeros((2, 4)), np.zeros((7, 4)), [4, 3], 10.0, 2.5)
    assert windows.start_s_T.tolist() == [0, 2.5, 5, 7.5, 10, 12.5, 15]
    assert windows.ranges_W2.tolist() == [[0, 4], [4, 7]]


def test_a_track_of_one_window_has_its_score() -> None:
    scores = np.array([[0.123456789]])
    assert track_scores(scores, np.array([0, 1]))[0, 0] == scores[0, 0]


def test_what_has_no_frames_scores_lowest() -> None:
    windows = laid_out(np.zeros((1, 4), np.float32), np.zeros((0, 4), np.float32), [0], 10.0, 1.0)
    texts = Texts(np.zeros((1, 4), np.float32), (np.ones((2, 4), np.float32) / 2,))
    assert window_scores(View(name="frame"), windows, texts).tolist() == [[-1.0]]


@pytest.mark.parametrize("values", [{"name": "whole"}, {"alpha": 1.5}, {"direction": "up"}])
def test_unknown_views_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(InputError):
        View(**values)  # type: ignore[arg-type]
