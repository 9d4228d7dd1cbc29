"""What happens to sound between the players and the file: EQ, compression, rooms, noise, worn media, codecs, distance.

Every effect takes float32 [shape=(N,) or (2, N)] and returns as many samples, in time with what came in (a codec's
delay is measured and undone), so the truth of the music holds. Only ``varispeed`` moves time and pitch, as told.
"""

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import soxr

from solfa.core.errors import need
from solfa.core.types import FloatArray, Rng

signal = need("scipy.signal", "making a music world", "pip install 'solfa[data]'")

Effect = Callable[[FloatArray, int, Rng], FloatArray]


def processors() -> Any:
    """The processors of pedalboard (JUCE). Raises MissingExtra if it is not installed."""
    return need("pedalboard", "making a music world", "pip install 'solfa[data]'")


def equalise(samples: FloatArray, rate: int, rng: Rng) -> FloatArray:
    """One to three bells of up to 8 dB."""
    ranges = ((math.log(80), math.log(min(9000, 0.4 * rate))), (-8, 8), (0.4, 1.6))
    drawn = [[float(rng.uniform(*r)) for r in ranges] for _ in range(int(rng.integers(1, 4)))]
    bells = [processors().PeakFilter(math.exp(place), gain_db, q) for place, gain_db, q in drawn]
    return np.asarray(processors().Pedalboard(bells)(samples, rate), np.float32)


def compress(samples: FloatArray, rate: int, rng: Rng) -> FloatArray:
    """A compressor: ratio 2-8 above a threshold 6-20 dB under the peak, 1-30 ms attack and 50-300 ms release."""
    threshold_db = 20 * math.log10(float(np.abs(samples).max(initial=0.0)) + 1e-6) - float(rng.uniform(6, 20))
    ratio, attack_ms, release_ms = (float(rng.uniform(a, b)) for a, b in ((2, 8), (1, 30), (50, 300)))
    return np.asarray(processors().Compressor(threshold_db, ratio, attack_ms, release_ms)(samples, rate), np.float32)


def room(samples: FloatArray, rate: int, rng: Rng) -> FloatArray:
    """A room of 0.15 to 1.8 s: direct sound, a few reflections, noise that dies away, faster in the treble."""
    rt60, wet = float(np.exp(rng.uniform(math.log(0.15), math.log(1.8)))), float(rng.uniform(-22, -6))
    return np.asarray(samples + 10 ** (wet / 20) * reverberation(samples, rate, rt60, rng), np.float32)


def reverberation(samples: FloatArray, rate: int, rt60_s: float, rng: Rng) -> FloatArray:
    """What a room adds, of about the energy of the sound itself; the two channels of stereo have tails of their own."""
    n, shape = int(rt60_s * rate), samples.shape[:-1]
    time_s = np.arange(n) / rate
    tail = rng.standard_normal((*shape, n)) * 10 ** (-3 * time_s / rt60_s)
    dull = signal.lfilter([0.3], [1, -0.7], rng.standard_normal((*shape, n))) * 10 ** (-1.5 * time_s / rt60_s)
    response = tail + dull
    response[..., : int(0.004 * rate)] = 0.0
    for at in rng.uniform(0.004, 0.04, 5):
        response[..., min(n - 1, int(at * rate))] += rng.uniform(1, 4) * rng.choice([-1, 1], shape)
    response /= np.sqrt(np.sum(response**2, axis=-1, keepdims=True) + 1e-12)
    return np.asarray(signal.fftconvolve(samples, response, axes=-1)[..., : samples.shape[-1]], np.float32)


def hiss(samples: FloatArray, rate: int, rng: Rng) -> FloatArray:
    """Broadband noise, white to brown, 20 to 50 dB under the music."""
    noise = rng.standard_normal(samples.shape)
    colour = float(rng.uniform(0, 0.98))
    return add_at(samples, np.asarray(signal.lfilter([1], [1, -colour], noise), np.float32), float(rng.uniform(20, 50)))


def vinyl(samples: FloatArray, rate: int, rng: Rng) -> FloatArray:
    """Crackle, rumble and a little hiss."""
    clicks = (rng.random(samples.shape) < rng.uniform(5, 60) / rate) * rng.standard_normal(samples.shape) * 12
    crackle = signal.lfilter([1], [1, -0.6], clicks)
    rumble = signal.lfilter([0.02], [1, -0.98], rng.standard_normal(samples.shape)) * 2
    noise = crackle + rumble + 0.1 * rng.standard_normal(samples.shape)
    return add_at(samples, np.asarray(noise, np.float32), float(rng.uniform(18, 38)))


def wow(samples: FloatArray, rate: int, rng: Rng) -> FloatArray:
    """Uneven speed of a tape or record, less than 4 ms and a tenth of a semitone off."""
    hz, depth_s = float(rng.uniform(0.4, 1.2)), float(rng.uniform(0.0002, 0.0007))
    at = np.arange(samples.shape[-1], dtype=np.float64)
    moved = at + depth_s * rate * np.sin(2 * math.pi * hz * at / rate + rng.uniform(0, 6.28))
    return np.asarray(np.apply_along_axis(lambda row: np.interp(moved, at, row), -1, samples), np.float32)


def distort(samples: FloatArray, rate: int, rng: Rng) -> FloatArray:
    """Soft saturation of the whole mix."""
    drive, peak = float(rng.uniform(1, 5)), float(np.abs(samples).max(initial=1e-9))
    return np.asarray(np.tanh(samples / peak * drive) / math.tanh(drive) * peak, np.float32)


def low_rate(samples: FloatArray, rate: int, rng: Rng) -> FloatArray:
    """Through 8 or 11.025 kHz, at 8 bits now and then."""
    low = int(rng.choice([8000, 11025]))
    back = resampled(resampled(samples, rate, low), low, rate)
    return fitted(processors().Bitcrush(8)(back, rate) if rng.random() < 0.4 else back, samples.shape[-1])


def rerecord(samples: FloatArray, rate: int, rng: Rng) -> FloatArray:
    """A small loudspeaker recorded by a telephone in a room."""
    low, high = float(rng.uniform(90, 350)), float(min(rng.uniform(3500, 9000), 0.45 * rate))
    sections = signal.butter(2, [low, high], "bandpass", fs=rate, output="sos")
    played = np.asarray(signal.sosfilt(sections, samples), np.float32)
    return hiss(room(played, rate, rng), rate, rng)


def codec(samples: FloatArray, rate: int, rng: Rng) -> FloatArray:
    """Through MP3, Opus or AAC and back, its delay undone: at 16 to 96 kbit/s, stereo at 48 to 160."""
    rates = [16, 24, 32, 48, 64, 96] if samples.ndim == 1 else [48, 64, 96, 128, 128, 160]
    name, bits = str(rng.choice(["libmp3lame", "libopus", "aac"])), int(rng.choice(rates)) * 1000
    peak = float(np.abs(samples).max(initial=1e-9))
    back = _through(samples / peak * 0.9, rate, name, bits) * (peak / 0.9)
    late = _delay(np.atleast_2d(samples).mean(axis=0), np.atleast_2d(back).mean(axis=0))
    return fitted(np.roll(back, -late, axis=-1), samples.shape[-1])


def _through(samples: FloatArray, rate: int, name: str, bits_per_s: int) -> FloatArray:
    import av

    stored, layout = io.BytesIO(), "mono" if samples.ndim == 1 else "stereo"
    box, own = {"libmp3lame": "mp3", "libopus": "ogg", "aac": "adts"}[name], 24000
    with av.open(stored, "w", format=box) as out:
        stream: Any = out.add_stream(name, rate=own, bit_rate=bits_per_s, layout=layout)
        sound = np.atleast_2d(resampled(samples, rate, own))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound, np.float32), "fltp", layout)
        frame.sample_rate = own
        out.mux([*stream.encode(frame), *stream.encode(None)])
    stored.seek(0)
    rows = list[Any]()
    with av.open(stored, "r") as box_in:
        back_rate = box_in.streams.audio[0].rate
        resampler = av.AudioResampler("fltp", layout, back_rate)
        for decoded in box_in.decode(audio=0):
            rows += [f.to_ndarray() for f in resampler.resample(decoded)]
    return resampled(np.concatenate(rows, axis=1)[0 if samples.ndim == 1 else slice(None)], back_rate, rate)


def _delay(before: FloatArray, after: FloatArray) -> int:
    """By how many samples ``after`` is late (4,096 at most either way), by correlation."""
    late = signal.correlation_lags(len(after), len(before))
    match = np.where(np.abs(late) <= 4096, signal.correlate(after, before, method="fft"), -np.inf)
    return int(late[np.argmax(match)])


def fitted(samples: FloatArray, count: int) -> FloatArray:
    """The first ``count`` samples, with silence added where there are fewer."""
    return np.pad(samples[..., :count], [(0, 0)] * (samples.ndim - 1) + [(0, max(0, count - samples.shape[-1]))])


def resampled(samples: FloatArray, rate: float, to: float) -> FloatArray:
    """The same sound at another sample rate."""
    return samples if rate == to else np.asarray(soxr.resample(samples.T, rate, to).T, np.float32)


def add_at(samples: FloatArray, other: FloatArray, snr_db: float) -> FloatArray:
    """The sum of two sounds in which the first is ``snr_db`` above the second, both over their whole length."""
    own, foreign = float(np.mean(samples**2, dtype=np.float64)), float(np.mean(other**2, dtype=np.float64))
    if own <= 0 or foreign <= 0:
        return samples
    return np.asarray(samples + other * math.sqrt(own / foreign / 10 ** (snr_db / 10)), np.float32)


def varispeed(samples: FloatArray, rate: int, ratio: float) -> FloatArray:
    """Played ``ratio`` times as fast, and as much higher, as a tape or record would be."""
    return resampled(samples, rate * ratio, rate)


# In the order in which they follow each other, and how likely each is: on a plain mix, and on one from the studio,
# which has had its equalisers, compressors and rooms.
CHAIN: tuple[tuple[str, Effect, float, float], ...] = (
    ("eq", equalise, 0.35, 0.2),
    ("compression", compress, 0.35, 0.1),
    ("room", room, 0.5, 0.06),
    ("saturation", distort, 0.07, 0.05),
    ("wow", wow, 0.05, 0.12),
    ("vinyl", vinyl, 0.05, 0.06),
    ("hiss", hiss, 0.12, 0.5),
    ("low rate", low_rate, 0.04, 0.03),
    ("rerecording", rerecord, 0.05, 0.04),
    ("codec", codec, 0.25, 0.6),
)


def treat(
    samples: FloatArray,
    rate: int,
    rng: Rng,
    *,
    background: FloatArray | None = None,
    snr_db: float = 0.0,
    dry: float = 0.2,
) -> tuple[FloatArray, tuple[str, ...]]:
    """A drawn chain of effects, with a background mixed in at an exact SNR before the media and codecs; their names.

    ``dry`` is the share of clips that nothing is done to. The peak of what comes out is drawn from 0.25-0.97; stereo is
    only made quieter, and where its peak is above 0.97.
    """
    steps = [(name, effect) for name, effect, *chances in CHAIN if rng.random() < chances[samples.ndim - 1]]
    if rng.random() < dry:
        steps = []
    if background is not None:
        place = sum(name in ("eq", "compression", "room", "saturation") for name, _ in steps)
        steps.insert(place, ("background", lambda sound, *_: add_at(sound, background, snr_db)))
    for _, effect in steps:
        samples = effect(samples, rate, rng)
    peak = float(np.abs(samples).max(initial=0.0))
    level = float(rng.uniform(0.25, 0.97)) if samples.ndim == 1 else min(0.97, peak)
    return np.asarray(samples * (level / peak if peak > 0 else 1.0), np.float32), tuple(name for name, _ in steps)
