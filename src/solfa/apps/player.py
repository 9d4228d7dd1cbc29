"""Play hits with what the system has."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from solfa.apps.terminal import complain
from solfa.core.errors import InputError
from solfa.retrieval.types import Hit

# Players that can start in the middle, best first: the arguments before each file.
_PLAYERS: dict[str, Callable[[Hit], list[str]]] = {
    "mpv": lambda hit: [f"--start={hit.start_s:.1f}", "--", str(hit.path)],
    "ffplay": lambda hit: ["-autoexit", "-loglevel", "error", "-ss", f"{hit.start_s:.1f}", "-i", str(hit.path)],
    "vlc": lambda hit: ["--play-and-exit", f"--start-time={hit.start_s:.0f}", "--", str(hit.path)],
}


def _file(hit: Hit) -> list[str]:
    return [str(hit.path.absolute())]


def play(hits: Sequence[Hit], player: str | None = None) -> bool:
    """Play hits one after another, each from its best place where the player can; whether all were played.

    ``player`` is a program, by name or path; others than mpv, ffplay and vlc are given the file alone. What a player
    that failed gives back is reported.

    Raises InputError if there is nothing to play, or no player is found.
    """
    if not hits:
        raise InputError("nothing to play: no hits.")
    program = next(filter(None, map(shutil.which, [player] if player else _PLAYERS)), None)
    if program is not None:
        arguments = _PLAYERS.get(Path(program).stem, _file)
        played = [_run([program, *arguments(hit)], hit) for hit in hits]
        return all(played)
    if player:
        raise InputError(f"no such player: {player!r}. Give the name or the path of a program, such as mpv.")
    path = str(hits[0].path.absolute())  # the desktop's own player takes one file, from the start
    if sys.platform == "win32":
        os.startfile(path)
        return True
    if opener := shutil.which("open" if sys.platform == "darwin" else "xdg-open"):
        return _run([opener, path], hits[0])
    raise InputError(f"no player found. Install one of {', '.join(_PLAYERS)}, or write a playlist with --m3u FILE.")


def _run(command: list[str], hit: Hit) -> bool:
    name = Path(command[0]).name
    try:
        code = subprocess.run(command, check=False).returncode
    except OSError as error:
        raise InputError(f"cannot start {command[0]}: {error.strerror}. Choose another one with --player.") from None
    if code:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        complain(f"{name} {how}: {hit.path}")
    return code == 0
