"""Scores of vectors: by global cosine, by frames and tokens, or by a mix of both (FIGMA).

Conventions
-----------
Legend of shape letters: Q queries, N items, T frames, L tokens, D dimensions. Vectors are normalised here once more, in
float32; the score of a pair is the float64 sum over those values. Whichever side asks, the frame score takes the best
token of every frame, then the mean over frames (or the other way round, where a view's direction is ``tokens``). Dead
or non-finite vectors, and spaces or pools that do not fit each other, raise InputError.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solfa.alignment.scores import Texts, Windows, frame_scores, similarity, track_scores
from solfa.core.errors import InputError, need
from solfa.core.types import Direction, Features, FloatArray, View, ViewName
from solfa.evaluation.ranking import Block, Floats, Ints, Scores, Vectors, as_numpy


def unit_rows(vectors_ND: Vectors, what: str = "vectors") -> FloatArray:
    """The vectors with norm 1 along the last axis, float32."""
    if vectors_ND.ndim < 2 or 0 in vectors_ND.shape:
        raise InputError(f"{what}: expected vectors of shape (N, D) with N, D > 0, got {vectors_ND.shape}.")
    norms = np.linalg.norm(vectors_ND.astype(np.float64), axis=-1, keepdims=True)
    dead = ~(np.isfinite(norms) & (norms > 0))
    if dead.any():
        raise InputError(
            f"{what}: {int(dead.sum())} of {dead.size} vectors are zero or not finite. A dead vector has no rank; "
            f"check the encoder (see `solfa doctor`)."
        )
    return np.asarray(vectors_ND / norms, np.float32)


def _rounding(dim: int) -> float:
    # Largest error of a float32 dot product of unit vectors in any order of summation (Higham 2002, eq. 3.5), doubled
    # to leave room for the rounding of thresholds to float32.
    return 2.0 * (dim + 2) * 2.0**-24


def cosine_scores(queries_QD: Vectors, items_ND: Vectors, device: str | None = None) -> Scores:
    """Cosine of every query with every item; blocks by numpy, or on a torch ``device`` such as ``cuda``.

    Raises InputError if dimensions differ or a vector is zero or not finite; MissingExtra if a device is named and
    torch is not installed.
    """
    queries, items = unit_rows(queries_QD, "queries"), unit_rows(items_ND, "items")
    if queries.shape[1] != items.shape[1]:
        raise InputError(f"queries have {queries.shape[1]} dimensions, items {items.shape[1]}: different spaces.")
    left: Any = queries
    right: Any = items
    if device is not None:
        torch = need("torch", "scoring on a device", "pip install 'solfa[torch]'")
        left, right = torch.from_numpy(queries).to(device), torch.from_numpy(items).to(device)

    def block(rows: slice, columns: slice) -> Block:
        found: Block = left[rows] @ right[columns].T
        return found

    def pairs(rows: Ints, columns: Ints) -> Floats:
        out = np.empty(len(rows))
        for i in range(0, len(rows), 8192):
            part = slice(i, i + 8192)
            a, b = queries[rows[part]].astype(np.float64), items[columns[part]].astype(np.float64)
            out[part] = np.einsum("pd,pd->p", a, b)
        return out

    return Scores(shape=(len(queries), len(items)), block=block, pairs=pairs, tolerance=_rounding(queries.shape[1]))


def scores_by_frame(
    sounds: Sequence[NDArray[Any]], texts: Sequence[FloatArray], direction: Direction = "frames"
) -> Scores:
    """Texts (rows) against sounds (columns): the mean over frames of the best token's cosine (FIGMA, S(i, j)).

    ``sounds`` has the frames of each sound [shape=(T, D)], ``texts`` the tokens of each text [shape=(L, D)], at least
    one.
    """
    frames, tokens = _unit_vectors(sounds, "frames"), _unit_vectors(texts, "tokens")
    dim = frames[0].shape[1]
    if dim != tokens[0].shape[1]:
        raise InputError("frames and tokens have different numbers of dimensions: different spaces.")

    def score(cosines_TL: NDArray[np.floating], counts: Sequence[int]) -> Floats:
        return frame_scores(cosines_TL, np.array([[0, len(cosines_TL)]]), np.array(counts), direction).ravel()

    def block(rows: slice, columns: slice) -> Block:
        tokens_LD, counts = np.concatenate(tokens[rows]), [len(own) for own in tokens[rows]]
        return np.stack([score(similarity(frames_TD, tokens_LD), counts) for frames_TD in frames[columns]], axis=1)

    def pair(row: int, column: int) -> float:
        a, b = frames[column].astype(np.float64), tokens[row].astype(np.float64)
        return float(score(np.einsum("td,ld->tl", a, b), [len(b)])[0])

    return Scores(
        shape=(len(tokens), len(frames)),
        block=block,
        pairs=lambda rows, columns: np.array([pair(*at) for at in zip(rows, columns, strict=True)], np.float64),
        tolerance=_rounding(dim),  # as of one cosine: max and mean do not add to it
        block_shape=(64, 64),
    )


def _unit_vectors(rows: Sequence[NDArray[Any]], what: str) -> list[FloatArray]:
    lengths = [len(row) for row in rows]
    if not all(lengths):
        raise InputError(f"{what}: row {lengths.index(0)} has no real entry.")
    return np.split(unit_rows(np.concatenate(rows), what), np.cumsum(lengths)[:-1])


def mixed_scores(first: Scores, second: Scores, alpha: float = 0.6) -> Scores:
    """``alpha`` times the first scores and ``1 - alpha`` times the second (FIGMA trains with 0.6)."""
    if first.shape != second.shape:
        raise InputError(f"scores of two pools cannot be mixed: {first.shape} and {second.shape}.")
    if not 0.0 <= alpha <= 1.0:
        raise InputError(f"alpha must be between 0 and 1, got {alpha}.")

    def block(rows: slice, columns: slice) -> Block:
        return alpha * as_numpy(first.block(rows, columns)) + (1 - alpha) * as_numpy(second.block(rows, columns))

    return Scores(
        shape=first.shape,
        block=block,
        pairs=lambda rows, columns: alpha * first.pairs(rows, columns) + (1 - alpha) * second.pairs(rows, columns),
        # Both errors, by their weight, and the rounding of the sum.
        tolerance=alpha * first.tolerance + (1 - alpha) * second.tolerance + 2.0**-22,
        block_shape=(
            min(first.block_shape[0], second.block_shape[0]), min(first.block_shape[1], second.block_shape[1])
        ),
    )  # fmt: skip


def scores_of_tracks(windows: Scores, bounds: Ints) -> Scores:
    """Scores of tracks from those of their windows (``alignment.scores.track_scores``).

    Item i has the columns ``[bounds[i], bounds[i + 1])`` of ``windows``, at least one.
    """
    num, (block_rows, block_columns) = len(bounds) - 1, windows.block_shape

    def block(rows: slice, columns: slice) -> Block:
        start, stop, _ = columns.indices(num)
        own = bounds[start : stop + 1]
        scores_QW = as_numpy(windows.block(rows, slice(int(own[0]), int(own[-1]))))
        return track_scores(scores_QW.T.astype(np.float64), own - own[0]).T

    def pairs(rows: Ints, columns: Ints) -> Floats:
        counts = np.diff(bounds)[columns]
        ends = np.cumsum(counts)
        own = np.arange(int(counts.sum())) - np.repeat(ends - counts - bounds[columns], counts)
        return track_scores(windows.pairs(np.repeat(rows, counts), own)[:, None], np.append(0, ends))[:, 0]

    return Scores(
        shape=(windows.shape[0], num),
        block=block,
        pairs=pairs,
        tolerance=windows.tolerance + 2.0**-22,  # and the rounding of the mean
        block_shape=(block_rows, max(1, block_columns * num // max(1, windows.shape[1]))),
    )


class Pool:
    """Encoded sounds, each with one window or more.

    Raises InputError if a sound has no window.
    """

    def __init__(self, sounds: Sequence[Windows]) -> None:
        self.sounds = tuple(sounds)
        counts = [len(sound.ranges_W2) for sound in self.sounds]
        if not all(counts):
            raise InputError(f"sound {counts.index(0)} of the pool has no window: it has no length.")
        # Sound i has the windows [bounds[i], bounds[i + 1]) of all.
        self.bounds: Ints = np.cumsum([0, *counts])

    def __len__(self) -> int:
        return len(self.sounds)

    def only(self, items: Ints | slice) -> "Pool":
        """These sounds."""
        rows = np.arange(len(self))[items].tolist()
        return self if rows == list(range(len(self))) else Pool([self.sounds[i] for i in rows])


def joint_scores(
    audio: Features | Pool, text: Features | Texts, view: View | ViewName, *, alpha: float | None = None
) -> Scores:
    """Scores with texts as queries and sounds as items, by one view (``alignment.scores``).

    ``Features`` are sounds of one window each; ``alpha`` overrides the view's. Published FIGMA tables rank by
    ``global``; ``frame`` and ``mix`` are extras of ours.
    """
    view = View(name=view) if isinstance(view, str) else view
    view = view if alpha is None else replace(view, alpha=alpha)
    texts = Texts.of(text) if isinstance(text, Features) else text
    bounds: Ints | None = None
    if isinstance(audio, Pool):
        pooled = np.concatenate([np.asarray(sound.pooled_WD, np.float32) for sound in audio.sounds])
        frames = [sound.frames_TD[a:b] for sound in audio.sounds for a, b in sound.ranges_W2.tolist()]
        bounds = audio.bounds
    else:
        sounds = Texts.of(audio)
        pooled, frames = sounds.pooled_XD, list(sounds.tokens)
    scores = cosine_scores(texts.pooled_XD, pooled)
    if view.name != "global":
        by_frame = scores_by_frame(frames, texts.tokens, view.direction)
        scores = by_frame if view.name == "frame" else mixed_scores(scores, by_frame, view.alpha)
    if bounds is None or len(bounds) == scores.shape[1] + 1:  # one window each
        return scores
    return scores_of_tracks(scores, bounds)
