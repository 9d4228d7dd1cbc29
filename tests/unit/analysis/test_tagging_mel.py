"""The front ends equal their definitions, written out slowly."""

import numpy as np

from solfa.analysis.tagging import musicnn_mel, yamnet_mel


def _spectrum(samples: np.ndarray, size: int) -> np.ndarray:
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    return np.abs(np.fft.rfft(samples.astype(np.float64) * window, 512))


def test_musicnn_mel_of_a_sine_peaks_where_slaneys_scale_says() -> None:
    t = np.arange(48000) / 16000
    for hz in (200.0, 1000.0, 4000.0):
        mel = musicnn_mel(np.sin(2 * np.pi * hz * t).astype(np.float32)[None])
        assert mel.shape == (1, 187, 96) and mel.dtype == np.float32
        # 96 bands between 0 and 8 kHz: 1 kHz is 15 of 45.2 Slaney mels.
        top = 15 + np.log(8) / (np.log(6.4) / 27)
        mels = hz * 3 / 200 if hz <= 1000 else 15 + np.log(hz / 1000) / (np.log(6.4) / 27)
        assert abs(int(mel[0, 90].argmax()) - (mels / top * 97 - 1)) <= 1


def test_musicnn_mel_framing_is_centred_and_silence_is_zero() -> None:
    click = np.zeros((1, 48000), np.float32)
    click[0, 256 * 10] = 1.0
    mel = musicnn_mel(click)[0].sum(axis=1)
    assert mel.argmax() == 10 and mel[8] == 0 and mel[12] == 0
    assert not musicnn_mel(np.zeros((2, 48000), np.float32)).any()


def test_yamnet_mel_equals_the_definition() -> None:
    samples = np.random.default_rng(0).standard_normal((1, 15600)).astype(np.float32)
    got = yamnet_mel(samples)
    assert got.shape == (1, 96, 64)
    edges = np.linspace(1127 * np.log(1 + 125 / 700), 1127 * np.log(1 + 7500 / 700), 66)
    mels = 1127 * np.log(1 + np.arange(257) * (8000 / 256) / 700)
    power = _spectrum(samples[0, 160 * 7 : 160 * 7 + 400], 400)
    for band in (0, 20, 63):
        weights = np.interp(mels, edges[band : band + 3], [0, 1, 0])
        assert np.isclose(got[0, 7, band], np.log(power @ weights + 0.001), atol=1e-4)
