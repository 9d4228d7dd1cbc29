"""A collection as one Lance dataset, in a folder or an object store: a row for each row of the database.

A commit is a version. A row fills the column (a struct) that is named after its table; ``of`` is its track, and rows of
the table ``vector`` have the vectors themselves in ``segments`` and ``frames`` (``collection.store``). Every commit
changes the row ``store``, so that of two writers that began with one version Lance refuses the second.
"""

import os
import re
import shutil
import sqlite3
import warnings
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from solfa.collection.database import COPY, TABLES, VERSION, Database, migrate, transaction
from solfa.collection.records import read_space
from solfa.collection.store import SpaceFiles, TrackVectors, space_directory
from solfa.collection.writer import words_of
from solfa.core.errors import CollectionBusy, CollectionDamaged, CollectionError, InputError, SolfaError, need
from solfa.weights import home

Row = dict[str, Any]
# Tables whose rows belong to a track, and the column that says to which; ``heard`` is a list in its row of ``track``.
_OF = {"track": "id", **dict.fromkeys(("scoring", "document", "timeline", "file", "vector", "verdict"), "track_id")}
_SMALL = (*sorted(TABLES - _OF.keys() - {"heard"}), "sqlite_sequence")
_ADDRESS = re.compile(r"lance(?:\+(\w+))?://([^@]+)(?:@([\w.-]+))?")
_KINDS = {"INTEGER": "int64", "REAL": "float64", "TEXT": "string", "BLOB": "large_binary"}
_AT_ONCE, _A_COMMIT = 200, 1000  # tracks
_BUSY = "another process has committed to {}: nothing is overwritten. Run the same command again to go on from there."


def is_store(text: str) -> bool:
    """Whether a text is meant as the address of a store."""
    return text.startswith(("lance:", "lance+"))


class NoStore(CollectionError):
    """There is no store, or no such version of it."""


class LanceStore:
    """A version of a store: ``lance://FOLDER`` or ``lance+s3://BUCKET/KEY``, the latest or ``@NUMBER`` or ``@NAME``.

    Credentials and endpoints of object stores are those of the environment (``AWS_ACCESS_KEY_ID``, ...).

    Raises InputError if the address cannot be read; MissingExtra without Lance. Its methods raise CollectionError if
    there is no such store or version, or it cannot be reached.
    """

    def __init__(self, address: str) -> None:
        os.environ.setdefault("LANCE_LOG", "error")
        self._lance, self._arrow = (need(n, "stores", "pip install 'solfa[cluster]'") for n in ("lance", "pyarrow"))
        # Ray forks only to run another program, and solfa's own processes are spawned.
        warnings.filterwarnings("ignore", "lance is not fork-safe")
        found = _ADDRESS.fullmatch(address)
        if found is None:
            raise InputError(
                f"not a store: {address!r}. Expected lance://FOLDER or lance+s3://BUCKET/KEY, or these @VERSION."
            )
        scheme, place, self.asked = found.groups()
        self.uri = f"{scheme}://{place}" if scheme else str(Path(place).absolute())
        self._options = {"timeout": "60s", "connect_timeout": "10s"} if scheme else {}
        if scheme == "s3" and (endpoint := os.environ.get("AWS_ENDPOINT_URL", "")):
            self._options |= {"endpoint": endpoint, "allow_http": str(endpoint.startswith("http:")).lower()}
        self._kept = home() / "caches" / "lance" / f"{zlib.crc32(self.uri.encode()):08x}"

    def open(self) -> tuple[Any, Row]:
        """The version that is asked for: a Lance dataset, and its row ``store`` (commit, schema)."""
        with self._plainly():
            version = int(self.asked) if self.asked and self.asked.isdigit() else self.asked
            data = self._lance.dataset(self.uri, version=version, storage_options=self._options)
            known = {"commit", "schema"} <= {*data.schema.names}
            rows = data.to_table(["commit", "schema"], filter="row = 'store'").to_pylist() if known else []
        if not rows or rows[0]["schema"] > VERSION:
            raise CollectionError(
                f"{self.uri} is a Lance dataset, but no collection, or one of a newer version of solfa."
            )
        return data, rows[0]

    def versions(self) -> list[Row]:
        """The versions that are kept, the oldest first: number, time, names."""
        data, _ = self.open()
        with self._plainly():
            names = [(tag["version"], name) for name, tag in data.tags.list().items()]
            return [{"version": one["version"], "time": one["timestamp"].isoformat(" ", "seconds"),
                     "names": sorted(name for number, name in names if number == one["version"])}
                    for one in data.versions()]  # fmt: skip

    def name(self, name: str) -> None:
        """Keep this version under a name, whatever ``compact`` deletes. Raises InputError for one it cannot have."""
        data, _ = self.open()
        if not re.fullmatch(r"[A-Za-z][\w.-]*", name) or name in data.tags.list():
            raise InputError(f"{name!r} is taken, or no name: a letter, then letters, digits, '_', '.' or '-'.")
        with self._plainly():
            data.tags.create(name, data.version)

    def compact(self, keep_days: float) -> Row:
        """Join small files, delete versions older than ``keep_days`` that have no name; says how many."""
        data, _ = self.open()
        with self._plainly():
            done = data.optimize.compact_files()
            freed = data.cleanup_old_versions(timedelta(days=keep_days), error_if_tagged_old_versions=False)
        return {"files_before": done.files_removed, "files_after": done.files_added,
                "versions_deleted": freed.old_versions, "bytes_freed": freed.bytes_removed}  # fmt: skip

    # --- reading ----------------------------------------------------------------------------------------------------

    def copy_to(self, directory: Path, tracks: tuple[int, int] | None = None, *, keep: bool = False) -> None:
        """Make a collection in a new folder, of all tracks or of those between two ids (both are among them).

        A store of an older schema is brought up to date by the collection's own steps. One to ``keep`` is marked as a
        copy, which is not written to.

        Raises CollectionError if the folder exists, or the disk refuses; CollectionDamaged if vectors are not what was
        written. Nothing is left half-written.
        """
        data, store = self.open()
        if directory.exists():
            raise CollectionError(f"{directory} exists. Choose a new folder.")
        part = directory.with_name(f".{directory.name}-{token_hex(4)}.part")
        try:
            part.mkdir(parents=True)
            with Database(part).writer() as db, self._plainly():
                db.execute("PRAGMA synchronous = OFF")  # the folder counts once it has its name
                db.execute("PRAGMA foreign_keys = OFF")  # rows come in any order
                migrate(db, store["schema"])
                _fill(db, part, data, "of BETWEEN {} AND {}".format(*tracks) if tracks else "of IS NOT NULL")
                migrate(db)
            if keep:
                (part / COPY).write_text(f"{self.uri}@{data.version}", encoding="utf-8")
            part.rename(directory)
        except OSError as error:
            if not (keep and directory.exists()):  # else another process was faster
                raise CollectionError(f"cannot write {directory}: {error.strerror}.") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def local(self, tracks: tuple[int, int] | None = None) -> Path:
        """The folder of a copy that is kept on this machine; those of other versions are deleted."""
        kind = "{}-{}".format(*tracks) if tracks else "all"
        folder = self._kept / f"{kind}.{self.open()[1]['commit']}"
        if not folder.exists():
            self.copy_to(folder, tracks, keep=True)
            for other in {*self._kept.glob(f"{kind}.*")} - {folder}:
                shutil.rmtree(other, ignore_errors=True)
        return folder

    # --- writing ----------------------------------------------------------------------------------------------------

    def copy_from(self, directory: Path) -> int:
        """Commit a whole collection as a version, perhaps the first; older ones are kept. The version's number.

        Raises CollectionError if there is no collection, or the store cannot be written; CollectionDamaged if vectors
        are not what was written.
        """
        self._latest()
        with suppress(NoStore):
            self.open()  # another dataset is not replaced
        (source := Database(directory)).prepare(False)
        with closing(source.reader()) as db, self._plainly():
            db.execute("BEGIN")
            schema, ids = self._schema(db), [i for (i,) in db.execute("SELECT id FROM track ORDER BY id")]
            batches = (self._arrow.RecordBatch.from_pylist(rows, schema) for rows in _rows(db, directory, ids))
            reader = self._arrow.RecordBatchReader.from_batches(schema, batches)
            return int(
                self._lance.write_dataset(reader, self.uri, mode="overwrite", storage_options=self._options).version
            )

    def working(self) -> Path:
        """The folder of a collection as the latest version is, to index into, of a new store too; its table ``changed``
        collects the tracks that ``publish`` has yet to commit."""
        self._latest()
        try:
            self.open()
        except NoStore:
            with TemporaryDirectory() as nothing:
                Database(Path(nothing)).prepare(True)
                self.copy_from(Path(nothing))
        folder, (_, store) = self._kept / "working", self.open()
        if not ((noted := folder / "commit").exists() and noted.read_text() == store["commit"]):
            shutil.rmtree(folder, ignore_errors=True)
            self.copy_to(folder)
            if store["schema"] < VERSION:
                self.copy_from(folder)
            with closing(sqlite3.connect(folder / "collection.sqlite")) as db:
                db.execute("CREATE TABLE changed (id INTEGER PRIMARY KEY, times INTEGER)")
                for table, when in ((t, w) for t in _OF for w in ("INSERT", "UPDATE", "DELETE")):
                    changed = f"{'OLD' if when == 'DELETE' else 'NEW'}.{_OF[table]}"
                    db.execute(f"CREATE TRIGGER {table}_{when} AFTER {when} ON {table} BEGIN INSERT INTO changed "
                               f"VALUES ({changed}, 1) ON CONFLICT DO UPDATE SET times = times + 1; END")  # fmt: skip
            noted.write_text(self.open()[1]["commit"])
        return folder

    def publish(self) -> None:
        """Commit what changed in the working folder, at most a thousand tracks a version, while it may change further.

        Raises CollectionBusy if another process has committed meanwhile: nothing is overwritten.
        """
        folder = self._kept / "working"
        with closing(sqlite3.connect(folder / "collection.sqlite", isolation_level=None, timeout=60.0)) as db:
            while changed := db.execute(f"SELECT id, times FROM changed ORDER BY id LIMIT {_A_COMMIT}").fetchall():
                ids = [track_id for track_id, _ in changed]
                data, store = self.open()
                if store["commit"] != (folder / "commit").read_text():
                    raise CollectionBusy(_BUSY.format(self.uri))
                db.execute("BEGIN")
                rows = [row for part in _rows(db, folder, ids) for row in part]
                db.execute("ROLLBACK")
                with self._plainly():
                    before = data.to_table(["row"], filter=f"of IS NULL OR of IN ({', '.join(map(str, ids))})")["row"]
                    rows += [{"row": key} for key in {*before.to_pylist()} - {row["row"] for row in rows}]  # deleted
                    merge = data.merge_insert("row").when_matched_update_all().when_not_matched_insert_all()
                    merge.conflict_retries(0).execute(self._arrow.Table.from_pylist(rows, self._schema(db)))
                (folder / "commit").write_text(rows[0]["commit"])
                db.executemany("DELETE FROM changed WHERE id = ? AND times = ?", changed)

    def _latest(self) -> None:
        if self.asked:
            raise InputError(f"a version is never changed: leave out @{self.asked}.")

    def _schema(self, db: sqlite3.Connection) -> Any:
        """The columns of the dataset, after those of the database."""
        pa = self._arrow
        columns = {"row": "string", "of": "int64", "segments": "large_binary", "frames": "large_binary",
                   "commit": "string", "schema": "int64"}  # fmt: skip
        structs = {}
        for table in (*_OF, *_SMALL):
            found = [(name, kind) for _, name, kind, *_ in db.execute(f"PRAGMA table_info({table})")]
            kinds = [(name, _KINDS[kind or ("INTEGER" if name == "seq" else "TEXT")]) for name, kind in found]
            structs[table] = pa.struct([(name, getattr(pa, kind)()) for name, kind in kinds])
        plain = [(name, getattr(pa, kind)()) for name, kind in columns.items()]
        return pa.schema([*plain, ("heard", pa.list_(pa.string())), *structs.items()])

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Errors of Lance in one sentence."""
        try:
            yield
        except SolfaError:
            raise
        except (OSError, ValueError, RuntimeError) as error:
            if "concurrent" in str(error):
                raise CollectionBusy(_BUSY.format(self.uri)) from error
            said = " ".join(str(error).split(", /")[0].split())[:300]  # without places in Lance's source
            missing = "was not found" in said
            raise (NoStore if missing else CollectionError)(f"the store {self.uri}: {said}") from error


def _rows(db: sqlite3.Connection, directory: Path, ids: list[int]) -> Iterator[list[Row]]:
    """Rows for a store: those of the small tables, then those of tracks, some tracks at a time."""
    small = [_row(table, row) for table in _SMALL for row in _named(db, f"SELECT * FROM {table}")]
    yield [{"row": "store", "commit": token_hex(8), "schema": VERSION}, *small]
    files = {}
    for row in _named(db, "SELECT * FROM space"):
        space = SpaceFiles(space_directory(directory, row["id"]), _space(row), row["generation"])
        files[row["id"]] = space.mapped((row["segment_rows"], row["frame_rows"]))
    for start in range(0, len(ids), _AT_ONCE):
        part, rows = ids[start : start + _AT_ONCE], []
        among = f"IN ({', '.join(map(str, part))})"
        heard: dict[int, list[str]] = {track_id: [] for track_id in part}
        for track_id, concept in db.execute(f"SELECT track_id, concept FROM heard WHERE track_id {among}"):
            heard[track_id].append(concept)
        for table, key in _OF.items():
            for row in _named(db, f"SELECT * FROM {table} WHERE {key} {among}"):
                rows.append(own := {**_row(table, row), "of": row[key]})
                if table == "vector":
                    spans = (row["segment_at"], row["segments"]), (row["frame_at"], row["frames"])
                    own["segments"], own["frames"] = (
                        rows_of[at : at + n].tobytes()
                        for rows_of, (at, n) in zip(files[row["space_id"]], spans, strict=True)
                    )
                    _verify(directory, row, zlib.crc32(own["frames"], zlib.crc32(own["segments"])))
                elif table == "track":
                    own["heard"] = heard[row["id"]]
        yield rows


def _fill(db: sqlite3.Connection, directory: Path, data: Any, where: str) -> None:
    """Put rows of a store into a new database, and their vectors next to it."""
    files = dict[int, SpaceFiles]()
    for rows_where in ("of IS NULL", where):
        for batch in data.scanner(filter=rows_where, batch_size=5 * _AT_ONCE, scan_in_order=True).to_batches():
            there = {name: batch[name].drop_null().to_pylist() for name in batch.schema.names}
            columns = {name: there.get(name, []) for name in (*_OF, *_SMALL, "heard", "segments", "frames")}
            for row in columns["space"]:
                files[row["id"]] = SpaceFiles(space_directory(directory, row["id"]), _space(row), 0)
                row["generation"] = 0
            sounds = [*zip(*(columns[name] for name in ("vector", "segments", "frames")), strict=True)]
            for number, space in files.items():
                own = [sound for sound in sounds if sound[0]["space_id"] == number]
                for (row, *_), placed in zip(own, space.append(_vectors(space, *one) for one in own), strict=True):
                    _verify(directory, row, placed.crc)
                    row |= {"segment_at": placed.segment_at, "frame_at": placed.frame_at}
            with transaction(db):
                for table in (*_OF, *_SMALL):
                    _insert(db, table, columns[table])
                present = [{"track_id": track["id"], "concept": concept} for track, concepts in
                           zip(columns["track"], columns["heard"], strict=True) for concept in concepts]  # fmt: skip
                _insert(db, "heard", present)
                names = ("rowid", "title", "artist", "album", "genre", "comment", "path")
                words = ((file["id"], *words_of(os.fsdecode(file["path"]), file)) for file in columns["file"])
                _insert(db, "words", [dict(zip(names, row, strict=True)) for row in words])
    for number, space in files.items():
        db.execute("UPDATE space SET segment_rows = ?, frame_rows = ? WHERE id = ?", (*space.rows(), number))


def _space(row: Row) -> Any:
    return read_space(row["name"], row["dim"], row["hop_s"], row.get("window_s", 0.0), row.get("crc"))


def _vectors(files: SpaceFiles, row: Row, *sound: bytes) -> TrackVectors:
    segments, frames = (np.frombuffer(raw, dtype).reshape(-1, files.space.dim)
                        for raw, dtype in zip(sound, files.dtypes, strict=True))  # fmt: skip
    return TrackVectors(track_id=row["track_id"], segments_SD=segments, frames_TD=frames)


def _verify(place: Path, row: Row, crc: int) -> None:
    if row["crc"] != crc:
        raise CollectionDamaged(place, f"the vectors of track {row['track_id']} are not what was written")


def _row(table: str, row: Row) -> Row:
    names = ("id",) if "id" in row else ("name",) if "name" in row else ("space_id", "track_id", "path")
    keys = (row[name] for name in names if name in row)
    return {"row": "/".join([table, *(k.hex() if isinstance(k, bytes) else str(k) for k in keys)]), table: row}


def _named(db: sqlite3.Connection, sql: str) -> Iterator[Row]:
    cursor = db.execute(sql)
    return (dict(zip((column[0] for column in cursor.description), row, strict=True)) for row in cursor)


def _insert(db: sqlite3.Connection, table: str, rows: list[Row]) -> None:
    if rows:
        names = [*rows[0]]
        sql = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"
        db.executemany(sql, rows)
