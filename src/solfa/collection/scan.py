"""What audio files are under some paths, and which known ones are really gone.

An absence is believed only where it cannot be a disk that is not mounted: nothing is taken as removed under a
directory that cannot be listed, that is empty where files were, or below a given path that holds no audio at all.
"""

# Names remain exactly what the system gave; pathlib would normalise them.
# ruff: noqa: PTH116, PTH118, PTH120, PTH122, PTH208

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from solfa.audio import SUFFIXES, Limits
from solfa.core.errors import FileUnavailable

NO_AUDIO, _EMPTY = "holds no audio files now", "is empty now (not mounted?)"
_HARMLESS = (NO_AUDIO, _EMPTY)  # worth a word only where files were


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """``found``: size and mtime_ns of every file, by path.

    ``missing`` known paths are gone; ``doubtful`` ones were not seen, but ``notes`` say why they may still be.
    """

    found: dict[str, tuple[int, int]]
    missing: frozenset[str]
    doubtful: frozenset[str]
    notes: tuple[str, ...]


def scan(paths: Iterable[str], known: Iterable[str]) -> Scan:
    """Everything under ``paths`` (files as they are, directories to their depths; absolute), against known paths.

    Directories are searched for files with an audio suffix; hidden ones (leading dot) are passed over, links are
    followed, loops are not. A path given by itself is taken whatever its name.
    """
    return FileSource().scan(paths, known)


class FileSource:
    """Where files are, and a copy of each that decoders can open: the files of this machine."""

    def scan(self, paths: Iterable[str], known: Iterable[str]) -> Scan:
        """Everything under ``paths`` against known paths, as the function ``scan`` says."""
        walk = self._walk()
        for path in paths:
            walk.visit(path)
        return walk.compared(known)

    def _walk(self) -> "Walk":
        return Walk()

    def state(self, path: str) -> tuple[int, int]:
        """Size in bytes, and a number that changes with the content (the time of its last change).

        Raises FileUnavailable if it cannot be reached.
        """
        try:
            status = os.stat(path)
        except OSError as error:
            raise FileUnavailable(path, f"cannot be opened: {error.strerror}") from error
        return status.st_size, status.st_mtime_ns

    @contextmanager
    def local(self, path: str, size: int, limits: Limits) -> Iterator[str]:
        """The name under which a file of so many bytes can be opened in this process, for as long as the block runs.

        Raises FileUnavailable if it cannot be fetched; DecodeError if it asks for more than the limits allow.
        """
        yield path


class Walk:
    """What a walk over paths has found, and where it could not look."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[int, int]] = {}
        self.blind: dict[str, str] = {}  # directories whose silence means nothing, and why
        self._roots: list[str] = []
        self._seen: set[tuple[int, int]] = set()

    def visit(self, root: str) -> None:
        """Take in a file, or all below a directory."""
        self._roots.append(root)
        try:
            status = os.stat(root)
        except (OSError, ValueError) as error:
            self.blind[root] = f"cannot be reached ({getattr(error, 'strerror', None) or error})"
            return
        if not stat.S_ISDIR(status.st_mode):
            self.found[root] = status.st_size, status.st_mtime_ns
            return
        before = len(self.found)
        self._descend(root, status)
        if len(self.found) == before and root not in self.blind:
            self.blind[root] = NO_AUDIO

    def compared(self, known: Iterable[str]) -> Scan:
        """What was found, against the paths that were known before."""
        missing: set[str] = set()
        doubtful: set[str] = set()
        for path in known:
            if path in self.found or not (root := self.root_of(path)):
                continue
            (doubtful if self.in_doubt(path, root) else missing).add(path)
        notes = []
        for directory, why in sorted(self.blind.items()):
            count = sum(path.startswith(directory + os.sep) for path in doubtful)
            if count:
                notes.append(f"{directory}: {why}; the {count} files known there are kept")
            elif why not in _HARMLESS:
                notes.append(f"{directory}: {why}")
        return Scan(
            found=dict(sorted(self.found.items())),
            missing=frozenset(missing),
            doubtful=frozenset(doubtful),
            notes=tuple(notes),
        )

    def root_of(self, path: str) -> str | None:
        """The visited path that a path is below; None if there is none."""
        return next((r for r in self._roots if path == r or path.startswith(r.rstrip(os.sep) + os.sep)), None)

    def in_doubt(self, path: str, root: str) -> bool:
        """Whether a path that was not found may be there all the same."""
        if path == root:  # given by itself and gone: believed if the directory around it is alive
            try:
                return not os.listdir(os.path.dirname(path))
            except OSError:
                return True
        while len(path) > len(root):
            path = os.path.dirname(path)
            if path in self.blind:
                return True
        return False

    def _descend(self, root: str, status: os.stat_result) -> None:
        self._seen.add((status.st_dev, status.st_ino))
        stack = [root]
        while stack:
            directory = stack.pop()
            for entry in sorted(self._entries(directory), key=lambda e: e.name):
                if entry.name.startswith("."):
                    continue
                path = os.path.join(directory, entry.name)
                try:
                    status = entry.stat()
                except OSError:  # a broken link, or gone since
                    continue
                if stat.S_ISDIR(status.st_mode):
                    if (status.st_dev, status.st_ino) not in self._seen:
                        self._seen.add((status.st_dev, status.st_ino))
                        stack.append(path)
                elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                    self.found[path] = status.st_size, status.st_mtime_ns

    def _entries(self, directory: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(directory) as iterator:
                entries = list(iterator)
        except OSError as error:
            self.blind[directory] = f"cannot be listed ({error.strerror})"
            return []
        if not entries:
            self.blind[directory] = _EMPTY
        return entries
