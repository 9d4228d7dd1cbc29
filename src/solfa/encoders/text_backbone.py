"""Text encoders of transformers as backbones: E5, RoBERTa, XLM-R, MiniLM, T5's encoder, and whatever saves like them.

All tokens have a state, the special ones too unless ``special_tokens`` is False; the pooled vector is of all. A text
longer than ``max_tokens`` is read in pieces, cut between clauses, so that every word counts; or it is cut off, where
``cut`` asks for it, as the published recipes do.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from torch import Tensor, nn

from solfa.core.errors import InputError, WeightsError
from solfa.encoders import checkpoints
from solfa.encoders.checkpoints import Checkpoint, published
from solfa.encoders.tokens import Tokenize, clean, token_pieces, tokenizer
from solfa.encoders.torch_backbone import Tensors, TorchBackbone, masked_mean

Pooling = Literal["cls", "mean"]


class TextNetwork(nn.Module):
    """An encoder over pieces of texts, put together text by text; pieces count by their length."""

    def __init__(self, encoder: nn.Module, pooling: Pooling) -> None:
        super().__init__()
        self.encoder, self.pooling = encoder, pooling

    def forward(self, tensors: Tensors) -> tuple[Tensor, Tensor, Tensor]:
        """Pooled [shape=(B, D)], states [shape=(B, T, D)] and mask [shape=(B, T)]."""
        hidden_PLD = self.encoder(input_ids=tensors["ids"], attention_mask=tensors["real"]).last_hidden_state
        mask = tensors["at"] >= 0
        states = hidden_PLD.flatten(0, 1)[tensors["at"].clamp(min=0)] * mask.unsqueeze(-1)
        pieces = self.of_pieces(hidden_PLD, tensors["ids"], tensors["real"])
        with torch.autocast(pieces.device.type, enabled=False):
            return tensors["share"] @ pieces.float(), states, mask

    def of_pieces(self, hidden_PLD: Tensor, ids_PL: Tensor, real_PL: Tensor) -> Tensor:
        """The one state that stands for each piece."""
        return masked_mean(hidden_PLD, real_PL) if self.pooling == "mean" else hidden_PLD[:, 0]


class TextBackbone(TorchBackbone[str]):
    """A backbone of text over pieces of at most ``limit`` tokens, as ``load`` describes."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        network: nn.Module,
        file: Path,
        key: str,
        dim: int,
        tokenize: Tokenize,
        limit: int,
        *,
        prefix: str | None = None,
        cut: bool = False,
        special_tokens: bool = True,
    ) -> None:
        key += f"-{limit}{'-cut' if cut else ''}{'' if special_tokens else '-words'}"
        key += "-v1" if prefix is None else f"-{prefix!r}-v1"
        super().__init__(network, checkpoint.spec(dim, key, file), checkpoint.device, file)
        self._tokenize, self._prefix, self._limit, self._cut = tokenize, prefix or "", limit, cut
        # What the tokenizer makes of nothing is what it adds to every piece.
        self._stateless = frozenset[int]() if special_tokens else frozenset(tokenize(""))

    @property
    def tokenizer(self) -> Any:
        """What says which characters a token stands for, where the states are of tokens of ``tokenizer.json``."""
        return getattr(self._tokenize, "tokenizer", None)

    @property
    def prefix(self) -> str:
        """What is put before each text."""
        return self._prefix

    def tokens(self, text: str) -> list[list[int]]:
        """The token numbers of a text, piece by piece, the prefix and the special ones included."""
        whole = clean(self._prefix + text)
        if self._cut:
            ids = self._tokenize(whole)
            return [ids if len(ids) <= self._limit else [*ids[: self._limit - 1], ids[-1]]]
        return token_pieces(whole, self._tokenize, self._limit)

    def lengths(self, batch: Sequence[str]) -> list[int]:
        """How many states each text has."""
        return [sum(self._has_state(token) for piece in self.tokens(text) for token in piece) for text in batch]

    def _has_state(self, token: int) -> bool:
        return token not in self._stateless

    def prepare(self, batch: Sequence[str]) -> Tensors:
        """Token numbers of all pieces, where each token of a text finds its state, each piece's part of a text."""
        texts = [self.tokens(text) for text in batch]
        pieces = list(chain.from_iterable(texts))
        longest = max(map(len, pieces), default=0)
        ids, real = torch.zeros((2, len(pieces), longest), dtype=torch.long)
        share = torch.zeros(len(texts), len(pieces))
        places, piece = [list[int]() for _ in texts], 0
        for row, text in enumerate(texts):
            for tokens in text:
                ids[piece, : len(tokens)], real[piece, : len(tokens)] = torch.tensor(tokens), 1
                places[row] += [piece * longest + i for i, token in enumerate(tokens) if self._has_state(token)]
                share[row, piece] = len(tokens) / sum(map(len, text))
                piece += 1
        at = torch.full((len(texts), max(map(len, places), default=0)), -1)
        for found, own in zip(at, places, strict=True):
            found[: len(own)] = torch.tensor(own, dtype=torch.long)
        made = {"ids": ids, "real": real, "at": at, "share": share}
        return {name: tensor.to(self.device) for name, tensor in made.items()}


@published("text")
def load(
    checkpoint: Checkpoint,
    *,
    pooling: Pooling = "mean",
    prefix: str = "",
    max_tokens: int = 512,
    cut: bool = False,
    special_tokens: bool = True,
) -> TextBackbone:
    """A text encoder: a folder as transformers saves it (with ``tokenizer.json``).

    Raises InputError if the source is not on this machine, the device cannot be used, or an option makes no sense;
    MissingExtra if torch or transformers is not installed; WeightsError if the files are not such an encoder. All
    loaders of published backbones raise these.

    Parameters
    ----------
    checkpoint
        where the weights are
    pooling
        What the pooled vector is: the state of the first token (``cls``) or the mean over tokens.
    prefix
        Put before each text, such as ``query: `` for E5 as its authors use it.
    max_tokens
        Tokens of one piece at most, the special ones included.
    cut
        Cut a longer text off instead of reading it in pieces.
    special_tokens
        Whether the tokens that the tokenizer adds ([CLS], [SEP], <s>, </s>) are among the states; False leaves the
        words alone. The pooled vector is the same.
    """
    if pooling not in ("cls", "mean") or max_tokens < 3:
        raise InputError(f"pooling is 'cls' or 'mean' and max_tokens 3 or more, got {pooling!r} and {max_tokens}.")
    place = checkpoint.place()
    encoder = _encoder(place)
    if max_tokens > (most := _most(encoder)):
        raise InputError(f"{checkpoint.name} reads {most:g} tokens at most, got max_tokens {max_tokens}.")
    file = checkpoint.file("a text encoder", place=place)
    return TextBackbone(
        checkpoint, TextNetwork(encoder, pooling), file, pooling, int(encoder.config.hidden_size), tokenizer(place),
        max_tokens, prefix=prefix, cut=cut, special_tokens=special_tokens,
    )  # fmt: skip


def _most(encoder: nn.Module) -> float:
    """How many tokens have a place; infinity where places are relative."""
    for name, part in encoder.named_modules():
        if name.endswith("position_embeddings") and isinstance(part, nn.Embedding):
            # RoBERTa's kind starts to count places after the padding token's.
            return part.num_embeddings - (0 if part.padding_idx is None else part.padding_idx + 1)
    return float("inf")


def _encoder(folder: Path) -> Any:
    """The encoder of a folder."""
    library: Any = transformers
    checkpoints.config(folder / "config.json")
    with checkpoints.reading(folder, what := "a text encoder"):
        config = library.AutoConfig.from_pretrained(folder, local_files_only=True)
    half = config.is_encoder_decoder or "t5" in config.model_type  # of those, only the half that reads
    encoder = checkpoints.pretrained(library.AutoModelForTextEncoding if half else library.AutoModel, folder, what)
    if encoder.main_input_name != "input_ids":
        raise WeightsError(
            f"{folder} is a {config.model_type!r} model, which takes {encoder.main_input_name}, no text."
        )
    return encoder.float()  # some checkpoints are saved in half precision
