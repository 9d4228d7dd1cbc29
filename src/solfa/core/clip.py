"""The one noun for a clip of sound and what is true of it: readers give it, pipelines write it, training reads it.

Conventions
-----------
Times are seconds from the start of the clip. ``attributes`` is plain JSON of what is known exactly; a name that is
missing is unknown, never false. What a clip holds is checked where it goes to disk or comes from there: the JSON form
(``to_json``) has the version ``solfa.record/1``.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from solfa.core.annotation import MusicAnnotation
from solfa.core.errors import InputError
from solfa.core.intervals import merged

SCHEMA = "solfa.record/1"
SPLITS = ("train", "val", "test")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,95}")
_TEXTS = ("id", "audio", "source", "licence", "track", "artist", "piece", "split")
_SHAPES = {"captions": list | tuple, "phrases": list | tuple, "attributes": dict, **dict.fromkeys(_TEXTS, str)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Phrase:
    """Words for something that sounds, and when: ``spans_s`` are (start, end) pairs, sorted, without overlap."""

    text: str
    spans_s: tuple[tuple[float, float], ...]


def joined_phrases(rows: Iterable[tuple[str, float, float]]) -> tuple[Phrase, ...]:
    """Phrases of (text, start_s, end_s): overlapping spans of a text are one, empty ones are left out.

    Raises InputError if a time is not finite, or is before the start of the clip.

    >>> joined_phrases([("dog", 1.0, 2.0), ("dog", 1.5, 3.0), ("rain", 0.0, 0.0)])
    (Phrase(text='dog', spans_s=((1.0, 3.0),)),)
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for text, start_s, end_s in rows:
        if not 0 <= start_s < math.inf or not end_s < math.inf:
            raise InputError(f"phrase {text!r}: expected finite times from 0 s on, got {start_s} to {end_s}.")
        if end_s > start_s:
            found.setdefault(text, []).append((start_s, end_s))
    return tuple(Phrase(text=text, spans_s=tuple(merged(spans))) for text, spans in found.items())


class Packed(Protocol):
    """A sound file inside another file, such as a row of a Parquet table; ``name`` is what it is called there."""

    @property
    def name(self) -> str: ...
    def read(self) -> bytes:
        """Its bytes. Raises InputError if the file around it is damaged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """One clip.

    ``id`` is unique in its data set. ``audio`` is its sound, None where it is not there; in a shard the name of a
    member. The clip lasts ``duration_s`` from ``start_s`` on; a published set's file may be the clip already cut out of
    its recording. A ``duration_s`` of 0 is not known.

    ``captions`` are of the whole clip; ``phrases`` are timed texts or labels (frame labels), and none means that
    nothing is known of time, not that nothing happens. ``annotation`` is the truth of its music; of a clip in a shard
    it is read when it is asked for (``Dataset.annotation``).

    ``attributes``: ``tempo_bpm``, ``tempo_marking``, ``metre``, ``beats_per_bar``, ``key`` ("F major"), ``chords``
    (Harte labels in order, equal neighbours merged), ``instruments``, ``voice`` (bool), ``genre``, ``mood`` (lists
    of vocabulary ids), ``labels`` (those of a published set), and what a pipeline adds under its own name. ``source``
    is the collection it comes from, ``track``, ``artist`` and ``piece`` name the recording, who made it and the
    composition, which must not be torn between splits (an empty one is unknown); ``split`` is empty before splitting.
    """

    id: str
    audio: Path | Packed | None = None
    duration_s: float = 0.0
    start_s: float = 0.0
    captions: tuple[str, ...] = ()
    phrases: tuple[Phrase, ...] = ()
    annotation: MusicAnnotation | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    licence: str = ""
    track: str = ""
    artist: str = ""
    piece: str = ""
    split: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of a published set."""
        return tuple(self.attributes.get("labels", ()))

    @property
    def group(self) -> str:
        """What is not torn between splits where one name must do: the artist, else the recording."""
        return self.artist or self.track

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values without the annotation; ``from_json`` gives an equal clip.

        Raises InputError if the id is no stem of a file, the duration is not above 0, the split is none of ``SPLITS``,
        or spans of a phrase overlap or leave the clip.
        """
        self._check()
        values = {name: getattr(self, name) for name in self.__slots__ if name != "annotation"}
        return {
            "schema": SCHEMA, **values, "audio": "" if self.audio is None else self.audio.name,
            "phrases": [asdict(p) for p in self.phrases], "attributes": dict(self.attributes),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Any) -> "Clip":
        """The clip of ``to_json``'s form.

        Raises InputError if it is of another schema, misses a field, has an unknown one, or breaks a rule of
        ``to_json``.
        """
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise InputError(f"not a record of schema {SCHEMA}.")
        values = {name: value for name, value in data.items() if name != "schema"}
        try:
            for name, shape in _SHAPES.items():
                if not isinstance(values.get(name, shape), shape if name in values else object):
                    raise TypeError(f"{name} is {values[name]!r:.60}")
            values["audio"] = Path(values["audio"]) if values["audio"] else None
            values["captions"] = tuple(values.get("captions", ()))
            texts = (*values["captions"], *values.get("attributes", {}).get("labels", ()))
            if not all(isinstance(text, str) for text in texts) or "annotation" in values:
                raise TypeError("a caption or a label is no text, or there is an annotation")
            values["phrases"] = tuple(
                Phrase(text=str(p["text"]), spans_s=tuple((float(a), float(b)) for a, b in p["spans_s"]))
                for p in values.get("phrases", ())
            )
            clip = cls(**values)
            clip._check()
        except (TypeError, KeyError, ValueError, OverflowError) as bad:
            if isinstance(bad, InputError):
                raise
            raise InputError(f"record {data.get('id')!r}: not of the form {SCHEMA} ({bad}).") from bad
        return clip

    def _check(self) -> None:
        if not _ID.fullmatch(self.id):
            raise InputError(f"record id {self.id!r}: expected 1-96 letters, digits, '_' or '-', no other characters.")
        if self.split not in ("", *SPLITS):
            raise InputError(f"record {self.id}: split {self.split!r} is not one of {', '.join(SPLITS)}.")
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
