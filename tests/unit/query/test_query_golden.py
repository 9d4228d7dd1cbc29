"""What real and hostile queries are read as."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from query_golden import cases, outcome

from solfa.query import explain, parse

CASES = cases()


@pytest.mark.parametrize("row", CASES, ids=[row["text"][:60] for row in CASES])
def test_query_is_read_as_the_table_says_quoted_and_explained(row: dict[str, Any]) -> None:
    query = parse(row["text"])
    assert outcome(query) == {key: value for key, value in row.items() if key != "text"}
    lines, flat = explain(query), " ".join(query.text.split())
    assert len(lines) >= len(query.constraints)
    for constraint in query.constraints:
        assert constraint.text and constraint.text in flat
        assert any(f"(from '{constraint.text}')" in line for line in lines)


def test_the_table_covers_every_kind_of_wish() -> None:
    kinds = Counter(line.lstrip("!").split()[0] for row in CASES for line in row.get("expect", ()))
    assert len(CASES) >= 400
    for kind in ("tempo", "key", "metre", "chords", "instrument", "voice", "genre", "mood", "dynamics", "duration"):
        assert kinds[kind] >= 15, kind
