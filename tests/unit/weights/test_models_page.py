"""Every name that can be loaded is on the page that says what it may be used for."""

from pathlib import Path

import pytest

from solfa.analysis.registry import extractor_specs
from solfa.encoders.registry import available, available_backbones
from solfa.weights import models

PAGE = (Path(__file__).parents[3] / "docs" / "models.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("|")]


def row(name: str) -> str:
    return next((line for line in ROWS if f"`{name}`" in line.split("|")[1]), "")


@pytest.mark.parametrize("info", [*available(), *models()], ids=lambda i: i.name)
def test_a_model_is_documented_with_its_licence(info):
    line = row(info.name)
    assert line, f"docs/models.md has no row for {info.name}"
    assert info.commercial_use or "NC" in line or "not commercial" in line


@pytest.mark.parametrize("info", available_backbones(), ids=lambda i: f"{i.kind} {i.name}")
def test_a_backbone_is_documented_with_its_source_and_licence(info):
    section = PAGE.partition("## Backbones to train on")[2].partition("\n## ")[0]
    half = section.partition("\n| text |")[2 if info.kind.startswith("text") else 0]
    rows = [line for line in half.splitlines() if line.startswith("|")]
    line = next((line for line in rows if f"`{info.name}`" in line.split("|")[1]), "")
    assert line, f"docs/models.md has no row for the {info.kind} {info.name}"
    assert info.commercial_use or "NC" in line


@pytest.mark.parametrize("spec", extractor_specs(), ids=lambda s: s.name)
def test_an_extractor_is_documented_with_its_fields(spec):
    line = row(spec.name)
    assert all(field in line for field in spec.provides), f"docs/models.md: row of {spec.name}"
