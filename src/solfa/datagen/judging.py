"""A data set of our own as evaluation reads those of others: clips with captions, timed phrases and exact truth."""

from __future__ import annotations

from pathlib import Path

import soundfile

from solfa.core.clip import SPLITS, Record
from solfa.core.errors import InputError
from solfa.core.intervals import Event
from solfa.datasets.readers import DataSet, Item, Source
from solfa.datasets.shards import Dataset


def data_set(folder: Path, split: str, scratch: Path) -> DataSet:
    """The clips of a split of a finished data set, their sound laid out as files in ``scratch``, an empty folder.

    Raises InputError if the folder is no data set, the split is empty, or a member is damaged; UnknownName if there is
    no such split.
    """
    opened = Dataset.open(folder)
    items = tuple(_item(opened, record, scratch) for record in opened.split(split))
    if not items:
        raise InputError(f"{folder}: the split {split!r} is empty. Choose another with --split.")
    source = Source(
        title=f"the data set {opened.name!r}", where=str(folder), licence="that of its records", splits=SPLITS,
        layout=f"dataset.json, {split}/000000.tar ...", read=lambda _, __: list(items),
    )  # fmt: skip
    return DataSet(name=opened.name, split=split, revision=opened.revision, source=source, items=items)


def _item(opened: Dataset, record: Record, scratch: Path) -> Item:
    path = scratch / record.audio
    if record.start_s:  # a part of a longer file
        sound, path = opened.audio(record), path.with_suffix(".wav")
        soundfile.write(path, sound.samples, sound.sample_rate_hz, "FLOAT")
    else:
        path.write_bytes(opened.shard_of(record.id).read(record.id, record.audio.rpartition(".")[2]))
    return Item(
        id=record.id,
        audio=path,
        captions=record.captions,
        events=tuple(Event(start, end, p.text) for p in record.phrases for start, end in p.spans_s),
        phrases=tuple((p.text, p.spans_s) for p in record.phrases),
        duration_s=record.duration_s,
        music=opened.annotation(record),
        group=record.track,
    )
