"""The pool that scenes are drawn from: every usable recording cut, brought to one rate, and kept in one flat file.

A scene then costs a read from a memory map, however the recordings were stored. The pool lies in a folder named by
what it was made from, so a second run finds it; recordings that are broken, silent, clipped or of a wrong length are
listed in it with the reason.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solfa.audio import at_rate, stretches
from solfa.core.clip import SPLITS, Clip
from solfa.core.errors import DecodeError, InputError
from solfa.core.files import whole_folder
from solfa.core.types import FloatArray
from solfa.datagen.scenes.clipping import ClipRule, background_cuts, event_span
from solfa.datagen.scenes.sources import BACKGROUND
from solfa.datasets.shards import read_json, write_json
from solfa.datasets.splits import families
from solfa.jobs import Done, Executor, SerialExecutor

SCHEMA = "solfa.scenes-pool/2"
_LONGEST_S = 600.0  # of a recording; what comes after is not used
_QUIETEST_RMS = 1e-4
_FULL, _MAX_CLIPPED = 0.999, 0.01  # samples this near the peak; their share above which a recording is clipped
_SCALE = 32767
_FADE_S = 0.05  # at the end of an event that was shortened


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolRule:
    """How recordings become material: the rate of the scenes, the cut of events, and the length of backgrounds.

    A background shorter than a scene is repeated with crossfades if it has at least ``min_background_s``. Other
    rates than 8,000 to 48,000 Hz, and events that end before they begin, are an `InputError`.
    """

    sample_rate_hz: int = 22_050
    clip: ClipRule = field(default_factory=ClipRule)
    scene_s: float = 10.0
    min_background_s: float = 10.0

    def __post_init__(self) -> None:
        if not 8000 <= self.sample_rate_hz <= 48_000:
            raise InputError(f"a sample rate of {self.sample_rate_hz} Hz: expected 8000-48000 Hz.")
        low, high = self.clip.min_s, self.clip.max_s
        if not 0 < low <= high:
            raise InputError(f"events from {low:g} s: expected more than 0 s, {high:g} s at most.")


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolSound:
    """One piece of sound in the pool: ``length`` samples from ``offset``."""

    label: str
    source: str
    split: str
    licence: str
    offset: int
    length: int


@dataclass(frozen=True, kw_only=True)
class SoundPool:
    """Entries in order of source, what was refused and why, and a hash of all of it."""

    folder: Path
    entries: tuple[PoolSound, ...]
    refused: Mapping[str, str]
    digest: str

    @classmethod
    def open(cls, folder: Path) -> SoundPool:
        """The pool in a folder. Raises InputError if there is none, or it is damaged."""
        data = read_json(folder / "pool.json", SCHEMA)
        try:
            entries = tuple(PoolSound(**e) for e in data["entries"])
            return cls(folder=folder, entries=entries, refused=data["refused"], digest=data["digest"])
        except (TypeError, KeyError) as bad:
            raise InputError(f"{folder}/pool.json is damaged ({bad}); delete the folder and run again.") from bad

    def samples(self, entry: PoolSound) -> FloatArray:
        """The sound of an entry, peak 1."""
        return self._flat[entry.offset : entry.offset + entry.length].astype(np.float32) / np.float32(_SCALE)

    @cached_property
    def _flat(self) -> NDArray[np.int16]:
        return np.memmap(self.folder / "samples.i16", np.int16, mode="r")


def make_pool(
    sources: Sequence[Clip],
    rule: PoolRule,
    cache: Path,
    *,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SoundPool:
    """The pool of these recordings, made now or found in the cache.

    Takes of one group, and equal sound, are of one split. Splits that a source has are kept (of several, the one
    furthest from training); else, of the groups of a label, about 15 % (one at least, where there are two) are for
    testing, then as many (where there are three) for validation. A label with one group is trained on, but one in ten
    of those is kept for testing alone: a phrase never seen. Raises InputError if no recording can be used.
    """
    folder = cache / _key(sources, rule)
    if (folder / "pool.json").is_file():
        return SoundPool.open(folder)
    with whole_folder(folder, replace=True) as making:
        _write(making, sources, rule, executor or SerialExecutor(), progress)
    return SoundPool.open(folder)


def _key(sources: Sequence[Clip], rule: PoolRule) -> str:
    seen = []
    for s in sources:
        stat = path.stat() if (path := Path(str(s.audio))).is_file() else None
        seen.append([str(path), s.id, *s.labels, s.track, s.split, stat and [stat.st_size, stat.st_mtime_ns]])
    return hashlib.sha256(json.dumps([SCHEMA, asdict(rule), seen]).encode()).hexdigest()[:16]


def _write(
    folder: Path, sources: Sequence[Clip], rule: PoolRule, executor: Executor, progress: Callable[[int, int], None]
) -> None:
    places: dict[int, list[tuple[int, int]]] = {}
    hashes: dict[int, str] = {}
    refused: dict[str, str] = {}
    offset = 0
    with (folder / "samples.i16").open("wb") as flat:
        for n, result in enumerate(executor.map(_Cut(rule), list(enumerate(sources))), start=1):
            i, source = result.item
            progress(n, len(sources))
            if not isinstance(result, Done):
                refused[source.id] = result.reason
                continue
            for piece in result.value:
                flat.write(piece.tobytes())
                places.setdefault(i, []).append((offset, len(piece)))
                offset += len(piece)
            hashes[i] = hashlib.sha256(b"".join(p.tobytes() for p in result.value)).hexdigest()
    if not places:
        why = "; ".join(f"{name}: {reason}" for name, reason in sorted(refused.items())[:3])
        raise InputError(f"none of {len(sources)} recordings can be used. {why}")
    used = {i: sources[i] for i in sorted(places)}
    # Equal sound under other names is of one group.
    same = families([(f"group:{s.track}", f"sound:{hashes[i]}") for i, s in used.items()])
    named: dict[int, str] = {}
    for s, family in zip(used.values(), same, strict=True):
        named[family] = min(named.get(family, s.track), s.track)
    splits = split_groups(replace(s, track=named[f]) for s, f in zip(used.values(), same, strict=True))
    entries = [
        PoolSound(label=s.labels[0], source=s.id, split=splits[named[f]], licence=s.licence, offset=at, length=length)
        for (i, s), f in zip(used.items(), same, strict=True)
        for at, length in places[i]
    ]
    described = [[e.label, e.source, e.split, e.length] for e in entries], [hashes[i] for i in sorted(hashes)]
    digest = hashlib.sha256(json.dumps([asdict(rule), *described]).encode()).hexdigest()
    write_json(folder / "pool.json", {
        "schema": SCHEMA, "digest": digest, "entries": [asdict(e) for e in entries],
        "refused": dict(sorted(refused.items())),
    })  # fmt: skip


def split_groups(sources: Iterable[Clip]) -> dict[str, str]:
    """The split of every group (see `make_pool`); it does not depend on the order of the sources."""
    given: dict[str, str] = {}
    labels: dict[str, str] = {}
    for source in sources:
        if source.split:
            given[source.track] = max(given.get(source.track, SPLITS[0]), source.split, key=SPLITS.index)
        labels[source.track] = min(labels.get(source.track, source.labels[0]), source.labels[0])
    by_label: dict[str, list[str]] = {}
    for group, label in labels.items():
        if group not in given:
            by_label.setdefault(label, []).append(group)
    found = dict(given)
    for groups in by_label.values():
        groups.sort(key=_chance)
        part = max(1, round(0.15 * len(groups)))
        tests, vals = (part if len(groups) > 1 else 0), (part if len(groups) > 2 else 0)
        if len(groups) == 1 and _chance(groups[0])[0] % 10 == 0:
            tests = 1
        for i, group in enumerate(groups):
            found[group] = "test" if i < tests else "val" if i < tests + vals else "train"
    return found


def _chance(group: str) -> bytes:
    return hashlib.sha256(group.encode()).digest()


@dataclass(frozen=True, slots=True)
class _Cut:
    """The usable pieces of one recording, peak-normalised 16-bit samples."""

    rule: PoolRule

    def __call__(self, item: tuple[int, Clip]) -> list[NDArray[np.int16]]:
        source, rule = item[1], self.rule
        rate = rule.sample_rate_hz
        audio = next(stretches(str(source.audio), _LONGEST_S))
        peak = float(np.abs(audio.samples).max(initial=0.0))
        if peak > 0.98 and np.mean(np.abs(audio.samples) >= _FULL * peak) > _MAX_CLIPPED:
            raise DecodeError(str(source.audio), "clipped: over 1 % of its samples are at the peak")
        samples = at_rate(audio, rate).samples
        pieces = self._event(source, samples) if source.labels[0] != BACKGROUND else background_cuts(
            samples, round(rule.scene_s * rate), round(rule.min_background_s * rate)
        )  # fmt: skip
        kept = [p for p in pieces if float(np.sqrt(np.mean(np.square(p)))) > _QUIETEST_RMS]
        if not kept:
            raise DecodeError(str(source.audio), "silent, or too short for a background")
        return [np.round(p / np.abs(p).max() * _SCALE).astype(np.int16) for p in kept]

    def _event(self, source: Clip, samples: FloatArray) -> list[FloatArray]:
        rule, rate = self.rule.clip, self.rule.sample_rate_hz
        span = event_span(samples, rule)
        if span is None:
            raise DecodeError(str(source.audio), f"silent: no frame is above {rule.threshold_db:g} dB")
        length_s = (span[1] - span[0]) / rate
        if rule.shorten and length_s > rule.max_s:
            event = samples[span[0] : span[0] + round(rule.max_s * rate)].copy()
            fade = round(_FADE_S * rate)
            event[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
            return [event]
        if not rule.min_s <= length_s <= rule.max_s:
            fault = f"too {'short' if length_s < rule.min_s else 'long'}: {length_s:.2f} s"
            raise DecodeError(str(source.audio), f"event {fault}; only {rule.min_s:g}-{rule.max_s:g} s are kept")
        return [samples[span[0] : span[1]]]


def by_label(entries: Iterable[PoolSound]) -> dict[str, list[PoolSound]]:
    """Entries of each label, in order of label."""
    found: dict[str, list[PoolSound]] = {}
    for entry in entries:
        found.setdefault(entry.label, []).append(entry)
    return dict(sorted(found.items()))


def summary(pool: SoundPool) -> dict[str, Any]:
    """Counts to show: events, labels and backgrounds of each split, and refusals by reason."""
    reasons = Counter(reason.partition(":")[0] for reason in pool.refused.values())
    splits = {}
    for split in SPLITS:
        mine = [e for e in pool.entries if e.split == split]
        events = [e for e in mine if e.label != BACKGROUND]
        splits[split] = {
            "events": len(events), "labels": len({e.label for e in events}), "backgrounds": len(mine) - len(events),
        }  # fmt: skip
    return {"splits": splits, "refused": dict(reasons)}
