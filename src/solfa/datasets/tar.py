"""The bytes of a shard: a plain POSIX tar of small regular files, written the same every time, read with suspicion.

Every member is called ``ID.ENDING`` (100 characters at most, so no extension headers are needed), has mode 0644, no
owner and the time 0. Whatever else a tar can hold (folders, links, devices, other names) is refused.
"""

import os
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from solfa.core.errors import InputError

BLOCK = tarfile.BLOCKSIZE
MAX_NAME = 100
_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]*)\.([a-z0-9]{1,5})")
_MAX_MEMBER_BYTES = 1 << 30


class Extent(NamedTuple):
    """Where the bytes of a member are in its tar."""

    offset: int
    size: int


def append(file: BinaryIO, name: str, data: bytes) -> Extent:
    """Write one member at the end; returns where its bytes are.

    Raises InputError if it is too large or its name is not ``ID.ENDING`` of at most 100 characters.
    """
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise InputError(f"{name!r} cannot be in a shard: expected ID.ENDING, {MAX_NAME} characters at most.")
    if len(data) > _MAX_MEMBER_BYTES:
        raise InputError(f"{name} has {len(data)} bytes; a shard takes members up to {_MAX_MEMBER_BYTES}.")
    info = tarfile.TarInfo(name)
    info.size = len(data)
    file.write(info.tobuf(tarfile.USTAR_FORMAT))
    place = Extent(file.tell(), len(data))
    file.write(data)
    file.write(b"\0" * (-len(data) % BLOCK))
    return place


def finish(file: BinaryIO) -> None:
    """Write the end mark."""
    file.write(b"\0" * (2 * BLOCK))


def size_of(members: Iterable[Extent]) -> int:
    """How many bytes a tar of these members has, and no others."""
    return sum(BLOCK + place.size + -place.size % BLOCK for place in members) + 2 * BLOCK


def read(path: Path, name: str, place: Extent) -> bytes:
    """The bytes of one member; its header is checked against what the index says.

    Raises InputError if the tar is missing, cut short, or has another member in that place.
    """
    try:
        with path.open("rb", buffering=0) as file:
            if place.offset < BLOCK or not 0 <= place.size <= os.fstat(file.fileno()).st_size - place.offset:
                raise InputError(f"{path}: {name} is beyond the end of the file. Make the shard again.")
            file.seek(place.offset - BLOCK)
            data = _exactly(file, BLOCK + place.size)
    except OSError as bad:
        raise InputError(f"{path} cannot be read: {bad.strerror}.") from bad
    info = _header(path, data[:BLOCK])
    if (info.name, info.size) != (name, place.size):
        raise InputError(
            f"{path}: {info.name!r} of {info.size} bytes is where its index has {name!r} of {place.size} bytes. "
            f"The two do not belong together: make the shard again."
        )
    return data[BLOCK:]


def _exactly(file: BinaryIO, size: int) -> bytes:
    # An unbuffered read may give less than it was asked for.
    data = file.read(size)
    while len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data


def _header(path: Path, block: bytes) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, ValueError) as bad:
        raise InputError(f"{path}: not a complete tar ({bad}). Make the shard again.") from bad
    if info.type != tarfile.REGTYPE or not _NAME.fullmatch(info.name) or not 0 <= info.size <= _MAX_MEMBER_BYTES:
        raise InputError(f"{path}: holds {info.name!r}, not a regular file called ID.ENDING; the rest was not read.")
    return info
