"""Recordings of exactly known tempo for ``benchmarks/tempo.py``: produced pieces whose scores are at hand.

    python benchmarks/tempo_sets.py --out sets --modules games --lmms /usr/share/lmms/projects \\
        --hydrogen /usr/share/hydrogen/data/demo_songs --fretsonfire songs --asap asap --soundfont FluidR3_GM.sf2
    python benchmarks/tempo.py --data sets/modules-dev     # and so on: NAME-dev to look at, NAME-test to report once

Up to three excerpts of 30 s of each piece, where nothing changes its tempo by more than 2 %; half of the pieces, by a
hash of their names, make up "dev". Modules (Debian's games: .mod .s3m .xm .it) are rendered by libopenmpt, their tempo
is that of the rows, four of them a beat (eight above 190 BPM), so only Acc2 is sure. The projects of LMMS and Hydrogen
are rendered by ``lmms`` and ``h2cli`` (Debian); those whose tempo is automated are left out. Fretsonfire's songs state
theirs in notes.mid. ASAP (performed piano, beats and bars annotated; non-commercial: validation only) becomes clips as
``--rendered`` takes them, with the median tempo.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import soundfile
from pretty_midi import PrettyMIDI

SECONDS, RATE, EXCERPTS = 30.0, 44100, 3
Piece = tuple[str, np.ndarray, int, list[tuple[float, float]]]  # name, samples, rate, (start of excerpt, BPM)


def spread(duration_s: float) -> list[float]:
    """Where excerpts of a piece begin."""
    room = duration_s - SECONDS
    return [round(room * share, 2) for share in ((0.2, 0.5, 0.8) if room > 2 * SECONDS else (0.5,))[:EXCERPTS]]


def play_module(path: Path) -> Piece | None:
    """A module, and where its rows come evenly."""
    library = ctypes.CDLL(find_library("openmpt"))
    for name, kind in (("create_from_memory2", ctypes.c_void_p), ("get_duration_seconds", ctypes.c_double)):
        getattr(library, f"openmpt_module_{name}").restype = kind
    library.openmpt_module_read_float_mono.restype = ctypes.c_size_t
    data = path.read_bytes()
    module = ctypes.c_void_p(library.openmpt_module_create_from_memory2(data, ctypes.c_size_t(len(data)), *[None] * 7))
    if not module:
        return None
    size, samples, rows = 441, [], []
    block = (ctypes.c_float * size)()
    while len(samples) * size < 240 * RATE:
        if not (got := library.openmpt_module_read_float_mono(module, RATE, ctypes.c_size_t(size), block)):
            break
        samples.append(np.frombuffer(block, np.float32, got).copy())
        place = [getattr(library, f"openmpt_module_get_current_{n}")(module) for n in ("order", "row")]
        if not rows or rows[-1][1:] != place:
            rows.append([len(samples) * size / RATE, *place])
    library.openmpt_module_destroy(module)
    joined, times_s = np.concatenate(samples), np.array([row[0] for row in rows])
    found = []
    for start_s in spread(len(joined) / RATE):
        inside = times_s[(times_s >= start_s) & (times_s < start_s + SECONDS)]
        if len(inside) > 64:
            steps = inside[16:] - inside[:-16]  # shuffled rows come out even over 16
            if np.abs(steps / np.median(steps) - 1).max() < 0.03:
                bpm = 15 * (len(inside) - 1) / float(inside[-1] - inside[0])
                found.append((start_s, bpm / 2 if bpm > 190 else bpm))
    return path.name, joined, RATE, found


def render_project(path: Path) -> Piece | None:
    """A project of LMMS or Hydrogen at the tempo that it states; None where that is automated."""
    if path.suffix == ".h2song":
        text, stated, command = path.read_text(), r"<bpm>([\d.]+)</bpm>", ["h2cli", "-s", str(path), "-o"]
    else:
        data = path.read_bytes()
        text = (zlib.decompress(data[4:]) if path.suffix == ".mmpz" else data).decode(errors="replace")
        stated = r'<head[^>]* bpm="([\d.]+)"'
        command = ["lmms", "--allowroot", "render", str(path), "-f", "wav", "-s", str(RATE), "-o"]
    bpm = re.search(stated, text)
    automated = re.findall(r'<automationpattern[^>]* name="(?:Song t|T)empo".*?</automationpattern>', text, re.DOTALL)
    if bpm is None or any(float(v) != float(bpm[1]) for a in automated for v in re.findall(r' value="([\d.]+)"', a)):
        return None
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "song.wav"
        quiet = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
        subprocess.run([*command, str(sound)], capture_output=True, env=quiet, timeout=300)
        if not sound.exists():
            return None
        samples, rate = soundfile.read(sound, dtype="float32", always_2d=True)
    return path.name, samples.mean(axis=1), rate, [(at, float(bpm[1])) for at in spread(len(samples) / rate)]


def mix_song(folder: Path) -> Piece | None:
    """A song of Fretsonfire: all of its stems, at the one tempo of its notes."""
    tempi = PrettyMIDI(str(folder / "notes.mid")).get_tempo_changes()[1]
    stems = [soundfile.read(stem, dtype="float32", always_2d=True) for stem in sorted(folder.glob("*.ogg"))]
    if len(set(np.round(tempi, 1))) != 1 or not stems:
        return None
    samples = sum(stem[: min(len(s) for s, _ in stems)].mean(axis=1) for stem, _ in stems)
    rate = stems[0][1]
    return folder.name, np.asarray(samples), rate, [(at, float(tempi[0])) for at in spread(len(samples) / rate)]


def perform(annotated: Path, soundfont: Path, out: Path, start_s: float = 10.0) -> None:
    """40 s of a performance of ASAP as WAV and JSON."""
    score = next(iter(annotated.parent.glob(annotated.name.replace("_annotations.txt", ".mid"))), None)
    rows = [line.split("\t") for line in annotated.read_text().splitlines()]
    inside = [(float(t) - start_s, mark) for t, _, mark in rows if start_s <= float(t) < start_s + 40]
    beats = [t for t, mark in inside if mark.split(",")[0] in ("b", "db")]
    metres = {m[0] for _, _, mark in rows if (m := re.findall(r"\d+/\d+", mark))}
    if score is None or len(beats) < 16:
        return
    midi = PrettyMIDI(str(score))
    for part in midi.instruments:
        part.notes = [n for n in part.notes if n.end > start_s and n.start < start_s + 40]
        part.control_changes = [c for c in part.control_changes if c.time < start_s + 40]
        for note in part.notes:
            note.start, note.end = max(0.0, note.start - start_s), note.end - start_s
        for change in part.control_changes:
            change.time = max(0.0, change.time - start_s)
    name = re.sub(r"\W+", "-", "-".join(annotated.with_suffix("").parts[-4:]).removesuffix("_annotations"))
    with tempfile.TemporaryDirectory() as folder:
        midi.write(str(played := Path(folder) / "played.mid"))
        command = ["fluidsynth", "-ni", "-g", "0.6", "-r", str(RATE), "-F", out / f"{name}.wav", soundfont, played]
        subprocess.run(command, capture_output=True, check=True)
    truth = {"tempo_bpm": 60 / float(np.median(np.diff(beats))), "metre": metres.pop() if len(metres) == 1 else ""}
    downbeats = [t for t, mark in inside if mark.startswith("db")]
    text = json.dumps({**truth, "beats_s": beats, "downbeats_s": downbeats})
    (out / f"{name}.json").write_text(text, encoding="utf-8")


def pieces(options: argparse.Namespace) -> Iterator[tuple[str, Piece | None]]:
    """Every piece of the folders that the arguments name."""
    if options.modules:
        for path in sorted(p for p in options.modules.rglob("*") if p.suffix.lower() in (".mod", ".s3m", ".xm", ".it")):
            yield "modules", play_module(path)
    for folder, pattern in ((options.lmms, "*.mmp*"), (options.hydrogen, "*.h2song")):
        for path in sorted(folder.rglob(pattern)) if folder else ():
            yield "projects", render_project(path)
    if options.fretsonfire:
        for path in sorted(options.fretsonfire.rglob("notes.mid")):
            yield "songs", mix_song(path.parent)


def main() -> None:
    """Write what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    for name in ("modules", "lmms", "hydrogen", "fretsonfire", "asap", "soundfont"):
        parser.add_argument(f"--{name}", type=Path)
    options = parser.parse_args()
    listed: dict[Path, list[tuple[str, float, str]]] = {}
    for kind, piece in pieces(options):
        if piece is None:
            continue
        name, samples, rate, excerpts = piece
        part = "test" if kind == "songs" or zlib.crc32(name.encode()) % 2 else "dev"
        folder = options.out / f"{kind}-{part}"
        folder.mkdir(parents=True, exist_ok=True)
        for number, (start_s, bpm) in enumerate(excerpts):
            cut = samples[int(max(start_s, 0) * rate) :][: int(SECONDS * rate)]
            if len(cut) > 12 * rate and (top := float(np.abs(cut).max())) > 1e-3:
                file = f"{re.sub(r'[^A-Za-z0-9]+', '-', name)}-{number}.wav"
                soundfile.write(folder / file, cut / max(top, 1.0), rate, subtype="PCM_16")
                listed.setdefault(folder, []).append((file, round(bpm, 3), name))
    for folder, rows in listed.items():
        with (folder / "index.csv").open("w", encoding="utf-8", newline="") as target:
            csv.writer(target).writerows([("file", "bpm", "piece"), *rows])
        sys.stdout.write(f"{folder}: {len(rows)} excerpts of {len({row[2] for row in rows})} pieces\n")
    if options.asap:
        (options.out / "asap").mkdir(parents=True, exist_ok=True)
        for annotated in sorted(options.asap.rglob("*_annotations.txt"))[::6]:
            perform(annotated, options.soundfont, options.out / "asap")


if __name__ == "__main__":
    main()
