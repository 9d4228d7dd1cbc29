"""The small trained parts: which candidate is the beat, which metre it is, and how sure that is.

The numbers, and how they were fitted, are in ``rhythm.json`` beside this file.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from solfa.core.files import table_of
from solfa.core.types import FloatArray


def rank_tempi(features_CF: FloatArray) -> FloatArray:
    """Probability of each candidate [C] to be the tempo that people would name."""
    scores = np.zeros(len(features_CF), np.float32)
    for net in _stored()["tempo"]["nets"]:
        hidden = np.tanh(_standard(features_CF, net) @ np.asarray(net["w1"]) + np.asarray(net["b1"]))
        scores += (hidden @ np.asarray(net["w2"])) / len(_stored()["tempo"]["nets"])
    return _softmax(scores)


def rank_metres(features_F: FloatArray) -> dict[str, float]:
    """Probability of each metre."""
    model = _stored()["metre"]
    scores = _standard(features_F, model) @ np.asarray(model["w"]) + np.asarray(model["b"])
    return dict(zip(model["classes"], _softmax(scores).tolist(), strict=True))


def tempo_confidence(probability: float, clarity: float) -> float:
    """Chance that a tempo is within 4 %, from the model's probability and the clarity of the beat (both 0..1)."""
    model = _stored()["tempo"]["confidence"]
    logit = model["bias"] + model["probability"] * _logit(probability) + model["clarity"] * clarity
    return float(1 / (1 + np.exp(-logit)))


def metre_confidence(probability: float, tempo_chance: float) -> float:
    """Chance that a metre is right, from the model's probability and the confidence of the tempo."""
    model = _stored()["metre"]["confidence"]
    logit = model["bias"] + model["probability"] * _logit(probability) + model["tempo"] * tempo_chance
    return float(1 / (1 + np.exp(-logit)))


def _logit(probability: float) -> float:
    clipped = min(max(probability, 1e-3), 1 - 1e-3)
    return float(np.log(clipped / (1 - clipped)))


def _standard(features: FloatArray, model: dict[str, Any]) -> FloatArray:
    standard = (features - np.asarray(model["mean"])) / np.asarray(model["std"])
    return np.asarray(np.clip(standard, -6, 6), np.float32)  # as in fitting: no feature decides alone


def _softmax(scores: FloatArray) -> FloatArray:
    shifted = np.exp(scores - scores.max())
    probabilities: FloatArray = shifted / shifted.sum()
    return probabilities


@cache
def _stored() -> dict[str, Any]:
    return table_of("solfa.analysis", "rhythm.json")
