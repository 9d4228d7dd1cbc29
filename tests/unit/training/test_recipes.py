"""Variants of a recipe that are given as text."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tiny_recipes import torch  # noqa: F401  (skips where it is missing)

from solfa.alignment.joint import JointProjector
from solfa.alignment.objectives import FigmaConfig
from solfa.core.errors import InputError, UnknownName
from solfa.training.recipes import RECIPES, changed, settings_of
from solfa.training.run import text_name

WIDTHS = (8, 8)


def test_values_are_of_the_type_that_the_recipe_has():
    recipe = RECIPES["figma"](*WIDTHS, small=True)
    given = {"objective.alpha": "0", "objective.num_negatives": "4", "objective.direction": "tokens",
             "patience": "none", "batch_size": "8", "schedule": "constant"}  # fmt: skip
    made = changed(recipe, given)
    assert made.objective == FigmaConfig(alpha=0.0, num_negatives=4, direction="tokens")
    assert (made.patience, made.batch_size, made.schedule) == (None, 8, "constant")
    finelap = changed(RECIPES["finelap"](*WIDTHS, small=True), {"objective.safe_temperature": "false"})
    assert finelap.objective.safe_temperature is False
    united = changed(RECIPES["united"](*WIDTHS, small=True), {"objective.figma.tau": "0.1"})
    assert united.objective.figma == FigmaConfig(tau=0.1) and recipe.objective == FigmaConfig()


def test_projectors_are_values_too_and_a_recipe_is_made_again_from_its_record():
    given = {"model.audio.whole.width": "16", "model.audio.whole.num_heads": "2", "model.text.whole.dropout": "0"}
    made = changed(RECIPES["figma"](*WIDTHS, small=True), {**given, "objective.num_negatives": "9", "patience": "none"})
    assert (made.model.audio.whole.width, made.model.text.whole.dropout) == (16, 0.0)
    for name, recipe in RECIPES.items():
        other = replace(recipe(*WIDTHS, small=True), seed=5, learning_rate=3e-4, grad_clip=None, select="last")
        for one in (made, other) if name == "figma" else (other,):
            assert changed(recipe(*WIDTHS, small=True), settings_of(json.loads(json.dumps(one.to_json())))) == one


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("alpha", "1", "objective.\\*, epochs"),
        ("objective", "1", "not a value"),
        ("objective.alpha.x", "1", "not a value"),
        ("model.audio", "1", "not a value"),
        ("model.audio.whole.in_dim", "1", "not a value"),
        ("model.audio.whole.width", "x", "expected int"),
        ("objective.alpha", "much", "expected float"),
        ("patience", "1.5", "expected int or none"),
        ("schedule", "zigzag", "expected constant or cosine"),
        ("epochs", "0", "out of range"),
        ("", "", "not a value"),
    ],
)
def test_what_the_recipe_has_not_is_refused(name, text, told):
    with pytest.raises(InputError, match=told):
        changed(RECIPES["figma"](*WIDTHS, small=True), {name: text})


def test_published_sizes_cut_texts_off_as_their_authors_do(tmp_path):
    assert text_name("e5", small=False) == "e5?cut=true" and text_name("e5", small=True) == "e5"
    assert text_name("roberta:/a?max_tokens=40", small=False) == "roberta:/a?max_tokens=40&cut=true"
    assert text_name("e5?cut=false", small=False) == "e5?cut=false"
    assert text_name("minilm", small=False) == "minilm"  # cannot cut
    with pytest.raises(UnknownName):
        text_name("nobody", small=False)
    described = {"schema": "solfa.model/1", "name": "a", "space": "a", "dim": 4, "sha256": {}, "licence": ""}
    for named, expected in (("e5?cut=true", "e5?cut=true"), ("e5", "e5")):  # a model that is gone on with
        bodies = {kind: {"backbone": named, "space": "s"} for kind in ("audio", "text")}
        (tmp_path / "model.json").write_text(json.dumps(described | bodies))
        assert {text_name("e5", small=small, init=tmp_path) for small in (True, False)} == {expected}


def test_the_tutorial_has_its_parameters():
    recipe = RECIPES["tutorial"](1024, 768)
    model = JointProjector(recipe.model)
    counts = [sum(p.numel() for p in tower.parameters()) for tower in (model.audio, model.text)]
    assert counts == [147_456, 114_688] and sum(counts) == 262_144 and model.dim == 128
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate, recipe.objective.tau) == (10, 128, 1e-2, 0.07)


def test_values_of_spec_augment_are_of_the_recipe():
    made = changed(RECIPES["finelap"](*WIDTHS), {"time_masks": "2", "mel_masks": "2"})
    assert (made.time_masks, made.time_mask_frames, made.mel_masks, made.mel_mask_bands) == (2, 64, 2, 8)
    assert made.to_json()["time_masks"] == 2 and "time_masks" not in RECIPES["finelap"](*WIDTHS).to_json()
    with pytest.raises(InputError, match="mel_masks -1"):
        changed(made, {"mel_masks": "-1"})
