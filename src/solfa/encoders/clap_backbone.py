"""What joint models hear, as bodies: windows of CLAP and MuQ-MuLan.

CLAP's windows are GD-Retriever's: 2 s of sound every second, one unit vector a window. What is shorter than the 10 s
that CLAP hears is filled up as CLAP's own extractor does: repeated as often as it fits, then silence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solfa.core.errors import InputError
from solfa.encoders import clap, htsat, muq_mulan, towers
from solfa.encoders.torch_backbone import spec_of
from solfa.encoders.windowed import Grid, WindowedBackbone
from solfa.weights import path


class _Clap(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.audio_model, self.audio_projection = model.audio_model, model.audio_projection

    def forward(self, mels: Tensor, lengths_W: Tensor) -> tuple[None, Tensor]:
        pooled, _ = htsat.states_of(self.audio_model, mels)
        return None, F.normalize(self.audio_projection(pooled), dim=-1).unsqueeze(1)


class _MuLan(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.audio, self.audio_to_latents = model.mulan.audio, model.mulan.audio_to_latents

    def forward(self, windows_WN: Tensor, lengths_W: Tensor) -> tuple[None, Tensor]:
        return None, F.normalize(self.audio_to_latents(self.audio(windows_WN)), dim=-1).unsqueeze(1)


def load_clap(
    *,
    name: str,
    hub: str,
    source: str | Path | None = None,
    device: str = "cpu",
    window_s: float = 2.0,
    step_s: float = 1.0,
) -> WindowedBackbone:
    """CLAP's vectors of short windows, one every ``step_s``.

    Parameters
    ----------
    name, hub, source, device
        As ``text_backbone.load``; a LAION ``.pt`` file can be the source too. By default what ``solfa models pull
        clap`` fetched.
    window_s, step_s
        Seconds heard for one vector (10 at most), and from one to the next.

    Raises
    ------
    InputError, MissingExtra, MissingWeights, WeightsError
        As ``clap.load``.
    """
    if not 0 < step_s <= window_s <= clap.WINDOW_S:
        raise InputError(f"clap needs 0 < step_s <= window_s <= {clap.WINDOW_S:g}, got {step_s} and {window_s}.")
    towers.torch_for(name)
    network, extractor, file = clap.read(torch, path("clap") if source is None else towers.locate(str(source)))
    grid = Grid(sample_rate_hz=clap.RATE, window_s=window_s, step_s=step_s, hop_s=step_s, fill="front")
    dim, key = int(network.config.projection_dim), f"48k-{window_s:g}s-{step_s:g}s-v2"
    spec = spec_of("audio", name, source, file, key, dim, sample_rate_hz=clap.RATE, hop_s=step_s)
    return WindowedBackbone(_Clap(network), spec, towers.device_for(torch, device), grid, file, clap.front(extractor))


def load_muq_mulan(*, name: str, hub: str, source: str | Path | None = None, device: str = "cpu") -> WindowedBackbone:
    """MuQ-MuLan's vectors of 10 s windows; parameters and errors as ``muq_mulan.load``."""
    towers.torch_for(name)
    network, _, file = muq_mulan.read(torch, path(name) if source is None else towers.locate(str(source)))
    rate, window_s = 24000, muq_mulan.WINDOW_S
    grid = Grid(sample_rate_hz=rate, window_s=window_s, step_s=window_s, hop_s=window_s, fill="start")
    spec = spec_of("audio", name, source, file, "24k-10s-v1", network.dim, sample_rate_hz=rate, hop_s=window_s)
    # Its configurations lie elsewhere: from this file alone it cannot be rebuilt.
    return WindowedBackbone(_MuLan(network), spec, towers.device_for(torch, device), grid, None)
