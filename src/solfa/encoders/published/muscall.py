"""MusCALL's audio tower (Manco et al., ISMIR 2022) as a backbone: 19 states for 20 s of sound at 16 kHz.

CLIP's ResNet-50 over a mel spectrogram, with attention in place of the last pooling. The pooled vector is that of the
mean's query, as published; a state is the mean of what the four bands of frequency at its time ask for. Both are mapped
to the joint space. No weights are published: a checkpoint of one's own training is needed.

One thing differs from the public code: it cuts levels 100 dB below the loudest of a *batch*, here of a window.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solfa.core.errors import WeightsError
from solfa.encoders.checkpoints import Checkpoint, fill, load_tensors, published, reading
from solfa.encoders.windowed import Grid, WindowedBackbone, windowed

_RATE, _WINDOW_S, _HEADS, _STRIDE = 16000, 20.0, 8, 32


class MusCallNetwork(nn.Module):
    """The audio tower, with the tensor names of MusCALL's checkpoints."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.audio_backbone = _ResNet(state)
        out, into = state["audio_projection.weight"].shape
        self.audio_projection = nn.Linear(into, out, bias=False)

    def forward(self, windows_WN: Tensor, lengths_W: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled [shape=(W, D)] and states [shape=(W, 19, D)]."""
        first, rest = self.audio_backbone(windows_WN)
        return self.audio_projection(first), self.audio_projection(rest)


class _ResNet(nn.Module):
    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        width = len(state["audio_backbone.conv3.weight"])
        self.spec: Any = nn.Module()
        self.spec.spectrogram, self.spec.mel_scale = nn.Module(), nn.Module()
        for module, name in (("spectrogram", "window"), ("mel_scale", "fb")):
            tensor = torch.zeros_like(state[f"audio_backbone.spec.{module}.{name}"])
            getattr(self.spec, module).register_buffer(name, tensor)
        self.conv1 = nn.Conv2d(1, width // 2, 3, stride=2, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(n) for n in (width // 2, width // 2, width))
        into = width
        for i, depth in enumerate((3, 4, 6, 3)):
            planes, stride = width * 2**i, 1 if i == 0 else 2
            blocks = [
                _Bottleneck(into if b == 0 else planes * 4, planes, stride if b == 0 else 1) for b in range(depth)
            ]
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
            into = planes * 4
        places = len(state["audio_backbone.attnpool.positional_embedding"])
        self.attnpool = _AttentionPool(places, into, len(state["audio_backbone.attnpool.c_proj.bias"]))

    def forward(self, windows_WN: Tensor) -> tuple[Tensor, Tensor]:
        x = self._decibels(windows_WN).unsqueeze(1)
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = F.relu(norm(conv(x)))
        x = F.avg_pool2d(x, 2)
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
        bands = x.shape[2]
        out = self.attnpool(x.flatten(2).transpose(1, 2))
        return out[:, 0], out[:, 1:].unflatten(1, (bands, -1)).mean(dim=1)

    def _decibels(self, windows_WN: Tensor) -> Tensor:
        with torch.autocast(windows_WN.device.type, enabled=False):
            window: Tensor = self.spec.spectrogram.window
            bank: Tensor = self.spec.mel_scale.fb
            size = len(window)
            spectrum = torch.stft(windows_WN, size, size // 2, window=window, return_complex=True)
            power = (spectrum / window.square().sum().sqrt()).abs() ** 2
            level = 10 * torch.log10(torch.clamp(bank.T @ power, min=1e-10))
            return torch.maximum(level, level.amax(dim=(1, 2), keepdim=True) - 100)


class _Bottleneck(nn.Module):
    def __init__(self, into: int, planes: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1, self.bn1 = nn.Conv2d(into, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, planes * 4, 1, bias=False), nn.BatchNorm2d(planes * 4)
        self.downsample: nn.Module | None = None
        if stride > 1 or into != planes * 4:
            self.downsample = nn.Sequential(nn.Conv2d(into, planes * 4, 1, bias=False), nn.BatchNorm2d(planes * 4))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        out = self.bn3(self.conv3(self._thin(out)))
        return F.relu(out + (x if self.downsample is None else self.downsample(self._thin(x))))

    def _thin(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.stride) if self.stride > 1 else x


class _AttentionPool(nn.Module):
    def __init__(self, places: int, dim: int, out: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.zeros(places, dim))
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(dim, dim) for _ in range(3))
        self.c_proj = nn.Linear(dim, out)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + self.positional_embedding
        q, k, v = (p(x).unflatten(-1, (_HEADS, -1)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        out: Tensor = self.c_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


@published("audio", "muscall")
def load(checkpoint: Checkpoint) -> WindowedBackbone:
    """MusCALL's audio tower from a checkpoint file (``muscall:PATH``); errors as ``text_backbone.load``."""
    file = checkpoint.file("a MusCALL checkpoint")
    with reading(file, "a MusCALL checkpoint"):
        state = {key: value for key, value in load_tensors(file).items() if key.startswith("audio_")}
        state = {key: value for key, value in state.items() if not key.startswith("audio_ssl.")}
        network = MusCallNetwork(state)
    fill(network, state, file, "MusCALL")
    tower = network.audio_backbone
    hop = len(tower.spec.spectrogram.window) // 2 * _STRIDE
    times = (int(_WINDOW_S * _RATE) // (hop // _STRIDE) + 1) // _STRIDE
    bands, places = tower.spec.mel_scale.fb.shape[1] // _STRIDE, len(tower.attnpool.positional_embedding)
    if places != times * bands + 1:
        raise WeightsError(f"{file} has {places} places, expected {times * bands + 1}: those of 20 s of sound.")
    grid = Grid(sample_rate_hz=_RATE, window_s=_WINDOW_S, hop_s=hop / _RATE, fill="zeros")
    return windowed(checkpoint, network, file, "16k-20s-v1", network.audio_projection.out_features, grid)
