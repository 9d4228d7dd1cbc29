"""A collection as music players see it: artists, albums and songs out of tags; what people mark, kept in a file."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from solfa.collection import TrackRow
from solfa.core.errors import CollectionError
from solfa.core.files import write_whole
from solfa.core.text import printable
from solfa.retrieval import Searcher

_UNKNOWN = "[unknown]"
_FIELDS = ("starred", "ratings", "plays", "playlists", "queue")


@dataclass(slots=True)
class Album:
    """An album of one artist, a file of it, and the numbers of its songs in the order of their files."""

    id: str
    name: str
    artist: str
    artist_id: str
    file: Path
    songs: list[int] = field(default_factory=list)
    year: int | None = None
    genre: str = ""
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Library:
    """All albums by id, the albums of each artist by id, and the songs of each genre."""

    albums: dict[str, Album]
    artists: dict[str, list[Album]]
    genres: dict[str, list[int]]


def library_of(searcher: Searcher) -> Library:
    """The library of a collection; a track without an album is in one that is called as unknown."""
    found = Library({}, {}, {})
    for row in searcher.collection.tracks():
        if not row.paths:
            continue
        artist, name = _name(row.tags.artist), _name(row.tags.album)
        album = Album(key("al", artist, name), name, artist, key("ar", artist), row.paths[0])
        if album.id not in found.albums:
            found.albums[album.id] = album
            found.artists.setdefault(album.artist_id, []).append(album)
        album = found.albums[album.id]
        album.songs.append(row.id)
        album.duration_s += row.duration_s
        album.year, album.genre = album.year or year_of(row), album.genre or printable(row.tags.genre)
        if row.tags.genre:
            found.genres.setdefault(printable(row.tags.genre), []).append(row.id)
    order = {one: at for at, one in enumerate(searcher.collection.ordered("path")[0].tolist())}
    for album in found.albums.values():
        album.songs.sort(key=order.__getitem__)
    for albums in found.artists.values():
        albums.sort(key=lambda album: (album.year or 0, album.name.casefold()))
    return found


def key(kind: str, *names: str) -> str:
    """The id of an artist ("ar") or album ("al"): of its names, so that it stays whatever is indexed."""
    return (
        f"{kind}-{hashlib.blake2b(chr(0).join(names).casefold().encode('utf-8', 'replace'), digest_size=8).hexdigest()}"
    )


def _name(text: str) -> str:
    return printable(text).strip() or _UNKNOWN


def year_of(row: TrackRow) -> int | None:
    """The year of a track's tags."""
    year = row.tags.date[:4]
    return int(year) if year.isascii() and year.isdecimal() and int(year) else None


def song_names(row: TrackRow) -> tuple[str, str, str]:
    """Title (else the name of the file), artist and album of a track."""
    return printable(row.tags.title or row.paths[0].stem), _name(row.tags.artist), _name(row.tags.album)


class Marks:
    """Stars, ratings, plays, playlists and play queues, kept in ``players.json`` of a collection's folder.

    Songs are named by their content, artists and albums by their names, so that marks outlive indexing.
    """

    def __init__(self, directory: Path) -> None:
        self.path, self._lock = directory / "players.json", threading.Lock()

    def read(self) -> dict[str, Any]:
        """All marks: ``starred`` {key: time}, ``ratings`` {key: 1..5}, ``plays`` {content: [count, last]},
        ``playlists`` {id: {name, comment, songs, created, changed}}, ``queue``.

        Raises CollectionError if the file is damaged.
        """
        try:
            value = json.loads(self.path.read_bytes())
            if not isinstance(value, dict) or not all(isinstance(value[name], dict) for name in _FIELDS):
                raise ValueError
        except FileNotFoundError:
            return {name: {} for name in _FIELDS}
        except (OSError, ValueError, KeyError):
            raise CollectionError(f"{self.path} cannot be read. Restore it, or move it away to begin again.") from None
        return value

    def change(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the marks; all or nothing. Raises CollectionError if the file is damaged or cannot be written."""
        with self._lock:
            value = self.read()
            change(value)
            try:
                write_whole(self.path, json.dumps(value, ensure_ascii=False).encode())
            except OSError as error:
                raise CollectionError(f"cannot write {self.path}: {error.strerror}.") from error


def moment(time_s: float | None = None) -> str:
    """A time since 1970, or this moment, as players have it (ISO 8601, UTC).

    >>> moment(0.5), len(moment())
    ('1970-01-01T00:00:00.500Z', 24)
    """
    at = datetime.now(UTC) if time_s is None else datetime.fromtimestamp(time_s, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def matching(names: Iterable[tuple[str, Any]], text: str) -> list[Any]:
    """What has all words of a text in its name; everything for an empty text or two quotation marks.

    >>> matching([("Blue Train", 1), ("Kind of Blue", 2)], "blue kind"), matching([("Blue", 1)], '""')
    ([2], [1])
    """
    words = text.replace('"', " ").casefold().split()
    return [value for name, value in names if all(word in name.casefold() for word in words)]
