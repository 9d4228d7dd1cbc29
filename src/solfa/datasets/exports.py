"""Data sets handed on, in the layouts that others read: Parquet, webdataset, FGMCaps, FineLAP.

An export is written atomically: complete or not at all. Sound is never decoded, its bytes go along.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from solfa.core.clip import SPLITS, Clip
from solfa.core.errors import InputError, MissingExtra, UnknownName
from solfa.core.files import check_output, whole_folder
from solfa.datasets.shards import Dataset, Shard

_ROWS = 100  # of a row group: they are held in memory with their sound
_FGMCAPS = {"id": "string", "caption": "string", "audio": "audio"}
_ALL = {
    "id": "string", "audio": "audio", "captions": "strings", "phrases": "phrases", "attributes": "string",
    "jams": "string", "duration_s": "float64", "source": "string", "licence": "string", "track": "string",
    "artist": "string", "piece": "string",
}  # fmt: skip


def export(dataset: Dataset, layout: str, out: Path | str) -> int:
    """Write the data set to ``out`` in a layout of ``LAYOUTS``; returns the number of clips.

    Raises UnknownName if there is no such layout; InputError if ``out`` exists or cannot be written, or no clip has
    what the layout needs; MissingExtra if the layout is Parquet and pyarrow is not installed.
    """
    if layout not in LAYOUTS:
        raise UnknownName("layout", layout, LAYOUTS)
    out = Path(out)
    check_output(out, force=True, folder=True)
    try:
        if out.exists() and any(out.iterdir()):
            raise InputError(f"{out} exists already. Choose a new folder.")
        with whole_folder(out) as folder:
            num = LAYOUTS[layout](dataset, folder)
            if not num:
                raise InputError(f"{dataset.folder}: no clip has what the layout {layout} needs.")
    except OSError as bad:
        raise InputError(f"{out} cannot be written: {bad.strerror}. Choose another folder.") from bad
    return num


def _webdataset(dataset: Dataset, out: Path) -> int:
    """The tars as they are: hard links where the file system has them, else copies."""
    for shard in dataset.shards:
        (out / shard.split).mkdir(exist_ok=True)
        target = out / shard.split / shard.path.name
        try:
            os.link(shard.path, target)
        except OSError:
            shutil.copyfile(shard.path, target)
    return sum(len(s.index.members) for s in dataset.shards)


def _finelap(dataset: Dataset, out: Path) -> int:
    """``SPLIT.jsonl`` in the form of FineLAP's training code, and ``audio/``; clips without a caption are left out."""
    (out / "audio").mkdir()
    num = 0
    for split in SPLITS:
        lines = []
        for shard in dataset.split(split).shards:
            for name in shard.index.members:
                record = shard.record(name)
                if not record.captions:
                    continue
                (out / "audio" / str(record.audio)).write_bytes(shard.sound(record))
                lines.append(json.dumps(_finelap_line(record), ensure_ascii=False))
        if lines:
            (out / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        num += len(lines)
    return num


def _finelap_line(record: Clip) -> dict[str, Any]:
    captions = record.captions[0] if len(record.captions) == 1 else list(record.captions)
    line = {"audio_id": record.id, "audio_path": f"audio/{record.audio}", "caption": captions}
    phrases = [{"phrase": p.text, "segments": p.spans_s} for p in record.phrases]
    return {**line, "phrases": phrases} if phrases else line


def _row(shard: Shard, record: Clip) -> dict[str, Any]:
    """All that a record holds, and its first caption by itself."""
    names = ("id", "captions", "duration_s", "source", "licence", "track", "artist", "piece")
    has_truth = "jams" in shard.index.members[record.id]
    return {
        **{name: getattr(record, name) for name in names},
        "caption": next(iter(record.captions), None),
        "audio": {"bytes": shard.sound(record), "path": str(record.audio)},
        "phrases": [{"phrase": p.text, "segments": p.spans_s} for p in record.phrases],
        "attributes": json.dumps(dict(record.attributes), ensure_ascii=False),
        "jams": shard.read(record.id, "jams").decode() if has_truth else None,
    }


def _tables(columns: Mapping[str, str], dataset: Dataset, out: Path) -> int:
    """``data/SPLIT-NNNNN-of-NNNNN.parquet``, one for each shard; ``datasets`` knows the sound as such.

    Where ``caption`` is a column, clips without one are left out.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as missing:
        raise MissingExtra("writing Parquet files", "pip install pyarrow") from missing
    num, schema, seen = 0, _arrow_schema(columns), Counter[str]()
    (out / "data").mkdir()
    total = Counter(shard.split for shard in dataset.shards)
    for shard in dataset.shards:
        said = {"val": "validation"}.get(shard.split, shard.split)  # the name that `datasets` gives it
        path = out / "data" / f"{said}-{seen[said]:05}-of-{total[shard.split]:05}.parquet"
        seen[said] += 1
        with pyarrow.parquet.ParquetWriter(path, schema) as writer:
            names = list(shard.index.members)
            for at in range(0, len(names), _ROWS):
                rows = [_row(shard, shard.record(name)) for name in names[at : at + _ROWS]]
                rows = [row for row in rows if row["caption"] or "caption" not in columns]
                writer.write_table(pyarrow.Table.from_pylist(rows, schema))
                num += len(rows)
    return num


def _arrow_schema(columns: Mapping[str, str]) -> Any:
    import pyarrow

    text, number = {"_type": "Value", "dtype": "string"}, {"_type": "Value", "dtype": "float64"}
    spans = pyarrow.list_(pyarrow.list_(pyarrow.float64()))
    phrase = pyarrow.struct({"phrase": pyarrow.string(), "segments": spans})
    sound = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    kinds: dict[str, tuple[Any, Any]] = {  # as pyarrow and as `datasets` know them
        "string": (pyarrow.string(), text),
        "float64": (pyarrow.float64(), number),
        "strings": (pyarrow.list_(pyarrow.string()), [text]),
        "phrases": (pyarrow.list_(phrase), [{"phrase": text, "segments": [[number]]}]),
        "audio": (sound, {"_type": "Audio"}),
    }
    # Without this, `datasets` would show the sound as a dictionary of bytes.
    known = {"info": {"features": {name: kinds[kind][1] for name, kind in columns.items()}}}
    fields = [pyarrow.field(name, kinds[kind][0]) for name, kind in columns.items()]
    return pyarrow.schema(fields, metadata={"huggingface": json.dumps(known)})


LAYOUTS: dict[str, Callable[[Dataset, Path], int]] = {
    "fgmcaps": partial(_tables, _FGMCAPS),
    "finelap": _finelap,
    "parquet": partial(_tables, _ALL),
    "webdataset": _webdataset,
}
