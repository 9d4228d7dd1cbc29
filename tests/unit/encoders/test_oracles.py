"""The packages that published the models, at tiny size: what they build and save, our loaders read to equal vectors.

They are no part of the dev environment (their pins exclude today's numpy and transformers): see ``oracles`` in
pyproject.toml. Without them these tests are skipped.
"""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from solfa.core.types import Audio
from solfa.encoders.published import clap, muq_mulan
from solfa.encoders.registry import load_backbone

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
F = torch.nn.functional
pytestmark = pytest.mark.filterwarnings("default")  # the packages are older than the libraries they run on

TOLERANCE = 1e-5
TEXTS = ["a warm piano", "loud guitar and drums"]
TRANSFORMER = {"tf_depth": 2, "heads": 2, "dim_head": 16, "attn_dropout": 0.0, "ff_dropout": 0.0, "ff_mult": 4}
W2V2 = {
    "hidden_act": "swish",
    "hidden_dropout": 0.1,
    "activation_dropout": 0.1,
    "attention_dropout": 0.1,
    "layerdrop": 0.0,
    "layer_norm_eps": 1e-5,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "position_embeddings_type": "rotary",
    "rotary_embedding_base": 10000,
    "conv_depthwise_kernel_size": 31,
    "conformer_conv_dropout": 0.1,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "feat_extract_activation": "gelu",
    "max_source_positions": 5000,
}
XLM_ROBERTA = {
    "vocab_size": 300,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 130,
    "type_vocab_size": 1,
}


def noise_and_notes(rate: int, seconds: int) -> list[np.ndarray]:
    time = np.arange(seconds * rate) / rate
    noise = np.random.default_rng(0).standard_normal(len(time)) * 0.1
    return [x.astype(np.float32) for x in (noise, 0.3 * np.sin(2 * np.pi * 440 * time) * np.exp(-6 * (time % 0.5)))]


def alive(network):
    """Fresh weights are small and map everything to one place; these do not."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "extractor" not in name:
                if parameter.ndim > 1:
                    parameter.mul_(20.0 if "embeddings" in name else 2.0)
                else:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
    return network.eval()


def same(ours, theirs, record, name):
    """Equal to the tolerance; what was seen goes into the report (--junitxml)."""
    record(name, float(np.abs(ours - theirs).max()))
    np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)


def unlike(vectors):
    """Vectors of unlike inputs differ, so that a dead network on both sides is no agreement."""
    assert vectors[0] @ vectors[1] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[1]) < 0.98


# --- laion-clap -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def laion():
    """LAION's module ``model``, without its ``__init__``, which wants wandb, wget, webdataset and torchvision."""
    spec = importlib.util.find_spec("laion_clap")
    if spec is None:
        pytest.skip("could not find laion_clap")
    pytest.importorskip("torchlibrosa")
    package, frozen = ModuleType("clap_module"), ModuleType("torchvision.ops.misc")
    package.__path__ = [str(Path(spec.submodule_search_locations[0]) / "clap_module")]
    frozen.FrozenBatchNorm2d = torch.nn.Identity  # for frozen layers in training; only its name is needed
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "clap_module", package)
        for name in ("torchvision", "torchvision.ops"):
            patch.setitem(sys.modules, name, ModuleType(name))
        patch.setitem(sys.modules, frozen.__name__, frozen)
        import clap_module.htsat
        import clap_module.model

        patch.setattr(clap_module.model, "create_htsat_model", lambda config, *_: tiny_htsat(clap_module.htsat, config))
        patch.setattr(clap_module.model, "RobertaModel", SimpleNamespace(from_pretrained=tiny_roberta))
        torch.manual_seed(0)
        return clap_module.model.CLAP(
            embed_dim=256,
            audio_cfg={"model_type": "HTSAT", "model_name": "tiny", "hop_size": 480},
            text_cfg=dict.fromkeys(("vocab_size", "width", "heads", "layers"), 1)
            | {"model_type": "roberta", "context_length": 77},
            joint_embed_shape=32,
        )


def tiny_htsat(module, config):
    return module.HTSAT_Swin_Transformer(
        spec_size=256,
        patch_size=4,
        patch_stride=(4, 4),
        num_classes=527,
        embed_dim=32,
        depths=[1, 2, 2, 1],
        num_heads=[2, 2, 4, 4],
        window_size=8,
        config=config,
        enable_fusion=False,
        fusion_type="None",
    )


def tiny_roberta(_):
    sizes = {"num_hidden_layers": 2, "intermediate_size": 64, "max_position_embeddings": 90, "type_vocab_size": 1}
    # 768 is the one width that LAION's text projection takes.
    return transformers.RobertaModel(
        transformers.RobertaConfig(
            vocab_size=300, hidden_size=768, num_attention_heads=12, layer_norm_eps=1e-5, **sizes
        )
    )


def test_laion_clap(laion, bpe_folder, tmp_path, record_testsuite_property):
    network = alive(laion)
    with torch.no_grad():
        network.audio_branch.bn0.running_mean.uniform_(-20, 0)
        network.audio_branch.bn0.running_var.uniform_(50, 200)
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save({"epoch": 3, "name": "tiny", "state_dict": state}, tmp_path / "tiny.pt")
    ours = clap.load(source=tmp_path / "tiny.pt", tokenizer=bpe_folder)
    sounds = noise_and_notes(48000, 10)
    tokens = transformers.PreTrainedTokenizerFast.from_pretrained(bpe_folder)
    with torch.no_grad():
        detected = [{"waveform": torch.tensor(sound), "longer": torch.tensor(False)} for sound in sounds]
        audio = network.get_audio_embedding(detected).numpy()
        texts = [tokens(text, return_tensors="pt") for text in TEXTS]
        text = np.concatenate([network.get_text_embedding(t).numpy() for t in texts])
    unlike(audio), unlike(text)
    same(
        ours.audio.encode([Audio(s, 48000) for s in sounds]).global_BD,
        audio,
        record_testsuite_property,
        "laion-clap audio",
    )
    same(ours.text.encode(TEXTS).global_BD, text, record_testsuite_property, "laion-clap text")


# --- muq ------------------------------------------------------------------------------------------------------------


class Mel(torch.nn.Module):
    """``torchaudio.transforms.MelSpectrogram`` with its defaults."""

    def __init__(self, sample_rate, n_fft, hop_length, n_mels):
        super().__init__()
        import librosa

        bank = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, htk=True, norm=None)
        self.bank, self.n_fft, self.hop = torch.from_numpy(bank), n_fft, hop_length

    def forward(self, samples):
        window = torch.hann_window(self.n_fft)
        return self.bank @ torch.stft(samples, self.n_fft, self.hop, window=window, return_complex=True).abs() ** 2


class Decibels(torch.nn.Module):
    """``torchaudio.transforms.AmplitudeToDB`` with its defaults."""

    def forward(self, power):
        return 10 * torch.log10(power.clamp(min=1e-10))


@pytest.fixture(scope="module")
def muq():
    """The package; where torchaudio is not installed, its one transform is written out with librosa's filters."""
    if importlib.util.find_spec("muq") is None:
        pytest.skip("could not find muq")
    if int(transformers.__version__.split(".")[0]) > 4:
        pytest.skip("muq 0.1.0 hands transformers' Conformer a plain dictionary, which transformers 5 refuses")
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("torchaudio") is None:
            whole, part = ModuleType("torchaudio"), ModuleType("torchaudio.transforms")
            whole.transforms, part.MelSpectrogram, part.AmplitudeToDB = part, Mel, Decibels
            for name in ("Spectrogram", "TimeStretch", "FrequencyMasking", "TimeMasking"):
                setattr(part, name, None)  # of networks that MuQ-MuLan does not use
            patch.setitem(sys.modules, "torchaudio", whole)
            patch.setitem(sys.modules, "torchaudio.transforms", part)
        if importlib.util.find_spec("torchvision") is None:  # x_clip's own __init__ wants it; muq takes its tokenizer
            words = ModuleType("x_clip.tokenizer")
            words.tokenizer = SimpleNamespace(vocab_size=1)
            patch.setitem(sys.modules, "x_clip", ModuleType("x_clip"))
            patch.setitem(sys.modules, "x_clip.tokenizer", words)
        import muq

        return muq


@pytest.fixture(scope="module")
def muq_saved(muq, tmp_path_factory):
    """A tiny MuQ and the folder that its own ``save_pretrained`` wrote."""
    stat = {"melspec_2048_mean": 6.768444971712967, "melspec_2048_std": 18.417922652295623}
    sizes = {"codebook_size": 64, "conv_dim": 16, "encoder_dim": 64, "encoder_depth": 3}
    torch.manual_seed(0)
    network = alive(muq.MuQ(muq.MuQConfig(stat=stat, w2v2_config=W2V2, **sizes)))
    folder = tmp_path_factory.mktemp("mulan") / "muq"
    network.save_pretrained(folder)
    return network, folder


@pytest.mark.parametrize("layer", [-1, 1])
def test_muq(muq_saved, layer, record_testsuite_property):
    network, folder = muq_saved
    sounds = noise_and_notes(24000, 10)
    with torch.no_grad():
        theirs = network(torch.tensor(np.stack(sounds))).hidden_states[layer].numpy()
    unlike(theirs.mean(axis=1))
    body = load_backbone(f"muq:{folder}", layer=layer, allow_noncommercial=True)
    ours = body.states([Audio(sound, 24000) for sound in sounds])
    assert ours.mask_BT.all()
    same(ours.states_BTD, theirs, record_testsuite_property, f"muq layer {layer}")


@pytest.mark.parametrize("layer", [-1, 1])
def test_muq_mulan(muq, muq_saved, bpe_folder, tmp_path, layer, record_testsuite_property):
    words = tmp_path / "xlm-roberta-base"
    tokens = transformers.PreTrainedTokenizerFast.from_pretrained(bpe_folder)
    tokens.save_pretrained(words)
    torch.manual_seed(0)
    transformers.XLMRobertaModel(transformers.XLMRobertaConfig(**XLM_ROBERTA)).save_pretrained(words)
    config = {
        "mulan": {"sr": 24000, "clip_secs": 10, "dim_latent": 32},
        "audio_model": {"name": str(muq_saved[1]), "model_dim": 64, "use_layer_idx": layer},
        "text_model": {"name": str(words), "model_dim": 64, "use_layer_idx": -1},
        "audio_transformer": {"dim": 48, **TRANSFORMER},
        "text_transformer": {"dim": 48, "max_seq_len": 1024, **TRANSFORMER},
    }
    network = alive(muq.MuQMuLan(config))
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "muq").mkdir()
    (tmp_path / "muq" / "config.json").write_bytes((muq_saved[1] / "config.json").read_bytes())
    sounds = noise_and_notes(24000, 25)
    with torch.no_grad():
        audio = network(wavs=torch.tensor(np.stack(sounds))).numpy()
        text = np.concatenate([network(texts=[text]).numpy() for text in TEXTS])
    audio /= np.linalg.norm(audio, axis=1, keepdims=True)  # the package leaves the mean over windows as it is
    unlike(audio), unlike(text)
    ours = muq_mulan.load(source=tmp_path)
    same(
        ours.audio.encode([Audio(s, 24000) for s in sounds]).global_BD,
        audio,
        record_testsuite_property,
        f"mulan audio {layer}",
    )
    same(ours.text.encode(TEXTS).global_BD, text, record_testsuite_property, f"mulan text {layer}")
