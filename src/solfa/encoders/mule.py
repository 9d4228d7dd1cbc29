"""MULE (McCallum et al., ISMIR 2022) as a body: 1728 numbers for each 3 s of sound at 16 kHz, one row a second.

The network is that of the package mule-torch (GPL-3.0, installed by its user), which reads the converted weights
(CC-BY-NC-4.0); no file of solfa holds any of it. Windows are heard on their own, those of the original are cut out of
one spectrogram of the track: at the edges of a window the two differ by the reflected 64 ms.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from solfa.core.errors import InputError, MissingExtra
from solfa.encoders import towers
from solfa.encoders.torch_backbone import place, spec_of, weights_in
from solfa.encoders.windowed import Grid, WindowedBackbone

_WINDOW_S = 3.0


class _Body(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, windows_WN: Tensor, lengths_W: Tensor) -> tuple[None, Tensor]:
        return None, torch.stack(self.model.embed_timeline(windows_WN))


def load(
    *, name: str, hub: str, source: str | Path | None = None, device: str = "cpu", step_s: float = 1.0
) -> WindowedBackbone:
    """MULE: a folder with ``config.json`` and ``model.safetensors``; parameters and errors as ``text_backbone.load``.

    ``step_s`` is the time from one window to the next: 1 s as in GD-Retriever, 2 s as in the original.
    """
    try:
        package: Any = import_module("mule_torch")
    except ImportError as error:
        raise MissingExtra(f"audio backbone {name!r}", "pip install mule-torch") from error
    if not 0 < step_s <= _WINDOW_S:
        raise InputError(f"{name} needs 0 < step_s <= {_WINDOW_S:g}, got {step_s}.")
    where = place(source, hub)
    file = weights_in(where, "a MULE model", ("model.safetensors",))
    with towers.reading(file.parent, "a MULE model that mule-torch can load"):
        model = package.MuleModel.from_pretrained(model_dir=file.parent)
    rate, dim = int(model.sample_rate), int(model.embedding_dim)
    grid = Grid(sample_rate_hz=rate, window_s=_WINDOW_S, step_s=step_s, hop_s=step_s)
    spec = spec_of("audio", name, source, file, f"16k-3s-{step_s:g}s-v1", dim, sample_rate_hz=rate, hop_s=step_s)
    return WindowedBackbone(_Body(model), spec, towers.device_for(device), grid, file)
