"""``solfa`` alone on a terminal: a line is a query, or a command on the one before."""

import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from solfa.apps import playlist
from solfa.apps.player import play
from solfa.apps.render import results_text
from solfa.apps.session import Session
from solfa.apps.terminal import complain, show, tell
from solfa.core.errors import InputError, SolfaError
from solfa.core.text import clock, printable
from solfa.retrieval import Hit, Results
from solfa.serve.documents import name_of

HELP = """\
TEXT                     a new query
+ TEXT, and TEXT         ask for more
- TEXT, without TEXT     not this
drop TEXT                remove a part of the query
like 2                   more that sounds like hit 2
1 3                      select hits, for play and playlist
play [2]                 play hits
playlist FILE [2]        write hits as M3U8, or XSPF if FILE ends in .xspf
show [2]                 all evidence
more, undo, help, quit
:TEXT                    a query that starts like a command"""


def loop(session: Session, player: str | None) -> None:
    """Read lines until the end of input or ``quit``; a mistake is one line, and the session goes on."""
    with suppress(ImportError):
        import readline  # noqa: F401  (line editing and history of input())
    tell(f"{len(session.searcher.collection.attributes())} tracks. Type a query; 'help' lists the commands.")
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            tell("")
            return
        except KeyboardInterrupt:  # clears the line, as in a shell
            tell("")
            continue
        except UnicodeDecodeError:
            complain("that line is not valid text in the encoding of this terminal.")
            continue
        if line in ("quit", "exit"):
            return
        try:
            if line:
                _turn(session, line, player)
        except KeyboardInterrupt:
            tell("stopped")
        except SolfaError as error:
            complain(str(error))
        sys.stdout.flush()


def _turn(session: Session, line: str, player: str | None) -> None:
    word, _, rest = line.partition(" ")
    word, rest = word.casefold(), rest.strip()
    signs = {"+": session.add, "-": session.avoid, ":": session.ask}
    refinements = {"and": session.add, "without": session.avoid, "drop": session.drop}
    numbers = re.fullmatch(r"[\d, ]*", rest)
    if line[0] in signs and line[1:].strip():
        _answer(session, signs[line[0]](line[1:].strip()))
    elif word in refinements and rest and session.results:
        _answer(session, refinements[word](rest))
    elif word in ("help", "?") and not rest:
        tell(HELP)
    elif word in ("more", "undo") and not rest:
        _answer(session, session.more() if word == "more" else session.undo())
    elif word == "play" and numbers:
        play(session.hits(rest), player)
    elif word == "like" and numbers:
        _answer(session, session.like(rest))
    elif word == "show" and numbers:
        _show_hits(session, session.hits(rest))
    elif word == "playlist" and rest:
        _write(session, rest)
    elif session.results and re.fullmatch(r"\d[\d, ]*", line):
        for hit in session.select(line):
            tell(f"selected: {name_of(hit)}  {clock(hit.start_s)}-{clock(hit.end_s)}")
    else:
        _answer(session, session.ask(line))


def _answer(session: Session, results: Results | None) -> None:
    if results is not None:
        show(results_text(results))
    tell(f"asked: {printable(str(session.request))}")


def _show_hits(session: Session, hits: Sequence[Hit]) -> None:
    assert session.results is not None
    for hit in hits:
        at = session.results.hits.index(hit)
        one = replace(session.results, parsed=(), note="", hits=(hit,), before=session.results.before + at)
        show(results_text(one, verbose=True))


def _write(session: Session, rest: str) -> None:
    """``playlist FILE [NUMBERS]``: what follows the name's last blank may be numbers."""
    name, numbers = re.fullmatch(r"(.+?)((?: +[\d,]+)*)", rest).groups()  # type: ignore[union-attr]
    path, hits = Path(name).expanduser(), session.hits(numbers)
    if path.suffix.lower() not in (".m3u", ".m3u8", ".xspf"):
        raise InputError(f"unknown kind of playlist: {path.name!r}. End the name in .m3u8 or .xspf.")
    is_xspf = path.suffix.lower() == ".xspf"
    playlist.write(hits, None if is_xspf else path, path if is_xspf else None, force=False)
    tell(f"{len(hits)} hits written to {printable(str(path))}")
