"""One open collection behind many requests: searched by one thread, reloaded when it changes, indexed beside that."""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
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
from solfa.encoders.windows import pool
from solfa.jobs import ProcessExecutor
from solfa.language import Operation, Session
from solfa.query import explain, override, parse_where
from solfa.relevance import RuleJudge
from solfa.relevance.rerank import MOST, page_of, rerank
from solfa.retrieval import Display, Like, Results, Searcher
from solfa.retrieval.like import like_track, parse_example
from solfa.serve.documents import index_json, reading, results_json
from solfa.serve.media import ENCODED, TYPES, Sandbox, codec_of, encode, listen, model_once, open_inside, peaks
from solfa.serve.pool import BoundedPool, Refused

T = TypeVar("T")
_LEAST_PAUSE_S, _LOADING_SHARE = 2.0, 0.05  # between reloads, and the most of all time that they may take
_MOST_EXAMPLES, _MOST_PEAKS, _MOST_JOBS, _MOST_FORMS, _MOST_ENCODED_BYTES = 64, 512, 20, 10_000, 2 << 30
_MOST_SESSIONS = 256


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """What is served and how.

    ``folders``: what is indexed, and where sound is played from (none: the folder of each file); ``names``: further
    host names that requests may be addressed to; ``mcp``: also answer assistants, at ``/mcp``; ``waiting``: how many
    requests may wait for their turn; ``workers``: processes of an indexing run; ``upload_bytes``, ``upload_s``: the
    largest example sound.
    """

    collection: Path
    folders: tuple[Path, ...] = ()
    model: str | None = None
    allow_noncommercial: bool = False
    host: str = "127.0.0.1"
    port: int = 4333
    names: tuple[str, ...] = ()
    mcp: bool = False
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
        self.searches = BoundedPool(1, settings.waiting, settings.timeout_s)
        self.reads = BoundedPool(4, settings.waiting, settings.timeout_s)
        self.decodes = BoundedPool(1, settings.waiting, 60.0)
        self.jobs: dict[str, dict[str, Any]] = {}
        self.stopping, self.ready = threading.Event(), threading.Event()  # ready: a search waits for no model
        self._sandbox, self._encoded = Sandbox(30.0), ""  # the folder of encoded files
        self._peaks: dict[Any, list[float]] = {}
        self._forms: dict[str, str] = {}  # of files that may be ALAC, by content
        self._examples: dict[str, tuple[Any, str, str]] = {}
        self._sessions: dict[tuple[str, str], Session] = {}  # by role and name
        self._searcher: Searcher | None = None
        self._seen, self._again_s, self._kept = list[tuple[int, ...]](), 0.0, dict[str, Any]()
        self._starting, self._run = threading.Lock(), threading.Thread()

    def start(self) -> None:
        """Open the collection, new where there is none; load the model and index the folders in the background.

        The second call does nothing. Raises CollectionError if the collection cannot be opened.
        """
        if not self._encoded:
            Collection.open(self.settings.collection, create=True).close()
            self._encoded = tempfile.mkdtemp(prefix="solfa-serve-")
            self.searches.begin(self.searcher)
            if self.settings.folders:
                self.index()

    def stop(self) -> None:
        """End what runs; what an indexing run has finished is kept."""
        self.stopping.set()
        if self._run.ident is not None:
            self._run.join()
        for one in (self.searches, self.reads, self.decodes):
            one.close()
        self._sandbox.end()
        shutil.rmtree(self._encoded, ignore_errors=True)

    def read(self, work: Callable[[Collection], T]) -> T:
        """What is made of the collection as it is now."""
        with Collection.open(self.settings.collection) as collection:
            return work(collection)

    # --- searching: in the pool ``searches`` --------------------------------------------------------------------------

    def searcher(self, at_once: bool = False) -> Searcher:
        """A searcher over the collection as it is, or (unless ``at_once``) was not long ago where it changes often."""
        path, now, began_s = Database(self.settings.collection).path, list[tuple[int, ...]](), time.monotonic()
        for file in (path, path.with_name(path.name + "-wal")):
            with suppress(OSError):
                now.append(((status := file.stat()).st_ino, status.st_size, status.st_mtime_ns))
        if self._searcher is None or (now != self._seen and (at_once or began_s >= self._again_s)):
            if self._searcher is not None:
                self._searcher.collection.close()  # first: two states would take twice the memory
            collection, settings = Collection.open(self.settings.collection), self.settings
            self._searcher = open_searcher(collection, settings.model, loaded=model_once,
                                           allow_noncommercial=settings.allow_noncommercial)  # fmt: skip
            self._kept, self._seen = {}, now
            with suppress(SolfaError):  # load what the first query would wait for; that query says what is wrong
                if not self.ready.is_set():  # in a new collection a search would load no model
                    self._searcher.model.text.encode(["calm piano"])
                self._searcher.search(read_query("calm piano"))
            took_s = time.monotonic() - began_s if self.ready.is_set() else 0.0  # the model is loaded only once
            self.ready.set()
            self._again_s = time.monotonic() + max(_LEAST_PAUSE_S, took_s / _LOADING_SHARE)
        return self._searcher

    def once(self, name: str, make: Callable[[Searcher], T]) -> T:
        """What is made of a searcher, kept until the collection changes."""
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
        query = override(read_query(q or ("" if like or where else context)), drop=drop, avoid=avoid, **flags)
        if context and display.sort != "score":
            raise InputError("two orders: give sort or for.")
        ranked = replace(display, k=max(MOST, display.k * display.page), page=1) if context else display
        filters, examples = [parse_where(text) for text in where], [self._like(searcher, text) for text in like]
        if len(searcher.collection.attributes()):
            results = searcher.search(query, where=filters, like=examples, display=ranked)
        else:
            results = Results(query=query, parsed=tuple(explain(query)), hits=(), candidates=0,
                              timing_ms={"total": 0.0}, note="Nothing is indexed yet.")  # fmt: skip
        if context:
            results = page_of(rerank(searcher.collection, results, context, RuleJudge()), display.k, display.page)
        return {**results_json(results), "reading": reading(results.query), "more": len(results.hits) == display.k}

    def turn(
        self, role: str, name: str, text: str = "", operations: Sequence[Mapping[str, Any]] = (), k: int = 10
    ) -> dict[str, Any]:
        """A turn of a search that goes on, as ``solfa chat --json`` prints it, with the ``id`` that continues it.

        Raises Refused if the session is gone, or the turn keeps verdicts and the role may not; InputError as
        ``Session.apply``.
        """
        searcher = self.searcher()
        session = self._sessions.get((role, name)) if name else Session(searcher, Display(k=k))
        if session is None:
            raise Refused(404, "this search is over, or somebody else's. Begin another one, without id.")
        session.searcher = searcher  # the collection as it is now
        turn = [Operation.of(one) for one in operations] or session.understood(text)
        if role != "owner" and any(op.verdict for op in turn):
            raise Refused(403, "verdicts are kept for the owner only. Say 'more like' or 'not like' instead.")
        results = session.apply(turn)
        self._sessions.pop((role, name), None)  # the one that was asked last is the last to be forgotten
        _keep(self._sessions, _MOST_SESSIONS, (role, name := name or token_hex(8)), session)
        return {**session.state(), "id": name, "operations": turn, "results": results and results_json(results)}

    def _like(self, searcher: Searcher, text: str) -> Like:
        path, start_s, end_s = parse_example(text)
        if (name := str(path)) in self._examples:
            vectors_WD, content, space = self._examples[name]
            head = searcher.collection.head()
            if head is not None and head.base == space and head.space == searcher.model.space:
                vectors_WD, space = head.apply(vectors_WD), head.space
            if space == searcher.model.space:
                [vector] = pool(vectors_WD, [(0, len(vectors_WD))])
                return Like(vector, "like the example", searcher.collection.find(content))
        if not name.isdecimal() or len(name) > 18:
            raise Refused(404, f"no example {name[:80]!r}. Expected a track, 12 or 12@0:30-0:50, or a recent upload.")
        return like_track(searcher, int(name), start_s, float("inf") if end_s is None else end_s)

    # --- sound: in the pool ``decodes`` -------------------------------------------------------------------------------

    def _file(self, track_id: int) -> tuple[TrackRow, BinaryIO, Path]:
        row = self.read(lambda collection: collection.track(track_id))
        refused = Refused(404, f"the file of track {track_id} cannot be reached now.")
        for path in row.paths:
            try:
                return row, *open_inside(path, self.settings.folders or [path.parent])
            except FileUnavailable:
                continue
            except Refused as error:
                refused = error
        raise refused

    def peaks(self, track_id: int, points: int) -> list[float]:
        """The greatest absolute sample in each of so many equal parts of a track, 0..1."""
        row, file, path = self._file(track_id)
        file.close()
        if (key := (row.hash, points)) not in self._peaks:
            _keep(self._peaks, _MOST_PEAKS, key, self._sandbox(peaks, path, points, row.duration_s))
        return self._peaks[key]

    async def audio(self, track_id: int, form: str) -> tuple[BinaryIO, str]:
        """An open file with the sound of a track, and its type; ``auto`` makes FLAC of what browsers do not play."""
        while (found := await self.reads(self._sound, track_id, form)) is None:
            await self.decodes(self._decode, track_id, form)
        return found

    def _sound(self, track_id: int, form: str) -> tuple[BinaryIO, str] | None:
        row, file, path = self._file(track_id)
        form = self._form(row, path) if form == "auto" else form
        if form == "original":
            return file, TYPES.get(path.suffix.lower(), "application/octet-stream")
        file.close()
        made = Path(self._encoded, f"{row.hash}.{form}")
        return (made.open("rb"), ENCODED[form]) if form and made.exists() else None

    def _form(self, row: TrackRow, path: Path) -> str:
        """What browsers are given of a file; empty if it has to be looked into first, for ALAC."""
        if path.suffix.lower() in (".m4a", ".aac"):
            return self._forms.get(row.hash, "")
        return "original" if path.suffix.lower() in TYPES else "flac"

    def _decode(self, track_id: int, form: str) -> None:
        row, file, path = self._file(track_id)
        file.close()
        if form == "auto" and not (form := self._form(row, path)):
            known = "flac" if self._sandbox(codec_of, path) == "alac" else "original"
            _keep(self._forms, _MOST_FORMS, row.hash, known)
            return
        made, total = Path(self._encoded, f"{row.hash}.{form}"), 0
        for old in sorted(made.parent.iterdir(), key=lambda one: one.stat().st_mtime, reverse=True):
            if (total := total + old.stat().st_size) > _MOST_ENCODED_BYTES:
                old.unlink()
        self._sandbox(encode, path, made.with_suffix(".part"), form)
        made.with_suffix(".part").replace(made)

    def example(self, path: Path) -> dict[str, Any]:
        """What an example sound is searched by, kept for a while under a name. Raises DecodeError, InputError."""
        settings = self.settings
        name, allowed = self.read(lambda c: resolve_model(c, settings.model, settings.allow_noncommercial))
        limits = Limits(duration_s=settings.upload_s, size_bytes=settings.upload_bytes)
        vectors_WD, space, length_s, content = self._sandbox(listen, path, name, allowed, limits)
        if not vectors_WD.any():
            raise InputError("nothing to compare in this sound: it is silent, or too short.")
        _keep(self._examples, _MOST_EXAMPLES, key := f"x{token_hex(8)}", (vectors_WD, content, space))
        return {"schema": "solfa.example/1", "id": key, "duration_s": round(length_s, 3)}

    # --- indexing -----------------------------------------------------------------------------------------------------

    def index(self, retry_failed: bool = False) -> dict[str, Any]:
        """The job (``solfa.job/1``) of an indexing run over the folders, begun now unless one runs already.

        Raises InputError if no folders are served.
        """
        if not self.settings.folders:
            raise InputError("no folders to index. Name them at the start: solfa serve FOLDER")
        with self._starting:
            for job in self.jobs.values():
                if job["state"] == "running":
                    return job
            job = {"schema": "solfa.job/1", "id": token_hex(8), "state": "running", "started_s": round(time.time(), 3),
                   "folders": [*map(str, self.settings.folders)], "done": 0, "total": 0, "failed": 0, "audio_s": 0.0,
                   "seconds": 0.0, "error": "", "report": None}  # fmt: skip
            _keep(self.jobs, _MOST_JOBS, job["id"], job)
            self._run = threading.Thread(target=self._index, args=(job, retry_failed), daemon=True)
            self._run.start()
        return job

    def _index(self, job: dict[str, Any], retry_failed: bool) -> None:
        def progress(now: Progress) -> None:
            names = ("done", "total", "failed", "audio_s", "seconds")
            job.update({name: round(getattr(now, name), 1) for name in names})
            if self.stopping.is_set():
                raise _Stopped
            self._reload()

        settings = self.settings
        ended: dict[str, Any] = {"state": "failed", "error": "an internal error; the log says what"}
        try:
            with Collection.open(settings.collection) as collection:
                report = index(collection, settings.folders, model=settings.model, retry_failed=retry_failed,
                               executor=ProcessExecutor(settings.workers), progress=progress,
                               allow_noncommercial=settings.allow_noncommercial)  # fmt: skip
            ended = {"state": "done", "report": index_json(settings.collection, report)}
        except _Stopped:
            ended = {"state": "stopped"}
        except SolfaError as error:
            ended = {"state": "failed", "error": str(error)}
        finally:
            self._reload(at_once=True)  # who is told of the end finds what was added
            job.update(ended)

    def _reload(self, *, at_once: bool = False) -> None:
        """Have changes loaded before a search waits for that."""
        with suppress(Refused):
            self.searches.begin(self.searcher, at_once)


def _keep(kept: dict[Any, Any], most: int, key: Any, value: Any) -> None:
    """Put a value into a dictionary that loses its oldest one where it would hold more than ``most``."""
    while len(kept) >= most:
        kept.pop(next(iter(kept)))
    kept[key] = value
