"""Sets of sound events: DESED, AudioSet-Strong, URBAN-SED, AudioGrounding. All clips last ten seconds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from solfa.core.clip import Clip, Phrase, joined_phrases
from solfa.core.intervals import merged
from solfa.datasets.readers.records import Folder

_DESED = {"validation": ("validation/validation", "validation/validation"), "public": ("eval/public", "eval/public")}
CLIP_S = 10.0


def _desed(folder: Folder, split: str) -> list[Clip]:
    table, audio = _DESED[split]
    durations = {}
    if (folder.root / f"metadata/{table}_durations.tsv").is_file():
        rows = folder.table(f"metadata/{table}_durations.tsv", delimiter="\t")
        durations = {row["filename"]: float(row["duration"]) for row in rows}
    by_clip: dict[str, list[tuple[str, float, float]]] = {name: [] for name in durations}
    for row in folder.table(f"metadata/{table}.tsv", delimiter="\t"):
        events = by_clip.setdefault(row["filename"], [])
        if row["event_label"]:  # a clip without events has a row of its own with empty cells
            events.append((row["event_label"], float(row["onset"]), float(row["offset"])))
    return [
        Clip(
            id=name,
            audio=folder.audio(f"audio/{audio}/{name}"),
            phrases=joined_phrases(events),
            duration_s=durations.get(name, CLIP_S),
            track=name,
        )
        for name, events in by_clip.items()
    ]


def _audioset_strong(folder: Folder, split: str) -> Iterator[Clip]:
    names = {
        row["mid"]: row["name"]
        for row in folder.table("mid_to_display_name.tsv", delimiter="\t", columns=("mid", "name"))
    }
    rows = folder.table(f"audioset_{split.removesuffix('_common')}_strong.tsv", delimiter="\t")
    kept = set(names)
    if split == "eval_common":
        kept = {row["label"] for row in folder.table("audioset_train_strong.tsv", delimiter="\t")}
    by_clip: dict[str, list[tuple[str, float, float]]] = {}
    for row in rows:
        start, end, label = float(row["start_time_seconds"]), float(row["end_time_seconds"]), names[row["label"]]
        events = by_clip.setdefault(row["segment_id"], [])
        if row["label"] in kept:
            events.append((label, start, end))
    for segment, events in by_clip.items():
        youtube, _, start_ms = segment.rpartition("_")
        yield Clip(
            id=segment,
            audio=folder.clip(segment, f"Y{youtube}", youtube),
            phrases=joined_phrases(events),
            start_s=int(start_ms) / 1000,
            duration_s=CLIP_S,
            track=youtube,
        )


def _urban_sed(folder: Folder, split: str) -> Iterator[Clip]:
    names = sorted(p.name for p in (folder.root / "annotations" / split).glob("*.txt"))
    if not names:
        folder.text(f"annotations/{split}/*.txt")  # says what is missing
    for name in names:
        rows = folder.table(f"annotations/{split}/{name}", delimiter="\t", columns=("onset", "offset", "label"))
        yield Clip(
            id=name.removesuffix(".txt"),
            audio=folder.audio(f"audio/{split}/{name.removesuffix('.txt')}.wav"),
            phrases=joined_phrases((r["label"], float(r["onset"]), float(r["offset"])) for r in rows),
            duration_s=CLIP_S,
        )


def _audio_grounding(folder: Folder, split: str) -> Iterator[Clip]:
    places = (f"{split}.json", f"data/{split}.json", f"data/{split}/label.json")
    place = next((p for p in places if (folder.root / p).is_file()), places[0])
    found = json.loads(folder.text(place))
    for row in _first_version(found) if isinstance(found, dict) else found:
        phrases = [
            # (0, 0) stands for "not there"
            Phrase(
                text=str(p["phrase"]),
                spans_s=tuple(merged([(float(a), float(b)) for a, b in p["segments"] if b > a])),
            )
            for p in row["phrases"]
        ]
        yield Clip(
            id=f"{row['audiocap_id']} {row['audio_id']}",
            audio=folder.audio(*(f"{place}{row['audio_id']}" for place in (f"audio/{split}/", f"{split}/", "audio/"))),
            captions=(str(row["tokens"]),),
            phrases=tuple(phrases),
            duration_s=row.get("duration_s", CLIP_S),
            track=str(row["audio_id"]),
        )


def _first_version(columns: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The columns of version 1 (``data/test.json`` of the authors' repository: a row for each phrase) as version 2's
    clips. ``filename`` is ``YTID_START_END.wav``."""
    clips: dict[tuple[str, str], dict[str, Any]] = {}
    for key, number in columns["audiocap_id"].items():
        row = {name: values[key] for name, values in columns.items()}
        _, start, end = str(row["filename"]).removesuffix(".wav").rsplit("_", 2)
        clip = {"audiocap_id": number, "audio_id": row["filename"], "tokens": row["caption"], "phrases": []}
        clip = clips.setdefault((str(number), row["filename"]), {**clip, "duration_s": float(end) - float(start)})
        clip["phrases"].append({"phrase": row["soundtag"], "segments": row["timestamps"]})
    return list(clips.values())


READERS = {
    "desed": _desed,
    "audioset_strong": _audioset_strong,
    "urbansed": _urban_sed,
    "audiogrounding": _audio_grounding,
}
