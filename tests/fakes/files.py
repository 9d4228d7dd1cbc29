"""Small audio files of every kind that is read, for tests: sound at one rate in, a file out."""

from pathlib import Path
from typing import Any

import numpy as np

from solfa.core.types import FloatArray

_CHUNK = 4096  # libsndfile's vorbis encoder overflows its stack on long writes


def write_audio(path: Path, samples_NC: FloatArray, sample_rate_hz: int, subtype: str | None = None) -> Path:
    """Write samples [shape=(N,) or (N, channels)] in the format of the suffix; returns the path.

    wav, flac, mp3, ogg and aiff go through libsndfile (``subtype`` is its name of an encoding), m4a, aac and opus
    through FFmpeg.
    """
    samples = samples_NC[:, None] if samples_NC.ndim == 1 else samples_NC
    if path.suffix in (".m4a", ".aac", ".opus"):
        _with_ffmpeg(path, samples, sample_rate_hz)
        return path
    import soundfile

    names = {".ogg": "OGG", ".aiff": "AIFF", ".mp3": "MP3", ".flac": "FLAC", ".wav": "WAV"}
    subtype = subtype or {".ogg": "VORBIS"}.get(path.suffix)
    with soundfile.SoundFile(
        path, "w", sample_rate_hz, samples.shape[1], format=names[path.suffix], subtype=subtype
    ) as file:
        for start in range(0, len(samples), _CHUNK):
            file.write(samples[start : start + _CHUNK])
    return path


def _with_ffmpeg(path: Path, samples: FloatArray, sample_rate_hz: int) -> None:
    import av

    codec = "libopus" if path.suffix == ".opus" else "aac"
    rate = 48_000 if codec == "libopus" else sample_rate_hz
    layout = {1: "mono", 2: "stereo"}[samples.shape[1]]
    with av.open(str(path), "w", format="ogg" if codec == "libopus" else None) as container:
        stream: Any = container.add_stream(codec, rate=rate)  # a name that is not a literal hides the kind
        stream.layout = layout
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
        frame.sample_rate = sample_rate_hz
        resampler = av.AudioResampler(
            format=stream.format, layout=layout, rate=rate, frame_size=stream.frame_size or 1024
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
