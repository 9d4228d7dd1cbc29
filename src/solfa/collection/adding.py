"""How a folder gets into a collection: scan, plan, index, commit one file at a time."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from solfa.analysis.analyze import analysis_version
from solfa.analysis.protocol import Extractor
from solfa.audio import Limits
from solfa.collection.indexing import FileIndexer, IndexedFile, IndexTask, Needs
from solfa.collection.scan import Scan, ScannedFile, scan
from solfa.collection.store import Space
from solfa.collection.writer import Writer
from solfa.core.errors import FileUnavailable
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

    ``added`` new paths; ``updated`` changed files, or known ones analysed or embedded again; ``moved`` known content at
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
    model: Callable[[], JointModel]
    model_name: str
    allow_noncommercial: bool
    extractors: Callable[[], Sequence[Extractor]]
    executor: Executor
    limits: Limits
    force: bool
    retry_failed: bool
    progress: Callable[[Progress], None] | None


@dataclass(frozen=True, slots=True)
class _Known:
    track_id: int
    size: int
    mtime_ns: int
    present: bool
    hash: str
    needs: Needs


@dataclass(kw_only=True, slots=True)
class _Plan:
    tasks: dict[str, IndexTask] = field(default_factory=dict)
    stats: dict[str, ScannedFile] = field(default_factory=dict)
    unchanged: int = 0
    returned: list[str] = field(default_factory=list)
    known_bad: list[FailedFile] = field(default_factory=list)


def execute(db: sqlite3.Connection, directory: Path, run: Run) -> AddReport:
    """Bring the collection in step with the disk. The caller holds the writer's lock."""
    started = time.monotonic()
    model, extractors = run.model(), run.extractors()
    version = analysis_version(extractors)
    writer = Writer(db, directory)
    space_id = writer.space(Space.of(model.audio.spec), run.model_name, run.allow_noncommercial)
    known = _known(db, version, space_id)
    failures = _failures(db)
    seen = scan(run.paths, [*known, *failures])
    plan = _plan(failures, seen, known, run)
    writer.present(plan.returned, True)
    outcome = _Outcome(writer, known, plan.stats, version)
    indexer = FileIndexer(run.model, run.extractors, run.limits)
    with closing(run.executor.map(indexer, plan.tasks.values())) as results:
        for result in results:
            outcome.take(result)
            if run.progress is not None:
                run.progress(outcome.progress(result, len(plan.tasks), started))
    moved, removed = _settle_missing(writer, seen, known, outcome.linked)
    return AddReport(
        added=outcome.added - moved + len(plan.returned),
        updated=outcome.updated,
        moved=moved,
        unchanged=plan.unchanged,
        removed=removed,
        failed=tuple(sorted([*outcome.failed, *_by_lost_folder(outcome.unreached)], key=lambda f: f.path)),
        known_bad=tuple(plan.known_bad),
        notes=seen.notes,
        audio_s=round(outcome.audio_s, 3),
        seconds=round(time.monotonic() - started, 3),
    )


def _known(db: sqlite3.Connection, version: str, space_id: int) -> dict[str, _Known]:
    rows = db.execute(
        "SELECT f.path, f.track_id, f.size, f.mtime_ns, f.present, t.hash, t.analysis_version <> ?, v.track_id IS NULL "
        "FROM file AS f JOIN track AS t ON t.id = f.track_id "
        "LEFT JOIN vector AS v ON v.track_id = t.id AND v.space_id = ?",
        (version, space_id),
    )
    return {
        os.fsdecode(path): _Known(track_id, size, mtime_ns, bool(present), digest, Needs(bool(stale), bool(bare)))
        for path, track_id, size, mtime_ns, present, digest, stale, bare in rows
    }


def _failures(db: sqlite3.Connection) -> dict[str, tuple[int, int, str]]:
    rows = db.execute("SELECT path, size, mtime_ns, reason FROM failure")
    return {os.fsdecode(path): (size, mtime_ns, reason) for path, size, mtime_ns, reason in rows}


def _plan(failures: dict[str, tuple[int, int, str]], seen: Scan, known: dict[str, _Known], run: Run) -> _Plan:
    plan = _Plan()
    by_size: dict[int, list[_Known]] = {}
    for entry in known.values():
        by_size.setdefault(entry.size, []).append(entry)
    asked_tracks: set[int] = set()
    nothing = Needs(analysis=False, vectors=False)
    for found in seen.found:
        plan.stats[found.path] = found
        before = known.get(found.path)
        bad = failures.get(found.path)
        if bad and bad[:2] == (found.size, found.mtime_ns) and not (run.retry_failed or run.force):
            plan.known_bad.append(FailedFile(path=Path(found.path), reason=bad[2]))
        elif run.force:
            plan.tasks[found.path] = IndexTask(path=found.path)
        elif before and (before.size, before.mtime_ns) == (found.size, found.mtime_ns):
            # Copies of one content are indexed once; the others only point to it.
            if before.needs != nothing and before.track_id not in asked_tracks:
                asked_tracks.add(before.track_id)
                plan.tasks[found.path] = IndexTask(
                    path=found.path, guess=before.needs, known={before.hash: before.needs}
                )
            elif before.present:
                plan.unchanged += 1
            else:
                plan.returned.append(found.path)
        else:
            # It may be a content that we have (moved, copied, tags changed): then its hash is enough.
            maybe = {e.hash: e.needs for e in ([before] if before else []) + by_size.get(found.size, [])}
            plan.tasks[found.path] = IndexTask(path=found.path, guess=nothing if maybe else Needs(), known=maybe)
    return plan


@dataclass(slots=True)
class _Outcome:
    """Takes results one by one: commits, counts, reports."""

    writer: Writer
    known: dict[str, _Known]
    stats: dict[str, ScannedFile]
    version: str
    added: int = 0
    updated: int = 0
    audio_s: float = 0.0
    failed: list[FailedFile] = field(default_factory=list)
    unreached: list[FailedFile] = field(default_factory=list)  # by no fault of theirs
    linked: Counter[int] = field(default_factory=Counter)  # new paths that point to a track that was there before

    def take(self, result: Done[IndexTask, IndexedFile] | Failed[IndexTask]) -> None:
        """Commit one result; only then is it counted."""
        path = result.item.path
        if isinstance(result, Failed):
            found = self.stats[path]
            # What lies outside the file is tried again by itself; what was known of the file still holds.
            outside = result.error == FileUnavailable.__name__ or result.kind == "starved"
            if not outside:
                self.writer.failed(path, found.size, found.mtime_ns, result.reason)
            (self.unreached if outside else self.failed).append(FailedFile(path=Path(path), reason=result.reason))
            return
        [(track_id, is_new)] = self.writer.commit([result.value], self.version)
        self.audio_s += result.value.duration_s
        if path in self.known:
            self.updated += 1
        else:
            self.added += 1
            self.linked[track_id] += not is_new

    def progress(
        self, result: Done[IndexTask, IndexedFile] | Failed[IndexTask], total: int, started: float
    ) -> Progress:
        """How far it is after a result."""
        failed = len(self.failed) + len(self.unreached)
        return Progress(
            done=self.added + self.updated + failed,
            total=total,
            failed=failed,
            audio_s=self.audio_s,
            seconds=time.monotonic() - started,
            path=Path(result.item.path),
            reason=result.reason if isinstance(result, Failed) else "",
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
    told = []
    for failure in failures:
        gone = [folder for folder in failure.path.parents if not alive(folder)]
        if gone:
            lost[gone[-1]] += 1
        else:
            told.append(failure)
    reason = "cannot be reached any more; the next run tries its {} again".format
    return told + [FailedFile(path=p, reason=reason(f"{n} files" if n > 1 else "file")) for p, n in lost.items()]


def _settle_missing(writer: Writer, seen: Scan, known: dict[str, _Known], linked: Counter[int]) -> tuple[int, int]:
    """A missing path whose content turned up under a new one has moved; the others are removed."""
    moved, removed = [], []
    writer.clear_failures(sorted(seen.missing))
    for path in sorted(seen.missing & known.keys()):
        track_id = known[path].track_id
        if linked[track_id] > 0:
            linked[track_id] -= 1
            moved.append(path)
        elif known[path].present:
            removed.append(path)
    writer.delete_files(moved)
    writer.present(removed, False)
    return len(moved), len(removed)
