"""Render clips of styles whose key is hard to tell, with keys as people write them, for ``benchmarks/harmony.py``.

    python benchmarks/render_styles.py --out clips --mma MMA --soundfont A.sf2 --soundfont B.sf2 --count 300 --seed 0
    python benchmarks/harmony.py --rendered clips --systems solfa,essentia-bgate,essentia-braw

Blues over dominant sevenths, riffs and power chords, Mixolydian rock, Dorian funk, vamps of one chord, jazz, reggae,
country, dance and hip hop: a progression of ``CHARTS``, played by a groove of MMA (folder with ``mma.py`` and ``lib``,
https://www.mellowood.ca/mma), a melody of scales that players of the style use (blue notes over major chords too, up
to half a semitone sharp), riffs, distorted guitars, and a mastering chain (``pedalboard``: overdrive, compression,
room, narrow bands, noise, MP3). The key is the tonic with the mode of the tonic chord; where only riffs and power
chords sound, that of the riff's third. Of a loop that has two keys, ``key`` is the likelier, ``key_shares`` says both.

``--part held`` takes the grooves and charts that ``--part fit`` leaves out. What is played depends on ``--seed`` and
the clip's number alone, but for small variations of MMA's players; clips that stand are kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pedalboard as pb
import soundfile
from numpy.typing import NDArray
from pretty_midi import PrettyMIDI

from solfa.datagen.world.render import stem_of

RATE, SECONDS = 22050, 24.0
NAMES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
NUMERALS = {"i": 0, "ii": 2, "iii": 4, "iv": 5, "v": 7, "vi": 9, "vii": 11}
# Scales of melodies, in semitones from the tonic: of plain major and minor music, then of styles.
SCALES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11), "major five": (0, 2, 4, 7, 9), "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "minor": (0, 2, 3, 5, 7, 8, 10), "minor five": (0, 3, 5, 7, 10), "harmonic": (0, 2, 3, 5, 7, 8, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10), "phrygian": (0, 1, 3, 5, 7, 8, 10), "blues": (0, 3, 5, 6, 7, 10),
    "both": (0, 2, 3, 4, 5, 7, 9, 10),
}  # fmt: skip
# Style: pattern of grooves, tempo from and to, share of riffs, share of distortion, scales of major and of minor,
# and charts: a bar a chord, "|" and the mode, or shares of keys (interval from the tonic, M or m).
CHARTS: dict[str, tuple[str, int, int, float, float, str, str, str]] = {
    "blues": ("blues|boogie|boggie|shuffle|twist|50s", 65, 170, 0.3, 0.5,
              "blues,both,blues,major five", "blues,minor five,minor", """
        I7 I7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7 | M
        I7 IV7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 I7 | M
        I I I I7 IV7 IV7 I I V7 V7 I I | M
        I7 I7 I7 I7 IV7 IV7 I7 vi7 ii7 V7 I7 V7 | M
        I7 V7 IV7 IV7 I7 V7 I7 V7 | M
        I7 | M
        I9 I9 IV9 I9 | M
        I6 I6 IV6 I6 V7 IV7 I6 I6 | M
        i i i i iv iv i i bVI7 V7 i i | m
        i7 i7 i7 i7 iv7 iv7 i7 i7 v7 iv7 i7 i7 | m
        i7 | m
        i7 iv7 | m"""),
    "rock": ("rock|8beat|16beat|punk|poprock|folkrock|mtl|hrk|metal", 80, 175, 0.35, 0.7,
             "major five,mixolydian,both,blues,major", "minor five,minor,blues,minor five", """
        I bVII IV I | M
        I bVII IV IV | M
        I IV V IV | M
        I IV | M
        I bVII | M
        I V IV I | M
        I bIII IV I | M
        I IV bVII IV | M
        I I IV IV I I V IV | M
        I V vi IV | M
        I5 IV5 bVII5 IV5 | .75 0M .25 0m
        I5 bIII5 IV5 I5 | .25 0M .75 0m
        I5 bVI5 bVII5 I5 | m
        I5 bVII5 bVI5 bVII5 | m
        I5 bIII5 bVII5 IV5 | m
        I5 bII5 I5 bVII5 | m
        I5 | .3 0M .7 0m
        i bVII bVI bVII | m
        i bVI bIII bVII | m
        i bVII bVI V | m
        i iv v i | m
        i bIII bVII iv | m
        i IV i IV | m
        i i bVI bVII | m"""),
    "country": ("country|cntry|bluegrass|western|folk|2beat|polka|zydeco", 80, 200, 0.0, 0.15,
                "major,major five,mixolydian", "minor,minor five", """
        I I IV I V V I I | M
        I IV V I | M
        I IV I V | M
        I V I V I IV V I | M
        I vi IV V | M
        I bVII I V | M
        I I7 IV iv I V I I | M
        i bVII i V | m
        i iv i V7 | m"""),
    "funk": ("funk|soul|motown|rb|r.b|rnb|strut|fusion", 80, 130, 0.3, 0.2,
             "both,mixolydian,blues", "dorian,minor five,blues", """
        I9 | M
        I7 I7 I7 IV7 | M
        I7 IV7 | M
        Imaj7 IVmaj7 | M
        I iii7 IV V | M
        ii7 V7 ii7 V7 | .3 2m .7 0M
        i7 IV7 | m
        i7 | m
        i7 bVIImaj7 | m
        i9 iv9 | m
        i7 bVI7 V7 i7 | m"""),
    "reggae": ("reggae|ska|calypso|worldpop", 65, 160, 0.1, 0.1,
               "major,major five,mixolydian", "minor,minor five", """
        I IV | M
        I IV V IV | M
        I V vi IV | M
        I ii | M
        I vi ii V | M
        I bVII | M
        I iii vi V | M
        i iv | m
        i bVII | m
        i v | m
        i bVII bVI bVII | m
        i iv i V | m"""),
    "jazz": ("jazz|swing|bop|bigband|bossa|samba|foxtrot|nite|charleston|ragtime|dixie", 80, 210, 0.0, 0.0,
             "major,both,mixolydian", "harmonic,minor,dorian,blues", """
        ii7 V7 Imaj7 Imaj7 | M
        Imaj7 vi7 ii7 V7 | M
        Imaj7 ii7 iii7 ii7 | M
        iii7 VI7 ii7 V7 | M
        I6 VI7 II7 V7 I6 VI7 II7 I6 | M
        Imaj7 IV7 iii7 VI7 ii7 V7 Imaj7 V7 | M
        I7 IV7 I7 I7 IV7 #ivdim7 I7 VI7 ii7 V7 I7 V7 | M
        iim7b5 V7 i6 i6 | m
        i6 iv7 V7 i6 | m
        i7 bVI7 V7 i7 | m
        iv7 bVII7 bIIImaj7 bVImaj7 iim7b5 V7 i6 i6 | .75 0m .25 3M"""),
    "dance": ("disco|dance|house|techno|trance|rave|electric|digital", 105, 140, 0.25, 0.1,
              "major,major five", "minor,minor five,dorian", """
        I V vi IV | M
        Imaj7 iii7 IVmaj7 V7 | M
        ii7 V7 Imaj7 vi7 | M
        IV V iii vi | .6 0M .4 9m
        vi IV I V | .5 0M .5 9m
        I IV ii V | M
        i bVI bIII bVII | m
        i7 iv7 | m
        i7 IV7 | m
        i | m
        i bVII bVI bVII | m
        i bVI iv v | m"""),
    "hip hop": ("hip|trip|rap|modernr|slow16|ambient|trance|rb|rnb", 70, 110, 0.45, 0.15,
                "major five,both", "minor,minor five,phrygian,blues", """
        Imaj7 IVmaj7 | M
        I7 | M
        I ii | M
        Imaj7 vi7 | M
        i | m
        i bVI | m
        i iv | m
        i bII | m
        i7 v7 | m
        i bVI bVII i | m
        i i iv V | m
        i9 bVImaj7 | m"""),
    "pop": ("pop|ballad|bald|serenade|oldie|soft|spiritual|waltz", 60, 140, 0.0, 0.1,
            "major,major five", "minor,harmonic,minor five", """
        I V vi IV | M
        I vi IV V | M
        I IV V I | M
        I iii IV V | M
        I bVII IV I | M
        I V/ IV iv | M
        vi IV I V | .5 0M .5 9m
        IV I V vi | .7 0M .3 9m
        i bVI bIII bVII | m
        i iv V i | m
        i bVII bVI V | m
        i iv bVII bIII bVI iim7b5 V V | m"""),
}  # fmt: skip
LEADS = {
    "blues": (22, 25, 26, 27, 28, 29, 65, 66, 56, 0), "rock": (29, 30, 29, 30, 27, 18, 52, 80),
    "country": (22, 25, 40, 105, 26, 21, 110),
    "funk": (4, 27, 56, 61, 65, 7, 80), "reggae": (17, 56, 57, 26, 52, 22), "jazz": (0, 11, 56, 59, 65, 66, 26, 71, 73),
    "dance": (80, 81, 82, 52, 53, 62, 50), "hip hop": (4, 11, 73, 80, 46, 53, 6),
    "pop": (0, 52, 53, 40, 65, 73, 24, 80),
}  # fmt: skip


def chart_of(line: str) -> tuple[list[tuple[int, str]], dict[tuple[int, str], float]]:
    """Roots (semitones above the tonic) and suffixes of the bars, and shares of keys (interval, mode)."""
    bars, told = (part.split() for part in line.split("|"))
    chords = []
    for bar in bars:
        accidental, numeral, suffix = re.fullmatch(r"([b#]?)([ivIV]+)/?(.*)", bar).groups()  # type: ignore[union-attr]
        root = NUMERALS[numeral.lower()] + {"b": -1, "#": 1, "": 0}[accidental]
        minor = numeral.islower() and not suffix.startswith(("m7b5", "dim"))
        chords.append((root % 12, ("m" if minor else "") + {"maj7": "M7"}.get(suffix, suffix)))
    modes = {"M": "major", "m": "minor"}
    if len(told) == 1:
        return chords, {(0, modes[told[0]]): 1.0}
    return chords, {(int(k[:-1]), modes[k[-1]]): float(p) for p, k in zip(told[::2], told[1::2], strict=True)}


def likeliest(shares: dict[Any, float]) -> Any:
    """The key with the largest share."""
    return max(shares, key=lambda k: shares[k])


def held_out(name: str) -> bool:
    """Whether a groove's file or a chart is kept out of ``--part fit``: one in four."""
    return hashlib.sha256(name.encode()).digest()[0] < 64


def grooves(mma: Path, pattern: str, held: bool) -> list[str]:
    """Grooves in four of the files whose name fits the pattern."""
    found = []
    for path in sorted((mma / "lib").glob("*/*.mma")):
        text = path.read_text(errors="ignore")
        if not re.search(pattern, path.stem.lower()) or held_out(path.stem) != held:
            continue
        if set(re.findall(r"(?im)^\s*time\s+(\d+)", text)) - {"4"}:
            continue
        names = re.findall(r"(?im)^\s*defgroove\s+(\S+)", text)
        names = [n for n in names if not re.search(r"(?i)intro|end|fill|metronome|break|walk$", n)]
        found += [n if path.parent.name == "stdlib" else f"{path.parent.name}:{n}" for n in names[:4]]
    return found


def melody(
    rng: np.random.Generator, roots: list[tuple[int, str]], scale: tuple[int, ...], tonic: int, beat_s: float
) -> list[tuple[float, float, int]]:
    """Phrases on a scale that come back, and rest on the tonic or a tone of the chord."""
    low, density = int(rng.choice([52, 60, 64])), int(rng.choice([1, 2, 2, 4]))
    ladder = [p for p in range(low, low + 20) if (p - tonic) % 12 in scale]
    homes = [i for i, p in enumerate(ladder) if (p - tonic) % 12 == 0]
    at, notes, place = 0.0, [], int(rng.choice(homes))
    rhythm = [float(rng.choice([0.5, 1, 1, 1, 2])) * (2 / density) for _ in range(int(rng.integers(4, 11)))]
    for bar in range(0, len(roots), 2):
        if rng.random() < 0.15:
            continue
        at = 4.0 * bar + float(rng.choice([0, 0, 0.5, 1]))
        for k, step in enumerate(rhythm):
            if at >= 4 * (bar + 2) or at >= 4 * len(roots):
                break
            place = int(np.clip(place + rng.choice([-2, -1, -1, 0, 1, 1, 2]), 0, len(ladder) - 1))
            if k == len(rhythm) - 1 or rng.random() < 0.12:
                place = min(homes, key=lambda h: abs(h - place))
            elif rng.random() < 0.35:
                root = roots[int(at // 4)][0]
                place = min(
                    range(len(ladder)), key=lambda i: ((ladder[i] - tonic - root) % 12 not in (0, 7), abs(i - place))
                )
            if rng.random() < 0.9:
                notes.append((at * beat_s, (at + min(step, 4) * rng.uniform(0.6, 1)) * beat_s, ladder[place]))
            at += step
    return notes


def riff(
    rng: np.random.Generator, roots: list[tuple[int, str]], third: int, tonic: int, beat_s: float
) -> list[tuple[float, float, int]]:
    """A figure of one bar, moved to the chord's root, in power chords or single notes."""
    low, power = int(rng.choice([28, 35, 40])), rng.random() < 0.5
    colours = {3: (0, 0, 0, 3, 5, 7, 10, 10), 4: (0, 0, 0, 4, 7, 9, 10, 5)}[third]
    if third == 3 and rng.random() < 0.2:
        colours = (0, 0, 0, 1, 3, 6, 7, 8)
    step = float(rng.choice([0.5, 0.5, 1, 0.25]))
    figure = [int(rng.choice(colours)) if rng.random() < 0.85 else -1 for _ in range(int(4 / step))]
    figure[0] = 0
    notes = []
    for bar, (root, _) in enumerate(roots):
        for k, colour in enumerate(figure):
            if colour >= 0:
                # on other roots than the tonic the figure is mostly the root: moved thirds are not the key's
                interval = colour if root == 0 or rng.random() < 0.3 else 0
                pitch = low + (tonic + root - low) % 12 + interval
                start = (4 * bar + k * step) * beat_s
                chord = (0, 7, 12) if power else (0,)
                notes += [(start, start + step * beat_s * 0.9, pitch + add) for add in chord]
    return notes


def accompaniment(mma: Path, groove: str, roots: list[tuple[int, str]], tonic: int, tempo: int) -> PrettyMIDI | None:
    """The chart as MMA plays it; None where MMA will not."""
    chart = [f"{i + 1} {NAMES[(tonic + root) % 12]}{suffix}" for i, (root, suffix) in enumerate(roots)]
    with tempfile.TemporaryDirectory() as folder:
        text, played = Path(folder) / "song.mma", Path(folder) / "song.mid"
        text.write_text("\n".join([f"Tempo {tempo}", f"Groove {groove}", *chart, ""]))
        subprocess.run([sys.executable, "mma.py", text, "-f", played], cwd=mma, capture_output=True)
        return PrettyMIDI(str(played)) if played.exists() else None


def mastered(x: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """The mix as a record might sound."""
    chain: list[Any] = []
    if rng.random() < 0.5:
        chain.append(pb.Reverb(room_size=float(rng.uniform(0.1, 0.8)), wet_level=float(rng.uniform(0.05, 0.3))))
    if rng.random() < 0.5:
        chain.append(pb.Compressor(threshold_db=float(rng.uniform(-30, -12)), ratio=float(rng.uniform(2, 8))))
    if rng.random() < 0.3:
        chain += [pb.HighpassFilter(float(rng.uniform(60, 250))), pb.LowpassFilter(float(rng.uniform(3000, 9000)))]
    if rng.random() < 0.5:
        chain += [pb.LowShelfFilter(200, float(rng.normal(0, 5))), pb.HighShelfFilter(3000, float(rng.normal(0, 5)))]
    if rng.random() < 0.3:
        chain.append(pb.Distortion(float(rng.uniform(3, 16))))
    if rng.random() < 0.4:
        chain.append(pb.Limiter(threshold_db=float(rng.uniform(-18, -6))))
    x = pb.Pedalboard(chain)(x / (np.abs(x).max() + 1e-9) * 0.7, RATE)
    if rng.random() < 0.3:
        x = x + (rng.normal(0, 1, len(x)) * np.std(x) * rng.uniform(0.01, 0.1)).astype(np.float32)
    if rng.random() < 0.3:
        x = pb.Pedalboard([pb.MP3Compressor(float(rng.uniform(3, 9.5)))])(x, RATE)
    return np.asarray(x / (np.abs(x).max() + 1e-9) * 0.8, np.float32)


def write(index: int, args: argparse.Namespace) -> bool:
    """Write one clip; False where chance picked what cannot be played."""
    out = args.out / f"{index:05d}.json"
    if out.exists():
        return True
    rng, held = np.random.default_rng([args.seed, index, args.part == "held"]), args.part == "held"
    style = str(rng.choice(list(CHARTS), p=[0.2, 0.24, 0.06, 0.1, 0.07, 0.08, 0.08, 0.1, 0.07]))
    pattern, slow, fast, riffs, driven, of_major, of_minor, text = CHARTS[style]
    lines = [line.strip() for line in text.strip().splitlines()]
    lines = [line for line in lines if held_out(line) == held] or lines
    mode = "minor" if rng.random() < 0.5 else "major"  # as often, whatever the table has more of
    line = str(rng.choice([line for line in lines if likeliest(chart_of(line)[1])[1] == mode] or lines))
    chords, shares = chart_of(line)
    tonic, tempo = int(rng.integers(12)), round(float(rng.uniform(slow, fast)))
    beat_s, cents = 60 / tempo, float(np.clip(rng.normal(0, 12), -40, 40))
    held_bars = int(rng.choice([1, 1, 1, 2]))
    first = int(rng.integers(0, len(chords))) if rng.random() < 0.4 else 0
    bars = int(SECONDS / (4 * beat_s)) + 2
    roots = [chords[(first + i // held_bars) % len(chords)] for i in range(bars)]
    minor = likeliest(shares)[1] == "minor"
    home = (tonic + likeliest(shares)[0]) % 12
    found = grooves(args.mma, pattern, held) or grooves(args.mma, pattern, not held)
    midi = accompaniment(args.mma, str(rng.choice(found)), roots, tonic, tempo)
    if midi is None:
        return False
    font = args.soundfont[int(rng.integers(len(args.soundfont)))]
    parts = []
    for played in midi.instruments:
        notes = [(n.start, n.end, n.pitch, n.velocity) for n in played.notes]
        parts.append((played.program, played.is_drum, notes, 1.0))
    loud = [p for p in parts if not p[1]]
    if rng.random() < riffs:
        if rng.random() < 0.5:  # the riff, the bass and drums alone
            parts = [p for p in parts if p[1] or 32 <= p[0] < 40]
        figure = riff(rng, roots, 3 if minor else 4, tonic, beat_s)
        program = int(rng.choice([29, 30, 27, 33, 38, 81] if style in ("rock", "blues") else [33, 38, 36, 27, 4, 81]))
        parts.append((program, False, [(*n, 100) for n in figure], 1.1))
    elif rng.random() < 0.15 and loud:
        parts = loud  # without drums
    if rng.random() < 0.75:
        scale = SCALES[str(rng.choice((of_minor if minor else of_major).split(",")))]
        sung = melody(rng, roots, scale, home, beat_s)
        program = int(rng.choice(LEADS[style]))
        blue = not minor and rng.random() < 0.5
        bent = [n for n in sung if blue and (n[2] - home) % 12 == 3]
        parts.append((program, False, [(*n, 100) for n in sung if n not in bent], float(rng.uniform(0.7, 1.4))))
        parts.append((-1 - program, False, [(*n, 100) for n in bent], 1.0))
    count, total = int(SECONDS * RATE), np.zeros(int(SECONDS * RATE), np.float32)
    drive = rng.random() < driven
    for program, drums, notes, gain in parts:
        if not notes:
            continue
        off = cents + (float(rng.uniform(15, 45)) if program < 0 else 0.0)
        program = -1 - program if program < 0 else program
        part = SimpleNamespace(program=0 if drums else program, drums=drums)
        stem = stem_of(notes, part, font, off, 0.0, count, RATE)  # type: ignore[arg-type]
        if drive and 24 <= program < 32 and not drums:
            stem = pb.Pedalboard([pb.Distortion(float(rng.uniform(12, 34))), pb.LowpassFilter(5000)])(stem, RATE)
            stem = stem * 0.1 / (np.std(stem) + 1e-6)
        else:
            stem = stem * 0.1 / (np.std(stem[np.abs(stem) > 1e-4]) + 1e-6) if (np.abs(stem) > 1e-4).any() else stem
        total += stem * np.float32(gain * rng.uniform(0.5, 1.2) * (0.8 if drums else 1))
    if np.abs(total).max() < 1e-3:
        return False
    sound = mastered(total, rng)
    soundfile.write(out.with_suffix(".wav"), sound, RATE, subtype="PCM_16")
    keys = {f"{NAMES[(tonic + k) % 12]} {mode}": share for (k, mode), share in shares.items()}
    about = {"audio": f"{out.stem}.wav", "corpus": "styles", "source": f"{style}: {line}", "soundfont": font.name}
    out.write_text(json.dumps({**about, "key": likeliest(keys), "key_shares": keys}), encoding="utf-8")
    return True


def main() -> None:
    """Render the clips number 0 to ``--count`` - 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("out", "mma"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--soundfont", type=Path, action="append", required=True)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", choices=("fit", "held"), default="fit")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    args.mma = args.mma.resolve()
    stand = sum(write(i, args) for i in range(args.count))
    sys.stdout.write(f"{stand} clips in {args.out}\n")


if __name__ == "__main__":
    main()
