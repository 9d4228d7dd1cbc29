"""Backbones by name, and the two that need no torch."""

import sys
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType

import numpy as np
import pytest

from solfa.analysis.tagging import tag_frames
from solfa.core import registry as core_registry
from solfa.core.errors import InputError, MissingExtra, UnknownName
from solfa.core.types import Audio, ModelInfo
from solfa.encoders import registry
from solfa.encoders.bridge_space import fit
from solfa.encoders.minilm import MiniLM
from solfa.encoders.registry import available_backbones, load_backbone, load_model

RATE = 16000
NOISE = (np.random.default_rng(0).standard_normal(8 * RATE) * 0.1).astype(np.float32)


def seconds(count):
    return Audio(NOISE[: int(count * RATE)], RATE)


# --- the door -------------------------------------------------------------------------------------------------------


def test_a_name_belongs_to_one_kind():
    with pytest.raises(UnknownName, match=r"unknown text backbone 'taggers'.*minilm"):
        load_backbone("taggers", "text")
    with pytest.raises(InputError, match="'audio' or 'text', got kind 'image'"):
        load_backbone("taggers", "image")
    with pytest.raises(InputError, match=r"audio backbone 'taggers' takes no option device\. It takes: none"):
        load_backbone("taggers", device="cpu")


def test_noncommercial_weights_must_be_allowed():
    with pytest.raises(InputError, match=r"CC-BY-NC-4\.0.*--allow-noncommercial"):
        load_backbone("muq")


def test_every_loader_exists():
    pytest.importorskip("torch")
    for info in available_backbones():
        kind = info.kind.removesuffix(" backbone")
        with pytest.raises(InputError, match="takes no option nonsense"):
            load_backbone(info.name, kind, allow_noncommercial=True, nonsense=1)


def test_listing_imports_no_torch():
    before = set(sys.modules)
    assert {info.kind for info in available_backbones()} == {"audio backbone", "text backbone"}
    assert not {m for m in set(sys.modules) - before if m.startswith(("torch", "transformers"))}


def test_a_package_adds_a_backbone_which_is_no_joint_model(monkeypatch):
    module = ModuleType("toy_package")
    info = ModelInfo(
        name="toy", kind="audio backbone", licence="MIT", commercial_use=True, source="a test", description=""
    )
    module.ENTRY = core_registry.ModelEntry(info=info, loader="toy_package:load", defaults={"size": 3})
    module.load = lambda name, size, source=None: (name, size, source)
    monkeypatch.setitem(sys.modules, "toy_package", module)
    points = EntryPoints([EntryPoint("toy", "toy_package:ENTRY", core_registry.GROUP)])
    monkeypatch.setattr(core_registry, "entry_points", lambda group: points.select(group=group))
    assert load_backbone("toy:/place", size=4) == ("toy", 4, "/place")
    assert load_backbone("toy") == ("toy", 3, None)
    assert info in available_backbones()
    with pytest.raises(UnknownName):
        load_backbone("toy", "text")
    with pytest.raises(UnknownName):
        registry.load_model("toy")


def test_without_torch_the_install_line_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "solfa.encoders.published.eat", raising=False)
    monkeypatch.delitem(sys.modules, "solfa.encoders.torch_backbone", raising=False)
    with pytest.raises(MissingExtra, match=r"audio backbone 'eat'.*solfa\[torch\]"):
        load_backbone("eat")


# --- taggers --------------------------------------------------------------------------------------------------------


def test_taggers_keep_the_name_that_trained_models_on_disk_have():
    assert load_backbone("taggers").spec.space == "taggers/1/1424/04158ccd9dc8"


def test_taggers_give_a_row_a_second():
    body = load_backbone("taggers")
    batch = [seconds(n) for n in (7.6, 2.4, 0.2, 0)]
    states = body.states(batch)
    assert states.states_BTD.shape == (4, 8, body.spec.dim) and states.states_BTD.dtype == np.float32
    assert states.mask_BT.sum(axis=1).tolist() == [8, 2, 1, 0]
    assert body.spec.hop_s == 1.0
    assert not states.states_BTD[~states.mask_BT].any() and not states.pooled_BD[3].any()
    np.testing.assert_allclose(states.pooled_BD[0], states.states_BTD[0].mean(axis=0), atol=1e-5)


def test_taggers_rows_are_those_of_the_tagging_pass_at_their_second():
    audio = seconds(7)
    rows, detected = load_backbone("taggers").states([audio]).states_BTD[0], tag_frames(audio)
    three = [0, 0, 0, 1, 1, 1, 2]
    raw = np.concatenate([detected.mtt_TD[three], detected.msd_TD[three], detected.yamnet_PD[:7]], axis=1)
    inside = np.abs(rows) < 8
    assert inside.mean() > 0.95
    np.testing.assert_allclose((rows * fit().timbre_scale_E + fit().timbre_mean_E)[inside], raw[inside], atol=1e-4)


def test_taggers_do_not_depend_on_the_batch():
    body = load_backbone("taggers")
    together = body.states([seconds(5), seconds(8)])
    alone = body.states([seconds(5)])
    np.testing.assert_array_equal(together.states_BTD[0, :5], alone.states_BTD[0])
    np.testing.assert_array_equal(together.pooled_BD[0], alone.pooled_BD[0])


@pytest.mark.parametrize("name", ["taggers", "listener", "bridge"])
def test_sound_that_is_not_finite_is_refused(name):
    hear = load_model(name).audio.encode if name == "bridge" else load_backbone(name).states
    bad = Audio(np.array([0, np.nan], np.float32), RATE)
    with pytest.raises(InputError, match="sound 1 of 2 has samples that are not finite"):
        hear([seconds(1), bad])


# --- minilm ---------------------------------------------------------------------------------------------------------


def test_minilm_gives_a_row_a_token_and_the_mean_is_the_sentence():
    minilm = load_backbone("minilm", "text")
    texts = ["a warm piano", "", "slow drums, " * 120]
    states = minilm.states(texts)
    lengths = [len(minilm.tokenizer.encode(text).ids) for text in texts]
    assert states.mask_BT.sum(axis=1).tolist()[:2] == lengths[:2]
    assert states.mask_BT[2].sum() == lengths[2] + 2  # two windows, so [CLS] and [SEP] once more
    unit = states.pooled_BD / np.linalg.norm(states.pooled_BD, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, MiniLM().encode(texts), atol=1e-6)
    np.testing.assert_array_equal(states.states_BTD[0, :5], minilm.states(texts[:1]).states_BTD[0])
    assert not states.states_BTD[~states.mask_BT].any()


def test_one_string_is_no_batch():
    minilm = load_backbone("minilm", "text")
    with pytest.raises(TypeError, match="sequence of texts"):
        minilm.states("a warm piano")
