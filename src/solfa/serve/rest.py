"""The REST interface under ``/api/v1``: parameters in, documents out."""

import base64
import hashlib
import json
import os
from collections.abc import Callable
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field
from starlette.types import Receive, Scope, Send

from solfa.analysis import document
from solfa.analysis.sections import sections
from solfa.collection import Collection
from solfa.core.errors import InputError
from solfa.core.text import plain
from solfa.relevance import RuleJudge, summarize, to_json
from solfa.retrieval import Display
from solfa.serve.documents import compare_json, status_json, track_json
from solfa.serve.engine import Engine
from solfa.serve.security import ROLES, Role

TrackId = Annotated[str, Field(pattern="^[1-9][0-9]{0,17}$", description="Number of a track in the collection.")]
Count = Annotated[int, Query(ge=1, le=100, description="How many.")]
Cursor = Annotated[str, Query(max_length=200, description="Where to go on: `cursor` of the page before.")]
Words = Annotated[str, Query(max_length=2000)]
Text = Annotated[str, Field(min_length=1, max_length=500)]


class Problem(BaseModel):
    """An error as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {"application/problem+json": {}}}
    for status in (400, 401, 403, 404, 409, 413, 415, 421, 422, 429, 500, 503)
}
api = APIRouter(prefix="/api/v1", responses=_PROBLEMS)


class Call:
    """A request, and the engine that answers it."""

    def __init__(self, request: Request) -> None:
        self.request, self.role = request, request.scope["state"]["role"]
        self.engine: Engine = request.app.state.engine

    def answer(self, value: Any, kind: str = "application/json", status: int = 200) -> Response:
        """A document as JSON (text as it is) with an ETag of all but its timing; 304 where the client has it."""
        text = value if isinstance(value, str) else _json(value)
        untimed = _json({**value, "timing_ms": None}) if isinstance(value, dict) else text
        tag = f'"{hashlib.blake2b(untimed.encode("utf-8", "replace"), digest_size=12).hexdigest()}"'
        headers = {"etag": tag, "cache-control": "private, no-cache", "vary": "authorization"}
        if self.has(tag):
            return Response(status_code=304, headers=headers)
        return Response(text.encode("utf-8", "replace"), status, headers, kind)

    def has(self, tag: str) -> bool:
        """Whether the client has what an ETag marks."""
        given = {one.strip().removeprefix("W/") for one in self.request.headers.get("if-none-match", "").split(",")}
        return self.request.method in ("GET", "HEAD") and not given.isdisjoint((tag, "*"))

    async def reading(self, work: Callable[[Collection], Any]) -> Response:
        """What is made of the collection."""
        return self.answer(await self.engine.reads(self.engine.read, work))

    async def found(self, cursor: str, k: int, shown: dict[str, Any], **asked: Any) -> Response:
        """A page of a search, with the cursor of the next one."""
        mark = hashlib.blake2b(repr((k, shown, asked)).encode("utf-8", "replace"), digest_size=6).hexdigest()
        page = _page(cursor, mark)
        display = Display(k=k, page=page, **shown)
        found = await self.engine.searches(lambda: self.engine.search(**asked, display=display))
        return self.answer(found | {"cursor": _cursor(page + 1, mark) if found.pop("more") else None})


def _json(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False)


def _cursor(page: int, mark: str) -> str:
    return base64.urlsafe_b64encode(f"{page} {mark}".encode()).decode()


def _page(cursor: str, mark: str) -> int:
    """The page that a cursor of the same request stands for. Raises InputError if it is none."""
    try:
        page, made_for = (
            base64.urlsafe_b64decode(cursor.encode("ascii")).decode("ascii").split() if cursor else (1, mark)
        )
        if made_for == mark and int(page) >= 1:
            return int(page)
    except ValueError:
        pass
    raise InputError("not a cursor of this request. Leave it out for the first page.")


def needs(role: Role) -> Any:
    """The check that a request comes from a role, or one above it."""

    def check(request: Request) -> None:
        own = request.scope["state"]["role"]
        if own is None or ROLES.index(own) < ROLES.index(role):
            raise HTTPException(403, f"this needs the role {role}.")

    check.needs = role  # type: ignore[attr-defined]
    return Depends(check)


def get(path: str, **options: Any) -> Callable[..., Any]:
    """A route that answers GET and HEAD, for readers."""
    return api.api_route(path, methods=["GET", "HEAD"], dependencies=[needs("reader")], **options)


The = Annotated[Call, Depends(Call)]
Texts = Annotated[list[Text] | None, Query(max_length=20)]


@get("/search")
async def search(
    call: The, q: Words = "", k: Count = 10, cursor: Cursor = "",
    avoid: Annotated[list[Text] | None, Query(alias="not", max_length=20, description="Not wanted.")] = None,
    drop: Annotated[list[Text] | None, Query(max_length=20, description="Words of q to pass over.")] = None,
    like: Annotated[list[Text] | None, Query(max_length=8, description="12, 12@0:30-0:50, or an upload.")] = None,
    where: Annotated[list[Text] | None, Query(max_length=20, description="Such as tempo_bpm=90..110.")] = None,
    context: Annotated[str, Query(alias="for", max_length=2000, description="What the music is for.")] = "",
    sort: Annotated[str, Query(max_length=20)] = "score", per_artist: Annotated[int, Query(ge=0, le=100)] = 0,
    duplicates: bool = False, tempo: Words | None = None, key: Words | None = None, metre: Words | None = None,
    chords: Words | None = None, duration: Words | None = None,
) -> Response:  # fmt: skip
    """The document of `solfa search --json`, with `reading`, how the query was read part by part, and `cursor`."""
    shown = {"sort": sort, "per_artist": per_artist, "duplicates": duplicates}
    return await call.found(cursor, k, shown, q=q, avoid=avoid or (), drop=drop or (), like=like or (),
                            where=where or (), context=context, tempo=tempo, key=key, metre=metre, chords=chords,
                            duration=duration)  # fmt: skip


@get("/tracks/{track}")
async def track(call: The, track: TrackId) -> Response:
    """One track: files, tags, what was measured in short."""
    return await call.reading(lambda collection: track_json(collection.track(int(track))))


@get("/tracks/{track}/analysis")
async def analysis(call: The, track: TrackId) -> Response:
    """The document of `solfa analyze --json`."""
    return await call.reading(lambda collection: document.to_json(collection.analysis(int(track))))


@get("/tracks/{track}/describe")
async def describe(call: The, track: TrackId) -> Response:
    """The document of `solfa describe --json`."""

    def read(collection: Collection) -> Any:
        path = next(iter(collection.track(int(track)).paths), None)
        return {"path": path, **to_json(summarize(collection.analysis(int(track))))}

    return await call.reading(read)


@get("/tracks/{track}/similar")
async def similar(
    call: The, track: TrackId, k: Count = 10, cursor: Cursor = "",
    start: Annotated[float, Query(alias="from", ge=0, le=86400, description="Seconds.")] = 0.0,
    end: Annotated[float, Query(alias="to", gt=0, le=86400, description="Seconds.")] = 86400.0,
) -> Response:  # fmt: skip
    """Tracks that sound like this one, or like a part of it: the document of `solfa search --json`."""
    return await call.found(cursor, k, {}, like=[f"{track}@{start:.3f}-{end:.3f}"])


@get("/compare")
async def compare(
    call: The, a: TrackId, b: TrackId, context: Annotated[str, Query(alias="for", max_length=2000)] = ""
) -> Response:
    """The document of `solfa compare --json`."""
    return await call.reading(lambda collection: compare_json(
        [(name, summarize(collection.analysis(int(name)))) for name in (a, b)], RuleJudge(), context=context
    ))  # fmt: skip


@get("/tracks/{track}/waveform")
async def waveform(
    call: The, track: TrackId, points: Annotated[int, Query(ge=10, le=4000, description="How many peaks.")] = 800,
    peaks: Annotated[bool, Query(description="False: no peaks, for which the file has to be decoded.")] = True,
) -> Response:  # fmt: skip
    """What to draw of a track: `peaks` 0..1 in equal parts, `energy` 0..1 every `hop_s`, sections, chords, beats."""
    found = await call.engine.reads(call.engine.read, lambda collection: collection.analysis(int(track)))
    drawn = await call.engine.decodes(call.engine.peaks, int(track), points) if peaks else None
    return call.answer({"schema": "solfa.waveform/1", "duration_s": found.duration_s, "peaks": drawn,
                        "energy": found.energy, "sections": sections(found), "chords": found.chords,
                        "beats_s": found.beats_s, "downbeats_s": found.downbeats_s})  # fmt: skip


@get("/tracks/{track}/audio", response_class=Response,
     responses={200: {"content": {"audio/*": {}}}, 206: {"content": {"audio/*": {}}}, 416: {}})  # fmt: skip
async def audio(
    call: The, track: TrackId,
    form: Annotated[Literal["auto", "original", "flac", "opus"], Query(alias="format")] = "auto",
) -> Response:  # fmt: skip
    """The sound of a track, in ranges too; `auto` makes FLAC of what browsers do not play."""
    response = OpenFile(*await call.engine.decodes(call.engine.audio, int(track), form))
    if call.has(response.headers["etag"]):
        response.file.close()
        return Response(status_code=304, headers={"etag": response.headers["etag"]})
    return response


class OpenFile(FileResponse):
    """An open file, in ranges too; it is closed at the end, whatever the client does."""

    def __init__(self, file: BinaryIO, kind: str) -> None:
        by_number = f"/proc/self/fd/{file.fileno()}"  # the path may lead elsewhere by now
        path, headers = by_number if os.path.lexists(by_number) else file.name, {"cache-control": "private, no-cache"}
        super().__init__(path, headers=headers, media_type=kind, stat_result=os.fstat(file.fileno()))
        self.file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.file.close()


@get("/status")
async def status(call: The) -> Response:
    """The document of `solfa status --json`, with the `role` of who asks and the indexing `job`, the last or none."""
    job = next(reversed(call.engine.jobs.values()), None)
    return await call.reading(lambda collection: {
        **status_json(collection.directory, collection.stats(), collection.failures()), "role": call.role, "job": job
    })  # fmt: skip
