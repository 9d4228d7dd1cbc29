"""The assistant's tools through the SDK's own client: in memory, over HTTP, and over stdio as a program starts them."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from starlette.testclient import TestClient

from solfa.collection import Collection
from solfa.serve.app import create_app
from solfa.serve.engine import Engine, ServeSettings
from solfa.serve.mcp import assistant
from solfa.serve.security import Access


def asked(settings: ServeSettings, *calls: tuple[str, dict[str, Any]], writes: bool = False) -> list[Any]:
    """What the tools answer, one after the other."""
    engine = Engine(settings)
    engine.start()

    async def talk() -> list[Any]:
        async with Client(assistant(engine, writes=writes)) as client:
            return [await client.call_tool(name, arguments) for name, arguments in calls]

    try:
        return anyio.run(talk)
    finally:
        engine.stop()


def text_of(answer: Any) -> str:
    return str(answer.content[0].text)


def test_an_assistant_finds_describes_and_compares_tracks(settings: ServeSettings) -> None:
    found, status = asked(settings, ("search", {"query": "loud, no vocals", "k": 2}), ("library_status", {}))
    hits = found.structured_content["hits"]
    assert len(hits) == 2 and hits[0]["evidence"] and not found.is_error
    assert status.structured_content["tracks"] == 5 and status.structured_content["failed"] == 1
    one, two = (hit["track"] for hit in hits)
    described, answered, compared, near, playlist = asked(
        settings, ("describe", {"track": one}), ("ask", {"track": one, "question": "how long is it?"}),
        ("compare", {"first": one, "second": two}), ("similar", {"track": one, "k": 3}),
        ("make_playlist", {"tracks": [two, one]}),
    )  # fmt: skip
    assert "0:0" in described.structured_content["description"]
    assert "0:0" in answered.structured_content["answer"] and answered.structured_content["evidence"]
    assert compared.structured_content["schema"] == "solfa.compare/1"
    assert one not in [hit["track"] for hit in near.structured_content["hits"]]
    lines = text_of(playlist).splitlines()
    assert lines[0] == "#EXTM3U" and lines[2].endswith(hits[1]["name"])


def test_what_goes_wrong_is_said_to_the_model(settings: ServeSettings) -> None:
    answers = asked(
        settings, ("describe", {"track": 999}), ("search", {"query": ""}), ("search", {"query": "x", "k": 999}),
        ("similar", {"track": 1, "start_s": 9000}), ("feedback", {"query": "q", "track": 1, "verdict": "good"}),
    )  # fmt: skip
    assert all(answer.is_error for answer in answers)
    assert "999" in text_of(answers[0]) and "Traceback" not in "".join(map(text_of, answers))


def test_only_a_server_that_may_write_keeps_verdicts(settings: ServeSettings, kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept / "collection", tmp_path / "collection")
    own = ServeSettings(collection=tmp_path / "collection")
    with Collection.open(own.collection) as collection:
        track = int(collection.attributes().track_ids[0])
    verdict = {"query": "loud", "track": track, "verdict": "bad"}
    [kept] = asked(own, ("feedback", verdict), writes=True)
    assert text_of(kept) == "kept"
    with Collection.open(own.collection) as collection:
        assert [(v.track_id, v.is_good) for v in collection.verdicts()] == [(track, False)]


def test_whole_documents_are_resources(settings: ServeSettings) -> None:
    engine = Engine(settings)
    engine.start()

    async def read(uri: str) -> str:
        async with Client(assistant(engine)) as client:
            found = await client.read_resource(uri)
            return str(found.contents[0].text)

    try:
        assert json.loads(anyio.run(read, "solfa://tracks/1/analysis"))["schema"] == "solfa.analysis/1"
        assert json.loads(anyio.run(read, "solfa://tracks/1/summary"))["schema"] == "solfa.summary/1"
        for uri in ("solfa://tracks/999/analysis", "solfa://tracks/../analysis", "solfa://tracks/1;x/summary"):
            with pytest.raises(Exception, match=r"."):
                anyio.run(read, uri)
    finally:
        engine.stop()


def test_over_http_only_where_asked_for_and_behind_the_guard(settings: ServeSettings) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "library_status", "arguments": {}}}  # fmt: skip
    headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    with TestClient(create_app(settings, Access({})), base_url="http://127.0.0.1:4333") as client:
        assert client.post("/mcp", json=call, headers=headers).status_code in (404, 405)
    open_to_tools = ServeSettings(collection=settings.collection, folders=settings.folders, mcp=True)
    with TestClient(create_app(open_to_tools, Access({})), base_url="http://127.0.0.1:4333") as client:
        answer = client.post("/mcp", json=call, headers=headers)
        assert answer.status_code == 200 and answer.json()["result"]["structuredContent"]["tracks"] == 5
        assert client.post("/mcp", json=call, headers={**headers, "host": "evil.example"}).status_code == 421
        assert client.post("/mcp", json=call, headers={**headers, "origin": "http://evil.example"}).status_code == 403


def test_a_program_starts_it_over_stdio(kept: Path, tmp_path: Path) -> None:
    arguments = ["-m", "solfa", "mcp", "--collection", str(kept / "collection")]
    server = StdioServerParameters(command=sys.executable, args=arguments,
                                   env={**os.environ, "HOME": str(tmp_path)})  # fmt: skip

    async def talk() -> Any:
        async with Client(stdio_client(server)) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            return names, await client.call_tool("describe", {"track": 1})

    names, described = anyio.run(talk)
    assert "search" in names and "feedback" not in names
    assert described.structured_content["description"]
