"""A soundfont of a few kilobytes for tests: every program is a decaying tone, the standard kit a click."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

RATE_HZ = 22050


def write_soundfont(path: Path, programs: int = 128) -> Path:
    """An SF2 with programs 0 to ``programs`` - 1 and drum kit 0."""
    time_s = np.arange(RATE_HZ) / RATE_HZ
    tone = sum(np.sin(2 * np.pi * 261.63 * h * time_s) / h for h in (1, 2, 3)) * np.exp(-2 * time_s)
    click = np.random.default_rng(0).standard_normal(2000) * np.exp(-np.arange(2000) / 300)
    sounds = [np.asarray(s / np.abs(s).max() * 30000, np.int16) for s in (tone, click)]
    gap = np.zeros(46, np.int16)
    samples = b"".join((np.concatenate([s, gap])).tobytes() for s in sounds)
    headers, at = b"", 0
    for sound, name in zip(sounds, ("tone", "click"), strict=True):
        headers += struct.pack("<20s5IBbHH", name.encode(), at, at + len(sound), at, at + 1, RATE_HZ, 60, 0, 0, 1)
        at += len(sound) + len(gap)
    headers += struct.pack("<20s5IBbHH", b"EOS", 0, 0, 0, 0, 0, 0, 0, 0, 0)
    presets = [(p, 0, 0) for p in range(programs)] + [(0, 128, 1)]
    phdr = b"".join(
        struct.pack("<20sHHHIII", f"p{i}".encode(), p, b, i, 0, 0, 0) for i, (p, b, _) in enumerate(presets)
    )
    phdr += struct.pack("<20sHHHIII", b"EOP", 0, 0, len(presets), 0, 0, 0)
    bags = b"".join(struct.pack("<HH", i, 0) for i in range(len(presets) + 1))
    gens = b"".join(struct.pack("<HH", 41, instrument) for _, _, instrument in presets) + bytes(4)
    inst = struct.pack("<20sH", b"tone", 0) + struct.pack("<20sH", b"click", 1) + struct.pack("<20sH", b"EOI", 2)
    # The click sounds alike on all keys: its scale tuning (generator 56) is 0.
    igen = struct.pack("<HHHHHH", 53, 0, 56, 0, 53, 1) + bytes(4)
    ibag = struct.pack("<HHHHHH", 0, 0, 1, 0, 3, 0)
    pdta = {"phdr": phdr, "pbag": bags, "pmod": bytes(10), "pgen": gens, "inst": inst, "ibag": ibag,
            "imod": bytes(10), "igen": igen, "shdr": headers}  # fmt: skip
    body = b"sfbk" + _list("INFO", {"ifil": struct.pack("<HH", 2, 1), "isng": b"EMU8000\0", "INAM": b"test\0\0"})
    body += _list("sdta", {"smpl": samples}) + _list("pdta", pdta)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def _list(kind: str, chunks: dict[str, bytes]) -> bytes:
    body = kind.encode() + b"".join(n.encode() + struct.pack("<I", len(c)) + c for n, c in chunks.items())
    return b"LIST" + struct.pack("<I", len(body)) + body
