import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solfa.core.errors import InputError
from solfa.datasets import tar


def written(path: Path, members: dict[str, bytes]) -> dict[str, tar.Extent]:
    with path.open("wb") as file:
        places = {name: tar.append(file, name, data) for name, data in members.items()}
        tar.finish(file)
    return places


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,94}\.[a-z]{4}", fullmatch=True), st.binary(max_size=2000)
    )
)
def test_members_come_back_and_tarfile_agrees(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "members.tar"  # a folder for each example would take most of the time
    places = written(path, members)
    assert {name: tar.read(path, name, place) for name, place in places.items()} == members
    assert tar.size_of(places.values()) == path.stat().st_size
    with tarfile.open(path) as other:
        infos = other.getmembers()
        assert [i.name for i in infos] == list(members)
        assert all((i.mtime, i.uid, i.gid, i.mode, i.uname) == (0, 0, 0, 0o644, "") for i in infos)


@pytest.mark.parametrize(
    "name", ["../a.json", "/a.json", "a/b.json", "a", ".json", "a.json\0", "-a.json", "a" * 96 + ".json"]
)
def test_other_names_are_not_written(name: str) -> None:
    with pytest.raises(InputError, match="cannot be in a shard"):
        tar.append(io.BytesIO(), name, b"")


def foreign(path: Path, **fields: object) -> Path:
    info = tarfile.TarInfo("a.json")
    for name, value in fields.items():
        setattr(info, name, value)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as out:
        out.addfile(info, io.BytesIO(b"x" * info.size))
    return path


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "../a.json"},
        {"name": "/etc/passwd.json"},
        {"name": "sub/a.json"},
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.LNKTYPE, "linkname": "b.json"},
        {"type": tarfile.DIRTYPE},
        {"type": tarfile.CHRTYPE},
        {"type": tarfile.FIFOTYPE},
    ],
)
def test_hostile_members_are_refused(tmp_path: Path, fields: dict[str, object]) -> None:
    path = foreign(tmp_path / "x.tar", **fields)
    with pytest.raises(InputError, match="not a regular file"):
        tar.read(path, "a.json", tar.Extent(512, 0))


def test_cut_and_broken_tars_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    places = written(path, {"a.json": b"{}", "b.flac": b"y" * 3000})
    data = path.read_bytes()
    for size in (0, 100, 512, 700, 1024, 1536, 3000):
        path.write_bytes(data[:size])
        with pytest.raises(InputError):
            tar.read(path, "b.flac", places["b.flac"])
    with pytest.raises(InputError, match="beyond the end"):
        tar.read(path, "b.flac", places["b.flac"])
    path.write_bytes(data[:124] + b"77777777777\0" + data[136:])  # a size that is not true, checksum not either
    with pytest.raises(InputError, match="not a complete tar"):
        tar.read(path, "a.json", places["a.json"])
    with pytest.raises(InputError, match="cannot be read"):
        tar.read(tmp_path / "none.tar", "a.json", tar.Extent(512, 0))
