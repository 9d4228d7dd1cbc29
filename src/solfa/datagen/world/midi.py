"""MIDI files as scores: notes by part, with the tempo map, metre and keys that they state."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solfa.core.errors import InputError, need
from solfa.core.theory import Key
from solfa.datagen.world.score import METRES, Note, Scale, Score, ScorePart
from solfa.datagen.world.styles import concept_of

_MAX_NOTES, _MAX_BEATS = 200_000, 20_000


def read_midi(path: Path, metre: str = "") -> Score:
    """The music in a MIDI file of one metre (``metre`` overrules the file's); a part for each program of a track.

    The ``role`` of a part is the track's name, its ``concept`` empty where General MIDI has no name for the program. A
    beat is a dotted quarter in 6/8, 9/8 and 12/8, an eighth in 7/8. Raises MissingExtra if mido is not installed;
    InputError if it is no MIDI file, holds more than 200,000 notes or 20,000 beats, or its metre changes or is unknown
    here.
    """
    mido = need("mido", "reading MIDI files", "pip install 'solfa[data]'")
    try:
        file = mido.MidiFile(path)
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, mido.KeySignatureError) as bad:
        raise InputError(f"{path.name} is not a readable MIDI file ({type(bad).__name__}: {bad}).") from bad
    ppq = file.ticks_per_beat
    if ppq <= 0:
        raise InputError(f"{path.name}: times in frames are not supported.")
    stated: dict[str, list[tuple[int, Any]]] = {}
    parts: dict[tuple[int, int, int], list[tuple[int, int, int, int]]] = {}
    for number, track in enumerate(file.tracks):
        tick, programs, sounding = 0, dict[int, int](), dict[tuple[int, int], tuple[int, int]]()
        for message in track:
            tick += message.time
            if message.is_meta:
                stated.setdefault(message.type, []).append((tick, message))
            elif message.type == "program_change":
                programs[message.channel] = message.program
            elif message.type in ("note_on", "note_off"):
                place = (message.channel, message.note)
                if place in sounding:
                    begun, velocity = sounding.pop(place)
                    part = parts.setdefault((number, message.channel, programs.get(message.channel, 0)), [])
                    part.append((begun, tick, message.note, velocity))
                if message.type == "note_on" and message.velocity > 0:
                    sounding[place] = (tick, message.velocity)
    if sum(map(len, parts.values())) > _MAX_NOTES:
        raise InputError(f"{path.name}: more than {_MAX_NOTES:,} notes.")
    found = {metre} if metre else {f"{m.numerator}/{m.denominator}" for _, m in stated.get("time_signature", ())}
    metre, *others = found or {"4/4"}
    if others or metre not in METRES:
        raise InputError(f"{path.name}: the metre changes, or is not one of {', '.join(METRES)}.")
    unit = ppq * {"8": 1.5 if METRES[metre].division == 3 else 0.5}.get(metre.partition("/")[2], 1.0)
    count = int(np.ceil(max((off for rows in parts.values() for _, off, _, _ in rows), default=0) / unit)) + 1
    if not 3 <= count <= _MAX_BEATS:
        raise InputError(f"{path.name} lasts {count} beats; expected 3 to {_MAX_BEATS:,}.")
    tempi = {0: 500_000} | {tick: max(60_000, m.tempo) for tick, m in stated.get("set_tempo", ())}
    changes = np.array(sorted(tempi), np.float64)
    tick_s = np.array([tempi[tick] for tick in sorted(tempi)]) / (1e6 * ppq)
    starts = np.r_[0.0, np.cumsum(np.diff(changes) * tick_s[:-1])]

    def seconds(tick: NDArray[np.float64]) -> NDArray[np.float64]:
        i = np.searchsorted(changes, tick, "right") - 1
        return np.asarray(starts[i] + (tick - changes[i]) * tick_s[i], np.float64)

    keys = [(tick / unit, Key.parse(f"{m.key.removesuffix('m')} {'minor' if m.key.endswith('m') else 'major'}"))
            for tick, m in sorted(stated.get("key_signature", ()), key=lambda row: row[0])]  # fmt: skip
    ends = [*(float(round(beat)) for beat, _ in keys[1:]), float(count)]
    spans = ((float(round(a)), b, Scale(key.tonic, key.mode)) for (a, key), b in zip(keys, ends, strict=False))
    score = Score(
        beat_s=seconds(np.arange(count + 1) * unit), keys=tuple(span for span in spans if span[1] > span[0]),
        metres=((0, -(-count // METRES[metre].beats) * METRES[metre].beats, metre),), tempo="drifting",
        sections=((0.0, float(count), "part"),),
    )  # fmt: skip
    played = []
    for (number, channel, program), ticks in parts.items():
        rows, drums = np.array(ticks, np.float64), channel == 9
        notes = in_beats(score, np.c_[seconds(rows[:, 0]), seconds(rows[:, 1]), rows[:, 2:]])
        concept = "drums" if drums else concept_of(program)
        name = file.tracks[number].name
        played.append(ScorePart(role=name, concept=concept, program=program, notes=notes, drums=drums))
    return replace(score, parts=tuple(played))


def in_beats(score: Score, rows: NDArray[np.float64]) -> tuple[Note, ...]:
    """Notes of (on_s, off_s, pitch, velocity) [shape=(N, 4)] in the beats of a score."""
    on, off = score.at_beat(rows[:, 0]), score.at_beat(rows[:, 1])
    return tuple(
        Note(float(a), max(0.03, float(b - a)), int(p), int(v))
        for a, b, p, v in zip(on, off, rows[:, 2], rows[:, 3], strict=True)
    )
