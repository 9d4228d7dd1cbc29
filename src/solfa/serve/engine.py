"""One open collection behind many requests: searched by one thread, reloaded when it changes, indexed beside that."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO, TypeVar

from solfa.api import index, open_searcher, read_query, resolve_model
from solfa.audio import Limits
from solfa.collection import Collection, Progress, TrackRow
from solfa.collection.database import Database
from solfa.core.errors import FileUnavailable, InputError, SolfaError
from solfa.core.text import plain
from solfa.core.types import JointModel
from solfa.encoders.registry import load_model
from solfa.encoders.windows import pool
from solfa.jobs import ProcessExecutor
from solfa.query import override, parse_where
from solfa.relevance import RuleJudge
from solfa.relevance.rerank import MOST, page_of, rerank
from solfa.retrieval import Display, Like, Searcher
from solfa.retrieval.like import like_track, parse_example
from solfa.serve.documents import reading, results_json
from solfa.serve.media import TRANSCODED, TYPES, Sandbox, Transcoded, codec_of, listen, open_inside, peaks
from solfa.serve.pool import BoundedPool, Refused

T = TypeVar("T")
_LOOK_EVERY_S = 1.0  # at the files of the collection
_LEAST_PAUSE_S, _LOADING_SHARE = 2.0, 0.05  # between reloads, and the most of all time that they may take
_MOST_EXAMPLES, _MOST_PEAKS, _MOST_JOBS = 64, 512, 20


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """What is served and how.

    ``folders``: what is indexed, and where sound is played from; ``names``: further host names that requests may be
    addressed to; ``secrets``: the file of ``security.set_secret``; ``waiting``: searches that may wait for their turn;
    ``workers``: processes of an indexing run; ``upload_bytes``, ``upload_s``: the largest example sound.
    """

    collection: Path
    folders: tuple[Path, ...] = ()
    model: str | None = None
    allow_noncommercial: bool = False
    host: str = "127.0.0.1"
    port: int = 4333
    names: tuple[str, ...] = ()
    secrets: Path | None = None
    waiting: int = 64
    timeout_s: float = 10.0
    workers: int = 1
    upload_bytes: int = 32 << 20
    upload_s: float = 600.0


class _Stopped(BaseException):
    """Ends an indexing run between two files."""


class Engine:
    """What requests ask of one collection. Methods block: call them through a pool.

    Everything that needs the searcher goes through ``searches``, whose one thread owns it. Other reading opens the
    collection for itself (about a millisecond) in one of the threads of ``reads``; ``decodes`` is for sound.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.searches = BoundedPool("search", 1, settings.waiting, settings.timeout_s)
        self.reads = BoundedPool("read", 4, settings.waiting, settings.timeout_s)
        self.decodes = BoundedPool("decode", 1, settings.waiting, 60.0)
        self.jobs: dict[str, dict[str, Any]] = {}
        self.stopping = threading.Event()
        self._sandbox, self._transcoded = Sandbox(30.0), Transcoded()
        self._peaks: dict[tuple[str, int], list[float]] = {}
        self._examples: dict[str, tuple[Any, str, str]] = {}
        self._model: tuple[tuple[str, bool], JointModel] | None = None
        self._searcher: Searcher | None = None
        self._next: Searcher | None = None
        self._kept: dict[str, Any] = {}
        self._changing = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Open the collection, new where there is none, look for changes from now on, index the folders.

        Raises CollectionError if it cannot be opened. The second call does nothing.
        """
        if self._threads:
            return
        Collection.open(self.settings.collection, create=True).close()
        seen = self._stamp()
        self._next = self._load()
        self._spawn(self._watch, seen)
        if self.settings.folders:
            self.index()

    def stop(self) -> None:
        """End what runs; what an indexing run has finished is kept."""
        self.stopping.set()
        for thread in self._threads:
            thread.join(30)
        for one in (self.searches, self.reads, self.decodes):
            one.close()
        self._sandbox.rest(0.0)
        self._transcoded.close()

    def read(self, work: Callable[[Collection], T]) -> T:
        """What is made of the collection as it is now."""
        with Collection.open(self.settings.collection) as collection:
            return work(collection)

    def _spawn(self, work: Callable[..., None], *args: Any) -> None:
        self._threads.append(threading.Thread(target=work, args=args, daemon=True))
        self._threads[-1].start()

    # --- the state that is searched -----------------------------------------------------------------------------------

    def _stamp(self) -> list[tuple[int, int, int]]:
        """Changes whenever something is written."""
        path, found = Database(self.settings.collection).path, []
        for file in (path, path.with_name(path.name + "-wal")):
            with suppress(OSError):
                status = file.stat()
                found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        return found

    def _load(self) -> Searcher:
        collection, settings = Collection.open(self.settings.collection), self.settings
        searcher = open_searcher(collection, settings.model, loaded=self._loaded,
                                 allow_noncommercial=settings.allow_noncommercial)  # fmt: skip
        with suppress(SolfaError):  # what the first query would wait for, and says what is wrong with
            _ = len(collection.attributes()) and (searcher.model, searcher.store)
        return searcher

    def _loaded(self, name: str, allowed: bool) -> JointModel:
        if self._model is None or self._model[0] != (name, allowed):
            self._model = (name, allowed), load_model(name, allow_noncommercial=allowed)
        return self._model[1]

    def _watch(self, seen: object) -> None:
        pause_s = _LOOK_EVERY_S
        while not self.stopping.wait(pause_s):
            self._sandbox.rest()
            pause_s = _LOOK_EVERY_S
            if (now := self._stamp()) != seen:
                began_s, seen = time.monotonic(), now
                with suppress(SolfaError):  # the state before is still searched
                    self._hand_over(self._load())
                pause_s = max(_LEAST_PAUSE_S, (time.monotonic() - began_s) / _LOADING_SHARE)

    def _hand_over(self, new: Searcher | None) -> Searcher | None:
        with self._changing:
            old, self._next = self._next, new
        if old is not None and new is not None:
            old.collection.close()
        return old

    def searcher(self) -> Searcher:
        """A searcher over the newest state that is loaded. In the thread of ``searches`` only."""
        if (new := self._hand_over(None)) is not None:
            if self._searcher is not None:
                self._searcher.collection.close()
            self._searcher, self._kept = new, {}
        assert self._searcher is not None, "start() comes first"
        return self._searcher

    def once(self, name: str, make: Callable[[Searcher], T]) -> T:
        """What is made of a searcher, kept until the collection changes. In the thread of ``searches`` only."""
        searcher = self.searcher()
        if name not in self._kept:
            self._kept[name] = make(searcher)
        value: T = self._kept[name]
        return value

    def search(
        self, q: str = "", *, like: Sequence[str] = (), where: Sequence[str] = (), context: str = "",
        drop: Sequence[str] = (), avoid: Sequence[str] = (), display: Display | None = None, **flags: str | None,
    ) -> dict[str, Any]:  # fmt: skip
        """The document of ``solfa search --json``, with ``reading`` and ``more``: whether there may be another page.

        ``flags`` as ``query.override`` takes them. Raises InputError as ``solfa.api.search`` does.
        """
        searcher, display = self.searcher(), display or Display()
        words = q or ("" if like or where else context)
        query = override(read_query(words), drop=drop, avoid=avoid, **flags)
        if context and display.sort != "score":
            raise InputError("two orders: give sort or for.")
        ranked = replace(display, k=max(MOST, display.k * display.page), page=1) if context else display
        results = searcher.search(query, where=[parse_where(text) for text in where],
                                  like=[self._like(searcher, text) for text in like], display=ranked)  # fmt: skip
        if context:
            results = page_of(rerank(searcher.collection, results, context, RuleJudge()), display.k, display.page)
        return {**results_json(results), "reading": reading(results.query), "more": len(results.hits) == display.k}

    def _like(self, searcher: Searcher, text: str) -> Like:
        """An example: a track's number, perhaps with a part of it (``12@0:30-0:50``), or one that was uploaded."""
        path, start_s, end_s = parse_example(text)
        name = str(path)
        if name in self._examples:
            vectors_WD, content, base = self._examples[name]
            head = searcher.collection.head()
            if head is not None and head.space == searcher.model.space != base:
                vectors_WD, base = head.apply(vectors_WD), head.space
            if base == searcher.model.space:
                [vector] = pool(vectors_WD, [(0, len(vectors_WD))])
                return Like(vector, "like the example", searcher.collection.find(content))
        if not name.isdecimal() or len(name) > 18:
            raise Refused(404, f"no example {name[:80]!r}. Expected a track, 12 or 12@0:30-0:50, or a recent upload.")
        return like_track(searcher, int(name), start_s, float("inf") if end_s is None else end_s)

    # --- sound: in the pool ``decodes`` -------------------------------------------------------------------------------

    def _file(self, track_id: int) -> tuple[TrackRow, BinaryIO, Path]:
        row = self.read(lambda collection: collection.track(track_id))
        for path in row.paths:
            with suppress(FileUnavailable):
                return row, *open_inside(path, self.settings.folders)
        raise Refused(404, f"the file of track {track_id} cannot be reached now.")

    def peaks(self, track_id: int, points: int) -> list[float]:
        """The greatest absolute sample in each of so many equal parts of a track, 0..1."""
        row, file, path = self._file(track_id)
        file.close()
        if (row.hash, points) not in self._peaks:
            found = self._sandbox(peaks, path, points, row.duration_s)
            self._peaks = {**dict([*self._peaks.items()][1 - _MOST_PEAKS :]), (row.hash, points): found}
        return self._peaks[row.hash, points]

    def audio(self, track_id: int, form: str) -> tuple[BinaryIO, str]:
        """An open file with the sound of a track, and its type; ``auto`` transcodes what browsers do not play."""
        row, file, path = self._file(track_id)
        suffix = path.suffix.lower()
        if form == "auto":
            alac = suffix in (".m4a", ".aac") and self._sandbox(codec_of, path) == "alac"
            form = "flac" if alac or suffix not in TYPES else "original"
        if form == "original":
            return file, TYPES.get(suffix, "application/octet-stream")
        file.close()
        return self._transcoded.get(self._sandbox, path, row.hash, form).open("rb"), TRANSCODED[form]

    def example(self, path: Path) -> dict[str, Any]:
        """What an example sound is searched by, kept for a while under a name. Raises DecodeError, InputError."""
        settings = self.settings
        name, allowed = self.read(lambda c: resolve_model(c, settings.model, settings.allow_noncommercial))
        limits = Limits(duration_s=settings.upload_s, size_bytes=settings.upload_bytes)
        vectors_WD, space, length_s, content = self._sandbox(listen, path, name, allowed, limits)
        if not vectors_WD.any():
            raise InputError("nothing to compare in this sound: it is silent, or too short.")
        key = f"x{token_hex(8)}"
        self._examples = {**dict([*self._examples.items()][1 - _MOST_EXAMPLES :]), key: (vectors_WD, content, space)}
        return {"schema": "solfa.example/1", "id": key, "duration_s": round(length_s, 3)}

    # --- indexing -----------------------------------------------------------------------------------------------------

    def index(self, retry_failed: bool = False) -> dict[str, Any]:
        """The job (``solfa.job/1``) of an indexing run over the folders, begun now unless one runs already.

        Raises InputError if no folders are served.
        """
        if not self.settings.folders:
            raise InputError("no folders to index. Name them at the start: solfa serve FOLDER")
        with self._changing:
            for job in self.jobs.values():
                if job["state"] == "running":
                    return job
            job = {"schema": "solfa.job/1", "id": token_hex(8), "state": "running", "started_s": round(time.time(), 3),
                   "folders": [*map(str, self.settings.folders)], "done": 0, "total": 0, "failed": 0, "audio_s": 0.0,
                   "seconds": 0.0, "error": "", "report": None}  # fmt: skip
            self.jobs = {**dict([*self.jobs.items()][1 - _MOST_JOBS :]), job["id"]: job}
        self._spawn(self._index, job, retry_failed)
        return job

    def _index(self, job: dict[str, Any], retry_failed: bool) -> None:
        def progress(now: Progress) -> None:
            job.update(done=now.done, total=now.total, failed=now.failed, audio_s=round(now.audio_s, 1),
                       seconds=round(now.seconds, 1))  # fmt: skip
            if self.stopping.is_set():
                raise _Stopped

        settings, ended = self.settings, {"state": "failed", "error": "an internal error; the log says what"}
        try:
            with Collection.open(settings.collection) as collection:
                report = index(collection, settings.folders, model=settings.model, retry_failed=retry_failed,
                               executor=ProcessExecutor(settings.workers), progress=progress,
                               allow_noncommercial=settings.allow_noncommercial)  # fmt: skip
            document = {"schema": "solfa.index/1", "collection": settings.collection, **plain(report)}
            ended = {"state": "done", "error": "", "report": plain(document)}
        except _Stopped:
            ended = {"state": "stopped", "error": ""}
        except SolfaError as error:
            ended = {"state": "failed", "error": str(error)}
        finally:
            job.update(ended)
