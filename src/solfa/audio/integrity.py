"""Signs that a file is cut short or locked which the decoders themselves pass over."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

from solfa.core.errors import DecodeError

_EDGE = 1 << 20
_MAX_CHUNKS = 10_000


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


def refuse_if_cut(path: Path, file: BinaryIO, head: bytes) -> None:
    """Raise DecodeError if a RIFF, AIFF or Ogg file ends before its own structure does.

    libsndfile shrinks the length to what is there, so the usual comparison with the header would see nothing.
    """
    position = file.tell()
    size = file.seek(0, os.SEEK_END)
    if head[:4] in (b"RIFF", b"FORM"):
        _check_chunks(path, file, size, "<" if head[:4] == b"RIFF" else ">")
    elif head[:4] == b"OggS":
        _check_last_page(path, file, size)
    file.seek(position)


def _check_chunks(path: Path, file: BinaryIO, size: int, order: str) -> None:
    at = 12
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        header = file.read(8)
        if len(header) < 8:
            return
        length = struct.unpack(order + "I", header[4:])[0]
        if header[:4] in (b"data", b"SSND"):
            missing = at + 8 + length - size
            # 0 and numbers near 2**31 and 2**32 are what programs write that do not know the length yet.
            streamed = length == 0 or length >= 0xFFFFFF00 or 0x7FFFFF00 <= length <= 0x80000000
            if not streamed and missing > 0.02 * length and missing > 4096:
                raise DecodeError(path, f"truncated: {1 - missing / length:.0%} of its samples are there")
            return
        at += 8 + length + (length & 1)


def _check_last_page(path: Path, file: BinaryIO, size: int) -> None:
    file.seek(max(0, size - (1 << 17)))  # an Ogg page is at most 65,307 bytes
    tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) - at < 27:
        raise DecodeError(path, "truncated: ends in the middle of an Ogg page")
    table = tail[at + 27 : at + 27 + tail[at + 26]]
    if len(table) < tail[at + 26] or len(tail) - at < 27 + len(table) + sum(table):
        raise DecodeError(path, "truncated: ends in the middle of an Ogg page")
