"""``solfa ask`` and ``solfa eval qa`` as a user calls them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fakes.files import write_audio
from fakes.synth import song, tone
from fakes.tiny import tiny_model
from solfa.apps.cli import app
from solfa.core.annotation import MusicAnnotation, write_jams
from solfa.core.errors import DecodeError, InputError
from solfa.core.theory import Key


def call(arguments: Sequence[Any]) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def waltz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOLFA_HOME", str(tmp_path / "home"))
    made = song("D:maj G:maj A:7 D:maj", tempo_bpm=90, beats_per_bar=3, bars=10)
    return write_audio(tmp_path / "waltz.wav", made.audio.samples, made.audio.sample_rate_hz)


def test_a_file_is_asked(waltz: Path) -> None:
    assert "D major" in call(["ask", waltz, "what key is it in?"])
    answer = json.loads(call(["ask", waltz, "how fast is it?", "--json"]))
    assert answer["schema"] == "solfa.answer/1" and answer["answer"]["status"] == "answered"
    assert answer["answer"]["claims"][0]["value"] == pytest.approx(90, rel=0.03)
    assert call(["ask", waltz, "who sings?"]).startswith("Not measured: who made it")


def test_a_file_that_is_none_and_a_question_that_is_none(waltz: Path, tmp_path: Path) -> None:
    with pytest.raises(DecodeError):
        call(["ask", tmp_path / "none.wav", "what key?"])
    with pytest.raises(InputError, match="question"):
        call(["ask", waltz, " "])
    with pytest.raises(InputError, match="--llm-model"):
        call(["ask", waltz, "what key?", "--llm", "http://localhost:1/v1"])
    with pytest.raises(InputError, match="--llm-model"):
        call(["ask", waltz, "what key?", "--llm-model", "tiny"])
    with pytest.raises(InputError, match="--llm-model"):
        call(["chat", "--llm-model", "tiny"])


def test_a_models_answer_is_marked(waltz: Path, llm_server: Any) -> None:
    said = json.dumps({"answer": "D major.", "quotes": ["D major"], "known": "yes"})
    body = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
    with llm_server(lambda request, n: (200, body)) as fake:
        output = call(["ask", waltz, "what key?", "--llm", fake.url, "--llm-model", "tiny"])
    assert output.strip() == "In the words of tiny: D major."
    assert '"key": "D major"' in fake.asked[0]["messages"][1]["content"]


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    """Two tones with JAMS beside them."""
    for number, midi in enumerate((31, 90)):
        write_audio(tmp_path / f"{number}.wav", tone(midi, 4.0, 22050, harmonics=1), 22050)
        music = MusicAnnotation(duration_s=4.0, tempo_bpm=70.0 + 20 * number, key=Key(2 * number, "major"), metre="3/4")
        write_jams(music, tmp_path / f"{number}.jams", tool="test")
    return tmp_path


@pytest.mark.parametrize("system", ["rules", "bridge"])
def test_questions_are_made_asked_and_saved(system: str, annotated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solfa.encoders.registry.load_model", lambda name, **options: tiny_model())
    items, report = annotated / "items.json", annotated / "report.json"
    made = ["eval", "qa", "--data", annotated, "--dataset", "jams", "--save", items]
    output = call([*made, "--system", system, "--out", report])
    assert all(word in output for word in ("accuracy", "text-only", "mismatched", "constant letter", "chosen: "))
    found = json.loads(report.read_text())
    assert found["task"] == "qa" and found["num_queries"] == len(json.loads(items.read_text())) == 6
    again = annotated / "again.json"
    call(["eval", "qa", items, "--audio", annotated, "--system", system, "--out", again])
    assert json.loads(again.read_text())["metrics"] == found["metrics"]
    with pytest.raises(InputError, match=r"items.json exists"):
        call(made)


def test_outputs_and_an_endpoint_are_scored(annotated: Path, llm_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLFA_HOME", str(annotated / "home"))
    items = annotated / "items.json"
    call(["eval", "qa", "--data", annotated, "--dataset", "jams", "--save", items])
    rows = [{**row, "model_output": "The answer is (A)."} for row in json.loads(items.read_text())]
    items.write_text(json.dumps(rows))
    assert "accuracy" in call(["eval", "qa", items, "--system", "outputs"])
    body = json.dumps({"choices": [{"message": {"content": "(B)"}}]}).encode()
    with llm_server(lambda request, n: (200, body)) as fake:
        call(["eval", "qa", items, "--audio", annotated, "--system", fake.url, "--llm-model", "tiny"])
    asked = [request["messages"][0]["content"] for request in fake.asked]
    assert any("\nnull\n" in text for text in asked) and any('"duration_s": 4' in text for text in asked)
    for wrong in ([], [items, "--data", annotated]):
        with pytest.raises(InputError, match="one of the two"):
            call(["eval", "qa", *wrong])
