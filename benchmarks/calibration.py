"""Whether 0.8 is right eight times in ten: the confidences of ``solfa analyze`` against truth, by attribute.

    python benchmarks/calibration.py --fitted DIR --recordings DIR --agreement DIR --rendered CLIPS \\
        [--cache DIR] [--plot docs/plots/reliability.svg]

Recordings: a folder with index.csv (file, and any of bpm, key, metre, genre, feel, instruments); ``--fitted`` says that
some constants were fitted on it. Agreement: a folder of recordings without truth, whose keys count where madmom's key
network and the notes of basic-pitch name the same one (both have to be installed). Rendered: clips of
benchmarks/render.py; ``--performed``: those of ASAP by benchmarks/tempo_sets.py. All may be given several times;
``--limit`` takes so many files of each.

Prints, for each attribute and kind of material, how sure solfa is on average, how often it is right, the expected
calibration error over ten bins with a 95 % bootstrap interval over clips, and the share right by confidence with its
Wilson interval. Of tags every concept of which the truth is known counts, also where it is absent; "mode" is the share
that the keys of the same mode have of all that are reported. ``--cache`` keeps analyses, by file and version of the
extractors; ``--extractor solfa-rhythm`` measures tempo and metre alone.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np

from intervals import BINS, Reliability, wilson
from recordings import agreed_key, measured
from solfa.audio import SUFFIXES
from solfa.core.theory import Key
from solfa.core.types import Alternative, Analysis, Estimate
from solfa.core.vocabulary import concepts
from tags_truth import facts_of

ATTRIBUTES = ("tempo", "metre", "key", "mode", "chords", "instruments", "drums", "voice", "genres", "moods")
KINDS = {"instrument": "instruments", "genre": "genres", "use": "genres", "mood": "moods"}
BANDS = ((0.0, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.0))
Row = tuple[str, float, bool]  # attribute, confidence, right
Truth = dict[str, Any]  # any of tempo_bpm, metre, key, chords, tags


def recordings(folder: Path, _: Path | None) -> Iterator[tuple[Path, Truth]]:
    """What index.csv says of each file."""
    with (folder / "index.csv").open(encoding="utf-8", newline="") as source:
        for row in csv.DictReader(source):
            truth: Truth = {name: row[name] for name in ("metre", "key") if row.get(name)}
            if float(row.get("bpm") or 0) > 0:
                truth["tempo_bpm"] = float(row["bpm"])
            truth["tags"] = facts_of(row)
            if listed := (row.get("instruments") or "").lower():
                if "percussion" in listed:  # which often stands for a kit
                    truth["tags"].pop("drums", None)
                truth["tags"]["voice"] = any(word in listed for word in ("vocal", "voice", "choir", "singer"))
            yield folder / row["file"], truth


def agreed(folder: Path, cache: Path | None) -> Iterator[tuple[Path, Truth]]:
    """The keys that both references of benchmarks/recordings.py name."""
    for path in sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES):
        if key := agreed_key(path, cache):
            yield path, {"key": key}


def rendered(folder: Path, _: Path | None) -> Iterator[tuple[Path, Truth]]:
    """The truth of clips of benchmarks/render.py; of their instruments only drums and voices."""
    for path in sorted(folder.glob("*.json")):
        truth = json.loads(path.read_text(encoding="utf-8"))
        tags = {"drums": truth.get("drums"), "voice": truth.get("vocals")}
        yield path.with_suffix(".wav"), truth | {"tags": {k: v for k, v in tags.items() if v is not None}}


MATERIAL = {
    "recordings": ("recordings", recordings),
    "fitted": ("recordings, fitted on", recordings),
    "agreement": ("two references agree", agreed),
    "performed": ("performed piano", rendered),
    "rendered": ("rendered", rendered),
}


def judged(found: Analysis, truth: Truth) -> Iterator[Row]:
    """Every confidence of which the truth is known."""
    if "tempo_bpm" in truth and found.tempo_bpm.value:
        right = abs(found.tempo_bpm.value / truth["tempo_bpm"] - 1) <= 0.04
        yield "tempo", found.tempo_bpm.confidence, right
    for name in ("metre", "key"):
        estimate = getattr(found, name)
        if truth.get(name) and estimate.value:
            known = str(Key.parse(truth[name])) if name == "key" else truth[name]  # Db minor is C# minor
            yield name, estimate.confidence, estimate.value == known
    if truth.get("key") and found.key.value:
        mode = found.key.value.split()[1]
        keys: list[Estimate[str] | Alternative[str]] = [found.key, *found.key.alternatives]
        same = sum(k.confidence for k in keys if str(k.value).split()[1] == mode)
        yield "mode", same / sum(k.confidence for k in keys), mode == truth["key"].split()[1]
    if truth.get("chords"):
        yield from judged_chords(found, truth["chords"])
    listed = (found.voice, *found.instruments, *found.genres, *found.moods)
    tags = {t.concept: t.confidence for t in listed if found.instruments}  # none: no tool here says tags
    for concept, present in truth.get("tags", {}).items():
        kind = concept if concept in ("voice", "drums") else KINDS.get(concepts()[concept].kind)
        if kind and concept in tags:
            yield kind, tags[concept], present


def judged_chords(found: Analysis, truth: list[dict[str, Any]]) -> Iterator[Row]:
    """Every half second: right by sevenths, or by major and minor where that comparison does not apply."""
    for at_s in np.arange(0.25, truth[-1]["end_s"], 0.5):
        label = next((c["label"] for c in truth if c["start_s"] <= at_s < c["end_s"]), "X")
        chord = next((c for c in found.chords if c.start_s <= at_s < c.end_s), None)
        if chord is None:
            continue
        right = mir_eval.chord.sevenths([label], [chord.label])[0]
        right = mir_eval.chord.majmin([label], [chord.label])[0] if right < 0 else right
        if right >= 0:
            yield "chords", chord.confidence, right > 0


def table(found: dict[tuple[str, str], Reliability]) -> None:
    """Print a line for each attribute and material."""
    heads = ["attribute", "material", "answers (clips)", "mean", "right", "ECE"]
    heads += [f"right at {low:g} to {high:g}" for low, high in BANDS]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for (attribute, material), rows in found.items():
        error, low, high = rows.error()
        cells = [attribute, material, f"{len(rows.right)} ({len(set(rows.clip))})"]
        cells += [f"{rows.confidence.mean():.2f}", f"{rows.right.mean():.2f}", f"{error:.3f} [{low:.3f}, {high:.3f}]"]
        for band in BANDS:
            count, _, share = rows.within(*band)
            bounds = wilson(share * count, count) if count else (0.0, 0.0)
            cells.append(f"{share:.2f} [{bounds[0]:.2f}, {bounds[1]:.2f}] of {count}" if count else "")
        print(f"| {' | '.join(cells)} |")


def plot(found: dict[tuple[str, str], Reliability], path: Path) -> None:
    """A small reliability diagram for each attribute; bins of fewer than five answers are left out."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "solfa", "font.size": 8, "svg.fonttype": "none"})
    import matplotlib.pyplot as plt

    shown = [a for a in ATTRIBUTES if any(attribute == a for attribute, _ in found)]
    materials = list(dict.fromkeys(material for _, material in found))
    figure, axes = plt.subplots(2, -(-len(shown) // 2), figsize=(2.1 * -(-len(shown) // 2), 4.6), squeeze=False)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for axis, attribute in zip(axes.flat, shown, strict=False):
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
        for material in materials:
            if (attribute, material) not in found:
                continue
            cells = [found[attribute, material].within(b / BINS, (b + 1) / BINS) for b in range(BINS)]
            kept = [(mean, share, *wilson(share * n, n)) for n, mean, share in cells if n >= 5]
            if kept:
                mean, share, low, high = np.array(kept).T
                errors = np.maximum(0, [share - low, high - share])
                axis.errorbar(
                    mean, share, errors, fmt="o-", markersize=3, linewidth=0.9, elinewidth=0.6, label=material,
                    color=f"C{materials.index(material)}",
                )  # fmt: skip
        axis.set(title=attribute, xlim=(0, 1), ylim=(0, 1), aspect="equal")
    lines = {
        label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(lines.values(), lines.keys(), loc="lower center", ncols=len(lines), frameon=False)
    figure.supxlabel("confidence", y=0.07)
    figure.supylabel("share right")
    figure.tight_layout(rect=(0.01, 0.07, 1, 1))
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Analyze, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in MATERIAL:
        parser.add_argument(f"--{name}", type=Path, action="append", default=[])
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--excerpt-s", type=float, default=0.0, help="measure only so many seconds (without chords)")
    parser.add_argument("--extractor", action="append", help="measure with these tools alone, not with the defaults")
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    tracks = [
        (material, track)
        for name, (material, read) in MATERIAL.items()
        for folder in getattr(args, name)
        for track in list(read(folder, args.cache))[: args.limit]
    ]
    rows: dict[tuple[str, str], list[tuple[float, bool, int]]] = defaultdict(list)
    for number, (material, (path, truth)) in enumerate(tracks):
        if args.excerpt_s:
            truth.pop("chords", None)
        analysis = measured(path, args.cache, args.excerpt_s, args.extractor)
        for attribute, confidence, right in judged(analysis, truth):
            rows[attribute, material].append((confidence, right, number))
    order = sorted(rows, key=lambda pair: ATTRIBUTES.index(pair[0]))
    found = {pair: Reliability.of(rows[pair]) for pair in order}
    table(found)
    if args.plot:
        plot(found, args.plot)


if __name__ == "__main__":
    main()
