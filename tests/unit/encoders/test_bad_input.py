"""Sound that is none, files that are something else, sizes that cannot be: a clear error, and no code run."""

import json
import os
import shutil

import numpy as np
import pytest

from solfa.core.errors import InputError, WeightsError
from solfa.core.types import Audio
from solfa.encoders.registry import load_backbone

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
import test_audio_backbones as tiny  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

torch.set_num_threads(1)
SIZES = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
SIZES |= {"intermediate_size": 48, "max_position_embeddings": 130}


class Evil:
    def __reduce__(self):
        return (os.system, ("echo code ran",))


@pytest.fixture(scope="module")
def places(tmp_path_factory, bpe_folder):
    """Folders of good bodies."""
    from solfa.encoders.published.eat import EatNetwork
    from solfa.encoders.published.muq import MuQ

    made = {name: tmp_path_factory.mktemp(name) for name in ("muq", "musicfm", "eat", "roberta")}
    state = tiny.alive({f"model.{k}": v for k, v in MuQ(tiny.MUQ, -1).state_dict().items()})
    torch.save(state, made["muq"] / "pytorch_model.bin")
    (made["muq"] / "config.json").write_text(json.dumps(tiny.MUQ))
    torch.save({"state_dict": state}, made["musicfm"] / "pretrained_msd.pt")
    (made["musicfm"] / "msd_stats.json").write_text(json.dumps(tiny.STATS))
    state = tiny.alive(EatNetwork(dim=32, depth=1, hidden=48, positions=512).state_dict())
    torch.save({f"model.{k}": v for k, v in state.items()}, made["eat"] / "pytorch_model.bin")
    shutil.copytree(bpe_folder, made["roberta"], dirs_exist_ok=True)
    network = transformers.RobertaModel(transformers.RobertaConfig(**SIZES))
    torch.save(network.state_dict(), made["roberta"] / "pytorch_model.bin")
    network.config.save_pretrained(made["roberta"])
    return made


def load(name, folder):
    kind, options = ("text", {"max_tokens": 30}) if name == "roberta" else ("audio", {})
    options |= {"layer": 1} if name == "musicfm" else {}
    return load_backbone(f"{name}:{folder}", kind, allow_noncommercial=True, **options)


@pytest.fixture(params=["muq", "musicfm", "eat", "roberta"])
def copied(request, places, tmp_path):
    """Name, copy of its folder, weight file; good as it is."""
    folder = shutil.copytree(places[request.param], tmp_path / "copy")
    load(request.param, folder)
    return request.param, folder, next(f for f in folder.iterdir() if f.suffix in (".bin", ".pt"))


def test_weights_that_would_run_code_are_refused(copied, capfd):
    name, folder, file = copied
    torch.save({"state_dict": Evil(), "model": Evil()}, file)
    with pytest.raises(WeightsError, match=r"it wants to run posix\.system\. Save its tensors alone"):
        load(name, folder)
    assert "code ran" not in capfd.readouterr().out


@pytest.mark.parametrize("content", [b"", b"junk" * 100, "half", ["a list"], {"state_dict": ["no tensors"]}, {"a": 3}])
def test_other_files_are_refused(copied, content):
    name, folder, file = copied
    if content == "half":
        content = file.read_bytes()[:-2000]
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(WeightsError):
        load(name, folder)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("muq", {"encoder_depth": 10**7}), ("muq", {"encoder_dim": 10**9}), ("muq", {"encoder_dim": "big"}),
        ("muq", {"stat": []}), ("muq", {"hop_length": 480}), ("muq", {"w2v2_config": {"hidden_act": "none"}}),
        ("roberta", {"num_hidden_layers": 10**7}), ("roberta", {"hidden_size": 10**9}), ("roberta", {"vocab_size": 20}),
        ("roberta", {"model_type": "evil", "auto_map": {"AutoModel": "evil.Evil"}}),
    ],
)  # fmt: skip
def test_absurd_configurations_are_refused(places, tmp_path, name, change):
    folder = shutil.copytree(places[name], tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(WeightsError):
        load(name, folder)


@pytest.mark.parametrize("kind", ["vit", "bart"])
def test_what_reads_no_text_alone_is_refused(bpe_folder, tmp_path, kind):
    small = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    made = {
        "vit": lambda t: t.ViTModel(t.ViTConfig(hidden_size=24, num_hidden_layers=1, num_attention_heads=2)),
        "bart": lambda t: t.BartModel(t.BartConfig(vocab_size=300, d_model=32, **small)),
    }[kind]
    folder = shutil.copytree(bpe_folder, tmp_path / kind)
    made(transformers).save_pretrained(folder)
    with pytest.raises(WeightsError, match=r"takes pixel_values, not text|is not a text encoder"):
        load("roberta", folder)


@pytest.mark.parametrize("kind", ["distilbert", "mpnet", "mt5"])
def test_encoders_of_other_families_stand_behind_a_text_name(bpe_folder, tmp_path, kind):
    made = {
        "distilbert": lambda t: t.DistilBertModel(
            t.DistilBertConfig(vocab_size=300, dim=32, n_layers=1, n_heads=2, hidden_dim=48)
        ),
        "mpnet": lambda t: t.MPNetModel(t.MPNetConfig(**SIZES)),
        "mt5": lambda t: t.MT5Model(
            t.MT5Config(vocab_size=300, d_model=32, d_kv=16, d_ff=48, num_layers=1, num_heads=2)
        ),
    }[kind]
    folder = shutil.copytree(bpe_folder, tmp_path / kind)
    network = made(transformers).eval()
    network.save_pretrained(folder)
    body = load("roberta", folder)
    ids = torch.tensor(body.tokens("a warm piano"))
    with torch.no_grad():
        expected = getattr(network, "encoder", network)(ids) if kind == "mt5" else network(ids)
    np.testing.assert_allclose(body.states(["a warm piano"]).states_BTD, expected.last_hidden_state, atol=2e-5)
    assert all(p.requires_grad and "pooler" not in n for n, p in body.network.named_parameters())
    most = {"distilbert": 512, "mpnet": 128, "mt5": 10**6}[kind]  # two of MPNet's 130 places are none, as RoBERTa's
    whole = load_backbone(f"roberta:{folder}?max_tokens={most}&cut=true", "text")
    assert whole.states(["a" * 1000]).mask_BT.sum() == min(most, len(whole.tokens("a" * 1000)[0]))
    if kind != "mt5":
        with pytest.raises(InputError, match=f"reads {most} tokens at most"):
            load_backbone(f"roberta:{folder}", "text", max_tokens=most + 1)


@pytest.mark.parametrize("name", ["muq", "eat"])
def test_sound_that_is_none_is_told_from_dead_weights(places, name):
    body = load(name, places[name])
    good = Audio(np.zeros(16000, np.float32), 16000)
    for bad in (np.nan, np.inf):
        with pytest.raises(InputError, match="sound 1 of 2 has samples that are not finite"):
            body.states([good, Audio(np.array([0, bad], np.float32), 16000)])
    for shape in ((2, 1000), (1000, 2), ()):
        with pytest.raises(InputError, match="expected one channel"):
            body.states([Audio(np.zeros(shape, np.float32), 16000)])
    for count, rate in ((1, 16000), (1, 8000), (3, 192000), (40, 44100)):  # next to nothing is heard, or is nothing
        states = body.states([Audio(np.ones(count, np.float32), rate), good])
        assert np.isfinite(states.states_BTD).all() and states.mask_BT[0].sum() <= 1
        np.testing.assert_array_equal(states.states_BTD[1], body.states([good]).states_BTD[0])


def test_options_that_make_no_sense(places):
    for options in ({"window_s": 0}, {"window_s": -1.0}, {"window_s": 1e9}, {"window_s": float("nan")}):
        with pytest.raises(InputError, match=r"windows of 0\.1 to 600 s"):
            load_backbone(f"muq:{places['muq']}", allow_noncommercial=True, **options)
    with pytest.raises(InputError, match=r"'muq' takes layer as int, got '1\.5'"):
        load_backbone(f"muq:{places['muq']}?layer=1.5", allow_noncommercial=True)


@pytest.mark.parametrize("source", ["x" * 5000, "\0", "~nobody-of-this-name/x", "http://x/y", "a/b/c"])
def test_a_place_that_is_none(source):
    with pytest.raises(InputError, match="neither a file or folder nor a Hugging Face id"):
        load_backbone(f"eat:{source}")


def test_a_width_other_than_its_own_is_refused(places, tmp_path):
    from dataclasses import replace

    body = load("eat", places["eat"])
    body.spec = replace(body.spec, dim=10**9)
    with pytest.raises(WeightsError, match="states of 32 numbers, expected 1000000000"):
        body.states([Audio(np.zeros(100, np.float32), 16000)])


def test_safetensors_that_are_none_are_refused(places, tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(2)}, file)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        load_backbone(f"eat:{file}")
