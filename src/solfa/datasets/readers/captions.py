"""Sets of captions: MusicCaps, Song Describer, MusicBench, FMACaps, FGMCaps, LP-MusicCaps, AudioCaps, Clotho."""

from __future__ import annotations

import ast
import re
from typing import Any

from solfa.core.errors import InputError
from solfa.datasets.readers.records import Folder, Item

_LP_COLUMNS = (
    *("track_id", "fname", "ytid", "artist_name", "path", "tag", "tag_top50", "aspect_list", "caption_ground_truth"),
    *("start_s", "end_s", "is_crawled"),
)
_PSEUDO = ("caption_writing", "caption_summary", "caption_paraphrase", "caption_attribute_prediction")


def _list(text: object) -> tuple[str, ...]:
    # A list of strings, or one written as a Python literal.
    value = ast.literal_eval(text) if isinstance(text, str) else text
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InputError(f"expected a list, got {str(text)[:60]!r}.")
    return tuple(str(v) for v in value)


def _music_caps(folder: Folder, split: str) -> list[Item]:
    rows = folder.table("musiccaps-public.csv")
    wanted = {
        "eval": ("is_audioset_eval", "True"),
        "train": ("is_audioset_eval", "False"),
        "balanced": ("is_balanced_subset", "True"),
    }.get(split)
    return [
        Item(
            id=row["ytid"],
            audio=folder.clip(f"[{row['ytid']}]-[{row['start_s']}-{row['end_s']}]", row["ytid"]),
            captions=(row["caption"],),
            labels=_list(row["aspect_list"]),
            start_s=float(row["start_s"]),
            end_s=float(row["end_s"]),
            duration_s=float(row["end_s"]) - float(row["start_s"]),
            group=row["ytid"],
            extra=dict(row),
        )
        for row in rows
        if wanted is None or row[wanted[0]] == wanted[1]
    ]


def _song_describer(folder: Folder, split: str) -> list[Item]:
    by_track: dict[str, list[dict[str, str]]] = {}
    for row in folder.table("song_describer.csv"):
        if split == "all" or row["is_valid_subset"] == "True":
            by_track.setdefault(row["track_id"], []).append(row)
    return [
        Item(
            id=track,
            audio=folder.audio(f"audio/{rows[0]['path'].removesuffix('.mp3')}.2min.mp3"),
            captions=tuple(r["caption"] for r in rows),
            group=rows[0]["artist_id"],
            extra=dict(rows[0]),
        )
        for track, rows in by_track.items()
    ]


def _json_items(folder: Folder, rows: list[dict[str, Any]]) -> list[Item]:
    """Rows with the same location are further captions of one clip."""
    by_location: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_location.setdefault(str(row["location"]), []).append(row)
    return [
        Item(
            id=location,
            audio=folder.audio(location, f"datashare/{location}", f"audiodata/{location.split('/')[-1]}"),
            captions=tuple(dict.fromkeys(str(row["main_caption"]) for row in own)),
            group=_recording(location),
            extra=own[0],
        )
        for location, own in by_location.items()
    ]


def _recording(location: str) -> str:
    """The YouTube id of a clip of MusicBench, which has 11 characters, or the name of another, without a copy's number.

    >>> {_recording(f"data/{name}.wav") for name in ("a_b-c_d_e_f", "a_b-c_d_e_f_1", "a_b-c_d_e_f_12")}
    {'a_b-c_d_e_f'}
    """
    stem = location.split("/")[-1].rpartition(".")[0]
    return stem[:11] if re.fullmatch(r"[\w-]{11}(_.*)?", stem) else re.sub(r"(_\d+)+$", "", stem)


def _music_bench(folder: Folder, split: str) -> list[Item]:
    rows = folder.json_lines(f"MusicBench_{split.removesuffix('_eval')}.json")
    return _json_items(folder, [r for r in rows if r["is_audioset_eval_mcaps"] or not split.endswith("_eval")])


def _fma_caps(folder: Folder, split: str) -> list[Item]:
    return _json_items(folder, folder.json_lines(f"FMACaps_{split}.json"))


def _fgm_caps(folder: Folder, split: str) -> list[Item]:
    rows = folder.parquet(f"data/{split}*-*.parquet", ("id", "caption"))  # val or validation
    return [Item(id=str(r["id"]), audio=folder.clip(str(r["id"])), captions=(r["caption"],), extra=r) for r in rows]


def _lp_music_caps(folder: Folder, split: str) -> list[Item]:
    items = []
    for row in folder.parquet(f"data/{split}-*.parquet", (*_LP_COLUMNS, *_PSEUDO)):
        name = str(row.get("track_id") or row.get("fname"))
        tags = next((row[c] for c in ("tag", "tag_top50", "aspect_list") if row.get(c) is not None), None)
        path = row.get("path")
        items.append(
            Item(
                id=name,
                audio=(folder.audio(f"audio/{path}") if path else None) or folder.clip(name, str(row.get("ytid"))),
                captions=tuple(str(row[c]) for c in _PSEUDO if row.get(c)),
                labels=_list(tags),
                group=str(row.get("artist_name") or row.get("ytid") or name),
                extra=row,
            )
        )
    return items


def _audio_caps(folder: Folder, split: str) -> list[Item]:
    by_clip: dict[tuple[str, str], list[str]] = {}
    for row in folder.table(f"dataset/{split}.csv"):
        by_clip.setdefault((row["youtube_id"], row["start_time"]), []).append(row["caption"])
    return [
        Item(
            id=youtube,
            audio=folder.clip(f"{youtube}_{start}", f"Y{youtube}", youtube),
            captions=tuple(captions),
            start_s=float(start),
            end_s=float(start) + 10.0,
            duration_s=10.0,
            group=youtube,
        )
        for (youtube, start), captions in by_clip.items()
    ]


def _clotho(folder: Folder, split: str) -> list[Item]:
    return [
        Item(
            id=row["file_name"],
            audio=folder.audio(f"{split}/{row['file_name']}"),
            captions=tuple(row[f"caption_{i}"] for i in range(1, 6)),
            group=row["file_name"],
        )
        for row in folder.table(f"clotho_captions_{split}.csv")
    ]


READERS = {
    "musiccaps": _music_caps,
    "song_describer": _song_describer,
    "musicbench": _music_bench,
    "fmacaps": _fma_caps,
    "fgmcaps": _fgm_caps,
    "lp_musiccaps": _lp_music_caps,
    "audiocaps": _audio_caps,
    "clotho": _clotho,
}
