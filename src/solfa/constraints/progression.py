"""Chord sequences against the chords of tracks: in order, up to rotation, exactly or transposed.

The chords of a track are collapsed (equal neighbours joined, passing blips dropped), then the asked sequence, repeated
cyclically, is laid at every place in every rotation and transposition. A place scores the mean agreement of its
chords; one that was not recognised surely counts little either way. All tracks are scored in one pass over flat arrays.

Shape letters: N tracks, M collapsed chords of all tracks, L asked chords.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from solfa.core.theory import QUALITIES, Chord
from solfa.core.types import FloatArray, Span

_BLIP_S = 0.3  # shorter segments are passing notes or recogniser noise
_TRANSPOSED = 0.4  # what the sequence in another key is worth where the asked pitches matter
_LONGEST_LOOP = 16  # chords of a sequence that is looked for in every rotation
_UNSURE = 0.3  # agreement granted to a chord that was not recognised with confidence
_AGREED = 0.78  # agreement at which a place is as likely the sequence as not: one wrong chord of four is below
_GOOD = 0.75  # agreement from which a place counts as covered
_QUALITY_NAMES = tuple(QUALITIES)
_ANY = 31  # stands for any follower in ``Attributes.chord_pairs``
_NO_CHORD = 12 * len(_QUALITY_NAMES)

Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Progressions:
    """Collapsed chords of N tracks, one after the other; track i has ``[bounds_N1[i], bounds_N1[i + 1])``."""

    codes_M: Codes
    confidences_M: FloatArray
    starts_s_M: FloatArray
    ends_s_M: FloatArray
    bounds_N1: Codes


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Matches:
    """P(the progression is in the track), the share of the track it fills, and how far it was moved [shape=(N,)].

    ``starts_M`` marks the chords at which a place with good agreement begins, at the track's own shift.
    """

    p_N: FloatArray
    coverage_N: FloatArray
    shift_N: Codes
    scores_M: FloatArray
    starts_M: NDArray[np.bool_]


@cache
def code(label: str) -> int:
    """Number of a Harte label: root and quality, without the bass; one number for no chord."""
    chord = Chord.parse(label)
    return _NO_CHORD if chord is None else chord.root * len(_QUALITY_NAMES) + _QUALITY_NAMES.index(chord.quality)


def collapse(
    codes: Codes, starts_s: FloatArray, ends_s: FloatArray, confidences: FloatArray, bounds_N1: Codes
) -> Progressions:
    """Chord segments of N tracks with blips given to the chord before them and equal neighbours joined.

    Each track has at least one segment; its first is kept however short it is.
    """
    track = np.repeat(np.arange(len(bounds_N1) - 1), np.diff(bounds_N1))
    first = np.zeros(len(codes), bool)
    first[bounds_N1[:-1]] = True
    keep = np.flatnonzero((ends_s - starts_s >= _BLIP_S) | first)
    codes, track, starts_s, sure = codes[keep], track[keep], starts_s[keep], confidences[keep]
    last = np.append(track[1:] != track[:-1], True)
    track_end_s = ends_s[bounds_N1[1:][track] - 1]
    ends = np.where(last, track_end_s, np.append(starts_s[1:], 0.0)).astype(np.float32)
    new = np.append(True, (codes[1:] != codes[:-1]) | (track[1:] != track[:-1]))
    at = np.flatnonzero(new)
    length = np.maximum(ends - starts_s, 1e-6)
    joined = np.add.reduceat(length * sure, at) / np.add.reduceat(length, at)
    counts = np.bincount(track[at], minlength=len(bounds_N1) - 1)
    return Progressions(
        codes_M=codes[at],
        confidences_M=joined.astype(np.float32),
        starts_s_M=starts_s[at],
        ends_s_M=ends[np.append(at[1:], len(codes)) - 1],
        bounds_N1=np.append(0, np.cumsum(counts)),
    )


def match(
    progressions: Progressions, chords: Sequence[Chord], transposable: bool, loose_quality: bool, *, moved: bool = True
) -> Matches:
    """The best match of every track over places, rotations and shifts.

    A sequence in another key counts fully if it is ``transposable``, else for part of its worth; with ``moved`` False
    it is then not looked for at all, which is faster.
    """
    shifts = 12 if transposable or moved else 1
    bounds, num_tracks = progressions.bounds_N1, len(progressions.bounds_N1) - 1
    scores = _scores(progressions, tuple(chords), loose_quality, shifts)  # (shifts, M)
    top = np.maximum.reduceat(scores, bounds[:-1], axis=1)
    fit = 1.0 / (1.0 + np.exp(-(top - _AGREED) / 0.035))
    worth = np.full((shifts, 1), 1.0 if transposable else _TRANSPOSED)
    worth[0] = 1.0
    shift = np.argmax(np.round(fit * worth, 6), axis=0)
    track = np.repeat(np.arange(num_tracks), np.diff(bounds))
    own = scores[shift[track], np.arange(len(track))]
    best = top[shift, np.arange(num_tracks)]
    starts = own >= np.maximum(_GOOD, best[track] - 0.1)
    coverage = _coverage(progressions, starts, len(chords), track)
    p = (fit * worth)[shift, np.arange(num_tracks)]
    # A short sequence turns up by accident in many tracks, so it must also fill a good part of this one.
    needed = {1: 0.4, 2: 0.4, 3: 0.15}.get(len(chords))
    if needed is not None:
        p = p * np.minimum(1.0, 0.3 + 0.7 * coverage / needed)
    return Matches(p_N=p.astype(np.float32), coverage_N=coverage, shift_N=shift, scores_M=own, starts_M=starts)


def places(progressions: Progressions, matches: Matches, length: int) -> tuple[tuple[Span, ...], tuple[str, ...]]:
    """Where a sequence of ``length`` chords is in the first track, and the chords played at its best place."""
    end_of_track = int(progressions.bounds_N1[1])
    spans: list[Span] = []
    for i in np.flatnonzero(matches.starts_M[:end_of_track]).tolist():
        last = min(i + length, end_of_track) - 1
        start_s, end_s = float(progressions.starts_s_M[i]), float(progressions.ends_s_M[last])
        score = float(matches.scores_M[i])
        if spans and start_s < spans[-1].end_s - 1e-3:
            before = spans.pop()
            start_s, end_s, score = before.start_s, max(end_s, before.end_s), max(score, before.confidence)
        spans.append(Span(start_s=start_s, end_s=end_s, confidence=min(1.0, score)))
    at = int(np.argmax(matches.scores_M[:end_of_track]))
    played = progressions.codes_M[at : min(at + length, end_of_track)].tolist()
    return tuple(spans), tuple(map(_label, played))


def pair_share(pairs: NDArray[np.uint8], chords: Sequence[Chord], transposable: bool) -> FloatArray:
    """Share of the neighbouring pairs of the asked cycle that each track has anywhere [shape=(N,)].

    A cheap look at all tracks (``pairs`` is ``Attributes.chord_pairs``): ``match`` says more about the few that are
    left. Chords count by root and third: 1..12 major from C, 13..24 minor.
    """
    asked = [1 + c.root + (12 if 3 in QUALITIES[c.quality] else 0) for c in chords]
    followers = asked[1:] + asked[:1] if len(asked) > 1 else [_ANY]
    cycle = list(dict.fromkeys(zip(asked, followers, strict=True)))
    best = np.zeros(pairs.shape[1], np.uint16)
    for shift in range(12) if transposable else (0,):
        count = np.zeros(pairs.shape[1], np.uint16)
        for pair in cycle:
            first, second = (c if c == _ANY else 12 * ((c - 1) // 12) + 1 + (c - 1 + shift) % 12 for c in pair)
            bit = first << 5 | second
            count += pairs[bit >> 3] >> np.uint8(7 - (bit & 7)) & np.uint8(1)
        np.maximum(best, count, out=best)
    share: FloatArray = (best / len(cycle)).astype(np.float32)
    return share


def _scores(progressions: Progressions, chords: tuple[Chord, ...], loose_quality: bool, shifts: int) -> FloatArray:
    """Agreement of the best rotation begun at each chord, for each shift [shape=(shifts, M)]; 0 where a track ends."""
    asked, count = len(chords), len(progressions.codes_M)
    sure = progressions.confidences_M
    agreed = np.moveaxis(agreement(chords, loose_quality)[:shifts], 2, 0)[:, :, progressions.codes_M]
    grid = agreed * sure + _UNSURE * (1 - sure)  # (L, shifts, M): the passes below go along M
    length = np.repeat(np.diff(progressions.bounds_N1), np.diff(progressions.bounds_N1))
    left = np.repeat(progressions.bounds_N1[1:], np.diff(progressions.bounds_N1)) - np.arange(count)
    best = np.zeros((shifts, count), np.float32)
    padded = np.concatenate([grid, np.zeros((asked, shifts, asked), np.float32)], axis=2)
    # Long sequences are no loops: they are looked for from their start only, in one pass a chord.
    for rotation in range(asked if asked <= _LONGEST_LOOP else 1):
        total = np.zeros((shifts, count), np.float32)
        for k in range(asked):
            # A track with fewer chords than were asked is compared as far as it goes.
            total += padded[(rotation + k) % asked, :, k : k + count] * (k < np.minimum(left, length))
        np.maximum(best, total / asked, out=best)
    best[:, left < np.minimum(asked, length)] = 0.0
    return best


def _coverage(progressions: Progressions, starts: NDArray[np.bool_], length: int, track: Codes) -> FloatArray:
    """Share of each track's time that is in places which begin at ``starts`` and are ``length`` chords long."""
    at = np.flatnonzero(starts)
    ends = np.minimum(at + length, progressions.bounds_N1[1:][track[at]])
    depth = np.zeros(len(starts) + 1, np.int64)
    np.add.at(depth, at, 1)
    np.add.at(depth, ends, -1)
    seconds = progressions.ends_s_M - progressions.starts_s_M
    num_tracks = len(progressions.bounds_N1) - 1
    covered = np.bincount(track, seconds * (np.cumsum(depth)[:-1] > 0), num_tracks)
    share: FloatArray = (covered / np.maximum(np.bincount(track, seconds, num_tracks), 1e-6)).astype(np.float32)
    return share


@lru_cache(maxsize=64)
def agreement(chords: tuple[Chord, ...], loose_quality: bool) -> FloatArray:
    """Agreement of every chord code with every asked chord, for each shift [shape=(12, codes, L)].

    1 for the chord asked, less for its neighbours: same root and third (0.7), same root (0.3), two notes in common
    (0.25). With ``loose_quality`` the third is enough.

    >>> table = agreement((Chord.parse("C:maj"),), True)
    >>> [float(table[shift, code(c), 0]) for shift, c in ((0, "C:maj7"), (0, "A:min"), (2, "D:maj"), (2, "C:maj"))]
    [1.0, 0.25, 1.0, 0.0]
    """
    others = [Chord(root, quality) for root in range(12) for quality in _QUALITY_NAMES]
    triads, notes = [c.triad for c in others], np.array([sum(1 << pc for pc in c.pitch_classes) for c in others])
    still = np.zeros((_NO_CHORD + 1, len(chords)), np.float32)
    for column, asked in enumerate(chords):
        root = np.array([c.root == asked.root for c in others])
        third = np.array([triad == asked.triad for triad in triads])
        same = np.array([c.quality == asked.quality for c in others])
        common = np.bitwise_count(notes & sum(1 << pc for pc in asked.pitch_classes)) >= 2
        values = np.where(root, np.where(third, 1.0 if loose_quality else 0.7, 0.3), 0.25 * common)
        still[:-1, column] = np.where(root & same, 1.0, values)
    kinds = len(_QUALITY_NAMES)
    return np.stack([np.concatenate([np.roll(still[:-1], s * kinds, axis=0), still[-1:]]) for s in range(12)])


def _label(number: int) -> str:
    if number == _NO_CHORD:
        return "N"
    root, quality = divmod(number, len(_QUALITY_NAMES))
    return str(Chord(root, _QUALITY_NAMES[quality]))
