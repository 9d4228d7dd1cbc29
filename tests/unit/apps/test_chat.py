import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from solfa.apps import chat, player
from solfa.core.types import FileTags
from solfa.language import Session
from solfa.query import Query
from solfa.retrieval import Display, Hit, Results


class Searcher:
    """Answers anything with two hits a page, and remembers what was asked."""

    def __init__(self, directory: Path) -> None:
        self.asked: list[Query] = []
        self.collection, self.directory = self, directory

    def attributes(self) -> tuple[int, ...]:
        return (1, 2, 3)

    def rows(self, ids: list[int]) -> list[Any]:
        return []

    def search(self, query: Query, *, where: object, like: object, display: Display) -> Results:
        self.asked.append(query)
        before = display.k * (display.page - 1)
        hits = tuple(
            Hit(track_id=i, path=Path(f"/music/{i}\x1b[31m.mp3"), score=0.5, start_s=1, end_s=2, duration_s=60,
                tags=FileTags(), evidence=())
            for i in range(before + 1, min(before + 3, 7))
        )  # fmt: skip
        return Results(query=query, parsed=(), hits=hits, candidates=9, timing_ms={}, before=before)


def talk(monkeypatch: pytest.MonkeyPatch, session: Session, lines: list[Any], **options: Any) -> tuple[str, str]:
    """What is printed, and complained of, when these lines are typed."""
    given: Iterator[Any] = iter([*lines, EOFError])

    def read(prompt: str) -> str:
        line = next(given)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr("builtins.input", read)
    monkeypatch.setattr("sys.stdout", out := io.StringIO())
    monkeypatch.setattr("sys.stderr", err := io.StringIO())
    chat.Chat(session, **options).loop()
    return out.getvalue(), err.getvalue()


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(Searcher(tmp_path), Display(k=2))  # type: ignore[arg-type]


def test_lines_of_a_terminal(session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    played: list[list[int]] = []
    monkeypatch.setattr(player, "play", lambda hits, program: played.append([h.track_id for h in hits]))
    out, err = talk(monkeypatch, session, [
        "waltz \x1b", "and piano", "without drums", "play 2", KeyboardInterrupt, "2", "play", "play 9",
        f"playlist {tmp_path}/my list.m3u8 1", f"playlist {tmp_path}/x.txt", "more", "show 3", "/undo", "help",
        "tell me a joke", ":undo", "+ guitar", "- banjo", "",
    ])  # fmt: skip
    asked = [query.text for query in session.searcher.asked]  # type: ignore[attr-defined]
    assert asked[1].endswith(", piano") and "undo" in asked
    assert str(session.request) == "guitar, no banjo, undo"
    assert "asked: waltz, piano, no drums\n" in out
    assert played == [[2], [2]]
    assert "/music/1" in (tmp_path / "my list.m3u8").read_text() and "/music/2" not in (
        tmp_path / "my list.m3u8").read_text()  # fmt: skip
    assert "no hit 9" in err and "End the name in .m3u8" in err and "not understood: 'tell me a joke'" in err
    assert "\x1b[31m" not in out + err


def test_turns_as_json(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ['[{"op": "set", "text": "waltz"}]', "without drums", '{"op": "page"', '{"op": "sql"}', "undo"]
    out, err = talk(monkeypatch, session, lines, as_json=True)
    turns = [json.loads(line) for line in out.splitlines()]
    assert [turn.get("asked") for turn in turns] == ["waltz", "waltz, no drums", None, None, "waltz"]
    assert turns[1]["operations"] == [{"op": "add", "text": "without drums", "hits": [], "verdict": False, "page": 0}]
    assert turns[1]["results"]["schema"] == "solfa.search/1" and turns[1]["shown"] == [[1, 1], [2, 2]]
    assert "must be operations in JSON" in turns[2]["error"] and "not an operation" in turns[3]["error"] and not err
