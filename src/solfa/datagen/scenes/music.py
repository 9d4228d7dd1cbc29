"""Music on a bar grid from hits and strums: the scenes of ``--music``, with entries, fills, breaks, drops, key changes.

Drum kits, hand percussion, strummed guitar chords and bass notes of the pool are played by the plan; pitched sounds
are moved by resampling. Each instrument is one stem.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import soxr

from solfa.core.clip import SPLITS, Record
from solfa.core.errors import InputError
from solfa.core.theory import Chord
from solfa.core.types import FloatArray, Rng
from solfa.datagen.captions.facts import merged
from solfa.datagen.scenes.music_plan import BEATS, DRUMS, Plan, draw_plan, phrases_of
from solfa.datagen.scenes.pipeline import SceneMaker
from solfa.datagen.scenes.pool import Entry
from solfa.datasets.building import ShardTask
from solfa.datasets.shards import Failure, Member

STEPS = 16  # of a bar
_KIT = {"kick": "bass drum", "snare": "snare drum", "hat": "closed hi-hat", "tom": "tom drum", "crash": "crash cymbal"}
_BEATS = (  # steps of kick, snare, hat
    ((0, 8), (4, 12), range(0, 16, 2)),
    ((0, 4, 8, 12), (4, 12), (2, 6, 10, 14)),
    ((0, 7, 10), (4, 12), range(0, 16, 2)),
    ((0, 6), (8,), range(0, 16, 4)),
    ((0, 2, 10, 11), (4, 7, 9, 12), range(0, 16, 2)),
)
# Ids of the vocabulary, and labels in the pool.
_PERCUSSION = ("tambourine", "shaker", "cowbell", "handclaps", "bongos", "djembe", "tabla", "cajon", "agogo", "claves")
_HITS = (range(0, 16, 2), (4, 12), (2, 6, 10, 14), (0, 3, 6, 10, 12), (0, 6, 12), (0, 4, 7, 8, 12, 14))
_STRUMS = ((0, 4, 6, 10, 12, 14), (0, 8), (0, 6, 8, 14), range(0, 16, 4))
_BASS = ((0, 8), (0, 6, 8, 14), range(0, 16, 2), (0, 3, 6, 8, 11, 14))
_GUITAR, _BASS_ID = "acoustic_guitar", "synth_bass"
_BASS_IN_C = re.compile(r"sonic/bass_\w+_c")
_STRUM = re.compile(r"guitar strum of an? ([A-G])( sharp| flat)? (major|minor) chord")
# Chords as semitones above the tonic and quality; each progression repeats.
_MOVES = (
    ((0, "maj"), (7, "maj"), (9, "min"), (5, "maj")),
    ((9, "min"), (5, "maj"), (0, "maj"), (7, "maj")),
    ((0, "maj"), (5, "maj")),
    ((0, "maj"), (9, "min"), (2, "min"), (7, "maj")),
)
_SHORTEST_CHORD_S = 0.4
_FARTHEST = 4  # semitones a strum may be moved before it sounds like another instrument


@dataclass(frozen=True)
class MusicMaker(SceneMaker):
    """Makes the pieces of a shard; the pool and the configuration are those of scenes."""

    name: ClassVar[str] = "scenes-music"

    def __call__(self, task: ShardTask) -> Iterator[Member | Failure]:
        """All pieces of a shard, in order."""
        duration_s, rate = self.config.mix.duration_s, self.config.pool.sample_rate_hz
        for i in range(self.config.per_shard):
            rng = task.rng(i)
            plan = draw_plan(self.playable(task.split), (_GUITAR, _BASS_ID), duration_s, rng)
            stems, chords, used = self.play(plan, task.split, rng)
            total = np.sum(list(stems.values()), axis=0)
            samples = (total * (self.config.mix.peak / np.abs(total).max())).astype(np.float32)
            record = Record(
                id=f"music-{task.split}-{task.number:06}-{i:03}", audio="", duration_s=len(samples) / rate,
                phrases=phrases_of(plan, duration_s), source=self.name, split=task.split,
                attributes={
                    "tempo_bpm": round(plan.tempo_bpm, 2), "metre": "4/4", "beats_per_bar": BEATS, "chords": chords,
                    "instruments": sorted(plan.active), "scene": {"sources": sorted({e.source for e in used})},
                },
                licence="; ".join(sorted({e.licence for e in used if e.licence})),
            )  # fmt: skip
            yield from self.captioned(Member(record=record, samples=samples, sample_rate_hz=rate), rng)

    def check(self, split: str) -> None:
        """Nothing, if a split has sounds of two instruments at least; else InputError."""
        if len(found := self.playable(split)) < 2:
            raise InputError(f"the split {split} has sounds of {found} only; a piece needs two instruments.")

    def playable(self, split: str) -> list[str]:
        """Vocabulary ids of the instruments that a split has sounds of."""
        material = self._material[split]
        found = [DRUMS] if all(label in material for label in _KIT.values()) else []
        found += [label for label in _PERCUSSION if label in material]
        strums = self._strums[split]
        return found + [_GUITAR] * bool(strums["maj"] and strums["min"]) + [_BASS_ID] * bool(self._basses(split))

    def play(self, plan: Plan, split: str, rng: Rng) -> tuple[dict[str, FloatArray], list[str], list[Entry]]:
        """One stem for each instrument, the chords that the guitar strums in order, and the sounds used."""
        player = _Player(self, plan, rng)
        tonic = int(rng.integers(12))
        moves = _MOVES[int(rng.integers(len(_MOVES)))]
        chords = [
            Chord((tonic + moves[b % len(moves)][0] + player.shift(b)) % 12, moves[b % len(moves)][1])
            for b in range(plan.num_bars)
        ]
        for instrument in plan.active:
            if instrument == DRUMS:
                player.drums({voice: self._one(split, label, rng) for voice, label in _KIT.items()})
            elif instrument == _GUITAR:
                player.guitar(self._strums[split], chords)
            elif instrument == _BASS_ID:
                player.bass(self._basses(split), chords)
            else:
                player.hits(instrument, self._one(split, instrument, rng))
        strummed = plan.active.get(_GUITAR, ())
        last = (self.config.mix.duration_s - _SHORTEST_CHORD_S) / plan.bar_s  # a later bar is hardly heard
        heard = merged([str(c) for b, (c, on) in enumerate(zip(chords, strummed, strict=False)) if on and b <= last])
        return player.levelled(), list(heard), player.used

    def _one(self, split: str, label: str, rng: Rng) -> Entry:
        found = self._material[split][label]
        return found[int(rng.integers(len(found)))]

    def _basses(self, split: str) -> list[Entry]:
        found = self._material[split]
        return [e for label in ("bass", "synth bass") for e in found.get(label, []) if _BASS_IN_C.fullmatch(e.source)]

    @cached_property
    def _strums(self) -> dict[str, dict[str, list[tuple[int, Entry]]]]:
        found: dict[str, dict[str, list[tuple[int, Entry]]]] = {s: {"maj": [], "min": []} for s in SPLITS}
        for split in SPLITS:
            for label, entries in self._material[split].items():
                if match := _STRUM.fullmatch(label):
                    chord = Chord.parse(match[1] + {" sharp": "#", " flat": "b"}.get(match[2], "") + ":" + match[3][:3])
                    assert chord is not None
                    found[split][chord.quality] += [(chord.root, e) for e in entries]
        return found


class _Player:
    """Lays hits on the grid of a plan."""

    def __init__(self, maker: MusicMaker, plan: Plan, rng: Rng) -> None:
        self.maker, self.plan, self.rng = maker, plan, rng
        self.rate = maker.config.pool.sample_rate_hz
        self.length = round(maker.config.mix.duration_s * self.rate)
        self.stems: dict[str, FloatArray] = {}
        self.used: list[Entry] = []

    def shift(self, bar: int) -> int:
        """Semitones above the first key."""
        return self.plan.key_shift if self.plan.key_bar is not None and bar >= self.plan.key_bar else 0

    def drums(self, kit: dict[str, Entry]) -> None:
        """A beat, with a crash on the drop, toms in a fill, and a snare that rolls up in a build-up."""
        sound = {voice: self._sound(entry) for voice, entry in kit.items()}
        kick, snare, hat = _BEATS[int(self.rng.integers(len(_BEATS)))]
        for bar in self._bars(DRUMS):
            if bar == self.plan.build_bar:
                for step in np.concatenate([np.arange(0, 8, 2), np.arange(8, 12), np.arange(12, 16, 0.5)]):
                    self._hit(DRUMS, sound["snare"], bar, float(step), 0.2 + 0.8 * step / STEPS)
                continue
            until = STEPS // 2 if bar in self.plan.fills else STEPS
            for voice, steps in (("kick", kick), ("snare", snare), ("hat", hat)):
                for step in (s for s in steps if s < until):
                    self._hit(DRUMS, sound[voice], bar, step, 0.5 if voice == "hat" else 1.0)
            for step in range(until, STEPS):
                self._hit(DRUMS, sound["tom" if step % 4 else "snare"], bar, step, 0.7 + 0.3 * step / STEPS)
            if bar == self.plan.drop_bar:
                self._hit(DRUMS, sound["crash"], bar, 0, 0.8)

    def hits(self, instrument: str, entry: Entry) -> None:
        """One percussion instrument in a fixed pattern."""
        sound, steps = self._sound(entry), _HITS[int(self.rng.integers(len(_HITS)))]
        for bar in self._bars(instrument):
            for step in steps:
                self._hit(instrument, sound, bar, step, 1.0)

    def guitar(self, strums: dict[str, list[tuple[int, Entry]]], chords: list[Chord]) -> None:
        """A strummed chord a bar, of the nearest recorded one."""
        steps = _STRUMS[int(self.rng.integers(len(_STRUMS)))]
        for bar in self._bars(_GUITAR):
            chord = chords[bar]
            away = {e: (chord.root - root + 6) % 12 - 6 for root, e in strums[chord.quality]}
            near = [e for e, n in away.items() if abs(n) <= _FARTHEST] or list(away)
            entry = near[int(self.rng.integers(len(near)))]
            self._cut(_GUITAR, self._moved(entry, away[entry]), bar, steps)

    def bass(self, notes: list[Entry], chords: list[Chord]) -> None:
        """The root of each chord."""
        entry = notes[int(self.rng.integers(len(notes)))]
        steps = _BASS[int(self.rng.integers(len(_BASS)))]
        for bar in self._bars(_BASS_ID):
            self._cut(_BASS_ID, self._moved(entry, (chords[bar].root + 5) % 12 - 5), bar, steps)

    def levelled(self) -> dict[str, FloatArray]:
        """Stems of equal loudness but for a few drawn decibels."""
        out = {}
        for instrument, stem in self.stems.items():
            level = float(np.sqrt(np.mean(np.square(stem[np.abs(stem) > 1e-4]), dtype=np.float64)))
            out[instrument] = stem * np.float32(10 ** (self.rng.uniform(-6, 3) / 20) / level)
        return out

    def _bars(self, instrument: str) -> Iterator[int]:
        self.stems.setdefault(instrument, np.zeros(self.length, np.float32))
        return (b for b, on in enumerate(self.plan.active[instrument]) if on)

    def _sound(self, entry: Entry) -> FloatArray:
        self.used.append(entry)
        return self.maker.pool.samples(entry)

    def _moved(self, entry: Entry, semitones: int) -> FloatArray:
        sound = self._sound(entry)
        moved: FloatArray = soxr.resample(sound, self.rate * 2 ** (semitones / 12), self.rate) if semitones else sound
        return moved

    def _cut(self, instrument: str, sound: FloatArray, bar: int, steps: tuple[int, ...] | range) -> None:
        """The sound on each step, faded out at the next one."""
        for step, after in zip(steps, [*steps[1:], STEPS], strict=True):
            size = round((after - step) / STEPS * self.plan.bar_s * self.rate)
            note = sound[:size].copy()
            fade = min(len(note), round(0.02 * self.rate))
            note[len(note) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
            self._hit(instrument, note, bar, step, 1.0)

    def _hit(self, instrument: str, sound: FloatArray, bar: int, step: float, level: float) -> None:
        at_s = (bar + step / STEPS) * self.plan.bar_s + self.rng.uniform(0, 0.01)
        at, stem = round(at_s * self.rate), self.stems[instrument]
        part = sound[: max(0, self.length - at)]
        stem[at : at + len(part)] += part * np.float32(level * self.rng.uniform(0.8, 1.0))
