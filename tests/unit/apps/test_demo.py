import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from solfa.apps import demo
from solfa.apps.cli import app
from solfa.core.errors import InputError
from solfa.datagen import packages

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb unpacks packages")


def deb(path: Path, files: dict[str, bytes]) -> Path:
    """A Debian package as dpkg writes it: an ar archive with data.tar.xz, members padded to even length."""
    data, control = io.BytesIO(), io.BytesIO()
    tarfile.open(fileobj=control, mode="w:xz").close()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    out, members = b"!<arch>\n", {"debian-binary": b"2.0\n", "control.tar.xz": control.getvalue()}
    for name, content in {**members, "data.tar.xz": data.getvalue()}.items():
        out += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
            + content
            + b"\n" * (len(content) % 2)
        )
    path.write_bytes(out)
    return path


@needs_dpkg
def test_only_music_is_unpacked_and_no_path_is_trusted(tmp_path: Path) -> None:
    package = deb(tmp_path / "game_1_all.deb", {
        "./usr/share/games/music/a.ogg": b"a", "./usr/share/games/music/../../../../evil.ogg": b"b",
        "./usr/share/games/sounds/bang.ogg": b"c", "./usr/share/doc/music/copyright": b"d",
    })  # fmt: skip
    found = sorted(demo.unpack(package, tmp_path / "out"))
    assert [p.relative_to(tmp_path).as_posix() for p in found] == ["out/a.ogg"]


@needs_dpkg
def test_something_else_than_a_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.deb").write_bytes(b"not an archive")
    with pytest.raises(InputError, match="not a Debian package"):
        list(demo.unpack(tmp_path / "x.deb", tmp_path / "out"))


def test_without_apt_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="solfa demo --music FOLDER"):
        demo.fetch(tmp_path / "music", lambda text: None)


def test_a_failed_download_leaves_no_half_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 100, "", "E: Unable to locate package")

    monkeypatch.setattr(packages.shutil, "which", lambda name: "/usr/bin/apt-get")
    monkeypatch.setattr(packages.subprocess, "run", fail)
    with pytest.raises(InputError, match="Unable to locate package"):
        demo.fetch(tmp_path / "music", lambda text: None)
    assert not (tmp_path / "music" / "complete").exists()


@needs_dpkg
def test_music_that_was_fetched_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(command: list[str], cwd: str, **options: object) -> subprocess.CompletedProcess[str]:
        deb(Path(cwd) / f"{command[-1]}_1_all.deb", {f"./usr/share/games/music/{command[-1]}.ogg": b"x"})
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(packages.shutil, "which", lambda name: "/usr/bin/apt-get")
    monkeypatch.setattr(packages.subprocess, "run", download)
    folder = demo.fetch(tmp_path / "music", lambda text: None)
    assert sorted(p.name for p in folder.rglob("*.ogg")) == sorted(f"{p}.ogg" for p in demo.PACKAGES)
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    assert demo.fetch(folder, lambda text: None) == folder


def test_a_folder_without_music_ends_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLFA_HOME", str(tmp_path / "home"))
    (tmp_path / "music").mkdir()
    for files in ((), ("broken.wav",)):
        for name in files:
            (tmp_path / "music" / name).write_bytes(b"no sound")
        result = CliRunner().invoke(app, ["demo", "--music", str(tmp_path / "music")])
        assert isinstance(result.exception, InputError) and "holds no music" in str(result.exception)
        assert "$ solfa search" not in result.output


def test_a_folder_that_does_not_exist_makes_no_collection(tmp_path: Path) -> None:
    order = ["index", str(tmp_path / "nowhere"), "--collection", str(tmp_path / "c")]
    result = CliRunner().invoke(app, order)
    assert isinstance(result.exception, InputError) and str(result.exception).startswith("not found: ")
    assert not (tmp_path / "c").exists()
    too_long = CliRunner().invoke(app, ["index", "a" * 300, "--collection", str(tmp_path / "c")])
    assert isinstance(too_long.exception, InputError) and str(too_long.exception).startswith("not found: ")
    result = CliRunner().invoke(app, ["index", str(tmp_path), "--collection", str(tmp_path / "c")])
    assert result.exit_code == 2 and "Folders are searched for" in result.output
    result = CliRunner().invoke(app, order)  # now there is a collection, and a disk may be unplugged
    assert result.exit_code == 2 and "cannot be reached" in result.output
    assert "Folders are searched for" not in result.output
