"""Sounds of Debian packages, fetched with the user's own ``apt-get download`` and unpacked: no root, no install."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath

from solfa.audio import SUFFIXES
from solfa.core.errors import InputError
from solfa.core.files import whole_folder
from solfa.datagen.scenes.ontology import Package, packages

_INSTEAD = "Use your own sounds instead: solfa data scenes OUT --events DIR --backgrounds DIR."


def fetch_sounds(folder: Path, say: Callable[[str], None], wanted: tuple[Package, ...] | None = None) -> Path:
    """The folder with the packages' sounds, each fetched at the first call (650 MB in all).

    Raises InputError if the registry cannot be reached, is not a Debian one, or gives another file than the pinned one.
    """
    for package in packages() if wanted is None else wanted:
        target = folder / package.name
        if target.is_dir():
            continue
        say(f"fetching {package.deb} with apt-get download ...")
        raw = pinned(package.deb, package.sha256, _INSTEAD)
        with whole_folder(target) as made:
            say(f"  {unpack(raw, package.root, made)} sounds")
    return folder


def pinned(deb: str, sha256: str, instead: str) -> bytes:
    """The bytes of one file of Debian's, and of no other version of it.

    Raises InputError as ``download``, or if it is another file.
    """
    with tempfile.TemporaryDirectory(prefix="solfa-deb-") as scratch:
        raw = download(deb.partition("_")[0], Path(scratch), instead).read_bytes()
    if (got := hashlib.sha256(raw).hexdigest()) != sha256:
        raise InputError(
            f"what came is not the pinned file {deb}: SHA-256 {got[:16]}..., expected {sha256[:16]}.... The pins are "
            f"those of Debian 12. {instead}"
        )
    return raw


def unpack(deb: bytes, root: str, target: Path) -> int:
    """Write the sounds below ``root`` to a folder, and count them."""
    target.mkdir(parents=True, exist_ok=True)
    count = 0
    for name, content in sounds_in(deb):
        if name.is_relative_to(root):
            path = target / name.relative_to(root)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            count += 1
    return count


def download(name: str, folder: Path, instead: str) -> Path:
    """The .deb of a package, in a folder; ``instead`` ends what is said where that fails.

    Raises InputError if there is no apt-get, or it cannot fetch the package.
    """
    apt = shutil.which("apt-get")
    if apt is None:
        raise InputError(f"{name} comes from Debian's package registry and needs apt-get. {instead}")
    run = subprocess.run([apt, "download", name], cwd=folder, capture_output=True, text=True, check=False)
    found = sorted(folder.glob(f"{name}_*.deb"))
    if run.returncode != 0 or not found:
        why = (run.stderr.strip().splitlines() or ["no file came"])[-1]
        raise InputError(f"apt-get download {name} failed: {why}. Try 'apt-get update' first. {instead}")
    return found[0]


def sounds_in(deb: bytes, suffixes: Collection[str] = SUFFIXES) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Path and content of every sound file of a package; links and paths with ``..`` are passed over.

    Raises InputError if it is no Debian package.
    """
    with tarfile.open(fileobj=io.BytesIO(_data_member(deb)), mode="r:*") as archive:
        for member in archive:
            name = PurePosixPath(member.name.removeprefix("./"))
            if member.isfile() and name.suffix.lower() in suffixes and ".." not in name.parts:
                source = archive.extractfile(member)
                assert source is not None  # a regular file has content
                yield name, source.read()


def _data_member(raw: bytes) -> bytes:
    """The data.tar.* of a .deb, which is an ``ar`` archive: an 8-byte magic, then 60-byte headers and contents."""
    at = 8
    while raw[:8] == b"!<arch>\n" and at + 60 <= len(raw):
        name, size = raw[at : at + 16].decode("ascii", "replace").strip(), raw[at + 48 : at + 58].strip()
        if not size.isdigit():
            break
        if name.startswith("data.tar"):
            return raw[at + 60 : at + 60 + int(size)]
        at += 60 + int(size) + int(size) % 2
    raise InputError("what came is not a Debian package.")
