"""The part of a query that is compared by embedding: texts and example sounds against the windows of tracks.

Scores of different texts are not comparable (some texts are near everything), so each is standardised by its own mean
and deviation over a sample of the collection. A track's score is that of ``alignment.scores``: half its best window,
half the mean. Windows are those that the model was trained on; models whose frames are in the space of their pooled
vectors have none, and every passage of 9 s is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from solfa.alignment.scores import Floats, Texts, Windows, best_window, similarity, smooth, track_scores, window_scores
from solfa.core.types import FloatArray, JointModel, View
from solfa.encoders.windows import candidates, text_candidates

PASSAGE_S = 9.0  # a text must fit a passage of this length, not one frame
_LEAST_DEVIATION = 0.02  # cosines that vary less than this over a collection say nothing about its tracks
_MOST = 4.0  # standard scores beyond which a text counts no more against constraints


@dataclass(frozen=True, eq=False, slots=True)
class Targets:
    """L things to look for: texts, and then example sounds; what to call them, and weights (negative: to avoid).

    ``examples_ED`` are unit vectors as ``encoders.windows.candidates`` gives them. ``shown_L``: whether the evidence of
    a hit refers to it.
    """

    texts: Texts
    examples_ED: FloatArray
    labels: tuple[str, ...]
    weights_L: FloatArray
    shown_L: tuple[bool, ...]


@dataclass(frozen=True, eq=False, slots=True)
class BestWindows:
    """Where in a track it fits best, first and last second: for everything together, and for each thing.

    ``heat_T`` is the standard score of everything together, ``hop_s`` apart from the start of the track.
    """

    best_s: tuple[float, float]
    best_s_L: tuple[tuple[float, float], ...]
    heat_T: FloatArray
    hop_s: float


class QueryEmbedding:
    """Targets of a query, standardised over a sample of a collection's tracks."""

    def __init__(self, targets: Targets, model: JointModel, view: View, sample: Sequence[Windows]) -> None:
        self.targets, self._view, self._views, self._model = targets, view, model.views, model
        self._window_s, self._hop_s = model.audio.spec.window_s, model.audio.spec.hop_s
        views, window_s = self._views, self._window_s
        self._vectors_LD = np.concatenate([text_candidates(views, targets.texts), targets.examples_ED])
        if window_s:
            scores = [self._of_windows(windows) for windows in sample]
        else:
            scores = [similarity(windows.pooled_WD, self._vectors_LD).astype(np.float64) for windows in sample]
        scores_SL = np.concatenate([np.zeros((0, len(targets.labels))), *scores])
        empty = len(scores_SL) == 0
        self.mean_L = np.zeros(len(targets.labels)) if empty else scores_SL.mean(axis=0)
        deviation_L = np.zeros(len(targets.labels)) if empty else scores_SL.std(axis=0)
        self.deviation_L = np.maximum(deviation_L, _LEAST_DEVIATION)
        # Texts of one query say partly the same, so that their sum grows slower than their number.
        self._share_L = targets.weights_L / np.sqrt(np.abs(targets.weights_L).sum() + 1e-9)

    @property
    def direction_D(self) -> FloatArray:
        """The vector whose dot product with a candidate vector is about ``offset`` and the sum of standard scores."""
        direction: FloatArray = ((self._share_L / self.deviation_L) @ self._vectors_LD).astype(np.float32)
        return direction

    @property
    def offset(self) -> float:
        """What to take off a dot product with ``direction_D`` to get the sum of standard scores."""
        return float((self._share_L * self.mean_L / self.deviation_L).sum())

    def score(self, tracks: Sequence[Windows]) -> Floats:
        """Standard score of each thing in each track; 0 for a track without windows [shape=(N, L)]."""
        scores = np.zeros((len(tracks), len(self.targets.labels)))
        filled = [i for i, windows in enumerate(tracks) if len(windows.frames_TD)]
        if not filled:
            return scores
        if self._window_s:
            parts = [self._of_windows(tracks[i]) for i in filled]
            bounds = np.cumsum([0, *map(len, parts)])
            values_SL = np.concatenate(parts)
        else:
            bounds = np.cumsum([0, *(len(tracks[i].frames_TD) for i in filled)])
            cosines = np.concatenate([similarity(tracks[i].frames_TD, self._vectors_LD) for i in filled])
            values_SL = smooth(cosines, self._width, bounds).astype(np.float64)
        scores[filled] = (track_scores(values_SL, bounds) - self.mean_L) / self.deviation_L
        return scores

    def total(self, scores_NL: Floats) -> Floats:
        """Sum of standard scores of each track [shape=(N,)]."""
        summed: Floats = scores_NL @ self._share_L
        return summed

    def evidence(self, scores_NL: Floats) -> FloatArray:
        """The same, bounded: what it may weigh against constraints [shape=(N,)]."""
        bounded: FloatArray = np.clip(self.total(np.clip(scores_NL, -_MOST, _MOST)), -_MOST, _MOST).astype(np.float32)
        return bounded

    def probabilities(self, windows: Windows, z_L: Floats) -> Floats:
        """P(a text says what the sound is, an example sounds like it), were half of all pairs true [shape=(L,)].

        NaN where that was never fitted. An example sounds like a track that is as near as another part of its own.

        ``z_L`` is the track's ``score``. The result depends on the model alone, not on what else is in the collection.
        """
        found = np.full(len(self.targets.labels), np.nan)
        count = len(self.targets.texts.tokens)
        logit, match = self._model.logits.get("match"), self._model.match
        if match is not None and not self._window_s:
            mean_X, deviation_X = self._texts_at_large
            passages = smooth(similarity(windows.frames_TD, match.texts_XD), self._width).astype(np.float64)
            others = (track_scores(passages, np.array([0, len(passages)]))[0] - mean_X) / deviation_X
            by_text = (z_L[:count] - others.mean()) / max(float(others.std()), 0.1)
            features = np.stack([z_L[:count], by_text, self._known_L[:count], np.ones(count)], axis=1)
            found[:count] = 1.0 / (1.0 + np.exp(-(features @ np.array(match.weights))))
            slope, constant, *_ = match.likeness
            found[count:] = 1.0 / (1.0 + np.exp(-(slope * z_L[count:] + constant)))
        elif logit is not None:
            found[:count] = logit.probability(z_L[:count] * self.deviation_L[:count] + self.mean_L[:count])
        return found

    def ends(self, miss_z: float, fit_z: float) -> tuple[float, float]:
        """``evidence`` where surely nothing and surely everything fits; for texts it is given."""
        shares = self._share_L[len(self.targets.texts.tokens) :]
        match = self._model.match
        if not len(shares) or match is None or self._window_s:
            return miss_z, fit_z
        *_, other_z, same_z = match.likeness
        texts, (liked, shunned) = bool(self.targets.texts.tokens), (shares.clip(0).sum(), shares.clip(max=0).sum())
        least, most = liked * other_z + shunned * same_z, liked * same_z + shunned * other_z
        return max(float(least) + texts * miss_z, -_MOST), min(float(most) + texts * fit_z, _MOST)

    def similarity_words(self, thing: int, z: float) -> str:
        """The similarity that a standard score was made of, and what it is compared with."""
        mean, deviation = float(self.mean_L[thing]), float(self.deviation_L[thing])
        others = "the collection" if self._window_s or self._model.match is None else "sounds in general"
        return f"similarity {z * deviation + mean:.2f}, {others} {mean:.2f} ± {deviation:.2f}"

    @cached_property
    def _texts_at_large(self) -> tuple[Floats, Floats]:
        """Mean and deviation of each text at large over the sounds at large."""
        match = self._model.match
        assert match is not None
        scores = similarity(match.sounds_SD, match.texts_XD).astype(np.float64)
        return scores.mean(axis=0), np.maximum(scores.std(axis=0), _LEAST_DEVIATION)

    @cached_property
    def _known_L(self) -> Floats:
        return np.array([familiarity(self._model, label) for label in self.targets.labels])

    def best_windows(self, windows: Windows, duration_s: float) -> BestWindows:
        """Where in one track it fits best."""
        if self._window_s:
            values = self._of_windows(windows)
            z_WL = (values - self.mean_L) / self.deviation_L
            heat = (z_WL * self._share_L).sum(axis=1)
            best = [int(np.argmax(np.round(column, 9))) for column in (heat, *z_WL.T)]
            spans = [self._window_span(row, len(heat), duration_s) for row in best]
            return BestWindows(spans[0], tuple(spans[1:]), heat.astype(np.float32), self._window_s)
        cosines = similarity(windows.frames_TD, self._vectors_LD)
        z_TL = (smooth(cosines, self._width) - self.mean_L) / self.deviation_L
        heat = (z_TL * self._share_L).sum(axis=1)
        ranges = [best_window(column.astype(np.float32), self._width) for column in (heat, *z_TL.T)]
        spans = [(min(a * self._hop_s, duration_s), min(b * self._hop_s, duration_s)) for a, b in ranges]
        return BestWindows(spans[0], tuple(spans[1:]), heat.astype(np.float32), self._hop_s)

    def _of_windows(self, windows: Windows) -> Floats:
        """Score of each thing in each window [shape=(W, L)]; example sounds are compared by candidate vectors."""
        by_text = window_scores(self._view, windows, self.targets.texts)
        if not len(self.targets.examples_ED):
            return by_text
        by_example = similarity(candidates(self._views, windows), self.targets.examples_ED).astype(np.float64)
        return np.concatenate([by_text, by_example], axis=1)

    def _window_span(self, row: int, count: int, duration_s: float) -> tuple[float, float]:
        # The last window ends with the track.
        start_s = row * self._window_s
        return min(start_s, duration_s), duration_s if row == count - 1 else min(start_s + self._window_s, duration_s)

    @property
    def _width(self) -> int:
        return max(1, round(PASSAGE_S / self._hop_s))


def familiarity(model: JointModel, text: str) -> float:
    """How near a text is to what the model's text tower knows, 0..1; 1 where the tower cannot say."""
    tell = getattr(model.text, "familiarity", None)
    return 1.0 if tell is None else float(tell(text))


def no_texts(dim: int) -> Texts:
    """What is looked for where there are only example sounds."""
    return Texts(np.zeros((0, dim), np.float32), ())
