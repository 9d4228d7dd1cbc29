"""``solfa data world`` from the command line."""

import sys
from pathlib import Path

import pytest
from soundfont import write_soundfont
from typer.testing import CliRunner

from solfa.apps.data import data_app
from solfa.apps.world import plan_shards
from solfa.core.errors import InputError, MissingExtra
from solfa.datasets.shards import Dataset


def run(*args: object) -> str:
    """The output of a run that ends well."""
    got = CliRunner().invoke(data_app, [str(a) for a in args], catch_exceptions=False)
    assert got.exit_code == 0, got.output
    return got.output


def test_a_world_is_made_and_made_no_second_time(tmp_path: Path) -> None:
    for name in ("tinysoundfont", "pedalboard"):
        pytest.importorskip(name)
    fonts = [f for n in ("a.sf2", "b.sf2") for f in ("--soundfont", write_soundfont(tmp_path / n))]
    command = ("world", tmp_path / "out", "--count", 6, "--per-shard", 2, "--seconds", 3, "--jobs", 1, *fonts)
    told = run(*command)
    assert "6 clips are in" in told and " failed; " in told and "solfa data info" in told
    made = Dataset.open(tmp_path / "out")
    assert [len(made.split(s)) for s in ("train", "val", "test")] == [2, 2, 2]
    assert made.split("test")[0].attributes["world"]["soundfonts"] == ["b.sf2"]  # the last one is held out
    before = made.revision
    run(*command)
    assert Dataset.open(tmp_path / "out").revision == before
    assert "6" in run("info", tmp_path / "out") and "all is well" in run("verify", tmp_path / "out")


@pytest.mark.parametrize("count", [1, 2, 3, 7, 9, 40, 60, 100, 150, 999, 1000, 1900, 12345])
@pytest.mark.parametrize("per_shard", [1, 2, 40, 100, 1000])
def test_every_split_gets_its_share_of_clips(count: int, per_shard: int) -> None:
    size, shards = plan_shards(count, per_shard)
    train, val, test = (size * shards[s] for s in ("train", "val", "test"))
    assert size <= per_shard and train + val + test >= count and train >= val == test >= min(2, max(1, count // 3))
    if count >= 40:
        assert 0.025 * count <= val <= 0.1 * count and train >= 0.8 * count


def test_without_soundfonts_it_is_said_where_they_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tinysoundfont")
    monkeypatch.setenv("SOLFA_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"^no soundfonts found. Get them with: solfa data soundfonts$"):
        run("world", tmp_path / "out", "--count", 2)
    got = CliRunner().invoke(data_app, ["world", str(tmp_path / "out"), "--soundfont", str(tmp_path / "nope.sf2")])
    assert got.exit_code == 2 and "does not exist" in got.output
    assert not (tmp_path / "out").exists()


def test_without_the_synthesiser_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLFA_HOME", str(tmp_path))
    for name in ("tinysoundfont", "tinysoundfont._tinysoundfont"):  # an earlier test may have imported it
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match="tinysoundfont"):
        run("world", tmp_path / "out", "--count", 2)
    assert not (tmp_path / "out").exists()
