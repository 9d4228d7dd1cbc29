"""``solfa train clap``: a CLAP that is trained on from its own projections, both towers, by the command of the docs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from small import NOTES, make_data
from test_trainer import curve
from tiny_recipes import torch
from typer.testing import CliRunner

from solfa.apps.cli import app
from solfa.core.errors import InputError
from solfa.core.types import Audio
from solfa.encoders import trained
from solfa.encoders.published import clap

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny CLAP of the real architecture, saved as transformers does."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clap")
    text = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1}
    audio = {"patch_embeds_hidden_size": 8, "hidden_size": 64, "depths": [1, 1, 1, 1], "num_attention_heads": [1] * 4}
    config = transformers.ClapConfig(
        text_config={**text, "intermediate_size": 32, "max_position_embeddings": 90},
        audio_config=audio, projection_dim=16,
    )  # fmt: skip
    network = transformers.ClapModel(config)
    with torch.no_grad():  # fresh weights map everything to one place
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(20.0 if "embeddings" in name else 2.5)
    network.save_pretrained(folder)
    transformers.ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc").save_pretrained(folder)
    words = ["<s>", "<pad>", "</s>", "<unk>", "the", "then", "and", "at", "last", ",", *NOTES]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "data"
    make_data(path, clips=8)
    return path


def train(place, pairs, out, *more):
    command = ["train", "clap", "--data", str(pairs), "--out", str(out), "--batch-size", "8", "--crop-s", "10"]
    command += ["--audio", f"clap:{place}?window_s=10&step_s=10", "--text", f"clap:{place}", *more]
    return CliRunner().invoke(app, command)


def test_it_starts_as_the_clap_that_it_was(place, pairs, tmp_path):
    done = train(place, pairs, tmp_path / "run", "--tune", "audio,text", "--epochs", "1", "--lr", "0")
    assert done.exit_code == 0, done.output
    ours, model = trained.load(source=tmp_path / "run" / "model"), clap.load(source=place)
    rng = np.random.default_rng(0)
    sound = [Audio((0.2 * rng.standard_normal(n * 48000)).astype(np.float32), 48000) for n in (3, 13)]
    texts = ["the duck then bass", "the gong, " * 60 + "and fife at last"]  # the second in pieces
    for got, want in (
        (ours.audio.encode(sound), model.audio.encode(sound)),
        (ours.text.encode(texts), model.text.encode(texts)),
    ):
        assert np.abs(want.global_BD[0] - want.global_BD[1]).max() > 0.01
        np.testing.assert_allclose(got.global_BD, want.global_BD, atol=1e-4)
    described = json.loads((tmp_path / "run" / "model" / "model.json").read_text())
    assert described["projectors"]["audio"]["whole"] == {"kind": "identity", "in_dim": 16}


@pytest.mark.slow
def test_both_towers_learn_and_start_again_from_the_folder(place, pairs, tmp_path):
    done = train(place, pairs, tmp_path / "run", "--tune", "audio,text", "--epochs", "15", "--lr", "5e-3")
    assert done.exit_code == 0, done.output
    losses = [line["loss"] for line in curve(tmp_path / "run") if "loss" in line]
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    body = tmp_path / "run" / "model"
    command = [
        "train",
        "clap",
        "--data",
        str(pairs),
        "--out",
        str(tmp_path / "on"),
        "--batch-size",
        "8",
        "--epochs",
        "1",
    ]
    command += ["--audio", f"clap:{body / 'audio_body'}?window_s=10&step_s=10", "--text", f"clap:{body / 'text_body'}"]
    done = CliRunner().invoke(app, [*command, "--tune", "audio,text", "--init", str(body)])
    assert done.exit_code == 0, done.output


def test_without_tuning_there_is_nothing_to_train(place, pairs, tmp_path):
    done = train(place, pairs, tmp_path / "run")
    assert isinstance(done.exception, InputError) and "--tune audio,text" in str(done.exception)
    assert not (tmp_path / "run").exists()
