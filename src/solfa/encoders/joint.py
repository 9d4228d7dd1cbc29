"""Joint models on torch: vectors of windows of sound, and of pieces of text. Needs torch."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np
from tokenizers import Tokenizer

from solfa.core.types import Audio, Features, JointModel
from solfa.encoders.text_backbone import TextBackbone, TextTower
from solfa.encoders.torch_backbone import TorchBackbone
from solfa.encoders.vectors import features, unit
from solfa.encoders.windowed import WindowedBackbone

X = TypeVar("X")


def joint_model(backbone: WindowedBackbone, tower: TextTower, tokenizer: Tokenizer, limit: int) -> JointModel:
    """A backbone whose states are vectors of windows, and its network's text tower, which takes ``limit`` tokens."""
    spec = replace(backbone.spec, sample_rate_hz=0, hop_s=0.0)
    text = StateVectors(TextBackbone(tower, spec, backbone.device, None, tokenizer, limit))
    return JointModel(name=spec.name, audio=WindowVectors(backbone), text=text)


class StateVectors(Generic[X]):
    """A backbone whose states are vectors as an encoder: they are its frames, and their mean by length is global."""

    def __init__(self, backbone: TorchBackbone[X]) -> None:
        self.backbone, self.spec = backbone, backbone.spec
        self.tokenizer = getattr(backbone, "tokenizer", None)  # token saturation cuts texts with it

    def encode(self, batch: Sequence[X]) -> Features:
        """Unit vectors; every window of a sound and every word of a text counts."""
        states = self.backbone.states(batch)
        rows = [unit(row[mask]) for row, mask in zip(states.states_BTD, states.mask_BT, strict=True)]
        return features(rows, self.spec.dim, list(unit(states.pooled_BD)))


class WindowVectors(StateVectors[Audio]):
    """Sound to one unit vector for each window."""

    def encode(self, batch: Sequence[Audio]) -> Features:
        """One frame for each window from the start of each stretch; an empty one counts as a window of silence."""
        silence = Audio(np.zeros(self.spec.sample_rate_hz, np.float32), self.spec.sample_rate_hz)
        counts = self.backbone.lengths(batch)
        return super().encode([audio if n else silence for audio, n in zip(batch, counts, strict=True)])
