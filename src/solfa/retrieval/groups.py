"""Copies of a recording and tracks of one artist, collapsed at display time: counted, never deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from solfa.core.filters import folded
from solfa.core.types import FloatArray
from solfa.retrieval.types import Hit

# 95 % of transcodes lie above this and no two different recordings of the development sets (docs/experiments.md); a
# missed copy is shown twice, a false one would hide a track.
SAME_RECORDING = 0.995
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
