"""Fit the constants of ``solfa/analysis/harmony.json``.

    python tools/fit_harmony.py --clips CLIPS --pop909 POP909 --billboard salami_chords --openewld dataset \\
        --out src/solfa/analysis/harmony.json

- The chord model of the key: penalised maximum likelihood on the *charts* of the corpora (``--part fit`` of
  ``benchmarks/render.py``), whole songs and 30 s windows, with the errors of a recogniser put in at random.
- Sharpness of the key's softmax: by likelihood on rendered CLIPS (``benchmarks/render.py --part fit``), each scored by
  weights fitted without the charts of its half of the songs.
- Confidence of a chord segment: logistic regression on CLIPS; a segment is right by mir_eval's ``sevenths``, or
  ``majmin`` where that does not apply.
- ``CHORD_WEIGHT`` and ``PROFILE_WEIGHT`` are set by hand: rendered music would trust chords more, recordings (the keys
  on which madmom's network and basic-pitch's notes agree; there was no truth) the profile; also the envelope of the
  chroma.

Keep the songs and clips of any report out of all of it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import mir_eval
import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import render
from solfa.analysis import harmony, harmony_chords, harmony_key
from solfa.core.errors import InputError
from solfa.core.theory import QUALITIES, Key
from solfa.core.types import Audio
from solfa.weights import set_threads

CHANGE_COST = 15.0
PRICE = 0.1  # of the squared weights
CHORD_WEIGHT, PROFILE_WEIGHT = 0.25, 8.0
CHART_HZ = 10
WINDOWS = 4


def key_number(key: Key) -> int:
    """0..11 major, 12..23 minor."""
    return (0 if key.mode == "major" else 12) + key.tonic


# --- charts ---------------------------------------------------------------------------------------------------------


@cache
def quality_of(label: str) -> tuple[int, str, int]:
    """Root, the nearest quality that the recogniser knows, and bass of a chart's label; root -1 for no chord."""
    root, bitmap, bass = mir_eval.chord.encode(label)
    if root < 0:
        return -1, "N", -1
    on = {i for i in range(12) if bitmap[i] > 0}
    for quality in ("7", "maj7", "maj6", "min7", "minmaj7", "min6", "hdim7", "dim7", "maj", "min", "dim", "aug"):
        if set(QUALITIES[quality]) <= on:
            return int(root), quality, int(root + bass) % 12
    for interval, quality in ((4, "maj"), (3, "min"), (5, "sus4"), (2, "sus2")):
        if interval in on:
            return int(root), quality, int(root + bass) % 12
    return int(root), "maj", int(root + bass) % 12  # power chords and single notes, as the network hears them


def misheard(root: int, quality: str, rng: np.random.Generator) -> tuple[int, str]:
    """The chord as a recogniser might name it: extensions lost or invented, now and then another root."""
    u = rng.random()
    if u < 0.15:
        quality = {"maj7": "maj", "min7": "min", "7": "maj", "maj6": "maj", "min6": "min"}.get(quality, quality)
    elif u < 0.2:
        quality = {"maj": "7", "min": "min7"}.get(quality, quality)
    if rng.random() < 0.04:
        root = (root + int(rng.choice([3, 5, 7, 9]))) % 12
    return root, quality


def chart_features(score: render.Score, begin: float, seconds: float, rng: np.random.Generator) -> Any:
    """``chord_features`` of a window of a chart; None without chords."""
    table = harmony_chords.vocabulary()
    state = {(int(r), q): s for s, (r, q) in reversed(list(enumerate(zip(table.root, table.quality, strict=True))))}
    n = int(seconds * CHART_HZ)
    share = np.zeros((n, int(table.group.max()) + 1), np.float32)
    heads = np.zeros((n, harmony_chords.N_HEADS), np.float32)
    path = np.zeros(n, np.intp)
    for start, end, label in score.chords:
        first, last = int(max(start - begin, 0) * CHART_HZ), int(min(end - begin, seconds) * CHART_HZ)
        root, quality, bass = quality_of(label)
        if last > first and root >= 0:
            path[first:last] = state[misheard(root, quality, rng)]
            heads[first:last, harmony_chords.BASS + 1 + bass] = 1.0
    share[np.arange(n), table.group[path]] = 1.0
    decoded = harmony_chords.Decoded(path, share.max(axis=1), share.mean(axis=0), heads.mean(axis=0))
    return harmony_key.chord_features(decoded)


def charts(args: argparse.Namespace) -> tuple[NDArray[np.float32], NDArray[np.intp], list[str]]:
    """Features, keys and songs of whole charts and of windows."""
    rng = np.random.default_rng(0)
    rows, keys, songs = [], [], []
    for corpus, path in render.sources(args):
        try:
            score = render.READERS[corpus](path, rng)
            if score is None:
                continue
            end = score.chords[-1][1]
            windows = [(0.0, end)] + [(float(rng.uniform(0, max(0.1, end - 30))), 30.0) for _ in range(WINDOWS)]
            found = [chart_features(score, *window, rng) for window in windows]
        except (InputError, mir_eval.chord.InvalidChordException, ElementTree.ParseError):
            continue
        found = [f for f in found if f is not None]
        songs += [f"{corpus}/{score.source}"] * len(found)
        rows += found
        keys += [key_number(score.key)] * len(found)
    return np.array(rows), np.array(keys), songs


def fit_key(rows: NDArray[np.float32], keys: NDArray[np.intp], price: float) -> NDArray[np.float64]:
    """Weights [2 * F + 1] (major, minor, minor's bias) that maximise the penalised likelihood of the keys."""
    n, _, width = rows.shape
    flat = rows.reshape(n * 12, width)

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        both = w[:-1].reshape(2, width).astype(np.float32)
        scores = (flat @ both.T).reshape(n, 12, 2).transpose(0, 2, 1).astype(np.float64)
        scores[:, 1] += w[-1]
        scores = scores.reshape(n, 24)
        scores -= scores.max(axis=1, keepdims=True)
        p = np.exp(scores)
        p /= p.sum(axis=1, keepdims=True)
        value = -np.log(p[np.arange(n), keys] + 1e-12).mean() + 0.5 * price * float(w[:-1] @ w[:-1]) / width
        p[np.arange(n), keys] -= 1
        p /= n
        by_tonic = p.reshape(n, 2, 12).transpose(1, 0, 2).reshape(2, n * 12).astype(np.float32)
        gradient = np.r_[(by_tonic @ flat).ravel(), p[:, 12:].sum()].astype(np.float64)
        gradient[:-1] += price * w[:-1] / width
        return float(value), gradient

    result = minimize(loss, np.zeros(2 * width + 1), jac=True, method="L-BFGS-B", options={"maxiter": 300})
    return np.asarray(result.x)


# --- clips ----------------------------------------------------------------------------------------------------------


def half_of(song: str) -> int:
    """0 or 1, by the song's name."""
    return hashlib.sha256(song.encode()).digest()[1] % 2


def hear(path: Path) -> dict[str, Any]:
    """What the key is judged by, segments with their features, and the truth of one rendered clip."""
    set_threads(1)
    truth = json.loads(path.read_text(encoding="utf-8"))
    samples, rate = soundfile.read(path.with_name(truth["audio"]), dtype="float32")
    seen = harmony.HarmonyExtractor().observe(Audio(samples, rate))
    log_heads = seen["log_heads"].astype(np.float32)
    decoded = harmony_chords.decode([log_heads], CHANGE_COST)
    return {
        "rows": harmony_key.chord_features(decoded),
        "clear": decoded.clear,
        "chroma": np.asarray(seen["chroma"], np.float32),
        "key": key_number(Key.parse(truth["key"])),
        "half": half_of(f"{truth['corpus']}/{truth['source']}"),
        "segments": graded_segments(seen["start_s"], len(samples) / rate, decoded, truth["chords"]),
    }


def evidence(heard: dict[str, Any], model: dict[str, Any]) -> NDArray[np.float64]:
    """Scores of the 24 keys of one clip."""
    return harmony_key.evidence(heard["rows"], heard["clear"], heard["chroma"], model).ravel()


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


def nll(scores: NDArray[np.float64], keys: NDArray[np.intp], sharpness: float) -> float:
    """Mean negative log-probability of the true keys."""
    z = scores * sharpness
    z = z - z.max(axis=1, keepdims=True)
    return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), keys]).mean())


def fit_confidence(segments: list[tuple[NDArray[np.float64], float, float]]) -> list[float]:
    """Weights of the logistic regression of a segment's correctness, each second counting once."""
    x = np.array([s[0] for s in segments])
    y, weight = (np.array([s[i] for s in segments]) for i in (1, 2))

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = x @ w
        value = (weight * (np.logaddexp(0, z) - y * z)).sum() / weight.sum()
        return float(value), (weight * (1 / (1 + np.exp(-z)) - y)) @ x / weight.sum()

    return [round(float(v), 4) for v in minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x]


def key_model(weights: NDArray[np.float64]) -> dict[str, Any]:
    """The key's part of the table, softmax not yet sharpened."""
    width = harmony_key.N_FEATURES
    return {
        "chord_weight": CHORD_WEIGHT,
        "profile_weight": PROFILE_WEIGHT,
        "sharpness": 1.0,
        "minor_bias": round(float(weights[-1]), 4),
        "major": [round(float(v), 3) for v in weights[:width]],
        "minor": [round(float(v), 3) for v in weights[width:-1]],
    }


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, action="append", required=True)
    for corpus in render.READERS:
        parser.add_argument(f"--{corpus}", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    args.part = "fit"
    with ProcessPoolExecutor(args.jobs) as pool:
        paths = sorted(p for folder in args.clips for p in folder.glob("*.json"))
        heard = list(pool.map(hear, paths, chunksize=8))
    rows, keys, songs = charts(args)
    half = np.array([half_of(s) for s in songs])
    without = [key_model(fit_key(rows[half != h], keys[half != h], PRICE)) for h in (0, 1)]
    scores = np.array([evidence(h, without[h["half"]]) for h in heard])
    truth = np.array([h["key"] for h in heard])
    best = minimize_scalar(lambda s: nll(scores, truth, s), bounds=(0.1, 3), method="bounded")
    model = key_model(fit_key(rows, keys, PRICE)) | {"sharpness": round(float(best.x), 4)}
    confidence = fit_confidence([s for h in heard for s in h["segments"]])
    n_songs = len(set(songs))
    sys.stdout.write(
        f"{len(rows)} windows of {n_songs} charts; {len(heard)} clips: key exact "
        f"{(scores.argmax(1) == truth).mean():.3f}, sharpness {best.x:.3f}, chord confidence {confidence}\n"
    )
    table = {
        "fitted": f"tools/fit_harmony.py: key chord model on {len(rows)} windows of {n_songs} chord charts (POP909, "
        f"Billboard, OpenEWLD; --part fit); sharpness (by weights of the other half of the songs) and chord confidence "
        f"on {len(heard)} clips rendered from them; chord_weight, profile_weight and the chroma's partials and "
        "envelope by hand, looking at agreement with madmom's key network and basic-pitch's notes on recordings",
        "chords": {"change_cost": CHANGE_COST, "weights": confidence},
        "key": model,
    }
    args.out.write_text(json.dumps(table, separators=(", ", ": ")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
