"""Checks for files that are cut short, protected or overloaded, of which decoders say nothing."""

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from solfa.core.errors import DecodeError

_EDGE = 1 << 20
_MAX_CHUNKS = _MAX_COMMENTS = 10_000


def refuse_if_protected(path: Path, file: BinaryIO, head: bytes) -> None:
    """Raise DecodeError if an MP4 file carries the boxes of a protection scheme (FairPlay and its like)."""
    if head[4:8] != b"ftyp":
        return
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    edges = file.read(_EDGE)
    if size > _EDGE:
        file.seek(max(_EDGE, size - _EDGE))
        edges += file.read(_EDGE)
    if b"sinf" in edges and b"schm" in edges and (b"drms" in edges or b"enca" in edges):
        raise DecodeError(path, "protected by DRM")


def refuse_if_overloaded(path: Path, file: BinaryIO, head: bytes) -> None:
    """Raise DecodeError if a FLAC or Ogg file has more comments than FFmpeg reads fast (it compares all pairs)."""
    at = None
    file.seek(0)
    if head[:4] == b"OggS":
        found = re.search(rb"OpusTags|\x03vorbis", file.read(1 << 16))
        at = found.end() if found else None
    elif head[:4] == b"fLaC":
        place = 4
        for _ in range(_MAX_CHUNKS):
            file.seek(place)
            block = file.read(4)
            if len(block) < 4 or block[0] == 4:
                at = place + 4 if len(block) == 4 else None
                break
            place += 4 + int.from_bytes(block[1:], "big")
    if at is None:
        return
    file.seek(at)
    file.seek(int.from_bytes(file.read(4), "little"), os.SEEK_CUR)  # the name of the program that wrote it
    count = int.from_bytes(file.read(4), "little")
    if count > _MAX_COMMENTS:
        raise DecodeError(path, f"has {count:,} comments, over the limit of {_MAX_COMMENTS:,}")


def refuse_if_cut(path: Path, file: BinaryIO, head: bytes) -> None:
    """Raise DecodeError if a file ends before its own structure does (RIFF, RF64, AIFF, CAF, W64, AU, ASF, Ogg).

    Decoders shrink the length to what is there, so the usual comparison with the header would see nothing.
    """
    size = file.seek(0, os.SEEK_END)
    if layout := next((c for c in _CHUNKED if head.startswith(c.magic)), None):
        _check_chunks(path, file, size, layout)
    elif head[:4] in (b".snd", b"dns."):
        at, length = struct.unpack((">" if head[:1] == b"." else "<") + "II", head[4:12])
        _refuse_if_missing(path, at, length, size, length == 0xFFFFFFFF)
    elif (at := file.seek(0) or file.read(_EDGE).find(_ASF_PROPERTIES)) >= 0 and head.startswith(_ASF):
        file.seek(at + 40)
        fields = file.read(52)
        if len(fields) == 52:
            _refuse_if_missing(path, 0, struct.unpack("<Q", fields[:8])[0], size, bool(fields[48] & 1))
    elif head[:4] == b"OggS":
        _check_last_page(path, file, size)


@dataclass(frozen=True)
class _Chunks:
    """How a container writes its chunks; ``size`` is a format of ``struct``, which may count the chunk's header too."""

    magic: bytes
    first: int  # where the first chunk begins
    name: int  # bytes of a name
    size: str
    align: int = 1
    counts_header: bool = False
    data: tuple[bytes, ...] = (b"data",)


_CHUNKED = (
    _Chunks(b"RIFF", 12, 4, "<I", 2),
    _Chunks(b"RF64", 12, 4, "<I", 2),
    _Chunks(b"FORM", 12, 4, ">I", 2, data=(b"SSND",)),
    _Chunks(b"caff", 8, 4, ">Q"),
    _Chunks(b"riff\x2e\x91\xcf\x11", 40, 16, "<Q", 8, True),  # W64
)
_ASF = bytes.fromhex("3026b2758e66cf11")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def _check_chunks(path: Path, file: BinaryIO, size: int, layout: _Chunks) -> None:
    at, long_length = layout.first, 0
    head = layout.name + struct.calcsize(layout.size)
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        header = file.read(head + 16)
        if len(header) < head:
            return
        length = struct.unpack(layout.size, header[layout.name : head])[0] - (head if layout.counts_header else 0)
        if header[:4] == b"ds64" and len(header) == head + 16:  # RF64 keeps the length of its samples here
            long_length = struct.unpack("<Q", header[head + 8 :])[0]
        if header[:4] in layout.data:
            # 0 and numbers near 2**31, 2**32 and 2**63 are what programs write that do not know the length yet.
            unknown = length <= 0 or 0x7FFFFF00 <= length <= 0x80000000 or 0xFFFFFF00 <= length <= 1 << 32
            if unknown and long_length:
                length, unknown = long_length, False
            _refuse_if_missing(path, at + head, length, size, unknown or length >= 1 << 62)
            return
        at += head + max(length, 0)
        at += -at % layout.align
    raise DecodeError(path, f"has more than {_MAX_CHUNKS:,} chunks before its samples")


def _refuse_if_missing(path: Path, at: int, length: int, size: int, unknown: bool) -> None:
    missing = at + length - size
    if not unknown and missing > 0.02 * length and missing > 4096:
        raise DecodeError(path, f"truncated: {max(0.0, 1 - missing / length):.0%} of its samples are there")


def _check_last_page(path: Path, file: BinaryIO, size: int) -> None:
    file.seek(max(0, size - (1 << 17)))  # an Ogg page is at most 65,307 bytes
    tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) - at < 27:
        raise DecodeError(path, "truncated: ends in the middle of an Ogg page")
    table = tail[at + 27 : at + 27 + tail[at + 26]]
    if len(table) < tail[at + 26] or len(tail) - at < 27 + len(table) + sum(table):
        raise DecodeError(path, "truncated: ends in the middle of an Ogg page")
