"""English text to vectors: all-MiniLM-L6-v2, stored in int8, on ONNX Runtime. No torch.

Reimers and Gurevych, "Sentence-BERT", EMNLP 2019; the model is sentence-transformers/all-MiniLM-L6-v2: 6 layers,
384 dimensions, mean over tokens, unit norm.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from solfa.core.errors import WeightsError
from solfa.core.types import EncoderSpec, FloatArray, States
from solfa.encoders.registry import stated_spec
from solfa.encoders.tokens import clean, tokenizer
from solfa.encoders.vectors import pack_states
from solfa.weights import path, session, weight

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DIM = 384
WINDOW = 256  # tokens of one pass, [CLS] and [SEP] among them: what the model was trained on
_TOKENS_AT_ONCE = 2048  # of one run, which bounds its memory


class MiniLM:
    """English text to the states of all its tokens: word pieces, and [CLS] and [SEP] of each window of 256.

    Windows of one length run together, as reading the weights takes most of the time; none is ever padded, so that a
    vector is the same to the last bit whatever else is in the batch. The network is read when it is first used.

    ``special_tokens``: whether [CLS] and [SEP] are among the states; the pooled vector is the mean over all tokens
    either way; ``threads``: More than one seldom pays: texts are short.
    """

    def __init__(self, *, special_tokens: bool = True, threads: int = 1) -> None:
        self._special_tokens, self._threads = special_tokens, threads

    @property
    def spec(self) -> EncoderSpec:
        """What this backbone is."""
        kind = "tokens" if self._special_tokens else "words"
        return stated_spec("text", "minilm", f"minilm/{weight('minilm').sha256[:12]}/{DIM}/{kind}-v1", DIM)

    def states(self, batch: Sequence[str]) -> States:
        """States of every token, however long the text, and their mean. Raises as ``encode``."""
        rows = self._hidden(batch)
        if self._special_tokens:
            return pack_states(rows, DIM)
        return pack_states([_words(row) for row in rows], DIM, [row.mean(axis=0, dtype=np.float64) for row in rows])

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Unit vectors of texts, float32 [shape=(B, 384)].

        A text longer than one window is read window by window and its tokens averaged together, so that every word
        counts. A text without words has a vector too, the same for all of them. Raises MissingWeights if the network is
        neither installed nor pulled; WeightsError if it is not the file it should be, or answers with something that is
        no direction.
        """
        vectors = [_direction(text, states) for text, states in zip(texts, self._hidden(texts), strict=True)]
        return np.stack(vectors) if vectors else np.zeros((0, DIM), np.float32)

    def _hidden(self, texts: Sequence[str]) -> list[FloatArray]:
        """Hidden states of all tokens of each text, window by window, the special ones included [shape=(L, 384)]."""
        if isinstance(texts, str):
            raise TypeError("expected a sequence of texts, got one string")
        windows: list[list[int]] = []
        starts = [0]
        for text in texts:
            ids = self.tokenizer.encode(clean(text), add_special_tokens=False).ids
            windows += [ids[start : start + WINDOW - 2] for start in range(0, max(1, len(ids)), WINDOW - 2)]
            starts.append(len(windows))
        hidden: dict[int, FloatArray] = {}
        for length in sorted(set(map(len, windows))):
            alike = [i for i, window in enumerate(windows) if len(window) == length]
            many = max(1, _TOKENS_AT_ONCE // (length + 2))
            for part in (alike[at : at + many] for at in range(0, len(alike), many)):
                hidden.update(zip(part, self._forward([windows[i] for i in part]), strict=True))
        return [np.concatenate([hidden[i] for i in range(start, end)]) for start, end in pairwise(starts)]

    def _forward(self, windows: Sequence[list[int]]) -> FloatArray:
        """Hidden states of windows of one length [shape=(B, L, 384)]."""
        first, last = self.tokenizer.encode("").ids  # [CLS] and [SEP]
        rows = np.array([[first, *ids, last] for ids in windows], np.int64)
        feeds = {"input_ids": rows, "attention_mask": np.ones_like(rows), "token_type_ids": np.zeros_like(rows)}
        hidden: FloatArray = session("minilm", threads=self._threads).run(["last_hidden_state"], feeds)[0]
        return hidden

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        """The tokenizer of the model, which neither cuts nor fills up.

        Raises MissingWeights if its file is neither installed nor pulled.
        """
        return tokenizer(path("minilm-tokenizer"))


def _direction(text: str, states_LD: FloatArray) -> FloatArray:
    mean = states_LD.mean(axis=0, dtype=np.float64)
    norm = float(np.linalg.norm(mean))
    if not np.isfinite(norm) or norm < 1e-6:
        raise WeightsError(f"minilm gave a vector of length {norm} for {text[:60]!r}; expected a direction.")
    vector: FloatArray = (mean / norm).astype(np.float32)
    return vector


def _words(states_LD: FloatArray) -> FloatArray:
    """States without those of the first and last token of each window."""
    place = np.arange(len(states_LD))
    words: FloatArray = states_LD[(place % WINDOW > 0) & (place % WINDOW < WINDOW - 1) & (place < len(place) - 1)]
    return words
