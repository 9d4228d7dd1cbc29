"""``solfa data world`` from the command line."""

from pathlib import Path

import pytest
from soundfont import write_soundfont
from typer.testing import CliRunner

from solfa.apps.data import data_app
from solfa.core.errors import InputError
from solfa.data.shards import Dataset


def run(*args: object) -> str:
    """The output of a run that ends well."""
    got = CliRunner().invoke(data_app, [str(a) for a in args], catch_exceptions=False)
    assert got.exit_code == 0, got.output
    return got.output


def test_a_world_is_made_and_made_no_second_time(tmp_path: Path) -> None:
    pytest.importorskip("tinysoundfont")
    fonts = [f for n in ("a.sf2", "b.sf2") for f in ("--soundfont", write_soundfont(tmp_path / n))]
    command = ("world", tmp_path / "out", "--count", 6, "--per-shard", 2, "--seconds", 3, "--jobs", 1, *fonts)
    assert "6 clips are in" in run(*command)
    made = Dataset.open(tmp_path / "out")
    assert [len(made.split(s)) for s in ("train", "val", "test")] == [2, 2, 2]
    assert made.split("test")[0].attributes["world"]["soundfonts"] == ["b.sf2"]  # the last one is held out
    before = made.revision
    run(*command)
    assert Dataset.open(tmp_path / "out").revision == before
    assert "6" in run("info", tmp_path / "out") and "all is well" in run("verify", tmp_path / "out")


def test_without_soundfonts_it_is_said_where_they_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLFA_HOME", str(tmp_path))
    with pytest.raises(InputError, match="solfa data soundfonts"):
        run("world", tmp_path / "out", "--count", 2)
    assert not (tmp_path / "out").exists()
