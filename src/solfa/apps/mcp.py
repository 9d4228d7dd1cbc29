"""``solfa mcp``: the collection for assistants, over standard input and output."""

from pathlib import Path
from typing import Annotated

import typer

from solfa.apps.options import CollectionOption, ModelOption, NoncommercialOption, default_collection
from solfa.core.errors import InputError, need


def mcp(
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders that index covers, with --write.")] = None,
    collection: CollectionOption = None,
    write: Annotated[
        bool, typer.Option("--write", help="Allow verdicts on hits, and indexing of FOLDERS; else nothing is changed.")
    ] = False,
    model: ModelOption = None,
    allow_noncommercial: NoncommercialOption = False,
) -> None:
    """Let an assistant search, describe and compare your music: a server of the Model Context Protocol over stdio.

    Programs such as desktop assistants start it themselves: give them the command 'solfa mcp'.
    """
    need("mcp", "solfa mcp", "pip install 'solfa[serve]'")
    from solfa.serve.engine import Engine, ServeSettings
    from solfa.serve.mcp import assistant

    missing = [str(folder) for folder in folders or () if not folder.exists()]
    if missing or (folders and not write):
        raise InputError(f"not found: {', '.join(missing)}." if missing else "FOLDERS are indexed only with --write.")
    engine = Engine(ServeSettings(
        collection=collection or default_collection(), folders=tuple(folder.absolute() for folder in folders or ()),
        model=model, allow_noncommercial=allow_noncommercial,
    ))  # fmt: skip
    engine.start()
    try:
        assistant(engine, writes=write).run("stdio")
    finally:
        engine.stop()
