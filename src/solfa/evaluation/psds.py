"""PSDS: how well sounds are detected over all thresholds at once.

Definitions
-----------
A detection is *relevant* if true events of its class fill at least DTC of it; else it is a false positive, and also a
cross-trigger of every other class whose events fill at least CTTC of it. A true event is *found* if relevant
detections fill at least GTC of it. The effective false-positive rate is false positives per hour plus ``alpha_ct``
times the mean over other classes of cross-triggers per hour of that class. The effective true-positive rate is the mean
over classes less ``alpha_st`` standard deviations. PSDS is the area under the staircase of the one over the other up to
``max_efpr``, divided by it: 1 is perfect.

Sources: Bilen et al., ICASSP 2020; Ebbers, Haeb-Umbach and Serizel, ICASSP 2022 (exact over all thresholds). Equal to
``sed_scores_eval`` (tests/golden/psds.json).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from solfa.core.errors import InputError
from solfa.evaluation.events import (
    TIME_DECIMALS,
    Runs,
    SystemScores,
    Truth,
    accumulate,
    check_truth,
    joined,
    lifetimes,
    runs_of,
)
from solfa.evaluation.ranking import Bools, Floats, Ints


@dataclass(frozen=True, kw_only=True, slots=True)
class PsdsSetting:
    """The criteria of one PSDS. ``cttc`` is None where cross-triggers do not count (``alpha_ct`` 0).

    Raises InputError if a criterion is not in (0, 1], a weight is negative, or only one of ``cttc`` and ``alpha_ct`` is
    given.
    """

    dtc: float
    gtc: float
    cttc: float | None = None
    alpha_ct: float = 0.0
    alpha_st: float = 0.0
    max_efpr_per_hour: float = 100.0

    def __post_init__(self) -> None:
        for name in ("dtc", "gtc", "cttc"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise InputError(f"{name} must be in (0, 1], got {value}.")
        if self.alpha_ct < 0 or self.alpha_st < 0 or not self.max_efpr_per_hour > 0:
            raise InputError("alpha_ct and alpha_st must not be negative, and max_efpr_per_hour must be positive.")
        if (self.cttc is None) != (self.alpha_ct == 0):
            raise InputError("cttc and alpha_ct belong together: give both or neither.")


PSDS1 = PsdsSetting(dtc=0.7, gtc=0.7, alpha_st=1.0)
PSDS1_AUDIOSET = replace(PSDS1, alpha_st=0.0)  # FineLAP on AudioSet-Strong: 407 classes, no penalty for spread
PSDS2 = PsdsSetting(dtc=0.1, gtc=0.1, cttc=0.3, alpha_ct=0.5, alpha_st=1.0)
PSDS2021 = PsdsSetting(dtc=0.5, gtc=0.5, max_efpr_per_hour=800.0)  # text-to-audio grounding


@dataclass(frozen=True, eq=False, slots=True)
class RocCurve:
    """A staircase: ``tpr`` holds from each ``efpr_per_hour`` to the next [shape=(P,)], the rate ascending."""

    efpr_per_hour: Floats
    tpr: Floats

    def at(self, efpr_per_hour: Floats) -> Floats:
        """The height of the staircase at some rates; 0 before its first step."""
        step = np.searchsorted(self.efpr_per_hour, efpr_per_hour, side="right") - 1
        return np.where(step >= 0, self.tpr[np.maximum(step, 0)], 0.0)

    def area(self, up_to: float) -> float:
        """Mean height from 0 to ``up_to``."""
        inside = self.efpr_per_hour <= up_to
        widths = np.diff(np.append(self.efpr_per_hour[inside], up_to))
        return float((self.tpr[inside] * widths).sum() / up_to)


@dataclass(frozen=True, eq=False, slots=True)
class Psds:
    """The score, the score of every class alone, and the PSD-ROC curve behind it."""

    value: float
    classes: dict[str, float]
    roc: RocCurve


def psds(truth: Truth, scores: SystemScores, setting: PsdsSetting) -> Psds:
    """PSDS over all thresholds of a system's frame scores, by the criteria of a setting such as `PSDS1`.

    Raises InputError if clips differ, a class has no true event, or events of one class overlap in a clip.
    """
    check_truth(truth, scores.clips, scores.classes)
    hours = sum(c.duration_s for c in truth.values()) / 3600.0
    spans = {label: _spans_of(truth, scores, label) for label in scores.classes}
    rocs = {
        label: _class_roc(runs_of(scores, c), spans, label, hours, setting) for c, label in enumerate(scores.classes)
    }
    limit = setting.max_efpr_per_hour
    rates = np.unique(np.concatenate([roc.efpr_per_hour for roc in rocs.values()]))
    heights = np.stack([roc.at(rates) for roc in rocs.values()])
    combined = RocCurve(rates, np.maximum(heights.mean(axis=0) - setting.alpha_st * heights.std(axis=0), 0.0))
    return Psds(combined.area(limit), {label: roc.area(limit) for label, roc in rocs.items()}, combined)


class _Spans(NamedTuple):
    clip: Ints
    start_s: Floats
    end_s: Floats


def _spans_of(truth: Truth, scores: SystemScores, label: str) -> _Spans:
    per_clip = [truth[name].of_label(label) for name in scores.clips]
    both = np.concatenate(per_clip)
    return _Spans(np.repeat(np.arange(len(per_clip)), [len(s) for s in per_clip]), both[:, 0], both[:, 1])


def _overlaps(runs: Runs, spans: _Spans) -> tuple[Ints, Ints, Floats]:
    # Every pair of a run and a true event of the same clip that meet, and for how many seconds.
    first, num = runs.first_of_clip[spans.clip], np.diff(runs.first_of_clip)[spans.clip]
    event = np.repeat(np.arange(len(num)), num)
    run = np.arange(len(event)) - np.repeat(np.cumsum(num) - num, num) + np.repeat(first, num)
    seconds = np.minimum(runs.end_s[run], spans.end_s[event]) - np.maximum(runs.start_s[run], spans.start_s[event])
    meet = seconds > 0
    return run[meet], event[meet], seconds[meet]


def _filled(seconds: Floats, lengths: Floats, share: float) -> Bools:
    return np.round(seconds, TIME_DECIMALS) >= np.round(share * lengths, TIME_DECIMALS)


def _per_run(run: Ints, seconds: Floats, lengths: Floats) -> Floats:
    return np.bincount(run, seconds, minlength=len(lengths)).astype(np.float64)


def _class_roc(runs: Runs, spans: dict[str, _Spans], label: str, hours: float, setting: PsdsSetting) -> RocCurve:
    run, event, seconds = _overlaps(runs, spans[label])
    lengths = runs.end_s - runs.start_s
    relevant = _filled(_per_run(run, seconds, lengths), lengths, setting.dtc)
    kept = relevant[run]
    found = _found_changes(runs, run[kept], event[kept], seconds[kept], spans[label], setting.gtc)
    false = lifetimes(runs, ~relevant)
    crossed = [(np.empty(0), np.empty(0))]  # changes of the weighted cross-trigger rate
    if setting.cttc is not None and len(spans) > 1:
        for other, theirs in spans.items():
            if other != label:
                run, _, seconds = _overlaps(runs, theirs)
                filled = _filled(_per_run(run, seconds, lengths), lengths, setting.cttc)
                values, rates = lifetimes(runs, filled & ~relevant)
                their_hours = (theirs.end_s - theirs.start_s).sum() / 3600.0
                crossed.append((values, rates * (setting.alpha_ct / (len(spans) - 1) / their_hours)))
    _, (num_found, num_false, cross_rate) = accumulate(found, false, joined(crossed))
    # Sums of reciprocal weights leave rounding dust; rates closer than a billionth per hour are one rate.
    return _staircase(np.rint(num_found) / len(spans[label].clip), num_false / hours + np.round(cross_rate, 9))


def _found_changes(
    runs: Runs, run: Ints, event: Ints, seconds: Floats, spans: _Spans, gtc: float
) -> tuple[Floats, Floats]:
    # How long each event is covered changes where a relevant run is born or dies. Whole nanoseconds add up exactly.
    covered = np.rint(seconds * 1e9).astype(np.int64)
    ended = np.isfinite(runs.dies[run])
    owner = np.concatenate([event, event[ended]])
    value = np.concatenate([runs.born[run], runs.dies[run][ended]])
    change = np.concatenate([covered, -covered[ended]])
    order = np.lexsort((-value, owner))
    owner, value, change = owner[order], value[order], change[order]
    total = np.cumsum(change)
    total -= (total - change)[np.searchsorted(owner, owner)]  # each event counts from its own first change
    last = np.append((np.diff(owner) != 0) | (np.diff(value) != 0), True)[: len(owner)]
    owner, value, total = owner[last], value[last], total[last]
    lengths = (spans.end_s - spans.start_s)[owner]
    found = _filled(total * 1e-9, lengths, gtc).astype(np.float64)
    before = np.where(np.searchsorted(owner, owner) == np.arange(len(owner)), 0.0, np.roll(found, 1))
    return value, found - before


def _staircase(tpr: Floats, efpr: Floats) -> RocCurve:
    tpr, efpr = np.append(0.0, tpr), np.append(0.0, efpr)
    order = np.lexsort((tpr, efpr))
    efpr, best = efpr[order], np.maximum.accumulate(tpr[order])
    last = np.append(np.diff(efpr) != 0, True)
    return RocCurve(efpr[last], best[last])
