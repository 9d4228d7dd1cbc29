"""What programs ask over HTTP, in this process."""

import asyncio
import io
import json
import os
from pathlib import Path
from threading import Timer
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
import soundfile
from given_server import API, RATE, HereSandbox, sine
from starlette.testclient import TestClient

from fakes.files import write_audio
from solfa.collection.database import Database
from solfa.serve.app import create_app
from solfa.serve.engine import ServeSettings
from solfa.serve.security import Access

SCHEMA = json.loads((Path(__file__).parents[3] / "src/solfa/apps/search.schema.json").read_text())


def until_done(client: TestClient, job: str) -> None:
    """Wait for the end of an indexing run."""
    with client.stream("GET", f"{API}/jobs/{job}/events") as stream:
        for _ in stream.iter_lines():
            pass


def number(client: TestClient, name: str) -> int:
    """The track of a file."""
    [hit] = client.get(f"{API}/search", params={"where": f"path~{name}"}).json()["hits"]
    return int(hit["track_id"])


def test_a_search_is_the_command_line_s_document_with_its_reading_and_a_cursor(client: TestClient) -> None:
    found = client.get(f"{API}/search", params={"q": "bright sound, no vocals", "k": 2}).json()
    reading, cursor = found.pop("reading"), found.pop("cursor")
    jsonschema.validate(found, SCHEMA)
    assert found["hits"][0]["path"].endswith("bright.aiff")
    assert [(p["kind"], p["negated"], p["span"]) for p in reading][-1] == ("voice", True, [14, 23])
    rest = client.get(f"{API}/search", params={"q": "bright sound, no vocals", "k": 2, "cursor": cursor}).json()
    assert rest["before"] == 2 and {h["track_id"] for h in rest["hits"]}.isdisjoint(
        h["track_id"] for h in found["hits"]
    )


@pytest.mark.parametrize("cursor", ["x", "0", "-1", "é", "1" * 200, "2 x"])
def test_a_cursor_of_something_else_is_refused(client: TestClient, cursor: str) -> None:
    answer = client.get(f"{API}/search", params={"q": "low", "cursor": cursor})
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"
    assert "cursor" in answer.json()["detail"]


def test_a_part_of_a_track_is_an_example(client: TestClient) -> None:
    low = number(client, "low.wav")
    found = client.get(f"{API}/tracks/{low}/similar", params={"from": 1, "to": 3, "k": 2}).json()
    assert low not in [hit["track_id"] for hit in found["hits"]] and found["hits"]
    beyond = client.get(f"{API}/tracks/{low}/similar", params={"from": 500, "to": 600})
    assert beyond.status_code == 400 and "8.0 s long" in beyond.json()["detail"]


def test_sound_comes_in_ranges_and_is_not_sent_twice(client: TestClient, kept: Path) -> None:
    url = f"{API}/tracks/{number(client, 'low.wav')}/audio"
    data = (kept / "music" / "low.wav").read_bytes()
    everything = client.get(url)
    assert everything.content == data and everything.headers["accept-ranges"] == "bytes"
    part = client.get(url, headers={"range": "bytes=1000-1999"})
    assert part.status_code == 206 and part.content == data[1000:2000]
    assert client.get(url, headers={"range": f"bytes={len(data)}-"}).status_code == 416
    assert client.head(url).headers["content-length"] == str(len(data))
    again = client.get(url, headers={"if-none-match": everything.headers["etag"]})
    assert again.status_code == 304 and not again.content


@pytest.mark.parametrize("asked", ["items=0-1", "bytes=9-1", "bytes=abc", "bytes=", "0-3", "bytes=-", "bytes=x-y"])
def test_a_range_that_is_none_is_passed_over(client: TestClient, asked: str) -> None:
    url = f"{API}/tracks/{number(client, 'low.wav')}/audio"
    answer = client.get(url, headers={"range": asked})
    assert answer.status_code == 200 and len(answer.content) == int(client.head(url).headers["content-length"])


def test_a_range_behind_the_end_is_a_problem_with_the_length(client: TestClient) -> None:
    url = f"{API}/tracks/{number(client, 'low.wav')}/audio"
    length = client.head(url).headers["content-length"]
    answer = client.get(url, headers={"range": f"bytes={length}-"})
    assert answer.headers["content-range"] == f"bytes */{length}" and answer.json()["status"] == 416


def test_whether_an_m4a_is_alac_is_looked_up_once(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, looked = client.app.state.engine, []  # type: ignore[attr-defined]
    monkeypatch.setattr(HereSandbox, "__call__", lambda _, work, *__: looked.append(work.__name__) or "aac")
    engine._sandbox = HereSandbox()
    url = f"{API}/tracks/{number(client, 'stereo.m4a')}/audio"
    for start in (0, 10, 20):
        assert client.get(url, headers={"range": f"bytes={start}-{start + 5}"}).status_code == 206
    assert looked == ["codec_of"]


def test_encoded_files_are_bounded_in_bytes(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = client.app.state.engine  # type: ignore[attr-defined]
    engine._sandbox = HereSandbox()
    monkeypatch.setattr("solfa.serve.engine._MOST_ENCODED_BYTES", 200_000)
    for name in ("low.wav", "middle.flac", "high.ogg"):
        assert client.get(f"{API}/tracks/{number(client, name)}/audio", params={"format": "flac"}).status_code == 200
    sizes = [file.stat().st_size for file in Path(engine._encoded).iterdir()]
    assert 0 < sum(sizes[:-1]) <= 200_000


@pytest.mark.parametrize(("form", "subtype", "rate"), [("flac", "PCM_16", 16_000), ("opus", "OPUS", 48_000)])
def test_stereo_is_transcoded_as_stereo(client: TestClient, form: str, subtype: str, rate: int) -> None:
    answer = client.get(f"{API}/tracks/{number(client, 'stereo.m4a')}/audio", params={"format": form})
    with soundfile.SoundFile(io.BytesIO(answer.content)) as file:
        assert (file.subtype, file.samplerate, file.channels) == (subtype, rate, 2)
        left, right = abs(file.read()).max(axis=0)
    assert 2.5 < left / right < 6


def test_a_browser_gets_flac_of_what_it_does_not_play(client: TestClient) -> None:
    assert client.get(f"{API}/tracks/{number(client, 'bright.aiff')}/audio").headers["content-type"] == "audio/flac"
    assert client.get(f"{API}/tracks/{number(client, 'stereo.m4a')}/audio").headers["content-type"] == "audio/mp4"


def test_the_waveform_grows_as_the_tone_does(client: TestClient) -> None:
    url = f"{API}/tracks/{number(client, 'middle.flac')}/waveform"
    drawn = client.get(url, params={"points": 10}).json()
    assert drawn["peaks"] == pytest.approx([0.08 * (i + 1) for i in range(10)], abs=0.02)
    assert drawn["duration_s"] == 8.0 and len(drawn["energy"]["values"]) == 8
    assert client.get(url, params={"peaks": False}).json()["peaks"] is None


def test_what_the_page_draws_has_the_measured_values(client: TestClient) -> None:
    places = client.get(f"{API}/map").json()["tracks"]
    assert len(places) == 5 and all(-1 <= place[axis] <= 1 for place in places for axis in "xy")
    for place in places:
        known = client.get(f"{API}/tracks/{place['id']}").json()
        drawn = client.get(f"{API}/tracks/{place['id']}/waveform", params={"peaks": False}).json()
        for name in ("tempo_bpm", "key"):
            wanted = known[name] if name == "key" or known[name] is None else pytest.approx(known[name], abs=0.01)
            assert place[name] == wanted and drawn[name] == wanted
        assert drawn["metre"] == known["metre"]


def test_what_happens_when_is_told_in_sentences(client: TestClient) -> None:
    track = number(client, "middle.flac")
    told = client.get(f"{API}/tracks/{track}/description").json()
    assert told["schema"] == "solfa.description/1" and told["path"].endswith("middle.flac")
    assert told["claims"][0] == told["claims"][0] | {"text": "It lasts 0:08.", "field": "duration_s", "part": None}
    assert told["parts"][0]["start_s"] == 0.0


@pytest.mark.parametrize("what", ["", "/analysis", "/describe", "/description", "/similar", "/waveform", "/audio"])
def test_an_unknown_track_is_a_404_that_names_it(client: TestClient, what: str) -> None:
    answer = client.get(f"{API}/tracks/999{what}")
    assert answer.status_code == 404 and "999" in answer.json()["detail"]


def test_documents_have_etags(client: TestClient) -> None:
    for url in (f"{API}/search?q=low", f"{API}/tracks/1", f"{API}/tracks/1/analysis", f"{API}/compare?a=1&b=2"):
        tag = client.get(url).headers["etag"]
        assert client.get(url, headers={"if-none-match": f'W/"x", {tag}'}).status_code == 304
        assert client.get(url, headers={"if-none-match": '"x"'}).status_code == 200


@pytest.mark.parametrize("sort", ["title", "-duration", "loudness", "-path", "key", "artist"])
def test_all_tracks_come_page_by_page_in_an_order(client: TestClient, sort: str) -> None:
    found, cursor = [], ""
    while cursor is not None:
        page = client.get(f"{API}/tracks", params={"sort": sort, "k": 2, "cursor": cursor}).json()
        found += page["tracks"]
        cursor = page["cursor"]
    assert page["total"] == len(found) == len({track["id"] for track in found}) == 5
    if sort == "-path":
        assert [track["paths"][0] for track in found] == sorted((t["paths"][0] for t in found), reverse=True)
    if sort == "-duration":
        assert found[-1]["duration_s"] == pytest.approx(3.0, abs=0.1)
    if sort == "loudness":
        assert [t["loudness_lufs"] for t in found] == sorted(t["loudness_lufs"] for t in found)


@pytest.mark.parametrize("sort", ["score", "", "-", "--title", "nothing", "title; DROP TABLE file"])
def test_an_order_that_is_none_is_refused(client: TestClient, sort: str) -> None:
    answer = client.get(f"{API}/tracks", params={"sort": sort})
    assert answer.status_code in (400, 422) and (
        "order" in answer.json()["detail"] or "sort" in answer.json()["detail"]
    )


def test_facets_count_the_tracks_that_pass(client: TestClient) -> None:
    facets = client.get(f"{API}/facets").json()
    assert facets["tracks"] == 5 and sum(part["tracks"] for part in facets["duration_s"]) == 5
    assert sum(part["tracks"] for part in facets["key"]) <= 5
    one = client.get(f"{API}/facets", params={"where": "duration_s<5"}).json()
    assert one["tracks"] == 1 and one["duration_s"] == [{"from": 0, "to": 60, "tracks": 1}]
    assert client.get(f"{API}/facets", params={"where": "nothing=1"}).status_code == 400


def test_the_map_puts_likes_together(client: TestClient) -> None:
    places = {one["id"]: (one["x"], one["y"]) for one in client.get(f"{API}/map").json()["tracks"]}
    assert len(places) == 5 and all(-1 <= value <= 1 for place in places.values() for value in place)
    low, stereo, bright = (places[number(client, name)] for name in ("low.wav", "stereo.m4a", "bright.aiff"))
    assert len({low, stereo, bright}) == 3


@pytest.mark.parametrize("form", ["m3u8", "xspf", "csv"])
def test_playlists_keep_the_order_that_was_asked_for(client: TestClient, form: str) -> None:
    ids = [str(number(client, name)) for name in ("stereo.m4a", "bright.aiff", "low.wav")]
    answer = client.post(f"{API}/playlists", json={"ids": ids, "format": form})
    assert f'filename="playlist.{form}"' in answer.headers["content-disposition"]
    text = answer.text
    assert text.index("stereo.m4a") < text.index("bright.aiff") < text.index("low.wav")
    if form == "xspf":
        ElementTree.fromstring(text)
    assert client.post(f"{API}/playlists", json={"ids": ["999"]}).status_code == 404


def test_an_uploaded_sound_is_an_example_and_never_its_own_answer(client: TestClient, kept: Path) -> None:
    low = number(client, "low.wav")
    client.app.state.engine._sandbox = HereSandbox()
    made = client.post(f"{API}/examples", content=(kept / "music" / "low.wav").read_bytes())
    assert made.status_code == 201 and made.json()["duration_s"] == 8.0
    found = client.get(f"{API}/search", params={"like": made.json()["id"]}).json()["hits"]
    assert low not in [hit["track_id"] for hit in found]
    assert found[0]["track_id"] in (number(client, "middle.flac"), number(client, "stereo.m4a"))


def test_a_sound_that_is_none_or_too_much_is_refused(client: TestClient) -> None:
    assert client.post(f"{API}/examples", content=b"this is not music").status_code == 415
    assert client.post(f"{API}/examples", content=b"").status_code == 415
    assert client.post(f"{API}/examples", content=b"x" * ((32 << 20) + 1)).status_code == 413
    assert client.get(f"{API}/search", params={"like": "x0123456789abcdef"}).status_code == 404


def test_failed_files_are_told_with_reasons(client: TestClient) -> None:
    [one] = client.get(f"{API}/failed").json()["failed"]
    assert one["path"].endswith("broken.mp3") and one["reason"]


def test_health_and_metrics(client: TestClient) -> None:
    client.get(f"{API}/search", params={"q": "low"})
    assert client.get("/healthz").json() == {"status": "ok"} and client.head("/healthz").status_code == 200
    assert client.get("/readyz").json() == {"status": "ready"}  # as a search was answered
    client.app.state.engine.ready.clear()  # type: ignore[attr-defined]
    assert client.get("/readyz").status_code == 503
    text = client.get("/metrics").text
    assert 'solfa_request_seconds_count{method="GET",route="/api/v1/search",status="200"} 1.0' in text
    assert "process_resident_memory_bytes" in text


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/page/solfa.css", f"{API}/tracks", f"{API}/tracks/1/analysis"])
def test_what_is_sent_is_compressed_and_not_sent_twice(client: TestClient, path: str) -> None:
    packed, plain = (client.get(path, headers={"accept-encoding": how}) for how in ("gzip", "identity"))
    assert packed.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
    assert packed.content == plain.content and int(packed.headers["content-length"]) < len(plain.content)
    assert "accept-encoding" in packed.headers["vary"]
    again = client.get(path, headers={"if-none-match": packed.headers["etag"]})
    assert again.status_code == 304 and not again.content


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("POST", f"{API}/search", "GET, HEAD"), ("DELETE", f"{API}/tracks/1", "GET, HEAD"), ("PUT", "/", "GET, HEAD"),
     ("GET", f"{API}/playlists", "POST"), ("GET", f"{API}/jobs/index", "POST"), ("PATCH", "/healthz", "GET, HEAD")],
)  # fmt: skip
def test_a_method_that_is_not_there_is_told_which_are(client: TestClient, method: str, path: str, allowed: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 405 and allowed in answer.json()["detail"]
    assert {*answer.headers["allow"].split(", ")} == {*allowed.split(", ")}


@pytest.mark.parametrize(
    ("path", "known"),
    [("search?q=low&bpm=120", "tempo"), ("search?q=low&per-artist=1", "per_artist"), ("tracks?order=title", "sort"),
     ("tracks/1/similar?start=3", "from"), ("tracks/1?x=1", "none"), ("facets?q=low", "where"), ("map?k=1", "none")],
)  # fmt: skip
def test_a_misspelt_parameter_is_not_passed_over(client: TestClient, path: str, known: str) -> None:
    answer = client.get(f"{API}/{path}")
    assert answer.status_code == 422 and known in answer.json()["detail"]


@pytest.mark.parametrize(
    ("sent", "said"),
    [({"content": '{"ids": ["1"', "headers": {"content-type": "application/json"}}, "JSON"),
     ({"content": '{"ids": ["1"]}', "headers": {"content-type": "text/plain"}}, "application/json"),
     ({"json": {"ids": []}}, "ids"), ({"json": {"ids": ["x"]}}, "'x'"), ({"json": {}}, "ids"),
     ({"json": {"ids": [1], "format": "pls"}}, "'pls'"), ({"json": {"ids": [0]}}, "ids"), ({"json": ["1"]}, "object")],
)  # fmt: skip
def test_a_request_that_is_not_understood_is_told_why(client: TestClient, sent: dict[str, Any], said: str) -> None:
    answer = client.post(f"{API}/playlists", **sent)
    assert answer.status_code == 422 and said in answer.json()["detail"], answer.json()


def test_numbers_of_tracks_are_taken_as_documents_give_them(client: TestClient) -> None:
    ids = [number(client, name) for name in ("low.wav", "bright.aiff")]
    text = client.post(f"{API}/playlists", json={"ids": ids}).text
    assert text == client.post(f"{API}/playlists", json={"ids": [*map(str, ids)]}).text and "bright.aiff" in text


@pytest.mark.parametrize("name", [b"latin1-\xe9\xff.wav", b"two\nlines.wav"])
def test_playlists_lead_to_files_of_any_name(changing: TestClient, own: ServeSettings, name: bytes) -> None:
    path = own.folders[0] / os.fsdecode(name)
    (own.folders[0] / "low.wav").rename(path)
    job = changing.post(f"{API}/jobs/index", json={}).json()
    until_done(changing, job["id"])
    track = number(changing, "latin1" if b"latin" in name else "two")
    answer = changing.post(f"{API}/playlists", json={"ids": [track]})
    if b"\n" in name:
        assert answer.status_code == 400 and "line break" in answer.json()["detail"]
    else:
        assert name in answer.content.splitlines()[-1]


def test_a_collection_without_tracks_is_no_error(tmp_path: Path) -> None:
    empty = ServeSettings(collection=tmp_path / "new")
    with TestClient(create_app(empty, Access({})), base_url="http://127.0.0.1:4333") as client:
        found = client.get(f"{API}/search", params={"q": "slow piano, no vocals"})
        assert found.status_code == 200 and found.json()["hits"] == [] and "indexed" in found.json()["note"]
        assert [part["kind"] for part in found.json()["reading"]][-1] == "voice" and found.json()["cursor"] is None
        assert client.get(f"{API}/search", params={"where": "nothing=1"}).status_code == 400
        for path in ("tracks", "facets", "map", "status", "failed", "jobs"):
            assert client.get(f"{API}/{path}").status_code == 200, path
        assert client.get(f"{API}/tracks/1/similar").status_code == 404
        asked = client.get("/rest/search3", params={"query": "slow piano", "f": "json", "u": "me"}).json()
        assert asked["subsonic-response"]["searchResult3"]["song"] == []


def test_a_search_goes_on_turn_by_turn(client: TestClient) -> None:
    def turn(**asked: Any) -> dict[str, Any]:
        answer = client.post(f"{API}/session", json=asked)
        assert answer.status_code == 200, answer.json()
        return dict(answer.json())

    first = turn(text="bright sound", k=3)
    jsonschema.validate(first["results"], SCHEMA)
    assert first["schema"] == "solfa.session/1" and len(first["shown"]) == 3 and first["operations"]
    second = turn(id=first["id"], operations=[{"op": "like", "hits": [1]}])
    assert second["liked"][0]["track_id"] == first["shown"][0][1] and second["can_undo"]
    third = turn(id=first["id"], text="undo")
    assert third["liked"] == [] and third["shown"] == first["shown"]
    assert turn(text="low sound")["id"] != first["id"]


@pytest.mark.parametrize(
    ("asked", "status"),
    [({}, 400), ({"text": " "}, 400), ({"text": "x", "operations": [{"op": "undo"}]}, 400), ({"id": "../x"}, 422),
     ({"operations": [{"op": "undo"}]}, 400), ({"operations": [{"op": "delete"}]}, 400), ({"text": "x" * 501}, 422),
     ({"operations": ["undo"]}, 422), ({"id": "0123", "text": "slow"}, 404),
     ({"operations": [{"op": "like", "hits": [1]}]}, 400)],
)  # fmt: skip
def test_a_turn_that_cannot_be_taken_says_why(client: TestClient, asked: dict[str, Any], status: int) -> None:
    answer = client.post(f"{API}/session", json=asked)
    assert answer.status_code == status and answer.json()["detail"], answer.json()


def test_a_search_goes_on_over_a_collection_that_changes(changing: TestClient, own: ServeSettings) -> None:
    name = changing.post(f"{API}/session", json={"text": "bright sound"}).json()["id"]
    write_audio(own.folders[0] / "new.wav", sine(700.0, 4.0), RATE)
    until_done(changing, changing.post(f"{API}/jobs/index", json={}).json()["id"])
    found = changing.post(f"{API}/session", json={"id": name, "text": "under one minute"}).json()
    assert found["results"]["candidates"] == 6


def test_uploads_at_once_are_limited(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solfa.serve.rest._uploads", asyncio.Semaphore(0))
    answer = client.post(f"{API}/examples", content=b"x")
    assert answer.status_code == 429 and answer.headers["retry-after"]


def test_events_go_on_while_nothing_changes(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solfa.serve.rest._PING_S", 0.5)
    job = {"state": "running", "done": 1}
    client.app.state.engine.jobs["slow"] = job  # type: ignore[attr-defined]
    Timer(2.5, lambda: job.update(state="done")).start()
    with client.stream("GET", f"{API}/jobs/slow/events") as stream:
        lines = [line for line in stream.iter_lines() if line]
    assert lines[0] == "event: job" and ": still running" in lines and '"done"' in lines[-1]
    assert client.head(f"{API}/jobs/slow/events").headers["content-type"].startswith("text/event-stream")


def test_feedback_is_kept_and_contradicted(changing: TestClient) -> None:
    track = str(number(changing, "low.wav"))
    good = changing.post(f"{API}/feedback", json={"track": track, "verdict": "good", "query": "deep"}).json()
    assert [v["is_good"] for v in good["verdicts"]] == [True] and good["counting"] == [good["verdicts"][0]["id"]]
    bad = changing.post(f"{API}/feedback", json={"track": track, "verdict": "bad", "query": "deep"}).json()
    assert bad["counting"] == [bad["verdicts"][0]["id"]] and "was good" in bad["notes"][0]
    nothing = changing.post(f"{API}/feedback", json={"track": track, "verdict": "bad"})
    assert nothing.status_code == 400


def test_a_job_indexes_and_its_events_say_how_far_it_is(changing: TestClient, own: ServeSettings) -> None:
    write_audio(own.folders[0] / "new.wav", sine(700.0, 4.0), RATE)
    job = changing.post(f"{API}/jobs/index", json={}).json()
    with changing.stream("GET", f"{API}/jobs/{job['id']}/events") as stream:
        said = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    assert said[-1]["state"] == "done" and said[-1]["report"]["added"] == 1, said[-1]
    assert changing.get(f"{API}/jobs").json()["jobs"][0]["id"] == job["id"]
    assert number(changing, "new.wav")  # whoever is told of the end finds what was added
    assert changing.get(f"{API}/facets").json()["tracks"] == 6
    assert changing.get(f"{API}/jobs/none/events").status_code == 404


def test_feedback_while_the_collection_is_written_to_is_a_conflict(changing: TestClient, own: ServeSettings) -> None:
    track = str(number(changing, "low.wav"))
    with Database(own.collection).lock():
        answer = changing.post(f"{API}/feedback", json={"track": track, "verdict": "good", "query": "deep"})
        assert answer.status_code == 409 and "writing" in answer.json()["detail"]
        assert changing.get(f"{API}/search", params={"q": "low"}).status_code == 200
