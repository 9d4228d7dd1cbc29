"""Playlists into music servers that people already run: one that speaks Subsonic, or MPD."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

import httpx
import mpd

from solfa.audio.tags import read_tags
from solfa.core.errors import InputError, SolfaError
from solfa.core.text import printable

_TIMEOUT_S, _CANDIDATES = 20.0, 50
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_NO_TOKENS = (10, 41, 42)  # what servers answer that want the password itself


@dataclass(frozen=True, kw_only=True, slots=True)
class Pushed:
    """What was put into a playlist of a server: ``found`` of its songs, ``missing`` files that it does not have."""

    name: str
    found: int
    missing: tuple[Path, ...]


def read_m3u(text: str, folder: Path) -> list[Path]:
    """The files of an M3U playlist; relative ones are in ``folder``.

    Raises InputError if there is none.

    >>> [path.name for path in read_m3u("#EXTM3U\\n#EXTINF:3,A\\na.mp3\\n", Path())]
    ['a.mp3']
    """
    lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines()]
    paths = [folder / line for line in lines if line and not line.startswith("#")]
    if not paths:
        raise InputError("no files in this playlist. Write one with: solfa search QUERY --m3u FILE")
    return paths


def to_subsonic(paths: Sequence[Path], name: str, url: str, user: str, password: str) -> Pushed:
    """Make a playlist on a Subsonic server, or replace the one of this name.

    Songs are found by title, artist and length, then by the name of the file. The password is never sent itself,
    unless the server cannot do without and the way is safe (https, or this machine).

    Raises InputError if the server refuses, SolfaError if it cannot be reached or answers something else.
    """
    with httpx.Client(base_url=f"{url.rstrip('/')}/rest/", timeout=_TIMEOUT_S, follow_redirects=False) as client:
        server = _Subsonic(client, user, password)
        server("ping")
        found, missing = _matched(paths, server.find)
        if found:
            kept = server("getPlaylists").get("playlists") or {}
            old = [one for one in _list(kept.get("playlist")) if one.get("name") == name and _owned(one, user)]
            which = {"playlistId": str(old[0]["id"])} if old else {"name": name}
            server("createPlaylist", **which, songId=found)
    return Pushed(name=name, found=len(found), missing=missing)


def to_mpd(paths: Sequence[Path], name: str, host: str, port: int, password: str, *, force: bool = False) -> Pushed:
    """Save a playlist on an MPD, which knows files by their place in its music folder.

    Songs are found by title and artist, then by the name of the file. Raises InputError if there is a playlist of this
    name and ``force`` is not set, or MPD refuses; SolfaError if it cannot be reached.
    """
    client = mpd.MPDClient()
    client.timeout = _TIMEOUT_S
    try:
        client.connect(host, port)
        if password:
            client.password(password)
        names = {one["playlist"] for one in client.listplaylists()}
        if name in names and not force:
            raise InputError(f"there is a playlist {name!r} on {host} already. Take another --name, or --force.")

        def find(title: str, artist: str, path: Path) -> str | None:
            said = client.find("title", title, "artist", artist)[:_CANDIDATES] if artist else []
            named = [one for one in client.search("filename", path.name) if Path(one["file"]).name == path.name]
            both = [one for one in said if Path(one["file"]).name == path.name]
            return next((str(one["file"]) for one in (*both, *said, *_nearest(path, named))), None)

        found, missing = _matched(paths, find)
        if found:
            if name in names:
                client.rm(name)
            for one in found:
                client.playlistadd(name, one)
        client.close()
    except mpd.CommandError as error:
        raise InputError(f"MPD on {host} refuses: {error}") from error
    except (OSError, mpd.MPDError) as error:
        raise SolfaError(f"MPD on {host} port {port} cannot be reached: {error or type(error).__name__}") from error
    finally:
        client.disconnect()
    return Pushed(name=name, found=len(found), missing=missing)


def _matched(paths: Sequence[Path], find: Callable[[str, str, Path], str | None]) -> tuple[list[str], tuple[Path, ...]]:
    """What a server calls the files, and those that it does not have."""
    found, missing = list[str](), list[Path]()
    for path in paths:
        tags = read_tags(path)
        one = find(printable(tags.title or path.stem), printable(tags.artist), path)
        if one is None:
            missing.append(path)
        else:
            found.append(one)
    return found, tuple(missing)


def _nearest(path: Path, named: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Files of one name, first those whose folders are called as those of the path."""

    def shared(one: dict[str, Any]) -> int:
        ends = zip(reversed(path.parts), reversed(Path(one["file"]).parts), strict=False)
        return next((at for at, (a, b) in enumerate(ends) if a != b), len(path.parts))

    return sorted(named, key=shared, reverse=True)


class _Subsonic:
    """Calls of a Subsonic server."""

    def __init__(self, client: httpx.Client, user: str, password: str) -> None:
        salt = token_hex(8)
        token = hashlib.md5((password + salt).encode(), usedforsecurity=False).hexdigest()
        self._client, self._user, self._password = client, {"u": user, "t": token, "s": salt}, password

    def __call__(self, method: str, **given: str | list[str]) -> dict[str, Any]:
        """The body of an answer."""
        answer = self._send(method, given)
        code = answer.get("error", {}).get("code")
        if code in _NO_TOKENS and "t" in self._user and self._is_safe():
            self._user = {"u": self._user["u"], "p": f"enc:{self._password.encode().hex()}"}
            answer = self._send(method, given)
        if answer.get("status") != "ok":
            why = printable(str(answer.get("error", {}).get("message") or "no reason given"))
            more = " It wants the password itself, which is sent over https only." if code in _NO_TOKENS[1:] else ""
            raise InputError(f"{self._client.base_url} refuses {method}: {why}{more}")
        return answer

    def _is_safe(self) -> bool:
        url = urlsplit(str(self._client.base_url))
        return url.scheme == "https" or url.hostname in _LOOPBACK

    def _send(self, method: str, given: dict[str, Any]) -> dict[str, Any]:
        own = {**self._user, "v": "1.13.0" if "t" in self._user else "1.12.0", "c": "solfa", "f": "json"}
        try:
            sent = self._client.post(f"{method}.view", data={**own, **given})
            value = sent.raise_for_status().json()["subsonic-response"]
        except httpx.HTTPError as error:
            raise SolfaError(f"{self._client.base_url} cannot be asked: {error or type(error).__name__}") from error
        except (ValueError, KeyError, TypeError):
            value = None
        if not isinstance(value, dict) or not isinstance(value.get("error", {}), dict):
            raise SolfaError(f"{self._client.base_url} does not answer as a Subsonic server does.")
        return value

    def find(self, title: str, artist: str, path: Path) -> str | None:
        """The id of a song: of this title and artist, else of this file name."""
        found = self("search3", query=title, songCount=str(_CANDIDATES), artistCount="0", albumCount="0")
        songs = _list((found.get("searchResult3") or {}).get("song"))
        same = [s for s in songs if _fold(s.get("title")) == _fold(title) and _fold(s.get("artist")) == _fold(artist)]
        named = [s for s in songs if Path(str(s.get("path", ""))).name == path.name]
        return next((str(song["id"]) for song in (*same, *named) if "id" in song), None)


def _owned(playlist: dict[str, Any], user: str) -> bool:
    return bool(playlist.get("owner", user) == user)


def _list(value: Any) -> list[dict[str, Any]]:
    """What may be a list, one object or nothing."""
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]


def _fold(text: Any) -> str:
    return " ".join(str(text or "").casefold().split())
