"""Random scenes: events laid over a background at a drawn signal-to-noise ratio (FineLAP's synthesis).

The ratio of an event is its RMS over its own length against the background's RMS over the whole scene. Stems are kept,
so that what was drawn can be measured.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from solfa.core.clip import Phrase, joined_phrases
from solfa.core.types import FloatArray, Rng

# FineLAP's values; ranges hold both ends.
SCENE_S, NUM_EVENTS, SNR_DB, PEAK = 10.0, (1, 5), (12.0, 20.0), 0.95
NUM_COPIES, REPEAT_BELOW_S, TRIES = (1, 3), 3.0, 100


@dataclass(frozen=True, eq=False, slots=True)
class Placed:
    """A copy of an event in a scene; ``stem`` is what was added at sample ``start``, at the scene's final level."""

    label: str
    source: str
    start: int
    snr_db: float
    stem: FloatArray

    @property
    def end(self) -> int:
        """First sample after it."""
        return self.start + len(self.stem)


@dataclass(frozen=True, eq=False, slots=True)
class Scene:
    """A mixture and its parts: ``samples`` is the sum of ``background`` and the stems."""

    samples: FloatArray
    background: FloatArray
    events: tuple[Placed, ...]
    sample_rate_hz: int

    def phrases(self) -> tuple[Phrase, ...]:
        """Labels and when they are present, in order of first onset; overlapping events of a label are one span."""
        rate, events = self.sample_rate_hz, sorted(self.events, key=lambda e: (e.start, e.label))
        return joined_phrases((e.label, e.start / rate, e.end / rate) for e in events)


def mix(events: Iterable[tuple[str, str, FloatArray]], background: FloatArray, sample_rate_hz: int, rng: Rng) -> Scene:
    """A scene of events (label, source, samples) over a background as long as the scene; none of them is silent.

    An event shorter than ``REPEAT_BELOW_S`` comes several times; copies of one event never overlap, and one that finds
    no place in ``TRIES`` tries is left out. Different events may overlap.
    """
    placed, behind = list[Placed](), _rms(background)
    for label, source, samples in events:
        short = len(samples) < REPEAT_BELOW_S * sample_rate_hz
        level, copies = _rms(samples), int(rng.integers(*NUM_COPIES, endpoint=True)) if short else 1
        for start in _starts(copies, len(samples), len(background), rng):
            snr_db = float(rng.uniform(*SNR_DB))
            stem = samples * np.float32(behind * 10 ** (snr_db / 20) / level)
            placed.append(Placed(label, source, start, snr_db, stem))
    total = background.astype(np.float32, copy=True)
    for event in placed:
        total[event.start : event.end] += event.stem
    gain = np.float32(PEAK / np.abs(total).max())
    levelled = tuple(replace(event, stem=event.stem * gain) for event in placed)
    return Scene(total * gain, background * gain, levelled, sample_rate_hz)


def _starts(copies: int, size: int, length: int, rng: Rng) -> list[int]:
    found: list[int] = []
    for _ in range(copies):
        for start in rng.integers(0, length - size, size=TRIES, endpoint=True):
            if all(start + size <= other or other + size <= start for other in found):
                found.append(int(start))
                break
    return sorted(found)


def noise(length: int, rng: Rng) -> FloatArray:
    """Noise whose power decreases with frequency to a random power 0 (white) to 2 (brown), swelling slowly."""
    slope, depth = rng.uniform(0, 2), rng.uniform(0, 0.5)
    spectrum = rng.standard_normal(length // 2 + 1) + 1j * rng.standard_normal(length // 2 + 1)
    spectrum *= np.maximum(np.arange(length // 2 + 1), 10) ** (-slope / 2)
    swell = 1 + depth * np.sin(2 * np.pi * (rng.uniform(0.5, 4) * np.arange(length) / length + rng.uniform()))
    wave = np.fft.irfft(spectrum, length) * swell
    coloured: FloatArray = (wave / np.abs(wave).max()).astype(np.float32)
    return coloured


def _rms(samples: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
