"""Sets of captions: MusicCaps, Song Describer, MusicBench, FMACaps, FGMCaps, LP-MusicCaps, AudioCaps, Clotho."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from solfa.core.clip import Clip
from solfa.core.errors import InputError
from solfa.datasets.readers.records import Folder, Inside

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


def _music_caps(folder: Folder, split: str) -> list[Clip]:
    rows = folder.table("musiccaps-public.csv")
    wanted = {
        "eval": ("is_audioset_eval", "True"),
        "train": ("is_audioset_eval", "False"),
        "balanced": ("is_balanced_subset", "True"),
    }.get(split)
    return [
        Clip(
            id=row["ytid"],
            audio=folder.clip(f"[{row['ytid']}]-[{row['start_s']}-{row['end_s']}]", row["ytid"]),
            captions=(row["caption"],),
            attributes={"labels": _list(row["aspect_list"])},
            start_s=float(row["start_s"]),
            duration_s=float(row["end_s"]) - float(row["start_s"]),
            track=row["ytid"],
        )
        for row in rows
        if wanted is None or row[wanted[0]] == wanted[1]
    ]


def _song_describer(folder: Folder, split: str) -> list[Clip]:
    by_track: dict[str, list[dict[str, str]]] = {}
    for row in folder.table("song_describer.csv"):
        if split == "all" or row["is_valid_subset"] == "True":
            by_track.setdefault(row["track_id"], []).append(row)
    return [
        Clip(
            id=track,
            audio=folder.audio(f"audio/{rows[0]['path'].removesuffix('.mp3')}.2min.mp3"),
            captions=tuple(r["caption"] for r in rows),
            artist=rows[0]["artist_id"],
        )
        for track, rows in by_track.items()
    ]


def _json_clips(folder: Folder, rows: list[dict[str, Any]]) -> list[Clip]:
    """Rows with the same location are further captions of one clip."""
    by_location: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_location.setdefault(str(row["location"]), []).append(row)
    return [
        Clip(
            id=location,
            audio=folder.audio(location, f"datashare/{location}", f"audiodata/{location.split('/')[-1]}"),
            captions=tuple(dict.fromkeys(str(row["main_caption"]) for row in own)),
            track=_recording(location),
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


def _music_bench(folder: Folder, split: str) -> list[Clip]:
    rows = folder.json_lines(f"MusicBench_{split.removesuffix('_eval')}.json")
    return _json_clips(folder, [r for r in rows if r["is_audioset_eval_mcaps"] or not split.endswith("_eval")])


def _fma_caps(folder: Folder, split: str) -> list[Clip]:
    return _json_clips(folder, folder.json_lines(f"FMACaps_{split}.json"))


def _fgm_caps(folder: Folder, split: str) -> list[Clip]:
    rows = folder.parquet(f"data/{split}*-*.parquet", ("id", "caption", "audio"))  # val or validation
    return [
        Clip(
            id=str(row["id"]),
            audio=folder.clip(str(row["id"])) or (sound if isinstance(sound := row.get("audio"), Inside) else None),
            captions=(row["caption"],),
        )
        for row in rows
    ]


def _lp_music_caps(folder: Folder, split: str) -> Iterator[Clip]:
    for row in folder.parquet(f"data/{split}-*.parquet", (*_LP_COLUMNS, *_PSEUDO)):
        name = str(row.get("track_id") or row.get("fname"))
        tags = next((row[c] for c in ("tag", "tag_top50", "aspect_list") if row.get(c) is not None), None)
        path = row.get("path")
        yield Clip(
            id=name,
            audio=(folder.audio(f"audio/{path}") if path else None) or folder.clip(name, str(row.get("ytid"))),
            captions=tuple(str(row[c]) for c in _PSEUDO if row.get(c)),
            attributes={"labels": _list(tags)},
            artist=str(row.get("artist_name") or ""),
            track=str(row.get("ytid") or name),
        )


def _audio_caps(folder: Folder, split: str) -> list[Clip]:
    by_clip: dict[tuple[str, str], list[str]] = {}
    for row in folder.table(f"dataset/{split}.csv"):
        by_clip.setdefault((row["youtube_id"], row["start_time"]), []).append(row["caption"])
    return [
        Clip(
            id=youtube,
            audio=folder.clip(f"{youtube}_{start}", f"Y{youtube}", youtube),
            captions=tuple(captions),
            start_s=float(start),
            duration_s=10.0,
            track=youtube,
        )
        for (youtube, start), captions in by_clip.items()
    ]


def _clotho(folder: Folder, split: str) -> list[Clip]:
    return [
        Clip(
            id=row["file_name"],
            audio=folder.audio(f"{split}/{row['file_name']}"),
            captions=tuple(row[f"caption_{i}"] for i in range(1, 6)),
            track=row["file_name"],
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
