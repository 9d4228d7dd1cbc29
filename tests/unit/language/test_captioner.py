"""Captioners: what is trained, what the loss is of, and a folder that says what a sound is like."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
soundfile = pytest.importorskip("soundfile")
torch.set_num_threads(1)  # the nets are tiny

from solfa.alignment.joint import Batch  # noqa: E402
from solfa.core.errors import InputError, WeightsError  # noqa: E402
from solfa.core.types import Audio, EncoderSpec  # noqa: E402
from solfa.encoders.vectors import pack_states  # noqa: E402
from solfa.language.captioner import folder as folders  # noqa: E402
from solfa.language.captioner.folder import LearnedCaptioner, save  # noqa: E402
from solfa.language.captioner.networks import (  # noqa: E402
    LOG_MEL,
    CaptionerConfig,
    CaptionNetwork,
    LanguageModel,
    LogMel,
)

CAPTIONS = ["a slow piano over soft drums in 4/4", "fast guitar in D minor", "violin alone"]
SIZES = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "llama": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
              "intermediate_size": 32},
    "bart": {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
             "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64},
    "t5": {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2},
}  # fmt: skip
KINDS, INSIDE = ("prefix", "qformer", "linear", "encoder-decoder"), ("concatenation", "modulation", "cross-attention")
SETUPS = [
    *(("gpt2", kind, "prefix") for kind in KINDS), *(("gpt2", "prefix", mode) for mode in INSIDE),
    *(("llama", "linear", mode) for mode in ("prefix", *INSIDE)), ("bart", "encoder-decoder", "cross-attention"),
    ("bart", "qformer", "cross-attention"), ("t5", "linear", "cross-attention"),
]  # fmt: skip


def language_model(family: str = "gpt2") -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel.new({"model_type": family, **SIZES[family]}, CAPTIONS)


def captioner(family: str = "gpt2", **config: object) -> CaptionNetwork:
    torch.manual_seed(1)
    given = {"kind": "prefix", "in_dim": 6, "hidden": 8, "vectors": 2, "pool": 2, "max_tokens": 12, **config}
    return CaptionNetwork(CaptionerConfig(**given), language_model(family))  # type: ignore[arg-type]


def batch(texts: list[str] = CAPTIONS, frames: int = 5) -> Batch:
    generator, empty = torch.Generator().manual_seed(2), torch.zeros(len(texts), 0)
    mask = torch.ones(len(texts), frames, dtype=torch.bool)
    mask[0, 3:] = False
    states = torch.randn(len(texts), frames, 6, generator=generator) * mask[..., None]
    sounds = tuple(
        Audio(np.sin(np.arange(8000) * 0.05 * (i + 1)).astype(np.float32), 16_000) for i in range(len(texts))
    )
    return Batch(
        ids=tuple(map(str, range(len(texts)))), audio_BD=states.mean(1), frames_BTD=states, frame_mask_BT=mask,
        text_BD=empty, tokens_BLD=empty, token_mask_BL=empty, phrases_BND=empty, labels_BNT=empty,
        grounded_B=empty, sounds=sounds, texts=tuple(texts),
    )  # fmt: skip


def other_sounds(given: Batch) -> Batch:
    states = {name: getattr(given, name).roll(1, 0) for name in ("audio_BD", "frames_BTD", "frame_mask_BT")}
    return replace(given, sounds=given.sounds[-1:] + given.sounds[:-1], **states)


@pytest.mark.parametrize(("family", "kind", "mode"), SETUPS)
def test_of_a_frozen_language_model_only_the_connector_is_trained(family, kind, mode):
    model, given = captioner(family, kind=kind, mode=mode, prompt="Describe."), batch()
    before = {name: tensor.clone() for name, tensor in model.lm.network.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model.train()
    for _ in range(3):  # what starts at zero hides what is below it in the first step
        optimizer.zero_grad()
        model(given)["loss_B"].sum().backward()
        optimizer.step()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    if kind == "prefix" and mode == "cross-attention":  # keys do not change what all queries agree on
        silent = [name for name in silent if "attention" not in name]
    assert not silent
    assert all(p.grad is None for p in model.lm.network.parameters()) and not model.lm.network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.lm.network.state_dict().items())
    assert not any(name.startswith("bodies.") for name in model.state_dict())
    with torch.no_grad():
        own, other = model.eval().vectors(given)[0], model.vectors(other_sounds(given))[0]
        assert (own - other).abs().max() > 1e-4
        assert not torch.equal(model(given)["loss_B"], model(other_sounds(given))["loss_B"])
    assert len(model.write(given)) == len(CAPTIONS)


@pytest.mark.parametrize("mode", INSIDE)
def test_before_training_a_mode_inside_leaves_the_language_model_as_it_was(mode):
    model, given = captioner(mode=mode).eval(), batch()
    with torch.no_grad():
        assert torch.equal(model(given)["loss_B"], model(other_sounds(given))["loss_B"])


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_loss_is_of_the_tokens_of_the_answer_alone(family):
    model, given = captioner(family, kind="linear", prompt="Describe the music.").eval(), batch()
    with torch.no_grad():
        made = model(given)
        vectors, mask = model.vectors(given)
        lm = model.lm
        for i, text in enumerate(CAPTIONS):
            start, answer = [*lm.tokens("Describe the music."), lm.bos], [*lm.tokens(text)[:11], lm.eos]
            row = torch.cat([vectors[i][mask[i]], lm.network.get_input_embeddings()(torch.tensor([*start, *answer]))])
            scores = lm.network(inputs_embeds=row[None]).logits[0, -len(answer) - 1 : -1].log_softmax(-1)
            expected = -sum(float(scores[j, token]) for j, token in enumerate(answer))
            assert made["count_B"][i] == len(answer)
            assert float(made["loss_B"][i]) == pytest.approx(expected, rel=1e-4)


def test_states_that_fill_up_a_batch_count_for_nothing():
    longer = batch()
    states = torch.nn.functional.pad(longer.frames_BTD, (0, 0, 0, 4))
    longer = replace(longer, frames_BTD=states, frame_mask_BT=torch.nn.functional.pad(longer.frame_mask_BT, (0, 4)))
    for kind in ("linear", "qformer"):
        model = captioner("llama", kind=kind).eval()
        with torch.no_grad():
            assert torch.allclose(model(batch())["loss_B"], model(longer)["loss_B"], atol=1e-3)


def test_captions_are_cut_and_the_prefix_mapper_has_the_published_size():
    long = batch(["a slow piano " * 40, "b", "c"])
    assert captioner()(long)["count_B"].tolist()[0] == 12
    lm = LanguageModel.new({"model_type": "gpt2", "n_embd": 768, "n_layer": 1, "n_head": 2}, CAPTIONS)
    mapper = CaptionNetwork(CaptionerConfig(kind="prefix", in_dim=1024, hidden=768), lm)
    assert sum(p.numel() for p in mapper.parameters()) == 1_377_792


def test_log_mel_bands_are_those_of_the_library():
    from transformers.audio_utils import mel_filter_bank, spectrogram

    front, samples = LogMel(8), np.random.default_rng(0).standard_normal(160_000).astype(np.float32)
    front.convolutions = torch.nn.ModuleList()
    window = np.hanning(1025)[:-1]
    bank = mel_filter_bank(513, 128, 0.0, 8000.0, 16_000)
    expected = spectrogram(samples, window, 1024, 160, fft_length=1024, power=2.0, mel_filters=bank)[:, :-1]
    got = front(torch.from_numpy(samples)[None])[0]
    places = torch.from_numpy(front(torch.zeros(1, 160_000))[0].numpy() - (-10 / 4 + 1))
    assert np.abs((got - places).numpy().T - (np.log10(np.maximum(expected, 1e-10)) / 4 + 1)).max() < 1e-3
    assert LogMel(8)(torch.zeros(1, 160_000)).shape == (1, 32, 8)  # 10 s: 1,000 frames, halved five times


@pytest.mark.parametrize("family", list(SIZES))
def test_checkpoints_are_read_as_transformers_saves_them(family, tmp_path):
    made = language_model(family)
    made.network.save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"tokenizer\.json"):
        LanguageModel.load(str(tmp_path))
    made.tokenizer.save(str(tmp_path / "tokenizer.json"))
    again = LanguageModel.load(str(tmp_path))
    for name, tensor in made.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name])
    assert again.tokens("fast guitar") == made.tokens("fast guitar")
    assert (again.bos, again.eos, again.pad) == (made.bos, made.eos, made.pad)
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(WeightsError, match="is not a language model"):
        LanguageModel.load(str(tmp_path))


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(InputError, match="nor a Hugging Face id in the local cache"):
        LanguageModel.load("nobody/no-such-model")
    with pytest.raises(InputError, match="concatenation is a mode of decoders"):
        captioner("bart", mode="concatenation")
    with pytest.raises(InputError, match="hidden 0"):
        captioner(hidden=0)
    bert = transformers.BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    bert.save_pretrained(tmp_path)
    with pytest.raises(WeightsError):
        LanguageModel.load(str(tmp_path))


class Bands:
    """Six numbers a second."""

    spec = EncoderSpec(name="bands", space="bands/1", dim=6, licence="CC0", commercial_use=True)

    def states(self, batch):
        return pack_states([np.abs(a.samples[:6000]).reshape(-1, 6)[:4].astype(np.float32) for a in batch], 6)


@pytest.fixture
def made(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(folders, "load_on", lambda name, kind, **options: Bands())
    about = {"sound": "bands", "window_s": 2.0}
    save(tmp_path / "model", captioner(tune_lm=True), Bands.spec, about)
    return tmp_path / "model"


def wav(path: Path, seconds: float, loud: float = 0.5) -> Path:
    soundfile.write(path, loud * np.sin(np.arange(round(8000 * seconds)) * 0.3), 8000)
    return path


def test_a_folder_says_what_each_part_of_a_file_is_like(made, tmp_path):
    learned = LearnedCaptioner(made)
    claims = list(learned.claims(wav(tmp_path / "a.wav", 7.0)))
    assert [(c.start_s, c.end_s) for c in claims] == [(0.0, 2.0), (2.0, 4.0), (4.0, 6.0)]
    assert {(c.maker, c.confidence, c.field) for c in claims} == {(f"captioner {made}", 0.0, "caption")}
    assert claims == list(LearnedCaptioner(made).claims(tmp_path / "a.wav"))
    (short,) = learned.claims(wav(tmp_path / "b.wav", 1.0))
    assert (short.start_s, short.end_s) == (0.0, 1.0)
    (silence,) = learned.claims(wav(tmp_path / "c.wav", 2.0, loud=0.0))
    assert (silence.text, silence.maker) == ("Silence.", "measured")
    learned.model.write = lambda batch, seed: ["two\nlines \x1b[31m"]
    assert next(iter(learned.claims(tmp_path / "a.wav"))).text == "two lines \N{REPLACEMENT CHARACTER}[31m"
    learned.model.write = lambda batch, seed: [""]
    assert next(iter(learned.claims(tmp_path / "a.wav"))).text == "(the model gives no words)"


def test_a_frozen_language_model_is_named_and_must_be_the_same(tmp_path):
    lm = language_model()
    lm.network.save_pretrained(tmp_path / "lm")
    lm.tokenizer.save(str(tmp_path / "lm" / "tokenizer.json"))
    config = CaptionerConfig(kind="encoder-decoder", mode="prefix", max_tokens=8)
    model = CaptionNetwork(config, LanguageModel.load(str(tmp_path / "lm")))
    save(tmp_path / "model", model, LOG_MEL, {"sound": "", "window_s": 1.0})
    assert not (tmp_path / "model" / "lm").exists()
    (claim,) = LearnedCaptioner(tmp_path / "model").claims(wav(tmp_path / "a.wav", 1.0))
    assert claim.maker.startswith("captioner")
    with torch.no_grad():
        lm.network.get_input_embeddings().weight[0] += 1
    lm.network.save_pretrained(tmp_path / "lm")
    with pytest.raises(WeightsError, match="another language model"):
        LearnedCaptioner(tmp_path / "model")


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "else/1"}, {"window_s": -1.0}, {"window_s": "long"}, {"model": {"kind": "prefix", "more": 1}},
        {"model": None}, {"model": {"kind": "nothing"}}, {"sha256": "0"}, {"space": "other/1"}, {"lm": "/nowhere"},
    ],
)  # fmt: skip
def test_a_damaged_folder_is_refused(made, change):
    file = made / "captioner.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises((WeightsError, InputError)):
        LearnedCaptioner(made)


def test_a_folder_without_its_files_is_refused(made, tmp_path):
    with pytest.raises(InputError, match="RUN/model"):
        LearnedCaptioner(tmp_path)
    (made / "connector.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(WeightsError, match="Copy the folder again"):
        LearnedCaptioner(made)
