"""Multi-label tagging: average precision, ROC-AUC and PR-AUC of every tag, and their means over tags.

Conventions
-----------
Scores and truth are [shape=(N, C)], N clips, C tags. A tag that no clip has, or all have, has no score and is left out
of the means (macro averages). Equal scores are pessimistic for AP and PR-AUC (one threshold cannot part them, and the
area is taken below the step), and count a half for ROC-AUC, as they do in scikit-learn.

mAP      mean over tags of the average precision, sum of (R_n - R_(n-1)) P_n; what MTG-Jamendo's papers print as PR-AUC
PR-AUC   mean area under the precision-recall curve with straight lines between its points
ROC-AUC  mean probability that a clip with the tag scores above one without
"""

import numpy as np
from scipy.stats import rankdata

from solfa.core.errors import InputError
from solfa.evaluation.ranking import Bools, Floats


def tag_scores(scores_NC: Floats, truth_NC: Bools) -> dict[str, Floats]:
    """``AP``, ``PR-AUC`` and ``ROC-AUC`` of every tag [shape=(C,)]; NaN for a tag without both kinds of clips.

    Raises InputError if shapes differ, a score is not finite, or no tag can be scored.
    """
    if scores_NC.shape != truth_NC.shape or scores_NC.ndim != 2 or not np.isfinite(scores_NC).all():
        raise InputError(f"tagging needs finite scores and truth of one shape: {scores_NC.shape}, {truth_NC.shape}.")
    positives = truth_NC.sum(axis=0)
    usable = (positives > 0) & (positives < len(truth_NC))
    if not usable.any():
        raise InputError(f"none of {truth_NC.shape[1]} tags holds for some of the clips but not for all.")
    found = {name: np.full(truth_NC.shape[1], np.nan) for name in ("AP", "PR-AUC", "ROC-AUC")}
    for c in np.flatnonzero(usable):
        scores, truth, num = scores_NC[:, c], truth_NC[:, c], int(positives[c])
        order = np.argsort(-scores, kind="stable")
        last = np.append(np.diff(scores[order]) != 0, True)  # one point for each threshold
        hits = np.cumsum(truth[order])[last]
        precision, recall = hits / (np.flatnonzero(last) + 1), hits / num
        steps = np.diff(recall, prepend=0.0)
        found["AP"][c] = (steps * precision).sum()
        found["PR-AUC"][c] = (steps * (precision + np.append(1.0, precision[:-1])) / 2).sum()
        above = rankdata(scores)[truth].sum() - num * (num + 1) / 2
        found["ROC-AUC"][c] = above / (num * (len(truth) - num))
    return found


def tagging_metrics(scores_NC: Floats, truth_NC: Bools) -> dict[str, float]:
    """``mAP``, ``PR-AUC`` and ``ROC-AUC``, means over the tags that can be scored; see `tag_scores`."""
    means = {name: float(np.nanmean(values)) for name, values in tag_scores(scores_NC, truth_NC).items()}
    return {"mAP": means["AP"], "PR-AUC": means["PR-AUC"], "ROC-AUC": means["ROC-AUC"]}
