"""From the chord network's heads to chord segments: a vocabulary, its log-likelihoods, the best path, confidence.

The network estimates triad, bass, seventh, ninth, eleventh and thirteenth, as its teacher does (Jiang et al., ISMIR
2019). A chord of the vocabulary is one class of each; its log-likelihood is the sum of theirs. The path pays a fixed
price for each change.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solfa.core.files import table_of
from solfa.core.theory import Chord
from solfa.core.types import ChordSegment, FloatArray

# First column of each head among the network's 100 outputs.
TRIAD, BASS, SEVENTH, NINTH, ELEVENTH, THIRTEENTH, N_HEADS = 0, 73, 86, 90, 94, 97, 100
_TRIADS = ("maj", "min", "sus4", "sus2", "dim", "aug")
NO_CHORD = "N"


@cache
def tables() -> dict[str, Any]:
    """What ``chords.toml`` says of qualities and key profiles."""
    return table_of("solfa.analysis", "chords.toml")


@dataclass(frozen=True, eq=False, slots=True)
class ChordVocabulary:
    """The states of the path. Row s of ``columns`` are the six network outputs whose logarithms add up to state s.

    ``labels`` [S] as written out; ``root`` [S] -1 for no chord; ``group`` [S] numbers states that share root and
    quality (inversions do).
    """

    labels: tuple[str, ...]
    root: NDArray[np.intp]
    quality: tuple[str, ...]
    columns: NDArray[np.intp]
    group: NDArray[np.intp]


@cache
def vocabulary() -> ChordVocabulary:
    """No chord, then every quality on every root, then the inversions."""
    labels, roots, qualities = [NO_CHORD], [-1], [NO_CHORD]
    # No chord: class 0 of triad and bass; the others say nothing about it and are left out (column -1).
    columns = [[TRIAD, BASS, -1, -1, -1, -1]]
    for quality, row in tables()["quality"].items():
        spelled = row.get("told_as", quality)
        for bass in (0, *row.get("bass", ())):
            for root in range(12):
                labels.append(str(Chord(root, spelled, bass or None)))
                roots.append(root)
                qualities.append(spelled)
                heads = zip((SEVENTH, NINTH, ELEVENTH, THIRTEENTH), row["extensions"], strict=True)
                first = [1 + 12 * _TRIADS.index(row["triad"]) + root, BASS + 1 + (root + bass) % 12]
                columns.append(first + [head + value for head, value in heads])
    keys = list(zip(roots, qualities, strict=True))
    number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    group = np.array([number[key] for key in keys])
    return ChordVocabulary(tuple(labels), np.array(roots), tuple(qualities), np.array(columns), group)


def log_likelihoods(log_heads: NDArray[np.floating]) -> FloatArray:
    """State log-likelihoods float32 [shape=(T, S)] of head log-probabilities [shape=(T, 100)]."""
    padded = np.pad(log_heads.astype(np.float32), ((0, 0), (0, 1)))  # column -1 adds nothing
    columns = vocabulary().columns
    total: FloatArray = padded[:, columns[:, 0]]
    for i in range(1, columns.shape[1]):
        total += padded[:, columns[:, i]]
    return total


@dataclass(frozen=True, eq=False, slots=True)
class Decoded:
    """A track's chords before they are cut into segments.

    ``path`` [T] states; ``sure`` float32 [T] frame-wise probability of the path's root and quality; ``clear``, mean
    over the track of the likeliest chord's (low where chords are ambiguous, or there are none).
    """

    path: NDArray[np.intp]
    sure: FloatArray
    clear: float


def decode(log_heads: Sequence[NDArray[np.floating]], change_cost: float) -> Decoded:
    """The best path through head log-probabilities [shape=(T, 100)], given in blocks of at least one frame in all.

    Scores of hundreds of states are made block by block, twice, rather than kept: a track of hours needs one block.
    """
    path = best_path((log_likelihoods(block) for block in log_heads), change_cost)
    group = vocabulary().group
    sure = np.empty(len(path), np.float32)
    clear, start = 0.0, 0
    for block in log_heads:
        rows = slice(start, start := start + len(block))
        probability = posteriors(log_likelihoods(block))
        sure[rows] = probability[np.arange(len(block)), group[path[rows]]]
        clear += float(probability[:, 1:].max(axis=1).sum(dtype=np.float64))
    return Decoded(path, sure, clear / len(path))


def best_path(scores: Iterable[FloatArray], change_cost: float) -> NDArray[np.intp]:
    """States [shape=(T,)] that maximise the sum of ``scores``, blocks [shape=(T, S)], less ``change_cost`` per change.

    The cost is the same between all states, so that one comparison with the best predecessor is enough (O(T S)).
    """
    total = np.zeros(0)
    came_from_best: list[NDArray[np.uint8]] = []  # a bit for each state
    best: list[NDArray[np.intp]] = []
    for block in scores:
        entering, leaders = np.zeros(block.shape, bool), np.zeros(len(block), np.intp)
        for t, row in enumerate(block):
            if not len(total):  # the first frame of all comes from nowhere
                total = row.astype(np.float64)
                continue
            leaders[t] = int(np.argmax(total))
            entered = total[leaders[t]] - change_cost
            entering[t] = entered > total
            np.maximum(total, entered, out=total)
            total += row
        came_from_best.append(np.packbits(entering, axis=1))
        best.append(leaders)
    path = [np.zeros(len(leaders), np.intp) for leaders in best]
    state = int(np.argmax(total))
    for states, bits, leaders in zip(reversed(path), reversed(came_from_best), reversed(best), strict=True):
        entering = np.unpackbits(bits, axis=1, count=len(total)).astype(bool)
        for t in range(len(states) - 1, -1, -1):
            states[t] = state
            state = int(leaders[t]) if entering[t, state] else state
    return np.concatenate(path)


def posteriors(scores: FloatArray) -> FloatArray:
    """Frame-wise probability float32 [shape=(T, G)] of each group of states (root and quality)."""
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    shifted /= shifted.sum(axis=1, keepdims=True)
    group = vocabulary().group
    out = np.zeros((len(scores), int(group.max()) + 1), np.float32)
    for g in range(out.shape[1]):
        out[:, g] = shifted[:, group == g].sum(axis=1)
    return out


def segments(
    starts_s: NDArray[np.float64],
    end_s: float,
    decoded: Decoded,
    calibration: Mapping[str, Any],
) -> tuple[ChordSegment, ...]:
    """Runs of one label, each with its confidence; frame t covers ``starts_s[t]`` to the next start or ``end_s``."""
    table, path = vocabulary(), decoded.path
    edges = np.flatnonzero(np.r_[True, [table.labels[a] != table.labels[b] for a, b in pairwise(path)]])
    bounds = np.r_[edges, len(path)]
    out = []
    for first, last in pairwise(bounds):
        start = float(starts_s[first]) if first else 0.0
        end = float(starts_s[last]) if last < len(path) else end_s
        mean = float(decoded.sure[first:last].mean())
        label = table.labels[path[first]]
        sure = segment_confidence(mean, end - start, label == NO_CHORD, calibration)
        if end > start:
            out.append(ChordSegment(start_s=start, end_s=end, label=label, confidence=sure))
    return tuple(out)


def segment_features(mean: float, length_s: float, no_chord: bool) -> NDArray[np.float64]:
    """What the confidence of a segment is computed from: mean posterior, its length, whether it is no chord."""
    p = min(max(mean, 1e-4), 1 - 1e-4)
    return np.array([1.0, np.log(p / (1 - p)), np.log(min(max(length_s, 0.1), 8.0)), float(no_chord)])


def segment_confidence(mean: float, length_s: float, no_chord: bool, calibration: Mapping[str, Any]) -> float:
    """Probability that root and quality are right."""
    z = float(segment_features(mean, length_s, no_chord) @ np.asarray(calibration["weights"], np.float64))
    return float(1 / (1 + np.exp(-z)))
