"""A folder and its collection stay in step, and nothing is done twice."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
from indexing import (
    RATE,
    SPACE,
    content,
    detected,
    extractors,
    index,
    make_music,
    newer_extractors,
    other_model,
    tune,
)

from fakes.files import write_audio
from fakes.tiny import tiny_model
from solfa.alignment.scores import quantise
from solfa.analysis.analyze import analyze
from solfa.audio import Limits, stretches
from solfa.collection import Collection, Progress
from solfa.collection.flat import FlatStore
from solfa.collection.store import SpaceFiles
from solfa.core.errors import CollectionError, InputError, SpaceMismatch
from solfa.encoders.windows import segment_ranges
from solfa.jobs import ProcessExecutor


@pytest.fixture
def music(tmp_path: Path) -> Path:
    make_music(tmp_path / "music", 4)
    return tmp_path / "music"


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Collection]:
    with Collection.open(tmp_path / "shelf", create=True) as collection:
        yield collection


def test_everything_about_a_file_is_kept(music: Path, shelf: Collection) -> None:
    report = index(shelf, music)
    assert (report.added, report.failed, report.audio_s) == (4, (), 8.0)
    first = shelf.rows(shelf.select(()).tolist())[0]
    assert first.paths == (music / "00.wav",)
    assert shelf.analysis(first.id) == analyze(first.paths[0], extractors())
    assert (first.duration_s, first.key) == (2.0, shelf.analysis(first.id).key.value)
    frames = shelf.store(SPACE).windows([first.id])[0].frames_TD
    [stretch] = stretches(first.paths[0])
    np.testing.assert_array_equal(frames, quantise(tiny_model().audio.encode([stretch]).frames_BTD[0]))
    assert shelf.nearest(SPACE, frames.mean(axis=0) / 127, 1)[0].tolist() == [first.id]


def test_a_long_track_has_a_vector_every_thirty_seconds(tmp_path: Path, shelf: Collection) -> None:
    low, high = np.sin(np.arange(40 * RATE) * 0.03), np.sin(np.arange(95 * RATE) * 1.3)
    path = write_audio(tmp_path / "long.flac", np.concatenate([low, high]).astype(np.float32) / 2, RATE)
    index(shelf, path)
    [track] = shelf.tracks()
    assert shelf.store(SPACE).windows([track.id])[0].frames_TD.shape == (135, 32)
    assert len(segment_ranges(135, 1.0)) == 5
    words_XD = tiny_model().text.encode(["low", "high"]).global_BD
    low, high = words_XD @ shelf.store(SPACE).windows([track.id])[0].pooled_WD.astype(np.float32).T / 127
    assert low.argmax() == 0 and high.argmax() >= 2
    for word, cosines in zip(words_XD, (low, high), strict=True):
        assert shelf.nearest(SPACE, word, 1)[1][0] == pytest.approx(cosines.max(), abs=0.02)


def test_nothing_is_done_twice(music: Path, shelf: Collection) -> None:
    index(shelf, music)
    before = content(shelf)
    report = index(shelf, music)
    assert (report.added, report.unchanged, report.updated, detected) == (0, 4, 0, [])
    assert content(shelf) == before


def test_moved_and_renamed_files_are_not_analyzed_again(music: Path, shelf: Collection) -> None:
    index(shelf, music)
    analyses = {r.hash: shelf.analysis(r.id) for r in shelf.tracks()}
    (music / "sub").mkdir()
    (music / "00.wav").rename(music / "sub" / "new.wav")
    (music / "01.wav").rename(music / "renamed.wav")
    report = index(shelf, music)
    assert (report.added, report.moved, report.removed, report.unchanged, detected) == (0, 2, 0, 2, [])
    assert {r.hash: shelf.analysis(r.id) for r in shelf.tracks()} == analyses
    assert {p.name for r in shelf.tracks() for p in r.paths} == {"new.wav", "renamed.wav", "02.wav", "03.wav"}


def test_a_changed_file_is_analyzed_a_retagged_one_only_read(tmp_path: Path, shelf: Collection) -> None:
    path, other = make_music(tmp_path / "music", 2, ".flac")
    index(shelf, tmp_path / "music")
    tagged = mutagen.File(path)
    tagged["title"] = "Now with a title"
    tagged.save()
    report = index(shelf, tmp_path / "music")
    assert (report.updated, report.unchanged, detected) == (1, 1, [])
    assert {r.tags.title for r in shelf.tracks()} == {"Now with a title", ""}
    write_audio(other, tune(99, 3.0), RATE)
    report = index(shelf, tmp_path / "music")
    assert (report.updated, report.unchanged, len(detected)) == (1, 1, 1)
    assert sorted(r.duration_s for r in shelf.tracks()) == [2.0, 3.0]
    assert shelf.stats().kept == 1  # what the path held before, should it come back


def test_removed_files_disappear_and_come_back_for_nothing(music: Path, shelf: Collection) -> None:
    index(shelf, music)
    before = content(shelf)
    data, stat = (music / "02.wav").read_bytes(), (music / "02.wav").stat()
    (music / "02.wav").unlink()
    report = index(shelf, music)
    assert (report.removed, report.unchanged, shelf.stats().tracks, shelf.stats().kept) == (1, 3, 3, 1)
    assert len(shelf.attributes()) == len(shelf.select(())) == 3
    assert not any("02" in str(p) for r in shelf.tracks() for p in r.paths)
    assert len(shelf.nearest(SPACE, np.eye(32, dtype=np.float32)[0], 4)[0]) == 3
    assert shelf.text_search("02") == []
    (music / "02.wav").write_bytes(data)
    os.utime(music / "02.wav", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (index(shelf, music).added, detected) == (1, [])
    assert content(shelf) == before


def test_copies_are_one_track(music: Path, shelf: Collection) -> None:
    (music / "copy.wav").write_bytes((music / "00.wav").read_bytes())
    report = index(shelf, music)
    assert (report.added, shelf.stats().tracks, shelf.stats().files) == (5, 4, 5)
    assert shelf.track(1).paths == (music / "00.wav", music / "copy.wav")
    (music / "00.wav").unlink()
    assert index(shelf, music).removed == 1
    assert shelf.track(1).paths == (music / "copy.wav",)


def test_a_disk_that_is_not_there_deletes_nothing(music: Path, tmp_path: Path, shelf: Collection) -> None:
    index(shelf, music)
    before = content(shelf)
    away = music.rename(tmp_path / "away")
    report = index(shelf, music)
    assert report.removed == 0
    assert report.notes == (
        f"{music}: cannot be reached (No such file or directory); the 4 files known there are kept",
    )
    music.mkdir()  # the mount point of a disk that is not mounted
    report = index(shelf, music)
    assert report.removed == 0 and "is empty now (not mounted?); the 4 files known there are kept" in report.notes[0]
    assert content(shelf) == before
    music.rmdir()
    away.rename(music)
    assert index(shelf, music).unchanged == 4


def test_an_unlisted_folder_deletes_nothing(music: Path, shelf: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    make_music(music / "locked", 2)
    index(shelf, music)
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("locked"):  # root may list anything, so permissions cannot be tested as root
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    (music / "00.wav").unlink()
    report = index(shelf, music)
    assert report.removed == 1  # 00.wav, but not its copy
    assert any("cannot be listed (Permission denied); the 2 files" in note for note in report.notes)
    assert shelf.track(1).paths == (music / "locked" / "00.wav",)
    assert shelf.stats().tracks == 4


def test_bad_files_are_listed_and_retried_on_request_only(music: Path, shelf: Collection) -> None:
    bad = music / "bad.mp3"
    bad.write_text("no music")
    report = index(shelf, music)
    assert [(f.path, f.reason) for f in report.failed] == [(bad, "not an audio file that any decoder knows")]
    assert (report.added, shelf.failures()) == (4, list(report.failed))
    report = index(shelf, music)
    assert (report.failed, [f.path for f in report.known_bad]) == ((), [bad])
    assert [f.path for f in index(shelf, music, retry_failed=True).failed] == [bad]
    bad.write_bytes((music / "00.wav").read_bytes())  # repaired
    assert index(shelf, music).added == 1
    assert shelf.failures() == []


def test_a_good_file_gone_bad_leaves_the_results(music: Path, shelf: Collection) -> None:
    index(shelf, music)
    (music / "00.wav").write_bytes(b"RIFF")
    assert len(index(shelf, music).failed) == 1
    assert shelf.stats().tracks == 3
    (music / "00.wav").unlink()
    index(shelf, music)
    assert shelf.failures() == []  # a file that is gone is no longer a bad file


def test_a_new_analysis_keeps_the_vectors(music: Path, shelf: Collection) -> None:
    index(shelf, music)
    rows = len(shelf.store(SPACE).track_ids)
    report = index(shelf, music, extractors=newer_extractors)
    assert (report.updated, detected) == (4, ["2"] * 4)
    assert shelf.analysis(1).extractors == ("loudness@1", "fake@2")
    assert len(shelf.store(SPACE).track_ids) == rows
    assert index(shelf, music, extractors=newer_extractors).unchanged == 4


def test_a_new_model_keeps_the_analysis(music: Path, shelf: Collection) -> None:
    index(shelf, music)
    with pytest.raises(SpaceMismatch, match="'tiny/1/32', and 'tiny/backwards/32'"):
        shelf.store("tiny/backwards/32")
    report = index(shelf, music, model=other_model)
    assert (report.updated, detected) == (4, [])
    for track_id in shelf.select(()).tolist():
        [old], [new] = (shelf.store(s).windows([track_id]) for s in (SPACE, "tiny/backwards/32"))
        np.testing.assert_array_equal(old.frames_TD[:, ::-1], new.frames_TD)
    assert index(shelf, music).unchanged == index(shelf, music, model=other_model).unchanged == 4
    assert shelf.stats().spaces == {SPACE: 4, "tiny/backwards/32": 4}


def test_force_hears_everything_again(music: Path, shelf: Collection) -> None:
    index(shelf, music)
    before = content(shelf)
    assert (index(shelf, music, force=True).updated, len(detected)) == (4, 4)
    assert content(shelf) == before


def vector_files(shelf: Collection) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in (shelf.directory / "vectors" / "1").iterdir()}


def test_the_room_of_replaced_vectors_is_given_back(
    music: Path, shelf: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(shelf, music)
    before, files = content(shelf), vector_files(shelf)
    assert not index(shelf, *sorted(music.iterdir())[:1], force=True).notes  # a part of them is not worth it
    wasted = vector_files(shelf)
    assert wasted.keys() == files.keys() and all(wasted[name] > files[name] for name in files)
    stops = [(FlatStore, "compact", True), (SpaceFiles, "drop_others", False)]
    for place, name, done in stops:  # killed before its commit, and after it
        do = getattr(place, name)

        def stopped(self: Any, do: Callable[[Any], None] = do, done: bool = done) -> None:
            if done:
                do(self)
            raise KeyboardInterrupt

        monkeypatch.setattr(place, name, stopped)
        with pytest.raises(KeyboardInterrupt):
            index(shelf, music, force=True)
        monkeypatch.undo()
        shelf.refresh()
        assert content(shelf) == before and len(vector_files(shelf)) > len(files)
    report = index(shelf, music, force=True)
    assert report.updated == 4 and report.notes == (f"the room of replaced vectors of {SPACE} was given back",)
    assert sorted(vector_files(shelf).values()) == sorted(files.values())
    assert content(shelf) == before and not index(shelf, music).notes


def test_processes_give_what_one_process_gives(tmp_path: Path, shelf: Collection) -> None:
    make_music(tmp_path / "music", 6)
    (tmp_path / "music" / "bad.ogg").write_bytes(b"OggS")
    index(shelf, tmp_path / "music")
    with Collection.open(tmp_path / "other", create=True) as other:
        index(other, tmp_path / "music", executor=ProcessExecutor(2))
        assert content(other) == content(shelf)


def test_stopping_loses_nothing_that_was_reported(music: Path, tmp_path: Path, shelf: Collection) -> None:
    index(shelf, music)
    seen: list[Path] = []

    def stop(progress: Progress) -> None:
        assert (progress.done, progress.total) == (len(seen) + 1, 4)
        seen.append(progress.path)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with Collection.open(tmp_path / "other", create=True) as other:
        with pytest.raises(KeyboardInterrupt):
            index(other, music, progress=stop)
        assert [p for r in other.tracks() for p in r.paths] == seen
        report = index(other, music)
        assert (report.added, report.unchanged) == (2, 2)
        assert content(other) == content(shelf)


def test_files_that_came_back_are_no_part_of_the_progress(music: Path, tmp_path: Path, shelf: Collection) -> None:
    index(shelf, music)
    gone = [path.rename(tmp_path / path.name) for path in sorted(music.iterdir())[:3]]
    assert index(shelf, music).removed == 3
    for path in gone:
        path.rename(music / path.name)
    (music / "bad.ogg").write_bytes(b"OggS")
    seen: list[tuple[int, int]] = []
    report = index(shelf, music, progress=lambda progress: seen.append((progress.done, progress.total)))
    assert (report.added, len(report.failed), seen) == (3, 1, [(1, 1)])


def test_limits_reach_the_workers(music: Path, shelf: Collection) -> None:
    report = index(shelf, music, limits=Limits(duration_s=1.0))
    assert len(report.failed) == 4 and "over the limit" in report.failed[0].reason


def test_files_by_themselves_and_mistakes(music: Path, shelf: Collection) -> None:
    odd = (music / "00.wav").rename(music / "no-suffix")
    assert index(shelf, odd).added == 1
    odd.unlink()
    assert index(shelf, odd).removed == 1  # its folder is alive, so it is really gone
    report = index(shelf, music / "never.wav")
    assert report.added == 0 and "cannot be reached" in report.notes[0]
    with pytest.raises(InputError, match="at least one"):
        index(shelf)
    with pytest.raises(CollectionError, match="no track 99"):
        shelf.track(99)


def test_what_is_not_the_file_s_fault_is_tried_again(
    music: Path, shelf: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sorted(music.glob("*.wav"))[0]
    real = os.open

    def refused(name: object, *rest: int) -> int:
        if str(name) == str(path):
            raise PermissionError(13, "Permission denied")
        return real(name, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refused)
        report = index(shelf, music)
    assert [f.path for f in report.failed] == [path] and "Permission denied" in report.failed[0].reason
    again = index(shelf, music)
    assert again.added == 1 and not again.failed and not again.known_bad


def test_a_folder_that_goes_away_during_a_run_keeps_its_tracks(music: Path, shelf: Collection) -> None:
    index(shelf, music)
    before, away = content(shelf), music.with_name("away")
    for path in music.iterdir():
        os.utime(path, (1, 1))

    def unplugged(_: Progress) -> None:
        if music.exists():
            music.rename(away)

    report = index(shelf, music, progress=unplugged)
    [failure] = report.failed
    assert report.updated == 1 and failure.path == music and "tries its 3 files again" in failure.reason
    assert content(shelf) == before and not shelf.failures()
    away.rename(music)
    again = index(shelf, music)
    assert (again.updated, again.unchanged, again.failed) == (3, 1, ())


def test_tracks_without_vectors_get_them_later_and_are_not_analyzed_again(music: Path, shelf: Collection) -> None:
    assert shelf.add([music], model=None, extractors=extractors).added == 4
    shelf.refresh()
    assert shelf.spaces() == () and shelf.analysis(int(shelf.select(())[0])).key.value
    assert shelf.add([music], model=None, extractors=extractors).unchanged == 4
    detected.clear()
    assert shelf.add([music], model=tiny_model, extractors=extractors).updated == 4
    shelf.refresh()
    assert (
        shelf.spaces() == (SPACE,) and not detected and len(shelf.store(SPACE).windows(shelf.select(()).tolist())) == 4
    )
    assert shelf.add([music], model=None, extractors=extractors).unchanged == 4  # and those that are there stay
