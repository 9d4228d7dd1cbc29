"""What a collection holds, to compare two."""

import sqlite3
from contextlib import closing
from pathlib import Path

from solfa.collection import Collection
from solfa.collection.database import TABLES

_PLACED = {"generation", "segment_rows", "frame_rows", "segment_at", "frame_at"}  # where rows are, not what they are


def contents(directory: Path) -> dict[str, list[tuple[object, ...]]]:
    """Everything that a collection holds, but for where the rows of its vectors are; their bytes instead."""
    with closing(sqlite3.connect(directory / "collection.sqlite")) as db:
        found: dict[str, list[tuple[object, ...]]] = {}
        for table in (*sorted(TABLES), "words", "sqlite_sequence"):
            names = [row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[1] not in _PLACED]
            also = "rowid, " if table == "words" else ""
            found[table] = sorted(db.execute(f"SELECT {also}{', '.join(names)} FROM {table}"), key=repr)
        found["index of words"] = db.execute("SELECT id, sz FROM words_docsize ORDER BY id").fetchall()
    with Collection.open(directory) as collection:
        for space in collection.spaces():
            store = collection.store(space)
            found[space] = [
                (i, w.pooled_WD.tobytes(), w.frames_TD.tobytes(), w.ranges_W2.tobytes())
                for i, w in zip(store.track_ids.tolist(), store.windows(store.track_ids.tolist()), strict=True)
            ]
    return found
