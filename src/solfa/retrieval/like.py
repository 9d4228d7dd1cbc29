"""Example sounds: ``FILE`` or ``FILE@0:30-0:50``."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from solfa.audio import ContentHash, stretches
from solfa.core.errors import InputError
from solfa.core.types import Audio
from solfa.encoders.windows import candidates, embed, pool, track_vector
from solfa.retrieval.searcher import Asking, Searcher
from solfa.retrieval.types import Like

_RANGE = re.compile(r"(?P<start>[\d:.]+)-(?P<end>[\d:.]+)")


def parse_example(text: str) -> tuple[Path, float, float | None]:
    """File, start and end in seconds (None: the end of the file) of an example.

    Raises InputError if the range after ``@`` cannot be read or is empty.

    >>> parse_example("a@b.mp3@0:30-1:05")
    (PosixPath('a@b.mp3'), 30.0, 65.0)
    """
    name, at, given = text.rpartition("@")
    found = _RANGE.fullmatch(given) if at else None
    if found is None:
        return Path(text), 0.0, None  # an @ that is part of the file's name
    start_s, end_s = _seconds(found["start"], text), _seconds(found["end"], text)
    if end_s <= start_s:
        raise InputError(f"the range of {text!r} ends before it starts. Expected something like FILE@0:30-0:50.")
    return Path(name), start_s, end_s


def like_example(searcher: Asking, text: str) -> Like:
    """An example sound in the space of the searcher's model.

    The file is decoded and encoded, whether or not it is in the collection; if it is (by content), that track will not
    be its own answer.

    Raises InputError if the file does not exist, the range is outside of it or is silent; DecodeError if the file
    cannot be read.
    """
    path, start_s, end_s = parse_example(text)
    if not path.is_file():
        raise InputError(f"no such file: {path}. Expected FILE, or FILE@0:30-0:50.")
    content, length_s = ContentHash(), 0.0

    def parts() -> Iterator[Audio]:
        nonlocal length_s
        for stretch in stretches(path, content=content):
            length_s = stretch.start_s + stretch.duration_s
            part = cut(stretch, start_s, end_s)
            if len(part.samples):
                yield part

    vector = track_vector(searcher.model.views, embed(searcher.model, parts()))
    if not vector.any():
        raise InputError(f"nothing to compare in {text!r}: the file is {length_s:.1f} s long. Choose another range.")
    return Like(vector, f"like {path.name}", searcher.find(content.hex))


def like_track(searcher: Searcher, track_id: int, start_s: float = 0.0, end_s: float = float("inf")) -> Like:
    """A track of the collection, or a part of it, as an example, from the vectors that the collection holds.

    Where a model has windows of its own length, every window counts that overlaps the part.

    Raises InputError if nothing of the track is between the times; UnknownTrack if there is no such track;
    CollectionError if it has no vectors of the model.
    """
    row = searcher.collection.track(track_id)
    [windows] = searcher.store.windows([track_id])
    begin = windows.start_s_T
    kept = (begin + searcher.store.space.hop_s > start_s) & (begin < end_s)
    frames_TD = np.asarray(windows.frames_TD, np.float32)
    if searcher.store.space.window_s:
        part = np.array([kept[a:b].any() for a, b in windows.ranges_W2], np.bool_)
        vectors_XD = candidates(searcher.model.views, replace(windows, frames_TD=frames_TD))[part]
    else:
        vectors_XD = frames_TD[kept]
    if not len(vectors_XD) or end_s <= start_s:
        raise InputError(f"nothing between {start_s:g} and {end_s:g} s: the track is {row.duration_s:.1f} s long.")
    [vector] = pool(vectors_XD, [(0, len(vectors_XD))])
    return Like(vector, f"like {row.tags.title or (row.paths[0].stem if row.paths else f'track {track_id}')}", track_id)


def cut(stretch: Audio, start_s: float, end_s: float | None) -> Audio:
    """What a stretch has between two times of the track (None: its end), perhaps nothing."""
    rate = stretch.sample_rate_hz
    low = max(0, round((start_s - stretch.start_s) * rate))
    high = len(stretch.samples) if end_s is None else max(low, round((end_s - stretch.start_s) * rate))
    return Audio(stretch.samples[low:high], rate, stretch.start_s + low / rate)


def _seconds(clock: str, text: str) -> float:
    try:
        seconds = 0.0
        for part in clock.split(":"):
            seconds = 60 * seconds + float(part)
    except ValueError:
        raise InputError(f"cannot read the time {clock!r} in {text!r}. Expected something like 0:30 or 75.5.") from None
    return seconds
