"""A plain installation, without the packages of the extras: what it does, and what it says that it cannot do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXTRAS = ("scipy", "torch", "transformers", "safetensors", "onnx", "mir_eval", "nltk", "mido", "matplotlib", "mirdata")
Plain = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def plain(tmp_path: Path) -> Plain:
    """The command where none of these packages can be imported, in worker processes neither."""
    for name in EXTRAS:
        (tmp_path / "absent" / name).mkdir(parents=True)
        (tmp_path / "absent" / name / "__init__.py").write_text("raise ModuleNotFoundError(__name__, name=__name__)\n")
    path = os.pathsep.join(filter(None, [str(tmp_path / "absent"), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "SOLFA_COLLECTION": str(tmp_path / "collection")}

    def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "solfa", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)

    return call


def test_finding_music_needs_no_extra(plain: Plain, music: Path, needs_models: None) -> None:
    song = music / "waltz-90.flac"
    indexed = plain("index", music, "--workers", "1")
    assert indexed.returncode == 3 and "broken.mp3" in indexed.stdout + indexed.stderr
    for arguments in (["search", "waltz", "--json"], ["similar", song, "--json"], ["analyze", song, "--json"]):
        done = plain(*arguments)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)
    assert plain("doctor").returncode == 0


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
