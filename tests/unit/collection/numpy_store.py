"""The plainest search over the vectors of some tracks: the oracle of the store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from solfa.alignment.scores import INT8_SCALE, quantise
from solfa.collection import TrackVectors
from solfa.core.types import FloatArray


def nearest(
    tracks: Sequence[TrackVectors], query_D: FloatArray, k: int, allowed: Sequence[int] | None = None
) -> tuple[list[int], list[float]]:
    """What ``FlatStore.nearest`` gives, by looking at every track."""
    query, found = quantise(query_D).astype(np.int32), []
    for track in tracks:
        if len(track.segments_SD) and (allowed is None or track.track_id in allowed):
            found.append((-int((track.segments_SD.astype(np.int32) @ query).max()), track.track_id))
    best = sorted(found)[:k]
    return [track_id for _, track_id in best], [float(np.float32(-dot / INT8_SCALE**2)) for dot, _ in best]
