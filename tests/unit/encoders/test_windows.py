"""Windows of the training length: a clip inside a long file has the vectors of the clip alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fakes.tiny import tiny_model
from solfa.core.types import Audio, Features, JointModel, Views
from solfa.encoders.windows import candidates, embed, track_vector

RATE = 8000


class _Windowed:
    """The tiny encoder, whose pooled vector depends on all that is encoded at once."""

    def __init__(self, window_s: float) -> None:
        self._tiny = tiny_model().audio
        self.spec = replace(self._tiny.spec, window_s=window_s)
        self.lengths_s: list[float] = []

    def encode(self, batch: list[Audio]) -> Features:
        self.lengths_s += [audio.duration_s for audio in batch]
        found = self._tiny.encode(batch)
        turned = np.roll(found.global_BD, len(batch[0].samples) % 5, axis=1)
        return Features(turned, found.frames_BTD, found.mask_BT)


def model(window_s: float, **changes: object) -> JointModel:
    tiny = tiny_model()
    return JointModel(name="windowed", audio=_Windowed(window_s), text=tiny.text, **changes)  # type: ignore[arg-type]


def noise(seconds: float, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal(round(seconds * RATE)).astype(np.float32)


@pytest.mark.parametrize("stretch_s", [3.0, 7.3, 120.0])
def test_a_clip_inside_a_long_file_has_the_vector_of_the_clip_alone(stretch_s: float) -> None:
    clips = [noise(4.0, seed) for seed in range(5)]
    whole, step = np.concatenate(clips), round(stretch_s * RATE)
    stretches = [Audio(whole[at : at + step], RATE, at / RATE) for at in range(0, len(whole), step)]
    found = embed(model(4.0), stretches)
    assert len(found.pooled_WD) == 5
    for clip, vector, (first, last) in zip(clips, found.pooled_WD, found.ranges_W2.tolist(), strict=True):
        alone = model(4.0).audio.encode([Audio(clip, RATE)])
        np.testing.assert_array_equal(vector, alone.global_BD[0])
        np.testing.assert_array_equal(found.frames_TD[first:last], alone.frames_BTD[0])
    assert found.start_s_T.tolist() == list(range(20))


@pytest.mark.parametrize(
    ("seconds", "windows_s"), [(3.0, [3.0]), (4.0, [4.0]), (5.9, [5.9]), (6.0, [4.0, 2.0]), (13.0, [4.0, 4.0, 5.0])]
)
def test_a_short_rest_belongs_to_the_window_before_it(seconds: float, windows_s: list[float]) -> None:
    made = model(4.0)
    embed(made, [Audio(noise(seconds, 0), RATE)])
    assert made.audio.lengths_s == pytest.approx(windows_s)  # type: ignore[attr-defined]


def test_candidates_of_an_untrained_pooled_view_are_mean_frames() -> None:
    for trained in (("global", "frame"), ("frame",)):
        views = Views(trained=trained)  # type: ignore[arg-type]
        windows = embed(model(4.0), [Audio(noise(8.0, 1), RATE)])
        mean = np.asarray(windows.frames_TD[:4], np.float64).mean(axis=0)
        expected = windows.pooled_WD[0] if "global" in trained else mean / np.linalg.norm(mean)
        found = candidates(views, windows)
        np.testing.assert_allclose(found[0], expected, atol=1e-6)
        both = found.sum(axis=0)
        np.testing.assert_allclose(track_vector(views, windows), both / np.linalg.norm(both), atol=1e-6)


def test_sound_of_no_length_has_no_windows() -> None:
    windows = embed(model(4.0), [Audio(np.zeros(0, np.float32), RATE)])
    assert len(windows.pooled_WD) == 0 and not track_vector(Views(), windows).any()
