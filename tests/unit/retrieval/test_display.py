from pathlib import Path

import numpy as np
import pytest

from solfa.collection import Attributes
from solfa.core.filters import SORTS
from solfa.core.types import FileTags
from solfa.retrieval import Hit
from solfa.retrieval.display import _VALUES, ordered, sort_value

# id: tempo, key (0..11 major, 12..23 minor, -1 none), artist; in the order of their scores
TRACKS = {5: (120.0, 9 + 12, "Zoe"), 2: (np.nan, -1, ""), 9: (90.0, 0, "Émile"), 1: (120.0, 4 + 12, "anna")}


def table() -> Attributes:
    ids = np.array(sorted(TRACKS), np.int64)
    summary = np.zeros(len(ids), [("tempo_bpm", "f4", 4), ("key", "i2", 4), ("loudness_lufs", "f4")])
    summary["tempo_bpm"][:, 0] = [TRACKS[i][0] for i in ids]
    summary["key"][:, 0] = [TRACKS[i][1] for i in ids]
    summary["loudness_lufs"] = [np.nan, -3, -14, -9]
    nothing = np.zeros(0, np.uint8)
    return Attributes(
        track_ids=ids, summary=summary, progressions=nothing, chord_bounds=np.zeros(5, np.int64), _blocks=()
    )


HITS = [
    Hit(track_id=i, path=Path(f"/music/{i}.mp3"), score=1 - n / 10, start_s=0, end_s=1, duration_s=60 + i,
        tags=FileTags(artist=artist), evidence=())
    for n, (i, (_, _, artist)) in enumerate(TRACKS.items())
]  # fmt: skip


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("score", [5, 2, 9, 1]), ("-score", [1, 9, 2, 5]), ("tempo", [9, 5, 1, 2]), ("-tempo", [5, 1, 9, 2]),
        ("key", [5, 9, 1, 2]), ("artist", [1, 9, 5, 2]), ("-artist", [5, 9, 1, 2]), ("duration", [1, 2, 5, 9]),
        ("loudness", [5, 9, 2, 1]), ("path", [1, 2, 5, 9]), ("title", [1, 2, 5, 9]), ("date", [5, 2, 9, 1]),
    ],
)  # fmt: skip
def test_hits_in_order_ties_by_rank_and_unknown_values_last(sort: str, expected: list[int]) -> None:
    columns = table()
    rows = columns.rows(np.array([hit.track_id for hit in HITS])).tolist()
    values = [(hit, sort_value(hit, sort, columns, row)) for hit, row in zip(HITS, rows, strict=True)]
    assert [hit.track_id for hit in ordered(values, sort)] == expected


def test_every_order_that_is_offered_can_be_had() -> None:
    assert set(_VALUES) == set(SORTS)
