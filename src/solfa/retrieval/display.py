"""The hits of a page: copies of a recording and tracks of one artist collapsed (never deleted), and another order."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from solfa.collection import Attributes
from solfa.constraints.key import key_from_code
from solfa.core.filters import folded
from solfa.core.theory import Key
from solfa.core.types import FloatArray
from solfa.retrieval.types import Hit

# 94 % of transcodes are above this and no two different recordings of the development sets (docs/experiments.md); a
# missed copy is shown twice, a false one would hide a track.
SAME_RECORDING = 0.994
_SAME_LENGTH_S = 3.0
Fingerprint = tuple[str, FloatArray]


def collapse_hits(
    hits: Iterable[Hit],
    fingerprint: Callable[[int], Fingerprint | None],
    k: int,
    *,
    per_artist: int,
    duplicates: bool,
) -> list[Hit]:
    """The first k hits after joining copies (unless ``duplicates``) and capping artists (0: no cap).

    Later copies are counted in ``more`` of the hit that is shown. Hits are drawn lazily: only as many are described
    as are needed. ``fingerprint`` gives a unit vector of a track and its space, or None if it cannot be compared.
    """
    shown: list[Hit] = []
    vectors: list[Fingerprint | None] = []
    for hit in hits:
        vector = None if duplicates else fingerprint(hit.track_id)
        if vector is not None:
            at = next((i for i, other in enumerate(shown) if _same(hit, vector, other, vectors[i])), None)
            if at is not None:
                shown[at] = replace(shown[at], more=shown[at].more + 1)
                continue
        artist = folded(hit.tags.artist)
        by_artist = [i for i, other in enumerate(shown) if artist and folded(other.tags.artist) == artist]
        if per_artist and len(by_artist) >= per_artist:
            shown[by_artist[-1]] = replace(shown[by_artist[-1]], more=shown[by_artist[-1]].more + 1)
            continue
        shown.append(hit)
        vectors.append(vector)
        if len(shown) == k:
            break  # before the next hit is drawn: describing it costs as much as showing it
    return shown


def _same(hit: Hit, vector: Fingerprint, other: Hit, other_vector: Fingerprint | None) -> bool:
    if other_vector is None or vector[0] != other_vector[0] or abs(hit.duration_s - other.duration_s) > _SAME_LENGTH_S:
        return False
    return float(vector[1] @ other_vector[1]) >= SAME_RECORDING


_Row = tuple[Hit, Attributes, int]


def _number(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)


def _wheel(key: Key) -> tuple[int, str]:
    """Place on the Camelot wheel, whose neighbours mix well: 1A first, 12B last."""
    return int(key.camelot[:-1]), key.camelot[-1]


# What each of ``SORTS`` compares; None: no value.
_VALUES: dict[str, Callable[[_Row], Any]] = {
    "score": lambda row: -row[0].score,
    "tempo": lambda row: _number(row[1].column("tempo_bpm")[row[2], 0]),
    "key": lambda row: None if (key := row[1].column("key")[row[2], 0]) < 0 else _wheel(key_from_code(key)),
    "duration": lambda row: row[0].duration_s,
    "loudness": lambda row: _number(row[1].column("loudness_lufs")[row[2]]),
    "title": lambda row: folded(row[0].tags.title or row[0].path.stem),
    "artist": lambda row: folded(row[0].tags.artist) or None,
    "album": lambda row: folded(row[0].tags.album) or None,
    "date": lambda row: row[0].tags.date or None,
    "path": lambda row: str(row[0].path),
}


def sort_value(hit: Hit, sort: str, table: Attributes, row: int) -> Any:
    """What a hit is ordered by under a name of ``SORTS``; None: no value."""
    return _VALUES[sort.removeprefix("-")]((hit, table, row))


def ordered(hits: Sequence[tuple[Hit, Any]], sort: str) -> list[Hit]:
    """The hits by their values, turned round if ``sort`` starts with ``-``; those without a value last."""
    known = sorted((h for h in hits if h[1] is not None), key=lambda h: h[1], reverse=sort.startswith("-"))
    return [hit for hit, _ in known] + [hit for hit, value in hits if value is None]
