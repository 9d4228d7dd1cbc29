"""Analyses whose measurements are given, and collections of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from solfa.alignment.scores import quantise
from solfa.analysis.protocol import empty
from solfa.collection import Collection, Space, TrackVectors
from solfa.collection.database import Database
from solfa.collection.indexing import IndexedFile
from solfa.collection.writer import Writer
from solfa.core.types import Analysis, Estimate, FileTags, Span, TagTrack
from solfa.core.vocabulary import concepts

DURATION_S = 100.0
_FIELDS = {"instrument": "instruments", "genre": "genres", "mood": "moods", "use": "moods", "sound": "sounds"}


def analysis(tags: Mapping[str, float | tuple[float, float]] | None = None, **values: Any) -> Analysis:
    """What was measured: concept -> confidence, or (confidence, share of the track); field -> (value, confidence)."""
    made: dict[str, Any] = empty()
    for name, (value, sure) in values.items():
        made[name] = Estimate(value=value, confidence=sure)
    for name, measured in {"music": 0.99, "piano": 0.0, **(tags or {})}.items():
        sure, share = measured if isinstance(measured, tuple) else (measured, float(measured >= 0.5))
        kind = concepts()[name].kind
        spans = (Span(start_s=0.0, end_s=share * DURATION_S, confidence=sure),) if share else ()
        tag = TagTrack(concept=name, kind=kind, confidence=sure, share=share, spans=spans)
        if name == "voice":
            made["voice"] = tag
        else:
            field = _FIELDS.get(kind, "instruments")
            made[field] = (*made[field], tag)
    return Analysis(duration_s=DURATION_S, **made)


def collection_of(
    folder: Path, analyses: Sequence[Analysis], tags: Sequence[FileTags] = (), vectors_ND: Any = None
) -> Collection:
    """A collection of these tracks in this order; without vectors each track has a direction of its own."""
    rows = np.eye(max(len(analyses), 4), dtype=np.float32) if vectors_ND is None else np.asarray(vectors_ND, np.float32)
    Collection.open(folder, create=True).close()
    database = Database(folder)
    with database.lock(), database.writer() as db:
        writer = Writer(db, folder)
        writer.space(Space(name="given", dim=rows.shape[1], hop_s=1.0))
        writer.commit([
            IndexedFile(path=f"/music/{i}.wav", size=i, mtime_ns=i, hash=f"{i:040x}", duration_s=one.duration_s,
                        tags=tags[i] if tags else FileTags(title=f"track {i}", artist=f"artist {i}"), analysis=one,
                        vectors=TrackVectors(track_id=0, segments_SD=quantise(rows[i : i + 1]),
                                             frames_TD=quantise(rows[i : i + 1])))
            for i, one in enumerate(analyses)
        ], "given")  # fmt: skip
    return Collection.open(folder)
