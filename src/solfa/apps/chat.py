"""``solfa chat``, also ``solfa session`` and ``solfa`` alone: a search that goes on in sentences, commands or JSON."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from solfa.apps.options import (
    CollectionOption,
    CountOption,
    JsonOption,
    LlmKeyOption,
    LlmModelOption,
    ModelOption,
    NoncommercialOption,
    PlayerOption,
    default_collection,
)
from solfa.apps.terminal import complain, print_json, show, tell
from solfa.core.errors import InputError, SolfaError
from solfa.core.text import clock, printable

if TYPE_CHECKING:  # --help loads none of these
    from solfa.language import Operation, Session
    from solfa.retrieval import Hit

HELP = """\
TEXT                     a query at first; then what should change, such as: slower, with piano, without the strings,
                         in D minor, only those under three minutes, more like the second but faster, not like 3,
                         the first one was good, guitar instead of piano, forget the tempo, start over, undo, more
+ TEXT, - TEXT, :TEXT    ask for more; not this; a new query that would be read as something else
1 3                      select hits, for play and playlist
play [2]                 play hits
playlist FILE [2]        write hits as M3U8, or XSPF if FILE ends in .xspf
show [2]                 all evidence
help, quit               (a / before a command is fine: /undo)"""


def chat(
    collection: CollectionOption = None,
    model: ModelOption = None,
    k: CountOption = 5,
    player: PlayerOption = None,
    llm: Annotated[
        str, typer.Option(help="OpenAI-compatible endpoint, up to /v1, of a model that reads the sentences.")
    ] = "",
    llm_model: LlmModelOption = "",
    llm_key_env: LlmKeyOption = "",
    allow_noncommercial: NoncommercialOption = False,
    as_json: JsonOption = False,
) -> None:
    """Search by talking: a query, then what should change, line by line; play and keep hits. Also: solfa alone.

    A line that is not understood changes nothing. With --json each turn is one line of JSON (docs/json.md).
    """
    from solfa.api import open_searcher
    from solfa.collection import Collection
    from solfa.language import Session
    from solfa.language.turns import ask_model
    from solfa.llm import Client, Endpoint
    from solfa.retrieval import Display
    from solfa.weights import home

    if bool(llm) != bool(llm_model and llm):
        raise InputError("--llm needs --llm-model NAME.")
    client = Client(Endpoint(url=llm, model=llm_model, key_env=llm_key_env, temperature=0.0, most_tokens=1000),
                    home() / "answers") if llm else None  # fmt: skip
    with Collection.open(collection or default_collection()) as opened:
        searcher = open_searcher(opened, model, allow_noncommercial=allow_noncommercial)
        session = Session(searcher, Display(k=k))

        def understand(line: str) -> "Sequence[Operation]":
            return session.understood(line) if client is None else ask_model(client, line, session.state())

        loop(session, player, understand, as_json=as_json)


def loop(
    session: "Session", player: str | None, understand: "Callable[[str], Sequence[Operation]]", *, as_json: bool = False
) -> None:
    """Read lines until the end of input or ``quit``; a mistake is one line, and the session goes on."""
    with suppress(ImportError):
        import readline  # noqa: F401  (line editing and history of input())
    if not as_json:
        tell(f"{len(session.searcher.collection.attributes())} tracks. Type a query; 'help' lists the commands.")
    while True:
        try:
            line = input("" if as_json else "> ").strip()
        except EOFError:
            tell("") if not as_json else None
            return
        except KeyboardInterrupt:  # clears the line, as in a shell
            tell("")
            continue
        except UnicodeDecodeError:
            complain("that line is not valid text in the encoding of this terminal.")
            continue
        command = line.removeprefix("/").strip()
        if command in ("quit", "exit"):
            return
        try:
            if command:
                _turn(session, command, player, understand, as_json)
        except KeyboardInterrupt:
            tell("stopped")
        except SolfaError as error:
            print_json({"schema": "solfa.session/1", "error": str(error)}, None) if as_json else complain(str(error))
        sys.stdout.flush()


def _turn(
    session: "Session", line: str, player: str | None, understand: "Callable[[str], Sequence[Operation]]", as_json: bool
) -> None:
    from solfa.apps.player import play

    word, _, rest = line.partition(" ")
    word, rest, numbers = word.casefold(), rest.strip(), re.fullmatch(r"\w+[\d, ]*", line)
    if word in ("help", "?") and not rest:
        tell(HELP)
    elif word == "play" and numbers:
        play(session.hits(rest), player)
    elif word == "show" and numbers:
        _show_hits(session, session.hits(rest))
    elif word == "playlist" and rest:
        _write(session, rest)
    elif session.results and re.fullmatch(r"\d[\d, ]*", line):
        for hit in session.select(line):
            tell(f"selected: {printable(hit.tags.title or hit.path.stem)}  {clock(hit.start_s)}-{clock(hit.end_s)}")
    else:
        _carry_out(session, line, understand, as_json)


def _carry_out(
    session: "Session", line: str, understand: "Callable[[str], Sequence[Operation]]", as_json: bool
) -> None:
    """One turn, and what came of it."""
    from solfa.apps.render import results_text
    from solfa.collection.feedback import Sought
    from solfa.language import Operation
    from solfa.relevance.feedback import remember
    from solfa.serve.documents import results_json

    sign, text = line[0], line[1:].strip()
    if sign in "{[":
        try:
            given = json.loads(line)
        except (ValueError, RecursionError):
            raise InputError("a line that begins with { or [ must be operations in JSON.") from None
        operations = [Operation.of(value) for value in (given if isinstance(given, list) else [given])]
    elif sign in "+-" and text:
        operations = [Operation(op="add" if sign == "+" else "avoid", text=text)]
    elif sign == ":" and text:
        operations = [Operation(op="forget", text="everything"), Operation(op="set", text=text)]
    else:
        operations = list(understand(line))
    results = session.apply(operations)
    if results is not None:
        remember(session.searcher.collection, results, Sought(query=session.request.words))
    if as_json:
        found = None if results is None else results_json(results)
        print_json({**session.state(), "operations": operations, "results": found}, None)
        return
    if results is not None:
        show(results_text(results))
    for said in session.said:
        tell(printable(said))
    tell(f"asked: {printable(str(session.request))}")


def _show_hits(session: "Session", hits: "Sequence[Hit]") -> None:
    from solfa.apps.render import results_text

    assert session.results is not None
    for hit in hits:
        at = session.results.hits.index(hit)
        one = replace(session.results, parsed=(), note="", hits=(hit,), before=session.results.before + at)
        show(results_text(one, verbose=True))


def _write(session: "Session", rest: str) -> None:
    """``playlist FILE [NUMBERS]``: what follows the name's last blank may be numbers."""
    from solfa.apps import playlist

    name, numbers = re.fullmatch(r"(.+?)((?: +[\d,]+)*)", rest).groups()  # type: ignore[union-attr]
    path, hits = Path(name).expanduser(), session.hits(numbers)
    if path.suffix.lower() not in (".m3u", ".m3u8", ".xspf"):
        raise InputError(f"unknown kind of playlist: {path.name!r}. End the name in .m3u8 or .xspf.")
    is_xspf = path.suffix.lower() == ".xspf"
    playlist.write(hits, None if is_xspf else path, path if is_xspf else None, force=False)
    tell(f"{len(hits)} hits written to {printable(str(path))}")
