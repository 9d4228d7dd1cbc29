"""The self-test lets a live model pass and says of a dead one what was seen."""

from dataclasses import replace

import numpy as np
import pytest

from fakes.tiny import tiny_model
from solfa.core.errors import WeightsError
from solfa.core.types import Features
from solfa.encoders import selftest
from solfa.weights import home


class Changed:
    """A tower whose answers are changed on the way out."""

    def __init__(self, tower, change, spec=None):
        self._tower, self._change, self.spec = tower, change, spec or tower.spec

    def encode(self, batch):
        return self._change(self._tower.encode(batch))


def with_text(change):
    model = tiny_model()
    return replace(model, text=Changed(model.text, change))


def with_audio(change):
    model = tiny_model()
    return replace(model, audio=Changed(model.audio, change))


def glob(change):
    return lambda f: Features(global_BD=change(f.global_BD), frames_BTD=f.frames_BTD, mask_BT=f.mask_BT)


def test_a_live_model_passes():
    selftest.check(tiny_model())


def test_a_collapsed_text_tower_is_named():
    with pytest.raises(WeightsError, match=r"dead text tower: 'solo piano.*' and 'heavy metal.*' have cosine 1\.0000"):
        selftest.check(with_text(glob(lambda rows: np.repeat(rows[:1], len(rows), axis=0))))


def test_a_collapsed_audio_tower_is_named():
    with pytest.raises(WeightsError, match="dead sound tower: 'a chord' and 'white noise'"):
        selftest.check(with_audio(glob(lambda rows: np.repeat(rows[:1], len(rows), axis=0))))


def test_nearly_the_same_is_dead_too():
    def squeeze(rows):
        near = rows[:1] + 0.05 * rows
        return near / np.linalg.norm(near, axis=1, keepdims=True)

    with pytest.raises(WeightsError, match=r"cosine 0\.99"):
        selftest.check(with_text(glob(squeeze)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows * np.nan, "lengths nan to nan, expected 1 and finite"),
        (lambda rows: rows * 2, r"lengths 2\.0000 to 2\.0000"),
        (lambda rows: rows[:, :-1], r"shape \(3, 31\), expected \(3, 32\)"),
        (lambda rows: rows[:-1], r"shape \(2, 32\)"),
    ],
)
def test_what_no_vector_may_be(change, message):
    with pytest.raises(WeightsError, match=message):
        selftest.check(with_text(glob(change)))


def test_frames_are_looked_at_as_well():
    def broken(f):
        return Features(global_BD=f.global_BD, frames_BTD=f.frames_BTD * np.float32(np.inf), mask_BT=f.mask_BT)

    with np.errstate(invalid="ignore"), pytest.raises(WeightsError, match="sound frames"):
        selftest.check(with_audio(broken))


def test_two_answers_for_one_input_are_refused():
    rng = np.random.default_rng(0)

    def jitter(rows):
        moved = rows + 1e-4 * rng.standard_normal(rows.shape)
        return (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)

    with pytest.raises(WeightsError, match="two answers"):
        selftest.check(with_text(glob(jitter)))


def test_towers_of_two_spaces_are_refused():
    model = tiny_model()
    other = replace(model.text.spec, space="elsewhere/1")
    with pytest.raises(WeightsError, match="different spaces"):
        selftest.check(replace(model, text=Changed(model.text, lambda f: f, other)))


def test_a_space_is_tested_once_a_machine(monkeypatch):
    calls = []
    monkeypatch.setattr(selftest, "check", lambda model: calls.append(model.name))
    selftest.check_once(tiny_model())
    selftest.check_once(tiny_model())
    assert calls == ["tiny"]
    [note] = (home() / "selftest").iterdir()
    assert note.read_text().startswith("tiny/1/32")


def test_a_failed_test_leaves_no_note():
    with pytest.raises(WeightsError):
        selftest.check_once(with_text(glob(lambda rows: rows * 2)))
    assert not (home() / "selftest").exists()


def test_a_home_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("in the way")
    monkeypatch.setenv("SOLFA_HOME", str(file / "below"))
    selftest.check_once(tiny_model())


def test_the_sounds_are_made_for_any_rate():
    for rate in (16000, 24000, 48000):
        for _, audio in selftest.sounds(rate):
            assert audio.duration_s == 4.0 and np.abs(audio.samples).max() == pytest.approx(0.5)
