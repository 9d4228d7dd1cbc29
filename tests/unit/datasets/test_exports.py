import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from fakes.files import write_audio
from fakes.synth import tone
from solfa.apps.captioning import tell_failures
from solfa.apps.data import data_app
from solfa.audio import stretches
from solfa.core.clip import Phrase
from solfa.core.errors import InputError, UnknownName
from solfa.datasets.building import build
from solfa.datasets.exports import export
from solfa.datasets.imports import import_published
from solfa.datasets.readers import laid_out, load
from solfa.datasets.shards import Dataset, Failure

Make = Callable[..., Dataset]


def test_parquet_holds_everything(make_toy: Make, tmp_path: Path) -> None:
    dataset = make_toy()
    assert export(dataset, "parquet", tmp_path / "out") == 16
    names = sorted(p.name for p in (tmp_path / "out" / "data").iterdir())
    assert names == ["test-00000-of-00001.parquet", *(f"train-0000{i}-of-00003.parquet" for i in range(3))]
    rows = [r for n in names[1:] for r in pyarrow.parquet.read_table(tmp_path / "out" / "data" / n).to_pylist()]
    for row, record in zip(rows, dataset.split("train"), strict=True):
        assert row["id"] == record.id and row["captions"] == list(record.captions)
        assert row["audio"]["path"] == str(record.audio) and row["audio"]["bytes"][:4] == b"RIFF"
        assert json.loads(row["attributes"]) == record.attributes and row["jams"] is None
        spans = [{"phrase": p.text, "segments": [list(s) for s in p.spans_s]} for p in record.phrases]
        assert row["phrases"] == spans
    schema = pyarrow.parquet.read_schema(tmp_path / "out" / "data" / names[0])
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == schema.names and features["audio"] == {"_type": "Audio"}


def test_fgm_caps_is_read_by_our_own_reader(make_toy: Make, tmp_path: Path) -> None:
    dataset, out = make_toy(), tmp_path / "out"
    assert export(dataset, "fgmcaps", out) == 12  # the clips without a caption are left out
    clips = laid_out(load("fgmcaps", out), tmp_path).with_audio().clips
    records = [r for r in dataset.split("test") if r.captions]
    assert [(i.id, i.captions) for i in clips] == [(r.id, r.captions[:1]) for r in records]
    for clip, record in zip(clips, records, strict=True):
        assert isinstance(clip.audio, Path)
        (detected,) = stretches(clip.audio)
        assert np.array_equal(detected.samples, dataset.audio(record).samples)


def test_finelap_lines(make_toy: Make, tmp_path: Path) -> None:
    dataset, out = make_toy(), tmp_path / "out"
    assert export(dataset, "finelap", out) == 12
    lines = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    records = [r for r in dataset.split("train") if r.captions]
    for line, record in zip(lines, records, strict=True):
        assert line["audio_id"] == record.id and line["caption"] == list(record.captions)
        assert (out / line["audio_path"]).read_bytes()[:4] == b"RIFF"
        want = [{"phrase": p.text, "segments": [list(s) for s in p.spans_s]} for p in record.phrases]
        assert line.get("phrases", []) == want and ("phrases" in line) == bool(want)


def test_webdataset_is_the_tars(make_toy: Make, tmp_path: Path) -> None:
    dataset = make_toy()
    assert export(dataset, "webdataset", tmp_path / "out") == 16
    for shard in dataset.shards:
        target = tmp_path / "out" / shard.split / shard.path.name
        assert target.read_bytes() == shard.path.read_bytes()
        with tarfile.open(target) as opened:
            keys = [name.split(".")[0] for name in opened.getnames()]
        assert keys == [name for name in shard.index.members for _ in range(2)]  # the files of a clip lie together


def test_what_cannot_be_exported(make_toy: Make, tmp_path: Path) -> None:
    dataset = make_toy()
    with pytest.raises(UnknownName, match="parquet"):
        export(dataset, "parket", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(InputError, match="exists already"):
        export(dataset, "webdataset", tmp_path / "full")
    with pytest.raises(InputError, match="no clip has"):
        export(make_toy("bare", clips=1), "finelap", tmp_path / "out")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be written"):
        export(dataset, "webdataset", tmp_path / "file" / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob("*.tmp"))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """URBAN-SED's layout: one good clip, one whose events reach beyond its end, one that is no sound, one missing."""
    root = tmp_path / "urban"
    (root / "annotations" / "test").mkdir(parents=True)
    (root / "audio" / "test").mkdir(parents=True)
    for name in ("a b", "c", "broken", "gone"):
        (root / "annotations" / "test" / f"{name}.txt").write_text("0.5\t1.0\tdog\n0.25\t0.75\tdog\n1.5\t3.0\tsiren\n")
    for name in ("a b", "c"):
        write_audio(root / "audio" / "test" / f"{name}.wav", tone(60, 2.0, 16000), 16000)
    (root / "audio" / "test" / "broken.wav").write_bytes(b"RIFF and then nothing")
    return root


def test_published_sets_become_shards(published: Path, tmp_path: Path) -> None:
    arguments = ["import", "urbansed", published, tmp_path / "out", "--split", "train=test", "--workers", "1"]
    result = CliRunner().invoke(data_app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 3 and "2 clips" in result.output and "2 failed" in result.output
    assert "failed: broken: " in result.output and "failed: gone: its audio file is missing" in result.output
    dataset = Dataset.open(tmp_path / "out")
    first, second = dataset.split("train")
    assert first.id.startswith("a-b-") and first.attributes["published_id"] == "a b" and second.id == "c"
    assert second.phrases == (
        Phrase(text="dog", spans_s=((0.25, 1.0),)), Phrase(text="siren", spans_s=((1.5, 2.0),)),
    )  # fmt: skip
    assert second.source == "URBAN-SED" and second.licence == "CC BY 4.0" and second.duration_s == pytest.approx(2.0)
    original = (published / "audio" / "test" / "c.wav").read_bytes()
    assert dataset.shard_of("c").read("c", "wav") == original
    reasons = {f["item"]: f["reason"] for f in dataset.manifest["failures"]}
    assert set(reasons) == {"broken", "gone"} and "missing" in reasons["gone"]


def test_an_import_of_nothing_is_an_error(published: Path, tmp_path: Path) -> None:
    for name in ("a b", "c"):
        (published / "audio" / "test" / f"{name}.wav").write_bytes(b"no sound")
    with pytest.raises(InputError, match="nothing was imported, all 4 clips failed, such as "):
        import_published("urbansed", published, tmp_path / "out", {"train": "test"})
    for path in (published / "audio" / "test").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="no audio files found"):
        import_published("urbansed", published, tmp_path / "other", {"train": "test"})
    assert not (tmp_path / "other").exists()


def test_many_failures_are_named_in_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lost = [Failure(item=f"clip {n}", reason="is silent") for n in range(7)]
    made = build(tmp_path / "out", lambda _: iter(lost), name="x", config={}, seed=0, num_shards={"train": 1})
    assert tell_failures(made) == 7
    said = capsys.readouterr().out
    assert "failed: clip 4: is silent" in said and "clip 5" not in said and "and 2 more, see " in said


def test_clips_are_cut_out_of_whole_recordings(tmp_path: Path) -> None:
    root = tmp_path / "strong"
    (root / "audio").mkdir(parents=True)
    (root / "mid_to_display_name.tsv").write_text("/m/1\tSpeech\n")
    rows = ["segment_id\tstart_time_seconds\tend_time_seconds\tlabel"]
    rows += [f"{name}_2000\t1.0\t2.5\t/m/1" for name in ("whole", "cut", "short")]
    (root / "audioset_eval_strong.tsv").write_text("\n".join(rows) + "\n")
    marked = np.zeros(14 * 8000, np.float32)
    marked[2 * 8000 : 12 * 8000] = 0.5
    write_audio(root / "audio" / "whole.wav", marked, 8000)
    write_audio(root / "audio" / "cut_2000.wav", marked[16000 : 12 * 8000], 8000)
    write_audio(root / "audio" / "short.wav", marked[:8000], 8000)
    dataset = import_published("audioset_strong", root, tmp_path / "out", {"test": "eval"})
    by_name = {r.attributes["published_id"]: r for r in dataset.split("test")}
    assert {name: r.duration_s for name, r in by_name.items()} == {
        "whole_2000": 10.0,
        "cut_2000": 10.0,
        "short_2000": 1.0,
    }
    assert dataset.audio(by_name["whole_2000"]).samples == pytest.approx(0.5, abs=1e-3)
    assert by_name["whole_2000"].phrases[0].spans_s == ((1.0, 2.5),) and by_name["short_2000"].phrases == ()


def test_a_published_split_is_spread_by_group(tmp_path: Path) -> None:
    root = tmp_path / "bench"
    names = [f"{'_-'[n % 2]}{n:02}rec_ord_" for n in range(10)]
    places = [f"data{'_aug2' * bool(c)}/{name}{f'_{c}' * bool(c)}.wav" for name in names for c in range(3)]
    row = {"main_caption": "A tone.", "is_audioset_eval_mcaps": False}
    for place in places:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        write_audio(root / place, tone(60, 0.25, 8000), 8000)
    (root / "MusicBench_train.json").write_text("\n".join(json.dumps({**row, "location": p}) for p in places))
    arguments = ["import", "musicbench", root, tmp_path / "out", "--split", "train=train", "--splits", "0.5,0.25,0.25"]
    result = CliRunner().invoke(data_app, [str(a) for a in (*arguments, "--workers", 1)], catch_exceptions=False)
    assert result.exit_code == 0 and "30 clips" in result.output
    made = Dataset.open(tmp_path / "out")
    tracks = [{record.track for record in made.split(name)} for name in ("train", "val", "test")]
    assert all(tracks) and sum(map(len, tracks)) == len(set.union(*tracks)) == 10  # no recording is in two splits
    with pytest.raises(InputError, match="shares are of one split of musicbench, got train, test_A"):
        (root / "MusicBench_test_A.json").write_text(json.dumps({**row, "location": places[0]}))
        splits = {"train": "train", "test": "test_A"}
        import_published("musicbench", root, tmp_path / "two", splits, shares=(0.5, 0.5, 0.0))


def test_splits_must_be_named(published: Path, tmp_path: Path) -> None:
    arguments = ["import", "urbansed", str(published), str(tmp_path / "out"), "--split", "test"]
    with pytest.raises(InputError, match="OURS=THEIRS"):
        CliRunner().invoke(data_app, arguments, catch_exceptions=False)
