"""Tokens as targets: the error decreases with each codebook, tokens repeat, and the documented training learns."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from solfa.alignment.tokens import RandomProjectionTokens, ResidualTokens
from solfa.core.errors import InputError

RNG = np.random.default_rng(0)
STATES = (
    RNG.standard_normal((900, 3)) @ RNG.standard_normal((3, 12)) + 0.2 * RNG.standard_normal((900, 12)) + 4
).astype(np.float32)


def test_residual_error_falls_with_each_codebook_seen_or_not():
    tokens = ResidualTokens(STATES[:600], codebooks=5, codes=32)
    for states in (STATES[:600], STATES[600:]):
        errors = tokens.errors(states)
        assert errors.shape == (5,) and (np.diff(errors) < 0).all() and errors[-1] < 0.2 * errors[0]
    found = tokens(STATES[:40].reshape(4, 10, 12))
    assert found.shape == (4, 10, 5) and found.min() >= 0 and found.max() < 32
    # By hand: the nearest code of what is left, codebook by codebook.
    rest = STATES[7].astype(np.float64)
    for q, book in enumerate(tokens.codebooks_QKD):
        nearest = int(np.argmin(np.square(book - rest).sum(axis=1)))
        assert found[0, 7, q] == nearest
        rest = rest - book[nearest]
    np.testing.assert_allclose(tokens.decode(found[0, 7]), STATES[7] - rest, atol=1e-5)


def test_more_codes_have_a_smaller_error_and_equal_states_none():
    errors = [ResidualTokens(STATES, codebooks=1, codes=codes).errors(STATES)[0] for codes in (1, 4, 64)]
    assert errors[0] > errors[1] > errors[2]
    same = np.ones((20, 4), np.float32)
    assert ResidualTokens(same, codebooks=2, codes=4).errors(same).max() < 1e-12


def test_random_projection_tokens_repeat_and_are_spread():
    one, again, other = (RandomProjectionTokens(STATES, codes=64, seed=seed) for seed in (0, 0, 1))
    tokens = one(STATES.reshape(30, 30, 12))
    assert tokens.shape == (30, 30) and (tokens == again(STATES).reshape(30, 30)).all()
    assert (tokens != other(STATES).reshape(30, 30)).mean() > 0.5
    assert len(np.unique(tokens)) > 32  # states far from 0 (a mean of 4) would all be one code
    # Neighbours share a token more often than strangers: what a network can learn.
    near = one(STATES + 0.01 * RNG.standard_normal(STATES.shape).astype(np.float32)).reshape(30, 30)
    assert (near == tokens).mean() > 0.9 > 5 * (tokens.ravel() == RNG.permutation(tokens.ravel())).mean()


@pytest.mark.parametrize("bad", [STATES[:3], STATES[0], np.full((50, 4), np.nan, np.float32)])
def test_bad_examples_are_refused(bad):
    with pytest.raises(InputError, match="expected 8 or more states"):
        ResidualTokens(bad, codes=8)


def test_the_documented_training_learns():
    pytest.importorskip("torch").set_num_threads(1)  # the net is tiny
    page = (Path(__file__).parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import numpy.*?)```", page, re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    losses, residual, flat = names["losses"], names["residual"], names["flat"]
    assert np.mean(losses[-5:]) < 2 / 3 * losses[0]
    assert (np.diff(residual.errors(flat)) < 0).all()
