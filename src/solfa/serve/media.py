"""Sound for browsers: files inside the served folders, transcoded where needed, outlines; examples from outside.

Files are decoded in a worker process, which may crash, hang or take too much memory without harm to the server.
"""

import os
import shutil
import tempfile
import threading
import time
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
# What current browsers play, by suffix; anything else is transcoded. (ALAC in .m4a is not, see ``playable``.)
TYPES = {".mp3": "audio/mpeg", ".flac": "audio/flac", ".wav": "audio/wav", ".wave": "audio/wav", ".ogg": "audio/ogg",
         ".oga": "audio/ogg", ".opus": "audio/ogg", ".m4a": "audio/mp4", ".aac": "audio/aac"}  # fmt: skip
TRANSCODED = {"flac": "audio/flac", "opus": "audio/ogg"}
_KEPT_BYTES = 2 << 30  # of transcoded files
_OPUS_HZ = 48_000
_IDLE_S = 60.0


def open_inside(path: Path, roots: Sequence[Path]) -> tuple[BinaryIO, Path]:
    """A regular file and its real path, which is inside of one of the folders, whatever links lead to it.

    Raises Refused if it is not; FileUnavailable or DecodeError as ``open_regular`` does.
    """
    file = open_regular(path, DEFAULT_LIMITS)
    by_number = f"/proc/self/fd/{file.fileno()}"  # what was opened, whatever the path leads to by now
    real = Path(os.readlink(by_number) if os.path.lexists(by_number) else os.path.realpath(path))  # noqa: PTH115
    if not any(real.is_relative_to(os.path.realpath(root)) for root in roots):
        file.close()
        raise Refused(
            403, "this file is outside of the folders that are served. Name its folder too: solfa serve FOLDER"
        )
    return file, real


class Sandbox:
    """One worker process for one task after the other; it is started when there is work and ends when there is none."""

    def __init__(self, limit_s: float) -> None:
        self._executor = ProcessExecutor(1, timeout_s=limit_s, max_rss_bytes=2 << 30)
        self._turn = threading.Lock()
        self._task: Any = None
        self._results: Any = None
        self._last_s = 0.0

    def __call__(self, work: Callable[..., R], *args: Any) -> R:
        """What a function of module level returns for a file, its first argument.

        Raises DecodeError if the file cannot be read, or reading it takes too long or too much memory.
        """
        with self._turn:
            self._task = partial(work, *args)
            if self._results is None:
                self._results = self._executor.map(_run, iter(lambda: self._task, None))
            try:
                result = next(self._results)
            except BaseException:
                self._results = None
                raise
            finally:
                self._last_s = time.monotonic()
        if isinstance(result, Done):
            value: R = result.value
            return value
        error = FileUnavailable if result.error == FileUnavailable.__name__ else DecodeError
        raise error(Path(args[0]).name, result.reason)

    def rest(self, idle_s: float = _IDLE_S) -> None:
        """End the process if it has had nothing to do for so long."""
        if time.monotonic() - self._last_s >= idle_s and self._turn.acquire(blocking=False):
            try:
                if self._results is not None:
                    self._results.close()
                    self._results = None
            finally:
                self._turn.release()


def _run(task: Callable[[], R]) -> R:
    return task()


def peaks(path: Path, points: int, duration_s: float) -> list[float]:
    """The greatest absolute sample in each of so many equal parts of a file, 0..1."""
    found = np.zeros(points, np.float32)
    for audio in stretches(path):
        edges = np.arange(points + 1) * duration_s / points
        at = np.clip(np.round((edges - audio.start_s) * audio.sample_rate_hz), 0, len(audio.samples)).astype(np.int64)
        level = np.abs(audio.samples)
        for part in np.flatnonzero(np.diff(at)):
            found[part] = max(found[part], level[at[part] : at[part + 1]].max())
    return [round(float(value), 3) for value in np.minimum(found, 1.0)]


def encode(path: Path, out: Path, kind: str) -> None:
    """Write a file as ``flac`` (16 bits) or ``opus``; stereo remains stereo, more than two channels become one."""
    file: Any = None
    for audio in stretches(path):
        side = side_of(audio)
        channels = [audio.samples] if side is None else [audio.samples + side, audio.samples - side]
        if file is None:
            hz, form, sub = (_OPUS_HZ, "OGG", "OPUS") if kind == "opus" else (audio.sample_rate_hz, "FLAC", "PCM_16")
            file = soundfile.SoundFile(out, "w", hz, len(channels), sub, format=form)
            resample = soxr.ResampleStream(audio.sample_rate_hz, hz, len(channels))
        _put(file, resample.resample_chunk(np.stack(channels, axis=1)))
    _put(file, resample.resample_chunk(np.zeros((0, file.channels), np.float32), last=True))
    file.close()


def _put(file: Any, block_NC: FloatArray) -> None:
    for start in range(0, len(block_NC), 4096):  # libsndfile's encoders overflow their stack on long writes
        file.write(np.clip(block_NC[start : start + 4096], -1, 1))


def codec_of(path: Path) -> str:
    """The name of the codec that a file's header claims."""
    return probe(path).codec


def listen(path: Path, model: str, allow_noncommercial: bool, limits: Limits) -> tuple[FloatArray, str, float, str]:
    """A vector for each window of an example sound, their space, its length in seconds, its content hash."""
    loaded, content, ends = _loaded(model, allow_noncommercial), ContentHash(), [0.0]

    def parts() -> Iterator[Audio]:
        for stretch in stretches(path, limits=limits, content=content):
            ends.append(stretch.start_s + stretch.duration_s)
            yield stretch

    vectors_WD = candidates(loaded.views, embed(loaded, parts()))
    return np.asarray(vectors_WD, np.float32), loaded.space, ends[-1], content.hex


@cache
def _loaded(model: str, allow_noncommercial: bool) -> JointModel:
    return load_model(model, allow_noncommercial=allow_noncommercial)


class Transcoded:
    """Transcoded files in a folder of their own; the oldest go when there are many, all at the end."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="solfa-serve-"))

    def get(self, sandbox: Sandbox, path: Path, name: str, kind: str) -> Path:
        """The file in another format, made if it is not there; ``name`` is that of its content."""
        out = self._folder / f"{name}.{kind}"
        if not out.exists():
            sandbox(encode, path, out.with_suffix(".part"), kind)
            out.with_suffix(".part").replace(out)
        out.touch()
        kept, size = sorted(self._folder.iterdir(), key=lambda file: -file.stat().st_mtime_ns), 0
        for file in kept:
            size += file.stat().st_size
            if size > _KEPT_BYTES and file != out:
                file.unlink()
        return out

    def close(self) -> None:
        """Delete all of them."""
        shutil.rmtree(self._folder, ignore_errors=True)
