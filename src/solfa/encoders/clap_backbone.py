"""What joint models and HTS-AT hear, as bodies: windows of CLAP and MuQ-MuLan, states of CLAP's HTS-AT.

CLAP's windows are GD-Retriever's: 2 s of sound every second, each repeated to the 10 s that CLAP hears, one unit vector
a window. HTS-AT (Chen et al., ICASSP 2022) has 32 states for 10 s; the mean over its two rows of frequency.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solfa.core.errors import InputError
from solfa.core.types import FloatArray
from solfa.encoders import clap, muq_mulan, towers
from solfa.encoders.torch_backbone import spec_of
from solfa.encoders.windowed import Grid, WindowedBackbone
from solfa.weights import path

_RATE = 48000


class _Clap(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.audio_model, self.audio_projection = model.audio_model, model.audio_projection

    def forward(self, mels: Tensor, lengths_W: Tensor) -> tuple[None, Tensor]:
        hidden = self.audio_model(input_features=mels, is_longer=_never(mels)).pooler_output
        return None, F.normalize(self.audio_projection(hidden), dim=-1).unsqueeze(1)


class _Htsat(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.audio_model = model.audio_model

    def forward(self, mels: Tensor, lengths_W: Tensor) -> tuple[Tensor, Tensor]:
        out = self.audio_model(input_features=mels, is_longer=_never(mels))
        return out.pooler_output, out.last_hidden_state.mean(dim=2).transpose(1, 2)


class _MuLan(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.audio, self.audio_to_latents = model.mulan.audio, model.mulan.audio_to_latents

    def forward(self, windows_WN: Tensor, lengths_W: Tensor) -> tuple[None, Tensor]:
        return None, F.normalize(self.audio_to_latents(self.audio(windows_WN)), dim=-1).unsqueeze(1)


def _never(mels: Tensor) -> Tensor:
    # Fused checkpoints ask whether a window is longer than 10 s; none is.
    return torch.zeros((len(mels), 1), dtype=torch.bool, device=mels.device)


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
    network, front, file = _clap(name, source)
    grid = Grid(sample_rate_hz=_RATE, window_s=window_s, step_s=step_s, hop_s=step_s)
    dim, key = int(network.config.projection_dim), f"48k-{window_s:g}s-{step_s:g}s-v1"
    spec = spec_of("audio", name, source, file, key, dim, sample_rate_hz=_RATE, hop_s=step_s)
    return WindowedBackbone(_Clap(network), spec, towers.device_for(torch, device), grid, file, front)


def load_htsat(*, name: str, hub: str, source: str | Path | None = None, device: str = "cpu") -> WindowedBackbone:
    """The states of CLAP's audio tower before its projection; parameters and errors as ``load_clap``."""
    network, front, file = _clap(name, source)
    audio = network.config.audio_config
    hop_s = clap.WINDOW_S / htsat_states(audio)
    grid = Grid(sample_rate_hz=_RATE, window_s=clap.WINDOW_S, step_s=clap.WINDOW_S, hop_s=hop_s)
    dim = int(audio.hidden_size)
    spec = spec_of("audio", name, source, file, "48k-10s-v1", dim, sample_rate_hz=_RATE, hop_s=hop_s)
    return WindowedBackbone(_Htsat(network), spec, towers.device_for(torch, device), grid, file, front)


def load_muq_mulan(*, name: str, hub: str, source: str | Path | None = None, device: str = "cpu") -> WindowedBackbone:
    """MuQ-MuLan's vectors of 10 s windows; parameters and errors as ``muq_mulan.load``."""
    towers.torch_for(name)
    network, _, file = muq_mulan.read(torch, path(name) if source is None else towers.locate(str(source)))
    rate, window_s = 24000, muq_mulan.WINDOW_S
    grid = Grid(sample_rate_hz=rate, window_s=window_s, step_s=window_s, hop_s=window_s, fill="start")
    spec = spec_of("audio", name, source, file, "24k-10s-v1", network.dim, sample_rate_hz=rate, hop_s=window_s)
    # Its configurations lie elsewhere: from this file alone it cannot be rebuilt.
    return WindowedBackbone(_MuLan(network), spec, towers.device_for(torch, device), grid, None)


def _clap(name: str, source: str | Path | None) -> tuple[Any, Callable[[list[FloatArray]], FloatArray], Path]:
    """Network, feature extractor as a function of windows, and weight file."""
    towers.torch_for(name)
    network, extractor, file = clap.read(torch, path("clap") if source is None else towers.locate(str(source)))

    def front(windows: list[FloatArray]) -> FloatArray:
        made = extractor(windows, sampling_rate=_RATE, return_tensors="np")
        return np.asarray(made["input_features"], np.float32)

    return network, front, file


def htsat_states(audio: Any) -> int:
    """How many states HTS-AT has for a window."""
    rows = audio.spec_size // audio.num_mel_bins
    return int(audio.spec_size // audio.patch_size // 2 ** (len(audio.depths) - 1) * rows)
