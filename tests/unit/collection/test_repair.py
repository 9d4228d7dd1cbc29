"""Random damage to a collection: commands succeed or say one sentence, and what is repaired equals the original."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing import SPACE, content, index, make_music
from typer.testing import CliRunner

from fakes.tiny import tiny_model
from solfa.apps.cli import app
from solfa.collection import Collection
from solfa.collection.repair import examine, repair
from solfa.core.errors import CollectionDamaged, CollectionError, SolfaError

Kept = tuple[Path, Path, dict[str, Any]]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder = tmp_path_factory.mktemp("kept")
    make_music(folder / "music", 5)
    shutil.copy(folder / "music" / "00.wav", folder / "music" / "copy.wav")
    with Collection.open(folder / "shelf", create=True) as shelf:
        index(shelf, folder / "music")
        return folder / "shelf", folder / "music", content(shelf)


@pytest.fixture
def shelf(kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in ("solfa.api", "solfa.encoders.registry"):
        monkeypatch.setattr(f"{module}.load_model", lambda *_, **__: tiny_model())
    return Path(shutil.copytree(kept[0], tmp_path / "shelf"))


def call(*arguments: object) -> str:
    """What a command says where it fails; a failure that is not told in one sentence fails the test."""
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    if done.exception is None or isinstance(done.exception, SystemExit):
        assert done.exit_code == 0, (arguments, done.output)
        return ""
    assert isinstance(done.exception, SolfaError), arguments
    assert "\n" not in str(done.exception)
    return str(done.exception)


def commands(music: Path) -> list[list[str]]:
    """Everything that reads a collection."""
    file = str(music / "01.wav")
    return [
        ["status", "--copies"], ["search", "low tone", "--where", "tempo_bpm>1", "--json"], ["similar", file, "-v"],
        ["search", "slow", "--where", "key=D", "--like", f"{file}@0:01-0:02"], ["search", "low", "--sort", "key"],
        ["align", file, "low tone"], ["detect", file, "low", "noisy"],
    ]  # fmt: skip


def hurt(folder: Path, rng: random.Random) -> None:
    """One file of a collection, damaged."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)
    path = rng.choice([*files, folder / "collection.sqlite", folder / "collection.sqlite"])
    data = bytearray(path.read_bytes())
    at, length = rng.randrange(len(data)), rng.choice([1, 30, 300, 4096])
    kind = rng.choice(["bits", "bits", "bytes", "cut", "garbage", "zeros", "longer", "empty"])
    if kind in ("bits", "bytes"):
        for _ in range(1 if kind == "bits" else length):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "longer":
        data += rng.randbytes(1000)
    else:
        end = {"cut": len(data), "empty": len(data)}.get(kind, min(at + length, len(data)))
        data[0 if kind == "empty" else at : end] = {"garbage": rng.randbytes, "zeros": bytes}.get(kind, lambda _: b"")(
            end - at
        )
    path.write_bytes(bytes(data))


SEEDS = [*range(12), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(12, 200))]


@pytest.mark.parametrize("seed", SEEDS)
def test_random_damage_is_reported_and_repaired(shelf: Path, kept: Kept, seed: int) -> None:
    hurt(shelf, random.Random(seed))
    said = {call(*command, "--collection", shelf) for command in commands(kept[1])}
    assert all(not text or "solfa doctor" in text or "solfa index" in text for text in said), said
    before = examine(shelf)
    damage = repair(shelf)
    assert damage.found == before.found and bool(damage.kept) == bool(damage.found)
    assert not examine(shelf).found
    with Collection.open(shelf) as repaired:  # usable before the next index too
        assert len(repaired.attributes()) == len(list(repaired.tracks()))
        index(repaired, kept[1])
        assert content(repaired) == kept[2]


def change(sql: str, *values: object) -> Callable[[Path], None]:
    def apply(shelf: Path) -> None:
        with sqlite3.connect(shelf / "collection.sqlite") as db:
            db.execute(sql, values)
        db.close()

    return apply


def remove(name: str) -> Callable[[Path], None]:
    return lambda shelf: next(shelf.rglob(name)).unlink()


GARBAGE = b"\xff\x00garbage"
DAMAGE = {
    "document": change("UPDATE document SET analysis = ? WHERE track_id = 2", GARBAGE),
    "summary": change("UPDATE scoring SET summary = ? WHERE track_id = 2", GARBAGE),
    "summary not finite": change("UPDATE scoring SET summary = ? WHERE track_id = 2", b"\xff" * 76),
    "confidences": change("UPDATE scoring SET confidences = ? WHERE track_id = 2", GARBAGE),
    "progression": change("UPDATE scoring SET progression = ? WHERE track_id = 2", GARBAGE),
    "chords": change("UPDATE timeline SET chords = ? WHERE track_id = 2", GARBAGE),
    "energy not finite": change("UPDATE timeline SET energy = ?", np.array([np.nan], "<f4").tobytes()),
    "layout": change("UPDATE layout SET concepts = '{'"),
    "names": change("DELETE FROM name"),
    "type of a path": change("UPDATE file SET path = 'text' WHERE id = 1"),
    "path": change("UPDATE file SET path = CAST(replace(path, 'kept', 'kepu') AS BLOB) WHERE id = 1"),
    "type of a tag": change("UPDATE file SET artist = ?", GARBAGE),
    "tag": change("UPDATE file SET tag_key = 'C' WHERE id = 2"),
    "hash": change("UPDATE track SET hash = 'abc' WHERE id = 1"),
    "tempo": change("UPDATE track SET tempo_bpm = 77 WHERE id = 1"),
    "duration": change("UPDATE track SET duration_s = 'long' WHERE id = 1"),
    "offset beyond": change("UPDATE vector SET segment_at = 99999999 WHERE track_id = 2"),
    "offset absurd": change("UPDATE vector SET frame_at = 9223372036854775807 WHERE track_id = 2"),
    "offset negative": change("UPDATE vector SET frame_at = -1 WHERE track_id = 2"),
    "offset across": change("UPDATE vector SET segment_at = 0 WHERE track_id = 2"),
    "count": change("UPDATE vector SET frames = 0 WHERE track_id = 2"),
    "counts": change("UPDATE vector SET counts = ?", GARBAGE),
    "dimension": change("UPDATE space SET dim = 0"),
    "dimension other": change("UPDATE space SET dim = 16"),
    "hop": change("UPDATE space SET hop_s = 9e999"),
    "generation": change("UPDATE space SET generation = 7"),
    "no space": change("DELETE FROM space"),
    "words": change("UPDATE words_data SET block = ? WHERE id > 10", GARBAGE),
    "words docsize": change("DELETE FROM words_docsize"),
    "words content": change("UPDATE words_content SET c5 = 'other' WHERE id = 1"),
    "header": change("PRAGMA user_version = 70000"),
    "owner": change("PRAGMA application_id = 5"),
    "segments": remove("segments.0.i8"),
    "frames": remove("frames.0.i8"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_of_every_kind(shelf: Path, kept: Kept, name: str) -> None:
    DAMAGE[name](shelf)
    said = {call(*command, "--collection", shelf) for command in commands(kept[1])}
    assert all(not text or "solfa doctor" in text or "solfa index" in text for text in said)
    assert examine(shelf).found
    repair(shelf)
    assert not examine(shelf).found
    with Collection.open(shelf) as repaired:
        index(repaired, kept[1])
        assert content(repaired) == kept[2]


def test_what_is_fine_is_kept(shelf: Path, kept: Kept) -> None:
    """One damaged analysis and one damaged vector cost one analysis and one vector."""
    DAMAGE["document"](shelf)
    frames = next(shelf.rglob("frames.0.i8"))
    data = bytearray(frames.read_bytes())
    data[-1] ^= 1  # of the last recording; the first rows are those of a copy that was replaced
    frames.write_bytes(bytes(data))
    with Collection.open(shelf) as opened, pytest.raises(CollectionDamaged, match=r"solfa doctor --collection .*--re"):
        opened.analysis(2)
    damage = repair(shelf)
    assert damage.found == ("1 analyses are damaged: made again",
                            "the vectors of 1 recordings are damaged: made again, analyses are kept")  # fmt: skip
    assert damage.folders == (kept[1],) and damage.kept is not None and damage.kept.parent == shelf
    with Collection.open(shelf) as repaired:
        report = index(repaired, kept[1])
        assert report.unchanged + report.added + report.updated == 6 and report.unchanged >= 3
        assert content(repaired) == kept[2]


def test_nothing_is_done_where_nothing_is_wrong(shelf: Path, kept: Kept, tmp_path: Path) -> None:
    assert not any(call(*command, "--collection", shelf) for command in commands(kept[1]))
    before = {p.name: p.read_bytes() for p in shelf.rglob("*.i8")}
    assert repair(shelf).found == () and {p.name: p.read_bytes() for p in shelf.rglob("*.i8")} == before
    assert not list(shelf.glob("damaged-*"))
    with pytest.raises(CollectionError, match="no collection"):
        repair(tmp_path / "none")
    (tmp_path / "newer").mkdir()
    with sqlite3.connect(tmp_path / "newer" / "collection.sqlite") as db:
        db.executescript("CREATE TABLE x (y); PRAGMA user_version = 99; PRAGMA application_id = 0x534F4C46")
    with pytest.raises(CollectionError, match="Update solfa"):
        repair(tmp_path / "newer")


def test_doctor_tells_and_mends(shelf: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solfa.apps.doctor.weight_models", lambda: ())
    monkeypatch.setattr("solfa.apps.doctor.load_model", lambda *_, **__: tiny_model())
    doctor = ["doctor", "--collection", str(shelf)]
    assert "as it was written" in CliRunner().invoke(app, doctor).output
    DAMAGE["document"](shelf)
    told = CliRunner().invoke(app, doctor)
    assert told.exit_code == 1 and "1 analyses are damaged" in told.output and "solfa doctor --repair" in told.output
    repaired = CliRunner().invoke(app, [*doctor, "--repair"])
    assert "repaired" in repaired.output and f"solfa index {kept[1]} --collection {shelf}" in repaired.output
    assert "damaged-" in repaired.output
    assert "as it was written" in CliRunner().invoke(app, doctor).output
    with Collection.open(shelf) as opened:
        assert opened.store(SPACE) is not None
