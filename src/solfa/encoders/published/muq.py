"""MuQ (Zhu et al., 2025) and MusicFM (Won et al., ICASSP 2024) as backbones: 25 states a second from sound at 24 kHz.

They are one network trained on other targets, with the tensor names of the published checkpoints: log-mel at 100 Hz,
two residual convolutions down to 25 Hz, a Conformer with rotary positions. MuQ's package needs torchaudio and
transformers 4; this needs neither.

Shape letters: B batch, N samples, T frames, D dimensions.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank
from transformers.models.wav2vec2_conformer import modeling_wav2vec2_conformer

from solfa.core.errors import WeightsError
from solfa.encoders import checkpoints
from solfa.encoders.checkpoints import Checkpoint, fill, library_config, load_tensors, published, reading
from solfa.encoders.torch_backbone import layer_of, states_at
from solfa.encoders.windowed import Grid, Stripes, WindowedBackbone, windowed

SAMPLE_RATE_HZ = 24000
_FFT, _MEL_HOP, _HOP_S = 2048, 240, 0.04
# Of training only: targets, quantisers, losses; and positions that rotary attention does not use.
UNUSED = re.compile(
    r"(^|\.)model\.(rvq|quantizer_\w+|preprocessor_\w+|linear|loss|cls_token|recon_\w+)\b|\.pos_conv_embed\."
)


class MuQ(nn.Module):
    """MuQ's encoder, and MusicFM's: samples at 24 kHz to the hidden states of one layer, 25 a second."""

    bank: Tensor
    window: Tensor

    def __init__(self, config: Mapping[str, Any], layer: int) -> None:
        super().__init__()
        library: Any = transformers
        mels, dim = int(config["n_mels"]), int(config["encoder_dim"])
        stat = config["stat"]
        self.mean, self.std = float(stat["melspec_2048_mean"]), float(stat["melspec_2048_std"])
        self.hop = int(config["hop_length"])
        bank = mel_filter_bank(_FFT // 2 + 1, mels, 0.0, SAMPLE_RATE_HZ / 2, SAMPLE_RATE_HZ, norm=None, mel_scale="htk")
        self.register_buffer("bank", torch.from_numpy(np.ascontiguousarray(bank.T, np.float32)), persistent=False)
        self.register_buffer("window", torch.hann_window(_FFT), persistent=False)
        self.conv, self.stripes = _Subsampling(int(config["conv_dim"]), dim, mels), Stripes(time=2, frequency=1)
        depth = int(config["encoder_depth"])
        kind = library.Wav2Vec2ConformerConfig
        settings = library_config(kind, config["w2v2_config"], num_hidden_layers=depth, hidden_size=dim)
        settings._attn_implementation = "eager"
        made: Any = modeling_wav2vec2_conformer
        self.conformer = made.Wav2Vec2ConformerEncoder(settings)
        # Made by the library, used by none of its position embeddings, and named differently by each of its releases.
        self.conformer.pos_conv_embed = nn.Identity()
        self.layer = layer % (len(self.conformer.layers) + 1)

    def forward(self, samples_BN: Tensor) -> Tensor:
        hidden: Tensor = self.conv(self.stripes((self._log_mel(samples_BN) - self.mean) / self.std))
        return states_at(self.layer, self.conformer.layers, lambda: self.conformer(hidden))

    def _log_mel(self, samples_BN: Tensor) -> Tensor:
        """Decibels, [shape=(B, mels, T)], 100 frames a second, the one past the end left out."""
        with torch.autocast(samples_BN.device.type, enabled=False):
            spectrum = torch.stft(
                samples_BN, _FFT, self.hop, window=self.window, center=True, pad_mode="reflect", return_complex=True
            )
            power = spectrum.real**2 + spectrum.imag**2
            return 10.0 * torch.log10(torch.clamp(self.bank @ power, min=1e-10))[..., :-1]


class _Subsampling(nn.Module):
    def __init__(self, width: int, dim: int, mels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(_Residual(1, width), _Residual(width, width))
        self.linear = nn.Linear(width * mels // 4, dim)

    def forward(self, mel_BFT: Tensor) -> Tensor:
        x = self.conv(mel_BFT.unsqueeze(1))
        out: Tensor = self.linear(x.permute(0, 3, 1, 2).flatten(2))
        return out


class _Residual(nn.Module):
    """Two 3x3 convolutions parallel to one, halving time and frequency."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, stride=2)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(channels, width, 3, padding=1, stride=2)
        self.bn3 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.bn3(self.conv3(x)))


class _Samples(nn.Module):
    def __init__(self, model: MuQ) -> None:
        super().__init__()
        self.model = model

    def forward(self, windows_WN: Tensor, lengths_W: Tensor) -> tuple[None, Tensor]:
        return None, self.model(windows_WN)


@published("audio", "muq")
def load_muq(checkpoint: Checkpoint, *, layer: int = -1, window_s: float = 10.0) -> WindowedBackbone:
    """MuQ: a folder with ``config.json`` and the weights, as the package muq saves it.

    ``checkpoint``: and errors as ``text_backbone.load``; ``layer``: whose states: 0 is what goes into the first layer,
    -1 what comes out of the last; ``window_s``: seconds analyzed at once.
    """
    file = checkpoint.file("a MuQ model")
    state = load_tensors(file)
    return _backbone(checkpoint, file, state, checkpoints.config(file.parent / "config.json"), layer, window_s)


@published("audio", "musicfm")
def load_musicfm(checkpoint: Checkpoint, *, layer: int = 7, window_s: float = 10.0) -> WindowedBackbone:
    """MusicFM: a folder with ``pretrained_msd.pt`` and ``msd_stats.json`` (or ``fma``), or the ``.pt`` file.

    Parameters and errors as ``load_muq``.
    """
    file = checkpoint.file("a MusicFM checkpoint", ("pretrained_msd.pt", "pretrained_fma.pt"))
    stats = file.with_name(file.stem.removeprefix("pretrained_") + "_stats.json")
    state = load_tensors(file)
    with reading(file, "a MusicFM checkpoint"):
        sizes = _sizes(state) | {"stat": checkpoints.config(stats)}
    return _backbone(checkpoint, file, state, sizes, layer, window_s)


def _sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The configuration of a MusicFM checkpoint, read off its tensors.

    Heads of 64 are those of facebook/wav2vec2-conformer-rope-large-960h-ft, which its code takes all else from.
    """
    first = "model.conformer.layers.0"
    dim, flat = state["model.conv.linear.weight"].shape
    width = len(state["model.conv.conv.0.conv1.weight"])
    layers = {key.split(".")[3] for key in state if key.startswith("model.conformer.layers.")}
    return {
        "hop_length": 240,
        "n_mels": flat * 4 // width,
        "conv_dim": width,
        "encoder_dim": dim,
        "encoder_depth": len(layers),
        "w2v2_config": {
            "hidden_act": "swish",
            "intermediate_size": len(state[f"{first}.ffn1.intermediate_dense.weight"]),
            "num_attention_heads": max(1, dim // 64),
            "position_embeddings_type": "rotary",
            "conv_depthwise_kernel_size": state[f"{first}.conv_module.depthwise_conv.weight"].shape[-1],
            "layer_norm_eps": 1e-5,
        },
    }


def _backbone(
    checkpoint: Checkpoint, file: Path, state: Mapping[str, Tensor], config: Mapping[str, Any], layer: int,
    window_s: float,
) -> WindowedBackbone:  # fmt: skip
    with reading(file, f"a checkpoint of {checkpoint.name} with its configuration"):
        depth, dim = int(config["encoder_depth"]), int(config["encoder_dim"])
        layer = layer_of(checkpoint.name, layer, depth)
        model = MuQ(config, layer)
    if model.hop != _MEL_HOP:
        raise WeightsError(f"the configuration of {file} says hop_length = {model.hop}, expected {_MEL_HOP}.")
    network = _Samples(model)
    fill(network, {key: value for key, value in state.items() if not UNUSED.search(key)}, file, checkpoint.name)
    # Layers after the one whose input is read cost time, and a trainer finds no gradient.
    model.conformer.layers = model.conformer.layers[: layer + 1]
    grid = Grid(sample_rate_hz=SAMPLE_RATE_HZ, window_s=window_s, hop_s=_HOP_S)
    return windowed(checkpoint, network, file, f"24k-{window_s:g}s-layer{layer}-v1", dim, grid)
