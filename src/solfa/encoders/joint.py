"""Joint models on torch: vectors of windows of sound, and of pieces of text. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from solfa.core.types import Audio, EncoderSpec, Features, FloatArray, JointModel
from solfa.encoders.tokens import Tokenize, token_pieces
from solfa.encoders.vectors import pack
from solfa.encoders.windowed import WindowedBackbone


def joint_model(
    backbone: WindowedBackbone, tokenize: Tokenize, limit: int, tower: Callable[[Any], Any], network: torch.nn.Module
) -> JointModel:
    """A backbone whose states are vectors of windows, and the text tower of its network (``TextVectors``)."""
    network.to(backbone.device).eval()
    audio = WindowVectors(backbone)
    spec = replace(audio.spec, sample_rate_hz=0, hop_s=0.0)
    text = TextVectors(spec, backbone.device, tokenize, limit, tower)
    return JointModel(name=spec.name, audio=audio, text=text)


class WindowVectors:
    """Sound to unit vectors, one for each window of a backbone whose states are vectors."""

    def __init__(self, backbone: WindowedBackbone) -> None:
        self._backbone = backbone
        self.spec = replace(backbone.spec, hop_s=backbone.grid.step_s)

    def encode(self, batch: Sequence[Audio]) -> Features:
        """One frame for each window from the start of each stretch; an empty one counts as a window of silence."""
        silence = Audio(np.zeros(self._backbone.grid.window, np.float32), self.spec.sample_rate_hz)
        counts = self._backbone.lengths(batch)
        states = self._backbone.states([audio if n else silence for audio, n in zip(batch, counts, strict=True)])
        rows = [row[mask] for row, mask in zip(states.states_BTD, states.mask_BT, strict=True)]
        return pack(rows, self.spec.dim)


class TextVectors:
    """Text to unit vectors, through a tower from the tokens of a piece [shape=(1, L)] to a vector [shape=(1, D)].

    A text of more tokens than ``limit`` is cut between clauses; each piece is a frame and counts by its length.
    """

    def __init__(
        self, spec: EncoderSpec, device: Any, tokenize: Tokenize, limit: int, tower: Callable[[Any], Any]
    ) -> None:
        self.spec, self._device, self._tokenize, self._limit, self._tower = spec, device, tokenize, limit, tower

    def encode(self, batch: Sequence[str]) -> Features:
        """One frame for each piece; every word of a text counts.

        Each piece runs by itself and unpadded, so that a vector does not depend on its neighbours.
        """
        rows, shares = [], []
        for text in batch:
            ids = token_pieces(text, self._tokenize, self._limit)
            rows.append(np.concatenate([self._vector(piece) for piece in ids]))
            shares.append([float(len(piece)) for piece in ids])
        return pack(rows, self.spec.dim, shares)

    def _vector(self, ids: list[int]) -> FloatArray:
        with torch.inference_mode():
            out = self._tower(torch.tensor([ids], device=self._device))
        tensor = getattr(out, "pooler_output", out)  # transformers 5 wraps the vectors, 4 gives them bare
        vectors: FloatArray = tensor.float().cpu().numpy()
        return vectors
