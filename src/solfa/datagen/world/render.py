"""Sound of a score: every part a stem, played by SoundFonts through tinysoundfont (no system packages).

A stem is a pure function of (notes, patch, rate): the synthesiser is emptied before each. What is kept per process is
the soundfonts that were read, `MOST_LOADED` of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from solfa.core.errors import InputError, need
from solfa.core.types import FloatArray, Rng
from solfa.datagen.world.score import Score, ScorePart, table
from solfa.datagen.world.singing import Singer, sing

MOST_LOADED = 9
_VOICES = 160
_PREROLL_S = 1.5


@dataclass(frozen=True, eq=False, slots=True)
class Stem:
    """The sound of one part alone, at its level in the mix; float32 [shape=(N,)]."""

    part: ScorePart
    samples: FloatArray


def synthesiser() -> Any:
    """The synthesiser's module. Raises MissingExtra if tinysoundfont is not installed."""
    return need("tinysoundfont._tinysoundfont", "rendering", "pip install --no-deps tinysoundfont")


def check_soundfont(path: Path) -> Any:
    """The synthesiser's module, after a look at the head of a soundfont: nothing is loaded.

    Raises MissingExtra if tinysoundfont is not installed; InputError if the file is not an SF2 or SF3 soundfont.
    """
    native = synthesiser()
    if not path.is_file():
        raise InputError(f"no soundfont at {path}. Get some with: solfa data soundfonts")
    with path.open("rb") as stream:
        head = stream.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"sfbk":
        raise InputError(f"{path} is not an SF2 or SF3 soundfont.")
    return native


@lru_cache(maxsize=MOST_LOADED)
def load_soundfont(path: Path) -> Any:
    """A soundfont in memory.

    Raises MissingExtra or InputError as ``check_soundfont`` does, or if the file is broken.
    """
    native = check_soundfont(path)
    try:
        return native.SoundFont(str(path))
    except RuntimeError as bad:
        raise InputError(f"{path} cannot be read as a soundfont ({bad}).") from bad


def has_preset(path: Path, program: int, drums: bool) -> bool:
    """Whether a soundfont has a General MIDI program or drum kit of its own."""
    return load_soundfont(path).get_preset_name(128 if drums else 0, program) not in (None, "<None>")


def only_drums(path: Path) -> bool:
    """Whether a soundfont is one drum kit, at the place of the first program."""
    return has_preset(path, 0, False) and not has_preset(path, 1, False) and not has_preset(path, 0, True)


def playable(part: ScorePart, path: Path) -> ScorePart:
    """The part as a soundfont can play it: with its standard kit for one it lacks.

    Raises InputError if it has no such program.
    """
    if has_preset(path, part.program, part.drums):
        return part
    if part.drums and (has_preset(path, 0, True) or only_drums(path)):
        return replace(part, program=0, concept="drums" if part.concept == "drum_machine" else part.concept)
    raise InputError(f"{path.name} has no program {part.program}")


def performed(
    part: ScorePart, score: Score, rng: Rng, *, mechanical: bool, feel: str = "", accent: float = 0.0
) -> list[tuple[float, float, int, int]]:
    """Notes as (on_s, off_s, pitch, velocity): swung, and unless ``mechanical`` a little early, late, loud or soft.

    ``feel`` is a style of ``world.toml`` whose drummers' timing is followed in 4/4 that is not swung; first beats are
    ``accent`` louder (of 127), other stressed ones half of that. Drums played by people keep their timing and accents.
    """
    notes = np.array(part.notes, np.float64).reshape(-1, 4)
    start, stop = notes[:, 0].copy(), notes[:, 0] + notes[:, 1]
    if score.swing:
        for at in (start, stop):
            at[np.abs(at % 1 - 0.5) < 0.02] += score.swing
    on, off = score.seconds(start), score.seconds(stop)
    spread, lag = table()["mix"][part.role]["timing_ms"]
    if mechanical:
        spread = lag = 0.0
    late = rng.normal(0, 1, len(on)).clip(-2.5, 2.5) * spread
    shift = (rng.uniform(-lag, lag) + late) / 1000
    loud = rng.normal(0, 0 if mechanical else 6, len(on))
    if not (part.role == "drums" and score.about.get("source") == "groove"):
        for a, b, metre in score.bars():
            inside = np.flatnonzero((notes[:, 0] > a - 0.1) & (notes[:, 0] < b - 0.1))
            place = notes[inside, 0] - a
            if feel and not mechanical and not score.swing and metre.name == "4/4":
                shift[inside] += np.array(table()["feels"][feel])[np.round(place * 4).astype(int) % 16] / 1000
            for beat in metre.stressed:
                loud[inside[np.abs(place - beat) < 0.1]] += accent / (2 if beat else 1)
    velocity = np.clip(notes[:, 3] + loud, 1, 127)
    return [
        (float(a + s), float(max(b + s, a + s + 0.03)), int(p), int(v))
        for a, b, p, v, s in zip(on, off, notes[:, 2], velocity, shift, strict=True)
    ]


def stem_of(
    notes: Sequence[tuple[float, float, int, int]], part: ScorePart, path: Path, cents: float, begin_s: float,
    num_samples: int, sample_rate_hz: int,
) -> FloatArray:  # fmt: skip
    """What sounds of the notes from ``begin_s`` on; those that began up to 1.5 s before sound on."""
    font = load_soundfont(path)
    _silence(font, part, cents, sample_rate_hz)
    head, events = round(_PREROLL_S * sample_rate_hz), list[tuple[int, int, int, int]]()
    total = head + num_samples
    for on_s, off_s, pitch, velocity in notes:
        on = round((on_s - begin_s) * sample_rate_hz) + head
        off = round((off_s - begin_s) * sample_rate_hz) + head
        if off > 0 and on < total and 0 <= pitch < 128:
            events.append((max(0, on), 1, pitch, velocity))
            events.append((max(1, off), 0, pitch, 0))
    events.sort()
    raw, at = bytearray(4 * total), 0
    view = memoryview(raw)
    for when, kind, pitch, velocity in events:
        if when >= total:
            break
        if when > at:
            font.render(view[4 * at : 4 * when], False)
            at = when
        if kind:
            font.channel_note_on(0, pitch, velocity / 127)
        else:
            font.channel_note_off(0, pitch)
    font.render(view[4 * at :], False)
    return np.frombuffer(raw, np.float32)[head:]


def _silence(font: Any, part: ScorePart, cents: float, sample_rate_hz: int) -> None:
    from tinysoundfont import _tinysoundfont as native

    font.reset()
    font.set_output(native.OutputMode.Mono, sample_rate_hz, 0.0)
    font.set_max_voices(_VOICES)
    rest = bytearray(4 * sample_rate_hz // 10)
    font.render(memoryview(rest), False)  # lets what still rings fade out
    drums = part.drums and font.get_preset_name(128, part.program) not in (None, "<None>")
    font.channel_set_bank(0, 128 if drums else 0)
    font.channel_set_preset_number(0, part.program, drums)
    font.channel_set_tuning(0, cents / 100)


def render(
    score: Score, players: Sequence[Path | Singer], cents: float, begin_s: float, seconds: float, sample_rate_hz: int,
    rng: Rng, *, mechanical: bool = False, feel: str = "", accent: float = 0.0,
) -> list[Stem]:  # fmt: skip
    """The stems of a stretch of a piece, levelled by role; parts that are silent there are left out.

    ``players`` are the soundfonts that play the parts, in order, or who sings them, ``cents`` their tuning; the others
    are as in ``performed``.
    """
    count, stems = round(seconds * sample_rate_hz), list[Stem]()
    for part, player in zip(score.parts, players, strict=True):
        level = table()["mix"][part.role]["level_db"] + float(rng.uniform(-4, 4))
        notes = performed(part, score, rng, mechanical=mechanical, feel=feel, accent=accent)
        if isinstance(player, Singer):
            samples = sing(notes, player, cents, begin_s, count, sample_rate_hz, rng)
        else:
            samples = stem_of(notes, part, player, cents, begin_s, count, sample_rate_hz)
        if float(np.abs(samples).max(initial=0.0)) > 1e-6:
            stems.append(Stem(part, _levelled(samples, level, sample_rate_hz)))
    return stems


def frame_db(samples: FloatArray, sample_rate_hz: int, hop_s: float) -> FloatArray:
    """Level of each stretch of ``hop_s`` in dB RMS, -120 for silence."""
    hop = round(hop_s * sample_rate_hz)
    frames = math.ceil(len(samples) / hop)
    padded = np.zeros(frames * hop, np.float32)
    padded[: len(samples)] = samples
    power = np.mean(padded.reshape(frames, hop) ** 2, axis=1)
    return np.asarray(10 * np.log10(np.maximum(power, 1e-12)), np.float32)


def _levelled(samples: FloatArray, level_db: float, sample_rate_hz: int) -> FloatArray:
    # RMS over the frames within 20 dB of the loudest, so that rests do not count.
    levels = frame_db(samples, sample_rate_hz, 0.1)
    if not len(levels) or levels.max() <= -119:
        return samples
    power = np.mean(10 ** (levels[levels > levels.max() - 20] / 10))
    return np.asarray(samples * 10 ** ((level_db - 10 * math.log10(power)) / 20), np.float32)
