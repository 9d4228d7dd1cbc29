"""``solfa serve``: the collection in the browser, and for programs."""

from pathlib import Path
from typing import Annotated

import typer

from solfa.apps.options import CollectionOption, ModelOption, NoncommercialOption, default_collection
from solfa.apps.terminal import tell
from solfa.core.errors import InputError, need


def serve(
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders to index and to play sound from.")] = None,
    collection: CollectionOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on; others than this need a secret.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on (0: any free one).")] = 4333,
    name: Annotated[list[str] | None, typer.Option(help="Host name that browsers may use for it, repeatable.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes of indexing.")] = 1,
    waiting: Annotated[int, typer.Option(min=1, max=10_000, help="Most searches that may wait their turn.")] = 64,
    timeout_s: Annotated[float, typer.Option(min=0.1, help="Longest that a request may take.")] = 10.0,
    mcp: Annotated[bool, typer.Option("--mcp", help="Also answer assistants at /mcp (MCP over HTTP).")] = False,
    model: ModelOption = None,
    allow_noncommercial: NoncommercialOption = False,
) -> None:
    """Serve a web page to search and play, and a REST interface; index the folders in the background.

    Without a secret only this machine can connect. The variables SOLFA_OWNER_SECRET and SOLFA_READER_SECRET set the
    passwords of those who may do everything, and of those who may search and play.
    """
    for module in ("fastapi", "uvicorn", "argon2", "prometheus_client", "mcp"):
        need(module, "solfa serve", "pip install 'solfa[serve]'")
    from solfa.serve.engine import ServeSettings
    from solfa.serve.server import run

    if missing := [str(folder) for folder in folders or () if not folder.exists()]:
        raise InputError(f"not found: {', '.join(missing)}. Give folders with music.")
    run(ServeSettings(
        collection=collection or default_collection(), folders=tuple(folder.absolute() for folder in folders or ()),
        host=host, port=port, names=tuple(name or ()), workers=workers, waiting=waiting, timeout_s=timeout_s, mcp=mcp,
        model=model, allow_noncommercial=allow_noncommercial,
    ), lambda at: tell(f"serving on {at}; stop with Ctrl-C"))  # fmt: skip
