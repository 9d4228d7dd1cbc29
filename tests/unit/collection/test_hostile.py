"""A folder made by an enemy costs its own files only, each listed with a reason."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from indexing import extractors, make_music, tune

from fakes.files import write_audio
from fakes.tiny import tiny_model
from solfa.analysis.protocol import Extractor, Observation
from solfa.collection import Collection
from solfa.core.types import Audio, JointModel
from solfa.jobs import ProcessExecutor


def wav_header(path: Path, channels: int, rate: int, claimed: int, data: bytes) -> None:
    fmt = struct.pack("<HHIIHH", 1, channels, rate, (rate * 2 * channels) & 0xFFFFFFFF, (2 * channels) & 0xFFFF, 16)
    body = b"WAVEfmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", claimed) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", 36 + claimed) + body)


def make_enemy(folder: Path) -> dict[str, str]:
    """Bad files and a part of the reason each must be listed with."""
    noise = np.random.default_rng(0).normal(0, 0.1, (44_100 * 6, 2)).astype(np.float32)
    for suffix in (".wav", ".flac", ".mp3", ".ogg", ".m4a"):
        path = write_audio(folder / f"cut{suffix}", noise, 44_100)
        os.truncate(path, path.stat().st_size // 3)
    (folder / "empty.mp3").touch()
    (folder / "text.mp3").write_text("once upon a time\n" * 100)
    (folder / "list.m4a").write_text("#EXTM3U\n/etc/passwd\n")
    (folder / "random.ogg").write_bytes(np.random.default_rng(1).bytes(50_000))
    wav_header(folder / "zero-hz.wav", 1, 0, 64, b"\0" * 64)
    wav_header(folder / "crowd.wav", 2000, 44_100, 8000, b"\0" * 8000)
    wav_header(folder / "day.wav", 1, 8000, 24 * 3600 * 16_000, b"\0" * 64)
    bad = noise[:, 0].copy()
    bad[5] = np.nan
    write_audio(folder / "nan.wav", bad, 44_100, "FLOAT")
    os.mkfifo(folder / "pipe.flac")
    (folder / "dir.mp3").mkdir()
    return {
        "cut.wav": "truncated", "cut.flac": "broken", "cut.mp3": "truncated", "cut.ogg": "truncated",
        "cut.m4a": "not an audio file", "empty.mp3": "empty", "text.mp3": "not an audio file",
        "list.m4a": "not an audio file", "random.ogg": "not an audio file", "zero-hz.wav": "",
        "crowd.wav": "channels", "day.wav": "truncated", "nan.wav": "not sound", "pipe.flac": "not a regular file",
    }  # fmt: skip


def make_odd(folder: Path) -> int:
    """Strange files that are fine; how many paths they are."""
    write_audio(folder / "one.wav", np.full(1, 0.5, np.float32), 44_100)
    write_audio(folder / "wrong.mp3".replace("mp3", "flac"), tune(7), 16_000).rename(folder / "wrong.mp3")
    wav_header(folder / "wide.wav", 64, 384_000, 12_800, b"\1" * 12_800)
    write_audio(folder / "silence.wav", np.zeros(16_000, np.float32), 16_000)
    good = write_audio(folder / "ok.wav", tune(8), 16_000).read_bytes()
    for name in (b"bytes\xff\xfe.wav", b"new\nline.wav", b"'quote\".wav", "日本.wav".encode(), b"-rf.wav"):
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes(good)  # noqa: PTH118
    (folder / "link.wav").symlink_to(folder / "ok.wav")
    (folder / "broken-link.wav").symlink_to(folder / "nowhere")
    (folder / "sub").mkdir()
    (folder / "sub" / "loop").symlink_to(folder)
    return 11


def test_an_enemys_folder(tmp_path: Path) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    reasons, odd = make_enemy(folder), make_odd(folder)
    with Collection.open(tmp_path / "shelf", create=True) as shelf:
        executor = ProcessExecutor(2, timeout_s=60)
        report = shelf.add([folder], model=tiny_model, extractors=extractors, executor=executor)
        failed = {f.path.name: f.reason for f in report.failed}
        assert failed.keys() == reasons.keys()
        for name, part in reasons.items():
            assert part in failed[name] and len(failed[name]) < 120 and "\n" not in failed[name], name
            assert "Error:" not in failed[name], name  # a decision, not an accident
        assert report.added == odd
        paths = {os.fsencode(p) for row in shelf.tracks() for p in row.paths}
        assert len(paths) == odd and all(Path(os.fsdecode(p)).exists() for p in paths)
        assert {f.path.name for f in shelf.failures()} == reasons.keys()
        again = shelf.add([folder], model=tiny_model, extractors=extractors)
        assert (again.unchanged, again.failed, len(again.known_bad)) == (odd, (), len(reasons))


class Murderous:
    """An extractor that a file can kill: what a bug in a codec does, made certain."""

    @property
    def spec(self) -> object:
        return extractors()[1].spec

    def observe(self, audio: Audio) -> Observation:
        if len(audio.samples) == 12_345:
            os.abort()
        if len(audio.samples) == 23_456:
            time.sleep(100)
        return {"peak": np.array([0.5])}

    def conclude(self, observations: Sequence[Observation], duration_s: float) -> object:
        return extractors()[1].conclude(observations, duration_s)


def murderous() -> tuple[Extractor, ...]:
    return (Murderous(),)  # type: ignore[return-value]


def slow_start() -> JointModel:
    time.sleep(0.1)
    return tiny_model()


def test_a_file_that_kills_or_stalls_its_worker_is_listed(tmp_path: Path) -> None:
    music = make_music(tmp_path / "music", 4)
    write_audio(tmp_path / "music" / "abort.wav", tune(0)[:12_345], 16_000)
    write_audio(tmp_path / "music" / "stall.wav", tune(0)[:23_456], 16_000)
    with Collection.open(tmp_path / "shelf", create=True) as shelf:
        executor = ProcessExecutor(2, timeout_s=3)
        report = shelf.add([tmp_path / "music"], model=slow_start, extractors=murderous, executor=executor)
        assert report.added == len(music)
        assert {f.path.name: f.reason for f in report.failed} == {
            "abort.wav": "its worker died (signal -6)",
            "stall.wav": "no progress for 3 s, and hardly any processor time in it",
        }
