"""The text backbone of solfa-1: what the bridge reads of a text, beside the states of its tokens. No torch.

A row is ``[tags and sounds 378 | token 384]``: the bridge's vector of the text (``bridge_text``) without the axes on
which texts are zero, the same in every row, and MiniLM's state of a token. The first numbers of the bridge's vectors of
sound (backbone ``tower:bridge``) are of the same axes, so that projectors that keep them start where the bridge is.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from solfa.core.types import EncoderSpec, States
from solfa.encoders import bridge
from solfa.encoders.bridge_space import SOUND_DIM, axes
from solfa.encoders.minilm import MiniLM
from solfa.encoders.registry import stated_spec
from solfa.encoders.vectors import pack_states
from solfa.query import parse

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_MOST_READ = 2000  # characters of a text in which what is absent is looked for


class TaggedText:
    """English text to rows of 762 numbers, one a token; what a text says is absent weighs on no tag."""

    def __init__(self) -> None:
        self._minilm, self._bridge = MiniLM(), bridge.load_text()

    @property
    def spec(self) -> EncoderSpec:
        """What this backbone is; the space changes with MiniLM's and the bridge's."""
        own, space = self._minilm.spec, self._bridge.spec.space
        return stated_spec("text", "tagged", f"{space}/{own.space}", len(axes()) + SOUND_DIM + own.dim)

    @property
    def tokenizer(self) -> "Tokenizer":
        """MiniLM's."""
        return self._minilm.tokenizer

    def familiarity(self, text: str) -> float:
        """How near the best known word or piece of a text is to a name of a tag or sound, 0..1."""
        return self._bridge.familiarity(text)

    def states(self, batch: Sequence[str]) -> States:
        """Rows of every token, and the tags beside the mean of the tokens. Raises as MiniLM."""
        given = self._minilm.states(batch)
        tags_BA = self._bridge.encode([_present(text) for text in batch]).global_BD[:, : len(axes()) + SOUND_DIM]
        rows = [np.concatenate([np.tile(tags_A, (mask.sum(), 1)), states[mask]], axis=1)
                for tags_A, states, mask in zip(tags_BA, given.states_BTD, given.mask_BT, strict=True)]  # fmt: skip
        return pack_states(rows, self.spec.dim, list(np.concatenate([tags_BA, given.pooled_BD], axis=1)))


def _present(text: str) -> str:
    """The text without what it says is absent, where anything else is left; as in training, or its space changes."""
    kept = text
    for phrase in parse(text[:_MOST_READ]).negated_phrases if text.strip() else ():
        kept = re.sub(re.escape(phrase), " ", kept, flags=re.IGNORECASE)
    return kept if re.search(r"\w", kept) else text
