"""wav, flac, mp3, ogg vorbis, aiff and their relatives through libsndfile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from solfa.audio.source import BLOCK_SAMPLES, AudioInfo, Part
from solfa.core.errors import DecodeError
from solfa.core.types import FloatArray

_FIRST = 4096  # samples decoded at once, to see whether it can be
_UNKNOWN_FRAMES = 1 << 40  # libsndfile says 2**63-1 where a stream has no length


class SndfileSource:
    """One file read by libsndfile.

    Raises
    ------
    soundfile.LibsndfileError
        If libsndfile does not know the format or cannot decode its beginning; the caller then tries the next decoder.
    """

    def __init__(self, path: Path, file: Part) -> None:
        self._path, self._file = path, soundfile.SoundFile(file)
        frames, rate = self._file.frames, self._file.samplerate
        self.info = AudioInfo(
            codec=f"{self._file.format}/{self._file.subtype}".lower(),
            sample_rate_hz=rate,
            channels=self._file.channels,
            duration_s=frames / rate if rate > 0 and 0 <= frames < _UNKNOWN_FRAMES else None,
        )
        self._first: FloatArray = self._file.read(_FIRST, dtype="float32", always_2d=True)

    def blocks(self) -> Iterator[FloatArray]:
        """Samples in order."""
        if len(self._first):
            yield np.ascontiguousarray(self._first)
        size = max(1, BLOCK_SAMPLES // self._file.channels)
        while True:
            try:
                block: FloatArray = self._file.read(size, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise DecodeError(self._path, f"broken inside: {error.error_string or 'decoder error'}") from error
            if len(block):
                yield np.ascontiguousarray(block)
            if len(block) < size:
                return

    def close(self) -> None:
        """Let go of the decoder."""
        self._file.close()
