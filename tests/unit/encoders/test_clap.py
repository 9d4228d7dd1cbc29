"""CLAP on tiny weights of the real architecture: the library's own answers, in windows, in either checkpoint layout."""

import re
import shutil
import sys

import numpy as np
import pytest

from solfa.core.errors import InputError, MissingExtra, MissingWeights, WeightsError
from solfa.core.types import Audio
from solfa.encoders import selftest, tokens, vectors
from solfa.encoders.published import clap
from solfa.encoders.registry import load_backbone, load_model

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

torch.set_num_threads(1)  # tiny networks; more threads only wait for each other
RATE = 48000
RNG = np.random.default_rng(0)
NOISE = (RNG.standard_normal(25 * RATE) * 0.1).astype(np.float32)
TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(4 * RATE) / RATE)).astype(np.float32)
LONG = "a warm piano over slow drums, " * 20 + "and a loud guitar at the end"


def tiny_network(fused: bool = False):
    torch.manual_seed(0)
    config = transformers.ClapConfig(
        text_config={
            "vocab_size": 300,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 1,
            "intermediate_size": 64,
            "max_position_embeddings": 90,
            "layer_norm_eps": 1e-5,
        },
        audio_config={
            "patch_embeds_hidden_size": 16,
            "hidden_size": 128,
            "depths": [1, 2, 1, 1],
            "num_attention_heads": [2, 2, 4, 4],
            "enable_fusion": fused,
            "fusion_type": "aff_2d" if fused else None,
        },
        projection_dim=32,
    )
    network = transformers.ClapModel(config).eval()
    with torch.no_grad():  # fresh weights are small and map everything to one place; these are alive
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(20.0 if "embeddings" in name else 2.5)
        network.audio_model.audio_encoder.batch_norm.running_mean.uniform_(-20, 0)
        network.audio_model.audio_encoder.batch_norm.running_var.uniform_(50, 200)
    return network


def save(network, folder, bpe_folder, truncation="rand_trunc"):
    shutil.copytree(bpe_folder, folder, dirs_exist_ok=True)
    network.save_pretrained(folder)
    transformers.ClapFeatureExtractor(frequency_min=50, truncation=truncation).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def network():
    return tiny_network()


@pytest.fixture(scope="module")
def folder(network, bpe_folder, tmp_path_factory):
    return save(network, tmp_path_factory.mktemp("clap"), bpe_folder)


@pytest.fixture(scope="module")
def model(folder):
    return clap.load(source=folder)


def library_audio(network, folder, samples):
    extractor = transformers.ClapFeatureExtractor.from_pretrained(folder)
    with torch.no_grad():
        out = network.get_audio_features(**extractor(samples, sampling_rate=RATE, return_tensors="pt"))
    return getattr(out, "pooler_output", out).numpy()


def test_sound_gives_the_librarys_vector(network, folder, model):
    clip = NOISE[: 10 * RATE]
    features = model.audio.encode([Audio(clip, RATE), Audio(TONE, RATE)])
    expected = np.concatenate([library_audio(network, folder, clip), library_audio(network, folder, TONE)])
    np.testing.assert_allclose(features.global_BD, expected, atol=1e-5)
    assert features.global_BD[0] @ features.global_BD[1] < 0.9


def test_text_gives_the_librarys_vector(network, folder, model):
    tokens = transformers.AutoTokenizer.from_pretrained(folder)("a warm piano", return_tensors="pt")
    with torch.no_grad():
        out = network.get_text_features(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
    expected = getattr(out, "pooler_output", out).numpy()
    np.testing.assert_allclose(model.text.encode(["a warm piano"]).global_BD, expected, atol=1e-5)


def test_long_sound_is_heard_in_fixed_windows_from_the_start(network, folder, model):
    features = model.audio.encode([Audio(NOISE, RATE)])
    assert model.audio.spec.hop_s == 10.0
    parts = [library_audio(network, folder, NOISE[s : s + 10 * RATE]) for s in (0, 10 * RATE, 20 * RATE)]
    np.testing.assert_allclose(features.frames_BTD[0], np.concatenate(parts), atol=1e-5)
    mean = np.concatenate(parts).mean(axis=0)
    np.testing.assert_allclose(features.global_BD[0], mean / np.linalg.norm(mean), atol=1e-5)


def test_batch_and_padding_change_no_bit(model):
    stretches = [Audio(NOISE, RATE), Audio(TONE, RATE), Audio(NOISE[: 12 * RATE], RATE)]
    together = model.audio.encode(stretches)
    assert together.mask_BT.tolist() == [[True, True, True], [True, False, False], [True, True, False]]
    for i, stretch in enumerate(stretches):
        alone = model.audio.encode([stretch])
        np.testing.assert_array_equal(alone.global_BD[0], together.global_BD[i])
        np.testing.assert_array_equal(alone.frames_BTD[0], together.frames_BTD[i][together.mask_BT[i]])
    texts = ["a warm piano", LONG, "drums"]
    both = model.text.encode(texts).global_BD
    np.testing.assert_array_equal(both, np.concatenate([model.text.encode([t]).global_BD for t in texts]))


def test_silence_rests_and_other_rates_are_heard(model):
    features = model.audio.encode([Audio(np.zeros(0, np.float32), RATE), Audio(NOISE[: 10 * RATE + RATE // 2], RATE)])
    assert np.isfinite(features.global_BD).all()
    assert features.mask_BT.sum(axis=1).tolist() == [1, 1]
    assert model.audio.encode([Audio(NOISE[:44100], 44100)]).frames_BTD.shape == (1, 1, 32)
    assert model.audio.encode([]).global_BD.shape == (0, 32)


def test_every_clause_of_a_long_text_counts(model):
    assert len(model.text.backbone.tokens(LONG)) >= 3
    assert len(model.text.tokenizer.encode(LONG).ids) > 2 * clap.MAX_TOKENS  # as `eval saturation` cuts
    features = model.text.encode([LONG])
    assert features.mask_BT.sum() >= 3
    shorter = model.text.encode([LONG.removesuffix(" at the end")])
    assert np.abs(features.global_BD - shorter.global_BD).max() > 1e-3


def test_pieces_hold_every_word_and_fit():
    def count(text):
        return len(text.split()) + 2

    text = "one, two three; four five six seven eight nine ten eleven twelve. thirteen"
    parts = tokens.pieces(text, count, 7)
    assert " ".join(parts).split() == text.split()
    assert max(map(count, parts)) <= 7
    assert parts[0] == "one, two three;"
    assert tokens.pieces("short", count, 7) == ["short"]
    assert "".join(tokens.pieces("x" * 40, len, 7)) == "x" * 40


def test_the_model_passes_the_self_test(model):
    selftest.check(model)


def test_a_fused_checkpoint_gives_the_same_answer_twice(bpe_folder, tmp_path):
    model = clap.load(source=save(tiny_network(fused=True), tmp_path / "fused", bpe_folder, "fusion"))
    clips = [Audio(TONE, RATE), Audio(NOISE[: 10 * RATE], RATE)]
    first = model.audio.encode(clips).global_BD
    for _ in range(3):
        np.testing.assert_array_equal(model.audio.encode(clips).global_BD, first)


# --- LAION checkpoints ----------------------------------------------------------------------------------------------

BACK = (
    (".attention.output.dense.", ".attn.proj."),
    (".attention.self.", ".attn."),
    (".intermediate.dense.", ".mlp.fc1."),
    (".output.dense.", ".mlp.fc2."),
    (".layernorm_before.", ".norm1."),
    (".layernorm_after.", ".norm2."),
    (".batch_norm.", ".bn0."),
    ("audio_model.audio_encoder.", "audio_branch."),
)


def laion_state(network) -> dict:
    """The names that LAION's training code gives the same tensors."""
    out, source = {}, network.state_dict()
    for key, value in source.items():
        if key.startswith("text_model."):
            name = key.replace("text_model.", "text_branch.")
        elif match := re.fullmatch(r"(\w+_projection)\.linear([12])\.(\w+)", key):
            name = f"{match[1]}.{(int(match[2]) - 1) * 2}.{match[3]}"
        else:
            if re.search(r"\.self\.(key|value)\.", key):
                continue
            if ".self.query." in key:
                value = torch.cat([source[key.replace("query", part)] for part in ("query", "key", "value")])
            name = key.replace(".self.query.", ".self.qkv.")
            for theirs, ours in BACK:
                name = name.replace(theirs, ours)
        out[f"module.{name}"] = value
    out["module.audio_branch.logmel_extractor.melW"] = torch.zeros(513, 64)
    out["module.audio_branch.tscam_conv.weight"] = torch.zeros(1)
    out["module.audio_branch.layers.1.blocks.1.attn_mask"] = torch.zeros(1)
    out["module.text_transform.sequential.0.weight"] = torch.zeros(1)
    return out


@pytest.fixture
def laion_file(network, bpe_folder, tmp_path):
    shutil.copytree(bpe_folder, tmp_path / "laion")
    file = tmp_path / "laion" / "music.pt"
    torch.save({"epoch": 15, "acc": np.float64(0.9), "state_dict": laion_state(network)}, file)
    return file


def test_a_laion_checkpoint_gives_the_same_vectors_as_the_folder(model, laion_file):
    other = clap.load(source=laion_file)
    clips = [Audio(NOISE[: 12 * RATE], RATE), Audio(TONE, RATE)]
    np.testing.assert_allclose(other.audio.encode(clips).global_BD, model.audio.encode(clips).global_BD, atol=1e-6)
    texts = ["a warm piano", LONG]
    np.testing.assert_allclose(other.text.encode(texts).global_BD, model.text.encode(texts).global_BD, atol=1e-6)
    assert other.space != model.space  # another file, so another space: nobody proved that they are equal


def test_a_laion_checkpoint_without_a_tokenizer_asks_for_the_pulled_one(laion_file, tmp_path):
    alone = laion_file.rename(tmp_path / "alone.pt")
    with pytest.raises(MissingWeights, match="solfa models pull roberta-tokenizer"):
        clap.load(source=alone)
    assert clap.load(source=alone, tokenizer=tmp_path / "laion").space.startswith("clap/")


def test_a_checkpoint_that_lacks_a_tensor_is_refused(network, laion_file):
    state = laion_state(network)
    del state["module.audio_branch.norm.weight"]
    torch.save(state, laion_file)
    with pytest.raises(WeightsError, match=r"1 weights are missing.*norm\.weight"):
        clap.load(source=laion_file)


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize("content", [{"state_dict": {"a": 1}}, [1], {"state_dict": Evil()}])
def test_other_files_are_refused_and_run_no_code(laion_file, content, capsys):
    torch.save(content, laion_file)
    with pytest.raises(WeightsError):
        clap.load(source=laion_file)
    assert "code ran" not in capsys.readouterr().out


def test_a_file_of_garbage_is_refused(laion_file):
    laion_file.write_bytes(b"garbage" * 10)
    with pytest.raises(WeightsError, match="read safely"):
        clap.load(source=laion_file)


# --- as backbones ---------------------------------------------------------------------------------------------------


def test_short_windows_each_have_a_vector(network, folder):
    body = load_backbone(f"clap:{folder}")
    sound = NOISE[: int(3.4 * RATE)]
    states = body.states([Audio(sound, RATE), Audio(TONE[:RATE], RATE), Audio(sound[:0], RATE)])
    assert states.mask_BT.sum(axis=1).tolist() == [3, 1, 0] and body.spec.hop_s == 1.0
    parts = [library_audio(network, folder, sound[s * RATE : (s + 2) * RATE])[0] for s in (0, 1)]
    parts.append(library_audio(network, folder, sound[2 * RATE :])[0])  # 7 times 1.4 s, then silence
    np.testing.assert_allclose(states.states_BTD[0], parts, atol=1e-5)
    np.testing.assert_allclose(states.pooled_BD[0], np.mean(parts, axis=0), atol=1e-5)
    with pytest.raises(InputError, match="0 < step_s <= window_s <= 10"):
        load_backbone(f"clap:{folder}", window_s=12.0)


def test_htsat_gives_the_states_of_the_librarys_tower(network, folder):
    body = load_backbone(f"htsat:{folder}")
    extractor = transformers.ClapFeatureExtractor.from_pretrained(folder)
    clip = NOISE[: 10 * RATE]
    inputs = extractor(clip, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        out = network.audio_model(**inputs)
    states = body.states([Audio(NOISE[: 13 * RATE], RATE), Audio(clip, RATE)])
    assert states.mask_BT.sum(axis=1).tolist() == [42, 32] and body.spec.hop_s == 0.3125
    np.testing.assert_allclose(states.states_BTD[1, :32], out.last_hidden_state[0].mean(dim=1).T, atol=1e-5)
    np.testing.assert_allclose(states.pooled_BD[1], out.pooler_output[0], atol=1e-5)
    np.testing.assert_allclose(states.states_BTD[0, :32], states.states_BTD[1, :32], atol=1e-5)
    with torch.no_grad():  # 3 times 3 s, then silence
        rest = network.audio_model(**extractor(NOISE[10 * RATE : 13 * RATE], sampling_rate=RATE, return_tensors="pt"))
    np.testing.assert_allclose(states.states_BTD[0, 32:], rest.last_hidden_state[0].mean(dim=1).T[:10], atol=1e-5)


@pytest.mark.parametrize("name", ["clap", "htsat"])
def test_spectrograms_can_be_striped_after_the_norm(name, folder, stripes_count):
    body = load_backbone(f"{name}:{folder}")
    seen = []
    tower = body.network.body.audio_model.audio_encoder
    tower.patch_embed.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    stripes_count(body, Audio(NOISE[: 2 * RATE], RATE))
    assert any((x == 0).any() for x in seen) and not (seen[0] == 0).any()  # 0 is the mean of a band


def test_text_vectors_are_a_backbone_too(network, folder, model):
    body = load_backbone(f"clap:{folder}", "text")
    states = body.states([LONG, "a piano"])
    expected = model.text.encode([LONG, "a piano"])
    assert (
        states.mask_BT.sum(axis=1).tolist() == expected.mask_BT.sum(axis=1).tolist() == body.lengths([LONG, "a piano"])
    )
    np.testing.assert_allclose(states.states_BTD, expected.frames_BTD, atol=1e-5)
    unit = states.pooled_BD / np.linalg.norm(states.pooled_BD, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, expected.global_BD, atol=1e-5)
    first = load_backbone(f"clap:{folder}", "text", cut=True)
    assert first.states([LONG]).mask_BT.sum() == 1 and first.spec.space != body.spec.space
    pooled, _, mask = body.network(body.prepare(["a piano", LONG, "drums"]))
    pooled.square().mean().backward()
    assert mask.shape == (3, len(expected.mask_BT[0])) and all(p.grad is not None for p in body.network.parameters())


def test_a_laion_file_is_a_backbone_without_a_tokenizer(folder, laion_file, tmp_path):
    alone = shutil.copy(laion_file, tmp_path / "alone.pt")
    sound = [Audio(TONE, RATE)]
    a, b = (load_backbone(f"htsat:{where}").states(sound) for where in (folder, alone))
    np.testing.assert_allclose(a.states_BTD, b.states_BTD, atol=1e-5)


# --- what a user can get wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["clap", "htsat"])
@pytest.mark.parametrize("layout", ["transformers", "laion"])
def test_a_tuned_tower_is_rebuilt_from_its_own_files(name, layout, folder, laion_file, rebuild):
    body = load_backbone(f"{name}:{folder if layout == 'transformers' else laion_file}")
    sound = [Audio(NOISE[:RATE], RATE)]
    other = rebuild(body)
    np.testing.assert_array_equal(other.states(sound).states_BTD, body.states(sound).states_BTD)


def test_without_pull_the_error_says_how_to_get_it():
    with pytest.raises(MissingWeights, match="solfa models pull clap"):
        clap.load()


def test_an_unknown_source_is_not_fetched(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="fetches nothing"):
        clap.load(source="nobody/no-such-model")


@pytest.mark.parametrize("device", ["cuda:99", "abacus"])
def test_a_device_that_cannot_be_used_is_refused(folder, device):
    with pytest.raises(InputError, match=device):
        clap.load(source=folder, device=device)


def test_without_torch_the_install_line_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "solfa.encoders.published.clap")
    with pytest.raises(MissingExtra, match=r"pip install 'solfa\[torch\]'"):
        load_model("clap")


def test_a_folder_with_half_a_model_is_refused(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, tmp_path / "half")
    file = tmp_path / "half" / "model.safetensors"
    state = load_file(file)
    save_file({k: v for k, v in state.items() if "text_projection" not in k}, file, {"format": "pt"})
    with pytest.raises(WeightsError, match="lacks weights"):
        clap.load(source=tmp_path / "half")
    file.unlink()
    with pytest.raises(WeightsError, match=r"no model\.safetensors"):
        clap.load(source=tmp_path / "half")


def test_a_collapsed_text_tower_is_refused(bpe_folder, tmp_path):
    network = tiny_network()
    with torch.no_grad():
        network.text_projection.linear2.weight.zero_()
        network.text_projection.linear2.bias.normal_()
    model = clap.load(source=save(network, tmp_path / "dead", bpe_folder))
    with pytest.raises(WeightsError, match=r"dead text tower.*cosine 1\.0000"):
        selftest.check(model)


def test_vectors_without_direction_are_refused():
    with pytest.raises(WeightsError, match="length 0"):
        vectors.pack([np.zeros((1, 4), np.float32)], 4)
    with pytest.raises(WeightsError, match="length nan"):
        vectors.pack([np.full((1, 4), np.nan, np.float32)], 4)
