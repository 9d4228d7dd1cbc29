"""Clips of the rows of published tables, as ``sources.toml`` says for each data set.

``SourceInfo.rows`` may hold

======================  ================================================================================================
``file``                the tables (a pattern of paths), with ``columns`` and ``ragged`` as ``table_rows`` takes them
``from``                in place of ``file``, the function of ``_ROWS`` that gives the rows
``renamed``             what ``{split}`` stands for, where that is not the split's own name
``keep``                of a split (or "*": of all but "all") the column that decides, and its values that are kept
``parse``               for a column a regular expression, whose named groups become further columns
``clip``                rows that agree in this are one clip; without it each row is one
``id``, ``track``, ...  templates of the fields of ``Clip``, such as "{artist_id}"; of several the first that is filled
``audio``, ``stems``    paths of the sound in the folder; names under ``audio/``, whatever the format
``captions``            columns; with ``distinct`` those that come again are left out
``labels``              a template; or of ``lists`` the first column that has a list; or columns that hold ``tagged``
``event``               the columns of label, start and end of a timed phrase
``duration_s``          a number, a template, or the columns of start and end; ``start_s`` likewise
======================  ================================================================================================

In a template a column is a path too: "{path.stem}". A column of its name must be there; where it is empty, the template
is left out.
"""

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from solfa.core.annotation import read_jams
from solfa.core.clip import Clip, Phrase, joined_phrases
from solfa.core.intervals import merged
from solfa.datasets.readers.folder import AUDIO_SUFFIXES, Folder
from solfa.datasets.tables import Inside

Row = Mapping[str, Any]


class _Cell(str):
    """Text that in a template has the parts of a path too."""

    def __getattr__(self, name: str) -> Any:
        return getattr(PurePosixPath(self), name)


def clips_of(folder: Folder, split: str) -> Iterator[Clip]:
    """The clips of a split. Raises InputError if a file is missing; KeyError, ValueError or TypeError if it is bad."""
    how = folder.source.rows
    if how.get("from") == "jams":
        yield from _jams(folder)
        return
    named = how.get("renamed", {}).get(split, split)
    keep = how.get("keep", {})
    column, *values = keep.get(split, keep.get("" if split == "all" else "*", [""]))
    values = [value.format(split=split) for value in values]
    found: dict[str, list[Row]] = {}
    for row in _ROWS[how["from"]](folder, split) if "from" in how else _tables(folder, named):
        row = {"split": named, **{name: _Cell(v) if isinstance(v, str) else v for name, v in row.items()}}
        for parsed, pattern in how.get("parse", {}).items():
            if (parts := re.fullmatch(pattern, row[parsed])) is None:
                raise ValueError(f"{parsed} {row[parsed]!r:.60}")
            row |= {name: _Cell(part) for name, part in parts.groupdict().items()}
        if column and str(row[column]) not in values:
            continue
        if "clip" in how:
            found.setdefault(how["clip"].format_map(row), []).append(row)
        else:  # tables may be large: no row is kept for longer
            yield _clip(folder, how, [row])
    for rows in found.values():
        yield _clip(folder, how, rows)


def _tables(folder: Folder, split: str) -> Iterator[Row]:
    how = folder.source.rows
    return folder.rows(how["file"].format(split=split), how.get("columns"), ragged=how.get("ragged", False))


def _clip(folder: Folder, how: Mapping[str, Any], rows: Sequence[Row]) -> Clip:
    row = rows[0]
    texts: dict[str, Any] = {
        name: next(_filled(how[name], row), "") for name in ("id", "track", "artist") if name in how
    }
    if not texts["id"]:
        raise ValueError(f"a row without {how['id']}")
    audio = folder.audio(*_filled(how.get("audio", ()), row)) or folder.clip(*_filled(how.get("stems", ()), row))
    captions = [str(r[column]) for r in rows for column in how.get("captions", ()) if r[column]]
    label, start, end = how.get("event", ("", "", ""))
    events = [(str(r[label]), float(r[start]), float(r[end])) for r in rows if label and r[label]]
    return Clip(
        **texts, captions=tuple(dict.fromkeys(captions) if how.get("distinct") else captions),
        audio=audio or next((cell for cell in row.values() if isinstance(cell, Inside)), None),
        phrases=tuple(row.get("phrases", ())) or joined_phrases(events), attributes=_labels(how, row),
        start_s=_seconds(how.get("start_s", 0.0), row), duration_s=_seconds(how.get("duration_s", 0.0), row),
    )  # fmt: skip


def _filled(templates: str | Sequence[str], row: Row) -> Iterator[str]:
    for template in [templates] if isinstance(templates, str) else templates:
        if all(row[column] not in (None, "") for column in re.findall(r"{(\w+)", template)):
            yield template.format_map(row)


def _seconds(given: float | str | Sequence[str], row: Row) -> float:
    if isinstance(given, Sequence) and not isinstance(given, str):
        start, end = given
        return float(row[end]) - float(row[start])
    return float(given.format_map(row)) if isinstance(given, str) else given


def _labels(how: Mapping[str, Any], row: Row) -> dict[str, Any]:
    if "labels" in how:
        return {"labels": tuple(_filled(how["labels"], row))}
    if "tagged" in how:
        others = {"clip_id", *(name for pattern in how["parse"].values() for name in re.compile(pattern).groupindex)}
        return {"labels": tuple(n for n, cell in row.items() if cell == how["tagged"] and n not in others)}
    if "lists" in how:
        cell: Any = next((row[column] for column in how["lists"] if row[column] is not None), [])
        labels = ast.literal_eval(cell) if isinstance(cell, str) else cell  # some write lists as Python does
        if not isinstance(labels, list):
            raise ValueError(f"expected a list, got {cell!r:.60}")
        return {"labels": tuple(map(str, labels))}
    return {}


def _gtzan(folder: Folder, split: str) -> Iterator[Row]:
    top = "genres_original" if (folder.root / "genres_original").is_dir() else "genres"
    files = sorted(p for ending in ("wav", "au") for p in (folder.root / top).glob(f"*/*.{ending}"))
    if not files:
        folder.text(f"{top}/GENRE/GENRE.NNNNN.wav")  # says what is missing
    kept = None if split == "all" else {Path(line).stem for line in folder.text(f"{split}_filtered.txt").split()}
    return ({"file": str(p.relative_to(folder.root))} for p in files if kept is None or p.stem in kept)


def _desed(folder: Folder, split: str) -> Iterator[Row]:
    """Clips come from the table of durations, which the authors ship apart, and from that of events."""
    table = f"metadata/{folder.source.rows['renamed'][split]}"
    known: dict[str, Any] = {}
    if (folder.root / f"{table}_durations.tsv").is_file():
        known = {row["filename"]: row["duration"] for row in folder.rows(f"{table}_durations.tsv")}
    yield from ({"filename": name, "duration": known[name], "event_label": ""} for name in known)
    yield from ({**row, "duration": known.get(row["filename"], 10.0)} for row in folder.rows(f"{table}.tsv"))


def _audioset_strong(folder: Folder, split: str) -> Iterator[Row]:
    names = {row["mid"]: row["name"] for row in folder.rows("mid_to_display_name.tsv", ("mid", "name"))}
    rows = list(folder.rows(f"audioset_{split.removesuffix('_common')}_strong.tsv"))
    kept = set(names)
    if split == "eval_common":
        kept = {row["label"] for row in folder.rows("audioset_train_strong.tsv")}
    for row in rows:
        name = names[row["label"]]
        yield {**row, "name": name if row["label"] in kept else ""}


def _urbansed(folder: Folder, split: str) -> Iterator[Row]:
    """A table for each clip, without a row where nothing sounds."""
    columns = ("onset", "offset", "label")
    for path in sorted((folder.root / "annotations" / split).glob("*.txt")) or [Path("*.txt")]:
        name = f"annotations/{split}/{path.name}"
        yield from list(folder.rows(name, columns)) or [{"file": name, **dict.fromkeys(columns, "")}]


def _audiogrounding(folder: Folder, split: str) -> Iterator[Row]:
    places = (f"{split}.json", f"data/{split}.json", f"data/{split}/label.json")
    place = next((p for p in places if (folder.root / p).is_file()), places[0])
    found = json.loads(folder.text(place))
    for row in _first_version(found) if isinstance(found, dict) else found:
        phrases = [
            # (0, 0) stands for "not there"
            Phrase(
                text=str(p["phrase"]), spans_s=tuple(merged([(float(a), float(b)) for a, b in p["segments"] if b > a]))
            )
            for p in row["phrases"]
        ]
        yield {"duration_s": 10.0, **row, "phrases": phrases}


def _first_version(columns: dict[str, dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """The columns of version 1 (``data/test.json`` of the authors' repository: a row for each phrase) as version 2's
    clips. ``filename`` is ``YTID_START_END.wav``."""
    clips: dict[tuple[str, str], dict[str, Any]] = {}
    for key, number in columns["audiocap_id"].items():
        row = {name: values[key] for name, values in columns.items()}
        _, start, end = str(row["filename"]).removesuffix(".wav").rsplit("_", 2)
        clip = {"audiocap_id": number, "audio_id": row["filename"], "tokens": row["caption"], "phrases": []}
        clip = clips.setdefault((str(number), row["filename"]), {**clip, "duration_s": float(end) - float(start)})
        clip["phrases"].append({"phrase": row["soundtag"], "segments": row["timestamps"]})
    return clips.values()


def _jams(folder: Folder) -> Iterator[Clip]:
    """Your own music with annotations: a JAMS file for every audio file."""
    sounds = {p.with_suffix(""): p for p in folder.root.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES}
    for path in sorted(folder.root.rglob("*.jams")) or [folder.root / "NAME.jams"]:
        relative = path.relative_to(folder.root)
        folder.text(str(relative))
        music, audio = read_jams(path), sounds.get(path.with_suffix(""))
        yield Clip(id=relative.with_suffix("").as_posix(), audio=audio, annotation=music, duration_s=music.duration_s)


_ROWS: dict[str, Callable[[Folder, str], Iterator[Row]]] = {
    "gtzan": _gtzan, "desed": _desed, "audioset_strong": _audioset_strong, "urbansed": _urbansed,
    "audiogrounding": _audiogrounding,
}  # fmt: skip
