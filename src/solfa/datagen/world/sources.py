"""Songs of corpora as their authors publish them (``world.toml``), read into scores: charts to arrange, or parts.

Billboard gives chords, metre, tonic and form; OpenEWLD and POP909 melody and chords too; Groove played drums; any
folder of MIDI files its parts. A song that cannot be read exactly (unclear key, odd bars, broken file) raises
``InputError`` and is counted.
"""

import csv
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
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
from solfa.datagen.world.midi import in_beats, read_midi
from solfa.datagen.world.score import (
    METRES,
    Note,
    Scale,
    Score,
    ScorePart,
    Spans,
    joined,
    plain_label,
    table,
    tempo_map,
)
from solfa.datagen.world.styles import Style, concept_of, pool

_MAX_BYTES = 1 << 24
# What broken text, numbers, archives and XML raise.
_BROKEN = (
    ValueError, KeyError, IndexError, StopIteration, OSError, zlib.error, zipfile.BadZipFile, NotImplementedError,
    RuntimeError, ArithmeticError, ElementTree.ParseError,
)  # fmt: skip
T = TypeVar("T")
# Of each bar: the chord of each part of it, section, tonic (or key and mode, where they are stated), metre.
Bars = list[tuple[list[str], str, int | Scale, str]]
# Role, how likely it is played, notes in beats from the first bar.
Tunes = Sequence[tuple[str, float, Sequence[Note]]]


def corpora() -> dict[str, dict[str, str]]:
    """Licence and files (a glob) of every corpus, by name."""
    found: dict[str, dict[str, str]] = table()["corpora"]
    return found


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
        found = [p.relative_to(folder).as_posix() for p in folder.glob(corpora()[corpus]["files"])]
    if not found:
        raise InputError(f"{folder} holds no songs of {corpus}; expected {corpora()[corpus]['files']} in it.")
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
        score = _READERS[corpus](path, seconds, rng)
    except InputError as why:
        raise InputError(f"{corpus} {song}: {why}") from why
    except _BROKEN as bad:
        raise InputError(f"{corpus} {song}: cannot be read ({type(bad).__name__}: {bad})") from bad
    score = replace(score, about={**score.about, "source": corpus})
    return score if corpus == "groove" else score.moved(int(rng.integers(-6, 6)))  # the band of groove is made up


# --- charts ---------------------------------------------------------------------------------------------------------


def _billboard(path: Path, seconds: float, rng: Rng) -> Score:
    bars, about, section = Bars(), {"metre": "", "tonic": ""}, ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            name, _, value = line[1:].partition(":")
            about[name.strip()] = value.strip()
        if not line[:1].isdigit() or "|" not in line:
            continue
        head = re.match(r"[\d.e-]+\t([A-Z]'*), ([\w -]+),", line)
        section = head[2] if head else section
        cells = [c.split() for c in line.split("|")[1:-1]]
        repeat = re.search(r"\| x(\d+)", line)
        plain = [c for c in cells if c and not any(t.startswith(("(", "*")) for t in c)]
        for cell in plain * (int(repeat[1]) if repeat else 1):
            labels = [plain_label(c) if c != "." else "." for c in cell]
            bars.append((labels, section, pitch_class(about["tonic"]), about["metre"]))
    return _played_chart(bars, (), seconds, rng)


def _played_chart(
    bars: Bars, tunes: Tunes, seconds: float, rng: Rng, beat_s: NDArray[np.float64] | None = None
) -> Score:
    # A stretch of bars of one metre, at the times of its beats where they are stated, else at a tempo of the style's.
    first = int(rng.integers(0, max(1, len(bars) - 4)))
    metre = bars[first][3]
    if metre not in METRES:
        raise InputError(f"a metre of {metre or 'no name'}")
    style, beats = style_for(metre, rng), METRES[metre].beats
    if beat_s is None:
        bpm = draw_tempo(style, rng) * (1.6 if metre == "7/8" else 1.0)
    else:
        bpm = 60 / float(np.median(np.diff(beat_s)))
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
    tonics = _runs([bar[2] for bar in stretch], beats)
    shape = draw_shape(rng) if beat_s is None else "drifting"
    start_beat, num_beats = first * beats, count * beats
    times = tempo_map(shape, num_beats, bpm, rng) if beat_s is None else beat_s[start_beat : start_beat + num_beats + 1]
    chart = Score(
        beat_s=times, metres=((0, num_beats, metre),), chords=tuple(chords), tempo=shape,
        keys=tuple((a, b, t if isinstance(t, Scale) else _scale(t, chords, a, b)) for a, b, t in tonics),
        sections=tuple((a, b, s or "part") for a, b, s in _runs([bar[1] for bar in stretch], beats)),
    )  # fmt: skip
    keep = list[ScorePart]()
    for role, chance, notes in tunes:
        shown = tuple(n._replace(start=n.start - start_beat) for n in notes if -0.1 <= n.start - start_beat < num_beats)
        if shown and rng.random() < chance:
            keep.append(_part(role, style, shown, rng))
    return arrange(chart, style, rng, tuple(keep))


def _runs(values: list[T], beats: int) -> Spans[T]:
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
        raise InputError("the chords on the tonic do not decide between major and minor")
    return Scale(tonic, "major" if best == "maj" else "minor")


def _part(role: str, style: Style, notes: tuple[Note, ...], rng: Rng) -> ScorePart:
    own = {"lead": style.lead_pool, "comp": style.comp_pool}.get(role, ())
    options = (own if rng.random() < 0.6 else ()) or pool(role)
    program = int(options[int(rng.integers(len(options)))])
    return ScorePart(role=role, concept=concept_of(program), program=program, notes=notes)


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
        raise InputError("the last chord is not a tonic of the key signature")
    beats = range(n_bars * METRES[metre].beats)
    labels = [next((c for at, c in reversed(changes) if at < beat + 0.5), "N") for beat in beats]
    return _played_chart(_bars(labels, last.root, metre), (("lead", 0.9, melody),), seconds, rng)


def _bars(labels: list[str], tonic: int | Scale, metre: str) -> Bars:
    # Bars of the chords of each beat, in parts of eight.
    beats = METRES[metre].beats
    starts = range(0, len(labels), beats)
    return [(labels[a : a + beats], f"part {i // 8 + 1}", tonic, metre) for i, a in enumerate(starts)]


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
    quality = table()["musicxml_chords"].get((item.findtext("kind") or "").strip(), "N")
    name, _, _ = str(Key(root % 12, "major")).partition(" ")
    return "N" if quality == "N" else plain_label(f"{name}:{quality}")


# --- performances ---------------------------------------------------------------------------------------------------


def _pop909(path: Path, seconds: float, rng: Rng) -> Score:
    folder = path.parent
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
    scale, metre = Scale(pitch_class(root), "major" if mode == "maj" else "minor"), f"{gap}/4"
    times = beats[downs[start] : downs[end] + 1, 0]
    rows = [line.split("\t") for line in (folder / "chord_midi.txt").read_text().splitlines() if line.strip()]
    chord_s = np.array([float(row[0]) for row in rows])
    at = np.searchsorted(chord_s, (times[:-1] + times[1:]) / 2, "right") - 1  # what sounds half-way through each beat
    labels = [plain_label(rows[i][2]) if i >= 0 else "N" for i in at]
    song, own = read_midi(folder / f"{folder.name}.mid", metre), Score(beat_s=times, metres=(), keys=())
    roles = {"MELODY": ("lead", 0.95), "BRIDGE": ("counter", 0.6), "PIANO": ("comp", 0.5)}
    tunes = []
    for part in (p for p in song.parts if p.role in roles):
        notes = np.array(part.notes)
        on_s, off_s = song.seconds(notes[:, 0]), song.seconds(notes[:, 0] + notes[:, 1])
        tunes.append((*roles[part.role], in_beats(own, np.c_[on_s, off_s, notes[:, 2:]])))
    return _played_chart(_bars(labels, scale, metre), tunes, seconds, rng, times)


def _groove(path: Path, seconds: float, rng: Rng) -> Score:
    # Played drums under a made-up band: "1_funk-groove1_138_beat_4-4.mid" names tempo and metre.
    found = re.search(r"_([a-z]+)(?:-\w+)?_(\d+)_beat_(\d)-4\.mid$", path.name)
    if found is None:
        raise InputError(f"groove {path.name}: its name states no style, tempo and metre")
    bpm, metre = float(found[2]), f"{found[3]}/4"
    song, beats = read_midi(path, metre), METRES[metre].beats
    notes = [n for part in song.parts for n in part.notes]
    at = song.seconds(np.array([n.start for n in notes])) * bpm / 60
    played = int(at.max() / beats)
    first = int(rng.integers(0, max(1, played - int(2 * seconds * bpm / 60 / beats)))) * beats
    keys = {int(pad): key for pad, key in table()["drums"]["roland"].items()}
    rows = tuple(
        Note(float(start) - first, 0.2, keys.get(note.pitch, note.pitch), note.velocity)
        for start, note in zip(_tightened(at), notes, strict=True)
        if start - first > -0.1
    )
    drums = ScorePart(role="drums", concept="drums", program=int(rng.choice([0, 0, 8, 16, 40])), notes=rows, drums=True)
    groove = table()["grooves"].get(found[1], {"styles": [""], "genre": []})
    score = compose(seconds, rng, metre=metre, tempo_bpm=bpm, keep=(drums,), style=str(rng.choice(groove["styles"])))
    return replace(score, genre=tuple(groove["genre"]), about={**score.about, "groove": found[1]})


def _tightened(beats: NDArray[np.float64]) -> NDArray[np.float64]:
    # Drummers play early as a whole, and loosely: shifted onto a grid of 16ths and triplets, then half-way towards it.
    grid = np.array([0, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1])
    beats = beats - np.median(beats - np.round(beats * 4) / 4)
    nearest = np.floor(beats) + grid[np.abs((beats % 1)[:, None] - grid).argmin(axis=1)]
    return np.asarray((beats + nearest) / 2, np.float64)


def _fits(scale: Scale, start: float, end: float, notes: list[Note]) -> bool:
    tones = {scale.degree(i) for i in range(7)} | {(scale.tonic + 11) % 12}
    inside = [n.length * (n.pitch % 12 in tones) for n in notes if start <= n.start < end]
    return sum(inside) >= 0.9 * sum(n.length for n in notes if start <= n.start < end) > 0


def _any_midi(path: Path, seconds: float, _: Rng) -> Score:
    # Parts as they are, chords unknown; the key only where the file states one and nine tenths of the notes are in it.
    song = read_midi(path)
    parts = tuple(replace(p, role="drums" if p.drums else "comp") for p in song.parts if p.concept)
    if not parts or song.beat_s[-1] < seconds:
        raise InputError("no parts that General MIDI has names for, or too short")
    notes = [n for part in parts if not part.drums for n in part.notes]
    return replace(song, parts=parts[:16], keys=tuple(k for k in song.keys if _fits(k[2], k[0], k[1], notes)))


_READERS: dict[str, Callable[[Path, float, Rng], Score]] = {
    "billboard": _billboard, "openewld": _openewld, "pop909": _pop909, "groove": _groove, "midi": _any_midi,
}  # fmt: skip
