"""A folder that a user names to be written is never a link to another place, whichever command writes into it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fakes.files import write_audio
from fakes.synth import tone
from solfa.apps.cli import app
from solfa.core.errors import InputError
from solfa.datagen.captions.pipeline import caption_tracks
from solfa.datagen.captions.stages import Settings

COMMANDS = (
    "data import pairs {pairs} {out}", "data export {made} {out} --to webdataset",
    "train figma --data {made} --out {out}", "train pull some/model {out}",
    "eval retrieval --dataset solfa --data {made} --model bridge --model other --out {out}",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    for name in "abc":
        write_audio(folder / f"{name}.wav", tone(69, 1.0, 8000), 8000)
    rows = [f"{name}.wav,tone {name},{split}" for name, split in zip("abc", ("train", "val", "test"), strict=True)]
    (folder / "pairs.csv").write_text("\n".join(["path,caption,split", *rows]))
    done = CliRunner().invoke(app, ["data", "import", "pairs", str(folder / "pairs.csv"), str(folder / "set")])
    assert done.exit_code == 0, done.output
    return folder / "set"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("target", ["empty", "full", "nowhere"])
def test_a_link_is_refused(made: Path, tmp_path: Path, command: str, target: str) -> None:
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "precious").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / target)
    given = {"pairs": made.parent / "pairs.csv", "made": made, "out": tmp_path / "link"}
    done = CliRunner().invoke(app, [part.format(**given) for part in command.split()])
    assert isinstance(done.exception, InputError) and "it is a link" in str(done.exception)
    assert (tmp_path / "link").is_symlink() and not (tmp_path / "nowhere").exists()
    assert [p.relative_to(tmp_path) for p in sorted(tmp_path.rglob("*"))] == [
        Path(p) for p in ("empty", "full", "full/precious", "link")
    ]


@pytest.mark.parametrize("name", ["out", "out.stages"])
def test_captions_do_not_follow_one_either(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="it is a link"):
        caption_tracks([], tmp_path / "out", Settings())
    assert not list((tmp_path / "elsewhere").iterdir())
