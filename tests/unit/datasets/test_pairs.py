"""A researcher's own pairs: every kind of table, splits without leaks, rows that cannot be used."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from fakes.files import write_audio
from fakes.synth import tone
from solfa.apps.data import data_app
from solfa.core.clip import Clip, Phrase
from solfa.core.errors import InputError
from solfa.datasets import imports
from solfa.datasets.exports import export
from solfa.datasets.imports import import_pairs
from solfa.datasets.pairs import Table, read_pairs
from solfa.datasets.readers import Inside
from solfa.datasets.shards import Dataset, Member
from solfa.jobs import ProcessExecutor

Rows = Sequence[dict[str, Any]]
SPLITS = [*["train"] * 5, *["val"] * 2, "test"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with eight sounds of one to three seconds."""
    (tmp_path / "set" / "audio").mkdir(parents=True)
    for i in range(8):
        write_audio(tmp_path / "set" / "audio" / f"{i}.wav", tone(50 + i, 1.0 + i % 3, 8000), 8000)
    return tmp_path / "set"


def as_jsonl(rows: Rows) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def as_json(rows: Rows) -> bytes:
    return json.dumps(rows).encode()


def as_wavcaps(rows: Rows) -> bytes:
    return json.dumps({"num_captions_per_audio": 1, "data": rows}).encode()


def as_csv(rows: Rows, delimiter: str = ",") -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, sorted({k for row in rows for k in row}), delimiter=delimiter)
    writer.writeheader()
    writer.writerows({k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()} for row in rows)
    return out.getvalue().encode("utf-8-sig")


def as_parquet(rows: Rows) -> bytes:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), out, row_group_size=3)
    return out.getvalue()


KINDS: dict[str, tuple[str, Callable[[Rows], bytes]]] = {
    "jsonl": ("p.jsonl", as_jsonl), "lines": ("p.json", as_jsonl), "json": ("p.json", as_json),
    "wavcaps": ("p.json", as_wavcaps), "csv": ("p.csv", as_csv), "parquet": ("p.parquet", as_parquet),
    "tab": ("p.csv", lambda rows: as_csv(rows, "\t")),
}  # fmt: skip


def pairs(num: int = 8, **more: Any) -> list[dict[str, Any]]:
    return [{"path": f"audio/{i}.wav", "caption": f"tone {i}", **more} for i in range(num)]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(data_app, ["import", *map(str, arguments), "--workers", "1"], catch_exceptions=False)


def by_name(dataset: Dataset) -> dict[str, Clip]:
    return {r.attributes["published_id"]: r for split in ("train", "val", "test") for r in dataset.split(split)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_table(kind: str, root: Path, tmp_path: Path) -> None:
    name, write = KINDS[kind]
    phrases = [
        {"phrase": "hum", "start_s": 0.25, "end_s": 0.75},
        {"phrase": "buzz", "segments": [[0.0, 0.5], [0.5, 9]]},
    ]
    rows = pairs(split="train", group="g", licence="CC0")
    rows[1] |= {"caption": ["one", "two"] if kind != "parquet" else "one", "split": "validation", "group": "h"}
    rows = [{**row, "phrases": phrases} for row in rows]
    (root / name).write_bytes(write(rows))
    result = run("pairs", root / name, "--out", tmp_path / "out")
    assert result.exit_code == 0 and "8 clips" in result.output and "train 7, val 1" in result.output
    dataset = Dataset.open(tmp_path / "out")
    assert [len(dataset.split(s)) for s in ("train", "val", "test")] == [7, 1, 0]
    (second,) = dataset.split("val")
    assert second.captions == (("one", "two") if kind != "parquet" else ("one",))
    assert second.phrases == (Phrase(text="hum", spans_s=((0.25, 0.75),)), Phrase(text="buzz", spans_s=((0.0, 2.0),)))
    assert (second.track, second.licence, second.source, second.duration_s) == ("h", "CC0", "p", 2.0)
    assert dataset.shard_of(second.id).read(second.id, "wav") == (root / "audio" / "1.wav").read_bytes()


class _Deadly(imports._Import):
    """One file ends the process that decodes it."""

    def _member(self, clip: Clip) -> Member:
        if str(clip.audio).endswith("3.wav"):
            os._exit(3)
        return super()._member(clip)


def test_a_file_that_ends_its_worker_is_left_out_alone(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "_Import", _Deadly)
    (root / "p.jsonl").write_bytes(as_jsonl(pairs(split="train")))
    made = import_pairs(root / "p.jsonl", tmp_path / "out", Table(), executor=ProcessExecutor(1))
    (failure,) = made.manifest["failures"]
    assert "3.wav" in failure["item"] and failure["reason"] == "its worker died (exit code 3)"
    assert len(made.split("train")) == 7


def test_other_names_of_columns_and_parts_of_files(root: Path, tmp_path: Path) -> None:
    rows = [
        {"id": "2", "words": "low", "more": "a tone", "from": 0.5, "to": 1.5, "who": "me"},
        {"id": "2", "words": "high", "more": "", "from": 1.5, "to": 2.5, "who": "me"},
    ]
    (root / "t.csv").write_bytes(as_csv(rows))
    named = ["path=audio/{id}.wav", "caption=words,more", "clip_start_s=from", "clip_end_s=to", "group=who"]
    more = [argument for name in named for argument in ("--column", name)]
    assert run("pairs", root / "t.csv", tmp_path / "out", "--licence", "mine", *more).exit_code == 0
    first, second = Dataset.open(tmp_path / "out").split("train")  # one group: one split
    assert first.captions == ("low", "a tone") and second.captions == ("high",) and first.duration_s == 1.0
    assert {first.track, second.track} == {"me"} and first.licence == "mine"
    for given, message in (
        ("caption=wrds", "no column 'wrds'; it has: from, id"),
        ("colour=who", "one of path, id, ca"),
    ):
        with pytest.raises(InputError, match=message):
            run("pairs", root / "t.csv", tmp_path / "new", "--column", "path=audio/{id}.wav", "--column", given)
    with pytest.raises(InputError, match="no column 'path'; it has: from"):
        run("pairs", root / "t.csv", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_rows_of_one_clip_are_joined(root: Path) -> None:
    rows = [
        *pairs(2), {"path": "audio/0.wav", "caption": "another"}, {"path": "audio/0.wav", "caption": "tone 0"},
        {"path": "audio/1.wav", "phrase": "hum", "start_s": 0.5, "end_s": 1.0},
        {"path": "audio/1.wav", "phrase": "hum", "start_s": "0", "end_s": "0.5"},
    ]  # fmt: skip
    (root / "p.jsonl").write_bytes(as_jsonl(rows))
    found, bad = read_pairs(root / "p.jsonl", Table(shares=(1.0, 0.0, 0.0)))
    first, second = found["train"]
    assert (
        first.captions == ("tone 0", "another")
        and second.phrases == (Phrase(text="hum", spans_s=((0.0, 1.0),)),)
        and not bad
    )


def test_splits_are_made_by_group(root: Path) -> None:
    rows = pairs()
    for i, row in enumerate(rows):
        row |= {"artist": f"a{i // 4}"} if i % 2 else {"track": f"t{i // 4}", "artist": "Unknown"}
    rows[0]["artist"], rows[7]["group"], rows[2]["group"] = "a0", "x", "x"  # through these, all but one are linked
    rows[4]["track"] = "alone"
    (root / "p.csv").write_bytes(
        as_csv([{**r, "group": r.get("group", ""), "track": r.get("track", "")} for r in rows])
    )
    for seed in range(5):
        found, _ = read_pairs(root / "p.csv", Table(shares=(0.5, 0.25, 0.25), seed=seed))
        split_of = {item.id: split for split, items in found.items() for item in items}
        assert len(split_of) == 8 and len(found) > 1
        linked = [f"audio/{i}.wav" for i in (0, 1, 2, 3, 5, 7)]
        assert len({split_of[name] for name in linked}) == 1
    assert read_pairs(root / "p.csv", Table(seed=3)) == read_pairs(root / "p.csv", Table(seed=3))


def test_splits_that_tear_a_group_apart_are_refused(root: Path) -> None:
    rows = [{**row, "group": f"g{i % 3}", "split": "train" if i < 6 else ""} for i, row in enumerate(pairs())]
    (root / "p.jsonl").write_bytes(as_jsonl(rows))
    found, _ = read_pairs(root / "p.jsonl", Table())
    assert len(found["train"]) == 8  # rows without a split go where their group is
    rows[7]["split"] = "test"
    (root / "p.jsonl").write_bytes(as_jsonl(rows))
    with pytest.raises(InputError, match=r"line 8: split test, but its group 'g1' is in train \(line 2\)"):
        read_pairs(root / "p.jsonl", Table())
    found, bad = read_pairs(root / "p.jsonl", Table(skip_bad=True))
    assert len(found["train"]) == 7 and [where for where, _ in bad] == ["line 8"]
    found, _ = read_pairs(root / "p.jsonl", Table(columns={"group": ""}, shares=(1.0, 0.0, 0.0)))
    assert len(found["test"]) == 1
    found, _ = read_pairs(root / "p.jsonl", Table(splits={"test": "val"}))
    assert {split: len(items) for split, items in found.items()} == {"val": 1}
    with pytest.raises(InputError, match=r"--split exam=\.\.\.: expected one of train, val, test"):
        read_pairs(root / "p.jsonl", Table(splits={"test": "exam"}))


BAD: dict[str, tuple[object, str]] = {
    "number": ({"caption": 7}, "caption is 7, expected text or a list"),
    "no text": ({"caption": "  "}, "no caption and no timed phrase"),
    "no path": ({"path": ""}, "no path"),
    "missing": ({"path": "audio/9.wav"}, "the audio file 'audio/9.wav' is missing"),
    "folder": ({"path": "audio"}, "the audio file 'audio' is missing"),
    "outside": ({"path": "../../etc/passwd"}, "is outside .*choose another folder with --audio"),
    "absolute": ({"path": "/etc/passwd"}, "is outside"),
    "zero byte": ({"path": "a\0b"}, "cannot be used"),
    "long": ({"path": "a" * 5000}, "cannot be used"),
    "path is a list": ({"path": ["audio/0.wav"]}, r"path is \['audio/0.wav'\], expected text"),
    "backwards": ({"phrases": [{"phrase": "x", "segments": [[2, 1]]}]}, "span from 2 to 1, expected seconds"),
    "not finite": ({"phrases": [{"phrase": "x", "segments": [[0, 1e999]]}]}, "span from 0 to inf"),
    "three ends": ({"phrases": [{"phrase": "x", "segments": [[0, 1, 2]]}]}, "expected objects with phrase and segm"),
    "text phrases": ({"phrases": "solo"}, "phrases is 'solo'"),
    "no times": ({"phrases": [{"phrase": "x"}]}, "expected objects with phrase and segments"),
    "no words": ({"phrases": [{"segments": [[0, 1]]}]}, "a phrase without text"),
    "clip": ({"clip_start_s": 3, "clip_end_s": 1}, "span from '3' to '1'"),
    "split": ({"split": "fold1"}, r"split 'fold1', expected train, val or test.*--split val=fold1"),
    "other file": ({"id": "same", "path": "audio/1.wav"}, "the id 'same' is of another file in line 1"),
    "half a character": (b'{"path": "audio/0.wav", "caption": "\\ud800"}', "not JSON"),
    "not JSON": (b"{oops", "not JSON"),
    "list": (b"[1]", "no JSON object"),
    "deep": (b"[" * 100_000, "not JSON"),
    "latin": ('{"path": "audio/0.wav", "caption": "café"}'.encode("latin-1"), "not JSON .*utf-8"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_named_and_can_be_left_out(name: str, root: Path, tmp_path: Path) -> None:
    row, reason = BAD[name]
    line = row if isinstance(row, bytes) else as_jsonl([{**pairs(1)[0], **row}])  # type: ignore[dict-item]
    (root / "p.jsonl").write_bytes(as_jsonl([{**pairs(1)[0], "id": "same"}]) + b"\n\n" + line + b"\n")
    with pytest.raises(InputError, match=rf"(?s)p.jsonl: 1 of 2 rows cannot be used: line 3: .*{reason}.*--skip-bad"):
        import_pairs(root / "p.jsonl", tmp_path / "out", Table())
    assert not (tmp_path / "out").exists()
    made = import_pairs(root / "p.jsonl", tmp_path / "out", Table(skip_bad=True))
    assert len(made.split("train")) == 1
    ((where, _),) = [failure.values() for failure in made.manifest["failures"] if failure.pop("shard")]
    assert where == "line 3"


def test_rows_that_were_left_out_are_listed(root: Path, tmp_path: Path) -> None:
    (root / "p.jsonl").write_bytes(as_jsonl([*pairs(2), {"path": "audio/9.wav", "caption": "gone"}]))
    with pytest.raises(InputError, match=r"line 3: the audio file .* is missing\. Correct them, or"):
        run("pairs", root / "p.jsonl", tmp_path / "out")
    result = run("pairs", root / "p.jsonl", tmp_path / "out", "--skip-bad")
    assert result.exit_code == 3 and "2 clips are in" in result.output
    assert "failed: line 3: the audio file 'audio/9.wav' is missing" in result.output


def test_bad_lines_of_csv(root: Path) -> None:
    text = 'path,caption\naudio/0.wav,"two\nlines"\naudio/1.wav\naudio/2.wav,\xe9\n"audio/3.wav",good\n'
    (root / "p.csv").write_bytes(text.encode("latin-1"))
    found, bad = read_pairs(root / "p.csv", Table(skip_bad=True, shares=(1.0, 0.0, 0.0)))
    assert [i.captions for i in found["train"]] == [("two\nlines",), ("good",)]
    assert bad == [("line 4", "1 cells, the header has 2"), ("line 5", "not UTF-8")]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("p.jsonl", b"", "holds no rows"),
        ("p.csv", b"", "holds no rows"),
        ("p.csv", b"path,caption\n" + b'"' + b"x" * 200_000, "cannot be read: field larger"),
        ("p.json", b'{"rows": []}', r"no column 'path'; it has: rows"),
        ("p.json", b"[{]", "not JSON"),
        ("p.txt", b"x", r"expected a table \(.jsonl, .json"),
        ("p.parquet", b"PAR1", "not a readable Parquet file"),
        ("p.jsonl", b"{oops\n{oops\n", "2 of 2 rows cannot be used: line 1: .*No rows are left"),
    ],
)
def test_tables_that_cannot_be_read(name: str, data: bytes, message: str, root: Path) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (root / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_pairs(root / name, Table(skip_bad=True))
    with pytest.raises(InputError, match="expected a table"):
        read_pairs(root / "absent.csv", Table())


def test_paths_may_start_elsewhere(root: Path, tmp_path: Path) -> None:
    rows = [{"audio_path": str(root / "audio" / "0.wav"), "caption": "a"}, {"audio_path": "1.wav", "caption": "b"}]
    (tmp_path / "p.jsonl").write_bytes(as_jsonl(rows))
    more = ("--audio", root / "audio", "--splits", "1,0,0", "--clips-per-shard", 1)
    result = run("pairs", tmp_path / "p.jsonl", tmp_path / "out", *more)
    assert result.exit_code == 0 and "2 clips" in result.output and "--column artist=" in result.output
    assert len(Dataset.open(tmp_path / "out").shards) == 2


def test_a_stopped_import_goes_on_and_another_table_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "p.jsonl").write_bytes(as_jsonl(pairs()))
    table, out = Table(shares=(1.0, 0.0, 0.0)), tmp_path / "out"

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise Stop

    with pytest.raises(Stop):
        import_pairs(root / "p.jsonl", out, table, clips_per_shard=2, progress=stop)
    assert not (out / "dataset.json").exists()
    kept = (out / "train" / "000000.tar").stat().st_mtime_ns
    whole = import_pairs(root / "p.jsonl", out, table, clips_per_shard=2)
    assert len(whole.split("train")) == 8 and (out / "train" / "000000.tar").stat().st_mtime_ns == kept
    again = import_pairs(root / "p.jsonl", tmp_path / "again", table, clips_per_shard=2)
    assert again.revision == whole.revision
    (root / "p.jsonl").write_bytes(as_jsonl(pairs(7)))
    with pytest.raises(InputError, match="made from something else: content was"):
        import_pairs(root / "p.jsonl", out, table, clips_per_shard=2)


def test_sound_that_is_none_is_listed(root: Path, tmp_path: Path) -> None:
    (root / "audio" / "3.wav").write_bytes(b"RIFF and then nothing")
    (root / "p.jsonl").write_bytes(as_jsonl(pairs(4)))
    result = run("pairs", root / "p.jsonl", tmp_path / "out")
    assert result.exit_code == 3 and "3 clips are in" in result.output and "failed: audio/3.wav: " in result.output
    (root / "p.jsonl").write_bytes(as_jsonl(pairs(4)[3:]))
    with pytest.raises(InputError, match="nothing was imported, all 1 clips failed"):
        run("pairs", root / "p.jsonl", tmp_path / "none")


@pytest.mark.parametrize("layout", ["finelap", "parquet", "fgmcaps"])
def test_what_is_exported_comes_back(layout: str, root: Path, tmp_path: Path) -> None:
    if layout != "finelap":
        pytest.importorskip("pyarrow")
    timed = [{"phrase": "hum", "segments": [[0.0, 0.5], [0.75, 1.0]]}]
    rows = [{**row, "split": s, "phrases": timed} for row, s in zip(pairs(), SPLITS, strict=True)]
    (root / "p.jsonl").write_bytes(as_jsonl(rows))
    first = import_pairs(root / "p.jsonl", tmp_path / "one", Table())
    export(first, layout, tmp_path / "exported")
    name = "finelap" if layout == "finelap" else "pairs"
    assert run(name, tmp_path / "exported", "--out", tmp_path / "two").exit_code == 0
    second = Dataset.open(tmp_path / "two")
    for split in ("train", "val", "test"):
        one, two = first.split(split), second.split(split)
        assert len(one) == len(two) > 0
        for a, b in zip(one, two, strict=True):
            assert a.captions == b.captions and a.duration_s == b.duration_s
            assert layout == "fgmcaps" or a.phrases == b.phrases
            assert np.array_equal(first.audio(a).samples, second.audio(b).samples)


def test_finelap_100k_as_the_hub_has_it(root: Path) -> None:
    """Columns of the authors' to_hfdataset.py: sound and a picture inside, segments as {start, end}."""
    segments = [{"start": 0.0, "end": 0.5}]
    rows = [
        {"audio_id": f"mix_000{i}", "caption": "audio contains: dog", "timeline": {"bytes": b"PNG", "path": "t.png"},
         "audio": {"bytes": (root / "audio" / f"{i}.wav").read_bytes(), "path": f"mix_000{i}.wav"},
         "phrases": [{"phrase": "dog", "segments": segments, "original_clip_id": 3}]}
        for i in range(4)
    ]  # fmt: skip
    (root / "data").mkdir()
    (root / "data" / "train-00000-of-00001.parquet").write_bytes(as_parquet(rows))
    found, _ = read_pairs(root, Table())
    assert [i.id for i in found["train"]] == [f"mix_000{n}" for n in range(4)]
    clip = found["train"][3]
    assert clip.phrases == (Phrase(text="dog", spans_s=((0.0, 0.5),)),) and isinstance(clip.audio, Inside)
    assert clip.audio.read() == rows[3]["audio"]["bytes"]  # type: ignore[index]


def test_damaged_parquet_is_told(root: Path) -> None:
    data = as_parquet([{**row, "caption": f"{i} {'x' * 999}"} for i, row in enumerate(pairs())])
    for at in range(200, len(data) - 600, 97):
        (root / "p.parquet").write_bytes(data[:at] + bytes(64) + data[at + 64 :])
        try:
            read_pairs(root / "p.parquet", Table(skip_bad=True))
        except InputError as refused:
            assert "p.parquet" in str(refused)


def test_options_that_do_not_belong_together(root: Path, tmp_path: Path) -> None:
    (root / "p.jsonl").write_bytes(as_jsonl(pairs()))
    for arguments, message in (
        (("pairs", root / "p.jsonl"), "give the folder"),
        (("pairs", root / "p.jsonl", tmp_path / "a", "--out", tmp_path / "b"), "give the folder"),
        (("urbansed", root, tmp_path / "a"), "name the splits of urbansed"),
        (("urbansed", root, tmp_path / "a", "--skip-bad", "--split", "train=train"), "are for pairs"),
        (("pairs", root / "p.jsonl", tmp_path / "a", "--splits", "1,2"), "expected three"),
        (("pairs", root / "p.jsonl", tmp_path / "a", "--column", "path"), "expected OURS=THEIRS, such as path=file"),
    ):
        with pytest.raises(InputError, match=message):
            run(*arguments)
