"""A plain installation, without the packages of the extras: what it does, and what it says that it cannot do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Plain = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def plain(tmp_path: Path, without_extras: dict[str, str]) -> Plain:
    """The command where no package of an extra can be imported."""
    environment = {**os.environ, **without_extras, "SOLFA_COLLECTION": str(tmp_path / "collection")}

    def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "solfa", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)

    return call


def test_an_analysis_needs_no_extra(plain: Plain, music: Path) -> None:  # index and search: test_no_telemetry.py
    done = plain("analyze", music / "waltz-90.flac", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def test_that_extras_are_missing_is_no_fault(plain: Plain, needs_models: None) -> None:
    done = plain("doctor")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["eval", "retrieval", "--dataset", "song-describer", "--data", "."], "eval"),
        (["eval", "captions", "a.json", "b.json"], "eval"),
        (["eval", "mir", "--data", "."], "eval"),
        (["data", "caption", ".", "out"], "data"),
        (["train", "figma", "--data", ".", "--out", "out"], "torch"),
        (["analyze", "x.wav", "--plot", "x.svg"], "plot"),
    ],
)
def test_what_needs_an_extra_names_it(plain: Plain, arguments: list[str], extra: str) -> None:
    done = plain(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"pip install 'solfa[{extra}]'" in " ".join(done.stderr.split())
