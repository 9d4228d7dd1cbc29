"""The examples of docs/query.md and of the docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import solfa.constraints
import solfa.query

DOCS = Path(__file__).parents[3] / "docs" / "query.md"
ROOMS = (solfa.constraints, solfa.query)
MODULES = [f"{room.__name__}.{m.name}" for room in ROOMS for m in pkgutil.iter_modules(room.__path__)]


def test_documentation() -> None:
    assert doctest.testfile(str(DOCS), module_relative=False).failed == 0


@pytest.mark.parametrize("name", [*MODULES, "solfa.core.filters", "solfa.core.theory", "solfa.core.vocabulary"])
def test_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
