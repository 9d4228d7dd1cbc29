"""The studio: a stereo mix in time with its stems, as loud as drawn; and singers who keep to the notes."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from soundfont import write_soundfont

from solfa.core.errors import InputError, MissingExtra
from solfa.core.types import FloatArray
from solfa.datagen.world import effects, studio
from solfa.datagen.world.generate import World
from solfa.datagen.world.render import Stem, only_drums, performed
from solfa.datagen.world.score import Note, Scale, Score, ScorePart, table
from solfa.datagen.world.singing import CONCEPTS, check_singing, draw_singer, sing, sung_part
from solfa.datasets.building import ShardTask
from solfa.datasets.shards import Member

RATE_HZ = 24000


def stems(seconds: float = 3.0) -> list[Stem]:
    """A plucked guitar and a bass."""
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ

    def plucked(hz: float, gap_s: float) -> FloatArray:
        wave = sum(np.sin(2 * np.pi * hz * h * time_s) / h for h in range(1, 6))
        return np.asarray(0.05 * wave * np.exp(-6 * (time_s % gap_s)), np.float32)

    parts = (("comp", "electric_guitar", 27), ("bass", "bass_guitar", 33))
    made = [ScorePart(role=role, concept=concept, program=program, notes=()) for role, concept, program in parts]
    return [Stem(part, plucked(hz, gap)) for part, hz, gap in zip(made, (330.0, 82.5), (0.5, 1.0), strict=True)]


@pytest.mark.parametrize("seed", range(6))
def test_a_mix_is_stereo_in_time_and_follows_from_its_seed(seed: int) -> None:
    pytest.importorskip("pedalboard")
    played, mix, about = studio.mixed(stems(), RATE_HZ, 0.5, np.random.default_rng(seed))
    assert mix.shape == (2, 3 * RATE_HZ) and mix.dtype == np.float32 and float(np.abs(mix).max()) <= 0.945
    assert [p.part for p in played] == [s.part for s in stems()] and all(p.samples.ndim == 1 for p in played)
    assert [p["part"] for p in about["parts"]] == ["electric_guitar", "bass_guitar"] and -27 < about["level_db"] < -6
    assert not np.allclose(mix[0], mix[1])
    again = studio.mixed(stems(), RATE_HZ, 0.5, np.random.default_rng(seed))
    assert np.array_equal(again[1], mix) and again[2] == about
    level = np.sqrt(np.convolve(mix.mean(axis=0) ** 2, np.ones(120) / 120, "same"))
    rises = [np.mean(level[int(t * RATE_HZ) : int((t + 0.05) * RATE_HZ)]) for t in (1.0, 2.0)]
    falls = [np.mean(level[int((t - 0.06) * RATE_HZ) : int((t - 0.01) * RATE_HZ)]) for t in (1.0, 2.0)]
    assert all(a > b for a, b in zip(rises, falls, strict=True))  # what is struck on the second sounds there


def test_low_sample_rates_are_mixed_too() -> None:
    pytest.importorskip("pedalboard")
    low = [replace(s, samples=np.ascontiguousarray(s.samples[::3])) for s in stems()]
    for seed in range(8):
        played, mix, _ = studio.mixed(low, 8000, 0.5, np.random.default_rng(seed))
        assert np.all(np.isfinite(mix)) and float(np.abs(mix).max()) <= 0.945
        assert all(-60 < 20 * np.log10(np.sqrt(np.mean(p.samples**2))) < 0 for p in played)


def test_every_role_has_its_place_in_the_studio() -> None:
    assert set(table()["studio"]["roles"]) == set(table()["mix"])


def test_without_its_packages_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pedalboard", None)
    with pytest.raises(MissingExtra, match=r"solfa\[data\]"):
        effects.processors()
    monkeypatch.setitem(__import__("sys").modules, "pyworld", None)
    with pytest.raises(MissingExtra, match=r"solfa\[singing\]"):
        check_singing()


def test_without_espeak_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyworld")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="apt-get install espeak-ng"):
        check_singing()


def test_a_program_that_says_nothing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyworld")
    (tmp_path / "espeak-ng").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "espeak-ng").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    singer = replace(draw_singer(np.random.default_rng(1)), words=("unheard-of",))
    with pytest.raises(InputError, match="cannot say 'unheard-of'"):
        sing([(0.0, 1.0, 60, 90)], singer, 0.0, 0.0, RATE_HZ, RATE_HZ, np.random.default_rng(0))


def test_a_melody_is_moved_into_the_singers_range_one_note_at_a_time() -> None:
    chords = tuple(Note(b, 2.0, p, 80) for b in range(8) for p in (84 + b % 3, 72))
    part = ScorePart(role="lead", concept="flute", program=73, notes=chords)
    singer = draw_singer(np.random.default_rng(0))
    got = sung_part(part, singer)
    assert got.role == "voice" and got.concept == f"{singer.gender}_voice" and len(got.notes) == 8
    assert [n.pitch % 12 for n in got.notes] == [(84 + b % 3) % 12 for b in range(8)]
    assert all(a.start + a.length <= b.start for a, b in zip(got.notes, got.notes[1:], strict=False))
    assert abs(np.median([n.pitch for n in got.notes]) - table()["singing"]["middle"][singer.gender]) <= 6


@pytest.mark.parametrize("cents", [0.0, 40.0])
def test_what_is_sung_has_the_pitch_and_the_times_of_its_notes(cents: float) -> None:
    pytest.importorskip("pyworld")
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    singer = replace(draw_singer(np.random.default_rng(1)), vibrato=0.0, words=("la", "na", "da"))
    notes = [(0.5, 1.4, 57, 90), (1.5, 2.4, 61, 90), (3.2, 4.0, 57, 90)]
    got = sing(notes, singer, cents, 0.0, 5 * RATE_HZ, RATE_HZ, np.random.default_rng(0))
    assert got.shape == (5 * RATE_HZ,) and got.dtype == np.float32 and float(np.abs(got).max()) <= 1.05
    assert np.array_equal(got, sing(notes, singer, cents, 0.0, 5 * RATE_HZ, RATE_HZ, np.random.default_rng(0)))
    power = np.array([np.mean(got[int(t * RATE_HZ) :][:2400] ** 2) for t in (0.0, 0.9, 1.9, 2.75, 3.6, 4.5)])
    assert power[[1, 2, 4]].min() > 30 * power[[0, 3, 5]].max()
    for start, pitch in ((0.8, 57), (1.8, 61)):
        wave = got[int(start * RATE_HZ) :][: int(0.4 * RATE_HZ)]
        spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 17)) ** 2
        near = 440 * 2 ** ((pitch - 69 + np.linspace(-0.9, 0.9, 181)) / 12)  # the best comb of partials tells the pitch
        combs = [sum(spectrum[round(hz * h * (1 << 17) / RATE_HZ)] for h in range(1, 9)) for hz in near]
        assert np.linspace(-90, 90, 181)[int(np.argmax(combs))] == pytest.approx(cents, abs=35)


def test_a_soundfont_of_drums_alone_is_known(tmp_path: Path) -> None:
    pytest.importorskip("tinysoundfont")
    assert not only_drums(write_soundfont(tmp_path / "all.sf2"))


def test_a_produced_world_is_stereo_and_says_who_sings(tmp_path: Path) -> None:
    for name in ("tinysoundfont", "pedalboard", "pyworld"):
        pytest.importorskip(name)
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    fonts = tuple(write_soundfont(tmp_path / name) for name in ("one.sf2", "two.sf2"))
    world = World(soundfonts=fonts, held_out="two.sf2", corpora={}, seconds=4.0, clips_per_shard=8,
                  production="studio", singing=1.0)  # fmt: skip
    task = ShardTask(seed=3, split="train", number=0)
    made = [m for m in world(task) if isinstance(m, Member)]
    again = [m for m in world(task) if isinstance(m, Member)]
    assert len(made) == 8 and [m.record for m in made] == [m.record for m in again]
    sung = 0
    for member, other in zip(made, again, strict=True):
        assert member.samples is not None and member.samples.shape == (4 * RATE_HZ, 2)
        assert other.samples is not None and np.array_equal(member.samples, other.samples)
        record = member.record
        about, truth = record.attributes["world"], record.annotation
        assert truth is not None and about["soundfont_licences"] == ["unknown"] and abs(about["tuning_cents"]) <= 50
        assert about["studio"]["parts"] and about["studio"]["reverb"] in ("room", "plate")
        voices = {s.label for s in truth.instruments} & set(CONCEPTS.values())
        if voices:
            assert record.attributes["voice"] is True and voices <= set(record.attributes["instruments"])
            assert voices == {CONCEPTS[singer["gender"]] for singer in about["singers"]}
            sung += 1
        elif not about["singers"]:
            assert record.attributes.get("voice") in (False, None)
    assert sung >= 1 and any("vo" in text for m in made for text in m.record.captions)
    assert world.config() != replace(world, singing=0.5).config() != replace(world, production="none").config()


@pytest.mark.parametrize("changes", [{"production": "loud"}, {"singing": 1.5}])
def test_unknown_productions_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    fonts = tuple(write_soundfont(tmp_path / name) for name in ("one.sf2", "two.sf2"))
    with pytest.raises(InputError, match="expected the production none or studio"):
        World(soundfonts=fonts, held_out="two.sf2", corpora={}, **changes)  # type: ignore[arg-type]


def test_first_beats_are_accented_and_late_as_drummers_are() -> None:
    sixteenths = tuple(Note(b / 4, 0.2, 60, 60) for b in range(64))
    score = Score(
        beat_s=np.arange(17) * 0.5, metres=((0, 16, "4/4"),), keys=((0.0, 16.0, Scale(0, "major")),),
        parts=(ScorePart(role="comp", concept="piano", program=0, notes=sixteenths),),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    plain = performed(score.parts[0], score, rng, mechanical=True, accent=12.0)
    assert [n[3] for n in plain[:16]] == [72, *[60] * 7, 66, *[60] * 7]
    runs = [
        performed(score.parts[0], score, np.random.default_rng(i), mechanical=False, feel="soul") for i in range(80)
    ]
    late = np.mean([[n[0] - i * 0.125 for i, n in enumerate(run)] for run in runs], axis=0).reshape(4, 16).mean(axis=0)
    assert np.allclose(late * 1000, table()["feels"]["soul"], atol=3.0)
