"""MuQ-MuLan (Zhu et al., 2025): music and English or Chinese text in one space. Needs torch and transformers.

The weights are CC-BY-NC-4.0: not for commercial use. Sound is heard at 24 kHz in windows of 10 s from the start; a
shorter one at the end is filled up from the start of the stretch, as published. One window is one frame. A text of more
than 512 tokens is cut between clauses; each piece is one frame, and all count by their length.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from solfa.core.errors import InputError
from solfa.core.types import EncoderSpec, JointModel
from solfa.encoders import towers
from solfa.encoders.joint import TextVectors, WindowVectors
from solfa.encoders.muq_network import SAMPLE_RATE_HZ, MuQMuLanNetwork
from solfa.encoders.torch_backbone import spec_of, weights_in
from solfa.encoders.windowed import Grid, WindowedBackbone
from solfa.weights import path, weight

RATE, WINDOW_S = SAMPLE_RATE_HZ, 10.0
MAX_TOKENS = 512
_GRID = Grid(sample_rate_hz=RATE, window_s=WINDOW_S, step_s=WINDOW_S, hop_s=WINDOW_S, fill="start")

# Of training only: targets, quantisers, losses, an unused mixture of layers.
_UNUSED = re.compile(
    r"^mulan\.(contrast|multi_layer_contrastive_learning|audio\.aggregator)\b|\.pos_conv_embed\."
    r"|^mulan\.audio\.model\.model\.(rvq|quantizer_\w+|preprocessor_\w+|linear|cls_token|recon_\w+)\b|\.position_ids$"
)


def load(*, source: str | Path | None = None, device: str = "cpu") -> JointModel:
    """The MuQ-MuLan model.

    Parameters
    ----------
    source
        A folder, or a Hugging Face id in the local cache, with ``config.json`` and ``pytorch_model.bin`` or
        ``model.safetensors``, and, where they differ from the published ones, ``muq/config.json`` and
        ``xlm-roberta-base/``; by default what ``solfa models pull muq-mulan`` fetched.
    device
        and errors as ``clap.load``
    """
    place = towers.device_for(device)
    network, tokenizer, file = read(source)
    info = weight("muq-mulan")
    spec = EncoderSpec(
        name="muq-mulan",
        space=f"muq-mulan/{towers.digest(file)}/{network.dim}/24k-10s-v1",
        dim=network.dim,
        licence=info.licence,
        commercial_use=info.commercial_use,
    )
    network = network.to(place).eval()
    audio = WindowVectors(WindowedBackbone(_Vectors(network), spec, place, _GRID, None))
    text = TextVectors(spec, place, tokenizer, MAX_TOKENS, network.text)
    return JointModel(name="muq-mulan", audio=audio, text=text)


class _Vectors(nn.Module):
    """The audio tower: one unit vector a window."""

    def __init__(self, model: MuQMuLanNetwork) -> None:
        super().__init__()
        self.audio, self.audio_to_latents = model.mulan.audio, model.mulan.audio_to_latents

    def forward(self, windows_WN: Tensor, lengths_W: Tensor) -> tuple[None, Tensor]:
        return None, F.normalize(self.audio_to_latents(self.audio(windows_WN)), dim=-1).unsqueeze(1)


def load_windows(*, name: str, hub: str, source: str | Path | None = None, device: str = "cpu") -> WindowedBackbone:
    """The vectors of 10 s windows as a body; parameters and errors as ``load``."""
    network, _, file = read(source)
    spec = spec_of("audio", name, source, file, "24k-10s-v1", network.dim, sample_rate_hz=RATE, hop_s=WINDOW_S)
    # Its configurations lie elsewhere: from this file alone it cannot be rebuilt.
    return WindowedBackbone(_Vectors(network), spec, towers.device_for(device), _GRID, None)


def read(source: str | Path | None) -> tuple[MuQMuLanNetwork, towers.Tokenize, Path]:
    """Network, tokenizer and weight file; raises as ``load``."""
    folder = path("muq-mulan") if source is None else towers.locate(str(source))
    if not folder.is_dir():
        raise InputError(f"{str(source)!r} is not a folder. Expected one with config.json and pytorch_model.bin.")
    file = weights_in(folder, "a MuQ-MuLan model")
    muq = folder / "muq" if (folder / "muq").is_dir() else path("muq-config")
    text = folder / "xlm-roberta-base" if (folder / "xlm-roberta-base").is_dir() else path("xlm-roberta-tokenizer")
    configs = [towers.config(place / "config.json") for place in (folder, muq, text)]
    with towers.reading(folder, "a MuQ-MuLan model"):
        network = MuQMuLanNetwork(*configs)
    state = {k: v for k, v in towers.load_tensors(file).items() if not _UNUSED.search(k)}
    towers.fill(network, state, file, "MuQ-MuLan")
    return network, towers.tokenizer(text), file
