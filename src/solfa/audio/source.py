"""Opening a file safely, and what a decoder must offer."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from solfa.core.errors import DecodeError
from solfa.core.types import FloatArray

BLOCK_SAMPLES = 1 << 20  # of all channels together: 4 MiB of float32, whatever the channel count


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a file may ask for before it is refused."""

    duration_s: float = 6 * 3600.0
    size_bytes: int = 8 << 30
    sample_rate_hz: int = 400_000
    channels: int = 64
    peak: float = 1000.0  # float formats may exceed 1; beyond this the samples are not sound


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioInfo:
    """What a header claims. ``duration_s`` is None where the container does not say, or only guesses."""

    codec: str
    sample_rate_hz: int
    channels: int
    duration_s: float | None


class Source(Protocol):
    """One opened file."""

    @property
    def info(self) -> AudioInfo:
        """What the header claims."""

    def blocks(self) -> Iterator[FloatArray]:
        """Samples in order, float32 [shape=(N, channels)], at most ``BLOCK_SAMPLES`` in each."""

    def close(self) -> None:
        """Let go of the decoder; the file itself belongs to the caller."""


def open_regular(path: Path, limits: Limits) -> BinaryIO:
    """The file, opened for reading without ever waiting on a pipe or a device.

    Raises
    ------
    DecodeError
        If it is missing, unreadable, not a regular file, empty, or larger than the limit.
    """
    try:
        # O_NONBLOCK: opening a FIFO would wait for a writer for ever. The check is on the descriptor, so nothing can
        # be swapped in between.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise DecodeError(path, f"cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    status = os.fstat(descriptor)
    reason = None
    if not stat.S_ISREG(status.st_mode):
        reason = "not a regular file"
    elif status.st_size == 0:
        reason = "empty file"
    elif status.st_size > limits.size_bytes:
        reason = f"{status.st_size / 2**30:.1f} GiB is over the limit of {limits.size_bytes / 2**30:.1f} GiB"
    if reason:
        os.close(descriptor)
        raise DecodeError(path, reason)
    return os.fdopen(descriptor, "rb")
