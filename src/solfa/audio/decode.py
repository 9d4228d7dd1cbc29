"""Files to stretches of mono sound, streaming: memory does not grow with the length of the file.

libsndfile reads what it knows; FFmpeg (PyAV) reads opus, which it decodes 2.5 times faster, m4a/aac, and everything
that libsndfile cannot begin or knows no length of. Both look at the bytes, not at the name, so a wrong extension does
no harm. A file of which more than two seconds and two per cent are missing against its own header is refused as
truncated rather than indexed as something it is not.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from solfa.audio.decoders import ChainDecoder, Decoder, FfmpegDecoder, SndfileDecoder, links
from solfa.audio.integrity import refuse_if_cut, refuse_if_overloaded, refuse_if_protected
from solfa.audio.samples import ContentHash
from solfa.audio.source import DEFAULT_LIMITS, AudioInfo, FilePart, Limits, open_regular
from solfa.core.errors import DecodeError, FileUnavailable
from solfa.core.types import Audio, FloatArray

# What a folder is searched for; mp4 and webm are left out because they are mostly films. Any file can be named itself.
# fmt: off
SUFFIXES = frozenset((
    ".wav", ".wave", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".m4b", ".aac", ".aif", ".aiff", ".aifc",
    ".wma", ".ape", ".wv", ".tta", ".caf", ".au", ".w64", ".mka", ".mpc", ".ac3", ".dts",  # codespell:ignore caf
))
# fmt: on

_ROOM_S = 120.0  # of a stretch, at first
_SIDE = "side"
_MAX_ID3 = 10
_LEAST_MIX = 0.1  # of the power that the mean of unlike channels would have; out of phase is near 0


def probe(path: Path | str, limits: Limits = DEFAULT_LIMITS) -> AudioInfo:
    """What the header of a file claims, checked against the limits; nothing is decoded.

    Raises DecodeError if the file cannot be read as sound, or asks for more than the limits allow.
    """
    with _opened(Path(path), limits) as (source, _):
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

    Channels are averaged, unless they cancel each other: then stereo gives half the difference, and of more channels
    the strongest counts. ``data`` holds the file's bytes where they are not on disk; ``path`` is then only their
    name. ``content`` takes in all samples on the way. The difference signal of a stereo file travels along for those
    who need it (``side_of``).

    Raises DecodeError if the file cannot be read to its end, holds numbers that are not sound, or exceeds the limits;
    ``FileUnavailable`` where that is the fault of the disk.
    """
    path = Path(path)
    with _opened(path, limits, data) as (source, part):
        info = source.info
        size = round(seconds * info.sample_rate_hz)
        pending = _Pending(size, info)
        total, maximum = 0, int(limits.duration_s * info.sample_rate_hz)
        for block in _timed(path, source.blocks(), info, limits):
            total += len(block)
            part.spent = 0 if len(block) else part.spent
            if total > maximum:
                raise DecodeError(path, f"longer than the limit of {limits.duration_s / 3600:g} h")
            peak = float(np.abs(block).max(initial=0.0))
            if not peak <= limits.peak:  # also true of NaN
                bad = ~(np.abs(block).reshape(len(block), -1).max(axis=1) <= limits.peak)
                at_s = (total - len(block) + int(bad.argmax())) / info.sample_rate_hz
                raise DecodeError(path, f"samples near {at_s:.1f} s are not sound (peak {peak})")
            if content is not None:
                content.update(block, info.sample_rate_hz)
            yield from pending.push(block)
        if part.over_limit:
            raise DecodeError(path, f"more than {limits.silent_bytes >> 20} MiB in a row hold no sound")
        if pending.fill:
            yield pending.cut()
        _refuse_if_short(path, total, info)


def side_of(audio: Audio) -> FloatArray | None:
    """Half the difference of left and right of a stretch that came from a stereo file, else None."""
    side: FloatArray | None = audio.derive(_SIDE, lambda _: None)
    return side


class _Pending:
    """Collects blocks into stretches: mono, and the side signal of stereo."""

    def __init__(self, size: int, info: AudioInfo) -> None:
        self._size, self._rate, self._channels = size, info.sample_rate_hz, info.channels
        self._held = self._empty()
        self.fill = self._done = 0

    def _empty(self, least: int = 0) -> FloatArray:
        """Room for mono, and the side of stereo [shape=(1 or 2, N)]; stretches without end get it as they need it."""
        size = min(self._size, max(least, round(_ROOM_S * self._rate)))
        return np.empty((2 if self._channels == 2 else 1, size), np.float32)

    def push(self, block: FloatArray) -> Iterator[Audio]:
        at = 0
        while at < len(block):
            part = block[at : at + self._size - self.fill]
            if self.fill + len(part) > self._held.shape[1]:
                room = self._empty(2 * (self.fill + len(part)))
                room[:, : self.fill] = self._held[:, : self.fill]
                self._held = room
            mono, *side = self._held[:, self.fill : self.fill + len(part)]
            at, self.fill = at + len(part), self.fill + len(part)
            mono[:] = part[:, 0]  # adding columns is several times faster than a mean over a short axis
            for channel in range(1, self._channels):
                mono += part[:, channel]
            mono /= self._channels
            if side:
                np.subtract(mono, part[:, 1], out=side[0])
            elif self._channels > 2 and _cancels(mono, powers := [float(np.vdot(c, c)) for c in part.T]):
                mono[:] = part[:, int(np.argmax(powers))]
            if self.fill == self._size:
                yield self.cut()

    def cut(self) -> Audio:
        """What was collected, as a stretch."""
        mono, *side = self._held[:, : self.fill]
        if side and _cancels(mono, [float(np.vdot(mono, mono) + np.vdot(side[0], side[0]))] * 2):
            mono, side = side[0], [mono]  # left and minus right: the power of both together remains what it was
        audio = Audio(mono, self._rate, self._done / self._rate, {_SIDE: side[0]} if side else {})
        self._held, self._done, self.fill = self._empty(), self._done + self.fill, 0
        return audio


def _timed(path: Path, blocks: Iterator[FloatArray], info: AudioInfo, limits: Limits) -> Iterator[FloatArray]:
    """The blocks, as long as decoding them takes no more processor time than the limits allow for so much sound."""
    spent_s, total = 0.0, 0
    while True:
        began_s = time.thread_time()
        block = next(blocks, None)
        spent_s += time.thread_time() - began_s
        if block is None:
            return
        total += len(block)
        sound_s = total / info.sample_rate_hz
        if spent_s > limits.decode_cpu_s + limits.decode_cpu_s_per_s * sound_s:
            raise DecodeError(path, f"decoding took {spent_s:.0f} s of processor time for {sound_s:.1f} s of sound")
        yield block


def _cancels(mix: FloatArray, powers: list[float]) -> bool:
    """Whether channels of these powers cancel in their mean: unlike ones would leave 1/N of their mean power in it."""
    return float(np.vdot(mix, mix)) < _LEAST_MIX * sum(powers) / len(powers) ** 2


@contextmanager
def _opened(path: Path, limits: Limits, data: bytes | None = None) -> Iterator[tuple[Decoder, FilePart]]:
    with (
        open_regular(path, limits) if data is None else BytesIO(data) as file,
        _disk_errors_raised(path, FilePart(file, 0, 0, limits.silent_bytes)) as part,
    ):
        head = file.read(64)
        refuse_if_protected(path, file, head)
        refuse_if_overloaded(path, file, head)
        refuse_if_cut(path, file, head)
        size = file.seek(0, os.SEEK_END)
        first, *rest = links(file, size) if head[:4] == b"OggS" else [(_after_id3(file, size), size)]

        def opened(link: tuple[int, int]) -> Decoder:
            part.span(*link)
            return _decoder(path, part, part.read(64))

        source = opened(first)
        if rest:
            source = ChainDecoder(source, [partial(opened, link) for link in rest])
        try:
            _refuse_if_beyond(path, source.info, limits)
            yield source, part
        finally:
            source.close()


@contextmanager
def _disk_errors_raised(path: Path, part: FilePart) -> Iterator[FilePart]:
    """Raise FileUnavailable where the disk failed, whatever was concluded about the file: it may be whole."""
    error: BaseException | None = None
    try:
        yield part
    except (DecodeError, OSError) as raised:
        error = raised
    if isinstance(cause := part.failed or error, OSError):
        raise FileUnavailable(path, f"cannot be read now: {cause.strerror or cause}") from cause
    if error is not None:
        raise error


def _after_id3(file: BinaryIO, size: int) -> int:
    """Where the sound begins: decoders go through ID3 tags too, some in a time that grows with the square of them."""
    at = 0
    for _ in range(_MAX_ID3):
        file.seek(at)
        head = file.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            break
        length = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        at += 10 + length + (10 if head[5] & 0x10 else 0)  # the flag of a footer
    return at if at < size else 0


def _refuse_if_beyond(path: Path, info: AudioInfo, limits: Limits) -> None:
    if not 0 < info.sample_rate_hz <= limits.sample_rate_hz:
        raise DecodeError(path, f"a sample rate of {info.sample_rate_hz} Hz is not in 1..{limits.sample_rate_hz}")
    if not 0 < info.channels <= limits.channels:
        raise DecodeError(path, f"{info.channels} channels are not in 1..{limits.channels}")
    if info.duration_s is not None and info.duration_s > limits.duration_s:
        hours = info.duration_s / 3600
        raise DecodeError(path, f"{hours:.1f} h long, over the limit of {limits.duration_s / 3600:g} h")


def _decoder(path: Path, part: FilePart, head: bytes) -> Decoder:
    if not (b"OpusHead" in head or head[4:8] == b"ftyp" or head[:4] == b"\x1aE\xdf\xa3"):
        part.seek(0)
        with suppress(soundfile.LibsndfileError, RuntimeError):
            source = SndfileDecoder(path, part)
            # Of a stream without a length libsndfile reads nothing, or fails at its end. An mp3 hardly ever has one.
            if source.info.duration_s or source.info.codec.startswith("mp3"):
                return source
            source.close()
    part.seek(0)
    return FfmpegDecoder(path, part)


def _refuse_if_short(path: Path, total: int, info: AudioInfo) -> None:
    if total == 0:
        raise DecodeError(path, "holds no samples")
    got_s = total / info.sample_rate_hz
    if info.duration_s is not None and info.duration_s - got_s > max(2.0, 0.02 * info.duration_s):
        raise DecodeError(path, f"truncated: {got_s:.1f} of {info.duration_s:.1f} s can be read")
