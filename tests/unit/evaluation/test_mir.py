"""Music annotations: scores through mir_eval, JAMS in and out."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from solfa.core.annotation import MusicAnnotation, read_jams, write_jams
from solfa.core.errors import InputError
from solfa.core.theory import QUALITIES, Key
from solfa.core.types import ChordSegment
from solfa.evaluation import mir

GOLDEN = Path(__file__).parents[2] / "golden" / "reference.jams"


def chords(*labels: str, length_s: float = 2.0) -> tuple[ChordSegment, ...]:
    return tuple(
        ChordSegment(start_s=i * length_s, end_s=(i + 1) * length_s, label=label, confidence=1.0)
        for i, label in enumerate(labels)
    )


FULL = MusicAnnotation(
    duration_s=20.0,
    tempo_bpm=120.0,
    key=Key(5, "major"),
    metre="4/4",
    beats_s=tuple(np.arange(40) * 0.5),
    downbeats_s=tuple(np.arange(10) * 2.0),
    chords=chords("F:maj", "D:min7", "Bb:maj7", "C:7", "N"),
)


def test_truth_against_itself_scores_one() -> None:
    result = mir.evaluate([FULL, FULL], [FULL, FULL])
    assert set(result) == {
        "tempo_acc1",
        "tempo_acc2",
        "tempo_p",
        "key_weighted",
        "metre_acc",
        "beats_f",
        "downbeats_f",
        "chord_root",
        "chord_majmin",
        "chord_sevenths",
        "chord_overlap",
        "chord_segmentation",
    }
    assert all(i.value == pytest.approx(1.0) and i.num == 2 for i in result.values())


def test_an_estimate_of_nothing_scores_zero_and_a_reference_of_nothing_does_not_count() -> None:
    nothing = MusicAnnotation(duration_s=20.0)
    assert all(i.value == 0 for i in mir.evaluate([FULL], [nothing]).values())
    partly = MusicAnnotation(duration_s=20.0, key=Key(5, "major"))
    result = mir.evaluate([FULL, partly], [FULL, FULL])
    assert result["key_weighted"].num == 2 and result["beats_f"].num == 1
    with pytest.raises(InputError, match="nothing to score"):
        mir.evaluate([nothing], [FULL])
    with pytest.raises(InputError, match="1 references, 2 estimates"):
        mir.evaluate([FULL], [FULL, FULL])


@pytest.mark.parametrize(
    ("estimate", "acc1", "acc2", "p"),
    [(124.8, 1, 1, 1), (124.9, 0, 0, 1), (60, 0, 1, 0), (240, 0, 1, 0), (40, 0, 1, 0), (80, 0, 0, 0), (None, 0, 0, 0)],
)
def test_tempo(estimate: float | None, acc1: int, acc2: int, p: int) -> None:
    assert mir.tempo_accuracy(120.0, estimate, octaves=False) == acc1
    assert mir.tempo_accuracy(120.0, estimate, octaves=True) == acc2
    assert mir.tempo_p_score(120.0, estimate) == p


@pytest.mark.parametrize(
    ("estimate", "score"), [("F major", 1), ("C major", 0.5), ("D minor", 0.3), ("F minor", 0.2), ("B major", 0)]
)
def test_key(estimate: str, score: float) -> None:
    assert mir.key_weighted("F major", estimate) == score


def test_every_key_and_chord_that_solfa_can_name_is_understood() -> None:
    for tonic in range(12):
        for mode in ("major", "minor"):
            name = str(Key(tonic, mode))  # type: ignore[arg-type]
            assert mir.key_weighted(name, name) == 1
    for quality in QUALITIES:
        one = chords(f"Eb:{quality}")
        scores = mir.chord_scores(one, one)
        assert all(s.value == 1 for s in scores.values()) and "chord_root" in scores


def test_chords_by_hand() -> None:
    reference = chords("C:maj", "A:min7", "F:maj", "G:7")
    estimate = chords("C:maj", "A:min", "F:min", "N")
    got = {name: s.value for name, s in mir.chord_scores(reference, estimate).items()}
    assert got["chord_root"] == pytest.approx(3 / 4)
    assert got["chord_majmin"] == pytest.approx(2 / 4)
    assert got["chord_sevenths"] == pytest.approx(1 / 4)
    gap = (reference[0], reference[3])  # silence between two chords is N
    assert mir.chord_scores(gap, gap)["chord_majmin"].value == 1
    assert mir.chord_scores(gap, reference)["chord_majmin"].value == pytest.approx(1 / 2)
    assert "chord_majmin" not in mir.chord_scores(chords("C:dim"), reference)  # nothing to compare, so no number


def test_chord_scores_equal_mir_eval() -> None:
    import mir_eval

    rng = np.random.default_rng(0)
    for _ in range(10):
        sides = []
        for _ in range(2):
            edges = np.concatenate([[0.0], np.sort(rng.random(12)) * 30, [30.0]])
            labels = rng.choice(["C:maj", "A:min7", "F:maj7", "G:7", "D:sus4", "B:dim", "N"], size=13)
            sides.append(
                [
                    ChordSegment(start_s=a, end_s=b, label=str(c), confidence=1.0)
                    for a, b, c in zip(edges[:-1], edges[1:], labels, strict=True)
                ]
            )
        spans = [np.array([(c.start_s, c.end_s) for c in side]) for side in sides]
        theirs = mir_eval.chord.evaluate(spans[0], [c.label for c in sides[0]], spans[1], [c.label for c in sides[1]])
        ours = mir.chord_scores(*sides)
        for name, their in (
            ("root", "root"),
            ("majmin", "majmin"),
            ("sevenths", "sevenths"),
            ("overlap", "mirex"),
            ("segmentation", "seg"),
        ):
            assert ours[f"chord_{name}"].value == pytest.approx(theirs[their], abs=1e-12)


def test_chords_are_weighted_by_duration() -> None:
    long = MusicAnnotation(duration_s=30.0, chords=chords("C:maj", length_s=30.0))
    short = MusicAnnotation(duration_s=10.0, chords=chords("D:maj", length_s=10.0))
    result = mir.evaluate([long, short], [long, long])
    assert result["chord_root"].value == pytest.approx(0.75)
    assert 0 <= result["chord_root"].low < result["chord_root"].high <= 1


def test_beats() -> None:
    beats = tuple(np.arange(40) * 0.5)
    assert mir.beat_f(beats, tuple(b + 0.069 for b in beats)) == 1
    assert mir.beat_f(beats, tuple(b + 0.1 for b in beats)) == 0
    assert mir.beat_f(beats, beats[::2]) == pytest.approx(2 / 3)
    assert mir.beat_f(beats, ()) == 0
    with pytest.raises(InputError, match="no beat after 5"):
        mir.beat_f((1.0, 2.0), beats)


@pytest.mark.parametrize(
    ("reference", "estimate", "message"),
    [
        ((), chords("C:maj"), "no chords"),
        (chords("H:maj"), chords("C:maj"), "Harte"),
        (chords("C:maj")[::-1] + chords("D:maj"), chords("C:maj"), "in order"),
    ],
)
def test_bad_chords_are_refused(
    reference: tuple[ChordSegment, ...], estimate: tuple[ChordSegment, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        mir.chord_scores(reference, estimate)


def test_jams_written_by_the_jams_package_is_read() -> None:
    got = read_jams(GOLDEN)
    assert (got.duration_s, got.tempo_bpm, got.key) == (12.0, 120.0, Key(6, "minor"))
    assert [(c.start_s, c.end_s, c.label) for c in got.chords] == [(0, 2, "F#:min"), (2, 4, "D:maj7/3"), (4, 12, "N")]
    assert len(got.beats_s) == 24 and got.downbeats_s == (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)


def test_jams_round_trip_and_validity(tmp_path: Path) -> None:
    path = tmp_path / "x.jams"
    write_jams(FULL, path, tool="solfa", title="T", artist="A")
    assert read_jams(path) == FULL
    jams = pytest.importorskip("jams")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        jam = jams.load(str(path), validate=True, strict=True)
    assert sorted(a.namespace for a in jam.annotations) == ["beat", "chord", "key_mode", "tempo"]


def test_jams_with_beat_positions_has_a_metre(tmp_path: Path) -> None:
    jam = json.loads(GOLDEN.read_text())
    jam["annotations"] = [
        {
            "namespace": "beat_position",
            "data": {
                "time": [0.0, 0.5, 1.0, 1.5],
                "duration": [0] * 4,
                "confidence": [None] * 4,
                "value": [{"position": i % 3 + 1, "measure": 1, "num_beats": 3, "beat_units": 4} for i in range(4)],
            },
        }
    ]
    path = tmp_path / "x.jams"
    path.write_text(json.dumps(jam))
    got = read_jams(path)
    assert got.metre == "3/4" and got.downbeats_s == (0.0, 1.5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"annotations": [1], "file_metadata": {"duration": 3}}',
        '{"annotations": [], "file_metadata": {"duration": null}}',
        '{"annotations": [{"namespace": "tempo", "data": [{}]}], "file_metadata": {"duration": 1}}',
        '{"annotations": [{"namespace": "beat", "data": [{"time": -1, "value": 1}]}], '
        '"file_metadata": {"duration": 1}}',
    ],
)
def test_hostile_jams_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.jams"
    path.write_text(text)
    with pytest.raises(InputError, match=r"bad\.jams: not a JAMS file|negative"):
        read_jams(path)
