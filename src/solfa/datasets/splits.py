"""Who may not be torn apart, and which split each family goes to.

A family is everything that is linked by a track, an artist, a piece, equal sound or a near-duplicate. Families are
spread over the splits so that every source gets its own shares; a family is never divided, whatever the shares.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from solfa.core.clip import SPLITS
from solfa.core.errors import InputError
from solfa.core.filters import folded

# Names that say that the artist is not known.
_NOBODY = frozenset(("", "unknown", "unknown artist", "various", "various artists", "va", "n/a", "none"))


def link_keys(*, source: str, track: str, artist: str, piece: str, content: str) -> tuple[str, ...]:
    """Names that two clips of one family share; unknown ones give none.

    >>> link_keys(source="folder", track="a/b.mp3", artist="Various Artists", piece="", content="")
    ('track:folder:a/b.mp3',)
    """
    keys = [f"track:{source}:{track}"] if track else []
    keys += [f"artist:{a}" for a in [_first_artist(artist)] if a not in _NOBODY]
    keys += [f"piece:{folded(piece)}"] if folded(piece) else []
    return (*keys, *([f"sound:{content}"] if content else []))


# "Nina feat. Max" is music by Nina.
_GUEST = re.compile(r"[\s(\[]+(?:feat|ft|featuring|vs)\b.*")


def _first_artist(artist: str) -> str:
    return _GUEST.sub("", folded(artist)).strip()


def families(keys: Sequence[Iterable[str]], pairs: Iterable[tuple[int, int]] = ()) -> list[int]:
    """The family of each item: the lowest number of an item that it is linked with, directly or through others.

    Items with a common name among their ``keys`` are linked, and so are the ``pairs``.

    >>> families([["a"], ["b"], ["a", "c"], ["d"]], [(2, 3)])
    [0, 1, 0, 0]
    """
    parent = list(range(len(keys)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[str, int] = {}
    links = [(i, first.setdefault(key, i)) for i, names in enumerate(keys) for key in names]
    for a, b in (*links, *pairs):
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return [root(i) for i in range(len(keys))]


def targets(sizes: Mapping[str, int], shares: Sequence[float]) -> dict[str, tuple[int, int, int]]:
    """How many clips of each source train, val and test should get, for shares of the whole.

    Raises InputError if the shares are not three numbers in 0..1 that sum to 1.
    """
    if len(shares) != 3 or min(shares) < 0 or not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
        raise InputError(f"shares {tuple(shares)}: expected three numbers of 0 or more for train, val, test; sum 1.")
    found = {}
    for source, size in sizes.items():
        val, test = round(size * shares[1]), round(size * shares[2])
        found[source] = (size - val - test, val, test)
    return found


def assign(
    family: Sequence[int],
    source: Sequence[str],
    wanted: Mapping[str, tuple[int, int, int]],
    *,
    seed: int,
    exact: bool = False,
) -> list[str]:
    """The split of each clip; empty for sources of which none are ``wanted``, and for what ``exact`` leaves over.

    ``wanted`` is how many clips train, val and test should get of each source; with ``exact`` they get no more.

    Large families first, each to a split drawn with a chance in proportion to what the split still lacks of the
    family's sources, so that large artists are not all in train; small families then even it out. A split that would
    remain empty though clips are wanted gets the smallest family of train.
    """
    clips: dict[int, list[int]] = {}
    for i, name in enumerate(family):
        if source[i] in wanted:
            clips.setdefault(name, []).append(i)
    rng = np.random.default_rng(seed)
    order = [list(clips)[i] for i in rng.permutation(len(clips))]
    lacking = {s: np.array(w, np.float64) for s, w in wanted.items()}
    split = [""] * len(family)
    for name in sorted(order, key=lambda n: -len(clips[n])):
        sizes = Counter(source[i] for i in clips[name])
        need = sum((np.maximum(lacking[s], 0.0) * n for s, n in sizes.items()), np.zeros(3))
        fits = need * np.all([lacking[s] >= n for s, n in sizes.items()], axis=0)
        if not need.any():
            continue
        chosen = int(rng.choice(3, p=fits / fits.sum())) if fits.any() else int(need.argmax())
        for i in clips[name]:
            split[i] = SPLITS[chosen]
        for s, n in sizes.items():
            lacking[s][chosen] -= n
    _fill_empty(split, family, wanted)
    return _trimmed(split, source, wanted, rng) if exact else split


def _fill_empty(split: list[str], family: Sequence[int], wanted: Mapping[str, tuple[int, int, int]]) -> None:
    for at in (1, 2):
        train = Counter(family[i] for i, s in enumerate(split) if s == SPLITS[0])
        if SPLITS[at] not in split and any(w[at] for w in wanted.values()) and len(train) > 1:
            smallest = min(train, key=lambda f: (train[f], f))
            split[:] = [SPLITS[at] if s and family[i] == smallest else s for i, s in enumerate(split)]


def _trimmed(
    split: list[str], source: Sequence[str], wanted: Mapping[str, tuple[int, int, int]], rng: np.random.Generator
) -> list[str]:
    kept = list(split)
    for name, counts in wanted.items():
        for at, count in enumerate(counts):
            mine = [i for i, s in enumerate(split) if s == SPLITS[at] and source[i] == name]
            for i in rng.permutation(mine)[count:].tolist():
                kept[i] = ""
    return kept
