"""The networks run on a grid that stretches share, once for a stretch."""

import numpy as np
import pytest

from fakes.synth import song
from solfa.analysis import tagging
from solfa.analysis.tagging import NETS, by_second, labels, num_frames, tag_frames
from solfa.core.types import Audio


def _noise(seconds: float, rate: int = 16000) -> Audio:
    samples = np.random.default_rng(0).standard_normal(int(seconds * rate)) * 0.1
    return Audio(samples.astype(np.float32), rate)


@pytest.mark.parametrize(("seconds", "frames"), [(0, 1), (0.1, 1), (3, 1), (3.4, 1), (3.5, 2), (6, 2), (30.01, 10)])
def test_number_of_frames(seconds: float, frames: int) -> None:
    assert num_frames(_noise(seconds)) == frames


def test_shapes_and_memo() -> None:
    audio = _noise(7.0, 22050)
    detected = tag_frames(audio)
    assert tag_frames(audio) is detected and len(detected) == 3
    assert detected.mtt_TL.shape == detected.msd_TL.shape == (3, 50) and detected.yamnet_PL.shape == (9, 521)
    assert detected.mtt_TD.shape == detected.msd_TD.shape == (3, 200) and detected.yamnet_TD.shape == (3, 1024)
    assert np.allclose(detected.yamnet_TL[1], detected.yamnet_PL[3:6].mean(axis=0))
    scores = by_second(detected)
    assert {net: rows.shape for net, rows in scores.items()} == {
        net: (9, len(names)) for net, names in labels().items()
    }
    assert [len(labels()[net]) for net in NETS] == [50, 50, 521]
    assert np.isfinite(scores["probe"]).all() and 0 <= scores["probe"].min() <= scores["probe"].max() <= 1


def test_a_frame_does_not_depend_on_what_follows() -> None:
    long = _noise(33.0)
    whole = tag_frames(long)
    cut = tag_frames(Audio(long.samples[27 * 16000 : 30 * 16000], 16000))
    for name in ("mtt_TL", "msd_TL", "mtt_TD", "yamnet_TD"):
        assert np.array_equal(getattr(whole, name)[9], getattr(cut, name)[0])


def test_a_short_rest_is_repeated_not_padded_with_silence() -> None:
    second = _noise(1.0)
    three = Audio(np.tile(second.samples, 3), 16000)
    assert np.allclose(tag_frames(second).mtt_TL, tag_frames(three).mtt_TL, atol=1e-6)


def test_the_networks_hear() -> None:
    names = labels()
    noise, silence = tag_frames(_noise(3.0)), tag_frames(Audio(np.zeros(0, np.float32), 16000))
    music = tag_frames(song(bars=2).audio)

    def score(detected: object, label: str) -> float:
        return float(detected.yamnet_TL.mean(axis=0)[names["yamnet"].index(label)])  # type: ignore[attr-defined]

    assert score(music, "Music") > 0.8 and score(noise, "Music") < 0.3 and score(silence, "Music") < 0.3
    assert score(silence, "Silence") > 0.5
    assert np.isfinite(silence.mtt_TL).all()


def test_silence_costs_one_window_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    runs, run = [], tagging._run
    monkeypatch.setattr(tagging, "_run", lambda *a: runs.append(1) or run(*a))
    sound = np.asarray(song(bars=3, sample_rate_hz=tagging.SAMPLE_RATE_HZ).audio.samples[: 3 * tagging.SAMPLE_RATE_HZ])
    rest = np.zeros_like(sound)

    def scores(*parts: np.ndarray) -> tagging.TagFrames:
        return tagging.tag_frames(Audio(np.concatenate(parts), tagging.SAMPLE_RATE_HZ))

    alone, silent = scores(sound), scores(rest)
    runs.clear()
    mixed = scores(rest, rest, sound, rest, sound, rest)
    assert len(runs) == 2
    for field in ("mtt_TL", "msd_TD", "yamnet_PL"):
        one, none, got = (getattr(f, field) for f in (alone, silent, mixed))
        np.testing.assert_array_equal(got, np.concatenate([none, none, one, none, one, none]))
