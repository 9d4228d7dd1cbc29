"""Readers of the field's data sets, in their authors' own file layouts.

>>> sorted(sources())[:3]
['audiocaps', 'audiogrounding', 'audioset_strong']
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

from solfa.core.errors import InputError, UnknownName
from solfa.core.files import table_of
from solfa.datasets.readers.folder import AUDIO_SUFFIXES, DataSet, Folder, SourceInfo
from solfa.datasets.readers.rows import clips_of
from solfa.datasets.tables import Inside

__all__ = ["DataSet", "Inside", "SourceInfo", "laid_out", "load", "sources"]


@cache
def sources() -> dict[str, SourceInfo]:
    """Every data set that can be read, by name (``sources.toml``)."""
    table = table_of("solfa.datasets.readers", "sources.toml")
    return {name: SourceInfo(**{**row, "splits": tuple(row["splits"])}) for name, row in table.items()}


def load(name: str, root: Path, split: str | None = None) -> DataSet:
    """The clips of one split of a data set, the source's first if None, from a folder laid out as its authors do.

    Raises UnknownName if there is no such data set or split; InputError if a file is missing or not of the published
    shape, or the split is empty.
    """
    if name not in sources():
        raise UnknownName("data set", name, sources())
    source = sources()[name]
    chosen = source.splits[0] if split is None else split
    if chosen not in source.splits:
        raise UnknownName(f"split of {source.title}", chosen, source.splits)
    folder = Folder(Path(root), source)
    try:
        clips = tuple(clips_of(folder, chosen))
    except InputError:
        raise
    except (KeyError, ValueError, TypeError, AttributeError, SyntaxError, RecursionError, OSError) as bad:
        raise InputError(
            f"{source.title}: its metadata is not of the published shape ({type(bad).__name__}: {bad}). Expected: "
            f"{source.layout}, from {source.where}."
        ) from bad
    if not clips:
        raise InputError(f"{source.title}: the split {chosen!r} in {root} is empty.")
    if len({c.id for c in clips}) < len(clips):
        raise InputError(f"{source.title}: the split {chosen!r} names a clip twice.")
    return DataSet(name=name, split=chosen, revision=folder.revision, source=source, clips=clips)


def laid_out(data: DataSet, folder: Path) -> DataSet:
    """The data set with sound that is inside other files written to files of an empty ``folder``.

    Raises InputError if such a file is damaged, or holds no sound.
    """
    clips = []
    for number, clip in enumerate(data.clips):
        if isinstance(clip.audio, Inside):
            suffix = Path(clip.audio.name).suffix.lower()
            path = folder / f"{number}{suffix if suffix in AUDIO_SUFFIXES else '.wav'}"
            if not (sound := clip.audio.read()):
                raise InputError(f"{clip.audio.file}: row {clip.audio.row + 1} holds no sound.")
            path.write_bytes(sound)
            clip = replace(clip, audio=path)
        clips.append(clip)
    return replace(data, clips=tuple(clips))
