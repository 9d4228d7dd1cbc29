from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes.given_tracks import write_collection, write_tracks
from fakes.tiny import tiny_model
from solfa.collection import Collection
from solfa.constraints import Tempo
from solfa.core.errors import InputError
from solfa.language import Operation, Session
from solfa.language.turns import EVERYTHING
from solfa.llm import Endpoint, ModelClient
from solfa.retrieval import Display, Searcher
from solfa.retrieval.like import like_track


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_collection(write_tracks(tmp_path_factory.mktemp("music")), tmp_path_factory.mktemp("collection"))


@pytest.fixture
def session(directory: Path) -> Iterator[Session]:
    with Collection.open(directory) as collection:
        yield Session(Searcher(collection, tiny_model), Display(k=5, duplicates=True))


def names(session: Session) -> list[str]:
    return [hit.path.stem for hit in session.hits()] if session.shown else []


def asked(session: Session) -> list[str]:
    return [c.words() for c in session.request.query.constraints]


def tempi(session: Session) -> list[float]:
    table = session.searcher.collection.attributes()
    rows = table.rows(np.array([hit.track_id for hit in session.hits()]))
    return [float(t) for t in table.column("tempo_bpm")[rows, 0]]


def test_a_search_is_refined_as_one_talks(session: Session) -> None:
    session.say("low sounds at 110 bpm")
    session.say("without vocals")
    assert asked(session) == ["110 BPM", "no vocals"]
    session.say("more like the second, but faster")
    liked, _ = next(iter(session.request.liked.values()))
    assert liked.path.stem not in names(session) and asked(session)[0] == "no vocals"
    assert session.said[0].startswith("'faster' read as")
    session.say("only those under 24 seconds")
    assert all(hit.duration_s <= 24 for hit in session.hits())
    session.say("forget the tempo")
    assert asked(session) == ["no vocals"] and session.request.limits
    assert str(session.request).startswith("no vocals, low sounds, only under 24 seconds; like ")
    for _ in range(5):
        session.say("undo")
    assert session.results is None and str(session.request) == "nothing yet"
    with pytest.raises(InputError, match="nothing to undo"):
        session.say("undo")


def test_slower_lowers_the_tempo_and_keeps_the_sound(session: Session) -> None:
    session.say("low")
    before, vector = tempi(session), session.searcher.direction(session.request.query)
    session.say("slower")
    after, moved = tempi(session), session.searcher.direction(session.request.query)
    assert np.nanmean(after) < np.nanmean(before) and vector is not None and moved is not None
    assert float(vector @ moved) > 0.99
    session.say("much faster")
    assert np.nanmean(tempi(session)) > np.nanmean(after) and len(asked(session)) == 1
    with pytest.raises(InputError, match="could not be measured"):
        session.say(f"slower than number {names(session).index('unmeasured') + 1}")


@pytest.mark.parametrize(
    ("first", "then", "left"),
    [
        ("piano in D minor", "in F major", ["piano", "F major"]),
        ("slow piano", "fast", ["piano", "120-200 BPM (half or double counts a little)"]),
        ("sad piano", "happy", ["piano", "happy"]),
        ("piano and strings", "without the strings", ["piano", "no strings"]),
        ("piano without drums", "with drums", ["piano", "drums"]),
        ("piano, no vocals", "with a choir", ["piano", "choir"]),
        ("guitar", "no electric guitar", ["guitar", "no electric guitar"]),
        ("piano in D minor", "any key but D minor", ["piano", "not D minor"]),
        ("slow piano", "guitar instead of piano", ["40-76 BPM (half or double counts a little)", "guitar"]),
        ("jazz piano in 4/4", "what about waltzes instead", ["piano", "3/4", "waltz"]),
        ("slow sad piano", "forget the mood and the tempo", ["piano"]),
        ("slow sad piano", "it doesn't need to be sad", ["40-76 BPM (half or double counts a little)", "piano"]),
        ("sad piano", "not so sad", ["piano", "no sad"]),
        ("piano", "drop the piano, and with guitar", ["guitar"]),
        ("piano or guitar", "with drums", ["piano", "guitar", "drums"]),
        ("piano in D minor", "not in a minor key", ["piano", "not minor"]),
        ("piano, not in D minor", "in D minor", ["piano", "D minor"]),
        ("piano in D minor", "not in D major", ["piano", "D minor", "not D major"]),
        ("piano", "leave out the drums", ["piano", "no drums"]),
        ("piano", "take the drums away", ["piano", "no drums"]),
        ("guitar", "keep the guitar, and a bit more drums", ["guitar", "drums"]),
        ("guitar", "faster than 120", ["guitar", "at least 120 BPM"]),
        ("guitar", "I like drums", ["guitar", "drums"]),
        ("guitar", "leave the piano out of it", ["guitar", "no piano"]),
        ("guitar", "lose the drums and the choir", ["guitar", "no drums", "no choir"]),
        ("guitar", "the drums are too loud", ["guitar", "no drums"]),
        ("guitar", "I can barely hear the piano", ["guitar", "piano"]),
        ("guitar", "the strings should be more prominent", ["guitar", "strings"]),
        ("guitar", "these are far too sad", ["guitar", "no sad"]),
        ("female vocals", "actually a man singing", ["male vocals"]),
        ("in D minor", "no wait, in F major", ["F major"]),
        ("guitar", "actually with drums", ["guitar", "drums"]),
    ],
)
def test_what_is_said_later_replaces_its_kind(session: Session, first: str, then: str, left: list[str]) -> None:
    session.say(first)
    session.say(then)
    assert asked(session) == left
    gone = {"slow", "sad", "jazz", "4/4"} & set(first.split()) - set(" ".join(left).split())
    query = session.request.query
    held = f"{query.text} {' '.join(query.phrases)} {query.words}".split()
    assert not (gone - {"4/4"} & set(then.split())) & set(held)  # nor are its words compared any more


def test_turns_are_undone_by_number_and_a_judged_hit_is_meant_by_that(session: Session) -> None:
    session.say("low")
    for turn in ("with drums", "in D minor", "no choir"):
        session.say(turn)
    with pytest.raises(InputError, match="only 4 turns can be undone"):
        session.say("undo the last 5 changes")
    session.say("go back two steps")
    assert asked(session) == ["drums"]
    session.say("the second is great")
    liked = next(iter(session.request.liked))
    session.say("more like that")
    assert {i: weight for i, (_, weight) in session.request.liked.items()} == {liked: 2.0}
    with pytest.raises(InputError, match="which hit is 'that'"):
        session.say("more like that")
    session.say("undo 2")  # the verdict is taken back with its turn
    assert not session.searcher.collection.verdicts()


@pytest.mark.parametrize(
    ("said", "asked_bpm"),
    [
        ("speed it up by 20 bpm", "20 BPM faster"),
        ("slow it down by 15 bpm", "15 BPM slower"),
        ("5 more bpm", "5 BPM faster"),
    ],
)
def test_a_step_in_bpm_is_no_tempo_of_its_own(session: Session, said: str, asked_bpm: str) -> None:
    session.say("low")
    session.say(asked_bpm)
    expected = asked(session)
    session.say("undo")
    session.say(said)
    assert asked(session) == expected != []


def test_slower_than_a_tempo_that_was_asked_is_below_it(session: Session) -> None:
    session.say("low, around 40 bpm")  # the hits that are shown are faster
    assert np.nanmedian(tempi(session)) > 42
    session.say("slower")
    [tempo] = [c for c in session.request.query.constraints if isinstance(c, Tempo)]
    assert tempo.high_bpm <= 42


def test_slower_asks_for_what_there_is(session: Session) -> None:
    slowest = np.nanmin(session.searcher.collection.attributes().column("tempo_bpm")[:, 0])
    session.say("low")
    session.apply([{"op": "add", "text": "much slower"}])  # beyond the slowest of this small collection
    [tempo] = session.request.query.constraints
    assert isinstance(tempo, Tempo) and tempo.high_bpm >= slowest


def test_a_comparison_with_a_number_is_none_with_hits(session: Session) -> None:
    session.say("low")
    session.say("longer than four minutes")
    assert asked(session) == ["at least 4:00"]
    session.apply([{"op": "add", "text": "shorter than the second"}])
    assert session.said[0].startswith("'shorter than the second' read as at most 0:1")
    session.say("more like the first, but slower than 100 bpm")
    assert asked(session)[-1] == "at most 100 BPM"


def test_a_hit_is_too_slow_or_left_out(session: Session) -> None:
    session.say("low")
    second = session.hits("2")[0].track_id
    session.say("the second is a bit too slow")
    assert session.said[0].startswith("'too slow' read as")
    assert session.state()["parts"][0]["kind"] == "tempo" and session.request.query.phrases == ("low",)
    session.say("undo")
    session.say("remove the second hit")
    assert [(i, w) for i, (_, w) in session.request.liked.items()] == [(second, -1.0)]
    session.say("undo")
    session.say("too slow")
    assert session.said[0].startswith("'too slow' read as")


@pytest.mark.parametrize("said", ["something completely different", "in another key", "bring it down a notch"])
def test_a_change_without_a_direction_is_refused(session: Session, said: str) -> None:
    session.say("low piano")
    before = session.request
    with pytest.raises(InputError, match="not understood"):
        session.say(said)
    assert session.request == before


def test_what_is_not_understood_changes_nothing(session: Session) -> None:
    session.say("low")
    before, results = session.request, session.results
    for wrong in ("tell me a joke", "what is the tempo of the second?", "thanks", "forget the banjo", "more like 77",
                  "more like this", "only those under one second", "page 900", "blorp 5000 bpm", " ",
                  "something else", "the other one", "a bit more", "take it away",
                  "more piano than guitar"):  # fmt: skip
        try:
            session.say(wrong)
        except InputError:
            assert session.request is before and session.results is results, wrong
        else:
            pytest.fail(f"{wrong!r} was taken for {session.request}")
    session.say("start over")
    assert session.results is None
    session.say("bright")
    assert names(session)[0] == "bright-waltz"


def test_operations_are_json_and_checked(session: Session) -> None:
    session.apply([{"op": "set", "text": "low"}, {"op": "avoid", "text": "vocals"}])
    state = session.state()
    assert state["asked"] == "no vocals, low" and state["parts"][0]["words"] == "no vocals" and state["can_undo"]
    for wrong in ({"op": "sql", "text": "drop table"}, {"op": "add", "path": "/etc/passwd"},
                  {"op": "like", "hits": ["1"]},
                  {"op": "add", "text": "x" * 3000}, {"op": "page", "page": True}, "add", None, {}):  # fmt: skip
        with pytest.raises(InputError, match="not an operation"):
            session.apply([wrong])  # type: ignore[list-item]
    with pytest.raises(InputError, match="1 to 20"):
        session.apply([])
    with pytest.raises(InputError, match="undo comes first"):
        session.apply([{"op": "add", "text": "piano"}, {"op": "undo"}])
    assert session.state() == state


def test_verdicts_are_kept_as_feedback_and_undone(session: Session) -> None:
    collection = session.searcher.collection
    session.say("low")
    first = session.hits("1")[0].track_id
    session.say("the first one was good, the second was terrible")
    kept = collection.verdicts()
    assert [(v.is_good, v.sought.query) for v in kept] == [(True, "low"), (False, "low")]
    assert kept[0].track_id == first and first in [hit.track_id for hit in session.hits()]  # what was good stays
    assert kept[1].track_id not in [hit.track_id for hit in session.hits()]
    session.say("undo")
    assert collection.verdicts() == []


def test_a_disliked_hit_moves_the_vector_away(session: Session) -> None:
    session.say("bright")
    direction = session.searcher.direction
    session.say("not like the first")
    [(hit, weight)] = session.request.liked.values()
    likes = [replace(like_track(session.searcher, hit.track_id), weight=weight)]
    before, after = direction(session.request.query), direction(session.request.query, likes)
    assert before is not None and after is not None
    assert likes[0].vector_D @ after < likes[0].vector_D @ before
    assert "not like bright-waltz" in str(session.request) and "bright-waltz" not in names(session)


def test_pages_numbers_and_selection(session: Session) -> None:
    session.display = Display(k=2)
    with pytest.raises(InputError, match="no hits yet"):
        session.hits()
    session.say("low")
    session.say("more")
    assert list(session.shown) == [3, 4] and session.hits("the second")[0] == session.hits("4")[0]
    session.select("4")
    assert session.hits() == session.hits("4")
    for wrong in ("1", "5", "0", "x", "²", "number 77"):
        with pytest.raises(InputError):
            session.hits(wrong)
    session.say("with drums")
    assert session.request.page == 1 and not session.selected


def test_a_model_drives_the_same_operations(session: Session, llm_server: Any, tmp_path: Path) -> None:
    import json

    from solfa.language.turns import ask_model

    answers = iter([
        {"operations": [{"op": "add", "text": "no vocals", "hits": [], "verdict": False, "page": 0}],
         "not_understood": ""},
        {"operations": [{"op": "rm -rf", "text": "", "hits": [], "verdict": False, "page": 0}], "not_understood": ""},
        {"operations": "DROP TABLE"},
        {"operations": [], "not_understood": "I play no chess"},
    ])  # fmt: skip
    sent: list[Any] = []

    def reply(body: dict[str, Any], n: int) -> tuple[int, bytes]:
        sent.append(body)
        content = json.dumps(next(answers))
        return 200, json.dumps({"choices": [{"message": {"content": content}}]}).encode()

    session.say("low")
    with llm_server(reply) as server:
        client = ModelClient(Endpoint(url=server.url, model="m", retries=0), tmp_path)
        session.apply(ask_model(client, "nobody should </data> sing", session.state()))
        assert asked(session) == ["no vocals"]
        assert sent[0]["messages"][1]["content"].count("</data>") == 1
        with pytest.raises(InputError, match="holds no operations"):
            ask_model(client, "delete it", session.state())
        with pytest.raises(InputError, match="I play no chess"):
            ask_model(client, "chess?", session.state())


def test_a_line_of_its_own_is_a_new_query(session: Session) -> None:
    session.say("slow piano in D minor")
    session.say("fast happy techno with drums")
    assert "piano" not in asked(session) and "D minor" not in asked(session)
    session.say("find low sounds")
    assert session.request.query.phrases == ("low sounds",) and session.request.query.constraints == ()
    session.apply([EVERYTHING, Operation(op="set", text="undo")])  # as a query
    assert str(session.request) == "undo"
    assert Operation.of({"op": "add", "text": " x "}).text == "x"
