"""The trained model inside the package: it loads as it was written, and answers as a joint model does."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from fakes.synth import song
from solfa.core.errors import WeightsError
from solfa.core.types import JointModel
from solfa.encoders import trained
from solfa.encoders.registry import load_model
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
    features = embed(model, [song(bars=12).audio])
    assert features.frames_TD.shape[1] == model.audio.spec.dim == 512 and model.audio.spec.window_s == 15.0
    texts = model.text.encode(["piano", "piano without drums", "xyzzy"])
    np.testing.assert_allclose(np.linalg.norm(texts.global_BD, axis=1), 1, rtol=1e-4)
    assert 0 < model.logits["match"].probability(np.array([0.3]))[0] < 1


def test_it_needs_no_torch_and_refuses_another_file(model, tmp_path):
    load = "from solfa.encoders.registry import load_model; load_model('solfa-1')"
    subprocess.run([sys.executable, "-c", f"import sys; {load}; assert 'torch' not in sys.modules"], check=True)
    for file in FOLDER.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "audio.onnx").write_bytes(b"other")
    with pytest.raises(WeightsError, match=r"audio.onnx is not the file"):
        trained.load(source=tmp_path)
