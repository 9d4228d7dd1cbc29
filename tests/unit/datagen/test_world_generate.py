"""Whole clips: reproducible, split without leaks, valid JAMS, nothing half made."""

import json
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from soundfont import write_soundfont

from solfa.core.annotation import jams_of
from solfa.core.errors import InputError, MissingExtra
from solfa.datagen import packages
from solfa.datagen.world import render
from solfa.datagen.world.generate import World, split_of
from solfa.datagen.world.score import Note, ScorePart
from solfa.datasets.building import ShardTask, build
from solfa.datasets.shards import Dataset, Failure, Member
from solfa.weights.manifest import PypiSource

TASK = ShardTask(split="train", number=0, seed=3)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two soundfonts of our own, the second held out."""
    pytest.importorskip("tinysoundfont")
    fonts = tuple(write_soundfont(tmp_path / name) for name in ("one.sf2", "two.sf2"))
    return World(soundfonts=fonts, held_out="two.sf2", corpora={}, seconds=4.0, clips_per_shard=6)


def members(world: World, task: ShardTask = TASK) -> list[Member]:
    """The clips of a shard."""
    return [m for m in world(task) if isinstance(m, Member)]


def test_notes_sound_when_and_where_they_are_written(world: World) -> None:
    part = ScorePart(role="lead", concept="piano", program=5, notes=())
    for pitch, cents in ((60, 0.0), (69, 0.0), (69, 30.0)):
        got = render.stem_of([(0.5, 1.2, pitch, 100)], part, world.soundfonts[0], cents, 0.0, 48000, 24000)
        assert np.flatnonzero(np.abs(got) > 1e-4)[0] / 24000 == pytest.approx(0.5, abs=0.001)
        spectrum = np.abs(np.fft.rfft(got[12500:25000] * np.hanning(12500), 1 << 18))
        wanted = 440 * 2 ** ((pitch - 69 + cents / 100) / 12)
        assert np.argmax(spectrum) * 24000 / (1 << 18) == pytest.approx(wanted, rel=0.002)
    held = render.stem_of([(-0.5, 1.0, 60, 100)], part, world.soundfonts[0], 0.0, 0.0, 24000, 24000)
    assert np.abs(held[:100]).max() > 1e-4  # what began before the clip sounds on


def test_a_kit_that_is_missing_is_the_standard_one(world: World) -> None:
    notes = (Note(0, 1, 36, 90),)
    machine = ScorePart(role="drums", concept="drum_machine", program=25, notes=notes, drums=True)
    got = render.playable(machine, world.soundfonts[0])
    assert (got.program, got.concept) == (0, "drums")
    few = write_soundfont(world.soundfonts[0].with_name("few.sf2"), programs=3)
    with pytest.raises(InputError, match="no program 4"):
        render.playable(ScorePart(role="comp", concept="piano", program=4, notes=notes), few)


def test_a_shard_follows_from_its_task(world: World) -> None:
    one, two = members(world), members(world)
    assert [m.record for m in one] == [m.record for m in two] and len(one) == 6
    for a, b in zip(one, two, strict=True):
        assert a.samples is not None and b.samples is not None and np.array_equal(a.samples, b.samples)
        assert a.record.annotation == b.record.annotation and a.record.captions and a.record.attributes["instruments"]
        assert len(a.samples) == 4 * 24000 and 0.2 < np.abs(a.samples).max() < 1
    other = members(world, replace(TASK, number=1))
    assert not {m.record.piece for m in one} & {m.record.piece for m in other}


def test_the_held_out_soundfont_sounds_in_test_only(world: World) -> None:
    world = replace(world, clips_per_shard=3)
    for split, font in (("train", "one.sf2"), ("val", "one.sf2"), ("test", "two.sf2")):
        for member in members(world, replace(TASK, split=split)):
            assert member.record.attributes["world"]["soundfonts"] == [font]


def test_truth_is_valid_jams(world: World, tmp_path: Path) -> None:
    jams = pytest.importorskip("jams")
    for member in members(replace(world, clips_per_shard=2)):
        path = tmp_path / f"{member.record.id}.jams"
        path.write_text(json.dumps(jams_of(member.record.annotation, tool="test")))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            jam = jams.load(str(path), validate=True, strict=True)
        assert {"beat", "tempo", "key_mode", "chord", "segment_open", "tag_open"} <= {
            a.namespace for a in jam.annotations
        }


def test_a_built_set_is_read_back(world: World, tmp_path: Path) -> None:
    made = build(
        tmp_path / "set", world, name="world", config=world.config(), seed=3, num_shards={"train": 1, "test": 1}
    )
    again = Dataset.open(made.folder)
    for record in (*again.split("train"), *again.split("test")):
        truth = again.annotation(record)
        assert truth is not None and truth.beats_s and truth.instruments
        assert again.audio(record).duration_s == pytest.approx(4.0)
        assert record.attributes.get("tempo_bpm") == (None if truth.tempo_bpm is None else round(truth.tempo_bpm, 1))


def test_songs_that_cannot_be_read_are_counted(world: World, tmp_path: Path) -> None:
    (tmp_path / "midi").mkdir()
    for i in range(40):
        (tmp_path / "midi" / f"{i}.mid").write_bytes(b"MThd nothing")
    got = list(replace(world, corpora={"midi": tmp_path / "midi"})(TASK))
    failures = [f for f in got if isinstance(f, Failure)]
    assert failures and all("not a readable MIDI file" in f.reason for f in failures)
    assert len(got) - len(failures) >= 4


def test_songs_and_backgrounds_stay_in_their_split(world: World, tmp_path: Path) -> None:
    shares = [split_of(f"billboard:{i}") for i in range(2000)]
    assert shares.count("train") / 2000 == pytest.approx(0.9, abs=0.03)
    assert shares == [split_of(f"billboard:{i}") for i in range(2000)]
    (tmp_path / "noise").mkdir()
    noise = np.random.default_rng(0).standard_normal(16000 * 9).astype(np.float32) * 0.1
    for i in range(30):
        soundfile.write(tmp_path / "noise" / f"{i}.wav", noise, 16000)
    mixed = replace(world, background=tmp_path / "noise", clips_per_shard=20)
    rows = [m.record.attributes for m in members(mixed)]
    found = [r for r in rows if r["world"]["snr_db"] is not None]
    assert found and all("background" in r["world"]["effects"] and "voice" not in r for r in found)


@pytest.mark.parametrize(
    "changes", [{"held_out": "no.sf2"}, {"soundfonts": ()}, {"seconds": 1.0}, {"sample_rate_hz": 100}]
)
def test_impossible_worlds_are_refused(world: World, changes: dict[str, object]) -> None:
    with pytest.raises(InputError, match="expected"):
        replace(world, **changes)  # type: ignore[arg-type]


def test_what_is_no_soundfont_is_refused(world: World, tmp_path: Path) -> None:
    for name, data in (("a.sf2", b"RIFF1234WAVE"), ("b.sf2", b""), ("c.sf2", b"RIFF\0\0\0\0sfbk broken")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match="soundfont"):
            render.load_soundfont(tmp_path / name)
    with pytest.raises(InputError, match="solfa data soundfonts"):
        render.load_soundfont(tmp_path / "gone.sf2")


def test_without_the_synthesiser_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tinysoundfont", "tinysoundfont._tinysoundfont"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(MissingExtra, match="--no-deps tinysoundfont"):
        render.load_soundfont(tmp_path / "any.sf2")


def test_the_table_of_soundfonts_is_pinned() -> None:
    table = packages.soundfonts()
    assert len(table) >= 5 and sum(f.held_out for f in table) == 1
    for font in (*table, *packages.packages()):
        pin = font.sha256 if font.pypi is None else font.pypi.wheel_sha256
        assert len(pin) == 64 and font.licence and (font.pypi is not None or font.deb.endswith(".deb"))


def test_another_file_than_the_pinned_one_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLFA_HOME", str(tmp_path))

    def fetched(name: str, folder: Path, instead: str) -> Path:
        (folder / "x.deb").write_bytes(b"another")
        return folder / "x.deb"

    fonts = tuple(f for f in packages.soundfonts() if f.deb)
    monkeypatch.setattr(packages, "soundfonts", lambda: fonts)
    monkeypatch.setattr(packages, "download", fetched)
    with pytest.raises(InputError, match=r"not the pinned file .*\.deb.*--soundfont"):
        packages.fetch_soundfonts(lambda line: None)
    with pytest.raises(InputError, match=r"not the pinned file .*\.deb.*--events"):
        packages.fetch_sounds(lambda line: None)
    assert packages.local_soundfonts() == () and not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_what_was_fetched_is_kept_and_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLFA_HOME", str(tmp_path))

    def wheel(name: str, source: PypiSource, folder: Path) -> Path:
        with zipfile.ZipFile(folder / "x.whl", "w") as archive:
            archive.writestr(source.member, name)
        return folder / "x.whl"

    fonts = tuple(f for f in packages.soundfonts() if f.pypi)
    monkeypatch.setattr(packages, "soundfonts", lambda: fonts)
    monkeypatch.setattr(packages, "download_wheel", wheel)
    assert packages.fetch_soundfonts(lambda line: None) == fonts
    assert [font.path.read_text() for font in fonts] == [font.name for font in fonts]
    monkeypatch.setattr(packages, "download_wheel", None)
    assert packages.fetch_soundfonts(lambda line: None) == fonts
