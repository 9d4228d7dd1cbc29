"""m4a/aac, opus and everything else through PyAV, which carries its own FFmpeg."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from solfa.audio.source import AudioInfo, Part
from solfa.core.errors import DecodeError
from solfa.core.types import FloatArray

# Containers of audio only. FFmpeg also reads playlists and scripts that name other files and hosts (hls, concat, sdp
# ...): a file called song.m4a must not be able to make us open those.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,aac,ogg,matroska,webm,asf,mp3,flac,wav,aiff,ape,wv,tta,"
    "caf,ac3,eac3,dts,amr,au,w64,mpc,"  # codespell:ignore caf
    "mpc8,tak,dsf,latm,loas"
)
_MAX_BROKEN_PACKETS = 50


class FfmpegSource:
    """One file read by FFmpeg.

    Raises
    ------
    DecodeError
        If no decoder knows it, it has no audio, or it is protected.
    """

    def __init__(self, path: Path, file: Part) -> None:
        self._path = path
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": ""}
        try:
            self._container = av.open(file, mode="r", options=options, metadata_errors="replace")
        except (FFmpegError, ValueError, UnicodeError) as error:
            raise DecodeError(path, "not an audio file that any decoder knows") from error
        if not self._container.streams.audio:
            raise DecodeError(path, "holds no audio stream")
        self._stream: Any = self._container.streams.audio[0]
        context = self._stream.codec_context
        if context is None:
            raise DecodeError(path, "no decoder for its codec (protected, or unknown)")
        context.thread_count = 1  # workers are processes; a thread pool inside each would only fight over cores
        guessed = self._container.format.name in ("aac", "loas")  # raw streams: FFmpeg extrapolates from the bit rate
        duration_s = None
        if not guessed and self._stream.duration is not None and self._stream.time_base is not None:
            duration_s = float(self._stream.duration * self._stream.time_base)
        elif not guessed and self._container.duration is not None:
            duration_s = self._container.duration / 1_000_000
        self.info = AudioInfo(
            codec=f"{self._container.format.name.split(',')[0]}/{context.name}",
            sample_rate_hz=int(context.sample_rate or 0),
            channels=int(context.channels or 0),
            duration_s=duration_s,
        )

    def blocks(self) -> Iterator[FloatArray]:
        """Samples in order; a few broken packets are passed over, as players do."""
        convert, rate, channels, broken = None, self.info.sample_rate_hz, self.info.channels, 0
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
                for part in convert.resample(frame):
                    yield np.ascontiguousarray(part.to_ndarray().T)

    def _packets(self) -> Iterator[Any]:
        with suppress(FFmpegError):  # the container is cut: what came before it counts, the length is checked after
            yield from self._container.demux(self._stream)

    def close(self) -> None:
        """Let go of the decoder."""
        self._container.close()
