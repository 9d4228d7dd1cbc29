"""The one value that all data pipelines write and all loaders read: a clip of sound and what is true of it.

Conventions
-----------
Times are seconds from the start of the clip. ``attributes`` is plain JSON of what is known exactly; a name that is
missing is unknown, never false. ``track``, ``artist`` and ``piece`` name what must not be torn between splits; an empty
one is unknown. The JSON form (``to_json``) has the version ``solfa.record/1``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from solfa.core.errors import InputError

SCHEMA = "solfa.record/1"
SPLITS = ("train", "val", "test")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,95}")
_TEXTS = ("id", "audio", "source", "licence", "track", "artist", "piece", "split")
_SHAPES = {"captions": list | tuple, "phrases": list | tuple, "attributes": dict, **dict.fromkeys(_TEXTS, str)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Phrase:
    """Words for something heard, and when: ``spans_s`` are (start, end) pairs, sorted, without overlap."""

    text: str
    spans_s: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One clip.

    ``id`` has letters, digits, ``_`` and ``-`` (96 at most), is unique in its data set and the stem of its files.
    ``audio`` is a path relative to the data set's folder, or the name of a member of its shard; the clip lasts
    ``duration_s`` > 0 from ``start_s`` on. ``captions`` are of the whole clip; ``phrases`` are timed texts (frame
    labels), and none means that nothing is known of time, not that nothing happens.

    ``attributes``: ``tempo_bpm``, ``tempo_marking``, ``metre``, ``beats_per_bar``, ``key`` ("F major"), ``chords``
    (Harte labels in order, equal neighbours merged), ``instruments``, ``voice`` (bool), ``genre``, ``mood`` (lists
    of vocabulary ids), and what a pipeline adds under its own name. ``source`` is the collection it comes from,
    ``track``, ``artist`` and ``piece`` the recording, who made it and the composition; ``split`` is empty before
    splitting.
    """

    id: str
    audio: str
    duration_s: float
    start_s: float = 0.0
    captions: tuple[str, ...] = ()
    phrases: tuple[Phrase, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    licence: str = ""
    track: str = ""
    artist: str = ""
    piece: str = ""
    split: str = ""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise InputError(f"record id {self.id!r}: expected 1-96 letters, digits, '_' or '-', no other characters.")
        if self.split not in ("", *SPLITS):
            raise InputError(f"record {self.id}: split {self.split!r} is none of {', '.join(SPLITS)}.")
        if not (0 < self.duration_s < math.inf and 0 <= self.start_s < math.inf):
            raise InputError(
                f"record {self.id}: starts at {self.start_s} s, lasts {self.duration_s} s; expected >= 0, > 0."
            )
        for phrase in self.phrases:
            last = 0.0
            for start, end in phrase.spans_s:
                if not last <= start < end <= self.duration_s + 1e-3:
                    raise InputError(
                        f"record {self.id}: phrase {phrase.text!r} has the span {start}-{end} s; expected sorted spans "
                        f"without overlap inside 0-{self.duration_s} s."
                    )
                last = end

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; ``from_json`` gives an equal record."""
        return {"schema": SCHEMA, **asdict(self), "attributes": dict(self.attributes)}

    @classmethod
    def from_json(cls, data: Any) -> Record:
        """The record of ``to_json``'s form.

        Raises InputError if it is of another schema, misses a field, has an unknown one, or breaks a rule of the class.
        """
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise InputError(f"not a record of schema {SCHEMA}.")
        values = {name: value for name, value in data.items() if name != "schema"}
        try:
            for name, shape in _SHAPES.items():
                if not isinstance(values.get(name, shape), shape if name in values else object):
                    raise TypeError(f"{name} is {values[name]!r:.60}")
            values["captions"] = tuple(values.get("captions", ()))
            if not all(isinstance(c, str) for c in values["captions"]):
                raise TypeError("a caption is no text")
            values["phrases"] = tuple(
                Phrase(text=str(p["text"]), spans_s=tuple((float(a), float(b)) for a, b in p["spans_s"]))
                for p in values.get("phrases", ())
            )
            return cls(**values)
        except (TypeError, KeyError, ValueError, OverflowError) as bad:
            if isinstance(bad, InputError):
                raise
            raise InputError(f"record {data.get('id')!r}: not of the form {SCHEMA} ({bad}).") from bad
