"""A run's folder and its checkpoints. Needs torch and safetensors.

::

    RUN/config.json             recipe, data, backbones, versions, git revision; written first
    RUN/history.jsonl           a line for each time that it was begun or resumed: where, and what may differ
    RUN/metrics.jsonl           a line for every step and every validation
    RUN/checkpoint.safetensors  all that a run needs to go on: weights, moments, running means; counters in its header
    RUN/best.safetensors        weights of the best validation
    RUN/model/                  the model, when the run has ended (``model_file``)

There is no state of a random generator to keep: order and draws come from (seed, epoch, position, rank), dropout from
(seed, step, rank, chunk), each drawn again. So a run that was killed goes on with the same bits.
"""

import errno
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from solfa.core.errors import InputError, WeightsError
from solfa.core.files import check_output, write_whole

SCHEMA = "solfa.run/1"
CONFIG, METRICS, CHECKPOINT, BEST = "config.json", "metrics.jsonl", "checkpoint.safetensors", "best.safetensors"
HISTORY = "history.jsonl"
# Of a recipe, what a run may be resumed with another value of: it changes no step that has been made.
MAY_CHANGE = ("epochs", "chunk_size", "patience", "checkpoint_every")


def describe(
    recipe: Mapping[str, Any], data: Mapping[str, Any], init: str | None, command: Mapping[str, Any]
) -> dict[str, Any]:
    """What ``config.json`` says.

    ``fixed`` (recipe, data, space of the model it started from) must be equal for a run to be resumed, but for what
    ``MAY_CHANGE``. ``command`` holds the other arguments of ``run.run``, to begin such a run again.
    """
    fixed = {"recipe": recipe, "data": data, "init": init}
    return {"schema": SCHEMA, "fixed": fixed, "command": command, "versions": _versions(), "git": _git_revision()}


def append_history(folder: Path, step: int, settings: Mapping[str, Any]) -> None:
    """Add a line to ``history.jsonl``: when, from which step, with which settings and versions."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    line = {"time": when, "step": step, **settings, "versions": _versions(), "git": _git_revision()}
    with (folder / HISTORY).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _versions() -> dict[str, str]:
    return {"solfa": version("solfa"), "torch": torch.__version__, "python": platform.python_version()}


def check_folder(folder: Path, features: Path) -> None:
    """See that a folder has a run, or nothing but the cache of states.

    Raises InputError if it has other files and no run, or cannot be used.
    """
    check_output(folder, force=True, folder=True)
    try:
        there = [p for p in folder.iterdir() if not p.name.startswith(".")] if folder.exists() else []
        others = [p for p in there if p.resolve() != features.resolve()]
        if not os.access(next(p for p in (folder, *folder.absolute().parents) if p.exists()), os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as bad:
        raise InputError(f"{folder} cannot be used: {bad.strerror}. Choose another --out.") from bad
    if others and not (folder / CONFIG).exists():
        raise InputError(f"{folder} holds other files, not a run. Choose an empty folder.")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A run's folder for this process alone while the block runs; half files of killed ones go.

    Raises InputError if another process has it, or the disk refuses.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock:
            for left in folder.glob(".solfa-*.tmp"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            yield
    except Timeout as busy:
        raise InputError(f"{folder}: another process is training here; wait for it.") from busy
    except OSError as bad:
        what = bad.filename or folder
        raise InputError(f"{what}: {bad.strerror or bad}. What the run has saved is kept: --resume.") from bad


def start(folder: Path, config: Mapping[str, Any], resume: bool) -> None:
    """Write ``config.json``, or check that the run that is there may be continued (``check_same_run``)."""
    if (folder / CONFIG).exists():
        check_same_run(folder, config, resume)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / CONFIG, (json.dumps(config, indent=1) + "\n").encode())


def check_same_run(folder: Path, config: Mapping[str, Any], resume: bool) -> None:
    """See that ``config.json`` says the same, but for what ``MAY_CHANGE``.

    Raises InputError if the folder has another run, or the run is not to be resumed.
    """
    file = folder / CONFIG
    if not resume:
        raise InputError(f"{folder} holds a run. Continue it with --resume, or choose another folder.")
    try:
        old = json.loads(file.read_bytes())
    except ValueError as bad:
        raise InputError(f"{file} is not JSON ({bad}).") from bad
    fixed = old.get("fixed") if isinstance(old, dict) else None
    free = tuple(f"recipe.{name}:" for name in ("num_devices", *MAY_CHANGE))  # the first is of older versions
    differing = [
        line for line in _differences(fixed, json.loads(json.dumps(config["fixed"]))) if not line.startswith(free)
    ]
    if differing:
        raise InputError(
            f"{folder} holds another run; these settings differ: {'; '.join(differing[:5])}. "
            f"Choose another --out, or give the same options with --resume."
        )


def save(file: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Tensors and counters as one file, whole or not at all."""
    from safetensors.torch import save as to_bytes

    content, seen = {}, set[int]()
    for name, tensor in tensors.items():
        kept = tensor.detach().cpu().contiguous()
        # One tensor under two names, as tied weights of a backbone, is written twice: the format knows no other way.
        content[name] = kept.clone() if kept.data_ptr() in seen else kept
        seen.add(kept.data_ptr())
    write_whole(file, to_bytes(content, metadata={"state": json.dumps(state)}))


def load(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What ``save`` wrote. Raises WeightsError if the file is damaged or something else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="pt") as opened:
            state = json.loads((opened.metadata() or {})["state"])
            return {name: opened.get_tensor(name) for name in opened.keys()}, state  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise WeightsError(f"{file} is not a checkpoint of a run: {error}.") from error


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with ``prefix.``, without it."""
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}


def cut_metrics(folder: Path, last_step: int) -> None:
    """Drop lines after ``last_step``: a killed run wrote them after its last checkpoint, and they will come again.

    Lines that are not whole go too, such as a machine that lost its power leaves.
    """
    file = folder / METRICS
    if file.exists():
        lines = file.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
        write_whole(file, "".join(f"{line}\n" for line in lines if 0 < _step_of(line) <= last_step).encode())


def _step_of(line: str) -> int:
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return 0
    return step if isinstance(step, int) else 0


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        names = sorted({*old, *new})
        return [d for n in names for d in _differences(old.get(n), new.get(n), f"{path}.{n}" if path else n)]
    return [] if old == new else [f"{path}: {old!r} there, {new!r} now"]


def _git_revision() -> str | None:
    """The commit of the working copy that this package runs from, and whether it was changed; None if installed."""
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:
        # A package that is installed may be in somebody else's repository, which does not know this file.
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], capture_output=True, check=True, timeout=10)
        head = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        found = subprocess.run(head, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
