"""basic-pitch (Bittner et al., ICASSP 2022): notes, and the key that they are in. Apache-2.0."""

from __future__ import annotations

from typing import Any

import numpy as np

from solfa.analysis.extras.whole import Tool, WholeTrack, ranked, wav_file
from solfa.analysis.protocol import NOTHING
from solfa.core.theory import Key, Mode
from solfa.core.types import Estimate, FloatArray

# How well each pitch class fits a key on C (Krumhansl and Kessler, Psychological Review 1982).
_PROFILES: dict[Mode, tuple[float, ...]] = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}


class BasicPitchKey(WholeTrack):
    """The key whose profile correlates best with the notes that basic-pitch hears."""

    tool = Tool(
        name="basic-pitch-key",
        module="basic_pitch",
        distribution="basic-pitch",
        # TensorFlow, which it asks for, is not needed where ONNX Runtime is.
        install="pip install --no-deps basic-pitch && pip install librosa mir_eval pretty_midi resampy scikit-learn",
        licence="Apache-2.0",
        commercial_use=True,
        provides=("key",),
    )
    sample_rate_hz = 22050

    def listen(self, samples: FloatArray, duration_s: float) -> dict[str, Any]:
        """The key of a track; None where no note was heard."""
        package, inference = self.package("basic_pitch"), self.package("basic_pitch.inference")
        network = package.build_icassp_2022_model_path(package.FilenameSuffix.onnx)
        with wav_file(samples, self.sample_rate_hz) as file:
            _, _, notes = inference.predict(str(file), str(network))
        weight_P = np.zeros(12)
        for start_s, end_s, pitch, loudness, _ in notes:
            weight_P[int(pitch) % 12] += (end_s - start_s) * loudness
        return {"key": key_of(weight_P)}


def key_of(weight_P: np.ndarray[Any, np.dtype[np.float64]]) -> Estimate[str]:
    """The key of a pitch-class histogram; the confidences are a softmax over 24 correlations, not calibrated."""
    if not weight_P.std() > 0:
        return NOTHING
    keys = [Key(tonic, mode) for mode in _PROFILES for tonic in range(12)]
    fit = np.array([np.corrcoef(weight_P, np.roll(_PROFILES[key.mode], key.tonic))[0, 1] for key in keys])
    chances = np.exp(8.0 * fit)
    return ranked(keys, chances / chances.sum())
