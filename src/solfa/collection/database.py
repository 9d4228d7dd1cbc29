"""The truth: one SQLite file, the numbered scripts that bring an older one up to date, and the lock of its one writer.

Scripts are never edited once released; a change of shape is a new one.
"""

import json
import math
import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path

import filelock

from solfa.core.errors import CollectionBusy, CollectionDamaged, CollectionError

_NAME = "collection.sqlite"
COPY = "copy-of.txt"  # of what a folder is a copy, which is not written to
APPLICATION_ID = 0x534F4C46  # so that we, and `file`, recognize our databases


MIGRATIONS = ("m001_first.sql", "m002_windows.sql", "m003_checksums.sql", "m004_feedback.sql")  # next to this file
VERSION = len(MIGRATIONS)
TABLES = {"track", "scoring", "layout", "document", "timeline", "heard", "name", "file", "failure", "space", "vector",
          "verdict", "head"}  # fmt: skip
_KINDS: dict[str, type] = {"INTEGER": int, "REAL": float, "TEXT": str, "BLOB": bytes}
# Primary result codes of faults of the machine, not of the file: permission, busy, locked, memory, read-only, I/O,
# full, cannot open, locking protocol, access.
_MACHINE = {3, 5, 6, 7, 8, 10, 13, 14, 15, 23}
FAULTS = (sqlite3.DatabaseError, UnicodeDecodeError)  # the latter where SQLite quotes a damaged schema
_CREATING_S = 10.0  # how long to wait for another process that is just creating or updating the schema


class Database:
    """The SQLite file of a collection directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / _NAME
        self._held = False

    def exists(self) -> bool:
        """True if there is a collection here."""
        return self.path.exists()

    def prepare(self, create: bool) -> None:
        """Make the database, or bring an old one up to date.

        Raises CollectionError if there is none and ``create`` is False, or the directory cannot be written.
        """
        try:
            there = self.exists() and stat.S_ISREG(self.path.stat().st_mode)  # a pipe would never answer
        except OSError as error:
            raise CollectionError(f"cannot read {self.path}: {error.strerror}.") from error
        if self.exists() and not there:
            raise CollectionDamaged(self.directory, f"{self.path.name} is not a regular file")
        if not there and not create:
            raise CollectionError(f"no collection in {self.directory}. Make one with: solfa index FOLDER")
        if there:
            try:
                with closing(self.reader()) as db:
                    if version(db) == VERSION:
                        return
            except FAULTS as error:
                raise damage_or_refusal(error, self.directory) from error
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CollectionError(f"cannot make the directory {self.directory}: {error.strerror}.") from error
        with self.lock(wait_s=_CREATING_S), self.writer() as db:
            migrate(db)

    def reader(self) -> sqlite3.Connection:
        """A connection that cannot write."""
        uri = self.path.absolute().as_uri()
        log = self.path.with_name(_NAME + "-wal")
        # Where nothing can be written, SQLite cannot make the files that it shares with writers; nor are there any.
        frozen = not os.access(self.directory, os.W_OK) and not (log.exists() and log.stat().st_size)
        return self._connect(uri + ("?mode=ro&immutable=1" if frozen else "?mode=ro"))

    @contextmanager
    def writer(self) -> Iterator[sqlite3.Connection]:
        """A connection for the holder of the lock.

        Raises CollectionError if the disk is full or refuses; the last committed state is kept.
        """
        db = self._connect(self.path.absolute().as_uri() + "?mode=rwc")
        try:
            db.execute("PRAGMA journal_mode = WAL")  # readers go on seeing the state they began with
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            yield db
            db.execute("PRAGMA busy_timeout = 0")  # readers may keep the log from being folded in; that is no error
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except FAULTS as error:
            raise damage_or_refusal(error, self.directory, "write to") from error
        finally:
            db.close()

    @contextmanager
    def lock(self, wait_s: float = 0.0) -> Iterator[None]:
        """Be the only writer.

        Raises CollectionBusy if another process is, naming it if it can be known.
        """
        if (copy := self.directory / COPY).exists():
            raise CollectionError(
                f"this is a copy of {copy.read_text(encoding='utf-8')}, which only 'solfa index' changes. Make a "
                f"collection of it first: solfa collection copy lance://... FOLDER"
            )
        lock = filelock.FileLock(self.directory / "writer.lock")
        note = self.directory / "writer.json"
        try:
            lock.acquire(timeout=wait_s)
        except filelock.Timeout as error:
            raise CollectionBusy(
                f"another process{_pid_of(note)} is writing to {self.directory}. Wait for it, or stop it; what it has "
                f"finished is kept. Searching works meanwhile."
            ) from error
        except OSError as error:
            raise CollectionError(f"cannot write to {self.directory}: {error.strerror}.") from error
        try:
            _write_note(note)
            yield
        finally:
            note.unlink(missing_ok=True)
            lock.release()

    def _connect(self, uri: str) -> sqlite3.Connection:
        try:
            # One thread at a time uses a connection, not always the one that opened it.
            return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30.0, check_same_thread=False)
        except sqlite3.Error as error:
            raise CollectionError(f"cannot open {self.path}: {error}.") from error


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def version(db: sqlite3.Connection) -> int:
    """Which step the database is at; 0 for an empty one.

    Raises CollectionError if it belongs to another program, or was written by a newer solfa; sqlite3.DatabaseError if
    its header is damaged.
    """
    found = int(db.execute("PRAGMA user_version").fetchone()[0])
    owner = int(db.execute("PRAGMA application_id").fetchone()[0])
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables >= TABLES and (owner != APPLICATION_ID or not 0 < found < VERSION + 1000):
        raise sqlite3.DatabaseError("its header is damaged")
    if owner not in (0, APPLICATION_ID) or (found and not owner):
        raise CollectionError("the database belongs to another program. Choose another directory with --collection.")
    if found > VERSION:
        raise CollectionError(
            f"the collection has schema {found}, this version of solfa reads up to {VERSION}. Update solfa."
        )
    return found


def migrate(db: sqlite3.Connection, to: int | None = None) -> None:
    """Bring the database to a version (None: the newest), one transaction a step; under the writer's lock."""
    for number in range(version(db), VERSION if to is None else to):
        script, statement = files("solfa.collection").joinpath(MIGRATIONS[number]).read_text(encoding="utf-8"), ""
        with transaction(db):
            for line in script.splitlines(keepends=True):  # executescript() would commit
                statement += line
                if sqlite3.complete_statement(statement):
                    db.execute(statement)
                    statement = ""
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {number + 1}")


def fits(db: sqlite3.Connection, table: str, row: Mapping[str, object]) -> bool:
    """Whether the values of a row are of the types that its table declares."""
    for _, name, kind, not_null, *_ in db.execute(f"PRAGMA table_info({table})"):
        value = row.get(name)
        fine = value is None and not not_null and name != "id"
        if not (fine or isinstance(value, _KINDS[kind])) or (isinstance(value, float) and not math.isfinite(value)):
            return False
    return True


def misfits(db: sqlite3.Connection) -> list[str]:
    """Columns that hold a value of another type than they declare, which SQLite itself would give out."""
    found = []
    for table in sorted(TABLES):
        for _, name, kind, not_null, *_ in db.execute(f"PRAGMA table_info({table})").fetchall():
            other = "" if not_null or name == "id" else f" AND {name} IS NOT NULL"
            sql = f"SELECT 1 FROM {table} WHERE typeof({name}) <> ?{other} LIMIT 1"
            if db.execute(sql, (kind.lower(),)).fetchone():
                found.append(f"{table}.{name}")
    return found


def damage_or_refusal(error: Exception, directory: Path, doing: str = "read") -> CollectionError:
    """What an error of SQLite means: the machine refuses, or the file is damaged."""
    if getattr(error, "sqlite_errorcode", 1) & 0xFF in _MACHINE:
        safe = "What was committed before is safe; make room and run the command again." if doing != "read" else ""
        return CollectionError(f"cannot {doing} {directory}: {error}. {safe}".strip())
    return CollectionDamaged(directory, error)


def _write_note(note: Path) -> None:
    try:
        note.write_text(json.dumps({"pid": os.getpid()}), encoding="utf-8")
    except OSError:  # a full disk: the note only makes a message nicer
        note.unlink(missing_ok=True)


def _pid_of(note: Path) -> str:
    try:
        return f" (pid {int(json.loads(note.read_text(encoding='utf-8'))['pid'])})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
