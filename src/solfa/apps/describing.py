"""``solfa describe``: tracks in words and classes."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from solfa.apps.options import (
    CollectionOption,
    JsonOption,
    LlmKeyOption,
    LlmModelOption,
    ModelOption,
    NoncommercialOption,
    default_collection,
)
from solfa.apps.terminal import SOME_FAILED, complain, print_json, show, tell
from solfa.core.errors import DecodeError, InputError, SolfaError
from solfa.core.text import printable
from solfa.weights import home

if TYPE_CHECKING:  # --help loads none of these
    from solfa.collection import Collection
    from solfa.llm import Endpoint
    from solfa.relevance import TrackSummary
    from solfa.relevance.makers import ModelMaker


def describe(
    files: Annotated[list[Path] | None, typer.Argument(help="Audio files, or the folder of a collection.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every track of the collection.")] = False,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Show where each field comes from: a measurement, or words of a text.")
    ] = False,
    llm: Annotated[
        str, typer.Option(help="OpenAI-compatible endpoint, up to /v1, of a text model that reads what was measured, "
                          "--caption or what --audio-llm says.")
    ] = "",
    llm_model: LlmModelOption = "",
    llm_key_env: LlmKeyOption = "",
    audio_llm: Annotated[str, typer.Option(help="The same of an audio model, which describes the sound.")] = "",
    audio_model: Annotated[str, typer.Option(help="Its name at the endpoint.")] = "",
    caption: Annotated[str, typer.Option(help="What is known of the one FILE in words.")] = "",
    llm_omit: Annotated[
        str, typer.Option(help="Fields of the request to leave out: temperature, max_tokens, seed, response_format.")
    ] = "",
    model: ModelOption = None,
    allow_noncommercial: NoncommercialOption = False,
    collection: CollectionOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Describe tracks: genre, energy, instruments, mood, voice and more, each with its source.

    What is not measured or stated, or not surely, is left out. A file that is not in the collection is analyzed.
    """
    from solfa.collection import Collection
    from solfa.collection.database import Database
    from solfa.llm import Endpoint
    from solfa.relevance import to_json

    place, named = collection or default_collection(), files or []
    if len(named) == 1 and Database(named[0]).exists():
        place, named, every = named[0], [], True
    if every == bool(named):
        raise InputError("name audio files, or --all for the collection; one of the two.")
    if bool(audio_llm) != bool(audio_model) or bool(llm) < bool(audio_llm or caption) or bool(llm_model) < bool(llm):
        raise InputError("--llm needs --llm-model; --caption and --audio-llm with --audio-model need --llm as well.")
    if caption and (audio_llm or len(named) != 1):
        raise InputError("--caption is about one FILE, and for --llm alone.")
    models, documents, failed = list["Endpoint"](), [], 0
    if llm:  # local models take minutes
        models = [Endpoint(url=llm, model=llm_model, key_env=llm_key_env, temperature=0.0, most_tokens=2000,
                           timeout_s=300.0, omit=tuple(filter(None, llm_omit.split(","))))]  # fmt: skip
    if audio_llm:
        models += [replace(models[0], url=audio_llm, model=audio_model, key_env=llm_key_env if audio_llm == llm else "",
                           temperature=0.7, most_tokens=1000)]  # fmt: skip
    with Collection.open(place) if every or Database(place).exists() else nullcontext() as opened:
        asked = _by_models(models, caption, opened, model, allow_noncommercial) if models else None
        for path, found in _tracks(opened, named, asked):
            if isinstance(found, SolfaError):
                if len(named) == 1:
                    raise found
                failed += 1
                complain(str(found))
            elif as_json:
                documents.append({"path": path, **to_json(found)})
            else:
                tell(printable(f"{path.name}: {found.description}"))
                if evidence or len(named) == 1:
                    show(_fields(found, evidence=evidence))
    if as_json:
        print_json(documents[0] if len(named) == 1 else documents)
    if failed:
        raise typer.Exit(SOME_FAILED)


def _by_models(
    models: "list[Endpoint]", caption: str, collection: "Collection | None", joint: str | None, noncommercial: bool
) -> "ModelMaker":
    """A maker that asks a text model, and an audio model if there is a second one, and keeps what they answer."""
    from solfa.api import resolve_model
    from solfa.encoders.registry import load_model
    from solfa.llm import Client
    from solfa.relevance.captions import SoundCheck
    from solfa.relevance.makers import ModelMaker

    check, (reader, *listener) = None, (Client(one, home() / "answers") for one in models)
    if listener or caption:
        name, allowed = resolve_model(collection, joint, noncommercial)
        loaded = load_model(name, allow_noncommercial=allowed)
        check = None if loaded.match is None else SoundCheck(loaded, loaded.match.texts_XD)
        if check is None:
            complain(f"note: captions are not held against the sound: {name} has no other texts to compare with.")
    return ModelMaker(reader=reader, listener=next(iter(listener), None), folder=home() / "summaries", caption=caption,
                      check=check)  # fmt: skip


def _tracks(
    collection: "Collection | None", files: list[Path], asked: "ModelMaker | None"
) -> Iterator[tuple[Path, "TrackSummary | SolfaError"]]:
    """The files, or every track of the collection; an error in the place of a file that cannot be read."""
    from solfa.analysis.analyze import analyze
    from solfa.audio import ContentHash, stretches
    from solfa.relevance import summaries, summarize

    if collection is not None and not files and asked is None:
        yield from (
            (row.paths[0], one) for row, (_, one) in zip(collection.tracks(), summaries(collection), strict=True)
        )
        return
    rows = ((row.paths[0], row.id) for row in collection.tracks()) if collection is not None and not files else (
        (file, None if collection is None else collection.at(file)) for file in files)  # fmt: skip
    for file, track_id in rows:
        try:
            if collection is None or track_id is None:
                analysis, name = analyze(stretches(file, content=(content := ContentHash()))), content.hex
            else:
                analysis, name = collection.analysis(track_id), collection.track(track_id).hash
            yield file, summarize(analysis) if asked is None else asked.make(name, file, analysis)
        except DecodeError as error:
            yield file, error


def _fields(summary: "TrackSummary", *, evidence: bool) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in summary.known().items():
        source, shown = summary.sources[name], ", ".join(value) if isinstance(value, tuple) else f"{value}"
        sure = "" if source.confidence is None else f" ({source.confidence:.2f})"
        row = [f"  {name}".replace("_", " "), shown.replace("_", " ")]
        row += [f"{source.measurement}: {source.sentence or source.value}{sure}"] if evidence else []
        table.add_row(*(Text(printable(cell)) for cell in row))
    for flag in summary.flags:
        table.add_row(Text("  note"), Text(printable(flag)))
    return table
