"""Nothing leaves the machine, and nothing is written but where solfa says: what the kernel sees, libraries included."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SWITCHES = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "HF_HUB_OFFLINE")
KEPT = (".local", "share", "solfa")
# What Python itself connects ends the process at once, whatever a library would do with an exception.
ALONE = """
import os, sys
def alone(event, given):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"):
        os.write(2, f"{event} {given}".encode())
        os._exit(77)
sys.addaudithook(alone)
from solfa.__main__ import run
run()
"""


def traced(*command: str) -> list[str]:
    """The command under strace, where that works."""
    tracer = ["strace", "-f", "--seccomp-bpf", "-e", "trace=connect,sendto,sendmsg,sendmmsg,openat"]
    if not shutil.which("strace") or subprocess.run([*tracer, "true"], capture_output=True, check=False).returncode:
        return list(command)
    return [*tracer, "-o", "calls.txt", *command]


def check(folder: Path, *commands: list[str], **variables: str) -> None:
    """Runs the commands with a home and a folder for temporary files of their own, and looks at what they did."""
    home, temporary = folder / "home", folder / "temporary"
    home.mkdir()
    temporary.mkdir()
    own = ("XDG_", "SOLFA_", "MPL", "TORCH", "TRITON", "HF_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    environment = {**kept, "HOME": str(home), "TMPDIR": str(temporary), **variables}
    environment |= dict.fromkeys(SWITCHES, "0")  # all turned on
    for arguments in commands:
        command = traced(sys.executable, "-c", ALONE, *arguments)
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 3), done.stderr
        calls = (folder / "calls.txt").read_text() if command[0] == "strace" else ""
        assert not [line for line in calls.splitlines() if "AF_INET" in line or "nscd" in line or "resolv.conf" in line]
    outside = [p for p in home.rglob("*") if p.relative_to(home).parts[:3] != KEPT[: len(p.relative_to(home).parts)]]
    assert not outside
    assert not list(temporary.iterdir())


def test_a_plain_installation_finds_music_without_connection_and_without_file_outside(
    needs_models: None, music: Path, tmp_path: Path, without_extras: dict[str, str]
) -> None:
    songs = tmp_path / "songs"
    songs.mkdir()
    shutil.copy(music / "fast-150.ogg", songs)
    shutil.copy(music / "broken.mp3", songs)  # the ways that errors take, too
    song = str(songs / "fast-150.ogg")
    check(tmp_path, ["index", str(songs), "--workers", "1"], ["search", "fast music", "--like", song], **without_extras)


@pytest.mark.slow
def test_training_and_evaluation_are_as_quiet(music: Path, tmp_path: Path, needs_models: None) -> None:
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    sizes = {"vocab_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    transformers.BertModel(transformers.BertConfig(**sizes, intermediate_size=24)).save_pretrained(tmp_path / "bert")
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "clip": 1, "of": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "bert" / "tokenizer.json"))
    splits = {"minor-loop-120.wav": "train", "waltz-90.flac": "val", "fast-150.ogg": "test"}
    timed = {"phrase": "a chord", "start_s": 0, "end_s": 2}
    pairs = [
        {"path": name, "split": split, "caption": f"clip {i} of {name}", "clip_start_s": 3 * i, "clip_end_s": 3 * i + 3}
        | timed
        for name, split in splits.items()
        for i in range(3)
    ]
    (tmp_path / "pairs.json").write_text(json.dumps(pairs))
    once = ["--data", "data", "--epochs", "1", "--batch-size", "2"]
    model = "trained:run/model"
    check(
        tmp_path,
        ["data", "import", "pairs", "pairs.json", "data", "--audio", str(music)],
        ["train", "figma", "--out", "torch", *once, "--text", f"minilm-torch:{tmp_path / 'bert'}", "--tune", "text"],
        ["train", "finelap", "--out", "run", *once],
        ["eval", "retrieval", "--dataset", "solfa", "--data", "data", "--split", "test", "--model", model,
         "--out", "report.json", "--plot", "figure.svg"],
        ["index", str(music), "--model", model, "--workers", "1"],
        ["search", "slow waltz", "--model", model],
    )  # fmt: skip
