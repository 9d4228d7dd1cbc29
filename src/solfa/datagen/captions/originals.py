"""What the names of files and folders tell of the recording that a file is a version of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from solfa.core.filters import folded

# What people and tools append to the name of a changed copy: "song_pitch+2", "song-speed0.9", "song (copy 2)".
_CHANGE = (
    r"aug(?:mented)?|copy|pitch(?:ed)?|shift(?:ed)?|ps|tempo|ts|stretch(?:ed)?|speed|slow(?:er|ed)?|fast(?:er)?|vol(?:ume)?|"
    r"gain|quiet|loud|noisy?|noise|reverb|eq|semitones?|st|transposed?|cents?|bpm|up|down|x"
)
_AMOUNT = r"[+-]?\d*(?:[.p]\d+)?"
_CHANGED = re.compile(rf"(?i)[ _.-]+\(?(?:(?:{_CHANGE})+[ _=-]*{_AMOUNT}|[+-]\d+(?:[.p]\d+)?)(?:{_CHANGE}|%)?\)?$")
_NUMBERED = re.compile(r"(?:[ _-]+\d{1,3}| ?\(\d{1,3}\))$")
# Words of folders that say how files are kept, and not whose music it is or which piece.
_SHELF = re.compile(
    rf"(?:audio|batch|clean|clips?|compilations?|copies|data|dataset|demo|dev|downloads?|eval|excerpts?|files?|flac|folds?|"
    rf"incoming|library|misc|mono|mp|music|new|ogg|old|opus|originals?|others?|parts?|processed|raw|recordings?|samples?|"
    rf"sets?|shards?|songs?|sounds?|soundtracks?|splits?|stereo|test|testing|tmp|tracks?|train|training|unknown|unsorted|"
    rf"val|valid|validation|various|artists?|wav|{_CHANGE})"
)


def is_shelf(folder: str) -> bool:
    """Whether a folder's name only says how files are kept.

    >>> [is_shelf(f) for f in ("data_aug2", "Various Artists", "pitch+2", "Nina", "Train of Thought")]
    [True, True, True, False, False]
    """
    return all(_SHELF.fullmatch(word) for word in re.findall(r"[^\W\d_]+", folded(folder)))


def originals(paths: Sequence[str]) -> list[str]:
    """The recording that each file is a version of, as far as the paths of a source tell.

    The ending of a file does not count, nor do folders that only say how files are kept, nor words of what was changed.
    A bare number ("song_1.wav") is taken off only where there is a file without it, for numbers also count tracks.

    >>> originals(["data/a_b.wav", "data_aug2/a_b_1.wav", "x_1.wav", "x_2.wav", "a_b_pitch-2.mp3", "Live/a_b.wav"])
    ['a_b', 'a_b', 'x_1', 'x_2', 'a_b', 'Live/a_b']
    """
    plain = []
    for path in map(PurePosixPath, paths):
        stem = re.sub(r"\.[A-Za-z][A-Za-z0-9]{1,4}$", "", path.name)
        while (shorter := _CHANGED.sub("", stem)) not in ("", stem):
            stem = shorter
        plain.append("/".join([*(f for f in path.parts[:-1] if not is_shelf(f)), stem]))
    known = set(plain)
    return [cut if (cut := _NUMBERED.sub("", stem)) in known else stem for stem in plain]
