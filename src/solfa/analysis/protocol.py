"""What an analysis tool must offer, whoever wrote it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from solfa.core.types import Alternative, Audio, Curve, Estimate, TagTrack

# A long track is analyzed in stretches of this length, so that memory does not grow with the track. It is a multiple of
# every frame hop in use; only the last stretch of a track may be shorter.
STRETCH_S = 120.0

Observation = Mapping[str, NDArray[np.generic]]

NOTHING: Estimate[Any] = Estimate(value=None, confidence=0.0)
# Every field of an analysis but its length and its makers, as it is where nothing was measured.
_EMPTY: dict[str, Any] = {
    "tempo_bpm": Estimate(value=None, confidence=0.0, unit="BPM"),
    "metre": NOTHING,
    "key": NOTHING,
    "loudness_lufs": Estimate(value=None, confidence=0.0, unit="LUFS"),
    "energy": Curve(hop_s=1.0, values=()),
    "voice": TagTrack(concept="voice", kind="voice", confidence=0.0),
    **dict.fromkeys(("beats_s", "downbeats_s", "chords", "instruments", "genres", "moods", "sounds"), ()),
}


def empty(fields: Iterable[str] = tuple(_EMPTY)) -> dict[str, Any]:
    """These fields of an ``Analysis`` (all that can be measured) where nothing was: empty, with confidence 0."""
    return {field: _EMPTY[field] for field in fields}


def ranked(values: Sequence[object], chances: NDArray[np.floating], most: int) -> Estimate[str]:
    """The name of the likeliest value, with the next ones as alternatives: ``most`` in all."""
    order = np.argsort(-chances, kind="stable")[:most]
    best, *others = [Alternative(value=str(values[i]), confidence=float(chances[i])) for i in order]
    return Estimate(value=best.value, confidence=best.confidence, alternatives=tuple(others))


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtractorSpec:
    """What a tool is. ``provides`` names fields of ``core.types.Analysis``; ``version`` is part of the cache key."""

    name: str
    version: str
    licence: str
    commercial_use: bool
    provides: tuple[str, ...]


class Extractor(Protocol):
    """Observes a track stretch by stretch, then concludes.

    ``observe`` returns small arrays (frame features), never the samples, unless the tool cannot work in stretches.
    """

    @property
    def spec(self) -> ExtractorSpec:
        """What this tool is."""

    def observe(self, audio: Audio) -> Observation:
        """Features of one stretch (at most ``STRETCH_S``); ``audio.start_s`` says where it is."""

    def conclude(self, observations: Sequence[Observation], duration_s: float) -> dict[str, Any]:
        """The fields of ``Analysis`` that ``spec.provides`` names, from all stretches in order.

        An observation list of silence or of a fraction of a second must give estimates with value None or empty
        sequences, never an exception.
        """
