"""The truth: one SQLite file, and the numbered steps that bring an older one up to date.

Nothing here is ever edited once released; a change of shape is a new step.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files

from solfa.core.errors import CollectionError

APPLICATION_ID = 0x534F4C46  # so that we, and `file`, can tell our databases from others


MIGRATIONS = ("m001_first.sql", "m002_windows.sql", "m003_checksums.sql")  # beside this file
VERSION = len(MIGRATIONS)
TABLES = {"track", "scoring", "layout", "document", "timeline", "heard", "name", "file", "failure", "space", "vector"}
_KINDS: dict[str, type] = {"INTEGER": int, "REAL": float, "TEXT": str, "BLOB": bytes}


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


def migrate(db: sqlite3.Connection) -> None:
    """Bring the database to ``VERSION``, one transaction a step. The caller holds the writer's lock."""
    for number in range(version(db), VERSION):
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
