"""Readers of the field's data sets, in their authors' own file layouts.

>>> sorted(SOURCES)[:3]
['audiocaps', 'audiogrounding', 'audioset_strong']
"""

from __future__ import annotations

from pathlib import Path

from solfa.core.errors import InputError, UnknownName
from solfa.evaluation.readers import annotated, captions, labels, sounds
from solfa.evaluation.readers.captions import unpack_fgm_caps
from solfa.evaluation.readers.records import DataSet, Folder, Item, Source

__all__ = ["SOURCES", "DataSet", "Item", "Source", "load", "unpack_fgm_caps"]

SOURCES: dict[str, Source] = {**captions.SOURCES, **labels.SOURCES, **sounds.SOURCES, **annotated.SOURCES}


def load(name: str, root: Path, split: str | None = None) -> DataSet:
    """The clips of one split of a data set.

    Parameters
    ----------
    name
        a key of ``SOURCES``
    root
        the folder that holds the data set as its authors lay it out
    split
        one of the source's splits, the first if None

    Raises
    ------
    UnknownName
        If there is no such data set or split.
    InputError
        If a file is missing or not of the published shape, or the split is empty.
    """
    if name not in SOURCES:
        raise UnknownName("data set", name, SOURCES)
    source = SOURCES[name]
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
