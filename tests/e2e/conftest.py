"""The product as a user runs it, on songs whose truth is known."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

import pytest

from fakes.files import write_audio
from fakes.synth import song
from solfa.apps.cli import app, main
from solfa.weights import pulled

SONGS = {
    "minor-loop-120.wav": {"chords": "A:min F:maj C:maj G:maj", "tempo_bpm": 120.0, "bars": 8},
    "waltz-90.flac": {"chords": "D:maj G:maj A:7 D:maj", "tempo_bpm": 90.0, "beats_per_bar": 3, "bars": 8},
    "fast-150.ogg": {"chords": "E:min C:maj G:maj D:maj", "tempo_bpm": 150.0, "bars": 10},
}
EXTRAS = ("scipy", "torch", "transformers", "safetensors", "onnx", "mir_eval", "nltk", "mido", "matplotlib", "mirdata")

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


@pytest.fixture(scope="session")
def needs_models() -> None:
    if not pulled("minilm"):
        pytest.skip("the default model's text tower is not here: solfa models pull")


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("songs")
    for name, options in SONGS.items():
        made = song(seed=1, **options)  # type: ignore[arg-type]
        write_audio(folder / name, made.audio.samples, made.audio.sample_rate_hz)
    (folder / "broken.mp3").write_bytes(b"this is not music")
    return folder


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A home of its own for collections (models stay where they are)."""
    collection = tmp_path_factory.mktemp("home") / "collection"
    return {**os.environ, "SOLFA_COLLECTION": str(collection), "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="session")
def without_extras(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables that hide the packages of all extras from Python, in worker processes too."""
    absent = tmp_path_factory.mktemp("absent")
    for name in EXTRAS:
        (absent / name).mkdir()
        (absent / name / "__init__.py").write_text("raise ModuleNotFoundError(__name__, name=__name__)\n")
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(absent), os.environ.get("PYTHONPATH")]))}


@pytest.fixture(scope="session")
def process(environment: dict[str, str]) -> Run:
    """Call the command in a process of its own."""

    def call(*arguments: str | Path) -> Done:
        command = [sys.executable, "-m", "solfa", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)

    return call


@pytest.fixture
def run(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call the command as ``process`` does, in this process: libraries are loaded once."""

    def call(*arguments: str | Path, encoding: str = "utf-8") -> Done:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True) for _ in range(2))
        with monkeypatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name, value in environment.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main(partial(app, list(map(str, arguments))))
        texts = (stream.buffer.getvalue().decode(encoding, "surrogateescape") for stream in (out, err))
        return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), *texts)

    return call


@pytest.fixture(scope="session")
def indexed(process: Run, music: Path, needs_models: None) -> Done:
    return process("index", music, "--workers", "1")
