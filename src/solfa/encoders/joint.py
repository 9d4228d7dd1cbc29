"""Joint models on torch: vectors of windows of sound, and of pieces of text. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from solfa.core.types import Audio, EncoderSpec, Features, FloatArray
from solfa.encoders import towers
from solfa.encoders.windowed import WindowedBackbone


class WindowVectors:
    """Sound to unit vectors, one for each window of a body whose states are vectors."""

    def __init__(self, body: WindowedBackbone) -> None:
        self._body = body
        self.spec = replace(body.spec, sample_rate_hz=body.grid.sample_rate_hz, hop_s=body.grid.step_s)

    def encode(self, batch: Sequence[Audio]) -> Features:
        """One frame for each window from the start of each stretch; an empty one counts as a window of silence."""
        silence = Audio(np.zeros(self._body.grid.window, np.float32), self.spec.sample_rate_hz)
        counts = self._body.lengths(batch)
        heard = self._body.states([audio if n else silence for audio, n in zip(batch, counts, strict=True)])
        rows = [row[mask] for row, mask in zip(heard.states_BTD, heard.mask_BT, strict=True)]
        return towers.pack(rows, self.spec.dim)


class TextVectors:
    """Text to unit vectors, through a tower from the tokens of a piece [shape=(1, L)] to a vector [shape=(1, D)].

    A text of more tokens than ``limit`` is cut between clauses; each piece is a frame and counts by its length.
    """

    def __init__(
        self, spec: EncoderSpec, device: Any, tokenize: towers.Tokenize, limit: int, tower: Callable[[Any], Any]
    ) -> None:
        self.spec, self._device, self._tokenize, self._limit, self._tower = spec, device, tokenize, limit, tower

    def encode(self, batch: Sequence[str]) -> Features:
        """One frame for each piece; every word of a text counts.

        Each piece runs by itself and unpadded, so that a vector does not depend on its neighbours.
        """
        rows, shares = [], []
        for text in batch:
            ids = towers.token_pieces(text, self._tokenize, self._limit)
            rows.append(np.concatenate([self._vector(piece) for piece in ids]))
            shares.append([float(len(piece)) for piece in ids])
        return towers.pack(rows, self.spec.dim, shares)

    def _vector(self, ids: list[int]) -> FloatArray:
        with torch.inference_mode():
            out = self._tower(torch.tensor([ids], device=self._device))
        tensor = getattr(out, "pooler_output", out)  # transformers 5 wraps the vectors, 4 gives them bare
        vectors: FloatArray = tensor.float().cpu().numpy()
        return vectors
