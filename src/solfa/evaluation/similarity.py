"""Scores of vectors: by global cosine, by frames and tokens, or by a mix of both (FIGMA).

Conventions
-----------
Legend of shape letters: Q queries, N items, A audio, X texts, T frames, L tokens, D dimensions. Vectors are normalised
here once more, in float32; the score of a pair is the float64 sum over those values. Whichever side asks, the frame
score takes the best token of every frame, then the mean over frames (or the other way round, where a view's direction
is ``tokens``). Dead or non-finite vectors, and spaces or pools that do not fit each other, raise InputError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from solfa.alignment.scores import Windows, frame_scores, similarity, track_scores
from solfa.core.errors import InputError, MissingExtra
from solfa.core.types import BoolArray, Direction, Features, FloatArray, View, ViewName
from solfa.evaluation.ranking import Block, Scored, Scores, as_numpy
from solfa.evaluation.relevance import Floats, Ints, Vectors

if TYPE_CHECKING:
    import torch


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


@dataclass(frozen=True, eq=False, slots=True)
class CosineScores:
    """Cosine of every query with every item (see `Scores`).

    Blocks are computed by numpy, or on a torch ``device`` such as ``cuda``.

    Raises
    ------
    InputError
        If dimensions differ or a vector is zero or not finite.
    MissingExtra
        If a device is named and torch is not installed.
    """

    block_shape: ClassVar = (1024, 4096)
    queries_QD: Vectors
    items_ND: Vectors
    device: str | None = None
    _on_device: dict[str, torch.Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        queries, items = unit_rows(self.queries_QD, "queries"), unit_rows(self.items_ND, "items")
        if queries.shape[1] != items.shape[1]:
            raise InputError(f"queries have {queries.shape[1]} dimensions, items {items.shape[1]}: two spaces meet.")
        object.__setattr__(self, "queries_QD", queries)
        object.__setattr__(self, "items_ND", items)
        if self.device is not None:
            try:
                import torch
            except ImportError as missing:
                raise MissingExtra("scoring on a device", "pip install 'solfa[torch]'") from missing
            self._on_device["queries"] = torch.from_numpy(queries).to(self.device)
            self._on_device["items"] = torch.from_numpy(items).to(self.device)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.queries_QD), len(self.items_ND)

    @property
    def tolerance(self) -> float:
        return _rounding(self.queries_QD.shape[1])

    def block(self, queries: slice, items: slice) -> Block:
        if self.device is not None:
            return self._on_device["queries"][queries] @ self._on_device["items"][items].T
        return np.asarray(self.queries_QD[queries] @ self.items_ND[items].T)

    def pairs(self, queries: Ints, items: Ints) -> Floats:
        out = np.empty(len(queries))
        for i in range(0, len(queries), 8192):
            a = self.queries_QD[queries[i : i + 8192]].astype(np.float64)
            b = self.items_ND[items[i : i + 8192]].astype(np.float64)
            out[i : i + 8192] = np.einsum("pd,pd->p", a, b)
        return out


@dataclass(frozen=True, eq=False, slots=True)
class FrameScores:
    """Texts (rows) against audio (columns): the mean over real frames of the best real token's cosine (FIGMA, S(i, j)).

    The masks say which frames and tokens are real.
    """

    block_shape: ClassVar = (64, 64)
    audio_frames_ATD: Vectors
    audio_mask_AT: BoolArray
    text_tokens_XLD: Vectors
    text_mask_XL: BoolArray
    direction: Direction = "frames"

    def __post_init__(self) -> None:
        for vectors, mask in (("audio_frames_ATD", "audio_mask_AT"), ("text_tokens_XLD", "text_mask_XL")):
            values, real = getattr(self, vectors), getattr(self, mask)
            if values.shape[:2] != real.shape or not real.any(axis=1).all():
                raise InputError(f"{vectors}: the mask must have the same shape and a real entry in every row.")
            clean = np.zeros(values.shape, np.float32)
            clean[real] = unit_rows(values[real], vectors)
            object.__setattr__(self, vectors, clean)
        if self.audio_frames_ATD.shape[2] != self.text_tokens_XLD.shape[2]:
            raise InputError("frames and tokens have different numbers of dimensions: two spaces meet.")

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.text_mask_XL), len(self.audio_mask_AT)

    @property
    def tolerance(self) -> float:
        return _rounding(self.audio_frames_ATD.shape[2])  # as of one cosine: max and mean do not add to it

    def block(self, queries: slice, items: slice) -> Scored:
        real_XL = self.text_mask_XL[queries]
        tokens_LD, counts_X = self.text_tokens_XLD[queries][real_XL], real_XL.sum(axis=1)
        rows = []
        for frames, real in zip(self.audio_frames_ATD[items], self.audio_mask_AT[items], strict=True):
            cosines_TL = similarity(frames[real], tokens_LD)
            rows.append(frame_scores(cosines_TL, np.array([[0, len(cosines_TL)]]), counts_X, self.direction)[0])
        return np.stack(rows).T

    def pairs(self, queries: Ints, items: Ints) -> Floats:
        out = np.empty(len(queries))
        for i, (x, a) in enumerate(zip(queries, items, strict=True)):
            frames_TD = self.audio_frames_ATD[a][self.audio_mask_AT[a]].astype(np.float64)
            tokens_LD = self.text_tokens_XLD[x][self.text_mask_XL[x]].astype(np.float64)
            cosines_TL = np.einsum("td,ld->tl", frames_TD, tokens_LD)
            ranges, counts = np.array([[0, len(frames_TD)]]), np.array([len(tokens_LD)])
            out[i] = frame_scores(cosines_TL, ranges, counts, self.direction)[0, 0]
        return out


@dataclass(frozen=True, eq=False, slots=True)
class MixScores:
    """``alpha`` times the first scores and ``1 - alpha`` times the second (FIGMA trains with 0.6)."""

    first: Scores
    second: Scores
    alpha: float = 0.6

    def __post_init__(self) -> None:
        if self.first.shape != self.second.shape:
            raise InputError(f"scores of two pools cannot be mixed: {self.first.shape} and {self.second.shape}.")
        if not 0.0 <= self.alpha <= 1.0:
            raise InputError(f"alpha must be between 0 and 1, got {self.alpha}.")

    @property
    def shape(self) -> tuple[int, int]:
        return self.first.shape

    @property
    def block_shape(self) -> tuple[int, int]:
        (a, b), (c, d) = self.first.block_shape, self.second.block_shape
        return min(a, c), min(b, d)

    @property
    def tolerance(self) -> float:
        # Both errors, by their weight, and the rounding of the sum.
        return self.alpha * self.first.tolerance + (1 - self.alpha) * self.second.tolerance + 2.0**-22

    def block(self, queries: slice, items: slice) -> Scored:
        first, second = as_numpy(self.first.block(queries, items)), as_numpy(self.second.block(queries, items))
        return np.asarray(self.alpha * first + (1 - self.alpha) * second)

    def pairs(self, queries: Ints, items: Ints) -> Floats:
        return self.alpha * self.first.pairs(queries, items) + (1 - self.alpha) * self.second.pairs(queries, items)


@dataclass(frozen=True, eq=False, slots=True)
class TrackScores:
    """Scores of tracks from those of their windows (``alignment.scores.track_scores``).

    Item i has the columns ``[bounds[i], bounds[i + 1])`` of ``windows``, at least one.
    """

    windows: Scores
    bounds: Ints

    @property
    def shape(self) -> tuple[int, int]:
        return self.windows.shape[0], len(self.bounds) - 1

    @property
    def block_shape(self) -> tuple[int, int]:
        queries, items = self.windows.block_shape
        return queries, max(1, items * self.shape[1] // max(1, self.windows.shape[1]))

    @property
    def tolerance(self) -> float:
        return self.windows.tolerance + 2.0**-22  # and the rounding of the mean

    def block(self, queries: slice, items: slice) -> Scored:
        start, stop, _ = items.indices(self.shape[1])
        bounds = self.bounds[start : stop + 1]
        scores_QW = as_numpy(self.windows.block(queries, slice(int(bounds[0]), int(bounds[-1]))))
        return np.asarray(track_scores(scores_QW.T.astype(np.float64), bounds - bounds[0]).T)

    def pairs(self, queries: Ints, items: Ints) -> Floats:
        counts = np.diff(self.bounds)[items]
        ends = np.cumsum(counts)
        windows = np.arange(int(counts.sum())) - np.repeat(ends - counts - self.bounds[items], counts)
        scores = self.windows.pairs(np.repeat(queries, counts), windows)
        each: Floats = track_scores(scores[:, None], np.append(0, ends))[:, 0]
        return each


class Pool:
    """Encoded sounds, each with one window or more.

    Raises
    ------
    InputError
        If a sound has no window.
    """

    def __init__(self, sounds: Sequence[Windows]) -> None:
        self.sounds = tuple(sounds)
        counts = [len(sound.ranges_W2) for sound in self.sounds]
        if not all(counts):
            raise InputError(f"sound {counts.index(0)} of the pool has no window: it has no length.")
        # Sound i has the rows [bounds[i], bounds[i + 1]) of ``features``.
        self.bounds: Ints = np.cumsum([0, *counts])

    def __len__(self) -> int:
        return len(self.sounds)

    def only(self, items: Ints | slice) -> Pool:
        """These sounds."""
        rows = np.arange(len(self))[items].tolist()
        return self if rows == list(range(len(self))) else Pool([self.sounds[i] for i in rows])

    @cached_property
    def features(self) -> Features:
        """The windows of all sounds, one row each, padded to the one with most frames."""
        rows = [np.asarray(s.frames_TD[a:b], np.float32) for s in self.sounds for a, b in s.ranges_W2.tolist()]
        pooled = np.concatenate([np.asarray(sound.pooled_WD, np.float32) for sound in self.sounds])
        mask = np.arange(max(map(len, rows))) < np.array([len(row) for row in rows])[:, None]
        frames = np.zeros((*mask.shape, pooled.shape[1]), np.float32)
        for out, row in zip(frames, rows, strict=True):
            out[: len(row)] = row
        return Features(pooled, frames, mask)


def joint_scores(
    audio: Features | Pool, text: Features, view: View | ViewName, *, alpha: float | None = None
) -> Scores:
    """Scores with texts as queries and sounds as items, by one view (``alignment.scores``).

    ``Features`` are sounds of one window each; ``alpha`` overrides the view's. Published FIGMA tables rank by
    ``global``; ``frame`` and ``mix`` are extras of ours.
    """
    sound = audio.features if isinstance(audio, Pool) else audio
    view = View(name=view) if isinstance(view, str) else view
    view = view if alpha is None else replace(view, alpha=alpha)
    scores: Scores = CosineScores(text.global_BD, sound.global_BD)
    if view.name != "global":
        by_frame = FrameScores(sound.frames_BTD, sound.mask_BT, text.frames_BTD, text.mask_BT, view.direction)
        scores = by_frame if view.name == "frame" else MixScores(scores, by_frame, view.alpha)
    if isinstance(audio, Pool) and scores.shape[1] != len(audio):
        return TrackScores(scores, audio.bounds)
    return scores


@dataclass(frozen=True, eq=False, slots=True)
class Transposed:
    """The same scores with rows and columns changed: audio asks, texts answer."""

    scores: Scores

    @property
    def shape(self) -> tuple[int, int]:
        return self.scores.shape[1], self.scores.shape[0]

    @property
    def block_shape(self) -> tuple[int, int]:
        return self.scores.block_shape[1], self.scores.block_shape[0]

    @property
    def tolerance(self) -> float:
        return self.scores.tolerance

    def block(self, queries: slice, items: slice) -> Block:
        return self.scores.block(items, queries).T

    def pairs(self, queries: Ints, items: Ints) -> Floats:
        return self.scores.pairs(items, queries)
