"""CLaMP 3 and M2D-CLAP on tiny weights under the names of their checkpoints, against their public code written out."""

import argparse
import json
import shutil

import numpy as np
import pytest

from solfa.core.errors import InputError, WeightsError
from solfa.core.types import Audio
from solfa.encoders import registry
from solfa.encoders.published import clamp3, m2d_clap
from solfa.encoders.registry import available, load_model

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
F = torch.nn.functional
torch.set_num_threads(1)  # tiny networks; more threads only wait for each other
LONG = "a warm piano over slow drums, " * 90 + "and a loud guitar at the end"


def noise(seconds, rate, seed=1):
    return (np.random.default_rng(seed).standard_normal(int(seconds * rate)) * 0.1).astype(np.float32)


def alive(network, gain=3.0):
    """Fresh weights are small and map everything to one place."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(20.0 if "embeddings" in name else gain)
    return network.eval()


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


# --- CLaMP 3 --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clamp(bpe_folder, tmp_path_factory):
    """Folder of the weights, folder of MERT, and the libraries' networks that they are of."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 96}
    audio = alive(transformers.BertModel(transformers.BertConfig(vocab_size=1, max_position_embeddings=128, **sizes)))
    words = transformers.XLMRobertaConfig(
        vocab_size=300, max_position_embeddings=140, type_vocab_size=1, layer_norm_eps=1e-5, **sizes
    )
    text = alive(transformers.XLMRobertaModel(words))
    projections = {kind: torch.nn.Linear(64, 48) for kind in ("audio", "text")}
    hubert = transformers.HubertConfig(
        conv_dim=(16,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, hidden_dropout=0.0, **sizes
    )
    mert = alive(transformers.HubertModel(hubert), gain=1.5)
    folder, mert_folder = tmp_path_factory.mktemp("clamp3"), tmp_path_factory.mktemp("mert")
    mert.save_pretrained(mert_folder)
    config = json.loads((mert_folder / "config.json").read_text())
    (mert_folder / "config.json").write_text(json.dumps(config | {"sample_rate": 24000}))
    parts = {
        "audio_model": audio,
        "text_model": text,
        "audio_proj": projections["audio"],
        "text_proj": projections["text"],
    }
    state = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    state |= {"symbolic_model.patch_embedding.weight": torch.zeros(2, 2), "symbolic_proj.bias": torch.zeros(2)}
    # As the training script saves it: an optimizer and counters beside the model.
    torch.save(
        {"model": state, "epoch": 3, "min_eval_loss": np.float64(1.5)}, folder / "weights_clamp3_saas_h_size_48.pth"
    )
    torch.save({"model": {}}, folder / "weights_clamp3_c2_h_size_48.pth")
    shutil.copy(bpe_folder / "tokenizer.json", folder)
    return folder, mert_folder, parts, mert


@pytest.fixture(scope="module")
def clamp_model(clamp):
    return clamp3.load(source=clamp[0], mert_source=clamp[1])


@torch.no_grad()
def published(parts, mert, samples):
    """Feature extraction and pooling as in the public code: padded to 128 rows, with a mask."""
    wave = torch.from_numpy((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7))[None]
    windows = [wave[:, i : i + 120000] for i in range(0, wave.shape[1], 120000)]
    windows = windows[:-1] if windows[-1].shape[1] < 24000 else windows
    hidden = [torch.stack(mert(w, output_hidden_states=True).hidden_states).mean(-2).mean(0) for w in windows]
    rows = torch.cat([torch.zeros(1, 64), *hidden, torch.zeros(1, 64)])
    segments = [rows[i : i + 128] for i in range(0, len(rows), 128)]
    segments[-1] = rows[-128:]
    vectors = []
    for segment in segments:
        mask = (torch.arange(128) < len(segment)).float()[None]
        out = parts["audio_model"](
            inputs_embeds=F.pad(segment, (0, 0, 0, 128 - len(segment)))[None], attention_mask=mask
        )
        pooled = (out.last_hidden_state * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        vectors.append(parts["audio_proj"](pooled))
    weights = torch.tensor([128.0] * (len(rows) // 128) + [float(len(rows) % 128)] * (len(rows) % 128 > 0))
    return ((torch.cat(vectors) * weights[:, None]).sum(0) / weights.sum()).numpy()


def test_clamp3_takes_a_stretch_as_published(clamp, clamp_model):
    _, _, parts, mert = clamp
    sounds = [noise(seconds, 24000, seed) for seed, seconds in enumerate((23.0, 10.4, 6.5))]
    got = clamp_model.audio.encode([Audio(s, 24000) for s in sounds])
    assert got.mask_BT.sum(axis=1).tolist() == [5, 2, 2] and clamp_model.audio.spec.hop_s == 5.0
    for row, samples in zip(got.global_BD, sounds, strict=True):
        np.testing.assert_allclose(row, unit(published(parts, mert, samples)), atol=2e-5)
    alone = clamp_model.audio.encode([Audio(sounds[1], 24000)])
    assert np.array_equal(alone.global_BD[0], got.global_BD[1])
    assert np.abs(got.global_BD[0] - got.global_BD[1]).max() > 1e-3
    empty = clamp_model.audio.encode([Audio(np.zeros(0, np.float32), 24000)])
    assert np.isfinite(empty.global_BD).all()


def test_clamp3_reads_long_sound_in_parts_that_count_by_their_length(clamp, clamp_model, monkeypatch):
    """More than 128 rows: 640 s of sound, for which MERT's vectors are stood for by random ones."""
    _, _, parts, _ = clamp
    rows = torch.from_numpy(noise(1, 64 * 300, 3)).view(300, 64) * 10
    monkeypatch.setattr(clamp_model.audio, "_vectors", lambda samples: rows)
    got = clamp_model.audio.encode([Audio(np.zeros(9, np.float32), 24000)])
    with torch.no_grad():
        whole = torch.cat([torch.zeros(1, 64), rows, torch.zeros(1, 64)])
        vectors = [
            parts["audio_proj"](parts["audio_model"](inputs_embeds=part[None]).last_hidden_state.mean(1))[0] * weight
            for part, weight in ((whole[:128], 128), (whole[128:256], 128), (whole[-128:], 46))
        ]
    np.testing.assert_allclose(got.global_BD[0], unit(torch.stack(vectors).sum(0).numpy()), atol=1e-5)
    assert got.mask_BT.sum() == 300


def test_clamp3_reads_text_as_published(clamp, clamp_model):
    from solfa.encoders import tokens

    _, _, parts, _ = clamp
    ids = tokens.tokenizer(clamp[0]).encode("a loud guitar").ids
    with torch.no_grad():
        hidden = parts["text_model"](torch.tensor([ids])).last_hidden_state
        expected = parts["text_proj"](hidden.mean(1))[0].numpy()
    got = clamp_model.text.encode(["a loud guitar", LONG])
    np.testing.assert_allclose(got.global_BD[0], unit(expected), atol=1e-5)
    assert got.mask_BT.sum(axis=1)[1] > 1 and clamp_model.text.spec.space == clamp_model.audio.spec.space


def test_clamp3_refuses_other_files(clamp, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "check_once", lambda model: None)  # random weights hear all sounds alike
    folder, mert_folder, _, _ = clamp
    with pytest.raises(InputError, match="non-commercial"):
        load_model(f"clamp3:{folder}", mert_source=str(mert_folder))
    assert load_model(f"clamp3:{folder}", mert_source=str(mert_folder), allow_noncommercial=True).name == "clamp3"
    torch.save({"model": {}}, tmp_path / "weights_clamp3_saas.pth")
    with pytest.raises(WeightsError, match="is not CLaMP 3: it lacks"):
        clamp3.load(source=tmp_path, mert_source=mert_folder)
    with pytest.raises(WeightsError, match="no weights_clamp3"):
        clamp3.load(source=mert_folder, mert_source=mert_folder)
    state = torch.load(folder / "weights_clamp3_saas_h_size_48.pth", weights_only=False)["model"]
    torch.save({"model": state | {"audio_proj.bias": torch.zeros(3)}}, tmp_path / "weights_clamp3_saas.pth")
    with pytest.raises(WeightsError, match="does not fit CLaMP 3"):
        clamp3.load(source=tmp_path, mert_source=mert_folder)
    wide = transformers.HubertModel(transformers.HubertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=1, intermediate_size=32, conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
    ))  # fmt: skip
    wide.save_pretrained(tmp_path / "mert")
    with pytest.raises(WeightsError, match=r"gives 32 numbers, .* takes 64"):
        clamp3.load(source=folder, mert_source=tmp_path / "mert")


# --- M2D-CLAP -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def m2d(bpe_folder, tmp_path_factory):
    """Folder of the weights, its tensors under the checkpoint's names, BERT."""
    generator = torch.Generator().manual_seed(0)
    dim, hidden = 128, 256

    def layer(prefix, inner):
        maps = {"attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim), "mlp.fc1": (inner, dim), "mlp.fc2": (dim, inner)}
        shapes = {f"{n}.weight": shape for n, shape in maps.items()} | {
            f"{n}.bias": shape[:1] for n, shape in maps.items()
        }
        shapes |= {f"norm{i}.{part}": (dim,) for i in (1, 2) for part in ("weight", "bias")}
        return {f"{prefix}.{name}": shape for name, shape in shapes.items()}

    shapes = {"cls_token": (1, 1, dim), "pos_embed": (1, 311, dim), "patch_embed.proj.weight": (dim, 1, 16, 16),
              "patch_embed.proj.bias": (dim,), "norm.weight": (dim,), "norm.bias": (dim,),
              **layer("blocks.0", hidden), **layer("blocks.1", hidden), "audio_proj.sem_token": (1, 1, dim),
              **layer("audio_proj.sem_blocks.0", dim), "audio_proj.norm.weight": (dim,), "audio_proj.norm.bias": (dim,),
              "decoder_pred.weight": (3, 3), "mask_token": (1, 1, 3)}  # fmt: skip
    state = {
        name: torch.randn(shape, generator=generator) * (1.5 / shape[-1] ** 0.5 if len(shape) > 1 else 0.1)
        + (name.endswith(("norm.weight", "norm1.weight", "norm2.weight")))
        for name, shape in shapes.items()
    }
    state["norm_stats"] = torch.tensor([-7.26, 4.35])
    torch.manual_seed(0)
    bert = alive(transformers.BertModel(transformers.BertConfig(
        vocab_size=300, hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=512,
    )))  # fmt: skip
    folder = tmp_path_factory.mktemp("m2d_clap_vit_base-80x1001p16x16p16kpBpTI-2025")
    words = {f"text_encoder.text_encoder.{key}": value for key, value in bert.state_dict().items()}
    arguments = argparse.Namespace(lr=1e-3, model="m2d_clap")
    torch.save({"model": {**state, **words}, "args": arguments, "epoch": 30}, folder / "checkpoint-30.pth")
    shutil.copy(bpe_folder / "tokenizer.json", folder)
    return folder, state, bert


@torch.no_grad()
def vit(state, samples):
    """timm's blocks and M2D's projector written out, over librosa's mel spectrogram."""
    librosa = pytest.importorskip("librosa")
    power = librosa.feature.melspectrogram(
        y=np.pad(samples, (0, 160000 - len(samples))), sr=16000, n_fft=400, hop_length=160, n_mels=80, fmin=50,
        fmax=8000, pad_mode="reflect",
    )  # fmt: skip
    mel = (torch.from_numpy(power).float() + torch.finfo(torch.float32).eps).log()
    image = ((mel - state["norm_stats"][0]) / state["norm_stats"][1])[None, None]
    x = F.conv2d(image, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=16)
    assert x.shape[2:] == (5, 62)
    x = x.flatten(2).transpose(1, 2) + state["pos_embed"][:, 1:]
    x = torch.cat([state["cls_token"] + state["pos_embed"][:, :1], x], dim=1)

    def block(x, prefix, heads, eps):
        def own(name, y):
            return F.linear(y, state[f"{prefix}.{name}.weight"], state[f"{prefix}.{name}.bias"])

        def norm(name, y):
            return F.layer_norm(y, y.shape[-1:], state[f"{prefix}.{name}.weight"], state[f"{prefix}.{name}.bias"], eps)

        q, k, v = own("attn.qkv", norm("norm1", x)).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v
        x = x + own("attn.proj", mixed.transpose(1, 2).flatten(2))
        return x + own("mlp.fc2", F.gelu(own("mlp.fc1", norm("norm2", x))))

    for i in range(2):
        x = block(x, f"blocks.{i}", 2, 1e-6)
    x = F.layer_norm(x, (128,), state["norm.weight"], state["norm.bias"], 1e-6)[:, 1:]
    x = block(torch.cat([state["audio_proj.sem_token"], x], dim=1), "audio_proj.sem_blocks.0", 1, 1e-5)[:, 0]
    return F.layer_norm(x, (128,), state["audio_proj.norm.weight"], state["audio_proj.norm.bias"])[0].numpy()


def test_m2d_clap_takes_windows_of_ten_seconds(m2d):
    folder, state, _ = m2d
    model = m2d_clap.load(source=folder)
    long, short = noise(12.5, 16000), noise(4, 16000, 2)
    got = model.audio.encode([Audio(long, 16000), Audio(short, 16000)])
    assert got.mask_BT.sum(axis=1).tolist() == [2, 1] and model.audio.spec.hop_s == 10.0
    for row, samples in ((got.frames_BTD[0, 0], long[:160000]), (got.frames_BTD[0, 1], long[160000:]),
                         (got.global_BD[1], short)):  # fmt: skip
        np.testing.assert_allclose(row, unit(vit(state, samples)), atol=1e-4)
    assert np.array_equal(model.audio.encode([Audio(short, 16000)]).global_BD[0], got.global_BD[1])


def test_m2d_clap_reads_the_first_token(m2d):
    from solfa.encoders import tokens

    folder, _, bert = m2d
    model = m2d_clap.load(source=folder / "checkpoint-30.pth")
    with torch.no_grad():
        expected = (
            bert(torch.tensor([tokens.tokenizer(folder).encode("a loud guitar").ids])).last_hidden_state[0, 0].numpy()
        )
    got = model.text.encode(["a loud guitar", LONG])
    np.testing.assert_allclose(got.global_BD[0], unit(expected), atol=1e-5)
    assert got.mask_BT.sum(axis=1)[1] > 1 and model.text.spec.space == model.audio.spec.space


def test_m2d_clap_refuses_other_files(m2d, tmp_path):
    folder, state, _ = m2d
    with pytest.raises(InputError, match="m2d-clap:PATH"):
        m2d_clap.load()
    with pytest.raises(InputError, match="non-commercial"):
        load_model(f"m2d-clap:{folder}")
    torch.save({"model": state}, tmp_path / "checkpoint-30.pth")  # as that of 2024: no text encoder
    with pytest.raises(WeightsError, match=r"no text encoder .* expected the M2D-CLAP of 2025"):
        m2d_clap.load(source=tmp_path)
    whole = torch.load(folder / "checkpoint-30.pth", weights_only=False)["model"]
    torch.save(
        {"model": {k: v for k, v in whole.items() if k != "blocks.1.norm1.bias"}}, tmp_path / "checkpoint-30.pth"
    )
    with pytest.raises(WeightsError, match="does not fit M2D-CLAP of 2025: 1 weights are missing"):
        m2d_clap.load(source=tmp_path)


def test_licences_are_the_registrys():
    licences = {info.name: (info.licence, info.commercial_use) for info in available()}
    assert not licences["clamp3"][1] and not licences["m2d-clap"][1]
