"""Sung parts: words of espeak-ng, resynthesised by WORLD (Morise et al. 2016) on the notes of a melody.

A word's spectral envelope and aperiodicity are kept, the vowel is stretched over the note; the pitch is that of the
score, with glides, a scoop into phrases, vibrato on long notes and a little drift.
"""

import io
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from solfa.core.errors import InputError, need
from solfa.core.types import FloatArray, Rng
from solfa.datagen.world.effects import fitted, resampled
from solfa.datagen.world.score import Note, ScorePart, table

_ndimage = need("scipy.ndimage", "making a music world", "pip install 'solfa[data]'")
CONCEPTS = {"female": "female_voice", "male": "male_voice"}
_FRAME_S = 0.005
_LEAST_WORD_S, _PHRASE_GAP_S, _REACH = 0.16, 0.35, 50  # the last in frames: of consonants before a note
# Of a word by frames: envelope, aperiodicity, which are voiced; first and end frame of its vowel; sample rate.
Frames = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Singer:
    """Who sings what: a language and a variant of espeak-ng, and how the voice differs from it.

    ``formants`` scales the frequencies of the envelope, ``breath`` (0-1) is noise in the voice, ``vibrato`` semitones.
    """

    gender: str
    language: str
    variant: str
    formants: float
    breath: float
    vibrato: float
    vibrato_hz: float
    words: tuple[str, ...]


def check_singing() -> Any:
    """The module of WORLD. Raises MissingExtra if it is not installed; InputError if espeak-ng is not."""
    world = need("pyworld", "singing in a music world", "pip install 'solfa[singing]'")
    if shutil.which("espeak-ng") is None:
        raise InputError("singing needs the program espeak-ng: apt-get install espeak-ng, or leave out --singing.")
    return world


def draw_singer(rng: Rng) -> Singer:
    """A singer and the words of a song."""
    rows, gender = table()["singing"], str(rng.choice(list(CONCEPTS)))
    return Singer(
        gender=gender, language=str(rng.choice(rows["languages"])), variant=str(rng.choice(rows[gender])),
        formants=round(float(rng.uniform(0.9, 1.12)), 3), breath=round(float(rng.beta(1.5, 4)), 3),
        vibrato=round(float(rng.uniform(0, 0.5)), 3), vibrato_hz=round(float(rng.uniform(4.8, 6.4)), 2),
        words=tuple(str(w) for w in rng.choice(rows["words"], int(rng.integers(6, 12)))),
    )  # fmt: skip


def sung_part(part: ScorePart, singer: Singer) -> ScorePart:
    """A melody for a singer: one note at a time, moved by octaves into the voice's range."""
    highest = {round(n.start / 0.05): n for n in sorted(part.notes, key=lambda n: n.pitch)}
    tune = [highest[place] for place in sorted(highest)]
    ends = [*(n.start for n in tune[1:]), np.inf]
    middle = table()["singing"]["middle"][singer.gender]
    octaves = 12 * round((middle - float(np.median([n.pitch for n in tune]))) / 12)
    notes = (Note(n.start, min(n.length, e - n.start), n.pitch + octaves, n.velocity)
             for n, e in zip(tune, ends, strict=True))  # fmt: skip
    return ScorePart(role="voice", concept=CONCEPTS[singer.gender], program=0, notes=tuple(notes))


@lru_cache(maxsize=256)
def _spoken(word: str, language: str, variant: str) -> Frames:
    world = check_singing()
    command = ["espeak-ng", "-v", f"{language}+{variant}", "-s", "130", "--stdout", word]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode or not made.stdout:
        raise InputError(f"espeak-ng cannot say {word!r} as {language}+{variant}: {made.stderr[:100]!r}")
    sound, rate = soundfile.read(io.BytesIO(made.stdout), dtype="float64")
    loud = np.flatnonzero(np.abs(sound) > 0.02 * np.abs(sound).max(initial=1e-9))
    sound = sound[max(0, loud[0] - 200) : loud[-1] + 400] if len(loud) else np.zeros(rate // 10)
    rough, times = world.dio(sound, rate, f0_floor=60.0, f0_ceil=500.0, frame_period=_FRAME_S * 1000)
    pitch = world.stonemask(sound, rough, times, rate)
    envelope = world.cheaptrick(sound, pitch, times, rate)
    noise = world.d4c(sound, pitch, times, rate, fft_size=(envelope.shape[1] - 1) * 2)
    voiced, power = pitch > 0, envelope.sum(axis=1) + 1e-18
    vowel = np.flatnonzero(voiced & (power > 0.25 * power[voiced].max(initial=0.0)))
    first, last = (int(vowel[0]), int(vowel[-1])) if len(vowel) else (0, len(power) - 1)
    return (envelope / power.max()).astype(np.float32), noise.astype(np.float32), voiced, first, last + 1, rate


def sing(
    notes: list[tuple[float, float, int, int]], singer: Singer, cents: float, begin_s: float, num_samples: int,
    sample_rate_hz: int, rng: Rng,
) -> FloatArray:  # fmt: skip
    """What is sung of (on_s, off_s, pitch, velocity) from ``begin_s`` on, at a peak of about 1.

    A vowel begins with its note, and consonants before it; notes too short for a word go on with the vowel before.
    Raises MissingExtra or InputError if pyworld or espeak-ng is missing.
    """
    world, count = check_singing(), int(num_samples / sample_rate_hz / _FRAME_S) + 1
    words = [_spoken(word, singer.language, singer.variant) for word in singer.words]
    rate, bins = words[0][5], words[0][0].shape[1]
    envelope, noise, voiced = np.zeros((count, bins)), np.ones((count, bins)), np.zeros(count, bool)
    tone, gain, place, frames = np.full(count, np.nan), np.zeros(count), 0, words[0]
    for i, (on_s, off_s, pitch, velocity) in enumerate(notes):
        follows = i > 0 and on_s - notes[i - 1][1] < _PHRASE_GAP_S
        melisma = follows and (off_s - on_s < _LEAST_WORD_S or rng.random() < 0.12)
        frames, place = (frames, place) if melisma else (words[place % len(words)], place + 1)
        start, length = round((on_s - begin_s) / _FRAME_S), round((off_s - on_s) / _FRAME_S)
        first, last, size = frames[3], frames[4], len(frames[0])
        head, tail = (0, 0) if melisma else (min(first, _REACH), min(length // 3, size - last))
        vowel = np.linspace(first, last - 1, max(1, length - tail))
        at = np.concatenate([np.arange(first - head, first), vowel, np.arange(last, last + tail)])
        where = np.arange(len(at)) + start - head
        at, where = at[(where >= 0) & (where < count)], where[(where >= 0) & (where < count)]
        near_s, low, part = (where - start) * _FRAME_S, at.astype(int), (at % 1)[:, None]
        envelope[where] = frames[0][low] * (1 - part) + frames[0][np.minimum(low + 1, size - 1)] * part
        noise[where], voiced[where] = frames[1][low], frames[2][low]
        scoop = 0.0 if follows or rng.random() < 0.5 else 1.5
        vibrato = singer.vibrato * (near_s / 0.3 - 0.8).clip(0, 1) * np.sin(2 * np.pi * singer.vibrato_hz * near_s)
        tone[where] = pitch + vibrato - scoop * np.exp(-near_s.clip(0) / 0.06)
        gain[where] = (velocity / 100) * np.minimum(1, np.arange(len(where), 0, -1) / 8)
    known = np.flatnonzero(~np.isnan(tone))
    tone = np.interp(np.arange(count), known, tone[known]) if len(known) else np.zeros(count)
    drift = _ndimage.gaussian_filter1d(rng.standard_normal(count), 15.0)
    tone = _ndimage.gaussian_filter1d(tone, 2.5, mode="nearest") + drift + cents / 100
    shape = np.minimum(np.arange(bins) / singer.formants, bins - 1).astype(int)
    envelope = np.ascontiguousarray(envelope[:, shape] * gain[:, None] ** 2 + 1e-12)
    noise = np.ascontiguousarray(np.clip(noise[:, shape] + singer.breath * np.linspace(0, 1, bins), 0, 1))
    pitch_hz = np.where(voiced, 440 * 2 ** ((tone - 69) / 12), 0.0)
    sound = world.synthesize(pitch_hz, envelope, noise, rate, _FRAME_S * 1000)
    peak = max(float(np.abs(sound).max()), 1e-3)
    return fitted(resampled(np.asarray(sound / peak, np.float32), rate, sample_rate_hz), num_samples)
