"""What is on disk: tracks, attributes, vectors and frames, and how a folder gets there."""

from solfa.collection.adding import AddReport, FailedFile, Progress
from solfa.collection.attributes import Attributes
from solfa.collection.collection import Collection, Stats, TrackRow
from solfa.collection.flat import FlatStore
from solfa.collection.records import TrackTimeline
from solfa.collection.store import Placement, Space, TrackVectors

__all__ = [
    "AddReport",
    "Attributes",
    "Collection",
    "FailedFile",
    "FlatStore",
    "Placement",
    "Progress",
    "Space",
    "Stats",
    "TrackRow",
    "TrackTimeline",
    "TrackVectors",
]
