"""How well tags are detected, and whether 0.7 means seven in ten.

``python benchmarks/tags.py --data DIR [--more DIR] --soundfont FILE [--soundfont FILE...]
--groove DIR --held-out-soundfont FILE``

``DIR`` holds sound files and an ``index.csv`` with file, genre, and perhaps feel and instruments (``tags_truth.py``);
labels of ``--more`` count half. Each soundfont renders songs with known instruments (``gm.py``) and drum loops of
Groove MIDI under known beds (``drums.py``; needs ``fluidsynth`` and ``mido``). Drums are judged on drummers' takes and
a soundfont that no curve was fitted on; instruments, genres and moods by five-fold cross-validation over the clips of
``--data``. ``--fit`` prints the curves for ``solfa/analysis/tags.toml`` as well.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import drums
import gm
from solfa.analysis import tags
from solfa.analysis.tagging import voters
from solfa.audio import stretches
from solfa.core.types import Audio
from solfa.core.vocabulary import concepts
from tags_fit import Array, Clips, cross_validated, own, pooled
from tags_truth import played, row, written

# Uses are words like genres, but nobody wrote them down: they share the genres' curve.
POOLS = (("instrument",), ("genre", "use"), ("mood",))
# Fitted on drum mixes, each on its own; the pieces of a kit where there is a kit at all.
KIT = ("drums", "percussion", "drum_machine", "bass_drum", "snare_drum", "hi_hat", "cymbal")
OF_DRUMS = ("drum_machine", "bass_drum", "snare_drum", "hi_hat")
NAMES = tuple(voters())


def observed(clips: Iterable[tuple[Audio, Array]], weight: float = 1.0) -> Clips:
    """Run the extractor over clips with their truth [shape=(C,)]."""
    tool = tags.TagsExtractor()
    evidence, truth = [], []
    for audio, facts in clips:
        seen = tool.observe(audio)
        evidence.append(tags.over_window(tags.smoothed(seen["evidence"]), seen["sounding"]))
        truth.append(facts)
    return Clips(np.stack(evidence).astype(np.float64), np.stack(truth), weight)


def recordings(folder: Path, weight: float = 1.0) -> Clips:
    """The clips of a folder with what people wrote about them."""
    return observed(((next(iter(stretches(file))), facts) for file, facts in written(folder)), weight)


def songs(soundfont: Path, count: int, seed: int) -> Clips:
    """Rendered songs. A rendered clip counts a tenth: it tells less about recordings."""
    return observed(((c.audio, row(played(c.concepts))) for c in gm.mixes(soundfont, count, seed)), 0.1)


def drum_clips(clips: list[drums.DrumClip]) -> tuple[Clips, Array]:
    """Clips with the truth of ``KIT`` only, and their ratios of drums to bed in dB."""

    def facts(names: frozenset[str]) -> Array:
        names |= {"percussion"} if "drums" in names else set()
        return row({c: c in names for c in KIT if "drums" in names or c not in OF_DRUMS})

    return observed((c.audio, facts(c.concepts)) for c in clips), np.array([c.snr_db for c in clips])


def of_kinds(clips: Clips, kinds: tuple[str, ...]) -> Clips:
    """Only the columns of concepts of some kinds that have no curve of their own."""
    keep = np.array([concepts()[c].kind in kinds and c not in KIT for c in NAMES])
    return Clips(clips.evidence[:, keep], clips.truth[:, keep], clips.weight)


def shipped(clips: Clips) -> Array:
    """Confidences by the curves of the package [shape=(N, C)]."""
    return tags.probabilities(list(NAMES), clips.evidence.astype(np.float32)).astype(np.float64)


def auc(truth: NDArray[np.bool_], score: Array) -> float:
    """Probability that a right answer scores above a wrong one; NaN where there is none of one kind."""
    if truth.all() or not truth.any():
        return float("nan")
    order = score[truth][:, None] - score[~truth][None, :]
    return float((order > 0).mean() + 0.5 * (order == 0).mean())


def reliability(title: str, confidence: Array, truth: NDArray[np.bool_]) -> None:
    """Print the area under the curve, the expected calibration error, and per bin what is true."""
    edges = np.array([0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1.01])
    error, lines = 0.0, []
    for low, high in pairwise(edges):
        on = (confidence >= low) & (confidence < high)
        if on.any():
            mean, share = confidence[on].mean(), truth[on].mean()
            error += on.mean() * abs(mean - share)
            lines.append(f"| {low:.2f}-{min(high, 1):.2f} | {on.sum()} | {mean:.2f} | {share:.2f} |")
    print(f"\n{title}: {len(truth)} cells, {truth.sum()} true, AUC {auc(truth, confidence):.3f}, ECE {error:.3f}")
    print("| confidence | n | mean | true |\n|---|---|---|---|\n" + "\n".join(lines))


def each(title: str, clips: Clips, kinds: tuple[str, ...], least: int = 3) -> None:
    """Print the area under the curve of every concept with enough answers of both kinds."""
    cells = []
    for i, name in enumerate(NAMES):
        known = ~np.isnan(clips.truth[:, i])
        truth = clips.truth[known, i] == 1
        if concepts()[name].kind in kinds and least <= truth.sum() <= len(truth) - least:
            cells.append((auc(truth, clips.evidence[known, i]), name, truth.sum()))
    mean = np.mean([c[0] for c in cells])
    print(f"\n{title}, AUC by concept (mean {mean:.3f}):")
    print(", ".join(f"{name} {value:.2f} ({n})" for value, name, n in sorted(cells, reverse=True)))


def kit_report(clips: Clips, snr_db: Array) -> None:
    """Print how the shipped curves do on drum mixes, by loudness of the drums."""
    confidence = shipped(clips)
    bands = {"-12..-6": (-12, -6), "-6..0": (-6, 0), "0 and more": (0, np.inf), "all": (-12, np.inf)}
    print("\nKit, held-out takes and soundfont: AUC against beds without drums, by drums over bed in dB")
    print("| concept | " + " | ".join(bands) + " | where there are drums |\n|---|" + "---|" * (len(bands) + 1))
    for name in KIT:
        i = NAMES.index(name)
        truth = clips.truth[:, i] == 1
        values = []
        for low, high in bands.values():
            on = (snr_db == -np.inf) | (truth & (snr_db >= low) & (snr_db <= high))
            values.append(f"{auc(truth[on], confidence[on, i]):.3f}")
        on = snr_db > -np.inf
        among = f"{auc(truth[on], confidence[on, i]):.3f}"
        print(f"| {name} | {' | '.join(values)} | {among} |")
    for name in KIT:
        i = NAMES.index(name)
        reliability(f"{name}, held-out mixes, shipped curves", confidence[:, i], clips.truth[:, i] == 1)


def print_curves(kinds: tuple[str, ...], sets: list[Clips], usual: Array) -> None:
    """Print what belongs in ``tags.toml``."""
    curves = pooled(sets, usual)
    names = [c for c in NAMES if concepts()[c].kind in kinds and c not in KIT]
    middle = round(float(np.median(curves.offset)), 2)
    for kind in kinds:
        print(f"{kind} = {{ offset = {middle}, slope = {curves.slope:.2f} }}")
    for name, offset in zip(names, curves.offset, strict=True):
        if abs(offset - middle) >= 0.05:
            print(f"{name} = {{ shift = {offset - middle:.2f} }}")


def main() -> None:
    """Report, and perhaps fit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--more", type=Path)
    parser.add_argument("--soundfont", type=Path, action="append", default=[])
    parser.add_argument("--mixes", type=int, default=90)
    parser.add_argument("--groove", type=Path)
    parser.add_argument("--held-out-soundfont", type=Path)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--fit", action="store_true")
    arguments = parser.parse_args()
    real = recordings(arguments.data)
    more = [recordings(arguments.more, 0.5)] if arguments.more else []
    rendered = [songs(f, arguments.mixes, arguments.seed + i) for i, f in enumerate(arguments.soundfont)]
    usual = Clips(np.concatenate([s.evidence for s in (real, *more)]), np.concatenate([s.truth for s in (real, *more)]))
    music = shipped(real)[:, NAMES.index("music")]
    for kinds in POOLS:
        sets = [of_kinds(s, kinds) for s in (real, *more, *(rendered if "instrument" in kinds else []))]
        level = of_kinds(usual, kinds).evidence.mean(axis=0)
        reliability(f"{' and '.join(kinds)}, cross-validated", *cross_validated(sets, level, music))
        each(f"{' and '.join(kinds)}, recordings", real, kinds)
        if arguments.fit:
            print_curves(kinds, sets, level)
    for soundfont, clips in zip(arguments.soundfont, rendered, strict=True):
        known = ~np.isnan(clips.truth)
        reliability(f"songs of {soundfont.stem}, shipped curves", shipped(clips)[known], clips.truth[known] == 1)
    if arguments.groove:
        kits(arguments, real)


def kits(arguments: argparse.Namespace, real: Clips) -> None:
    """Drums: fit on takes for training and every other recorded bed, judge on the rest."""
    beds = drums.recordings(arguments.data, np.random.default_rng(arguments.seed))
    if arguments.fit:
        clips = drums.clips(arguments.groove, ("train",), arguments.soundfont, beds[::2], 100, arguments.seed)
        sets = [drum_clips(clips)[0], Clips(real.evidence, real.truth, 0.1)]
        for name in KIT:
            offset, slope = own(sets, NAMES.index(name))
            given = ', given = "drums"' if name in OF_DRUMS else ""
            print(f"{name} = {{ offset = {offset:.2f}, slope = {slope:.2f}{given} }}")
    fonts, seed = [arguments.held_out_soundfont], arguments.seed + 50
    kit_report(*drum_clips(drums.clips(arguments.groove, ("validation", "test"), fonts, beds[1::2], 80, seed)))


if __name__ == "__main__":
    main()
