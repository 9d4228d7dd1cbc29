"""EAT (Chen et al., IJCAI 2024) as a backbone, the way FineLAP uses it: 64 states for 10.24 s of sound at 16 kHz.

A vision transformer over patches of 16 x 16 of a Kaldi filter bank (128 bands, 10 ms). A state is the mean of the eight
patches above each other, 0.16 s; the pooled vector is that of the class token.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solfa.core.errors import WeightsError
from solfa.encoders.checkpoints import Checkpoint, fill, load_tensors, published, reading
from solfa.encoders.windowed import Grid, Stripes, WindowedBackbone, windowed

_RATE, _FRAME, _SHIFT, _FFT = 16000, 400, 160, 512
_MELS, _ROWS, _PATCH, _HEAD = 128, 1024, 16, 64
_MEAN, _STD = -4.268, 4.569
_USED = re.compile(r"(local_encoder\.proj|extra_tokens|fixed_positional_encoder\.positions|pre_norm|blocks)\b")


class EatNetwork(nn.Module):
    """The network, with the tensor names of its Hugging Face checkpoints."""

    def __init__(self, dim: int, depth: int, hidden: int, positions: int) -> None:
        super().__init__()
        self.local_encoder: Any = nn.Module()
        self.local_encoder.proj = nn.Conv2d(1, dim, _PATCH, _PATCH)
        self.extra_tokens = nn.Parameter(torch.zeros(1, 1, dim))
        self.fixed_positional_encoder: Any = nn.Module()
        self.fixed_positional_encoder.register_buffer("positions", torch.zeros(1, positions, dim))
        self.pre_norm = nn.LayerNorm(dim, eps=1e-6)
        self.blocks = nn.Sequential(*(_Block(dim, hidden) for _ in range(depth)))
        self.fbank, self.stripes = KaldiFbank(), Stripes(time=1, frequency=2)

    def forward(self, windows_WN: Tensor, lengths_W: Tensor) -> tuple[Tensor, Tensor]:
        """The class token [shape=(W, D)] and the states [shape=(W, 64, D)]."""
        mel = self.stripes((self.fbank(windows_WN, lengths_W) - _MEAN) / (2 * _STD))
        patches = self.local_encoder.proj(mel.unsqueeze(1)).flatten(2).transpose(1, 2)
        x = patches + self.fixed_positional_encoder.positions[:, : patches.shape[1]]
        x = torch.cat([self.extra_tokens.expand(len(x), -1, -1), x], dim=1)
        x = self.blocks(self.pre_norm(x))
        return x[:, 0], x[:, 1:].unflatten(1, (-1, _MELS // _PATCH)).mean(dim=2)


class _Block(nn.Module):
    """Attention and feed-forward, each normalised after it is added."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.heads = max(1, dim // _HEAD)
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn: Any = nn.Module()
        self.attn.qkv, self.attn.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp: Any = nn.Module()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.attn.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = self.norm1(x + self.attn.proj(mixed))
        out: Tensor = self.norm2(x + self.mlp.fc2(F.gelu(self.mlp.fc1(x))))
        return out


class KaldiFbank(nn.Module):
    """Log filter banks as Kaldi makes them, without dither [shape=(W, 1024, 128)]; zeros after the end of the sound."""

    bank: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Triangles straight on the mel scale; the lowest are narrower than a bin, and some of them empty, as in Kaldi.
        mels = 1127 * np.log1p(np.linspace(0, _RATE / 2, _FFT // 2 + 1) / 700)[:, None]
        edges = np.linspace(1127 * np.log1p(20 / 700), mels[-1, 0], _MELS + 2)
        low, centre, high = edges[:-2], edges[1:-1], edges[2:]
        bank = np.maximum(0.0, np.minimum((mels - low) / (centre - low), (high - mels) / (high - centre)))
        self.register_buffer("bank", torch.from_numpy(bank.astype(np.float32)), persistent=False)
        self.register_buffer("window", torch.hann_window(_FRAME, periodic=False), persistent=False)

    def forward(self, windows_WN: Tensor, lengths_W: Tensor) -> Tensor:
        """Filter banks of windows at 16 kHz, of which the first ``lengths_W`` samples are sound."""
        with torch.autocast(windows_WN.device.type, enabled=False):
            # The mean that the published code takes off the sound cancels with each frame's own.
            frames = windows_WN.float().unfold(1, _FRAME, _SHIFT)
            frames = frames - frames.mean(dim=2, keepdim=True)
            before = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
            power = torch.fft.rfft((frames - 0.97 * before) * self.window, _FFT).abs() ** 2
            rows = torch.log(torch.clamp(power @ self.bank, min=torch.finfo(torch.float32).eps))
            real = torch.arange(rows.shape[1], device=rows.device) * _SHIFT + _FRAME <= lengths_W.unsqueeze(1)
            return F.pad(rows * real.unsqueeze(2), (0, 0, 0, _ROWS - rows.shape[1]))


@published("audio", "eat")
def load(checkpoint: Checkpoint) -> WindowedBackbone:
    """EAT: a folder or file with the tensors of its Hugging Face checkpoints, or of its fairseq ones.

    A fairseq ``.pt`` file holds configuration objects that cannot be read safely; save its ``model`` alone.
    Errors as ``text_backbone.load``.
    """
    file = checkpoint.file("an EAT model")
    with reading(file, "an EAT checkpoint"):
        state = _names(load_tensors(file))
        dim, positions = len(state["local_encoder.proj.bias"]), state["fixed_positional_encoder.positions"].shape[1]
        hidden, depth = len(state["blocks.0.mlp.fc1.bias"]), sum(key.endswith("attn.qkv.bias") for key in state)
        network = EatNetwork(dim, depth, hidden, positions)
    if positions * _PATCH * _PATCH < _ROWS * _MELS:
        raise WeightsError(f"{file} has places for {positions} patches, expected {_ROWS * _MELS // _PATCH**2} or more.")
    fill(network, state, file, "EAT")
    grid = Grid(sample_rate_hz=_RATE, window_s=10.24, hop_s=0.16, fill="zeros")
    return windowed(checkpoint, network, file, "16k-10.24s-v1", dim, grid)


def _names(loaded: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors that are used, under their Hugging Face names; heads, decoders and teachers are left out."""
    state = {}
    for key, value in loaded.items():
        name = key.removeprefix("model.").removeprefix("modality_encoders.IMAGE.")
        name = name.replace("context_encoder.norm.", "pre_norm.")
        if _USED.match(name):
            state[name] = value
    return state
