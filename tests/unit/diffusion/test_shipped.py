"""The denoiser that ships: offline, in the default model's space, and steered by its texts."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from solfa.api import DEFAULT_MODEL
from solfa.diffusion.guidance import guided
from solfa.diffusion.inversion import edit
from solfa.diffusion.network import load
from solfa.diffusion.samplers import sample
from solfa.encoders.bridge_space import axes
from solfa.encoders.registry import load_backbone, load_model
from solfa.weights import weight


@cache
def states(text: str) -> np.ndarray:
    found = load_backbone(load().spec.text, "text").states([text])
    return found.states_BTD[0][found.mask_BT[0]]


def tag(latents_STD: np.ndarray, name: str) -> float:
    """How much of the tags of a name is in the mean vector."""
    at = [i for i, (_, label) in enumerate(axes()) if label.lower() == name]
    mean = latents_STD.mean(axis=(0, 1))
    return float(mean[at].mean() / np.linalg.norm(mean))


def test_it_is_of_the_default_space_and_small():
    spec = load().spec
    assert (spec.space, spec.dim) == (load_model(DEFAULT_MODEL).space, 512)
    assert load_backbone(spec.text, "text").spec.space == spec.text_space
    assert weight("gdr").size_bytes < 20e6 and weight("gdr").shipped


@pytest.mark.parametrize("name", ["piano", "guitar", "choir", "flute", "sitar"])
def test_a_text_generates_what_it_says_and_a_negative_takes_it_away(name):
    plain, asked = sample(load(), states("music"), samples=5), sample(load(), states(name), samples=5)
    assert tag(asked, name) > tag(plain, name) + 0.02
    text = states(f"orchestra and {name}")
    denied = sample(load(), text, negative=states(name), samples=5)
    assert tag(denied, name) < tag(sample(load(), text, samples=5), name) - 0.02


def test_guidance_of_the_network_is_the_formula():
    z = np.random.default_rng(0).standard_normal((2, load().spec.length, 512)).astype(np.float32)
    f_pos, f_neg = (guided(load(), states(text), scale=1)(z, 400) for text in ("piano", "drums"))
    found = guided(load(), states("piano"), states("drums"), 3.0)(z, 400)
    np.testing.assert_allclose(found, f_neg + 3 * (f_pos - f_neg), atol=1e-3)
    ordinary = guided(load(), states("piano"), load().spec.null_LE, 3.0)(z, 400)
    np.testing.assert_allclose(ordinary, guided(load(), states("piano"), None, 3.0)(z, 400), atol=1e-5)


def test_inversion_leads_back_and_an_edit_adds_what_it_says():
    start, same = sample(load(), states("calm piano"), samples=3, scale=1), states("calm piano")
    np.testing.assert_array_equal(edit(load(), start, same, states("drums"), strength=0), start)
    errors = [
        float(np.linalg.norm(edit(load(), start, same, same, scale=1, steps=n, strength=0.5) - start))
        for n in (10, 40, 160)
    ]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.2 * float(np.linalg.norm(start))
    edited = [edit(load(), start, same, states("choir"), strength=s) for s in (0.0, 0.3, 0.6, 1.0)]
    moved, choir = [float(np.linalg.norm(each - start)) for each in edited], [tag(each, "choir") for each in edited]
    assert moved == sorted(moved) and choir == sorted(choir) and choir[-1] > choir[0] + 0.02
