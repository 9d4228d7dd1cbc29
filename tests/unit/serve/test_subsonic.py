"""OpenSubsonic, asked by clients that people use and by hand."""

import hashlib
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import mutagen
import pytest
import uvicorn
from starlette.testclient import TestClient

from fakes.tiny import tiny_model
from solfa.collection import Collection
from solfa.serve.app import create_app
from solfa.serve.engine import ServeSettings
from solfa.serve.security import Access

TAGS = {"low.wav": None, "middle.flac": ("Blue <b>Train</b>", "Ada & Co", "First", "jazz", "1957"),
        "high.ogg": ("Green", "Ada & Co", "Second", "pop", "1999"),
        "stereo.m4a": ("Same\x07Old", "Zoe", "Ünder", "jazz", "2001")}  # fmt: skip


@pytest.fixture(scope="module")
def tagged(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Music with artists and albums, and its collection."""
    place = tmp_path_factory.mktemp("tagged")
    shutil.copytree(kept / "music", place / "music")
    for name, tags in TAGS.items():
        if tags:
            file = mutagen.File(place / "music" / name, easy=True)
            file.update(zip(("title", "artist", "album", "genre", "date"), tags, strict=True))
            file.save()
    with Collection.open(place / "collection", create=True) as collection:
        collection.add([place / "music"], model=tiny_model)
    return place


@pytest.fixture
def served(tagged: Path, settings: ServeSettings, tmp_path: Path) -> ServeSettings:
    """Settings over a copy of that collection, which may be marked."""
    shutil.copytree(tagged / "collection", tmp_path / "own")
    return ServeSettings(collection=tmp_path / "own", folders=(tagged / "music",))


@pytest.fixture
def player(served: ServeSettings) -> Iterator[TestClient]:
    with TestClient(create_app(served, Access({})), base_url="http://127.0.0.1:4333") as client:
        yield client


def ask(client: TestClient, name: str, /, **given: Any) -> dict[str, Any]:
    answer = client.get(f"/rest/{name}", params={"f": "json", "u": "me", **given})
    assert answer.status_code == 200
    value: dict[str, Any] = answer.json()["subsonic-response"]
    return value


def songs(client: TestClient) -> dict[str, str]:
    """Ids by the end of the path's name."""
    found = ask(client, "search3", query='""', songCount=50)["searchResult3"]["song"]
    return {song["title"]: song["id"] for song in found}


@pytest.fixture
def live(served: ServeSettings) -> Iterator[int]:
    """The port of a server with a password, for clients that need one."""
    access = Access.of_environment()
    app = create_app(served, access)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)


def test_everything_can_be_browsed(player: TestClient) -> None:
    index = ask(player, "getArtists")["artists"]["index"]
    assert [(letter["name"], [a["name"] for a in letter["artist"]]) for letter in index] == [
        ("#", ["[unknown]"]), ("A", ["Ada & Co"]), ("Z", ["Zoe"]),
    ]  # fmt: skip
    ada = ask(player, "getArtist", id=index[1]["artist"][0]["id"])["artist"]
    assert ada["albumCount"] == 2 and [album["name"] for album in ada["album"]] == ["First", "Second"]
    [song] = ask(player, "getAlbum", id=ada["album"][0]["id"])["album"]["song"]
    assert (song["title"], song["year"], song["genre"], song["suffix"]) == ("Blue <b>Train</b>", 1957, "jazz", "flac")
    assert ask(player, "getSong", id=song["id"])["song"] == song
    child = ask(player, "getMusicDirectory", id=song["parent"])["directory"]["child"]
    assert child == [song]
    assert {g["value"]: g["songCount"] for g in ask(player, "getGenres")["genres"]["genre"]} == {"jazz": 2, "pop": 1}


@pytest.mark.parametrize(
    ("kind", "names"),
    [("alphabeticalByName", ["[unknown]", "First", "Second", "Ünder"]), ("byGenre", ["First", "Ünder"]),
     ("byYear", ["First", "Second"]), ("starred", []), ("frequent", [])],
)  # fmt: skip
def test_lists_of_albums(player: TestClient, kind: str, names: list[str]) -> None:
    given = {"type": kind, "genre": "jazz", "fromYear": 1950, "toYear": 2000}
    found = ask(player, "getAlbumList2", **given)["albumList2"]["album"]
    assert [album["name"] for album in found] == names


def test_the_whole_library_is_read_in_pages(player: TestClient) -> None:
    for empty in ('""', ""):
        pages = [
            ask(player, "search3", query=empty, songCount=2, songOffset=at)["searchResult3"]["song"]
            for at in (0, 2, 4, 6)
        ]
        assert [len(page) for page in pages] == [2, 2, 1, 0]
        assert len({song["id"] for page in pages for song in page}) == 5


def test_the_search_box_takes_the_text_of_solfa(player: TestClient) -> None:
    found = ask(player, "search3", query="at most 5 s", songCount=1)["searchResult3"]["song"]
    assert [song["suffix"] for song in found] == ["m4a"]  # the only short one
    by_name = ask(player, "search3", query="ada", songCount=0)["searchResult3"]
    assert [a["name"] for a in by_name["artist"]] == ["Ada & Co"] and by_name["song"] == []


def test_songs_of_an_album_are_in_the_order_of_their_files(player: TestClient) -> None:
    index = ask(player, "getArtists")["artists"]["index"]
    [album] = ask(player, "getArtist", id=index[0]["artist"][0]["id"])["artist"]["album"]
    names = [song["title"] for song in ask(player, "getAlbum", id=album["id"])["album"]["song"]]
    assert names == sorted(names) == ["bright", "low"]


@pytest.mark.parametrize("name", ["getBookmarks", "getPodcasts", "getInternetRadioStations", "getShares", "getLyrics"])
def test_what_there_is_none_of_is_empty(player: TestClient, name: str) -> None:
    found = ask(player, name)
    assert found["status"] == "ok" and {} in found.values()


def test_a_key_is_told_whose_it_is(player: TestClient) -> None:
    assert ask(player, "tokenInfo")["tokenInfo"] == {"username": "me"}


def test_similar_songs_and_paths(player: TestClient) -> None:
    names = [one["name"] for one in ask(player, "getOpenSubsonicExtensions")["openSubsonicExtensions"]]
    assert "sonicSimilarity" in names
    own = songs(player)
    near = ask(player, "getSonicSimilarTracks", id=own["Green"], count=2)["sonicMatch"]
    assert len(near) == 2 and all(0 <= m["similarity"] <= 1 and m["entry"]["id"] != own["Green"] for m in near)
    similar = ask(player, "getSimilarSongs2", id=own["Green"], count=2)["similarSongs2"]["song"]
    assert [song["id"] for song in similar] == [match["entry"]["id"] for match in near]
    way = ask(player, "findSonicPath", startSongId=own["low"], endSongId=own["bright"])["sonicMatch"]
    assert (way[0]["entry"]["id"], way[-1]["entry"]["id"]) == (own["low"], own["bright"]) and way[0]["similarity"] == 1


def test_marks_are_kept_and_survive_another_index(player: TestClient, served: ServeSettings) -> None:
    own = songs(player)
    album = ask(player, "getSong", id=own["Green"])["song"]["albumId"]
    ask(player, "star", id=own["Green"], albumId=album)
    ask(player, "setRating", id=own["low"], rating=4)
    ask(player, "scrobble", id=own["low"])
    starred = ask(player, "getStarred2")["starred2"]
    assert [s["id"] for s in starred["song"]] == [own["Green"]] and [a["id"] for a in starred["album"]] == [album]
    low = ask(player, "getSong", id=own["low"])["song"]
    assert (low["userRating"], low["playCount"]) == (4, 1)
    ask(player, "unstar", id=own["Green"])
    assert ask(player, "getStarred2")["starred2"]["song"] == []
    made = ask(player, "createPlaylist", name="evening", songId=[own["low"], own["Green"]])["playlist"]
    ask(player, "updatePlaylist", playlistId=made["id"], songIndexToRemove=0, songIdToAdd=own["bright"], comment="x")
    after = ask(player, "getPlaylist", id=made["id"])["playlist"]
    assert [song["id"] for song in after["entry"]] == [own["Green"], own["bright"]] and after["comment"] == "x"
    ask(player, "savePlayQueue", id=[own["low"]], current=own["low"], position=5)
    assert ask(player, "getPlayQueue")["playQueue"]["position"] == 5
    ask(player, "deletePlaylist", id=made["id"])
    assert ask(player, "getPlaylists")["playlists"]["playlist"] == []
    (served.collection / "players.json").write_text("[]")
    broken = ask(player, "getStarred")
    assert broken["status"] == "failed" and "players.json" in broken["error"]["message"]
    assert (served.collection / "players.json").read_text() == "[]"  # nothing is written over it


def test_sound_is_streamed_in_ranges(player: TestClient) -> None:
    own = songs(player)
    part = player.get("/rest/stream.view", params={"id": own["low"], "u": "me"}, headers={"range": "bytes=0-3"})
    assert part.status_code == 206 and part.content == b"RIFF"
    whole = player.post("/rest/download", data={"id": own["low"], "u": "me"})
    assert whole.content[:4] == b"RIFF" and whole.headers["content-type"] == "audio/wav"


@pytest.mark.parametrize(
    ("name", "given", "code"),
    [("getAlbum", {}, 10), ("getAlbum", {"id": "../../etc/passwd"}, 70), ("getSong", {"id": "9" * 30}, 70),
     ("stream", {"id": "/etc/passwd"}, 70), ("download", {"id": "999"}, 70), ("noSuch", {}, 0),
     ("getAlbumList2", {"type": "odd"}, 0), ("search3", {"query": "x", "songCount": "-1"}, 10),
     ("getPlaylist", {"id": "x"}, 70), ("setRating", {"id": "999", "rating": "3"}, 70), ("setRating", {"id": "1"}, 10),
     ("createPlaylist", {}, 10), ("createPlaylist", {"playlistId": "x", "songId": "1"}, 70),
     ("star", {"id": "al-x"}, 70), ("star", {"artistId": "x" * 9000}, 70), ("setRating", {"rating": "1"}, 10)],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_number(player: TestClient, name: str, given: dict[str, str], code: int) -> None:
    answer = ask(player, name, **given)
    assert answer["status"] == "failed" and answer["error"]["code"] == code and answer["error"]["message"]


def test_xml_is_the_default_and_holds_whatever_tags_say(player: TestClient) -> None:
    answer = player.get("/rest/search3.view", params={"query": "", "u": "me", "v": "1.2.0", "c": "old"})
    root = ElementTree.fromstring(answer.content)
    assert root.tag == "{http://subsonic.org/restapi}subsonic-response" and root.attrib["status"] == "ok"
    titles = {song.attrib["title"] for song in root.iter("{http://subsonic.org/restapi}song")}
    assert "Blue <b>Train</b>" in titles and any(title.startswith("Same") for title in titles)
    jsonp = player.get("/rest/ping", params={"f": "jsonp", "callback": "steal"})
    assert "steal" not in jsonp.text and "not offered" in jsonp.text


def test_passwords_tokens_and_roles(served: ServeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLFA_OWNER_SECRET", "correct horse")
    monkeypatch.setenv("SOLFA_READER_SECRET", "battery staple")
    access = Access.of_environment()
    with TestClient(create_app(served, access), base_url="http://127.0.0.1:4333") as client:

        def code(name: str = "ping", **given: str) -> int:
            answer = client.get(f"/rest/{name}", params={"f": "json", **given}).json()["subsonic-response"]
            return int(answer.get("error", {}).get("code", -1))

        def token(secret: str) -> dict[str, str]:
            return {"u": "a", "s": "salt", "t": hashlib.md5((secret + "salt").encode()).hexdigest()}

        assert code(u="a", p="correct horse") == code(u="a", p="enc:" + b"correct horse".hex()) == -1
        assert code(**token("battery staple")) == code(apiKey="battery staple") == -1
        assert code(u="a", p="wrong") == code(**token("wrong")) == 40
        assert code() == code(u="a") == code(p="correct horse") == code(u="a", s="x") == 10
        assert (code(apiKey="wrong"), code(u="a", apiKey="correct horse")) == (44, 43)
        assert code("getOpenSubsonicExtensions") == -1
        for name in ("star", "setRating", "scrobble", "createPlaylist", "deletePlaylist", "savePlayQueue", "startScan"):
            assert code(name, id="1", **token("battery staple")) == 50
        access.clear.clear()  # a server that was given hashes
        assert code(**token("correct horse")) == 41


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_py_sonic_and_py_opensonic_connect(live_secret: None, live: int) -> None:
    libsonic = pytest.importorskip("libsonic")
    old = libsonic.Connection("http://127.0.0.1", "me", "correct horse", port=live, serverPath="/rest", appName="test")
    assert old.ping() is True
    [song] = old.search3("at most 5 s", songCount=1)["searchResult3"]["song"]
    assert old.star(sids=[song["id"]])["status"] == "ok"
    assert [s["id"] for s in old.getStarred2()["starred2"]["song"]] == [song["id"]]
    assert old.createPlaylist(name="p", songIds=[song["id"]])["status"] == "ok"
    assert old.download(song["id"]).read(12)[4:8] == b"ftyp"
    libopensonic = pytest.importorskip("libopensonic")
    new = libopensonic.Connection("http://127.0.0.1", "me", "correct horse", port=live)
    assert new.ping()
    assert {artist.name for letter in new.get_artists().index for artist in letter.artist} >= {"Ada & Co", "Zoe"}
    assert new.get_similar_songs2(song["id"], 2)


@pytest.fixture
def live_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLFA_OWNER_SECRET", "correct horse")
