"""Snapshots of the Hugging Face hub at a pinned commit, every file checked against the hub's own record of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from solfa.core.errors import WeightsError, need
from solfa.core.files import whole_folder
from solfa.weights.manifest import HubSource, Weight
from solfa.weights.store import RECORD, Progress, directory, make_directory, write_atomic


def pull_snapshot(entry: Weight, say: Progress) -> None:
    """Fetch the files of a snapshot into the model's directory, all or nothing, with a record of their hashes.

    Raises MissingExtra if ``huggingface_hub`` is not installed; WeightsError if the hub cannot be reached, lacks the
    weights, or sends a file that does not match its record.
    """
    hub = client(f"pulling {entry.name!r} from the Hugging Face hub")
    source, target = entry.hub, directory(entry)
    assert source is not None
    make_directory(target.parent)
    with whole_folder(target, replace=True) as scratch:
        record = {}
        for file in _files(hub, entry.name, source):
            say(f"{entry.name}: fetching {file.path} ({file.size / 1e6:.1f} MB) from {source.repo}")
            record[file.path] = _fetch(hub, entry.name, source, file, scratch)
        write_atomic(scratch / RECORD, json.dumps(record, indent=1).encode())
        shutil.rmtree(scratch / ".cache", ignore_errors=True)  # the hub client's own notes


def _files(hub: Any, name: str, source: HubSource) -> list[Any]:
    """The repository's entries for the files that the manifest asks for; weights last."""
    wanted = [*source.weights, *source.files]
    try:
        found = {file.path: file for file in hub.HfApi().get_paths_info(source.repo, wanted, revision=source.revision)}
    except failures(hub) as error:
        raise _unreachable(name, source, error) from error
    weights = [file for file in source.weights if file in found][:1]
    if source.weights and not weights:
        raise WeightsError(
            f"model {name!r}: {source.repo} @ {source.revision[:12]} has none of {', '.join(source.weights)}."
        )
    return [found[file] for file in (*source.files, *weights) if file in found]


def _fetch(hub: Any, name: str, source: HubSource, file: Any, scratch: Path) -> str:
    """SHA-256 of one fetched file, after it was checked against its LFS hash or its git blob hash."""
    try:
        got = Path(hub.hf_hub_download(source.repo, file.path, revision=source.revision, local_dir=scratch))
    except failures(hub) as error:
        raise _unreachable(name, source, error) from error
    sha256 = hashlib.sha256()
    blob = hashlib.sha1(b"blob %d\0" % got.stat().st_size, usedforsecurity=False)
    with got.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            sha256.update(chunk)
            blob.update(chunk)
    right = sha256.hexdigest() == file.lfs.sha256 if file.lfs else blob.hexdigest() == file.blob_id
    if not right:
        raise WeightsError(f"model {name!r}: {file.path} does not match the record of {source.repo}. Try again.")
    return sha256.hexdigest()


def client(what: str) -> Any:
    """The module of the hub. Raises MissingExtra, which says what was to be done, if it is not installed."""
    return need("huggingface_hub", what, "pip install huggingface_hub")


def failures(hub: Any) -> tuple[type[Exception], ...]:
    """What the hub's functions raise if it says no or cannot be reached."""
    # The hub client lets errors of its HTTP library through; all releases name that base class among the parents of
    # their own HTTP error.
    return tuple(c for c in hub.errors.HfHubHTTPError.__mro__ if issubclass(c, Exception) and c is not Exception)


def _unreachable(name: str, source: HubSource, error: Exception) -> WeightsError:
    return WeightsError(
        f"model {name!r} could not be fetched from the Hugging Face hub ({source.repo}): {error}. Check the "
        f"connection; behind a mirror set HF_ENDPOINT; a snapshot that you have as a folder can be loaded by its path."
    )
