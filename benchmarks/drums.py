"""Music with drums and the same music without: drum loops that people played, rendered and laid under known beds.

A bed is a clip without anything struck: a random General MIDI song (``gm.py``), or a recording of a folder whose
``index.csv`` says what plays (column instruments). The loops are MIDI takes of a folder with an ``info.csv`` as Groove
MIDI has it (columns drummer, midi_filename, beat_type, duration, split), through the kits of General MIDI, two of which
are drum machines (24, 25). Each piece of the kit is left out of a third of the loops, so that no piece implies another.
"""

from __future__ import annotations

import csv
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import mido
import numpy as np

import gm
from solfa.audio import at_rate, stretches
from solfa.core.types import Audio, FloatArray

CLIP_S, _GAP_S = 12.0, 1.5
_ACOUSTIC, _MACHINES = (0, 8, 16, 32, 40), (24, 25)
# Roland's own notes and their nearest in General MIDI.
_ROLAND = {22: 42, 26: 46, 58: 43}
PIECES: dict[str, frozenset[int]] = {
    "bass_drum": frozenset({35, 36}),
    "snare_drum": frozenset({37, 38, 40}),
    "hi_hat": frozenset({42, 44, 46}),
    "cymbal": frozenset({49, 51, 52, 53, 55, 57, 59}),
}
_STRUCK = ("percussion", "kit", "drum", "tympani", "timpani", "marimba", "xylophone", "synth", "tabla", "conga")
# Genres that have drums even where the list of instruments names none.
_BEAT = ("electronica", "disco", "polka", "latin", "reggae", "african", "jazz", "contemporary", "unclassifiable")


@dataclass(frozen=True, eq=False)
class DrumClip:
    """A clip of ``CLIP_S`` seconds; ``snr_db`` is drums over bed (inf: drums alone, -inf: no drums)."""

    audio: Audio
    concepts: frozenset[str]
    snr_db: float


def recordings(folder: Path, rng: np.random.Generator) -> list[Audio]:
    """A random part of every recording whose listed instruments are all of the kind that is not struck."""
    beds = []
    with (folder / "index.csv").open(encoding="utf-8", newline="") as stream:
        for entry in csv.DictReader(stream):
            written, genre = entry.get("instruments", "").lower(), entry["genre"].lower()
            if written and genre not in _BEAT and not any(word in written for word in _STRUCK):
                whole = at_rate(next(iter(stretches(folder / entry["file"]))), gm.RATE_HZ).samples
                start = int(rng.integers(0, max(1, len(whole) - int(CLIP_S * gm.RATE_HZ))))
                beds.append(Audio(whole[start : start + int(CLIP_S * gm.RATE_HZ)], gm.RATE_HZ))
    return beds


def clips(
    groove: Path, splits: Iterable[str], soundfonts: list[Path], beds: list[Audio], each: int, seed: int
) -> list[DrumClip]:
    """Per soundfont ``each`` beds (half of them ``beds`` where there are any, half songs), without and with drums."""
    rng = np.random.default_rng(seed)
    played = takes(groove, frozenset(splits))
    found = []
    for number, soundfont in enumerate(soundfonts):
        songs = [c.audio for c in gm.mixes(soundfont, each, seed + number, CLIP_S, drums=0.0)]
        played_over = loops(soundfont, [played[i] for i in rng.choice(len(played), each, replace=False)], rng)
        for i, (song, (loop, named)) in enumerate(zip(songs, played_over, strict=True)):
            bed = beds[int(rng.integers(len(beds)))] if beds and i % 2 else song
            snr_db = float(rng.uniform(-12, 6)) if i % 10 else np.inf
            found.append(DrumClip(bed, frozenset(), -np.inf))
            found.append(DrumClip(_mixed(bed.samples, loop, snr_db), named, snr_db))
    return found


def _mixed(bed: FloatArray, loop: FloatArray, snr_db: float) -> Audio:
    size = min(len(bed), len(loop))
    bed, loop = bed[:size], loop[:size]
    if np.isfinite(snr_db):
        gain = np.sqrt(np.mean(bed**2) / max(1e-12, float(np.mean(loop**2)))) * 10 ** (snr_db / 20)
        loop = bed + np.float32(gain) * loop
    return Audio((loop * np.float32(0.5 / max(0.5, float(np.abs(loop).max())))).astype(np.float32), gm.RATE_HZ)


def takes(groove: Path, splits: frozenset[str]) -> list[Path]:
    """The beats of ``CLIP_S`` seconds or more among the takes of some splits."""
    with (groove / "info.csv").open(encoding="utf-8", newline="") as stream:
        return [
            groove / row["midi_filename"]
            for row in csv.DictReader(stream)
            if row["split"] in splits and row["beat_type"] == "beat" and float(row["duration"]) >= CLIP_S
        ]


def _hits(take: Path, skip: frozenset[int]) -> list[tuple[float, int, int]]:
    """Second, note and velocity of every stroke of the take's first seconds."""
    found, now = [], 0.0
    for message in mido.MidiFile(take):
        now += message.time
        if message.type == "note_on" and message.velocity and now < CLIP_S - 0.2:
            note = _ROLAND.get(message.note, message.note)
            if note not in skip:
                found.append((now, note, message.velocity))
    return found


def loops(soundfont: Path, takes: list[Path], rng: np.random.Generator) -> list[tuple[FloatArray, frozenset[str]]]:
    """The first ``CLIP_S`` seconds of takes through the soundfont's kits, and what was played."""
    kits = [n for n in kits_of(soundfont) if n in _ACOUSTIC + _MACHINES]
    events: list[tuple[int, bytes]] = []
    named = []
    for i, take in enumerate(takes):
        machine = bool(rng.random() < 0.4) and bool(set(kits) & set(_MACHINES))
        kit = int(rng.choice([n for n in kits if (n in _MACHINES) == machine]))
        skip = frozenset().union(*(notes for notes in PIECES.values() if rng.random() < 1 / 3))
        hits = _hits(take, skip) or _hits(take, frozenset())
        counts = {piece: sum(note in notes for _, note, _ in hits) for piece, notes in PIECES.items()}
        named.append({p for p, n in counts.items() if n >= 4} | {"drums"} | ({"drum_machine"} if machine else set()))
        at = int(i * (CLIP_S + _GAP_S) * gm.TICKS_PER_S)
        events.append((at, bytes((0xC9, kit))))
        for second, note, velocity in hits:
            tick = at + 1 + int(second * gm.TICKS_PER_S)
            events += [(tick, bytes((0x99, note, velocity))), (tick + gm.TICKS_PER_S // 8, bytes((0x89, note, 0)))]
    mono = gm.synthesise(soundfont, events)
    starts = (int(i * (CLIP_S + _GAP_S) * gm.RATE_HZ) for i in range(len(takes)))
    parts = [mono[start : start + int(CLIP_S * gm.RATE_HZ)] for start in starts]
    return [(part, frozenset(names)) for part, names in zip(parts, named, strict=True)]


def kits_of(soundfont: Path, bank: int = 128) -> tuple[int, ...]:
    """Programs of a bank of an SF2 or SF3 file: the percussion bank, unless another is asked for."""
    data = soundfont.read_bytes()
    start = data.rindex(b"phdr")
    (size,) = struct.unpack_from("<I", data, start + 4)
    heads = [struct.unpack_from("<20sHH", data, start + 8 + at) for at in range(0, size - 38, 38)]
    return tuple(sorted(program for _, program, number in heads if number == bank))
