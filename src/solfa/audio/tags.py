"""What a file says about itself. Tags are hostile text: bounded, cleaned, never trusted as numbers."""

import math
import re
import sys
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import mutagen

from solfa.audio.source import DEFAULT_LIMITS, FilePart, open_regular
from solfa.core.errors import DecodeError, FileUnavailable, InputError
from solfa.core.theory import KEYS, Key, pitch_class
from solfa.core.types import FileTags

MAX_TEXT = 1000
_MAX_BYTES = 32 << 20  # pictures are among them
_MAX_FRAMES = 2000
_MAX_CPU_S = 1.0  # tags with a hundred frames and pictures take 0.01
_FIELDS: dict[str, tuple[str, ...]] = {
    # ID3 frames, Vorbis comments, MP4 atoms, ASF attributes
    "title": ("TIT2", "title", "©nam", "Title"),  # codespell:ignore nam
    "artist": ("TPE1", "artist", "©ART", "Author"),
    "album": ("TALB", "album", "©alb", "WM/AlbumTitle"),
    "genre": ("TCON", "genre", "©gen", "WM/Genre"),
    "date": ("TDRC", "TYER", "date", "year", "©day", "WM/Year"),
    "comment": ("COMM", "comment", "description", "©cmt", "Description"),
    "bpm": ("TBPM", "bpm", "tempo", "tmpo", "WM/BeatsPerMinute"),
    "key": ("TKEY", "initialkey", "initial_key", "key", "----:com.apple.iTunes:initialkey", "WM/InitialKey"),
}
# mutagen raises MutagenError for what it foresees; on damaged input its parsers also let the others through.
_BAD = (
    mutagen.MutagenError, DecodeError, ValueError, TypeError, LookupError, AttributeError, EOFError, OSError,
    MemoryError, RuntimeError, ArithmeticError, AssertionError,
)  # fmt: skip
_CAMELOT = re.compile(r"0?(\d{1,2})\s*([ABab])")
_KEY = re.compile(r"([A-Ga-g][#b♯♭]?)\s*(m|min|minor|moll|maj|major|dur)?", re.IGNORECASE)


def read_tags(path: Path | str) -> FileTags:
    """The tags of a file; empty where there are none or they cannot be read. Pictures are never decoded.

    Raises FileUnavailable if the disk fails while they are read.
    """
    path, parsed, part = Path(path), None, None
    try:
        with open_regular(path, DEFAULT_LIMITS) as file, _bounded():
            part = FilePart(file, 0, path.stat().st_size, _MAX_BYTES)
            if not _too_many_frames(part):
                part.spent = 0
                part.seek(0)
                parsed = mutagen.File(part)
    except _BAD:  # bad tags never cost a file its place
        parsed = None
    if part is not None and part.failed:
        raise FileUnavailable(path, f"cannot be read now: {part.failed.strerror or part.failed}")
    return _from(getattr(parsed, "tags", None))


def _too_many_frames(file: FilePart) -> bool:
    """Whether an ID3 tag holds more frames than anybody writes: mutagen copies the rest of the tag for each."""
    head = file.read(10)
    if head[:3] != b"ID3" or len(head) < 10:
        return False
    name, length = (3, 3) if head[3] == 2 else (4, 4)
    bits = 7 if head[3] == 4 else 8
    at = 10
    for _ in range(_MAX_FRAMES):
        file.seek(at)
        frame = file.read(name + length)
        if len(frame) < name + length or not frame[:name].isalnum():
            return False
        at += name + length + (2 if name == 4 else 0)
        at += sum(byte << bits * (length - 1 - k) for k, byte in enumerate(frame[name:]))
    return True


@contextmanager
def _bounded() -> Iterator[None]:
    """A limit on the parser's processor time: 100,000 frames, chunks or comments take it half a minute."""
    calls, over, end_s = 0, False, time.thread_time() + _MAX_CPU_S

    def check(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls, over
        calls += 1
        over = over or (calls % 64 == 0 and time.thread_time() > end_s)
        # Only where a function of the parser begins: elsewhere Python may be cleaning up, and drop the error.
        if over and event == "call" and frame.f_globals.get("__name__", "").startswith("mutagen"):
            raise RuntimeError("too many tags")

    before = sys.getprofile()
    sys.setprofile(check)
    try:
        yield
    finally:
        sys.setprofile(before)


def _from(tags: Any) -> FileTags:
    if not tags:
        return FileTags()
    text = {name: _first(tags, keys) for name, keys in _FIELDS.items()}
    bpm, key, date = text.pop("bpm"), text.pop("key"), text.pop("date")[:32]
    return FileTags(**text, date=date, tempo_bpm=_tempo(bpm), key=parse_key(key))


def _first(tags: Any, keys: tuple[str, ...]) -> str:
    for key in keys:
        if hasattr(tags, "getall"):  # ID3: several frames of one kind, COMM with language suffixes
            values = tags.getall(key) if len(key) == 4 and key.isupper() else []
        else:
            try:
                values = tags.get(key) or []
            except (ValueError, KeyError):  # Vorbis comments refuse keys outside ASCII
                values = []
        for value in values if isinstance(values, list | tuple) else [values]:
            cleaned = clean(_text(value))
            if cleaned:
                return cleaned
    return ""


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value[: 4 * MAX_TEXT].decode("utf-8", "replace")
    inner = getattr(value, "text", None)  # an ID3 text frame
    if isinstance(inner, list):
        return "; ".join(str(part)[:MAX_TEXT] for part in inner[:8])
    return str(value)[: 4 * MAX_TEXT]


def clean(text: str) -> str:
    """One line of printable text: control, format and surrogate characters gone, whitespace folded, length capped.

    >>> clean("A\\x1b[31m\\n B\\u202e")
    'A[31m B'
    """
    spaced = "".join(" " if c.isspace() else c for c in text[: 8 * MAX_TEXT])
    kept = "".join(c for c in spaced if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn"))
    return " ".join(kept.split())[:MAX_TEXT]


def _tempo(text: str) -> float | None:
    try:
        value = float(text.replace(",", ".").split()[0])
    except (ValueError, IndexError):
        return None
    return round(value, 3) if math.isfinite(value) and 20 <= value <= 400 else None


def parse_key(text: str) -> str | None:
    """The key that a tag names, spelled our way; None where it names none.

    >>> parse_key("Ebm"), parse_key("8B"), parse_key("F major"), parse_key("o")
    ('Eb minor', 'C major', 'F major', None)
    """
    text = text.strip()
    if match := _CAMELOT.fullmatch(text):
        number = int(match[1])
        wanted = f"{number}{match[2].upper()}"
        return next((str(k) for k in KEYS if k.camelot == wanted), None)
    if match := _KEY.fullmatch(text):
        mode = (match[2] or "").lower() if match[2] != "M" else "major"
        try:
            tonic = pitch_class(match[1][0].upper() + match[1][1:])
        except InputError:
            return None
        return str(Key(tonic, "minor" if mode in ("m", "min", "minor", "moll") else "major"))
    return None
