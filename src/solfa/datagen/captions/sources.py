"""The tracks to caption: a folder of music, a published data set, or a collection that solfa has indexed.

What the names of their files and folders say: the artist, and the recording that a file is a version of.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from os.path import commonpath
from pathlib import Path, PurePosixPath

from solfa.audio import read_tags
from solfa.audio.tags import clean
from solfa.collection import Collection
from solfa.collection.database import Database
from solfa.collection.scan import scan
from solfa.constraints import Presence
from solfa.core.clip import Clip
from solfa.core.errors import InputError
from solfa.core.files import table_of
from solfa.core.filters import folded
from solfa.core.text import printable
from solfa.core.types import FileTags
from solfa.core.vocabulary import concepts
from solfa.datasets.pairs import COLUMNS
from solfa.datasets.readers import load
from solfa.datasets.tables import table_rows
from solfa.query import parse

# Attributes of a track that its source states, ids of the vocabulary; and the kinds of concepts that each holds.
METADATA = {"genre": ("genre",), "mood": ("mood",), "instruments": ("instrument", "voice")}
_TABLES = ("index.csv", "metadata.csv")
_ARTIST_COLUMNS = (*COLUMNS["artist"], "composer")


def tracks_in(src: Path, dataset: str = "") -> list[Clip]:
    """The tracks of a published data set (``NAME`` or ``NAME:SPLIT``), else of a collection or a folder of music.

    Raises InputError as the functions below.
    """
    if dataset:
        name, _, split = dataset.partition(":")
        return published_tracks(name, src, split or None)
    return collection_tracks(src) if Database(src).path.is_file() else folder_tracks(src)


def metadata_of(track: Clip) -> dict[str, list[str]]:
    """What the source of a track states of it: ids of the vocabulary by attribute."""
    return {name: list(track.attributes[name]) for name in METADATA if name in track.attributes}


def folder_tracks(root: Path) -> list[Clip]:
    """Every audio file below a folder, with what its tags say of artist, genre and mood.

    The artist is the one of a table in the folder (``index.csv`` or ``metadata.csv``: a column ``file``, ``path`` or
    ``filename``, and one ``artist``), else of the tags, else of the path (Artist/Album/Track, Artist - Title). Raises
    InputError if there is none, or the table cannot be read.
    """
    found = scan([str(root.absolute())], ()).found
    if not found:
        raise InputError(f"no audio found in {root}.")
    base = root.absolute() if root.is_dir() else root.absolute().parent
    listed = _listed_artists(base)
    names = [Path(path).relative_to(base) for path in found]
    return [
        _tagged(path, str(name), read_tags(path), base.name, listed.get(name.as_posix()) or listed.get(name.name))
        for path, name in zip(found, names, strict=True)
    ]


def collection_tracks(directory: Path) -> list[Clip]:
    """The tracks of a collection; what was measured when it was indexed is not measured again.

    Raises CollectionError if there is no collection; InputError if it is empty.
    """
    with Collection.open(directory) as collection:
        rows = list(collection.tracks())
    if not rows:
        raise InputError(f"the collection in {directory} holds no tracks.")
    source = directory.absolute().name
    base = commonpath([row.paths[0].parent for row in rows])
    found = [_tagged(str(row.paths[0]), str(row.paths[0].relative_to(base)), row.tags, source) for row in rows]
    return [replace(track, id=row.hash) for track, row in zip(found, rows, strict=True)]


def published_tracks(name: str, root: Path, split: str | None = None) -> list[Clip]:
    """The clips of a published data set whose sound is there; their labels are metadata, their group the artist.

    Raises UnknownName or InputError as in ``datasets.readers.load``, and if no sound is there.
    """
    data = load(name, root, split).with_audio()
    if not all(isinstance(clip.audio, Path) for clip in data.clips):
        raise InputError(f"{data.source.title}: its audio is packed in other files; only audio files can be captioned.")
    return [
        Clip(
            id=clip.id, audio=clip.audio, source=name, artist=clip.group or clip.id, licence=data.source.licence,
            attributes={n: ids for n, kinds in METADATA.items() if (ids := concepts_in(clip.labels, kinds))},
        )
        for clip in data.clips
    ]  # fmt: skip


def _tagged(path: str, name: str, tags: FileTags, source: str, artist: str | None = None) -> Clip:
    genres = concepts_in([tags.genre], METADATA["genre"])
    return Clip(id=printable(name), audio=Path(path), source=printable(source),
                artist=artist or tags.artist or artist_in(Path(name)),
                attributes={"genre": genres} if genres else {})  # fmt: skip


def concepts_in(texts: Iterable[str], kinds: Sequence[str]) -> list[str]:
    """Ids of the concepts of some kinds that labels or tags name, in order, each once.

    >>> concepts_in(["genre---hiphop", "Electronic; Ambient", "misc"], ["genre"])
    ['hip_hop', 'electronic', 'ambient']
    """
    parts = [part.strip() for text in texts for part in re.split(r"[;,/|]|---", clean(text)[:400])]
    said = [constraint for part in parts if part for constraint in parse(part.replace("_", " ")).constraints]
    named = [c.concept for c in said if isinstance(c, Presence) and c.kind in kinds and not c.negated]
    return list(dict.fromkeys(named))


def _listed_artists(base: Path) -> dict[str, str]:
    """Artist by relative path or file name, of the table of a folder; none where there is no table."""
    found: dict[str, str] = {}
    for path in (base / name for name in _TABLES):
        for where, row in table_rows(path) if path.is_file() else ():
            if isinstance(row, str):
                raise InputError(f"{path}, {where}: {row}. Expected a table of tracks; repair or rename it.")
            cells = {name.strip().lower(): cell.strip() for name, cell in row.items()}
            name, artist = (
                next((cells[c] for c in columns if cells.get(c)), "") for columns in (COLUMNS["path"], _ARTIST_COLUMNS)
            )
            if name and artist:
                found[name.removeprefix("./")] = clean(artist)
    return found


_DISC = re.compile(r"(?i)(?:cd|disc|disk|vol(?:ume)?|side)[ _.-]*\w{1,2}")
_TRACK_NUMBER = re.compile(r"^(?:\d{1,3}|[A-Z]\d)(?:[-.]\d{1,2})?[ ._-]+")


def artist_in(name: Path) -> str:
    """The artist that a path below the music folder names; empty where it names none.

    >>> [artist_in(Path(p)) for p in ("Nina/Live/CD 1/01 Sky.mp3", "Nina - Live/01.mp3", "02 - Nina - Sky.mp3")]
    ['Nina', 'Nina', 'Nina']
    >>> [artist_in(Path(p)) for p in ("Nina/Sky.mp3", "jazz/a.wav", "train/a.wav", "01 - Sky.mp3")]
    ['Nina', '', '', '']
    """
    folders = [part for part in name.parent.parts if not _DISC.fullmatch(part)]
    if len(folders) >= 2 and _is_artist(folders[-2]):
        return folders[-2]
    for said in (*folders[-1:], _TRACK_NUMBER.sub("", name.stem)):
        before, dash, _ = said.partition(" - ")
        if dash and not before.strip().isdigit() and _is_artist(before.strip()):
            return before.strip()
    return folders[-1] if folders and _is_artist(folders[-1]) else ""


def _is_artist(folder: str) -> bool:
    # A folder of a genre or an instrument holds many artists.
    name = folded(folder)
    return len(name) > 1 and not is_shelf(folder) and name.replace("_", " ") not in _titles()


@cache
def _titles() -> frozenset[str]:
    return frozenset(folded(n) for c in concepts().values() for n in c.names)


@cache
def _words() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """The words of a folder that only keeps files, and the end of a name that says that something was changed."""
    table = table_of("solfa.datagen.captions", "sources.toml")
    change, amount = "|".join(table["changes"]), r"[+-]?\d*(?:[.p]\d+)?"
    changed = rf"[ _.-]+\(?(?:(?:{change})+[ _=-]*{amount}|[+-]\d+(?:[.p]\d+)?)(?:{change}|%)?\)?$"
    return re.compile("|".join([*table["shelves"], change])), re.compile(changed, re.IGNORECASE)


def is_shelf(folder: str) -> bool:
    """Whether a folder's name only says how files are kept.

    >>> [is_shelf(f) for f in ("data_aug2", "Various Artists", "pitch+2", "Nina", "Train of Thought")]
    [True, True, True, False, False]
    """
    return all(_words()[0].fullmatch(word) for word in re.findall(r"[^\W\d_]+", folded(folder)))


_NUMBERED = re.compile(r"(?:[ _-]+\d{1,3}| ?\(\d{1,3}\))$")


def originals(paths: Sequence[str]) -> list[str]:
    """The recording that each file is a version of, as far as the paths of a source say.

    The ending of a file does not count, nor do folders that only say how files are kept, nor words of what was changed.
    A bare number ("song_1.wav") is taken off only where there is a file without it, for numbers also count tracks.

    >>> originals(["data/a_b.wav", "data_aug2/a_b_1.wav", "x_1.wav", "x_2.wav", "a_b_pitch-2.mp3", "Live/a_b.wav"])
    ['a_b', 'a_b', 'x_1', 'x_2', 'a_b', 'Live/a_b']
    """
    plain = []
    for path in map(PurePosixPath, paths):
        stem = re.sub(r"\.[A-Za-z][A-Za-z0-9]{1,4}$", "", path.name)
        while (shorter := _words()[1].sub("", stem)) not in ("", stem):
            stem = shorter
        plain.append("/".join([*(f for f in path.parts[:-1] if not is_shelf(f)), stem]))
    known = set(plain)
    return [cut if (cut := _NUMBERED.sub("", stem)) in known else stem for stem in plain]
