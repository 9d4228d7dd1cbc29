"""Other programs, other versions, other processes, full disks: a collection is never lost and never guessed at."""

from __future__ import annotations

import errno
import json
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from indexing import SPACE, content, extractors, index, make_music

from fakes.tiny import tiny_model
from solfa.collection import Collection, database
from solfa.collection.repair import examine
from solfa.core.errors import CollectionBusy, CollectionError


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Collection]:
    make_music(tmp_path / "music", 3)
    with Collection.open(tmp_path / "shelf", create=True) as collection:
        index(collection, tmp_path / "music")
        yield collection


def test_there_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match=r"no collection in .*solfa index FOLDER"):
        Collection.open(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").touch()
    with pytest.raises(CollectionError):
        Collection.open(tmp_path / "file" / "sub", create=True)


def test_an_empty_one_can_be_asked(tmp_path: Path) -> None:
    with Collection.open(tmp_path, create=True) as shelf:
        assert list(shelf.tracks()) == shelf.failures() == shelf.text_search("x") == []
        assert shelf.stats().tracks == 0
        with pytest.raises(CollectionError, match="is empty"):
            shelf.store(SPACE)


def test_foreign_and_newer_files_are_refused(tmp_path: Path) -> None:
    for name, content_ in {"junk": b"not a database" * 100, "empty-ish": b"SQLite format 3\0" + b"\xff" * 200}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "collection.sqlite").write_bytes(content_)
        with pytest.raises(CollectionError, match="not a collection"):
            Collection.open(tmp_path / name)
    for name, pragmas, message in (
        ("foreign", "PRAGMA user_version = 7", "belongs to another program"),
        ("newer", f"PRAGMA user_version = 99; PRAGMA application_id = {database.APPLICATION_ID}", "Update solfa"),
    ):
        (tmp_path / name).mkdir()
        db = sqlite3.connect(tmp_path / name / "collection.sqlite")
        db.executescript(f"CREATE TABLE x (y); {pragmas}")
        db.close()
        before = (tmp_path / name / "collection.sqlite").read_bytes()
        for create in (False, True):
            with pytest.raises(CollectionError, match=message):
                Collection.open(tmp_path / name, create=create)
        assert (tmp_path / name / "collection.sqlite").read_bytes() == before


def test_a_failed_migration_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.sql"
    broken.write_text("CREATE TABLE half (x);\nINSERT INTO nowhere VALUES (1);\n")
    Collection.open(tmp_path, create=True).close()
    monkeypatch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, str(broken)))
    monkeypatch.setattr(database, "VERSION", database.VERSION + 1)
    with pytest.raises(CollectionError, match="no such table: nowhere"):
        Collection.open(tmp_path)
    monkeypatch.undo()
    with Collection.open(tmp_path) as shelf:
        assert shelf.stats().tracks == 0
    with sqlite3.connect(tmp_path / "collection.sqlite") as db:
        assert not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'half'").fetchall()
    db.close()


def test_a_reader_keeps_its_view(shelf: Collection, tmp_path: Path) -> None:
    with Collection.open(tmp_path / "shelf") as reader, Collection.open(tmp_path / "shelf") as late:
        before = content(reader)
        make_music(tmp_path / "more", 5)
        index(shelf, tmp_path / "more")
        (tmp_path / "music" / "00.wav").unlink()
        index(shelf, tmp_path / "music")
        assert content(reader) == before
        report = index(shelf, tmp_path / "music", tmp_path / "more", force=True)
        assert "was given back" in report.notes[-1]  # the files were replaced under the reader's feet
        assert content(reader) == before
        ids = late.attributes().track_ids  # it opens the files of vectors only now, and finds those of a later state
        assert ids.tolist() == reader.attributes().track_ids.tolist() != shelf.attributes().track_ids.tolist()
        assert len(late.store(SPACE).windows(ids.tolist())) == 3
        reader.refresh()
        assert content(reader) == content(shelf) != before


def test_the_second_writer_is_told_who_the_first_is(shelf: Collection, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from solfa.collection.database import Database\n"
        "with Database(Path(sys.argv[1])).lock(): print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "shelf")], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(CollectionBusy, match=rf"another process \(pid {other.pid}\) is writing"):
            index(shelf, tmp_path / "music")
        assert shelf.stats().tracks == 3  # reading works meanwhile
    finally:
        other.kill()
        other.communicate()
    assert index(shelf, tmp_path / "music").unchanged == 3  # a dead writer holds nothing


def test_a_refusing_disk_leaves_the_last_good_state(
    shelf: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(shelf)
    more = make_music(tmp_path / "more", 6)[3:]

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CollectionError, match=r"No space left on device.*What was committed before is safe"):
        index(shelf, *more)
    monkeypatch.undo()
    assert content(shelf) == before
    assert index(shelf, *more).added == 3
    assert not examine(tmp_path / "shelf").found


@pytest.mark.parametrize("limit", [3_000, 6_000, 20_000, 60_000, 100_000, 160_000, 4_000_000])
def test_full_at_any_size_of_any_file(tmp_path: Path, limit: int) -> None:
    """Every write beyond this size of a file fails, as on a full disk: in the database, its log, or the vectors."""
    make_music(tmp_path / "music", 12)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    with Collection.open(tmp_path / "shelf", create=True) as shelf:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            refused = False
            index(shelf, tmp_path / "music")
        except CollectionError as error:
            refused = "What was committed before is safe" in str(error)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert refused == (limit < 4_000_000)
        shelf.refresh()
        kept = content(shelf) if shelf.stats().tracks else {"failures": []}
        assert not examine(tmp_path / "shelf").found
        report = index(shelf, tmp_path / "music")
        assert report.added == 12 - (len(kept) - 1)
        after = content(shelf)
        assert {k: after[k] for k in kept} == kept and len(after) == 13
        assert not examine(tmp_path / "shelf").found


def test_a_read_only_collection_can_be_read(shelf: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(shelf)
    shelf.close()
    real = os.access
    # Root may write anything, so the answer to "may I" is what is faked; SQLite then opens without -wal and -shm.
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and real(path, mode))
    for name in ("collection.sqlite-wal", "collection.sqlite-shm"):
        (tmp_path / "shelf" / name).unlink(missing_ok=True)
    with Collection.open(tmp_path / "shelf") as reader:
        assert content(reader) == before


def test_nothing_pickled_is_stored(shelf: Collection, tmp_path: Path) -> None:
    names = {p.relative_to(tmp_path / "shelf").as_posix() for p in (tmp_path / "shelf").rglob("*") if p.is_file()}
    assert names - {"collection.sqlite-shm", "collection.sqlite-wal"} == {
        "collection.sqlite",
        "writer.lock",
        "vectors/1/segments.0.i8",
        "vectors/1/frames.0.i8",
    }
    db = sqlite3.connect(tmp_path / "shelf" / "collection.sqlite")
    for table, column in (("document", "analysis"), ("scoring", "summary"), ("timeline", "chords")):
        for (blob,) in db.execute(f"SELECT {column} FROM {table}"):
            assert not blob.startswith(b"\x80")  # the first byte of every pickle of protocol 2 and later
    db.close()
    assert json.dumps(extractors()[0].spec.name) == '"loudness"' and tiny_model().space == SPACE
    assert np.all(np.frombuffer((tmp_path / "shelf/vectors/1/segments.0.i8").read_bytes(), np.int8) > -128)
