"""Tables that ship with the package, and files that are whole or absent whatever happens while they are written."""

import hashlib
import json
import os
import re
import shutil
import stat
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path, PosixPath
from secrets import token_hex
from typing import Any, BinaryIO
from urllib.parse import quote

from solfa.core.errors import InputError


class _Address(PosixPath):
    """A URL as a path. ``Path`` folds the slashes after the colon; this one keeps them, in every part of it."""

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)

    def is_absolute(self) -> bool:
        return True

    def as_uri(self) -> str:
        return quote(str(self), safe="/:@")


def is_url(text: Path | str) -> bool:
    """Whether a text names an object in a store, such as ``s3://bucket/song.flac``, and not a file."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", str(text)) is not None


def path_of(text: str) -> Path:
    """A file's path, or a URL as a path that prints as it was written.

    >>> str(path_of("s3://bucket/song.flac").parent)
    's3://bucket'
    """
    return _Address(text) if is_url(text) and os.name == "posix" else Path(text)


def table_of(package: str, name: str) -> dict[str, Any]:
    """The table in a TOML or JSON file that is part of a package, read at each call."""
    text = files(package).joinpath(name).read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text) if name.endswith(".json") else tomllib.loads(text)
    return table


def file_hash(file: Path) -> str:
    """SHA-256 of a file, in hex. Raises OSError if it cannot be read."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write and read back: under a temporary name until the block ends, then forced to disk and renamed.

    A file that is replaced hands on its permissions.

    If the block raises, or the disk refuses, nothing is left and an older file at `path` remains as it was.

    Raises OSError if the folder cannot be written or the disk is full.
    """
    scratch = path.with_name(f".solfa-{token_hex(8)}.tmp")
    try:
        with scratch.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with suppress(OSError):
            scratch.chmod(stat.S_IMODE(path.stat().st_mode))
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A folder to fill: under a temporary name until the block ends, then renamed to `path`.

    `path` is absent or empty before, or is to be replaced. If the block raises, nothing is left, and what was there
    remains.

    Raises OSError if it cannot be made, or `path` holds something and is not to be replaced.
    """
    scratch, old = (path.with_name(f".solfa-{token_hex(8)}.tmp") for _ in range(2))
    scratch.mkdir(parents=True)
    try:
        yield scratch
        if replace and path.exists():
            path.replace(old)
        try:
            scratch.replace(path)
        except OSError:
            if old.exists():
                old.replace(path)
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_whole(path: Path, data: bytes) -> None:
    """The bytes as a file, whole or absent.

    Raises OSError as `whole_file` does.
    """
    with whole_file(path) as file:
        file.write(data)


def write_output(path: Path, data: str | bytes, *, force: bool) -> None:
    """What a user asked for, at the place that they named: whole or absent; ``-`` is standard output.

    Nothing that exists is replaced unless ``force`` is True, and nothing but a regular file ever is: no device, pipe or
    folder, and no link, whose target may be anywhere. Text is UTF-8; file names in it keep their bytes.

    Raises InputError if something is there that is not to be replaced, the folder cannot be written, or the disk is
    full.
    """
    content = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    if str(path) == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        check_output(path, force=force)
        write_whole(path, content)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}. Choose a writable folder.") from None


def check_output(path: Path, *, force: bool, folder: bool = False) -> None:
    """See that ``write_output`` may write there, or into a ``folder``, before long work; raises InputError as it does.

    A folder may exist, but not as a link, and unless ``force`` is True it is empty.
    """
    if str(path) == "-":
        return
    if not os.path.lexists(path):
        if not folder and not (path.parent.is_dir() and os.access(path.parent, os.W_OK | os.X_OK)):
            raise InputError(f"cannot write {path}: {path.parent} is not a writable folder. Choose another.")
        return
    mode = path.lstat().st_mode
    if folder and stat.S_ISDIR(mode):
        if not force and any(path.iterdir()):
            raise InputError(f"{path} is not empty. Use --force to write into it, or name another folder.")
        return
    kinds = {stat.S_ISLNK: "a link", stat.S_ISDIR: "a folder", stat.S_ISREG: "a file" if folder else ""}
    kind = next((name for is_kind, name in kinds.items() if is_kind(mode)), "a device or a pipe")
    if kind:
        place = "new folder" if folder else "file, or - for standard output"
        raise InputError(f"cannot write {path}: it is {kind}. Name a {place}.")
    if not force:
        raise InputError(f"{path} exists. Use --force to replace it (force=True), or name another file.")
