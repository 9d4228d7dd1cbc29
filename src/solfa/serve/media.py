"""Sound for browsers and from them: files inside of the served folders, outlines, other formats, examples.

Files are decoded in a worker process, which may crash, hang or take too much memory without harm to the server.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import soundfile
import soxr

from solfa.audio import ContentHash, Limits, probe, side_of, stretches
from solfa.audio.source import DEFAULT_LIMITS, open_regular
from solfa.core.errors import DecodeError, FileUnavailable
from solfa.core.types import Audio, FloatArray, JointModel
from solfa.encoders.registry import load_model
from solfa.encoders.windows import candidates, embed
from solfa.jobs import Done, ProcessExecutor
from solfa.serve.pool import Refused

R = TypeVar("R")
# What current browsers play, by suffix (but ALAC in .m4a); the formats that anything can be made into.
TYPES = {".mp3": "audio/mpeg", ".flac": "audio/flac", ".wav": "audio/wav", ".wave": "audio/wav", ".ogg": "audio/ogg",
         ".oga": "audio/ogg", ".opus": "audio/ogg", ".m4a": "audio/mp4", ".aac": "audio/aac"}  # fmt: skip
ENCODED = {"flac": "audio/flac", "opus": "audio/ogg"}
_OPUS_HZ = 48_000
_IDLE_S = 60.0


def open_inside(path: Path, folders: Sequence[Path]) -> tuple[BinaryIO, Path]:
    """A regular file and its real path, which is inside of one of the folders, whatever links lead to it.

    Raises Refused if it is not; FileUnavailable or DecodeError as ``open_regular`` does.
    """
    file = open_regular(path, DEFAULT_LIMITS)
    by_number = f"/proc/self/fd/{file.fileno()}"  # what was opened, whatever the path leads to by now
    real = Path(os.readlink(by_number) if os.path.lexists(by_number) else os.path.realpath(path))  # noqa: PTH115
    if not {real, *real.parents} & {folder.resolve() for folder in folders}:
        file.close()
        raise Refused(403, "this file is outside of the folders that are served. Name its folder too.")
    return file, real


class Sandbox:
    """A worker process for one task after the other; it ends after a minute without any."""

    def __init__(self, limit_s: float) -> None:
        self._executor = ProcessExecutor(1, timeout_s=limit_s, max_rss_bytes=2 << 30)
        self._turn, self._timer = threading.Lock(), threading.Timer(0.0, self.end)
        self._task: Any = None
        self._results: Any = None

    def __call__(self, work: Callable[..., R], path: Path, *args: Any) -> R:
        """What a function of module level returns for a file.

        Raises DecodeError if the file cannot be read, or reading it takes too long or too much memory.
        """
        with self._turn:
            self._timer.cancel()
            self._task = partial(work, path, *args)
            self._results = self._results or self._executor.map(_run, iter(lambda: self._task, None))
            try:
                result = next(self._results)
            except BaseException:
                self._results = None
                raise
            self._timer = threading.Timer(_IDLE_S, self.end)
            self._timer.daemon = True
            self._timer.start()
        if isinstance(result, Done):
            value: R = result.value
            return value
        kind = FileUnavailable if result.error == FileUnavailable.__name__ else DecodeError
        raise kind(path.name, result.reason)

    def end(self) -> None:
        """End the process after its task; the next task starts another."""
        with self._turn:
            self._timer.cancel()
            if self._results is not None:
                self._results.close()
                self._results = None


def _run(task: Callable[[], R]) -> R:
    return task()


def peaks(path: Path, points: int, duration_s: float) -> list[float]:
    """The greatest absolute sample in each of so many equal parts of a file, 0..1."""
    found, edges_s = np.zeros(points, np.float32), np.arange(points + 1) * duration_s / points
    for audio in stretches(path):
        at = np.round((edges_s - audio.start_s) * audio.sample_rate_hz).clip(0, len(audio.samples)).astype(np.int64)
        for part in np.flatnonzero(np.diff(at)):
            found[part] = max(found[part], np.abs(audio.samples[at[part] : at[part + 1]]).max())
    return [round(float(value), 3) for value in np.minimum(found, 1.0)]


def encode(path: Path, out: Path, form: str) -> None:
    """Write a file as ``flac`` (16 bits) or ``opus``; stereo remains stereo, more than two channels become one."""
    file: Any = None
    for audio in stretches(path):
        side = side_of(audio)
        channels = [audio.samples] if side is None else [audio.samples + side, audio.samples - side]
        if file is None:
            hz, kind, sub = (_OPUS_HZ, "OGG", "OPUS") if form == "opus" else (audio.sample_rate_hz, "FLAC", "PCM_16")
            file = soundfile.SoundFile(out, "w", hz, len(channels), sub, format=kind)
            resample = soxr.ResampleStream(audio.sample_rate_hz, hz, len(channels)).resample_chunk
        _put(file, resample(np.stack(channels, axis=1)))
    _put(file, resample(np.zeros((0, file.channels), np.float32), last=True))
    file.close()


def _put(file: Any, block_NC: FloatArray) -> None:
    for start in range(0, len(block_NC), 4096):  # libsndfile's encoders overflow their stack on long writes
        file.write(np.clip(block_NC[start : start + 4096], -1, 1))


def codec_of(path: Path) -> str:
    """The name of the codec that a file's header claims."""
    return probe(path).codec


def listen(path: Path, model: str, allow_noncommercial: bool, limits: Limits) -> tuple[FloatArray, str, float, str]:
    """A vector for each window of an example sound, their space, its length in seconds, its content hash."""
    loaded, content, ends_s = model_once(model, allow_noncommercial), ContentHash(), [0.0]

    def parts() -> Iterator[Audio]:
        for stretch in stretches(path, limits=limits, content=content):
            ends_s.append(stretch.start_s + stretch.duration_s)
            yield stretch

    vectors_WD = candidates(loaded.views, embed(loaded, parts()))
    return np.asarray(vectors_WD, np.float32), loaded.space, ends_s[-1], content.hex


@cache
def model_once(model: str, allow_noncommercial: bool) -> JointModel:
    """A model, loaded once in a process."""
    return load_model(model, allow_noncommercial=allow_noncommercial)
