"""Truth from the data sets that the package ``mirdata`` reads, as `MusicAnnotation`.

Conventions
-----------
Annotations are known by their mirdata class, whatever a data set calls them: ``BeatData``, ``ChordData``, ``KeyData``,
``TempoData``, ``SectionData``; a ``tempo`` or ``key`` that is a plain number or text is read too. Of several of one
class the first by name counts. Keys other than major and minor are left out, not guessed; so is the metre, as places
of beats do not say what a beat is. mirdata's licence is BSD; each data set has its own.
"""

import math
from pathlib import Path
from typing import Any

from solfa.audio import probe
from solfa.core.annotation import MusicAnnotation
from solfa.core.clip import Clip
from solfa.core.errors import InputError, UnknownName, need
from solfa.core.intervals import Segment
from solfa.core.theory import Key
from solfa.core.types import ChordSegment
from solfa.datasets.readers import DataSet, SourceInfo

PREFIX = "mirdata:"


def annotation_of(track: Any, duration_s: float) -> MusicAnnotation:
    """What a mirdata track knows of its music.

    Raises InputError if an annotation has intervals that are negative or not finite.
    """
    names = sorted(name for name in dir(type(track)) if not name.startswith("_") and name not in ("audio", "get_path"))
    values = {name: getattr(track, name) for name in names}
    by_class: dict[str, Any] = {}
    for value in values.values():
        by_class.setdefault(type(value).__name__, value)
    beats, chords, keys = (by_class.get(f"{kind}Data") for kind in ("Beat", "Chord", "Key"))
    tempi, sections = by_class.get("TempoData"), by_class.get("SectionData")
    times = [] if beats is None else [float(t) for t in beats.times]
    in_bars = beats is not None and beats.positions is not None and beats.position_unit == "bar_index"
    places = [float(p) for p in beats.positions] if in_bars else []  # type: ignore[union-attr]
    spans = [] if chords is None else _segments(chords.intervals, chords.labels)
    key = _key(keys.keys[0] if keys is not None and keys.keys else values.get("key"))
    bpm = values.get("tempo") if tempi is None else tempi.tempos[0]
    return MusicAnnotation(
        duration_s=duration_s,
        tempo_bpm=float(bpm) if isinstance(bpm, (int, float)) and math.isfinite(bpm) and bpm > 0 else None,
        key=key,
        beats_s=tuple(times),
        downbeats_s=tuple(t for t, place in zip(times, places, strict=False) if place == 1.0),
        chords=tuple(ChordSegment(start_s=s.start_s, end_s=s.end_s, label=s.label, confidence=1.0) for s in spans),
        sections=() if sections is None else tuple(_segments(sections.intervals, sections.labels or [])),
    )


def _segments(intervals: Any, labels: Any) -> list[Segment]:
    rows = [Segment(float(a), float(b), str(label)) for (a, b), label in zip(intervals, labels, strict=False)]
    if any(not 0 <= s.start_s <= s.end_s < math.inf for s in rows):
        raise InputError("an annotation of mirdata has an interval that is negative, reversed or not finite.")
    return [s for s in rows if s.end_s > s.start_s]


def _key(value: Any) -> Key | None:
    note, _, mode = str(value or "").replace(":", " ").partition(" ")
    mode = {"maj": "major", "min": "minor", "": "major"}.get(mode.strip().lower(), mode.strip().lower())
    try:
        return Key.parse(f"{note} {mode}") if note and mode in ("major", "minor") else None
    except InputError:
        return None


def load_mirdata(name: str, folder: Path) -> DataSet:
    """The tracks of a mirdata data set in a folder whose audio is there, with their truth; nothing is downloaded.

    Raises MissingExtra if mirdata is not installed; UnknownName if mirdata has no such data set; InputError if the
    index or a file is missing or damaged, or no track has audio.
    """
    mirdata = need("mirdata", "mirdata's data sets", "pip install 'solfa[mirdata]'")
    if name not in mirdata.list_datasets():
        raise UnknownName("mirdata data set", name, mirdata.list_datasets())
    try:
        opened = mirdata.initialize(name, data_home=str(folder))
        clips = [clip for key, track in sorted(opened.load_tracks().items()) if (clip := _clip(key, track)) is not None]
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as bad:
        raise InputError(
            f"{folder}: mirdata cannot read {name!r} there ({bad}). Its index comes with "
            f"mirdata.initialize({name!r}, data_home={str(folder)!r}).download()."
        ) from bad
    source = SourceInfo(
        title=f"mirdata's {name}", where="mirdata", licence=str(opened.license_info or ""),
        layout="as mirdata lays it out", splits=("all",),
    )  # fmt: skip
    if not clips:
        raise InputError(f"{folder}: no track of mirdata's {name!r} has its audio there.")
    return DataSet(name=PREFIX + name, split="all", revision=str(opened.version), source=source, clips=tuple(clips))


def _clip(key: str, track: Any) -> Clip | None:
    path = Path(track.audio_path) if getattr(track, "audio_path", None) else None
    if path is None or not path.is_file():
        return None
    duration_s = probe(path).duration_s or 0.0
    return Clip(id=str(key), audio=path, duration_s=duration_s, annotation=annotation_of(track, duration_s))
