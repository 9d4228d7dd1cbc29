"""From noise to a latent in a few steps: DDIM, and DPM-Solver++(2M), which needs fewer of them."""

from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np

from solfa.core.errors import InputError
from solfa.core.types import FloatArray
from solfa.diffusion.guidance import GUIDANCE, Denoiser, Predict, guided
from solfa.diffusion.schedule import Prediction, Schedule

Solver = Literal["ddim", "dpm++"]
STEPS = 10
SOLVER: Solver = "dpm++"
MOST_SAMPLES = 256


def sample(
    denoiser: Denoiser, text_LE: FloatArray, *, negative: FloatArray | None = None, scale: float = GUIDANCE,
    steps: int = STEPS, seed: int = 0, samples: int = 1, solver: Solver = SOLVER,
) -> FloatArray:  # fmt: skip
    """Latents of a text in the denoiser's embedding space [shape=(S, T, D)]; the same for the same seed.

    Sample number i of a seed is the same however many are drawn. A query is their mean over samples and time at unit
    norm. Raises InputError as ``guided`` and ``solve``, and if samples or the seed are out of range.

    - ``text_LE``, ``negative``: states of the tokens of a text, and of one to move away from (the null text if None)
    - ``scale``: guidance, 0..20; 1 is without; ``steps``: passes of the network at most, 1..1000
    """
    spec = denoiser.spec
    if not 1 <= samples <= MOST_SAMPLES or seed < 0:
        raise InputError(f"{samples} samples, seed {seed}: expected 1 to {MOST_SAMPLES} and a seed from 0.")
    noise = [np.random.default_rng([seed, i]).standard_normal((spec.length, spec.dim)) for i in range(samples)]
    predict = guided(denoiser, text_LE, negative, scale)
    z = np.stack(noise).astype(np.float32)
    z = solve(predict, z, steps, spec.schedule, spec.prediction, solver) if spec.generates else predict(z, 0)
    return to_space(denoiser, z)


def to_space(denoiser: Denoiser, z_STD: FloatArray) -> FloatArray:
    """Vectors of the embedding space from latents of unit variance."""
    return (denoiser.spec.mean_D + denoiser.spec.scale * z_STD).astype(np.float32)


def solve(
    predict: Predict, z: Any, steps: int, schedule: Schedule, kind: Prediction = "sample", solver: Solver = SOLVER
) -> Any:
    """The latent that noise ``z`` (numpy or torch) at the highest level becomes.

    ``dpm++`` is DPM-Solver++(2M) of Lu et al. (arXiv 2211.01095): second order in the logarithm of signal over noise,
    in which its levels are evenly spaced; the last step is of first order. Both solvers end at level 0. Raises
    InputError if the solver is unknown or steps are out of range.
    """
    if solver not in get_args(Solver):
        raise InputError(f"no such solver: {solver!r}. Expected one of: {', '.join(get_args(Solver))}.")
    levels = schedule.levels(steps)
    if solver == "ddim":
        for t, to in zip(levels, [*levels[1:], -1], strict=True):
            z = schedule.ddim_step(z, schedule.to_x0(kind, predict(z, t), z, t), t, to)
        return z
    log_ratio = 0.5 * np.log(schedule.abar / (1 - schedule.abar))
    wanted = np.linspace(log_ratio[-1], log_ratio[0], steps + 1)
    levels = sorted({int(np.abs(log_ratio - at).argmin()) for at in wanted}, reverse=True)
    before: tuple[Any, float] | None = None
    for t, to in pairwise(levels):
        x0 = schedule.to_x0(kind, predict(z, t), z, t)
        width = float(log_ratio[to] - log_ratio[t])
        ahead = x0 if before is None or to == levels[-1] else x0 + (x0 - before[0]) * (width / (2 * before[1]))
        z, before = schedule.ddim_step(z, ahead, t, to), (x0, width)
    return z
