"""Recordings with a label each: a folder of folders, a table, FSD50K, or the sounds of Debian packages.

Each is a clip of one label, whose ``track`` names what must not be torn between splits (takes of one sound); a label
`BACKGROUND` marks background recordings.
"""

import fnmatch
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from solfa.audio import SUFFIXES
from solfa.core.clip import SPLITS, Clip
from solfa.core.errors import InputError
from solfa.datagen.packages import packages
from solfa.datasets.phrases import table
from solfa.datasets.tables import table_rows

_TAKE = re.compile(r"(?:[-_. ]?(?:hardest|hard|med|softest|soft|down|up|\d+))+$", re.IGNORECASE)
_MAX_LABEL = 200
BACKGROUND = ""
Row = tuple[re.Pattern[str], str, dict[str, dict[str, str]], int]  # of keys: pattern, phrase, its words, limit
_LIMIT = 60  # files of one phrase; drum kits have hundreds of takes


def read_events(place: Path) -> list[Clip]:
    """Labelled recordings of a table (``.csv``, ``.jsonl``), of FSD50K, or of a folder with a folder for each label.

    Raises InputError if the place does not exist, is of no such layout, or holds nothing.
    """
    if place.suffix.lower() in (".csv", ".jsonl"):
        found = list(_table(place))
    elif (place / "FSD50K.ground_truth").is_dir():
        found = list(_fsd50k(place))
    elif place.is_dir():
        inside = [path for path in _recordings(place) if path.parent != place]
        found = [_clip(path, place, path.relative_to(place).parts[0]) for path in inside]
    else:
        raise InputError(f"{place} is neither a folder nor a table (.csv, .jsonl).")
    if not found:
        raise InputError(
            f"{place} holds no labelled recordings; expected folders named after their label, a table with the columns "
            f"path and label, or FSD50K."
        )
    return found


def read_backgrounds(folder: Path) -> list[Clip]:
    """All recordings of a folder, as backgrounds. Raises InputError if there are none."""
    found = [_clip(path, folder, BACKGROUND) for path in _recordings(folder)]
    if not found:
        raise InputError(f"{folder} holds no recordings.")
    return found


def read_packages(folder: Path) -> list[Clip]:
    """The sounds that ``fetch_sounds`` put into a folder, labelled by ``phrases.toml``.

    Takes of one thing (velocities, numbers) are one group. Raises InputError if there are none.
    """
    files = {
        f"{package.name}/{path.relative_to(folder / package.name).with_suffix('').as_posix().lower()}": (path, package)
        for package in packages()
        for path in _recordings(folder / package.name)
    }
    if not files:
        raise InputError(f"{folder} holds no sounds of the known packages; get them with: solfa data sounds")
    found = []
    for key, label in label_sounds(files).items():
        path, package = files[key]
        track = f"{label}:{_take_of(key)}"
        found.append(Clip(id=key, audio=path, attributes={"labels": (label,)}, licence=package.licence, track=track))
    return found


def label_sounds(keys: Iterable[str]) -> dict[str, str]:
    """The phrase of each sound file, by key (``scratch/animal/dog1``); `BACKGROUND` for what goes on under events.

    Files that no row names are left out, and so are those beyond a phrase's limit (which ones follows from the keys).

    >>> label_sounds(["scratch/animal/dog1", "scratch/effects/waterrunning", "scratch/unknown"])
    {'scratch/animal/dog1': 'dog barking', 'scratch/effects/waterrunning': ''}
    """
    found: dict[str, list[str]] = {}
    limits: dict[str, int] = {}
    for key in sorted(keys):
        for pattern, phrase, words, limit in _patterns():
            if match := pattern.fullmatch(key):
                label = phrase.format(**{name: words[name][value] for name, value in match.groupdict().items()})
                found.setdefault(label, []).append(key)
                limits[label] = limit
                break
    kept: dict[str, str] = {}
    for label, members in found.items():
        by_chance = sorted(members, key=lambda key: hashlib.sha256(key.encode()).digest())
        kept |= dict.fromkeys(members if label == BACKGROUND else by_chance[: limits[label]], label)
    return dict(sorted(kept.items()))


@cache
def _patterns() -> list[Row]:
    rows: list[Row] = [(_globs(table()["background"]["files"]), BACKGROUND, {}, _LIMIT)]
    for family in table()["families"]:
        pattern = re.compile(rf"{family['package']}/{family['files']}")
        rows.append((pattern, family["phrase"], family.get("words", {}), family.get("limit", _LIMIT)))
    return rows + [(_globs(row.get("files", ())), p, {}, _LIMIT) for p, row in table()["clusters"].items()]


def _globs(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(p) for p in patterns) or r"(?!)")


def _take_of(key: str) -> str:
    stem = key.rpartition("/")[2]
    return key[: len(key) - len(stem)] + (_TAKE.sub("", stem) or stem)


def _recordings(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def _clip(path: Path, root: Path, label: str, split: str = "") -> Clip:
    name = path.relative_to(root).as_posix().encode("utf-8", "replace").decode()  # half a character, as names may hold
    return Clip(id=name, audio=path, attributes={"labels": (clean_label(label),)}, track=name, split=split)


def clean_label(label: str) -> str:
    """A label as a phrase: lower case, underscores as blanks, no control characters.

    >>> clean_label("Dog_Bark ")
    'dog bark'
    """
    shown = "".join(c if c.isprintable() else " " for c in label.replace("_", " "))
    return " ".join(shown.split()).lower()[:_MAX_LABEL]


def _table(path: Path) -> Iterator[Clip]:
    root = path.parent.resolve()
    for n, row in enumerate(_rows(path), start=1):
        name, label, split = (str(row.get(key) or "").strip() for key in ("path", "label", "split"))
        if not name or not clean_label(label):
            raise InputError(f"{path}, row {n}: expected the columns path and label, got {sorted(row)[:6]}.")
        if split not in ("", *SPLITS):
            raise InputError(f"{path}, row {n}: split {split!r} is not one of {', '.join(SPLITS)}.")
        target = (root / name).resolve()
        if not target.is_relative_to(root):
            raise InputError(f"{path}, row {n}: {name!r} is outside the folder of the table.")
        clip, group = _clip(target, root, label, split), str(row.get("group") or "").strip()
        yield replace(clip, track=group or clip.track)


def _rows(path: Path) -> list[Mapping[str, Any]]:
    rows = list(table_rows(path))
    if bad := [(where, row) for where, row in rows if isinstance(row, str)]:
        raise InputError(f"{path}, {bad[0][0]}: {bad[0][1]}.")
    return [row for _, row in rows if not isinstance(row, str)]


def _fsd50k(root: Path) -> Iterator[Clip]:
    """Clips with one label only. Ground truth holds every label's ancestors as well, so the labels that people gave are
    read from the collection's metadata where it is there."""
    for part in ("dev", "eval"):
        truth = {str(r.get("fname")): r for r in _rows(root / "FSD50K.ground_truth" / f"{part}.csv")}
        given = root / "FSD50K.metadata" / "collection" / f"collection_{part}.csv"
        for row in _rows(given) if given.is_file() else truth.values():
            name, labels = str(row.get("fname") or ""), str(row.get("labels") or "").split(",")
            if len(labels) == 1 and labels[0] and name.isdigit() and name in truth:
                split = "test" if part == "eval" else str(truth[name].get("split") or "train")
                path = root / f"FSD50K.{part}_audio" / f"{name}.wav"
                yield _clip(path, root, labels[0], split if split in SPLITS else "train")
