"""Repairing a damaged collection: what can be verified goes into a new database, the next index makes the rest again.

An analysis is verified by the checksum of its compressed document, and everything that is derived from it is derived
again; vectors by their CRC-32; files and spaces by theirs. So one and the same copy repairs whatever is wrong.
"""

import os
import re
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any

from solfa.collection import records
from solfa.collection.database import (
    FAULTS,
    TABLES,
    Database,
    damage_or_refusal,
    fits,
    migrate,
    transaction,
    version,
)
from solfa.collection.feedback import Sought, read_head
from solfa.collection.indexing import IndexedFile
from solfa.collection.store import Placement, SpaceFiles, space_directory
from solfa.collection.writer import Writer
from solfa.core.errors import CollectionDamaged, CollectionError
from solfa.core.files import is_url, path_of
from solfa.core.types import FileTags

Row = dict[str, Any]
_ROW_BYTES = 64  # no row is smaller: so many ids at most are looked up one by one around a damaged page
_WHAT = {
    "tracks": "{} recordings cannot be identified: their files are analyzed again",
    "analyses": "{} analyses are damaged: made again",
    "vectors": "the vectors of {} recordings are damaged: made again, analyses are kept",
    "spaces": "{} embedding spaces are damaged: their vectors are made again, analyses are kept",
    "verdict": "{} verdicts are damaged, or of recordings that cannot be identified: left out",
    "head": "what was learnt from verdicts is damaged: left out, solfa learn makes it again",
    "files": "{} entries of files are damaged: the files are read again, analyses are kept",
}
_INDEX = "CREATE VIRTUAL TABLE temp.terms USING fts5vocab(main, words, instance)"
_SAID = ("title", "artist", "album", "genre", "date", "comment")


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """What is wrong with a collection, a sentence each; nothing where all is well.

    ``folders`` hold its files, ``model`` it was last indexed with; ``kept`` is the copy of a database that was damaged.
    """

    found: tuple[str, ...]
    folders: tuple[Path, ...] = ()
    model: str = ""
    kept: Path | None = None


def examine(directory: Path) -> Damage:
    """What is wrong: reads everything, changes nothing.

    Raises CollectionError if there is no collection, it is not ours, or it was written by a newer version.
    """
    with TemporaryDirectory() as scratch:
        return _repaired(Database(directory), Path(scratch))


def repair(directory: Path) -> Damage:
    """Repair what is wrong; the damaged database is kept next to the new one.

    Raises CollectionBusy if another process is writing; CollectionError as ``examine``, or if the disk refuses; the
    collection remains as it was.
    """
    database = Database(directory)
    if not database.exists():
        return _repaired(database, directory)  # says that there is none
    scratch = directory / f".solfa-{token_hex(8)}.tmp"
    with database.lock():
        try:
            scratch.mkdir()
            damage = _repaired(database, scratch)
            if not damage.found:
                return damage
            kept = directory / f"damaged-{time.strftime('%Y%m%d-%H%M%S')}-{token_hex(2)}.sqlite"
            log = database.path.with_name(f"{database.path.name}-wal")
            shutil.copyfile(database.path, kept)
            if log.exists():
                shutil.copyfile(log, kept.with_name(f"{kept.name}-wal"))
            for path in (log, database.path.with_name(f"{database.path.name}-shm")):
                path.unlink(missing_ok=True)  # of the old database: it must not be applied to the new one
            Database(scratch).path.replace(database.path)
        except OSError as error:
            raise CollectionError(f"cannot repair {directory}: {error.strerror}. Free disk space first.") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return Damage(found=damage.found, folders=damage.folders, model=damage.model, kept=kept)


def _repaired(old: Database, scratch: Path) -> Damage:
    """A database with what can be verified, in the folder ``scratch``, and what could not be."""
    try:
        old.prepare(False)
    except CollectionDamaged:
        if not old.path.is_file():
            raise
    new, lost, found = Database(scratch), Counter[str](), []
    with new.writer() as db:
        migrate(db)
        try:
            with closing(old.reader()) as source, transaction(db):
                source.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
                reason = _structure(source)
                _Copy(source, db, old.directory, lost).run()
                differing = [name for name, sql in _compared().items() if _differ(source, db, sql)]
        except FAULTS as error:
            raise damage_or_refusal(error, old.directory) from error
        if reason:
            found.append(f"the database file is damaged ({reason}): what can be read of it is copied")
        found += [_WHAT[name].format(count) for name, count in lost.items() if count]
        if differing and not found:
            found.append(f"{', '.join(differing)} do not hold what they should: made again from the analyses")
        model = db.execute("SELECT model FROM space WHERE model <> '' ORDER BY last_run DESC LIMIT 1").fetchone()
        folders = {path_of(os.fsdecode(path)).parent for (path,) in db.execute("SELECT path FROM file")}
    top = sorted(folder for folder in folders if folders.isdisjoint(folder.parents))
    return Damage(found=tuple(found), folders=tuple(top), model=model[0] if model else "")


class _Copy:
    """Copies what can be verified of ``source`` to the new, empty database ``db``, and counts what cannot."""

    def __init__(self, source: sqlite3.Connection, db: sqlite3.Connection, directory: Path, lost: Counter[str]) -> None:
        self._source, self._db, self._directory, self._lost = source, db, directory, lost
        self._hashes: dict[int, str] = {}
        self._analyzed: set[int] = set()
        self._most = max(Database(directory).path.stat().st_size // _ROW_BYTES, 1000)

    def run(self) -> None:
        """Everything, in the order in which one refers to the other."""
        for table in ("name", "layout", "failure"):
            for row in self._rows(table, "path" if table == "failure" else "id"):
                if fits(self._db, table, row):
                    self._insert(table, row)
        writer = Writer(self._db, self._directory)
        for row in self._rows("track"):
            self._track(writer, row)
        for row in self._rows("space"):
            self._space(row)
        for row in self._rows("file"):
            self._file(writer, row)
        for table in ("verdict", "head"):
            for row in self._rows(table):
                self._lost[table] += not (self._learnt(table, row) and self._insert(table, row))

    def _track(self, writer: Writer, row: Row) -> None:
        bare = {"id": row["id"], "hash": row["hash"], "present": 0, "duration_s": 0.0, "analysis_version": ""}
        named = fits(self._db, "track", bare) and re.fullmatch("[0-9a-f]+", row["hash"])
        if not named or not self._insert("track", bare):
            self._lost["tracks"] += 1
            return
        track_id = int(row["id"])
        self._hashes[track_id] = row["hash"]
        packed = (self._one("document", track_id=track_id) or {}).get("analysis", b"")
        self._db.execute("SAVEPOINT analysis")
        try:
            analysis = records.unpack_document(packed)
            indexed = IndexedFile(
                path="", size=0, mtime_ns=0, hash=row["hash"], duration_s=analysis.duration_s, tags=FileTags()
            )
            writer.put_analysis(track_id, indexed, analysis, row["analysis_version"])
            self._db.execute("UPDATE document SET analysis = ? WHERE track_id = ?", (packed, track_id))
            self._analyzed.add(track_id)
        except Exception:  # (whatever a damaged document makes of it, it cannot be used)
            self._db.execute("ROLLBACK TO analysis")
            self._lost["analyses"] += row["analysis_version"] != ""  # empty: it waits for the next index
        self._db.execute("RELEASE analysis")

    def _space(self, row: Row) -> None:
        try:
            if not fits(self._db, "space", row):
                raise ValueError
            space = records.read_space(*(row[name] for name in ("name", "dim", "hop_s", "window_s", "crc")))
        except ValueError:
            self._lost["spaces"] += 1
            return
        rows, wanted = [self._one("vector", space_id=row["id"], track_id=track_id) for track_id in self._hashes], []
        found = {vector["track_id"]: vector for vector in rows if vector is not None}
        for vector in found.values():
            with suppress(ValueError):
                if fits(self._db, "vector", vector):
                    records.read_counts(vector["counts"], vector["frames"], space)
                    wanted.append(Placement(**{name: vector[name] for name in Placement.__slots__}))
        folder = space_directory(self._directory, row["id"])
        on_disk = {p.name.split(".")[1] for p in folder.glob("segments.*.i8")}
        others = [int(name) for name in sorted(on_disk) if name.isdigit()]
        files, best = SpaceFiles(folder, space, row["generation"]), list[Placement]()
        for generation in dict.fromkeys([row["generation"], *others]):
            if len(good := (tried := SpaceFiles(folder, space, generation)).intact(wanted)) > len(best):
                files, best = tried, good
            if len(good) == len(wanted):
                break
        self._lost["vectors"] += len(found) - len(best)
        row["generation"] = files.generation
        ends = [p.segment_at + p.segments for p in best], [p.frame_at + p.frames for p in best]
        for name, own, most in zip(("segment_rows", "frame_rows"), ends, files.rows(), strict=True):
            least = max(own, default=0)
            row[name] = row[name] if least <= row[name] <= most else least
        self._insert("space", row)
        for p in best:
            self._insert("vector", found[p.track_id])

    def _file(self, writer: Writer, row: Row) -> None:
        track_id, path = row["track_id"], row["path"]
        named = isinstance(path, bytes) and (path[:1] == b"/" or is_url(os.fsdecode(path)))
        if track_id not in self._hashes or not named:
            self._lost["files"] += 1
            return
        whole = fits(self._db, "file", row)
        whole = whole and row["crc"] in (None, records.file_crc(row, self._hashes[track_id]))
        self._lost["files"] += not whole
        if not (whole or os.path.lexists(path) or is_url(os.fsdecode(path))):
            return  # the damage may be in the path: the next index finds the file under its own
        tags = {**{name: row[name] for name in _SAID}, "tempo_bpm": row["tag_tempo_bpm"], "key": row["tag_key"]}
        indexed = IndexedFile(
            path=os.fsdecode(path), size=row["size"] if whole else -1, mtime_ns=row["mtime_ns"] if whole else 0,
            hash=self._hashes[track_id], duration_s=0.0, tags=FileTags(**tags) if whole else FileTags(),
        )  # fmt: skip
        writer.put_file(track_id, indexed, row["id"] if isinstance(row["id"], int) else None)
        if row["present"] != 1 or track_id not in self._analyzed:
            self._db.execute("UPDATE file SET present = 0 WHERE path = ?", (path,))
        if whole and row["crc"] is None:
            self._db.execute("UPDATE file SET crc = NULL WHERE path = ?", (path,))

    def _learnt(self, table: str, row: Row) -> bool:
        try:
            if table == "head":
                read_head(*(row[name] for name in ("base", "space", "weights", "report", "crc")))
            else:
                Sought.read(row["sought"])
        except (ValueError, LookupError, TypeError):
            return False
        return fits(self._db, table, row) and (table == "head" or row["track_id"] in self._hashes)

    def _insert(self, table: str, row: Mapping[str, Any]) -> bool:
        sql = f"INSERT OR IGNORE INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"
        return self._db.execute(sql, (*row.values(),)).rowcount > 0

    def _one(self, table: str, **key: int) -> Row | None:
        with suppress(*FAULTS):
            where = " AND ".join(f"{name} = ?" for name in key)
            return next(_named(self._source.execute(f"SELECT * FROM {table} WHERE {where}", (*key.values(),))), None)
        return None

    def _rows(self, table: str, key: str = "id") -> list[Row]:
        """Rows of a table that may be damaged: from both ends, and between them one by one."""
        found: dict[Any, Row] = {}
        ends = []
        for order in ("", " DESC"):
            last = 0
            try:
                for row in _named(self._source.execute(f"SELECT * FROM {table} ORDER BY {key}{order}")):
                    found[row[key]], last = row, row[key]
                return list(found.values())
            except FAULTS:
                ends.append(last)
        if key == "id" and all(isinstance(end, int) for end in ends):
            for number in range(ends[0] + 1, min(ends[1] or self._most, ends[0] + self._most)):
                if (one := self._one(table, id=number)) is not None:
                    found[number] = one
        return list(found.values())


def _named(cursor: sqlite3.Cursor) -> Iterator[Row]:
    names = [column[0] for column in cursor.description]
    return (dict(zip(names, row, strict=True)) for row in cursor)


def _structure(source: sqlite3.Connection) -> str:
    """The first fault of the file itself, empty if it has none."""
    try:
        source.execute("BEGIN")  # one state, whatever others write
        version(source)
        said = source.execute("PRAGMA integrity_check(1)").fetchone()
    except FAULTS as error:
        return str(error)
    return "" if said == ("ok",) else " ".join(str(said[0]).split()) if said else "no answer"


def _compared() -> dict[str, str]:
    tables = {name: f"SELECT * FROM {name} ORDER BY 1, 2" for name in sorted(TABLES)}
    return {
        **tables,
        "words": "SELECT rowid, * FROM words ORDER BY rowid",
        "index of words": "SELECT term, doc, col, offset FROM temp.terms",
        "lengths of words": "SELECT id, sz FROM words_docsize ORDER BY id",
        "mean lengths of words": "SELECT block FROM words_data WHERE id = 1",
    }


def _differ(source: sqlite3.Connection, db: sqlite3.Connection, sql: str) -> bool:
    try:
        for each in (source, db):
            if "temp.terms" in sql:
                each.execute(_INDEX)
        return any(a != b for a, b in zip_longest(source.execute(sql), db.execute(sql)))
    except FAULTS:
        return True
