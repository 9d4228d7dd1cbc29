"""Encoders of BERT's kind inside larger checkpoints, sized by their tensors. Needs torch and transformers."""

from collections.abc import Mapping
from typing import Any, Literal

import transformers
from torch import Tensor

from solfa.encoders.checkpoints import count


def bert(kind: Literal["Bert", "XLMRoberta"], state: Mapping[str, Tensor], prefix: str) -> Any:
    """The network, without a pooler, that the tensors of this prefix fit. Raises as ``sizes``."""
    library: Any = transformers
    own = {"layer_norm_eps": 1e-5, "pad_token_id": 1} if kind == "XLMRoberta" else {"pad_token_id": 0}
    config = getattr(library, f"{kind}Config")(**sizes(state, prefix), **own)
    return getattr(library, f"{kind}Model")(config, add_pooling_layer=False)


def sizes(state: Mapping[str, Tensor], prefix: str) -> dict[str, int]:
    """Arguments of a configuration that the tensors of this prefix fit; heads are 64 wide, as in all published ones.

    Raises KeyError if a tensor that shows a size is missing (``checkpoints.reading`` makes it a WeightsError).
    """
    vocabulary, hidden = state[f"{prefix}embeddings.word_embeddings.weight"].shape
    return {
        "vocab_size": vocabulary,
        "max_position_embeddings": len(state[f"{prefix}embeddings.position_embeddings.weight"]),
        "type_vocab_size": len(state[f"{prefix}embeddings.token_type_embeddings.weight"]),
        "hidden_size": hidden,
        "num_attention_heads": max(1, hidden // 64),
        "num_hidden_layers": count(state, rf"{prefix}encoder\.layer\.(\d+)\."),
        "intermediate_size": len(state[f"{prefix}encoder.layer.0.intermediate.dense.weight"]),
    }
