"""What a data set is, and how its files are read: safely, with errors that say where to get it and under what licence.

Conventions
-----------
A data set is read from a folder in its authors' own layout. Nothing is downloaded, nothing is written. Paths inside
metadata may not lead out of the folder. Files that are missing, damaged or of another shape, and clips that lack what
is asked of them, raise InputError. ``revision`` hashes every metadata file that was read.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from solfa.core.clip import Clip
from solfa.core.errors import InputError, MissingExtra

AUDIO_SUFFIXES = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".au")


@dataclass(frozen=True, slots=True)
class Inside:
    """Sound in a row of a Parquet file, in the form that Hugging Face ``datasets`` gives it."""

    file: Path
    row: int
    column: str
    name: str

    def read(self) -> bytes:
        """Its bytes; none where the row has none."""
        left, meta = self.row, _parquet(self.file).metadata
        for group in range(meta.num_row_groups):
            if left < meta.row_group(group).num_rows:
                return _sounds(self.file, group, self.column)[left] or b""
            left -= meta.row_group(group).num_rows
        return b""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceInfo:
    """Where a data set comes from.

    The first of ``splits`` is the usual one for evaluation. ``layout`` says which files are expected; ``seen`` what the
    reader was written from: the authors' ``real files``, or their ``documentation`` and public code.
    """

    title: str
    where: str
    licence: str
    layout: str
    splits: tuple[str, ...]
    seen: str = "documentation"


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """The clips of one split of a data set."""

    name: str
    split: str
    revision: str
    source: SourceInfo
    clips: tuple[Clip, ...]

    def with_audio(self) -> DataSet:
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

    def table(
        self, relative: str, *, delimiter: str = ",", columns: Sequence[str] | None = None
    ) -> list[dict[str, str]]:
        """Rows of a delimited file as dicts; `columns` names them where the file has no header."""
        rows = list(csv.reader(io.StringIO(self.text(relative), newline=""), delimiter=delimiter))
        names = list(columns) if columns is not None else rows.pop(0) if rows else []
        for number, row in enumerate(rows, start=1):
            if row and len(row) != len(names):
                raise InputError(f"{self.root / relative}: row {number} has {len(row)} cells, expected {len(names)}.")
        return [dict(zip(names, row, strict=True)) for row in rows if row]

    def json_lines(self, relative: str) -> list[dict[str, Any]]:
        """The objects of a JSON-lines file."""
        return [json.loads(line) for line in self.text(relative).splitlines() if line.strip()]

    def parquet(self, pattern: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Rows of all Parquet files that match, in order of name; only these columns, as far as they are there.

        Raises
        ------
        InputError
            If no file matches.
        MissingExtra
            If pyarrow is not installed.
        """
        paths = sorted(self.root.glob(pattern))
        if not paths:
            self.text(pattern)  # says what is missing
        for path in paths:
            with path.open("rb") as file:
                self._digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
            yield from parquet_rows(path, columns)

    def audio(self, *relative: str) -> Path | None:
        """The first of these paths that is a file; None if none is."""
        for name in relative:
            path = self.root / name
            if not path.resolve().is_relative_to(self.root.resolve()):
                raise InputError(f"{self.source.title}: the path {name!r} in its metadata leads out of the folder.")
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


def parquet_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file, only these columns as far as they are there; of sound in it, where it is (``Inside``).

    Raises
    ------
    MissingExtra
        If pyarrow is not installed.
    InputError
        If it is none.
    """
    opened = _parquet(path)
    fields = {f.name: f.type for f in opened.schema_arrow if columns is None or f.name in columns}
    inside = [n for n, kind in fields.items() if any(kind.field(i).name == "bytes" for i in range(kind.num_fields))]
    wanted = [f"{name}.path" if name in inside else name for name in fields]
    number = 0
    try:
        for batch in opened.iter_batches(columns=wanted):
            for row in batch.to_pylist():
                names = {c: str((row.get(c) or {}).get("path") or f"{path.stem}-{number}") for c in inside}
                yield {**row, **{c: Inside(path, number, c, name) for c, name in names.items()}}
                number += 1
    except (OSError, ValueError) as bad:  # pyarrow's are of these
        raise InputError(f"{path} is damaged ({str(bad).splitlines()[0]}).") from bad


def _parquet(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError as missing:
        raise MissingExtra("reading Parquet files", "pip install pyarrow") from missing
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as bad:
        raise InputError(f"{path} is no Parquet file that can be read ({bad}).") from bad


@lru_cache(maxsize=2)  # clips of a group follow each other
def _sounds(path: Path, group: int, column: str) -> list[bytes | None]:
    table = _parquet(path).read_row_group(group, columns=[f"{column}.bytes"])
    return [row and row["bytes"] for row in table[column].to_pylist()]
