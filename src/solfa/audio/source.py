"""Opening a file safely, and reading no more of it than the limits allow."""

import errno
import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from solfa.core.errors import DecodeError, FileUnavailable

BLOCK_SAMPLES = 1 << 20  # of all channels together: 4 MiB of float32, whatever the channel count


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a file may ask for before it is refused."""

    duration_s: float = 6 * 3600.0
    size_bytes: int = 8 << 30
    sample_rate_hz: int = 400_000
    channels: int = 64
    peak: float = 1000.0  # float formats may exceed 1; beyond this the samples are not sound
    silent_bytes: int = 64 << 20  # read one after the other without a sample coming out of them
    decode_cpu_s: float = 5.0  # processor time of decoding, and what is added to it ...
    decode_cpu_s_per_s: float = 0.2  # ... for every second of sound


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioInfo:
    """What a header claims. ``duration_s`` is None where the container does not say, or only guesses."""

    codec: str
    sample_rate_hz: int
    channels: int
    duration_s: float | None


class FilePart(io.RawIOBase):
    """A part of a file, read by a decoder; it seems to end where too much was read and nothing decoded from it.

    It also seems to end where the disk fails: decoders lose or hide errors of their reader. ``failed`` has the error.
    """

    def __init__(self, file: BinaryIO, start: int, end: int, limit: int) -> None:
        super().__init__()
        self._file, self._limit = file, limit
        self.spent = 0  # bytes; the reader sets it to 0 whenever sound has come
        self.failed: OSError | None = None
        self.span(start, end)

    def span(self, start: int, end: int) -> None:
        """Read this part of the file from now on."""
        self._start, self._size, self._at = start, end - start, 0

    @property
    def over_limit(self) -> bool:
        """Whether more bytes were read without any sound than the limit allows."""
        return self.spent > self._limit

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Bytes, never beyond the part, nor many more than the limit."""
        left = min(self._size - self._at, self._limit + 1 - self.spent)
        if self.failed:
            return b""
        try:
            self._file.seek(self._start + self._at)
            data = self._file.read(max(0, left if size < 0 else min(size, left)))
        except OSError as error:
            self.failed = error
            return b""
        self._at += len(data)
        self.spent += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        """The next bytes into a buffer, and how many they are."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """The new place in the part."""
        place = offset + (0, self._at, self._size)[whence]
        if place < 0:
            raise OSError(errno.EINVAL, "before the start")
        self._at = place
        return place


def open_regular(path: Path, limits: Limits) -> BinaryIO:
    """The file, opened for reading without ever waiting on a pipe or a device.

    Raises FileUnavailable if it is missing or cannot be opened; DecodeError if it is not a regular file, empty, or
    larger than the limit.
    """
    try:
        # O_NONBLOCK: opening a FIFO would wait for a writer for ever. The check is on the descriptor, so nothing can
        # be swapped in between.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise FileUnavailable(path, f"cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    status = os.fstat(descriptor)
    reason = None
    if not stat.S_ISREG(status.st_mode):
        reason = "a folder, not an audio file" if stat.S_ISDIR(status.st_mode) else "not a regular file"
    elif status.st_size == 0:
        reason = "empty file"
    elif status.st_size > limits.size_bytes:
        reason = f"{status.st_size / 2**30:.1f} GiB is over the limit of {limits.size_bytes / 2**30:.1f} GiB"
    if reason:
        os.close(descriptor)
        raise DecodeError(path, reason)
    return os.fdopen(descriptor, "rb")
