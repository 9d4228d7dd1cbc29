"""Scores of files: captions, generated vectors, judges."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from solfa.apps.cli import app
from solfa.core.errors import InputError


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["eval", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_captions_are_scored_on_treebank_tokens(tmp_path: Path) -> None:
    pytest.importorskip("nltk")
    said, known, report = tmp_path / "said.csv", tmp_path / "known.json", tmp_path / "report.json"
    said.write_text("id,caption\na,It's slow.\nb,fast drums and a bass line\n")
    known.write_text(json.dumps({"a": ["it is slow", "It's slow!"], "b": "fast drums and a bass line"}))
    output = call("captions", said, known, "--training", known, "--out", report)
    value = json.loads(report.read_text())
    assert "SPICE" in output and value["metrics"]["BLEU-1"]["value"] == 1 and value["metrics"]["CIDEr-D"]["value"] > 0
    known.write_text("{}")
    with pytest.raises(InputError, match="expected JSON"):
        call("captions", said, known)
    known.write_text(json.dumps({"a": ["x"]}))
    with pytest.raises(InputError, match="different items: 1, such as 'b'"):
        call("captions", said, known)


def test_captions_as_json_lines(tmp_path: Path) -> None:
    pytest.importorskip("nltk")
    said, known, report = tmp_path / "said.jsonl", tmp_path / "known.jsonl", tmp_path / "report.json"
    said.write_text('{"id": "a", "caption": "slow"}\n{"id": 2, "caption": "fast drums"}\n')
    known.write_text(
        '{"id": "a", "caption": "slow"}\n\n{"id": "a", "caption": "fast"}\n{"id": 2, "caption": "fast drums"}\n'
    )
    call("captions", said, known, "--out", report)
    assert json.loads(report.read_text())["metrics"]["BLEU-1"]["value"] == 1
    said.write_text('{"id": "a", "captions": "slow"}\n')
    with pytest.raises(InputError, match="JSON lines with id and caption"):
        call("captions", said, known)


def test_help_shows_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert "{id: [captions]}" in call("captions", "--help")


def test_generated_vectors_are_scored(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    real = rng.standard_normal((40, 4))
    np.save(tmp_path / "real.npy", real)
    np.save(tmp_path / "samples.npy", rng.standard_normal((5, 6, 4)))
    report = tmp_path / "report.json"
    assert "Vendi" in call("fidelity", tmp_path / "real.npy", tmp_path / "real.npy", "--out", report)
    metrics = json.loads(report.read_text())["metrics"]
    assert metrics["FD"]["value"] == pytest.approx(0, abs=1e-9) and metrics["precision"]["value"] == 1
    assert "MIVS" in call("fidelity", tmp_path / "samples.npy", tmp_path / "real.npy")
    (tmp_path / "x.npy").write_text("{}")
    with pytest.raises(InputError, match=r"not a \.npy file"):
        call("fidelity", tmp_path / "x.npy", tmp_path / "real.npy")
    np.save(tmp_path / "none.npy", np.zeros((3, 0)))
    with pytest.raises(InputError, match="dimensions, not empty"):
        call("fidelity", tmp_path / "none.npy", tmp_path / "real.npy")


def test_judges_are_compared(tmp_path: Path) -> None:
    verdicts = tmp_path / "v.csv"
    verdicts.write_text("id,X,X:swapped,Y\n1,first,second,first\n2,second,second,first\n3,tie,tie,tie\n")
    output = call("judges", verdicts)
    assert "X consistent" in output and "X and Y kappa: 0.400" in output
    verdicts.write_text("id,X\n1,first\n")
    with pytest.raises(InputError, match="second rater"):
        call("judges", verdicts)
