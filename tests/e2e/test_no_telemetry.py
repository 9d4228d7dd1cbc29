"""Nothing leaves the machine, and nothing is written but where solfa says: what the kernel sees, libraries included."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

SWITCHES = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "HF_HUB_OFFLINE")


def traced(*command: str) -> list[str]:
    """The command under strace, where that works."""
    tracer = ["strace", "-f", "--seccomp-bpf", "-e", "trace=connect,sendto,sendmsg,sendmmsg,openat"]
    if not shutil.which("strace") or subprocess.run([*tracer, "true"], capture_output=True, check=False).returncode:
        return list(command)
    return [*tracer, "-o", "calls.txt", *command]


def test_no_connection_and_no_file_outside(indexed: object, music: Path, tmp_path: Path) -> None:
    home, songs = tmp_path / "home", tmp_path / "songs"
    home.mkdir()
    songs.mkdir()
    shutil.copy(music / "fast-150.ogg", songs)
    shutil.copy(music / "broken.mp3", songs)  # the ways that errors take, too
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "SOLFA_"))}
    environment = {**kept, "HOME": str(home), **dict.fromkeys(SWITCHES, "0")}  # a shell that turns it all on
    for arguments in (
        ["index", str(songs), "--workers", "1"],
        ["search", "fast music", "--like", str(songs / "fast-150.ogg")],
    ):
        command = traced(sys.executable, "-m", "solfa", *arguments)
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 3), done.stderr
        calls = (tmp_path / "calls.txt").read_text() if command[0] == "strace" else ""
        assert not [line for line in calls.splitlines() if "AF_INET" in line or "nscd" in line or "resolv.conf" in line]
    outside = [
        p for p in home.rglob("*") if p.is_file() and p.relative_to(home).parts[:3] != (".local", "share", "solfa")
    ]
    assert not outside
