"""Published data sets in their authors' layouts, and tables of pairs, as shards: to be trained on like our own."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from solfa.audio.decode import SUFFIXES, stretches
from solfa.core.clip import Phrase, Record
from solfa.core.errors import DecodeError, InputError
from solfa.core.intervals import merged
from solfa.core.text import printable
from solfa.datasets.building import Progress, ShardTask, build
from solfa.datasets.loading import cropped
from solfa.datasets.pairs import Table, read_pairs, spread
from solfa.datasets.readers import Item, load
from solfa.datasets.shards import Dataset, Failure, Member
from solfa.jobs import Executor

_SLACK_S = 1.0  # a published set's file longer than the clip by more than this is the whole recording
_ID_CHARACTERS = 80


def import_published(
    name: str,
    root: Path,
    out: Path | str,
    splits: Mapping[str, str],
    *,
    shares: Sequence[float] | None = None,
    seed: int = 0,
    clips_per_shard: int = 500,
    executor: Executor | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Dataset:
    """The clips of a published data set whose sound is there and sound; the others are listed as failures.

    Files are taken as they are; a clip that is part of a longer file is cut out of it (mono, flac). Labels and events
    become ``attributes`` and phrases.

    ``name`` and ``root`` are as in ``datasets.readers.load``, ``executor`` and ``progress`` as in ``build``;
    ``splits`` says which of its splits becomes our ``train``, ``val``, ``test``. With ``shares`` of these three it
    names one split, whose groups (artists, recordings with their copies) are spread over them by ``seed``. Raises
    UnknownName, InputError or SolfaError as in ``datasets.readers.load`` and ``build``; InputError also if no clip
    has sound that can be read.
    """
    read = {ours: load(name, Path(root), theirs) for ours, theirs in splits.items()}
    config: dict[str, Any] = {
        "imported": name, "clips_per_shard": clips_per_shard, "splits": dict(splits),
        "revisions": {ours: data.revision for ours, data in read.items()},
    }  # fmt: skip
    source = next(iter(read.values())).source if read else None
    if source and all(item.audio is None for data in read.values() for item in data.items):
        raise InputError(f"{root}: no clip has its audio file there, nothing to import. Expected: {source.layout}.")
    items = {ours: data.items for ours, data in read.items()}
    if shares is not None:
        if len(items) != 1:
            raise InputError(f"shares are of one split of {name}, got {', '.join(splits.values()) or 'none'}.")
        items = spread(next(iter(items.values())), shares, seed)
        config |= {"shares": list(shares), "seed": seed}
    make = _Import(items, clips_per_shard)
    if source:
        make = replace(make, title=source.title, licence=source.licence)
    return _made(root, out, name, config, make, executor, progress)


def import_pairs(
    place: Path,
    out: Path | str,
    table: Table,
    *,
    clips_per_shard: int = 500,
    executor: Executor | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Dataset:
    """The clips of a table of pairs (``pairs.read_pairs``), files taken as they are, parts of files cut out.

    Rows that were left out and sound that cannot be read are listed as failures. A stopped run goes on where it was, as
    long as the table and the files that it names are the same. Raises InputError, SolfaError or MissingExtra as in
    ``pairs.read_pairs`` and ``build``; InputError also if no clip has sound that can be read.
    """
    items, bad = read_pairs(place, table)
    left_out = tuple(Failure(item=where, reason=reason) for where, reason in bad)
    make = _Import(items, clips_per_shard, place.stem, table.licence, left_out, slack_s=-math.inf)
    content = hashlib.sha256(repr((items, bad)).encode()).hexdigest()[:16]
    config = {"imported": "pairs", "clips_per_shard": clips_per_shard, "table": place.name, "content": content,
              "licence": table.licence}  # fmt: skip
    return _made(place, out, "pairs", config, make, executor, progress)


def _made(
    root: Path, out: Path | str, name: str, config: Mapping[str, Any], make: _Import, executor: Executor | None,
    progress: Callable[[Progress], None],
) -> Dataset:  # fmt: skip
    made = build(
        out, make, name=name, config=config, seed=0, executor=executor, progress=progress,
        num_shards={ours: -(-len(items) // make.clips_per_shard) for ours, items in make.items.items()},
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
    items: Mapping[str, Sequence[Item]]
    clips_per_shard: int
    title: str = ""
    licence: str = ""
    failures: tuple[Failure, ...] = ()
    slack_s: float = _SLACK_S

    def __call__(self, task: ShardTask) -> Iterator[Member | Failure]:
        if task.number == 0 and task.split == next(iter(self.items)):
            yield from self.failures
        for item in self.items[task.split][task.number * self.clips_per_shard :][: self.clips_per_shard]:
            try:
                yield self._member(item)
            except DecodeError as bad:
                yield Failure(item=item.id, reason=bad.reason)

    def _member(self, item: Item) -> Member:
        if item.audio is None:
            raise DecodeError(item.id, "its audio file is not there")
        data, file = (None, item.audio) if item.inside is None else (item.inside.read(), Path(item.inside.name))
        parts = list(stretches(file, data=data))
        samples, rate = np.concatenate([p.samples for p in parts]), parts[0].sample_rate_hz
        whole_s = len(samples) / rate
        cut = None
        if item.start_s is not None and item.end_s is not None and whole_s > item.end_s - item.start_s + self.slack_s:
            cut = samples[round(item.start_s * rate) : round(item.end_s * rate)]
            if not len(cut):
                raise DecodeError(file, f"ends at {whole_s:.1f} s, before the clip begins ({item.start_s:g} s)")
        record = self._record(item, whole_s if cut is None else len(cut) / rate)
        if cut is None and file.suffix.lower() in SUFFIXES:
            return Member(record=record, audio_bytes=data or file.read_bytes(), format=file.suffix[1:].lower())
        # Decoders of lossy formats overshoot; what is written is 16 bits.
        kept = samples if cut is None else cut
        quieter = np.asarray(kept / max(1.0, float(np.abs(kept).max())), np.float32)
        return Member(record=record, samples=quieter, sample_rate_hz=rate)

    def _record(self, item: Item, duration_s: float) -> Record:
        spans: dict[str, list[tuple[float, float]]] = {}
        for text, found in (*item.phrases, *((e.label, [(e.onset_s, e.offset_s)]) for e in item.events)):
            spans.setdefault(text, []).extend(found)
        phrases = [Phrase(text=text, spans_s=tuple(merged(found))) for text, found in spans.items()]
        labels = {"labels": list(item.labels)} if item.labels else {}
        return Record(
            id=_plain(item.id), audio="", duration_s=duration_s, captions=item.captions,
            phrases=cropped(phrases, 0.0, duration_s), source=self.title, licence=item.licence or self.licence,
            track=item.group, attributes={"published_id": item.id, **labels},
        )  # fmt: skip


def _plain(name: str) -> str:
    """An id of letters, digits, "_" and "-" that no other name shares.

    >>> _plain("a1"), _plain("rock/a b.mp3")
    ('a1', 'rock-a-b-mp3-67edcfba')
    """
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).lstrip("-_")[:_ID_CHARACTERS]
    return plain if plain == name else f"{plain or 'clip'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
