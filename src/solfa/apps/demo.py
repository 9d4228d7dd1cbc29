"""``solfa demo``: real recorded music from a package registry, indexed and searched before your eyes.

The music is that of two free games in Debian (OpenClonk, CC BY; Endgame: Singularity, GPL-2+/CC BY-SA). It is
fetched with the user's own ``apt-get download`` and unpacked here, nothing is installed and no root is needed.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from solfa.datagen.packages import download, files_in

PACKAGES = ("openclonk-data", "singularity-music")
QUERIES = (
    "house music around 125 bpm, synthesizer, no vocals",
    "calm ambient with pads, no drums, dark",
    "slow bolero with guitar and percussion",
    "orchestral, epic, strings and brass, fast",
    "minor key, 4/4, driving electronic drums, chords i-VI-III-VII",
)
_INSTEAD = "Use your own music instead: solfa demo --music FOLDER (or: solfa index FOLDER && solfa search '...')."


def fetch(folder: Path, say: Callable[[str], None]) -> Path:
    """The folder with the demo's music, fetched at the first call.

    Raises InputError if the registry cannot be reached or is not a Debian one; says what to do instead.
    """
    done = folder / "complete"
    if done.is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for package in PACKAGES:
            say(f"fetching {package} with apt-get download ...")
            found = download(package, Path(scratch), _INSTEAD)
            say(f"  {len(list(unpack(found, folder / package)))} tracks")
    done.write_text("\n".join(PACKAGES) + "\n", encoding="utf-8")
    return folder


def unpack(package: Path, target: Path) -> Iterator[Path]:
    """Write the audio files of a Debian package to a folder, by name only (no path of the archive is trusted)."""
    target.mkdir(parents=True, exist_ok=True)
    for name, content in files_in(package):
        if "music" in str(name).lower():
            path = target / name.name
            path.write_bytes(content)
            yield path
