"""Analyses as the database holds them: a document to show, packed arrays to score with.

Everything here is made from an ``Analysis`` and nothing else, so it can be made again at any time.
"""

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solfa.analysis.document import from_json, to_json
from solfa.collection.store import Space
from solfa.core.errors import InputError
from solfa.core.theory import KEYS, QUALITIES, Chord, Key
from solfa.core.types import Analysis, Estimate, FloatArray

CHOICES = 4  # a value and its three best alternatives

# One fixed-size row a track. Choices that are not there have confidence 0 (tempo NaN, key -1, metre 0/0).
SUMMARY = np.dtype(
    [
        ("duration_s", "<f4"),
        ("loudness_lufs", "<f4"),
        ("tempo_bpm", "<f4", CHOICES),
        ("tempo_confidence", "<f4", CHOICES),
        ("key", "<i1", CHOICES),
        ("key_confidence", "<f4", CHOICES),
        ("metre", "<u1", (CHOICES, 2)),
        ("metre_confidence", "<f4", CHOICES),
    ]
)
CONFIDENCE_STEPS = 10_000  # confidences of concepts as whole numbers; analyses keep four places (analyze.tidy)
CHORD = np.dtype([("start_s", "<f4"), ("end_s", "<f4"), ("label", "<u2"), ("confidence", "<f4")])
SPAN = np.dtype([("concept", "<u2"), ("start_s", "<f4"), ("end_s", "<f4"), ("confidence", "<f4")])


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class TrackTimeline:
    """What happens when in a track, as arrays: for scoring many candidates without rebuilding their analyses.

    ``chords`` has fields start_s, end_s, label, confidence; ``spans`` concept, start_s, end_s, confidence. ``label``
    and ``concept`` index ``names``. ``energy`` is 0..1 every ``energy_hop_s``.
    """

    chords: NDArray[np.void]
    spans: NDArray[np.void]
    energy: FloatArray
    energy_hop_s: float
    names: dict[int, str]


def key_number(key: str) -> int:
    """0..11 for the major keys from C, 12..23 for the minor keys.

    >>> key_number("F major"), key_number("C# minor")
    (5, 13)
    """
    return KEYS.index(Key.parse(key))


def summary(analysis: Analysis) -> NDArray[np.void]:
    """The fixed-size row of a track."""
    row = np.zeros(1, SUMMARY)
    row["duration_s"] = analysis.duration_s
    loudness = analysis.loudness_lufs.value
    row["loudness_lufs"] = np.nan if loudness is None else loudness
    row["tempo_bpm"], row["key"] = np.nan, -1
    for place, (value, confidence) in enumerate(choices(analysis.tempo_bpm)):
        row["tempo_bpm"][0, place], row["tempo_confidence"][0, place] = value, confidence
    for place, (value, confidence) in enumerate(choices(analysis.key)):
        row["key"][0, place], row["key_confidence"][0, place] = key_number(value), confidence
    for place, (value, confidence) in enumerate(choices(analysis.metre)):
        row["metre"][0, place], row["metre_confidence"][0, place] = metre_numbers(value), confidence
    return row


def metre_numbers(metre: str) -> tuple[int, int]:
    """Beats and note value of a metre.

    >>> metre_numbers("6/8")
    (6, 8)
    """
    beats, _, unit = metre.partition("/")
    if not (beats.isdigit() and unit.isdigit() and int(beats) < 256 and int(unit) < 256):
        raise InputError(f"not a metre: {metre!r}. Expected something like '6/8'.")
    return int(beats), int(unit)


def choices(estimate: Estimate[Any]) -> list[tuple[Any, float]]:
    """The value and its best alternatives, each with its confidence; empty where nothing was measured."""
    if estimate.value is None:
        return []
    others = sorted(((a.value, a.confidence) for a in estimate.alternatives), key=lambda a: -a[1])
    return [(estimate.value, estimate.confidence), *others[: CHOICES - 1]]


def confidences(analysis: Analysis) -> tuple[str, NDArray[np.uint16]]:
    """Which concepts were looked for (their ids, sorted, as JSON), and how sure each is in ``CONFIDENCE_STEPS``."""
    tags = sorted(analysis.tags().values(), key=lambda t: t.concept)
    steps = np.array([round(t.confidence * CONFIDENCE_STEPS) for t in tags], "<u2")
    return json.dumps([t.concept for t in tags]), steps


def timeline(analysis: Analysis, number: Callable[[str], int]) -> tuple[NDArray[np.void], NDArray[np.void], FloatArray]:
    """Chords, spans of concepts, and energy."""
    chords = np.array([(c.start_s, c.end_s, number(c.label), c.confidence) for c in analysis.chords], CHORD)
    spans = np.array(
        [(number(t.concept), s.start_s, s.end_s, s.confidence) for t in analysis.tags().values() for s in t.spans], SPAN
    )
    return chords, spans, np.asarray(analysis.energy.values, np.float32)


def progression(analysis: Analysis) -> bytes:
    """The chord sequence without repeats, a byte a chord: 0 no chord, 1..12 major from C, 13..24 minor.

    Other qualities count by their third; those without one (sus, 5) as major.
    """
    codes = bytearray()
    for segment in analysis.chords:
        code = _chord_code(segment.label)
        if not codes or codes[-1] != code:
            codes.append(code)
    return bytes(codes)


@lru_cache(maxsize=4096)
def _chord_code(label: str) -> int:
    chord = Chord.parse(label)
    if chord is None:
        return 0
    return 1 + chord.root + (12 if 3 in QUALITIES[chord.quality] else 0)


def read_timeline(
    names: dict[int, str], chords: bytes, spans: bytes, energy: bytes, energy_hop_s: float
) -> TrackTimeline:
    """What ``timeline`` made. Raises ValueError if that cannot be."""
    made = TrackTimeline(
        chords=np.frombuffer(chords, CHORD),
        spans=np.frombuffer(spans, SPAN),
        energy=read_energy(energy),
        energy_hop_s=energy_hop_s,
        names=names,
    )
    named = {*made.chords["label"].tolist(), *made.spans["concept"].tolist()} <= names.keys()
    for events in (made.chords, made.spans):
        named &= bool((events["start_s"] <= events["end_s"]).all() and np.isfinite(events["end_s"]).all())
        named &= bool(((events["confidence"] >= 0) & (events["confidence"] <= 1) & (events["start_s"] >= 0)).all())
    if not named or not 0 <= energy_hop_s < 1e6:
        raise ValueError("a timeline holds what is never written")
    return made


def read_energy(packed: bytes) -> FloatArray:
    """A curve of energy. Raises ValueError if it holds what is none."""
    energy = np.frombuffer(packed, np.float32)
    if not ((energy >= 0) & (energy <= 1)).all():
        raise ValueError("a curve of energy is not within 0 and 1")
    return energy


def file_crc(row: Mapping[str, Any], content_hash: str) -> int:
    """CRC-32 of a row of the table ``file``: where it is, what its tags say, and which content it holds."""
    names = ("path", "size", "mtime_ns", "title", "artist", "album", "genre", "date", "comment", "tag_tempo_bpm")
    return zlib.crc32(repr((content_hash, *(row[name] for name in (*names, "tag_key")))).encode())


def space_crc(space: Space) -> int:
    """CRC-32 of the shape of an embedding space."""
    return zlib.crc32(repr((space.name, space.dim, float(space.hop_s), float(space.window_s))).encode())


def read_space(name: str, dim: int, hop_s: float, window_s: float, crc: int | None) -> Space:
    """The shape of an embedding space. Raises ValueError if it is not what was written, or none can have it."""
    space = Space(name=name, dim=dim, hop_s=hop_s, window_s=window_s)
    if not (0 < dim <= 1 << 16 and 0 < hop_s < 1e6 and 0 <= window_s < 1e6) or crc not in (None, space_crc(space)):
        raise ValueError("the shape of an embedding space is not what was written")
    return space


def read_counts(packed: bytes, frames: int, space: Space) -> tuple[int, ...]:
    """The frames of each window of a track. Raises ValueError if they do not make its rows of frames."""
    counts = tuple(np.frombuffer(packed, "<u4").tolist())
    if sum(counts) + len(counts) != (frames if space.window_s else 0):
        raise ValueError("the windows of a track do not make its frames")
    return counts


def pack_document(analysis: Analysis) -> bytes:
    """The whole analysis, compressed."""
    text = json.dumps(to_json(analysis), allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return zlib.compress(text.encode(), 6)


def unpack_document(packed: bytes) -> Analysis:
    """What ``pack_document`` packed."""
    return from_json(json.loads(zlib.decompress(packed)))
