"""Fit the confidence of a chord segment, in ``solfa/analysis/harmony.json``.

    python tools/fit_harmony.py --clips CLIPS --out src/solfa/analysis/harmony.json

Logistic regression on rendered CLIPS (``benchmarks/render.py --part fit``); a segment is right by mir_eval's
``sevenths``, or ``majmin`` where that does not apply. The key's part of the table, made by ``tools/fit_key.py``, stays
as it is, and so does ``change_cost``. Keep the songs and clips of any report out of all of it.
"""

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.optimize import minimize

from solfa.analysis import harmony, harmony_chords
from solfa.core.types import Audio
from solfa.weights import set_threads


def graded(path: Path) -> list[tuple[NDArray[np.float64], float, float]]:
    """The decoded segments of one rendered clip."""
    set_threads(1)
    truth = json.loads(path.read_text(encoding="utf-8"))
    samples, rate = soundfile.read(path.with_name(truth["audio"]), dtype="float32")
    seen = harmony.HarmonyExtractor().observe(Audio(samples, rate))
    decoded = harmony_chords.decode([seen["log_heads"]], harmony.constants()["chords"]["change_cost"])
    return graded_segments(seen["start_s"], len(samples) / rate, decoded, truth["chords"])


def graded_segments(
    starts: NDArray[Any], end_s: float, decoded: harmony_chords.Decoded, truth: list[dict[str, Any]]
) -> list[tuple[NDArray[np.float64], float, float]]:
    """For each decoded segment: its features, the share of it that is right, its length in s."""
    flat = {"weights": [0.0, 0.0, 0.0, 0.0]}
    bounds = [c["start_s"] for c in truth] + [truth[-1]["end_s"]]
    out = []
    for s in harmony_chords.segments(starts, end_s, decoded, flat):
        low, high = np.searchsorted(starts, [s.start_s, s.end_s - 1e-6])
        x = harmony_chords.segment_features(float(decoded.sure[low:high].mean()), s.end_s - s.start_s, s.label == "N")
        right = total = 0.0
        for chord, a, b in zip(truth, bounds[:-1], bounds[1:], strict=True):
            overlap = min(b, s.end_s) - max(a, s.start_s)
            if overlap > 0:
                ok = mir_eval.chord.sevenths([chord["label"]], [s.label])[0]
                ok = mir_eval.chord.majmin([chord["label"]], [s.label])[0] if ok < 0 else ok
                if ok >= 0:
                    right, total = right + overlap * ok, total + overlap
        if total > 0:
            out.append((x, right / total, total))
    return out


def fit_confidence(segments: list[tuple[NDArray[np.float64], float, float]]) -> list[float]:
    """Weights of the logistic regression of a segment's correctness, each second counting once."""
    x = np.array([s[0] for s in segments])
    y, weight = (np.array([s[i] for s in segments]) for i in (1, 2))

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = x @ w
        value = (weight * (np.logaddexp(0, z) - y * z)).sum() / weight.sum()
        return float(value), (weight * (1 / (1 + np.exp(-z)) - y)) @ x / weight.sum()

    return [round(float(v), 4) for v in minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x]


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    with ProcessPoolExecutor(args.jobs) as pool:
        paths = sorted(p for folder in args.clips for p in folder.glob("*.json"))
        found = list(pool.map(graded, paths, chunksize=8))
    weights = fit_confidence([segment for clip in found for segment in clip])
    sys.stdout.write(f"{len(found)} clips: chord confidence {weights}\n")
    table = json.loads(args.out.read_text(encoding="utf-8"))
    fitted = f"tools/fit_harmony.py: confidence on {len(found)} clips rendered from chord charts; the rest by hand"
    table["chords"] |= {"fitted": fitted, "weights": weights}
    args.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
