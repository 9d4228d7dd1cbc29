"""What is said of sounds that are no music, and what music loses by the same bounds.

``python benchmarks/no_music.py [--music DIR...] [--seed 8]``: 41 kinds of made-up sound (noise of five colours, bands,
moving filters, mains hum, engines, steady tones, sweeps, clicks, rain, wind, constants), of 15 and 40 s. Counts those
of which a tempo, a metre (confidence 0.2 and more), a key or a chord is told, or a voice, instrument, genre or mood at
0.5 and more; and, of the music files (their second half minute where they are long), those without tempo or key.

``python benchmarks/no_music.py --silence 3`` prints instead the processor time of analyzing so many hours of silence.
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from solfa.analysis.analyze import Analyzer, analyze
from solfa.analysis.registry import extractors
from solfa.audio import SUFFIXES, stretches
from solfa.core.types import Analysis, Audio

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from fakes.files import write_audio
from fakes.synth import song

Array = NDArray[np.float64]
Rng = np.random.Generator
RATE = 22050
SOUNDS = {"sound_effects", "whistling", "handclaps"}  # listed with instruments, but no music


def noise(rng: Rng, count: int, power: float, low_hz: float = 20, high_hz: float = 11025) -> Array:
    hz = np.fft.rfftfreq(count, 1 / RATE)
    shape = np.maximum(hz, 20.0) ** (-power / 2) * ((hz >= low_hz) & (hz <= high_hz))
    out: Array = np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) * shape, count)
    return out / out.std()


def wander(rng: Rng, count: int, a_second: float) -> Array:
    """A control in 0..1 that goes to a random place ``a_second`` times a second."""
    points = max(4, int(count / RATE * a_second) + 3)
    return np.interp(np.linspace(0, points - 1, count), np.arange(points), rng.random(points))


def hum(rng: Rng, count: int, hz: float, partials: int, step: int = 1, wobble: float = 0.0) -> Array:
    phase = 2 * np.pi * np.cumsum(hz * (1 + wobble * (wander(rng, count, 1) - 0.5))) / RATE
    orders = [h for h in range(1, partials + 1, step) if h * hz < RATE / 2]
    return np.sum([rng.uniform(0.2, 1) / h * np.sin(h * phase + rng.random() * 6) for h in orders], axis=0)


def engine(rng: Rng, count: int, hz: float) -> Array:
    throb = 1 + 0.3 * np.sin(np.pi / 2 * hz * np.arange(count) / RATE)
    return hum(rng, count, hz, 30, wobble=0.02) * throb + 0.05 * noise(rng, count, 1)


def filtered(rng: Rng, count: int, low_hz: float, high_hz: float, place: Array) -> Array:
    """Noise through a band whose centre is at ``place`` (0..1) between two frequencies."""
    raw, out, state, block = rng.standard_normal(count), np.zeros(count), np.zeros(4), 512
    for at in range(0, count, block):
        centre = low_hz * (high_hz / low_hz) ** place[at]
        b, a = signal.butter(2, np.array([0.87, 1.13]) * centre / (RATE / 2), "band")
        out[at : at + block], state = signal.lfilter(b, a, raw[at : at + block], zi=state)
    return out


def clicks(rng: Rng, count: int, a_second: float, ring: float, heavy: bool = False) -> Array:
    number = max(1, rng.poisson(a_second * count / RATE))
    out, length = np.zeros(count), round(8 * ring)
    out[rng.integers(0, count, number)] = rng.pareto(2, number) if heavy else rng.uniform(-1, 1, number)
    return np.convolve(out, np.exp(-np.arange(length) / ring) * rng.standard_normal(length))[:count]


def sweep(count: int, hz: Array | float) -> Array:
    return np.sin(2 * np.pi * np.cumsum(np.broadcast_to(hz, count)) / RATE)


def wind(rng: Rng, count: int) -> Array:
    slow = wander(rng, count, 0.7)
    return (slow**2 + 0.1) * filtered(rng, count, 150, 900, slow) + 0.05 * noise(rng, count, 1.5)


def rain(rng: Rng, count: int, a_second: float) -> Array:
    return 0.05 * noise(rng, count, 0.3, 800, 10000) + 0.3 * clicks(rng, count, a_second, 25, heavy=True)


def kinds() -> dict[str, Callable[[Rng, int], Array]]:
    made: dict[str, Callable[[Rng, int], Array]] = {
        "white, uniform": lambda r, n: r.uniform(-1, 1, n),
        "engine and wind": lambda r, n: engine(r, n, 40) + 3 * wind(r, n),
        "constant": lambda _, n: np.full(n, 0.3),
        "constant and noise": lambda r, n: 100 + noise(r, n, 1),
        "crackle": lambda r, n: clicks(r, n, 45, 12, heavy=True),
        "hail": lambda r, n: clicks(r, n, 300, 15),
        "rain": lambda r, n: rain(r, n, 600),
        "wind": wind,
        "storm": lambda r, n: wind(r, n) + 0.5 * rain(r, n, 800),
        "surf": lambda r, n: (wander(r, n, 0.3) ** 2 + 0.1) * noise(r, n, 0.9),
        "hum in noise": lambda r, n: hum(r, n, 60, 12) + 0.5 * noise(r, n, 0.5),
        "transformer": lambda r, n: hum(r, n, 120, 6) * (1 + 0.1 * wander(r, n, 2)),
        "sweep up": lambda _, n: sweep(n, np.geomspace(100, 5000, n)),
        "sweep, even": lambda _, n: sweep(n, np.linspace(200, 9000, n)),
        "tone in white noise": lambda r, n: sweep(n, 300) + 0.7 * noise(r, n, 0),
        "tone in pink noise": lambda r, n: sweep(n, 1000) + noise(r, n, 1),
        "sine": lambda _, n: sweep(n, 880),
        "sawtooth": lambda _, n: signal.sawtooth(2 * np.pi * 91.7 * np.arange(n) / RATE),
    }
    made |= {f"noise, power {p}": lambda r, n, p=p: noise(r, n, p) for p in (1.1, 1.9, -0.7, 0.5)}
    bands = ((150, 400), (900, 2000), (4000, 9000), (1500, 1700))
    made |= {f"band {a}-{b} Hz": lambda r, n, a=a, b=b: noise(r, n, 0, a, b) for a, b in bands}
    for speed in (0.4, 0.8, 1.5, 2.5):
        made[f"filter, moved {speed} a second"] = lambda r, n, s=speed: filtered(r, n, 150, 5000, wander(r, n, s))
    for hz in (0.07, 0.2):
        made[f"filter, swung at {hz} Hz"] = lambda r, n, hz=hz: filtered(r, n, 250, 3500, sweep(n, hz) / 2 + 0.5)
    for hz, step in ((50, 1), (60, 1), (100, 2)):
        made[f"hum of {hz} Hz"] = lambda r, n, hz=hz, step=step: hum(r, n, hz, 20, step)
    made |= {f"engine at {hz} Hz": lambda r, n, hz=hz: engine(r, n, hz) for hz in (28, 50, 80)}
    made |= {f"random clicks, {k} a second": lambda r, n, k=k: clicks(r, n, k, 45) for k in (3, 9, 25)}
    return made


def made_up(seed: int) -> Iterator[tuple[str, Audio]]:
    for name, make in kinds().items():
        for seconds in (15, 40):
            samples = make(np.random.default_rng([seed, zlib.crc32(name.encode()), seconds]), seconds * RATE)
            yield f"{name}, {seconds} s", Audio((samples / np.abs(samples).max() * 0.3).astype(np.float32), RATE)


def music(folder: Path) -> Iterator[tuple[str, Audio]]:
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
        audio = next(iter(stretches(path, 120.0)))
        half = round(30 * audio.sample_rate_hz)
        yield path.name, Audio(audio.samples[half : 2 * half], audio.sample_rate_hz) if audio.duration_s > 60 else audio


def told(analysis: Analysis) -> dict[str, str]:
    """What is said of a sound that only music has."""
    found = {"tempo": f"{analysis.tempo_bpm.value} ({analysis.tempo_bpm.confidence})"}
    if analysis.tempo_bpm.value is None:
        found.pop("tempo")
    if analysis.metre.confidence >= 0.2:
        found["metre"] = f"{analysis.metre.value} ({analysis.metre.confidence})"
    if analysis.key.value is not None:
        found["key"] = f"{analysis.key.value} ({analysis.key.confidence})"
    if chords := {c.label for c in analysis.chords} - {"N"}:
        found["chords"] = " ".join(sorted(chords))
    tags = (analysis.voice, *analysis.instruments, *analysis.genres, *analysis.moods)
    if named := [f"{t.concept} ({t.confidence})" for t in tags if t.confidence >= 0.5 and t.concept not in SOUNDS]:
        found["tags"] = ", ".join(named)
    return found


def analyzed(clips: Iterator[tuple[str, Audio]]) -> dict[str, dict[str, str]]:
    out = {}
    for name, audio in clips:
        analyzer = Analyzer(extractors())
        analyzer.observe(audio)
        out[f"{len(out)} {name}"] = told(analyzer.conclude())
    return out


def silence(hours: float) -> None:
    """Processor time of a FLAC file of silence, and of one with half a minute of music in the middle."""
    samples = np.zeros(round(hours * 3600 * RATE), np.float32)
    music = song(tempo_bpm=120, bars=15, sample_rate_hz=RATE).audio.samples[: 30 * RATE]
    with TemporaryDirectory() as folder:
        for what in ("silence", "with 30 s of music in the middle"):
            file = write_audio(Path(folder) / "track.flac", samples, RATE)
            began_s = time.process_time()
            found = analyze(file)
            print(f"{hours:g} h {what}: {time.process_time() - began_s:.0f} s, tempo {found.tempo_bpm.value}")
            samples[len(samples) // 2 :][: len(music)] = music


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--silence", type=float, metavar="HOURS")
    parser.add_argument("--music", type=Path, action="append", default=[])
    parser.add_argument("--seed", type=int, default=8)
    arguments = parser.parse_args()
    if arguments.silence:
        return silence(arguments.silence)
    found = analyzed(made_up(arguments.seed))
    print(f"made up: {len(found)} sounds, seed {arguments.seed}")
    for what in ("tempo", "metre", "key", "chords", "tags"):
        print(f"  {what} told of {sum(what in said for said in found.values())}")
    print(*(f"    {name}: {said}" for name, said in found.items() if said), sep="\n")
    for folder in arguments.music:
        kept = analyzed(music(folder))
        for what in ("tempo", "key"):
            without = [name for name, said in kept.items() if what not in said]
            print(f"music: {len(kept)} files, without {what}: {len(without)} {without}")


if __name__ == "__main__":
    main()
