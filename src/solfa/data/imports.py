"""Published data sets, in their authors' layouts, as shards: to be trained on like our own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from solfa.audio.decode import stretches
from solfa.core.errors import DecodeError, InputError
from solfa.core.text import printable
from solfa.data.building import Progress, ShardTask, build
from solfa.data.loading import cropped
from solfa.data.records import Phrase, Record
from solfa.data.shards import Dataset, Failure, Member
from solfa.evaluation.openvocab import merged
from solfa.evaluation.readers import DataSet, Item, load
from solfa.jobs import Executor

_SLACK_S = 1.0  # a file longer than the clip by more than this is the whole recording
_ID_CHARACTERS = 80


def import_published(
    name: str,
    root: Path,
    out: Path | str,
    splits: Mapping[str, str],
    *,
    clips_per_shard: int = 500,
    executor: Executor | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Dataset:
    """The clips of a published data set whose sound is there and sound; the others are listed as failures.

    Files are taken as they are; a clip that is part of a longer file is cut out of it (mono, flac). Labels and events
    become ``attributes`` and phrases.

    ``name`` and ``root`` are as in ``evaluation.readers.load``, ``executor`` and ``progress`` as in ``build``;
    ``splits`` says which of its splits becomes our ``train``, ``val``, ``test``.

    Raises
    ------
    UnknownName, InputError, SolfaError
        As in ``evaluation.readers.load`` and ``build``; InputError also if no clip has sound that can be read.
    """
    read = {ours: load(name, Path(root), theirs) for ours, theirs in splits.items()}
    config = {
        "imported": name, "clips_per_shard": clips_per_shard, "splits": dict(splits),
        "revisions": {ours: data.revision for ours, data in read.items()},
    }  # fmt: skip
    layout = next(iter(read.values())).source.layout if read else ""
    if read and all(item.audio is None for data in read.values() for item in data.items):
        raise InputError(f"{root}: no clip has its audio file there, nothing to import. Expected: {layout}.")
    made = build(
        out, _Import(read, clips_per_shard), name=name, config=config, seed=0, executor=executor, progress=progress,
        num_shards={ours: -(-len(data.items) // clips_per_shard) for ours, data in read.items()},
    )  # fmt: skip
    if not any(s.index.members for s in made.shards):
        failure = made.manifest["failures"][0]
        raise InputError(
            f"{root}: nothing was imported, all {len(made.manifest['failures'])} clips failed, such as "
            f"{printable(failure['item'])}: {printable(failure['reason'])}. Delete {out} before the next attempt."
        )
    return made


@dataclass(frozen=True, slots=True)
class _Import:
    data: Mapping[str, DataSet]
    clips_per_shard: int

    def __call__(self, task: ShardTask) -> Iterator[Member | Failure]:
        data = self.data[task.split]
        for item in data.items[task.number * self.clips_per_shard :][: self.clips_per_shard]:
            try:
                yield _member(item, data)
            except DecodeError as bad:
                yield Failure(item=item.id, reason=bad.reason)


def _member(item: Item, data: DataSet) -> Member:
    if item.audio is None:
        raise DecodeError(item.id, "its audio file is not there")
    parts = list(stretches(item.audio))
    samples, rate = np.concatenate([p.samples for p in parts]), parts[0].sample_rate_hz
    whole_s = len(samples) / rate
    cut = None
    if item.start_s is not None and item.end_s is not None and whole_s > item.end_s - item.start_s + _SLACK_S:
        cut = samples[round(item.start_s * rate) : round(item.end_s * rate)]
        if not len(cut):
            raise DecodeError(item.audio, f"ends at {whole_s:.1f} s, before the clip begins ({item.start_s:g} s)")
    record = _record(item, data, whole_s if cut is None else len(cut) / rate)
    if cut is None:
        return Member(record=record, audio_bytes=item.audio.read_bytes(), format=item.audio.suffix[1:].lower())
    # Decoders of lossy formats overshoot; what is written is 16 bits.
    quieter = np.asarray(cut / max(1.0, float(np.abs(cut).max())), np.float32)
    return Member(record=record, samples=quieter, sample_rate_hz=rate)


def _record(item: Item, data: DataSet, duration_s: float) -> Record:
    spans: dict[str, list[tuple[float, float]]] = {text: list(found) for text, found in item.phrases}
    for event in item.events:
        spans.setdefault(event.label, []).append((event.onset_s, event.offset_s))
    phrases = [Phrase(text=text, spans_s=tuple(merged(found))) for text, found in spans.items()]
    labels = {"labels": list(item.labels)} if item.labels else {}
    return Record(
        id=_plain(item.id), audio="", duration_s=duration_s, captions=item.captions,
        phrases=cropped(phrases, 0.0, duration_s), source=data.source.title, licence=data.source.licence,
        track=item.group, attributes={"published_id": item.id, **labels},
    )  # fmt: skip


def _plain(name: str) -> str:
    """An id of letters, digits, "_" and "-" that no other name shares.

    >>> _plain("a1"), _plain("rock/a b.mp3")
    ('a1', 'rock-a-b-mp3-67edcfba')
    """
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).lstrip("-_")[:_ID_CHARACTERS]
    return plain if plain == name else f"{plain or 'clip'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
