"""Variants of a recipe that are given as text."""

from __future__ import annotations

import pytest
from tiny_recipes import torch  # noqa: F401  (skips where it is missing)

from solfa.core.errors import InputError
from solfa.models.objectives import FigmaConfig
from solfa.training.batches import Widths
from solfa.training.recipes import RECIPES, changed

WIDTHS = Widths(audio_whole=8, audio_rows=8, text_whole=8, text_rows=8)


def test_values_are_of_the_type_that_the_recipe_has():
    recipe = RECIPES["figma"](WIDTHS, small=True)
    given = {"objective.alpha": "0", "objective.num_negatives": "4", "objective.direction": "tokens",
             "patience": "none", "batch_size": "8", "schedule": "constant"}  # fmt: skip
    made = changed(recipe, given)
    assert made.objective == FigmaConfig(alpha=0.0, num_negatives=4, direction="tokens")
    assert (made.patience, made.batch_size, made.schedule) == (None, 8, "constant")
    finelap = changed(RECIPES["finelap"](WIDTHS, small=True), {"objective.safe_temperature": "false"})
    assert finelap.objective.safe_temperature is False
    united = changed(RECIPES["united"](WIDTHS, small=True), {"objective.figma.tau": "0.1"})
    assert united.objective.figma == FigmaConfig(tau=0.1) and recipe.objective == FigmaConfig()


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("alpha", "1", "objective.\\*, epochs"),
        ("objective", "1", "no value"),
        ("objective.alpha.x", "1", "no value"),
        ("model.audio", "1", "no value"),
        ("objective.alpha", "much", "expected float"),
        ("patience", "1.5", "expected int or none"),
        ("schedule", "zigzag", "expected constant or cosine"),
        ("epochs", "0", "out of range"),
        ("", "", "no value"),
    ],
)
def test_what_the_recipe_has_not_is_refused(name, text, told):
    with pytest.raises(InputError, match=told):
        changed(RECIPES["figma"](WIDTHS, small=True), {name: text})
