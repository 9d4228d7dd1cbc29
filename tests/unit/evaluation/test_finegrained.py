"""Constraint satisfaction and attribute sensitivity, on systems whose understanding is known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from solfa.constraints import Chords, Constraint, Duration, Dynamics, InKey, Metre, Place, Presence, Tempo
from solfa.core.annotation import MusicAnnotation, Segment
from solfa.core.errors import InputError
from solfa.core.theory import Chord, Key
from solfa.core.types import ChordSegment
from solfa.evaluation.finegrained import (
    CounterfactualQuery,
    Edited,
    Rank,
    Sensitivity,
    attribute_sensitivity,
    constraint_satisfaction,
    requirements_of,
    sensitivity_metrics,
)
from solfa.evaluation.finequeries import fine_queries, loop_of, measure, stated_of, worded
from solfa.evaluation.perturbation import beats_apart
from solfa.evaluation.truth import constraint_of, holds


def chord_segments(*labels: str) -> tuple[ChordSegment, ...]:
    return tuple(
        ChordSegment(start_s=2.0 * i, end_s=2.0 * i + 2, label=c, confidence=1.0) for i, c in enumerate(labels)
    )


def track(
    bpm: float | None = 110.0,
    key: str = "F major",
    metre: str = "4/4",
    analyzed: str = "rhodes",
    chords: tuple[str, ...] = ("A:min", "F:maj", "C:maj", "G:maj"),
) -> MusicAnnotation:
    return MusicAnnotation(
        duration_s=180.0, tempo_bpm=bpm, key=Key.parse(key), metre=metre, chords=chord_segments(*chords),
        instruments=(Segment(0.0, 9.0, analyzed),),
    )  # fmt: skip


def loop(*labels: str, **options: bool) -> Chords:
    return Chords(text="", chords=tuple(c for c in map(Chord.parse, labels) if c), **options)


TEMPO = Tempo(text="110 BPM", low_bpm=110, high_bpm=110)


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        (TEMPO, True),
        (Tempo(text="", low_bpm=115, high_bpm=115), False),
        (Tempo(text="", low_bpm=114.5, high_bpm=120), True),  # within 4 % of the bound
        (Tempo(text="", low_bpm=50, high_bpm=60), False),
        (Tempo(text="slow", low_bpm=50, high_bpm=60, exact=False), True),  # half the tempo feels so
        (InKey(text="", tonic=5, mode="major"), True),
        (InKey(text="", tonic=2, mode="minor"), False),
        (InKey(text="", tonic=2, mode="minor", compatible=True), True),
        (InKey(text="", tonic=0, mode="major", compatible=True), True),
        (InKey(text="", mode="minor"), False),
        (InKey(text="", tonic=5, mode="major", negated=True), False),
        (Metre(text="", metres=("3/4", "4/4")), True),
        (Metre(text="", metres=("3/4",)), False),
        (loop("A:min", "F:maj", "C:maj", "G:maj"), True),
        (loop("C:maj", "G:maj", "A:min7", "F:maj"), True),  # rotated; the triad is enough
        (loop("C:maj", "G:maj", "A:min7", "F:maj", loose_quality=False), False),
        (loop("F:maj", "A:min", "C:maj", "G:maj"), False),
        (loop("B:min", "G:maj", "D:maj", "A:maj"), False),
        (loop("B:min", "G:maj", "D:maj", "A:maj", transposable=True), True),
        (Presence(text="", concept="rhodes", kind="instrument"), True),
        (Presence(text="", concept="keyboard", kind="instrument"), True),
        (Presence(text="", concept="wurlitzer", kind="instrument"), False),
        (Presence(text="", concept="female_voice", kind="voice"), False),
        (Presence(text="", concept="voice", kind="voice", negated=True), True),
        (Presence(text="", concept="jazz", kind="genre"), None),
        (Presence(text="", concept="rhodes", kind="instrument", place=Place(start=0, end=1)), None),
        (Dynamics(text="", shape="loud"), None),
        (Duration(text="", low_s=100, high_s=200), True),
    ],
)
def test_truth_of_a_constraint(constraint: object, expected: bool | None) -> None:
    assert holds(constraint, track()) is expected  # type: ignore[arg-type]


def test_what_is_not_known_is_not_known_and_chords_of_no_name_match_nothing() -> None:
    unknown = MusicAnnotation(duration_s=9.0)
    for constraint in (TEMPO, InKey(text="", tonic=0), Metre(text="", metres=("4/4",)), loop("C:maj", "G:maj")):
        assert holds(constraint, unknown) is None
    sung = Presence(text="", concept="voice", kind="voice")
    assert holds(sung, unknown) is None and holds(sung, track(analyzed="voice_like")) is None
    assert holds(Presence(text="", concept="rhodes", kind="instrument"), track(analyzed="keyboard")) is None
    strange = track(chords=("C:maj", "N", "C:maj", "G:maj", "G:maj(9)", "A:min"))
    assert holds(loop("C:maj", "G:maj"), strange) is True
    assert holds(loop("G:maj", "A:min"), strange) is True  # G and G(9) are one triad
    assert holds(loop("G:maj", "A:min", loose_quality=False), strange) is False


def pool(num: int = 60) -> tuple[list[MusicAnnotation], list[SimpleNamespace]]:
    rng = np.random.default_rng(0)
    truths, attributes = [], []
    for _ in range(num):
        key, bpm = Key(int(rng.integers(12)), "major"), float(rng.choice([70, 90, 110, 140]))
        roots = rng.permutation(12)[:4]
        beats = int(rng.integers(3, 5))
        chords = tuple(Chord(int(r), "maj") for r in roots)
        attributes.append(SimpleNamespace(key=key, tempo_bpm=bpm, beats=beats, chords=chords))
        truths.append(track(bpm, str(key), f"{beats}/4", chords=tuple(map(str, chords))))
    return truths, attributes


def test_a_system_that_knows_the_truth_has_lift_one_and_a_blind_one_none() -> None:
    truths, attributes = pool()
    queries = [
        [Tempo(text="", low_bpm=a.tempo_bpm or 0, high_bpm=a.tempo_bpm or 0), Metre(text="", metres=(f"{a.beats}/4",))]
        for a in attributes
    ]

    def knows(requirements: list[object]) -> list[int]:
        met = np.array([sum(holds(c, t) is True for c in requirements) for t in truths])  # type: ignore[arg-type]
        return np.argsort(-met, kind="stable").tolist()

    best = constraint_satisfaction(queries, [knows(q) for q in queries], truths, 5)  # type: ignore[arg-type]
    assert set(best) == {"tempo", "metre", "every", "joint"}
    assert best["joint"].lift == pytest.approx(1)
    assert best["joint"].share.value == pytest.approx(best["joint"].attainable)
    rng = np.random.default_rng(1)
    blind = [rng.permutation(60).tolist() for _ in range(20 * len(queries))]
    chance = constraint_satisfaction(queries * 20, blind, truths, 5)
    for kind in chance.values():
        assert abs(kind.share.value - kind.chance) < 0.03 and kind.chance <= kind.constant
        assert kind.lift is not None and kind.lift < 0.05


def test_satisfaction_by_hand() -> None:
    truths = [track(110.0), track(140.0), track(110.0, metre="3/4"), track(None)]
    query = [TEMPO, Metre(text="", metres=("4/4",))]
    got = constraint_satisfaction([query], [[2, 0, 3]], truths, 3)
    # Tempo: tracks 0 and 2 of 4; unknown does not count. Metre: 0, 1 and 3.
    tempo, metre = got["tempo"], got["metre"]
    assert (tempo.share.value, tempo.chance, tempo.attainable) == (2 / 3, 0.5, 2 / 3)
    assert (metre.share.value, metre.chance, metre.attainable) == (2 / 3, 0.75, 1.0)
    assert (got["joint"].share.value, got["joint"].chance, got["joint"].attainable) == (1 / 3, 0.25, 1 / 3)
    assert (
        tempo.constant == 2 / 3 and tempo.lift is None and got["every"].share.num == 2
    )  # one query: a constant list gets all
    short = constraint_satisfaction([query], [[0]], truths, 3)
    assert short["tempo"].share.value == 1 / 3  # missing results are not met


def test_alternatives_are_one_wish_and_idle_wishes_are_left_out() -> None:
    either = [
        Presence(text="", concept="rhodes", kind="instrument", any_of=1),
        Presence(text="", concept="flute", kind="instrument", any_of=1),
    ]
    assert [len(w) for w in requirements_of([*either, TEMPO])] == [2, 1]
    truths = [track(analyzed="flute"), track(analyzed="drums", bpm=90.0), track(analyzed="rhodes")]
    got = constraint_satisfaction([[*either, Metre(text="", metres=("4/4",))]], [[0, 2]], truths, 2)
    assert got["instrument"].share.value == 1
    assert "metre" not in got and got["every"].num_left_out == 1  # all tracks are in 4/4
    with pytest.raises(InputError, match="nothing to score"):
        constraint_satisfaction([[Metre(text="", metres=("4/4",))]], [[0]], truths, 1)
    with pytest.raises(InputError, match="all met at once"):
        constraint_satisfaction([[TEMPO, Tempo(text="", low_bpm=90, high_bpm=90)]], [[0]], truths, 1)


@pytest.mark.parametrize(
    ("results", "k", "message"),
    [([[0], [1]], 1, "do not fit"), ([[0]], 9, "do not fit"), ([[0, 0]], 2, "twice"), ([[7]], 2, "outside the pool")],
)
def test_mismatched_results_are_refused(results: list[list[int]], k: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        constraint_satisfaction([[TEMPO]], results, [track(), track(90.0)], k)


LOOPS = (
    ("A:min", "F:maj", "C:maj", "G:maj"), ("C:maj", "G:maj", "F:maj", "G:maj"), ("D:min", "G:maj", "C:maj", "A:min")
)  # fmt: skip


def varied(num: int = 90) -> list[MusicAnnotation]:
    """A pool in which values recur, so that counterfactuals are true of other tracks."""
    rng, made = np.random.default_rng(0), []
    for _ in range(num):
        bpm, key = float(rng.choice([70, 90, 110, 130])), f"{rng.choice(['C', 'D', 'F', 'A'])} major"
        made.append(track(bpm, key, str(rng.choice(["4/4", "3/4", "6/8", "5/4"])), chords=LOOPS[rng.integers(3)]))
    return made


TRUTHS = varied()
QUERIES = fine_queries(TRUTHS, seed=1)


def understood(text: str) -> dict[str, Constraint]:
    """Every value of this pool that a text names, whatever the words around."""
    said: dict[str, Constraint] = {}
    spelled = {70: "seventy", 90: "ninety", 110: "one hundred and ten", 130: "one hundred and thirty"}
    for bpm, words in spelled.items():
        if re.search(rf"\b{bpm}\b|{words}\b", text):
            said["tempo"] = constraint_of("tempo", bpm)
    for metre in ("4/4", "3/4", "6/8", "5/4"):
        if metre in text:
            said["metre"] = constraint_of("metre", metre)
    for names in LOOPS:
        symbols = [n.replace(":maj", "").replace(":min", "m") for n in names]
        spoken = [n.replace(":maj", " major").replace(":min", " minor") for n in names]
        found = re.search(" - ".join(symbols) + "|" + "[^A-G]{1,12}".join(spoken), text)
        if found:
            said["chords"] = constraint_of("chords", loop_of(track(chords=names)))
            text = text[: found.start()] + text[found.end() :]
    if key := re.search(r"\b([CDFA])(?:-major| major|, major| and the scale is the major)", text):
        said["key"] = constraint_of("key", Key.parse(f"{key[1]} major"))
    return said


@cache
def met(constraint: Constraint) -> np.ndarray:
    return np.array([holds(constraint, t) is True for t in TRUTHS], float)


def counts(deaf_to: str = "", noise: float = 0.0, seed: int = 0) -> Rank:
    """How many of a text's statements are true of each track; one kind is not seen, wording adds noise."""

    def rank(texts: Sequence[str]) -> np.ndarray:
        rows = []
        for text in texts:
            rng = np.random.default_rng([seed, *text.encode()])
            asked = [met(c) for kind, c in understood(text).items() if kind != deaf_to]
            rows.append(sum(asked, np.zeros(len(TRUTHS))) + noise * rng.standard_normal(len(TRUTHS)))
        return np.stack(rows)

    return rank


def test_queries_are_true_of_their_tracks_and_their_counterfactuals_are_not() -> None:
    assert len(QUERIES.counterfactuals) > 150 and {t.kind for t in QUERIES.counterfactuals} == {
        "tempo",
        "key",
        "metre",
        "chords",
    }
    plain = fine_queries(TRUTHS, wording="plain", seed=1)
    assert all(text.startswith("A piece ") for text in plain.texts) and set(plain.texts).isdisjoint(QUERIES.texts)
    for edit in QUERIES.counterfactuals:
        true, false = understood(edit.text), understood(edit.false_text)
        assert set(true) == set(false) and len(true) == 2 and set(true) != {"key", "chords"}, edit
        assert understood(edit.control_text or "") == true and edit.control_text != edit.text
        assert all(holds(c, TRUTHS[edit.target]) for c in true.values())
        assert not holds(false[edit.kind], TRUTHS[edit.target]) and edit.rivals
        for rival in edit.rivals:
            assert all(holds(c, TRUTHS[rival]) for c in false.values()) and not holds(true[edit.kind], TRUTHS[rival])
        for row in (edit.placebo.target, *edit.placebo.rivals) if edit.placebo else ():
            assert not holds(true[edit.kind], TRUTHS[row]) and not holds(false[edit.kind], TRUTHS[row])
    assert sum(t.placebo is not None for t in QUERIES.counterfactuals) > 100
    for text, stated in QUERIES.meant.items():  # of every text, for systems that do not read
        assert set(stated) == set(understood(text).values()), text
    assert set(QUERIES.texts) < set(QUERIES.meant) and QUERIES.requirements[0] == QUERIES.meant[QUERIES.texts[0]]


def test_six_eight_is_counted_one_way() -> None:
    six, three = track(metre="6/8"), track(metre="3/4")
    assert stated_of(six)["metre"] == "6/8" and "6/8" in worded({"metre": "6/8"}, "listener")
    assert holds(constraint_of("metre", "6/8"), six) and not holds(constraint_of("metre", "6/8"), three)
    assert not beats_apart("6/8", "3/4") and not beats_apart("2", "6") and beats_apart("6/8", "4/4")
    assert "twelve" in worded({"tempo": 121, "metre": "12/8"}, "teacher")


def test_the_truth_is_never_beaten() -> None:
    oracle = measure(counts(), QUERIES, TRUTHS, 5)
    assert oracle[0]["joint"].lift == pytest.approx(1)
    for kind, found in oracle[1].items():
        assert found.rank_drop.value == pytest.approx(found.attainable) and found.detected, kind
        assert abs(found.controls["placebo"].rank_drop.value) < 0.2
    for noise in (0.2, 9.0):
        lucky = attribute_sensitivity(counts(noise=noise), QUERIES.counterfactuals, len(TRUTHS))
        for kind, found in lucky.items():
            assert (np.array(found.rank_drops) <= np.array(oracle[1][kind].rank_drops) + 1e-9).all(), kind


@pytest.mark.parametrize("kind", ["tempo", "key", "metre", "chords"])
def test_what_is_deaf_to_an_attribute_is_not_said_to_detect_it(kind: str) -> None:
    edits = [t for t in QUERIES.counterfactuals if t.kind == kind]
    exact = attribute_sensitivity(counts(deaf_to=kind), edits, len(TRUTHS))[kind]
    assert exact.rank_drop.value == 0 and not exact.detected
    noisy = [attribute_sensitivity(counts(kind, 0.5, seed), edits, len(TRUTHS))[kind].detected for seed in range(3)]
    assert sum(noisy) <= 1
    assert attribute_sensitivity(counts(noise=0.2), edits, len(TRUTHS))[kind].detected


def test_constant_and_random_systems_earn_nothing() -> None:
    ties = measure(lambda texts: np.zeros((len(texts), len(TRUTHS))), QUERIES, TRUTHS, 5)
    lists = measure(lambda texts: [list(range(len(TRUTHS)))] * len(texts), QUERIES, TRUTHS, 5)
    for satisfied, sensitive in (
        ties,
        lists,
        measure(counts(noise=1e9), QUERIES, TRUTHS, 5),
    ):
        assert all(s.rank_drop.low <= 0 and not s.detected for s in sensitive.values())
        assert all(k.lift is not None and k.lift < 0.1 for name, k in satisfied.items() if name != "every")
    assert ties[0]["every"].share.value == 0  # pessimistic: of equal scores the wrong ones come first
    metre = [w for own in QUERIES.requirements for w in own if w.label == "metre"]
    often = np.mean([[holds(w, t) is True for t in TRUTHS] for w in metre], axis=0)
    constant = constraint_satisfaction(QUERIES.requirements, np.tile(often, (len(QUERIES.texts), 1)), TRUTHS, 5)
    assert constant["metre"].lift == pytest.approx(0)  # the best constant list


def test_a_fall_by_wording_or_by_the_edited_word_is_not_detection() -> None:
    blank = Edited(target=4, text="d", false_text="e", rivals=(5, 6, 7))
    edit = CounterfactualQuery(
        target=0, kind="key", text="a", false_text="b", rivals=(1, 2, 3), control_text="c", placebo=blank
    )  # fmt: skip

    def sensitivity(**ahead: int) -> Sensitivity:  # how many rivals stand above the track, by text
        def order(num: int) -> list[int]:
            return [*range(1, 1 + num), 0, *range(1 + num, 4), *[5, 6, 7][:num], 4, *[5, 6, 7][num:]]

        return attribute_sensitivity(lambda texts: [order(ahead[t]) for t in texts], [edit] * 30, 8)["key"]

    nervous = sensitivity(a=0, b=3, c=3, d=0, e=0)
    assert nervous.rank_drop.value == 2 == nervous.attainable
    assert nervous.share_dropped.value == 1
    assert nervous.controls["control"].rank_drop.value == 2 and not nervous.detected
    by_edit = sensitivity(a=0, b=3, c=0, d=0, e=3)
    assert by_edit.controls["placebo"].rank_drop.value == 2 and not by_edit.detected
    assert sensitivity(a=0, b=3, c=0, d=0, e=0).detected
    assert set(sensitivity_metrics({"key": nervous})) == {"key fall", "key fell", "key control", "key placebo"}


def test_rows_that_truth_cannot_move_are_left_out_and_misfits_refused() -> None:
    alone = CounterfactualQuery(target=0, kind="key", text="a", false_text="b", rivals=())
    beside = CounterfactualQuery(target=0, kind="key", text="a", false_text="b", rivals=(1,))
    assert attribute_sensitivity(lambda t: [[0, 1]] * len(t), [alone, beside], 5)["key"].num_left_out == 1
    with pytest.raises(InputError, match="none of 1 counterfactual queries has a rival"):
        attribute_sensitivity(lambda t: [[0]] * len(t), [alone], 5)
    misfits = (([[7]], "outside the pool"), (np.zeros((1, 4)), r"shape \(1, 4\)"), (np.zeros((3, 5)), "not every text"))
    for wrong, message in misfits:
        with pytest.raises(InputError, match=message):
            attribute_sensitivity(lambda t, w=wrong: w, [beside], 5)  # type: ignore[misc]
