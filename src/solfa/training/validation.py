"""What a run is stopped and chosen by: retrieval of the validation split in one view, or frames against phrases.

And what is fitted to the split when the run has ended: the probability that a text fits a sound. Needs torch, and
makes no more of a split than the measure reads.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from solfa.alignment.joint import JointProjector, Tower
from solfa.alignment.pairwise import frame_scores
from solfa.core.errors import need
from solfa.core.types import Logit, States, View
from solfa.datasets.bank import frame_labels
from solfa.datasets.features import FrozenFeatures
from solfa.evaluation.ranking import Relevance, Scores, rank_relevant
from solfa.evaluation.retrieval import hit_at
from solfa.evaluation.similarity import cosine_scores, mixed_scores

_optimize, _special = (need(f"scipy.{x}", "training", "pip install 'solfa[torch]'") for x in ("optimize", "special"))
T = TypeVar("T", NDArray[np.int64], list[Any])
_GLOBAL = View()
_AT_ONCE = 256  # clips or texts


@torch.no_grad()
def recalls(
    model: JointProjector, split: FrozenFeatures, device: torch.device, view: View = _GLOBAL
) -> tuple[float, float]:
    """R@1 of text to audio and of audio to text over a whole split, in a view."""
    scores, rows = _scores(model, split, device, view)
    relevance = Relevance.of_targets(rows, len(split))
    t2a = hit_at(rank_relevant(scores, relevance), 1).mean()
    a2t = hit_at(rank_relevant(scores.transposed(), relevance.transposed()), 1).mean()
    return float(t2a), float(a2t)


@torch.no_grad()
def match_logit(
    model: JointProjector, split: FrozenFeatures, device: torch.device, view: View, seed: int
) -> Logit | None:
    """``fit_match`` to each caption of a split with its clip, and with another clip drawn from the seed."""
    if len(split) < 2:
        return None
    scores, rows = _scores(model, split, device, view)
    captions, own = np.arange(len(rows)), np.array(rows)
    others = (own + np.random.default_rng(seed).integers(1, len(split), len(own))) % len(split)
    return fit_match(scores.pairs(captions, own), scores.pairs(captions, others))


def fit_match(matched_N: NDArray[Any], mismatched_N: NDArray[Any]) -> Logit | None:
    """The logistic regression of matched pairs against as many mismatched ones on their scores.

    None where a higher score is no evidence of a match. Targets are a pair's share short of 0 and 1 (Platt 1999), so
    that scores without overlap give a finite slope.
    """
    scores = np.concatenate([matched_N, mismatched_N]).astype(np.float64)
    mean, deviation = scores.mean(), scores.std()
    if not deviation > 1e-9:
        return None
    count = len(matched_N)
    x = np.stack([(scores - mean) / deviation, np.ones(len(scores))], axis=1)
    target = np.repeat([(count + 1) / (count + 2), 1 / (count + 2)], count)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = x @ weights
        return float(np.mean(np.logaddexp(0, z) - target * z)), x.T @ (_special.expit(z) - target) / len(z)

    slope, bias = _optimize.minimize(loss, np.zeros(2), jac=True, method="BFGS").x
    if not slope > 1e-6:
        return None
    return Logit(temperature=float(deviation / slope), bias=float(bias - slope * mean / deviation))


def _scores(model: JointProjector, split: FrozenFeatures, device: torch.device, view: View) -> tuple[Scores, list[int]]:
    """Scores of all captions with all clips in a view, and each caption's clip."""
    captions = [(text, row) for row, texts in enumerate(split.captions) for text in texts]
    texts = [text for text, _ in captions]
    model.eval()
    scores: Scores
    if view.name == "frame":
        scores = Scores.of(_by_frames(model, split, texts, device, view))
    else:
        audio = [_of_sound(model.audio, split, rows, device) for rows in _parts(np.arange(len(split)))]
        text = [_pooled(model.text, split.pooled_texts(part), device) for part in _parts(texts)]
        scores = cosine_scores(torch.cat(text).cpu().numpy(), torch.cat(audio).cpu().numpy())
        if view.name == "mix":
            scores = mixed_scores(scores, Scores.of(_by_frames(model, split, texts, device, view)), view.alpha)
    return scores, [row for _, row in captions]


@torch.no_grad()
def _by_frames(
    model: JointProjector, split: FrozenFeatures, texts: Sequence[str], device: torch.device, view: View
) -> NDArray[np.float64]:
    """Frame scores [shape=(texts, clips)]; texts of like length are projected together."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    tokens = []
    for part in _parts(order):
        asked = [texts[i] for i in part]
        if model.text.has_rows:
            tokens.append(_rows(model.text, split.texts(asked), device))
        else:
            pooled_BD = _pooled(model.text, split.pooled_texts(asked), device)
            tokens.append((pooled_BD[:, None], torch.ones((len(part), 1), dtype=torch.bool, device=device)))
    out = np.empty((len(texts), len(split)))
    for rows in _parts(np.arange(len(split))):
        frames, mask = _rows(model.audio, split.audio(rows), device)
        columns = [frame_scores(frames, mask, *given, direction=view.direction) for given in tokens]
        out[np.array(order)[:, None], rows] = torch.cat(columns, dim=1).T.cpu().numpy()
    return out


@torch.no_grad()
def detection(model: JointProjector, split: FrozenFeatures, device: torch.device) -> float:
    """How well frames find phrases in time: the mean over phrases of the average precision of their cosines.

    Of each phrase of the split, over all frames of the clips that have timed phrases; of equal cosines all count as
    the last of them.
    """
    model.eval()
    labelled = np.flatnonzero([len(own) > 0 for own in split.phrases])
    texts = sorted({phrase.text for row in labelled.tolist() for phrase in split.phrases[row]})
    phrases_KD = torch.cat([_pooled(model.text, split.pooled_texts(part), device) for part in _parts(texts)])
    cosines, truths = [], []
    for rows in _parts(labelled):
        frames, mask = _rows(model.audio, split.audio(rows), device)
        cosines.append((frames[mask] @ phrases_KD.T).cpu().numpy())
        for row, count in zip(rows.tolist(), mask.sum(dim=1).tolist(), strict=True):
            truth = np.zeros((count, len(texts)), np.bool_)
            for phrase in split.phrases[row]:
                truth[:, texts.index(phrase.text)] |= frame_labels(phrase.spans_s, count, split.hop_s)
            truths.append(truth)
    scores_NK, true_NK = np.concatenate(cosines), np.concatenate(truths)
    each = [average_precision(scores_NK[:, k], true_NK[:, k]) for k in np.flatnonzero(true_NK.any(axis=0))]
    return float(np.mean(each))


def average_precision(scores_N: NDArray[Any], true_N: NDArray[np.bool_]) -> float:
    """Mean over true items of the share of true ones among all that score at least as high.

    >>> average_precision(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]))
    0.8333333333333333
    """
    order = np.argsort(-scores_N, kind="stable")
    last = np.searchsorted(-scores_N[order], -scores_N[order], side="right")
    precision = np.cumsum(true_N[order])[last - 1] / last
    return float(precision[true_N[order]].mean())


def _pooled(tower: Tower, pooled_BD: NDArray[Any], device: torch.device) -> Tensor:
    return tower.pooled(torch.from_numpy(pooled_BD).to(device).float())


def _of_sound(tower: Tower, split: FrozenFeatures, rows: NDArray[np.int64], device: torch.device) -> Tensor:
    if not tower.config.by_row:
        return _pooled(tower, split.pooled_audio(rows), device)
    states = split.audio(rows)
    given = (torch.from_numpy(a).to(device) for a in (states.pooled_BD, states.states_BTD, states.mask_BT))
    pooled_BD, states_BTD, mask_BT = given
    return tower.of_sound(pooled_BD.float(), states_BTD.float(), mask_BT)


def _rows(tower: Tower, states: States, device: torch.device) -> tuple[Tensor, Tensor]:
    mask = torch.from_numpy(states.mask_BT).to(device)
    return tower.rows(torch.from_numpy(states.states_BTD).to(device).float(), mask), mask


def _parts(items: T) -> Iterator[T]:
    return (items[i : i + _AT_ONCE] for i in range(0, len(items), _AT_ONCE))
