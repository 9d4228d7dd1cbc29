"""A store in the plainest way: the oracle of all others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from solfa.alignment.scores import Windows, quantise
from solfa.collection.store import (
    BestSegments,
    Ids,
    Nearest,
    Placement,
    Space,
    TrackVectors,
    answer,
    check_query,
    evenly,
)
from solfa.core.types import FloatArray


class NumpyStore:
    """Everything in memory, in the plainest way: the oracle of every `Store`."""

    def __init__(self, space: Space, tracks: Sequence[TrackVectors] = ()) -> None:
        self.space = space
        self._tracks = {t.track_id: t for t in tracks}

    @property
    def track_ids(self) -> Ids:
        """The tracks that are in it."""
        return np.array(sorted(self._tracks), np.int64)

    def sample(self, count: int) -> FloatArray:
        """Evenly spaced segments."""
        parts = [self._tracks[i].segments_SD for i in sorted(self._tracks)]
        return evenly(np.concatenate([np.zeros((0, self.space.dim), np.int8), *parts]), count)

    def nearest(self, query_QD: FloatArray, k: int, allowed: Ids | None = None) -> Nearest:
        """The best tracks, by looking at every one."""
        queries = quantise(check_query(query_QD, self.space)).astype(np.int32)
        ids = [i for i in sorted(self._tracks) if allowed is None or i in set(allowed.tolist())]
        rows = []
        for query in queries:
            found = []
            for track_id in ids:
                segments = self._tracks[track_id].segments_SD.astype(np.int32)
                if len(segments):
                    dots = segments @ query
                    found.append((-int(dots.max()), track_id, int(dots.argmax())))
            minus_dots, track_ids, best = np.array(sorted(found)[:k], np.int64).reshape(-1, 3).T
            rows.append(BestSegments(-minus_dots.astype(np.float64), track_ids, best))
        return answer(rows, k)

    def windows(self, track_ids: Sequence[int]) -> list[Windows]:
        """What these tracks are scored by."""
        return [self._tracks[i].windows(self.space) for i in track_ids]

    def append(self, tracks: Sequence[TrackVectors]) -> list[Placement]:
        """Keep these tracks."""
        self._tracks.update({t.track_id: t for t in tracks})
        return self.compact()

    def compact(self) -> list[Placement]:
        """Nothing to do: rows without an owner do not exist."""
        return [Placement(i, 0, len(t.segments_SD), 0, len(t.frames_TD), 0) for i, t in self._tracks.items()]
