"""Files to samples: right where they are sound, a short clear reason where they are not."""

from __future__ import annotations

import errno
import io
import os
import struct
import time
import tracemalloc
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import pytest
import soundfile

from fakes.files import write_audio
from solfa.audio import ContentHash, Limits, probe, read_tags, side_of, stretches
from solfa.core.errors import DecodeError, FileUnavailable
from solfa.core.types import FloatArray

RATE = 22050


def sound(seconds: float = 3.0, rate: int = RATE) -> FloatArray:
    t = np.arange(round(seconds * rate)) / rate
    left = 0.4 * np.sin(2 * np.pi * 440 * t)
    return np.stack([left, 0.5 * left], axis=1).astype(np.float32)


@cache
def encoded(suffix: str, seconds: float, noisy: bool) -> bytes:
    """A stereo file; several tests damage the same one."""
    rate = 48_000
    noise = np.random.default_rng(0).normal(0, 0.1, (round(rate * seconds), 2)).astype(np.float32)
    with TemporaryDirectory() as folder:
        return write_audio(Path(folder) / f"a{suffix}", noise if noisy else sound(seconds, rate), rate).read_bytes()


def whole(path: Path, **options: object) -> tuple[FloatArray, int, str]:
    content = ContentHash()
    parts = list(stretches(path, content=content, **options))  # type: ignore[arg-type]
    return np.concatenate([p.samples for p in parts]), parts[0].sample_rate_hz, content.hex


def reason(path: Path, **options: object) -> str:
    with pytest.raises(DecodeError) as caught:
        list(stretches(path, **options))  # type: ignore[arg-type]
    assert caught.value.path == path and "\n" not in caught.value.reason
    assert len(caught.value.reason) < 120
    return caught.value.reason


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff", ".mp3", ".ogg", ".opus", ".m4a", ".aac"])
def test_every_format_gives_the_mean_of_its_channels(tmp_path: Path, suffix: str) -> None:
    rate = 48_000 if suffix == ".opus" else 44_100
    samples = sound(3.0, rate)
    path = write_audio(tmp_path / f"a{suffix}", samples, rate)
    mono, got_rate, _ = whole(path)
    expected = samples.mean(axis=1)
    assert got_rate == rate
    assert abs(len(mono) - len(expected)) < 0.1 * rate
    middle = slice(rate, 2 * rate)  # codecs shift by some samples: compare the tone, not the phase
    spectrum = np.abs(np.fft.rfft(mono[middle]))
    assert int(spectrum.argmax()) == 440
    assert np.std(mono[middle]) == pytest.approx(np.std(expected[middle]), rel=0.05)
    if suffix in (".wav", ".flac", ".aiff"):
        np.testing.assert_allclose(mono, expected, atol=1e-4)


@pytest.mark.parametrize("seconds", [0.25, 1.0, 7.0, 1e9])
def test_stretches_join_to_the_whole_and_say_where_they_lie(tmp_path: Path, seconds: float) -> None:
    path = write_audio(tmp_path / "a.wav", sound(3.3), RATE)
    parts = list(stretches(path, seconds))
    np.testing.assert_array_equal(np.concatenate([p.samples for p in parts]), whole(path)[0])
    assert [p.start_s for p in parts] == pytest.approx([i * len(parts[0].samples) / RATE for i in range(len(parts))])
    assert all(len(p.samples) == round(seconds * RATE) for p in parts[:-1])


def test_the_side_signal_of_stereo_travels_along(tmp_path: Path) -> None:
    samples = sound(2.5)
    path = write_audio(tmp_path / "a.wav", samples, RATE, "FLOAT")
    side = np.concatenate([s for p in stretches(path, 1.0) if (s := side_of(p)) is not None])
    np.testing.assert_allclose(side, (samples[:, 0] - samples[:, 1]) / 2, atol=1e-6)
    mono = write_audio(tmp_path / "m.wav", samples[:, 0], RATE)
    assert [side_of(p) for p in stretches(mono)] == [None]


def test_content_is_what_is_heard_not_how_it_is_packed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = (rng.integers(-20000, 20000, (RATE, 2)) / 32768).astype(np.float32)
    names = {p: whole(write_audio(tmp_path / p, samples, RATE))[2] for p in ("a.wav", "a.flac", "a.aiff")}
    assert len(set(names.values())) == 1
    assert len(names["a.wav"]) == 40
    other = samples.copy()
    other[-1, 1] += 2 / 32768
    assert whole(write_audio(tmp_path / "b.wav", other, RATE))[2] != names["a.wav"]
    assert whole(write_audio(tmp_path / "c.wav", samples, RATE // 2))[2] != names["a.wav"]
    assert whole(write_audio(tmp_path / "d.wav", samples.reshape(-1), RATE))[2] != names["a.wav"]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 8000, 1) as file:
        for _ in range(40):
            file.write(np.zeros(8000 * 60, np.float32))
    tracemalloc.start()
    count = sum(len(p.samples) for p in stretches(path, 60.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 8000 * 60 * 40
    assert peak < 40e6  # the file is 77 MB as float32


def test_the_name_does_not_matter(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.flac", sound(), RATE).rename(tmp_path / "a.mp3")
    assert probe(path).codec.startswith("flac")
    for name in (b"a\xff\xfe.wav", b"new\nline.wav"):
        odd = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))  # noqa: PTH118
        odd.write_bytes(write_audio(tmp_path / "ok.wav", sound(), RATE).read_bytes())
        assert len(whole(odd)[0]) == len(sound())


def test_one_sample_is_enough_none_is_not(tmp_path: Path) -> None:
    assert len(whole(write_audio(tmp_path / "a.wav", np.ones(1, np.float32) / 2, RATE))[0]) == 1
    assert reason(write_audio(tmp_path / "b.wav", np.zeros(0, np.float32), RATE)) == "holds no samples"


def test_what_is_not_a_file_with_sound(tmp_path: Path) -> None:
    assert reason(tmp_path / "no.wav") == "cannot be opened: No such file or directory"
    assert reason(tmp_path) == "a folder, not an audio file"
    (tmp_path / "empty.mp3").touch()
    assert reason(tmp_path / "empty.mp3") == "empty file"
    os.mkfifo(tmp_path / "pipe.wav")
    assert reason(tmp_path / "pipe.wav") == "not a regular file"
    assert reason(Path("/dev/zero")) == "not a regular file"
    text = tmp_path / "text.mp3"
    text.write_text("this is no music\n" * 1000)
    assert reason(text) == "not an audio file that any decoder knows"
    picture = tmp_path / "noise.ogg"
    picture.write_bytes(np.random.default_rng(0).bytes(100_000))
    assert reason(picture) == "not an audio file that any decoder knows"


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".flac", ".mp3", ".ogg", ".opus", ".m4a"])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path, data = tmp_path / f"a{suffix}", encoded(suffix, 10.0, noisy=True)
    path.write_bytes(data[: int(len(data) * share)])
    assert any(word in reason(path) for word in ("truncated", "broken inside", "not an audio file"))


def test_a_header_of_24_hours_costs_nothing(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.flac", np.zeros(8000, np.float32), 8000)
    data = bytearray(path.read_bytes())
    total = 24 * 3600 * 8000
    data[21] = (data[21] & 0xF0) | (total >> 32)  # STREAMINFO: the low 36 bits of bytes 18..25 count samples
    data[22:26] = struct.pack(">I", total & 0xFFFFFFFF)
    path.write_bytes(data)
    assert reason(path) == "24.0 h long, over the limit of 6 h"


def test_limits_hold_while_decoding_too(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.aac", sound(8.0, 44_100), 44_100)  # raw AAC does not say how long it is
    assert probe(path).duration_s is None
    assert reason(path, limits=Limits(duration_s=3.6)) == "longer than the limit of 0.001 h"
    wav = write_audio(tmp_path / "a.wav", sound(), RATE)
    assert "is over the limit" in reason(wav, limits=Limits(size_bytes=1000))


def header(path: Path, channels: int, rate: int, bits: int = 16, data: bytes = b"\0" * 4096) -> Path:
    block = channels * bits // 8
    fmt = struct.pack("<HHIIHH", 1, channels, rate, (rate * block) & 0xFFFFFFFF, block & 0xFFFF, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def test_hostile_headers(tmp_path: Path) -> None:
    assert reason(header(tmp_path / "zero.wav", 1, 0))
    assert reason(header(tmp_path / "none.wav", 0, 44_100))
    assert "channels" in reason(header(tmp_path / "many.wav", 1000, 44_100))
    assert reason(header(tmp_path / "fast.wav", 1, 2_000_000_000)) == (
        "a sample rate of 2000000000 Hz is not in 1..400000"
    )
    assert len(whole(header(tmp_path / "wide.wav", 64, 48_000))[0]) == 32
    assert whole(header(tmp_path / "quick.wav", 1, 384_000))[1] == 384_000


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_numbers_that_are_not_sound(tmp_path: Path, bad: float) -> None:
    samples = sound()[:, 0]
    samples[round(0.3 * RATE)] = bad
    assert "samples near 0.3 s are not sound" in reason(write_audio(tmp_path / "a.wav", samples, RATE, "FLOAT"))


def test_a_playlist_in_disguise_opens_nothing(tmp_path: Path) -> None:
    target = write_audio(tmp_path / "secret.wav", sound(), RATE)
    for name, text in {
        "a.m4a": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n",
        "b.mp3": f"ffconcat version 1.0\nfile '{target}'\n",
        "c.ogg": "v=0\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
    }.items():
        (tmp_path / name).write_text(text)
        assert reason(tmp_path / name) == "not an audio file that any decoder knows"


def test_protected_files_say_so(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4P \0\0\0\0" + b"\0\0\0\x40stsd drms sinf schm" + b"\0" * 100)
    assert reason(path) == "protected by DRM"


def as_bytes(tmp_path: Path, suffix: str, samples: FloatArray | None = None, rate: int = RATE) -> bytearray:
    return bytearray(
        write_audio(tmp_path / f"part{suffix}", sound() if samples is None else samples, rate).read_bytes()
    )


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFF7])
def test_a_wav_from_a_pipe(tmp_path: Path, size: int) -> None:
    data = as_bytes(tmp_path, ".wav")
    data[4:8] = struct.pack("<I", size)
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", size)
    (tmp_path / "a.wav").write_bytes(data)
    np.testing.assert_allclose(whole(tmp_path / "a.wav")[0], sound().mean(axis=1), atol=1e-4)


def test_a_flac_without_a_length(tmp_path: Path) -> None:
    data = as_bytes(tmp_path, ".flac")
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(data)
    np.testing.assert_allclose(whole(tmp_path / "a.flac")[0], sound().mean(axis=1), atol=1e-4)


@pytest.mark.parametrize("second", [(".ogg", RATE, 2), (".ogg", 44_100, 1), (".opus", 48_000, 2)], ids=str)
def test_chained_ogg_is_one_sound(tmp_path: Path, second: tuple[str, int, int]) -> None:
    suffix, rate, channels = second
    parts = [as_bytes(tmp_path, ".ogg"), as_bytes(tmp_path, suffix, sound(2.0, rate)[:, :channels], rate)]
    (tmp_path / "a.ogg").write_bytes(b"".join([*parts, parts[0]]))
    mono, got_rate, _ = whole(tmp_path / "a.ogg")
    assert got_rate == RATE and len(mono) == pytest.approx(8.0 * RATE, abs=0.1 * RATE)
    middle = mono[4 * RATE - RATE // 2 : 4 * RATE + RATE // 2]  # inside the second link: the same tone
    assert int(np.abs(np.fft.rfft(middle)).argmax()) == 440


@pytest.mark.parametrize("gains", [(1, -1), (1, -0.95), (1, -1, 0.5, -0.5), (0.2, -0.2, 1, -1, 0, 0)], ids=str)
def test_channels_out_of_phase_do_not_cancel(tmp_path: Path, gains: tuple[float, ...]) -> None:
    tone = sound()[:, :1]
    path = write_audio(tmp_path / "a.wav", tone * np.float32(gains), RATE)
    assert np.std(whole(path)[0]) > 0.5 * np.std(tone)


def test_channels_that_differ_are_still_averaged(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (RATE, 6)).astype(np.float32)
    for channels in (2, 6):
        mono = whole(write_audio(tmp_path / "a.wav", noise[:, :channels], RATE))[0]
        np.testing.assert_allclose(mono, noise[:, :channels].mean(axis=1), atol=1e-4)


@pytest.mark.parametrize("kind", ["AU", "CAF", "W64", "RF64", "WMA"])
@pytest.mark.parametrize("share", [0.3, 0.9, 1.0])
def test_a_cut_file_of_the_rarer_kinds(tmp_path: Path, kind: str, share: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (44_100 * 10, 2)).astype(np.float32)
    path = tmp_path / f"a.{kind.lower()}"
    if kind == "WMA":
        with av.open(str(path), "w", format="asf") as container:
            stream = container.add_stream("wmav2", rate=44_100, layout="stereo")
            stream.bit_rate = 128_000
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(noise.T), format="fltp", layout="stereo")
            frame.sample_rate = 44_100
            container.mux([*stream.encode(frame), *stream.encode(None)])
    else:
        soundfile.write(path, noise, 44_100, format=kind, subtype="PCM_16")
    os.truncate(path, int(path.stat().st_size * share))
    if share == 1.0:
        assert len(whole(path)[0]) == pytest.approx(len(noise), abs=4096)
    else:
        assert "truncated" in reason(path)


GIB = 1 << 30


@pytest.mark.parametrize("suffix", [".mp3", ".flac", ".ogg", ".wav"])
def test_gigabytes_of_nothing_behind_a_small_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(as_bytes(tmp_path, suffix) + b"end")
    os.truncate(path, 4 * GIB)  # no blocks on the disk
    began_s = time.process_time()
    assert reason(path) if suffix == ".ogg" else len(whole(path)[0])
    read_tags(path)
    assert time.process_time() - began_s < 5


@pytest.mark.parametrize(
    "head",
    [b"\0", b"\xff\xf1\x50\x80\x01\x7f\xfc\0", b"\x0b\x77", b"FORM\xff\xff\xff\xffAIFF", b"caff\0\1\0\0", b"MPCK",
     b"TTA1", b"\0\0\0\x18ftypM4A \0\0\0\0M4A mp42", b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0"],
)  # fmt: skip
def test_gigabytes_behind_a_head_alone(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(head)
    os.truncate(path, 4 * GIB)
    began_s = time.process_time()
    assert reason(path)
    assert time.process_time() - began_s < 5


def test_bytes_without_sound_and_slow_decoding_are_limited(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(
        as_bytes(tmp_path, ".mp3") + np.random.default_rng(0).integers(0, 127, 1 << 20, np.uint8).tobytes()
    )
    with pytest.raises(DecodeError, match=r"hold no sound|not an audio file"):
        list(stretches(path, limits=Limits(silent_bytes=1 << 10)))
    wav = write_audio(tmp_path / "a.wav", sound(), RATE)
    assert "processor time" in reason(wav, limits=Limits(decode_cpu_s=0.0, decode_cpu_s_per_s=0.0))


class _FailingDisk(io.FileIO):
    """A file whose disk fails from a place on."""

    good = 0

    def readinto(self, buffer: object) -> int:
        if self.tell() + len(buffer) > self.good:  # type: ignore[arg-type]
            raise OSError(errno.EIO, "Input/output error")
        return super().readinto(buffer)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a"])
@pytest.mark.parametrize("share", [0.0, 0.6, 0.99])
def test_a_disk_that_fails_is_not_the_file_s_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, share: float
) -> None:
    path, data = tmp_path / f"a{suffix}", encoded(suffix, 10.0, noisy=False)
    path.write_bytes(data)
    monkeypatch.setattr(_FailingDisk, "good", round(share * len(data)))
    monkeypatch.setattr(os, "fdopen", lambda fd, mode: io.BufferedReader(_FailingDisk(fd, mode), 512))
    with pytest.raises(FileUnavailable, match="Input/output error"):
        list(stretches(path))
    if not share:
        with pytest.raises(FileUnavailable, match="Input/output error"):
            read_tags(path)
    monkeypatch.undo()
    assert sum(a.duration_s for a in stretches(path)) == pytest.approx(10.0, abs=0.1)
