"""Train the instrument probe (``weights/files/tags-probe.npz``): what YAMNet's last layer knows of timbre.

    solfa data world WORLD --count 1000 ...
    python tools/fit_tags_probe.py features --world WORLD --recordings MUSIC [--recordings MUSIC ...] \\
        --soundfont FONT [--soundfont FONT ...] --groove GROOVE --out features
    python tools/fit_tags_probe.py train features --concept tuba --concept brass ... --out tags-probe.npz

- ``features``: the layer, second by second, of clips in which every instrument's seconds are known: clips of a music
  world; and parts of General MIDI (lines, chords, stabs, basses; vibrato and swells) that enter and leave, at -12 to
  +6 dB over cuts of recordings, or with others and drums that a person played; effects and codecs of the music world
  on half of them. Needs ``fluidsynth``. Safe to stop; run it again to go on.
- ``train``: one logistic regression a concept. Where YAMNet finds an instrument in a bare cut, that it is absent is not
  claimed of that cut. Prints
  how well each is told from the others on every fifth world clip, which a first fit leaves out.
"""

import argparse
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import drums
import gm
from solfa.analysis.tagging import SAMPLE_RATE_HZ, voters, yamnet_mel
from solfa.audio import SUFFIXES, at_rate, stretches
from solfa.core.errors import SolfaError
from solfa.core.types import Audio, FloatArray
from solfa.core.vocabulary import concepts, lineage
from solfa.datagen.world.effects import treat
from solfa.datagen.world.score import table
from solfa.weights import session, set_threads
from tags import auc

CLIP_S, GAP_S = 9, 1.5
PARTS, OVER, ALONE = 80, 120, 50  # of a batch: parts, clips over beds, clips without
RIDGE, WORLD = 0.1, 1.0  # strength of the ridge, and the weight of a second of a world clip
USUAL = (-8.0, 2.0)  # mean and standard deviation of log-odds over recordings
UNSURE = 0.03  # mean score of a bare cut from which an output leaves open whether the instrument plays
# Ranges of General MIDI's families of eight, and of programs whose range is another; lowest and highest note.
FAMILIES = (
    (36, 88), (60, 93), (41, 84), (40, 79), (27, 50), (40, 84), (43, 81), (45, 79), (42, 82), (60, 91), (48, 88),
    (45, 79), (48, 84), (45, 79), (48, 79), (48, 79),
)  # fmt: skip
RANGES = {
    32: (28, 52), 40: (55, 93), 41: (48, 79), 42: (36, 69), 43: (28, 50), 47: (38, 57), 56: (54, 84), 57: (38, 70),
    58: (26, 53), 59: (54, 82), 60: (40, 74), 64: (56, 86), 65: (49, 79), 66: (44, 74), 67: (36, 66), 68: (58, 88),
    69: (52, 80), 70: (34, 70), 71: (50, 88), 72: (74, 100), 73: (60, 93),
}  # fmt: skip
# How often a part is of these programs; else it is of any that the vocabulary names.
OFTEN = {
    (40, 41, 42, 44, 45, 48, 48, 49, 49, 50, 51): 0.16,
    (56, 56, 56, 57, 57, 58, 59, 60, 61, 61, 61, 62, 63): 0.2,
    (64, 65, 65, 66, 66, 67): 0.1,
    (32, 32, 33, 33, 34, 35, 36, 37, 38, 39): 0.13,
}
CHORDAL = {*range(0, 8), *range(16, 24), *range(24, 32), 46, *range(48, 55), 60, 61, 62, 63, *range(88, 96)}
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 3, 5, 6, 7, 10), (0, 2, 4, 7, 9))


def names() -> list[str]:
    """Concepts that parts of General MIDI are cases of, in the order of the vocabulary."""
    played = {wider for name in table()["gm"]["concepts"] if name for wider in lineage(name)}
    return [c for c in concepts() if c in played and concepts()[c].kind in ("instrument", "voice") and c != "voice"]


@dataclass
class Part:
    """A part of a clip: its program, the seconds it was asked to play, and its sound at ``gm.RATE_HZ``."""

    program: int
    samples: FloatArray


# --- parts ------------------------------------------------------------------------------------------------------------


def programs_of(soundfont: Path) -> set[int]:
    """The melodic programs that a soundfont has and the vocabulary names."""
    named = table()["gm"]["concepts"]
    return {n for n in drums.kits_of(soundfont, bank=0) if n < 128 and named[n]}


def drawn(rng: np.random.Generator, have: set[int]) -> int:
    """A program, the weak instruments more often."""
    at = float(rng.random())
    for group, share in OFTEN.items():
        if at < share:
            return int(rng.choice([n for n in group if n in have] or sorted(have)))
        at -= share
    return int(rng.choice(sorted(have)))


def part_events(rng: np.random.Generator, program: int, begin_s: float) -> list[tuple[int, bytes]]:
    """MIDI messages on channel 0 of a part of up to ``CLIP_S`` seconds: half of them enter or leave on the way."""
    first, last = 0.0, float(CLIP_S)
    if rng.random() < 0.5:
        length = float(rng.uniform(3, 6))
        first = float(rng.uniform(0, CLIP_S - length))
        last = first + length

    def at(second: float) -> int:
        return int((begin_s + second) * gm.TICKS_PER_S)

    low, high = RANGES.get(program, FAMILIES[program // 8])
    texture = "bass" if program // 8 == 4 or (program in (43, 58) and rng.random() < 0.7) else "line"
    if texture == "line" and rng.random() < (0.65 if program in CHORDAL else 0.15):
        texture = str(rng.choice(["chords", "stabs", "broken"]))
    scale, tonic = SCALES[int(rng.integers(len(SCALES)))], int(rng.integers(12))
    pitches = [p for p in range(low, high + 1) if (p - tonic) % 12 in scale]
    beat_s, level = 60 / float(rng.uniform(66, 160)), int(rng.integers(60, 118))
    held, vibrato = float(rng.uniform(0.3, 1.05)), int(rng.integers(0, 90)) if rng.random() < 0.5 else 0
    lengths = [np.array([0.5, 0.5, 1, 1, 2]), np.array([0.25, 0.25, 0.5, 1]), np.array([1.0, 2, 2, 4])][
        int(rng.integers(3))
    ]
    events = [(at(0), bytes((0xB0, 121, 0))), (at(0), bytes((0xC0, program))), (at(0), bytes((0xB0, 1, vibrato)))]
    if rng.random() < 0.3:  # a swell
        events += [
            (at(t), bytes((0xB0, 11, int(v))))
            for t, v in zip(
                np.arange(0, CLIP_S, 0.25), 90 + 37 * np.sin(np.arange(36) * rng.uniform(0.1, 0.8)), strict=True
            )
        ]
    place, now = int(rng.integers(len(pitches))), first
    span = 5 if texture in ("chords", "stabs", "broken") else 1
    while now < last - 0.1:
        if texture == "bass":
            place = int(np.clip(place + rng.choice([0, 0, 0, -3, 2, 4, -1, 1]), 0, len(pitches) - 1))
        else:
            place = int(np.clip(place + rng.integers(-3, 4), 0, max(0, len(pitches) - span)))
        length = float(rng.choice(lengths)) * beat_s
        length = min(length, last - now)
        sound_s = max(0.06, min(length * held, 0.25 if texture == "stabs" else length, CLIP_S - now))
        chord = [pitches[min(place + step, len(pitches) - 1)] for step in ((0, 2, 4) if span > 1 else (0,))]
        if texture == "line" and rng.random() < 0.1:
            chord.append(pitches[min(place + 2, len(pitches) - 1)])
        if texture == "broken":
            chord = [chord[int(rng.integers(3))]]
        if rng.random() > 0.1:
            for pitch in set(chord):
                loud = int(np.clip(level + rng.normal(0, 8), 25, 127))
                events += [(at(now) + 1, bytes((0x90, pitch, loud))), (at(now + sound_s), bytes((0x80, pitch, 0)))]
        now += length
    return events


def parts(soundfont: Path, count: int, rng: np.random.Generator) -> list[Part]:
    """Parts played by a soundfont, one after the other in one MIDI file."""
    have = programs_of(soundfont)
    programs = [drawn(rng, have) for _ in range(count)]
    events = [e for i, n in enumerate(programs) for e in part_events(rng, n, i * (CLIP_S + GAP_S))]
    events.append((int((count * (CLIP_S + GAP_S)) * gm.TICKS_PER_S), bytes((0xB0, 123, 0))))
    sound = gm.synthesise(soundfont, events)
    step, size = (CLIP_S + GAP_S) * gm.RATE_HZ, CLIP_S * gm.RATE_HZ
    cut = [sound[int(i * step) : int(i * step) + size] for i in range(count)]
    return [Part(n, np.pad(s, (0, size - len(s)))) for n, s in zip(programs, cut, strict=True)]


# --- clips ------------------------------------------------------------------------------------------------------------


def level(samples: FloatArray) -> float:
    """RMS of what sounds: of the tenths of a second within 20 dB of the loudest."""
    power = np.mean(samples[: len(samples) // 2205 * 2205].reshape(-1, 2205) ** 2, axis=1)
    return float(np.sqrt(np.mean(power[power >= power.max() / 100]))) if len(power) else 0.0


def by_second(samples: FloatArray) -> FloatArray:
    """RMS of each second [shape=(CLIP_S,)]."""
    return np.sqrt(np.mean(samples.reshape(CLIP_S, -1) ** 2, axis=1))


def mixed(bed: FloatArray, over: list[Part], ratios_db: list[float]) -> tuple[FloatArray, FloatArray]:
    """The mix, and 1 (sounds), 0 (does not) or NaN (too soft to say) by second and concept of ``names``."""
    order = {name: i for i, name in enumerate(names())}
    truth = np.zeros((CLIP_S, len(order)), np.float32)
    reference, out = level(bed) or 0.1, bed.copy()
    scaled = [
        p.samples * np.float32(reference / max(level(p.samples), 1e-5) * 10 ** (db / 20))
        for p, db in zip(over, ratios_db, strict=True)
    ]
    out = bed + sum(scaled, np.zeros_like(bed))
    total = by_second(out)
    for part, sound in zip(over, scaled, strict=True):
        own = by_second(sound)
        state = np.where(own > 0.16 * total, 1.0, np.where(own > 0.01 * total, np.nan, 0.0))
        for wider in lineage(table()["gm"]["concepts"][part.program]):
            if wider in order:
                column = truth[:, order[wider]]
                column[:] = np.where((column == 1) | (state == 1), 1.0, column + state)  # NaN remains where not 1
    return out, truth


def cuts(files: list[Path], count: int, rng: np.random.Generator) -> Iterator[tuple[str, FloatArray]]:
    """Cuts of recordings, of another file each time."""
    order = [files[i] for i in rng.permutation(len(files))]
    found = 0
    for file in order * 3:
        if found == count:
            return
        try:
            stretch = next(iter(stretches(file, 60.0)))
        except (SolfaError, StopIteration):
            continue
        samples = at_rate(stretch, gm.RATE_HZ).samples
        room = len(samples) - CLIP_S * gm.RATE_HZ
        if room < 0:
            continue
        start = int(rng.integers(room + 1))
        cut = samples[start : start + CLIP_S * gm.RATE_HZ]
        if level(cut) > 0.01:
            found += 1
            yield f"{file.parent.name}/{file.name}", cut


# --- features ---------------------------------------------------------------------------------------------------------


def seen(samples: FloatArray) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """YAMNet's scores [shape=(CLIP_S, 521)] and the layer before them [shape=(CLIP_S, 1024)] of a clip."""
    sound = at_rate(Audio(np.ascontiguousarray(samples, np.float32), gm.RATE_HZ), SAMPLE_RATE_HZ).samples
    size = CLIP_S * SAMPLE_RATE_HZ
    seconds = np.pad(sound, (0, max(0, size - len(sound))))[:size].reshape(CLIP_S, -1)[:, :15600]
    found = session("yamnet", threads=1).run(["probs", "embedding"], {"patch": yamnet_mel(seconds)[:, None]})
    return found[0].astype(np.float16), found[1].astype(np.float16)


def features(arguments: argparse.Namespace) -> None:
    """Write ``beds.npz``, ``batch-N.npz`` and ``world.npz`` where they are missing."""
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "beds.npz").exists():
        files = sorted(f for folder in arguments.recordings for f in folder.rglob("*") if f.suffix in SUFFIXES)
        beds = list(cuts(files, arguments.beds, np.random.default_rng(arguments.seed)))
        sounds = [cut * np.float32(0.08 / level(cut)) for _, cut in beds]
        scores, layers = zip(*map(seen, sounds), strict=True)
        stored = {"samples": np.stack(sounds).astype(np.float16), "scores": np.stack(scores), "layer": np.stack(layers)}
        np.savez(out / "beds.npz", names=[name for name, _ in beds], **stored)
    if not (out / "world.npz").exists():
        np.savez(out / "world.npz", **world_clips(arguments.world))
    beds_BN = np.load(out / "beds.npz")["samples"].astype(np.float32)
    takes = drums.takes(arguments.groove, frozenset({"train"}))
    for number in range(arguments.batches):
        if not (out / f"batch-{number}.npz").exists():
            font = arguments.soundfont[number % len(arguments.soundfont)]
            rows = batch(font, beds_BN, takes, np.random.default_rng([arguments.seed, number]))
            np.savez(out / f"batch-{number}.npz", **rows)
            print(f"batch {number}: {font.name}", flush=True)


def batch(font: Path, beds_BN: FloatArray, takes: list[Path], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Clips of one soundfont's parts: over beds, and without (bed -1)."""
    pool = [p for p in parts(font, PARTS, rng) if level(p.samples) > 1e-4]
    kits = drums.loops(font, [takes[i] for i in rng.integers(len(takes), size=12)], rng)
    rows: dict[str, list[Any]] = {"layer": [], "truth": [], "bed": []}

    def add(mix: tuple[FloatArray, FloatArray], bed: int) -> None:
        sound, truth = mix
        if rng.random() < 0.5:
            sound, _ = treat(sound, gm.RATE_HZ, rng, dry=0.0)
        layer = seen(sound / max(1.0, float(np.abs(sound).max())))[1]
        for key, value in zip(rows, (layer, truth, bed), strict=True):
            rows[key].append(value)

    for _ in range(OVER):
        bed = int(rng.integers(len(beds_BN)))
        over = [pool[j] for j in rng.integers(len(pool), size=1 + int(rng.random() < 0.4))]
        loud = np.float32(10 ** rng.uniform(-0.5, 0.3))
        add(mixed(beds_BN[bed] * loud, over, [float(rng.uniform(-12, 6)) for _ in over]), bed)
    for i in range(ALONE):
        many = 1 if rng.random() < 0.3 else int(rng.integers(2, 5))
        over = [pool[j] for j in rng.choice(len(pool), many, replace=False)]
        under = np.zeros(CLIP_S * gm.RATE_HZ, np.float32)
        if many > 1 and rng.random() < 0.6:
            loop = np.resize(kits[i % 12][0], under.shape)
            under += loop * np.float32(0.1 / max(level(loop), 1e-4))
        add(mixed(under, over, [float(rng.uniform(-10, 4)) for _ in over]), -1)
    return {key: np.stack(values) for key, values in rows.items()}


def world_clips(folder: Path) -> dict[str, NDArray[Any]]:
    """The layer and the truth of the first nine seconds of clips of a music world, its held-out soundfont left out."""
    rows: dict[str, list[Any]] = {"layer": [], "truth": []}
    for shard in sorted([*(folder / "train").glob("*.tar"), *(folder / "val").glob("*.tar")]):
        with tarfile.open(shard) as tar:
            clips = {m.name: m for m in tar if m.name.endswith((".flac", ".jams"))}
            for name in sorted(n for n in clips if n.endswith(".jams")):
                told, sound = (tar.extractfile(clips[n]) for n in (name, name.removesuffix("jams") + "flac"))
                assert told is not None and sound is not None
                samples, rate = soundfile.read(io.BytesIO(sound.read()), dtype="float32", always_2d=True)
                at = at_rate(Audio(samples.mean(axis=1), rate), gm.RATE_HZ).samples
                rows["layer"].append(seen(at)[1])
                rows["truth"].append(world_truth(json.load(told)))
    return {key: np.stack(values) for key, values in rows.items()}


def world_truth(jams: dict[str, Any]) -> FloatArray:
    """1 (more than half of it), 0 or NaN (some of it) by second and concept of ``names``."""
    order = {name: i for i, name in enumerate(names())}
    share = np.zeros((CLIP_S, len(order)), np.float32)
    second = np.arange(CLIP_S)
    for row in (r for a in jams["annotations"] if a["namespace"] == "tag_open" for r in a["data"]):
        covered = np.minimum(second + 1, row["time"] + row["duration"]) - np.maximum(second, row["time"])
        for wider in lineage(row["value"]) if row["value"] in concepts() else ():
            if wider in order:
                share[:, order[wider]] = np.maximum(share[:, order[wider]], covered)
    return np.where(share > 0.5, 1.0, np.where(share > 0.05, np.nan, 0.0)).astype(np.float32)


# --- fit --------------------------------------------------------------------------------------------------------------


def rows_of(folder: Path, keep: list[str]) -> list[tuple[FloatArray, FloatArray, float]]:
    """Layers [shape=(N, 1024)], truth [shape=(N, C)] of the concepts ``keep``, and the weight of a row, by source."""
    columns = [names().index(name) for name in keep]
    beds, world = np.load(folder / "beds.npz"), np.load(folder / "world.npz")
    heard = beds["scores"].astype(np.float32).mean(axis=1)
    unsure = np.stack([heard[:, own_outputs(name)].max(axis=1, initial=0.0) > UNSURE for name in keep], axis=1)
    bare = np.where(unsure[:, None].repeat(CLIP_S, axis=1), np.nan, np.float32(0))
    found = [(world["layer"], world["truth"][..., columns], WORLD), (beds["layer"], bare, 1.0)]
    for file in sorted(folder.glob("batch-*.npz")):
        stored = np.load(file)
        truth = stored["truth"][..., columns].copy()
        blank = unsure[stored["bed"]][:, None] & (stored["bed"] >= 0)[:, None, None] & (truth != 1)
        truth[blank] = np.nan
        found.append((stored["layer"], truth, 1.0))
    return [(x.reshape(-1, 1024).astype(np.float32), y.reshape(-1, len(keep)), w) for x, y, w in found]


def own_outputs(name: str) -> list[int]:
    """YAMNet's outputs that speak for a concept, or for the nearest wider one that has any."""
    for wider in lineage(name):
        rows = voters().get(wider, ())
        if found := [i for v in rows if v.net == "yamnet" and v.weight > 0 for i in v.columns]:
            return found
    return []


def fitted(rows: list[tuple[FloatArray, FloatArray, float]]) -> tuple[FloatArray, FloatArray]:
    """Weights [shape=(1024, C)] and offsets [shape=(C,)] on the layer as it is. Of each concept's rows a fifth of the
    weight is of those that have it, so that the log-odds of concepts are alike; ridge ``RIDGE`` on standard scores."""
    x, y = np.concatenate([r[0] for r in rows]), np.concatenate([r[1] for r in rows])
    weight = np.concatenate([np.full(len(r[0]), r[2], np.float32) for r in rows])[:, None] * ~np.isnan(y)
    has = weight * (y == 1)
    weight = (weight - has) / np.maximum((weight - has).sum(axis=0), 1) * 0.8 + has / np.maximum(
        has.sum(axis=0), 1
    ) * 0.2
    sign = np.where(y == 1, 1.0, -1.0).astype(np.float32)
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-3
    x = np.clip((x - mean) / scale, -6, 6)
    shape = (x.shape[1] + 1, y.shape[1])

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        p = flat.reshape(shape).astype(np.float32)
        z = sign * (x @ p[:-1] + p[-1])
        pull = -weight * sign * expit(-z)
        slope = np.concatenate([x.T @ pull + 2 * RIDGE * p[:-1], pull.sum(axis=0)[None]])
        return float((weight * np.logaddexp(0, -z)).sum() + RIDGE * (p[:-1] ** 2).sum()), slope.ravel().astype(
            np.float64
        )

    start = np.zeros(shape)
    start[-1] = -1.4
    p = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 60}).x.reshape(shape)
    weights = (p[:-1] / scale[:, None]).astype(np.float32)
    return weights, (p[-1] - mean @ weights).astype(np.float32)


def train(arguments: argparse.Namespace) -> None:
    """Fit, report on world clips left out, and write the file."""
    keep = arguments.concept
    world, *rest = rows_of(arguments.features, keep)
    out = np.arange(len(world[0])) // CLIP_S % 5 == 0
    first = fitted([(world[0][~out], world[1][~out], world[2]), *rest])
    for name, scores, truth in zip(keep, (world[0][out] @ first[0] + first[1]).T, world[1][out].T, strict=True):
        known = ~np.isnan(truth)
        print(f"{name}: AUC {auc(truth[known] == 1, scores[known]):.3f} of {int((truth == 1).sum())} seconds with it")
    weights, offset = fitted([world, *rest])
    # Log-odds over the bare cuts as those of YAMNet's own outputs, so that votes are alike and the kind's curve serves.
    bare = (rest[0][0] @ weights + offset).reshape(-1, CLIP_S, len(keep)).mean(axis=1)
    gain = USUAL[1] / bare.std(axis=0)
    weights, offset = weights * gain, (offset - bare.mean(axis=0)) * gain + USUAL[0]
    np.savez(arguments.out, weights=weights.astype(np.float16), offset=offset)
    print(f"probe = {json.dumps(keep)}")


def main() -> None:
    """Run a step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(required=True)
    step = steps.add_parser("features")
    step.add_argument("--world", type=Path, required=True)
    step.add_argument("--soundfont", type=Path, action="append", required=True)
    step.add_argument("--recordings", type=Path, action="append", required=True)
    step.add_argument("--groove", type=Path, required=True)
    step.add_argument("--beds", type=int, default=70)
    step.add_argument("--batches", type=int, default=8)
    step.add_argument("--seed", type=int, default=3)
    step.add_argument("--out", type=Path, required=True)
    step.set_defaults(run=features)
    step = steps.add_parser("train")
    step.add_argument("features", type=Path)
    step.add_argument("--concept", action="append", required=True)
    step.add_argument("--out", type=Path, required=True)
    step.set_defaults(run=train)
    arguments = parser.parse_args()
    set_threads(1)
    arguments.run(arguments)


if __name__ == "__main__":
    main()
