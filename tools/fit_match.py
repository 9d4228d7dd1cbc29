"""Fit what turns a model's scores into probabilities, and write the file that the model loads (``encoders.match``).

    python tools/fit_match.py --data DIR --model bridge --out src/solfa/encoders/bridge_match.npz \
        --likeness 3.90 -9.18 1.11 3.22 [--seed 0]
    python tools/fit_match.py --data DIR --model solfa-1 --out src/solfa/weights/files/solfa-1/match.npz \
        --likeness 4.19 -8.72 0.88 3.07

The model is one without windows. DIR holds index.csv (columns file, description, ...) and the files. Phrases of the
descriptions, as the query parser cuts them, are true of their own track and false of another drawn at random; nonsense,
names and other languages are false of all. The sounds at large are four segments of each track, the texts at large
names of the vocabulary. Prints, for five folds over tracks, the area under the ROC curve, log loss against that of a
constant, and how often it is right where it is sure; the weights that are written are fitted to all.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from solfa.alignment.scores import quantise, similarity, smooth, track_scores
from solfa.audio import stretches
from solfa.core.types import FloatArray
from solfa.core.vocabulary import concepts
from solfa.encoders.registry import load_model
from solfa.encoders.windows import embed
from solfa.query import parse
from solfa.query.explain import by_sound
from solfa.retrieval.targets import PASSAGE_S, familiarity

# Nothing that a tag could be near to: made up, names, other languages, other trades.
FALSE = """asdfghjkl|qwerty zxcv|flibbertigibbet|foobarbaz|lorem ipsum|trkplm|wlkjer|zzzz|dfgdfg|Satie|Zimmermann|
Kowalski|Schnittke|Nguyen|Xanthippe|Rzeszow|BWV 565|ISRC 12345|invoice|quarterly earnings|tax return|json parser|
spreadsheet|mortgage|carburettor|musique triste|traurige Musik|canción alegre|hvordan|gatto nero|öljy|весёлая песня|
грустная музыка|悲しいピアノ|夜の街|슬픈 음악|κιθάρα|שיר עצוב|project deadline|database index|kernel panic|
warranty claim""".replace("\n", "").split("|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--likeness", type=float, nargs=4, default=(3.90, -9.18, 1.11, 3.22),
        help="of examples: what benchmarks/likeness.py prints last, with the file that is written first",
    )  # fmt: skip
    args = parser.parse_args()
    with (args.data / "index.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = ("description", "genre", "feel", "instruments")
    model, rng = load_model(args.model), np.random.default_rng(args.seed)
    files = [args.data / row["file"] for row in rows]
    frames = [np.asarray(embed(model, [next(iter(stretches(file, 120.0)))]).frames_TD) for file in files]
    width = max(1, round(PASSAGE_S / model.audio.spec.hop_s))
    at = [np.linspace(0, len(f) - 1, 8).round().astype(int) for f in frames]
    sounds: FloatArray = np.concatenate([f[places] for f, places in zip(frames, at, strict=True)])
    names = sorted(c.title for c in concepts().values() if c.kind in ("genre", "instrument", "mood", "use"))
    texts_at_large = model.text.encode(names[:: max(1, len(names) // 128)][:128]).global_BD
    pairs: list[tuple[str, int, bool]] = []
    for number, row in enumerate(rows):
        said = [p for c in columns for p in by_sound(parse(row[c] or "x"))[0] if row[c]]
        said += [p.strip() for p in (row["feel"] + "," + row["genre"]).split(",") if p.strip()]
        for phrase in dict.fromkeys(said):
            pairs.append((phrase, number, True))
            pairs.append((phrase, int((number + rng.integers(1, len(rows))) % len(rows)), False))
    for phrase in FALSE:
        pairs += [(phrase, int(number), False) for number in rng.integers(0, len(rows), 6)]
    phrases = list(dict.fromkeys(phrase for phrase, _, _ in pairs))
    vectors = model.text.encode(phrases).global_BD
    everything = np.concatenate([vectors, texts_at_large])
    among = similarity(sounds, everything).astype(np.float64)
    mean, deviation = among.mean(axis=0), np.maximum(among.std(axis=0), 0.02)
    z_NX = np.stack([
        (track_scores(smooth(similarity(f, everything), width).astype(np.float64), np.array([0, len(f)]))[0] - mean)
        / deviation
        for f in frames
    ])  # fmt: skip
    place = {phrase: i for i, phrase in enumerate(phrases)}
    others = z_NX[:, len(phrases) :]

    def features(phrase: str, track: int) -> list[float]:
        z = z_NX[track, place[phrase]]
        by_text = (z - others[track].mean()) / max(float(others[track].std()), 0.1)
        return [z, by_text, familiarity(model, phrase)]

    X = np.array([features(phrase, track) for phrase, track, _ in pairs])
    y = np.array([true for _, _, true in pairs])
    folds: NDArray[np.int64] = np.array([track for _, track, _ in pairs]) % 5
    p = np.zeros(len(y))
    for fold in range(5):
        fitted = LogisticRegression(C=10.0).fit(X[folds != fold], y[folds != fold])
        p[folds == fold] = fitted.predict_proba(X[folds == fold])[:, 1]
    sure = (p >= 0.7, p <= 0.3)
    print(f"{len(rows)} tracks, {len(phrases)} phrases, {len(y)} pairs, {y.mean():.2f} true")
    constant = log_loss(y, np.full(len(y), y.mean()))
    print(f"five folds: AUC {roc_auc_score(y, p):.3f}, log loss {log_loss(y, p):.3f} (constant {constant:.3f}); "
          f"said to fit {sure[0].mean():.2f}, right {y[sure[0]].mean():.2f}; "
          f"said not to fit {sure[1].mean():.2f}, right {1 - y[sure[1]].mean():.2f}")  # fmt: skip
    nonsense = np.array([phrase in FALSE for phrase, _, _ in pairs])
    print(f"nonsense said to fit: {(p[nonsense] >= 0.7).mean():.3f}")
    whole = LogisticRegression(C=10.0).fit(X, y)
    weights = np.array([*whole.coef_[0], whole.intercept_[0]], np.float32)
    print("weights", weights.round(3).tolist())
    arrays = {"sounds_SD": quantise(sounds[::2]), "texts_XD": quantise(texts_at_large), "weights": weights,
              "likeness": np.array(args.likeness, np.float32)}  # fmt: skip
    np.savez_compressed(args.out, space=np.array(model.space), **arrays)


if __name__ == "__main__":
    main()
