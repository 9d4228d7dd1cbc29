"""Microsoft's CLAP of 2023 (Elizalde et al., ICASSP 2024): sound by HTS-AT, English text by GPT-2, in one space.

Sound is heard at 44.1 kHz in windows of exactly 7 s, one after the other from the start (the package msclap hears one
random 7 s of longer sound); a shorter one is repeated to fill 7 s, as in training. Window function and mel filters are
taken from the checkpoint: the package makes filters for 32 kHz and 50 to 14000 Hz, whatever its settings say.

A text ends with `` <|endoftext|>``. As published, its vector is the state of the token whose place is the number of
tokens that are not "!", less one: the last token, but an earlier one where "!", the padding, stands in the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from solfa.core.types import JointModel
from solfa.encoders import clap, htsat, laion, towers
from solfa.encoders.joint import WindowVectors
from solfa.encoders.text_backbone import TextBackbone, TextNetwork
from solfa.encoders.torch_backbone import place, spec_of, weights_in
from solfa.encoders.windowed import Grid, WindowedBackbone

WINDOW_S = 7.0
_RATE, _KEY = 44100, "44k-7s-v1"
_FILE, _WORDS = "CLAP_weights_2023.pth", "openai-community/gpt2"
_FRONT = "audio_encoder.base.htsat."
_NAMES = {
    "audio_encoder.projection.": "audio_projection.",
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

    def __init__(self, ears: htsat.Ears, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        library: Any = transformers
        self.ears = ears
        (vocabulary, hidden), positions = state["words.wte.weight"].shape, len(state["words.wpe.weight"])
        layers = laion.count(state, r"words\.h\.(\d+)\.")
        sizes = {"vocab_size": vocabulary, "n_positions": positions, "n_embd": hidden, "n_layer": layers}
        # No tensor shows the number of heads: GPT-2's are 64 wide in all its sizes.
        self.words = library.GPT2Model(library.GPT2Config(**sizes, n_head=max(1, hidden // 64), use_cache=False))
        self.dim = len(state["text_projection.linear1.weight"])
        self.audio_projection, self.text_projection = (
            _Projection(state[f"{kind}_projection.linear1.weight"].shape[1], self.dim) for kind in ("audio", "text")
        )

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Vectors [shape=(P, D)] of pieces of text."""
        hidden = self.words(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        vectors: Tensor = self.text_projection(_end(hidden, input_ids))
        return vectors


class _Vectors(nn.Module):
    """The audio tower with its projection: one unit vector a window."""

    def __init__(self, model: MsClap) -> None:
        super().__init__()
        self.ears, self.audio_projection = model.ears, model.audio_projection

    def forward(self, windows_WN: Tensor, lengths_W: Tensor) -> tuple[None, Tensor]:
        return None, F.normalize(self.audio_projection(self.ears(windows_WN)[0]), dim=-1).unsqueeze(1)


def load(*, source: str | Path | None = None, device: str = "cpu", tokenizer: str | Path | None = None) -> JointModel:
    """Both towers as a joint model.

    Raises InputError if one of these is not on this machine, or the device cannot be used; MissingExtra if torch or
    transformers is not installed; WeightsError if the file is not such a checkpoint.

    Parameters
    ----------
    source
        ``CLAP_weights_2023.pth`` or its folder; by default what the local Hugging Face cache has of microsoft/msclap.
    device
        A torch device. It is used or refused, never replaced by another.
    tokenizer
        A folder with GPT-2's ``tokenizer.json``; by default the folder of the weights, or else what the local Hugging
        Face cache has of openai-community/gpt2.
    """
    on = towers.device_for(device)
    network, file = _read(source, "microsoft/msclap")
    spec = spec_of("audio", "msclap", source, file, f"joint-{_KEY}", network.dim)
    network = network.to(on).eval()
    grid = Grid(sample_rate_hz=_RATE, window_s=WINDOW_S, step_s=WINDOW_S, hop_s=WINDOW_S)
    audio = WindowVectors(WindowedBackbone(_Vectors(network), spec, on, grid, file))
    return JointModel(name="msclap", audio=audio, text=clap.text_of(network, on, _tokenize(file, tokenizer), spec))


def load_audio(*, name: str, hub: str, source: str | Path | None = None, device: str = "cpu") -> WindowedBackbone:
    """HTS-AT's states, before the projection; parameters and errors as ``load``."""
    network, file = _read(source, hub)
    config = network.ears.audio_model.config
    hop_s = htsat.hop_s(config, WINDOW_S)
    grid = Grid(sample_rate_hz=_RATE, window_s=WINDOW_S, step_s=WINDOW_S, hop_s=hop_s)
    spec = spec_of("audio", name, source, file, _KEY, int(config.hidden_size), sample_rate_hz=_RATE, hop_s=hop_s)
    return WindowedBackbone(network.ears, spec, towers.device_for(device), grid, file)


def load_text(
    *,
    name: str,
    hub: str,
    source: str | Path | None = None,
    device: str = "cpu",
    tokenizer: str | Path | None = None,
    cut: bool = False,
    special_tokens: bool = True,
) -> TextBackbone:
    """GPT-2's states, before the projection, of 77 tokens at once; parameters and errors as ``load``.

    ``cut`` and ``special_tokens`` as ``text_backbone.load``.
    """
    network, file = _read(source, hub)
    key = f"end-{clap.MAX_TOKENS}{'-cut' if cut else ''}{'' if special_tokens else '-words'}-v1"
    spec = spec_of("text", name, source, file, key, int(network.words.config.n_embd))
    reader, on = Reader(network.words, "cls"), towers.device_for(device)
    words = _tokenize(file, tokenizer)
    return TextBackbone(reader, spec, on, words, "", clap.MAX_TOKENS, cut, special_tokens, file)


def _read(source: str | Path | None, hub: str) -> tuple[MsClap, Path]:
    """Network and weight file."""
    file = weights_in(place(source, hub), "Microsoft's CLAP of 2023", (_FILE,))
    loaded = towers.load_tensors(file)
    with towers.reading(file, "Microsoft's CLAP of 2023"):
        given = {k: v for k, v in loaded.get("model", loaded).items() if not k.endswith(_UNUSED)}
        ears, own = htsat.ears(given, _FRONT)
        state = {_renamed(key): value for key, value in given.items() if not key.startswith(_FRONT)}
        network = MsClap(ears, state)
    state |= {f"ears.{key}": value for key, value in own.items()}
    towers.fill(network, state, file, "Microsoft's CLAP of 2023")
    return network, file


def _renamed(key: str) -> str:
    prefix = next((prefix for prefix in _NAMES if key.startswith(prefix)), "")
    return _NAMES.get(prefix, "") + key.removeprefix(prefix)


def _tokenize(file: Path, tokenizer: str | Path | None) -> towers.Tokenize:
    read = towers.tokenizer_of(file, tokenizer, _WORDS, ["!"])
    return lambda text: read(f"{text} <|endoftext|>")


def _end(hidden_PLD: Tensor, ids_PL: Tensor) -> Tensor:
    return hidden_PLD[torch.arange(len(ids_PL), device=ids_PL.device), (ids_PL != 0).sum(dim=1) - 1]
