"""What a published data set is, and its folder: files are read safely, errors say where to get them, at which terms.

Conventions
-----------
A data set is read from a folder in its authors' own layout. Nothing is downloaded, nothing is written. Paths inside
metadata may not lead out of the folder. Files that are missing, damaged or of another shape, and clips that lack what
is asked of them, raise InputError. ``revision`` hashes every metadata file that was read.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from solfa.core.clip import Clip
from solfa.core.errors import InputError
from solfa.datasets.tables import table_rows

AUDIO_SUFFIXES = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".au")


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceInfo:
    """Where a data set comes from.

    The first of ``splits`` is the usual one for evaluation. ``layout`` says which files are expected; ``seen`` what the
    reader was written from: the authors' ``real files``, or their ``documentation`` and public code. ``rows`` says how
    clips are made of the rows of its tables (``sources.toml``).
    """

    title: str
    where: str
    licence: str
    layout: str
    splits: tuple[str, ...]
    seen: str = "documentation"
    rows: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """The clips of one split of a data set."""

    name: str
    split: str
    revision: str
    source: SourceInfo
    clips: tuple[Clip, ...]

    def with_audio(self) -> "DataSet":
        """The clips whose audio is there."""
        have = tuple(i for i in self.clips if i.audio is not None)
        if not have:
            raise InputError(
                f"{self.source.title}: no audio of {len(self.clips)} clips was found. Expected: {self.source.layout}. "
                f"Get it from {self.source.where} (licence: {self.source.licence})."
            )
        return replace(self, clips=have)

    def captions(self) -> tuple[list[str], list[int]]:
        """Every caption, and the row of the clip it describes."""
        bare = [i.id for i in self.clips if not i.captions]
        if bare:
            raise InputError(f"{self.source.title}: {len(bare)} clips have no caption (such as {bare[0]!r}).")
        pairs = [(c, row) for row, clip in enumerate(self.clips) for c in clip.captions]
        return [c for c, _ in pairs], [row for _, row in pairs]


class Folder:
    """A data set's folder; remembers a hash of what was read from it."""

    def __init__(self, root: Path, source: SourceInfo) -> None:
        self.root, self.source = root, source
        self._digest = hashlib.sha256()

    @property
    def revision(self) -> str:
        """Hash of every metadata file read so far, in order."""
        return self._digest.hexdigest()[:16]

    def text(self, relative: str) -> str:
        """A metadata file's text."""
        path = self.root / relative
        if not path.is_file():
            raise InputError(
                f"{self.source.title}: {path} is missing. Expected in the folder: {self.source.layout}. "
                f"Get it from {self.source.where} (licence: {self.source.licence})."
            )
        data = path.read_bytes()
        self._digest.update(relative.encode() + b"\0" + data)
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as bad:
            raise InputError(f"{path}: not UTF-8 ({bad.reason} at byte {bad.start}).") from bad

    def rows(
        self, pattern: str, columns: Sequence[str] | None = None, *, ragged: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Rows of all tables that match, in order of name (``table_rows``), each with its table as ``file``.

        Raises InputError if no file matches; ValueError if a row is bad; MissingExtra if a table is Parquet and pyarrow
        is not installed.
        """
        for path in sorted(self.root.glob(pattern)) or [self.root / pattern]:
            relative = path.relative_to(self.root).as_posix()
            if path.suffix == ".parquet" and path.is_file():  # too large to be read at once
                with path.open("rb") as file:
                    self._digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
            else:
                self.text(relative)
            for where, row in table_rows(path, columns, ragged=ragged):
                if isinstance(row, str):
                    raise ValueError(f"{relative}, {where}: {row}")
                yield {"file": relative, **row}

    def audio(self, *relative: str) -> Path | None:
        """The first of these paths that is a file; None if none is."""
        for name in relative:
            path = self.root / name
            if not path.resolve().is_relative_to(self.root.resolve()):
                raise InputError(f"{self.source.title}: the path {name!r} in its metadata is outside the folder.")
            if path.is_file():
                return path
        return None

    def clip(self, *stems: str) -> Path | None:
        """The audio file under ``audio/`` with one of these names, whatever its format; None if there is none."""
        return next((self._by_stem[s] for s in stems if s in self._by_stem), None)

    @cached_property
    def _by_stem(self) -> dict[str, Path]:
        files = sorted((self.root / "audio").rglob("*"), reverse=True)
        return {p.stem: p for p in files if p.suffix.lower() in AUDIO_SUFFIXES}
