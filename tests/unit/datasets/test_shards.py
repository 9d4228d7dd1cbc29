import hashlib
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from solfa.apps.data import data_app
from solfa.core.annotation import MusicAnnotation
from solfa.core.clip import Clip, Phrase
from solfa.core.errors import InputError, SolfaError, UnknownName
from solfa.datasets.building import ShardTask, build
from solfa.datasets.shards import Dataset, Failure, Member, ShardIndex, write_shard
from solfa.jobs import ProcessExecutor

RATE = 8000


def member(name: str, *, duration_s: float = 0.5, level: float = 0.5, **facts: object) -> Member:
    """A clip of noise with exact truth."""
    rng = np.random.default_rng(len(name))
    record = Clip(
        id=name, duration_s=duration_s, captions=(f"noise {name}",), licence="CC0",
        attributes={"tempo_bpm": 100.0, "key": "F major", "chords": ["F:maj", "C:maj"]},
        annotation=MusicAnnotation(duration_s=duration_s, tempo_bpm=100.0), **facts,
    )  # type: ignore[arg-type]  # fmt: skip
    samples = (rng.uniform(-level, level, round(duration_s * RATE))).astype(np.float32)
    return Member(record=record, samples=samples, sample_rate_hz=RATE)


@dataclass(frozen=True)
class Make:
    """Three clips and one failure a shard; breaks off in shard ``broken``."""

    broken: int = -1
    words: str = "a"

    def __call__(self, task: ShardTask) -> Iterator[Member | Failure]:
        for i in range(3):
            if task.number == self.broken and i == 2:
                raise InputError("the score is broken")
            duration_s = float(task.rng().choice([0.25, 0.5])) + i / 8
            samples = np.full(round(duration_s * RATE), 0.25, np.float32)
            record = Clip(
                id=f"{task.split}{task.number}-{i}", duration_s=duration_s, captions=(self.words,),
                phrases=(Phrase(text="hum", spans_s=((0.0, 0.1),)),),
            )  # fmt: skip
            yield Member(record=record, samples=samples, sample_rate_hz=RATE, format="wav")
        yield Failure(item="d", reason="silent")


def make(
    folder: Path, *, shards: int = 2, words: str = "a", seed: int = 0, broken: int = -1, **options: object
) -> Dataset:
    return build(
        folder, Make(broken, words), name="toy", config={"words": words}, seed=seed,
        num_shards={"train": shards, "test": 1}, **options,
    )  # type: ignore[arg-type]  # fmt: skip


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"
    }


def test_what_is_written_is_read(tmp_path: Path) -> None:
    dataset = make(tmp_path / "set")
    train = dataset.split("train")
    assert len(train) == 6 and len(dataset.split("test")) == 3 and len(dataset.split("val")) == 0
    assert [r.id for r in train] == list(train.ids) == [train[i].id for i in range(6)]
    assert train[-1] == train[5]
    record = train[4]
    assert record.split == "train" and record.audio == Path("train1-1.wav") and record.phrases[0].text == "hum"
    audio = dataset.audio(record)
    assert audio.duration_s == pytest.approx(record.duration_s) and audio.samples == pytest.approx(0.25, abs=1e-4)
    assert dataset.annotation(record) is None
    assert [f["item"] for f in dataset.manifest["failures"]] == ["d", "d", "d"]
    with pytest.raises(IndexError):
        train[6]
    with pytest.raises(UnknownName, match="split"):
        dataset.split("dev")


@dataclass(frozen=True)
class Given:
    """These members."""

    members: tuple[Member | Failure, ...]

    def __call__(self, task: ShardTask) -> Iterator[Member | Failure]:
        return iter(self.members)


def of(folder: Path, *members: Member | Failure) -> Dataset:
    return build(folder, Given(members), name="given", config={}, seed=0, num_shards={"train": 1})


def test_samples_bytes_and_truth_come_back(tmp_path: Path) -> None:
    first = member("a")
    samples = first.samples
    assert samples is not None
    stereo = replace(
        first, record=replace(first.record, id="b", annotation=None), samples=np.stack([samples, -samples], axis=1)
    )
    dataset = of(tmp_path / "set", first, stereo)
    a, b = dataset.split("train")
    assert a == replace(first.record, audio=Path("a.flac"), split="train", annotation=None)
    assert dataset.audio(a).samples == pytest.approx(samples, abs=1 / 32000)
    assert dataset.audio(b).samples == pytest.approx(samples, abs=1 / 32000)  # left and right do not cancel out
    truth = dataset.annotation(a)
    assert truth is not None and truth.tempo_bpm == 100.0 and dataset.annotation(b) is None
    with tarfile.open(tmp_path / "set" / "train" / "000000.tar") as opened:  # any webdataset reader does this
        assert opened.getnames() == ["a.json", "a.flac", "a.jams", "b.json", "b.flac"]
        flac = opened.extractfile("a.flac")
        assert flac is not None
        encoded = flac.read()
    again = of(tmp_path / "again", replace(first, samples=None, audio_bytes=encoded))
    assert again.audio(again.split("train")[0]).samples.tolist() == dataset.audio(a).samples.tolist()


def test_a_record_may_be_part_of_its_sound(tmp_path: Path) -> None:
    whole = member("a", duration_s=2.0)
    of(tmp_path / "whole", whole)
    encoded = Dataset.open(tmp_path / "whole").shard_of("a").read("a", "flac")
    part = Member(record=replace(whole.record, start_s=0.5, duration_s=1.0), audio_bytes=encoded)
    dataset = of(tmp_path / "part", part)
    assert whole.samples is not None
    detected = dataset.audio(dataset.split("train")[0]).samples
    assert detected == pytest.approx(whole.samples[4000:12000], abs=1 / 32000)


def test_the_same_members_give_the_same_bytes(tmp_path: Path) -> None:
    one = make(tmp_path / "one")
    two = make(tmp_path / "two", executor=ProcessExecutor(2))
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two") and one.revision == two.revision
    assert make(tmp_path / "three", seed=1).revision != one.revision
    assert make(tmp_path / "four", shards=3).split("train").ids[:6] == one.split("train").ids


def test_a_stopped_run_goes_on_and_keeps_what_is_there(tmp_path: Path) -> None:
    whole, folder = make(tmp_path / "whole"), tmp_path / "set"
    with pytest.raises(SolfaError, match=r"1 of 3 shards.*train/000001.tar: InputError: the score is broken"):
        make(folder, broken=1)
    with pytest.raises(InputError, match="not finished"):
        Dataset.open(folder)
    assert not list(folder.glob("train/*1*")) and not list(folder.glob("**/*.tmp"))
    (folder / "train" / ".000001.tar.99.tmp").write_bytes(b"half")  # of a killed run
    (folder / "train" / "000001.tar").write_bytes(b"killed between its two files")
    before = (folder / "train" / "000000.tar").stat().st_mtime_ns
    seen: list[int] = []
    again = make(folder, progress=lambda done, total: seen.append(done))
    assert seen == [2, 3] and (folder / "train" / "000000.tar").stat().st_mtime_ns == before
    assert again.revision == whole.revision and bytes_of(folder) == bytes_of(tmp_path / "whole")
    assert make(folder, shards=3).revision != whole.revision  # extended


def test_other_settings_and_other_folders_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "set")
    with pytest.raises(InputError, match="words was 'a', is 'b'"):
        make(tmp_path / "set", words="b")
    with pytest.raises(InputError, match="seed was 0, is 7"):
        make(tmp_path / "set", seed=7)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="other files"):
        make(tmp_path / "home")
    index = tmp_path / "set" / "train" / "000000.index.json"
    index.write_text(index.read_text().replace('"config_hash": "', '"config_hash": "0'))
    with pytest.raises(InputError, match="made from something else"):
        make(tmp_path / "set")
    with pytest.raises(InputError, match="num_shards"):
        build(tmp_path / "x", Make(), name="toy", config={}, seed=0, num_shards={"dev": 1})


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    def second(*_: object) -> None:
        with pytest.raises(InputError, match="another process"):
            make(tmp_path / "set")

    make(tmp_path / "set", progress=second)


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (replace(member("a"), samples=np.full(4000, np.nan, np.float32)), "reach nan"),
        (replace(member("a"), samples=np.full(4000, 2.0, np.float32)), "reach 2.0"),
        (replace(member("a"), samples=np.zeros(100, np.float32)), "its record says"),
        (member("a", piece=float("inf")), "plain JSON"),
        (member("a" * 96), "100 characters"),
    ],
)
def test_bad_members_leave_no_shard(tmp_path: Path, bad: Member, match: str) -> None:
    with pytest.raises(InputError, match=match):
        write_shard(tmp_path / "train" / "000000.tar", [member("b"), bad])
    assert not list((tmp_path / "train").iterdir())


def test_an_id_comes_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two records"):
        write_shard(tmp_path / "train" / "000000.tar", [member("a"), member("a")])


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(data_app, [*map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.output


def test_info_and_verify(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    make(folder)
    code, text = run("info", folder)
    assert code == 0 and "train" in text and "3 failed:" in text and "d: silent" in text
    assert run("verify", folder) == (0, "all is well\n")
    path = folder / "train" / "000000.tar"
    data = bytearray(path.read_bytes())
    at = data.index(b"RIFF") + 5000
    data[at] ^= 255
    path.write_bytes(data)
    code, text = run("verify", folder)
    assert code == 3 and "hash" in text and "1 defects" in text
    data[at] ^= 255
    path.write_bytes(data)
    index = json.loads(path.with_name("000000.index.json").read_text())
    index["members"].popitem()
    path.with_name("000000.index.json").write_text(json.dumps(index))
    code, text = run("verify", folder)
    assert code == 3 and "does not list what it holds" in text and "1 defects" in text


def test_hostile_words_do_not_drive_the_terminal(tmp_path: Path) -> None:
    clip = member("a")
    evil = replace(clip, record=replace(clip.record, licence="\x1b]0;owned\x07", attributes={"\x1b[2J": "[red]x[/]"}))
    of(tmp_path / "set", evil, Failure(item="\x1b[31mred", reason="a\rb"))
    code, text = run("info", tmp_path / "set")
    assert code == 0 and "[red]x[/]" in text and not any(c in text for c in "\x1b\x07\r")


def test_hostile_indexes_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    make(folder)
    manifest = folder / "dataset.json"
    good = manifest.read_text()
    for name in ("../x.tar", "/etc/000000.tar", "train/../../000000.tar", "dev/000000.tar"):
        value = json.loads(good)
        value["shards"][0]["file"] = name
        manifest.write_text(json.dumps(value))
        with pytest.raises(InputError, match="not a shard name"):
            Dataset.open(folder)
    manifest.write_text(good.replace("solfa.dataset/1", "solfa.dataset/9"))
    with pytest.raises(InputError, match="schema"):
        Dataset.open(folder)
    manifest.write_text(good)
    index = folder / "train" / "000000.index.json"
    value = json.loads(index.read_text())
    for place in ([0, 10], [512, 10**9], [10**12, 5], [512, -1]):
        value["members"]["train0-0"]["json"] = place
        index.write_text(json.dumps(value))
        with pytest.raises(InputError, match="beyond the end"):
            Dataset.open(folder).split("train")[0]
    value["members"]["train0-0"]["json"] = value["members"]["train0-1"]["json"]
    index.write_text(json.dumps(value))
    with pytest.raises(InputError, match="do not belong together"):
        Dataset.open(folder).split("train")[0]
    for form in ({"shards": 3}, {"shards": [3]}, {}, {"shards": [{"file": "train/000000.tar"}]}):
        manifest.write_text(json.dumps({"schema": "solfa.dataset/1", **form}))
        with pytest.raises(InputError, match="not of the form"):
            Dataset.open(folder)
    manifest.write_text("[" * 100_000)
    with pytest.raises(InputError, match="not JSON"):
        Dataset.open(folder)
    manifest.write_text(good)
    index.write_text('{"schema": "solfa.shard/1", "members": 3}')
    with pytest.raises(InputError, match="not of the form"):
        Dataset.open(folder)
    index.write_text("[")
    with pytest.raises(InputError, match="not JSON"):
        Dataset.open(folder)


@pytest.mark.parametrize("sound", ["../../evil.flac", "/etc/passwd", "b.flac", "a.wav", ""])
def test_sound_elsewhere_is_refused(tmp_path: Path, sound: str) -> None:
    dataset = of(tmp_path / "set", member("a"))
    shard = dataset.shards[0]
    data = shard.path.read_bytes()
    place = shard.index.members["a"]["json"]
    document = data[place.offset : place.offset + place.size].replace(b'"a.flac"', json.dumps(sound).encode())
    room = -(-place.size // 512) * 512
    assert len(document) <= room
    value = json.loads((tmp_path / "set" / "train" / "000000.index.json").read_text())
    value["members"]["a"]["json"] = [place.offset, len(document)]
    (tmp_path / "set" / "train" / "000000.index.json").write_text(json.dumps(value))
    header = tarfile.TarInfo("a.json")
    header.size = len(document)
    new = header.tobuf(tarfile.USTAR_FORMAT) + document.ljust(room, b"\0")
    shard.path.write_bytes(data[: place.offset - 512] + new + data[place.offset + room :])
    with pytest.raises(InputError, match="sound"):
        Dataset.open(tmp_path / "set").split("train")[0]


def test_a_missing_shard_is_named_and_made_again(tmp_path: Path) -> None:
    whole = make(tmp_path / "set")
    (tmp_path / "set" / "train" / "000001.tar").unlink()
    with pytest.raises(InputError, match=r"000001.tar is missing"):
        Dataset.open(tmp_path / "set")
    assert make(tmp_path / "set").revision == whole.revision


SLOW = """
import sys, time
sys.path.insert(0, sys.argv[2])
from test_shards import Make
from solfa.datasets.building import build

class Slow(Make):
    def __call__(self, task):
        for item in super().__call__(task):
            yield item
            if task.number == 1:
                print("amid the second shard", flush=True)
                time.sleep(600)

build(sys.argv[1], Slow(), name="toy", config={"words": "a"}, seed=0, num_shards={"train": 2, "test": 1})
"""


def test_a_killed_run_leaves_whole_shards_and_is_resumed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW, str(tmp_path / "set"), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "amid the second shard\n"
        running.kill()
    assert running.returncode == -9
    tars = list((tmp_path / "set").glob("*/*.tar"))
    assert [p.name for p in tars] == ["000000.tar"] and list((tmp_path / "set").glob("*/.*.tmp"))
    index = ShardIndex.read(tars[0])
    assert hashlib.sha256(tars[0].read_bytes()).hexdigest() == index.sha256
    assert make(tmp_path / "set").revision == make(tmp_path / "whole").revision
    assert bytes_of(tmp_path / "set") == bytes_of(tmp_path / "whole")
