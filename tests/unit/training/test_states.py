"""States of a run: computed by all of its processes, and the backbones that made them let go."""

from __future__ import annotations

import subprocess
import sys
import weakref
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
from small import Hear, Read, make_data

from solfa.core.errors import InputError
from solfa.training import run as running

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from small import BANK, Hear, Read
from solfa.datasets.shards import Dataset
from solfa.training.batches import prepare
from solfa.training.trainer import joined, rank

class Counting(Hear):
    def states(self, batch):
        with open(Path(sys.argv[1]) / f"rank{{rank()}}.txt", "a") as file:
            print(len(batch), file=file)
        return super().states(batch)

with joined():
    prepare(
        Dataset.open({folder!r}), Path(sys.argv[1]) / "features", audio=Counting(), text=Read(), phrases=True,
        bank=BANK,
    )
"""


def files_of(cache: Path) -> dict[str, bytes]:
    return {str(p.relative_to(cache)): p.read_bytes() for p in cache.rglob("*") if p.is_file() and p.name[0] != "."}


@pytest.mark.slow
def test_two_processes_make_the_cache_of_one(tmp_path):
    make_data(tmp_path / "data", clips=8, splits={"train": 3, "val": 2})
    code = tmp_path / "states.py"
    code.write_text(SCRIPT.format(here=str(Path(__file__).parent), folder=str(tmp_path / "data")))
    for name, launch in (
        ("one", []),
        ("two", ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]),
    ):
        (tmp_path / name).mkdir()
        subprocess.run([sys.executable, *launch, code, tmp_path / name], check=True, timeout=300, capture_output=True)
    assert files_of(tmp_path / "one" / "features") == files_of(tmp_path / "two" / "features") != {}
    clips = [sum(map(int, (tmp_path / "two" / f"rank{r}.txt").read_text().split())) for r in (0, 1)]
    assert clips == [24, 16]  # of five blocks of sound, three are the first process's


def test_frozen_backbones_are_gone_when_training_begins(tmp_path, monkeypatch):
    make_data(tmp_path / "data", splits={"train": 2})
    kept = []

    def load(name: str, kind: str, **_: object) -> Hear | Read:
        made = Hear() if kind == "audio" else Read()
        kept.append(weakref.ref(made))
        return made

    class Begun(Exception):
        pass

    def begin(*_: object, **__: object) -> None:
        assert len(kept) == 2 and [ref() for ref in kept] == [None, None]
        raise Begun

    monkeypatch.setattr(running, "load_on", load)
    monkeypatch.setattr(running, "Trainer", begin)
    with pytest.raises(Begun):
        running.run("figma", tmp_path / "data", tmp_path / "run")
    with pytest.raises(InputError, match="no frozen backbone runs on torch, nothing to compute in bfloat16"):
        running.run("figma", tmp_path / "data", tmp_path / "other", precision="bfloat16")
