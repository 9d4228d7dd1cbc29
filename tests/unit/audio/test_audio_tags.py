"""Tags: read from every container, cleaned, never fatal."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import mutagen
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutagen.id3 import APIC, COMM, ID3, TBPM, TCON, TIT2, TKEY, TPE1, TXXX

from fakes.files import write_audio
from solfa.audio import read_tags, stretches
from solfa.audio.tags import MAX_TEXT, clean, parse_key
from solfa.core.errors import DecodeError
from solfa.core.types import FileTags

SILENCE = np.zeros(44_100, np.float32)


def tagged_mp3(path: Path, *frames: object) -> Path:
    write_audio(path, SILENCE, 44_100)
    tags = ID3()
    for frame in frames:
        tags.add(frame)
    tags.save(path)
    return path


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".opus"])
def test_vorbis_comments(tmp_path: Path, suffix: str) -> None:
    path = write_audio(tmp_path / f"a{suffix}", np.zeros(48_000, np.float32), 48_000)
    file = mutagen.File(path)
    file["title"], file["artist"], file["genre"] = "Svefn-g-englar", "Sigur Rós", "Post-Rock"
    file["bpm"], file["initialkey"], file["date"] = "92", "F#m", "1999-06-12"
    file.save()
    tags = read_tags(path)
    assert (tags.title, tags.artist, tags.genre, tags.date) == (
        "Svefn-g-englar",
        "Sigur Rós",
        "Post-Rock",
        "1999-06-12",
    )
    assert (tags.tempo_bpm, tags.key) == (92.0, "F# minor")


def test_id3_and_its_comments(tmp_path: Path) -> None:
    path = tagged_mp3(
        tmp_path / "a.mp3",
        TIT2(text="One"),
        TPE1(text=["A", "B"]),
        TCON(text="(17)"),
        TBPM(text="128.5"),
        TKEY(text="8A"),
        COMM(lang="eng", desc="", text="nice"),
        APIC(data=b"\xff\xd8" * 1000, mime="image/jpeg"),
    )
    tags = read_tags(path)
    assert (tags.title, tags.artist, tags.comment) == ("One", "A; B", "nice")
    assert (tags.tempo_bpm, tags.key) == (128.5, "A minor")


def test_m4a(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.m4a", SILENCE, 44_100)
    file = mutagen.File(path)
    file["\xa9nam"], file["\xa9ART"], file["tmpo"] = ["Title"], ["Artist"], [96]
    file.save()
    tags = read_tags(path)
    assert (tags.title, tags.artist, tags.tempo_bpm) == ("Title", "Artist", 96.0)


def test_hostile_values(tmp_path: Path) -> None:
    path = tagged_mp3(
        tmp_path / "a.mp3",
        TIT2(text="red\x1b[31m\nline\u202e " + "x" * 100_000),
        TBPM(text="1e999"),
        TKEY(text="H-dur; DROP TABLE track"),
    )
    tags = read_tags(path)
    assert tags.title.startswith("red[31m line x") and MAX_TEXT - 3 < len(tags.title) <= MAX_TEXT
    assert tags.tempo_bpm is None and tags.key is None


def test_no_tags_is_not_a_failure(tmp_path: Path) -> None:
    junk = tmp_path / "a.mp3"
    junk.write_bytes(b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + b"\xff" * 500)
    for path in (junk, tmp_path, tmp_path / "none.flac"):
        assert read_tags(path) == FileTags()


@given(
    st.binary(max_size=400),
    st.sampled_from([b"ID3\x03\x00\x00", b"fLaC\x00\x00\x00", b"OggS\x00\x02", b"\0\0\0\x18ftypM4A "]),
)
def test_damaged_tags_never_raise(tmp_path_factory: pytest.TempPathFactory, junk: bytes, magic: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.mp3"
    path.write_bytes(magic + junk)
    assert isinstance(read_tags(path), FileTags)


@given(st.text())
def test_clean_text_is_one_printable_line(text: str) -> None:
    cleaned = clean(text)
    assert cleaned == " ".join(cleaned.split()) and len(cleaned) <= MAX_TEXT
    assert all(c.isprintable() for c in cleaned)
    cleaned.encode()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("C", "C major"),
        ("Am", "A minor"),
        ("Bbmin", "Bb minor"),
        ("AbM", "Ab major"),
        ("1A", "G# minor"),
        ("12B", "E major"),
        ("13A", None),
        ("", None),
        ("o", None),
    ],
)
def test_keys_as_djs_write_them(text: str, key: str | None) -> None:
    assert parse_key(text) == key


def id3(*frames: bytes) -> bytes:
    body = b"".join(frames)
    return b"ID3\x04\0\0" + bytes(len(body) >> shift & 0x7F for shift in (21, 14, 7, 0)) + body


def text_frame(name: bytes, text: bytes) -> bytes:
    return name + bytes(len(text) >> shift & 0x7F for shift in (21, 14, 7, 0)) + b"\0\0" + text


def comments(count: int) -> bytes:
    items = b"".join(struct.pack("<I", 9) + b"k%06d=v" % i for i in range(count))
    return struct.pack("<II", 0, count) + items


@pytest.mark.parametrize("kind", ["comments", "one comment", "titles", "millions", "chunks", "blocks", "vorbis"])
def test_a_hundred_thousand_tags_cost_no_time(tmp_path: Path, kind: str) -> None:
    sound = {s: write_audio(tmp_path / f"x{s}", SILENCE, 44_100).read_bytes() for s in (".mp3", ".wav", ".flac")}
    flac_head = b"fLaC\0" + sound[".flac"][5:42]
    data = {
        "comments": lambda: id3(*(text_frame(b"COMM", b"\x03eng%d\0hi" % i) for i in range(100_000))) + sound[".mp3"],
        "one comment": lambda: id3(*[text_frame(b"COMM", b"\x03eng\0hi")] * 100_000) + sound[".mp3"],
        "titles": lambda: id3(*[text_frame(b"TIT2", b"\x03a")] * 100_000) + sound[".mp3"],
        "millions": lambda: id3(*[text_frame(b"TIT2", b"\x03a")] * 2_000_000) + sound[".mp3"],
        "chunks": lambda: sound[".wav"] + b"junk\0\0\0\0" * 200_000,
        "blocks": lambda: flac_head + b"\1\0\0\0" * 100_000 + sound[".flac"][42:],
        "vorbis": lambda: flac_head + b"\4" + len(comments(100_000)).to_bytes(3, "big") + comments(100_000)
        + sound[".flac"][42:],
    }[kind]()  # fmt: skip
    path = tmp_path / "a.mp3"
    path.write_bytes(data)
    began_s = time.process_time()
    assert isinstance(read_tags(path), FileTags)
    if kind == "vorbis":
        with pytest.raises(DecodeError, match="has 100,000 comments"):
            list(stretches(path))
    else:
        assert sum(s.duration_s for s in stretches(path)) == pytest.approx(1.0, abs=0.1)
    assert time.process_time() - began_s < 5


def test_many_tags_are_still_read(tmp_path: Path) -> None:
    path = tagged_mp3(tmp_path / "a.mp3", TIT2(text="One"), *(TXXX(desc=f"d{i}", text="x" * 50) for i in range(500)))
    assert read_tags(path).title == "One"
