"""Sound events: PSDS and best F1 against sed_scores_eval's own output, a plain threshold sweep, and hand cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solfa.core.clip import Clip, Phrase
from solfa.core.errors import InputError
from solfa.core.intervals import Segment, merged
from solfa.core.types import EncoderSpec, Features
from solfa.evaluation.events import (
    ClipScores,
    ClipTruth,
    EventScores,
    SystemScores,
    best_collar_thresholds,
    best_segment_thresholds,
    collar_counts,
    decide,
    event_f1,
    num_matched,
    runs_of,
    segment_counts,
)
from solfa.evaluation.openvocab import (
    GENERIC_CLASS,
    class_prompts,
    grounding_pairs,
    th_auc,
    zero_shot,
)
from solfa.evaluation.psds import PSDS1, PSDS2, PSDS2021, PsdsSetting, psds

GOLDEN = Path(__file__).parents[2] / "golden" / "psds.json"
CLASSES = ("a", "b", "c")
SETTINGS = {
    "psds1": PSDS1,
    "psds2": PSDS2,
    "psds2021": PSDS2021,
    "wide": PsdsSetting(dtc=0.5, gtc=0.3, cttc=0.2, alpha_ct=1.0, alpha_st=0.5, max_efpr_per_hour=3000.0),
}


def golden() -> list[tuple[dict[str, ClipTruth], SystemScores, dict[str, object]]]:
    cases = []
    for case in json.loads(GOLDEN.read_text()):
        truth = {
            n: ClipTruth(duration_s=10.0, events=tuple(Segment(*e) for e in c["events"]))
            for n, c in case["clips"].items()
        }
        clips = {n: ClipScores(np.array(c["scores"]), np.array(c["borders"])) for n, c in case["clips"].items()}
        cases.append((truth, SystemScores(CLASSES, clips), case))
    return cases


@pytest.mark.parametrize("name", SETTINGS)
def test_psds_equals_sed_scores_eval(name: str) -> None:
    for truth, scores, case in golden():
        expected = case["psds"][name]  # type: ignore[index]
        result = psds(truth, scores, SETTINGS[name])
        np.testing.assert_allclose(result.value, expected["value"], atol=1e-9)
        for label in CLASSES:
            np.testing.assert_allclose(result.classes[label], expected["classes"][label], atol=1e-9)
        # The whole curve, not just its area: theirs ends with the limit, ours goes on.
        np.testing.assert_allclose(
            result.roc.at(np.array(expected["efpr"][:-1]) + 1e-7), expected["tpr"][:-1], atol=1e-9
        )
    assert any(c["psds"][name]["value"] > 0.01 for _, _, c in golden())  # type: ignore[index]


def collar_f1(truth: dict[str, ClipTruth], found: dict[str, list[Segment]], classes: tuple[str, ...]) -> EventScores:
    return event_f1(truth, found, classes, collar_counts)


def segment_f1(truth: dict[str, ClipTruth], found: dict[str, list[Segment]], classes: tuple[str, ...]) -> EventScores:
    return event_f1(truth, found, classes, segment_counts)


def test_best_f1_equals_sed_scores_eval() -> None:
    for truth, scores, case in golden():
        for kind, found, best in (
            ("collar", collar_f1, best_collar_thresholds),
            ("segment", segment_f1, best_segment_thresholds),
        ):
            result = found(truth, decide(scores, best(truth, scores)), CLASSES)
            for label in CLASSES:
                got = result.classes[label].f1
                np.testing.assert_allclose(got, case[kind][label], atol=1e-12, err_msg=kind)  # type: ignore[index]


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 25), st.integers(2, 6))
def test_runs_are_the_detections_of_every_threshold(seed: int, frames: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    clips = {
        str(i): ClipScores(rng.integers(0, levels, (n, 1)).astype(float), np.arange(n + 1) * 0.5)
        for i, n in enumerate((frames, 3, 7))
    }
    scores = SystemScores(("x",), clips)
    runs = runs_of(scores, 0)
    for threshold in range(levels):
        alive = (runs.dies < threshold) & (threshold <= runs.born)
        got = sorted(zip(runs.clip[alive].tolist(), runs.start_s[alive], runs.end_s[alive], strict=True))
        plain = sorted((int(n), e.start_s, e.end_s) for n, es in decide(scores, {"x": threshold}).items() for e in es)
        assert got == plain


def brute_psds(truth: dict[str, ClipTruth], scores: SystemScores, setting: PsdsSetting) -> float:
    """PSDS by deciding at every score value and counting by hand; one class, no cross-triggers."""
    (label,) = scores.classes
    hours = sum(t.duration_s for t in truth.values()) / 3600
    num = sum(len(t.events) for t in truth.values())
    points = [(0.0, 0.0)]
    for threshold in np.unique(np.concatenate([c.values_TC for c in scores.clips.values()])):
        found = decide(scores, {label: threshold})
        fp = tp = 0
        for name, clip in truth.items():
            relevant = []
            for d in found[name]:
                inside = sum(max(0.0, min(d.end_s, e.end_s) - max(d.start_s, e.start_s)) for e in clip.events)
                if inside + 1e-9 >= setting.dtc * (d.end_s - d.start_s):
                    relevant.append(d)
                else:
                    fp += 1
            for e in clip.events:
                cover = sum(max(0.0, min(d.end_s, e.end_s) - max(d.start_s, e.start_s)) for d in relevant)
                tp += cover + 1e-9 >= setting.gtc * (e.end_s - e.start_s)
        points.append((fp / hours, tp / num))
    grid = np.unique([min(p[0], setting.max_efpr_per_hour) for p in points] + [setting.max_efpr_per_hour])
    heights = [max(t for f, t in points if f <= x) for x in grid[:-1]]
    return float((np.diff(grid) * heights).sum() / setting.max_efpr_per_hour)


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_psds_equals_a_plain_threshold_sweep(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, clips = {}, {}
    for i in range(4):
        edges = np.sort(rng.choice(40, size=2 * int(rng.integers(i == 0, 4)), replace=False)) / 4
        truth[str(i)] = ClipTruth(duration_s=10.0, events=tuple(Segment(a, b, "x") for a, b in edges.reshape(-1, 2)))
        clips[str(i)] = ClipScores(rng.integers(0, 8, (20, 1)) / 8, np.arange(21) * 0.5)
    scores = SystemScores(("x",), clips)
    for setting in (PsdsSetting(dtc=0.5, gtc=0.5, max_efpr_per_hour=2000), PsdsSetting(dtc=0.3, gtc=0.9)):
        assert psds(truth, scores, setting).value == pytest.approx(brute_psds(truth, scores, setting), abs=1e-12)


def perfect_system(truth: dict[str, ClipTruth]) -> SystemScores:
    clips = {}
    for name, clip in truth.items():
        borders = np.arange(101) / 10
        active = [
            [any(e.label == c and e.start_s <= b < e.end_s for e in clip.events) for c in CLASSES] for b in borders[:-1]
        ]
        clips[name] = ClipScores(np.array(active, float), borders)
    return SystemScores(CLASSES, clips)


TRUTH = {
    "one": ClipTruth(duration_s=10.0, events=(Segment(1.0, 2.5, "a"), Segment(4.0, 4.5, "b"), Segment(6, 9, "c"))),
    "two": ClipTruth(duration_s=10.0, events=(Segment(0.0, 10.0, "a"),)),
    "three": ClipTruth(duration_s=10.0),
}


def test_a_perfect_detector_scores_one_and_a_deaf_one_zero() -> None:
    system = perfect_system(TRUTH)
    deaf = SystemScores(
        CLASSES, {n: ClipScores(np.zeros_like(c.values_TC), c.boundaries_s) for n, c in system.clips.items()}
    )
    for setting in (PSDS1, PSDS2, PSDS2021):
        assert psds(TRUTH, system, setting).value == 1.0
        assert psds(TRUTH, deaf, setting).value < 0.6  # one detection per clip: right only where a sound fills it
    assert psds(TRUTH, deaf, PSDS1).value == 0.0
    found = decide(system, dict.fromkeys(CLASSES, 0.5))
    assert collar_f1(TRUTH, found, CLASSES).macro_f1 == segment_f1(TRUTH, found, CLASSES).macro_f1 == 1.0
    nothing: dict[str, list[Segment]] = {n: [] for n in TRUTH}
    assert collar_f1(TRUTH, nothing, CLASSES).macro_f1 == segment_f1(TRUTH, nothing, CLASSES).macro_f1 == 0.0


def test_scores_do_not_depend_on_the_order_of_clips_or_classes() -> None:
    truth, scores, _ = golden()[0]
    swapped = SystemScores(
        ("c", "a", "b"),
        {
            n: ClipScores(scores.clips[n].values_TC[:, [2, 0, 1]], scores.clips[n].boundaries_s)
            for n in reversed(scores.clips)
        },
    )
    assert psds(truth, swapped, PSDS2).value == pytest.approx(psds(truth, scores, PSDS2).value, abs=1e-12)


def test_collars_by_hand() -> None:
    truth = {"x": ClipTruth(duration_s=10.0, events=(Segment(1.0, 2.0, "a"), Segment(5.0, 9.0, "a")))}
    close = {"x": [Segment(1.2, 2.2, "a"), Segment(4.8, 9.8, "a")]}  # on the border; 20 % of 4 s is 0.8 s
    assert collar_f1(truth, close, ("a",)).classes["a"].f1 == 1.0
    late = {"x": [Segment(1.21, 2.0, "a"), Segment(5.0, 9.81, "a")]}
    assert collar_f1(truth, late, ("a",)).classes["a"].tp == 0
    twice = {"x": [Segment(1.0, 2.0, "a"), Segment(1.1, 2.1, "a")]}
    counts = collar_f1(truth, twice, ("a",)).classes["a"]
    assert (counts.tp, counts.fp, counts.fn) == (1, 1, 1)
    assert num_matched(np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]], bool)) == 2


def test_segments_by_hand() -> None:
    truth = {"x": ClipTruth(duration_s=4.0, events=(Segment(0.5, 1.5, "a"),))}
    counts = segment_f1(truth, {"x": [Segment(1.2, 2.0, "a")]}, ("a",)).classes["a"]
    assert (counts.tp, counts.fp, counts.fn) == (1, 0, 1)


class Letters:
    """A text tower whose space has one axis per first letter of the last word."""

    spec = EncoderSpec(name="letters", space="letters", dim=26, licence="none", commercial_use=True)

    def encode(self, batch: list[str]) -> Features:
        vectors = np.stack([np.eye(26, dtype=np.float32)[ord(t.split()[3][0]) - 97] for t in batch])
        return Features(vectors, vectors[:, None], np.ones((len(batch), 1), bool))


def test_zero_shot_classification_with_a_template() -> None:
    assert class_prompts(["dog_bark"], "a {} here") == ["a dog bark here"]
    audio = np.eye(26, dtype=np.float32)[[3, 3, 0, 1]]
    result = zero_shot(audio, ["dog", "dog", "air_con", "air_con"], Letters())
    assert result.tolist() == [1, 1, 1, 0]
    with pytest.raises(InputError, match="need two or more"):
        zero_shot(audio, ["dog"] * 4, Letters())
    with pytest.raises(InputError, match="needs a place"):
        class_prompts(["x"], "a sound")


def test_grounding_finds_phrases_in_time() -> None:
    borders = np.arange(65) * 0.15625
    spans = [(1.0, 3.0), (4.0, 9.0)]
    phrases = (Phrase(text="nowhere", spans_s=()), *(Phrase(text=f"p{i}", spans_s=(s,)) for i, s in enumerate(spans)))
    pairs = grounding_pairs([Clip(id="c", duration_s=10.0, phrases=phrases)])
    assert [(p.row, p.phrase) for p in pairs.values()] == [(0, "p0"), (0, "p1")]
    sharp = [ClipScores(((borders[:-1] >= a) & (borders[:-1] < b)).astype(float)[:, None], borders) for a, b in spans]

    def grounding(scores: list[ClipScores]) -> tuple[float, float]:
        truth, clips = {n: p.truth for n, p in pairs.items()}, dict(zip(pairs, scores, strict=True))
        return psds(truth, SystemScores((GENERIC_CLASS,), clips), PSDS2021).value, th_auc(truth, clips)

    assert grounding(sharp) == pytest.approx((1.0, 0.98))  # 0.01..0.99, as the source integrates
    blurred = [ClipScores(0.3 + 0.2 * c.values_TC, borders) for c in sharp]
    assert grounding(blurred)[0] == 1.0  # free of thresholds
    assert grounding(blurred)[1] < 0.6  # not free of them
    assert merged([(0, 1), (1, 2), (5, 6)]) == [(0, 2), (5, 6)]


def test_th_auc_by_hand() -> None:
    # Two true events. Above 0.5 only the first is found; below, everything is one wrong detection (a third is true).
    truth = {"x": ClipTruth(duration_s=12.0, events=(Segment(0, 2, "event"), Segment(6, 8, "event")))}
    values = np.full(120, 0.5)
    values[:20] = 1.0
    score = th_auc(truth, {"x": ClipScores(values[:, None], np.arange(121) / 10)})
    # F1 is 0 at 0.01..0.49 (precision 0), 2/3 at 0.51..0.99; the straight line between adds half a step.
    assert score == pytest.approx(2 / 3 * (0.48 + 0.01))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ClipScores(np.zeros((3, 1)), np.arange(3)), "4 frame borders"),
        (lambda: ClipScores(np.full((1, 1), np.nan), np.arange(2)), "not finite"),
        (lambda: ClipScores(np.zeros((2, 1)), np.array([0, 1, 1])), "must ascend"),
        (lambda: SystemScores(("a",), {}), "at least one clip"),
        (lambda: SystemScores(("a", "b"), {"x": ClipScores(np.zeros((1, 1)), np.arange(2))}), "1 columns for 2"),
        (
            lambda: psds(TRUTH, SystemScores(("a",), {"x": ClipScores(np.zeros((1, 1)), np.arange(2))}), PSDS1),
            "pool does not match",
        ),
        (lambda: collar_f1(TRUTH, {n: [] for n in TRUTH}, ("a", "zebra")), "never occurs has no score"),
        (lambda: collar_f1({}, {}, ("a",)), "pool does not match"),
        (
            lambda: collar_f1(
                {"x": ClipTruth(duration_s=9.0, events=(Segment(0, 2, "a"), Segment(1, 3, "a")))}, {"x": []}, ("a",)
            ),
            "overlap",
        ),
        (lambda: segment_counts(np.zeros((0, 2)), np.zeros((0, 2)), 1.0, resolution_s=0), "must be positive"),
        (lambda: PsdsSetting(dtc=0.0, gtc=0.5), "dtc must be in"),
        (lambda: PsdsSetting(dtc=0.5, gtc=0.5, cttc=0.3), "belong together"),
        (lambda: decide(perfect_system(TRUTH), {"a": 0.5, "b": 0.5}), "no threshold for class 'c'"),
    ],
)
def test_bad_input_is_refused_with_its_condition(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]
