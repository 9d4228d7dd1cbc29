"""``solfa doctor``: what works on this machine, what is missing, how to get it."""

import importlib.metadata
import importlib.util
import os
import platform
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from solfa.analysis.registry import extractor_specs
from solfa.api import DEFAULT_MODEL
from solfa.collection.database import Database
from solfa.collection.repair import examine as look
from solfa.collection.repair import repair
from solfa.core.errors import SolfaError
from solfa.encoders.registry import load_model
from solfa.weights import models as weight_models
from solfa.weights import path as weight_path
from solfa.weights import pulled

_PACKAGES = ("numpy", "soundfile", "av", "soxr", "mutagen", "onnxruntime", "tokenizers",
             "numkong", "rapidfuzz")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; ``ok`` None is for information only."""

    name: str
    ok: bool | None
    message: str


def examine(collection: Path, *, fix: bool = False) -> Iterator[Finding]:
    """Every check, as it is made; needs no network and changes nothing, unless it is to ``fix`` the collection."""
    yield Finding("system", None, f"Python {platform.python_version()}, {platform.platform()}, "
                  f"{os.cpu_count()} cores")  # fmt: skip
    for package in _PACKAGES:
        version = _version(package)
        yield Finding(package, version is not None, version or "missing: pip install solfa again")
    yield from _extras()
    for info in weight_models():
        yield _weights(info.name)
    yield _model()
    for spec in extractor_specs():
        terms = "" if spec.commercial_use else ", not for commercial use"
        here = ", not installed" if spec.version.endswith("not installed") else ""
        yield Finding(f"extractor {spec.name}", None, f"{spec.licence}{terms}{here}")
    yield _folder(collection)
    if Database(collection).exists():
        yield from _collection(collection, fix)
    player = next((p for p in ("mpv", "ffplay", "vlc", "xdg-open", "open") if shutil.which(p)), None)
    yield Finding("player", None, player or "none found: --play needs one, e.g. mpv; --m3u does not")


def _extras() -> Iterator[Finding]:
    """The optional parts of this package, by what they need."""
    needs: dict[str, list[str]] = {}
    for line in importlib.metadata.requires("solfa") or ():
        package, extra = re.match(r"[\w.-]+", line), re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if package and extra and extra[1] != "dev":
            needs.setdefault(extra[1], []).append(package[0])
    for name, packages in needs.items():
        found = {package: _version(package) for package in packages}
        missing = [package for package, version in found.items() if version is None]
        have = ", ".join(f"{package} {version}" for package, version in found.items())
        lack = f"not installed ({', '.join(missing)} missing): pip install 'solfa[{name}]'"
        yield Finding(f"extra {name}", None, lack if missing else have)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _weights(name: str) -> Finding:
    if not pulled(name):
        return Finding(f"weights {name}", None, f"not here: solfa models pull {name}")
    try:
        return Finding(f"weights {name}", True, f"hash verified, {weight_path(name).name}")
    except SolfaError as error:
        return Finding(f"weights {name}", False, str(error))


def _model() -> Finding:
    try:
        model = load_model(DEFAULT_MODEL)
    except SolfaError as error:
        return Finding("default model", False, str(error))
    return Finding("default model", True, f"{model.name} loads and passes its self-test")


def _collection(directory: Path, fix: bool) -> Iterator[Finding]:
    """What is wrong with a collection, what was repaired, and what is left to do."""
    try:
        damage = repair(directory) if fix else look(directory)
    except SolfaError as error:
        yield Finding("contents", False, str(error))
        return
    if not damage.found:
        yield Finding("contents", True, "everything is as it was written")
        return
    for fault in damage.found:
        yield Finding("repaired" if fix else "damage", None if fix else False, fault)
    place = shlex.quote(str(directory))
    folders = " ".join(shlex.quote(str(f)) for f in damage.folders) if 0 < len(damage.folders) < 10 else "FOLDER"
    model = f" --model {shlex.quote(damage.model)}" if damage.model else ""
    then = f"solfa index {folders} --collection {place}{model}"
    if fix:
        yield Finding("collection", True, f"repaired; the damaged database is kept as {damage.kept}")
        yield Finding("next", None, f"what could not be saved is made again by: {then}")
    else:
        yield Finding("next", None, f"repair it: solfa doctor --repair --collection {place}; then: {then}")


def _folder(collection: Path) -> Finding:
    nearest = next(p for p in (collection, *collection.absolute().parents) if p.exists())
    free_gb = shutil.disk_usage(nearest).free / 1e9
    writable = os.access(nearest, os.W_OK)
    state = "writable" if writable else "not writable: choose another with --collection DIR"
    return Finding("collection", writable, f"{collection} ({state}, {free_gb:.0f} GB free)")
