"""Sets of labels: ESC-50, UrbanSound8K, VGGSound, GTZAN, MagnaTagATune, MTG-Jamendo."""

from __future__ import annotations

from collections.abc import Iterator

from solfa.core.clip import Clip
from solfa.core.errors import InputError
from solfa.datasets.readers.records import Folder

_FOLDERS = {"train": "0123456789ab", "valid": "c", "test": "def", "all": "0123456789abcdef"}


def _esc50(folder: Folder, split: str) -> list[Clip]:
    return [
        Clip(
            id=row["filename"],
            audio=folder.audio(f"audio/{row['filename']}"),
            attributes={"labels": (row["category"],)},
            duration_s=5.0,
            track=row["src_file"],
        )
        for row in folder.table("meta/esc50.csv")
        if split in ("all", row["fold"])
    ]


def _urban_sound(folder: Folder, split: str) -> list[Clip]:
    return [
        Clip(
            id=row["slice_file_name"],
            audio=folder.audio(f"audio/fold{row['fold']}/{row['slice_file_name']}"),
            attributes={"labels": (row["class"],)},
            duration_s=float(row["end"]) - float(row["start"]),
            track=row["fsID"],
        )
        for row in folder.table("metadata/UrbanSound8K.csv")
        if split in ("all", row["fold"])
    ]


def _vgg_sound(folder: Folder, split: str) -> list[Clip]:
    rows = folder.table("vggsound.csv", columns=("ytid", "start_s", "label", "split"))
    return [
        Clip(
            id=f"{row['ytid']}_{int(row['start_s']):06d}",
            audio=folder.clip(f"{row['ytid']}_{int(row['start_s']):06d}", row["ytid"]),
            attributes={"labels": (row["label"],)},
            start_s=float(row["start_s"]),
            duration_s=10.0,
            track=row["ytid"],
        )
        for row in rows
        if row["split"] == split
    ]


def _gtzan(folder: Folder, split: str) -> list[Clip]:
    top = next((d for d in ("genres", "genres_original") if (folder.root / d).is_dir()), None)
    if top is None:
        folder.text("genres")  # says what is missing
    files = sorted(p for ending in ("wav", "au") for p in (folder.root / str(top)).glob(f"*/*.{ending}"))
    if not files:
        raise InputError(f"{folder.root / str(top)}: no GENRE/GENRE.NNNNN.wav or .au in it.")
    wanted = None
    if split != "all":
        lines = folder.text(f"{split}_filtered.txt").split()
        wanted = {line.rsplit("/", 1)[-1].rsplit(".", 1)[0] for line in lines}
    return [
        Clip(id=p.stem, audio=p, attributes={"labels": (p.parent.name,)}, duration_s=30.0, track=p.stem)
        for p in files
        if wanted is None or p.stem in wanted
    ]


def _magna(folder: Folder, split: str) -> Iterator[Clip]:
    for row in folder.table("annotations_final.csv", delimiter="\t"):
        path = row["mp3_path"]
        if path[:1] in _FOLDERS[split]:
            tags = tuple(t for t, v in row.items() if v == "1" and t not in ("clip_id", "mp3_path"))
            # TRACK-START-END.mp3: clips of one track belong together.
            track = path.removesuffix(".mp3").rsplit("-", 2)[0]
            yield Clip(
                id=row["clip_id"],
                audio=folder.audio(path),
                attributes={"labels": tags},
                duration_s=29.0,
                track=track,
            )


def _jamendo(folder: Folder, split: str) -> Iterator[Clip]:
    lines = folder.text(f"data/splits/split-0/autotagging-{split}.tsv").splitlines()
    if lines[:1] != ["TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS"]:
        raise InputError("MTG-Jamendo: the split file must begin with TRACK_ID, ARTIST_ID, ALBUM_ID, PATH, ...")
    for line in filter(None, lines[1:]):
        track, artist, _, path, duration, *tags = line.split("\t")  # the number of tags varies
        low = path.removesuffix(".mp3") + ".low.mp3"
        yield Clip(
            id=track,
            audio=folder.audio(f"audio/{path}", f"audio/{low}", path, low),
            attributes={"labels": tags},
            duration_s=float(duration),
            artist=artist,
            track=track,
        )


READERS = {
    "esc50": _esc50,
    "urbansound8k": _urban_sound,
    "vggsound": _vgg_sound,
    "gtzan": _gtzan,
    "magnatagatune": _magna,
    "mtg_jamendo": _jamendo,
}
