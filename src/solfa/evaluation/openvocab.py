"""Open-vocabulary protocols of FineLAP: zero-shot classification and text-to-audio grounding.

Conventions
-----------
Zero-shot classification puts every class into a template ("The sound of {}", underscores as blanks) and takes the class
whose vector has the highest cosine; of equal classes none is right. In grounding every pair of a clip and a phrase is a
clip of its own with one generic class, unfiltered for PSDS. Labels and clips that differ in number, and fewer than two
classes, raise InputError. Th-AUC is the area under event-F1 against the threshold (Xu et al., *Text-to-audio
grounding*): precision counts detections that found events fill to at least half, recall counts events that relevant
detections fill to at least half. Here 50 thresholds 0.01, 0.03, ..., 0.99 are joined by straight lines and the area is
over 0..1.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import median_filter

from solfa.core.clip import Clip
from solfa.core.errors import InputError
from solfa.core.intervals import Segment, merged
from solfa.core.types import TextEncoder
from solfa.evaluation.events import TIME_DECIMALS, ClipScores, ClipTruth, Truth, stretches_of
from solfa.evaluation.ranking import Bools, Floats, Relevance, Vectors, rank_relevant
from solfa.evaluation.retrieval import hit_at
from solfa.evaluation.similarity import cosine_scores

SOUND_TEMPLATE = "The sound of {}"
GENERIC_CLASS = "event"
# Of Th-AUC, as the public code has them; the share is DTC and GTC.
_NUM_THRESHOLDS, _NUM_FILTER_FRAMES, _JOIN_S, _LEAST_FILLED = 50, 3, 0.5, 0.5


def class_prompts(classes: Sequence[str], template: str = SOUND_TEMPLATE) -> list[str]:
    """The text that stands for each class.

    Raises InputError if the template has no ``{}``.

    >>> class_prompts(["dog_bark"])
    ['The sound of dog bark']
    """
    if "{}" not in template:
        raise InputError(f"the template needs a place {{}} for the class, got {template!r}.")
    return [template.replace("{}", c.replace("_", " ")) for c in classes]


def zero_shot(
    audio_AD: Vectors, labels: Sequence[str], encoder: TextEncoder, *, template: str = SOUND_TEMPLATE
) -> Floats:
    """Whether the class came first, 1 or 0, of one vector per clip; the classes are the sorted set of the true labels.

    ``encoder`` is the text tower of the same space, ``template`` the text around the class name.
    """
    classes = sorted(set(labels))
    if len(classes) < 2 or len(labels) != len(audio_AD):
        raise InputError(
            f"{len(audio_AD)} clips with {len(labels)} labels of {len(classes)} classes: need two or more."
        )
    prompts = encoder.encode(class_prompts(classes, template)).global_BD
    relevance = Relevance.of_targets([classes.index(label) for label in labels], len(classes))
    return hit_at(rank_relevant(cosine_scores(audio_AD, prompts), relevance), 1)


class GroundingPair(NamedTuple):
    """A phrase, the number of the clip in which it is looked for, and where it is present in that."""

    row: int
    phrase: str
    truth: ClipTruth


def grounding_pairs(clips: Sequence[Clip]) -> dict[str, GroundingPair]:
    """Every phrase that is present somewhere, as a clip of its own with one generic class, by name."""
    timed = [(row, clip, p) for row, clip in enumerate(clips) for p in clip.phrases if p.spans_s]
    pairs = {}
    for i, (row, clip, phrase) in enumerate(timed):
        events = tuple(Segment(a, b, GENERIC_CLASS) for a, b in merged(phrase.spans_s))
        truth = ClipTruth(duration_s=clip.duration_s or 10.0, events=events)
        pairs[f"{i} {clip.id} {phrase.text}"] = GroundingPair(row, phrase.text, truth)
    return pairs


def th_auc(truth: Truth, scores: Mapping[str, ClipScores]) -> float:
    """Area under event-F1 against the threshold, of one generic class.

    Decisions are filtered by a median over three frames, then gaps of up to 0.5 s (frames, rounded up) are closed.
    """
    thresholds = (np.arange(_NUM_THRESHOLDS) + 0.5) / _NUM_THRESHOLDS
    num_true = sum(len(clip.events) for clip in truth.values())
    totals = np.zeros((_NUM_THRESHOLDS, 3))  # detections, right detections, found events
    for name, clip in scores.items():
        true = truth[name].of_label(GENERIC_CLASS)
        gap = int(np.ceil(np.round(_JOIN_S / float(np.diff(clip.boundaries_s).mean()), TIME_DECIMALS)))
        for i, threshold in enumerate(thresholds):
            active = median_filter(clip.values_TC[:, 0] > threshold, size=_NUM_FILTER_FRAMES)
            totals[i] += _found(_joined_spans(active, clip.boundaries_s, gap), true)
    precision = totals[:, 1] / np.maximum(totals[:, 0], 1)
    recall = totals[:, 2] / num_true
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-15)
    return float(np.trapezoid(f1, thresholds))


def _joined_spans(active: Bools, boundaries_s: Floats, gap_frames: int) -> Floats:
    edges = stretches_of(active)
    if len(edges):
        apart = edges[1:, 0] - edges[:-1, 1] > gap_frames
        edges = np.stack([edges[np.append(True, apart), 0], edges[np.append(apart, True), 1]], axis=1)
    return boundaries_s[edges]


def _found(found: Floats, true: Floats) -> tuple[int, int, int]:
    if len(found) == 0:
        return 0, 0, 0
    overlap = np.minimum(found[:, None, 1], true[None, :, 1]) - np.maximum(found[:, None, 0], true[None, :, 0])
    overlap = np.maximum(overlap, 0.0)
    filled = overlap / (found[:, 1] - found[:, 0])[:, None]  # share of the detection
    covered = overlap / (true[:, 1] - true[:, 0])[None, :]  # share of the event
    relevant = np.round(filled.sum(axis=1), TIME_DECIMALS) >= _LEAST_FILLED
    events = np.round(covered[relevant].sum(axis=0), TIME_DECIMALS) >= _LEAST_FILLED
    reached = np.round(covered.sum(axis=0), TIME_DECIMALS) >= _LEAST_FILLED
    right = np.round(filled[:, reached].sum(axis=1), TIME_DECIMALS) >= _LEAST_FILLED
    return len(found), int(right.sum()), int(events.sum())
