"""MuQ-MuLan (Zhu et al., 2025): music and English or Chinese text in one space. Needs torch and transformers.

Sound: MuQ, a small transformer, the mean over time. Text: XLM-RoBERTa, a small transformer, the mean over tokens. Both
end in one linear map to a shared space; tensor names are those of the published checkpoint. Its package fetches two
more models when it is built; this fetches nothing.

The weights are CC-BY-NC-4.0: not for commercial use. Sound is taken at 24 kHz in windows of 10 s from the start; a
shorter one at the end is filled up from the start of the stretch, as published. One window is one frame. A text of more
than 512 tokens is cut between clauses; each piece is one frame, and all count by their length.

Shape letters: B batch, N samples, T frames, L tokens, D dimensions.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from tokenizers import Tokenizer
from torch import Tensor, nn

from solfa.core.errors import InputError
from solfa.core.types import JointModel
from solfa.encoders import checkpoints
from solfa.encoders.checkpoints import Checkpoint, fill, library_config, load_tensors, published, reading
from solfa.encoders.joint import joint_model
from solfa.encoders.published.muq import SAMPLE_RATE_HZ, UNUSED, MuQ
from solfa.encoders.text_backbone import TextTower
from solfa.encoders.tokens import tokenizer
from solfa.encoders.windowed import Grid, WindowedBackbone, windowed
from solfa.weights import path

MAX_TOKENS = 512
_KEY, _GRID = "24k-10s-v1", Grid(sample_rate_hz=SAMPLE_RATE_HZ, window_s=10.0, fill="start")
# Of training only: losses, an unused mixture of layers.
_UNUSED = re.compile(r"^mulan\.(contrast|multi_layer_contrastive_learning|audio\.aggregator)\b|\.position_ids$")


@published("model", "muq-mulan")
def load(checkpoint: Checkpoint) -> JointModel:
    """The MuQ-MuLan model. Raises as ``clap.load``.

    ``checkpoint``: a folder, or a Hugging Face id in the local cache, with ``config.json`` and ``pytorch_model.bin`` or
    ``model.safetensors``, and, where they differ from the published ones, ``muq/config.json`` and
    ``xlm-roberta-base/``; by default what ``solfa models pull muq-mulan`` fetched.
    """
    network, words, file = read(checkpoint)
    # Its configurations are elsewhere: from this file alone it cannot be rebuilt.
    audio = windowed(checkpoint, _Vectors(network), file, _KEY, network.dim, _GRID, rebuilt=False)
    tower = TextTower(_text_vectors, text=network.mulan.text, text_to_latents=network.mulan.text_to_latents)
    return joint_model(audio, tower, words, MAX_TOKENS)


@published("audio", "muq-mulan")
def load_windows(checkpoint: Checkpoint) -> WindowedBackbone:
    """The vectors of 10 s windows; weights and errors as ``load``."""
    network, _, file = read(checkpoint)
    return windowed(checkpoint, _Vectors(network), file, _KEY, network.dim, _GRID, rebuilt=False)


def read(checkpoint: Checkpoint) -> "tuple[MuQMuLanNetwork, Tokenizer, Path]":
    """Network, tokenizer and weight file; raises as ``load``."""
    folder = checkpoint.place()
    if not folder.is_dir():
        raise InputError(f"{str(folder)!r} is not a folder. Expected one with config.json and pytorch_model.bin.")
    file = checkpoint.file("a MuQ-MuLan model", place=folder)
    muq = folder / "muq" if (folder / "muq").is_dir() else path("muq-config")
    text = folder / "xlm-roberta-base" if (folder / "xlm-roberta-base").is_dir() else path("xlm-roberta-tokenizer")
    configs = [checkpoints.config(place / "config.json") for place in (folder, muq, text)]
    with reading(folder, "a MuQ-MuLan model"):
        network = MuQMuLanNetwork(*configs)
    state = {k: v for k, v in load_tensors(file).items() if not (UNUSED.search(k) or _UNUSED.search(k))}
    fill(network, state, file, "MuQ-MuLan")
    return network, tokenizer(text), file


class _Vectors(nn.Module):
    """The audio tower: one unit vector a window."""

    def __init__(self, model: "MuQMuLanNetwork") -> None:
        super().__init__()
        self.audio, self.audio_to_latents = model.mulan.audio, model.mulan.audio_to_latents

    def forward(self, windows_WN: Tensor, lengths_W: Tensor) -> tuple[None, Tensor]:
        pooled = self.audio(self.audio.model.model(windows_WN))
        return None, F.normalize(self.audio_to_latents(pooled), dim=-1).unsqueeze(1)


class MuQMuLanNetwork(nn.Module):
    """Both towers.

    ``config``: ``config.json`` of MuQ-MuLan; ``muq_config``: ``config.json`` of the MuQ model it builds on (sizes, mel
    statistics); ``text_config``: ``config.json`` of its XLM-RoBERTa.
    """

    def __init__(
        self, config: Mapping[str, Any], muq_config: Mapping[str, Any], text_config: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.mulan: Any = nn.Module()
        library: Any = transformers
        audio, text, sizes = config["audio_model"], config["text_model"], config["text_transformer"]
        muq: Any = nn.Module()
        muq.model = MuQ(muq_config, int(audio.get("use_layer_idx", -1)))
        self.mulan.audio = _Tower(muq, int(audio["model_dim"]), config["audio_transformer"])
        words = library.XLMRobertaModel(library_config(library.XLMRobertaConfig, text_config))
        given = int(text.get("model_dim") or sizes["dim"])
        self.mulan.text = _Tower(words, None if given == int(sizes["dim"]) else given, sizes)
        dim = int(config["mulan"]["dim_latent"])
        self.mulan.audio_to_latents = nn.Linear(int(config["audio_transformer"]["dim"]), dim)
        self.mulan.text_to_latents = nn.Linear(int(config["text_transformer"]["dim"]), dim)
        self.dim = dim


def _text_vectors(tower: Any, ids_PL: Tensor, real_PL: Tensor) -> Tensor:
    # One by one: the published model averages over padding too.
    texts = (ids[real > 0][None] for ids, real in zip(ids_PL, real_PL, strict=True))
    pooled = [tower.text(tower.text.model(input_ids=ids).last_hidden_state) for ids in texts]
    out: Tensor = tower.text_to_latents(torch.cat(pooled))
    return out


class _Tower(nn.Module):
    """A pretrained network, a linear map where ``into`` is a width, a small transformer, and the mean."""

    def __init__(self, model: nn.Module, into: int | None, sizes: Mapping[str, Any]) -> None:
        super().__init__()
        self.model: Any = model
        self.proj = nn.Identity() if into is None else nn.Linear(into, int(sizes["dim"]))
        self.transformer = _Transformer(sizes)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        out: Tensor = self.transformer(self.proj(hidden_BTD))
        return out.mean(dim=-2)


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
