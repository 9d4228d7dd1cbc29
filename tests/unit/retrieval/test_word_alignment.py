"""Words meet the seconds where they are planted; phrases are detected where they are; maps are drawn and printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from fakes.tiny import tiny_model
from solfa.apps.cli import app
from solfa.core.errors import InputError
from solfa.core.types import Audio, Features, JointModel, Logit, View, Views
from solfa.encoders.windows import embed
from solfa.retrieval.alignment import align, detect, word_matches, word_rows
from solfa.retrieval.targets import Texts

RATE = 16000


class Tokens:
    """The tiny text encoder, which has a token for each word, and says so."""

    def __init__(self) -> None:
        self._tiny = tiny_model().text
        self.spec = self._tiny.spec

    def encode(self, batch: Sequence[str]) -> Features:
        return self._tiny.encode(batch)

    def token_spans(self, text: str, num_rows: int) -> list[tuple[int, int]]:
        words, at = [], 0
        for word in text.lower().split():
            at = text.lower().index(word, at)
            words.append((at, at + len(word)))
            at += len(word)
        assert num_rows == len(words)
        return words


def planted(**changes: object) -> JointModel:
    tiny = tiny_model()
    views = Views(trained=("global", "frame", "mix"), rank=View(name="frame"))
    model = JointModel(name="planted", audio=tiny.audio, text=Tokens(), views=views)
    return replace(model, **changes)  # type: ignore[arg-type]


def tone(hz: float, seconds: float) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bass for four seconds, then bright sound for three, then silence."""
    path = tmp_path_factory.mktemp("align") / "planted $x_1$.wav"
    soundfile.write(path, np.concatenate([tone(100, 4), tone(5000, 3), np.zeros(2 * RATE)]), RATE)
    return path


def test_words_meet_the_seconds_where_they_are_planted(file: Path) -> None:
    found = align(planted(), file, "Bass then bright and silent")
    assert found.rows == ("Bass", "then", "bright", "and", "silent") and found.unit == "cosine"
    best = {row: found.start_s_T[values.argmax()] for row, values in zip(found.rows, found.values_RT, strict=True)}
    assert best["Bass"] < 4 <= best["bright"] < 7 <= best["silent"]
    assert [(s.start_s, s.end_s) for s in found.spans(0.6)[0]] == [(0, 4)]


def test_a_model_without_tokens_is_asked_phrase_by_phrase(file: Path) -> None:
    found = align(tiny_model(), file, "bass, then bright sound and silent")
    assert found.rows == ("bass", "bright sound", "silent")
    assert found.start_s_T[found.values_RT[2].argmax()] >= 7


def test_detection_gives_the_probabilities_that_were_learnt(file: Path) -> None:
    model = planted(logits={"frame": Logit(temperature=0.05, bias=-8.0)})
    found = detect(model, file, ["bass", "bright", "silent"])
    assert found.unit == "probability" and found.values_RT.min() >= 0 and found.values_RT.max() <= 1
    spans = [[(s.start_s, s.end_s) for s in own] for own in found.spans(0.5)]
    assert spans == [[(0, 4)], [(4, 7)], [(7, 9)]]
    cosines = detect(planted(), file, ["bass"])
    assert cosines.unit == "cosine"
    np.testing.assert_allclose(found.values_RT[0], 1 / (1 + np.exp(-(cosines.values_RT[0] / 0.05 - 8))), rtol=1e-5)


def test_matches_stay_in_their_window() -> None:
    model = planted()
    windows = embed(model, [Audio(np.concatenate([tone(100, 4), tone(5000, 3)]), RATE)])
    tokens = Texts.of(model.text.encode(["bass bright"])).tokens[0]
    bass, bright = word_matches(word_rows(model, "bass bright", tokens), tokens, windows, 0, 7.0)
    assert (bass.word, bass.start_s, bass.end_s) == ("bass", 0, 4)
    assert (bright.start_s, bright.end_s) == (4, 7) and bright.similarity > 0.6


def test_commands_print_and_draw(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLFA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("solfa.encoders.registry.load_model", lambda name, **options: planted())
    for drawn in ("map.svg", "map.png"):
        out = CliRunner().invoke(app, ["align", str(file), "bass then bright", "--plot", str(tmp_path / drawn)])
        assert out.exit_code == 0 and "bright" in out.output, out.output
        assert (tmp_path / drawn).stat().st_size > 1000
    again = CliRunner().invoke(app, ["align", str(file), "bass", "--plot", str(tmp_path / "map.svg")])
    assert isinstance(again.exception, InputError) and "--force" in str(again.exception)
    told = json.loads(CliRunner().invoke(app, ["detect", str(file), "bass", "--threshold", "0.6", "--json"]).output)
    assert told["schema"] == "solfa.map/1" and told["rows"][0]["spans"][0]["end_s"] == 4
    assert len(told["start_s"]) == len(told["rows"][0]["values"]) == 9


@pytest.mark.parametrize("phrases", [[], [" "]])
def test_nothing_to_look_for_is_said(file: Path, phrases: list[str]) -> None:
    with pytest.raises(InputError, match="nothing to detect"):
        detect(planted(), file, phrases)
    with pytest.raises(InputError, match="nothing to align"):
        align(planted(), file, " ")
