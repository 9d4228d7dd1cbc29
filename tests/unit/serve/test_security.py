"""Who gets in, from where, to what."""

import base64
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from given_server import API
from pydantic import SecretStr
from starlette.testclient import TestClient

from fakes.tiny import tiny_model
from solfa.collection import Collection
from solfa.core.errors import InputError
from solfa.core.types import FileTags
from solfa.serve.app import PUBLIC, create_app
from solfa.serve.engine import Engine, ServeSettings
from solfa.serve.rest import api
from solfa.serve.security import Access, Role, is_loopback
from solfa.serve.server import run

HERE = "http://127.0.0.1:4333"
SECRETS: dict[Role, str] = {"owner": "the owner's word", "reader": "the reader's word"}
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)  # tests check many; the cost is not what is tested


@pytest.fixture
def app(settings: ServeSettings, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """The application with a secret for each role."""
    monkeypatch.setattr("solfa.serve.security._WRONG_S", 0.0)
    return create_app(settings, Access({role: CHEAP.hash(secret) for role, secret in SECRETS.items()}))


@pytest.fixture
def guarded(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url=HERE) as client:
        yield client


def bearer(role: Role | None) -> dict[str, str]:
    return {"authorization": f"Bearer {SECRETS[role]}"} if role else {}


# --- hosts and origins: a page elsewhere must not reach the server through a browser ----------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:4333", "localhost:4333", "LOCALHOST", "[::1]:4333", "[::1]"])
def test_hosts_of_this_machine_are_answered(client: TestClient, host: str) -> None:
    assert client.get(f"{API}/status", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:4333", "127.0.0.1.evil.example", "localhost.evil.example", "127.0.0.1@evil.example",
     "evil.example@127.0.0.1", "", "127.0.0.1:4333:80", "127.0.0.1:x", "[::1", "::1", "192.168.1.7", "127.0.0.1/x",
     "a b", "127.0.0.1,evil.example", "localhost#", "localhost?x", "0.0.0.0", "[::ffff:127.0.0.1]", "127.1"],
)  # fmt: skip
def test_other_hosts_are_not(client: TestClient, host: str) -> None:
    for path in ("/", "/healthz", "/metrics", f"{API}/status"):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == 421 and "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_names_can_be_given_and_any_address_where_others_reach_it(settings: ServeSettings) -> None:
    wide = ServeSettings(**{**settings.__dict__, "host": "0.0.0.0", "names": ("Music.Example",)})
    with TestClient(create_app(wide, Access({})), base_url=HERE) as client:
        for host in ("music.example:80", "192.168.1.7:4333", "[fe80::1]:4333", "evil.example", "1.2.3.4.evil.example"):
            status = 421 if "evil" in host else 200
            assert client.get(f"{API}/status", headers={"host": host}).status_code == status, host


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:80", "http://localhost:4333", "", "file://",
     "https://127.0.0.1:4333.evil.example", "http://127.0.0.1:4333@evil.example"],
)  # fmt: skip
def test_requests_of_other_pages_are_refused(client: TestClient, origin: str) -> None:
    for method, path in (("GET", f"{API}/status"), ("POST", f"{API}/playlists"), ("POST", f"{API}/jobs/index")):
        assert client.request(method, path, headers={"origin": origin}, json={}).status_code == 403
    own = {"origin": "http://127.0.0.1:4333", "host": "127.0.0.1:4333"}
    assert client.get(f"{API}/status", headers=own).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "something"])
def test_a_browser_says_for_whom_it_asks(client: TestClient, site: str) -> None:
    image = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    link = {"sec-fetch-site": site, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    frame = {**link, "sec-fetch-dest": "iframe"}
    assert client.get(f"{API}/tracks/1/audio", headers=image).status_code == 403
    assert client.get(f"{API}/tracks/1", headers=link).status_code == 403
    assert client.get("/", headers=frame).status_code == 403
    assert client.get("/", headers=link).status_code in (200, 404)  # a link from elsewhere may open the page
    assert client.get(f"{API}/tracks/1", headers={**image, "sec-fetch-site": "same-origin"}).status_code == 200


def test_every_answer_carries_the_headers_that_browsers_keep_to(guarded: TestClient) -> None:
    for path in ("/", "/healthz", "/metrics", f"{API}/status", f"{API}/nothing", f"{API}/tracks/1/audio", "/rest/ping"):
        for role in (None, "owner"):
            headers = guarded.get(path, headers=bearer(role)).headers
            policy = headers["content-security-policy"]
            assert "default-src 'self'" in policy and "unsafe" not in policy and "*" not in policy
            assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert "access-control-allow-origin" not in headers


# --- secrets and roles ------------------------------------------------------------------------------------------------


def routes(app: FastAPI) -> list[tuple[str, str, Role | None]]:
    """Method, path and role of every route; None: the guard alone decides."""
    found = []
    for route in (*app.routes, *api.routes):
        roles = [role for one in getattr(getattr(route, "dependant", None), "dependencies", [])
                 if (role := getattr(one.call, "role", None))]  # fmt: skip
        for method in getattr(route, "methods", None) or ():
            found.append((method, str(getattr(route, "path", "")), roles[0] if roles else None))
    return found


def test_every_route_of_the_interface_names_its_role(app: FastAPI) -> None:
    found = [(method, path, role) for method, path, role in routes(app) if path.startswith(API)]
    assert len(found) > 20
    assert [path for _, path, role in found if role is None] == [f"{API}/openapi.json"] * 2
    assert {path for _, path, role in found if role == "owner"} == {f"{API}/feedback", f"{API}/jobs/index"}
    changing = [path for method, path, role in found if method not in ("GET", "HEAD") and role == "reader"]
    assert sorted(changing) == [f"{API}/examples", f"{API}/playlists", f"{API}/session"]  # none keeps anything


@pytest.mark.parametrize("role", [None, "reader", "owner"])
def test_each_route_lets_each_role_in_or_not(guarded: TestClient, app: FastAPI, role: Role | None) -> None:
    for method, path, needed in routes(app):
        url = path.replace("{track}", "999999").replace("{job}", "none").replace("{name}", "none.js")
        answer = guarded.request(method, url, headers=bearer(role), json={} if method == "POST" else None)
        if path in PUBLIC:
            assert answer.status_code in (200, 503 if path == "/readyz" else 200)
        elif role is None:
            assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Basic"), path
        elif needed == "owner" and role == "reader":
            assert answer.status_code == 403 and "owner" in answer.json()["detail"], path
        else:
            assert answer.status_code not in (401, 403, 500), (method, path, answer.status_code)


def basic(text: str | bytes) -> str:
    return "Basic " + base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer wrong secret", "Basic", "Basic !", "Basic AA==", "Bearer \x00",
     "bearer " + "x" * 5000, "Digest username=owner", basic("owner"), basic("owner:"), basic(b"\xff:\xff")],
)  # fmt: skip
def test_what_is_no_secret_opens_nothing(guarded: TestClient, header: str) -> None:
    assert guarded.get(f"{API}/status", headers={"authorization": header}).status_code == 401


def test_a_secret_opens_as_password_and_as_token(guarded: TestClient) -> None:
    for role, secret in SECRETS.items():
        for header in (basic(f"anybody:{secret}"), f"Bearer {secret}", f"bearer  {secret}"):
            assert guarded.get(f"{API}/status", headers={"authorization": header}).json()["role"] == role


def test_many_wrong_secrets_at_once_are_put_off(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solfa.serve.security._WRONG_S", 0.2)
    with TestClient(app, base_url=HERE) as client, ThreadPoolExecutor(30) as pool:
        right = client.get(f"{API}/status", headers=bearer("owner")).status_code
        guesses = [f"guess number {i}" for i in range(30)]
        asked = partial(client.get, f"{API}/status")
        said = list(pool.map(lambda g: asked(headers={"authorization": f"Bearer {g}"}).status_code, guesses))
        assert right == 200 and set(said) == {401, 429}
        assert client.get(f"{API}/status", headers=bearer("owner")).status_code == 200  # known ones are not put off


def test_many_wrong_tokens_at_once_are_put_off(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solfa.serve.security._WRONG_S", 0.2)
    app.state.access.clear["owner"] = SecretStr(SECRETS["owner"])

    def said(password: str, salt: str) -> str:
        token = hashlib.md5((password + salt).encode()).hexdigest()
        given = {"u": "me", "t": token, "s": salt, "f": "json"}
        error = client.get("/rest/ping", params=given).json()["subsonic-response"].get("error", {})
        return str(error.get("message", "right"))

    with TestClient(app, base_url=HERE) as client, ThreadPoolExecutor(30) as pool:
        assert said(SECRETS["owner"], "known") == "right"
        began_s = time.monotonic()
        answers = {*pool.map(lambda i: said(f"guess {i}", "salt"), range(30))}
        assert time.monotonic() - began_s > 1 and "right" not in answers
        assert any("wrong" in answer for answer in answers) and any("waiting" in answer for answer in answers)
        assert said(SECRETS["owner"], "known") == "right"


def test_secrets_come_from_the_environment_and_leave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLFA_OWNER_SECRET", "correct horse")
    monkeypatch.setenv("SOLFA_READER_SECRET", CHEAP.hash("battery staple"))
    access = Access.of_environment()
    assert access._verify("correct horse") == "owner" and access._verify("battery staple") == "reader"
    assert "correct horse" not in f"{access!r} {access.hashes}" and "SOLFA_OWNER_SECRET" not in os.environ
    monkeypatch.setenv("SOLFA_OWNER_SECRET", "short")
    with pytest.raises(InputError, match="5 characters"):
        Access.of_environment()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "music.example"])
def test_an_address_that_others_reach_needs_a_secret(settings: ServeSettings, host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(InputError, match="SOLFA_OWNER_SECRET"):
        run(ServeSettings(**{**settings.__dict__, "host": host}))


def test_secrets_and_queries_are_in_no_log(guarded: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for secret in (*SECRETS.values(), "a wrong secret of mine"):
        for header in (f"Bearer {secret}", basic(f"me:{secret}")):
            guarded.get(f"{API}/search?q=private+words&token={quote(secret)}", headers={"authorization": header})
            guarded.get(f"/rest/ping?p={quote(secret)}", headers={"authorization": header})
    said = "\n".join(json.dumps({**vars(record), "message": record.getMessage()}, default=str)
                     for record in caplog.records if record.name.startswith("solfa"))  # fmt: skip
    assert "/api/v1/search" in said
    for text in (*SECRETS.values(), "wrong secret", "private", "word", basic(f"me:{secret}")[6:]):
        assert text not in said


def test_readers_refine_a_search_of_their_own_and_leave_no_verdict(guarded: TestClient, kept: Path) -> None:
    def turn(role: Role, **asked: Any) -> httpx.Response:
        return guarded.post(f"{API}/session", headers=bearer(role), json=asked)

    name = turn("reader", text="low sound").json()["id"]
    for said in ({"text": "the first one was good"}, {"operations": [{"op": "like", "hits": [1], "verdict": True}]}):
        assert turn("reader", id=name, **said).status_code == 403
    assert turn("reader", id=name, text="more like the first").status_code == 200
    assert turn("owner", id=name, text="slower").status_code == 404  # another's
    with Collection.open(kept / "collection") as collection:
        assert collection.verdicts() == []


# --- files ------------------------------------------------------------------------------------------------------------


def escapes() -> list[str]:
    """Two hundred ways to write a path that leads out of where it starts."""
    dots = ["..", "%2e%2e", ".%2e", "%2e.", "..;", "%252e%252e", "..%00", "%c0%ae%c0%ae", "%uff0e%uff0e", "...."]
    slashes = ["/", "%2f", "%252f", "\\", "%5c", "%255c", "//", "/./", "%c0%af", "\uff0f"]
    found = [
        "etc/passwd",
        "/etc/passwd",
        "//etc/passwd",
        "file:///etc/passwd",
        "%2fetc%2fpasswd",
        "C:\\boot.ini",
        "/proc/self/environ",
        "\\\\server\\share",
        "index.html%00.css",
        "~root/.ssh/id_rsa",
        "1/../../../etc/passwd",
    ]
    for target in ("etc/passwd", "pyproject.toml"):
        found += [slash.join([*[dot] * 6, target.replace("/", slash)]) for dot in dots for slash in slashes]
    return found


def test_paths_lead_nowhere(client: TestClient, kept: Path) -> None:
    assert len(escapes()) > 200
    for escape in escapes():
        for url in (f"/page/{escape}", f"/{escape}", f"{API}/tracks/{escape}/audio", f"{API}/jobs/{escape}/events"):
            answer = client.get(url)
            assert answer.status_code in (400, 404, 405, 422), (url, answer.status_code)
            assert b"root:" not in answer.content and b"[project]" not in answer.content
    for escape in escapes():
        found = client.get(f"{API}/search", params={"like": f"{escape}@0-3"})
        assert found.status_code in (400, 404, 422), escape
        assert client.post(f"{API}/playlists", json={"ids": [escape]}).status_code == 422


def test_links_do_not_lead_out_of_the_folders(own: ServeSettings, tmp_path: Path) -> None:
    music, elsewhere = own.folders[0], tmp_path / "elsewhere"
    shutil.copytree(music, elsewhere)
    (music / "inner").mkdir()
    shutil.copy(music / "high.ogg", music / "inner" / "other.ogg")
    with Collection.open(own.collection, create=True) as collection:
        collection.add([music], model=tiny_model)
        ids = {path.name: row.id for row in collection.tracks() for path in row.paths}
    (music / "low.wav").unlink()
    (music / "low.wav").symlink_to(elsewhere / "low.wav")  # after it was indexed
    (music / "middle.flac").unlink()
    (music / "middle.flac").symlink_to("/etc/passwd")
    shutil.rmtree(music / "inner")
    (music / "inner").symlink_to(elsewhere)
    (music / "high.ogg").unlink()
    (elsewhere / "other.ogg").write_bytes(b"private")
    os.mkfifo(music / "pipe")
    (music / "bright.aiff").unlink()
    (music / "bright.aiff").symlink_to(music / "pipe")  # what is left of it is a copy behind a link
    with TestClient(create_app(own, Access({})), base_url=HERE) as client:
        engine: Engine = client.app.state.engine  # type: ignore[attr-defined]
        engine._run.join()
        refused = dict.fromkeys(("low.wav", "middle.flac", "high.ogg", "bright.aiff"), 403)
        for name, status in {**refused, "stereo.m4a": 200}.items():
            for what in ("audio?format=original", "audio?format=flac", "waveform"):
                answer = client.get(f"{API}/tracks/{ids[name]}/{what}")
                assert answer.status_code == status, (name, what)
                assert b"private" not in answer.content and b"root:" not in answer.content
    (music / "inner").unlink()
    alone = ServeSettings(collection=own.collection)  # no folders: each file's own
    with TestClient(create_app(alone, Access({})), base_url=HERE) as client:
        assert client.get(f"{API}/tracks/{ids['low.wav']}/audio").status_code == 403
        assert client.get(f"{API}/tracks/{ids['stereo.m4a']}/audio").status_code == 200


# --- sizes, and what comes back ---------------------------------------------------------------------------------------


def test_requests_are_limited_in_size_and_have_to_say_it(client: TestClient) -> None:
    def parts() -> Iterator[bytes]:
        yield b'{"ids": ["1"]}'

    assert client.post(f"{API}/playlists", content=parts()).status_code == 411
    assert client.post(f"{API}/playlists", content=b" " * ((1 << 20) + 1)).status_code == 413
    assert client.get(f"{API}/search", params={"q": "x" * 2001}).status_code == 422


def test_tags_are_data_in_every_document(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    nasty = FileTags(title="</script><script>1</script>", artist='=HYPERLINK("http://x")', album="\x1b[31m\n#EXTM3U")
    real = Collection.rows

    def rows(self: Collection, *args: Any) -> Any:
        return [replace(row, tags=nasty) for row in real(self, *args)]

    monkeypatch.setattr(Collection, "rows", rows)
    answer = client.get(f"{API}/tracks/1")
    assert answer.headers["content-type"] == "application/json" and answer.json()["tags"]["title"] == nasty.title
    wanted = ({"ids": ["1"], "format": form} for form in ("m3u8", "xspf", "csv"))
    m3u8, xspf, csv = (client.post(f"{API}/playlists", json=one).text for one in wanted)
    assert len(m3u8.splitlines()) == 3 and "\x1b" not in m3u8
    assert "<script>" not in xspf and "'=HYPERLINK" in csv and "\x1b" not in csv


def test_an_internal_error_says_nothing_of_the_inside(settings: ServeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the inside: /secret/path")

    monkeypatch.setattr(Engine, "search", broken)
    with TestClient(create_app(settings, Access({})), base_url=HERE, raise_server_exceptions=False) as client:
        answer = client.get(f"{API}/search", params={"q": "low"})
        assert answer.status_code == 500 and "inside" not in answer.text
        assert answer.headers["content-type"] == "application/problem+json"
