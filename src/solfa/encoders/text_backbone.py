"""Text encoders of transformers as backbones: E5, RoBERTa, XLM-R, MiniLM, T5's encoder, and whatever saves like them.

All tokens have a state, the special ones too unless ``special_tokens`` is False; the pooled vector is of all. A text
longer than ``max_tokens`` is read in pieces, cut between clauses, so that every word counts; or it is cut off, where
``cut`` asks for it, as the published recipes do.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch.nn.functional as F
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from solfa.core.errors import InputError, WeightsError
from solfa.core.types import EncoderSpec
from solfa.encoders import checkpoints
from solfa.encoders.checkpoints import Checkpoint, published
from solfa.encoders.tokens import clean, token_pieces, tokenizer
from solfa.encoders.torch_backbone import Cut, PieceNetwork, Tensors, TorchBackbone, masked_mean

Pooling = Literal["cls", "mean"]


class TextNetwork(PieceNetwork):
    """An encoder whose states of all tokens of a piece are read."""

    def __init__(self, encoder: nn.Module, pooling: Pooling) -> None:
        super().__init__()
        self.encoder, self.pooling = encoder, pooling

    def of_pieces(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """The one state that stands for each piece, and all of them."""
        real_PL = tensors["real"]
        hidden_PLD = self.encoder(input_ids=tensors["ids"], attention_mask=real_PL).last_hidden_state
        return masked_mean(hidden_PLD, real_PL) if self.pooling == "mean" else hidden_PLD[:, 0], hidden_PLD


class TextTower(PieceNetwork):
    """The text side of a joint model, which gives one vector for each piece.

    ``vectors`` maps the tower, token numbers and a mask, 1 where one is real (both [shape=(P, L)]), to vectors
    [shape=(P, D)]. It takes ``modules``, which are named so in files, from the tower: a copy of it has its own.
    """

    def __init__(self, vectors: Callable[[Any, Tensor, Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self._vectors = vectors
        for name, module in modules.items():
            self.add_module(name, module)

    def of_pieces(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Unit vectors [shape=(P, D)], and the same as the one state of each piece."""
        vectors_PD = F.normalize(self._vectors(self, tensors["ids"], tensors["real"]).float(), dim=-1)
        return vectors_PD, vectors_PD[:, None]


class TextBackbone(TorchBackbone[str]):
    """A backbone of text over pieces of at most ``limit`` tokens, as ``load`` describes."""

    def __init__(
        self,
        network: TextNetwork | TextTower,
        spec: EncoderSpec,
        device: Any,
        file: Path | None,
        tokenizer: Tokenizer,
        limit: int,
        *,
        prefix: str = "",
        cut: bool = False,
        special_tokens: bool = True,
    ) -> None:
        super().__init__(network, spec, device, file)
        self.prefix, self.tokenizer, self._limit, self._cut = prefix, tokenizer, limit, cut
        self._is_tower = isinstance(network, TextTower)
        # What the tokenizer makes of nothing is what it adds to every piece.
        self._stateless = frozenset[int]() if special_tokens else frozenset(tokenizer.encode("").ids)

    def tokens(self, text: str) -> list[list[int]]:
        """The token numbers of a text, piece by piece, the prefix and the special ones included."""
        whole = clean(self.prefix + text)
        if self._cut:
            ids = self.tokenizer.encode(whole).ids
            return [ids if len(ids) <= self._limit else [*ids[: self._limit - 1], ids[-1]]]
        return token_pieces(whole, self.tokenizer, self._limit)

    def cut(self, item: str) -> Cut:
        """The token numbers of a text, piece by piece; a piece has one state, or its tokens have one each."""
        pieces = self.tokens(item)
        read = [piece[:1] if self._is_tower else piece for piece in pieces]
        places = [(p, i) for p, ids in enumerate(read) for i, token in enumerate(ids) if token not in self._stateless]
        return Cut(pieces, [len(piece) for piece in pieces], places)

    def inputs(self, pieces: list[Any], lengths: list[int]) -> dict[str, NDArray[Any]]:
        """Token numbers, and which of them are real."""
        ids, real = np.zeros((2, len(pieces), max(lengths, default=0)), np.int64)
        for row, piece in enumerate(pieces):
            ids[row, : len(piece)], real[row, : len(piece)] = piece, 1
        return {"ids": ids, "real": real}


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

    - ``checkpoint``: where the weights are
    - ``pooling``: What the pooled vector is: the state of the first token (``cls``) or the mean over tokens
    - ``prefix``: Put before each text, such as ``query: `` for E5 as its authors use it
    - ``max_tokens``: Tokens of one piece at most, the special ones included
    - ``cut``: Cut a longer text off instead of reading it in pieces
    - ``special_tokens``: Whether the tokens that the tokenizer adds ([CLS], [SEP], <s>, </s>) are among the states;
      False leaves the words alone. The pooled vector is the same
    """
    if pooling not in ("cls", "mean") or max_tokens < 3:
        raise InputError(f"pooling is 'cls' or 'mean' and max_tokens 3 or more, got {pooling!r} and {max_tokens}.")
    place = checkpoint.place()
    encoder = _encoder(place)
    if max_tokens > (most := _most(encoder)):
        raise InputError(f"{checkpoint.name} reads {most:g} tokens at most, got max_tokens {max_tokens}.")
    file = checkpoint.file("a text encoder", place=place)
    key = f"{pooling}-{max_tokens}{'-cut' if cut else ''}{'' if special_tokens else '-words'}-{prefix!r}-v1"
    spec = checkpoint.spec(int(encoder.config.hidden_size), key, file)
    return TextBackbone(
        TextNetwork(encoder, pooling), spec, checkpoint.device, file, tokenizer(place), max_tokens,
        prefix=prefix, cut=cut, special_tokens=special_tokens,
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
            f"{folder} is a {config.model_type!r} model, which takes {encoder.main_input_name}, not text."
        )
    return encoder.float()  # some checkpoints are saved in half precision
