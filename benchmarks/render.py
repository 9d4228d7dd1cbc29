"""Render clips of music whose truth is known exactly, from symbolic corpora and General MIDI soundfonts.

    python benchmarks/render.py --out clips --pop909 POP909 --billboard billboard-2.0-salami_chords \\
        --openewld dataset --soundfont A.sf2 --soundfont B.sf3 --count 300 --seed 1 --jobs 2

Each clip is ``NAME.wav`` beside ``NAME.json``: ``tempo_bpm``, ``metre``, ``beats_s``, ``downbeats_s``, ``key``,
``chords`` (Harte), ``instruments`` (General MIDI programs, 0-based), ``drums``, and where it came from (corpus, source,
soundfont, transposition, detuning). Keep one soundfont (and other songs, by ``--part``) out of anything that is fitted.

- POP909: melody, bridge and piano of the corpus, bass and drums added.
- Billboard: an arrangement over the annotated chords; only songs whose tonic chord is clearly major or minor.
- OpenEWLD: melody and chords of lead sheets; the mode is that of a final tonic chord, others are left out.

``solfa data world`` makes richer music with more truth. This one stays because constants that are shipped were fitted
and judged on its clips (``tools/fit_harmony.py``, ``tools/fit_rhythm.py``, ``docs/analysis.md``).

Needs ``fluidsynth`` on the path, ``mido``, ``mir_eval`` and ``soundfile``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import mido
import mir_eval
import numpy as np
import soundfile

from solfa.core.errors import InputError
from solfa.core.theory import Key, pitch_class

Note = tuple[float, float, int]  # start_s, end_s, MIDI pitch
NAMES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
POOLS = {
    "comp": (0, 0, 1, 2, 4, 5, 6, 11, 16, 18, 24, 25, 25, 26, 27, 29, 30, 46, 48, 50, 61, 62, 81, 90),
    "pad": (48, 49, 50, 51, 52, 53, 88, 89, 91, 92, 94, 95, 19, 21),
    "bass": (32, 33, 33, 34, 35, 36, 38, 39),
    "lead": (
        0,
        4,
        11,
        21,
        22,
        24,
        26,
        29,
        40,
        41,
        42,
        52,
        53,
        54,
        56,
        57,
        59,
        60,
        64,
        65,
        66,
        68,
        70,
        71,
        73,
        75,
        79,
        80,
        81,
    ),
}
MUSICXML_KINDS = {
    "major": "maj", "minor": "min", "dominant": "7", "major-seventh": "maj7", "minor-seventh": "min7",
    "diminished": "dim", "augmented": "aug", "half-diminished": "hdim7", "diminished-seventh": "dim7",
    "major-sixth": "maj6", "minor-sixth": "min6", "dominant-ninth": "9", "major-ninth": "maj9", "minor-ninth": "min9",
    "suspended-fourth": "sus4", "suspended-second": "sus2", "major-minor": "minmaj7", "minor-major": "minmaj7",
    "augmented-seventh": "aug(b7)", "dominant-13th": "13", "dominant-11th": "11", "minor-11th": "min11", "power": "5",
}  # fmt: skip


@dataclass
class Score:
    """A song as read from a corpus; ``parts`` are notes by role, seconds from its start."""

    corpus: str
    source: str
    tempo_bpm: float
    metre: str
    beats_s: list[float]
    downbeats_s: list[float]
    key: Key
    chords: list[tuple[float, float, str]]
    parts: dict[str, list[Note]] = field(default_factory=dict)


# --- corpora --------------------------------------------------------------------------------------------------------


def read_pop909(folder: Path) -> Score | None:
    """A song folder of POP909; None where the key changes or the metre is not a plain one."""
    keys = {line.split("\t")[2] for line in (folder / "key_audio.txt").read_text().splitlines() if line.strip()}
    beats = np.loadtxt(folder / "beat_midi.txt")
    downs = np.flatnonzero(beats[:, 2] == 1)
    gaps = Counter(np.diff(downs).tolist()).most_common(1)
    if len(keys) != 1 or not gaps or gaps[0][0] not in (3, 4) or gaps[0][1] < 0.95 * (len(downs) - 1):
        return None
    root, mode = keys.pop().split(":")
    rows = [line.split("\t") for line in (folder / "chord_midi.txt").read_text().splitlines() if line.strip()]
    midi = mido.MidiFile(folder / f"{folder.name}.mid")
    roles = {"MELODY": "lead", "BRIDGE": "bridge", "PIANO": "comp"}
    return Score(
        "pop909",
        folder.name,
        60 / float(np.median(np.diff(beats[:, 0]))),
        f"{gaps[0][0]}/4",
        beats[:, 0].tolist(),
        beats[downs, 0].tolist(),
        Key(pitch_class(root), "major" if mode == "maj" else "minor"),
        [(float(a), float(b), c) for a, b, c in rows],
        {roles[t.name]: _midi_notes(midi, t) for t in midi.tracks if t.name in roles},
    )


def _midi_notes(midi: mido.MidiFile, track: mido.MidiTrack) -> list[Note]:
    tempos = [(t, m.tempo) for t, m in _absolute(midi.tracks[0]) if m.type == "set_tempo"]
    if not tempos or tempos[0][0] > 0:
        tempos.insert(0, (0, 500000))
    ticks = np.array([t for t, _ in tempos])
    rates = np.array([tempo for _, tempo in tempos]) / 1e6 / midi.ticks_per_beat
    starts = np.r_[0.0, np.cumsum(np.diff(ticks) * rates[:-1])]

    def seconds(tick: int) -> float:
        i = int(np.searchsorted(ticks, tick, "right")) - 1
        return float(starts[i] + (tick - ticks[i]) * rates[i])

    open_notes: dict[int, float] = {}
    notes: list[Note] = []
    for tick, message in _absolute(track):
        if message.type == "note_on" and message.velocity > 0:
            open_notes[message.note] = seconds(tick)
        elif message.type in ("note_on", "note_off") and message.note in open_notes:
            notes.append((open_notes.pop(message.note), seconds(tick), message.note))
    return notes


def _absolute(track: mido.MidiTrack) -> Iterator[tuple[int, mido.Message]]:
    tick = 0
    for message in track:
        tick += message.time
        yield tick, message


def read_billboard(folder: Path, rng: np.random.Generator) -> Score | None:
    """A Billboard annotation at a random tempo; None unless its metre is plain and its tonic chord's mode clear."""
    text = (folder / "salami_chords.txt").read_text()
    head = dict(re.findall(r"^# (\w+): (.+)$", text, re.M))
    metres = set(re.findall(r"^# metre: (.+)$", text, re.M))
    tonics = set(re.findall(r"^# tonic: (.+)$", text, re.M))
    beats_per_bar = {"4/4": 4, "3/4": 3, "6/8": 2, "12/8": 4}.get(head.get("metre", ""), 0)
    if len(metres) != 1 or len(tonics) != 1 or not beats_per_bar:
        return None
    bars: list[list[str]] = []
    for line in text.splitlines():
        cells = [c.split() for c in line.split("|")[1:-1]] if line[:1].isdigit() else []
        repeat = re.search(r"\| x(\d+)", line)
        plain = [c for c in cells if c and not any(t.startswith(("(", "*", "&")) for t in c)]
        bars += plain * (int(repeat[1]) if repeat else 1)
    beat_s = 60.0 / float(np.exp(rng.uniform(np.log(65), np.log(165))))
    chords: list[tuple[float, float, str]] = []
    for i, bar in enumerate(bars):
        step = beats_per_bar * beat_s / len(bar)
        for j, label in enumerate(bar):
            start = i * beats_per_bar * beat_s + j * step
            if label == "." and chords:
                chords[-1] = (chords[-1][0], start + step, chords[-1][2])
            else:
                chords.append((start, start + step, label if ":" in label else "N"))
    key = _key_of_tonic(pitch_class(tonics.pop()), chords)
    if key is None:
        return None
    beats = (np.arange(len(bars) * beats_per_bar) * beat_s).tolist()
    return Score("billboard", folder.name, 60 / beat_s, head["metre"], beats, beats[::beats_per_bar], key, chords)


def _key_of_tonic(tonic: int, chords: list[tuple[float, float, str]]) -> Key | None:
    held = {"major": 0.0, "minor": 0.0}
    for start, end, label in chords:
        root, bitmap, _ = mir_eval.chord.encode(label)
        if root == tonic and bitmap[3] != bitmap[4]:
            held["minor" if bitmap[3] else "major"] += end - start
    mode = max(held, key=lambda m: held[m])
    return Key(tonic, mode) if held[mode] > 3 * (sum(held.values()) - held[mode]) and held[mode] > 0 else None


def read_openewld(path: Path, rng: np.random.Generator) -> Score | None:
    """A lead sheet at a random tempo; None where key or metre change or no final tonic chord tells the mode."""
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".xml") and not n.startswith("META-INF"))
        part = ElementTree.fromstring(archive.read(name)).find("part")
    fifths = {int(e.text or 0) for e in part.iter("fifths")}
    metres = {f"{t.findtext('beats')}/{t.findtext('beat-type')}" for t in part.iter("time")}
    if len(fifths) != 1 or len(metres) != 1 or not metres <= {"4/4", "3/4", "2/4"}:
        return None
    metre, tonic = metres.pop(), fifths.pop() * 7 % 12
    beats_per_bar = int(metre[0])
    beat_s = 60.0 / float(np.exp(rng.uniform(np.log(65), np.log(180))))
    melody, starts, n_bars = _lead_sheet(part, beats_per_bar)
    if not starts:
        return None
    ends = [start for start, _ in starts[1:]] + [float(n_bars * beats_per_bar)]
    chords = [(a * beat_s, b * beat_s, c) for (a, c), b in zip(starts, ends, strict=True) if b > a]
    root, bitmap, _ = mir_eval.chord.encode(chords[-1][2])
    if root == tonic and bitmap[4]:
        key = Key(tonic, "major")
    elif root == (tonic + 9) % 12 and bitmap[3]:
        key = Key((tonic + 9) % 12, "minor")
    else:
        return None
    beats = (np.arange(n_bars * beats_per_bar) * beat_s).tolist()
    notes = [(a * beat_s, b * beat_s, p) for a, b, p in melody]
    parts = {"lead": notes}
    return Score("openewld", path.stem, 60 / beat_s, metre, beats, beats[::beats_per_bar], key, chords, parts)


def _lead_sheet(part: ElementTree.Element, beats_per_bar: int) -> tuple[list[Note], list[tuple[float, str]], int]:
    """Notes (start, end in beats, pitch), chord changes (beat, label), number of bars; first voice only."""
    melody: list[Note] = []
    chords: list[tuple[float, str]] = []
    divisions, n_bars = 1, 0
    for n_bars, measure in enumerate(part.iter("measure"), 1):
        at = (n_bars - 1) * float(beats_per_bar)
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
                    melody.append((at, at + length, 12 * (int(pitch.findtext("octave", "4")) + 1) + name))
                at += length
    return melody, chords, n_bars


def _harmony(item: ElementTree.Element) -> str:
    root = pitch_class(item.findtext("root/root-step", "C")) + int(float(item.findtext("root/root-alter", "0")))
    kind = (item.findtext("kind") or "").strip()
    return f"{NAMES[root % 12]}:{MUSICXML_KINDS[kind]}" if kind in MUSICXML_KINDS else "N"


READERS: dict[str, Callable[[Path, np.random.Generator], Score | None]] = {
    "pop909": lambda path, _: read_pop909(path),
    "billboard": read_billboard,
    "openewld": read_openewld,
}


# --- arrangement ----------------------------------------------------------------------------------------------------


@dataclass
class Clip:
    """Notes by track (role, program, velocity), drum hits (time, key, velocity), truth."""

    tracks: list[tuple[str, int, int, list[Note]]]
    drums: list[tuple[float, int, int]]
    truth: dict[str, object]


def arrange(score: Score, seconds: float, rng: np.random.Generator) -> Clip | None:
    """A clip of ``seconds`` from a random downbeat, transposed, with random instruments."""
    starts = [d for d in score.downbeats_s if d + seconds <= score.beats_s[-1]]
    if not starts:
        return None
    begin, shift = float(rng.choice(starts)), int(rng.integers(-5, 7))
    chords = []
    for start, end, label in score.chords:
        start, end = max(start - begin, 0.0), min(end - begin, seconds)
        if end - start > 0.02:  # what is left of a chord at the clip's edge may be nothing
            chords.append((start, end, _transposed(label, shift)))
    beats = [b - begin for b in score.beats_s if begin <= b < begin + seconds]
    downbeats = [b - begin for b in score.downbeats_s if begin <= b < begin + seconds]
    if not chords or sum(end - start for start, end, label in chords if label == "N") > 0.3 * seconds:
        return None
    tracks = [
        ("lead" if role == "bridge" else role, _window(notes, begin, seconds, shift))
        for role, notes in score.parts.items()
        if role == "comp" or rng.random() < 0.85
    ]
    if "comp" not in score.parts:
        tracks.append(("comp", _comp(chords, beats, rng)))
    if "comp" not in score.parts and rng.random() < 0.4:
        tracks.append(("pad", _comp(chords, [], rng)))
    if rng.random() < 0.8:
        tracks.append(("bass", _bass(chords, beats, rng)))
    drums = _drums(beats, downbeats, score.metre, rng) if rng.random() < 0.7 else []
    chosen = [
        (role, int(rng.choice(POOLS[role])), int(rng.integers(60, 112)), notes) for role, notes in tracks if notes
    ]
    key = Key((score.key.tonic + shift) % 12, score.key.mode)
    truth = {
        "tempo_bpm": round(score.tempo_bpm, 3), "metre": score.metre,
        "beats_s": [round(b, 4) for b in beats], "downbeats_s": [round(b, 4) for b in downbeats],
        "key": str(key), "drums": bool(drums), "vocals": False,
        "chords": [{"start_s": round(a, 4), "end_s": round(b, 4), "label": c} for a, b, c in chords],
        "instruments": [{"program": program, "role": role} for role, program, _, _ in chosen],
        "corpus": score.corpus, "source": score.source, "transposed": shift,
    }  # fmt: skip
    return Clip(chosen, drums, truth)


def _transposed(label: str, shift: int) -> str:
    if label in ("N", "X"):
        return "N"
    root, colon, rest = label.partition(":")
    return f"{NAMES[(pitch_class(root) + shift) % 12]}{colon}{rest}"


def _window(notes: list[Note], begin: float, seconds: float, shift: int) -> list[Note]:
    moved = [(max(a - begin, 0.0), min(b - begin, seconds), p + shift) for a, b, p in notes]
    return [(a, b, p) for a, b, p in moved if b > a and 0 <= p < 128]


def _pitches(label: str, low: int) -> list[int]:
    """Chord tones from ``low`` upwards, close position."""
    root, bitmap, _ = mir_eval.chord.encode(label)
    return sorted(low + (root + i - low) % 12 for i in np.flatnonzero(bitmap)) if root >= 0 else []


def _comp(chords: list[tuple[float, float, str]], beats: list[float], rng: np.random.Generator) -> list[Note]:
    """Held chords without beats; else blocks, offbeats or arpeggios on them."""
    low, style = int(rng.integers(50, 64)), str(rng.choice(["block", "off", "arp", "hold"])) if beats else "hold"
    grid = np.array(beats + [b + d / 2 for b, d in zip(beats, np.diff(beats), strict=False)])
    notes: list[Note] = []
    for start, end, label in chords:
        pitches = _pitches(label, low)
        inside = np.sort(grid[(grid >= start - 1e-6) & (grid < end - 1e-6)]) if len(grid) else np.array([])
        if style == "hold" or len(inside) < 2:
            notes += [(start, end, p) for p in pitches]
        elif style == "arp":
            ends = np.r_[inside[1:], end]
            order = pitches + pitches[-2:0:-1]
            notes += [(t, e, order[i % len(order)]) for i, (t, e) in enumerate(zip(inside, ends, strict=True)) if order]
        else:
            hits = inside[::2] if style == "block" else np.r_[inside[0], inside[1::2]]
            ends = np.r_[hits[1:], end]
            notes += [(t, t + 0.9 * (e - t), p) for t, e in zip(hits, ends, strict=True) for p in pitches]
    return notes


def _bass(chords: list[tuple[float, float, str]], beats: list[float], rng: np.random.Generator) -> list[Note]:
    style = str(rng.choice(["root", "beats", "fifth", "walk"]))
    notes: list[Note] = []
    for start, end, label in chords:
        root, bitmap, bass = mir_eval.chord.encode(label)
        if root < 0:
            continue
        first = 28 + (root + bass - 28) % 12
        inside = [b for b in beats if start - 1e-6 <= b < end - 1e-6] or [start]
        tones = [28 + (root + i - 28) % 12 for i in np.flatnonzero(bitmap)]
        fifth = 28 + (root + 7 - 28) % 12 if bitmap[7] else first
        for i, (t, e) in enumerate(zip(inside, [*inside[1:], end], strict=True)):
            other = {"root": first, "beats": first, "fifth": fifth if i % 2 else first, "walk": int(rng.choice(tones))}
            if style != "root":
                notes.append((t, t + 0.95 * (e - t), first if i == 0 else other[style]))
        if style == "root":
            notes.append((start, end, first))
    return notes


def _drums(
    beats: list[float], downbeats: list[float], metre: str, rng: np.random.Generator
) -> list[tuple[float, int, int]]:
    """Kick on the downbeat, snare on the backbeat (or the waltz's two and three), hats between."""
    floor, hat = rng.random() < 0.25, int(rng.choice([42, 42, 46, 51]))
    position, hits = 0, []
    triple = metre in ("6/8", "12/8")
    for beat, following in zip(beats, [*beats[1:], beats[-1] + 0.5], strict=True):
        position = 0 if beat in downbeats else position + 1
        snare = position % 2 == 1 if metre != "3/4" else position > 0
        hits.append((beat, 38 if snare else 36, 100 if position == 0 else 85))
        if floor and snare:
            hits.append((beat, 36, 90))
        parts = 3 if triple else 2
        hits += [(beat + (following - beat) * i / parts, hat, 70 if i == 0 else 50) for i in range(parts)]
    return hits


# --- sound ----------------------------------------------------------------------------------------------------------


def synthesise(clip: Clip, soundfont: Path, seconds: float, rate_hz: int, cents: float) -> np.ndarray:
    """The clip as float32 mono, through the fluidsynth program."""
    midi = mido.MidiFile(ticks_per_beat=1000)
    midi.tracks.append(mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=1_000_000)]))
    free = [c for c in range(16) if c != 9]
    for channel, (_, program, velocity, notes) in zip(free, clip.tracks, strict=False):
        events = [(a, "note_on", p, velocity) for a, _, p in notes] + [(b, "note_off", p, 0) for _, b, p in notes]
        head = [
            mido.Message("program_change", channel=channel, program=program),
            mido.Message("pitchwheel", channel=channel, pitch=round(cents / 200 * 8192)),
        ]
        midi.tracks.append(_track(events, channel, head))
    hits = [(t, "note_on", k, v) for t, k, v in clip.drums] + [(t + 0.1, "note_off", k, 0) for t, k, _ in clip.drums]
    midi.tracks.append(_track(hits, 9, []))
    with tempfile.TemporaryDirectory() as folder:
        score, sound = Path(folder) / "clip.mid", Path(folder) / "clip.wav"
        midi.save(score)
        command = [
            "fluidsynth",
            "-niq",
            "-g",
            "0.5",
            "-o",
            "synth.dynamic-sample-loading=1",
            "-r",
            str(rate_hz),
            "-F",
            str(sound),
            str(soundfont),
            str(score),
        ]
        subprocess.run(command, check=True, capture_output=True)
        stereo, _ = soundfile.read(sound, dtype="float32", always_2d=True)
    mono = stereo.sum(axis=1)[: int(seconds * rate_hz)]
    return mono / max(1.0, float(np.abs(mono).max()) * 1.02)


def _track(events: list[tuple[float, str, int, int]], channel: int, head: list[mido.Message]) -> mido.MidiTrack:
    track, now = mido.MidiTrack(head), 0
    for time_s, kind, note, velocity in sorted(events, key=lambda e: (e[0], e[1] == "note_on")):
        tick = round(time_s * 1000)
        track.append(mido.Message(kind, channel=channel, note=note, velocity=velocity, time=tick - now))
        now = tick
    return track


def sources(args: argparse.Namespace) -> list[tuple[str, Path]]:
    """Every song of the corpora, of which ``--part`` keeps a hash-chosen share (the same songs whatever the seed)."""
    found: list[tuple[str, Path]] = []
    if args.pop909:
        found += [("pop909", p.parent) for p in sorted(args.pop909.glob("*/key_audio.txt"))]
    if args.billboard:
        found += [("billboard", p.parent) for p in sorted(args.billboard.glob("*/salami_chords.txt"))]
    if args.openewld:
        found += [("openewld", p) for p in sorted(args.openewld.rglob("*.mxl"))]
    if args.part == "all":
        return found
    held = [hashlib.sha256(p.name.encode()).digest()[0] < 256 // 4 for _, p in found]
    return [s for s, h in zip(found, held, strict=True) if h == (args.part == "held")]


def render(job: tuple[int, str, Path, argparse.Namespace]) -> str | None:
    """Write one clip; None where the song has no usable clip."""
    index, corpus, path, args = job
    rng = np.random.default_rng([args.seed, index])
    try:
        score = READERS[corpus](path, rng)
        clip = arrange(score, args.seconds, rng) if score else None
    except (InputError, mir_eval.chord.InvalidChordException, ElementTree.ParseError):
        return None  # a label or file that cannot be read exactly has no exact truth
    if clip is None:
        return None
    soundfont = args.soundfont[int(rng.integers(len(args.soundfont)))]
    cents = float(np.clip(rng.normal(0, 15), -45, 45)) if rng.random() < 0.4 else 0.0
    sound = synthesise(clip, soundfont, args.seconds, args.rate, cents)
    name = f"{corpus}-{index:05d}"
    soundfile.write(args.out / f"{name}.wav", sound, args.rate, subtype="PCM_16")
    truth = {"audio": f"{name}.wav", **clip.truth, "soundfont": soundfont.name, "detuned_cents": round(cents, 1)}
    (args.out / f"{name}.json").write_text(json.dumps(truth, indent=1), encoding="utf-8")
    return name


def main() -> None:
    """Render until ``--count`` clips stand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    for corpus in READERS:
        parser.add_argument(f"--{corpus}", type=Path)
    parser.add_argument("--soundfont", type=Path, action="append", required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=22050)
    parser.add_argument("--part", choices=("all", "fit", "held"), default="all", help="3/4 or 1/4 of the songs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    songs = sources(args)
    if not songs:
        parser.error("no songs: give --pop909, --billboard or --openewld")
    rng = np.random.default_rng(args.seed)
    order = np.concatenate([rng.permutation(len(songs)) for _ in range(1 + 3 * args.count // len(songs))])
    jobs = [(i, *songs[j], args) for i, j in enumerate(order)]
    done: Counter[str] = Counter()
    with ProcessPoolExecutor(args.jobs) as pool:
        for begin in range(0, len(jobs), 16):
            names = pool.map(render, jobs[begin : begin + 16])
            done.update(name.split("-")[0] for name in names if name)
            if done.total() >= args.count:
                break
    print(f"{done.total()} clips in {args.out}: {dict(done)}")


if __name__ == "__main__":
    main()
