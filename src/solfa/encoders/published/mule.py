"""MULE (McCallum et al., ISMIR 2022) as a backbone: 1728 numbers for each 3 s of sound at 16 kHz, one row a second.

The network is that of the package mule-torch (GPL-3.0, installed by its user), which reads the converted weights
(CC-BY-NC-4.0); no file of solfa holds any of it. Windows are taken by themselves, those of the original are cut out of
one spectrogram of the track: at the edges of a window the two differ by the reflected 64 ms.
"""

from typing import Any

import torch
from torch import Tensor, nn

from solfa.core.errors import InputError, need
from solfa.encoders.checkpoints import Checkpoint, published, reading
from solfa.encoders.windowed import Grid, WindowedBackbone, windowed

_WINDOW_S = 3.0


class _Timeline(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, windows_WN: Tensor, lengths_W: Tensor) -> tuple[None, Tensor]:
        return None, torch.stack(self.model.embed_timeline(windows_WN))


@published("audio", "mule")
def load(checkpoint: Checkpoint, *, step_s: float = 1.0) -> WindowedBackbone:
    """MULE: a folder with ``config.json`` and ``model.safetensors``; errors as ``text_backbone.load``.

    ``step_s`` is the time from one window to the next: 1 s as in GD-Retriever, 2 s as in the original.
    """
    package = need("mule_torch", f"audio backbone {checkpoint.name!r}", "pip install mule-torch")
    if not 0 < step_s <= _WINDOW_S:
        raise InputError(f"{checkpoint.name} needs 0 < step_s <= {_WINDOW_S:g}, got {step_s}.")
    file = checkpoint.file("a MULE model", ("model.safetensors",))
    with reading(file.parent, "a MULE model that mule-torch can load"):
        model = package.MuleModel.from_pretrained(model_dir=file.parent)
    grid = Grid(sample_rate_hz=int(model.sample_rate), window_s=_WINDOW_S, step_s=step_s)
    return windowed(checkpoint, _Timeline(model), file, f"16k-3s-{step_s:g}s-v1", int(model.embedding_dim), grid)
