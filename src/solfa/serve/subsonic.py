"""OpenSubsonic for the players that people have: browse, play, mark, and search in solfa's words.

The interface is that of https://opensubsonic.netlify.app (API 1.16.1), in XML or JSON, by GET or POST form. ``search2``
and ``search3`` read the text as ``solfa search`` does; empty text, or two quotation marks, gives everything, which is
how some players read the whole library.
"""

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree

from fastapi import APIRouter, Request, Response

from solfa.collection import Collection, TrackRow
from solfa.core.errors import SolfaError, UnknownTrack
from solfa.core.text import printable
from solfa.relevance.playlists import path
from solfa.retrieval import Display, Searcher
from solfa.serve.engine import Engine
from solfa.serve.library import Album, Library, Marks, key, library_of, matching, moment, song_names, year_of
from solfa.serve.media import TYPES
from solfa.serve.rest import OpenFile
from solfa.serve.security import Access, Role

players = APIRouter(prefix="/rest", include_in_schema=False)
_ROOT = {"version": "1.16.1", "type": "solfa", "serverVersion": "1", "openSubsonic": True}
_SPACE = "http://subsonic.org/restapi"
_MOST, _MOST_FORM = 500, 1 << 20
_MISSING, _WRONG, _NO_TOKENS, _TWO_WAYS, _BAD_KEY, _FORBIDDEN, _NOT_FOUND = 10, 40, 41, 43, 44, 50, 70


class SubsonicError(SolfaError):
    """What a player is told, with the number that the interface has for it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class PlayerRequest:
    """A request: its parameters, the engine, the marks, who asks (None: nobody known) and as what."""

    given: Mapping[str, Sequence[str]]
    engine: Engine
    marks: Marks
    user: str
    role: Role | None

    def all(self, name: str) -> list[str]:
        """All values of a parameter."""
        return [*self.given.get(name, ())][:_MOST]

    def get(self, name: str, default: str = "") -> str:
        """The first value of a parameter."""
        return next(iter(self.given.get(name, ())), default)[:1000]

    def need(self, name: str) -> str:
        """The first value of a parameter that must be there. Raises SubsonicError."""
        if not self.get(name):
            raise SubsonicError(_MISSING, f"the parameter {name!r} is missing.")
        return self.get(name)

    def number(self, name: str, default: int, most: int = _MOST) -> int:
        """A parameter that counts, 0 to ``most``. Raises SubsonicError if it is no number."""
        text = self.get(name, str(default))
        if not (text.isascii() and text.isdecimal() and len(text) < 10):
            raise SubsonicError(_MISSING, f"{name}: expected a number from 0, got {text[:40]!r}.")
        return min(int(text), most)

    # --- what is known ------------------------------------------------------------------------------------------------

    def library(self) -> Library:
        """Artists and albums, read once until the collection changes."""
        return self.engine.once("library", library_of)

    def collection(self) -> Collection:
        """The collection that is searched."""
        return self.engine.searcher().collection

    def track(self, name: str) -> TrackRow:
        """The song of an id. Raises SubsonicError if there is none."""
        with suppress(UnknownTrack):
            if name.isascii() and name.isdecimal() and len(name) < 19:
                row = self.collection().track(int(name))
                if row.paths:
                    return row
        raise SubsonicError(_NOT_FOUND, f"no song {name[:80]!r}.")

    def album(self, name: str) -> Album:
        """The album of an id. Raises SubsonicError if there is none."""
        if (album := self.library().albums.get(name)) is None:
            raise SubsonicError(_NOT_FOUND, f"no album {name[:80]!r}.")
        return album

    def songs(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Songs as players have them, without those whose file is gone."""
        marks = self.marks.read()
        return [_song(row, marks) for row in self.collection().rows(ids) if row.paths]

    def content(self, names: Iterable[str]) -> list[str]:
        """What marks call songs, albums and artists of these ids. Raises SubsonicError if one is of nothing."""
        known = self.library()
        return [name if name in known.albums or name in known.artists else self.track(name).hash for name in names]

    def by_content(self, contents: Iterable[str]) -> list[int]:
        """The numbers of songs that marks name, without those that are gone."""
        found = (self.collection().find(content) for content in contents)
        return [one for one in found if one is not None]


def _marked(value: dict[str, Any], name: str, marks: Mapping[str, Any]) -> dict[str, Any]:
    more = {"starred": marks["starred"].get(name), "userRating": marks["ratings"].get(name)}
    return {**value, **{k: v for k, v in more.items() if v}}


def _song(row: TrackRow, marks: Mapping[str, Any]) -> dict[str, Any]:
    title, artist, album = song_names(row)
    suffix = row.paths[0].suffix.lower()
    value = {
        "id": str(row.id), "parent": key("al", artist, album), "isDir": False, "title": title, "artist": artist,
        "album": album, "albumId": key("al", artist, album), "artistId": key("ar", artist), "type": "music",
        "mediaType": "song", "isVideo": False, "duration": round(row.duration_s), "suffix": suffix[1:],
        "contentType": TYPES.get(suffix, "application/octet-stream"), "path": f"{artist}/{album}/{title}{suffix}",
        "genre": printable(row.tags.genre) or None, "year": year_of(row),
        "bpm": round(row.tempo_bpm) if row.tempo_bpm else None,
        "playCount": (marks["plays"].get(row.hash) or [None])[0],
    }  # fmt: skip
    return _marked({k: v for k, v in value.items() if v is not None}, row.hash, marks)


def _album(album: Album, marks: Mapping[str, Any]) -> dict[str, Any]:
    value = {"id": album.id, "name": album.name, "title": album.name, "album": album.name, "artist": album.artist,
             "artistId": album.artist_id, "parent": album.artist_id, "isDir": True, "songCount": len(album.songs),
             "duration": round(album.duration_s), "created": moment(0.0)}  # fmt: skip
    with suppress(OSError):
        value["created"] = moment(album.file.stat().st_mtime)
    value |= {"year": album.year} if album.year else {}
    return _marked(value | ({"genre": album.genre} if album.genre else {}), album.id, marks)


def _artist(albums: Sequence[Album], marks: Mapping[str, Any]) -> dict[str, Any]:
    first = albums[0]
    return _marked({"id": first.artist_id, "name": first.artist, "albumCount": len(albums)}, first.artist_id, marks)


# --- answers by name: functions of a request that give the body -------------------------------------------------------


def _artists(asked: PlayerRequest) -> dict[str, Any]:
    marks, index = asked.marks.read(), dict[str, list[dict[str, Any]]]()
    for albums in sorted(asked.library().artists.values(), key=lambda albums: albums[0].artist.casefold()):
        letter = albums[0].artist[:1].upper()
        index.setdefault(letter if letter.isalpha() else "#", []).append(_artist(albums, marks))
    return {"ignoredArticles": "", "index": [{"name": name, "artist": found} for name, found in index.items()]}


def _indexes(asked: PlayerRequest) -> dict[str, Any]:
    return {"indexes": {**_artists(asked), "lastModified": 0}}


def _directory(asked: PlayerRequest) -> dict[str, Any]:
    name, marks = asked.need("id"), asked.marks.read()
    if (albums := asked.library().artists.get(name)) is not None:
        return {"directory": {"id": name, "name": albums[0].artist, "child": [_album(a, marks) for a in albums]}}
    album = asked.album(name)
    return {"directory": {"id": name, "name": album.name, "parent": album.artist_id,
                          "child": asked.songs(album.songs)}}  # fmt: skip


def _one_artist(asked: PlayerRequest) -> dict[str, Any]:
    albums, marks = asked.library().artists.get(asked.need("id")), asked.marks.read()
    if albums is None:
        raise SubsonicError(_NOT_FOUND, "no such artist.")
    return {"artist": {**_artist(albums, marks), "album": [_album(album, marks) for album in albums]}}


def _one_album(asked: PlayerRequest) -> dict[str, Any]:
    album = asked.album(asked.need("id"))
    return {"album": {**_album(album, asked.marks.read()), "song": asked.songs(album.songs)}}


def _albums(asked: PlayerRequest) -> list[dict[str, Any]]:
    """The page of albums that getAlbumList asks for."""
    marks, kind, albums = asked.marks.read(), asked.need("type"), [*asked.library().albums.values()]
    plays: dict[int, tuple[int, str]] = {}
    if kind in ("frequent", "recent"):
        plays = {one: tuple(marks["plays"][name]) for name in marks["plays"] for one in asked.by_content([name])}
    low, high = (asked.number(name, 0, 9999) for name in ("fromYear", "toYear"))
    orders: dict[str, tuple[Callable[[Album], Any], Callable[[Album], Any], bool]] = {  # order, what is in it, down
        "random": (lambda a: random.random(), lambda a: True, False),
        "newest": (lambda a: max(a.songs), lambda a: True, True),
        "alphabeticalByName": (lambda a: (a.name.casefold(), a.id), lambda a: True, False),
        "alphabeticalByArtist": (lambda a: (a.artist.casefold(), a.name.casefold(), a.id), lambda a: True, False),
        "starred": (lambda a: marks["starred"].get(a.id, ""), lambda a: a.id in marks["starred"], True),
        "highest": (lambda a: marks["ratings"].get(a.id, 0), lambda a: a.id in marks["ratings"], True),
        "frequent": (lambda a: sum(plays.get(s, (0, ""))[0] for s in a.songs), lambda a: {*a.songs} & {*plays}, True),
        "recent": (lambda a: max(plays.get(s, (0, ""))[1] for s in a.songs), lambda a: {*a.songs} & {*plays}, True),
        "byYear": (lambda a: (a.year, a.id), lambda a: a.year and min(low, high) <= a.year <= max(low, high),
                   low > high),
        "byGenre": (lambda a: (a.name.casefold(), a.id), lambda a: a.genre == asked.get("genre"), False),
    }  # fmt: skip
    if kind not in orders:
        raise SubsonicError(0, f"no such list: {kind[:40]!r}. Expected one of: {', '.join(orders)}.")
    order, is_in, down = orders[kind]
    found = sorted(filter(is_in, albums), key=order, reverse=down)
    offset = asked.number("offset", 0, 10**9)
    return [_album(album, marks) for album in found[offset : offset + asked.number("size", 10)]]


def _found(asked: PlayerRequest) -> dict[str, Any]:
    """Artists and albums by name; songs as solfa finds them."""
    text, marks, library = asked.get("query"), asked.marks.read(), asked.library()
    pages = {name: (asked.number(f"{name}Offset", 0, 10**9), asked.number(f"{name}Count", 20))
             for name in ("artist", "album", "song")}  # fmt: skip

    def page(name: str, found: Sequence[Any]) -> Sequence[Any]:
        offset, count = pages[name]
        return found[offset : offset + count]

    artists = matching(((albums[0].artist, albums) for albums in library.artists.values()), text)
    albums = matching(((f"{album.artist} {album.name}", album) for album in library.albums.values()), text)
    offset, count = pages["song"]
    if not text.strip(' "'):
        ids = page("song", asked.collection().attributes().track_ids.tolist())
    elif count and offset + count <= 10_000:
        hits = asked.engine.search(text, display=Display(k=offset + count))["hits"]
        ids = page("song", [hit["track_id"] for hit in hits])
    else:
        ids = []
    return {"artist": [_artist(a, marks) for a in page("artist", artists)],
            "album": [_album(a, marks) for a in page("album", albums)], "song": asked.songs(ids)}  # fmt: skip


def _near(asked: PlayerRequest, count: int) -> list[tuple[int, float]]:
    """Songs that sound like a song, an album or an artist, with their scores."""
    name = asked.need("id")
    library = asked.library()
    if name in library.albums or name in library.artists:
        albums = library.artists.get(name) or [library.albums[name]]
        ids = [song for album in albums for song in album.songs][:4]
    else:
        ids = [asked.track(name).id]
    hits = asked.engine.search(like=[str(one) for one in ids], display=Display(k=max(1, count)))["hits"]
    return [(hit["track_id"], hit["score"]) for hit in hits][:count]


def _sonic(asked: PlayerRequest, found: Sequence[tuple[int, float]]) -> dict[str, Any]:
    songs = {song["id"]: song for song in asked.songs([one for one, _ in found])}
    return {"sonicMatch": [{"entry": songs[str(one)], "similarity": round(min(max(score, 0.0), 1.0), 4)}
                           for one, score in found if str(one) in songs]}  # fmt: skip


def _sonic_path(asked: PlayerRequest) -> dict[str, Any]:
    first, last = (asked.track(asked.need(name)).id for name in ("startSongId", "endSongId"))
    count = max(2, asked.number("count", 25, 100))
    ids = path(asked.collection(), asked.engine.searcher(), first, last, count - 2) if first != last else [first]
    near = dict(_near(PlayerRequest({**asked.given, "id": [str(first)]}, asked.engine, asked.marks, "", None), _MOST))
    return _sonic(asked, [(one, 1.0 if one == first else near.get(one, -1.0)) for one in ids])


def _starred(asked: PlayerRequest) -> dict[str, Any]:
    marks, library = asked.marks.read(), asked.library()
    names = marks["starred"]
    return {"artist": [_artist(albums, marks) for one, albums in library.artists.items() if one in names],
            "album": [_album(album, marks) for one, album in library.albums.items() if one in names],
            "song": asked.songs(asked.by_content(n for n in names if n[:3] not in ("al-", "ar-")))}  # fmt: skip


def _star(asked: PlayerRequest, *, add: bool) -> dict[str, Any]:
    names = asked.content([*asked.all("id"), *asked.all("albumId"), *asked.all("artistId")])

    def change(marks: dict[str, Any]) -> None:
        for name in names:
            marks["starred"].pop(name, None)
            if add:
                marks["starred"][name] = moment()

    asked.marks.change(change)
    return {}


def _rate(asked: PlayerRequest) -> dict[str, Any]:
    [name], rating = asked.content([asked.need("id")]), asked.need("rating") and asked.number("rating", 0, 5)

    def change(marks: dict[str, Any]) -> None:
        marks["ratings"].pop(name, None)
        if rating:
            marks["ratings"][name] = rating

    asked.marks.change(change)
    return {}


def _played(asked: PlayerRequest) -> dict[str, Any]:
    names = asked.content(asked.all("id")) if asked.get("submission", "true") != "false" else []

    def change(marks: dict[str, Any]) -> None:
        for name in names:
            marks["plays"][name] = [(marks["plays"].get(name) or [0])[0] + 1, moment()]

    if names:
        asked.marks.change(change)
    return {}


def _playlist(asked: PlayerRequest, name: str, *, songs: bool) -> dict[str, Any]:
    if (kept := asked.marks.read()["playlists"].get(name)) is None:
        raise SubsonicError(_NOT_FOUND, f"no playlist {name[:80]!r}.")
    entries = asked.songs(asked.by_content(kept["songs"]))
    value = {"id": name, "name": kept["name"], "comment": kept["comment"], "owner": asked.user, "public": False,
             "songCount": len(entries), "duration": sum(song["duration"] for song in entries),
             "created": kept["created"], "changed": kept["changed"]}  # fmt: skip
    return {**value, "entry": entries} if songs else value


def _playlists(asked: PlayerRequest) -> dict[str, Any]:
    names = asked.marks.read()["playlists"]
    return {"playlists": {"playlist": [_playlist(asked, name, songs=False) for name in names]}}


def _create_playlist(asked: PlayerRequest) -> dict[str, Any]:
    songs, name = asked.content(asked.all("songId")), asked.get("playlistId") or f"pl-{random.getrandbits(64):016x}"
    title = printable(asked.get("name"))
    if not title and not asked.get("playlistId"):
        raise SubsonicError(_MISSING, "the parameter 'name' is missing.")

    def change(marks: dict[str, Any]) -> None:
        if asked.get("playlistId") and name not in marks["playlists"]:
            raise SubsonicError(_NOT_FOUND, f"no playlist {name[:80]!r}.")
        old = marks["playlists"].get(name, {"name": title, "comment": "", "created": moment()})
        marks["playlists"][name] = {**old, "name": title or old["name"], "songs": songs, "changed": moment()}

    asked.marks.change(change)
    return {"playlist": _playlist(asked, name, songs=True)}


def _update_playlist(asked: PlayerRequest) -> dict[str, Any]:
    name, added = asked.need("playlistId"), asked.content(asked.all("songIdToAdd"))
    removed = {int(at) for at in asked.all("songIndexToRemove") if at.isascii() and at.isdecimal() and len(at) < 7}

    def change(marks: dict[str, Any]) -> None:
        if (kept := marks["playlists"].get(name)) is None:
            raise SubsonicError(_NOT_FOUND, f"no playlist {name[:80]!r}.")
        # Players count what they were shown, which leaves out songs that are gone.
        there = [song for song in kept["songs"] if asked.by_content([song])]
        kept["songs"] = [song for at, song in enumerate(there) if at not in removed] + added
        kept |= {"name": printable(asked.get("name")) or kept["name"], "changed": moment()}
        kept["comment"] = printable(asked.get("comment")) if "comment" in asked.given else kept["comment"]

    asked.marks.change(change)
    return {}


def _delete_playlist(asked: PlayerRequest) -> dict[str, Any]:
    name = asked.need("id")

    def change(marks: dict[str, Any]) -> None:
        if marks["playlists"].pop(name, None) is None:
            raise SubsonicError(_NOT_FOUND, f"no playlist {name[:80]!r}.")

    asked.marks.change(change)
    return {}


def _queue(asked: PlayerRequest) -> dict[str, Any]:
    kept = asked.marks.read()["queue"]
    if not kept:
        return {}
    current = asked.by_content([kept["current"]])
    value = {"entry": asked.songs(asked.by_content(kept["songs"])), "position": kept["position"],
             "username": asked.user, "changed": kept["changed"], "changedBy": kept["by"]}  # fmt: skip
    return {"playQueue": value | ({"current": str(current[0])} if current else {})}


def _save_queue(asked: PlayerRequest) -> dict[str, Any]:
    songs = asked.content(asked.all("id"))
    current = asked.content([asked.get("current")])[0] if asked.get("current") else ""
    kept = {"songs": songs, "current": current, "position": asked.number("position", 0, 10**9), "changed": moment(),
            "by": printable(asked.get("c"))[:80]}  # fmt: skip
    asked.marks.change(lambda marks: marks.update(queue=kept))
    return {}


def _random_songs(asked: PlayerRequest) -> dict[str, Any]:
    library, genre = asked.library(), asked.get("genre")
    ids = library.genres.get(genre, []) if genre else asked.collection().attributes().track_ids.tolist()
    return {"randomSongs": {"song": asked.songs(random.sample(ids, min(len(ids), asked.number("size", 10))))}}


def _genre_songs(asked: PlayerRequest) -> dict[str, Any]:
    offset = asked.number("offset", 0, 10**9)
    ids = asked.library().genres.get(asked.need("genre"), [])[offset : offset + asked.number("count", 10)]
    return {"songsByGenre": {"song": asked.songs(ids)}}


def _genres(asked: PlayerRequest) -> dict[str, Any]:
    library = asked.library()
    counts = {genre: sum(album.genre == genre for album in library.albums.values()) for genre in library.genres}
    return {"genres": {"genre": [{"value": genre, "songCount": len(ids), "albumCount": counts[genre]}
                                 for genre, ids in library.genres.items()]}}  # fmt: skip


def _top_songs(asked: PlayerRequest) -> dict[str, Any]:
    name = asked.need("artist")
    ids = [song for album in asked.library().artists.get(key("ar", name), []) for song in album.songs]
    songs = sorted(asked.songs(ids), key=lambda song: (-song.get("playCount", 0), -song.get("userRating", 0)))
    return {"topSongs": {"song": songs[: asked.number("count", 50)]}}


def _user(asked: PlayerRequest) -> dict[str, Any]:
    owner = asked.role == "owner"
    roles = dict.fromkeys(("settings", "upload", "coverArt", "comment", "podcast", "jukebox", "share",
                           "videoConversion"), False)  # fmt: skip
    roles |= {"admin": owner, "playlist": owner, "stream": True, "download": True}
    return {"user": {"username": asked.user, "scrobblingEnabled": owner, "folder": [1],
                     **{f"{name}Role": value for name, value in roles.items()}}}  # fmt: skip


def _extensions(asked: PlayerRequest) -> dict[str, Any]:
    searcher: Searcher = asked.engine.searcher()
    has_vectors = len(asked.collection().attributes()) and len(searcher.store.track_ids)
    names = ["formPost", "apiKeyAuthentication", *(["sonicSimilarity"] if has_vectors else [])]
    return {"openSubsonicExtensions": [{"name": name, "versions": [1]} for name in names]}


def _scan(asked: PlayerRequest) -> dict[str, Any]:
    job = next(reversed(asked.engine.jobs.values()), None)
    running = job is not None and job["state"] == "running"
    return {"scanStatus": {"scanning": running, "count": len(asked.collection().attributes())}}


def _start_scan(asked: PlayerRequest) -> dict[str, Any]:
    asked.engine.index()
    return _scan(asked)


def _no_cover(asked: PlayerRequest) -> dict[str, Any]:
    raise SubsonicError(_NOT_FOUND, "there are no pictures here.")


_PUBLIC = ("getOpenSubsonicExtensions",)
_READ: dict[str, Callable[[PlayerRequest], dict[str, Any]]] = {
    "ping": lambda asked: {},
    "getLicense": lambda asked: {"license": {"valid": True}},
    "getOpenSubsonicExtensions": _extensions,
    "getUser": _user,
    "getMusicFolders": lambda asked: {"musicFolders": {"musicFolder": [{"id": 1, "name": "Music"}]}},
    "getIndexes": _indexes,
    "getArtists": lambda asked: {"artists": _artists(asked)},
    "getMusicDirectory": _directory,
    "getArtist": _one_artist,
    "getAlbum": _one_album,
    "getSong": lambda asked: {"song": _song(asked.track(asked.need("id")), asked.marks.read())},
    "getAlbumList": lambda asked: {"albumList": {"album": _albums(asked)}},
    "getAlbumList2": lambda asked: {"albumList2": {"album": _albums(asked)}},
    "getGenres": _genres,
    "getSongsByGenre": _genre_songs,
    "getRandomSongs": _random_songs,
    "getTopSongs": _top_songs,
    "getSimilarSongs": lambda a: {"similarSongs": {"song": a.songs([i for i, _ in _near(a, a.number("count", 50))])}},
    "getSimilarSongs2": lambda a: {"similarSongs2": {"song": a.songs([i for i, _ in _near(a, a.number("count", 50))])}},
    "getSonicSimilarTracks": lambda asked: _sonic(asked, _near(asked, asked.number("count", 10))),
    "findSonicPath": _sonic_path,
    "search2": lambda asked: {"searchResult2": _found(asked)},
    "search3": lambda asked: {"searchResult3": _found(asked)},
    "getStarred": lambda asked: {"starred": _starred(asked)},
    "getStarred2": lambda asked: {"starred2": _starred(asked)},
    "getPlaylists": _playlists,
    "getPlaylist": lambda asked: {"playlist": _playlist(asked, asked.need("id"), songs=True)},
    "getPlayQueue": _queue,
    "getScanStatus": _scan,
    "getCoverArt": _no_cover,
    "tokenInfo": lambda asked: {"tokenInfo": {"username": asked.user}},
}
_EMPTY = {  # what players ask for, and there is none of
    "getArtistInfo": "artistInfo", "getArtistInfo2": "artistInfo2", "getAlbumInfo": "albumInfo",
    "getAlbumInfo2": "albumInfo", "getNowPlaying": "nowPlaying", "getLyrics": "lyrics",
    "getLyricsBySongId": "lyricsList", "getBookmarks": "bookmarks", "getPodcasts": "podcasts", "getShares": "shares",
    "getNewestPodcasts": "newestPodcasts", "getInternetRadioStations": "internetRadioStations", "getVideos": "videos",
}  # fmt: skip
_WRITE: dict[str, Callable[[PlayerRequest], dict[str, Any]]] = {
    "star": lambda asked: _star(asked, add=True),
    "unstar": lambda asked: _star(asked, add=False),
    "setRating": _rate,
    "scrobble": _played,
    "createPlaylist": _create_playlist,
    "updatePlaylist": _update_playlist,
    "deletePlaylist": _delete_playlist,
    "savePlayQueue": _save_queue,
    "startScan": _start_scan,
}


@players.api_route("/{name}", methods=["GET", "HEAD", "POST"])
async def answer(request: Request, name: str) -> Response:
    """One call of the interface; what goes wrong is said in its own way, with status 200."""
    given: dict[str, list[str]] = {}
    form = await request.body() if request.method == "POST" else b""
    for one, value in [*request.query_params.multi_items(), *parse_qsl(form[:_MOST_FORM].decode("utf-8", "replace"))]:
        given.setdefault(one, []).append(value)
    kind = next(iter(given.get("f", ())), "xml")
    name, engine = name.removesuffix(".view"), request.app.state.engine
    try:
        if kind not in ("xml", "json"):
            raise SubsonicError(0, f"f={kind[:20]!r} is not offered (a script of another page could read jsonp).")
        user, role = await _who(request, given, public=name in _PUBLIC)
        asked = PlayerRequest(given, engine, Marks(engine.settings.collection), user, role)
        if name in ("stream", "download"):
            track = (await engine.searches(asked.track, asked.need("id"))).id
            form_of = {"download": "original"}.get(name, "opus" if asked.get("format") in ("opus", "ogg") else "auto")
            return OpenFile(*await engine.audio(track, form_of))
        if name in _WRITE and role != "owner":
            raise SubsonicError(_FORBIDDEN, "this needs the owner's password.")
        if name in _EMPTY:
            return _written({_EMPTY[name]: {}}, kind, "ok")
        if (work := _READ.get(name) or _WRITE.get(name)) is None:
            raise SubsonicError(0, f"not supported: {name[:80]!r}.")
        return _written(await engine.searches(work, asked), kind, "ok")
    except SolfaError as error:
        code = getattr(error, "code", _NOT_FOUND if getattr(error, "status", 0) == 404 else 0)
        return _written({"error": {"code": code, "message": str(error)}}, kind, "failed")


async def _who(request: Request, given: Mapping[str, Sequence[str]], *, public: bool) -> tuple[str, Role | None]:
    """The name that a player gives itself, and the role that its password or key opens. Raises SubsonicError."""
    access: Access = request.app.state.access
    user, salt, token, secret, own = (next(iter(given.get(k, ())), "") for k in ("u", "s", "t", "p", "apiKey"))
    if user and own:
        raise SubsonicError(_TWO_WAYS, "give either a user or an API key.")
    role: Role | None = request.scope["state"]["role"]
    if role is not None or public:
        return user or "me", role
    if token and not access.clear:
        raise SubsonicError(_NO_TOKENS, "tokens cannot be checked: the server has only the hash of its password.")
    if not (own or (user and (token or secret))):
        raise SubsonicError(_MISSING, "give u with t and s, u with p, or apiKey.")
    if secret.startswith("enc:"):
        with suppress(ValueError):
            secret = bytes.fromhex(secret[4:]).decode("utf-8", "replace")
    role = await (access.role_of_token(token, salt) if token else access.role_of(own or secret))
    if role is None:
        raise SubsonicError(_BAD_KEY if own else _WRONG, "wrong user name, password or key.")
    return user or "me", role


def _written(body: Mapping[str, Any], kind: str, status: str) -> Response:
    """The answer in JSON or XML."""
    value = {"status": status, **_ROOT, **body}
    if kind == "json":
        return Response(json.dumps({"subsonic-response": value}, ensure_ascii=False), media_type="application/json")
    root = ElementTree.Element("subsonic-response", xmlns=_SPACE)
    _add(root, value)
    return Response(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True), media_type="application/xml")


def _add(element: ElementTree.Element, value: Mapping[str, Any]) -> None:
    """Plain values become attributes, objects and lists children, ``value`` the text."""
    for name, one in value.items():
        for item in one if isinstance(one, list) else [one]:
            if isinstance(item, Mapping):
                _add(ElementTree.SubElement(element, name), item)
            elif isinstance(one, list):
                ElementTree.SubElement(element, name).text = str(item)
            elif name == "value":
                element.text = printable(str(item))
            else:
                element.set(name, str(item).lower() if isinstance(item, bool) else printable(str(item)))
