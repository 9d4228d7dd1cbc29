"""Which recordings are the same, whatever became of them: other titles, lossy codecs, level, cuts, speed and pitch.

Spectral peaks of a constant-Q transform are joined to triplets. Two differences of log-frequency and one ratio of
times do not change when the pitch is moved or the tempo stretched (Six & Leman, "Panako", ISMIR 2014; Sonnleitner &
Widmer, TASLP 2016), so they are hashed; recordings that share hashes are the same if the peaks agree on one pitch
shift, one tempo ratio and one offset. No network, no tags.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from solfa.analysis.cqt import HOP, RATE_HZ, cqt
from solfa.audio import at_rate
from solfa.core.errors import need
from solfa.core.types import Audio, FloatArray

_ndimage, _sparse = (need(f"scipy.{m}", "captioning", "pip install 'solfa[data]'") for m in ("ndimage", "sparse"))

BINS_PER_OCTAVE = 36
_FRAMES_PER_S = RATE_HZ / HOP
_NEAR_FRAMES, _NEAR_BINS = 9, 5
_PEAKS_PER_S = 10
_AROUND = (101, 13)  # frames and bins: 2.3 s, a third
_REACH_S, _GAP_S = 2.4, 0.2
_PARTNERS = 5
MOST_HASHES = 4096
# Copies share at least 50 triplets and different recordings at most 10 (half minutes, see docs/data.md); of less sound
# there are fewer.
_SAME, _SAME_SHORT, _LONG_HASHES = 30, 8, 2000
_MOST_SHIFT, _MOST_STRETCH = 10.0, 0.3  # bins, logarithm of the tempo ratio: three semitones, a third faster
_DIFFERENT_HASHES = 700_000  # as many equally likely ones would meet by chance as often as those of real music do
_MANY = 50  # recordings
_MOST_WORK = 40_000_000  # pairs of equal hashes that are counted; the most common hashes are left out beyond it


# Triplets of one recording: hash, where it starts, how high its first peak is (36 to the octave), how long it lasts.
PRINT = np.dtype([("hash", "<u4"), ("time_s", "<f4"), ("bin", "<f4"), ("span_s", "<f4")])
Fingerprint = NDArray[np.void]  # of PRINT


def fingerprint(stretches: Iterable[Audio]) -> Fingerprint:
    """At most ``MOST_HASHES`` triplets of a recording, read in stretches; none of silence.

    Which triplets are kept follows from the sound (the smallest mixed hashes), so that a copy keeps the same ones.
    """
    times, bins, levels = [], [], []
    for audio in stretches:
        magnitudes = cqt(at_rate(audio, RATE_HZ).samples)
        frame, at, level = _peaks(magnitudes)
        times.append(frame / _FRAMES_PER_S + audio.start_s)
        bins.append(at)
        levels.append(level)
    if not times:
        return np.zeros(0, PRINT)
    return _triplets(np.concatenate(times), np.concatenate(bins), np.concatenate(levels))


def _peaks(magnitudes: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Frames, bins (both interpolated) and levels of the peaks that stand out, in the order of time."""
    # Measured against what is around it, so that a cut or a level elsewhere changes nothing here.
    around = _ndimage.uniform_filter(magnitudes, size=_AROUND, mode="nearest")
    white = magnitudes / (around + max(1e-3 * float(magnitudes.max(initial=0.0)), 1e-5))
    top = white == _ndimage.maximum_filter(white, size=(2 * _NEAR_FRAMES + 1, 2 * _NEAR_BINS + 1), mode="constant")
    top[:, [0, -1]] = top[[0, -1]] = False
    frame, at = np.nonzero(top & (white > 1.0))
    level = white[frame, at].astype(np.float64)
    half = _FRAMES_PER_S / 2
    low, high = np.searchsorted(frame, frame - half), np.searchsorted(frame, frame + half)
    stronger = [np.count_nonzero(level[a:b] > x) for a, b, x in zip(low, high, level, strict=True)]
    kept = np.flatnonzero(np.array(stronger, int) < _PEAKS_PER_S)
    frame, at, level = frame[kept], at[kept], level[kept]
    return frame + _vertex(white, frame, at, 0), at + _vertex(white, frame, at, 1), level


def _vertex(white: FloatArray, frame: NDArray[np.intp], at: NDArray[np.intp], axis: int) -> NDArray[np.float64]:
    """How far from the sample the top of the parabola through three neighbours is, -0.5..0.5."""
    places = [(frame + s, at) if axis == 0 else (frame, at + s) for s in (-1, 0, 1)]
    low, mid, high = (np.log(white[place].astype(np.float64) + 1e-6) for place in places)
    bend = low - 2 * mid + high
    return np.clip(np.where(bend < -1e-9, 0.5 * (low - high) / np.minimum(bend, -1e-9), 0.0), -0.5, 0.5)


def _triplets(times: NDArray[np.float64], bins: NDArray[np.float64], levels: NDArray[np.float64]) -> Fingerprint:
    rows = []
    ends = np.searchsorted(times, times + _REACH_S)
    begins = np.searchsorted(times, times + _GAP_S)
    for i, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        near = np.flatnonzero(np.abs(bins[begin:end] - bins[i]) <= 1.5 * BINS_PER_OCTAVE) + begin
        best = np.sort(near[np.argsort(-levels[near], kind="stable")[:_PARTNERS]])
        rows += [(i, j, k) for j, k in combinations(best, 2) if times[k] - times[j] >= 0.05]
    if not rows:
        return np.zeros(0, PRINT)
    i, j, k = np.array(rows).T
    whole = times[k] - times[i]
    parts = (
        np.round((bins[j] - bins[i]) / 3) + 18,
        np.round((bins[k] - bins[j]) / 3) + 36,
        np.round((times[j] - times[i]) / whole * 32),
        np.floor(bins[i] / 18),
        np.floor(3 * np.log2(whole / _GAP_S)),
    )
    code = np.zeros(len(rows), np.uint64)
    for part, size in zip(parts, (37, 73, 33, 15, 11), strict=True):
        code = code * np.uint64(size) + np.clip(part, 0, size - 1).astype(np.uint64)
    mixed = _mix(code)
    kept = np.sort(np.argsort(mixed, kind="stable")[:MOST_HASHES])
    found = np.empty(len(kept), PRINT)
    for name, values in (("hash", mixed), ("time_s", times[i]), ("bin", bins[i]), ("span_s", whole)):
        found[name] = values[kept]
    return found


def _mix(code: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Well spread 32 bits of a number (the finaliser of MurmurHash3)."""
    x = code * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    return ((x ^ (x >> np.uint64(33))) >> np.uint64(32)).astype(np.uint32)


def near_duplicates(fingerprints: Sequence[Fingerprint]) -> list[tuple[int, int]]:
    """Every pair of recordings that are the same, by number, sorted.

    Only pairs that share enough hashes are compared; of very many recordings, enough uncommon hashes. So the work grows
    with the recordings and their copies, not with all pairs.
    """
    unique = [np.unique(f["hash"]) for f in fingerprints]
    pairs = []
    found, share, usual = _shared(unique)
    for a, b, shared in sorted(found):
        short, long = sorted((len(unique[a]), len(unique[b])))
        needed = _SAME_SHORT + min(1.0, short / _LONG_HASHES) * (_SAME - _SAME_SHORT)
        chance = max(usual, share * short * long / _DIFFERENT_HASHES)
        if shared >= max(0.8 * needed * share, chance + 4 * chance**0.5) and (
            agreement(fingerprints[a], fingerprints[b]) >= needed
        ):
            pairs.append((a, b))
    return pairs


def _shared(hashes: Sequence[NDArray[np.uint32]]) -> tuple[list[tuple[int, int, int]], float, float]:
    """Pairs that share more hashes than most, and how many; the share of hashes looked at; how many most pairs share.

    The last is the median over all pairs, where there are so many that copies do not make it.
    """
    values, bucket, size = np.unique(np.concatenate([*hashes, [0]]), return_inverse=True, return_counts=True)
    owner = np.repeat(np.arange(len(hashes) + 1), [*map(len, hashes), 1])  # the zero is nobody's
    by_size = np.bincount(size)
    work = np.cumsum(by_size * np.arange(len(by_size)) * (np.arange(len(by_size)) - 1) // 2)
    most = max(2, int(np.searchsorted(work, _MOST_WORK, side="right")) - 1)
    kept = (size[bucket] <= most) & (owner < len(hashes))
    places = (owner[kept], bucket[kept])
    has = _sparse.csr_matrix((np.ones(len(places[0]), np.int32), places), shape=(len(hashes), len(values)))
    both = _sparse.triu(has @ has.T, k=1).tocoo()
    half = len(hashes) * (len(hashes) - 1) // 4
    usual = float(np.sort(both.data)[-half]) if len(hashes) >= _MANY and both.nnz >= half else 0.0
    enough = both.data >= max(4.0, usual + 4 * usual**0.5)
    rows = np.stack([both.row, both.col, both.data], axis=1)[enough].tolist()
    return [(a, b, n) for a, b, n in rows], float(kept.sum() / max(1, len(bucket) - 1)), usual


def agreement(a: Fingerprint, b: Fingerprint) -> int:
    """How many triplets two recordings share that agree on one pitch shift, one tempo ratio and one offset."""
    order = np.argsort(b["hash"], kind="stable")
    low, high = (np.searchsorted(b["hash"][order], a["hash"], side) for side in ("left", "right"))
    count = np.minimum(high - low, 8)
    mine = np.repeat(np.arange(len(a)), count)
    theirs = order[np.repeat(low, count) + np.arange(len(mine)) - np.repeat(np.cumsum(count) - count, count)]
    shift = b["bin"][theirs] - a["bin"][mine]
    ratio = b["span_s"][theirs] / a["span_s"][mine]
    fits = (np.abs(shift) <= _MOST_SHIFT) & (np.abs(np.log(ratio)) <= _MOST_STRETCH + 0.04)
    best = 0
    for stretch in np.exp(np.linspace(-_MOST_STRETCH, _MOST_STRETCH, 13)):
        near = np.flatnonzero(fits & (np.abs(np.log(ratio / stretch)) <= 0.04))
        if len(near) <= best:
            continue
        offset = b["time_s"][theirs[near]] - stretch * a["time_s"][mine[near]]
        for phase in (0.0, 0.5):  # a cluster on a border of one grid is whole in the other
            cell = np.floor(offset / 0.5 + phase) * 64 + np.floor(shift[near] / 1.5 + phase)
            _, own, size = np.unique(cell, return_inverse=True, return_counts=True)
            inside = near[own == size.argmax()]
            # one triplet of either side counts once
            best = max(best, min(len(np.unique(mine[inside])), len(np.unique(theirs[inside]))))
    return best
