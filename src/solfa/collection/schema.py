"""The truth: one SQLite file, and the numbered steps that bring an older one up to date.

Nothing here is ever edited once released; a change of shape is a new step.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files

from solfa.core.errors import CollectionError

APPLICATION_ID = 0x534F4C46  # so that we, and `file`, can tell our databases from others


def m001_first(db: sqlite3.Connection) -> None:
    """Tracks (one for each decoded content), files that hold them, vectors, failures, words."""
    script, pending = files("solfa.collection").joinpath("m001_first.sql").read_text(encoding="utf-8"), ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            db.execute(pending)
            pending = ""


def m002_windows(db: sqlite3.Connection) -> None:
    """Spaces know their windows and the model that made them; ``counts`` are the frames of each window, uint32."""
    whole_numbers = (f"{name} INTEGER NOT NULL DEFAULT 0" for name in ("allow_noncommercial", "last_run"))
    for column in ("window_s REAL NOT NULL DEFAULT 0", "model TEXT NOT NULL DEFAULT ''", *whole_numbers):
        db.execute(f"ALTER TABLE space ADD COLUMN {column}")
    db.execute("ALTER TABLE vector ADD COLUMN counts BLOB NOT NULL DEFAULT x''")


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (m001_first, m002_windows)
VERSION = len(MIGRATIONS)


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

    Raises
    ------
    CollectionError
        If it belongs to another program, or was written by a newer solfa.
    """
    found = int(db.execute("PRAGMA user_version").fetchone()[0])
    owner = int(db.execute("PRAGMA application_id").fetchone()[0])
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
        with transaction(db):
            MIGRATIONS[number](db)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {number + 1}")
