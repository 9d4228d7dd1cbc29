"""What the tools share: whole tracks, optional packages, temporary files, tempo out of beats, chord labels."""

from __future__ import annotations

import contextlib
import io
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from solfa.analysis.protocol import NOTHING, ExtractorSpec, Observation, empty
from solfa.audio import at_rate
from solfa.core.errors import ExtractorError, MissingExtra
from solfa.core.theory import QUALITIES, Chord
from solfa.core.types import Alternative, Audio, ChordSegment, Estimate, FloatArray

LONGEST_S = 1800.0
SHORTEST_S = 2.0
# Stands for "the tool gives a value and says nothing about how sure it is". It is not calibrated.
NOMINAL = 0.7
RHYTHM = ("tempo_bpm", "metre", "beats_s", "downbeats_s")


def tool(
    name: str, distribution: str, licence: str, provides: tuple[str, ...], *, commercial_use: bool = True
) -> ExtractorSpec:
    """The spec of a tool that somebody else wrote; the version of its package is part of the version."""
    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        version = "not installed"
    return ExtractorSpec(
        name=name, version=f"1/{version}", licence=licence, commercial_use=commercial_use, provides=provides
    )


class WholeTrack(ABC):
    """An extractor that keeps the samples of a track and analyzes them at once, at the end.

    ``module`` is imported to see that the package is there, ``distribution`` is its name where packages are installed
    from, ``install`` how.

    Raises
    ------
    MissingExtra
        If the tool's package is not installed.
    """

    spec: ExtractorSpec
    module: ClassVar[str]
    distribution: ClassVar[str]
    install: ClassVar[str]
    sample_rate_hz: ClassVar[int] = 44100

    def __init__(self) -> None:
        if find_spec(self.module) is None:
            raise MissingExtra(f"extractor {self.spec.name!r}", self.install)

    def observe(self, audio: Audio) -> Observation:
        """The samples of one stretch at the tool's rate.

        Raises
        ------
        ExtractorError
            If the track is longer than half an hour.
        """
        if audio.start_s + audio.duration_s > LONGEST_S:
            raise ExtractorError(
                f"extractor {self.spec.name!r} analyzes whole tracks, of at most {LONGEST_S / 60:.0f} minutes. "
                f"Analyze longer ones with the default extractors."
            )
        return {"samples": at_rate(audio, self.sample_rate_hz).samples}

    def conclude(self, observations: Sequence[Observation], duration_s: float) -> dict[str, Any]:
        """What the tool measures; nothing for silence or less than two seconds.

        Raises
        ------
        MissingExtra
            If a package that the tool needs is not installed.
        """
        pieces = [np.asarray(o["samples"], np.float32) for o in observations]
        samples = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
        if len(samples) < SHORTEST_S * self.sample_rate_hz or not np.abs(samples).max() > 1e-4:
            return empty(self.spec.provides)
        return self.analyze(samples, duration_s)

    @abstractmethod
    def analyze(self, samples: FloatArray, duration_s: float) -> dict[str, Any]:
        """The fields that the tool provides, from a whole track that is not silent."""

    def package(self, module: str) -> Any:
        """A module of the tool's package.

        Raises
        ------
        MissingExtra
            If it or something it needs is not installed.
        """
        try:
            return import_module(module)
        except ImportError as error:
            raise MissingExtra(f"extractor {self.spec.name!r} ({error})", self.install) from error


@contextlib.contextmanager
def wav_file(samples: FloatArray, sample_rate_hz: int) -> Iterator[Path]:
    """A temporary float WAV file, for tools that take nothing but a path; what the tool prints is discarded."""
    import soundfile

    with tempfile.TemporaryDirectory(prefix="solfa-") as folder:
        file = Path(folder) / "track.wav"
        soundfile.write(file, samples, sample_rate_hz, subtype="FLOAT")
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield file


def tempo(bpm: float, confidence: float) -> Estimate[float]:
    """A tempo with half and double as alternatives, which share what the confidence leaves."""
    rest = (1.0 - confidence) / 2
    others = tuple(Alternative(value=bpm * factor, confidence=rest) for factor in (0.5, 2.0))
    return Estimate(value=bpm, confidence=confidence, alternatives=others, unit="BPM")


def bars(beats: NDArray[np.float64]) -> dict[str, Any]:
    """Rhythm fields out of rows (time, number of the beat in its bar); a bar's first beat has number 1.

    The tempo is that of the median beat; below three beats there is nothing.
    """
    if len(beats) < 3:
        return empty(RHYTHM)
    times, first = beats[:, 0], np.round(beats[:, 1]) == 1
    lengths = np.diff(np.flatnonzero(first))
    metre: Estimate[str] = NOTHING
    if len(lengths):
        count = int(np.bincount(lengths).argmax())
        metre = Estimate(value=f"{count}/4", confidence=NOMINAL * float((lengths == count).mean()))
    return {
        "tempo_bpm": tempo(60.0 / float(np.median(np.diff(times))), NOMINAL),
        "metre": metre,
        "beats_s": tuple(times.tolist()),
        "downbeats_s": tuple(times[first].tolist()),
    }


def chord_segments(rows: Iterable[tuple[Any, Any, Any]]) -> tuple[ChordSegment, ...]:
    """Chords of a tool without confidences, out of rows (start, end, label)."""
    return tuple(
        ChordSegment(start_s=float(start), end_s=float(end), label=harte(str(label)), confidence=NOMINAL)
        for start, end, label in rows
    )


def harte(label: str) -> str:
    """A label with a quality that solfa knows: the nearest one below where the tool's says more.

    >>> harte("A#:sus4(b7)"), harte("D:min11/b3"), harte("X")
    ('Bb:sus4', 'D:min9/b3', 'N')
    """
    body, _, degree = label.partition("/")
    root, _, quality = body.partition(":")
    plain = quality.partition("(")[0] or "maj"
    known = {"11": "9", "13": "9", "maj11": "maj9", "maj13": "maj9", "min11": "min9", "min13": "min9"}.get(plain, plain)
    if root in ("N", "X", ""):
        return "N"
    if known not in QUALITIES:
        known = "min" if known.startswith("min") else "maj"
    chord = Chord.parse(f"{root}:{known}/{degree}" if degree in _DEGREES else f"{root}:{known}")
    return str(chord)


_DEGREES = frozenset(("b2", "2", "b3", "3", "4", "b5", "5", "b6", "6", "b7", "7"))
