"""Truth of clips: from a score and stems made by hand, so that every number is known."""

import json
from dataclasses import replace

import numpy as np
import pytest

from solfa.core.annotation import MusicAnnotation, jams_of, parse_jams
from solfa.core.types import FloatArray
from solfa.datagen.world.render import Stem
from solfa.datagen.world.score import Note, Scale, Score, ScorePart, tempo_map
from solfa.datagen.world.truth import Window, active, annotate, attributes_of, phrases_of
from solfa.datasets.phrases import event_phrase

RATE_HZ = 8000
COMP = tuple(Note(b, 0.9, p, 80) for b in range(40) for p in ((60, 64, 67) if b < 16 else (62, 66, 69)))
BASS = tuple(Note(b, 0.9, 36 if b < 16 else 38, 80) for b in range(24))


def piece(**changes: object) -> Score:
    """120 BPM, 4/4: eight seconds of C major, then D major; the bass stops at beat 24."""
    score = Score(
        beat_s=tempo_map("steady", 40, 120.0, np.random.default_rng(0)), metres=((0, 40, "4/4"),),
        keys=((0.0, 16.0, Scale(0, "major")), (16.0, 40.0, Scale(2, "major"))),
        chords=((0.0, 16.0, "C:maj"), (16.0, 40.0, "D:maj")), sections=((0.0, 16.0, "verse"), (16.0, 40.0, "chorus")),
        parts=(ScorePart(role="comp", concept="piano", program=0, notes=COMP),
               ScorePart(role="bass", concept="bass_guitar", program=33, notes=BASS)),
    )  # fmt: skip
    return replace(score, **changes)  # type: ignore[arg-type]


def stems(score: Score, window: Window) -> list[Stem]:
    """A steady tone while a part plays."""

    def tone(part: ScorePart) -> FloatArray:
        time_s = window.begin_s + np.arange(round(window.seconds * window.ratio * RATE_HZ)) / RATE_HZ
        on = np.zeros(len(time_s), bool)
        for note in part.notes:
            start, end = score.seconds(np.array([note.start, note.start + note.length]))
            on |= (time_s >= start) & (time_s < end)
        return np.asarray(0.1 * on * np.sin(2 * np.pi * 440 * time_s), np.float32)

    return [Stem(part, tone(part)) for part in score.parts]


def truth(score: Score, window: Window) -> MusicAnnotation:
    """The annotation of a clip of the stems."""
    sounding = stems(score, window)
    mix = sum((s.samples for s in sounding), np.zeros_like(sounding[0].samples))
    return annotate(score, sounding, window, RATE_HZ, mix)


def test_a_clip_shows_what_lies_in_its_window() -> None:
    got = truth(piece(), Window(begin_s=4.25, seconds=6.0))
    assert got.tempo_bpm == 120.0 and got.metre == "4/4" and got.key is None
    assert got.beats_s[:3] == (0.25, 0.75, 1.25) and len(got.beats_s) == 12
    assert got.downbeats_s == (1.75, 3.75, 5.75)
    assert [(c.start_s, c.end_s, c.label) for c in got.chords] == [(0.0, 3.75, "C:maj"), (3.75, 6.0, "D:maj")]
    assert got.keys == ((0.0, 3.75, "C major"), (3.75, 6.0, "D major"))
    assert got.sections == ((0.0, 3.75, "verse"), (3.75, 6.0, "chorus"))
    assert got.energy is not None and len(got.energy.values) == 12


def test_a_shift_moves_time_and_pitch_together() -> None:
    ratio = 2 ** (2 / 12)
    plain = truth(piece(), Window(begin_s=1.0, seconds=6.0))
    fast = truth(piece(), Window(begin_s=1.0, seconds=6.0, shift=2))
    assert fast.tempo_bpm == pytest.approx(120 * ratio, abs=0.01)
    assert np.allclose(fast.beats_s[:12], np.array(plain.beats_s[:12]) / ratio, atol=1e-4)
    assert fast.chords[0].label == "D:maj" and fast.keys[0].label == "D major"


def test_chords_are_told_only_where_they_sound() -> None:
    bass_only = piece(parts=piece().parts[1:])
    got = truth(bass_only, Window(begin_s=7.0, seconds=7.0))
    assert [c.label for c in got.chords] == ["X"] and "chords" not in attributes_of(got, bass_only)
    drums = piece(parts=(ScorePart(role="drums", concept="drums", program=0, notes=BASS, drums=True),))
    got = truth(drums, Window(begin_s=0.0, seconds=8.0))
    assert [c.label for c in got.chords] == ["N"]
    assert got.key is None  # nothing pitched sounds, so no key is heard


def test_a_key_is_told_where_tonic_and_third_are_played() -> None:
    fifths = tuple(n._replace(pitch=n.pitch - 4 + 7) if n.pitch % 12 == 4 else n for n in COMP)
    window = Window(begin_s=0.0, seconds=7.5)
    assert str(truth(piece(), window).key) == "C major"
    assert truth(piece(parts=(replace(piece().parts[0], notes=fifths),)), window).key is None


@pytest.mark.parametrize("shape", ["accelerando", "ritardando", "step"])
def test_a_changing_tempo_is_not_one_number(shape: str) -> None:
    score = piece(beat_s=tempo_map(shape, 40, 120.0, np.random.default_rng(3)), tempo=shape)
    window = Window(begin_s=0.0, seconds=float(score.beat_s[-1]) - 0.1)
    got = truth(score, window)
    assert got.tempo_bpm is None and len(got.tempi) > 1
    assert "tempo_bpm" not in attributes_of(got, score)
    texts = {p.text for p in phrases_of(got, score, stems(score, window), window)}
    faster = got.tempi[-1][2] > got.tempi[0][2]
    assert event_phrase("speeds_up" if faster else "slows_down") in texts


def test_instruments_are_active_while_their_stems_sound() -> None:
    score, window = piece(), Window(begin_s=6.0, seconds=12.0)
    found = active(stems(score, window), window, RATE_HZ)
    assert found["piano"] == pytest.approx(np.array([[0.0, 12.0]]), abs=0.06)
    assert found["bass_guitar"] == pytest.approx(np.array([[0.0, 6.0]]), abs=0.1)
    quiet = [Stem(s.part, s.samples * (0.01 if s.part.role == "bass" else 1)) for s in stems(score, window)]
    assert "bass_guitar" not in active(quiet, window, RATE_HZ)  # 40 dB below is not heard


def test_events_are_phrases() -> None:
    late = tuple(n._replace(start=n.start + 10) for n in BASS)
    parts = (piece().parts[0], replace(piece().parts[1], notes=late))
    score, window = piece(parts=parts), Window(begin_s=0.0, seconds=12.0)
    got = truth(score, window)
    rows = {p.text: p.spans_s for p in phrases_of(got, score, stems(score, window), window)}
    assert rows[event_phrase("enters", "bass_guitar")][0] == pytest.approx((5.0, 6.0), abs=0.06)
    assert rows[event_phrase("alone", "piano")][0] == pytest.approx((0.0, 5.0), abs=0.06)
    assert rows[event_phrase("key_change")] == ((6.0, 10.0),)
    glimpse = Window(begin_s=0.0, seconds=8.5)  # half a second of the other key
    told = phrases_of(truth(score, glimpse), score, stems(score, glimpse), glimpse)
    assert len(truth(score, glimpse).keys) == 2 and "key change" not in {p.text for p in told}
    plain, window = piece(), Window(begin_s=0.0, seconds=18.0)
    rows = {p.text: p.spans_s for p in phrases_of(truth(plain, window), plain, stems(plain, window), window)}
    assert rows[event_phrase("leaves", "bass_guitar")][0][1] == pytest.approx(11.95, abs=0.06)


def test_chords_are_in_order_and_equal_neighbours_are_one() -> None:
    gap = (*(n for n in COMP if n.start < 8), *(n for n in COMP if 12 <= n.start < 16))
    score = piece(chords=((0.0, 8.0, "C:maj"), (8.0, 12.0, "N"), (12.0, 16.0, "C:maj"), (16.0, 40.0, "D:maj")),
                  parts=(replace(piece().parts[0], notes=(*gap, *COMP[48:])),))  # fmt: skip
    got = truth(score, Window(begin_s=0.0, seconds=10.0))
    assert [c.label for c in got.chords] == ["C:maj", "N", "C:maj", "D:maj"]
    assert attributes_of(got, score)["chords"] == ["C:maj", "D:maj"]


def test_voices_of_synthesisers_are_told_as_voice_like() -> None:
    choir = ScorePart(role="choir", concept="choir", program=52, notes=COMP)
    score = piece(parts=(choir,))
    got = truth(score, Window(begin_s=0.0, seconds=6.0))
    found = attributes_of(got, score)
    assert found["voice_like"] is True and "voice" not in found and "choir" in found["instruments"]
    assert attributes_of(truth(piece(), Window(begin_s=0.0, seconds=6.0)), piece())["voice"] is False


def test_all_of_it_survives_jams() -> None:
    for window in (Window(begin_s=4.0, seconds=8.0), Window(begin_s=0.0, seconds=7.0, shift=-1)):
        got = truth(piece(), window)
        again = parse_jams(json.dumps(jams_of(got, tool="test")).encode(), "x")
        assert replace(again, chords=()) == replace(got, chords=())
        for a, b in zip(again.chords, got.chords, strict=True):
            assert a.label == b.label and a.end_s == pytest.approx(b.end_s)
