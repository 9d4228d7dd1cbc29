"""Music in an object store: what is listed, fetched and remembered, also where the store fails."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest

sys.path.append(str(Path(__file__).parents[1] / "collection"))
from indexing import content, extractors, make_music

from fakes.s3 import Faults, upload
from fakes.tiny import tiny_model
from solfa.audio import Limits
from solfa.cluster import sources
from solfa.cluster.sources import RemoteFiles
from solfa.collection import AddReport, Collection
from solfa.core.errors import DecodeError, FileUnavailable, InputError
from solfa.core.files import is_url, path_of
from solfa.jobs import ProcessExecutor


@pytest.fixture
def music(moto: str, faults: Faults, tmp_path: Path) -> Path:
    make_music(tmp_path / "music", 4)
    make_music(tmp_path / "music" / "deep" / "deeper", 1)
    upload(moto, tmp_path / "music")
    return tmp_path / "music"


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Collection]:
    with Collection.open(tmp_path / "shelf", create=True) as collection:
        yield collection


def add(shelf: Collection, *paths: str, **options: object) -> AddReport:
    report = shelf.add(
        paths or ["s3://music"], model=tiny_model, extractors=extractors, source=RemoteFiles(), **options
    )  # type: ignore[arg-type]
    shelf.refresh()
    return report


def put(moto: str, key: str, data: bytes) -> None:
    boto3.client("s3", endpoint_url=moto).put_object(Bucket="music", Key=key, Body=data)


def delete(moto: str, key: str) -> None:
    boto3.client("s3", endpoint_url=moto).delete_object(Bucket="music", Key=key)


def paths(shelf: Collection) -> set[str]:
    return {str(path) for track in shelf.tracks() for path in track.paths}


def test_an_address_is_a_path_that_prints_as_it_was_written() -> None:
    path = path_of("s3://music/a b/c.flac")
    assert (str(path), path.name, str(path.parent / "d.wav")) == (
        "s3://music/a b/c.flac", "c.flac", "s3://music/a b/d.wav",
    )  # fmt: skip
    assert path == path_of(str(path)) and hash(path) == hash(path_of(str(path)))
    assert path.absolute() == path and path.as_uri() == "s3://music/a%20b/c.flac"
    assert not is_url("/music/s3://x") and not is_url("a:/b") and type(path_of("/a/b")) is type(Path("/a/b"))


def test_a_store_is_indexed_like_a_folder(music: Path, shelf: Collection, tmp_path: Path) -> None:
    report = add(shelf)
    assert (report.added, report.failed, report.notes) == (5, (), ())
    with Collection.open(tmp_path / "here", create=True) as here:
        here.add([music], model=tiny_model, extractors=extractors)
        here.refresh()
        assert {t.hash: (t.tags, t.key) for t in shelf.tracks()} == {t.hash: (t.tags, t.key) for t in here.tracks()}
    names = {f"s3://music/{path.relative_to(music).as_posix()}" for path in music.rglob("*.wav")}
    assert paths(shelf) == names


def test_what_is_known_is_not_fetched_again(moto: str, faults: Faults, music: Path, shelf: Collection) -> None:
    add(shelf)
    del faults.seen[:]
    assert add(shelf).unchanged == 5
    assert not [path for _, path, _ in faults.seen if ".wav" in path]
    put(moto, "00.wav", (music / "01.wav").read_bytes())  # another content under a known name, of the same size
    put(moto, "new.wav", (music / "02.wav").read_bytes())
    delete(moto, "03.wav")
    report = add(shelf)
    assert (report.added, report.updated, report.removed, report.unchanged) == (1, 1, 1, 3)
    assert "s3://music/03.wav" not in paths(shelf)


def test_faults_cost_time_and_nothing_else(faults: Faults, music: Path, shelf: Collection, tmp_path: Path) -> None:
    with Collection.open(tmp_path / "quiet", create=True) as quiet:
        add(quiet)
        expected = content(quiet)
    faults.often(3, **{"500": 0.1, "503": 0.1, "drop": 0.1, "partial": 0.1})
    while add(shelf, executor=ProcessExecutor(1)).failed:  # what a run could not fetch, the next one tries again
        assert not shelf.failures()
    assert content(shelf) == expected
    assert {"500", "503", "drop", "partial"} <= {str(fault) for *_, fault in faults.seen}


@pytest.mark.parametrize("fault", ["403", "503"])
def test_nothing_is_removed_while_the_store_fails(
    fault: str, faults: Faults, music: Path, shelf: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    add(shelf)
    faults.choose = lambda method, path: fault
    report = add(shelf)
    assert (report.removed, report.unchanged) == (0, 0)
    assert len(report.notes) == 1 and "the 5 files known there are kept" in report.notes[0], report.notes
    assert len(paths(shelf)) == 5


def test_a_folder_that_cannot_be_listed_costs_itself(faults: Faults, music: Path, shelf: Collection) -> None:
    add(shelf)
    faults.choose = lambda method, path: "403" if "prefix=deep" in path else None
    report = add(shelf)
    assert (report.unchanged, report.removed) == (4, 0)
    assert "s3://music/deep: cannot be listed" in report.notes[0]


def test_a_listing_that_is_behind_removes_nothing(faults: Faults, music: Path, shelf: Collection) -> None:
    """An eventually consistent listing: the object is there, the listing does not name it yet."""
    add(shelf)

    class Behind(sources._RemoteWalk):
        def _take(self, url: str, entry: object) -> None:
            if not url.endswith("02.wav"):
                super()._take(url, entry)  # type: ignore[arg-type]

    walk = Behind()
    walk.visit("s3://music")
    assert "s3://music/02.wav" not in walk.found
    scan = walk.compared(["s3://music/02.wav", "s3://music/gone.wav", "s3://elsewhere/x.wav"])
    assert "s3://music/02.wav" in scan.found and scan.missing == {"s3://music/gone.wav"} and not scan.doubtful


def test_a_listing_that_is_ahead_is_not_a_bad_file(moto: str, music: Path, shelf: Collection) -> None:
    class Ahead(RemoteFiles):
        def scan(self, *args: object) -> object:  # type: ignore[override]
            found = super().scan(*args)  # type: ignore[arg-type]
            delete(moto, "01.wav")
            return found

    report = shelf.add(["s3://music"], model=tiny_model, extractors=extractors, source=Ahead())
    assert report.added == 4 and report.failed[0].reason == "not found"
    shelf.refresh()
    assert not shelf.failures()


def test_an_object_that_changes_while_it_is_read_is_left_for_the_next_run(
    moto: str, faults: Faults, music: Path, shelf: Collection
) -> None:
    other, fetched = (music / "02.wav").read_bytes(), list[str]()

    def overwritten(method: str, path: str) -> None:
        if method == "GET" and path == "/music/01.wav" and not fetched:
            fetched.append(path)
            put(moto, "01.wav", other)

    faults.choose = overwritten
    report = add(shelf)
    assert [str(f.path) for f in report.failed] == ["s3://music/01.wav"] and not shelf.failures()
    assert add(shelf).failed == () and "s3://music/01.wav" in paths(shelf)


def test_a_store_that_drips_is_left(
    faults: Faults, music: Path, shelf: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_PATIENCE_S", 0.5)
    monkeypatch.setattr(sources, "_LEAST_BYTES_PER_S", 1e6)
    monkeypatch.setattr(sources, "_BLOCK", 4000)
    clock = SimpleNamespace(monotonic=lambda: faults.slept_s)  # so that a busy machine makes no other file late
    monkeypatch.setattr(sources, "time", clock)
    faults.choose = lambda method, path: "slow" if path == "/music/01.wav" and method == "GET" else None
    report = add(shelf)
    assert report.added == 4 and "a second" in report.failed[0].reason
    assert not shelf.failures()


@pytest.mark.slow
def test_a_store_that_stalls_costs_a_worker_and_not_the_file(faults: Faults, music: Path, shelf: Collection) -> None:
    def stall(method: str, path: str) -> None:
        if method == "GET" and path == "/music/01.wav":
            time.sleep(12)

    faults.choose = stall
    report = add(shelf, executor=ProcessExecutor(2, timeout_s=4))
    assert report.added == 4 and "no progress" in report.failed[0].reason and not shelf.failures()


def test_limits_hold_before_anything_is_fetched(faults: Faults, music: Path, shelf: Collection) -> None:
    report = add(shelf, limits=Limits(size_bytes=1000))
    assert len(report.failed) == 5 and "over the limit" in report.failed[0].reason
    assert not [row for row in faults.seen if row[0] == "GET" and ".wav" in row[1]]


def test_names_in_a_store_are_hostile(moto: str, music: Path, shelf: Collection) -> None:
    sound = (music / "00.wav").read_bytes()
    strange = ["a b%20c+ü'$(x).wav", "\u202eevil\t.wav", "..wav.wav", "q?v=1&a=#.wav"]
    for key in strange:
        put(moto, key, sound)
    put(moto, "a//b.wav", sound)
    put(moto, "folder.wav/", b"")
    put(moto, "notes.txt", b"no sound")
    report = add(shelf)
    assert {f"s3://music/{key}" for key in strange} - paths(shelf) <= {"s3://music/..wav.wav"}  # hidden, as on disk
    assert not report.failed, report.failed
    assert "s3://music/a/: a folder without a name is left out; no path can name it" in report.notes, report.notes


def test_one_object_and_a_folder_of_this_machine_together(music: Path, shelf: Collection) -> None:
    report = add(shelf, "s3://music/01.wav", str(music / "deep"))
    assert report.added == 2
    assert paths(shelf) == {"s3://music/01.wav", str(music / "deep" / "deeper" / "00.wav")}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://", "a bucket or host"),
        ("file:///music", "by their path"),
        ("nowhere://a/b", "nowhere"),
        ("ftp://user:secret@host/music", "no password"),
        ("simplecache::s3://music", "expected a URL"),
    ],
)
def test_urls_that_cannot_be_used(url: str, said: str, shelf: Collection) -> None:
    with pytest.raises(InputError, match=said) as caught:
        add(shelf, url if is_url(url) else f"s3://x::{url}")
    assert "secret" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_told(faults: Faults, shelf: Collection) -> None:
    report = add(shelf, "s3://no-such-bucket/music")
    assert report.added == 0 and report.notes == ("s3://no-such-bucket/music: cannot be listed (not found)",)


def test_other_stores_work_alike(tmp_path: Path, shelf: Collection) -> None:
    import fsspec

    make_music(tmp_path / "music", 2)
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "music"), "/library/", recursive=True)
    try:
        report = add(shelf, "memory://library/music")
        assert report.added == 2 and not report.failed, report
        assert paths(shelf) == {"memory://library/music/00.wav", "memory://library/music/01.wav"}
        assert add(shelf, "memory://library/music").unchanged == 2
    finally:
        memory.store.clear()


def test_the_state_of_an_object_needs_a_size() -> None:
    assert sources._state({"ETag": '"x"', "size": None}) is None
    assert sources._state({"ETag": '"x"', "size": 3}) == sources._state({"ETag": "x", "size": 3, "LastModified": 1})
    assert sources._state({"mtime": 1.0, "size": 3}) != sources._state({"mtime": 2.0, "size": 3})


def test_what_a_store_raises_is_told_in_one_line(music: Path) -> None:
    with pytest.raises(FileUnavailable, match="not found"):
        RemoteFiles().state("s3://music/none.wav")
    with pytest.raises(DecodeError), RemoteFiles().local("s3://music/01.wav", 10, Limits(size_bytes=5)):
        pass


def test_what_the_node_lacks_is_not_the_fault_of_the_file(
    music: Path, shelf: Collection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))  # no disk to copy to
        report = add(shelf)
    assert len(report.failed) == 5 and not shelf.failures()
    walk = sources._RemoteWalk()
    walk.visit("s3://music")
    monkeypatch.setattr(sources, "open_store", lambda url: (_ for _ in ()).throw(InputError("install s3fs")))
    assert walk._look("s3://music/00.wav") == "the store failed: install s3fs"


def test_many_folders_are_listed_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    try:
        for i in range(300):
            memory.pipe(f"/wide/{i % 150}/{i}/a.wav", b"x")
        walk = sources._RemoteWalk()
        waited = list[int]()
        real = sources.wait
        monkeypatch.setattr(sources, "wait", lambda futures, **o: waited.append(len(futures)) or real(futures, **o))
        walk.visit("memory://wide")
        assert len(walk.found) == 300 and max(waited) <= 2 * sources._LISTERS
    finally:
        memory.store.clear()
