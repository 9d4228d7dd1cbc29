"""From recordings in folders, tables and packages to data sets of scenes and of music."""

import io
import json
import os
import shutil
import signal
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fakes.files import write_audio
from fakes.synth import tone
from solfa.core.clip import SPLITS, Clip
from solfa.core.errors import InputError, SolfaError
from solfa.core.types import FloatArray
from solfa.datagen.packages import packages, unpack
from solfa.datagen.scenes import pipeline
from solfa.datagen.scenes import pool as pool_module
from solfa.datagen.scenes.pipeline import SceneConfig, SceneMaker, make_scenes
from solfa.datagen.scenes.pool import PoolRule, make_pool, material, split_groups, summary
from solfa.datagen.scenes.sources import BACKGROUND, label_sounds, read_backgrounds, read_events, read_packages
from solfa.datasets.bank import PhraseBank
from solfa.datasets.building import ShardTask
from solfa.datasets.phrases import sound_bank
from solfa.datasets.shards import Dataset, Failure, Member
from solfa.jobs import ProcessExecutor
from solfa.llm import Endpoint, ModelClient

RATE = 8000
RULE = PoolRule(sample_rate_hz=RATE, min_event_s=0.2, short_sounds=True)
CONFIG = SceneConfig(by_label=True, per_shard=3)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Six labels with four recordings each, three backgrounds, and some files that cannot be used."""
    rng = np.random.default_rng(0)
    for n in range(6):
        for take in range(4):
            folder = tmp_path / "events" / f"Sound_{n}"
            folder.mkdir(parents=True, exist_ok=True)
            write_audio(folder / f"take{take}.wav", tone(50 + 5 * n + take, 0.4 + 0.2 * take, RATE) * 0.5, RATE)
    (tmp_path / "behind").mkdir()
    for n in range(3):
        write_audio(tmp_path / "behind" / f"{n}.flac", rng.standard_normal(RATE * 21).astype(np.float32) * 0.05, RATE)
    bad = tmp_path / "events" / "bad"
    bad.mkdir()
    write_audio(bad / "silent.wav", np.zeros(RATE, np.float32), RATE)
    write_audio(bad / "clipped.wav", np.sign(tone(60, 1.0, RATE)).astype(np.float32), RATE)
    write_audio(bad / "short.wav", np.full(1100, 0.5, np.float32), RATE)
    (bad / "broken.wav").write_bytes(b"RIFF\0\0\0\0WAVEfmt nonsense")
    (bad / "nan.wav").write_bytes(b"")
    return tmp_path


def _pool(library: Path) -> Dataset:
    sources = read_events(library / "events") + read_backgrounds(library / "behind")
    return make_pool(sources, RULE, library / "cache")


def test_a_pool_lists_what_it_cannot_use_and_is_found_again(library: Path) -> None:
    pool = _pool(library)
    cuts = pool.split("train")
    assert {c.labels[0] for c in cuts} == {BACKGROUND, *(f"sound {n}" for n in range(6))}
    assert len([c for c in cuts if c.labels[0] == BACKGROUND]) == 6  # two cuts of 10 s from each of 21 s
    reasons = {f["item"].partition("/")[2]: f["reason"] for f in pool.manifest["failures"]}
    assert set(reasons) == {"silent.wav", "clipped.wav", "short.wav", "broken.wav", "nan.wav"}
    assert "silent" in reasons["silent.wav"] and "clipped" in reasons["clipped.wav"] and "kept" in reasons["short.wav"]
    told = summary(pool)[-1]
    assert told.startswith("5 recordings were not used") and "1 event too short" in told  # no numbers of one file
    before = (pool.folder / "train" / "000000.tar").stat().st_mtime_ns
    assert _pool(library).revision == pool.revision
    assert (pool.folder / "train" / "000000.tar").stat().st_mtime_ns == before
    for cut in cuts:
        assert np.abs(pool.audio(cut).samples).max() == pytest.approx(1.0, abs=1e-3)


class _Deadly(pool_module._Cut):
    """Recordings with an unlucky name end the process that decodes them."""

    def _pieces(self, item: tuple[int, Clip]) -> list[FloatArray]:
        if item[1].id.endswith("take2.wav"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._pieces(item)


def test_runs_that_share_recordings_wait_for_the_pool(library: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(_pool, [library, library])
    assert first.manifest == second.manifest


def test_recordings_that_end_a_worker_are_left_out_alone(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_Cut", _Deadly)
    sources = read_events(library / "events")
    pool = make_pool(sources, RULE, library / "cache", executor=ProcessExecutor(1))
    reasons = {f["item"]: f["reason"] for f in pool.manifest["failures"]}
    deadly = {s.id for s in sources if s.id.endswith("take2.wav")}
    assert len(deadly) == 6 and {reasons[name] for name in deadly} == {"its worker died (signal -9)"}
    assert len(reasons) == 6 + 5
    assert {c.source for c in pool.split("train")} == {s.id for s in sources} - set(reasons)


def test_scenes_are_made_resumed_and_drawn_again(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = _pool(library)
    made = make_scenes(tmp_path / "out", pool, CONFIG, count=20, seed=1)
    assert [len(made.split(s)) for s in SPLITS] == [18, 3, 3]
    used: dict[str, set[str]] = {s: set() for s in SPLITS}
    maker = SceneMaker(pool.folder, CONFIG)
    for split in SPLITS:
        for at, record in enumerate(made.split(split)):
            number, i = divmod(at, CONFIG.per_shard)
            scene, _ = maker.draw(ShardTask(split=split, number=number, seed=1), i)
            assert np.abs(made.audio(record).samples - scene.samples).max() <= 1 / 32767
            assert record.phrases == scene.phrases()
            assert all(p.text in record.captions[0] for p in record.phrases)
            truth = record.attributes["scene"]
            used[split] |= {truth["background"], *(e["source"] for e in truth["events"])}
    assert not (used["train"] & used["test"] or used["train"] & used["val"] or used["val"] & used["test"])
    bank = PhraseBank.load(tmp_path / "out" / "phrases.jsonl")
    assert all(bank.clusters_of(p.text) for r in made.split("train") for p in r.phrases)
    with monkeypatch.context() as patch, pytest.raises(SolfaError, match="could not be made"):
        patch.setattr(pipeline, "SceneMaker", _Stops)
        make_scenes(tmp_path / "stopped", pool, CONFIG, count=20, seed=1)
    kept = tmp_path / "stopped" / "train" / "000000.tar"
    before = kept.stat().st_mtime_ns
    assert make_scenes(tmp_path / "stopped", pool, CONFIG, count=20, seed=1).revision == made.revision
    assert kept.stat().st_mtime_ns == before
    assert make_scenes(tmp_path / "other", pool, CONFIG, count=20, seed=2).revision != made.revision


class _Stops(SceneMaker):
    def __call__(self, task: ShardTask) -> Iterator[Member | Failure]:
        if task.number == 1:
            raise OSError("the disk is gone")
        return super().__call__(task)


def test_a_split_without_material_is_named(library: Path, tmp_path: Path) -> None:
    pool = make_pool(read_events(library / "events"), RULE, library / "cache")
    with pytest.raises(InputError, match="train has no background"):
        make_scenes(tmp_path / "out", pool, CONFIG, count=5, seed=0)
    over_noise = SceneConfig(noise_share=1.0, per_shard=2)
    made = make_scenes(tmp_path / "out", pool, over_noise, count=5, seed=0)
    assert {r.attributes["scene"]["background"] for r in made.split("test")} == {"noise"}


def test_values_that_no_sound_can_have_are_named_before_any_work() -> None:
    for rate in (5, 0, -1, 400_000):
        with pytest.raises(InputError, match=f"{rate} Hz: expected 8000-48000"):
            replace(RULE, sample_rate_hz=rate)
    for shortest in (0.0, -1.0, 8.0):
        with pytest.raises(InputError, match="expected more than 0 s"):
            replace(RULE, min_event_s=shortest)


def test_nothing_usable_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    write_audio(tmp_path / "x" / "a.wav", np.zeros(RATE, np.float32), RATE)
    with pytest.raises(InputError, match="silent"):
        make_pool(read_events(tmp_path), RULE, tmp_path / "cache")


def test_splits_hold_groups_together_and_do_not_depend_on_order() -> None:
    rows = [(f"g{g}", f"l{g % 3}", "") for g in range(40) for _ in "ab"]
    splits = split_groups(rows)
    assert splits == split_groups(reversed(rows))
    for label in range(3):
        mine = [splits[f"g{g}"] for g in range(40) if g % 3 == label]
        assert [mine.count(s) for s in SPLITS] == [len(mine) - 4, 2, 2]
    given = [("g", "l", split) for split in ("train", "val", "")]
    assert split_groups(given) == split_groups(given[::-1]) == {"g": "val"}


def test_equal_sound_under_other_names_is_of_one_split(library: Path) -> None:
    for n in range(6):
        shutil.copy(library / "events" / f"Sound_{n}" / "take0.wav", library / "events" / f"Sound_{n}" / "again.wav")
    shutil.copytree(library / "events" / "Sound_0", library / "events" / "Other name")
    pool = make_pool(read_events(library / "events"), RULE, library / "cache")
    splits: dict[bytes, set[str]] = {}
    found = [(split, cut) for split, labels in material(pool).items() for cuts in labels.values() for cut in cuts]
    for split, cut in found:
        splits.setdefault(pool.audio(cut).samples.tobytes(), set()).add(split)
    assert len(splits) == 24 < len(found) and all(len(one) == 1 for one in splits.values())
    assert {split for split, _ in found} == set(SPLITS)


def test_tables_and_fsd50k(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,label,split\nx/1.wav,Dog_Bark,test\n2.wav,cat,\n", encoding="utf-8")
    odd = '{"path": "1.wav", "label": "dog\u2028bark"}\n'
    (tmp_path / "odd.jsonl").write_text(odd, encoding="utf-8")
    (tmp_path / "odd.csv").write_text('path,label\n1.wav,"dog\nbark"\n', encoding="utf-8")
    assert [read_events(tmp_path / f)[0].labels for f in ("odd.jsonl", "odd.csv")] == [("dog bark",)] * 2
    found = read_events(tmp_path / "a.csv")
    assert [(*s.labels, s.split, s.audio) for s in found] == [
        ("dog bark", "test", tmp_path / "x/1.wav"), ("cat", "", tmp_path / "2.wav"),
    ]  # fmt: skip
    for line, why in (('{"path": "../../etc/passwd", "label": "a"}', "is outside"), ('{"path": "a.wav"}', "label"),
                      ("[1]", "object"), ('{"path": "a", "label": "b", "split": "dev"}', "not one of")):  # fmt: skip
        (tmp_path / "b.jsonl").write_text(line, encoding="utf-8")
        with pytest.raises(InputError, match=why):
            read_events(tmp_path / "b.jsonl")
    root = tmp_path / "FSD50K"
    (root / "FSD50K.ground_truth").mkdir(parents=True)
    truth = root / "FSD50K.ground_truth"
    truth.joinpath("dev.csv").write_text(
        'fname,labels,mids,split\n1,Bark,/m,train\n2,"Bark,Dog",/m,val\n3,Meow,/m,val\n'
    )
    truth.joinpath("eval.csv").write_text("fname,labels,mids\n9,Bark,/m\n../8,Bark,/m\n")
    fsd = read_events(root)
    assert [(s.id, *s.labels, s.split) for s in fsd] == [
        ("FSD50K.dev_audio/1.wav", "bark", "train"), ("FSD50K.dev_audio/3.wav", "meow", "val"),
        ("FSD50K.eval_audio/9.wav", "bark", "test"),
    ]  # fmt: skip
    given = root / "FSD50K.metadata" / "collection"
    given.mkdir(parents=True)
    given.joinpath("collection_dev.csv").write_text('fname,labels,mids\n2,Bark,/m\n3,"Meow,Cat",/m\n4,Meow,/m\n1,,\n')
    assert [s.id for s in read_events(root)] == ["FSD50K.dev_audio/2.wav", "FSD50K.eval_audio/9.wav"]


def test_the_ontology_is_sound() -> None:
    bank = sound_bank()
    labels = {label for label in label_sounds(_keys()).values() if label}
    assert {"dog barking", "guitar strum of a B flat half-diminished chord", "speech in French", "bass drum"} <= labels
    assert all(bank.clusters_of(label) for label in labels) and len(bank) > 1000
    near = {bank.clusters[i].phrase for i in bank.near(bank.clusters_of("closed hi-hat")[0])}
    assert {"hi-hat", "drums", "drum loop"} <= near and "dog barking" not in near
    strum = bank.clusters_of("guitar strum of an A minor chord")[0]
    assert "acoustic guitar" in {bank.clusters[i].phrase for i in bank.near(strum)}
    assert len({p.name for p in packages()}) == len(packages()) and all(len(p.sha256) == 64 for p in packages())
    many = label_sounds(f"hydrogen/kit/snare_{n}" for n in range(0)) | label_sounds(
        f"stamps/x/a{n}_desc_fr" for n in range(99)
    )
    assert len(many) == 40


def _keys() -> list[str]:
    return [
        "scratch/animal/dog1", "strums/belofilms_guitarstrums/bflat minor7b5_up_00", "stamps/food/corn_desc_fr",
        "hydrogen/the black pearl 1.0/pearlkick-hard", "minetest/fire/sounds/fire_large", "sonic/unknown",
    ]  # fmt: skip


def test_packages_are_read_by_the_ontology(tmp_path: Path) -> None:
    for name in ("Dog1", "Dog2", "Strange"):
        (tmp_path / "scratch" / "Animal").mkdir(parents=True, exist_ok=True)
        write_audio(tmp_path / "scratch" / "Animal" / f"{name}.wav", tone(60, 0.5, RATE), RATE)
    found = read_packages(tmp_path)
    assert [(s.id, *s.labels) for s in found] == [
        ("scratch/animal/dog1", "dog barking"), ("scratch/animal/dog2", "dog barking"),
    ]  # fmt: skip
    assert len({s.track for s in found}) == 1 and found[0].licence
    with pytest.raises(InputError, match="solfa data sounds"):
        read_packages(tmp_path / "scratch")


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb unpacks packages")
def test_a_package_is_unpacked_below_its_root_only(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        for name in ("./usr/share/s/A/1.wav", "./usr/share/s/../../../evil.wav", "./etc/2.wav", "./usr/share/s/3.txt"):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"data"))
        link = tarfile.TarInfo("./usr/share/s/link.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    deb, empty = b"!<arch>\n", io.BytesIO()
    tarfile.open(fileobj=empty, mode="w:xz").close()
    members = {"debian-binary": b"2.0\n", "control.tar.xz": empty.getvalue(), "data.tar.xz": buffer.getvalue()}
    for name, body in members.items():
        numbers = b"0".ljust(12) + b"0".ljust(6) * 2 + b"100644".ljust(8)
        deb += name.encode().ljust(16) + numbers + str(len(body)).encode().ljust(10) + b"`\n" + body
        deb += b"\n" * (len(body) % 2)
    (tmp_path / "s.deb").write_bytes(deb)
    assert unpack(tmp_path / "s.deb", "usr/share/s", tmp_path / "out") == 1
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.wav") if p.is_file()] == ["out/A/1.wav"]
    for broken in (b"", b"!<arch>\n", deb[:200], deb[:-100]):
        (tmp_path / "s.deb").write_bytes(broken)
        with pytest.raises(InputError, match="not a Debian package"):
            unpack(tmp_path / "s.deb", "usr", tmp_path / "no")


def test_the_command_makes_scenes_and_says_what_was_left_out(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from solfa.apps.data import data_app

    monkeypatch.setenv("SOLFA_HOME", str(library / "home"))
    arguments = ["scenes", str(library / "out"), "--events", str(library / "events"), "--min-event", "0.1"]
    arguments += ["--count", "3", "--per-shard", "1", "--rate", str(RATE), "--workers", "1"]
    result = CliRunner().invoke(data_app, arguments)
    assert result.exit_code == 0, result.output
    assert "5 recordings were not used" in result.output
    made = Dataset.open(library / "out")
    assert made.manifest["config"]["noise_share"] == 1.0 and len(made.split("test")) == 1
    assert json.loads((library / "out" / "phrases.jsonl").read_text().splitlines()[0])["phrase"]


def test_a_language_model_writes_captions_and_what_it_leaves_out_is_listed(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(self: ModelClient, body: bytes, expected: int) -> str:
        labels = [row["sound"] for row in json.loads(json.loads(body)["messages"][1]["content"])]
        return json.dumps({"caption": "There is " + " and ".join(labels[:2]) + "."})

    monkeypatch.setattr(ModelClient, "_sent", answer)
    config = replace(CONFIG, endpoint=Endpoint(url="http://127.0.0.1:9/v1", model="m"))
    made = make_scenes(tmp_path / "out", _pool(library), config, count=9, seed=1)
    listed = {f["item"] for f in made.manifest["failures"] if "missing" in f["reason"]}
    records = [r for s in SPLITS for r in made.split(s)]
    assert listed == {r.id for r in records if len(r.phrases) > 2} and 0 < len(listed) < len(records)
    for record in records:
        assert (record.id in listed) != record.captions[0].startswith("There is ")
        assert all(p.text in record.captions[0] for p in record.phrases)


def test_a_name_that_is_no_text_does_no_harm(library: Path) -> None:
    odd = library / "events" / "Sound_0" / os.fsdecode(b"odd\xff\n.wav")
    try:
        shutil.copy(library / "events" / "Sound_0" / "take0.wav", odd)
    except OSError:
        pytest.skip("this file system takes no such names")
    pool = _pool(library)
    assert "Sound_0/odd?\n.wav" in {cut.source for cut in pool.split("train")}
