import os
import stat
from pathlib import Path

import pytest

from solfa.core.errors import InputError
from solfa.core.files import check_output, whole_file, whole_folder, write_output, write_whole


def test_a_file_appears_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250)
    write_whole(path, b"old")
    with whole_file(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
        file.seek(0)
        assert file.read() == b"new"
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_nothing_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_whole(path, b"old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(OSError):
        write_whole(tmp_path / "none" / "x", b"")
    with pytest.raises(InputError, match="cannot write"):
        write_output(tmp_path / "none" / "x", "", force=False)


def test_others_may_read_it_as_the_system_allows(tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary"
    ordinary.write_bytes(b"")
    write_whole(tmp_path / "x", b"")
    assert (tmp_path / "x").stat().st_mode == ordinary.stat().st_mode


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(KeyError), whole_folder(tmp_path / "a" / "x") as folder:
        (folder / "half").write_bytes(b"1")
        raise KeyError
    assert list((tmp_path / "a").iterdir()) == []
    with whole_folder(tmp_path / "a" / "x") as folder:
        (folder / "y").write_bytes(b"1")
        assert not (tmp_path / "a" / "x").exists()
    assert [p.name for p in (tmp_path / "a").rglob("*")] == ["x", "y"]
    with pytest.raises(OSError), whole_folder(tmp_path / "a" / "x"):
        pass
    assert (tmp_path / "a" / "x" / "y").exists() and len(list((tmp_path / "a").iterdir())) == 1
    with pytest.raises(KeyError), whole_folder(tmp_path / "a" / "x", replace=True):
        raise KeyError
    assert [p.name for p in (tmp_path / "a").rglob("*")] == ["x", "y"]
    with whole_folder(tmp_path / "a" / "x", replace=True) as folder:
        (folder / "z").write_bytes(b"1")
        assert (tmp_path / "a" / "x" / "y").exists()
    assert [p.name for p in (tmp_path / "a").rglob("*")] == ["x", "z"]


@pytest.mark.parametrize("force", [False, True])
def test_nothing_but_a_plain_file_is_ever_written_to(tmp_path: Path, force: bool) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"mine")
    place = tmp_path / "place"
    place.mkdir()
    (place / "to-file").symlink_to(outside / "precious")
    (place / "to-folder").symlink_to(outside)
    (place / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(place / "pipe")
    (place / "folder").mkdir()
    before = {p: p.lstat().st_mtime_ns for p in tmp_path.rglob("*")}
    for path in [
        *place.iterdir(),
        Path("/dev/null"),
        Path("/dev/full"),
        place / "none" / "x",
        outside / "precious" / "x",
    ]:
        for refuse in (check_output, lambda p, force: write_output(p, "new", force=force)):
            with pytest.raises(
                InputError, match=r"cannot write .*(a link|a folder|a device or a pipe|not a writable folder)"
            ):
                refuse(path, force=force)
    assert {p: p.lstat().st_mtime_ns for p in tmp_path.rglob("*")} == before
    assert (outside / "precious").read_bytes() == b"mine"


def test_a_file_is_replaced_only_when_told_to_and_keeps_its_mode(tmp_path: Path, capfdbinary: object) -> None:
    path, other = tmp_path / "x", tmp_path / "y"
    write_output(path, "one", force=False)
    path.chmod(0o640)
    os.link(path, other)
    with pytest.raises(InputError, match=r"exists\. Use --force"):
        write_output(path, "two", force=False)
    assert path.read_text() == "one"
    write_output(path, "two", force=True)
    assert path.read_text() == "two" and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert other.read_text() == "one"  # another name of the old file keeps the old text
    write_output(Path("-"), b"to \xff standard output", force=False)
    assert capfdbinary.readouterr().out == b"to \xff standard output"  # type: ignore[attr-defined]


def test_a_folder_of_outputs_is_new_or_empty(tmp_path: Path) -> None:
    for name in ("new", "empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "new").rmdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for fine in ("new", "empty"):
        check_output(tmp_path / fine, force=False, folder=True)
    check_output(tmp_path / "full", force=True, folder=True)
    for bad in ("full", "link", "full/x"):
        with pytest.raises(InputError):
            check_output(tmp_path / bad, force=False, folder=True)


def test_a_folder_whose_replacement_fails_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "old").write_text("kept")
    rename, calls = Path.replace, []

    def second_fails(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", second_fails)
    with pytest.raises(OSError, match="no"), whole_folder(tmp_path / "x", replace=True) as folder:
        (folder / "new").write_text("")
    assert (tmp_path / "x" / "old").read_text() == "kept" and len(list(tmp_path.iterdir())) == 1
