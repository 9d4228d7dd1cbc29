"""A collection: what is on disk, what was measured about it, and how a folder gets there."""

import math
import os
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from functools import wraps
from itertools import chain
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

from solfa.analysis.protocol import Extractor
from solfa.analysis.registry import extractors as default_extractors
from solfa.audio import Limits
from solfa.collection import adding, attributes, feedback, ivf, records
from solfa.collection.adding import AddReport, FailedFile, Progress, Run
from solfa.collection.attributes import Attributes
from solfa.collection.database import FAULTS, Database, damage_or_refusal, misfits, transaction
from solfa.collection.feedback import StoredHead, TrackVerdict
from solfa.collection.filters import Filters
from solfa.collection.flat import FlatStore
from solfa.collection.scan import FileSource
from solfa.collection.store import Ids, Space, SpaceFiles, TrackVectors, space_directory
from solfa.collection.writer import Writer
from solfa.core.errors import CollectionDamaged, CollectionError, InputError, SolfaError, SpaceMismatch, UnknownTrack
from solfa.core.files import is_url, path_of
from solfa.core.filters import Filter
from solfa.core.types import Analysis, FileTags, FloatArray, JointModel, Views
from solfa.encoders.windows import candidates, segment_ranges
from solfa.jobs import Executor, SerialExecutor

P = ParamSpec("P")
T = TypeVar("T")
# What reading raises where a value is of another type, length or size than what was written.
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError, zlib.error)
PROFILE_PARTS = 32
_NONE = type(None)
_FILE = ((int,), (int,), (bytes,), *[(str,)] * 6, (float, _NONE), (str, _NONE))
_TRACK = ((int,), (str,), (float,), (float, _NONE), (str, _NONE), (str, _NONE), (float, _NONE))
# What each order of tracks compares.
_ORDERED = {"tempo": "t.tempo_bpm", "key": "t.key", "duration": "t.duration_s", "loudness": "t.loudness_lufs",
            "title": "f.title_folded", "artist": "f.artist_folded", "album": "f.album_folded", "date": "f.date",
            "path": "f.path"}  # fmt: skip
_CHUNK = 500  # ids in one SQL statement
_MAPPED = 64  # tracks whose vectors a head is applied to at a time
# Spaces where no track owns half of the rows: those of vectors that were replaced.
_HALF_DEAD = "segment_rows > 0 AND segment_rows >= 2 * (SELECT total(segments) FROM vector WHERE space_id = space.id)"
_SMALL = 5000  # files up to which a word that many of them hold is looked up for want of a rarer one
_BM25_MOST = 2.2  # times its IDF is the most that one word can score (k1 = 1.2, b = 0.75)
_WORD_TABLES = {"terms": "fts5vocab(main, words, instance)", "held": "fts5vocab(main, words, row)",
                "asked": "fts5(text, tokenize = 'unicode61 remove_diacritics 2')",
                "asked_terms": "fts5vocab(temp, asked, instance)"}  # fmt: skip
_BM25_COLUMNS = {"title": 8, "artist": 8, "album": 4, "genre": 3, "comment": 2, "path": 1}  # weights


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackRow:
    """One recording: where it is (all copies, the one to show first), what that one's tags say, what was measured."""

    id: int
    hash: str
    paths: tuple[Path, ...]
    tags: FileTags
    duration_s: float
    tempo_bpm: float | None
    key: str | None
    metre: str | None
    loudness_lufs: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stats:
    """What is in a collection. ``kept`` counts analyzed contents without a file at present."""

    tracks: int
    files: int
    kept: int
    failures: int
    duration_s: float
    size_bytes: int
    spaces: dict[str, int]  # embedding space -> tracks that have vectors in it


def _reading(read: Callable[P, T]) -> Callable[P, T]:
    """A method of a collection that reads: values that cannot have been written are reported as damage."""

    @wraps(read)
    def reading(*args: P.args, **options: P.kwargs) -> T:
        with _unreadable_is_damage(cast("Collection", args[0]).directory):
            return read(*args, **options)

    return reading


@contextmanager
def _unreadable_is_damage(directory: Path) -> Iterator[None]:
    try:
        yield
    except SolfaError:
        raise
    except FAULTS as error:
        raise damage_or_refusal(error, directory) from error
    except OSError as error:
        raise CollectionError(f"cannot read {error.filename or directory}: {error.strerror}.") from error
    except _UNREADABLE as error:
        raise CollectionDamaged(directory, str(error) or type(error).__name__) from error


class Collection:
    """Open one with ``Collection.open``. It shows the state at opening, whatever others write, until ``refresh``.

    Use it in one thread at a time.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._db: sqlite3.Connection | None = None
        self._closed = False
        self._read: dict[str, Any] = {}  # what is read once an opening
        self.refresh()

    @classmethod
    def open(cls, directory: Path | str, *, create: bool = False) -> "Collection":
        """The collection in a directory; with ``create`` a new one where there is none.

        Raises CollectionError if there is none, it is not ours, it is damaged, or it was written by a newer version;
        CollectionBusy if it has to be created or updated while another process writes.
        """
        database = Database(Path(directory))
        database.prepare(create)
        return cls(database)

    @property
    def directory(self) -> Path:
        """The folder of the collection."""
        return self._database.directory

    # --- writing ----------------------------------------------------------------------------------------------------

    def add(
        self,
        paths: Iterable[Path | str],
        *,
        model: Callable[[], JointModel] | None,
        model_name: str = "",
        allow_noncommercial: bool = False,
        extractors: Callable[[], Sequence[Extractor]] = default_extractors,
        executor: Executor | None = None,
        progress: Callable[[Progress], None] | None = None,
        force: bool = False,
        retry_failed: bool = False,
        limits: Limits | None = None,
        source: FileSource | None = None,
    ) -> AddReport:
        """Bring the collection in step with files, and folders to search; stop at any moment and call it again.

        ``model`` and ``extractors`` are functions that make them, of module level, so that worker processes can make
        their own; a ``model`` of None makes no vectors. Without an ``executor`` this process does the work.
        ``model_name`` (as ``load_model`` takes it) and ``allow_noncommercial`` are kept for ``remembered_model``.
        ``progress`` is called after each file is committed. ``force`` indexes everything again, ``retry_failed`` also
        files that failed before and have not changed. ``limits`` say what a file may ask for. ``source`` is where the
        files are, this machine when None; for URLs see ``solfa.cluster.sources``.

        Raises CollectionBusy if another process is writing; CollectionError if the disk refuses; what was committed is
        kept; InputError if no path is given.
        """
        run = Run(
            # resolve() would follow links
            paths=tuple(str(p) if is_url(p) else os.path.abspath(p) for p in paths),  # noqa: PTH100
            model=model,
            model_name=model_name,
            allow_noncommercial=allow_noncommercial,
            extractors=extractors,
            executor=executor or SerialExecutor(),
            source=source or FileSource(),
            limits=limits or Limits(),
            force=force,
            retry_failed=retry_failed,
            progress=progress,
        )
        if not run.paths:
            raise InputError("nothing to index: give at least one file or folder.")
        with self._writing() as db:
            report = adding.execute(db, self.directory, run)
            with _unreadable_is_damage(self.directory):
                for row in _spaces(db, _HALF_DEAD):
                    _compact(db, row[0], _store(db, self.directory, *row))
                    note = f"the room of replaced vectors of {row[1].name} was given back"
                    report = replace(report, notes=(*report.notes, note))
                for space_id, space, generation in _spaces(db):  # also what a crash left
                    SpaceFiles(space_directory(self.directory, space_id), space, generation).drop_others()
                for row in _spaces(db, f"segment_rows > {ivf.WORTH_IT}"):
                    _store(db, self.directory, *row).index()
        return report

    def change_verdicts(self, new: Sequence[TrackVerdict] = (), removed: Iterable[int] = ()) -> None:
        """Keep what a person said of tracks, delete verdicts by number, all or nothing.

        Raises InputError if one to remove does not exist; CollectionBusy if another process is writing.
        """
        with self._writing() as db:
            feedback.change(db, new, removed)

    def install_head(self, head: StoredHead | None, views: Views | None = None) -> int:
        """Search the vectors that a learnt head leads to from now on; None: those of the model again.

        Vectors that are missing in the head's space are made, from those of its base and with the model's ``views``,
        before the one commit that puts the head in force; none for a head whose space is its base, which only has a
        report. Returns how many tracks' vectors were made.

        Raises CollectionBusy if another process is writing; CollectionError if the disk refuses, or there are no
        vectors of the base: what was in force stays in force.
        """
        with self._writing() as db, _unreadable_is_damage(self.directory):
            _drop_folders(db, self.directory)  # a new space may get the number of one whose folder a crash left
            moves = head is not None and head.space != head.base
            made = _apply_head(db, self.directory, head, views or Views()) if head and moves else 0
            with transaction(db):
                feedback.put_head(db, head)
            _drop_folders(db, self.directory)
        return made

    # --- reading ----------------------------------------------------------------------------------------------------

    @_reading
    def refresh(self) -> None:
        """See what has been written since."""
        self.close()
        self._closed = False
        self._reader.execute("SELECT 1 FROM track LIMIT 1").fetchone()  # the snapshot begins with the first reading

    def tracks(self) -> Iterator[TrackRow]:
        """Every present track, by id."""
        ids = self.select(())
        for start in range(0, len(ids), _CHUNK):
            yield from self.rows(ids[start : start + _CHUNK].tolist())

    def track(self, track_id: int, where: Sequence[Filter] = ()) -> TrackRow:
        """One track; ``where`` as in ``rows``.

        Raises UnknownTrack if there is none with this id.
        """
        return self.rows([track_id], where)[0]

    @_reading
    def rows(self, track_ids: Sequence[int], where: Sequence[Filter] = ()) -> list[TrackRow]:
        """These tracks, in the order asked; also those without a file at present.

        Of several copies those come first whose tags and path meet the most conditions of ``where``, then by path.

        Raises UnknownTrack if one of them does not exist.
        """
        measured = ("id", "hash", "duration_s", "tempo_bpm", "key", "metre", "loudness_lufs")
        tracks = self._by_id(f"SELECT {', '.join(measured)} FROM track", "id", track_ids)
        files: dict[int, list[tuple[int, bytes, FileTags]]] = {}
        columns = "track_id, id, path, title, artist, album, genre, date, comment, tag_tempo_bpm, tag_key"
        tags = [field.name for field in fields(FileTags)]  # in the order of the columns
        for row in self._in(f"SELECT {columns} FROM file WHERE present = 1 AND", "track_id", track_ids):
            _check(row, _FILE)
            said = FileTags(**dict(zip(tags, row[3:], strict=True)))
            files.setdefault(row[0], []).append((row[1], row[2], said))
        result = []
        for track_id in track_ids:
            copies = sorted(files.get(track_id, []), key=lambda copy: copy[1])
            if where and len(copies) > 1:
                met = self._conditions().met(where, np.array([file_id for file_id, *_ in copies]))
                copies = [copies[i] for i in np.argsort(-met, kind="stable")]
            paths = tuple(path_of(os.fsdecode(path)) for _, path, _ in copies)
            _check(tracks[track_id], _TRACK)
            known = dict(zip(measured, tracks[track_id], strict=True))
            result.append(TrackRow(paths=paths, tags=copies[0][2] if copies else FileTags(), **known))
        return result

    @_reading
    def find(self, content_hash: str) -> int | None:
        """The id of the track with this content, None if there is none."""
        row = self._reader.execute("SELECT id FROM track WHERE hash = ?", (content_hash,)).fetchone()
        return None if row is None else int(row[0])

    @_reading
    def analysis(self, track_id: int) -> Analysis:
        """All that was measured about one track."""
        packed = self._by_id("SELECT track_id, analysis FROM document", "track_id", [track_id])[track_id][1]
        try:
            return records.unpack_document(packed)
        except InputError as error:
            raise CollectionDamaged(self.directory, error) from error

    @_reading
    def timelines(self, track_ids: Sequence[int]) -> list[records.TrackTimeline]:
        """What happens when in these tracks, in the order asked, as arrays."""
        names = self._once(
            "names", lambda: {n: str(text) for n, text in self._reader.execute("SELECT id, text FROM name")}
        )
        rows = self._by_id("SELECT track_id, chords, spans, energy, energy_hop_s FROM timeline", "track_id", track_ids)
        return [records.read_timeline(names, *rows[i][1:]) for i in track_ids]

    @_reading
    def energy_profiles(self) -> FloatArray:
        """Mean energy in 32 equal parts of every present track, NaN where there is none; read once [shape=(N, 32)]."""
        return self._once("profiles", self._profiles)

    def _profiles(self) -> FloatArray:
        ids = self.attributes().track_ids
        profiles = np.full((len(ids), PROFILE_PARTS), np.nan, np.float32)
        for track_id, blob in self._reader.execute("SELECT track_id, energy FROM timeline ORDER BY track_id"):
            row, energy = int(np.searchsorted(ids, track_id)), records.read_energy(blob)
            if row < len(ids) and ids[row] == track_id and len(energy):
                edges = np.arange(PROFILE_PARTS) * len(energy) // PROFILE_PARTS
                counts = np.maximum(np.diff(np.append(edges, len(energy))), 1)
                profiles[row] = np.add.reduceat(energy, edges) / counts
        return profiles

    @_reading
    def attributes(self) -> Attributes:
        """The attributes of all present tracks as columns; read once."""
        return self._once("attributes", lambda: attributes.load(self._reader))

    @_reading
    def select(self, filters: Sequence[Filter]) -> Ids:
        """Ids of the present tracks that pass every filter, ascending.

        Raises InputError if a filter asks for a field or value that does not exist.
        """
        return self._conditions().select(filters)

    @_reading
    def ordered(self, sort: str) -> tuple[Ids, int]:
        """Ids of the present tracks by a name of ``core.filters.SORTS`` but ``score``, and how many have a value:
        those without one come last."""
        rows = self._reader.execute(
            f"SELECT t.id, MIN(nullif({_ORDERED[sort]}, '')) AS v FROM file AS f JOIN track AS t ON t.id = f.track_id "
            "WHERE f.present = 1 GROUP BY t.id ORDER BY v IS NULL, v, t.id").fetchall()  # fmt: skip
        return np.array([row[0] for row in rows], np.int64), sum(row[1] is not None for row in rows)

    @_reading
    def word_counts(self, words: str) -> Ids:
        """In how many files each word of a text is, and at last the number of files and of the words in them; the
        counts of parts of a collection add up."""
        lengths = self._lengths[1]
        sql = "SELECT doc FROM temp.held WHERE term = ?"
        held = [self._terms.execute(sql, (term,)).fetchone() or (0,) for term in self._read_words(words)]
        return np.array([*(count for (count,) in held), len(lengths), lengths.sum()], np.int64)

    @_reading
    def text_search(
        self, words: str, limit: int | None = 100, allowed: Ids | None = None, counts: Ids | None = None
    ) -> list[tuple[int, float]]:
        """Present tracks whose tags or path hold rare words of a text, best first: (id, share in 0..1).

        The share is BM25 over what a track would reach whose title holds every word; a word that no file holds counts
        half. Words that more than one file in five holds are passed over, unless a small collection
        holds no others. Case and accents do not count; title and artist count more than the rest. Where ``allowed`` is
        given, other tracks are left out. ``counts`` are those of all parts, where this collection is one of several.
        """
        *held, num_files, num_words = (self.word_counts(words) if counts is None else counts).tolist()
        found = sorted((n, term) for term, n in zip(self._read_words(words), held, strict=True) if n)
        rare = [one for one in found if one[0] <= max(num_files / 5, 10)]
        rare = rare or (found[:2] if num_files <= _SMALL else [])
        ids, lengths = self._lengths
        scores, ideal = np.zeros(len(ids)), held.count(0) * 0.5 * _idf(num_files, 0)
        for n, term in rare:
            ideal += _idf(num_files, n)
            rows = self._terms.execute("SELECT doc, col FROM temp.terms WHERE term = ?", (term,)).fetchall()
            files, weights = [row[0] for row in rows], [_BM25_COLUMNS[column] for _, column in rows]
            often = np.bincount(np.searchsorted(ids, files).astype(np.intp), weights, len(ids))
            scores += (
                _idf(num_files, n) * often * 2.2 / (often + 1.2 * (0.25 + 0.75 * lengths / (num_words / num_files)))
            )
        there = np.flatnonzero(scores)
        if not len(there):
            return []
        track_ids, best = self._conditions().best_of_tracks(ids[there], scores[there], allowed)
        order = np.lexsort((track_ids, -best))[:limit]
        shares = np.minimum(best[order] / (_BM25_MOST * ideal), 1.0)
        return list(zip(track_ids[order].tolist(), shares.tolist(), strict=True))

    def _read_words(self, text: str) -> list[str]:
        """The words of a text as the full text has them."""
        self._terms.execute("DELETE FROM temp.asked")
        self._terms.execute("INSERT INTO temp.asked VALUES (?)", (text,))
        found = self._terms.execute("SELECT term FROM temp.asked_terms ORDER BY offset")
        return list(dict.fromkeys(term for (term,) in found))[:64]

    @property
    def _terms(self) -> sqlite3.Connection:
        """The reader, with the words of the full text as tables, and a table that reads a text as it does."""
        if "terms" not in self._read:
            self._reader.execute("PRAGMA temp_store = MEMORY")
            for name, made in _WORD_TABLES.items():
                self._reader.execute(f"CREATE VIRTUAL TABLE temp.{name} USING {made}")
            self._read["terms"] = True
        return self._reader

    @property
    def _lengths(self) -> tuple[Ids, Ids]:
        """The files that the full text holds, ascending, and how many words it has of each."""

        def read() -> Ids:
            rows = self._reader.execute("SELECT id, sz FROM words_docsize ORDER BY id")
            return np.array([(number, _varints(packed)) for number, packed in rows], np.int64).reshape(-1, 2).T.copy()

        ids, lengths = self._once("lengths", read)
        return ids, lengths

    @_reading
    def failures(self) -> list[FailedFile]:
        """Files that could not be indexed, by path."""
        rows = self._reader.execute("SELECT path, reason FROM failure ORDER BY path")
        return [FailedFile(path=path_of(os.fsdecode(path)), reason=str(reason)) for path, reason in rows]

    @_reading
    def stats(self) -> Stats:
        """What is in the collection."""
        one = self._reader.execute
        tracks, duration_s = one("SELECT COUNT(*), TOTAL(duration_s) FROM track WHERE present = 1").fetchone()
        return Stats(
            tracks=tracks,
            files=one("SELECT COUNT(*) FROM file WHERE present = 1").fetchone()[0],
            kept=one("SELECT COUNT(*) FROM track").fetchone()[0] - tracks,
            failures=one("SELECT COUNT(*) FROM failure").fetchone()[0],
            duration_s=duration_s,
            size_bytes=sum(p.stat().st_size for p in self.directory.rglob("*") if p.is_file()),
            spaces=dict(
                one(
                    "SELECT s.name, COUNT(v.track_id) FROM space AS s LEFT JOIN vector AS v ON v.space_id = s.id "
                    "GROUP BY s.id"
                )
            ),
        )

    @_reading
    def at(self, path: Path | str) -> int | None:
        """The id of the track that a file holds or held, None if it was never indexed."""
        key = os.fsencode(os.path.abspath(path))  # noqa: PTH100  (resolve() would follow links)
        row = self._reader.execute("SELECT track_id FROM file WHERE path = ?", (key,)).fetchone()
        return None if row is None else int(row[0])

    @_reading
    def verdicts(self) -> list[TrackVerdict]:
        """All that was said of tracks, the oldest first; of contradicting ones the latest counts."""
        return feedback.verdicts(self._reader)

    @_reading
    def head(self) -> StoredHead | None:
        """The learnt head that is in force."""
        return feedback.head(self._reader)

    @_reading
    def remembered_model(self) -> tuple[str, bool] | None:
        """Name of the model of the last ``add``, and whether non-commercial weights were allowed; None if unknown."""
        row = self._reader.execute(
            "SELECT model, allow_noncommercial FROM space WHERE model <> '' ORDER BY last_run DESC LIMIT 1"
        ).fetchone()
        return None if row is None else (row[0], bool(row[1]))

    @_reading
    def spaces(self) -> tuple[str, ...]:
        """The embedding spaces that tracks have vectors in, in the order of their first use."""
        return tuple(space.name for _, space, _ in _spaces(self._reader))

    def store(self, space: str) -> FlatStore:
        """Vectors and frames of one embedding space.

        Raises SpaceMismatch if the collection has vectors, but none of this space; CollectionError if it has none at
        all.
        """
        return self._once(f"store {space}", lambda: self._opened(space))

    @_reading
    def _opened(self, name: str) -> FlatStore:
        rows = {row[1].name: row for row in _spaces(self._reader)}
        if name not in rows:
            if rows:
                raise SpaceMismatch(", ".join(sorted(rows)), name)
            raise CollectionError("the collection is empty. Fill it with: solfa index FOLDER")
        try:
            return _store(self._reader, self.directory, *rows[name])
        except CollectionError:
            with closing(self._database.reader()) as db:
                now = {row[1].name: row for row in _spaces(db)}
                if name not in now or now[name][2] == rows[name][2]:
                    raise
                return _store(db, self.directory, *now[name])  # compacted since the opening: the old files are gone

    def nearest(self, space: str, query_D: FloatArray, k: int, allowed: Ids | None = None) -> tuple[Ids, FloatArray]:
        """Ids and cosines of the best tracks, best first, among the ``allowed`` ones (all present ones when None)."""
        return self.store(space).nearest(query_D, k, self.attributes().track_ids if allowed is None else allowed)

    def close(self) -> None:
        """Let go of the files."""
        if self._db is not None:
            self._db.close()
            self._db = None
        self._closed = True
        self._read.clear()

    def __enter__(self) -> "Collection":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # --- inside -----------------------------------------------------------------------------------------------------

    @property
    def _reader(self) -> sqlite3.Connection:
        if self._closed:
            raise CollectionError(f"the collection {self.directory} has been closed.")
        if self._db is None:
            self._db = self._database.reader()
            self._db.execute("BEGIN")
        return self._db

    def _conditions(self) -> Filters:
        return self._once("filters", lambda: Filters(self._reader))

    def _once(self, name: str, read: Callable[[], T]) -> T:
        if name not in self._read:
            self._read[name] = read()
        value: T = self._read[name]
        return value

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The lock and a connection that may write; afterwards this object sees the new state."""
        with self._database.lock():
            self.close()  # an open snapshot would keep the write-ahead log from being folded in
            try:
                with self._database.writer() as db:
                    if found := misfits(db):
                        raise CollectionDamaged(self.directory, f"{', '.join(found)} holds what is never written")
                    yield db
            finally:
                self._closed = False  # the next reading begins a new snapshot

    def _in(self, sql: str, column: str, ids: Sequence[int]) -> Iterator[tuple[Any, ...]]:
        """Rows of ``sql`` with the column among the ids, a bounded number of parameters at a time."""
        for start in range(0, len(ids), _CHUNK):
            part = [int(i) for i in ids[start : start + _CHUNK]]
            yield from self._reader.execute(f"{sql} {column} IN ({','.join('?' * len(part))})", part)

    def _by_id(self, sql: str, column: str, ids: Sequence[int]) -> dict[int, tuple[Any, ...]]:
        found = {row[0]: row for row in self._in(f"{sql} WHERE", column, ids)}
        for track_id in ids:
            if track_id not in found:
                raise UnknownTrack(f"no track {track_id} in {self.directory}.")
        return found


def _idf(num_files: int, held: int) -> float:
    return max(math.log((num_files - held + 0.5) / (held + 0.5)), 1e-6)


def _varints(packed: bytes) -> int:
    """The sum of SQLite's integers of variable length."""
    total = value = 0
    for byte in packed:
        value = value << 7 | byte & 127
        if byte < 128:
            total, value = total + value, 0
    return total


def _check(row: Sequence[object], kinds: Sequence[tuple[type, ...]]) -> None:
    """Raise TypeError where SQLite gives out what is never written."""
    finite = all(math.isfinite(value) for value in row if isinstance(value, float))
    if not (finite and all(map(isinstance, row, kinds))):
        raise TypeError("a value is of another type than what is written")


def _spaces(db: sqlite3.Connection, where: str = "TRUE") -> list[tuple[int, Space, int]]:
    """Number, shape and generation of the spaces of which a condition holds."""
    columns = "id, generation, name, dim, hop_s, window_s, crc"
    rows = db.execute(f"SELECT {columns} FROM space WHERE {where} ORDER BY id").fetchall()
    if any(row[1] < 0 for row in rows):
        raise ValueError("an embedding space has a generation that none can have")
    return [(row[0], records.read_space(*row[2:]), row[1]) for row in rows]


def _drop_folders(db: sqlite3.Connection, directory: Path) -> None:
    """Delete the vectors of spaces that are no more."""
    kept = {space_directory(directory, row[0]) for row in _spaces(db)}
    for folder in {*(directory / "vectors").glob("*")} - kept:
        shutil.rmtree(folder, ignore_errors=True)


def _apply_head(db: sqlite3.Connection, directory: Path, head: StoredHead, views: Views) -> int:
    """Make what vectors of the head's space are missing; says of how many tracks."""
    row = next((row for row in _spaces(db) if row[1].name == head.base), None)
    if row is None:
        raise CollectionError(
            f"the collection has no vectors of the space {head.base!r}, which the head was learnt for."
        )
    base, writer = _store(db, directory, *row), Writer(db, directory)
    space_id = writer.space(space := replace(row[1], name=head.space))
    there = {track_id for (track_id,) in db.execute("SELECT track_id FROM vector WHERE space_id = ?", (space_id,))}
    missing = [track_id for track_id in base.track_ids.tolist() if track_id not in there]
    for start in range(0, len(missing), _MAPPED):
        batch = []
        for track_id, old in zip(part := missing[start : start + _MAPPED], base.windows(part), strict=True):
            new = replace(old, pooled_WD=head.apply(old.pooled_WD), frames_TD=head.apply(old.frames_TD))
            batch.append(TrackVectors.of(track_id, space, candidates(views, new), new))
        writer.put_vectors(batch)
    for row in _spaces(db, f"id = {space_id}"):
        _store(db, directory, *row).index()
    return len(missing)


def _compact(db: sqlite3.Connection, space_id: int, store: FlatStore) -> None:
    """Write the rows that tracks own to the next generation of files; it counts once this is committed."""
    generation, placements = store.compact()
    rows = sum(p.segments for p in placements), sum(p.frames for p in placements)
    with transaction(db):
        db.executemany(
            "UPDATE vector SET segment_at = ?, frame_at = ? WHERE space_id = ? AND track_id = ?",
            [(p.segment_at, p.frame_at, space_id, p.track_id) for p in placements],
        )
        db.execute(
            "UPDATE space SET generation = ?, segment_rows = ?, frame_rows = ? WHERE id = ?",
            (generation, *rows, space_id),
        )


def _store(db: sqlite3.Connection, directory: Path, space_id: int, space: Space, generation: int) -> FlatStore:
    rows = db.execute(
        "SELECT track_id, segment_at, segments, frame_at, frames FROM vector WHERE space_id = ?", (space_id,)
    )
    placements = np.fromiter(chain.from_iterable(rows), np.int64).reshape(-1, 5)
    counts = {}
    if space.window_s:
        packed = db.execute("SELECT track_id, counts, frames FROM vector WHERE space_id = ?", (space_id,))
        counts = {track_id: records.read_counts(blob, frames, space) for track_id, blob, frames in packed}
    store = FlatStore(space_directory(directory, space_id), space, generation, placements, counts)
    segments = {n: len(segment_ranges(n, space.hop_s)) for n in np.unique(placements[:, 4]).tolist()}
    if not space.window_s and any(row[2] != segments[row[4]] for row in placements.tolist()):
        raise ValueError("the segments of a track are not those of its frames")
    return store
