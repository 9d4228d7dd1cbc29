"""What happens to sound between the players and the file: EQ, compression, rooms, noise, worn media, codecs, distance.

Every effect takes mono float32 [shape=(N,)] and returns as many samples, in time with what came in (a codec's delay is
measured and undone), so the truth of the music holds. Only ``varispeed`` moves time and pitch, by a given amount.
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


def equalise(samples: FloatArray, rate: int, rng: Rng) -> FloatArray:
    """One to three bells or shelves of up to 8 dB."""
    for _ in range(int(rng.integers(1, 4))):
        centre = float(np.exp(rng.uniform(math.log(80), math.log(min(9000, 0.4 * rate)))))
        gain, width = float(rng.uniform(-8, 8)), float(rng.uniform(0.4, 1.6))
        samples = _bell(samples, rate, centre, gain, width)
    return samples


def _bell(samples: FloatArray, rate: int, centre: float, gain_db: float, q: float) -> FloatArray:
    # Bristow-Johnson's peaking filter.
    a, w = 10 ** (gain_db / 40), 2 * math.pi * centre / rate
    alpha = math.sin(w) / (2 * q)
    b = np.array([1 + alpha * a, -2 * math.cos(w), 1 - alpha * a])
    return np.asarray(signal.lfilter(b, [1 + alpha / a, -2 * math.cos(w), 1 - alpha / a], samples), np.float32)


def compress(samples: FloatArray, rate: int, rng: Rng) -> FloatArray:
    """A compressor: ratio 2-8 above a threshold 6-20 dB under the peak, 5 ms attack and 120 ms release together."""
    hop = max(1, rate // 400)
    blocks = np.abs(np.pad(samples, (0, -len(samples) % hop))).reshape(-1, hop).max(axis=1)
    level = 20 * np.log10(np.maximum(signal.lfilter([0.08], [1, -0.92], blocks), 1e-6))
    threshold, ratio = float(level.max()) - rng.uniform(6, 20), rng.uniform(2, 8)
    gain_db = np.minimum(0.0, (threshold - level) * (1 - 1 / ratio))
    gain = np.interp(np.arange(len(samples)), (np.arange(len(blocks)) + 0.5) * hop, gain_db)
    return np.asarray(samples * 10 ** (gain / 20), np.float32)


def room(samples: FloatArray, rate: int, rng: Rng) -> FloatArray:
    """A room of 0.15 to 1.8 s: direct sound, a few reflections, noise that dies away, faster in the treble."""
    rt60, wet = float(np.exp(rng.uniform(math.log(0.15), math.log(1.8)))), float(rng.uniform(-22, -6))
    n = int(rt60 * rate)
    time_s = np.arange(n) / rate
    tail = rng.standard_normal(n) * 10 ** (-3 * time_s / rt60)
    dull = signal.lfilter([0.3], [1, -0.7], rng.standard_normal(n)) * 10 ** (-1.5 * time_s / rt60)
    response = tail + dull
    response[: int(0.004 * rate)] = 0.0
    for at in rng.uniform(0.004, 0.04, 5):
        response[min(n - 1, int(at * rate))] += rng.uniform(1, 4) * rng.choice([-1, 1])
    response *= 10 ** (wet / 20) / math.sqrt(float(np.sum(response**2)) + 1e-12)
    wet_part = signal.fftconvolve(samples, response)[: len(samples)]
    return np.asarray(samples + wet_part, np.float32)


def hiss(samples: FloatArray, rate: int, rng: Rng) -> FloatArray:
    """Broadband noise, white to brown, 20 to 50 dB under the music."""
    noise = rng.standard_normal(len(samples))
    colour = float(rng.uniform(0, 0.98))
    return add_at(samples, np.asarray(signal.lfilter([1], [1, -colour], noise), np.float32), float(rng.uniform(20, 50)))


def vinyl(samples: FloatArray, rate: int, rng: Rng) -> FloatArray:
    """Crackle, rumble and a little hiss."""
    clicks = (rng.random(len(samples)) < rng.uniform(5, 60) / rate) * rng.standard_normal(len(samples)) * 12
    crackle = signal.lfilter([1], [1, -0.6], clicks)
    rumble = signal.lfilter([0.02], [1, -0.98], rng.standard_normal(len(samples))) * 2
    noise = crackle + rumble + 0.1 * rng.standard_normal(len(samples))
    return add_at(samples, np.asarray(noise, np.float32), float(rng.uniform(18, 38)))


def wow(samples: FloatArray, rate: int, rng: Rng) -> FloatArray:
    """Uneven speed of a tape or record, less than 4 ms and a tenth of a semitone off."""
    hz, depth_s = float(rng.uniform(0.4, 1.2)), float(rng.uniform(0.0002, 0.0007))
    at = np.arange(len(samples), dtype=np.float64)
    moved = at + depth_s * rate * np.sin(2 * math.pi * hz * at / rate + rng.uniform(0, 6.28))
    return np.asarray(np.interp(moved, at, samples), np.float32)


def distort(samples: FloatArray, rate: int, rng: Rng) -> FloatArray:
    """Soft saturation of the whole mix."""
    drive, peak = float(rng.uniform(1, 5)), float(np.abs(samples).max(initial=1e-9))
    return np.asarray(np.tanh(samples / peak * drive) / math.tanh(drive) * peak, np.float32)


def low_rate(samples: FloatArray, rate: int, rng: Rng) -> FloatArray:
    """Through 8 or 11.025 kHz, at 8 bits now and then."""
    low = int(rng.choice([8000, 11025]))
    back = soxr.resample(soxr.resample(samples, rate, low), low, rate)
    if rng.random() < 0.4:
        peak = float(np.abs(back).max(initial=1e-9))
        back = np.round(back / peak * 127) / 127 * peak
    return fitted(np.asarray(back, np.float32), len(samples))


def rerecord(samples: FloatArray, rate: int, rng: Rng) -> FloatArray:
    """A small loudspeaker recorded by a telephone in a room."""
    low, high = float(rng.uniform(90, 350)), float(min(rng.uniform(3500, 9000), 0.45 * rate))
    sections = signal.butter(2, [low, high], "bandpass", fs=rate, output="sos")
    played = np.asarray(signal.sosfilt(sections, samples), np.float32)
    return hiss(room(played, rate, rng), rate, rng)


def codec(samples: FloatArray, rate: int, rng: Rng) -> FloatArray:
    """Through MP3, Opus or AAC at 16 to 96 kbit/s and back, its delay undone."""
    name, bits = str(rng.choice(["libmp3lame", "libopus", "aac"])), int(rng.choice([16, 24, 32, 48, 64, 96])) * 1000
    peak = float(np.abs(samples).max(initial=1e-9))
    back = _through(samples / peak * 0.9, rate, name, bits) * (peak / 0.9)
    return fitted(np.roll(back, -_delay(samples, back)), len(samples))


def _through(samples: FloatArray, rate: int, name: str, bits_per_s: int) -> FloatArray:
    import av

    stored = io.BytesIO()
    box, own = {"libmp3lame": "mp3", "libopus": "ogg", "aac": "adts"}[name], 24000
    with av.open(stored, "w", format=box) as out:
        stream: Any = out.add_stream(name, rate=own, bit_rate=bits_per_s, layout="mono")
        sound = samples if rate == own else soxr.resample(samples, rate, own)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None], np.float32), "fltp", "mono")
        frame.sample_rate = own
        out.mux([*stream.encode(frame), *stream.encode(None)])
    stored.seek(0)
    rows = list[FloatArray]()
    with av.open(stored, "r") as box_in:
        back_rate = box_in.streams.audio[0].rate
        resampler = av.AudioResampler("fltp", "mono", back_rate)
        for decoded in box_in.decode(audio=0):
            rows += [f.to_ndarray()[0] for f in resampler.resample(decoded)]
    back = np.concatenate(rows)
    return np.asarray(back if back_rate == rate else soxr.resample(back, back_rate, rate), np.float32)


def _delay(before: FloatArray, after: FloatArray) -> int:
    """By how many samples ``after`` is late (4,096 at most either way), by correlation."""
    n, most = max(len(before), len(after)), 4096
    size = 1 << (2 * n - 1).bit_length()
    match = np.fft.irfft(np.fft.rfft(after, size) * np.conj(np.fft.rfft(before, size)), size)
    return int(np.argmax(np.r_[match[-most:], match[:most]])) - most


def fitted(samples: FloatArray, count: int) -> FloatArray:
    """The first ``count`` samples, with silence added where there are fewer."""
    return samples[:count] if len(samples) >= count else np.pad(samples, (0, count - len(samples)))


def add_at(samples: FloatArray, other: FloatArray, snr_db: float) -> FloatArray:
    """The sum of two sounds in which the first is ``snr_db`` above the second, both over their whole length."""
    own, foreign = float(np.mean(samples**2, dtype=np.float64)), float(np.mean(other**2, dtype=np.float64))
    if own <= 0 or foreign <= 0:
        return samples
    return np.asarray(samples + other * math.sqrt(own / foreign / 10 ** (snr_db / 10)), np.float32)


def varispeed(samples: FloatArray, rate: int, ratio: float) -> FloatArray:
    """Played ``ratio`` times as fast, and as much higher, as a tape or record would be."""
    return samples if ratio == 1 else np.asarray(soxr.resample(samples, rate * ratio, rate), np.float32)


# In the order in which they follow each other, and how likely each is.
CHAIN: tuple[tuple[str, Effect, float], ...] = (
    ("eq", equalise, 0.35),
    ("compression", compress, 0.35),
    ("room", room, 0.5),
    ("saturation", distort, 0.07),
    ("wow", wow, 0.05),
    ("vinyl", vinyl, 0.05),
    ("hiss", hiss, 0.12),
    ("low rate", low_rate, 0.04),
    ("rerecording", rerecord, 0.05),
    ("codec", codec, 0.25),
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

    ``dry`` is the share of clips that nothing is done to. The peak of what comes out is drawn from 0.25-0.97.
    """
    steps = [(name, effect) for name, effect, chance in CHAIN if rng.random() < chance]
    if rng.random() < dry:
        steps = []
    if background is not None:
        place = sum(name in ("eq", "compression", "room", "saturation") for name, _ in steps)
        steps.insert(place, ("background", lambda sound, *_: add_at(sound, background, snr_db)))
    for _, effect in steps:
        samples = effect(samples, rate, rng)
    peak = float(np.abs(samples).max(initial=0.0))
    level = float(rng.uniform(0.25, 0.97)) / peak if peak > 0 else 1.0
    return np.asarray(samples * level, np.float32), tuple(name for name, _ in steps)
