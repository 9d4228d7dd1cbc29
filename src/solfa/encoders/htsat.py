"""HTS-AT (Chen et al., ICASSP 2022) as a body: 32 states for a window, the mean over its two rows of frequency.

CLAP's tower of transformers or LAION hears 48 kHz, in windows of 10 s, by CLAP's own extractor, which repeats shorter
ones as often as they fit and ends in silence. A checkpoint of HTS-AT's authors (FineLAP's other audio encoder) hears
32 kHz, in windows of 10 s, by the window function and mel filters that it holds itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from solfa.core.types import FloatArray
from solfa.encoders import clap, laion, towers
from solfa.encoders.torch_backbone import spec_of
from solfa.encoders.windowed import Grid, WindowedBackbone
from solfa.weights import path

_HOP = 320  # of the front ends that checkpoints hold
_AUTHORS, _AUTHORS_RATE = "sed_model.", 32000


class Ears(nn.Module):
    """HTS-AT with its front end: pooled [shape=(W, D)] and 32 states [shape=(W, 32, D)] of windows of samples."""

    def __init__(self, config: Mapping[str, Any], size: int) -> None:
        super().__init__()
        library: Any = transformers
        self.audio_model = library.ClapAudioModel(library.ClapAudioConfig(**config))
        self.stripes = clap.striped(self.audio_model)
        self.register_buffer("window", torch.zeros(size))
        self.register_buffer("bank", torch.zeros(size // 2 + 1, config["num_mel_bins"]))

    def forward(self, windows_WN: Tensor, lengths_W: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As ``windowed.WindowedNetwork`` asks for it."""
        return states_of(self.audio_model, self._mels(windows_WN))

    def _mels(self, windows_WN: Tensor) -> Tensor:
        window, bank = self.get_buffer("window"), self.get_buffer("bank")
        with torch.autocast(windows_WN.device.type, enabled=False):
            spectrum = torch.stft(windows_WN, len(window), _HOP, window=window, return_complex=True)
            mels = (spectrum.abs() ** 2).transpose(1, 2) @ bank
            return (10 * torch.log10(mels.clamp(min=1e-10))).unsqueeze(1)


class _Tower(nn.Module):
    """CLAP's, over mels that its extractor makes."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.audio_model = model.audio_model
        self.stripes = clap.striped(self.audio_model)

    def forward(self, mels: Tensor, lengths_W: Tensor) -> tuple[Tensor, Tensor]:
        return states_of(self.audio_model, mels)


def states_of(audio_model: Any, mels: Tensor) -> tuple[Tensor, Tensor]:
    """What the tower pools, and its states."""
    out = clap.hear(audio_model, mels)
    return out.pooler_output, out.last_hidden_state.mean(dim=2).transpose(1, 2)


def ears(given: Mapping[str, Tensor], prefix: str) -> tuple[Ears, dict[str, Tensor]]:
    """The network that fits a checkpoint's tensors of this prefix, and those tensors under its names."""
    own = {f"audio_branch.{k.removeprefix(prefix)}": v for k, v in given.items() if k.startswith(prefix)}
    state = laion.rename(own) | {
        # The Fourier transform's part at 0 Hz is the window itself.
        "window": given[f"{prefix}spectrogram_extractor.stft.conv_real.weight"][0, 0],
        "bank": given[f"{prefix}logmel_extractor.melW"],
    }
    return Ears(laion.audio_config(state), len(state["window"])), state


def hop_s(audio: Any, window_s: float) -> float:
    """Seconds from one state of a window to the next; ``audio`` is the tower's configuration."""
    rows = audio.spec_size // audio.num_mel_bins
    return window_s / int(audio.spec_size // audio.patch_size // 2 ** (len(audio.depths) - 1) * rows)


def load(*, name: str, hub: str, source: str | Path | None = None, device: str = "cpu") -> WindowedBackbone:
    """HTS-AT's states before any projection; parameters and errors as ``clap.load_windows``.

    ``source`` can also be a checkpoint of HTS-AT's authors such as ``HTSAT_AudioSet_Saved_1.ckpt``.
    """
    place = path("clap") if source is None else towers.locate(str(source))
    loaded = towers.load_tensors(place) if place.is_file() else None
    authors = None if loaded is None else _authors(place, loaded)
    body: Any = authors
    fill: Literal["repeat", "front"]
    front: Callable[[list[FloatArray]], FloatArray]
    if authors:
        rate, fill, front, file = _AUTHORS_RATE, "repeat", np.stack, place
    else:
        network, extractor, file = clap.read(place, loaded)
        body, rate, fill, front = _Tower(network), clap.RATE, "front", clap.front(extractor)
    config, window_s = body.audio_model.config, clap.WINDOW_S
    step_s, key = hop_s(config, window_s), f"{rate // 1000}k-10s-v2"
    grid = Grid(sample_rate_hz=rate, window_s=window_s, step_s=window_s, hop_s=step_s, fill=fill)
    spec = spec_of("audio", name, source, file, key, int(config.hidden_size), sample_rate_hz=rate, hop_s=step_s)
    return WindowedBackbone(body, spec, towers.device_for(device), grid, file, front)


def _authors(file: Path, loaded: dict[str, Any]) -> Ears | None:
    """The network of a checkpoint of HTS-AT's authors; None if the file is not one."""
    with towers.reading(file, "a checkpoint of HTS-AT or CLAP"):
        state = loaded.get("state_dict", loaded)
        if not any(key.startswith(_AUTHORS) for key in state):
            return None
        network, own = ears(state, _AUTHORS)
    towers.fill(network, own, file, "HTS-AT")
    return network
