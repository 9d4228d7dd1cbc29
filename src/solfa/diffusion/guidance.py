"""Denoisers as all of this room sees them, and guidance of them by what to generate and what not.

Shape letters: B batch, S samples, T steps in time, D numbers of a latent, L tokens, E numbers of a token's state.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from solfa.core.errors import InputError
from solfa.core.types import BoolArray, FloatArray
from solfa.diffusion.schedule import Prediction, Schedule

MOST_GUIDANCE = 20.0
GUIDANCE = 3.0
Predict = Callable[[Any, int], Any]


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class DenoiserSpec:
    """What a denoiser is.

    - ``space``: of its latents, which a collection that is searched must have; ``text_space``: of states of texts
    - ``audio``, ``text``: names of the backbones that made both (``encoders.registry``)
    - ``length``, ``dim``: T and D of a latent, ``hop_s`` seconds between its steps; ``text_dim``: E
    - ``mean_D``, ``scale``: a vector of the space is ``mean_D + scale * z``, z with a variance of about 1
    - ``null_LE``: states that stand for "any text"
    - ``generates``: False of a regression baseline: one answer in one pass, whatever the noise
    """

    space: str
    audio: str
    text: str
    text_space: str
    length: int
    dim: int
    text_dim: int
    hop_s: float
    mean_D: FloatArray
    scale: float
    null_LE: FloatArray
    prediction: Prediction = "sample"
    generates: bool = True
    schedule: Schedule = field(default_factory=Schedule)


class Denoiser(Protocol):
    """A network that says what a noisy latent was made of, given a text."""

    @property
    def spec(self) -> DenoiserSpec:
        """What it is."""

    def __call__(self, z_BTD: Any, t_B: Any, text_BLE: Any, mask_BL: Any) -> Any:
        """The prediction [shape=(B, T, D)] for latents at the levels ``t_B``; ``mask_BL`` is True for real tokens."""


def guided(
    denoiser: Denoiser, text_LE: FloatArray, negative_LE: FloatArray | None = None, scale: float = GUIDANCE
) -> Predict:
    """``f(negative) + scale (f(text) - f(negative))`` as a function of latents [shape=(S, T, D)] and their level.

    Without a negative text that is classifier-free guidance with the learnt null text (Ho and Salimans, 2022). A scale
    of 1 is the text alone, 0 the negative alone. Both texts are one batch. Raises InputError if a text has no token or
    states of another width, or the scale is not in 0..20.
    """
    if not 0 <= scale <= MOST_GUIDANCE:
        raise InputError(f"guidance {scale:g}: expected 0 to {MOST_GUIDANCE:g} (1 is the text as it is).")
    null_LE = denoiser.spec.null_LE if negative_LE is None else negative_LE
    for states in (text_LE, null_LE):
        if states.ndim != 2 or not len(states) or states.shape[1] != denoiser.spec.text_dim:
            raise InputError(f"states of a text of shape {states.shape}; expected a token or more, (tokens, "
                             f"{denoiser.spec.text_dim}), of the text backbone {denoiser.spec.text!r}.")  # fmt: skip
    same = scale == 1 or (text_LE.shape == null_LE.shape and bool((text_LE == null_LE).all()))
    texts = [text_LE] if same else [null_LE] if scale == 0 else [text_LE, null_LE]
    tokens_XLE, mask_XL = padded(texts)

    def predict(z_STD: Any, t: int) -> Any:
        count = len(z_STD)
        rows = np.repeat(np.arange(len(texts)), count)
        t_B = np.full(len(rows), t, np.int64)
        z_BTD = z_STD if len(texts) == 1 else z_STD[np.tile(np.arange(count), 2)]
        found = denoiser(z_BTD, t_B, tokens_XLE[rows], mask_XL[rows])
        return found if len(texts) == 1 else found[count:] + scale * (found[:count] - found[count:])

    return predict


def padded(texts: list[FloatArray]) -> tuple[FloatArray, BoolArray]:
    """States of texts [shape=(X, L, E)] with zeros beyond their ends, and where they are real [shape=(X, L)]."""
    mask_XL = np.arange(max(map(len, texts))) < np.array([len(text) for text in texts])[:, None]
    tokens_XLE = np.zeros((*mask_XL.shape, texts[0].shape[1]), np.float32)
    tokens_XLE[mask_XL] = np.concatenate(texts)
    return tokens_XLE, mask_XL
