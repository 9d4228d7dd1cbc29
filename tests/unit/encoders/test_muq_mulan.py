"""MuQ-MuLan on tiny weights of the real architecture, against numbers that the published code gave for them."""

import json
import shutil
import zlib

import numpy as np
import pytest

from solfa.core.errors import InputError, MissingWeights, WeightsError
from solfa.core.types import Audio
from solfa.encoders import selftest
from solfa.encoders.checkpoints import Checkpoint
from solfa.encoders.published import muq_mulan
from solfa.encoders.registry import load_backbone

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
torch.set_num_threads(1)  # tiny networks; more threads only wait for each other

RATE = 24000
NOISE = (np.random.default_rng(0).standard_normal(25 * RATE) * 0.1).astype(np.float32)
LONG = "a warm piano over slow drums, " * 120 + "and a loud guitar at the end"

TRANSFORMER = {"tf_depth": 2, "heads": 2, "dim_head": 16, "attn_dropout": 0.0, "ff_dropout": 0.0, "ff_mult": 4}
CONFIG = {
    "mulan": {"sr": RATE, "clip_secs": 10, "dim_latent": 32},
    "audio_model": {"name": "OpenMuQ/MuQ-large-msd-iter", "model_dim": 64, "use_layer_idx": -1},
    "text_model": {"name": "xlm-roberta-base", "model_dim": 64},
    "audio_transformer": {"dim": 48, **TRANSFORMER},
    "text_transformer": {"dim": 48, "max_seq_len": 1024, **TRANSFORMER},
}
MUQ = {
    "hop_length": 240,
    "n_mels": 128,
    "conv_dim": 16,
    "encoder_dim": 64,
    "encoder_depth": 3,
    "stat": {"melspec_2048_mean": 6.768444971712967, "melspec_2048_std": 18.417922652295623},
    "w2v2_config": {
        "hidden_act": "swish",
        "layer_norm_eps": 1e-5,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "position_embeddings_type": "rotary",
        "conv_depthwise_kernel_size": 31,
        "torch_dtype": "float32",
        "model_type": "wav2vec2-conformer",
        "architectures": ["Wav2Vec2ConformerForCTC"],
    },
}
XLM_ROBERTA = {
    "vocab_size": 300,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 520,
    "type_vocab_size": 1,
    "pad_token_id": 1,
    "layer_norm_eps": 1e-5,
    "model_type": "xlm-roberta",
}
IDS = [0, 69, 281, 280, 7, 2]
GOLDEN_AUDIO = [0.0246078, -0.0759226, 0.0275117, 0.0066832, 0.0377763, 0.0543384]
GOLDEN_INNER = [0.0129428, 0.0332814, -0.4279814, 0.0151626, 0.2575587, -0.1530155]
GOLDEN_TEXT = [-0.0362712, 0.2520882, 0.0440028, -0.4006341, 0.1507271, -0.0217724]


def fill(state):
    """Weights from their names, so that another program can make the same ones."""
    for key in sorted(state):
        if state[key].dtype == torch.float32 and "inv_freq" not in key:
            rng = np.random.default_rng(zlib.crc32(key.encode()))
            value = rng.standard_normal(tuple(state[key].shape))
            if key.endswith(("running_var", "gamma", "_scale")) or "norm.weight" in key.lower():
                value = 1.0 + 0.15 * np.abs(value)
            else:
                value *= 0.02 if key.endswith("bias") else 3.0 if "word_embeddings" in key else 0.3
            state[key] = torch.from_numpy(value.astype(np.float32))
    return state


@pytest.fixture(scope="module")
def folder(bpe_folder, tmp_path_factory):
    from solfa.encoders.published.muq_mulan import MuQMuLanNetwork

    folder = tmp_path_factory.mktemp("muq")
    shutil.copytree(bpe_folder, folder / "xlm-roberta-base")
    (folder / "muq").mkdir()
    for place, config in (("", CONFIG), ("muq", MUQ), ("xlm-roberta-base", XLM_ROBERTA)):
        (folder / place / "config.json").write_text(json.dumps(config))
    state = fill(MuQMuLanNetwork(CONFIG, MUQ, XLM_ROBERTA).state_dict())
    # What the published checkpoint holds besides, none of it used to make vectors.
    state["mulan.audio.aggregator.weight"] = torch.zeros(1)
    state["mulan.contrast.temperatures"] = torch.zeros(1)
    state["mulan.audio.model.model.cls_token"] = torch.zeros(1)
    state["mulan.audio.model.model.linear.weight"] = torch.zeros(1)
    state["mulan.audio.model.model.conformer.pos_conv_embed.conv.weight_g"] = torch.zeros(1)
    torch.save(state, folder / "pytorch_model.bin")
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return muq_mulan.load(source=folder)


def detected(model, clip):
    return model.audio.encode([Audio(clip, RATE)]).frames_BTD[0]


def test_tensors_have_the_names_of_the_published_checkpoint(folder):
    keys = set(muq_mulan.read(Checkpoint("model", "muq-mulan", str(folder), "cpu"))[0].state_dict())
    for key in (
        "mulan.audio.model.model.conv.conv.0.bn3.running_var",
        "mulan.audio.model.model.conv.linear.weight",
        "mulan.audio.model.model.conformer.layers.2.self_attn.linear_q.weight",
        "mulan.audio.model.model.conformer.layer_norm.bias",
        "mulan.audio.proj.weight",
        "mulan.audio.transformer.layers.1.0.norm.learned_gamma",
        "mulan.audio.transformer.layers.1.0.to_out.0.weight",
        "mulan.audio.transformer.layers.1.1.4.weight",
        "mulan.text.model.encoder.layer.1.output.LayerNorm.weight",
        "mulan.text.proj.bias",
        "mulan.text.transformer.layers.0.0.k_scale",
        "mulan.text_to_latents.weight",
        "mulan.audio_to_latents.bias",
    ):
        assert key in keys


def test_vectors_are_those_of_the_published_code(model):
    """Numbers made with the package muq 0.1.0 on transformers 4.51 from these very weights."""
    audio = detected(model, NOISE[: 10 * RATE])[0]
    ids, real = torch.tensor([IDS + [1] * 4, IDS + [7] * 4]), torch.arange(len(IDS) + 4) < len(IDS)
    text = model.text.backbone.network.of_pieces({"ids": ids, "real": real.expand(2, -1)})[0].detach()
    np.testing.assert_array_equal(text[0], text[1])  # padding has no part in it
    text = text[0]
    np.testing.assert_allclose(audio[:6], GOLDEN_AUDIO, atol=2e-5)
    np.testing.assert_allclose(text[:6], GOLDEN_TEXT, atol=2e-5)


def test_an_inner_layer_can_be_the_one_that_is_read(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "inner")
    config = CONFIG | {"audio_model": CONFIG["audio_model"] | {"use_layer_idx": 1}}
    (tmp_path / "inner" / "config.json").write_text(json.dumps(config))
    inner = muq_mulan.load(source=tmp_path / "inner")
    np.testing.assert_allclose(detected(inner, NOISE[: 10 * RATE])[0][:6], GOLDEN_INNER, atol=2e-5)


def test_long_sound_is_cut_into_windows_and_the_last_is_filled_from_the_start(model):
    features = model.audio.encode([Audio(NOISE, RATE)])
    clips = [NOISE[: 10 * RATE], NOISE[10 * RATE : 20 * RATE], np.concatenate([NOISE[20 * RATE :], NOISE[: 5 * RATE]])]
    rows = np.concatenate([detected(model, clip) for clip in clips])
    np.testing.assert_allclose(features.frames_BTD[0], rows, atol=1e-6)
    mean = rows.mean(axis=0)
    np.testing.assert_allclose(features.global_BD[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_batch_and_padding_change_no_bit(model):
    stretches = [Audio(NOISE, RATE), Audio(NOISE[: 3 * RATE], RATE), Audio(np.zeros(0, np.float32), RATE)]
    together = model.audio.encode(stretches)
    assert together.mask_BT.sum(axis=1).tolist() == [3, 1, 1]
    for i, stretch in enumerate(stretches):
        np.testing.assert_array_equal(model.audio.encode([stretch]).global_BD[0], together.global_BD[i])
    texts = ["a warm piano", LONG, "drums"]
    both = model.text.encode(texts).global_BD
    np.testing.assert_array_equal(both, np.concatenate([model.text.encode([t]).global_BD for t in texts]))


def test_every_clause_of_a_long_text_counts(model):
    features = model.text.encode([LONG, LONG.removesuffix(" at the end")])
    assert features.mask_BT.sum(axis=1).min() >= 2
    assert np.abs(features.global_BD[0] - features.global_BD[1]).max() > 1e-4


def test_the_model_passes_the_self_test_and_says_it_is_noncommercial(model):
    selftest.check(model)
    assert not model.audio.spec.commercial_use
    assert model.text.spec.licence == "code MIT, weights CC-BY-NC-4.0"
    assert (model.audio.spec.sample_rate_hz, model.audio.spec.hop_s, model.audio.spec.dim) == (RATE, 10.0, 32)


def test_as_a_backbone_its_states_are_its_windows(model, folder):
    body = load_backbone(f"muq-mulan:{folder}", allow_noncommercial=True)
    sounds = [Audio(NOISE, RATE), Audio(NOISE[: 3 * RATE], RATE)]
    states, features = body.states(sounds), model.audio.encode(sounds)
    assert body.spec.hop_s == 10.0
    np.testing.assert_array_equal(states.mask_BT, features.mask_BT)
    np.testing.assert_allclose(states.states_BTD, features.frames_BTD, atol=1e-6)


# --- what a user can get wrong --------------------------------------------------------------------------------------


def test_without_pull_the_error_says_how_to_get_it(folder, tmp_path):
    with pytest.raises(MissingWeights, match="solfa models pull muq-mulan"):
        muq_mulan.load()
    shutil.copytree(folder, tmp_path / "bare", ignore=shutil.ignore_patterns("muq"))
    with pytest.raises(MissingWeights, match="solfa models pull muq-config"):
        muq_mulan.load(source=tmp_path / "bare")


def test_a_source_that_is_no_folder_is_refused(folder):
    with pytest.raises(InputError, match="not a folder"):
        muq_mulan.load(source=folder / "config.json")


@pytest.mark.parametrize("device", ["cuda:99", "abacus"])
def test_a_device_that_cannot_be_used_is_refused(folder, device):
    with pytest.raises(InputError, match=device):
        muq_mulan.load(source=folder, device=device)


def damaged(folder, tmp_path, change):
    shutil.copytree(folder, tmp_path / "damaged")
    change(tmp_path / "damaged")
    return tmp_path / "damaged"


def drop(folder, key):
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    del state[key]
    torch.save(state, folder / "pytorch_model.bin")


def reshape(folder, key):
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save(state | {key: torch.zeros(3)}, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: drop(f, "mulan.audio.proj.weight"), r"1 weights are missing.*mulan\.audio\.proj\.weight"),
        (lambda f: reshape(f, "mulan.audio.proj.bias"), r"does not fit MuQ-MuLan.*proj\.bias"),
        (lambda f: reshape(f, "mulan.audio.unheard_of"), r"1 unknown, such as mulan\.audio\.unheard_of"),
        (lambda f: (f / "config.json").write_text("{}"), "lacks 'audio_model'"),
        (lambda f: (f / "config.json").write_text("[]"), "expected an object"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be read as JSON"),
        (lambda f: (f / "pytorch_model.bin").unlink(), r"no model\.safetensors"),
        (lambda f: (f / "xlm-roberta-base" / "tokenizer.json").unlink(), r"no tokenizer\.json"),
        (lambda f: (f / "xlm-roberta-base" / "tokenizer.json").write_text("{}"), "not a tokenizer"),
    ],
)
def test_damaged_folders_are_refused(folder, tmp_path, change, message):
    with pytest.raises(WeightsError, match=message):
        muq_mulan.load(source=damaged(folder, tmp_path, change))
