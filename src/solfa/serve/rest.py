"""The REST interface under ``/api/v1``: parameters in, documents out."""

import asyncio
import gzip
import hashlib
import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, BeforeValidator, Field
from starlette.exceptions import HTTPException
from starlette.responses import MalformedRangeHeader, RangeNotSatisfiable
from starlette.types import Receive, Scope, Send

from solfa.analysis import document
from solfa.analysis.sections import sections
from solfa.collection import Collection
from solfa.core.errors import InputError
from solfa.core.filters import SORTS
from solfa.core.text import plain
from solfa.language import narrate, timeline
from solfa.relevance import RuleJudge, summarize, to_json
from solfa.relevance.feedback import give
from solfa.retrieval import Display
from solfa.serve import documents, overview
from solfa.serve.engine import Engine
from solfa.serve.pool import Refused
from solfa.serve.security import ROLES, Role

_UPLOAD_S, _UPLOADS = 120.0, 4  # for an example to arrive; how many at once
_PACKED_BYTES, _PING_S = 1000, 15  # documents that are compressed; pause after which events say that they go on
_PLAYLISTS = {
    "m3u8": (documents.m3u, "audio/x-mpegurl"), "xspf": (documents.xspf, "application/xspf+xml"),
    "csv": (documents.csv_text, "text/csv")}  # fmt: skip
TrackId = Annotated[str, Field(pattern="^[1-9][0-9]{0,17}$", description="Number of a track in the collection.")]
Whole = BeforeValidator(lambda value: int(value) if isinstance(value, float) and value.is_integer() else value)
TrackNumber = Annotated[TrackId | Annotated[int, Field(ge=1, lt=10**18)], Whole]  # as in addresses, as in documents
Count = Annotated[int, Query(ge=1, le=100, description="How many.")]
Cursor = Annotated[str, Query(pattern="^([1-9][0-9]{0,4})?$", description="`cursor` of the page before.")]
Sort = Annotated[str, Query(pattern=f"^-?({'|'.join(SORTS)})$")]
Words = Annotated[str, Query(max_length=2000)]
Text = Annotated[str, Field(min_length=1, max_length=500)]
Texts = Annotated[list[Text], Query(max_length=20)]
Context = Annotated[str, Query(alias="for", max_length=2000, description="What the music is for.")]
_NONE: list[str] = []  # FastAPI copies defaults
_uploads = asyncio.Semaphore(_UPLOADS)


class Problem(BaseModel):
    """An error as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str


class FeedbackAsked(BaseModel, extra="forbid", strict=True):
    """Whether a track is a good answer to a query, or for a purpose."""

    track: TrackNumber
    verdict: Literal["good", "bad"]
    query: Annotated[str, Field(max_length=2000)] = ""
    context: Annotated[str, Field(max_length=2000)] = ""


class PlaylistAsked(BaseModel, extra="forbid", strict=True):
    """Tracks in the order of a playlist."""

    ids: Annotated[list[TrackNumber], Field(min_length=1, max_length=5000)]
    format: Literal["m3u8", "xspf", "csv"] = "m3u8"


class TurnAsked(BaseModel, extra="forbid", strict=True):
    """A sentence, or operations, in a search that goes on; without an id in a new one."""

    id: Annotated[str, Field(pattern="^[0-9a-f]*$", max_length=40)] = ""
    text: Annotated[str, Field(max_length=500)] = ""
    operations: Annotated[list[dict[str, Any]], Field(max_length=20)] = []
    k: Annotated[int, Field(ge=1, le=100, description="How many hits, said with the first turn."), Whole] = 10


class IndexAsked(BaseModel, extra="forbid", strict=True):
    """How to index."""

    retry_failed: bool = False


class Call:
    """A request, and the engine that answers it."""

    def __init__(self, request: Request) -> None:
        self.request, self.role = request, request.scope["state"]["role"]
        self.engine: Engine = request.app.state.engine

    def answer(self, value: Any, kind: str = "application/json", status: int = 200) -> Response:
        """A document as JSON (text as it is) with an ETag of all but its timing; 304 where the client has it."""
        text = value if isinstance(value, str) else _json(value)
        untimed = _json({**value, "timing_ms": None}) if isinstance(value, dict) else text
        tag = f'W/"{hashlib.blake2b(untimed.encode("utf-8", "replace"), digest_size=12).hexdigest()}"'
        headers = {"etag": tag, "cache-control": "private, no-cache", "vary": "authorization, accept-encoding"}
        if self.has(tag):
            return Response(status_code=304, headers=headers)
        data = text.encode("utf-8", "surrogateescape" if isinstance(value, str) else "replace")  # names of files
        if len(data) > _PACKED_BYTES and "gzip" in self.request.headers.get("accept-encoding", ""):
            data = gzip.compress(data, 4, mtime=0)
            headers["content-encoding"] = "gzip"
        return Response(data, status, headers, kind)

    def has(self, tag: str) -> bool:
        """Whether the client has what an ETag marks."""
        given = {one.strip().removeprefix("W/") for one in self.request.headers.get("if-none-match", "").split(",")}
        return self.request.method in ("GET", "HEAD") and not given.isdisjoint((tag.removeprefix("W/"), "*"))

    async def reading(self, work: Callable[[Collection], Any]) -> Response:
        """What is made of the collection."""
        return self.answer(await self.engine.reads(self.engine.read, work))

    async def found(self, cursor: str, shown: dict[str, Any], **asked: Any) -> Response:
        """A page of a search, with the cursor of the next one."""
        page = int(cursor or 1)
        search = partial(self.engine.search, **asked, display=Display(page=page, **shown))
        found = await self.engine.searches(search)
        return self.answer(found | {"cursor": str(page + 1) if found.pop("more") else None})


def _json(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False)


def _needs(role: Role) -> Any:
    def check(request: Request) -> None:
        if ROLES.index(request.scope["state"]["role"]) < ROLES.index(role):
            raise Refused(403, f"this needs the role {role}.")

    check.role = role  # type: ignore[attr-defined]
    return Depends(check)


_PROBLEM = {"model": Problem, "content": {"application/problem+json": {}}}
api = APIRouter(prefix="/api/v1", responses=dict.fromkeys(
    (400, 401, 403, 404, 409, 411, 413, 415, 421, 422, 429, 500, 503), _PROBLEM))  # fmt: skip
post = partial(api.post, dependencies=[_needs("reader")])
change = partial(api.post, dependencies=[_needs("owner")])


def _call(request: Request) -> Call:
    """The request, whose parameters are those of its route: a misspelt one must not pass for a search without it."""
    known = sorted(parameter.alias for parameter in request.scope["route"].dependant.query_params)
    if unknown := sorted(request.query_params.keys() - {*known}):
        raise Refused(422, f"no parameter {unknown[0][:40]!r} here. Known: {', '.join(known) or 'none'}.")
    return Call(request)


The = Annotated[Call, Depends(_call)]


def get(path: str, **options: Any) -> Callable[[Any], Any]:
    """A route for readers that answers HEAD too."""
    options = {"dependencies": [_needs("reader")], **options}
    return lambda work: api.get(path, **options)(api.head(path, **{**options, "include_in_schema": False})(work))


@get("/search")
async def search(
    call: The, q: Words = "", k: Count = 10, cursor: Cursor = "", context: Context = "",
    avoid: Annotated[Texts, Query(alias="not", description="What must not be there, in words.")] = _NONE,
    drop: Annotated[Texts, Query(description="Words of q that nothing is read from.")] = _NONE,
    like: Annotated[Texts, Query(description="Examples: 12, 12@0:30-0:50, or an upload.")] = _NONE,
    where: Annotated[Texts, Query(description="Exact filters, such as tempo_bpm=90..110.")] = _NONE,
    sort: Sort = "score", per_artist: Annotated[int, Query(ge=0, le=100)] = 0,
    duplicates: bool = False, tempo: Words | None = None, key: Words | None = None, metre: Words | None = None,
    chords: Words | None = None, duration: Words | None = None,
) -> Response:  # fmt: skip
    """The document of `solfa search --json`, with `reading`, how the query was read part by part, and `cursor`."""
    shown = {"k": k, "sort": sort, "per_artist": per_artist, "duplicates": duplicates}
    return await call.found(cursor, shown, q=q, avoid=avoid, drop=drop, like=like, where=where, context=context,
                            tempo=tempo, key=key, metre=metre, chords=chords, duration=duration)  # fmt: skip


@get("/tracks")
async def tracks(call: The, k: Count = 50, cursor: Cursor = "", sort: Sort = "title") -> Response:
    """All tracks in an order of `solfa search --sort`, `-` before it turns it round."""
    return call.answer(await call.engine.searches(overview.tracks, call.engine, sort, k, int(cursor or 1)))


@get("/tracks/{track}")
async def track(call: The, track: TrackId) -> Response:
    """One track: files, tags, what was measured in short."""
    return await call.reading(lambda collection: documents.track_json(collection.track(int(track))))


@get("/tracks/{track}/analysis")
async def analysis(call: The, track: TrackId) -> Response:
    """The document of `solfa analyze --json`."""
    return await call.reading(lambda collection: document.to_json(collection.analysis(int(track))))


@get("/tracks/{track}/describe")
async def describe(call: The, track: TrackId) -> Response:
    """The document of `solfa describe --json`."""
    return await call.reading(lambda collection: {
        "path": next(iter(collection.track(int(track)).paths), None),
        **to_json(summarize(collection.analysis(int(track)))),
    })  # fmt: skip


@get("/tracks/{track}/description")
async def description(call: The, track: TrackId) -> Response:
    """The document of `solfa describe --format json`: what happens when."""

    def tell(collection: Collection) -> Any:
        found, paths = collection.analysis(int(track)), collection.track(int(track)).paths
        return documents.description_json(next(iter(paths), None), narrate(found), timeline(found))

    return await call.reading(tell)


@get("/tracks/{track}/similar")
async def similar(
    call: The, track: TrackId, k: Count = 10, cursor: Cursor = "",
    start: Annotated[float, Query(alias="from", ge=0, le=86400, description="Seconds.")] = 0.0,
    end: Annotated[float, Query(alias="to", gt=0, le=86400, description="Seconds.")] = 86400.0,
) -> Response:  # fmt: skip
    """Tracks that sound like this one, or like a part of it: the document of `solfa search --json`."""
    return await call.found(cursor, {"k": k}, like=[f"{track}@{start:.3f}-{end:.3f}"])


@get("/tracks/{track}/waveform")
async def waveform(
    call: The, track: TrackId, points: Annotated[int, Query(ge=10, le=4000, description="How many peaks.")] = 800,
    peaks: Annotated[bool, Query(description="False: no peaks, for which the file has to be decoded.")] = True,
) -> Response:  # fmt: skip
    """What to draw of a track: `peaks` 0..1 in equal parts, `energy`, sections, chords, beats; tempo, key, metre."""
    found = await call.engine.reads(call.engine.read, lambda collection: collection.analysis(int(track)))
    drawn = await call.engine.decodes(call.engine.peaks, int(track), points) if peaks else None
    own = {name: getattr(found, name) for name in ("duration_s", "energy", "chords", "beats_s", "downbeats_s")}
    own |= {name: getattr(found, name).value for name in ("tempo_bpm", "key", "metre")}
    return call.answer({"schema": "solfa.waveform/1", "peaks": drawn, "sections": sections(found), **own})


@get("/tracks/{track}/audio", response_class=Response, responses={416: {}} | {
    status: {"content": {"audio/*": {}, "application/octet-stream": {}}} for status in (200, 206)})  # fmt: skip
async def audio(
    call: The, track: TrackId,
    form: Annotated[Literal["auto", "original", "flac", "opus"], Query(alias="format")] = "auto",
) -> Response:  # fmt: skip
    """The sound of a track, in ranges too; `auto` makes FLAC of what browsers do not play."""
    response = OpenFile(*await call.engine.audio(int(track), form))
    if call.has(response.headers["etag"]):
        response.file.close()
        return Response(status_code=304, headers={"etag": response.headers["etag"]})
    return response


class OpenFile(FileResponse):
    """An open file, in ranges too; it is closed at the end, whatever the client does."""

    def __init__(self, file: BinaryIO, kind: str) -> None:
        by_number = f"/proc/self/fd/{file.fileno()}"  # the path may lead elsewhere by now
        super().__init__(by_number if os.path.lexists(by_number) else file.name, media_type=kind,
                         headers={"cache-control": "no-cache"}, stat_result=os.fstat(file.fileno()))  # fmt: skip
        self.file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self.file:
            await super().__call__(scope, receive, send)

    @classmethod
    def _parse_range_header(cls, http_range: str, file_size: int) -> list[tuple[int, int]]:
        try:
            return super()._parse_range_header(http_range, file_size)
        except MalformedRangeHeader:  # is passed over (RFC 9110, 14.2)
            return []
        except RangeNotSatisfiable:
            there = {"content-range": f"bytes */{file_size}"}
            raise HTTPException(416, f"the sound ends after {file_size} bytes.", there) from None


@get("/compare")
async def compare(call: The, a: TrackId, b: TrackId, context: Context = "") -> Response:
    """The document of `solfa compare --json`."""
    return await call.reading(lambda collection: documents.compare_json(
        [(name, summarize(collection.analysis(int(name)))) for name in (a, b)], RuleJudge(), context=context
    ))  # fmt: skip


@get("/facets")
async def facets(call: The, where: Annotated[Texts, Query(description="Exact filters.")] = _NONE) -> Response:
    """How many tracks have which tempo, key, metre, length, voice and instruments."""
    return call.answer(await call.engine.searches(overview.facets, call.engine, where))


@get("/map")
async def chart(call: The) -> Response:
    """A place in the plane for every track: near ones sound alike."""
    return call.answer(await call.engine.searches(call.engine.once, "map", overview.places))


@get("/failed")
async def failed(call: The) -> Response:
    """Files that could not be indexed, and why."""
    return await call.reading(lambda collection: {"schema": "solfa.failed/1", "failed": collection.failures()})


@get("/status")
async def status(call: The) -> Response:
    """The document of `solfa status --json`, with the `role` of who asks and the last indexing `job`, or null."""
    job = next(reversed(call.engine.jobs.values()), None)
    return await call.reading(lambda collection: {
        **documents.status_json(collection.directory, collection.stats(), collection.failures()),
        "role": call.role, "job": job,
    })  # fmt: skip


@get("/jobs")
async def jobs(call: The) -> Response:
    """Indexing runs since the start, the last one first."""
    return call.answer({"schema": "solfa.jobs/1", "jobs": [*reversed(call.engine.jobs.values())]})


@get("/jobs/{job}/events", response_class=Response, responses={200: {"content": {"text/event-stream": {}}}})
async def events(call: The, job: Annotated[str, Field(max_length=40)]) -> Response:
    """Server-sent events named `job`, a `solfa.job/1` whenever it changes, until it ends."""
    if (found := call.engine.jobs.get(job)) is None:
        raise Refused(404, "no such job. GET /api/v1/jobs lists them.")

    async def changes() -> AsyncIterator[str]:
        sent, quiet_s = "", 0.0
        while True:
            ended = found["state"] != "running" or call.engine.stopping.is_set()
            if (text := _json(found)) != sent:
                sent, quiet_s = text, 0.0
                yield f"event: job\ndata: {text}\n\n"
            elif quiet_s >= _PING_S:  # proxies close what is silent
                quiet_s = 0.0
                yield ": still running\n\n"
            if ended or call.request.method == "HEAD":
                return
            await asyncio.sleep(0.5)
            quiet_s += 0.5

    return StreamingResponse(changes(), media_type="text/event-stream", headers={"cache-control": "no-store"})


@post("/session")
async def session(call: The, turn: TurnAsked) -> Response:
    """A turn of a search that goes on: a line of `solfa chat --json` with the `id` for the next turn."""
    if bool(turn.text.strip()) == bool(turn.operations):
        raise InputError("give text, a sentence such as 'slower', or operations.")
    asked = (call.role, turn.id, turn.text, turn.operations, turn.k)
    return call.answer(await call.engine.searches(call.engine.turn, *asked))


@change("/jobs/index", status_code=202)
async def index(call: The, run: IndexAsked) -> Response:
    """Index the folders again: the job, or the one that runs already."""
    return call.answer(await call.engine.reads(call.engine.index, run.retry_failed), status=202)


@change("/feedback")
async def feedback(call: The, said: FeedbackAsked) -> Response:
    """Say whether a track is a good answer: the document of `solfa feedback --json`; 409 while something is writing."""
    if not (said.query or said.context):
        raise InputError("say what the verdict is about: query, or context.")

    def keep(collection: Collection) -> Any:
        new, notes = give(collection, [f"track:{said.track}"], said.verdict == "good", query=said.query,
                          context=said.context)  # fmt: skip
        return documents.feedback_json(collection, new, notes)

    return await call.reading(keep)


@post(
    "/playlists", response_class=Response, responses={200: {"content": {kind[1]: {} for kind in _PLAYLISTS.values()}}}
)
async def playlists(call: The, wanted: PlaylistAsked) -> Response:
    """The tracks as the text of a playlist."""
    write, kind = _PLAYLISTS[wanted.format]

    def read(collection: Collection) -> str:
        hits = [documents.hit_of(row) for row in collection.rows([int(one) for one in wanted.ids]) if row.paths]
        if wanted.format == "m3u8" and (broken := documents.unwritable(hits)):
            raise InputError(f"M3U cannot hold a path with a line break: {documents.name_of(broken[0])}. Take XSPF.")
        return write(hits)

    answer = call.answer(await call.engine.reads(call.engine.read, read), kind)
    answer.headers["content-disposition"] = f'attachment; filename="playlist.{wanted.format}"'
    return answer


@post("/examples", status_code=201, openapi_extra={"requestBody": {"required": True, "content": {
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}})  # fmt: skip
async def examples(call: The) -> Response:
    """An example sound, the bytes of a file: its `id` is an example of searches (`like`) for a while."""
    if _uploads.locked():
        raise Refused(429, f"{_UPLOADS} sounds are being uploaded. Try again in a moment.")
    async with _uploads:
        with tempfile.NamedTemporaryFile(prefix="solfa-example-") as file:
            try:
                async with asyncio.timeout(_UPLOAD_S):
                    async for part in call.request.stream():
                        file.write(part)
            except TimeoutError:
                raise Refused(408, f"the sound did not arrive within {_UPLOAD_S:g} s.") from None
            file.flush()
            return call.answer(await call.engine.decodes(call.engine.example, Path(file.name)), status=201)
