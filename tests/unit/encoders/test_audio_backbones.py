"""Audio bodies on tiny weights of the real architectures, against the libraries' own networks and front ends."""

import json
import zlib

import numpy as np
import pytest

from solfa.core.errors import InputError, WeightsError
from solfa.core.types import Audio
from solfa.encoders.registry import load_backbone

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from safetensors.torch import load_file, save_file  # noqa: E402

torch.set_num_threads(1)  # tiny networks; more threads only wait for each other
RNG = np.random.default_rng(0)
STATS = {"melspec_2048_mean": 6.768444971712967, "melspec_2048_std": 18.417922652295623}
STATS["melspec_2048_cnt"] = 14282760192  # as the published ones: how many numbers the two are of
MUQ = {
    "hop_length": 240,
    "n_mels": 128,
    "conv_dim": 8,
    "encoder_dim": 64,
    "encoder_depth": 3,
    "stat": STATS,
    "w2v2_config": {
        "hidden_act": "swish",
        "layer_norm_eps": 1e-5,
        "intermediate_size": 96,
        "num_attention_heads": 1,
        "position_embeddings_type": "rotary",
        "conv_depthwise_kernel_size": 31,
    },
}


def noise(seconds, rate):
    return Audio((np.random.default_rng(1).standard_normal(round(seconds * rate)) * 0.1).astype(np.float32), rate)


def alive(state):
    """Weights from their names; variances and gains above zero."""
    for key in sorted(state):
        if state[key].is_floating_point() and "inv_freq" not in key:
            value = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(tuple(state[key].shape))
            if "running_var" in key or ("norm" in key and key.endswith("weight")) or (".bn" in key and "weight" in key):
                value = 1.0 + 0.1 * np.abs(value)
            else:
                value = value / max(1, np.prod(value.shape[1:])) ** 0.5 if value.ndim > 1 else 0.1 * value
            state[key] = torch.from_numpy(np.asarray(value, np.float32))
    return state


def conformer(state, config, mel, prefix):
    """Hidden states by transformers' own encoder, after the front end's last layer."""
    from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import Wav2Vec2ConformerEncoder

    settings = transformers.Wav2Vec2ConformerConfig(
        num_hidden_layers=config["encoder_depth"], hidden_size=config["encoder_dim"], **config["w2v2_config"]
    )
    settings._attn_implementation = "eager"
    encoder = Wav2Vec2ConformerEncoder(settings).eval()
    own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    encoder.load_state_dict(own, strict=False)
    seen = []
    for layer in encoder.layers:
        layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        return [hidden[0].numpy() for hidden in (encoder(mel).last_hidden_state, *seen)]


def front(state, samples):
    """MuQ's own way from samples to the Conformer: the library's mel, then the convolutions written out."""
    import torch.nn.functional as F
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    bank = mel_filter_bank(1025, 128, 0.0, 12000.0, 24000, norm=None, mel_scale="htk")
    mel = spectrogram(samples, window_function(2048, "hann"), 2048, 240, power=2.0, mel_filters=bank)
    x = (10 * np.log10(np.maximum(mel, 1e-10))[:, :-1] - STATS["melspec_2048_mean"]) / STATS["melspec_2048_std"]
    x = torch.from_numpy(x.astype(np.float32))[None, None]

    def part(x, i, n, stride):
        name = f"model.conv.conv.{i}"
        x = F.conv2d(x, state[f"{name}.conv{n}.weight"], state[f"{name}.conv{n}.bias"], stride=stride, padding=1)
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.bn{n}.{key}"] for key in keys))

    for i in range(2):
        x = F.relu(part(F.relu(part(x, i, 1, 2)), i, 2, 1) + part(x, i, 3, 2))
    x = x.permute(0, 3, 1, 2).flatten(2)
    return F.linear(x, state["model.conv.linear.weight"], state["model.conv.linear.bias"])


@pytest.fixture(scope="module")
def muq_state():
    from solfa.encoders.published.muq import MuQ

    return alive({f"model.{key}": value for key, value in MuQ(MUQ, -1).state_dict().items()})


@pytest.fixture(scope="module")
def muq_folder(muq_state, tmp_path_factory):
    folder = tmp_path_factory.mktemp("muq")
    unused = ("rvq.a", "linear.weight", "cls_token", "conformer.pos_conv_embed.conv.weight_g")
    save_file(muq_state | {f"model.{name}": torch.zeros(1) for name in unused}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(MUQ | {"label_rate": 25, "use_rvq_target": True}))
    return folder


@pytest.fixture(scope="module")
def musicfm_folder(muq_state, tmp_path_factory):
    folder = tmp_path_factory.mktemp("musicfm")
    unused = ("quantizer_melspec_2048_0.codebook", "preprocessor_melspec_2048.melspec.mel_scale.fb", "loss.weight")
    state = muq_state | {f"model.{name}": torch.zeros(1) for name in unused}
    torch.save({"state_dict": state}, folder / "pretrained_msd.pt")
    (folder / "msd_stats.json").write_text(json.dumps(STATS))
    return folder


@pytest.mark.parametrize(("layer", "index"), [(-1, 0), (2, 3), (0, 1)])
def test_muq_gives_the_librarys_states(muq_folder, muq_state, layer, index):
    body = load_backbone(f"muq:{muq_folder}", layer=layer, allow_noncommercial=True)
    sound = noise(10, 24000)
    states = body.states([sound])
    assert states.states_BTD.shape == (1, 250, 64) and states.mask_BT.all() and body.spec.hop_s == 0.04
    expected = conformer(muq_state, MUQ, front(muq_state, sound.samples), "model.conformer.")[index]
    np.testing.assert_allclose(states.states_BTD[0], expected, atol=2e-4)
    np.testing.assert_allclose(states.pooled_BD[0], expected.mean(axis=0), atol=2e-4)


def test_musicfm_reads_its_sizes_off_its_tensors(musicfm_folder, muq_state):
    body = load_backbone(f"musicfm:{musicfm_folder}", layer=1)
    sound = noise(10, 24000)
    expected = conformer(muq_state, MUQ, front(muq_state, sound.samples), "model.conformer.")[2]
    np.testing.assert_allclose(body.states([sound]).states_BTD[0], expected, atol=2e-4)
    with pytest.raises(InputError, match="layers 0 to 3, got layer 7"):
        load_backbone(f"musicfm:{musicfm_folder}")


@pytest.mark.parametrize(("stable", "relax"), [(False, -1.0), (True, 32.0)])  # as v1-95M and v1-330M have it
def test_mert_gives_huberts_states(tmp_path, stable, relax):
    config = transformers.HubertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, do_stable_layer_norm=stable,
        feat_extract_norm="group", attention_dropout=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    network = transformers.HubertModel(config).eval()
    state = network.state_dict()
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):  # as older releases named it
        state[f"encoder.pos_conv_embed.conv.{old}"] = state.pop(
            f"encoder.pos_conv_embed.conv.parametrizations.weight.{new}"
        )
    torch.save(state, tmp_path / "pytorch_model.bin")
    own = {"model_type": "mert_model", "auto_map": {"AutoModel": "m.M"}, "sample_rate": 24000, "deepnorm": False}
    own |= {"feature_extractor_cqt": False, "attention_relax": relax}
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict() | own))
    extractor = transformers.Wav2Vec2FeatureExtractor(sampling_rate=24000, do_normalize=True)
    extractor.save_pretrained(tmp_path)

    body = load_backbone(f"mert:{tmp_path}", allow_noncommercial=True)
    sound = noise(5, 24000)
    with torch.no_grad():
        expected = network(**extractor(sound.samples, sampling_rate=24000, return_tensors="pt")).last_hidden_state[0]
    states = body.states([sound])
    # 374 frames for 5 s at 75 a second: the last one stands for the 375th too.
    assert len(expected) == 374 and states.mask_BT.sum() == 375
    np.testing.assert_allclose(states.states_BTD[0, :374], expected, atol=2e-5)
    np.testing.assert_array_equal(states.states_BTD[0, 374], states.states_BTD[0, 373])
    seen = []
    network.encoder.layers[1].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        network(**extractor(sound.samples, sampling_rate=24000, return_tensors="pt"))
    inner = load_backbone(f"mert:{tmp_path}", allow_noncommercial=True, layer=1).states([sound])
    np.testing.assert_allclose(inner.states_BTD[0, :374], seen[0][0], atol=2e-5)

    (tmp_path / "config.json").write_text(json.dumps(config.to_dict() | own | {"feature_extractor_cqt": True}))
    with pytest.raises(WeightsError, match="feature_extractor_cqt = True"):
        load_backbone(f"mert:{tmp_path}", allow_noncommercial=True)


# --- EAT ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def eat_state():
    from solfa.encoders.published.eat import EatNetwork

    return alive(EatNetwork(dim=32, depth=2, hidden=48, positions=768).state_dict())


@pytest.fixture(scope="module")
def eat_folder(eat_state, tmp_path_factory):
    folder = tmp_path_factory.mktemp("eat")
    state = {f"model.{key}": value for key, value in eat_state.items()}
    save_file(state | {"model.head.weight": torch.zeros(1)}, folder / "model.safetensors")
    return folder


def kaldi(samples):
    """Filter banks by transformers' own spectrogram, with the settings of its AST; padded and scaled as EAT's."""
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    bank = mel_filter_bank(257, 128, 20, 8000, 16000, mel_scale="kaldi", triangularize_in_mel_space=True)
    rows = spectrogram(
        samples - samples.mean(), window_function(400, "hann", periodic=False), 400, 160, 512, power=2.0, center=False,
        preemphasis=0.97, mel_filters=bank, log_mel="log", mel_floor=1.192092955078125e-07, remove_dc_offset=True,
    ).T  # fmt: skip
    padded = np.zeros((1024, 128), np.float32)
    padded[: len(rows)] = rows
    return (padded + 4.268) / (2 * 4.569)


def vit(state, image):
    """The class token and states by torch's own transformer layers, which add and then normalise."""
    import torch.nn.functional as F

    layers = []
    for i in range(2):
        layer = torch.nn.TransformerEncoderLayer(32, 1, 48, 0.0, "gelu", layer_norm_eps=1e-6, batch_first=True)
        names = {"self_attn.in_proj_": "attn.qkv.", "self_attn.out_proj.": "attn.proj.", "linear1.": "mlp.fc1."}
        names |= {"linear2.": "mlp.fc2.", "norm1.": "norm1.", "norm2.": "norm2."}
        own = {f"{n}{w}": state[f"blocks.{i}.{o}{w}"] for n, o in names.items() for w in ("weight", "bias")}
        layer.load_state_dict(own)
        layers.append(layer.train())  # its fast path for inference wants more than one head
    with torch.no_grad():
        x = F.conv2d(torch.from_numpy(image)[None, None], state["local_encoder.proj.weight"], stride=16)
        x = (x + state["local_encoder.proj.bias"][:, None, None]).flatten(2).transpose(1, 2)
        x = torch.cat([state["extra_tokens"], x + state["fixed_positional_encoder.positions"][:, :512]], 1)
        x = F.layer_norm(x, (32,), state["pre_norm.weight"], state["pre_norm.bias"], 1e-6)
        for layer in layers:
            x = layer(x)
    return x[0, 0].numpy(), x[0, 1:].reshape(64, 8, 32).mean(dim=1).numpy()


@pytest.mark.filterwarnings("ignore:At least one mel filter")  # as Kaldi has it
@pytest.mark.parametrize(("seconds", "frames"), [(10.24, 64), (10, 63), (3, 19)])
def test_eat_gives_what_a_plain_transformer_makes_of_kaldis_filter_banks(eat_folder, eat_state, seconds, frames):
    body = load_backbone(f"eat:{eat_folder}")
    sound = noise(seconds, 16000)
    states = body.states([sound])
    token, expected = vit(eat_state, kaldi(sound.samples).astype(np.float32))
    assert states.mask_BT.sum() == frames and body.spec.hop_s == 0.16
    np.testing.assert_allclose(states.pooled_BD[0], token, atol=2e-4)
    np.testing.assert_allclose(states.states_BTD[0], expected[:frames], atol=2e-4)


def test_eat_reads_fairseq_names(eat_folder, eat_state, tmp_path):
    old = {}
    for key, value in eat_state.items():
        inside = key.startswith(("local_encoder", "extra_tokens", "fixed_positional"))
        name = f"modality_encoders.IMAGE.{key}" if inside else key
        old[f"model.{name.replace('pre_norm', 'modality_encoders.IMAGE.context_encoder.norm')}"] = value
    old["model.modality_encoders.IMAGE.decoder.blocks.0.0.weight"] = old["fc_norm.weight"] = torch.zeros(1)
    torch.save({"model": old}, tmp_path / "eat.pt")
    sound = [noise(2, 16000)]
    a, b = (load_backbone(f"eat:{where}").states(sound) for where in (eat_folder, tmp_path / "eat.pt"))
    np.testing.assert_array_equal(a.states_BTD, b.states_BTD)


# --- MULE -----------------------------------------------------------------------------------------------------------


def test_mule_gives_the_packages_vectors(tmp_path):
    mule_torch = pytest.importorskip("mule_torch")
    pytest.importorskip("librosa")
    config = mule_torch.config.MuleConfig(
        embedding_dim=160, slow_stage_in=(256, 256, 256, 256), slow_stage_out=(128,) * 4,
        fast_stage_out=(32,) * 4, fast_stage_in=(16, 32, 32, 32), fusion_input_channels=(8,) * 4,
        fusion_output_channels=(128,) * 4, slow_group_size=16, fast_group_size=4,
    )  # fmt: skip
    torch.manual_seed(0)
    model = mule_torch.MuleModel(config).eval()
    model.save_pretrained(tmp_path)
    body = load_backbone(f"mule:{tmp_path}", allow_noncommercial=True)
    sound = noise(5, 16000)
    states = body.states([sound])
    with torch.no_grad():
        expected = torch.stack([model(torch.from_numpy(sound.samples[s : s + 48000]))[0] for s in (0, 16000, 32000)])
    assert states.mask_BT.sum() == 5 and body.spec.dim == 160
    np.testing.assert_allclose(states.states_BTD[0, :3], expected, atol=1e-5)


# --- MusCALL --------------------------------------------------------------------------------------------------------

GOLDEN_POOLED = [-0.6051, -0.4501, -0.0950, -0.1562, -0.4245, 0.3996]
GOLDEN_STATE = [-0.6040, -0.4505, -0.0950, -0.1568, -0.4243, 0.3995]


def muscall_state():
    from solfa.encoders.published.muscall import MusCallNetwork

    hz = torch.linspace(0, 8000, 513)[:, None]
    points = 700 * (10 ** (torch.linspace(0, 2595 * np.log10(1 + 11025 / 700), 130) / 2595) - 1)
    low, centre, high = points[:-2], points[1:-1], points[2:]
    spec = {
        "audio_backbone.spec.spectrogram.window": torch.hann_window(1024),
        "audio_backbone.spec.mel_scale.fb": torch.minimum((hz - low) / (centre - low), (high - hz) / (high - centre)),
    }
    spec["audio_backbone.spec.mel_scale.fb"].clamp_(min=0)
    shapes = {
        "audio_backbone.conv3.weight": torch.zeros(4, 2, 3, 3),
        "audio_backbone.attnpool.positional_embedding": torch.zeros(77, 128),
        "audio_backbone.attnpool.c_proj.bias": torch.zeros(16),
        "audio_projection.weight": torch.zeros(12, 16),
    }
    return alive(MusCallNetwork(spec | shapes).state_dict()) | spec


def test_muscall_gives_the_states_of_the_public_code(tmp_path):
    """Numbers that the public code's audio backbone gave for these very weights (each window a batch of its own)."""
    state = muscall_state()
    unused = {"logit_scale": torch.zeros(()), "textual_head.a": torch.zeros(1), "audio_ssl.b": torch.zeros(1)}
    torch.save({"state_dict": state | unused}, tmp_path / "muscall.pt")
    body = load_backbone(f"muscall:{tmp_path / 'muscall.pt'}")
    sounds = [noise(20, 16000), noise(4, 16000)]
    states = body.states(sounds)
    assert body.spec.hop_s == 1.024 and states.mask_BT.sum(axis=1).tolist() == [20, 4]
    np.testing.assert_allclose(states.pooled_BD[0, :6], GOLDEN_POOLED, atol=1e-4)
    np.testing.assert_allclose(states.states_BTD[0, 5, :6], GOLDEN_STATE, atol=1e-4)
    del state["audio_backbone.attnpool.c_proj.bias"]
    torch.save(state, tmp_path / "muscall.pt")
    with pytest.raises(WeightsError, match="not a MusCALL checkpoint"):
        load_backbone(f"muscall:{tmp_path / 'muscall.pt'}")


# --- all of them ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["muq", "eat"])
def body(request, muq_folder, eat_folder):
    folder = {"muq": muq_folder, "eat": eat_folder}[request.param]
    options = {"window_s": 2.0} if request.param == "muq" else {}
    return load_backbone(f"{request.param}:{folder}", allow_noncommercial=True, **options)


def test_the_batch_changes_no_bit(body):
    rate = body.spec.sample_rate_hz
    batch = [noise(seconds, rate) for seconds in (11.7, 0, 1.3, 0.2)]
    together = body.states(batch)
    body._items = 4  # as on a GPU
    at_once = body.states(batch)
    np.testing.assert_array_equal(at_once.mask_BT, together.mask_BT)
    np.testing.assert_allclose(at_once.states_BTD, together.states_BTD, atol=1e-5)
    np.testing.assert_allclose(at_once.pooled_BD, together.pooled_BD, atol=1e-5)
    body._items = 1
    for i, sound in enumerate(batch):
        alone = body.states([sound])
        np.testing.assert_array_equal(alone.states_BTD[0], together.states_BTD[i][together.mask_BT[i]])
        np.testing.assert_array_equal(alone.pooled_BD[0], together.pooled_BD[i])
    assert not together.mask_BT[1].any() and not together.pooled_BD[1].any()
    assert together.mask_BT[3].sum() == np.ceil(0.2 / body.spec.hop_s)
    assert body.states([]).pooled_BD.shape == (0, body.spec.dim)


def test_a_state_lies_at_its_time(body):
    """The second window of a sound says what the sound from there says."""
    rate, hop = body.spec.sample_rate_hz, body.spec.hop_s
    step = body.grid.step_s
    sound = noise(2 * step, rate)
    rest = Audio(sound.samples[round(step * rate) :], rate)
    both, second = body.states([sound]).states_BTD[0], body.states([rest]).states_BTD[0]
    assert len(both) == round(2 * step / hop)
    np.testing.assert_array_equal(both[round(step / hop) :], second)


def test_a_trainer_can_tune_it(body):
    rate = body.spec.sample_rate_hz
    batch = [noise(3, rate), Audio(np.zeros(0, np.float32), rate), noise(1, rate)]
    body.network.train()
    pooled, states, mask = body.network(body.prepare(batch))
    assert pooled.shape == (3, body.spec.dim) and states.shape[:2] == mask.shape
    (pooled.square().mean() + states[mask].square().mean()).backward()
    assert all(p.grad is not None for p in body.network.parameters() if p.requires_grad)
    assert not pooled[1].any() and not mask[1].any()
    body.network.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():  # the front end stays in float32
        low = body.network(body.prepare(batch))[0]
    full = body.states(batch).pooled_BD
    np.testing.assert_allclose(low.float(), full, atol=0.02 * np.abs(full).max())


@pytest.mark.parametrize("name", ["muq", "musicfm", "eat"])
def test_spectrograms_can_be_striped(name, muq_folder, musicfm_folder, eat_folder, stripes_count):
    folder = {"muq": muq_folder, "musicfm": musicfm_folder, "eat": eat_folder}[name]
    options = {"layer": 1} if name == "musicfm" else {}
    body = load_backbone(f"{name}:{folder}", allow_noncommercial=True, **options)
    stripes_count(body, noise(3, body.spec.sample_rate_hz))


@pytest.mark.parametrize("name", ["muq", "musicfm", "eat", "muscall"])
def test_a_tuned_body_is_rebuilt_from_its_own_files(name, muq_folder, musicfm_folder, eat_folder, rebuild, tmp_path):
    torch.save(muscall_state(), tmp_path / "muscall.pt")
    places = {"muq": muq_folder, "musicfm": musicfm_folder, "eat": eat_folder, "muscall": tmp_path / "muscall.pt"}
    options = {"layer": 1} if name == "musicfm" else {}
    body = load_backbone(f"{name}:{places[name]}", allow_noncommercial=True, **options)
    sound = [noise(1, body.spec.sample_rate_hz)]
    before = body.states(sound).states_BTD
    other = rebuild(body, **options).states(sound).states_BTD
    np.testing.assert_array_equal(other, body.states(sound).states_BTD)
    assert np.abs(other - before).max() > 1e-4
    assert body.lengths(sound) == [other.shape[1]] and body.lengths([]) == []


def test_dead_weights_are_refused(eat_folder, tmp_path):
    state = load_file(eat_folder / "model.safetensors")
    state["model.blocks.0.mlp.fc1.weight"] *= float("nan")
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="not finite"):
        load_backbone(f"eat:{tmp_path}").states([noise(1, 16000)])


def test_half_a_checkpoint_is_refused(eat_folder, muq_folder, tmp_path):
    state = load_file(eat_folder / "model.safetensors")
    save_file({k: v for k, v in state.items() if "blocks.1.norm1" not in k}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"2 weights are missing.*blocks\.1\.norm1"):
        load_backbone(f"eat:{tmp_path}")
    with pytest.raises(WeightsError, match="not an EAT checkpoint: it lacks 'local_encoder"):
        load_backbone(f"eat:{muq_folder}")
    with pytest.raises(WeightsError, match="has no pretrained_msd"):
        load_backbone(f"musicfm:{eat_folder}")
    with pytest.raises(WeightsError, match=r"config\.json cannot be read"):
        load_backbone(f"muq:{eat_folder}", allow_noncommercial=True)
    with pytest.raises(InputError, match="hf download m-a-p/MERT-v1-95M"):
        load_backbone("mert", allow_noncommercial=True)
    with pytest.raises(InputError, match=r"muscall has no weights.*muscall:PATH"):
        load_backbone("muscall")
