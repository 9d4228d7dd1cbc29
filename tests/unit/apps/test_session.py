import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from solfa.apps import interactive
from solfa.apps.session import Session
from solfa.core.errors import InputError
from solfa.core.types import FileTags
from solfa.query import Query
from solfa.retrieval import Display, Hit, Results


class Searcher:
    """Answers anything with two hits a page, and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[Query] = []
        self.collection = self

    def attributes(self) -> tuple[int, ...]:
        return (1, 2, 3)

    def search(self, query: Query, *, like: object, display: Display) -> Results:
        self.asked.append(query)
        if "fail" in query.text:
            raise InputError("nothing to search for.")
        before = display.k * (display.page - 1)
        hits = tuple(
            Hit(track_id=i, path=Path(f"/music/{i}\x1b[31m.mp3"), score=0.5, start_s=1, end_s=2, duration_s=60,
                tags=FileTags(), evidence=())
            for i in range(before + 1, min(before + 3, 7))
        )  # fmt: skip
        return Results(
            query=query,
            parsed=(),
            hits=hits,
            candidates=9,
            timing_ms={},
            before=before,
            note="" if hits else "No page 4.",
        )


@pytest.fixture
def session() -> Session:
    return Session(Searcher(), Display(k=2))  # type: ignore[arg-type]


def constraints(session: Session) -> list[tuple[str, bool]]:
    assert session.results is not None
    return [(c.text, c.negated) for c in session.results.query.constraints]


def test_a_query_is_refined_and_taken_back_step_by_step(session: Session) -> None:
    session.ask("slow waltz")
    session.add("piano")
    session.avoid("drums")
    assert ("piano", False) in constraints(session) and ("drums", True) in constraints(session)
    assert str(session.request) == "slow waltz, piano  - drums"
    session.drop("piano")
    assert str(session.request) == "slow waltz  - drums" and "piano" not in dict(constraints(session))
    session.drop("slow")
    assert "slow" not in dict(constraints(session)) and "drop slow" in str(session.request)
    for expected in ("slow waltz  - drums", "slow waltz, piano  - drums", "slow waltz, piano", "slow waltz"):
        session.undo()
        assert str(session.request) == expected
    session.undo()
    with pytest.raises(InputError, match="nothing to undo"):
        session.undo()


def test_a_refinement_that_fails_changes_nothing(session: Session) -> None:
    session.ask("waltz")
    before = session.request, session.results
    for wrong in (lambda: session.add("fail"), lambda: session.drop("no such words"), lambda: session.like("7")):
        with pytest.raises(InputError):
            wrong()
        assert (session.request, session.results) == before


def test_an_example_is_read_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr("solfa.apps.session.like_example", lambda searcher, text: read.append(text))
    session.ask("waltz")
    session.like("1 2")
    session.add("piano")
    session.avoid("drums")
    session.undo()
    session.drop("piano")
    assert read == [f"/music/{i}\x1b[31m.mp3@1.00-2.00" for i in (1, 2)]


def test_pages_numbers_and_selection(session: Session) -> None:
    with pytest.raises(InputError, match="no hits yet"):
        session.hits()
    session.ask("waltz")
    session.more()
    assert [hit.track_id for hit in session.hits()] == [3, 4] and session.hits("4")[0].track_id == 4
    session.select("4")
    assert [hit.track_id for hit in session.hits()] == [4]
    for wrong in ("1", "5", "0", "x", "²"):
        with pytest.raises(InputError):
            session.hits(wrong)
    session.more()
    with pytest.raises(InputError, match="No page 4"):
        session.more()
    assert session.request.page == 3
    session.add("piano")
    assert session.request.page == 1 and not session.selected


def test_lines_of_a_terminal(session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    played: list[list[int]] = []
    monkeypatch.setattr(interactive, "play", lambda hits, player: played.append([h.track_id for h in hits]))
    lines: Iterator[str | type[BaseException]] = iter([
        "waltz \x1b[31m", "and piano", "without drums", "play 2", "like this", KeyboardInterrupt, "2", "play", "play 9",
        f"playlist {tmp_path}/my list.m3u8 1", f"playlist {tmp_path}/x.txt", "more", "show 3", "undo", "help",
        "play that funky music", ":undo", "", EOFError,
    ])  # fmt: skip

    def read(prompt: str) -> str:
        line = next(lines)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr("builtins.input", read)
    monkeypatch.setattr("sys.stdout", out := io.StringIO())
    monkeypatch.setattr("sys.stderr", err := io.StringIO())
    interactive.loop(session, None)
    asked = [query.text for query in session.searcher.asked]  # type: ignore[attr-defined]
    assert (
        asked[1].startswith("waltz ")
        and asked[1].endswith(", piano")
        and "play that funky music" in asked
        and "like this" in asked
    )
    assert asked[-1] == "undo"
    assert played == [[2], [2]]
    assert "/music/1" in (tmp_path / "my list.m3u8").read_text() and "/music/2" not in (
        tmp_path / "my list.m3u8").read_text()  # fmt: skip
    assert "no hit 9" in err.getvalue() and "End the name in .m3u8" in err.getvalue()
    assert "\x1b[31m" not in out.getvalue() + err.getvalue()
