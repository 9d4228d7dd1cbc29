import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from songs import record, shelve
from typer.testing import CliRunner

from fakes.tiny import tiny_model
from solfa.apps.cli import app
from solfa.collection import Collection
from solfa.collection.feedback import Sought, StoredHead, TrackVerdict
from solfa.collection.repair import examine, repair
from solfa.core.errors import CollectionDamaged, CollectionError, InputError, SpaceMismatch
from solfa.query import Query
from solfa.relevance.feedback import give, in_force, last_search, name_of, remember
from solfa.retrieval import Searcher

SPACE = "tiny/1/32"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    record(folder / "music", ["Ada", "Ada", "Bo", "Cy", ""])
    shelve(folder / "shelf", folder / "music").close()
    return folder


@pytest.fixture
def shelf(kept: Path, tmp_path: Path) -> Iterator[Collection]:
    with Collection.open(shutil.copytree(kept / "shelf", tmp_path / "shelf")) as opened:
        yield opened


def searched(shelf: Collection, text: str = "low") -> list[int]:
    results = Searcher(shelf, tiny_model).search(Query(text=text, phrases=(text,)))
    remember(shelf, results, Sought(query=text))
    return [hit.track_id for hit in results.hits]


def test_hits_are_named_by_number_id_and_path_and_kept_with_what_was_searched_for(
    shelf: Collection, kept: Path
) -> None:
    ids = searched(shelf)
    third = shelf.track(ids[2]).paths[0]
    new, notes = give(shelf, ["1", f"track:{ids[1]}", str(third)], True)
    assert [v.track_id for v in new] == ids[:3] and not notes
    assert all(v.is_good and v.sought == Sought(query="low") and v.space == SPACE and v.time_s > 1e9 for v in new)
    other, _ = give(shelf, [str(third)], False, query="bright", context="driving")
    assert other[0].sought == Sought(query="bright", context="driving") and other[0].space == ""
    with Collection.open(shelf.directory) as again:
        assert again.verdicts() == [*new, *other]


def test_the_latest_of_contradicting_verdicts_counts_and_both_are_kept(shelf: Collection) -> None:
    ids = searched(shelf)
    give(shelf, ["1", "2"], True)
    new, notes = give(shelf, ["1"], False)
    assert "was good for this search (verdict 1): the new verdict counts, both are kept" in notes[0]
    assert len(shelf.verdicts()) == 3 and [(v.track_id, v.is_good) for v in in_force(shelf.verdicts())] == [
        (ids[1], True), (ids[0], False)
    ]  # fmt: skip
    assert give(shelf, ["1", "1"], False)[0] == [] and len(shelf.verdicts()) == 3
    assert give(shelf, ["1"], True, query="other")[1] == []  # another search, no contradiction
    shelf.change_verdicts((), [new[0].id])
    assert in_force(shelf.verdicts())[0].is_good
    with pytest.raises(InputError, match="no verdict 99"):
        shelf.change_verdicts((), [1, 99])
    assert len(shelf.verdicts()) == 3  # all or nothing


def test_wrong_hits_are_told_and_nothing_is_kept(shelf: Collection, tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match="no search is remembered"):
        give(shelf, ["1"], True)
    ids = searched(shelf)
    for hit, message in {
        "9": "it had 1 to 5", "0": "no hit 0", "track:77": "no track 77", "x.mp3": "not in the collection",
        "9" * 30: "it had 1 to 5", "9" * 5000: "it had 1 to 5", f"track:{10**20}": "no track",
    }.items():  # fmt: skip
        with pytest.raises((InputError, CollectionError), match=message):
            give(shelf, ["1", hit], True)
    gone = shelf.track(ids[0]).paths[0]
    with sqlite3.connect(shelf.directory / "collection.sqlite") as db:
        db.execute("UPDATE file SET present = 0 WHERE track_id = ?", (ids[0],))
    db.close()
    shelf.refresh()
    for hit in ("1", str(gone), f"track:{ids[0]}"):
        with pytest.raises(InputError, match=f"the file of track:{ids[0]} is gone"):
            give(shelf, [hit], True)
    assert shelf.verdicts() == [] and "its file is gone" in name_of(shelf, ids[0])
    for content in ("{", '{"sought": 3}', "[]", "\xff"):
        (shelf.directory / "last-search.json").write_text(content, encoding="latin-1")
        with pytest.raises(CollectionError, match=r"last-search\.json cannot be read"):
            last_search(shelf)


def test_a_folder_that_cannot_be_written_is_searched_and_says_that_it_remembers_nothing(
    shelf: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("solfa.relevance.feedback.whole_file", lambda path: (_ for _ in ()).throw(OSError("read-only")))
    monkeypatch.setattr("os.access", lambda *_: False)
    searched(shelf)
    with pytest.raises(CollectionError, match="the collection is read-only"):
        give(shelf, ["1"], True)


def test_numbers_of_hits_name_the_same_music_or_none_in_another_collection(shelf: Collection, tmp_path: Path) -> None:
    ids = searched(shelf)
    record(tmp_path / "others", ["Di", "Ed"], seed=9)
    shelve(tmp_path / "other", tmp_path / "others").close()
    shutil.copy(shelf.directory / "last-search.json", tmp_path / "other")
    with Collection.open(tmp_path / "other") as other:
        with pytest.raises(InputError, match="hit 1 of the last search is not in this collection"):
            give(other, ["1"], True)
        other.add([shelf.track(ids[0]).paths[0]], model=tiny_model)
        assert give(other, ["1"], True)[0][0].track_id == 3


def test_only_the_owner_may_read_what_was_searched_for(shelf: Collection) -> None:
    searched(shelf)
    results = Searcher(shelf, tiny_model).search(Query(text="low", phrases=("low",)))
    remember(shelf, results, Sought(query="high \ud800 \U0001f3b5"))
    assert (shelf.directory / "last-search.json").stat().st_mode & 0o777 == 0o600
    give(shelf, ["1"], True)
    assert shelf.verdicts()[0].sought.query == "high \ud800 \U0001f3b5"


def test_the_command_line_keeps_lists_and_removes(shelf: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("solfa.api", "solfa.encoders.registry"):
        monkeypatch.setattr(f"{module}.load_model", lambda *_, **__: tiny_model())

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, "--collection", str(shelf.directory)])
        assert done.exit_code == 0, done.output
        return done.output

    assert "no verdicts yet" in run("feedback", "list")
    run("search", "low tone", "-k", "3")
    assert "1  good  Ada - song" in run("feedback", "good", "1", "2").replace("Bo -", "Ada -").replace("Cy -", "Ada -")
    run("feedback", "bad", "1", "--for", "sleeping")
    said = json.loads(run("feedback", "list", "--json"))
    assert [v["is_good"] for v in said["verdicts"]] == [True, True, False] and said["counting"] == [1, 2, 3]
    assert said["verdicts"][2]["sought"] == {"query": "", "examples": [], "context": "sleeping"}
    assert "(a later one counts)" in run("feedback", "bad", "1") + run("feedback", "list")
    run("feedback", "remove", "4")
    shelf.refresh()
    assert len(shelf.verdicts()) == 3
    for wrong in (["good"], ["list", "1"], ["remove", "x"], ["remove", "9" * 20], ["remove", "9" * 5000]):
        failed = CliRunner().invoke(app, ["feedback", *wrong, "--collection", str(shelf.directory)]).exception
        assert isinstance(failed, InputError)


def turned(seed: int, size: float = 0.1) -> StoredHead:
    weights = np.eye(32, dtype=np.float32) + size * np.random.default_rng(seed).standard_normal((32, 32))
    return StoredHead(base=SPACE, space=f"{SPACE}+head.{seed}", weights_DD=weights.astype(np.float32), report="{}")


def test_a_head_has_vectors_of_its_own_and_goes_without_a_trace(shelf: Collection, tmp_path: Path) -> None:
    ids = shelf.attributes().track_ids.tolist()
    before = [w.pooled_WD.tobytes() for w in shelf.store(SPACE).windows(ids)]
    assert shelf.install_head(turned(1)) == 5 and shelf.install_head(turned(1)) == 0
    old, new = (shelf.store(name).windows(ids) for name in (SPACE, f"{SPACE}+head.1"))
    expected = turned(1).apply(np.concatenate([w.frames_TD for w in old]))
    found = np.concatenate([w.frames_TD for w in new]) / 127
    assert np.abs(found - expected).max() < 1 / 127
    record(tmp_path / "more", ["Di"], seed=9)
    shelf.add([tmp_path / "more"], model=tiny_model)
    assert shelf.install_head(turned(1)) == 1  # what was indexed since
    assert shelf.install_head(turned(2)) == 6 and shelf.spaces() == (SPACE, f"{SPACE}+head.2")
    with pytest.raises(SpaceMismatch):
        shelf.store(f"{SPACE}+head.1")
    shelf.install_head(None)
    assert shelf.head() is None and shelf.spaces() == (SPACE,) and len([*shelf.directory.glob("vectors/*")]) == 1
    assert [w.pooled_WD.tobytes() for w in shelf.store(SPACE).windows(ids)] == before
    assert shelf.remembered_model() == ("tiny", False)


def test_vectors_that_are_made_again_take_those_of_the_head_with_them(shelf: Collection, kept: Path) -> None:
    shelf.install_head(turned(1))
    shelf.add([kept / "music"], model=tiny_model, force=True)
    assert shelf.stats().spaces == {SPACE: 5, f"{SPACE}+head.1": 0}
    assert shelf.install_head(turned(1)) == 5


def test_a_folder_that_a_crash_left_is_no_part_of_the_next_head(shelf: Collection) -> None:
    shelf.install_head(turned(1))
    left = shutil.copytree(shelf.directory / "vectors" / "2", shelf.directory / "left")
    shelf.install_head(None)
    (left / "stale").touch()
    left.rename(shelf.directory / "vectors" / "2")
    shelf.install_head(turned(2))
    assert not (shelf.directory / "vectors" / "2" / "stale").exists()


def test_a_head_that_fails_half_way_leaves_the_old_one(shelf: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.install_head(turned(1))
    monkeypatch.setattr(
        "solfa.collection.collection.TrackVectors.of", lambda *_: (_ for _ in ()).throw(OSError("full"))
    )
    with pytest.raises(CollectionError):
        shelf.install_head(turned(2))
    monkeypatch.undo()
    head = shelf.head()
    assert head is not None and head.space == f"{SPACE}+head.1"
    assert len(shelf.store(head.space).track_ids) == 5
    other = StoredHead(base="other", space="other+head.1", weights_DD=np.eye(3, dtype=np.float32), report="")
    with pytest.raises(CollectionError, match="no vectors of the space 'other'"):
        shelf.install_head(other)


@pytest.mark.parametrize(
    ("sql", "lost"),
    [
        ("UPDATE head SET weights = x'00'", "what was learnt from verdicts is damaged"),
        ("UPDATE head SET report = '{'", "what was learnt from verdicts is damaged"),
        ("UPDATE head SET base = 'other'", "what was learnt from verdicts is damaged"),
        ("UPDATE verdict SET time_s = 'late' WHERE id = 1", "1 verdicts are damaged"),
        ("UPDATE verdict SET sought = '{'", "2 verdicts are damaged"),
    ],
)
def test_damage_is_told_and_repaired(shelf: Collection, sql: str, lost: str) -> None:
    ids = searched(shelf)
    give(shelf, ["1", "2"], True)
    shelf.install_head(turned(1))
    shelf.close()
    assert not examine(shelf.directory).found
    with sqlite3.connect(shelf.directory / "collection.sqlite") as db:
        db.execute(sql)
    db.close()
    if "late" not in sql:  # SQLite gives out a value of another type; writers look for that
        shelf.refresh()
        with pytest.raises(CollectionDamaged):
            (shelf.head if "head" in sql else shelf.verdicts)()
        shelf.close()
    assert any(lost in text for text in repair(shelf.directory).found)
    assert not examine(shelf.directory).found
    shelf.refresh()
    rest = {(v.track_id, v.is_good) for v in shelf.verdicts()}
    assert rest == {(i, True) for i in (ids[:2] if "head" in sql else ids[1:2] if "late" in sql else [])}


def test_verdicts_survive_as_they_were_given(shelf: Collection) -> None:
    verdict = TrackVerdict(
        track_id=1, is_good=False, sought=Sought(query="q", examples=("/a@0:01-0:02",), context="c"), time_s=2.5
    )
    shelf.change_verdicts([verdict])
    [found] = shelf.verdicts()
    assert (found.sought, found.is_good, found.time_s, found.id) == (verdict.sought, False, 2.5, 1)
