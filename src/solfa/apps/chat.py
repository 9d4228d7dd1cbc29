"""``solfa chat``, also ``solfa session`` and ``solfa`` alone: a search that goes on in sentences, commands or JSON."""

import json
import re
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from solfa.apps import options
from solfa.apps.captioning import client_of
from solfa.apps.terminal import complain, print_json, show, tell
from solfa.core.errors import InputError, SolfaError
from solfa.core.text import clock, printable

if TYPE_CHECKING:  # --help loads none of these
    from solfa.language import Session
    from solfa.llm import ModelClient

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
    collection: options.CollectionOption = None,
    model: options.ModelOption = None,
    k: options.CountOption = 5,
    player: options.PlayerOption = None,
    llm: Annotated[str, typer.Option(help="Endpoint, up to /v1, of a language model that reads the sentences.")] = "",
    llm_model: options.LlmModelOption = "",
    llm_key_env: options.LlmKeyOption = "",
    allow_noncommercial: options.NoncommercialOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Search by talking: a query, then what should change, line by line; play and keep hits. Also: solfa alone.

    A line that is not understood changes nothing. With --json each turn is one line of JSON (docs/json.md).
    """
    from solfa.api import open_searcher
    from solfa.collection import Collection
    from solfa.language import Session
    from solfa.retrieval import Display

    client = client_of(llm, llm_model, llm_key_env) if llm or llm_model else None
    with Collection.open(collection or options.default_collection()) as opened:
        searcher = open_searcher(opened, model, allow_noncommercial=allow_noncommercial)
        Chat(Session(searcher, Display(k=k)), player, client, as_json).loop()


@dataclass(slots=True)
class Chat:
    """A session at a terminal: lines in, hits or JSON out."""

    session: "Session"
    player: str | None = None
    client: "ModelClient | None" = None
    as_json: bool = False

    def loop(self) -> None:
        """Read lines until the end of input or ``quit``; a mistake is one line, and the session goes on."""
        with suppress(ImportError):
            import readline  # noqa: F401  (line editing and history of input())
        if not self.as_json:
            count = len(self.session.searcher.collection.attributes())
            tell(f"{count} tracks. Type a query; 'help' lists the commands.")
        while True:
            try:
                line = input("" if self.as_json else "> ").strip().removeprefix("/").strip()
                if line in ("quit", "exit"):
                    return
                if line:
                    self.turn(line)
            except EOFError:
                return None if self.as_json else tell("")
            except KeyboardInterrupt:  # clears the line, as in a shell
                tell("")
            except UnicodeDecodeError:
                complain("that line is not valid text in the encoding of this terminal.")
            except SolfaError as error:
                error_json = {"schema": "solfa.session/1", "error": str(error)}
                print_json(error_json, None) if self.as_json else complain(str(error))
            sys.stdout.flush()

    def turn(self, line: str) -> None:
        """Carry out one line: a command, or a turn of the conversation."""
        from solfa.apps.player import play
        from solfa.apps.render import results_text

        word, _, rest = line.partition(" ")
        word, rest, session, numbers = word.casefold(), rest.strip(), self.session, re.fullmatch(r"\w+[\d, ]*", line)
        if word in ("help", "?") and not rest:
            tell(HELP)
        elif word == "play" and numbers:
            play(session.hits(rest), self.player)
        elif word == "show" and numbers and session.results:
            for hit in session.hits(rest):
                at = session.results.hits.index(hit) + session.results.before
                show(results_text(replace(session.results, parsed=(), note="", hits=(hit,), before=at), verbose=True))
        elif word == "playlist" and rest:
            self._write(rest)
        elif session.results and re.fullmatch(r"\d[\d, ]*", line):
            for hit in session.select(line):
                tell(f"selected: {printable(hit.tags.title or hit.path.stem)}  {clock(hit.start_s)}-{clock(hit.end_s)}")
        else:
            self._carry_out(line)

    def _carry_out(self, line: str) -> None:
        from solfa.apps.render import results_text
        from solfa.collection.feedback import Sought
        from solfa.language.turns import EVERYTHING, Operation, ask_model
        from solfa.relevance.feedback import remember
        from solfa.serve.documents import results_json

        session, sign, text = self.session, line[0], line[1:].strip()
        if sign in "{[":
            try:
                given = json.loads(line)
            except (ValueError, RecursionError):
                raise InputError("a line that begins with { or [ must be operations in JSON.") from None
            turn = [Operation.of(value) for value in (given if isinstance(given, list) else [given])]
        elif sign in "+-:" and text:
            op = Operation(op={"+": "add", "-": "avoid", ":": "set"}[sign], text=text)
            turn = [EVERYTHING, op] if sign == ":" else [op]
        else:
            turn = ask_model(self.client, line, session.state()) if self.client else session.understood(line)
        results = session.apply(turn)
        if results is not None:
            remember(session.searcher.collection, results, Sought(query=session.request.words))
        if self.as_json:
            found = results and results_json(results)
            print_json({**session.state(), "operations": turn, "results": found}, None)
            return
        if results is not None:
            show(results_text(results))
        for said in (*session.said, f"asked: {session.request}"):
            tell(printable(said))

    def _write(self, rest: str) -> None:
        """``playlist FILE [NUMBERS]``: what follows the name's last blank may be numbers."""
        from solfa.apps import playlist

        name, numbers = re.fullmatch(r"(.+?)((?: +[\d,]+)*)", rest).groups()  # type: ignore[union-attr]
        path, hits = Path(name).expanduser(), self.session.hits(numbers)
        if path.suffix.lower() not in (".m3u", ".m3u8", ".xspf"):
            raise InputError(f"unknown kind of playlist: {path.name!r}. End the name in .m3u8 or .xspf.")
        is_xspf = path.suffix.lower() == ".xspf"
        playlist.write(hits, None if is_xspf else path, path if is_xspf else None, force=False)
        tell(f"{len(hits)} hits written to {printable(str(path))}")
