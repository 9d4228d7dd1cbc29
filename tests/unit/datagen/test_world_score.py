"""Scores, harmony and the arranger: what is written is what is played."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solfa.core.errors import InputError
from solfa.core.theory import Chord
from solfa.core.vocabulary import concepts
from solfa.datagen.world.arrange import drum_hits, hits
from solfa.datagen.world.compose import compose
from solfa.datagen.world.harmony import diatonic, modulated, progression
from solfa.datagen.world.score import METRES, MODES, Scale, Score, moved_label, plain_label, table, tempo_map
from solfa.datagen.world.styles import concept_of, pool, styles

COLOURS = ("power", "triad", "pop", "seventh", "jazz")
SHAPES = ("steady", "drifting", "ritardando", "accelerando", "step")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("colour", COLOURS)
def test_progressions_are_chords_of_their_key(mode: str, colour: str) -> None:
    outside = 0
    for tonic in range(12):
        chords = progression(Scale(tonic, mode), colour, np.random.default_rng([tonic, 1]), inversions=0.5)
        assert 2 <= len(chords) <= 12
        scale = {Scale(tonic, mode).degree(i) for i in range(7)}
        for chord in chords:
            again = Chord.parse(str(chord))
            assert again is not None and again.pitch_classes == chord.pitch_classes and again.bass == chord.bass
            assert chord.bass is None or (chord.root + chord.bass) % 12 in chord.pitch_classes
            outside += not chord.pitch_classes <= scale
    # Dominants of minor keys, borrowed and passing chords leave the scale; most chords do not.
    assert outside <= (0 if mode not in ("major", "minor") and colour in ("power", "triad") else 35)


def test_diatonic_chords_of_a_dorian_scale() -> None:
    found = [str(diatonic(Scale(2, "dorian"), d, 4)) for d in range(7)]
    assert found == ["D:min7", "E:min7", "F:maj7", "G:7", "A:min7", "B:hdim7", "C:maj7"]


def test_modulation_changes_the_key() -> None:
    scale = Scale(0, "major")
    assert all(modulated(scale, np.random.default_rng(i)) != scale for i in range(50))


@pytest.mark.parametrize(
    "label", ["D:7(#9)", "Cb:sus4(b7,9)/5", "F#:min11/b7", "G", "N", "A:maj/9", "Eb:maj(9)/3", "B:1"]
)
def test_wild_labels_become_known_ones(label: str) -> None:
    plain = plain_label(label)
    chord = Chord.parse(plain)
    assert (chord is None) == (label == "N")
    assert moved_label(moved_label(plain, 5), -5) == plain


@pytest.mark.parametrize("label", ["H:maj", "C:blue", "", "C:maj:min"])
def test_what_is_no_chord_label_is_refused(label: str) -> None:
    with pytest.raises(InputError):
        plain_label(label)


@given(st.sampled_from(SHAPES), st.integers(4, 200), st.floats(40, 240), st.integers(0, 99))
def test_tempo_maps_rise_and_are_undone(shape: str, beats: int, bpm: float, seed: int) -> None:
    times = tempo_map(shape, beats, bpm, np.random.default_rng(seed))
    assert len(times) == beats + 1 and times[0] == 0
    score = Score(beat_s=times, metres=((0, beats, "2/4"),), keys=((0.0, float(beats), Scale(0, "major")),))
    places = np.linspace(-2, beats + 2, 50)
    assert np.allclose(score.at_beat(score.seconds(places)), places)
    rate = 60 / np.diff(times)
    assert rate.min() > 0.55 * bpm and rate.max() < 1.6 * bpm
    if shape == "steady":
        assert np.allclose(rate, bpm)


def test_a_score_of_no_time_is_refused() -> None:
    for beat_s in ([0.0, 1.0], [0.0, 1.0, 1.01], [0.0, 1.0, float("nan")]):
        with pytest.raises(InputError, match="beats"):
            Score(beat_s=np.array(beat_s), metres=(), keys=())


def test_the_table_of_styles_is_sound() -> None:
    assert len(styles()) >= 15
    for style in styles().values():
        assert {concepts()[g].kind for g in style.genre} == {"genre"}
        assert all(concept_of(p) in concepts() for p in (*style.comp_pool, *style.lead_pool, *style.bass_pool))
        assert set(style.colour) <= set(COLOURS) and set(style.metres) <= set(METRES)
        for kind in ("drums", "bass", "comp"):
            assert set(style.metres) <= set(getattr(style, kind)), (style.name, kind)
            for metre, patterns in getattr(style, kind).items():
                for pattern in patterns:
                    lines = [line.strip() for line in pattern.split("/")] if kind == "drums" else [" " + pattern]
                    for line in lines:
                        steps = line[1:].replace(" ", "")
                        assert len(steps) * 12 % METRES[metre].beats == 0, (style.name, metre, pattern)
                        assert set(steps) <= set({"drums": "xXo.", "bass": "1357w8-.", "comp": "xalh-."}[kind])
                        assert kind != "drums" or line[0] in table()["drums"]["keys"]
    for name in ("comp", "pad", "bass", "lead", "counter"):
        assert all(concept_of(p) in concepts() for p in pool(name))


@pytest.mark.parametrize("metre", METRES)
def test_every_metre_can_be_drummed(metre: str) -> None:
    notes = list(drum_hits(table()["plain"]["drums"][metre], 0, METRES[metre].beats))
    hats = [n.start for n in notes if n.pitch == table()["drums"]["keys"]["C"]]
    assert len(hats) == METRES[metre].beats * METRES[metre].division
    assert min(n.start for n in notes if n.pitch == table()["drums"]["keys"]["K"]) == 0


def test_held_notes_are_struck_again_where_the_chord_changes() -> None:
    assert list(hits("x---", 4, 8, [6.0])) == [(4, 6.0, "x"), (6.0, 8, "x")]
    assert list(hits(".x..", 0, 4, [])) == [(1.0, 2.0, "x")]


def test_a_piece_follows_from_its_seed() -> None:
    one, two = (compose(8, np.random.default_rng(5)) for _ in range(2))
    assert one.parts == two.parts and one.chords == two.chords and np.array_equal(one.beat_s, two.beat_s)
    assert compose(8, np.random.default_rng(6)).chords != one.chords


@pytest.mark.parametrize("style", sorted(styles()))
def test_bands_play_the_chords_of_their_chart(style: str) -> None:
    for seed in range(6):
        piece = compose(8, np.random.default_rng([seed, 2]), style=style)
        assert piece.seconds(piece.beats) >= 16 * 0.6
        assert all(a[1] == b[0] for a, b in pairwise(piece.chords)) and piece.chords[0][0] == 0
        for part in piece.parts:
            assert all(
                n.start >= 0 and n.length > 0 and 0 < n.velocity < 128 and 0 <= n.pitch < 128 for n in part.notes
            )
            if part.role not in ("comp", "pad", "choir", "bass"):
                continue
            wrong = Counter[bool]()
            for note in part.notes:
                label = next(c for a, b, c in piece.chords if a - 1e-6 <= note.start < b - 1e-6)
                chord = Chord.parse(label)
                assert chord is not None
                wrong[note.pitch % 12 not in chord.pitch_classes] += 1
            # Only basses that walk touch other notes; melodies by voices are no chords.
            if part.role in ("comp", "pad"):
                assert not wrong[True], (style, part)


def test_roots_lie_under_chord_changes() -> None:
    for seed in range(20):
        piece = compose(8, np.random.default_rng([seed, 3]))
        for part in (p for p in piece.parts if p.role == "bass"):
            for start, _, label in piece.chords:
                chord = Chord.parse(label)
                first = next((n for n in part.notes if abs(n.start - start) < 1e-6), None)
                if first is not None and chord is not None:
                    assert first.pitch % 12 == (chord.root + (chord.bass or 0)) % 12


def test_moving_a_piece_moves_all_of_it_but_the_drums() -> None:
    piece = compose(8, np.random.default_rng(11), style="rock")
    other = piece.moved(3)
    assert other.keys[0][2].tonic == (piece.keys[0][2].tonic + 3) % 12
    for before, after in zip(piece.parts, other.parts, strict=True):
        shift = 0 if before.drums else 3
        assert [n.pitch + shift for n in before.notes] == [n.pitch for n in after.notes]
