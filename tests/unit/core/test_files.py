from pathlib import Path

import pytest

from solfa.core.errors import InputError
from solfa.core.files import whole_file, whole_folder, write_text, write_whole


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
        write_text(tmp_path / "none" / "x", "")


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
