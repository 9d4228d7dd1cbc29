"""``solfa describe``: tracks in words and classes."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from solfa.apps.options import CollectionOption, JsonOption, default_collection
from solfa.apps.terminal import SOME_FAILED, complain, print_json, show, tell
from solfa.core.errors import InputError, SolfaError
from solfa.core.text import printable

if TYPE_CHECKING:  # --help loads none of these
    from solfa.collection import Collection
    from solfa.relevance import TrackSummary


def describe(
    files: Annotated[list[Path] | None, typer.Argument(help="Audio files, or the folder of a collection.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every track of the collection.")] = False,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Show each field with what was measured, its value and confidence.")
    ] = False,
    collection: CollectionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Describe tracks: genre, energy, instruments, mood, voice and more, by rules over what was measured.

    What is not measured, or not surely, is left out. A file that is not in the collection is analyzed.
    """
    from solfa.collection import Collection
    from solfa.collection.database import Database
    from solfa.relevance import to_json

    place, named = collection or default_collection(), files or []
    if len(named) == 1 and Database(named[0]).exists():
        place, named, every = named[0], [], True
    if every == bool(named):
        raise InputError("name audio files, or --all for the collection; one of the two.")
    documents, failed = [], 0
    with Collection.open(place) if every or Database(place).exists() else nullcontext() as opened:
        for path, found in _all(opened) if every and opened is not None else _each(named, opened):
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


def _all(collection: "Collection") -> Iterator[tuple[Path, "TrackSummary"]]:
    from solfa.relevance import summaries

    for row, (_, summary) in zip(collection.tracks(), summaries(collection), strict=True):
        yield row.paths[0], summary


def _each(files: list[Path], collection: "Collection | None") -> Iterator[tuple[Path, "TrackSummary | SolfaError"]]:
    from solfa.analysis.analyze import analyze
    from solfa.relevance import summarize

    for file in files:
        try:
            track_id = None if collection is None else collection.at(file)
            known = collection is not None and track_id is not None and file.is_file()
            yield file, summarize(collection.analysis(track_id) if known else analyze(file))  # type: ignore[union-attr, arg-type]
        except SolfaError as error:
            yield file, error


def _fields(summary: "TrackSummary", *, evidence: bool) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in summary.known().items():
        shown = ", ".join(value) if isinstance(value, tuple) else f"{value}"
        row = [f"  {name.replace('_', ' ')}", shown.replace("_", " ")]
        if evidence:
            source = summary.sources[name]
            sure = "" if source.confidence is None else f" ({source.confidence:.2f})"
            row.append(f"{source.measurement}: {source.sentence or source.value}{sure}")
        table.add_row(*(Text(printable(cell)) for cell in row))
    for flag in summary.flags:
        table.add_row(Text("  note"), Text(printable(flag)))
    return table
