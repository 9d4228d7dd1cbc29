"""Captions, measured: speed, truth, diversity, what the style gives away; and copies, found among other recordings.

    python benchmarks/captioning.py [--captions 20000] [--seed 0] [--plot FILE.svg]
    python benchmarks/captioning.py --captions 0 --music FOLDER [--copies 40] [--seconds 10]

Captions are made of random attributes, every value drawn apart from every other. With --music, each recording of the
folder is fingerprinted and compared with every other one, and the first --copies of them with changed copies of
themselves: codecs, level, cuts, speed, pitch, tempo, and several of these at once. Needs scikit-learn.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import av
import numpy as np
import soxr

from solfa.apps.figures import curves
from solfa.audio import SUFFIXES, stretches
from solfa.core.claims import MARKINGS, tempo_marking
from solfa.core.theory import QUALITIES, Chord, Key
from solfa.core.types import Audio
from solfa.core.vocabulary import concepts
from solfa.datagen.captions.checks import CaptionRules, broken_rules
from solfa.datagen.captions.fingerprints import agreement, fingerprint, near_duplicates
from solfa.datagen.captions.grammar import FULL_STYLES, STYLES, caption, drawn_style
from solfa.datasets.splits import assign, families, targets

FGMCAPS = 380_878


def drawn(rng: np.random.Generator) -> dict[str, Any]:
    """Attributes as a clip may have them: each there with a chance, each value whatever the others are."""
    by_kind = {k: [c.id for c in concepts().values() if c.kind == k] for k in ("instrument", "genre", "mood")}
    bpm = round(float(np.exp(rng.uniform(np.log(45), np.log(200)))), 2)
    metre = str(rng.choice(["4/4", "4/4", "4/4", "3/4", "6/8", "2/4", "5/4", "7/8"]))
    qualities = ["maj", "min", *(q for q in QUALITIES if rng.random() < 0.3)]
    chords = [Chord(int(rng.integers(12)), str(rng.choice(qualities))) for _ in range(int(rng.integers(1, 9)))]
    whole = {
        "key": str(Key(int(rng.integers(12)), "major" if rng.random() < 0.5 else "minor")),
        "tempo": {"tempo_bpm": bpm, "tempo_marking": tempo_marking(bpm)},
        "metre": {"metre": metre, "beats_per_bar": int(metre[0])},
        "chords": [str(c) for c in chords],
        "instruments": [str(i) for i in rng.choice(by_kind["instrument"], int(rng.integers(1, 5)), replace=False)],
        "voice": bool(rng.integers(2)),
        "genre": [str(g) for g in rng.choice(by_kind["genre"], int(rng.integers(1, 3)), replace=False)],
        "mood": [str(m) for m in rng.choice(by_kind["mood"], int(rng.integers(1, 3)), replace=False)],
    }
    kept: dict[str, Any] = {}
    for name, value in whole.items():
        if name == "key" or rng.random() < 0.8:
            kept |= value if isinstance(value, dict) else {name: value}
    return kept


def grammar(num: int, seed: int, plot: Path | None) -> None:
    """Speed, truth and diversity by style."""
    rng = np.random.default_rng(seed)
    known = [drawn(rng) for _ in range(num)]
    start = time.process_time()
    styles = [drawn_style(f"{seed}/{i}", a) for i, a in enumerate(known)]
    texts = [caption(a, seed=f"{seed}/{i}", style=s)[0] for i, (a, s) in enumerate(zip(known, styles, strict=True))]
    rate = num / (time.process_time() - start)
    print(
        f"captions by grammar: {rate:.0f} a second of processor time; {FGMCAPS:,} in {FGMCAPS / rate / 60:.1f} minutes"
    )
    start = time.process_time()
    checked = min(num, 5000)
    broken = Counter[str]()
    for text, attributes, style in zip(texts[:checked], known, styles, strict=False):
        figma = style == "figma"
        rules = CaptionRules(complete=style in FULL_STYLES, one_sentence=figma, objective=figma)
        broken.update(broken_rules(text, attributes, rules))
    rate = checked / (time.process_time() - start)
    print(f"held against the rules: {rate:.0f} a second; of {checked} broke a rule: {dict(broken) or 'none'}")
    print(f"different texts: {len(set(texts)) / num:.2%}")
    diversity(texts, styles)
    given_away(texts, known, styles, seed)
    if plot is not None:
        draw_lengths(texts, styles, plot)


def diversity(texts: list[str], styles: list[str]) -> None:
    """Lengths and distinct n-grams; the shares of n-grams are over equally many words of each style."""
    by_style = defaultdict(list)
    for text, style in zip(texts, styles, strict=True):
        by_style[style].append(text.split())
    same = min(sum(map(len, rows)) for rows in by_style.values())
    print("| style | captions | words 5 % | median | 95 % | distinct 1-grams | 2-grams | 3-grams |")
    print("|---|---|---|---|---|---|---|---|")
    for style in (*STYLES, "all"):
        rows = [r for s, rs in by_style.items() for r in rs if style in (s, "all")]
        low, middle, high = np.percentile([len(r) for r in rows], (5, 50, 95))
        if style == "all":
            rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
        shares = [distinct(rows, n, same) for n in (1, 2, 3)]
        print(
            f"| {style} | {len(rows)} | {low:.0f} | {middle:.0f} | {high:.0f} | "
            + " | ".join(f"{s:.2f}" for s in shares)
            + " |"
        )


def distinct(rows: list[list[str]], n: int, words: int) -> float:
    """Different n-grams as a share of all, in the first ``words`` words."""
    seen: set[tuple[str, ...]] = set()
    total = 0
    for row in rows:
        grams = [tuple(w.lower() for w in row[i : i + n]) for i in range(len(row) - n + 1)]
        seen.update(grams)
        total += len(grams)
        if total >= words:
            break
    return len(seen) / total


NOTES = r"(?:[A-Ha-h](?:[#♯b]|is|es|s)?|[Dd]o|[Rr][eé]|[Mm]i|[Ff]a|[Ss]ol|[Ll]a|[Ss]i)"
ACCIDENTAL = r"(?: ?(?:sharp|flat|bemol|bémol|sostenido|dièse))?"
MASKS = (
    rf"\b{NOTES}{ACCIDENTAL}[ -](?:maj|min|major|minor|Dur|Moll|mayor|menor|majeur|mineur)\b",
    r"(?<![\w#])[A-G][#b]?(?:maj|min|m|M|dim|aug|sus|add|\d|b5)*(?:/[A-G][#b]?)?(?![\w#])",
    r"\d+(?:\.\d+)?",
    rf"\b(?:{'|'.join(t for _, terms in MARKINGS for t in terms)})\b",
    r"\ba(?:n)?\b",
)


def masked(text: str) -> str:
    """The text without its facts: keys, chords, numbers, tempo markings, and the articles before them."""
    for pattern in MASKS:
        text = re.sub(pattern, "_", text, flags=re.IGNORECASE if pattern in MASKS[3:] else 0)
    return re.sub(r"_(?:[\s,–→-]*_)*", "_", text)


def given_away(texts: list[str], known: list[dict[str, Any]], styles: list[str], seed: int) -> None:
    """How well a classifier tells key and tempo band from the words and the style when the facts are masked."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    plain = [f"style_{s} {masked(t)}" for t, s in zip(texts, styles, strict=True)]
    print("| from masked text and style | classes | accuracy | most frequent class | standard error |")
    print("|---|---|---|---|---|")
    labels: dict[str, Callable[[dict[str, Any]], str | None]] = {
        "key": lambda a: a.get("key"),
        "mode": lambda a: a["key"].split()[1],
        "tempo marking": lambda a: a.get("tempo_marking"),
    }
    for name, label in labels.items():
        rows = [(t, label(a)) for t, a in zip(plain, known, strict=True) if label(a)]
        order = np.random.default_rng(seed).permutation(len(rows))
        rows = [rows[i] for i in order]
        half = len(rows) // 2
        vectors = CountVectorizer(ngram_range=(1, 2), min_df=5, token_pattern=r"\S+")
        train = vectors.fit_transform([t for t, _ in rows[:half]])
        model = LogisticRegression(max_iter=300, C=0.02).fit(train, [v for _, v in rows[:half]])
        truth = np.array([v for _, v in rows[half:]])
        accuracy = float((model.predict(vectors.transform([t for t, _ in rows[half:]])) == truth).mean())
        most = Counter(v for _, v in rows[:half]).most_common(1)[0][0]
        chance = float((truth == most).mean())
        error = float(np.sqrt(chance * (1 - chance) / len(truth)))
        print(f"| {name} | {len(set(truth))} | {accuracy:.3f} | {chance:.3f} | {error:.3f} |")


def draw_lengths(texts: list[str], styles: list[str], path: Path) -> None:
    """How long captions are, as a plot: share of each style at or below a number of words."""
    series = {}
    for style in ("short", "tags", "figma", "prose", "late"):
        sizes = np.sort([len(t.split()) for t, s in zip(texts, styles, strict=True) if s == style])
        series[style] = [
            (float(x), float(np.mean(sizes <= x))) for x in np.unique(np.percentile(sizes, range(0, 101, 5)))
        ]
    labels = {"title": "Length of captions", "x_label": "words", "y_label": "share of captions"}
    curves(series, path, **labels, force=True)


# --- copies -----------------------------------------------------------------------------------------------------------


def whole(path: Path) -> Audio:
    """A file as one stretch."""
    (audio,) = stretches(path, 1e5)
    return Audio(audio.samples, audio.sample_rate_hz)


def filtered(audio: Audio, *filters: tuple[str, str]) -> Audio:
    """Through a chain of FFmpeg's audio filters."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=audio.sample_rate_hz, format="flt", layout="mono")
    nodes = [source, *(graph.add(name, value) for name, value in filters), graph.add("abuffersink")]
    graph.link_nodes(*nodes).configure()
    frame = av.AudioFrame.from_ndarray(audio.samples[None].astype(np.float32), format="flt", layout="mono")
    frame.sample_rate = audio.sample_rate_hz
    graph.push(frame)
    graph.push(None)
    parts = []
    while True:
        try:
            parts.append(graph.pull().to_ndarray()[0])
        except (av.EOFError, av.BlockingIOError):
            return Audio(np.concatenate(parts).astype(np.float32), audio.sample_rate_hz)


def speed(audio: Audio, ratio: float) -> Audio:
    """Pitch and tempo together, as a turntable does."""
    rate = audio.sample_rate_hz
    return Audio(soxr.resample(audio.samples, rate * ratio, rate).astype(np.float32), rate)


def pitch(audio: Audio, semitones: float) -> Audio:
    """Pitch alone."""
    ratio = 2 ** (semitones / 12)
    return filtered(speed(audio, ratio), ("atempo", f"{1 / ratio:.6f}"))


def mp3(audio: Audio, bits: int) -> Audio:
    """There and back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copy.mp3"
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream("libmp3lame", rate=44100)
            stream.bit_rate, stream.layout = bits, "mono"
            samples = soxr.resample(audio.samples, audio.sample_rate_hz, 44100).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.sample_rate = 44100
            resampler = av.AudioResampler(format=stream.format, layout="mono", rate=44100, frame_size=1152)
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(stream.encode(part))
            container.mux(stream.encode(None))
        return whole(path)


def cut(audio: Audio, start: float, end: float) -> Audio:
    """Without these shares of it at the start and at the end."""
    length = len(audio.samples)
    return Audio(audio.samples[int(start * length) : length - int(end * length)], audio.sample_rate_hz)


CHANGES: dict[str, Callable[[Audio], Audio]] = {
    "mp3 96 kbit/s": lambda a: mp3(a, 96_000),
    "mp3 48 kbit/s": lambda a: mp3(a, 48_000),
    "level -10 dB": lambda a: Audio(a.samples * np.float32(0.316), a.sample_rate_hz),
    "a third cut off": lambda a: cut(a, 1 / 6, 1 / 6),
    "speed +3 %": lambda a: speed(a, 1.03),
    "speed -3 %": lambda a: speed(a, 0.97),
    "speed +1 %": lambda a: speed(a, 1.01),
    "pitch +0.5 semitones": lambda a: pitch(a, 0.5),
    "pitch -0.5 semitones": lambda a: pitch(a, -0.5),
    **{f"pitch {n:+g} semitones": lambda a, n=n: pitch(a, n) for n in (1, -2, 3, -3)},  # type: ignore[misc]
    **{f"tempo x {r}": lambda a, r=r: filtered(a, ("atempo", str(r))) for r in (1.1, 0.9, 1.25, 0.8)},  # type: ignore[misc]
    "pitch +2 semitones, tempo x 1.1": lambda a: filtered(pitch(a, 2), ("atempo", "1.1")),
    "tempo +3 %": lambda a: filtered(a, ("atempo", "1.03")),
    "speed +2 %, cut, quieter, mp3": lambda a: mp3(
        cut(speed(Audio(a.samples / 2, a.sample_rate_hz), 1.02), 0.15, 0.1), 96_000
    ),
    "pitch -0.5, cut, mp3": lambda a: mp3(cut(pitch(a, -0.5), 0.1, 0.2), 96_000),
}


def copies(folder: Path, num: int, seconds: float, seed: int) -> None:
    """Copies that are found, other recordings that are not, and where both end after splitting."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    prints, changed, spent_s, heard_s = [], [], 0.0, 0.0
    for n, path in enumerate(paths):
        audio = whole(path)
        audio = Audio(audio.samples[: int(seconds * audio.sample_rate_hz)], audio.sample_rate_hz)
        start = time.process_time()
        prints.append(fingerprint([audio]))
        spent_s, heard_s = spent_s + time.process_time() - start, heard_s + audio.duration_s
        if n < num:
            changed.append({name: fingerprint([change(audio)]) for name, change in CHANGES.items()})
    print(
        f"{len(paths)} recordings of {heard_s / len(paths):.0f} s: fingerprints {heard_s / spent_s:.0f} times real time"
    )
    print("| copy | shared triplets: lowest | 5 % | median | found |")
    print("|---|---|---|---|---|")
    for name in CHANGES:
        shared = [agreement(prints[i], row[name]) for i, row in enumerate(changed)]
        found = sum(near_duplicates([prints[i], row[name]]) == [(0, 1)] for i, row in enumerate(changed))
        low, middle = np.percentile(shared, (5, 50))
        print(f"| {name} | {min(shared)} | {low:.0f} | {middle:.0f} | {found} of {len(changed)} |")
    others = sorted(
        ((agreement(a, b), paths[i].name, paths[j].name) for (i, a), (j, b) in combinations(enumerate(prints), 2)),
        reverse=True,
    )
    print(f"{len(others)} pairs of different files: the most alike share {[o[0] for o in others[:6]]}")
    start = time.process_time()
    merged = near_duplicates(prints)
    print(
        f"merged, in {time.process_time() - start:.1f} s: "
        + "; ".join(f"{paths[a].name} = {paths[b].name}" for a, b in merged)
    )
    everything = [*prints, *(p for row in changed for p in row.values())]
    owner = [*range(len(prints)), *(i for i, row in enumerate(changed) for _ in row)]
    family = families([()] * len(everything), near_duplicates(everything))
    torn = 0
    for number in range(20):
        split = assign(
            family, ["all"] * len(family), targets({"all": len(family)}, (0.8, 0.1, 0.1)), seed=seed + number
        )
        torn += sum(split[i] != split[owner[i]] for i in range(len(prints), len(everything)))
    print(
        f"planted copies in another split than their original: {torn} of {20 * (len(everything) - len(prints))} "
        f"(20 seeds)"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, help="write the lengths of captions as SVG")
    parser.add_argument("--music", type=Path, help="folder of recordings, for copies")
    parser.add_argument("--copies", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=3600.0, help="of each recording at most")
    args = parser.parse_args()
    if args.captions:
        grammar(args.captions, args.seed, args.plot)
    if args.music is not None:
        copies(args.music, args.copies, args.seconds, args.seed)


if __name__ == "__main__":
    main()
