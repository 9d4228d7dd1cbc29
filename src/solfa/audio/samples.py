"""Sample-rate conversion (soxr HQ everywhere), and a name for what a file sounds like: a hash over decoded samples."""

import hashlib

import numpy as np
import soxr

from solfa.core.types import Audio, FloatArray


def at_rate(audio: Audio, sample_rate_hz: int) -> Audio:
    """The same stretch at another rate; computed once per stretch (``Audio.derive``)."""
    if audio.sample_rate_hz == sample_rate_hz:
        return audio

    def convert(source: Audio) -> Audio:
        samples = soxr.resample(source.samples, source.sample_rate_hz, sample_rate_hz, quality="HQ")
        return Audio(np.ascontiguousarray(samples, np.float32), sample_rate_hz, source.start_s)

    return audio.derive(f"audio@{sample_rate_hz}", convert)


class ContentHash:
    """A running BLAKE2b-160 over sample rate, channel count and all samples at 16 bits.

    Files that differ only in tags, container or lossless codec share it, so they share their analysis; a lossy
    transcode is another content. Sixteen bits hide the last-bit differences between decoder builds except exactly at
    a rounding border, where the cost is one more analysis.
    """

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=20)
        self._begun = False

    def update(self, block_NC: FloatArray, sample_rate_hz: int) -> None:
        """Take in the next samples, float32 [shape=(N, channels)]."""
        if not self._begun:
            self._hash.update(f"{sample_rate_hz}:{block_NC.shape[1]}:".encode())
            self._begun = True
        scaled = np.multiply(block_NC, 32768.0, dtype=np.float32)
        np.clip(np.rint(scaled, out=scaled), -32768, 32767, out=scaled)
        self._hash.update(np.ascontiguousarray(scaled.astype("<i2")).data)

    @property
    def hex(self) -> str:
        """The name so far, 40 hexadecimal digits."""
        return self._hash.hexdigest()
