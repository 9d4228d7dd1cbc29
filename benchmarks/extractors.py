"""Every installed extractor on one synthesised song with known truth: speed, and whether it is right at all.

    python benchmarks/extractors.py [NAME ...] --seconds 60 --tempo 100 --seed 0

A sanity check, not a quality measure: the song is clean, in one key and steady. ``benchmarks/tempo.py`` and
``benchmarks/harmony.py`` measure quality. Prints a table.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

from solfa.analysis.protocol import STRETCH_S
from solfa.analysis.registry import extractor_specs, extractors
from solfa.core.errors import MissingExtra
from solfa.core.types import Audio

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from fakes.synth import Song, song


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="extractors; all by default")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--tempo", type=float, default=100.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # those of other people's packages
    bars = max(4, round(args.seconds * args.tempo / 240.0))
    truth = song(tempo_bpm=args.tempo, bars=bars, seed=args.seed, sample_rate_hz=44100)
    print(f"{truth.audio.duration_s:.0f} s, {args.tempo:g} BPM, 4/4, C major or A minor, A:min F:maj C:maj G:maj\n")
    print("| extractor | licence | x real time (first run) | x real time (second) | found |")
    print("|---|---|---|---|---|")
    for spec in extractor_specs():
        if not args.names or spec.name in args.names:
            print(f"| {spec.name} | {spec.licence} | {_row(spec.name, truth)} |", flush=True)


def _row(name: str, truth: Song) -> str:
    try:
        first, _ = _run(name, truth.audio)
        second, detected = _run(name, truth.audio)
    except MissingExtra as missing:
        return f"- | - | not installed: {missing.install}"
    duration = truth.audio.duration_s
    return f"{duration / first:.0f} | {duration / second:.0f} | {detected}"


def _run(name: str, audio: Audio) -> tuple[float, str]:
    [extractor] = extractors([name])
    step = int(STRETCH_S * audio.sample_rate_hz)
    parts = [audio.samples[i : i + step] for i in range(0, len(audio.samples), step)]
    started = time.perf_counter()
    seen = []
    for i, part in enumerate(parts):
        seen.append(extractor.observe(Audio(part, audio.sample_rate_hz, i * STRETCH_S)))
    fields = extractor.conclude(seen, audio.duration_s)
    seconds = time.perf_counter() - started
    detected = []
    for field, value in fields.items():
        if hasattr(value, "value"):
            shown = f"{value.value:.1f}" if isinstance(value.value, float) else value.value
            detected.append(f"{field} {shown} ({value.confidence:.2f})")
        elif isinstance(value, tuple):
            detected.append(f"{len(value)} {field}")
    return seconds, ", ".join(detected)


if __name__ == "__main__":
    main()
