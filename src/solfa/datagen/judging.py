"""A data set of our own as evaluation reads those of others: clips with their truth, and their sound in files."""

from dataclasses import replace
from pathlib import Path

import soundfile

from solfa.core.clip import SPLITS, Clip
from solfa.core.errors import InputError
from solfa.datasets.readers import DataSet, SourceInfo
from solfa.datasets.shards import Dataset


def data_set(folder: Path, split: str, scratch: Path) -> DataSet:
    """The clips of a split of a finished data set, their sound laid out as files in ``scratch``, an empty folder.

    Raises InputError if the folder is no data set, the split is empty, or a member is damaged; UnknownName if there is
    no such split.
    """
    opened = Dataset.open(folder)
    clips = tuple(
        replace(clip, audio=_laid_out(opened, clip, scratch), annotation=opened.annotation(clip))
        for clip in opened.split(split)
    )
    if not clips:
        raise InputError(f"{folder}: the split {split!r} is empty. Choose another with --split.")
    source = SourceInfo(
        title=f"the data set {opened.name!r}", where=str(folder), licence="that of its records", splits=SPLITS,
        layout=f"dataset.json, {split}/000000.tar ...",
    )  # fmt: skip
    return DataSet(name=opened.name, split=split, revision=opened.revision, source=source, clips=clips)


def _laid_out(opened: Dataset, clip: Clip, scratch: Path) -> Path:
    path = scratch / str(clip.audio)
    if clip.start_s:  # a part of a longer file
        sound, path = opened.audio(clip), path.with_suffix(".wav")
        soundfile.write(path, sound.samples, sound.sample_rate_hz, "FLOAT")
    else:
        path.write_bytes(opened.shard_of(clip.id).sound(clip))
    return path
