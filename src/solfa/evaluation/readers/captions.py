"""Sets of captions: MusicCaps, Song Describer, MusicBench, FMACaps, FGMCaps, LP-MusicCaps, AudioCaps, Clotho."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from solfa.core.errors import InputError
from solfa.evaluation.readers.records import AUDIO_SUFFIXES, Folder, Item, Source

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


def _json_item(folder: Folder, row: dict[str, Any]) -> Item:
    location = str(row["location"])
    return Item(
        id=location,
        audio=folder.audio(location, f"datashare/{location}", f"audiodata/{location.split('/')[-1]}"),
        captions=(str(row["main_caption"]),),
        group=location.split("/")[-1].rsplit("_", 1)[0],
        extra=row,
    )


def _music_bench(folder: Folder, split: str) -> list[Item]:
    rows = folder.json_lines(f"MusicBench_{split.removesuffix('_eval')}.json")
    return [_json_item(folder, r) for r in rows if r["is_audioset_eval_mcaps"] or not split.endswith("_eval")]


def _fma_caps(folder: Folder, split: str) -> list[Item]:
    return [_json_item(folder, r) for r in folder.json_lines(f"FMACaps_{split}.json")]


def _fgm_caps(folder: Folder, split: str) -> list[Item]:
    rows = folder.parquet(f"data/{split}-*.parquet", ("id", "caption"))
    return [Item(id=str(r["id"]), audio=folder.clip(str(r["id"])), captions=(r["caption"],), extra=r) for r in rows]


def unpack_fgm_caps(root: Path, split: str = "test", into: Path | None = None) -> int:
    """Writes the sound inside FGMCaps' Parquet files to ``audio/ID.*``, where the reader looks; the number of files.

    ``into`` is another folder for ``audio/``, instead of ``root`` itself.

    Raises
    ------
    InputError
        If there is no Parquet file, a row holds no sound, or an id is no plain file name.
    MissingExtra
        If pyarrow is not installed.
    """
    folder, num = Folder(root, SOURCES["fgmcaps"]), 0
    target = (into or root) / "audio"
    target.mkdir(exist_ok=True)
    for row in folder.parquet(f"data/{split}-*.parquet", ("id", "audio")):
        name, sound = str(row["id"]), row.get("audio") or {}
        if not re.fullmatch(r"[\w.-]{1,200}", name) or name.startswith(".") or not sound.get("bytes"):
            raise InputError(f"FGMCaps: row {name[:80]!r} holds no sound, or its id is no plain file name.")
        suffix = Path(sound.get("path") or "").suffix.lower()
        (target / (name + (suffix if suffix in AUDIO_SUFFIXES else ".wav"))).write_bytes(sound["bytes"])
        num += 1
    return num


def _lp_music_caps(folder: Folder, split: str) -> list[Item]:
    columns = (
        "track_id",
        "fname",
        "ytid",
        "artist_name",
        "path",
        "tag",
        "tag_top50",
        "aspect_list",
        *_PSEUDO,
        "caption_ground_truth",
        "start_s",
        "end_s",
        "is_crawled",
    )
    items = []
    for row in folder.parquet(f"data/{split}-*.parquet", columns):
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


SOURCES = {
    "musiccaps": Source(
        title="MusicCaps",
        where="kaggle googleai/musiccaps or Hugging Face google/MusicCaps; audio is on YouTube and not shipped",
        licence="captions CC BY-SA 4.0; audio not licensed",
        layout="musiccaps-public.csv; audio/YTID.* or audio/[YTID]-[START-END].*",
        splits=("eval", "train", "balanced", "all"),
        read=_music_caps,
    ),
    "song_describer": Source(
        title="Song Describer Dataset",
        where="Zenodo record 10072001",
        licence="captions CC BY-SA 4.0; audio Creative Commons, see audio_licenses.txt",
        layout="song_describer.csv, audio/NN/ID.2min.mp3",
        splits=("valid", "all"),
        read=_song_describer,
    ),
    "musicbench": Source(
        title="MusicBench",
        where="Hugging Face amaai-lab/MusicBench (MusicBench.tar.gz unpacked in the same folder)",
        licence="CC BY-SA 3.0; audio derived from YouTube",
        layout="MusicBench_test_B.json (A: no control sentences, B: all four), audio as `location` says",
        splits=("test_B", "test_A", "test_B_eval", "test_A_eval", "train"),
        read=_music_bench,
    ),
    "fmacaps": Source(
        title="FMACaps",
        where="Hugging Face amaai-lab/MusicBench, FMACaps_eval_set.tar.gz unpacked",
        licence="CC BY-SA 3.0; audio as in FMA",
        layout="FMACaps_B.json (one object a line), audio in audiodata/; the archive's folder FMACaps_eval_set itself",
        splits=("B", "A", "C"),
        read=_fma_caps,
    ),
    "fgmcaps": Source(
        title="FGMCaps",
        where="Hugging Face nishitanand/FGMCaps-benchmark",
        licence="CC BY-NC-SA 4.0",
        layout="data/test-*.parquet (columns id, caption, audio); for more than 'solfa eval' also "
        "audio/ID.*, written in Python by solfa.evaluation.readers.unpack_fgm_caps(Path(FOLDER))",
        splits=("test",),
        read=_fgm_caps,
    ),
    "lp_musiccaps": Source(
        title="LP-MusicCaps",
        where="Hugging Face seungheondoh/LP-MusicCaps-MSD, -MTT or -MC",
        licence="CC BY-NC 4.0; audio not shipped",
        layout="data/SPLIT-*.parquet, audio/PATH",
        splits=("test", "valid", "train"),
        read=_lp_music_caps,
    ),
    "audiocaps": Source(
        title="AudioCaps",
        where="github.com/cdjkim/audiocaps (the repository itself); audio is on YouTube and not shipped",
        licence="captions MIT; audio not licensed",
        layout="dataset/test.csv, audio/YTID.* (or YYTID.*, YTID_START.*)",
        splits=("test", "val", "train"),
        read=_audio_caps,
    ),
    "clotho": Source(
        title="Clotho 2.1",
        where="Zenodo record 4783391 (the 7z archives unpacked)",
        licence="captions: Tampere University licence, non-commercial; audio Creative Commons per file",
        layout="clotho_captions_evaluation.csv, evaluation/FILE.wav",
        splits=("evaluation", "validation", "development"),
        read=_clotho,
    ),
}
