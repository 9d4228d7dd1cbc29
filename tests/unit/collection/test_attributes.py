"""Columns say what the analyses say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from indexing import index, make_music

from solfa.analysis.analyze import analyze
from solfa.collection import Collection
from solfa.collection.records import CHOICES, choices, key_number, metre_numbers, progression, summary
from solfa.core.errors import InputError
from solfa.core.theory import QUALITIES, Chord, Key
from solfa.core.types import Alternative, ChordSegment, Estimate


def test_columns_are_the_analyses(tmp_path: Path) -> None:
    make_music(tmp_path / "music", 5)
    with Collection.open(tmp_path / "shelf", create=True) as shelf:
        index(shelf, tmp_path / "music")
        columns = shelf.attributes()
        assert columns.track_ids.tolist() == shelf.select(()).tolist() and len(columns) == 5
        detected = columns.confidence("rhodes")
        for row, track_id in enumerate(columns.track_ids.tolist()):
            analysis = shelf.analysis(track_id)
            assert columns.summary["tempo_bpm"][row, 0] == np.float32(analysis.tempo_bpm.value)
            assert columns.summary["tempo_confidence"][row].tolist() == [np.float32(0.9), 0, 0, 0]
            assert columns.summary["key"][row].tolist() == [key_number(analysis.key.value or ""), -1, -1, -1]
            assert columns.summary["loudness_lufs"][row] == np.float32(analysis.loudness_lufs.value)
            assert detected[row] == np.float32(analysis.instruments[0].confidence)
        assert np.isnan(columns.confidence("bagpipes")).all()
        assert not np.isnan(columns.confidence("voice")).any()
        np.testing.assert_array_equal(columns.rows(columns.track_ids[[3, 1]]), [3, 1])
        with pytest.raises(KeyError):
            columns.rows(np.array([99]))


def test_an_empty_collection_has_empty_columns(tmp_path: Path) -> None:
    with Collection.open(tmp_path / "shelf", create=True) as shelf:
        columns = shelf.attributes()
        assert len(columns) == 0 and columns.chord_bounds.tolist() == [0]
        assert columns.confidence("piano").shape == (0,)
        assert columns.rows(np.zeros(0, np.int64)).tolist() == []


def test_the_summary_keeps_the_best_alternatives() -> None:
    alternatives = tuple(Alternative(value=60.0 + i, confidence=0.01 * i) for i in range(6))
    tempo = Estimate(value=120.0, confidence=0.5, alternatives=alternatives)
    analysis = replace(analyze((), ()), tempo_bpm=tempo, metre=Estimate(value="12/8", confidence=0.7))
    [row] = summary(analysis)
    assert row["tempo_bpm"].tolist() == [120.0, 65.0, 64.0, 63.0] and len(choices(tempo)) == CHOICES
    assert row["metre"].tolist() == [[12, 8], [0, 0], [0, 0], [0, 0]]
    assert row["key"].tolist() == [-1] * 4 and np.isnan(row["loudness_lufs"])
    assert choices(Estimate(value=None, confidence=0.0, alternatives=alternatives)) == []


@given(st.integers(0, 11), st.sampled_from(["major", "minor"]))
def test_keys_have_a_number_each(tonic: int, mode: str) -> None:
    assert key_number(str(Key(tonic, mode))) == tonic + 12 * (mode == "minor")  # type: ignore[arg-type]


def test_a_metre_must_be_one() -> None:
    with pytest.raises(InputError, match="not a metre"):
        metre_numbers("waltz")


def test_progressions_collapse_repeats() -> None:
    labels = ["N", "C:maj", "C:maj7", "A:min", "A:min7/b3", "F:sus4", "B:hdim7"]
    segments = tuple(
        ChordSegment(start_s=float(i), end_s=i + 1.0, label=label, confidence=1.0) for i, label in enumerate(labels)
    )
    assert list(progression(replace(analyze((), ()), chords=segments))) == [0, 1, 13 + 9, 1 + 5, 13 + 11]
    for quality in QUALITIES:
        segment = ChordSegment(start_s=0.0, end_s=1.0, label=str(Chord(0, quality)), confidence=1.0)
        assert progression(replace(analyze((), ()), chords=(segment,)))[0] in (1, 13)


def test_timelines_are_the_analyses(tmp_path: Path) -> None:
    make_music(tmp_path / "music", 2)
    with Collection.open(tmp_path / "shelf", create=True) as shelf:
        index(shelf, tmp_path / "music")
        for track_id, timeline in zip([2, 1], shelf.timelines([2, 1]), strict=True):
            analysis = shelf.analysis(track_id)
            np.testing.assert_allclose(timeline.energy, analysis.energy.values, atol=1e-6)
            assert timeline.energy_hop_s == analysis.energy.hop_s
            assert len(timeline.chords) == 0 and len(timeline.spans) == 1
