"""The trained model inside the package: it loads as it was written, and answers as a joint model does."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from fakes.synth import song
from solfa.analysis import harmony, rhythm_features, tagging
from solfa.analysis.registry import extractors
from solfa.core.errors import WeightsError
from solfa.core.types import JointModel
from solfa.encoders import trained
from solfa.encoders.match import FILE
from solfa.encoders.registry import load_model
from solfa.encoders.vectors import unit
from solfa.encoders.windows import embed
from solfa.weights import pulled, shipped

FOLDER = shipped("solfa-1")


@pytest.fixture(scope="module")
def model() -> JointModel:
    if not pulled("minilm"):
        pytest.skip("the text tower is not here: solfa models pull")
    return load_model("solfa-1")


def test_it_is_what_its_card_says(model):
    described, card = trained.read_description(FOLDER), (FOLDER / "README.md").read_text("utf-8")
    assert model.name == "solfa-1" and model.audio.spec.commercial_use and "Apache-2.0" in model.audio.spec.licence
    assert described["trained_on"]["recipe"]["seed"] == 0 and set(described["logits"]) >= {"match"}
    for said in ("## Data", "MusicCaps", "CC BY-SA 4.0", "## Figures", "## Known failures", "seed 0", "95 %"):
        assert said in card, said
    size = sum(file.stat().st_size for file in FOLDER.iterdir())
    assert size < 20e6
    for file, sha256 in described["sha256"].items():
        trained.check_file(FOLDER / file, sha256)


def test_sound_and_text_are_compared_in_one_space(model):
    audio = song(bars=12).audio
    features = embed(model, [audio])
    assert features.frames_TD.shape == (9, 512) and model.audio.spec.window_s == 0 and model.audio.spec.hop_s == 3.0
    of_bridge = load_model("bridge").audio.encode([audio]).frames_BTD[0, :, :378]
    kept = features.frames_TD[:, :378]  # what the bridge says of each 3 s, at another length
    np.testing.assert_allclose(unit(kept), unit(of_bridge), atol=1e-5)
    texts = model.text.encode(["piano", "piano without drums", "xyzzy"])
    np.testing.assert_allclose(np.linalg.norm(texts.global_BD, axis=1), 1, rtol=1e-4)
    assert 0 < model.logits["match"].probability(np.array([0.3]))[0] < 1
    assert model.captions and model.match is not None and model.match.sounds_SD.shape[1] == 512
    assert model.text.familiarity("piano") > 0.9 > model.text.familiarity("xyzzy")


def test_transform_onsets_and_taggers_are_computed_once_for_analysis_and_vectors(model, monkeypatch):
    calls: list[str] = []

    def counted(name, inner):
        return lambda *given: (calls.append(name), inner(*given))[1]

    for module, name in ((harmony, "cqt"), (rhythm_features, "_observe"), (tagging, "_scores")):
        monkeypatch.setattr(module, name, counted(name, getattr(module, name)))
    audio = song(bars=12).audio
    for extractor in extractors():
        extractor.observe(audio)
    embed(model, [audio])
    assert sorted(calls) == ["_observe", "_scores", "cqt"]


def test_a_match_of_another_model_is_refused(model, tmp_path):
    for file in FOLDER.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with np.load(FOLDER / FILE) as stored:
        arrays = dict(stored)
    np.savez(tmp_path / FILE, **arrays | {"space": np.array("other/1")})
    with pytest.raises(WeightsError, match=r"match.npz is of the space 'other/1'"):
        trained.load(source=tmp_path)
    for broken in (
        {"weights": np.zeros(3)}, {"weights": np.full(4, np.nan)}, {"likeness": np.array(["a"] * 4)},
        {"sounds_SD": np.zeros((4, 100), np.int8)}, {"texts_XD": np.zeros((0, 512), np.int8)},
    ):  # fmt: skip
        np.savez(tmp_path / FILE, **arrays | broken)
        with pytest.raises(WeightsError, match=r"match.npz cannot be read"):
            trained.load(source=tmp_path)
    whole = (FOLDER / FILE).read_bytes()
    for damaged in (b"PK", b"", whole[: len(whole) // 2], whole[:5000] + b"\x00" + whole[5001:]):
        (tmp_path / FILE).write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"match.npz cannot be read"):
            trained.load(source=tmp_path)


def test_it_needs_no_torch_and_refuses_another_file(model, tmp_path):
    load = "from solfa.encoders.registry import load_model; load_model('solfa-1')"
    subprocess.run([sys.executable, "-c", f"import sys; {load}; assert 'torch' not in sys.modules"], check=True)
    for file in FOLDER.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "audio.onnx").write_bytes(b"other")
    with pytest.raises(WeightsError, match=r"audio.onnx is not the file"):
        trained.load(source=tmp_path)
