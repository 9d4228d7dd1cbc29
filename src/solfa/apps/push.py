"""``solfa push``: what was found, into the music server that plays it."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from solfa.apps.options import ForceOption, JsonOption
from solfa.apps.terminal import print_json, show, tell
from solfa.core.errors import InputError, need
from solfa.core.text import plain, printable

push_app = typer.Typer(help="Put playlists into a music server that you run.", no_args_is_help=True)


@push_app.command()
def playlist(
    file: Annotated[Path, typer.Argument(help="M3U playlist, as 'solfa search --m3u' writes it (-: standard input).")],
    to: Annotated[Literal["subsonic", "mpd"], typer.Option(help="Kind of server.")],
    url: Annotated[str, typer.Option(help="Its address: http://HOST:PORT, for MPD HOST or HOST:PORT.")],
    name: Annotated[str | None, typer.Option(help="Name of the playlist (default: that of the file).")] = None,
    user: Annotated[str, typer.Option(help="Your name on a Subsonic server.")] = "",
    password_env: Annotated[
        str, typer.Option(help="Environment variable that holds the password.")
    ] = "SOLFA_PUSH_PASSWORD",
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a playlist on a Subsonic server (Navidrome, Airsonic, Gonic ...) or an MPD from files that it also has.

    On a Subsonic server your playlist of the same name is replaced, on an MPD only with --force. Files that the server
    does not have are listed and left out; nothing is made if it has none.
    """
    for module in ("httpx", "mpd"):
        need(module, "solfa push", "pip install 'solfa[serve]'")
    from solfa.serve.push import read_m3u, to_mpd, to_subsonic

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}.") from None
    paths, password = read_m3u(text, file.parent), os.environ.get(password_env, "")
    title = name or ("solfa" if str(file) == "-" else file.stem)
    if to == "subsonic":
        if not url.startswith(("http://", "https://")) or not (user and password):
            raise InputError(
                f"a Subsonic server needs --url http://HOST:PORT, --user, and the password in {password_env}."
            )
        pushed = to_subsonic(paths, title, url, user, password)
    else:
        host, _, port = url.rpartition(":") if url.count(":") == 1 else (url, "", "6600")
        if not (port.isascii() and port.isdecimal() and host) or "/" in host:
            raise InputError(f"--url {url}: expected HOST or HOST:PORT of an MPD.")
        pushed = to_mpd(paths, title, host, int(port), password, force=force)
    if as_json:
        print_json({"schema": "solfa.push/1", **plain(pushed)})
    else:
        show(f"{pushed.found} of {len(paths)} tracks are in the playlist {printable(title)!r}")
        for path in pushed.missing:
            tell(f"not on the server: {printable(str(path))}")
    if not pushed.found:
        raise InputError("the server has none of these files, so no playlist was made.")
