"""What is found on disk, and which absences are believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from solfa.collection.scan import scan


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def look(root: Path, *known: str) -> tuple[list[str], list[str], list[str], tuple[str, ...]]:
    result = scan([str(root)], [str(root / name) for name in known])

    def short(paths: object) -> list[str]:
        return sorted(os.path.relpath(p, root) for p in paths)  # type: ignore[attr-defined]

    return short(result.found), short(result.missing), short(result.doubtful), result.notes


def test_audio_files_at_every_depth_in_order(tmp_path: Path) -> None:
    make(
        tmp_path,
        "b/2.MP3",
        "b/1.flac",
        "a.wav",
        "notes.txt",
        "cover.jpg",
        ".hidden/x.wav",
        "b/._1.flac",
        "c/d/e/f.opus",
    )
    found, missing, doubtful, notes = look(tmp_path)
    assert found == ["a.wav", "b/1.flac", "b/2.MP3", "c/d/e/f.opus"]
    assert (missing, doubtful, notes) == ([], [], ())


def test_links_are_followed_loops_are_not(tmp_path: Path) -> None:
    make(tmp_path, "real/1.wav", "elsewhere/2.wav")
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    (tmp_path / "real" / "self").symlink_to("self")
    assert look(tmp_path / "real")[0] == ["1.wav", "up/elsewhere/2.wav"]


def test_a_missing_file_among_others_is_gone(tmp_path: Path) -> None:
    make(tmp_path, "a/1.wav", "a/2.wav", "b/3.wav")
    assert look(tmp_path, "a/1.wav", "a/9.wav", "gone/4.wav")[1:] == (["a/9.wav", "gone/4.wav"], [], ())


@pytest.mark.parametrize("note", ["is empty now (not mounted?)", "holds no audio files now"])
def test_an_emptied_root_proves_nothing(tmp_path: Path, note: str) -> None:
    if note.startswith("holds"):
        make(tmp_path, "readme.txt")
    _, missing, doubtful, notes = look(tmp_path, "1.wav", "a/2.wav")
    assert (missing, doubtful) == ([], ["1.wav", "a/2.wav"])
    assert notes == (f"{tmp_path}: {note}; the 2 files known there are kept",)


def test_an_emptied_folder_proves_nothing_a_missing_one_does(tmp_path: Path) -> None:
    make(tmp_path, "a/1.wav")
    (tmp_path / "mount").mkdir()
    _, missing, doubtful, notes = look(tmp_path, "mount/2.wav", "mount/deep/3.wav", "removed/4.wav")
    assert (missing, doubtful) == (["removed/4.wav"], ["mount/2.wav", "mount/deep/3.wav"])
    assert notes == (f"{tmp_path / 'mount'}: is empty now (not mounted?); the 2 files known there are kept",)


def test_what_lies_outside_is_not_looked_at(tmp_path: Path) -> None:
    make(tmp_path, "a/1.wav", "ab/2.wav")
    result = scan([str(tmp_path / "a")], [str(tmp_path / "ab" / "9.wav"), str(tmp_path / "b.wav")])
    assert (result.missing, result.doubtful) == (frozenset(), frozenset())


def test_a_file_by_itself(tmp_path: Path) -> None:
    make(tmp_path, "odd.name", "1.wav")
    assert [*scan([str(tmp_path / "odd.name")], []).found] == [str(tmp_path / "odd.name")]
    gone = str(tmp_path / "gone.wav")
    assert scan([gone], [gone]).missing == {gone}
    far = str(tmp_path / "no" / "such.wav")
    assert scan([far], [far]).doubtful == {far}


def test_bytes_and_newlines_in_names(tmp_path: Path) -> None:
    name = os.fsdecode(b"a\xff\nb.wav")
    make(tmp_path, name)
    assert look(tmp_path, name)[:3] == ([name], [], [])
