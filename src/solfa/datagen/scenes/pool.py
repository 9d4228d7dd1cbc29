"""The pool that scenes are drawn from: every usable recording cut and brought to one rate, as a data set of its own.

It is kept in a folder named by what it was made from, so a second run finds it. Recordings that are broken, silent,
clipped or of a wrong length are listed among its failures with the reason.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from filelock import FileLock

from solfa.audio import at_rate, stretches
from solfa.core.clip import SPLITS, Clip
from solfa.core.errors import DecodeError, InputError
from solfa.core.files import check_output
from solfa.core.types import FloatArray
from solfa.datagen.scenes.clipping import THRESHOLD_DB, background_cuts, event_span
from solfa.datagen.scenes.mixing import SCENE_S
from solfa.datagen.scenes.sources import BACKGROUND
from solfa.datasets.building import ShardTask, build
from solfa.datasets.shards import Dataset, Failure, Member
from solfa.datasets.splits import families
from solfa.jobs import Executor, Failed, SerialExecutor

_VERSION = 4
_PER_SHARD = 100  # recordings
_LONGEST_S = 600.0  # of a recording; what comes after is not used
_LONGEST_EVENT_S = 7.5
_QUIETEST_RMS = 1e-4
_FULL, _MAX_CLIPPED = 0.999, 0.01  # samples this near the peak; their share above which a recording is clipped
_FADE_S = 0.05  # at the end of an event that was shortened
_SHORT_BACKGROUND_S = 2.0

Material = dict[str, dict[str, list[Clip]]]  # cuts by split and label


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolRule:
    """How recordings become material: the rate of the scenes, and which events and backgrounds are kept.

    FineLAP's rule is events of 1 to 7.5 s as the windows of ``clipping`` give them, and backgrounds as long as a scene.
    Of ``short_sounds`` the silence around an event is cut, the first 7.5 s of a longer one are kept, and backgrounds
    from 2 s on are repeated with crossfades. Other rates than 8,000 to 48,000 Hz, and a shortest event that is not
    within 0 to 7.5 s, are an `InputError`.
    """

    sample_rate_hz: int = 22_050
    min_event_s: float = 1.0
    short_sounds: bool = False

    def __post_init__(self) -> None:
        if not 8000 <= self.sample_rate_hz <= 48_000:
            raise InputError(f"a sample rate of {self.sample_rate_hz} Hz: expected 8000-48000 Hz.")
        if not 0 < self.min_event_s <= _LONGEST_EVENT_S:
            raise InputError(
                f"events from {self.min_event_s:g} s: expected more than 0 s, {_LONGEST_EVENT_S:g} s at most."
            )


def make_pool(
    sources: Sequence[Clip],
    rule: PoolRule,
    cache: Path,
    *,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Dataset:
    """The pool of these recordings, made now or found in the cache. Raises InputError if no recording can be used."""
    seen = []
    for s in sources:
        stat = path.stat() if (path := Path(str(s.audio))).is_file() else None
        seen.append([str(path), s.id, *s.labels, s.track, s.split, stat and [stat.st_size, stat.st_mtime_ns]])
    key = hashlib.sha256(json.dumps([_VERSION, asdict(rule), seen]).encode()).hexdigest()[:16]
    check_output(cache / key, force=True, folder=True)
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{key}.lock"):  # runs that share recordings wait for the one that cuts them
        pool = build(
            cache / key, _Cut(tuple(sources), rule), name="scenes-pool", config={"sources": key}, seed=0,
            num_shards={"train": -(-len(sources) // _PER_SHARD)}, executor=executor, progress=progress,
        )  # fmt: skip
    if not len(pool.split("train")):
        why = "; ".join(f"{f['item']}: {f['reason']}" for f in pool.manifest["failures"][:3])
        raise InputError(f"none of {len(sources)} recordings can be used. {why}")
    return pool


@dataclass(frozen=True, slots=True)
class _Cut:
    """The usable pieces of a shard's recordings, at peak 1."""

    sources: tuple[Clip, ...]
    rule: PoolRule
    each: Executor = field(default_factory=SerialExecutor)

    def __call__(self, task: ShardTask) -> Iterator[Member | Failure]:
        rate, here = self.rule.sample_rate_hz, list(enumerate(self.sources))[task.number * _PER_SHARD :][:_PER_SHARD]
        for result in self.each.map(self._pieces, here):
            i, source = result.item
            if isinstance(result, Failed):
                yield Failure(item=source.id, reason=result.reason)
                continue
            sound = hashlib.sha256(b"".join(piece.tobytes() for piece in result.value)).hexdigest()
            about = {"labels": source.labels, "split": source.split, "sound": sound}
            for j, piece in enumerate(result.value):
                record = Clip(id=f"{i:07}-{j:03}", duration_s=len(piece) / rate, attributes=about, source=source.id,
                              licence=source.licence, track=source.track)  # fmt: skip
                yield Member(record=record, samples=piece, sample_rate_hz=rate, format="wav")

    def _pieces(self, item: tuple[int, Clip]) -> list[FloatArray]:
        source, rule, rate = item[1], self.rule, self.rule.sample_rate_hz
        name = str(source.audio)
        audio = next(stretches(name, _LONGEST_S))
        peak = float(np.abs(audio.samples).max(initial=0.0))
        if peak > 0.98 and np.mean(np.abs(audio.samples) >= _FULL * peak) > _MAX_CLIPPED:
            raise DecodeError(name, "clipped: over 1 % of its samples are at the peak")
        samples = at_rate(audio, rate).samples
        if source.labels[0] == BACKGROUND:
            shortest_s = _SHORT_BACKGROUND_S if rule.short_sounds else SCENE_S
            pieces = background_cuts(samples, round(SCENE_S * rate), round(shortest_s * rate))
        else:
            pieces = [self._event(name, samples)]
        kept = [p for p in pieces if float(np.sqrt(np.mean(np.square(p)))) > _QUIETEST_RMS]
        if not kept:
            raise DecodeError(name, "silent, or too short for a background")
        return [p / np.abs(p).max() for p in kept]

    def _event(self, name: str, samples: FloatArray) -> FloatArray:
        rule, rate = self.rule, self.rule.sample_rate_hz
        span = event_span(samples, tight=rule.short_sounds)
        if span is None:
            raise DecodeError(name, f"silent: no frame is above {THRESHOLD_DB:g} dB")
        event, length_s = samples[slice(*span)], (span[1] - span[0]) / rate
        if rule.short_sounds and length_s > _LONGEST_EVENT_S:
            event, fade = event[: round(_LONGEST_EVENT_S * rate)].copy(), round(_FADE_S * rate)
            event[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
        elif not rule.min_event_s <= length_s <= _LONGEST_EVENT_S:
            fault = f"too {'short' if length_s < rule.min_event_s else 'long'}: {length_s:.2f} s"
            raise DecodeError(name, f"event {fault}; only {rule.min_event_s:g}-{_LONGEST_EVENT_S:g} s are kept")
        return event


def material(pool: Dataset) -> Material:
    """The cuts of a pool by split and label, in order.

    Takes of one group, and equal sound, are of one split (`split_groups`).
    """
    cuts = list(pool.split("train"))
    same = families([(f"group:{c.track}", f"sound:{c.attributes['sound']}") for c in cuts])
    named: dict[int, str] = {}
    for cut, family in zip(cuts, same, strict=True):
        named[family] = min(named.get(family, cut.track), cut.track)
    groups = [named[family] for family in same]
    splits = split_groups((g, c.labels[0], c.attributes["split"]) for g, c in zip(groups, cuts, strict=True))
    found: Material = {split: {} for split in SPLITS}
    for cut, group in sorted(zip(cuts, groups, strict=True), key=lambda row: row[0].labels):
        found[splits[group]].setdefault(cut.labels[0], []).append(cut)
    return found


def split_groups(rows: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """The split of every group, from (group, label, split or nothing); the order of the rows does not matter.

    Splits that a source has are kept (of several, the one furthest from training); else, of the groups of a label,
    about 15 % (one at least, where there are two) are for testing, then as many (where there are three) for validation.
    A label with one group is trained on, but one in ten of those is kept for testing alone: a phrase never seen.
    """
    found: dict[str, str] = {}
    labels: dict[str, str] = {}
    for group, label, split in rows:
        if split:
            found[group] = max(found.get(group, SPLITS[0]), split, key=SPLITS.index)
        labels[group] = min(labels.get(group, label), label)
    by_label: dict[str, list[str]] = {}
    for group, label in labels.items():
        if group not in found:
            by_label.setdefault(label, []).append(group)
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


def summary(pool: Dataset) -> list[str]:
    """Lines to show: events, labels and backgrounds of each split, and refusals by reason."""
    lines = []
    for split, labels in material(pool).items():
        behind = len(labels.pop(BACKGROUND, ()))
        lines.append(f"{split}: {sum(map(len, labels.values()))} events, {len(labels)} labels, {behind} backgrounds")
    reasons = Counter(failure["reason"].partition(":")[0] for failure in pool.manifest["failures"])
    if reasons:
        listed = "; ".join(f"{n} {reason}" for reason, n in reasons.items())
        lines.append(f"{reasons.total()} recordings were not used: {listed}")
    return lines
