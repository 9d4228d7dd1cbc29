"""MIDI files as notes in beats and seconds, with the tempo map, metres and keys that they state."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from solfa.core.errors import InputError, need
from solfa.core.theory import Key
from solfa.datagen.world.score import METRES

_MAX_NOTES, _MAX_BEATS = 200_000, 20_000


@dataclass(slots=True)
class MidiTrack:
    """The notes of one channel of one track: (start, length, pitch, velocity) in beats, (on, off, ...) in seconds."""

    name: str
    program: int
    drums: bool
    notes: list[tuple[float, float, int, int]] = field(default_factory=list)
    notes_s: list[tuple[float, float, int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Midi:
    """A file: when each beat falls, (start beat, end beat, value) of metres and keys, and its tracks."""

    beat_s: NDArray[np.float64]
    metres: tuple[tuple[int, int, str], ...]
    keys: tuple[tuple[int, int, Key], ...]
    tracks: list[MidiTrack]


def read_midi(path: Path, metre: str = "") -> Midi:
    """The music in a MIDI file of one metre (``metre`` overrules the file's).

    A beat is a dotted quarter in 6/8, 9/8 and 12/8, an eighth in 7/8. Raises MissingExtra if mido is not installed;
    InputError if it is no MIDI file, holds more than 200,000 notes or 20,000 beats, or its metre changes or is unknown
    here.
    """
    mido = need("mido", "reading MIDI files", "pip install 'solfa[data]'")
    try:
        file = mido.MidiFile(path)
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, mido.KeySignatureError) as bad:
        raise InputError(f"{path.name} is no MIDI file that can be read ({type(bad).__name__}: {bad}).") from bad
    ppq = file.ticks_per_beat
    if ppq <= 0:
        raise InputError(f"{path.name}: times in frames are not supported.")
    tempi, metres, keys = [(0, 500_000)], list[str](), list[tuple[int, Key]]()
    tracks: dict[tuple[int, int, int], MidiTrack] = {}
    last, count = 0, 0
    for number, track in enumerate(file.tracks):
        tick, programs, sounding = 0, dict[int, int](), dict[tuple[int, int], tuple[int, int]]()
        for message in track:
            tick += message.time
            if message.type == "set_tempo":
                tempi.append((tick, max(60_000, message.tempo)))
            elif message.type == "time_signature":
                metres.append(f"{message.numerator}/{message.denominator}")
            elif message.type == "key_signature":
                mode = "minor" if message.key.endswith("m") else "major"
                keys.append((tick, Key.parse(f"{message.key.removesuffix('m')} {mode}")))
            elif message.type == "program_change":
                programs[message.channel] = message.program
            elif message.type in ("note_on", "note_off"):
                place = (message.channel, message.note)
                if place in sounding:
                    begun, velocity = sounding.pop(place)
                    program = programs.get(message.channel, 0)
                    kind = MidiTrack(track.name, program, message.channel == 9)
                    kept = tracks.setdefault((number, message.channel, program), kind)
                    kept.notes.append((float(begun), float(tick), message.note, velocity))
                    last, count = max(last, tick), count + 1
                if message.type == "note_on" and message.velocity > 0:
                    sounding[place] = (tick, message.velocity)
        if count > _MAX_NOTES:
            raise InputError(f"{path.name}: more than {_MAX_NOTES:,} notes.")
    metres = [metre] if metre else metres
    if len(set(metres)) > 1 or (metres and metres[0] not in METRES):
        raise InputError(f"{path.name}: the metre changes, or is none of {', '.join(METRES)}.")
    return _timed(path.name, tempi, metres[0] if metres else "4/4", keys, list(tracks.values()), ppq, last)


def _timed(
    name: str, tempi: list[tuple[int, int]], metre: str, keys: list[tuple[int, Key]], tracks: list[MidiTrack], ppq: int,
    last: int,
) -> Midi:  # fmt: skip
    by_tick = dict(sorted(tempi, key=lambda row: row[0]))
    ticks = np.array(list(by_tick), np.float64)
    rates = np.array(list(by_tick.values()), np.float64) / (1e6 * ppq)
    starts = np.r_[0.0, np.cumsum(np.diff(ticks) * rates[:-1])]

    def seconds(tick: NDArray[np.float64]) -> NDArray[np.float64]:
        i = np.searchsorted(ticks, tick, "right") - 1
        return np.asarray(starts[i] + (tick - ticks[i]) * rates[i], np.float64)

    unit = ppq * {"8": 1.5 if METRES[metre].division == 3 else 0.5}.get(metre.partition("/")[2], 1.0)
    count = int(np.ceil(last / unit)) + 1
    if not 3 <= count <= _MAX_BEATS:
        raise InputError(f"{name} lasts {count} beats; expected 3 to {_MAX_BEATS:,}.")
    for track in tracks:
        rows = np.array(track.notes, np.float64).reshape(-1, 4)
        on, off = seconds(rows[:, 0]), seconds(rows[:, 1])
        pitches, velocities = rows[:, 2].astype(int).tolist(), rows[:, 3].astype(int).tolist()
        track.notes_s = list(zip(on.tolist(), off.tolist(), pitches, velocities, strict=True))
        start, length = rows[:, 0] / unit, np.maximum((rows[:, 1] - rows[:, 0]) / unit, 0.03)
        track.notes = list(zip(start.tolist(), length.tolist(), pitches, velocities, strict=True))
    rows_of_keys = [(round(tick / unit), key) for tick, key in sorted(keys, key=lambda row: row[0])]
    ends = [*(beat for beat, _ in rows_of_keys[1:]), count]
    spans = tuple((a, b, key) for (a, key), b in zip(rows_of_keys, ends, strict=False) if b > a)
    beats = METRES[metre].beats
    beat_s = seconds(np.arange(count + 1, dtype=np.float64) * unit)
    return Midi(beat_s, ((0, -(-count // beats) * beats, metre),), spans, tracks)
