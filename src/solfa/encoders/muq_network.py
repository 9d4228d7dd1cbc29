"""The network of MuQ-MuLan (Zhu et al., 2025), forward only, with the tensor names of the published checkpoint.

Sound: log-mel at 100 Hz, two residual convolutions down to 25 Hz, a Conformer with rotary positions, a small
transformer, the mean over time. Text: XLM-RoBERTa, a small transformer, the mean over tokens. Both end in one linear
map to a shared space. The published package needs torchaudio and transformers 4 and fetches two more models when it is
built; this needs neither.

Shape letters: B batch, N samples, T frames, L tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank
from transformers.models.wav2vec2_conformer import modeling_wav2vec2_conformer

from solfa.encoders.masks import Stripes
from solfa.encoders.torch_backbone import states_at

SAMPLE_RATE_HZ = 24000
_FFT = 2048


class MuQMuLanNetwork(nn.Module):
    """Both towers.

    Parameters
    ----------
    config
        ``config.json`` of MuQ-MuLan.
    muq_config
        ``config.json`` of the MuQ model it builds on (sizes, mel statistics).
    text_config
        ``config.json`` of its XLM-RoBERTa.
    """

    def __init__(
        self, config: Mapping[str, Any], muq_config: Mapping[str, Any], text_config: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.mulan: Any = nn.Module()
        self.mulan.audio = _AudioTower(config, muq_config)
        self.mulan.text = _TextTower(config, text_config)
        dim = int(config["mulan"]["dim_latent"])
        self.mulan.audio_to_latents = nn.Linear(int(config["audio_transformer"]["dim"]), dim)
        self.mulan.text_to_latents = nn.Linear(int(config["text_transformer"]["dim"]), dim)
        self.dim = dim

    def text(self, ids_BL: Tensor) -> Tensor:
        """Unit vectors of texts of one length, [shape=(B, D)].

        The published model averages over padding too; here a batch holds no padding.
        """
        return F.normalize(self.mulan.text_to_latents(self.mulan.text(ids_BL)), dim=-1)


class _AudioTower(nn.Module):
    def __init__(self, config: Mapping[str, Any], muq_config: Mapping[str, Any]) -> None:
        super().__init__()
        self.model: Any = nn.Module()
        self.model.model = MuQ(muq_config, int(config["audio_model"].get("use_layer_idx", -1)))
        sizes = config["audio_transformer"]
        self.proj = nn.Linear(int(config["audio_model"]["model_dim"]), int(sizes["dim"]))
        self.transformer = _Transformer(sizes)

    def forward(self, samples_BN: Tensor) -> Tensor:
        hidden: Tensor = self.transformer(self.proj(self.model.model(samples_BN)))
        return hidden.mean(dim=-2)


class _TextTower(nn.Module):
    def __init__(self, config: Mapping[str, Any], text_config: Mapping[str, Any]) -> None:
        super().__init__()
        library: Any = transformers
        known = {key: value for key, value in text_config.items() if key not in ("architectures", "model_type")}
        self.model = library.XLMRobertaModel(library.XLMRobertaConfig(**known))
        sizes, given = config["text_transformer"], config["text_model"].get("model_dim")
        mapped = given is not None and int(given) != int(sizes["dim"])
        self.proj = nn.Linear(int(given), int(sizes["dim"])) if mapped else nn.Identity()
        self.transformer = _Transformer(sizes)

    def forward(self, ids_BL: Tensor) -> Tensor:
        hidden = self.model(input_ids=ids_BL, attention_mask=torch.ones_like(ids_BL)).last_hidden_state
        out: Tensor = self.transformer(self.proj(hidden))
        return out.mean(dim=-2)


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
        known = {
            k: v for k, v in config["w2v2_config"].items() if k not in ("architectures", "model_type", "torch_dtype")
        }
        known |= {"num_hidden_layers": int(config["encoder_depth"]), "hidden_size": dim}
        settings = library.Wav2Vec2ConformerConfig(**known)
        settings._attn_implementation = "eager"
        made: Any = modeling_wav2vec2_conformer
        self.conformer = made.Wav2Vec2ConformerEncoder(settings)
        # Made by the library, used by none of its position embeddings, and named differently by each of its releases.
        self.conformer.pos_conv_embed = nn.Identity()
        self.layer = layer % (len(self.conformer.layers) + 1)

    def drop_unread(self) -> None:
        """Leave out the layers after the one whose input is read: they cost time, and a trainer finds no gradient."""
        self.conformer.layers = self.conformer.layers[: self.layer + 1]

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
    """Two 3x3 convolutions beside one, halving time and frequency."""

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


class _Transformer(nn.Module):
    """Pre-norm blocks with normalised queries and keys and gated feed-forward layers."""

    def __init__(self, sizes: Mapping[str, Any]) -> None:
        super().__init__()
        dim, heads, head = int(sizes["dim"]), int(sizes["heads"]), int(sizes["dim_head"])
        inner = int(dim * int(sizes["ff_mult"]) * 2 / 3)
        self.layers: Any = nn.ModuleList(
            nn.ModuleList([_Attention(dim, heads, head), _feed_forward(dim, inner)])
            for _ in range(int(sizes["tf_depth"]))
        )

    def forward(self, x: Tensor) -> Tensor:
        for attention, feed_forward in self.layers:
            x = attention(x) + x
            x = feed_forward(x) + x
        return x


class _Norm(nn.Module):
    """Layer norm with a learned scale and no bias."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.learned_gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.learned_gamma)


class _Attention(nn.Module):
    SCALE = 8.0

    def __init__(self, dim: int, heads: int, head: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = _Norm(dim)
        self.to_q = nn.Linear(dim, heads * head, bias=False)
        self.to_kv = nn.Linear(dim, heads * head * 2, bias=False)
        self.q_scale = nn.Parameter(torch.ones(head))
        self.k_scale = nn.Parameter(torch.ones(head))
        self.to_out = nn.Sequential(nn.Linear(heads * head, dim, bias=False), nn.Dropout(0.0))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (self.to_q(x), *self.to_kv(x).chunk(2, dim=-1))
        )
        q, k = F.normalize(q, dim=-1) * self.q_scale, F.normalize(k, dim=-1) * self.k_scale
        mixed = (q @ k.transpose(-1, -2) * self.SCALE).softmax(dim=-1) @ v
        out: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return out


class _Gate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, dim=-1)
        return F.gelu(gate) * value


def _feed_forward(dim: int, inner: int) -> nn.Sequential:
    return nn.Sequential(
        _Norm(dim), nn.Linear(dim, inner * 2, bias=False), _Gate(), nn.Dropout(0.0), nn.Linear(inner, dim, bias=False)
    )
