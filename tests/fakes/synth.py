"""A tone and rhythm synthesiser whose truth is exact: known tempo, metre, chords and silence.

Plain additive notes, noise drums; made for tests (seconds to render, nothing to download), not for listening.
"""

from dataclasses import dataclass

import numpy as np

from solfa.core.theory import Chord
from solfa.core.types import Audio, ChordSegment, FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Song:
    """A rendered song and everything that is true of it."""

    audio: Audio
    tempo_bpm: float
    beats_per_bar: int
    beats_s: tuple[float, ...]
    downbeats_s: tuple[float, ...]
    chords: tuple[ChordSegment, ...]


def song(
    chords: str = "A:min F:maj C:maj G:maj",
    *,
    tempo_bpm: float = 120.0,
    beats_per_bar: int = 4,
    bars: int = 8,
    drums: bool = True,
    seed: int = 0,
    sample_rate_hz: int = 22050,
) -> Song:
    """A song of one chord a bar, the chords (Harte labels, blank-separated) repeated as often as needed."""
    rng = np.random.default_rng(seed)
    labels = [str(Chord.parse(c)) for c in chords.split()]
    beat_s = 60.0 / tempo_bpm
    bar_s = beat_s * beats_per_bar
    n = int((bars * bar_s + 0.5) * sample_rate_hz)
    out = np.zeros(n, np.float32)
    segments, beats = [], []
    for bar in range(bars):
        start = bar * bar_s
        label = labels[bar % len(labels)]
        chord = Chord.parse(label)
        assert chord is not None
        segments.append(ChordSegment(start_s=start, end_s=start + bar_s, label=label, confidence=1.0))
        for beat in range(beats_per_bar):
            at = start + beat * beat_s
            beats.append(at)
            for pitch in sorted(chord.pitch_classes):
                _add(out, tone(60 + pitch, beat_s * 0.95, sample_rate_hz) * 0.12, at, sample_rate_hz)
            if beat == 0:
                _add(out, tone(36 + chord.root, beat_s * 1.5, sample_rate_hz) * 0.35, at, sample_rate_hz)
            if drums:
                hit = _kick(sample_rate_hz) if beat == 0 else _noise(rng, sample_rate_hz, 0.05)
                _add(out, hit * (0.7 if beat == 0 else 0.25), at, sample_rate_hz)
                _add(out, _noise(rng, sample_rate_hz, 0.02) * 0.08, at + beat_s / 2, sample_rate_hz)
    return Song(
        audio=Audio(out / max(1.0, float(np.abs(out).max())), sample_rate_hz),
        tempo_bpm=tempo_bpm,
        beats_per_bar=beats_per_bar,
        beats_s=tuple(beats),
        downbeats_s=tuple(b for i, b in enumerate(beats) if i % beats_per_bar == 0),
        chords=tuple(segments),
    )


def tone(midi: float, duration_s: float, sample_rate_hz: int = 22050, harmonics: int = 6) -> FloatArray:
    """A plucked harmonic tone of a MIDI pitch, peak near 1."""
    t = np.arange(int(duration_s * sample_rate_hz)) / sample_rate_hz
    f0 = 440.0 * 2 ** ((midi - 69) / 12)
    wave = sum(np.sin(2 * np.pi * f0 * h * t) / h**1.5 for h in range(1, harmonics + 1) if f0 * h < sample_rate_hz / 2)
    envelope = np.minimum(1.0, t / 0.005) * np.exp(-2.5 * t) * np.minimum(1.0, (duration_s - t) / 0.02)
    shaped: FloatArray = np.asarray(np.asarray(wave) * envelope, np.float32)
    return shaped


def _kick(sample_rate_hz: int) -> FloatArray:
    t = np.arange(int(0.15 * sample_rate_hz)) / sample_rate_hz
    return (np.sin(2 * np.pi * (50 * t + 2.5 * (1 - np.exp(-40 * t)))) * np.exp(-20 * t)).astype(np.float32)


def _noise(rng: np.random.Generator, sample_rate_hz: int, decay_s: float) -> FloatArray:
    t = np.arange(int(4 * decay_s * sample_rate_hz)) / sample_rate_hz
    return (rng.standard_normal(len(t)) * np.exp(-t / decay_s)).astype(np.float32)


def _add(out: FloatArray, note: FloatArray, at_s: float, sample_rate_hz: int) -> None:
    i = round(at_s * sample_rate_hz)
    end = min(len(out), i + len(note))
    if end > i:
        out[i:end] += note[: end - i]
