"""Your own music with its truth beside it: a JAMS file for every audio file."""

from __future__ import annotations

from collections.abc import Iterator

from solfa.core.annotation import read_jams
from solfa.core.clip import Clip
from solfa.datasets.readers.records import AUDIO_SUFFIXES, Folder


def _jams(folder: Folder, split: str) -> Iterator[Clip]:
    sounds = {p.with_suffix(""): p for p in folder.root.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES}
    paths = sorted(folder.root.rglob("*.jams"))
    if not paths:
        folder.text("NAME.jams")  # says what is missing
    for path in paths:
        folder.text(str(path.relative_to(folder.root)))
        music = read_jams(path)
        item_id = path.relative_to(folder.root).with_suffix("").as_posix()
        audio = sounds.get(path.with_suffix(""))
        yield Clip(id=item_id, audio=audio, annotation=music, duration_s=music.duration_s)


READERS = {"jams": _jams}
