"""Noise schedule of diffusion: pure functions that take numpy arrays and torch tensors alike.

A latent z_0 at *level* t (0 least noise, ``num_levels - 1`` most) is ``sqrt(abar_t) z_0 + sqrt(1 - abar_t) eps`` with
standard normal ``eps`` (Ho et al., "Denoising diffusion probabilistic models", NeurIPS 2020). The numbers are those of
AudioLDM 2, which GD-Retriever (arXiv 2506.17886) uses: betas whose square roots are evenly spaced.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from solfa.core.errors import InputError

Prediction = Literal["sample", "epsilon", "v"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The levels of noise. Raises InputError unless 0 < beta_start <= beta_end < 1 and there are two levels or more."""

    num_levels: int = 1000
    beta_start: float = 0.0015
    beta_end: float = 0.0195

    def __post_init__(self) -> None:
        if not (0 < self.beta_start <= self.beta_end < 1 and self.num_levels >= 2):
            raise InputError(f"{self}: expected 0 < beta_start <= beta_end < 1 and at least 2 levels.")

    @cached_property
    def betas(self) -> NDArray[Any]:
        """Variance that each level adds [shape=(num_levels,)]."""
        return np.linspace(self.beta_start**0.5, self.beta_end**0.5, self.num_levels) ** 2

    @cached_property
    def abar(self) -> NDArray[np.float64]:
        """What is left of the variance of the latent at each level [shape=(num_levels,)], decreasing."""
        return np.cumprod(1 - self.betas)

    def levels(self, steps: int) -> list[int]:
        """The levels that so many steps visit, from most to least noise: evenly spaced from level 1 up, as published.

        Raises InputError unless there are 1 to ``num_levels`` steps.

        >>> Schedule().levels(5), Schedule(num_levels=4).levels(4)
        ([801, 601, 401, 201, 1], [3, 2, 1, 0])
        """
        if not 1 <= steps <= self.num_levels:
            raise InputError(f"{steps} steps: expected 1 to {self.num_levels}.")
        spacing = self.num_levels // steps
        first = min(1, self.num_levels - 1 - (steps - 1) * spacing)
        return [first + i * spacing for i in reversed(range(steps))]

    def scales(self, t: Any, like: Any) -> tuple[Any, Any]:
        """``sqrt(abar_t)`` and ``sqrt(1 - abar_t)`` for arrays such as ``like`` [shape=(B, ...)].

        ``t`` is a level, or one for each item [shape=(B,)]; below 0 it counts as 0.
        """
        abar = self.abar[np.maximum(np.asarray(t), 0)]
        abar = abar.reshape(abar.shape + (1,) * (like.ndim - abar.ndim if abar.ndim else 0))
        like_it = like.new_tensor if hasattr(like, "new_tensor") else lambda array: array.astype(like.dtype)
        return like_it(np.sqrt(abar)), like_it(np.sqrt(1 - abar))

    def add_noise(self, z0: Any, eps: Any, t: Any) -> Any:
        """The latent at level ``t``."""
        signal, noise = self.scales(t, z0)
        return signal * z0 + noise * eps

    def target(self, kind: Prediction, z0: Any, eps: Any, t: Any) -> Any:
        """What a denoiser of this kind is trained to give: z_0, eps, or v = ``sqrt(abar) eps - sqrt(1 - abar) z_0``.

        v: Salimans and Ho, "Progressive distillation", ICLR 2022.
        """
        signal, noise = self.scales(t, z0)
        return {"sample": z0, "epsilon": eps}[kind] if kind != "v" else signal * eps - noise * z0

    def to_x0(self, kind: Prediction, prediction: Any, z: Any, t: Any) -> Any:
        """z_0 of a prediction for ``z`` at level ``t``."""
        signal, noise = self.scales(t, z)
        if kind == "sample":
            return prediction
        return (z - noise * prediction) / signal if kind == "epsilon" else signal * z - noise * prediction

    def to_eps(self, kind: Prediction, prediction: Any, z: Any, t: Any) -> Any:
        """eps of a prediction for ``z`` at level ``t``."""
        signal, noise = self.scales(t, z)
        if kind == "epsilon":
            return prediction
        return (z - signal * prediction) / noise if kind == "sample" else noise * z + signal * prediction

    def ddim_step(self, z: Any, x0: Any, t: int, to: int) -> Any:
        """From level ``t`` to another, without new noise: down it denoises (Song et al., ICLR 2021), up it inverts."""
        return self.add_noise(x0, self.to_eps("sample", x0, z, t), to)
