"""Fidelity and diversity against the reference packages and their fixed points."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from solfa.core.errors import InputError
from solfa.evaluation import generative as G

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "generative.json").read_text())
REAL, FAKE = np.array(GOLDEN["real"]), np.array(GOLDEN["fake"])
RNG = np.random.default_rng(0)


def test_equal_to_the_reference_packages() -> None:
    np.testing.assert_allclose(G.frechet_distance(FAKE, REAL), GOLDEN["fd"], atol=1e-9)
    result = G.prdc(FAKE, REAL)
    for name, value in GOLDEN["prdc"].items():
        np.testing.assert_allclose(result[name], value, atol=1e-12)
    np.testing.assert_allclose(G.vendi_score(FAKE), GOLDEN["vendi"], atol=1e-5)  # unit norm in float32


def test_fixed_points() -> None:
    assert G.frechet_distance(REAL, REAL) == pytest.approx(0, abs=1e-9)
    same = G.prdc(REAL, REAL)
    assert (same["precision"], same["recall"], same["coverage"]) == (1, 1, 1)
    far = G.prdc(REAL + 100, REAL)
    assert set(far.values()) == {0}
    gap = G.modality_gap(REAL, REAL)
    assert gap["centroid distance"] == 0 and gap["generated spread"] == gap["real spread"] > 0
    assert G.modality_gap(-np.ones((3, 2)), np.ones((3, 2)))["centroid distance"] == pytest.approx(2)


def test_frechet_distance_grows_with_the_square_of_a_shift() -> None:
    near, far = (G.frechet_distance(REAL + s, REAL) for s in (1.0, 2.0))
    assert near == pytest.approx(5, abs=1e-9) and far == pytest.approx(20, abs=1e-9)  # 5 dimensions


def test_vendi_counts_what_differs_either_way_round() -> None:
    assert G.vendi_score(np.eye(6)[[0, 0, 1, 1, 2, 2]]) == pytest.approx(3)
    wide = RNG.standard_normal((10, 40))
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(unit @ unit.T / 10)
    assert G.vendi_score(wide) == pytest.approx(np.exp(-(values * np.log(values)).sum()), abs=1e-5)


def test_diversity_within_prompts() -> None:
    same = np.repeat(RNG.standard_normal((4, 1, 8)), 5, axis=1)
    assert G.intra_prompt_cosine(same) == pytest.approx(1, abs=1e-6)
    assert G.intra_prompt_vendi(same) == pytest.approx(1, abs=1e-5)
    orthogonal = np.tile(np.eye(5), (3, 1, 1))
    assert G.intra_prompt_cosine(orthogonal) == pytest.approx(0, abs=1e-12)
    assert G.intra_prompt_vendi(orthogonal) == pytest.approx(5)
    some = RNG.standard_normal((3, 4, 6))
    unit = some / np.linalg.norm(some, axis=2, keepdims=True)
    pairs = [unit[p, i] @ unit[p, j] for p in range(3) for i in range(4) for j in range(i)]
    assert G.intra_prompt_cosine(some) == pytest.approx(np.mean(pairs), abs=1e-6)


def test_motion_tells_still_from_moving_and_takes_any_length() -> None:
    still = [np.ones((t, 4)) for t in (3, 10, 64)]
    features = G.motion_features(still)
    assert features.shape == (3, 64) and (features[:, 0] == 1).all() and (features[:, 32] == 1).all()
    jumping = [np.tile([[1.0, 0.0], [-1.0, 0.0]], (8, 1)) for _ in range(3)]
    assert (G.motion_features(jumping)[:, 31] == 1).all() and (G.motion_features(jumping)[:, 63] == 1).all()
    assert G.motion_frechet_distance(jumping, still) == pytest.approx(4)  # four bins moved by 1
    assert G.motion_frechet_distance(still, still) == 0


def test_samples_are_averaged_before_time_and_put_to_unit_norm() -> None:
    latents = RNG.standard_normal((2, 3, 4, 5))
    query = G.query_of_samples(latents)
    mean = latents.mean(axis=1).mean(axis=1)
    np.testing.assert_allclose(query, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: G.frechet_distance(REAL[:1], REAL), "generated: need at least 2"),
        (lambda: G.frechet_distance(REAL[:, :3], REAL), "3 dimensions, real ones 5"),
        (lambda: G.prdc(REAL[:5], REAL), "need at least 6"),
        (lambda: G.vendi_score(np.zeros((2, 3))), "dead vector"),
        (lambda: G.intra_prompt_cosine(np.ones((3, 1, 4))), "two samples per prompt"),
        (lambda: G.motion_features([np.ones((2, 4))]), "T >= 3"),
        (lambda: G.motion_features([]), "no sequences"),
        (lambda: G.query_of_samples(np.ones((2, 3))), r"\(P, S, T, D\)"),
    ],
)
def test_bad_input_is_refused_with_its_condition(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]
