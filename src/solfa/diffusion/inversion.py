"""Editing a latent: up to a level of noise with the text it was made of, and down again with another.

DDIM inversion: Song et al., ICLR 2021; as an edit of a search: GD-Retriever (arXiv 2506.17886).
"""

import numpy as np

from solfa.core.errors import InputError
from solfa.core.types import FloatArray
from solfa.diffusion.guidance import GUIDANCE, Denoiser, guided
from solfa.diffusion.samplers import to_space

STEPS = 20
STRENGTH = 0.4


def fit_length(latents_TD: FloatArray, length: int) -> FloatArray:
    """Vectors of a sound as one latent [shape=(length, D)]: repeated, evenly spread ones of many, or their mean.

    Raises InputError if there is none.
    """
    if not (count := len(latents_TD)):
        raise InputError("a sound without a vector cannot be edited: it is too short.")
    if length == 1:
        return np.asarray(latents_TD.mean(axis=0, keepdims=True), np.float32)
    rows = np.linspace(0, count - 1, length).round().astype(int) if count > length else np.arange(length) % count
    return np.asarray(latents_TD[rows], np.float32)


def invert(
    denoiser: Denoiser, latents_STD: FloatArray, text_LE: FloatArray, *, steps: int = STEPS, strength: float = STRENGTH,
    scale: float = 1.0,
) -> FloatArray:  # fmt: skip
    """The noisy latent, of unit variance, at the level ``ascent(...)[-1]`` that leads to vectors of the space.

    Strength 0 is the latent without noise. Raises InputError as ``edit``.
    """
    schedule, kind, z = denoiser.spec.schedule, denoiser.spec.prediction, _to_latents(denoiser, latents_STD)
    predict, at = guided(denoiser, text_LE, None, scale), 0
    for to in ascent(denoiser, steps, strength):
        z = schedule.ddim_step(z, schedule.to_x0(kind, predict(z, to), z, at), at, to)
        at = to
    return z


def edit(
    denoiser: Denoiser, latents_STD: FloatArray, text_LE: FloatArray, new_LE: FloatArray, *,
    negative: FloatArray | None = None, scale: float = GUIDANCE, steps: int = STEPS, strength: float = STRENGTH,
) -> FloatArray:  # fmt: skip
    """Vectors of the embedding space [shape=(S, T, D)] changed from what one text says to what another does.

    Strength 0 changes nothing, 1 keeps only what the noise keeps. Deterministic. Raises InputError if the strength is
    not in 0..1, the vectors are not finite or not (S, T, D) of the denoiser, or as ``sample``.

    - ``latents_STD``: generated, or of a sound (``fit_length``)
    - ``text_LE``: states of the text that they were made of; of a sound those of what is known of it, or the null text
    - ``new_LE``, ``negative``: states of what they shall say, and shall not
    - ``scale``: guidance of the way down; the way up has none, so that the same text leads back
    - ``steps``: of all levels; ``strength`` of them are gone up and down
    """
    predict = guided(denoiser, new_LE, negative, scale)
    levels = ascent(denoiser, steps, strength)
    z = invert(denoiser, latents_STD, text_LE, steps=steps, strength=strength)
    if not levels:
        return np.array(latents_STD, np.float32)
    schedule, kind = denoiser.spec.schedule, denoiser.spec.prediction
    for t, to in zip(levels[::-1], [*levels[-2::-1], 0], strict=True):
        z = schedule.ddim_step(z, schedule.to_x0(kind, predict(z, t), z, t), t, to)
    return to_space(denoiser, z)


def ascent(denoiser: Denoiser, steps: int, strength: float) -> list[int]:
    """The levels of the way up, the first ``strength`` part of all ``steps``."""
    if not 0 <= strength <= 1:
        raise InputError(f"strength {strength:g}: expected 0 (unchanged) to 1.")
    if not denoiser.spec.generates:
        raise InputError("a regression baseline has no levels of noise to go back to. Take a denoiser that generates.")
    return denoiser.spec.schedule.levels(steps)[::-1][: round(strength * steps)]


def _to_latents(denoiser: Denoiser, latents_STD: FloatArray) -> FloatArray:
    spec = denoiser.spec
    if latents_STD.ndim != 3 or latents_STD.shape[1:] != (spec.length, spec.dim) or not np.isfinite(latents_STD).all():
        shape = f"(samples, {spec.length}, {spec.dim})"
        raise InputError(f"latents of shape {latents_STD.shape}; expected finite numbers of shape {shape}.")
    return ((latents_STD - spec.mean_D) / spec.scale).astype(np.float32)
