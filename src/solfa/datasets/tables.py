"""Rows of tables: JSON lines, JSON, CSV, Parquet; sound in Parquet as Hugging Face ``datasets`` keeps it."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from solfa.core.errors import InputError, MissingExtra

ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")


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


def table_rows(
    file: Path, columns: Sequence[str] | None = None, *, ragged: bool = False
) -> Iterator[tuple[str, Mapping[str, Any] | str]]:
    """Each row of a table and where it is; text in its place says why there is none.

    ``columns`` are the only ones to read of Parquet, None where it has no such, and the names where a CSV file has no
    header. With ``ragged`` the last column of a CSV file is a list, of one or more cells. Raises InputError if the file
    cannot be read; MissingExtra if it is Parquet and pyarrow is not installed.
    """
    kind = file.suffix.lower()
    try:
        if kind == ".parquet":
            yield from ((f"row {n}", row) for n, row in enumerate(_parquet_rows(file, columns), start=1))
        elif kind == ".json" and (found := _listed(file.read_bytes())) is not None:
            yield from ((f"entry {n}", r if isinstance(r, dict) else "no object") for n, r in enumerate(found, start=1))
        elif kind in (".json", ".jsonl"):  # some call their JSON lines .json
            with file.open("rb") as lines:
                yield from ((f"line {n}", json_object(line)) for n, line in enumerate(lines, start=1) if line.strip())
        else:
            yield from _delimited(file, columns, ragged)
    except (OSError, csv.Error, UnicodeDecodeError) as bad:
        raise InputError(f"{file} cannot be read: {bad}.") from bad


def _listed(data: bytes) -> list[Any] | None:
    """The rows of a JSON list, or of an object that calls it data."""
    data = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    whole = json_object(b'{"data":%b}' % data if data.startswith(b"[") else data)
    rows = whole.get("data") if isinstance(whole, dict) else None
    return rows if isinstance(rows, list) else None


def json_object(data: bytes) -> dict[str, Any] | str:
    """The JSON object in these bytes, or text that says why there is none."""
    try:
        value = json.loads(data.decode("utf-8-sig"))
        json.dumps(value, ensure_ascii=False).encode()  # escapes may stand for half a character
    except (ValueError, RecursionError) as bad:
        return f"not JSON ({bad})"
    return value if isinstance(value, dict) else "no JSON object"


def _delimited(
    file: Path, columns: Sequence[str] | None, ragged: bool
) -> Iterator[tuple[str, Mapping[str, Any] | str]]:
    text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")  # what is not UTF-8 makes its row a bad one
    header = text.partition("\n")[0]
    delimiter = max(",\t;", key=header.count) if file.suffix.lower() == ".csv" else "\t"
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names = list(columns) if columns else [name.strip() for name in next(rows, [])]
    if _not_utf8(names):
        raise InputError(f"{file} cannot be read: its first line is not UTF-8.")
    first = rows.line_num + 1
    for cells in rows:
        row: Mapping[str, Any] | str
        if ragged and len(cells) >= len(names):
            row = {**dict(zip(names, cells, strict=False)), names[-1]: cells[len(names) - 1 :]}
        elif len(cells) != len(names):
            row = f"{len(cells)} cells, the header has {len(names)}"
        else:
            row = dict(zip(names, cells, strict=True))
        if _not_utf8(cells):
            row = "not UTF-8"
        if cells:
            yield f"line {first}", row
        first = rows.line_num + 1


def _not_utf8(cells: Sequence[str]) -> bool:
    return any("\udc80" <= c <= "\udcff" for cell in cells for c in cell)


def _parquet_rows(path: Path, columns: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    opened = _parquet(path)
    fields = {f.name: f.type for f in opened.schema_arrow if columns is None or f.name in columns}
    inside = [n for n, kind in fields.items() if any(kind.field(i).name == "bytes" for i in range(kind.num_fields))]
    wanted = [f"{name}.path" if name in inside else name for name in fields]
    number = 0
    try:
        for batch in opened.iter_batches(columns=wanted):
            for row in batch.to_pylist():
                names = {c: str((row.get(c) or {}).get("path") or f"{path.stem}-{number}") for c in inside}
                sounds = {c: Inside(path, number, c, name) for c, name in names.items()}
                yield {**dict.fromkeys(columns or ()), **row, **sounds}
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
        raise InputError(f"{path} is not a readable Parquet file ({bad}).") from bad


@lru_cache(maxsize=2)  # clips of a group follow each other
def _sounds(path: Path, group: int, column: str) -> list[bytes | None]:
    table = _parquet(path).read_row_group(group, columns=[f"{column}.bytes"])
    return [row and row["bytes"] for row in table[column].to_pylist()]
