"""Songs of corpora as their authors publish them, read into scores: charts to arrange, parts to re-orchestrate.

========== ===================================================================== ===========================
corpus     folder                                                                what it gives
========== ===================================================================== ===========================
billboard  McGill Billboard 2.0, ``*/salami_chords.txt``                         chords, metre, tonic, form
openewld   OpenEWLD ``dataset``, ``**/*.mxl``                                    melody, chords, key, metre
pop909     ``POP909``, ``NNN/NNN.mid`` beside its beat, chord and key files      melody, piano, beats, chords
groove     Groove MIDI Dataset with ``info.csv``                                 played drums, tempo, metre
midi       any folder, ``**/*.mid``                                              parts, tempo, metre
========== ===================================================================== ===========================

A song that cannot be read exactly (unclear key, odd bars, broken file) raises ``InputError`` and is counted.
"""

from __future__ import annotations

import csv
import re
import zipfile
import zlib
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from solfa.core.errors import InputError
from solfa.core.theory import Chord, Key, pitch_class
from solfa.core.types import Rng
from solfa.datagen.world.arrange import arrange, style_for
from solfa.datagen.world.compose import compose, draw_shape, draw_tempo
from solfa.datagen.world.midi import Midi, read_midi
from solfa.datagen.world.score import METRES, Note, Part, Scale, Score, joined, plain_label, tempo_map
from solfa.datagen.world.styles import Style, concept_of, pool

CORPORA = {
    "billboard": "CC0-1.0", "openewld": "public domain", "pop909": "MIT", "groove": "CC-BY-4.0", "midi": "",
}  # fmt: skip
_PATTERNS = {
    "billboard": "*/salami_chords.txt", "openewld": "**/*.mxl", "pop909": "*/key_audio.txt", "midi": "**/*.mid",
}  # fmt: skip
_MAX_BYTES = 1 << 24
# What broken text, numbers, archives and XML raise.
_BROKEN = (
    ValueError, KeyError, IndexError, StopIteration, OSError, zlib.error, zipfile.BadZipFile, NotImplementedError,
    RuntimeError, ArithmeticError, ElementTree.ParseError,
)  # fmt: skip
_ROLAND = {22: 42, 26: 46, 58: 43}  # rims and edges of the Groove drum kit that General MIDI has no key for
_MUSICXML_KINDS = {
    "major": "maj", "minor": "min", "dominant": "7", "major-seventh": "maj7", "minor-seventh": "min7",
    "diminished": "dim", "augmented": "aug", "half-diminished": "hdim7", "diminished-seventh": "dim7",
    "major-sixth": "maj6", "minor-sixth": "min6", "dominant-ninth": "9", "major-ninth": "maj9", "minor-ninth": "min9",
    "suspended-fourth": "sus4", "suspended-second": "sus2", "major-minor": "minmaj7", "minor-major": "minmaj7",
    "augmented-seventh": "aug7", "dominant-13th": "13", "dominant-11th": "11", "minor-11th": "min11", "power": "5",
    "none": "N",
}  # fmt: skip

T = TypeVar("T")
Bars = list[tuple[list[str], str, int, str]]  # of each bar: chord of each part of it, section, tonic, metre


@cache
def songs(corpus: str, folder: Path) -> tuple[str, ...]:
    """Names of all songs of a corpus, sorted. Raises InputError if the folder holds none."""
    if corpus == "groove" and (folder / "info.csv").is_file():
        try:
            with (folder / "info.csv").open(encoding="utf-8", newline="") as rows:
                beats = [r for r in csv.DictReader(rows) if r["beat_type"] == "beat" and float(r["duration"]) > 14]
            found = [r["midi_filename"] for r in beats if r["time_signature"] in ("4-4", "3-4", "5-4")]
        except (KeyError, ValueError, TypeError, csv.Error) as bad:
            raise InputError(f"{folder}/info.csv is not that of the Groove MIDI Dataset ({bad!r}).") from bad
    else:
        found = [p.relative_to(folder).as_posix() for p in folder.glob(_PATTERNS.get(corpus, "*/"))]
    if not found:
        raise InputError(f"{folder} holds no songs of {corpus}; expected {_PATTERNS.get(corpus, 'info.csv')} in it.")
    return tuple(sorted(found))


@cache
def artist_of(corpus: str, folder: Path, song: str) -> str:
    """Whose a song is: all of them belong to one split. Billboard has many songs twice, under other numbers.

    The artist of Billboard, the composers of OpenEWLD, the drummer's session of Groove; empty where nobody is named.
    """
    if corpus == "billboard":
        with (folder / song).open("rb") as file:
            head = file.read(4096).decode("utf-8", "replace")
        found = re.search(r"^# artist: *(.+)$", head, re.M)
        return found[1].strip() if found else ""
    parts = song.split("/")
    return {"openewld": parts[0], "groove": "/".join(parts[:2])}.get(corpus, "") if len(parts) > 2 else ""


def read_song(corpus: str, folder: Path, song: str, seconds: float, rng: Rng) -> Score:
    """A stretch of a song, some twice ``seconds`` long, transposed at random and played by a band.

    Raises InputError if the file is broken or larger than 16 MiB, or its key, metre or chords are not clear.
    """
    path = folder / song
    if not path.is_file() or path.stat().st_size > _MAX_BYTES:
        raise InputError(f"{corpus} {song}: missing, or larger than 16 MiB.")
    try:
        score = _read(corpus, path, seconds, rng)
    except InputError as why:
        raise InputError(f"{corpus} {song}: {why}") from why
    except _BROKEN as bad:
        raise InputError(f"{corpus} {song}: cannot be read ({type(bad).__name__}: {bad})") from bad
    return replace(score, about={**score.about, "source": corpus})


def _read(corpus: str, path: Path, seconds: float, rng: Rng) -> Score:
    if corpus == "groove":
        return _groove(path, seconds, rng)
    if corpus == "billboard":
        score = _billboard(path.read_text(encoding="utf-8"), seconds, rng)
    elif corpus == "openewld":
        score = _openewld(path, seconds, rng)
    elif corpus == "pop909":
        score = _pop909(path.parent, seconds, rng)
    else:
        score = _any_midi(read_midi(path), seconds, rng)
    return score.moved(int(rng.integers(-6, 6)))


# --- charts ---------------------------------------------------------------------------------------------------------


def _billboard(text: str, seconds: float, rng: Rng) -> Score:
    bars, metre, tonic, section = Bars(), "", "", ""
    for line in text.splitlines():
        if line.startswith("#"):
            name, _, value = line[1:].partition(":")
            metre = value.strip() if name.strip() == "metre" else metre
            tonic = value.strip() if name.strip() == "tonic" else tonic
        if not line[:1].isdigit() or "|" not in line:
            continue
        head = re.match(r"[\d.e-]+\t([A-Z]'*), ([\w -]+),", line)
        section = head[2] if head else section
        cells = [c.split() for c in line.split("|")[1:-1]]
        repeat = re.search(r"\| x(\d+)", line)
        plain = [c for c in cells if c and not any(t.startswith(("(", "*")) for t in c)]
        for cell in plain * (int(repeat[1]) if repeat else 1):
            labels = [plain_label(c) if c != "." else "." for c in cell]
            bars.append((labels, section, pitch_class(tonic), metre))
    return _played_chart(bars, (), seconds, rng)


def _played_chart(bars: Bars, melody: tuple[Note, ...], seconds: float, rng: Rng) -> Score:
    # A stretch of bars of one metre as a chart; a melody is counted in beats from the first bar.
    first = int(rng.integers(0, max(1, len(bars) - 4)))
    metre = bars[first][3]
    if metre not in METRES:
        raise InputError(f"a metre of {metre or 'no name'}")
    style = style_for(metre, rng)
    bpm, beats = draw_tempo(style, rng) * (1.6 if metre == "7/8" else 1.0), METRES[metre].beats
    count = next((i for i, b in enumerate(bars[first:]) if b[3] != metre), len(bars) - first)
    count = min(count, int(np.ceil(2.0 * seconds * bpm / 60 / beats)) + 1)
    if count * beats * 60 / bpm < seconds:
        raise InputError(f"only {count} bars in {metre} in a row")
    stretch = bars[first : first + count]
    chords = list[tuple[float, float, str]]()
    for i, (labels, _, _, _) in enumerate(stretch):
        for j, label in enumerate(labels):
            start, end = beats * (i + j / len(labels)), beats * (i + (j + 1) / len(labels))
            if chords and label in (".", chords[-1][2]):
                chords[-1] = (chords[-1][0], end, chords[-1][2])
            else:
                chords.append((start, end, "N" if label == "." else label))
    keys = [(a, b, _scale(t, chords, a, b)) for a, b, t in _runs([bar[2] for bar in stretch], beats)]
    shape = draw_shape(rng)
    tune = _shown(melody, first * beats, count * beats)
    chart = Score(
        beat_s=tempo_map(shape, count * beats, bpm, rng), metres=((0, count * beats, metre),), keys=tuple(keys),
        chords=tuple(chords), tempo=shape,
        sections=tuple((a, b, s or "part") for a, b, s in _runs([bar[1] for bar in stretch], beats)),
    )  # fmt: skip
    keep = (_part("lead", style, tune, rng),) if tune and rng.random() < 0.9 else ()
    return arrange(chart, style, rng, keep)


def _runs(values: list[T], beats: int) -> tuple[tuple[float, float, T], ...]:
    return joined((float(i * beats), float((i + 1) * beats), value) for i, value in enumerate(values))


def _scale(tonic: int, chords: list[tuple[float, float, str]], start: float, end: float) -> Scale:
    # The mode is that of the tonic's own chords, if these are clearly of one.
    held = Counter[str]()
    for a, b, label in chords:
        chord = Chord.parse(label)
        if chord is not None and chord.root == tonic and chord.triad in ("maj", "min"):
            held[chord.triad] += max(0, min(b, end) - max(a, start))  # type: ignore[assignment]
    (best, time), *other = [*held.most_common(), ("", 0)]
    if time <= 0 or time < 3 * other[0][1]:
        raise InputError("the tonic's chords do not tell major from minor")
    return Scale(tonic, "major" if best == "maj" else "minor")


def _part(role: str, style: Style, notes: tuple[Note, ...], rng: Rng) -> Part:
    own = {"lead": style.lead_pool, "comp": style.comp_pool}.get(role, ())
    options = (own if rng.random() < 0.6 else ()) or pool(role)
    program = int(options[int(rng.integers(len(options)))])
    return Part(role=role, concept=concept_of(program), program=program, notes=notes)


def _openewld(path: Path, seconds: float, rng: Rng) -> Score:
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".xml") and not n.startswith("META-INF"))
        if archive.getinfo(name).file_size > _MAX_BYTES:
            raise InputError("larger than 16 MiB unpacked")
        text = archive.read(name)
    if b"<!ENTITY" in text:
        raise InputError("it declares entities")
    part = ElementTree.fromstring(text).find("part")
    if part is None:
        raise InputError("it has no part")
    fifths = {int(e.text or 0) for e in part.iter("fifths")}
    metres = {f"{t.findtext('beats')}/{t.findtext('beat-type')}" for t in part.iter("time")}
    if len(fifths) != 1 or len(metres) != 1 or not metres <= {"4/4", "3/4", "2/4"}:
        raise InputError("key or metre change, or an unusual metre")
    metre, major = metres.pop(), fifths.pop() * 7 % 12
    melody, changes, n_bars = _lead_sheet(part, METRES[metre].beats)
    last = Chord.parse(changes[-1][1])
    if last is None or (last.root, last.triad) not in ((major, "maj"), ((major + 9) % 12, "min")):
        raise InputError("the last chord is no tonic of its signature")
    bars, beats = Bars(), METRES[metre].beats
    labels = [next((c for at, c in reversed(changes) if at < beat + 0.5), "N") for beat in range(n_bars * beats)]
    for i in range(n_bars):
        bars.append((labels[i * beats : (i + 1) * beats], f"part {i // 8 + 1}", last.root, metre))
    return _played_chart(bars, tuple(melody), seconds, rng)


def _lead_sheet(part: ElementTree.Element, beats: int) -> tuple[list[Note], list[tuple[float, str]], int]:
    # Notes and chord changes in beats, number of bars; first voice only.
    melody, chords = list[Note](), list[tuple[float, str]]()
    divisions, n_bars = 1, 0
    for n_bars, measure in enumerate(part.iter("measure"), 1):
        at = (n_bars - 1) * float(beats)
        for item in measure:
            divisions = int(item.findtext("divisions", str(divisions)))
            length = int(item.findtext("duration", "0")) / divisions
            if item.tag == "backup":
                break
            if item.tag == "harmony":
                chords.append((at, _harmony(item)))
            elif item.tag == "forward":
                at += length
            elif item.tag == "note" and item.find("chord") is None:
                pitch = item.find("pitch")
                if pitch is not None and length:
                    name = pitch_class(pitch.findtext("step", "C")) + int(float(pitch.findtext("alter", "0")))
                    height = 12 * (int(pitch.findtext("octave", "4")) + 1) + name
                    melody.append(Note(at, length * 0.95, height, 88))
                at += length
    return melody, chords, n_bars


def _harmony(item: ElementTree.Element) -> str:
    root = pitch_class(item.findtext("root/root-step", "C")) + int(float(item.findtext("root/root-alter", "0")))
    quality = _MUSICXML_KINDS.get((item.findtext("kind") or "").strip(), "N")
    name, _, _ = str(Key(root % 12, "major")).partition(" ")
    return "N" if quality == "N" else plain_label(f"{name}:{quality}")


# --- performances ---------------------------------------------------------------------------------------------------


def _pop909(folder: Path, seconds: float, rng: Rng) -> Score:
    keys = {line.split("\t")[2] for line in (folder / "key_audio.txt").read_text().splitlines() if line.strip()}
    beats = np.loadtxt(folder / "beat_midi.txt")
    downs = np.flatnonzero(beats[:, 2] == 1)
    gaps = np.diff(downs)
    (gap, _), *_ = Counter(gaps.tolist()).most_common(1)
    edges = np.flatnonzero(np.diff(np.r_[0, (gaps == gap).astype(np.int8), 0])).reshape(-1, 2)
    start, end = max(edges.tolist(), key=lambda run: run[1] - run[0])  # the longest run of whole bars
    if len(keys) != 1 or gap not in (3, 4):
        raise InputError("its key changes, or its metre is not plain")
    root, mode = keys.pop().split(":")
    times = beats[downs[start] : downs[end] + 1, 0]
    tempo = 60 / float(np.median(np.diff(times)))
    bars = end - start
    wanted = int(np.ceil(2.0 * seconds * tempo / 60 / gap)) + 1
    first = int(rng.integers(0, max(1, bars - wanted))) * gap
    count = min(wanted, bars - first // gap) * gap
    rows = [line.split("\t") for line in (folder / "chord_midi.txt").read_text().splitlines() if line.strip()]
    whole = Score(
        beat_s=times, metres=((0, bars * gap, f"{gap}/4"),), keys=((0.0, float(len(times)), Scale(
            pitch_class(root), "major" if mode == "maj" else "minor")),), tempo="drifting",
    )  # fmt: skip
    midi = read_midi(folder / f"{folder.name}.mid", f"{gap}/4")
    roles = {"MELODY": ("lead", 0.95), "BRIDGE": ("counter", 0.6), "PIANO": ("comp", 0.5)}
    style = style_for(f"{gap}/4", rng)
    keep = []
    for track in midi.tracks:
        role, chance = roles.get(track.name, ("", 0.0))
        if rng.random() < chance:
            keep.append(_part(role, style, _shown(_in_beats(whole, track.notes_s), first, count), rng))
    changes = [(*(float(whole.at_beat(float(t))) - first for t in (a, b)), plain_label(c)) for a, b, c in rows]
    chart = Score(
        beat_s=times[first : first + count + 1],
        metres=((0, count, f"{gap}/4"),), keys=((0.0, float(count), whole.keys[0][2]),), tempo="drifting",
        chords=tuple((max(0.0, a), min(b, float(count)), c) for a, b, c in changes if b > 0.05 and a < count - 0.05),
        sections=tuple((float(a), float(min(a + 8 * gap, count)), "part") for a in range(0, count, 8 * gap)),
    )  # fmt: skip
    return arrange(chart, style, rng, tuple(p for p in keep if p.notes))


def _in_beats(score: Score, notes: list[tuple[float, float, int, int]]) -> tuple[Note, ...]:
    if not notes:
        return ()
    rows = np.array(notes, np.float64)
    on, off = score.at_beat(rows[:, 0]), score.at_beat(rows[:, 1])
    return tuple(
        Note(float(a), max(0.05, float(b - a)), int(p), int(v))
        for a, b, p, v in zip(on, off, rows[:, 2], rows[:, 3], strict=True)
    )


def _shown(notes: tuple[Note, ...], first: int, count: int) -> tuple[Note, ...]:
    return tuple(n._replace(start=n.start - first) for n in notes if -0.1 <= n.start - first < count)


def _groove(path: Path, seconds: float, rng: Rng) -> Score:
    # Played drums under a made-up band: "1_funk-groove1_138_beat_4-4.mid" names tempo and metre.
    found = re.search(r"_(\d+)_beat_(\d)-4\.mid$", path.name)
    if found is None:
        raise InputError(f"groove {path.name}: its name tells no tempo and metre")
    bpm, metre = float(found[1]), f"{found[2]}/4"
    notes = [n for track in read_midi(path, metre).tracks for n in track.notes_s]
    beats = METRES[metre].beats
    played = int(max(off for _, off, _, _ in notes) * bpm / 60 / beats)
    first = int(rng.integers(0, max(1, played - int(2 * seconds * bpm / 60 / beats)))) * beats
    at = _tightened(np.array([on for on, _, _, _ in notes]) * bpm / 60)
    rows = tuple(
        Note(float(start) - first, 0.2, _ROLAND.get(pitch, pitch), velocity)
        for start, (_, _, pitch, velocity) in zip(at, notes, strict=True)
        if start - first > -0.1
    )
    drums = Part(role="drums", concept="drums", program=int(rng.choice([0, 0, 8, 16, 40])), notes=rows, drums=True)
    return compose(seconds, rng, metre=metre, tempo_bpm=bpm, keep=(drums,))


def _tightened(beats: NDArray[np.float64]) -> NDArray[np.float64]:
    # Drummers play early as a whole, and loosely: shifted onto a grid of 16ths and triplets, then half-way towards it.
    grid = np.array([0, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1])
    beats = beats - np.median(beats - np.round(beats * 4) / 4)
    nearest = np.floor(beats) + grid[np.abs((beats % 1)[:, None] - grid).argmin(axis=1)]
    return np.asarray((beats + nearest) / 2, np.float64)


def _fits(key: Key, start: float, end: float, notes: list[Note]) -> bool:
    scale = {Scale(key.tonic, key.mode).degree(i) for i in range(7)} | {(key.tonic + 11) % 12}
    inside = [n.length * (n.pitch % 12 in scale) for n in notes if start <= n.start < end]
    return sum(inside) >= 0.9 * sum(n.length for n in notes if start <= n.start < end) > 0


def _any_midi(midi: Midi, seconds: float, rng: Rng) -> Score:
    # Parts as they are, chords unknown; the key only where the file states one and nine tenths of the notes are in it.
    count = len(midi.beat_s) - 1
    parts = [
        Part(
            role="drums" if t.drums else "comp", program=0 if t.drums else t.program, drums=t.drums,
            concept="drums" if t.drums else concept_of(t.program), notes=tuple(Note(*n) for n in t.notes),
        )
        for t in midi.tracks
        if t.notes and (t.drums or concept_of(t.program))
    ]  # fmt: skip
    if not parts or midi.beat_s[-1] < seconds:
        raise InputError("no parts that General MIDI has names for, or too short")
    notes = [n for part in parts if not part.drums for n in part.notes]
    keys = tuple((float(a), float(b), Scale(key.tonic, key.mode)) for a, b, key in midi.keys if _fits(key, a, b, notes))
    return Score(
        beat_s=midi.beat_s, metres=midi.metres, keys=keys, parts=tuple(parts[:16]), tempo="drifting",
        sections=((0.0, float(count), "part"),),
    )  # fmt: skip
