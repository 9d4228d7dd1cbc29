import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solfa.constraints import Duration, InKey, Metre, Tempo
from solfa.constraints.base import expected
from solfa.core.theory import Key
from solfa.retrieval import fusion


def tempo(low: float, high: float, exact: bool = True) -> Tempo:
    return Tempo(text="", low_bpm=low, high_bpm=high, exact=exact)


def test_tempo_fit_is_one_inside_and_decreases_on_a_log_scale() -> None:
    constraint = tempo(108, 112)
    fits = constraint.fit(np.array([108.0, 110.0, 112.0, 115.0, 130.0, 55.0]))
    assert fits[:3].tolist() == [1, 1, 1]
    assert 1 > fits[3] > fits[4]
    assert fits[4] < 0.01 and fits[5] < 0.01


def test_a_missing_tempo_gives_no_evidence_and_a_wrong_one_counts_against() -> None:
    constraint = tempo(108, 112)
    base = constraint.base
    values = np.array([[110.0, np.nan], [np.nan, np.nan], [150.0, 75.0]])
    confidences = np.array([[0.9, 0.0], [0.0, 0.0], [0.8, 0.15]])
    evidence = fusion.log_ratio(expected(constraint.fit(values), confidences, base), base)
    assert evidence[0] > 1 and evidence[1] == pytest.approx(0, abs=1e-6) and evidence[2] < -0.5


@pytest.mark.parametrize(
    ("key", "constraint", "fit"),
    [
        ("F major", InKey(text="", tonic=5, mode="major"), 1),
        ("D minor", InKey(text="", tonic=5, mode="major"), 0),
        ("D minor", InKey(text="", tonic=5, mode="major", compatible=True), 1),
        ("C major", InKey(text="", tonic=5, mode="major", compatible=True), 1),
        ("G major", InKey(text="", tonic=5, mode="major", compatible=True), 0),
        ("F minor", InKey(text="", tonic=5), 1),
        ("A minor", InKey(text="", mode="minor"), 1),
        ("A major", InKey(text="", mode="minor"), 0),
    ],
)
def test_key_fit(key: str, constraint: InKey, fit: float) -> None:
    assert constraint.fits(Key.parse(key)) == fit


def test_base_rates_are_shares() -> None:
    assert InKey(text="", tonic=5, mode="major").base == pytest.approx(1 / 24)
    assert InKey(text="", mode="minor").base == pytest.approx(1 / 2)
    assert Metre(text="", metres=("3/4",)).base == pytest.approx(0.12)


def test_metre_fit_knows_relatives() -> None:
    assert Metre(text="", metres=("3/4",)).fit("3/4") == 1
    assert Metre(text="", metres=("3/4",)).fit("6/8") == 0.5
    assert Metre(text="", metres=("3/4",)).fit("4/4") == 0


def test_duration_fit() -> None:
    fits = Duration(text="", low_s=0, high_s=180).fit(np.array([100.0, 179.0, 181.0, 400.0]))
    assert fits[0] == fits[1] == 1 and fits[2] > 0.9 and fits[3] < 0.01


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4), st.floats(0.01, 0.99))
def test_expected_is_a_probability_and_no_confidence_gives_the_base(fits: list[float], base: float) -> None:
    row = np.array([fits])
    assert expected(row, np.zeros_like(row), base)[0] == pytest.approx(base, abs=1e-6)
    p = expected(row, np.full_like(row, 0.5), base)[0]
    assert -1e-6 <= p <= 1 + 1e-6


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.02, 0.98))
def test_evidence_grows_with_probability_and_is_clipped(a: float, b: float, base: float) -> None:
    low, high = fusion.log_ratio(np.sort(np.array([a, b])), base)
    assert -3 <= low <= high <= 3


def test_unit_scores_are_ordered_and_within_bounds() -> None:
    unit = fusion.to_unit(np.array([-50.0, -5.0, 0.5, 2.0, 6.0, 50.0]), -5.0, 6.0)
    assert (np.diff(unit)[1:-1] > 0).all() and (np.diff(unit) >= 0).all()
    assert unit[0] == unit[1] < 0.1 and unit[-1] == unit[-2] > 0.7
