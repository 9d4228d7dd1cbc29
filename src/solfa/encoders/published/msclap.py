"""Microsoft's CLAP of 2023 (Elizalde et al., ICASSP 2024): sound by HTS-AT, English text by GPT-2, in one space.

Sound is taken at 44.1 kHz in windows of exactly 7 s, one after the other from the start (the package msclap takes one
random 7 s of longer sound); a shorter one is repeated to fill 7 s, as in training. Window function and mel filters are
taken from the checkpoint: the package makes filters for 32 kHz and 50 to 14000 Hz, whatever its settings say.

A text ends with `` <|endoftext|>``. As published, its vector is the state of the token whose place is the number of
tokens that are not "!", less one: the last token, but an earlier one where "!", the padding, stands in the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from solfa.core.types import JointModel
from solfa.encoders.checkpoints import Checkpoint, count, fill, load_tensors, published, reading
from solfa.encoders.joint import joint_model
from solfa.encoders.published.clap import MAX_TOKENS, text_vectors
from solfa.encoders.published.htsat import HtsAt, with_front_end
from solfa.encoders.text_backbone import TextBackbone, TextNetwork
from solfa.encoders.tokens import Tokenize, tokenizer_of
from solfa.encoders.windowed import Grid, WindowedBackbone, windowed

WINDOW_S = 7.0
_KEY, _GRID = "44k-7s-v1", Grid(sample_rate_hz=44100, window_s=WINDOW_S)
_FILE, _WORDS = "CLAP_weights_2023.pth", "openai-community/gpt2"
_FRONT = "audio_encoder.base.htsat."
_NAMES = {
    "audio_encoder.projection.": "audio.audio_projection.",
    "caption_encoder.base.": "words.",
    "caption_encoder.projection.": "text_projection.",
}
_UNUSED = (".attn.bias", ".attn.masked_bias", "logit_scale")  # GPT-2's causal masks, as older releases saved them


class Reader(TextNetwork):
    """GPT-2, pooled as the module says."""

    def of_pieces(self, hidden_PLD: Tensor, ids_PL: Tensor, real_PL: Tensor) -> Tensor:
        """The state at each piece's end."""
        return _end(hidden_PLD, ids_PL)


class _Projection(nn.Module):
    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(into, out, bias=False), nn.Linear(out, out, bias=False)
        self.layer_norm = nn.LayerNorm(out)

    def forward(self, x: Tensor) -> Tensor:
        first = self.linear1(x)
        out: Tensor = self.layer_norm(first + self.linear2(F.gelu(first)))
        return out


class MsClap(nn.Module):
    """Both towers, sized by the tensors of a checkpoint; speaks as transformers' ``ClapModel`` does to ``clap``."""

    def __init__(self, audio: HtsAt, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        library: Any = transformers
        self.audio = audio
        (vocabulary, hidden), positions = state["words.wte.weight"].shape, len(state["words.wpe.weight"])
        layers = count(state, r"words\.h\.(\d+)\.")
        sizes = {"vocab_size": vocabulary, "n_positions": positions, "n_embd": hidden, "n_layer": layers}
        # No tensor shows the number of heads: GPT-2's are 64 wide in all its sizes.
        self.words = library.GPT2Model(library.GPT2Config(**sizes, n_head=max(1, hidden // 64), use_cache=False))
        self.dim = len(state["text_projection.linear1.weight"])
        audio.audio_projection, self.text_projection = (
            _Projection(state[f"{kind}_projection.linear1.weight"].shape[1], self.dim)
            for kind in ("audio.audio", "text")
        )

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Vectors [shape=(P, D)] of pieces of text."""
        hidden = self.words(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        vectors: Tensor = self.text_projection(_end(hidden, input_ids))
        return vectors


@published("model", "msclap")
def load(checkpoint: Checkpoint, *, tokenizer: str | Path | None = None) -> JointModel:
    """Both towers as a joint model. Raises as ``text_backbone.load``.

    Parameters
    ----------
    checkpoint
        ``CLAP_weights_2023.pth`` or its folder; by default what the local Hugging Face cache has of microsoft/msclap.
    tokenizer
        A folder with GPT-2's ``tokenizer.json``; by default the folder of the weights, or else what the local Hugging
        Face cache has of openai-community/gpt2.
    """
    network, file = _read(checkpoint)
    audio = windowed(checkpoint, network.audio, file, f"joint-{_KEY}", network.dim, _GRID)
    return joint_model(audio, _tokenize(file, tokenizer), MAX_TOKENS, lambda ids: text_vectors(network, ids), network)


@published("audio", "msclap")
def load_audio(checkpoint: Checkpoint) -> WindowedBackbone:
    """HTS-AT's states, before the projection; weights and errors as ``load``."""
    network, file = _read(checkpoint)
    tower = network.audio
    tower.audio_projection = None
    grid = replace(_GRID, hop_s=tower.hop_s(WINDOW_S))
    return windowed(checkpoint, tower, file, _KEY, tower.dim, grid)


@published("text", "msclap")
def load_text(
    checkpoint: Checkpoint, *, tokenizer: str | Path | None = None, cut: bool = False, special_tokens: bool = True
) -> TextBackbone:
    """GPT-2's states, before the projection, of 77 tokens at once; weights and errors as ``load``.

    ``cut`` and ``special_tokens`` as ``text_backbone.load``.
    """
    network, file = _read(checkpoint)
    reader, dim, words = Reader(network.words, "cls"), int(network.words.config.n_embd), _tokenize(file, tokenizer)
    return TextBackbone(checkpoint, reader, file, "end", dim, words, MAX_TOKENS, cut=cut, special_tokens=special_tokens)


def _read(checkpoint: Checkpoint) -> tuple[MsClap, Path]:
    """Network and weight file."""
    file = checkpoint.file("Microsoft's CLAP of 2023", (_FILE,))
    with reading(file, "Microsoft's CLAP of 2023"):
        given = {k: v for k, v in load_tensors(file).items() if not k.endswith(_UNUSED)}
        audio, own = with_front_end(given, _FRONT)
        state = {_renamed(key): value for key, value in given.items() if not key.startswith(_FRONT)}
        network = MsClap(audio, state)
    fill(network, state | {f"audio.{key}": value for key, value in own.items()}, file, "Microsoft's CLAP of 2023")
    return network, file


def _renamed(key: str) -> str:
    prefix = next((prefix for prefix in _NAMES if key.startswith(prefix)), "")
    return _NAMES.get(prefix, "") + key.removeprefix(prefix)


def _tokenize(file: Path, tokenizer: str | Path | None) -> Tokenize:
    read = tokenizer_of(file, tokenizer, hub=_WORDS, special=["!"])
    return lambda text: read(f"{text} <|endoftext|>")


def _end(hidden_PLD: Tensor, ids_PL: Tensor) -> Tensor:
    return hidden_PLD[torch.arange(len(ids_PL), device=ids_PL.device), (ids_PL != 0).sum(dim=1) - 1]
