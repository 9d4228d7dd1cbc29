"""The examples of docs/query.md run (those of docstrings: tests/docs)."""

from __future__ import annotations

import doctest
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs" / "query.md"


def test_documentation() -> None:
    assert doctest.testfile(str(DOCS), module_relative=False).failed == 0
