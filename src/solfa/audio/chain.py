"""Ogg streams one after the other in one file (radio recordings, joined files) are one sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import BinaryIO

import numpy as np
import soxr

from solfa.audio.source import AudioInfo, Source
from solfa.core.types import FloatArray

_MAX_LINKS, _MAX_PAGES = 1000, 500_000  # pages hold 4 KiB and more: the first 2 GiB


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


class ChainSource:
    """Several sources as one, at the rate and with the channels of the first; each is opened when it is its turn."""

    def __init__(self, first: Source, others: list[Callable[[], Source]]) -> None:
        self._current, self._others = first, others
        self.info: AudioInfo = replace(first.info, duration_s=None)

    def blocks(self) -> Iterator[FloatArray]:
        """Samples in order."""
        yield from self._current.blocks()
        for opened in self._others:
            self._current.close()
            self._current = opened()
            yield from self._like_the_first()

    def _like_the_first(self) -> Iterator[FloatArray]:
        rate, channels = self._current.info.sample_rate_hz, self.info.channels
        convert = soxr.ResampleStream(rate, self.info.sample_rate_hz, channels, dtype="float32")
        for block in self._current.blocks():
            if block.shape[1] != channels:
                block = np.repeat(block.mean(axis=1, keepdims=True), channels, axis=1)
            yield block if rate == self.info.sample_rate_hz else convert.resample_chunk(block)
        if rate != self.info.sample_rate_hz:
            yield convert.resample_chunk(np.zeros((0, channels), np.float32), last=True)

    def close(self) -> None:
        """Let go of the decoder."""
        self._current.close()
