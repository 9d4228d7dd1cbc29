"""A collection at a glance: all tracks in an order, what they are like in numbers, a map. In the pool ``searches``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solfa.constraints.key import key_from_code
from solfa.core.errors import UnknownName
from solfa.core.filters import SORTS
from solfa.core.vocabulary import concept
from solfa.query import parse_where
from solfa.relevance.learn import track_vectors
from solfa.retrieval import Searcher
from solfa.serve.documents import track_json
from solfa.serve.engine import Engine

_TEMPO_STEP_BPM, _LENGTHS_S = 5, (0, 60, 120, 180, 240, 300, 420, 600, 1200, 3600)
_MOST_PLACES = 5000


def tracks(engine: Engine, sort: str, k: int, page: int) -> dict[str, Any]:
    """A page of all tracks, in schema ``solfa.tracks/1``. Raises UnknownName if there is no such order."""
    name = sort.removeprefix("-")
    if name not in SORTS[1:]:
        raise UnknownName("order", sort, SORTS[1:])
    ids, num_known = engine.once(f"sort {name}", lambda searcher: searcher.collection.ordered(name))
    if sort.startswith("-"):
        ids = np.concatenate([ids[:num_known][::-1], ids[num_known:]])
    rows = engine.searcher().collection.rows(ids[k * (page - 1) : k * page].tolist())
    cursor = str(page + 1) if k * page < len(ids) else None
    return {"schema": "solfa.tracks/1", "total": len(ids), "cursor": cursor, "tracks": [*map(track_json, rows)]}


def facets(engine: Engine, where: Sequence[str] = ()) -> dict[str, Any]:
    """Counts of the tracks that pass filters, in schema ``solfa.facets/1``. Raises InputError for a wrong filter."""
    collection = engine.searcher().collection
    table = collection.attributes()
    rows = table.rows(collection.select([parse_where(text) for text in where]))
    tempo, key, metre = (table.column(name)[rows, 0] for name in ("tempo_bpm", "key", "metre"))
    lows = tempo[np.isfinite(tempo)] // _TEMPO_STEP_BPM * _TEMPO_STEP_BPM
    parts = np.searchsorted(_LENGTHS_S, table.column("duration_s")[rows], side="right") - 1
    metres = np.array([f"{beats}/{unit}" for beats, unit in metre.tolist() if beats], str)
    there = [(concept(name), n) for name, n in table.present(rows).most_common() if n]
    return {
        "schema": "solfa.facets/1", "tracks": len(rows),
        "tempo_bpm": [{"from": low, "to": low + _TEMPO_STEP_BPM, "tracks": n} for low, n in _counts(lows)],
        "key": [{"key": str(key_from_code(code)), "camelot": key_from_code(code).camelot, "tracks": n}
                for code, n in _counts(key[key >= 0])],
        "metre": [{"metre": name, "tracks": n} for name, n in _counts(metres)],
        "duration_s": [{"from": _LENGTHS_S[i], "to": (*_LENGTHS_S, None)[i + 1], "tracks": n}
                       for i, n in _counts(parts)],
        **{kind: [{"id": one.id, "name": one.title, "tracks": n} for one, n in there if one.kind == kind]
           for kind in ("voice", "instrument")},
    }  # fmt: skip


def _counts(values: NDArray[Any]) -> list[tuple[Any, int]]:
    found, counts = np.unique(values, return_counts=True)
    return list(zip(found.tolist(), counts.tolist(), strict=True))


def places(searcher: Searcher) -> dict[str, Any]:
    """Where tracks are in the plane, in schema ``solfa.plane/1``: near ones sound alike.

    ``x`` and ``y`` (-1..1) are the first two principal components of the vectors of at most 5,000 tracks;
    ``tempo_bpm`` and ``key`` are null where they could not be measured.
    """
    ids = searcher.store.track_ids if len(searcher.collection.attributes()) else np.zeros(0, np.int64)
    ids = np.intersect1d(ids, searcher.collection.attributes().track_ids)
    ids = ids[np.unique(np.linspace(0, max(len(ids) - 1, 0), min(_MOST_PLACES, len(ids))).round().astype(np.int64))]
    plane = np.zeros((len(ids), 2))
    if len(ids) > 2:
        vectors_ND = track_vectors(searcher, ids.tolist())
        centred_ND = vectors_ND - vectors_ND.mean(axis=0)
        _, axes_DD = np.linalg.eigh(centred_ND.T @ centred_ND)
        plane = centred_ND @ axes_DD[:, :-3:-1]
        plane = np.clip(plane / np.maximum(np.quantile(np.abs(plane), 0.99, axis=0), 1e-9), -1, 1).round(4)
    table = searcher.collection.attributes()
    at = table.rows(ids)
    columns = (ids, *plane.T, table.column("tempo_bpm")[at, 0], table.column("key")[at, 0])
    found = [{"id": one, "x": x, "y": y, "tempo_bpm": None if np.isnan(bpm) else round(bpm, 2),
              "key": str(key_from_code(code)) if code >= 0 else None}
             for one, x, y, bpm, code in zip(*(column.tolist() for column in columns), strict=True)]  # fmt: skip
    return {"schema": "solfa.plane/1", "tracks": found}
