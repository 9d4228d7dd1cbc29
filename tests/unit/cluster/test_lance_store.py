import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import soundfile
from typer.testing import CliRunner

from fakes.collections import contents
from fakes.given_tracks import RATE, TRACKS, extractors, sound
from fakes.s3 import Faults
from fakes.tiny import tiny_model
from solfa.apps.cli import app
from solfa.cluster.lance_store import LanceStore
from solfa.collection import Collection
from solfa.collection.database import VERSION
from solfa.core.errors import CollectionBusy, CollectionDamaged, CollectionError, InputError

pytest.importorskip("lance")
pytestmark = pytest.mark.usefixtures("own_home")


def same(one: Path, other: Path) -> None:
    before, after = contents(one), contents(other)
    assert before.keys() == after.keys()
    for name in before:
        assert before[name] == after[name], name


def add(folder: Path, music: Path) -> None:
    with Collection.open(folder) as collection:
        collection.add([music], model=tiny_model, extractors=extractors)


def tones(folder: Path, **seconds: float) -> Path:
    folder.mkdir(exist_ok=True)
    for name, length in seconds.items():
        soundfile.write(folder / f"{name}.wav", sound("low", length), RATE)
    return folder


def test_there_and_back_nothing_is_lost(shelf: Path, tmp_path: Path) -> None:
    store = LanceStore(f"lance://{tmp_path}/store")
    assert store.copy_from(shelf) == 1
    store.copy_to(tmp_path / "back")
    same(shelf, tmp_path / "back")
    found = contents(tmp_path / "back")
    assert len(found["failure"]) == 1 and len(found["verdict"]) == 1 and len(found["file"]) == len(TRACKS) + 2
    with pytest.raises(CollectionError, match="exists"):
        store.copy_to(tmp_path / "back")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back", "store"]


def test_versions_are_kept_named_and_deleted(shelf: Path, tmp_path: Path) -> None:
    address = f"lance://{tmp_path}/store"
    store = LanceStore(address)
    store.copy_from(shelf)
    with Collection.open(tmp_path / "empty", create=True):
        pass
    assert store.copy_from(tmp_path / "empty") == 2
    assert [one["version"] for one in store.versions()] == [1, 2]
    LanceStore(f"{address}@1").name("before")
    with pytest.raises(InputError, match="taken"):
        store.name("before")
    with Collection.open(LanceStore(f"{address}@before").local()) as then, Collection.open(store.local()) as now:
        assert (len(then.attributes()), len(now.attributes())) == (len(TRACKS), 0)
        with pytest.raises(CollectionError, match="is a copy of"):
            now.change_verdicts(removed=[1])
    assert store.copy_from(tmp_path / "empty") == 3
    assert store.compact(0)["versions_deleted"] >= 1
    assert [one["names"] for one in store.versions() if one["version"] <= 2] == [["before"]]
    with pytest.raises(CollectionError, match="store"):
        LanceStore(f"{address}@2").open()
    with pytest.raises(InputError, match="never changed"):
        LanceStore(f"{address}@1").copy_from(shelf)


def test_what_is_indexed_is_committed_and_nothing_else(music: Path, tmp_path: Path) -> None:
    address, own = f"lance://{tmp_path}/store", tones(tmp_path / "own", a=5, b=6)
    store = LanceStore(address)
    folder = store.working()
    add(folder, own)
    store.publish()
    (own / "a.wav").rename(own / "c.wav")
    (own / "b.wav").unlink()
    tones(own, d=7)
    add(store.working(), own)
    store.publish()
    version = store.versions()[-1]["version"]
    store.publish()  # nothing is left to commit
    assert store.versions()[-1]["version"] == version
    store.copy_to(tmp_path / "back")
    with Collection.open(tmp_path / "back") as collection:
        assert sorted(path.name for track in collection.tracks() for path in track.paths) == ["c.wav", "d.wav"]
        assert collection.stats().kept == 1
    again = {name: rows for name, rows in contents(folder).items() if name != "failure"}
    assert again == {name: rows for name, rows in contents(tmp_path / "back").items() if name != "failure"}


def test_of_two_writers_one_is_refused_and_can_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address, own, other = f"lance://{tmp_path}/store", tones(tmp_path / "own", a=5), tones(tmp_path / "other", b=6)
    one = LanceStore(address)
    add(one.working(), own)
    monkeypatch.setenv("SOLFA_HOME", str(tmp_path / "elsewhere"))
    two = LanceStore(address)
    add(two.working(), other)
    one.publish()
    with pytest.raises(CollectionBusy, match="nothing is overwritten"):
        two.publish()
    add(two.working(), other)
    two.publish()
    with Collection.open(two.local()) as collection:
        assert sorted(path.name for track in collection.tracks() for path in track.paths) == ["a.wav", "b.wav"]


def test_lance_itself_refuses_the_second_of_two_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LanceStore(f"lance://{tmp_path}/store")
    add(store.working(), tones(tmp_path / "own", a=5))
    began = store.open()
    add(store.working(), tones(tmp_path / "own", b=6))
    store.publish()
    with closing(sqlite3.connect(store.working() / "collection.sqlite")) as db:
        db.execute("UPDATE track SET metre = '5/4'")
        db.commit()
    (store.working() / "commit").write_text(began[1]["commit"])
    monkeypatch.setattr(store, "open", lambda: began)  # as a writer sees it that looked just before
    with pytest.raises(CollectionBusy):
        store.publish()


def test_an_older_schema_is_read_and_brought_up_to_date(shelf: Path, tmp_path: Path) -> None:
    address = f"lance://{tmp_path}/store"
    store = LanceStore(address)
    store.copy_from(shelf)
    data, _ = store.open()
    data.update({"schema": "3"}, where="row = 'store'")
    data.drop_columns(["verdict", "head"])
    older = store.versions()[-1]["version"]
    store.copy_to(tmp_path / "back")
    before, after = contents(shelf), contents(tmp_path / "back")
    assert after.pop("verdict") == [] and before.pop("verdict")
    assert {n: r for n, r in before.items() if n != "sqlite_sequence"} == {
        n: r for n, r in after.items() if n != "sqlite_sequence"
    }
    add(store.working(), tones(tmp_path / "own", a=5))
    store.publish()
    assert store.open()[1]["schema"] == VERSION
    assert LanceStore(f"{address}@{older}").open()[1]["schema"] == 3
    store.open()[0].update({"schema": str(VERSION + 1)}, where="row = 'store'")
    with pytest.raises(CollectionError, match="newer version"):
        store.open()


def test_damage_is_said(shelf: Path, tmp_path: Path) -> None:
    store = LanceStore(f"lance://{tmp_path}/store")
    store.copy_from(shelf)
    data, _ = store.open()
    data.update({"frames": "X'00'"}, where="row = 'vector/1/1'")
    with pytest.raises(CollectionError):
        store.copy_to(tmp_path / "back")
    raw = bytearray(data.to_table(["frames"], filter="row = 'vector/1/2'")["frames"].to_pylist()[0])
    raw[0] ^= 1
    LanceStore(f"lance://{store.uri}@1").open()[0].restore()
    latest, _ = store.open()
    latest.update({"frames": f"X'{raw.hex()}'"}, where="row = 'vector/1/2'")
    with pytest.raises(CollectionDamaged, match="track 2"):
        store.copy_to(tmp_path / "back")
    assert not (tmp_path / "back").exists() and not [p for p in tmp_path.iterdir() if p.suffix == ".part"]


@pytest.mark.parametrize("address", ["lance:/x", "lance://", "lance+s3:x", "lance://a@b@c"])
def test_addresses_that_cannot_be_read(address: str) -> None:
    with pytest.raises(InputError, match="not a store"):
        LanceStore(address)


def test_what_is_no_store_is_said(tmp_path: Path) -> None:
    import lance
    import pyarrow

    for _ in range(2):
        with pytest.raises(CollectionError, match="store"):
            LanceStore(f"lance://{tmp_path}/other").open()
        lance.write_dataset(pyarrow.table({"a": [1]}), str(tmp_path / "other"), mode="overwrite")
    with Collection.open(tmp_path / "own", create=True), pytest.raises(CollectionError, match="no collection"):
        LanceStore(f"lance://{tmp_path}/other").copy_from(tmp_path / "own")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "x").write_text("no dataset")
    with pytest.raises(CollectionError):
        LanceStore(f"lance://{tmp_path}/text").open()


@pytest.mark.parametrize("shares", [{}, {"500": 0.1, "503": 0.1, "drop": 0.05, "lost": 0.1}])
def test_an_object_store_that_fails_now_and_then(
    shelf: Path, tmp_path: Path, faults: Faults, shares: dict[str, float]
) -> None:
    faults.often(0, **shares)
    store = LanceStore("lance+s3://music/store")
    store.copy_from(shelf)
    folder = store.working()
    add(folder, tones(tmp_path / "own", a=5))
    store.publish()
    store.copy_to(tmp_path / "back")
    same(folder, tmp_path / "back")
    assert {fault for _, _, fault in faults.seen} == {None, *shares}
    with Collection.open(LanceStore("lance+s3://music/store@1").local()) as then:
        assert len(then.attributes()) == len(TRACKS)


def test_an_object_store_that_is_down_is_said(shelf: Path, faults: Faults) -> None:
    faults.often(0, **{"503": 1.0})
    with pytest.raises(CollectionError, match="s3://music/store"):
        LanceStore("lance+s3://music/store").copy_from(shelf)


def test_the_command_line(shelf: Path, tmp_path: Path) -> None:
    def run(*arguments: object, code: int = 0) -> str:
        done = CliRunner().invoke(app, [str(a) for a in arguments])
        assert done.exit_code == code, done.output
        return done.output

    address = f"lance://{tmp_path}/store"
    run("collection", "copy", shelf, address)
    run("collection", "copy", address, tmp_path / "back")
    same(shelf, tmp_path / "back")
    assert json.loads(run("collection", "versions", address, "--name", "v", "--json"))[0]["names"] == ["v"]
    assert "versions_deleted" in run("collection", "compact", address)
    stats = json.loads(run("status", "--collection", f"{address}@v", "--json"))
    assert stats["tracks"] == len(TRACKS)
    with pytest.raises(InputError, match="one is to be a store"):
        CliRunner().invoke(app, ["collection", "copy", address, address], catch_exceptions=False, standalone_mode=False)
