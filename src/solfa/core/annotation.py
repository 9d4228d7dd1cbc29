"""What is true, or claimed, of one track's music; and JAMS files of it.

Conventions
-----------
A field that is None or empty is not annotated. JAMS (Humphrey et al., ISMIR 2014; schema 0.3) is plain JSON, read and
written here without the ``jams`` package: namespaces ``tempo``, ``beat`` (value: place in the bar), ``beat_position``
(read only), ``key_mode``, ``chord`` and ``chord_harte``, ``segment_open`` (sections), ``tag_open`` (instruments). JAMS
has no namespace for a metre; it is read from the places of beats in their bars (``beat_position`` has the unit too) and
written to the ``sandbox``, as metre segments and energy are.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solfa.core.errors import InputError
from solfa.core.files import write_output
from solfa.core.intervals import Segment
from solfa.core.theory import Key
from solfa.core.types import Analysis, ChordSegment, Curve

JAMS_VERSION = "0.3.4"
_MAX_BYTES = 1 << 28


@dataclass(frozen=True, kw_only=True, slots=True)
class MusicAnnotation:
    """Tempo, key, metre, beats and chords of one track of ``duration_s`` seconds, and how they change.

    ``keys`` have a mode each ("D dorian"), ``tempi`` are (start_s, end_s, BPM), ``instruments`` says when each
    vocabulary id sounds (``voice_like`` where a synthesiser imitates voices), ``energy`` is loudness over time in dB.
    """

    duration_s: float
    tempo_bpm: float | None = None
    key: Key | None = None
    metre: str | None = None
    beats_s: tuple[float, ...] = ()
    downbeats_s: tuple[float, ...] = ()
    chords: tuple[ChordSegment, ...] = ()
    tempi: tuple[tuple[float, float, float], ...] = ()
    keys: tuple[Segment, ...] = ()
    metres: tuple[Segment, ...] = ()
    sections: tuple[Segment, ...] = ()
    instruments: tuple[Segment, ...] = ()
    energy: Curve | None = None

    @classmethod
    def of(cls, analysis: Analysis) -> "MusicAnnotation":
        """What solfa's analysis claims."""
        return cls(
            duration_s=analysis.duration_s,
            tempo_bpm=analysis.tempo_bpm.value,
            key=None if analysis.key.value is None else Key.parse(analysis.key.value),
            metre=analysis.metre.value,
            beats_s=analysis.beats_s,
            downbeats_s=analysis.downbeats_s,
            chords=analysis.chords,
        )


def read_jams(path: Path) -> MusicAnnotation:
    """The music annotation in a JAMS file; of several annotations in one namespace the first.

    Raises InputError if the file is not JSON, not JAMS, holds an observation of the wrong shape, or is larger than 256
    MiB.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"{path}: larger than 256 MiB: not an annotation.")
    return parse_jams(path.read_bytes(), path)


def parse_jams(data: bytes, name: Path | str) -> MusicAnnotation:
    """The music annotation in the bytes of a JAMS file; ``name`` is what messages call it.

    Raises InputError if they are not JSON, not JAMS, or hold an observation of the wrong shape.
    """
    try:
        jam = json.loads(data)
        annotations = {a["namespace"]: a for a in reversed(jam["annotations"])}
        duration = float(jam["file_metadata"]["duration"])
        return _annotation(annotations, duration, jam.get("sandbox") or {})
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as bad:
        raise InputError(f"{name}: not a JAMS file of the expected shape ({type(bad).__name__}: {bad}).") from bad


def _rows(annotations: Mapping[str, Any], *namespaces: str) -> list[dict[str, Any]]:
    for namespace in namespaces:
        if namespace in annotations:
            data = annotations[namespace]["data"]
            if isinstance(data, dict):  # the dense form: a list for each field
                data = [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
            rows: list[dict[str, Any]] = sorted(data, key=lambda row: float(row["time"]))
            if any(not math.isfinite(float(row["time"])) or float(row["time"]) < 0 for row in rows):
                raise InputError(f"namespace {namespace}: a time is negative or not finite.")
            return rows
    return []


def _annotation(annotations: Mapping[str, Any], duration_s: float, sandbox: Mapping[str, Any]) -> MusicAnnotation:
    tempo = max(_rows(annotations, "tempo"), key=lambda row: float(row["duration"]), default=None)
    keys = [row["value"] for row in _rows(annotations, "key_mode")]
    chords = tuple(
        ChordSegment(
            start_s=float(row["time"]),
            end_s=float(row["time"]) + float(row["duration"]),
            label=str(row["value"]),
            confidence=1.0 if row.get("confidence") is None else float(row["confidence"]),
        )
        for row in _rows(annotations, "chord", "chord_harte")
    )
    beats = [(float(row["time"]), row["value"]) for row in _rows(annotations, "beat_position", "beat")]
    places = [(t, v["position"] if isinstance(v, dict) else v) for t, v in beats]
    bpm = sandbox.get("tempo_bpm", None if tempo is None else tempo["value"])
    tempi = tuple((a, b, float(value)) for a, b, value in _segments(annotations, "tempo"))
    modes = tuple(Segment(a, b, str(k).replace(":", " ")) for a, b, k in _segments(annotations, "key_mode"))
    key = _key(keys[0]) if keys else None
    if "key" in sandbox:
        key = Key.parse(sandbox["key"]) if sandbox["key"] else None
    energy = sandbox.get("energy_db")
    return MusicAnnotation(
        duration_s=duration_s,
        tempo_bpm=None if bpm is None else float(bpm),
        key=key,
        metre=sandbox.get("metre") or _metre(beats),
        beats_s=tuple(t for t, _ in places),
        downbeats_s=tuple(t for t, place in places if place == 1),
        chords=chords,
        tempi=tempi if len(tempi) > 1 or "tempo_bpm" in sandbox else (),
        keys=modes if len(modes) > 1 or "key" in sandbox else (),
        metres=tuple(Segment(float(a), float(b), str(m)) for a, b, m in sandbox.get("metres", ())),
        sections=tuple(Segment(a, b, str(v)) for a, b, v in _segments(annotations, "segment_open")),
        instruments=tuple(Segment(a, b, str(v)) for a, b, v in _segments(annotations, "tag_open")),
        energy=None if energy is None else Curve(hop_s=energy["hop_s"], values=tuple(energy["values"]), unit="dB"),
    )


def _segments(annotations: Mapping[str, Any], namespace: str) -> list[tuple[float, float, Any]]:
    rows = _rows(annotations, namespace)
    return [(float(r["time"]), float(r["time"]) + float(r["duration"]), r["value"]) for r in rows]


def _metre(beats: list[tuple[float, Any]]) -> str | None:
    units = Counter(
        f"{v['num_beats']}/{v['beat_units']}" for _, v in beats if isinstance(v, dict) and v.get("beat_units")
    )
    return units.most_common(1)[0][0] if units else None


def _key(value: str) -> Key | None:
    note, _, mode = value.partition(":")
    mode = {"": "major", "ionian": "major", "aeolian": "minor"}.get(mode, mode)
    return Key.parse(f"{note} {mode}") if mode in ("major", "minor") else None


def write_jams(
    annotation: MusicAnnotation, path: Path, *, tool: str, title: str = "", artist: str = "", force: bool = False
) -> None:
    """Write ``jams_of`` to a file; ``force`` replaces an existing one."""
    jam = jams_of(annotation, tool=tool, title=title, artist=artist)
    write_output(path, json.dumps(jam, indent=2) + "\n", force=force)


def jams_of(annotation: MusicAnnotation, *, tool: str, title: str = "", artist: str = "") -> dict[str, Any]:
    """The annotation as a JAMS document; what is None or empty is left out. ``tool`` is what made the annotation."""
    places = _places(annotation)
    end = annotation.duration_s
    tempi = annotation.tempi or ([] if annotation.tempo_bpm is None else [(0.0, end, annotation.tempo_bpm)])
    keys = annotation.keys or ([] if annotation.key is None else [Segment(0.0, end, str(annotation.key))])
    groups: dict[str, list[tuple[float, float, object, float | None]]] = {
        "tempo": [(a, b, bpm, 1.0) for a, b, bpm in tempi],
        "key_mode": [(k.start_s, k.end_s, k.label.replace(" ", ":"), None) for k in keys],
        "beat": [(t, t, places.get(t), None) for t in annotation.beats_s],
        "chord": [(c.start_s, c.end_s, c.label, c.confidence) for c in annotation.chords],
        "segment_open": [(*section, None) for section in annotation.sections],
        "tag_open": [(*segment, None) for segment in annotation.instruments],
    }
    sandbox: dict[str, object] = {} if annotation.metre is None else {"metre": annotation.metre}
    if annotation.metres:
        sandbox["metres"] = [list(m) for m in annotation.metres]
    if annotation.tempi:
        sandbox["tempo_bpm"] = annotation.tempo_bpm
    if annotation.keys:
        sandbox["key"] = None if annotation.key is None else str(annotation.key)
    if annotation.energy is not None:
        sandbox["energy_db"] = {"hop_s": annotation.energy.hop_s, "values": list(annotation.energy.values)}
    return {
        "annotations": [_jams_annotation(name, rows, end, tool) for name, rows in groups.items() if rows],
        "file_metadata": {"title": title, "artist": artist, "duration": end, "jams_version": JAMS_VERSION},
        "sandbox": sandbox,
    }


def _places(annotation: MusicAnnotation) -> dict[float, int]:
    # The place of each beat in its bar, from the first downbeat on; a downbeat is the beat nearest to it.
    places: dict[float, int] = {}
    if not annotation.downbeats_s or not annotation.beats_s:
        return places
    down = {min(annotation.beats_s, key=lambda b: abs(b - d)) for d in annotation.downbeats_s}
    place = 0
    for beat in annotation.beats_s:
        place = 1 if beat in down else (place + 1 if place else 0)
        if place:
            places[beat] = place
    return places


def _jams_annotation(
    namespace: str, rows: list[tuple[float, float, object, float | None]], duration_s: float, tool: str
) -> dict[str, object]:
    return {
        "annotation_metadata": {"annotation_tools": tool, "data_source": "program"},
        "namespace": namespace,
        "data": [{"time": a, "duration": b - a, "value": v, "confidence": c} for a, b, v, c in rows],
        "time": 0.0,
        "duration": duration_s,
    }
