"""M2D-CLAP of 2025 (Niizumi et al., IEEE Access 2025): sound and English text in one space. Needs torch, transformers.

A vision transformer over patches of 16 x 16 of a log-mel spectrogram (16 kHz, 80 bands, 10 ms), a token that attends to
all patches of 10 s, and BERT, whose first token's state stands for a text. Sound is taken in windows of 10 s, one after
the other from the start; a shorter one at the end is filled with silence, as its authors do. The checkpoint of 2024 has
no text encoder inside and is refused.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

from solfa.core.errors import WeightsError
from solfa.core.types import JointModel
from solfa.encoders.checkpoints import Checkpoint, count, fill, load_tensors, published, reading
from solfa.encoders.joint import joint_model
from solfa.encoders.published.bert import bert
from solfa.encoders.text_backbone import TextTower
from solfa.encoders.tokens import tokenizer_of
from solfa.encoders.windowed import Grid, windowed

_RATE, _WINDOW_S, _FFT, _HOP, _HEAD, _MAX_TOKENS = 16000, 10.0, 400, 160, 64, 512
_WORDS = "google-bert/bert-base-uncased"
# torch's own layer, under timm's names.
_NAMES = {
    "attn.qkv.": "self_attn.in_proj_",
    "attn.proj.": "self_attn.out_proj.",
    "mlp.fc1.": "linear1.",
    "mlp.fc2.": "linear2.",
}


class M2dNetwork(nn.Module):
    """Both towers, sized by the tensors of a checkpoint (``_state``)."""

    bank: Tensor
    window: Tensor

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        dim, _, high, long = state["patch_embed.proj.weight"].shape
        self.patch_embed: Any = nn.Module()
        self.patch_embed.proj = nn.Conv2d(1, dim, (high, long), (high, long))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros_like(state["pos_embed"]))
        self.register_buffer("norm_stats", torch.zeros(2))
        self.blocks = _layers(state, "blocks", max(1, dim // _HEAD), 1e-6)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.audio_proj: Any = nn.Module()
        self.audio_proj.sem_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.audio_proj.sem_blocks = _layers(state, "audio_proj.sem_blocks", 1, 1e-5)
        self.audio_proj.norm = nn.LayerNorm(dim)
        self.words = bert("Bert", state, "words.")
        rows = (self.pos_embed.shape[1] - 1) // (int(_WINDOW_S * _RATE // _HOP + 1) // long)
        mels = mel_filter_bank(_FFT // 2 + 1, rows * high, 50.0, 8000.0, _RATE, norm="slaney", mel_scale="slaney")
        self.register_buffer("bank", torch.from_numpy(mels.T.astype(np.float32)), persistent=False)
        self.register_buffer("window", torch.hann_window(_FFT), persistent=False)

    def forward(self, windows_WN: Tensor, lengths_W: Tensor) -> tuple[None, Tensor]:
        """Unit vectors of windows [shape=(W, 1, D)]."""
        power = torch.stft(windows_WN, _FFT, _HOP, window=self.window, return_complex=True).abs() ** 2
        mean, std = self.get_buffer("norm_stats")
        mel = (torch.log(self.bank @ power + torch.finfo(torch.float32).eps) - mean) / std
        patches = self.patch_embed.proj(mel.unsqueeze(1)).flatten(2).transpose(1, 2) + self.pos_embed[:, 1:]
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(patches), -1, -1)
        states = self.norm(self.blocks(torch.cat([first, patches], dim=1)))[:, 1:]
        asked = torch.cat([self.audio_proj.sem_token.expand(len(states), -1, -1), states], dim=1)
        return None, F.normalize(self.audio_proj.norm(self.audio_proj.sem_blocks(asked)[:, :1]), dim=-1)


def _layers(state: Mapping[str, Tensor], prefix: str, heads: int, eps: float) -> nn.Sequential:
    hidden, dim = state[f"{prefix}.0.linear1.weight"].shape
    depth = count(state, rf"{re.escape(prefix)}\.(\d+)\.")
    settings: dict[str, Any] = {"activation": "gelu", "batch_first": True, "norm_first": True, "layer_norm_eps": eps}
    return nn.Sequential(*(nn.TransformerEncoderLayer(dim, heads, hidden, 0.0, **settings) for _ in range(depth)))


@published("model", "m2d-clap")
def load(checkpoint: Checkpoint, *, tokenizer: str | Path | None = None) -> JointModel:
    """The model. Parameters and errors as ``clap.load``.

    The weights are ``checkpoint-30.pth`` of ``m2d_clap_vit_base-80x1001p16x16p16kpBpTI-2025``, from the releases of the
    repository nttcslab/m2d, or its folder; ``tokenizer`` is that of google-bert/bert-base-uncased.
    """
    file = checkpoint.file("M2D-CLAP", ("checkpoint-30.pth",))
    with reading(file, "M2D-CLAP of 2025"):
        state = _state(load_tensors(file))
        if "audio_proj.sem_token" not in state or "words.embeddings.word_embeddings.weight" not in state:
            raise WeightsError(f"{file} has no text encoder with a semantic token; expected the M2D-CLAP of 2025.")
        network = M2dNetwork(state)
    fill(network, state, file, "M2D-CLAP of 2025")
    grid = Grid(sample_rate_hz=_RATE, window_s=_WINDOW_S, fill="zeros")
    audio = windowed(checkpoint, network, file, "16k-10s-v1", network.cls_token.shape[-1], grid)
    words = tokenizer_of(file, tokenizer, hub=_WORDS)

    def first_states(tower: Any, ids_PL: Tensor, real_PL: Tensor) -> Tensor:
        first: Tensor = tower.words(input_ids=ids_PL, attention_mask=real_PL).last_hidden_state[:, 0]
        return first

    return joint_model(audio, TextTower(first_states, words=network.words), words, _MAX_TOKENS)


def _state(given: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors that are used, under ``M2dNetwork``'s names; decoders, teachers and poolers are left out."""
    state = {}
    for key, value in given.items():
        name = re.sub(r"^(text_encoder\.)+", "words.", key.removeprefix("backbone."))
        if re.match(r"(cls_token|pos_embed|patch_embed|norm_stats|blocks|norm|audio_proj|words)\b(?!\.pooler)", name):
            for theirs, ours in _NAMES.items() if not name.startswith("words.") else ():
                name = name.replace(theirs, ours)
            state[name] = value
    return state
