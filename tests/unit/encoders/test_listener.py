"""The body that hears chords, key and tempo as well as sounds."""

import numpy as np
import pytest

from fakes.synth import song
from solfa.analysis.rhythm_tracking import FASTEST_BPM, SLOWEST_BPM
from solfa.core.errors import UnknownName
from solfa.core.types import Audio
from solfa.encoders import taggers
from solfa.encoders.listener import MEASURED
from solfa.encoders.registry import load_backbone

KEY = slice(taggers.DIM + 100, taggers.DIM + 124)
ACF = slice(taggers.DIM + 124, None)


@pytest.fixture(scope="module")
def listener():
    return load_backbone("listener")


@pytest.fixture(scope="module")
def rows(listener):
    return listener.states([song(bars=5, tempo_bpm=120).audio])


def test_the_taggers_part_is_the_taggers(listener, rows):
    audio = song(bars=5, tempo_bpm=120).audio
    alone = load_backbone("taggers").states([audio])
    np.testing.assert_array_equal(rows.states_BTD[..., : taggers.DIM], alone.states_BTD)
    np.testing.assert_array_equal(rows.mask_BT, alone.mask_BT)
    assert rows.states_BTD.shape[2] == listener.spec.dim
    assert listener.spec.space != load_backbone("taggers").spec.space


def test_the_key_and_the_tempo_are_there(rows):
    row = rows.states_BTD[0, 0]
    assert int(row[KEY].argmax()) in (0, 12 + 9)  # C major or A minor, of Am F C G
    tempi = np.geomspace(SLOWEST_BPM, FASTEST_BPM, 64)
    beats = row[ACF].reshape(2, 64)[1]
    assert beats[np.abs(tempi - 120).argmin()] > np.median(beats) + 0.2


def test_key_and_periodicity_are_of_their_part_of_a_stretch(listener):
    low, high = song(bars=8, tempo_bpm=96).audio, song(bars=8, tempo_bpm=126).audio
    both = Audio(np.concatenate([low.samples, high.samples]), low.sample_rate_hz, start_s=12.5)
    rows = listener.states([both]).states_BTD[0]
    tempi = np.geomspace(SLOWEST_BPM, FASTEST_BPM, 64)
    beats = rows[:, ACF].reshape(len(rows), 2, 64)[:, 1]
    at_96, at_126 = (np.abs(tempi - bpm).argmin() for bpm in (96, 126))
    assert beats[3, at_96] > beats[3, at_126] + 0.1 and beats[-3, at_126] > beats[-3, at_96] + 0.1
    silent = Audio(np.concatenate([low.samples, 0 * low.samples]), low.sample_rate_hz)
    rows = listener.states([silent]).states_BTD[0]
    assert rows[3, KEY].any() and rows[3, ACF].any() and not rows[-3, KEY].any() and not rows[-3, ACF].any()


def test_chords_move_with_the_seconds(rows):
    chords = rows.states_BTD[0, :, taggers.DIM : taggers.DIM + 100]
    # Bars of two seconds: the second half of a bar is like its first and unlike the next bar.
    same = np.linalg.norm(chords[2] - chords[3])
    other = np.linalg.norm(chords[3] - chords[4])
    assert same < other


def test_company_place_and_scale(listener, rows):
    audio = song(bars=5, tempo_bpm=120).audio
    later = Audio(audio.samples, audio.sample_rate_hz, start_s=37.0)
    both = listener.states([later, Audio(audio.samples[: 3 * audio.sample_rate_hz], audio.sample_rate_hz)])
    np.testing.assert_allclose(both.states_BTD[0], rows.states_BTD[0], atol=1e-5)
    assert not both.states_BTD[1, ~both.mask_BT[1]].any()
    assert np.abs(rows.states_BTD).max() <= 8.0


def test_silence_and_nothing(listener):
    quiet = listener.states([Audio(np.zeros(22050 * 4, np.float32), 22050), Audio(np.zeros(0, np.float32), 22050)])
    assert np.isfinite(quiet.states_BTD).all()
    assert quiet.mask_BT[0].any() and not quiet.mask_BT[1].any()
    assert not quiet.states_BTD[0, 0, KEY].any() and not quiet.states_BTD[0, 0, ACF].any()


def test_vectors_of_a_joint_model_in_place_of_the_taggers(rows):
    audio, on_bridge = song(bars=5, tempo_bpm=120).audio, load_backbone("listener:bridge")
    states, alone = on_bridge.states([audio]), load_backbone("tower:bridge").states([audio])
    np.testing.assert_array_equal(states.states_BTD[..., :512], alone.states_BTD)
    np.testing.assert_array_equal(states.mask_BT, alone.mask_BT)
    assert states.states_BTD.shape[2] == on_bridge.spec.dim == 512 + MEASURED and on_bridge.spec.hop_s == 3.0
    np.testing.assert_array_equal(states.states_BTD[0, 0, 612:], rows.states_BTD[0, 0, taggers.DIM + 100 :])
    # The first row of 3 s has the mean of what the first three rows of 1 s have, but for a frame more or less of each.
    seconds = rows.states_BTD[0, :3, taggers.DIM : taggers.DIM + 100].mean(axis=0)
    np.testing.assert_allclose(states.states_BTD[0, 0, 512:612], seconds, atol=0.1)
    assert on_bridge.spec.space != load_backbone("listener").spec.space
    assert load_backbone("tower:bridge").spec.licence in on_bridge.spec.licence and "chords" in on_bridge.spec.licence
    with pytest.raises(UnknownName):
        load_backbone("listener:nothing")
