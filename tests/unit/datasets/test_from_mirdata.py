"""The bridge from mirdata, with mirdata's own annotation classes and tracks of its shape."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from solfa.core.errors import InputError, UnknownName
from solfa.core.theory import Key
from solfa.datasets.readers.from_mirdata import annotation_of, load_mirdata

annotations = pytest.importorskip("mirdata.annotations")


class Track:
    """As a mirdata track: annotations are properties, names are the data set's own."""

    audio_path = ""

    @property
    def audio(self) -> None:
        raise AssertionError("the audio must not be decoded for its truth")

    @property
    def beats(self) -> Any:
        return annotations.BeatData(np.array([0.5, 1.0, 1.5, 2.0]), "s", np.array([1, 2, 3, 1]), "bar_index")

    @property
    def chords_lab(self) -> Any:
        return annotations.ChordData(np.array([[0.0, 1.0], [1.0, 2.0]]), "s", ["A:min", "N"], "harte")

    @property
    def key(self) -> Any:
        return annotations.KeyData(np.array([[0.0, 2.0]]), "s", ["A:minor"], "key_mode")

    @property
    def sections(self) -> Any:
        return annotations.SectionData(np.array([[0.0, 2.0]]), "s", ["verse"], "open")

    @property
    def tempo(self) -> float:
        return 120.0


def test_every_annotation_class_is_read() -> None:
    music = annotation_of(Track(), 2.5)
    assert (music.tempo_bpm, music.key, music.metre) == (120.0, Key(9, "minor"), None)
    assert music.beats_s == (0.5, 1.0, 1.5, 2.0) and music.downbeats_s == (0.5, 2.0)
    assert [(c.start_s, c.end_s, c.label) for c in music.chords] == [(0.0, 1.0, "A:min"), (1.0, 2.0, "N")]
    assert [s.label for s in music.sections] == ["verse"] and music.duration_s == 2.5


def test_what_is_missing_or_unknown_is_left_out() -> None:
    class Bare:
        key, tempo, beats = "D dorian", float("nan"), None

    class Plain:
        key, tempo = "Eb major", 92

    assert annotation_of(Bare(), 1.0).key is None and annotation_of(Bare(), 1.0).tempo_bpm is None
    assert annotation_of(Plain(), 1.0).key == Key(3, "major") and annotation_of(Plain(), 1.0).tempo_bpm == 92


def test_a_data_set_is_its_tracks_with_audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mirdata

    soundfile.write(tmp_path / "a.wav", np.zeros(8000, np.float32), 8000)
    there, gone = Track(), Track()
    there.audio_path, gone.audio_path = str(tmp_path / "a.wav"), str(tmp_path / "b.wav")
    opened = SimpleNamespace(load_tracks=lambda: {"a": there, "b": gone}, license_info="test", version="1.0")
    monkeypatch.setattr(mirdata, "initialize", lambda name, data_home: opened)
    data = load_mirdata("beatles", tmp_path)
    assert (data.name, data.revision, [item.id for item in data.clips]) == ("mirdata:beatles", "1.0", ["a"])
    assert data.clips[0].annotation is not None and data.clips[0].annotation.duration_s == pytest.approx(1.0)
    opened.load_tracks = lambda: {"b": gone}
    with pytest.raises(InputError, match="no track of mirdata's 'beatles' has its audio"):
        load_mirdata("beatles", tmp_path)
    with pytest.raises(UnknownName, match="nosuchset"):
        load_mirdata("nosuchset", tmp_path)


def test_a_folder_without_the_index_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"download\(\)"):
        load_mirdata("beatles", tmp_path)
