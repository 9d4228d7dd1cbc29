"""Commits what was indexed: vectors to disk first, then one transaction that names them."""

import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solfa.collection import records
from solfa.collection.database import transaction
from solfa.collection.feedback import HEADED
from solfa.collection.indexing import IndexedFile
from solfa.collection.store import Placement, Space, SpaceFiles, TrackVectors, space_directory
from solfa.core.errors import CollectionError
from solfa.core.filters import PRESENT, folded
from solfa.core.types import Analysis


class Writer:
    """The one process that changes a collection. The caller holds the lock."""

    def __init__(self, db: sqlite3.Connection, directory: Path) -> None:
        self._db, self._directory = db, directory
        self._names: dict[str, int] = {text: n for n, text in db.execute("SELECT id, text FROM name")}

    def space(self, space: Space, model: str = "", allow_noncommercial: bool = False) -> int:
        """The number of an embedding space, made if it is new; its uncommitted tail is cut off.

        A ``model`` is the name that made it: the one that the collection is searched with from now on.

        Raises CollectionError if a space of this name has another shape.
        """
        with transaction(self._db):
            self._db.execute(
                "INSERT OR IGNORE INTO space (name, dim, hop_s, window_s, generation, segment_rows, frame_rows, crc) "
                "VALUES (?,?,?,?,0,0,0,?)",
                (space.name, space.dim, space.hop_s, space.window_s, records.space_crc(space)),
            )
            if model:
                self._db.execute(
                    "UPDATE space SET model = ?, allow_noncommercial = ?, "
                    "last_run = (SELECT MAX(last_run) + 1 FROM space) WHERE name = ?",
                    (model, int(allow_noncommercial), space.name),
                )
        space_id, dim, hop_s, window_s, generation, segment_rows, frame_rows = self._db.execute(
            "SELECT id, dim, hop_s, window_s, generation, segment_rows, frame_rows FROM space WHERE name = ?",
            (space.name,),
        ).fetchone()
        if (dim, hop_s, window_s) != (space.dim, space.hop_s, space.window_s):
            raise CollectionError(
                f"the space {space.name!r} has {dim} dimensions every {hop_s} s in windows of {window_s} s here, the "
                f"model gives {space.dim} every {space.hop_s} s in windows of {space.window_s} s; a model that changes "
                f"its shape must change its space."
            )
        self._space_id = int(space_id)
        self._files = SpaceFiles(space_directory(self._directory, space_id), space, generation)
        if any(there < rows for there, rows in zip(self._files.rows(), (segment_rows, frame_rows), strict=True)):
            # The user was told to delete damaged files; their vectors are computed again, analyses are kept.
            with transaction(self._db):
                self._db.execute("DELETE FROM vector WHERE space_id = ?", (space_id,))
                self._db.execute("UPDATE space SET segment_rows = 0, frame_rows = 0 WHERE id = ?", (space_id,))
            segment_rows = frame_rows = 0
        self._files.cut((segment_rows, frame_rows))
        return self._space_id

    def commit(self, batch: Sequence[IndexedFile], version: str) -> list[tuple[int, bool]]:
        """Commit indexed files, all or nothing; for each file its track, and whether the content is new.

        Vectors go to the space of the last ``space``.
        """
        vectors = [indexed.vectors for indexed in batch if indexed.vectors is not None]
        placements = iter(self._files.append(vectors) if vectors else ())
        result = []
        with transaction(self._db):
            for indexed in batch:
                row = self._db.execute("SELECT id FROM track WHERE hash = ?", (indexed.hash,)).fetchone()
                track_id = None if row is None else int(row[0])
                if indexed.analysis is not None:
                    track_id = self.put_analysis(track_id, indexed, indexed.analysis, version)
                if track_id is None:
                    raise CollectionError(f"{indexed.path}: indexed in part, but its content is not known.")
                if indexed.vectors is not None:
                    self._put_vectors(track_id, next(placements), indexed.vectors)
                    self._db.execute(  # what a head made of the vectors that were replaced
                        "DELETE FROM vector WHERE track_id = ? AND space_id IN (SELECT id FROM space WHERE name LIKE "
                        "(SELECT name FROM space WHERE id = ?) || ?)",
                        (track_id, self._space_id, f"{HEADED}%"),
                    )
                self.put_file(track_id, indexed)
                self._db.execute("DELETE FROM failure WHERE path = ?", (os.fsencode(indexed.path),))
                result.append((track_id, row is None))
        return result

    def put_vectors(self, batch: Sequence[TrackVectors]) -> None:
        """Commit vectors of known tracks, all or nothing, to the space of the last ``space``."""
        placements = self._files.append(batch)
        with transaction(self._db):
            for placed, vectors in zip(placements, batch, strict=True):
                self._put_vectors(vectors.track_id, placed, vectors)

    def put_failure(self, path: str, size: int, mtime_ns: int, reason: str) -> None:
        """Commit that a file could not be read; what it held before is no longer there."""
        with transaction(self._db):
            self._db.execute(
                "INSERT OR REPLACE INTO failure (path, size, mtime_ns, reason) VALUES (?,?,?,?)",
                (os.fsencode(path), size, mtime_ns, _text(reason)),
            )
            self._db.execute("UPDATE file SET present = 0 WHERE path = ?", (os.fsencode(path),))

    def update_presence(
        self, *, present: Iterable[str] = (), gone: Iterable[str] = (), moved: Iterable[str] = (),
        no_failures: Iterable[str] = (),
    ) -> None:  # fmt: skip
        """Commit which files are present again, gone, or moved (their tracks have other paths now)."""
        changes = {
            "UPDATE file SET present = 1 WHERE path = ?": present,
            "UPDATE file SET present = 0 WHERE path = ?": gone,
            "DELETE FROM words WHERE rowid = (SELECT id FROM file WHERE path = ?)": moved,
            "DELETE FROM file WHERE path = ?": moved,
            "DELETE FROM failure WHERE path = ?": no_failures,
        }
        with transaction(self._db):
            for statement, paths in changes.items():
                self._db.executemany(statement, [(os.fsencode(path),) for path in paths])

    def put_analysis(self, track_id: int | None, indexed: IndexedFile, analysis: Analysis, version: str) -> int:
        """Everything that is read from an analysis, within a transaction; the number of its track."""
        columns = "duration_s, analysis_version, tempo_bpm, key, metre, loudness_lufs"
        measured = (analysis.tempo_bpm, analysis.key, analysis.metre, analysis.loudness_lufs)
        asked = (indexed.duration_s, version, *(estimate.value for estimate in measured))
        if track_id is None:
            cursor = self._db.execute(
                f"INSERT INTO track (hash, {columns}) VALUES (?,?,?,?,?,?,?)", (indexed.hash, *asked)
            )
            track_id = int(cursor.lastrowid or 0)
        else:
            self._db.execute(f"UPDATE track SET ({columns}) = (?,?,?,?,?,?) WHERE id = ?", (*asked, track_id))
        concepts, steps = records.confidences(analysis)
        self._db.execute("INSERT OR IGNORE INTO layout (concepts) VALUES (?)", (concepts,))
        self._db.execute(
            "INSERT OR REPLACE INTO scoring VALUES (?, (SELECT id FROM layout WHERE concepts = ?), ?, ?, ?)",
            (track_id, concepts, _blob(records.summary(analysis)), _blob(steps), records.progression(analysis)),
        )
        self._db.execute("INSERT OR REPLACE INTO document VALUES (?,?)", (track_id, records.pack_document(analysis)))
        chords, spans, energy = records.timeline(analysis, self._number)
        self._db.execute(
            "INSERT OR REPLACE INTO timeline VALUES (?,?,?,?,?)",
            (track_id, _blob(chords), _blob(spans), _blob(energy), analysis.energy.hop_s),
        )
        self._db.execute("DELETE FROM heard WHERE track_id = ?", (track_id,))
        self._db.executemany(
            "INSERT INTO heard (concept, track_id) VALUES (?,?)",
            [(t.concept, track_id) for t in analysis.tags().values() if t.confidence >= PRESENT],
        )
        return track_id

    def _put_vectors(self, track_id: int, placed: Placement, vectors: TrackVectors) -> None:
        counts = np.array(vectors.counts, "<u4").tobytes()
        rows = (placed.segment_at, placed.segments, placed.frame_at, placed.frames, placed.crc, counts)
        self._db.execute("INSERT OR REPLACE INTO vector VALUES (?,?,?,?,?,?,?,?)", (self._space_id, track_id, *rows))
        self._db.execute(
            "UPDATE space SET segment_rows = ?, frame_rows = ? WHERE id = ?",
            (placed.segment_at + placed.segments, placed.frame_at + placed.frames, self._space_id),
        )

    def put_file(self, track_id: int, indexed: IndexedFile, file_id: int | None = None) -> None:
        """A file and the words of its tags, within a transaction; ``file_id`` is the number of a new one."""
        tags, key, digits = indexed.tags, os.fsencode(indexed.path), indexed.tags.date[:4]
        said = {name: _text(getattr(tags, name)) for name in ("title", "artist", "album", "genre", "comment")}
        shown = {**said, "path": _text(indexed.path)}
        row: dict[str, Any] = {
            **{"track_id": track_id, "size": indexed.size, "mtime_ns": indexed.mtime_ns, "present": 1},
            **{**said, "date": _text(tags.date), "tag_tempo_bpm": _number(tags.tempo_bpm), "tag_key": tags.key},
            **{f"{name}_folded": folded(text) for name, text in shown.items()},
            "year": int(digits) if len(digits) == 4 and digits.isascii() and digits.isdigit() else None,
        }
        row["crc"] = records.file_crc({**row, "path": key}, indexed.hash)
        columns, marks = ", ".join(row), ", ".join("?" * len(row))
        self._db.execute(
            f"INSERT INTO file (id, path, {columns}) VALUES (?, ?, {marks}) "
            f"ON CONFLICT (path) DO UPDATE SET ({columns}) = ({marks})",
            (file_id, key, *row.values(), *row.values()),
        )
        file_id = self._db.execute("SELECT id FROM file WHERE path = ?", (key,)).fetchone()[0]
        self._db.execute("DELETE FROM words WHERE rowid = ?", (file_id,))
        self._db.execute(
            f"INSERT INTO words (rowid, {', '.join(shown)}) VALUES (?,?,?,?,?,?,?)",
            (file_id, *words_of(indexed.path, said)),
        )

    def _number(self, text: str) -> int:
        if text not in self._names:
            cursor = self._db.execute("INSERT INTO name (text) VALUES (?)", (text,))
            self._names[text] = int(cursor.lastrowid or 0)
        return self._names[text]


def words_of(path: str, said: Mapping[str, str]) -> tuple[str, ...]:
    """What the full text holds of a file, by column; an untagged file's name is its title."""
    title = said["title"] or _text(Path(path).stem)
    return title, *(said[name] for name in ("artist", "album", "genre", "comment")), _text(path)


def _blob(array: NDArray[np.generic]) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _text(text: str) -> str:
    """Text that the database takes: bytes that are no UTF-8 become replacement characters."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\x00", "")
