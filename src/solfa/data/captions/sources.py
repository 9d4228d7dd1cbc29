"""The tracks to caption: a folder of music, a published data set, or a collection that solfa has indexed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from solfa.audio import read_tags
from solfa.collection import Collection
from solfa.collection.database import Database
from solfa.collection.scan import scan
from solfa.core.errors import InputError
from solfa.core.text import printable
from solfa.core.types import FileTags
from solfa.data.captions.attributes import concepts_in
from solfa.evaluation.readers import load


@dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """A recording and what its source says about it.

    ``name`` is unique in its source; ``metadata`` has ids of ``genre``, ``mood`` and ``instruments``. ``collection``
    and ``number`` say where an analysis of it lies already, if one does.
    """

    path: str
    name: str
    source: str
    artist: str = ""
    piece: str = ""
    licence: str = ""
    metadata: Mapping[str, list[str]] = field(default_factory=dict)
    collection: str = ""
    number: int = 0


def tracks_in(src: Path, dataset: str = "") -> list[Track]:
    """The tracks of a published data set (``NAME`` or ``NAME:SPLIT``), else of a collection or a folder of music.

    Raises
    ------
    InputError
        As the functions below.
    """
    if dataset:
        name, _, split = dataset.partition(":")
        return published_tracks(name, src, split or None)
    return collection_tracks(src) if Database(src).path.is_file() else folder_tracks(src)


def folder_tracks(root: Path) -> list[Track]:
    """Every audio file below a folder, with what its tags say of artist, genre and mood.

    Raises
    ------
    InputError
        If there is none.
    """
    found = scan([str(root.absolute())], ()).found
    if not found:
        raise InputError(f"no audio found in {root}.")
    base = root.absolute() if root.is_dir() else root.absolute().parent
    return [_tagged(f.path, str(Path(f.path).relative_to(base)), read_tags(f.path), base.name) for f in found]


def _tagged(path: str, name: str, tags: FileTags, source: str) -> Track:
    return Track(path=path, name=printable(name), source=printable(source), artist=tags.artist,
                 metadata=_concepts({"genre": [tags.genre]}))  # fmt: skip


def _concepts(labels: Mapping[str, list[str]]) -> dict[str, list[str]]:
    kinds = {"genre": ("genre",), "mood": ("mood",), "instruments": ("instrument", "voice")}
    found = {name: concepts_in(texts, kinds[name]) for name, texts in labels.items()}
    return {name: ids for name, ids in found.items() if ids}


def published_tracks(name: str, root: Path, split: str | None = None) -> list[Track]:
    """The clips of a published data set whose sound is there; their labels are metadata, their group the artist.

    Raises
    ------
    UnknownName, InputError
        As in ``evaluation.readers.load``, and if no sound is there.
    """
    data = load(name, root, split).with_audio()
    return [
        Track(
            path=str(item.audio), name=item.id, source=name, artist=item.group or item.id, licence=data.source.licence,
            metadata=_concepts({kind: list(item.labels) for kind in ("genre", "mood", "instruments")}),
        )
        for item in data.items
    ]  # fmt: skip


def collection_tracks(directory: Path) -> list[Track]:
    """The tracks of a collection; what was measured when it was indexed is not measured again.

    Raises
    ------
    CollectionError
        If there is no collection.
    InputError
        If it is empty.
    """
    with Collection.open(directory) as collection:
        rows = list(collection.tracks())
    if not rows:
        raise InputError(f"the collection in {directory} holds no tracks.")
    source = directory.absolute().name
    found = [_tagged(str(row.paths[0]), row.paths[0].name, row.tags, source) for row in rows]
    return [
        replace(track, name=row.hash, collection=str(directory), number=row.id)
        for track, row in zip(found, rows, strict=True)
    ]
