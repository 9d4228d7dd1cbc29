"""Ranks and retrieval metrics against a brute-force argsort, trec_eval's own output, and their invariants."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solfa.alignment.scores import Texts, laid_out, track_scores, window_scores
from solfa.core.errors import InputError, UnknownName
from solfa.core.types import Features, FloatArray, View, ViewName
from solfa.evaluation import retrieval as R
from solfa.evaluation.ranking import Ranks, Relevance, Scores, rank_lists, rank_relevant
from solfa.evaluation.similarity import Pool, cosine_scores, joint_scores, mixed_scores, scores_by_frame, unit_rows

GOLDEN = Path(__file__).parents[2] / "golden" / "trec.json"


def random_relevance(rng: np.random.Generator, q: int, n: int, most: int = 4, graded: bool = False) -> Relevance:
    lists = [rng.choice(n, size=rng.integers(1, min(most, n) + 1), replace=False).tolist() for _ in range(q)]
    gains = [rng.integers(1, 4, size=len(r)).astype(float).tolist() for r in lists] if graded else None
    return Relevance.of(lists, n, gains)


def brute_ranks(matrix: np.ndarray, relevance: Relevance) -> list[list[int]]:
    """Full pessimistic sort of every row: score down, irrelevant first, small gain first."""
    out = []
    for q, row in enumerate(matrix):
        own = slice(relevance.offsets[q], relevance.offsets[q + 1])
        gain = np.zeros(len(row))
        gain[relevance.items[own]] = relevance.gains[own]
        order = np.lexsort((gain, -row))
        out.append([i + 1 for i, item in enumerate(order) if gain[item] > 0])
    return out


def as_lists(ranks: Ranks) -> list[list[int]]:
    return [ranks.ranks[a:b].tolist() for a, b in zip(ranks.offsets[:-1], ranks.offsets[1:], strict=True)]


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 15), st.integers(2, 5))
def test_ranks_equal_a_full_sort_with_ties(seed: int, q: int, n: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.integers(0, levels, size=(q, n)).astype(float)
    relevance = random_relevance(rng, q, n, graded=True)
    ranks = rank_relevant(Scores.of(matrix), relevance)
    assert as_lists(ranks) == brute_ranks(matrix, relevance)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 30))
def test_cosine_ranks_do_not_depend_on_blocks_or_order(seed: int, block_q: int, block_n: int) -> None:
    rng = np.random.default_rng(seed)
    queries, items = rng.standard_normal((9, 16)), rng.standard_normal((30, 16))
    items[10:20] = items[:10]  # equal vectors must tie wherever they lie
    relevance = random_relevance(rng, 9, 30)
    expected = as_lists(rank_relevant(cosine_scores(queries, items), relevance))

    blocked = replace(cosine_scores(queries, items), block_shape=(block_q, block_n))
    assert as_lists(rank_relevant(blocked, relevance)) == expected
    moved = rng.permutation(30)
    where = np.argsort(moved)
    permuted = Relevance.of(
        [
            where[relevance.items[a:b]].tolist()
            for a, b in zip(relevance.offsets[:-1], relevance.offsets[1:], strict=True)
        ],
        30,
    )
    assert as_lists(rank_relevant(cosine_scores(queries, items[moved]), permuted)) == expected


def test_cosine_ranks_equal_a_float64_sort() -> None:
    rng = np.random.default_rng(3)
    queries, items = unit_rows(rng.standard_normal((40, 64))), unit_rows(rng.standard_normal((3000, 64)))
    relevance = random_relevance(rng, 40, 3000)
    exact = queries.astype(np.float64) @ items.astype(np.float64).T
    assert as_lists(rank_relevant(cosine_scores(queries, items), relevance)) == brute_ranks(exact, relevance)


def test_torch_blocks_give_the_same_ranks() -> None:
    pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    queries, items = rng.standard_normal((50, 32)), rng.standard_normal((5000, 32))
    relevance = random_relevance(rng, 50, 5000)
    on_host = rank_relevant(cosine_scores(queries, items), relevance)
    on_device = rank_relevant(cosine_scores(queries, items, device="cpu"), relevance)
    assert np.array_equal(on_host.ranks, on_device.ranks)


def test_metrics_equal_trec_eval() -> None:
    """Golden output of trec_eval on random runs with graded relevance; made by tests/golden/make_golden.py."""
    golden = json.loads(GOLDEN.read_text())
    for case in golden:
        relevance = Relevance.of(case["relevant"], case["num_items"], case["gains"])
        ranks = rank_relevant(Scores.of(np.array(case["scores"])), relevance)
        for ours, theirs in (
            ("recall@5", "recall_5"),
            ("recall@10", "recall_10"),
            ("P@5", "P_5"),
            ("P@10", "P_10"),
            ("AP_trec@10", "map_cut_10"),
            ("nDCG@5", "ndcg_cut_5"),
            ("nDCG@10", "ndcg_cut_10"),
            ("R@5", "success_5"),
            ("MRR", "recip_rank"),
        ):
            np.testing.assert_allclose(R.per_query(ranks, ours)[0], case["trec"][theirs], atol=1e-12, err_msg=ours)
        for ours, theirs in (("AP_trec@10", "map@10"), ("nDCG@10", "ndcg@10"), ("R@10", "hit_rate@10"), ("MRR", "mrr")):
            np.testing.assert_allclose(R.per_query(ranks, ours)[0], case["ranx"][theirs], atol=1e-12, err_msg=ours)


def test_hand_example() -> None:
    # Query 0: relevant at 1 and 4 of 5; query 1: relevant at 3.
    ranks = Ranks(np.array([0, 2, 3]), np.array([1, 4, 3]), np.ones(3), 5)
    got = {m: R.per_query(ranks, m)[0].tolist() for m in ("R@1", "recall@1", "P@2", "mAP@4", "mAP@1", "MRR", "MRR@2")}
    assert got == {
        "R@1": [1, 0],
        "recall@1": [0.5, 0],
        "P@2": [0.5, 0],
        "mAP@4": [0.75, 1 / 3],
        "mAP@1": [1, 0],
        "MRR": [1, 1 / 3],
        "MRR@2": [1, 0],
    }
    summary = R.evaluate(ranks, ("MedR", "MeanR", "MedR%"))
    assert [summary[m].value for m in ("MedR", "MeanR", "MedR%")] == [2.0, 2.0, 40.0]
    assert R.medr_percent_largest_seen(ranks) == 50.0  # zero-based 0 and 2, over 2


def test_perfect_ranking_scores_one_and_chance_is_half() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((200, 8))
    perfect = rank_relevant(cosine_scores(vectors, vectors), Relevance.of_targets(range(200), 200))
    result = R.evaluate(perfect, ("R@1", "mAP@10", "nDCG@10", "MRR", "MedR"), num_resamples=50)
    assert all((i.value, i.high) == (1.0, 1.0) and 0 < i.low <= 1 for i in result.values())
    random = rank_relevant(Scores.of(rng.random((2000, 400))), Relevance.of_targets(rng.integers(400, size=2000), 400))
    assert abs(R.evaluate(random, ("MedR%",), num_resamples=50)["MedR%"].value - 50) < 3
    blind = rank_relevant(Scores.of(np.zeros((5, 9))), Relevance.of_targets([0] * 5, 9))
    assert blind.ranks.tolist() == [9] * 5  # equal scores never help


def test_several_captions_per_track_in_both_directions() -> None:
    rng = np.random.default_rng(8)
    caption_track = np.repeat(np.arange(30), 5)
    texts, audio = rng.standard_normal((150, 12)), rng.standard_normal((30, 12))
    relevance = Relevance.of_targets(caption_track, 30)
    backward = rank_relevant(cosine_scores(texts, audio).transposed(), relevance.transposed())
    exact = unit_rows(texts).astype(float) @ unit_rows(audio).astype(float).T
    best_of_five = [min(1 + (exact[:, a] > exact[c, a]).sum() for c in range(5 * a, 5 * a + 5)) for a in range(30)]
    assert backward.first.tolist() == best_of_five


def _features(rng: np.random.Generator, n: int, steps: int, dim: int = 6) -> Features:
    mask = np.arange(steps) < rng.integers(1, steps + 1, size=n)[:, None]
    frames = rng.standard_normal((n, steps, dim)).astype(np.float32)
    frames[~mask] = 1e3  # padding must not matter, whatever it holds
    return Features(rng.standard_normal((n, dim)).astype(np.float32), frames, mask)


def test_frame_scores_equal_plain_loops_and_ignore_padding() -> None:
    rng = np.random.default_rng(6)
    audio, text = _features(rng, 7, 9), _features(rng, 5, 4)
    scores = joint_scores(audio, text, "frame")
    plain = np.empty((5, 7))
    for x in range(5):
        for a in range(7):
            best = []
            for frame in audio.frames_BTD[a][audio.mask_BT[a]].astype(float):
                tokens = text.frames_BTD[x][text.mask_BT[x]].astype(float)
                best.append(max(frame @ t / np.linalg.norm(frame) / np.linalg.norm(t) for t in tokens))
            plain[x, a] = np.mean(best)
    np.testing.assert_allclose(scores.block(slice(0, 5), slice(0, 7)), plain, atol=1e-6)
    x, a = np.divmod(np.arange(35), 7)
    np.testing.assert_allclose(scores.pairs(x, a).reshape(5, 7), plain, atol=1e-6)
    wide = Features(
        audio.global_BD, np.pad(audio.frames_BTD, ((0, 0), (0, 3), (0, 0))), np.pad(audio.mask_BT, ((0, 0), (0, 3)))
    )
    assert np.array_equal(scores.pairs(x, a), joint_scores(wide, text, "frame").pairs(x, a))


def test_mix_is_the_weighted_sum_of_views() -> None:
    rng = np.random.default_rng(7)
    audio, text = _features(rng, 6, 5), _features(rng, 6, 4)
    x = a = np.arange(6)
    parts = [joint_scores(audio, text, view).pairs(x, a) for view in ("global", "frame", "mix")]
    np.testing.assert_allclose(0.6 * parts[0] + 0.4 * parts[1], parts[2], atol=1e-15)
    relevance = Relevance.of_targets(range(6), 6)
    views = [rank_relevant(joint_scores(audio, text, "mix", alpha=w), relevance).ranks for w in (1.0, 0.0)]
    only = [rank_relevant(joint_scores(audio, text, v), relevance).ranks for v in ("global", "frame")]
    assert np.array_equal(views, only)


def test_items_that_were_not_returned_are_never_found() -> None:
    relevance = Relevance.of([[3], [0, 2]], 5)
    ranks = rank_lists([[3, 1], [2]], relevance)
    assert as_lists(ranks) == [[1], [1, 0]]
    assert R.per_query(ranks, "recall@100")[0].tolist() == [1.0, 0.5]
    nothing = rank_lists([[], []], relevance)
    assert R.reciprocal_rank(nothing).tolist() == [0, 0] and R.first_rank(nothing).tolist() == [5, 5]
    whole = np.random.default_rng(1).permutation(5)
    matrix = np.empty((1, 5))
    matrix[0, whole] = -np.arange(5)
    one = Relevance.of([[1, 4]], 5)
    assert as_lists(rank_lists([whole], one)) == as_lists(rank_relevant(Scores.of(matrix), one))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Relevance.of([], 3), "pool is empty"),
        (lambda: Relevance.of([[0]], 0), "pool is empty"),
        (lambda: Relevance.of([[3]], 3), "outside the pool of 3"),
        (lambda: Relevance.of([[-1]], 3), "outside the pool"),
        (lambda: Relevance.of([[1, 1]], 3), "named twice"),
        (lambda: Relevance.of([[1]], 3, [[0.0]]), "positive"),
        (lambda: Relevance.of([[1]], 3, [[1.0, 2.0]]), "one number for every"),
        (lambda: rank_relevant(Scores.of(np.zeros((2, 3))), Relevance.of([[0]], 3)), "pool does not match"),
        (lambda: rank_relevant(Scores.of(np.zeros((2, 3))), Relevance.of([[0], []], 3)), "1 of 2 queries"),
        (lambda: rank_relevant(Scores.of(np.full((1, 2), np.nan)), Relevance.of([[0]], 2)), "not finite"),
        (lambda: cosine_scores(np.zeros((1, 4)), np.ones((2, 4))), "dead vector"),
        (lambda: cosine_scores(np.ones((1, 4)), np.ones((2, 5))), "different spaces"),
        (lambda: cosine_scores(np.ones((0, 4)), np.ones((2, 4))), "queries: expected vectors"),
        (lambda: rank_lists([[0], [1]], Relevance.of([[0]], 2)), "2 result lists for 1"),
        (lambda: rank_lists([[0, 0]], Relevance.of([[0]], 2)), "names an item twice"),
        (lambda: R.per_query(Ranks(np.array([0, 1]), np.array([1]), np.ones(1), 2), "R@0"), "at least 1"),
        (lambda: R.medr_percent_largest_seen(Ranks(np.array([0, 1]), np.array([1]), np.ones(1), 2)), "0 / 0"),
        (lambda: mixed_scores(Scores.of(np.ones((1, 2))), Scores.of(np.ones((2, 2)))), "two pools"),
        (lambda: scores_by_frame([np.ones((0, 3))], [np.ones((2, 3), np.float32)]), "no real entry"),
    ],
)
def test_bad_input_is_refused_with_its_condition(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]


def test_answerable_drops_knowingly_and_unknown_metrics_are_named() -> None:
    relevance, kept = Relevance.of([[0], [], [1]], 2).answerable()
    assert kept.tolist() == [0, 2] and relevance.items.tolist() == [0, 1]
    with pytest.raises(UnknownName, match="R@K"):
        R.per_query(Ranks(np.array([0, 1]), np.array([1]), np.ones(1), 2), "Recall@5")
    assert relevance.fingerprint() != relevance.transposed().fingerprint() or relevance.num_items == 2
    assert Relevance.of([[0]], 2).fingerprint() != Relevance.of([[1]], 2).fingerprint()


@given(st.integers(0, 2**32 - 1))
def test_tracks_of_several_windows_score_as_search_scores_them(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def unit(*shape: int) -> FloatArray:
        rows = rng.standard_normal(shape)
        return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)

    sounds = []
    for num_windows in rng.integers(1, 4, size=5):
        counts = rng.integers(1, 4, size=num_windows)
        sounds.append(laid_out(unit(num_windows, 8), unit(int(counts.sum()), 8), counts, 10.0, 2.0))
    tokens, mask = unit(3, 4, 8), np.ones((3, 4), np.bool_)
    texts = Features(unit(3, 8), tokens, mask)
    queries, items = (grid.ravel() for grid in np.mgrid[:3, :5])
    names: tuple[ViewName, ...] = ("global", "frame", "mix")
    for name in names:
        view = View(name=name, direction="tokens" if seed % 2 else "frames")
        scores = joint_scores(Pool(sounds), texts, view)
        expected = [
            track_scores(window_scores(view, sound, Texts.of(texts)), np.array([0, len(sound.ranges_W2)]))[0]
            for sound in sounds
        ]
        assert scores.shape == (3, 5)
        np.testing.assert_allclose(scores.pairs(queries, items).reshape(3, 5), np.array(expected).T, atol=1e-6)
        block = scores.block(slice(1, 3), slice(2, 5))
        np.testing.assert_allclose(block, np.array(expected).T[1:3, 2:5], atol=scores.tolerance)
        part = joint_scores(Pool(sounds).only(np.array([3, 1])), texts, view)
        np.testing.assert_allclose(part.pairs(np.zeros(2, int), np.arange(2)), np.array(expected)[[3, 1], 0], atol=1e-6)
