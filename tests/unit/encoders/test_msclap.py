"""Microsoft's CLAP on tiny weights of the real architecture, in its layout, against transformers' HTS-AT and GPT-2."""

import shutil

import numpy as np
import pytest

from solfa.core.errors import InputError, WeightsError
from solfa.core.types import Audio
from solfa.encoders.registry import load_backbone

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from test_clap import laion_state  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from solfa.encoders.published import msclap  # noqa: E402

torch.set_num_threads(1)  # tiny networks; more threads only wait for each other
RATE = 44100
NOISE = (np.random.default_rng(0).standard_normal(15 * RATE) * 0.1).astype(np.float32)
TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE)).astype(np.float32)
TEXTS = ["a warm piano", "loud! guitar!!", ""]
LONG = "a warm piano over slow drums, " * 20 + "and a loud guitar at the end"


def bank():
    """Slaney's filters for 32 kHz, as in the published checkpoint (librosa's defaults)."""
    from transformers.audio_utils import mel_filter_bank

    return mel_filter_bank(513, 64, 50, 14000, 32000, norm="slaney", mel_scale="slaney")


@pytest.fixture(scope="module")
def parts():
    """HTS-AT, GPT-2 and both projections, alive."""
    torch.manual_seed(0)
    audio = {"patch_embeds_hidden_size": 16, "hidden_size": 128, "depths": [1, 2, 1, 1]}
    ears = transformers.ClapAudioModel(transformers.ClapAudioConfig(**audio, num_attention_heads=[2, 2, 4, 4]))
    words = transformers.GPT2Model(
        transformers.GPT2Config(vocab_size=300, n_positions=128, n_embd=128, n_layer=2, n_head=2)
    )
    made = torch.nn.ModuleDict({"audio_model": ears, "words": words}).eval()
    for kind in ("audio", "text"):
        made[kind] = torch.nn.ModuleDict({"linear1": torch.nn.Linear(128, 24, bias=False)})
        made[kind].update({"linear2": torch.nn.Linear(24, 24, bias=False), "layer_norm": torch.nn.LayerNorm(24)})
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2.5) if parameter.ndim > 1 else parameter.add_(0.1 * torch.randn_like(parameter))
        ears.audio_encoder.batch_norm.running_mean.uniform_(-20, 0)
        ears.audio_encoder.batch_norm.running_var.uniform_(50, 200)
    return made


def published(parts):
    """The names that Microsoft's package gives the same tensors; buffers are floats there."""
    whole = torch.nn.ModuleDict({"audio_model": parts["audio_model"]})
    state = laion_state(whole)
    state = {k.replace("module.audio_branch.", msclap._FRONT): v for k, v in state.items() if "audio_branch" in k}
    state[f"{msclap._FRONT}logmel_extractor.melW"] = torch.from_numpy(bank()).float()
    angles = 2 * np.pi * np.outer(np.arange(513), np.arange(1024)) / 1024
    waves = torch.from_numpy(np.cos(angles)).float() * torch.hann_window(1024)
    state[f"{msclap._FRONT}spectrogram_extractor.stft.conv_real.weight"] = waves[:, None]
    for part, name in (("audio", "audio_encoder.projection"), ("text", "caption_encoder.projection")):
        state |= {f"{name}.{key}": value for key, value in parts[part].state_dict().items()}
    state |= {f"caption_encoder.base.{key}": value for key, value in parts["words"].state_dict().items()}
    state |= {"caption_encoder.base.h.0.attn.bias": torch.ones(1), "logit_scale": torch.ones(())}
    return {key: value.float() for key, value in state.items()}


@pytest.fixture(scope="module")
def folder(parts, gpt2_folder, tmp_path_factory):
    made = tmp_path_factory.mktemp("msclap")
    shutil.copy(gpt2_folder / "tokenizer.json", made)
    torch.save({"model": published(parts)}, made / "CLAP_weights_2023.pth")
    return made


@pytest.fixture(scope="module")
def model(folder):
    return msclap.load(source=folder)


def library(parts, samples, length=7 * RATE):
    """HTS-AT's own answer for a window, its input by the library's spectrogram."""
    from transformers.audio_utils import spectrogram, window_function

    mels = spectrogram(
        np.resize(samples, length), window_function(1024, "hann"), 1024, 320, power=2.0, mel_filters=bank()
    )
    levels = torch.from_numpy(10 * np.log10(np.maximum(mels.T, 1e-10))).float()
    with torch.no_grad():
        return parts["audio_model"](input_features=levels[None, None])


def projected(part, x):
    first = F.linear(x, part["linear1"].weight)
    second = F.linear(F.gelu(first), part["linear2"].weight)
    norm = part["layer_norm"]
    return F.normalize(F.layer_norm(first + second, (24,), norm.weight, norm.bias), dim=-1).detach().numpy()


def read(parts, gpt2_folder, text):
    """GPT-2's own states of a text, and where its vector is."""
    tokens = transformers.GPT2TokenizerFast.from_pretrained(gpt2_folder, pad_token="!")
    ids = tokens(f"{text} <|endoftext|>", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return parts["words"](input_ids=ids).last_hidden_state[0], ids.shape[1] - 1 - text.count("!")


def test_sound_is_heard_in_windows_of_seven_seconds(parts, model):
    sounds = [NOISE[: 7 * RATE], TONE, NOISE[7 * RATE : 14 * RATE]]
    expected = np.concatenate([projected(parts["audio"], library(parts, sound).pooler_output) for sound in sounds])
    assert expected[0] @ expected[1] < 0.95
    features = model.audio.encode([Audio(NOISE[: round(14.5 * RATE)], RATE), Audio(TONE, RATE)])
    assert features.mask_BT.sum(axis=1).tolist() == [2, 1] and model.audio.spec.hop_s == 7.0
    np.testing.assert_allclose(features.frames_BTD[0], expected[[0, 2]], atol=2e-5)
    np.testing.assert_allclose(features.global_BD[1], expected[1], atol=2e-5)


def test_text_is_pooled_where_the_package_does(parts, gpt2_folder, model):
    made = model.text.encode(TEXTS).global_BD
    for text, vector in zip(TEXTS, made, strict=True):
        hidden, at = read(parts, gpt2_folder, text)
        np.testing.assert_allclose(vector, projected(parts["text"], hidden[at]), atol=1e-5)
    assert made[0] @ made[1] < 0.95
    np.testing.assert_array_equal(model.text.encode(TEXTS[1:2]).global_BD[0], made[1])
    assert model.text.encode([LONG]).mask_BT.sum() >= 3


def test_the_audio_body_has_32_states_of_a_window(parts, folder, stripes_count):
    body = load_backbone(f"msclap:{folder}")
    assert (body.spec.sample_rate_hz, body.spec.hop_s, body.spec.dim) == (44100, 7 / 32, 128)
    states = body.states([Audio(NOISE[: 7 * RATE], RATE), Audio(TONE, RATE)])
    assert states.mask_BT.sum(axis=1).tolist() == [32, 14]
    expected = library(parts, NOISE[: 7 * RATE])
    np.testing.assert_allclose(states.pooled_BD[0], expected.pooler_output[0], atol=2e-4)
    np.testing.assert_allclose(states.states_BTD[0], expected.last_hidden_state[0].mean(dim=1).T, atol=2e-4)
    stripes_count(body, Audio(TONE, RATE))


def test_a_checkpoint_of_htsats_authors_is_heard_at_32_khz(parts, tmp_path, rebuild):
    state = {
        k.replace(msclap._FRONT, "sed_model."): v for k, v in published(parts).items() if k.startswith(msclap._FRONT)
    }
    state["sed_model.tscam_conv.weight"] = state["sed_model.bn0.num_batches_tracked"] = torch.zeros(())
    torch.save({"epoch": 9, "state_dict": state}, tmp_path / "HTSAT_AudioSet_Saved_1.ckpt")
    body = load_backbone(f"htsat:{tmp_path / 'HTSAT_AudioSet_Saved_1.ckpt'}")
    assert (body.spec.sample_rate_hz, body.spec.hop_s, body.spec.dim) == (32000, 0.3125, 128)
    states = body.states([Audio(NOISE[:320000], 32000), Audio(NOISE[:96000], 32000)])
    assert states.mask_BT.sum(axis=1).tolist() == [32, 10]
    for i, samples in enumerate((NOISE[:320000], NOISE[:96000])):
        expected = library(parts, samples, 320000)
        np.testing.assert_allclose(states.pooled_BD[i], expected.pooler_output[0], atol=2e-4)
        rows = expected.last_hidden_state[0].mean(dim=1).T[: states.mask_BT[i].sum()]
        np.testing.assert_allclose(states.states_BTD[i][states.mask_BT[i]], rows, atol=2e-4)
    sound = [Audio(TONE, RATE)]
    np.testing.assert_array_equal(rebuild(body).states(sound).states_BTD, body.states(sound).states_BTD)
    del state["sed_model.norm.weight"]
    torch.save({"state_dict": state}, tmp_path / "half.ckpt")
    with pytest.raises(WeightsError, match=r"1 weights are missing.*norm\.weight"):
        load_backbone(f"htsat:{tmp_path / 'half.ckpt'}")


def test_the_text_body_has_a_state_of_each_token(parts, folder, gpt2_folder):
    body = load_backbone(f"msclap:{folder}", "text")
    states = body.states(TEXTS)
    for i, text in enumerate(TEXTS):
        hidden, at = read(parts, gpt2_folder, text)
        np.testing.assert_allclose(states.states_BTD[i][states.mask_BT[i]], hidden, atol=2e-5)
        np.testing.assert_allclose(states.pooled_BD[i], hidden[at], atol=2e-5)
    assert body.lengths([LONG])[0] > 77 == load_backbone(f"msclap:{folder}", "text", cut=True).lengths([LONG])[0]
    body._items = 3  # as on a GPU: padded to one length
    np.testing.assert_allclose(body.states(TEXTS).pooled_BD, states.pooled_BD, atol=2e-5)


@pytest.mark.parametrize(("kind", "items"), [("audio", [Audio(TONE, RATE)]), ("text", TEXTS)])
def test_a_tuned_body_is_rebuilt_from_its_own_files(folder, rebuild, kind, items):
    body = load_backbone(f"msclap:{folder}", kind)
    before = body.states(items).states_BTD
    other = rebuild(body, kind).states(items).states_BTD
    np.testing.assert_array_equal(other, body.states(items).states_BTD)
    assert np.abs(other - before).max() > 1e-4


def test_spaces_and_licences_are_told_apart(folder, model):
    specs = [load_backbone(f"msclap:{folder}", kind).spec for kind in ("audio", "text")]
    assert len({spec.space for spec in specs} | {model.audio.spec.space}) == 3
    assert model.text.spec.space == model.audio.spec.space
    assert all(spec.licence == "of the given file, not known to solfa" and not spec.commercial_use for spec in specs)


def test_other_checkpoints_are_refused(parts, folder, tmp_path, monkeypatch):
    state = published(parts)
    file = tmp_path / "other.pth"
    torch.save({"model": {"audio_encoder.base.conv_block1.conv1.weight": torch.zeros(1)}}, file)
    with pytest.raises(WeightsError, match=r"not Microsoft's CLAP of 2023: it lacks 'audio_encoder\.base\.htsat"):
        msclap.load(source=file)
    del state["caption_encoder.base.ln_f.bias"]
    torch.save({"model": state}, file)
    with pytest.raises(WeightsError, match=r"1 weights are missing.*words\.ln_f\.bias"):
        msclap.load(source=file)
    with pytest.raises(WeightsError, match=r"has no CLAP_weights_2023\.pth"):
        msclap.load(source=tmp_path)
    with pytest.raises(InputError, match="hf download microsoft/msclap"):
        msclap.load()
    alone = shutil.copy(folder / "CLAP_weights_2023.pth", tmp_path)
    with pytest.raises(InputError, match="hf download openai-community/gpt2"):
        msclap.load(source=alone)
    assert msclap.load(source=alone, tokenizer=folder).text.encode(TEXTS).global_BD.shape == (3, 24)
