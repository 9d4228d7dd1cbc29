"""Tempo, beats and metre, side by side: solfa, librosa, Essentia.

    python benchmarks/tempo.py --data music                # real recordings: index.csv with the columns file, bpm
    python benchmarks/tempo.py --rendered clips            # truth of benchmarks/render.py
    python benchmarks/tempo.py --data music --systems solfa,essentia --limit 50

Acc1 is the share of tracks whose tempo lies within 4 % (or 8 %) of the stated one, Acc2 allows for 1/3, 1/2, 2 and 3
times it (Gouyon et al. 2006); a row without a tempo (bpm 0) is left out. Rendered clips add mir_eval's beat and
downbeat F-measure (70 ms) and the share of right metres. Every mean carries a 95 % bootstrap interval over tracks.
Reliability shows, per bin of solfa's confidence, how often it was right. Speed is x real time per core (processor
time of all threads), without decoding. A system that is not installed is named and left out.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from intervals import Reliability, shown
from solfa.analysis.protocol import STRETCH_S
from solfa.analysis.registry import extractors
from solfa.analysis.rhythm import RhythmExtractor
from solfa.audio import stretches
from solfa.core.errors import InputError, SolfaError
from solfa.core.types import Audio

DEFAULTS = ("solfa", "essentia", "librosa")
FACTORS = (1.0, 2.0, 3.0, 0.5, 1 / 3)
Answer = dict[str, Any]  # tempo_bpm, beats_s and, from solfa, downbeats_s, metre and the two confidences


@dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """A recording and what is known of it."""

    path: Path
    tempo_bpm: float
    metre: str = ""
    beats_s: tuple[float, ...] = ()
    downbeats_s: tuple[float, ...] = ()


def solfa(samples: np.ndarray, rate: int) -> Answer:
    """This package, as indexing runs it."""
    tool, size = RhythmExtractor(), round(STRETCH_S * rate)
    parts = [tool.observe(Audio(samples[i : i + size], rate, i / rate)) for i in range(0, len(samples), size)]
    found = tool.conclude(parts, len(samples) / rate)
    return {
        "tempo_bpm": found["tempo_bpm"].value or 0.0,
        "tempo_confidence": found["tempo_bpm"].confidence,
        "beats_s": found["beats_s"],
        "downbeats_s": found["downbeats_s"],
        "metre": found["metre"].value or "",
        "metre_confidence": found["metre"].confidence,
    }


def essentia(samples: np.ndarray, rate: int, method: str = "multifeature") -> Answer:
    """Essentia's RhythmExtractor2013 (AGPL, a yardstick only)."""
    es = _essentia()
    bpm, beats, *_ = es.RhythmExtractor2013(method=method)(_at(samples, rate, 44100))
    return {"tempo_bpm": float(bpm), "beats_s": beats.tolist()}


def percival(samples: np.ndarray, rate: int) -> Answer:
    """Essentia's PercivalBpmEstimator, which says no beats."""
    return {"tempo_bpm": float(_essentia().PercivalBpmEstimator()(_at(samples, rate, 44100)))}


def madmom(samples: np.ndarray, rate: int) -> Answer:
    """madmom's networks of beats and downbeats (weights CC BY-NC-SA, a yardstick only), as solfa wraps them."""
    tool = extractors(["madmom-rhythm"])[0]
    audio = Audio(np.asarray(samples, np.float32), rate)
    found = tool.conclude([tool.observe(audio)], audio.duration_s)
    times = {name: found[name] for name in ("beats_s", "downbeats_s")}
    return {"tempo_bpm": found["tempo_bpm"].value or 0.0, "metre": found["metre"].value or "", **times}


def _essentia() -> Any:
    import essentia as library
    import essentia.standard as es

    library.log.infoActive = library.log.warningActive = False
    return es


def librosa(samples: np.ndarray, rate: int) -> Answer:
    """librosa's beat tracker with its defaults."""
    import librosa as library

    bpm, beats = library.beat.beat_track(y=_at(samples, rate, 22050), sr=22050, units="time")
    return {"tempo_bpm": float(np.atleast_1d(bpm)[0]), "beats_s": beats.tolist()}


RUN: dict[str, Callable[[np.ndarray, int], Answer]] = {
    "solfa": solfa,
    "essentia": essentia,
    "essentia-degara": partial(essentia, method="degara"),
    "essentia-percival": percival,
    "librosa": librosa,
    "madmom": madmom,
}


def _at(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    return np.asarray(soxr.resample(samples, rate, wanted) if rate != wanted else samples, np.float32)


def real_tracks(folder: Path) -> list[Track]:
    """The rows of index.csv that state a tempo."""
    with (folder / "index.csv").open(encoding="utf-8", newline="") as source:
        rows = list(csv.DictReader(source))
    if not rows or not {"file", "bpm"} <= rows[0].keys():
        raise InputError(f"{folder / 'index.csv'} needs the columns file and bpm.")
    return [Track(path=folder / r["file"], tempo_bpm=float(r["bpm"])) for r in rows if float(r["bpm"] or 0) > 0]


def rendered_tracks(folder: Path) -> list[Track]:
    """The clips that benchmarks/render.py made."""
    tracks = []
    for path in sorted(folder.glob("*.json")):
        truth = json.loads(path.read_text(encoding="utf-8"))
        if path.with_suffix(".wav").exists():
            times = {name: tuple(truth[name]) for name in ("beats_s", "downbeats_s")}
            wav = path.with_suffix(".wav")
            tracks.append(Track(path=wav, tempo_bpm=truth["tempo_bpm"], metre=truth["metre"], **times))
    return tracks


def scores(track: Track, answer: Answer) -> dict[str, float]:
    """Every measure that this track has truth for."""
    found: dict[str, float] = {}
    for percent in (4, 8):
        errors = [abs(answer["tempo_bpm"] / (track.tempo_bpm * f) - 1) for f in FACTORS]
        found[f"Acc1 {percent}%"] = float(errors[0] <= percent / 100)
        found[f"Acc2 {percent}%"] = float(min(errors) <= percent / 100)
    for name, truth in (("beats_s", track.beats_s), ("downbeats_s", track.downbeats_s)):
        if truth and name in answer:
            import mir_eval

            found[f"{name[:-2]} F"] = float(mir_eval.beat.f_measure(np.asarray(truth), np.asarray(answer[name])))
    if track.metre and "metre" in answer:
        found["metre"] = float(answer["metre"] == track.metre)
    return found


def reliability(name: str, confidence: np.ndarray, right: np.ndarray) -> None:
    """A line per bin of confidence, and the expected calibration error."""
    edges = (0.0, 0.3, 0.5, 0.7, 0.85, 0.95, 1.0)
    found = Reliability(confidence, right, np.arange(len(right)))
    print(f"\nreliability of the confidence of the {name} (bin, tracks, mean confidence, share right)")
    for low, high in pairwise(edges):
        count, mean, share = found.within(low, high)
        if count:
            print(f"  {low:.2f}-{high:.2f}  {count:4d}  {mean:.2f}  {share:.2f}")
    error, low, high = found.error()
    print(f"  expected calibration error {error:.3f} [{low:.3f}, {high:.3f}]")


def run(tracks: list[Track], systems: list[str]) -> tuple[dict[str, list[Answer]], dict[str, float]]:
    """Every system's answer to every track, and its seconds of music per second."""
    answers: dict[str, list[Answer]] = {name: [] for name in systems}
    spent = dict.fromkeys(systems, 0.0)
    heard_s = 0.0
    for number, track in enumerate(tracks):
        parts = list(stretches(track.path))
        samples, rate = np.concatenate([p.samples for p in parts]), parts[0].sample_rate_hz
        for name in systems:
            if number == 0:
                RUN[name](samples, rate)  # imports and compilation are not measured
            start = time.process_time()
            answers[name].append(RUN[name](samples, rate))
            spent[name] += time.process_time() - start
        heard_s += len(samples) / rate
        print(f"\r{number + 1}/{len(tracks)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return answers, {name: heard_s / spent[name] for name in systems}


def report(tracks: list[Track], answers: dict[str, list[Answer]], speed: dict[str, float], options: Any) -> None:
    """The tables."""
    print(f"{len(tracks)} tracks, mean [95 % interval]")
    for name, given in answers.items():
        rows = [scores(t, a) for t, a in zip(tracks, given, strict=True)]
        print(f"\n{name}  {speed[name]:.0f} x real time per core")
        for measure in dict.fromkeys(key for row in rows for key in row):
            values = np.asarray([row[measure] for row in rows if measure in row])
            print(f"  {measure:10s} {shown(values, options.seed)}  n={len(values)}")
    if "solfa" in answers:
        given = answers["solfa"]
        rows = [scores(t, a) for t, a in zip(tracks, given, strict=True)]
        reliability(
            "tempo", np.asarray([a["tempo_confidence"] for a in given]), np.asarray([r["Acc1 4%"] for r in rows])
        )
        if any(t.metre for t in tracks):
            sure, right = [a["metre_confidence"] for a in given], [r["metre"] for r in rows]
            reliability("metre", np.asarray(sure), np.asarray(right))
    if options.errors:
        for i, track in enumerate(tracks):
            told = "  ".join(f"{name} {given[i]['tempo_bpm']:.1f}" for name, given in answers.items())
            print(f"{track.path.name}  stated {track.tempo_bpm:g}  {told}")


def main() -> int:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of recordings with index.csv (file, bpm)")
    parser.add_argument("--rendered", type=Path, help="folder of WAV and JSON made by benchmarks/render.py")
    parser.add_argument("--systems", default=",".join(DEFAULTS))
    parser.add_argument("--limit", type=int, default=None, help="only the first so many tracks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--errors", action="store_true", help="also list every track")
    options = parser.parse_args()
    try:
        if (options.data is None) == (options.rendered is None):
            raise InputError("give either --data or --rendered.")
        tracks = real_tracks(options.data) if options.data else rendered_tracks(options.rendered)
        asked = options.systems.split(",")
        if unknown := set(asked) - set(RUN):
            raise InputError(f"unknown systems {', '.join(sorted(unknown))}. Known: {', '.join(RUN)}.")
        missing = [name for name in asked if find_spec(name.partition("-")[0]) is None]
        for name in missing:
            print(f"{name} is not installed: left out (pip install {'--pre ' if name == 'essentia' else ''}{name})")
        tracks = tracks[: options.limit]
        if not tracks:
            raise InputError("no track with a stated tempo there.")
        report(tracks, *run(tracks, [name for name in asked if name not in missing]), options)
    except SolfaError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
