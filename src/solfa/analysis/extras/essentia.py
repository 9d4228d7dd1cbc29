"""Essentia (Bogdanov et al., ISMIR 2013): rhythm and key. AGPL-3.0: it binds what is distributed together with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from solfa.analysis.extras.whole import Tool, WholeTrack, tempo
from solfa.analysis.protocol import empty
from solfa.core.theory import Key
from solfa.core.types import Estimate, FloatArray

# RhythmExtractor2013 scores its beats from 0 to this; above 3.5 its authors call the result excellent.
_BEST_SCORE = 5.32


def _tool(name: str, *provides: str) -> Tool:
    return Tool(
        name=name,
        module="essentia.standard",
        distribution="essentia",
        install="pip install --pre essentia",
        licence="AGPL-3.0",
        commercial_use=True,
        provides=provides,
    )


class EssentiaRhythm(WholeTrack):
    """Tempo and beats by ``RhythmExtractor2013`` with the method ``multifeature``."""

    tool = _tool("essentia-rhythm", "tempo_bpm", "beats_s")

    def listen(self, samples: FloatArray, duration_s: float) -> dict[str, Any]:
        """Tempo and beats of a track; the confidence is the tool's score as a share of its best."""
        standard = self.package("essentia.standard")
        bpm, beats, score, _, _ = standard.RhythmExtractor2013(method="multifeature")(samples)
        if len(beats) < 3 or bpm <= 0:
            return empty(self.tool.provides)
        confidence = min(max(float(score) / _BEST_SCORE, 0.0), 1.0)
        return {"tempo_bpm": tempo(float(bpm), confidence), "beats_s": tuple(float(b) for b in beats)}


class EssentiaKey(WholeTrack):
    """The key by ``KeyExtractor`` with the profile ``bgate``."""

    tool = _tool("essentia-key", "key")

    def listen(self, samples: FloatArray, duration_s: float) -> dict[str, Any]:
        """The key of a track; the confidence is the correlation with the key's profile."""
        standard = self.package("essentia.standard")
        tonic, mode, strength = standard.KeyExtractor(profileType="bgate")(samples)
        confidence = float(np.clip(strength, 0.0, 1.0))
        return {"key": Estimate(value=str(Key.parse(f"{tonic} {mode}")), confidence=confidence)}
