"""Random scenes: events laid over a background at a drawn signal-to-noise ratio (FineLAP's synthesis).

The ratio of an event is its RMS over its own length against the background's RMS over the whole scene. Stems are kept,
so that what was drawn can be measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solfa.core.clip import Phrase, joined_phrases
from solfa.core.errors import InputError
from solfa.core.types import FloatArray, Rng


@dataclass(frozen=True, kw_only=True, slots=True)
class MixRule:
    """What is drawn for a scene; FineLAP's values. Ranges hold both ends."""

    duration_s: float = 10.0
    num_events: tuple[int, int] = (1, 5)
    num_copies: tuple[int, int] = (1, 3)
    repeat_below_s: float = 3.0
    tries: int = 100
    snr_db: tuple[float, float] = (12.0, 20.0)
    peak: float = 0.95


@dataclass(frozen=True, eq=False, slots=True)
class Sound:
    """One event to lay: its label, where it comes from, and its samples."""

    label: str
    source: str
    samples: FloatArray


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


def mix(events: Sequence[Sound], background: FloatArray, rule: MixRule, sample_rate_hz: int, rng: Rng) -> Scene:
    """A scene of these events over the background.

    An event shorter than ``repeat_below_s`` comes several times; copies of one event never overlap, and one that finds
    no place in ``tries`` tries is left out. Different events may overlap. Raises InputError if the background is silent
    or not as long as the scene, an event is silent, or as long as the scene.
    """
    length = round(rule.duration_s * sample_rate_hz)
    floor = _rms(background)
    if len(background) != length or not floor > 0:
        raise InputError(f"a background must have {length} samples and sound, got {len(background)}, RMS {floor}.")
    placed = []
    for event in events:
        level, size = _rms(event.samples), len(event.samples)
        if not level > 0 or size >= length:
            raise InputError(f"the event {event.source!r} is silent or not shorter than the scene ({size} samples).")
        short = size < rule.repeat_below_s * sample_rate_hz
        copies = int(rng.integers(*rule.num_copies, endpoint=True)) if short else 1
        for start in _starts(copies, size, length, rule.tries, rng):
            snr_db = float(rng.uniform(*rule.snr_db))
            stem = event.samples * np.float32(floor * 10 ** (snr_db / 20) / level)
            placed.append(Placed(event.label, event.source, start, snr_db, stem))
    total = background.astype(np.float32, copy=True)
    for event_ in placed:
        total[event_.start : event_.end] += event_.stem
    gain = np.float32(rule.peak / np.abs(total).max())
    levelled = (Placed(p.label, p.source, p.start, p.snr_db, p.stem * gain) for p in placed)
    return Scene(total * gain, background * gain, tuple(levelled), sample_rate_hz)


def _starts(copies: int, size: int, length: int, tries: int, rng: Rng) -> list[int]:
    found: list[int] = []
    for _ in range(copies):
        for start in rng.integers(0, length - size, size=tries, endpoint=True):
            if all(start + size <= other or other + size <= start for other in found):
                found.append(int(start))
                break
    return sorted(found)


def noise(length: int, rng: Rng) -> FloatArray:
    """Noise whose power falls with frequency to a random power 0 (white) to 2 (brown), swelling slowly."""
    slope, depth = rng.uniform(0, 2), rng.uniform(0, 0.5)
    spectrum = rng.standard_normal(length // 2 + 1) + 1j * rng.standard_normal(length // 2 + 1)
    spectrum *= np.maximum(np.arange(length // 2 + 1), 10) ** (-slope / 2)
    swell = 1 + depth * np.sin(2 * np.pi * (rng.uniform(0.5, 4) * np.arange(length) / length + rng.uniform()))
    wave = np.fft.irfft(spectrum, length) * swell
    coloured: FloatArray = (wave / np.abs(wave).max()).astype(np.float32)
    return coloured


def _rms(samples: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0
