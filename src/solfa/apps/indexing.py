"""``solfa index`` and ``solfa status``: run, show progress, sum up."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from solfa.api import index
from solfa.apps.options import executor_of
from solfa.apps.terminal import INTERRUPTED, NOTHING_DONE, SOME_FAILED, Work, console, print_json, tell
from solfa.audio import SUFFIXES
from solfa.collection import AddReport, Collection, FailedFile, Progress
from solfa.collection.database import Database
from solfa.collection.scan import FileSource, scan
from solfa.core.errors import InputError
from solfa.core.files import is_url
from solfa.core.text import clock, printable
from solfa.serve.documents import index_json, status_json

_LOOK_EVERY_S = 3.0  # between looks at watched folders


def run_index(
    paths: Sequence[Path | str], directory: Path, *, model: str | None = None, extractors: Sequence[str] | None = None,
    executor: str = "processes", workers: int = 0, gpus: float = 0.0, timeout_s: float = 120.0,
    retry_failed: bool = False, allow_noncommercial: bool = False, as_json: bool = False, brief: bool = False,
) -> int:  # fmt: skip
    """Index, print what happened (``brief``: a line, and the failures), and give the exit code."""
    # Path.exists raises for long names.
    searched = [path for path in paths if is_url(path) or os.path.exists(path)]  # noqa: PTH110
    if not searched and not Database(directory).exists():  # an old one keeps its tracks
        raise InputError(f"not found: {', '.join(map(str, paths))}. Give folders and audio files to index.")
    source: FileSource | None = None
    if urls := [str(path) for path in paths if is_url(path)]:
        from solfa.cluster.sources import RemoteFiles, open_store

        source = RemoteFiles()
        for url in urls:
            open_store(url)  # what cannot be used is told before a collection is made
    spread = executor_of(executor, workers or None, gpus, timeout_s=timeout_s)
    try:
        with Collection.open(directory, create=True) as collection, Work("indexing", stderr=as_json) as work:

            def show(p: Progress) -> None:
                rate = f"{p.audio_s / max(p.seconds, 1e-3):.0f}x real time"
                work("indexing", p.done, p.total, f"{p.failed} failed, {rate}")

            report = index(collection, paths, model=model, extractors=extractors, executor=spread, source=source,
                           progress=None if brief else show, retry_failed=retry_failed,
                           allow_noncommercial=allow_noncommercial)  # fmt: skip
    except KeyboardInterrupt:
        typer.echo("solfa: stopped; finished files are kept, run the same command to go on.", err=True)
        return INTERRUPTED
    touched = report.added + report.updated + report.moved + report.unchanged + report.removed
    bad = len(report.failed) + len(report.known_bad)
    if not touched + bad and searched:  # of the others it is said that they cannot be reached
        places = ", ".join(map(str, searched))
        note = f"no audio found in {places}. Folders are searched for {' '.join(sorted(SUFFIXES))}."
        report = replace(report, notes=(*report.notes, note))
    if as_json:
        print_json(index_json(directory, report), indent=None if brief else 2)
    else:
        _print_report(work, report, directory, brief)
    if not touched + bad:
        return NOTHING_DONE
    return SOME_FAILED if bad else 0


def watch(paths: Sequence[Path | str], directory: Path, **options: Any) -> int:
    """Index, then again whenever files were added, changed, moved or removed; until Ctrl-C or SIGTERM, then 0.

    Folders are looked over every few seconds; a change is taken up once two looks agree, so that no file is read while
    it is still being copied.
    """
    if any(map(is_url, paths)):
        raise InputError("--watch looks at folders of this machine: index a store again by the clock, for example.")
    absolute = [os.path.abspath(path) for path in paths]  # noqa: PTH100  (resolve would follow links)
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        seen = scan(absolute, ()).found
        if (code := run_index(paths, directory, **options)) in (NOTHING_DONE, INTERRUPTED):
            return code
        tell(f"watching {', '.join(map(str, paths))}; stop with Ctrl-C")
        last = seen
        while True:
            time.sleep(_LOOK_EVERY_S)
            now = scan(absolute, ()).found
            if now == last != seen:
                seen = now
                if run_index(paths, directory, **options, brief=True) == INTERRUPTED:
                    return 0
            last = now
    except KeyboardInterrupt:
        tell("stopped watching; what was finished is kept")
        return 0
    finally:
        signal.signal(signal.SIGTERM, previous)


def run_status(directory: Path, *, failures: bool, copies: bool, as_json: bool) -> None:
    """Print what a collection holds."""
    with Collection.open(directory) as collection:
        stats, failed, head = collection.stats(), collection.failures(), collection.head()
        same = [track.paths for track in collection.tracks() if len(track.paths) > 1] if copies else []
    if as_json:
        value = status_json(directory, stats, failed)
        print_json({**value, "copies": same} if copies else value)
        return
    out = console()
    out.print(f"{directory}", markup=False)
    out.print(f"{stats.tracks} tracks in {stats.files} files, {clock(stats.duration_s)} of music, "
              f"{stats.size_bytes / 1e6:.1f} MB; {stats.kept} analyzed tracks without a file, "
              f"{stats.failures} failed files")  # fmt: skip
    for space, count in stats.spaces.items():
        out.print(f"embedding space {space}: {count} tracks", markup=False)
    if head is not None:
        what = "a head" if head.space != head.base else "weights of attributes"
        out.print(f"searches use {what} that 'solfa learn' installed; undo it with: solfa learn --remove")
    for group in same:
        out.print("the same sound:\n  " + "\n  ".join(printable(str(path)) for path in group), markup=False)
    if failures:
        _print_failures(out, failed)
    elif failed:
        out.print("list the failed files with: solfa status --failures")


def _print_report(work: Work, report: AddReport, directory: Path, brief: bool) -> None:
    out = work.out
    parts = [f"{getattr(report, name)} {name}" for name in ("added", "updated", "moved", "unchanged", "removed")]
    work.end(", ".join(parts), len(report.failed), report.audio_s)
    for note in report.notes:
        out.print(f"note: {printable(note)}", markup=False)
    _print_failures(out, report.failed)
    if brief:
        return
    if report.known_bad:
        out.print(f"{len(report.known_bad)} files failed in an earlier run and were passed over: see 'solfa status "
                  f"--failures', try them again with --retry-failed")  # fmt: skip
    out.print(f"collection: {directory}", markup=False)


def _print_failures(out: Console, failures: Sequence[FailedFile]) -> None:
    for failure in failures:
        out.print(f"failed: {printable(str(failure.path))}: {printable(failure.reason)}", markup=False)
