"""Intervals cover, tests have the level they state, and both follow from the seed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from solfa.core.errors import InputError
from solfa.evaluation.significance import compare_paired, interval


def test_interval_agrees_with_scipy_bootstrap() -> None:
    values = np.random.default_rng(0).exponential(size=300)
    ours = interval(values, num_resamples=5000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=5000, method="percentile", rng=1).confidence_interval
    assert ours.value == values.mean()
    assert abs(ours.low - theirs.low) < 0.02 and abs(ours.high - theirs.high) < 0.02


def test_interval_covers_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = [
        i.low <= 0.3 <= i.high for i in (interval(rng.random(120) < 0.3, num_resamples=300, seed=s) for s in range(300))
    ]
    assert 0.9 < np.mean(hits) < 0.99


def test_captions_of_one_track_widen_the_interval() -> None:
    per_track = np.random.default_rng(2).random(40)
    values, groups = np.repeat(per_track, 5), np.repeat(np.arange(40), 5)
    alone, together = interval(values), interval(values, groups=groups)
    assert (together.high - together.low) > 1.8 * (alone.high - alone.low)  # sqrt(5) in the limit
    singles = interval(per_track, groups=np.arange(40), statistic="median")
    assert singles.value == np.median(per_track)


def test_same_seed_same_interval() -> None:
    values = np.random.default_rng(3).random(50)
    assert interval(values, seed=5) == interval(values, seed=5) != interval(values, seed=6)


def test_randomisation_equals_scipy_permutation_test_exactly() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.random(9), rng.random(9)
    expected = stats.permutation_test(
        (b, a), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert compare_paired(a, b).p_randomisation == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("statistic", ["mean", "median"])
@pytest.mark.parametrize("grouped", [False, True])
def test_a_real_difference_is_seen_and_none_is_not(statistic: str, grouped: bool) -> None:
    rng = np.random.default_rng(5)
    a = rng.random(200)
    groups = np.arange(200) // 4 if grouped else None
    same = compare_paired(a, a, statistic=statistic, groups=groups, num_resamples=400)  # type: ignore[arg-type]
    assert same.difference.value == 0 and same.p_randomisation == 1 and not same.real
    better = compare_paired(
        a,
        a + 0.2 + 0.05 * rng.random(200),
        statistic=statistic,  # type: ignore[arg-type]
        groups=groups,
        num_resamples=400,
    )
    assert better.real and better.difference.low > 0.1


def test_false_alarms_stay_near_five_percent() -> None:
    rng = np.random.default_rng(6)
    p = [compare_paired(rng.random(40), rng.random(40), num_resamples=200, seed=s) for s in range(200)]
    assert np.mean([d.p_randomisation < 0.05 for d in p]) < 0.1
    assert np.mean([d.p_bootstrap < 0.05 for d in p]) < 0.1


@pytest.mark.parametrize(("values", "message"), [([], "empty set has no score"), ([1.0, np.nan], "1 values are not")])
def test_no_number_for_nothing(values: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        interval(values)


def test_only_the_same_queries_can_be_paired() -> None:
    with pytest.raises(InputError, match="3 and 2 queries"):
        compare_paired([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(InputError, match="one group per query"):
        interval([1.0, 2.0], groups=[1])


@pytest.mark.parametrize(("num", "p"), [(50, 0.02), (50, 0.98), (20, 0.05), (200, 0.005), (30, 0.5)])
def test_intervals_of_shares_cover_near_zero_and_one(num: int, p: float) -> None:
    rng = np.random.default_rng(7)
    found = [interval(rng.random(num) < p) for _ in range(400)]
    assert np.mean([i.low <= p <= i.high for i in found]) >= 0.93
    assert interval(np.zeros(50)).high == pytest.approx(stats.beta.ppf(0.975, 1, 50))
    assert (interval(np.zeros(50)).low, interval(np.ones(50)).high) == (0, 1)


@pytest.mark.parametrize("p", [0.02, 0.3, 0.97])
def test_intervals_of_grouped_and_fractional_shares_cover(p: float) -> None:
    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(60), 5)
    alike = [interval(np.repeat(rng.random(60) < p, 5), groups=groups) for _ in range(300)]
    assert np.mean([i.low <= p <= i.high for i in alike]) >= 0.92
    wide = interval(np.repeat([0.0, 1.0], 150), groups=groups)
    assert wide.high - wide.low > 1.8 * (interval(np.repeat([0.0, 1.0], 150)).high - wide.value) * 1.0
    some = [interval((rng.random((60, 5)) < p).mean(axis=1), proportion=True) for _ in range(300)]
    assert np.mean([i.low <= p <= i.high for i in some]) >= 0.92


def test_what_is_no_share_keeps_the_bootstrap() -> None:
    assert interval(np.zeros(9), proportion=False).high == 0
    with pytest.raises(InputError, match=r"must be in 0\.\.1"):
        interval([0.5, 2.0], proportion=True)
