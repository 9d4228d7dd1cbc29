"""What real and hostile queries are read as."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from query_golden import cases, outcome

from solfa.constraints import Constraint
from solfa.query import explain, parse

CASES = cases()


@pytest.mark.parametrize("row", CASES, ids=[row["text"][:60] for row in CASES])
def test_query_is_read_as_the_table_says(row: dict[str, Any]) -> None:
    expected = {key: value for key, value in row.items() if key != "text"}
    assert outcome(parse(row["text"])) == expected


def test_the_table_covers_every_kind_of_wish() -> None:
    kinds = Counter(line.lstrip("!").split()[0] for row in CASES for line in row.get("expect", ()))
    assert len(CASES) >= 400
    for kind in ("tempo", "key", "metre", "chords", "instrument", "voice", "genre", "mood", "dynamics", "duration"):
        assert kinds[kind] >= 15, kind


def test_every_parse_can_be_explained() -> None:
    for row in CASES:
        query = parse(row["text"])
        lines = explain(query)
        assert len(lines) >= len(query.constraints)
        for constraint in query.constraints:
            assert isinstance(constraint, Constraint)
            assert any(f"(from '{constraint.text}')" in line for line in lines), row["text"]


def test_every_constraint_quotes_the_query() -> None:
    for row in CASES:
        query = parse(row["text"])
        flat = " ".join(query.text.split())
        for constraint in query.constraints:
            assert constraint.text in flat, row["text"]
            assert constraint.text
