"""How a folder gets into a collection: scan, plan, index, commit one file at a time."""

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from solfa.analysis.analyze import analysis_version
from solfa.analysis.protocol import Extractor
from solfa.audio import Limits
from solfa.collection.indexing import FileIndexer, IndexedFile, IndexTask, Needs
from solfa.collection.scan import FileSource
from solfa.collection.store import Space
from solfa.collection.writer import Writer
from solfa.core.errors import FileUnavailable
from solfa.core.files import is_url, path_of
from solfa.core.types import JointModel
from solfa.jobs import Done, Executor, Failed


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedFile:
    """A file that could not be indexed, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a run is; everything counted here is committed. ``path`` is the file just finished."""

    done: int
    total: int
    failed: int
    audio_s: float
    seconds: float
    path: Path
    reason: str = ""  # why it failed, if it did


@dataclass(frozen=True, kw_only=True, slots=True)
class AddReport:
    """What a run did, in files. ``known_bad`` failed in an earlier run and were passed over; ``notes`` are for people.

    ``added`` new paths; ``updated`` changed files, or known ones analyzed or embedded again; ``moved`` known content at
    a new path, the old one gone; ``removed`` gone from disk (the analysis is kept).
    """

    added: int = 0
    updated: int = 0
    moved: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: tuple[FailedFile, ...] = ()
    known_bad: tuple[FailedFile, ...] = ()
    notes: tuple[str, ...] = ()
    audio_s: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What to index, and with what."""

    paths: tuple[str, ...]
    model: Callable[[], JointModel] | None
    model_name: str
    allow_noncommercial: bool
    extractors: Callable[[], Sequence[Extractor]]
    executor: Executor
    source: FileSource
    limits: Limits
    force: bool
    retry_failed: bool
    progress: Callable[[Progress], None] | None


@dataclass(frozen=True, slots=True)
class _Known:
    track_id: int
    state: tuple[int, int]  # size, mtime_ns
    present: bool
    hash: str
    needs: Needs


def execute(db: sqlite3.Connection, directory: Path, run: Run) -> AddReport:
    """Bring the collection in step with the disk. The caller holds the writer's lock."""
    started, update = time.monotonic(), _Update(db, directory, run)
    tasks = update.plan()
    with closing(run.executor.map(FileIndexer(run.model, run.extractors, run.limits, run.source), tasks)) as results:
        for done, result in enumerate(results, 1):
            update.take(result)
            if run.progress is not None:
                run.progress(
                    Progress(
                        done=done,
                        total=len(tasks),
                        failed=update.num_failed,
                        audio_s=update.audio_s,
                        seconds=time.monotonic() - started,
                        path=path_of(result.item.path),
                        reason=result.reason if isinstance(result, Failed) else "",
                    )
                )
    return replace(update.finish(), seconds=round(time.monotonic() - started, 3))


class _Update:
    """One run: compares the disk with what is known, says what is to be indexed, and commits results one by one."""

    def __init__(self, db: sqlite3.Connection, directory: Path, run: Run) -> None:
        self._run, self._version = run, analysis_version(run.extractors())
        self._writer = Writer(db, directory)
        self._all, space_id = Needs(vectors=run.model is not None), None
        if run.model is not None:
            space_id = self._writer.space(Space.of(run.model().audio.spec), run.model_name, run.allow_noncommercial)
        rows = db.execute(
            "SELECT f.path, f.track_id, f.size, f.mtime_ns, f.present, t.hash, t.analysis_version <> ?1, "
            "v.track_id IS NULL AND ?2 IS NOT NULL FROM file AS f JOIN track AS t ON t.id = f.track_id "
            "LEFT JOIN vector AS v ON v.track_id = t.id AND v.space_id = ?2",
            (self._version, space_id),
        )
        self._known = {
            os.fsdecode(path): _Known(track_id, (size, mtime_ns), bool(present), content, Needs(bool(old), bool(bare)))
            for path, track_id, size, mtime_ns, present, content, old, bare in rows
        }
        failures = db.execute("SELECT path, size, mtime_ns, reason FROM failure")
        self._bad = {os.fsdecode(path): ((size, mtime_ns), reason) for path, size, mtime_ns, reason in failures}
        self._seen = run.source.scan(run.paths, [*self._known, *self._bad])
        self.count: Counter[str] = Counter()  # fields of the report
        self.audio_s = 0.0
        self._failed: list[FailedFile] = []
        self._unreached: list[FailedFile] = []  # by no fault of theirs
        self._known_bad: list[FailedFile] = []
        self._linked: Counter[int] = Counter()  # new paths that point to a track that was there before

    @property
    def num_failed(self) -> int:
        return len(self._failed) + len(self._unreached)

    def plan(self) -> list[IndexTask]:
        """What is to be indexed; files that came back as they were are committed at once."""
        by_size: dict[int, list[_Known]] = {}
        for entry in self._known.values():
            by_size.setdefault(entry.state[0], []).append(entry)
        tasks, returned, asked_tracks, nothing = [], list[str](), set[int](), Needs(analysis=False, vectors=False)
        for path, state in self._seen.found.items():
            before, bad = self._known.get(path), self._bad.get(path)
            if bad and bad[0] == state and not (self._run.retry_failed or self._run.force):
                self._known_bad.append(FailedFile(path=path_of(path), reason=bad[1]))
            elif self._run.force:
                tasks.append(IndexTask(path=path, guess=self._all))
            elif before and before.state == state:
                # Copies of one content are indexed once; the others only point to it.
                if before.needs != nothing and before.track_id not in asked_tracks:
                    asked_tracks.add(before.track_id)
                    tasks.append(IndexTask(path=path, guess=before.needs, known={before.hash: before.needs}))
                elif before.present:
                    self.count["unchanged"] += 1
                else:
                    returned.append(path)
            else:
                # It may be a content that we have (moved, copied, tags changed): then its hash is enough.
                maybe = {e.hash: e.needs for e in ([before] if before else []) + by_size.get(state[0], [])}
                tasks.append(IndexTask(path=path, guess=nothing if maybe else self._all, known=maybe))
        self._writer.update_presence(present=returned)
        self.count["added"] += len(returned)
        return tasks

    def take(self, result: Done[IndexTask, IndexedFile] | Failed[IndexTask]) -> None:
        """Commit one result; only then is it counted."""
        path = result.item.path
        if isinstance(result, Failed):
            # What is outside the file is tried again by itself; what was known of the file still holds.
            outside = result.error == FileUnavailable.__name__ or result.kind == "starved"
            if not outside:
                self._writer.put_failure(path, *self._seen.found[path], result.reason)
            (self._unreached if outside else self._failed).append(FailedFile(path=path_of(path), reason=result.reason))
            return
        [(track_id, is_new)] = self._writer.commit([result.value], self._version)
        self.audio_s += result.value.duration_s
        self.count["updated" if path in self._known else "added"] += 1
        self._linked[track_id] += path not in self._known and not is_new

    def finish(self) -> AddReport:
        """Commit what is gone: a missing path whose content turned up under a new one has moved, others are removed."""
        moved, removed = [], []
        for path in sorted(self._seen.missing & self._known.keys()):
            before = self._known[path]
            if self._linked[before.track_id] > 0:
                self._linked[before.track_id] -= 1
                moved.append(path)
            elif before.present:
                removed.append(path)
        self._writer.update_presence(gone=removed, moved=moved, no_failures=self._seen.missing)
        self.count.update(moved=len(moved), removed=len(removed), added=-len(moved))
        return AddReport(
            **self.count,
            failed=tuple(sorted([*self._failed, *_by_lost_folder(self._unreached)], key=lambda f: f.path)),
            known_bad=tuple(self._known_bad),
            notes=self._seen.notes,
            audio_s=round(self.audio_s, 3),
        )


def _by_lost_folder(failures: Sequence[FailedFile]) -> list[FailedFile]:
    """The failures; one for all files of a folder that went away during the run (deleted, unmounted)."""

    @cache
    def alive(folder: Path) -> bool:
        try:
            return any(folder.iterdir())  # an empty one is the place of a disk that is not there
        except OSError:
            return False

    lost: Counter[Path] = Counter()
    reported = []
    for failure in failures:
        gone = [] if is_url(str(failure.path)) else [folder for folder in failure.path.parents if not alive(folder)]
        if gone:
            lost[gone[-1]] += 1
        else:
            reported.append(failure)
    reason = "cannot be reached any more; the next run tries its {} again".format
    return reported + [FailedFile(path=p, reason=reason(f"{n} files" if n > 1 else "file")) for p, n in lost.items()]
