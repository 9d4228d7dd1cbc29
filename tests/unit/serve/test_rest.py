"""What programs ask over HTTP, in this process."""

import io
import json
from pathlib import Path

import jsonschema
import pytest
import soundfile
from starlette.testclient import TestClient

SCHEMA = json.loads((Path(__file__).parents[3] / "src/solfa/apps/search.schema.json").read_text())
API = "/api/v1"


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


@pytest.mark.parametrize("cursor", ["x", "MSB4", "é", "LTEgeA==", "a" * 200])
def test_a_cursor_of_something_else_is_refused(client: TestClient, cursor: str) -> None:
    answer = client.get(f"{API}/search", params={"q": "low", "cursor": cursor})
    assert answer.status_code == 400 and answer.headers["content-type"] == "application/problem+json"
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


@pytest.mark.parametrize("what", ["", "/analysis", "/describe", "/similar", "/waveform", "/audio"])
def test_an_unknown_track_is_a_404_that_names_it(client: TestClient, what: str) -> None:
    answer = client.get(f"{API}/tracks/999{what}")
    assert answer.status_code == 404 and "999" in answer.json()["detail"]


def test_documents_have_etags(client: TestClient) -> None:
    for url in (f"{API}/search?q=low", f"{API}/tracks/1", f"{API}/tracks/1/analysis", f"{API}/compare?a=1&b=2"):
        tag = client.get(url).headers["etag"]
        assert client.get(url, headers={"if-none-match": f'W/"x", {tag}'}).status_code == 304
        assert client.get(url, headers={"if-none-match": '"x"'}).status_code == 200
