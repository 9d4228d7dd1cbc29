"""Sections found from annotated chords alone against annotated sections (McGill Billboard).

    python benchmarks/sections.py BILLBOARD_FOLDER [--count 200]

Boundaries within 3 s (mir_eval.segment.detection, ends trimmed), beside sections of equal length, as many as were
annotated. Chords are those of the annotation: this bounds what the rest can lose, and says nothing of
energy and instruments, which sections of real tracks are found from too.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import mir_eval
import numpy as np

from solfa.analysis.sections import sections
from solfa.core.types import Analysis, ChordSegment, Curve, Estimate, TagTrack

NOTHING = Estimate(value=None, confidence=0.0)


def main() -> None:
    """Print mean scores over songs, taken evenly from the folder."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--count", type=int, default=200)
    arguments.add_argument("--odd", action="store_true", help="songs of odd places: nothing was tuned on them")
    given = arguments.parse_args()
    files = sorted(given.folder.glob("**/salami_chords.txt"))[given.odd :: 2]
    scores: dict[str, list[float]] = {}
    for file in files[:: max(1, len(files) // given.count)]:
        chords, truth = read(file)
        end_s = chords[-1].end_s
        truth = sorted(start_s for start_s in set(truth) if start_s < end_s)
        analysis = Analysis(
            duration_s=end_s, tempo_bpm=NOTHING, metre=NOTHING, beats_s=(), downbeats_s=(), key=NOTHING, chords=chords,
            loudness_lufs=NOTHING, energy=Curve(hop_s=1.0, values=()), voice=TagTrack(concept="vocals", kind="voice",
            confidence=0.0, spans=()), instruments=(), genres=(), moods=(),
        )  # fmt: skip
        found = sections(analysis)
        ours = np.array([[span.start_s, span.end_s] for span in found])
        known = np.array([truth, [*truth[1:], end_s]]).T
        edges = np.linspace(0, end_s, len(truth) + 1)
        known, _ = mir_eval.util.adjust_intervals(known, None, 0.0, end_s)
        for name, guess in (("found", ours), ("equal", np.stack([edges[:-1], edges[1:]], axis=1))):
            *_, hit = mir_eval.segment.detection(known, guess, window=3.0, trim=True)
            scores.setdefault(f"{name}: boundaries F", []).append(hit)
        scores.setdefault("sections found per annotated", []).append(len(found) / len(truth))
    for name, values in scores.items():
        print(f"{name}: {np.mean(values):.3f} ({len(values)} songs)")


def read(file: Path) -> tuple[tuple[ChordSegment, ...], list[float]]:
    """Chords, and starts of sections."""
    rows = [line.split("\t", 1) for line in file.read_text().splitlines() if line[:1].isdigit()]
    times = [float(time) for time, _ in rows]
    chords, starts = [], []
    for (_, text), start_s, end_s in zip(rows, times, times[1:], strict=False):
        if re.match(r"[A-Z]'*, ", text):
            starts.append(start_s)
        bars = [bar.split() for bar in text.split("|")[1:-1]]
        for number, bar in enumerate(bars):
            step = (end_s - start_s) / len(bars) / max(1, len(bar))
            for at, label in enumerate(bar):
                begin = start_s + number * step * len(bar) + at * step
                known = re.match(r"([A-G][b#]?):(maj|min|dim|aug|)", label)  # triads are enough
                label = f"{known[1]}:{known[2] or 'maj'}" if known else "N"
                chords.append(ChordSegment(start_s=begin, end_s=begin + step, label=label, confidence=1.0))
    return tuple(chords), starts


if __name__ == "__main__":
    main()
