"""The probability that a text fits a sound, fitted to the scores of a validation split."""

from dataclasses import replace

import numpy as np
import pytest
from small import body, make_data

torch = pytest.importorskip("torch")

from solfa.encoders import trained  # noqa: E402
from solfa.training.run import run  # noqa: E402
from solfa.training.validation import fit_match  # noqa: E402


def scores(mean: float, count: int = 500, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 0.05, count)


def test_pairs_without_overlap_get_probabilities_near_one_and_zero():
    matched, mismatched = scores(0.6), scores(0.0, seed=1)
    logit = fit_match(matched, mismatched)
    assert logit.probability(matched).min() > 0.9 and logit.probability(mismatched).max() < 0.1
    assert np.isfinite([logit.temperature, logit.bias]).all() and logit.temperature > 0


def test_probabilities_are_calibrated_where_pairs_overlap():
    # Of two normal distributions of one width, the log odds are (a - b) (x - (a + b) / 2) / variance.
    logit = fit_match(scores(0.35, 20_000), scores(0.3, 20_000, seed=1))
    assert logit.temperature == pytest.approx(0.05**2 / 0.05, rel=0.05)
    assert -logit.bias * logit.temperature == pytest.approx(0.325, abs=0.002)


def test_noise_gives_even_odds_or_none_and_inverted_scores_none():
    noise = fit_match(scores(0.3), scores(0.3, seed=1))
    assert noise is None or np.abs(noise.probability(scores(0.3, seed=2)) - 0.5).max() < 0.2
    assert fit_match(scores(0.0), scores(0.6, seed=1)) is None
    assert fit_match(np.ones(9), np.ones(9)) is None


@pytest.mark.parametrize("splits", [{"train": 2, "val": 1}, {"train": 2}])
def test_a_run_saves_it_where_there_is_a_validation_split(splits, tmp_path, monkeypatch):
    monkeypatch.setattr(trained, "load_backbone", body)
    make_data(tmp_path / "data", splits=splits)

    def short(recipe):
        return replace(recipe, epochs=4, batch_size=16, warmup_steps=0)

    folder, _ = run("tutorial", tmp_path / "data", tmp_path / "run", audio="hear", text="read", change=short)
    card = (folder / "README.md").read_text()
    match = trained.load(source=folder).logits.get("match")
    if "val" in splits:
        assert match is not None and match.temperature > 0 and "a text fits: fitted to the validation" in card
    else:
        assert match is None and "a text fits: not known from the validation" in card
