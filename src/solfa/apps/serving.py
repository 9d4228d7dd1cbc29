"""``solfa serve``: the collection in the browser, and for programs."""

import sys
from getpass import getpass
from pathlib import Path
from secrets import token_urlsafe
from typing import Annotated, Literal

import typer

from solfa.apps.options import CollectionOption, ModelOption, NoncommercialOption, default_collection
from solfa.apps.terminal import tell
from solfa.core.errors import InputError, need
from solfa.weights import home


def serve(
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders to index and to play sound from.")] = None,
    collection: CollectionOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; other than this machine's own it needs a password.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on (0: any free one).")] = 4333,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="Host name that browsers may use for it, repeatable.")
    ] = None,
    secret: Annotated[
        Literal["owner", "reader"] | None, typer.Option("--set", help="Set the password of a role, and end.")
    ] = None,
    token: Annotated[bool, typer.Option("--token", help="With --set: make up a token and print it.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes of indexing.")] = 1,
    waiting: Annotated[int, typer.Option(min=1, max=10_000, help="Most searches that may wait their turn.")] = 64,
    timeout_s: Annotated[float, typer.Option(min=0.1, help="Longest that a request may take.")] = 10.0,
    model: ModelOption = None,
    allow_noncommercial: NoncommercialOption = False,
) -> None:
    """Serve a web page to search and play, and a REST interface; index the folders in the background.

    Without a password only this machine can connect. 'solfa serve --set owner' sets one (it is kept as a hash), or the
    variables SOLFA_OWNER_SECRET and SOLFA_READER_SECRET do; a reader can search and play, and change nothing.
    """
    for module in ("fastapi", "uvicorn", "argon2"):
        need(module, "solfa serve", "pip install 'solfa[serve]'")
    from solfa.serve.engine import ServeSettings
    from solfa.serve.security import set_secret
    from solfa.serve.server import run

    secrets = home() / "serve-secrets.json"
    if secret is not None:
        new = token_urlsafe(32) if token else _typed(secret)
        set_secret(secrets, secret, new)
        tell(new if token else f"the password of the {secret} is {'set' if new else 'removed'}")
        return
    missing = [str(folder) for folder in folders or () if not folder.exists()]
    if missing:
        raise InputError(f"not found: {', '.join(missing)}. Give folders with music.")
    run(ServeSettings(
        collection=collection or default_collection(), folders=tuple(folder.absolute() for folder in folders or ()),
        host=host, port=port, names=tuple(name or ()), secrets=secrets, workers=workers, waiting=waiting,
        timeout_s=timeout_s, model=model, allow_noncommercial=allow_noncommercial,
    ), lambda at: tell(f"serving on {at}; stop with Ctrl-C"))  # fmt: skip


def _typed(role: str) -> str:
    """A password, typed twice on a terminal, or a line of standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass(f"password of the {role} (empty: remove it): ")
    if first != getpass("the same again: "):
        raise InputError("the two are not the same; nothing was changed.")
    return first
