"""Files to stretches of mono sound, streaming: memory does not grow with the length of the file.

libsndfile reads what it knows; FFmpeg (PyAV) reads opus, which it decodes 2.5 times faster, m4a/aac and the rest. Both
look at the bytes, not at the name, so a wrong extension does no harm. A file of which more than two seconds and two
per cent are missing against its own header is refused as truncated rather than indexed as something it is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from solfa.audio._ffmpeg import FfmpegSource
from solfa.audio._libsndfile import SndfileSource
from solfa.audio.content import ContentHash
from solfa.audio.integrity import refuse_if_cut, refuse_if_protected
from solfa.audio.source import DEFAULT_LIMITS, AudioInfo, Limits, Source, open_regular
from solfa.core.errors import DecodeError
from solfa.core.types import Audio, FloatArray

# What a folder is searched for; mp4 and webm are left out because they are mostly films. Any file can be named itself.
# fmt: off
SUFFIXES = frozenset((
    ".wav", ".wave", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".m4b", ".aac", ".aif", ".aiff", ".aifc",
    ".wma", ".ape", ".wv", ".tta", ".caf", ".au", ".w64", ".mka", ".mpc", ".ac3", ".dts",  # codespell:ignore caf
))
# fmt: on

_SIDE = "side"


def probe(path: Path | str, limits: Limits = DEFAULT_LIMITS) -> AudioInfo:
    """What the header of a file claims, checked against the limits; nothing is decoded.

    Raises
    ------
    DecodeError
        If the file cannot be read as sound, or asks for more than the limits allow.
    """
    with _opened(Path(path), limits) as source:
        return source.info


def stretches(
    path: Path | str,
    seconds: float = 120.0,
    *,
    limits: Limits = DEFAULT_LIMITS,
    content: ContentHash | None = None,
    data: bytes | None = None,
) -> Iterator[Audio]:
    """The file as mono stretches at its own sample rate, each ``seconds`` long but the last.

    Channels are averaged. ``data`` holds the file's bytes where they do not lie on disk; ``path`` is then only their
    name. ``content`` takes in all samples on the way. The difference signal of a stereo file travels
    along for those who need it (``side_of``).

    Raises
    ------
    DecodeError
        If the file cannot be read to its end, holds numbers that are not sound, or exceeds the limits.
    """
    path = Path(path)
    with _opened(path, limits, data) as source:
        info = source.info
        size = round(seconds * info.sample_rate_hz)
        pending = _Pending(size, info)
        total, maximum = 0, int(limits.duration_s * info.sample_rate_hz)
        for block in source.blocks():
            total += len(block)
            if total > maximum:
                raise DecodeError(path, f"longer than the limit of {limits.duration_s / 3600:g} h")
            peak = float(np.abs(block).max(initial=0.0))
            if not peak <= limits.peak:  # also true of NaN
                raise DecodeError(path, f"samples near {total / info.sample_rate_hz:.1f} s are not sound (peak {peak})")
            if content is not None:
                content.update(block, info.sample_rate_hz)
            yield from pending.push(block)
        yield from pending.rest()
        _refuse_if_short(path, total, info)


def side_of(audio: Audio) -> FloatArray | None:
    """Half the difference of left and right of a stretch that came from a stereo file, else None."""
    side: FloatArray | None = audio.derive(_SIDE, lambda _: None)
    return side


class _Pending:
    """Collects blocks into stretches: mono, and the side signal of stereo."""

    def __init__(self, size: int, info: AudioInfo) -> None:
        self._size, self._rate, self._channels = size, info.sample_rate_hz, info.channels
        self._mono = np.empty(0, np.float32)
        self._side = np.empty(0, np.float32)
        self._fill = self._done = 0

    def push(self, block: FloatArray) -> Iterator[Audio]:
        at = 0
        while at < len(block):
            take = min(len(block) - at, self._size - self._fill)
            self._grow(self._fill + take)
            part = block[at : at + take]
            into = self._mono[self._fill : self._fill + take]
            np.copyto(into, part[:, 0])  # adding columns is several times faster than a mean over a short axis
            for channel in range(1, self._channels):
                into += part[:, channel]
            into /= self._channels
            if self._channels == 2:
                np.subtract(into, part[:, 1], out=self._side[self._fill : self._fill + take])
            self._fill += take
            at += take
            if self._fill == self._size:
                yield self._cut()

    def rest(self) -> Iterator[Audio]:
        if self._fill:
            yield self._cut()

    def _grow(self, needed: int) -> None:
        if needed > len(self._mono):
            size = min(self._size, max(needed, 2 * len(self._mono)))
            self._mono = np.concatenate([self._mono, np.empty(size - len(self._mono), np.float32)])
            if self._channels == 2:
                self._side = np.concatenate([self._side, np.empty(size - len(self._side), np.float32)])

    def _cut(self) -> Audio:
        start_s = self._done / self._rate
        derived = {_SIDE: self._side[: self._fill]} if self._channels == 2 else {}
        audio = Audio(self._mono[: self._fill], self._rate, start_s, derived)
        self._done += self._fill
        self._mono, self._side, self._fill = np.empty(0, np.float32), np.empty(0, np.float32), 0
        return audio


@contextmanager
def _opened(path: Path, limits: Limits, data: bytes | None = None) -> Iterator[Source]:
    with open_regular(path, limits) if data is None else BytesIO(data) as file:
        head = file.read(64)
        refuse_if_protected(path, file, head)
        refuse_if_cut(path, file, head)
        source = _source(path, file, head)
        try:
            _refuse_if_beyond(path, source.info, limits)
            yield source
        finally:
            source.close()


def _refuse_if_beyond(path: Path, info: AudioInfo, limits: Limits) -> None:
    if not 0 < info.sample_rate_hz <= limits.sample_rate_hz:
        raise DecodeError(path, f"a sample rate of {info.sample_rate_hz} Hz is not in 1..{limits.sample_rate_hz}")
    if not 0 < info.channels <= limits.channels:
        raise DecodeError(path, f"{info.channels} channels are not in 1..{limits.channels}")
    if info.duration_s is not None and info.duration_s > limits.duration_s:
        hours = info.duration_s / 3600
        raise DecodeError(path, f"{hours:.1f} h long, over the limit of {limits.duration_s / 3600:g} h")


def _source(path: Path, file: BinaryIO, head: bytes) -> Source:
    file.seek(0)
    if not (b"OpusHead" in head or head[4:8] == b"ftyp" or head[:4] == b"\x1aE\xdf\xa3"):
        try:
            return SndfileSource(path, file)
        except (soundfile.LibsndfileError, RuntimeError):
            file.seek(0)
    return FfmpegSource(path, file)


def _refuse_if_short(path: Path, total: int, info: AudioInfo) -> None:
    if total == 0:
        raise DecodeError(path, "holds no samples")
    got_s = total / info.sample_rate_hz
    if info.duration_s is not None and info.duration_s - got_s > max(2.0, 0.02 * info.duration_s):
        raise DecodeError(path, f"truncated: {got_s:.1f} of {info.duration_s:.1f} s can be read")
