"""A researcher's own pairs of sound and text, from JSONL, JSON, CSV or Parquet, as the clips of a data set.

A row is one clip, one of its captions, or one of its timed phrases: rows of the same file, or part of it, are one clip.
Columns are found by their usual names (``COLUMNS``) or named by the caller. FineLAP's JSONL is such a table, and so is
Parquet with the sound inside, as Hugging Face has it and as we export it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from solfa.core.clip import SPLITS, Clip, joined_phrases
from solfa.core.errors import InputError
from solfa.datasets.splits import assign, families, link_keys, targets
from solfa.datasets.tables import ENDINGS, Inside, json_object, table_rows

# What a column of each kind may be called. All captions of a row are taken, of the others the first that is not empty.
COLUMNS = {
    "path": ("path", "audio_path", "audio", "file", "file_name", "filename", "location"), "id": ("id", "audio_id"),
    "caption": ("caption", "captions", "text", "main_caption"), "phrases": ("phrases",), "phrase": ("phrase",),
    "start_s": ("start_s", "onset"), "end_s": ("end_s", "offset"), "clip_start_s": ("clip_start_s",),
    "clip_end_s": ("clip_end_s",), "split": ("split",), "group": ("group",), "track": ("track", "track_id"),
    "artist": ("artist", "artist_id", "artist_name"), "licence": ("licence", "license"),
}  # fmt: skip
_SAID = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
         "test": "test", "testing": "test", "eval": "test", "evaluation": "test"}  # fmt: skip
_NAMED = 5
_PART = re.compile(r"\{([^{}:]+)(:stem)?\}")  # of a template
_ELSEWHERE = "-"  # in place of a split that is not wanted


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """How a table is read.

    ``columns`` maps kinds of ``COLUMNS`` to a column, to several with commas (captions), to a template such as
    ``audio/{id}.flac`` (``{id:stem}``: without its ending), or to "" where no column is to be taken. Relative paths
    start at ``root``, the table's folder by default, and none may lead out of it. ``splits`` maps the table's names of
    splits to ours; rows of others are left out. Where no split is given, whole groups are spread over the splits by
    ``shares`` and ``seed``.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    root: Path | None = None
    splits: Mapping[str, str] = field(default_factory=dict)
    shares: tuple[float, ...] = (0.9, 0.05, 0.05)
    seed: int = 0
    licence: str = ""
    skip_bad: bool = False


class _BadRow(ValueError):
    pass


@dataclass(slots=True)
class _Row:
    clip: Clip
    where: str
    keys: tuple[str, ...]
    file: str  # and the part of it that the clip is: what another row of the clip names too
    split: str


def read_pairs(place: Path, table: Table) -> tuple[dict[str, tuple[Clip, ...]], list[tuple[str, str]]]:
    """The clips of a table by split, and where the rows are that were left out, each with the reason.

    ``place`` is a file, or a folder of files named after their split (``train.jsonl``, ``data/test-00000.parquet``).
    Raises InputError if it cannot be read, lacks a column, a row cannot be used and ``skip_bad`` is not set, or none
    can; MissingExtra if it is Parquet and pyarrow is not installed.
    """
    for option, names, known in (("--column", table.columns, COLUMNS), ("--split", table.splits.values(), SPLITS)):
        if unknown := set(names) - set(known):
            raise InputError(f"{option} {unknown.pop()}=...: expected one of {', '.join(known)}.")
    root = (table.root or (place if place.is_dir() else place.parent)).resolve()
    rows, ids = dict[str, _Row](), dict[str, _Row]()
    bad, total, seen = list[tuple[str, str]](), 0, dict[str, None]()
    for file, split in _files(place):
        for where, row in table_rows(file):
            total += 1
            named = where if file == place else f"{file.name}, {where}"
            try:
                if isinstance(row, str):
                    raise _BadRow(row)
                seen.update(dict.fromkeys(row))
                _add(rows, ids, _row({"split": split, **row} if split else row, root, named, table))
            except _BadRow as reason:
                bad.append((named, str(reason)))
    wanted = [_columns_of(given) for given in table.columns.values()]
    wanted += [] if "path" in table.columns or {*COLUMNS["path"]} & set(seen) else [["path"]]
    if seen and (absent := [n for names in wanted for n in names if n not in seen]):
        raise InputError(
            f"{place}: no column {absent[0]!r}; it has: {', '.join(map(str, seen)):.300}. Name it: --column "
            "path=COLUMN, or path=audio/{COLUMN}.wav"
        )
    found, torn = _split([row for row in rows.values() if row.split != _ELSEWHERE], table)
    bad += torn
    if bad and not (table.skip_bad and found):
        some = "; ".join(f"{where}: {reason}" for where, reason in bad[:_NAMED])
        more = f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        advice = "Correct them, or leave them out: --skip-bad." if found else "No rows are left."
        raise InputError(f"{place}: {len(bad)} of {total} rows cannot be used: {some}{more}. {advice}")
    if not found:
        raise InputError(f"{place} holds no rows of the chosen splits.")
    by_split = {split: tuple(row.clip for row in found if row.split == split) for split in SPLITS}
    return {split: clips for split, clips in by_split.items() if clips}, bad


def spread(clips: Sequence[Clip], shares: Sequence[float], seed: int) -> dict[str, tuple[Clip, ...]]:
    """Clips by split, every group whole. Raises InputError if the shares are not three that sum to 1."""
    family, none = families([[clip.group or clip.id] for clip in clips]), [""] * len(clips)
    drawn = assign(family, none, targets({"": len(clips)}, shares), seed=seed)
    return {s: tuple(c for c, own in zip(clips, drawn, strict=True) if own == s) for s in SPLITS if s in drawn}


def _files(place: Path) -> list[tuple[Path, str]]:
    """The tables of a place, and the split that the name of each says."""
    if place.is_file() and place.suffix.lower() in ENDINGS:
        return [(place, "")]
    files = sorted(p for p in (*place.glob("*"), *place.glob("data/*")) if p.suffix.lower() in ENDINGS)
    named = [(p, split) for p in files if (split := re.split(r"[-_.]", p.stem.lower())[0]) in _SAID]
    if not named:
        raise InputError(
            f"{place}: expected a table ({', '.join(ENDINGS)}), or a folder of tables named after their splits, such "
            "as train.jsonl or data/test-*.parquet."
        )
    return named


def _columns_of(given: str) -> list[str]:
    return [part[1] for part in _PART.finditer(given)] or [name.strip() for name in given.split(",") if name.strip()]


def _cells(row: Mapping[str, Any], kind: str, table: Table) -> list[Any]:
    """What a row has of a kind, without empty cells; a list that a cell of a CSV holds as JSON is a list."""
    given = table.columns.get(kind)
    names = list(COLUMNS[kind]) if given is None else _columns_of(given)
    if given is None and kind == "caption":
        names += [name for name in row if re.fullmatch(r"caption_\d+", name)]
    values = [v for v in map(row.get, names) if not (v is None or v == "" or (isinstance(v, float) and math.isnan(v)))]
    if given is not None and "{" in given:
        filled = _PART.sub(lambda m: Path(_text(row.get(m[1]))).stem if m[2] else _text(row.get(m[1])), given)
        return [filled] if len(values) == len(names) else []
    for i, value in enumerate(values):
        if isinstance(value, str) and kind in ("caption", "phrases") and value.lstrip().startswith("["):
            parsed = json_object(b'{"":%b}' % value.encode())
            values[i] = parsed[""] if isinstance(parsed, dict) else value
    return values


def _text(value: Any) -> str:
    return str(value).strip() if isinstance(value, str | int | float) else ""


def _one(row: Mapping[str, Any], kind: str, table: Table) -> str:
    value = next(iter(_cells(row, kind, table)), "")
    if not (text := _text(value)) and value != "":
        raise _BadRow(f"{kind} is {value!r:.60}, expected text")
    return text


def _captions(row: Mapping[str, Any], table: Table) -> tuple[str, ...]:
    found: list[str] = []
    for value in _cells(row, "caption", table):
        own = value if isinstance(value, list) else [value]
        if not all(isinstance(text, str) for text in own):
            raise _BadRow(f"caption is {value!r:.60}, expected text or a list of texts")
        found += filter(None, map(str.strip, own))
    return tuple(dict.fromkeys(found))


def _span(start: Any, end: Any) -> tuple[float, float]:
    try:
        span = float(start), float(end)
    except (TypeError, ValueError, OverflowError):
        span = math.nan, math.nan
    if not 0 <= span[0] < span[1] < math.inf:
        raise _BadRow(f"a span from {start!r:.20} to {end!r:.20}, expected seconds, start below end")
    return span


def _phrases(row: Mapping[str, Any], table: Table) -> list[tuple[str, float, float]]:
    found: list[tuple[str, float, float]] = []
    if text := _one(row, "phrase", table):
        found.append((text, *_span(_one(row, "start_s", table), _one(row, "end_s", table))))
    for value in _cells(row, "phrases", table):
        try:
            for phrase in value:
                text = _text(phrase.get("phrase", phrase.get("text")))
                spans = phrase.get("segments", phrase.get("spans_s")) or [(phrase["start_s"], phrase["end_s"])]
                for span in spans:
                    start, end = (span["start"], span["end"]) if isinstance(span, dict) else span
                    if (start, end) != (0, 0):  # which says: not there
                        found.append((text, *_span(start, end)))
        except (AttributeError, KeyError, TypeError, ValueError) as bad:
            if isinstance(bad, _BadRow):
                raise
            expected = "expected objects with phrase and segments [[start, end]]"
            raise _BadRow(f"phrases is {value!r:.60}, {expected}") from bad
    if any(not text for text, _, _ in found):
        raise _BadRow("a phrase without text")
    return found


def _row(row: Mapping[str, Any], root: Path, where: str, table: Table) -> _Row:
    inside = next((v for v in _cells(row, "path", table) if isinstance(v, Inside)), None)
    path = _found(root, _one(row, "path", table)) if inside is None else inside.file
    name = path.relative_to(root).as_posix() if inside is None else inside.name
    captions, phrases = _captions(row, table), _phrases(row, table)
    if not captions and not phrases:
        raise _BadRow("no caption and no timed phrase")
    start, end, said = (_one(row, kind, table) for kind in ("clip_start_s", "clip_end_s", "split"))
    cut = _span(start or 0, end) if start or end else None
    split = table.splits.get(said, _ELSEWHERE) if table.splits else _SAID.get(said.lower(), said)
    if split not in ("", _ELSEWHERE, *SPLITS):
        raise _BadRow(f"split {said!r:.40}, expected train, val or test; or map it: --split val={said:.40}")
    group, track, artist = (_one(row, kind, table) for kind in ("group", "track", "artist"))
    file = f"{path} {inside and inside.row}"
    keys = (f"file:{file}", *link_keys(source="", track="", artist=artist, piece="", content=""))
    keys += tuple(f"{kind}:{text}" for kind, text in (("group", group), ("track", track)) if text)
    clip = Clip(
        id=(_one(row, "id", table) or name) + (f" {cut[0]:g}-{cut[1]:g}" if cut else ""), audio=inside or path,
        start_s=cut[0] if cut else 0.0, duration_s=cut[1] - cut[0] if cut else 0.0, captions=captions,
        phrases=joined_phrases(phrases), track=group or track, artist=artist, licence=_one(row, "licence", table),
    )  # fmt: skip
    return _Row(clip, where, keys, f"{file} {cut}", split)


def _found(root: Path, name: str) -> Path:
    try:
        path = (root / name).resolve()
        if name and path.is_relative_to(root) and path.is_file():
            return path
    except (OSError, ValueError) as bad:  # too long, or a zero byte
        raise _BadRow(f"the path {name!r:.100} cannot be used") from bad
    if name and not path.is_relative_to(root):
        raise _BadRow(f"the path {name!r:.100} is outside {root}; choose another folder with --audio")
    raise _BadRow(f"the audio file {name!r:.100} is missing" if name else "no path")


def _add(rows: dict[str, _Row], ids: dict[str, _Row], new: _Row) -> None:
    """A further row of a clip adds captions and phrases; it may not contradict the first."""
    if (other := ids.get(new.clip.id, new)).file != new.file:
        raise _BadRow(f"the id {new.clip.id!r:.60} is of another file in {other.where}")
    old = rows.setdefault(new.file, new)
    ids[old.clip.id] = old
    if old is new:
        return
    if old.split != new.split:
        raise _BadRow(f"the same clip has another split in {old.where}")
    both = (*old.clip.phrases, *new.clip.phrases)
    phrases = joined_phrases((p.text, a, b) for p in both for a, b in p.spans_s)
    old.keys += new.keys
    captions = tuple(dict.fromkeys((*old.clip.captions, *new.clip.captions)))
    old.clip = replace(old.clip, captions=captions, phrases=phrases)


def _split(rows: list[_Row], table: Table) -> tuple[list[_Row], list[tuple[str, str]]]:
    """The rows, each with a split, and where those are whose own split tears a group apart."""
    first: dict[int, _Row] = {}
    kept, torn = [], []
    for row, name in zip(rows, families([r.keys for r in rows]), strict=True):
        if row.split and (other := first.setdefault(name, row)).split != row.split:
            group = row.clip.track or row.clip.artist
            what = f"group {group!r:.60}" if group else "audio file"
            torn.append((row.where, f"split {row.split}, but its {what} is in {other.split} ({other.where})"))
        else:
            kept.append((row, name))
    free = [name for _, name in kept if name not in first]
    drawn = iter(assign(free, [""] * len(free), targets({"": len(free)}, table.shares), seed=table.seed))
    for row, name in kept:
        row.split = first[name].split if name in first else next(drawn)
    return [row for row, _ in kept], torn
