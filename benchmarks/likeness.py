"""Fits what an example sound says of a track: from standard scores to P(the same kind of sound).

    python benchmarks/likeness.py COLLECTION

Positives: a passage (20 s, or all) of the first half of a recording against its second half. Negatives: the same
passages against the second halves of other recordings. A balanced logistic regression on the standard score;
its quality is measured with each recording left out in turn.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from solfa.alignment.scores import Windows
from solfa.api import open_searcher
from solfa.collection import Collection
from solfa.encoders.windows import candidates, pool, segment_ranges
from solfa.retrieval.targets import QueryEmbedding, Targets, no_texts

PASSAGE_S = 20.0


def main(place: Path) -> None:
    """Print the fitted weights, and how good they are on recordings that they were not fitted on."""
    with Collection.open(place) as collection:
        searcher = open_searcher(collection)
        store = searcher.store
        tracks = store.windows([int(i) for i in store.track_ids])
        hop_s = store.space.hop_s
        width = round(PASSAGE_S / hop_s)
        examples, of = [], []
        for number, track in enumerate(tracks):
            half = len(track.frames_TD) // 2
            for part in (slice(0, half), slice(half // 2, min(half, half // 2 + width))):
                total = candidates(searcher.model.views, _part(track, part, hop_s)).sum(axis=0, dtype=np.float64)
                examples.append((total / np.linalg.norm(total)).astype(np.float32))
                of.append(number)
        wanted = Targets(texts=no_texts(store.space.dim), examples_ED=np.stack(examples), labels=("",) * len(of),
                        weights_L=np.ones(len(of), np.float32), shown_L=(True,) * len(of))  # fmt: skip
        sound = QueryEmbedding(wanted, searcher.model, searcher.view, searcher.sample)
        halves = [_part(track, slice(len(track.frames_TD) // 2, None), hop_s) for track in tracks]
        z_NL = sound.score(halves)
    same_NL = np.arange(len(tracks))[:, None] == np.array(of)
    for name, z in (("same recording", z_NL[same_NL]), ("other recordings", z_NL[~same_NL])):
        print(f"{name}: standard scores at 5, 25, 50, 75, 95 %: {np.percentile(z, [5, 25, 50, 75, 95]).round(2)}")
    right, sure = [], []
    for out in range(len(tracks)):
        rest = ~(np.array(of) == out)
        kept = np.arange(len(tracks)) != out
        p = _fit(z_NL[kept][:, rest], same_NL[kept][:, rest]).predict_proba(z_NL[:, ~rest].reshape(-1, 1))[:, 1]
        truth = same_NL[:, ~rest].ravel()
        right += [p[truth] >= 0.7, p[truth] <= 0.3]
        sure += [p[~truth] >= 0.7, p[~truth] <= 0.3]
    for name, found in (("same recording", right), ("other recordings", sure)):
        fits, misses = np.concatenate(found[::2]).mean(), np.concatenate(found[1::2]).mean()
        print(f"{name}, left out of the fit: said to fit {fits:.2f}, said not to fit {misses:.2f}")
    fitted = _fit(z_NL, same_NL)
    medians = np.median(z_NL[~same_NL]), np.median(z_NL[same_NL])
    print(f"P = 1 / (1 + exp(-({fitted.coef_[0, 0]:.2f} z {fitted.intercept_[0]:+.2f})))")
    print(f"medians of other recordings and of another part: {medians[0]:.2f} {medians[1]:.2f}")


def _fit(z: np.ndarray, same: np.ndarray) -> LogisticRegression:
    return LogisticRegression(C=1e6, class_weight="balanced").fit(z.reshape(-1, 1), same.ravel())


def _part(track: Windows, part: slice, hop_s: float) -> Windows:
    frames = track.frames_TD[part]
    ranges = segment_ranges(len(frames), hop_s)
    return Windows(
        pool(frames.astype(np.float32), ranges),
        frames,
        np.array(ranges, np.int64).reshape(-1, 2),
        track.start_s_T[part],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
