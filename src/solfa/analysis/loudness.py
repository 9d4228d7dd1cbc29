"""Loudness by ITU-R BS.1770-4 / EBU R 128, and an energy curve from it.

Exact for mono and stereo files: the power of left plus right is twice that of their mean and half difference, and both
are measured (``audio.side_of``). Files of more channels are measured on their mono mix, without surround weights.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solfa.analysis.filters import filtered
from solfa.analysis.protocol import ExtractorSpec, Observation, empty
from solfa.audio import at_rate, side_of
from solfa.core.types import Audio, Curve, Estimate, FloatArray

STEP_S = 0.1  # gating blocks are 0.4 s with 75 % overlap: four steps
HOP_S = 1.0
_WINDOW_STEPS = 30  # EBU Tech 3341 short-term loudness: 3 s
_QUIET_LUFS, _LOUD_LUFS = -50.0, -5.0
_ABSOLUTE_GATE_LUFS, _RELATIVE_GATE_LU = -70.0, -10.0
_LEAST_RATE_HZ = 8000  # the shelf of the K weighting needs room below half the sample rate


class LoudnessExtractor:
    """``loudness_lufs`` (integrated, gated; None for silence and below 0.4 s) and ``energy`` (0..1 every second).

    Energy is the short-term loudness around each second, mapped so that -50 LUFS and below is 0 and -5 LUFS is 1.
    The confidence of a measured loudness is 1: the number is the definition, not a guess.
    """

    spec = ExtractorSpec(
        name="loudness",
        version="1",
        licence="Apache-2.0",
        commercial_use=True,
        provides=("loudness_lufs", "energy"),
    )

    def observe(self, audio: Audio) -> Observation:
        """K-weighted energy of every tenth of a second, and the number of samples in it."""
        side = side_of(audio)
        if audio.sample_rate_hz < _LEAST_RATE_HZ:
            audio = at_rate(audio, 48_000)
            side = None
        energy, count = _step_energy(audio.samples, audio.sample_rate_hz)
        if side is not None:
            energy = 2 * (energy + _step_energy(side, audio.sample_rate_hz)[0])
        return {"energy": energy, "count": count}

    def conclude(self, observations: Sequence[Observation], duration_s: float) -> dict[str, Any]:
        """Gated loudness over the whole track, and the curve."""
        energy = np.concatenate([np.zeros(0), *(o["energy"] for o in observations)])
        count = np.concatenate([np.zeros(0), *(o["count"] for o in observations)])
        curve = Curve(hop_s=HOP_S, values=energy_curve(energy, count), unit="share of -50..-5 LUFS")
        lufs = integrated_lufs(energy, count)
        if lufs is None:
            return {**empty(self.spec.provides), "energy": curve}
        return {"loudness_lufs": Estimate(value=round(lufs, 2), confidence=1.0, unit="LUFS"), "energy": curve}


def integrated_lufs(energy: NDArray[np.float64], count: NDArray[np.float64]) -> float | None:
    """Integrated loudness from the energy and sample count of steps of 0.1 s (BS.1770-4, equations 3 to 7)."""
    full = count >= 0.99 * count.max(initial=0)  # the last step of a file may be cut short
    energy, count = energy[full], count[full]
    if len(energy) < 4:
        return None
    blocks = np.convolve(energy, np.ones(4), "valid") / np.convolve(count, np.ones(4), "valid")
    gated = blocks[_lufs(blocks) > _ABSOLUTE_GATE_LUFS]
    if len(gated) == 0:
        return None
    relative = _lufs(gated.mean(keepdims=True))[0] + _RELATIVE_GATE_LU
    return float(_lufs(gated[_lufs(gated) > relative].mean(keepdims=True))[0])


def energy_curve(energy: NDArray[np.float64], count: NDArray[np.float64]) -> tuple[float, ...]:
    """Short-term loudness around the middle of each second, as 0..1."""
    if len(energy) == 0:
        return ()
    steps = round(HOP_S / STEP_S)
    sums = np.concatenate([[0.0], np.cumsum(energy)])
    counts = np.concatenate([[0.0], np.cumsum(count)])
    middle = np.arange(math.ceil(len(energy) / steps)) * steps + steps // 2
    low = np.clip(middle - _WINDOW_STEPS // 2, 0, len(energy) - 1)
    high = np.clip(middle + _WINDOW_STEPS // 2, 1, len(energy))
    power = (sums[high] - sums[low]) / np.maximum(counts[high] - counts[low], 1)
    share = np.clip((_lufs(power) - _QUIET_LUFS) / (_LOUD_LUFS - _QUIET_LUFS), 0.0, 1.0)
    return tuple(round(float(v), 3) for v in share)


def _lufs(power: NDArray[np.float64]) -> NDArray[np.float64]:
    lufs: NDArray[np.float64] = -0.691 + 10 * np.log10(np.maximum(power, 1e-12))
    return lufs


def _step_energy(samples: FloatArray, rate: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if len(samples) == 0:
        return np.zeros(0), np.zeros(0)
    weighted = filtered(k_weighting(rate), samples)
    edges = np.round(np.arange(math.ceil(len(samples) / (rate * STEP_S)) + 1) * rate * STEP_S).astype(np.int64)
    edges = np.unique(np.minimum(edges, len(samples)))
    energy = np.add.reduceat(np.square(weighted, out=weighted), edges[:-1])
    return np.asarray(energy, np.float64), np.diff(edges).astype(np.float64)


def k_weighting(rate: int) -> NDArray[np.float64]:
    """The two filters of BS.1770, designed for each rate; at 48 kHz they are the standard's own numbers."""
    k = math.tan(math.pi * 1681.974450955533 / rate)
    q, gain = 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    edge = gain**0.4996667741545416
    a0 = 1 + k / q + k * k
    shelf = [
        (gain + edge * k / q + k * k) / a0,
        2 * (k * k - gain) / a0,
        (gain - edge * k / q + k * k) / a0,
        1.0,
        2 * (k * k - 1) / a0,
        (1 - k / q + k * k) / a0,
    ]
    k, q = math.tan(math.pi * 38.13547087602444 / rate), 0.5003270373238773
    a0 = 1 + k / q + k * k
    high_pass = [1.0, -2.0, 1.0, 1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0]
    return np.array([shelf, high_pass])
