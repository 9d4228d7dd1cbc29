"""The text backbone of solfa-1: what the bridge reads of a text beside its tokens."""

from __future__ import annotations

import numpy as np
import pytest

from solfa.encoders.bridge_space import SOUND_DIM, axes
from solfa.encoders.registry import load_backbone, load_model
from solfa.weights import pulled

TAGS = len(axes()) + SOUND_DIM


def test_a_text_weighs_the_tags_of_what_is_present_beside_its_tokens():
    if not pulled("minilm"):
        pytest.skip("the text tower is not here: solfa models pull")
    tagged, minilm = load_backbone("tagged", "text"), load_backbone("minilm", "text")
    texts = ["sad piano", "sad piano, no drums", "drums", ""]
    states, own = tagged.states(texts), minilm.states(texts)
    np.testing.assert_array_equal(states.states_BTD[..., TAGS:], own.states_BTD)
    np.testing.assert_array_equal(states.mask_BT, own.mask_BT)
    tags = states.pooled_BD[:, :TAGS]
    np.testing.assert_array_equal(states.states_BTD[0, 0, :TAGS], tags[0])
    np.testing.assert_array_equal(tags[0], load_model("bridge").text.encode(texts[:1]).global_BD[0, :TAGS])
    units = tags / np.linalg.norm(tags, axis=1, keepdims=True)
    assert units[0] @ units[1] > 0.9 and units[1] @ units[2] < 0.5  # absent drums weigh on no tag
    assert states.pooled_BD.shape[1] == tagged.spec.dim and tagged.tokenizer.encode("sad").tokens[1] == "sad"
