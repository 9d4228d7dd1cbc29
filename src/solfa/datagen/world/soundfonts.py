"""Soundfonts to render with, fetched on request only: pinned wheels by pip, pinned Debian packages by apt-get."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from solfa.core.errors import InputError
from solfa.core.files import table_of, write_whole
from solfa.datagen.scenes.debian import pinned, sounds_in
from solfa.weights.manifest import PypiSource
from solfa.weights.pulling import download_wheel
from solfa.weights.store import home

_SUFFIXES = (".sf2", ".sf3")
_INSTEAD = "Or give soundfonts of your own: solfa data world OUT --soundfont FILE --soundfont FILE --held-out NAME."


@dataclass(frozen=True, kw_only=True, slots=True)
class Soundfont:
    """One soundfont: the file that must come, its terms, and where it is published (``pypi``, or ``deb``)."""

    name: str
    file: str
    sha256: str
    size_mb: int
    licence: str
    pypi: PypiSource | None = None
    deb: str = ""
    deb_sha256: str = ""
    held_out: bool = False

    @property
    def path(self) -> Path:
        """Where it lies once it is here."""
        return home() / "soundfonts" / self.file


@cache
def soundfonts() -> dict[str, Soundfont]:
    """Every known soundfont by name; the one that is ``held_out`` is for the test split."""
    return {
        name: Soundfont(name=name, pypi=PypiSource(**row.pop("pypi")) if "pypi" in row else None, **row)
        for name, row in table_of("solfa.datagen.world", "soundfonts.toml").items()
    }


def here() -> tuple[Soundfont, ...]:
    """Those that are on this machine."""
    return tuple(s for s in soundfonts().values() if s.path.is_file())


def fetch(say: Callable[[str], None]) -> tuple[Soundfont, ...]:
    """All of them, fetched where they are not here yet (about 250 MB).

    Raises InputError if a registry cannot be reached, or gives another file than the pinned one; what came before is
    kept.
    """
    for font in soundfonts().values():
        if font.path.is_file():
            continue
        font.path.parent.mkdir(parents=True, exist_ok=True)
        say(f"{font.name}: fetching {font.size_mb} MB, {font.licence}")
        data = _from_wheel(font, font.pypi) if font.pypi else _from_debian(font)
        if hashlib.sha256(data).hexdigest() != font.sha256:
            raise InputError(f"{font.name}: what came is not the pinned file {font.file}. Give one: --soundfont FILE.")
        write_whole(font.path, data)
    return here()


def _from_wheel(font: Soundfont, source: PypiSource) -> bytes:
    with tempfile.TemporaryDirectory(prefix="solfa-soundfont-") as scratch:
        wheel = zipfile.ZipFile(download_wheel(font.name, source, Path(scratch)))
        with wheel:
            return wheel.read(source.member)


def _from_debian(font: Soundfont) -> bytes:
    raw = pinned(font.deb, font.deb_sha256, _INSTEAD)
    found = [data for path, data in sounds_in(raw, _SUFFIXES) if path.name == font.file]
    if not found:
        raise InputError(f"{font.name}: {font.deb} holds no {font.file}.")
    return found[0]
