"""LAION-CLAP ``.pt`` checkpoints in the layout of transformers' ``ClapModel``.

The two are one network under two sets of names: the audio tower is HTSAT (Chen et al., ICASSP 2022), the text tower
RoBERTa. Sizes are read off the tensors; what no tensor shows is LAION's published configuration (window 8,
spectrogram 256 x 256, RoBERTa's layer norm epsilon 1e-5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from solfa.core.errors import WeightsError

# Read from the left; "text_branch." keys of RoBERTa need the first rule only.
_AUDIO_NAMES = (
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.", ".attention.self."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.bn0\.", ".batch_norm."),
    (r"^audio_branch\.", "audio_model.audio_encoder."),
)
# Of training only, or computed anew: the classifier head, augmentation, fixed transforms, masks, unused projections.
_UNUSED = re.compile(
    r"^audio_branch\.(tscam_conv|head|spectrogram_extractor|logmel_extractor|spec_augmenter)\.|\.attn_mask$"
    r"|^(audio|text)_transform\.|position_ids$|token_type_ids$"
)


def convert(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The state dictionary of ``ClapModel`` from what a LAION ``.pt`` file holds.

    Raises WeightsError if this is no LAION-CLAP checkpoint with HTSAT and RoBERTa towers.
    """
    state = checkpoint.get("state_dict", checkpoint)
    state = {str(key).removeprefix("module."): value for key, value in state.items()}
    if "audio_branch.patch_embed.proj.weight" not in state or "text_branch.pooler.dense.weight" not in state:
        raise WeightsError(
            "this is not a LAION-CLAP checkpoint with an HTSAT audio tower and a RoBERTa text tower; its tensors are "
            f"named {', '.join(sorted(state)[:3])}, ..."
        )
    return rename(state)


def rename(state: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of a network that ``ClapModel`` has, under its names; others keep theirs."""
    out: dict[str, Any] = {}
    for key, value in state.items():
        if _UNUSED.search(key):
            continue
        name = _rename(key)
        if ".qkv." in name:
            for part, tensor in zip(("query", "key", "value"), value.chunk(3), strict=True):
                out[name.replace(".qkv.", f".{part}.")] = tensor
        else:
            out[name] = value
    return out


def config(state: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``ClapConfig`` for a state dictionary that ``convert`` gave."""
    text = "text_model"
    words, hidden = state[f"{text}.embeddings.word_embeddings.weight"].shape
    return {
        "projection_dim": int(state["text_projection.linear2.weight"].shape[0]),
        "audio_config": audio_config(state),
        "text_config": {
            "vocab_size": int(words),
            "hidden_size": int(hidden),
            "num_hidden_layers": count(state, rf"{text}\.encoder\.layer\.(\d+)\."),
            "num_attention_heads": max(1, int(hidden) // 64),
            "intermediate_size": int(state[f"{text}.encoder.layer.0.intermediate.dense.weight"].shape[0]),
            "max_position_embeddings": int(state[f"{text}.embeddings.position_embeddings.weight"].shape[0]),
            "layer_norm_eps": 1e-5,
        },
    }


def audio_config(state: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``ClapAudioConfig`` for a state dictionary that ``rename`` gave."""
    audio = "audio_model.audio_encoder"
    layers = count(state, rf"{re.escape(audio)}\.layers\.(\d+)\.")
    depths = [count(state, rf"{re.escape(audio)}\.layers\.{i}\.blocks\.(\d+)\.") for i in range(layers)]
    bias = f"{audio}.layers.{{}}.blocks.0.attention.self.relative_position_bias_table"
    embed = int(state[f"{audio}.patch_embed.proj.weight"].shape[0])
    fused = any(".fusion_model." in key for key in state)
    return {
        "patch_embeds_hidden_size": embed,
        "hidden_size": embed * 2 ** (layers - 1),
        "depths": depths,
        "num_attention_heads": [int(state[bias.format(i)].shape[1]) for i in range(layers)],
        "num_hidden_layers": layers,
        "num_mel_bins": int(state[f"{audio}.batch_norm.weight"].shape[0]),
        "window_size": (int(state[bias.format(0)].shape[0] ** 0.5) + 1) // 2,
        "enable_fusion": fused,
        "fusion_type": "aff_2d" if fused else None,
    }


def _rename(key: str) -> str:
    if key.startswith("text_branch."):
        return "text_model." + key.removeprefix("text_branch.")
    if match := re.fullmatch(r"(text|audio)_projection\.([02])\.(weight|bias)", key):
        return f"{match[1]}_projection.linear{1 if match[2] == '0' else 2}.{match[3]}"
    if key.startswith("audio_branch."):
        for pattern, new in _AUDIO_NAMES:
            key = re.sub(pattern, new, key)
    return key


def count(state: Mapping[str, Any], pattern: str) -> int:
    """One more than the largest number in this place of the names."""
    found = [int(match[1]) for key in state if (match := re.match(pattern, key))]
    return max(found, default=-1) + 1
