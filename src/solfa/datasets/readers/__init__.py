"""Readers of the field's data sets, in their authors' own file layouts.

>>> sorted(sources())[:3]
['audiocaps', 'audiogrounding', 'audioset_strong']
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from solfa.core.errors import InputError, UnknownName
from solfa.core.files import table_of
from solfa.datasets.readers import annotated, captions, labels, sounds
from solfa.datasets.readers.records import AUDIO_SUFFIXES, DataSet, Folder, Inside, Item, Source

__all__ = ["DataSet", "Inside", "Item", "Source", "load", "sources", "unpack_fgm_caps"]


@cache
def sources() -> dict[str, Source]:
    """Every data set that can be read, by name (``sources.toml``)."""
    readers = {**captions.READERS, **labels.READERS, **sounds.READERS, **annotated.READERS}
    table = table_of("solfa.datasets.readers", "sources.toml")
    return {name: Source(**{**row, "splits": tuple(row["splits"])}, read=readers[name]) for name, row in table.items()}


def load(name: str, root: Path, split: str | None = None) -> DataSet:
    """The clips of one split of a data set, the source's first if None, from a folder laid out as its authors do.

    Raises
    ------
    UnknownName
        If there is no such data set or split.
    InputError
        If a file is missing or not of the published shape, or the split is empty.
    """
    if name not in sources():
        raise UnknownName("data set", name, sources())
    source = sources()[name]
    chosen = source.splits[0] if split is None else split
    if chosen not in source.splits:
        raise UnknownName(f"split of {source.title}", chosen, source.splits)
    folder = Folder(Path(root), source)
    try:
        items = source.read(folder, chosen)
    except InputError:
        raise
    except (KeyError, ValueError, TypeError, IndexError, SyntaxError) as bad:
        raise InputError(
            f"{source.title}: its metadata is not of the published shape ({type(bad).__name__}: {bad}). Expected: "
            f"{source.layout}, from {source.where}."
        ) from bad
    if not items:
        raise InputError(f"{source.title}: the split {chosen!r} in {root} is empty.")
    if len({i.id for i in items}) < len(items):
        raise InputError(f"{source.title}: the split {chosen!r} names a clip twice.")
    return DataSet(name=name, split=chosen, revision=folder.revision, source=source, items=tuple(items))


def unpack_fgm_caps(root: Path, split: str = "test", into: Path | None = None) -> int:
    """Writes the sound inside FGMCaps' Parquet files to ``audio/ID.*``, where the reader looks; the number of files.

    ``into`` is another folder for ``audio/``, instead of ``root`` itself.

    Raises
    ------
    InputError
        If there is no Parquet file, a row holds no sound, or an id is no plain file name.
    MissingExtra
        If pyarrow is not installed.
    """
    folder, num = Folder(root, sources()["fgmcaps"]), 0
    target = (into or root) / "audio"
    target.mkdir(exist_ok=True)
    for row in folder.parquet(f"data/{split}-*.parquet", ("id", "audio")):
        name, sound = str(row["id"]), row.get("audio")
        if not isinstance(sound, Inside) or not re.fullmatch(r"[\w-][\w.-]{0,199}", name) or not (data := sound.read()):
            raise InputError(f"FGMCaps: row {name[:80]!r} holds no sound, or its id is no plain file name.")
        suffix = Path(sound.name).suffix.lower()
        (target / (name + (suffix if suffix in AUDIO_SUFFIXES else ".wav"))).write_bytes(data)
        num += 1
    return num
