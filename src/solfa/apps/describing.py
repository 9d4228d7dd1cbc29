"""``solfa describe``: tracks in sentences, each with its measurement, and in words and classes."""

import re
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
from solfa.core.errors import DecodeError, InputError, SolfaError, need
from solfa.core.text import clock, printable
from solfa.weights import home

if TYPE_CHECKING:  # --help loads none of these
    from solfa.collection import Collection
    from solfa.core.types import Analysis
    from solfa.language import Claim, Part
    from solfa.llm import Endpoint
    from solfa.relevance import TrackSummary
    from solfa.relevance.makers import ModelMaker

Format = Literal["text", "json", "markdown", "srt", "vtt", "lrc"]
_SUBTITLES = ("srt", "vtt", "lrc")


def describe(
    files: Annotated[list[Path] | None, typer.Argument(help="Audio files, or the folder of a collection.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every track of the collection.")] = False,
    sections: Annotated[bool, typer.Option("--sections", help="Tell of each part what plays in it.")] = False,
    every: Annotated[float | None, typer.Option(min=1.0, help="The same of every so many seconds.")] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="How the sentences are written; srt, vtt and lrc are subtitles.")
    ] = None,
    language: Annotated[
        str, typer.Option(help="en, or a table of phrases in another language (a TOML file, docs/language.md).")
    ] = "en",
    fields: Annotated[bool, typer.Option("--fields", help="Show the track in classes as well.")] = False,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Show what each sentence or field rests on, and how sure it is.")
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
    captioner: Annotated[
        Path | None, typer.Option(help="Folder of a learned captioner ('solfa train captioner'): its words, no others.")
    ] = None,
    model: ModelOption = None,
    allow_noncommercial: NoncommercialOption = False,
    collection: CollectionOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Describe FILES in sentences: form in time, key, tempo, chords, instruments, voice, mood; collections in brief.

    All was measured; what is not clear is said to be so. --fields and --json give genre, energy and more as classes.
    A file that is not in the collection is analyzed.
    """
    from solfa.collection import Collection
    from solfa.collection.database import Database
    from solfa.language import narrate, subtitles, timeline
    from solfa.llm import Endpoint
    from solfa.relevance import to_json
    from solfa.serve.documents import description_json

    place, named = collection or default_collection(), files or []
    if len(named) == 1 and Database(named[0]).exists():
        place, named, everything = named[0], [], True
    if everything == bool(named):
        raise InputError("name audio files, or --all for the collection; one of the two.")
    if bool(audio_llm) != bool(audio_model) or bool(llm) < bool(audio_llm or caption) or bool(llm_model) < bool(llm):
        raise InputError("--llm needs --llm-model; --caption and --audio-llm with --audio-model need --llm as well.")
    if caption and (audio_llm or len(named) != 1):
        raise InputError("--caption is about one FILE, and for --llm alone.")
    if captioner is not None:
        if not named or llm or sections or every or fields or evidence or language != "en":
            raise InputError("--captioner is about FILES, and with --format, --json and --allow-noncommercial alone.")
        _captioned(captioner, named, "json" if as_json else form, allow_noncommercial)
        return
    asked = form or sections or every or language != "en"
    if (sections and every) or (asked and (as_json or llm)):
        raise InputError(
            "--sections or --every, one of the two; they, --format and --language are not for --json or --llm."
        )
    if form in _SUBTITLES and len(named) != 1:
        raise InputError(f"--format {form} is of one FILE.")
    models, documents, failed = list["Endpoint"](), [], 0
    if llm:  # local models take minutes
        models = [Endpoint(url=llm, model=llm_model, key_env=llm_key_env, temperature=0.0, most_tokens=2000,
                           timeout_s=300.0, omit=tuple(filter(None, llm_omit.split(","))))]  # fmt: skip
    if audio_llm:
        models += [replace(models[0], url=audio_llm, model=audio_model, key_env=llm_key_env if audio_llm == llm else "",
                           temperature=0.7, most_tokens=1000)]  # fmt: skip
    with Collection.open(place) if everything or Database(place).exists() else nullcontext() as opened:
        maker = _by_models(models, caption, opened, model, allow_noncommercial) if models else None
        narrated = maker is None and not as_json and bool(named or asked)
        for path, analysis, found in _tracks(opened, named, maker, narrated=narrated):
            if isinstance(found, SolfaError):
                if len(named) == 1:
                    raise found
                failed += 1
                complain(str(found))
            elif as_json:
                documents.append({"path": path, **to_json(found)})
            elif analysis is not None:
                told = narrate(analysis, language=language, every_s=every, sections=sections or form in _SUBTITLES)
                line = timeline(analysis, every_s=every)
                if form == "json":
                    documents.append(description_json(path, told, line, language=language))
                elif form in _SUBTITLES:
                    tell(subtitles(told, form or "").rstrip("\n"))
                else:
                    parts = line.parts if sections or every else ()
                    tell("\n".join(_lines(path.name, told, parts, markdown=form == "markdown")))
                if form in (None, "text"):
                    if evidence:
                        show(_rests_on(told))
                    if fields:
                        show(_fields(found, evidence=evidence))
            else:
                tell(printable(f"{path.name}: {found.description}"))
                if evidence or fields or named:
                    show(_fields(found, evidence=evidence))
    if as_json or form == "json":
        print_json(documents[0] if len(named) == 1 else documents)
    if failed:
        raise typer.Exit(SOME_FAILED)


def _captioned(folder: Path, files: Sequence[Path], form: Format | None, noncommercial: bool) -> None:
    """What a learned captioner says of files, said to be its word."""
    need("transformers", "a learned captioner", "pip install 'solfa[torch]'")
    from solfa.language import subtitles
    from solfa.language.captioner.folder import LearnedCaptioner

    learned, documents, failed = LearnedCaptioner(folder, allow_noncommercial=noncommercial), [], 0
    for file in files:
        try:
            if form == "json":
                claims = tuple(learned.claims(file))
                documents.append({"schema": "solfa.captions/1", "path": file, "claims": claims})
            elif form in _SUBTITLES:
                tell(subtitles(learned.claims(file), str(form)).rstrip("\n"))
            else:
                tell(printable(f"{file.name}, in the words of {learned.name}, of which nothing was measured:"))
                for one in learned.claims(file):
                    tell(f"{'- ' * (form == 'markdown')}{clock(one.start_s)}-{clock(one.end_s)} {one.text}")
        except DecodeError as error:
            if len(files) == 1:
                raise
            failed += 1
            complain(str(error))
    if form == "json":
        print_json(documents[0] if len(files) == 1 else documents)
    if failed:
        raise typer.Exit(SOME_FAILED)


def _by_models(
    models: "list[Endpoint]", caption: str, collection: "Collection | None", joint: str | None, noncommercial: bool
) -> "ModelMaker":
    """A maker that asks a text model, and an audio model if there is a second one, and keeps what they answer."""
    from solfa.api import resolve_model
    from solfa.encoders.registry import load_model
    from solfa.llm import ModelClient
    from solfa.relevance.captions import SoundCheck
    from solfa.relevance.makers import ModelMaker

    check, (reader, *listener) = None, (ModelClient(one, home() / "answers") for one in models)
    if listener or caption:
        name, allowed = resolve_model(collection, joint, noncommercial)
        loaded = load_model(name, allow_noncommercial=allowed)
        check = None if loaded.match is None else SoundCheck(loaded, loaded.match.texts_XD)
        if check is None:
            complain(f"note: captions are not held against the sound: {name} has no other texts to compare with.")
    return ModelMaker(reader=reader, listener=next(iter(listener), None), folder=home() / "summaries", caption=caption,
                      check=check)  # fmt: skip


def _tracks(
    collection: "Collection | None", files: list[Path], asked: "ModelMaker | None", *, narrated: bool
) -> "Iterator[tuple[Path, Analysis | None, TrackSummary | SolfaError]]":
    """The files, or every track of the collection; an error in the place of a file that cannot be read.

    With each its analysis where it is ``narrated``.
    """
    from solfa.analysis.analyze import analyze
    from solfa.audio import ContentHash, stretches
    from solfa.relevance import summaries, summarize

    if collection is not None and not files and asked is None and not narrated:
        for row, (_, one) in zip(collection.tracks(), summaries(collection), strict=True):
            yield row.paths[0], None, one
        return
    rows = ((row.paths[0], row.id) for row in collection.tracks()) if collection is not None and not files else (
        (file, None if collection is None else collection.at(file)) for file in files)  # fmt: skip
    for file, track_id in rows:
        try:
            if collection is None or track_id is None:
                analysis, name = analyze(stretches(file, content=(content := ContentHash()))), content.hex
            else:
                analysis, name = collection.analysis(track_id), collection.track(track_id).hash
            found = summarize(analysis) if asked is None else asked.make(name, file, analysis)
            yield file, analysis if narrated else None, found
        except DecodeError as error:
            yield file, None, error


def _lines(name: str, claims: "Sequence[Claim]", parts: "Sequence[Part]", *, markdown: bool) -> Iterator[str]:
    """A paragraph, and a line for each of the parts, if they are told apart."""
    title = printable(name)
    heading = "## " + re.sub(r"([\\`*_{}\[\]<>#|&])", r"\\\1", title) + "\n\n" if markdown else f"{title}: "
    yield heading + " ".join(c.text for c in claims if not parts or c.part is None) + "\n" * (markdown and bool(parts))
    told = {c.part for c in claims}
    for number, part in ((number, part) for number, part in enumerate(parts) if number in told):
        when = f"{clock(part.start_s)}-{clock(part.end_s)}{f' {part.label}' if part.label else ''}"
        text = " ".join(c.text for c in claims if c.part == number)
        yield f"- **{when}**: {text}" if markdown else f"  {when}  {text}"


def _rests_on(claims: "Sequence[Claim]") -> Table:
    """Each sentence with where it holds, what was measured, and how sure that is."""
    table = Table.grid(padding=(0, 2))
    for c in claims:
        value = "none" if c.value is None else f"{c.value:.2f}" if isinstance(c.value, float) else str(c.value)
        sure = f"{c.confidence:.2f}, {c.certainty}"
        row = [f"  {clock(c.start_s)}-{clock(c.end_s)}", c.text, f"{c.field}: {value} ({sure})".replace("_", " ")]
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


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
