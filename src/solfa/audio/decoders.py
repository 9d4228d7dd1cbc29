"""Decoders: libsndfile for wav, flac, mp3, ogg vorbis, aiff and their relatives; PyAV, with its own FFmpeg, for others.

Ogg streams one after the other in one file (radio recordings, joined files) are one sound.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import soundfile
import soxr
from av.error import FFmpegError

from solfa.audio.source import BLOCK_SAMPLES, AudioInfo, FilePart
from solfa.core.errors import DecodeError
from solfa.core.types import FloatArray

_FIRST = 4096  # samples that libsndfile decodes at once, to see whether it can
_UNKNOWN_FRAMES = 1 << 40  # libsndfile says 2**63-1 where a stream has no length
# Containers of audio only. FFmpeg also reads playlists and scripts that name other files and hosts (hls, concat, sdp
# ...): a file called song.m4a must not be able to make us open those.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,aac,ogg,matroska,webm,asf,mp3,flac,wav,aiff,ape,wv,tta,"
    "caf,ac3,eac3,dts,amr,au,w64,mpc,"  # codespell:ignore caf
    "mpc8,tak,dsf,latm,loas"
)
_MAX_BROKEN_PACKETS = 50
_BLOCK_FRAMES = 1 << 15  # that FFmpeg's packets are gathered to
_MAX_LINKS, _MAX_PAGES = 1000, 500_000  # pages hold 4 KiB and more: the first 2 GiB


class Decoder:
    """An opened file: ``info`` is what its header claims, ``handle`` what reads it."""

    info: AudioInfo
    handle: Any

    def blocks(self) -> Iterator[FloatArray]:
        """Samples in order, float32 [shape=(N, channels)], at most ``BLOCK_SAMPLES`` in each."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the decoder; the file itself belongs to the caller."""
        self.handle.close()


class SndfileDecoder(Decoder):
    """One file read by libsndfile.

    Raises soundfile.LibsndfileError if libsndfile does not know the format or cannot decode its beginning; the caller
    then tries the next decoder.
    """

    def __init__(self, path: Path, file: FilePart) -> None:
        self._path, self.handle = path, soundfile.SoundFile(file)
        frames, rate = self.handle.frames, self.handle.samplerate
        self.info = AudioInfo(
            codec=f"{self.handle.format}/{self.handle.subtype}".lower(),
            sample_rate_hz=rate,
            channels=self.handle.channels,
            duration_s=frames / rate if rate > 0 and 0 <= frames < _UNKNOWN_FRAMES else None,
        )
        self._first: FloatArray = self.handle.read(_FIRST, dtype="float32", always_2d=True)

    def blocks(self) -> Iterator[FloatArray]:
        """Samples in order."""
        if len(self._first):
            yield np.ascontiguousarray(self._first)
        size = max(1, BLOCK_SAMPLES // self.handle.channels)
        while True:
            try:
                block: FloatArray = self.handle.read(size, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise DecodeError(self._path, f"broken inside: {error.error_string or 'decoder error'}") from error
            if len(block):
                yield np.ascontiguousarray(block)
            if len(block) < size:
                return


class FfmpegDecoder(Decoder):
    """One file read by FFmpeg.

    Raises DecodeError if no decoder knows it, it has no audio, or it is protected.
    """

    def __init__(self, path: Path, file: FilePart) -> None:
        self._path = path
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": ""}
        try:
            self.handle = av.open(file, mode="r", options=options, metadata_errors="replace")
        except (FFmpegError, ValueError, UnicodeError) as error:
            raise DecodeError(path, "not an audio file that any decoder knows") from error
        if not self.handle.streams.audio:
            raise DecodeError(path, "holds no audio stream")
        self._stream: Any = self.handle.streams.audio[0]
        context = self._stream.codec_context
        if context is None:
            raise DecodeError(path, "no decoder for its codec (protected, or unknown)")
        context.thread_count = 1  # workers are processes; a thread pool inside each would only fight over cores
        guessed = self.handle.format.name in ("aac", "loas")  # raw streams: FFmpeg extrapolates from the bit rate
        duration_s = None
        if not guessed and self._stream.duration is not None and self._stream.time_base is not None:
            duration_s = float(self._stream.duration * self._stream.time_base)
        elif not guessed and self.handle.duration is not None:
            duration_s = self.handle.duration / 1_000_000
        self.info = AudioInfo(
            codec=f"{self.handle.format.name.split(',')[0]}/{context.name}",
            sample_rate_hz=int(context.sample_rate or 0),
            channels=int(context.channels or 0),
            duration_s=duration_s,
        )

    def blocks(self) -> Iterator[FloatArray]:
        """Samples in order; a few broken packets are passed over, as players do."""
        convert, rate, channels, broken = None, self.info.sample_rate_hz, self.info.channels, 0
        held: list[FloatArray] = []  # packets are as short as 2.5 ms: handing each on would cost more than decoding it
        for packet in self._packets():
            try:
                frames = packet.decode()
            except FFmpegError as error:
                broken += 1
                if broken > _MAX_BROKEN_PACKETS:
                    raise DecodeError(self._path, "broken inside: too many damaged packets") from error
                continue
            for frame in frames:
                if frame.sample_rate != rate or frame.layout.nb_channels != channels:
                    raise DecodeError(self._path, "changes its sample rate or channels in the middle")
                if convert is None:
                    convert = av.AudioResampler(format="fltp", layout=frame.layout, rate=rate)
                held.extend(np.asarray(part.to_ndarray(), np.float32) for part in convert.resample(frame))
            if sum(part.shape[1] for part in held) >= _BLOCK_FRAMES:
                yield np.ascontiguousarray(np.concatenate(held, axis=1).T)
                held = []
        if held:
            yield np.ascontiguousarray(np.concatenate(held, axis=1).T)

    def _packets(self) -> Iterator[Any]:
        with suppress(FFmpegError):  # the container is cut: what came before it counts, the length is checked after
            yield from self.handle.demux(self._stream)


class ChainDecoder(Decoder):
    """Several decoders as one, at the rate and with the channels of the first; each is opened when it is its turn."""

    def __init__(self, first: Decoder, others: list[Callable[[], Decoder]]) -> None:
        self.handle, self._others = first, others
        self.info: AudioInfo = replace(first.info, duration_s=None)

    def blocks(self) -> Iterator[FloatArray]:
        """Samples in order."""
        yield from self.handle.blocks()
        for opened in self._others:
            self.handle.close()
            self.handle = opened()
            yield from self._like_the_first()

    def _like_the_first(self) -> Iterator[FloatArray]:
        rate, channels = self.handle.info.sample_rate_hz, self.info.channels
        convert = soxr.ResampleStream(rate, self.info.sample_rate_hz, channels, dtype="float32")
        for block in self.handle.blocks():
            if block.shape[1] != channels:
                block = np.repeat(block.mean(axis=1, keepdims=True), channels, axis=1)
            yield block if rate == self.info.sample_rate_hz else convert.resample_chunk(block)
        if rate != self.info.sample_rate_hz:
            yield convert.resample_chunk(np.zeros((0, channels), np.float32), last=True)


def links(file: BinaryIO, size: int) -> list[tuple[int, int]]:
    """Where each link of a chained Ogg file starts and ends; streams that run side by side begin together."""
    starts, at, beginning = [0], 0, True
    for _ in range(_MAX_PAGES):
        file.seek(at)
        header = file.read(27)
        if len(header) < 27 or header[:4] != b"OggS" or len(starts) > _MAX_LINKS:
            break
        if header[5] & 2 and not beginning:
            starts.append(at)
        beginning = bool(header[5] & 2)
        at += 27 + header[26] + sum(file.read(header[26]))
    return list(zip(starts, [*starts[1:], size], strict=True))
