"""The tiny model does what its docstring says."""

import numpy as np

from fakes.synth import tone
from fakes.tiny import tiny_model
from solfa.core.types import Audio


def _sound(hz: float, seconds: float = 2.0) -> Audio:
    t = np.arange(int(16000 * seconds)) / 16000
    return Audio(np.sin(2 * np.pi * hz * t).astype(np.float32), 16000)


def test_words_find_their_bands() -> None:
    model = tiny_model()
    sounds = [_sound(80), _sound(700), _sound(3000), _sound(7000)]
    sounds.append(Audio(np.random.default_rng(0).standard_normal(32000).astype(np.float32), 16000))
    sounds.append(Audio(np.zeros(16000, np.float32), 16000))
    texts = ["low", "middle", "high", "bright", "noisy", "silent"]
    scores = model.text.encode(texts).global_BD @ model.audio.encode(sounds).global_BD.T
    assert (scores.argmax(axis=1) == np.arange(6)).all()
    assert np.abs(model.text.encode(["zither"]).global_BD @ model.audio.encode(sounds).global_BD.T).max() < 1e-5


def test_frames_are_unit_norm_and_do_not_depend_on_the_batch() -> None:
    model = tiny_model()
    short, long = _sound(80, 1.5), Audio(tone(60, 3.2), 22050)
    both = model.audio.encode([short, long])
    assert both.frames_BTD.shape == (2, 4, 32) and both.mask_BT.sum(axis=1).tolist() == [2, 4]
    assert np.allclose(np.linalg.norm(both.frames_BTD[both.mask_BT], axis=1), 1, atol=1e-5)
    alone = model.audio.encode([short])
    assert np.array_equal(alone.global_BD[0], both.global_BD[0])


def test_unlike_words_differ_and_nothing_is_still_a_vector() -> None:
    features = tiny_model().text.encode(["zither", "kazoo", ""])
    assert features.global_BD[0] @ features.global_BD[1] < 0.9
    assert np.allclose(np.linalg.norm(features.global_BD, axis=1), 1, atol=1e-5)
    assert tiny_model().space == "tiny/1/32"
