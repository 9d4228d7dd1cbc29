"""Phrase bank, Algorithm 1, frame labels, and the words of music."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solfa.core.errors import InputError
from solfa.datasets.bank import Cluster, PhraseBank, frame_labels, sample_phrases
from solfa.datasets.phrases import bank_of, music_bank, table

BANK = PhraseBank(
    [
        Cluster(phrase="dog", alternatives=("dog barking", "bark"), related=("animal",)),
        Cluster(phrase="animal", alternatives=("creature",)),
        *(Cluster(phrase=f"thing {i}", alternatives=(f"object {i}",)) for i in range(30)),
    ]
)


@given(
    positives=st.lists(st.sampled_from([t for c in BANK.clusters for t in c.texts]), max_size=30),
    n=st.integers(1, 25),
    seed=st.integers(0, 2**32),
)
def test_exactly_n_of_distinct_clusters_and_no_negative_near_a_positive(
    positives: list[str], n: int, seed: int
) -> None:
    near = {i for text in positives for c in BANK.clusters_of(text) for i in BANK.near(c)}
    groups = {BANK.clusters_of(text)[0] for text in positives}
    if len(BANK) - len(near) < n - min(n, len(groups)):
        with pytest.raises(InputError, match="larger bank"):
            sample_phrases(positives, BANK, n, np.random.default_rng(seed))
        return
    found = sample_phrases(positives, BANK, n, np.random.default_rng(seed))
    assert found == sample_phrases(positives, BANK, n, np.random.default_rng(seed))
    assert len(found.texts) == len(found.stands_for) == n
    clusters = [BANK.clusters_of(text)[0] for text in found.texts]
    assert len(set(clusters)) == n
    for cluster, members in zip(clusters, found.stands_for, strict=True):
        assert {BANK.clusters_of(positives[m])[0] for m in members} == ({cluster} if members else set())
        assert members or cluster not in near


def test_positives_of_one_cluster_are_one_phrase_and_come_first() -> None:
    found = sample_phrases(["bark", "thing 3", "DOG"], BANK, 5, np.random.default_rng(0), augment=False)
    assert found.texts[:2] == ("bark", "thing 3") and found.stands_for == ((0, 2), (1,), (), (), ())
    assert all(text.startswith("thing") for text in found.texts[2:])


def test_augmentation_says_every_alternative_about_equally_often() -> None:
    rng = np.random.default_rng(1)
    said = [sample_phrases(["dog"], BANK, 2, rng).texts[0] for _ in range(600)]
    assert all(150 < said.count(text) < 250 for text in BANK.clusters[0].texts)


def test_negatives_are_uniform_over_the_other_clusters() -> None:
    rng = np.random.default_rng(2)
    counts = np.zeros(len(BANK))
    for _ in range(600):
        for text in sample_phrases(["dog"], BANK, 11, rng).texts[1:]:
            counts[BANK.clusters_of(text)[0]] += 1
    assert counts[:2].sum() == 0 and counts[2:].min() > 150 and counts[2:].max() < 250


def test_an_unknown_positive_is_refused() -> None:
    with pytest.raises(InputError, match="does not know"):
        sample_phrases(["trumpet"], BANK, 3, np.random.default_rng(0))


def test_a_text_of_two_clusters_keeps_both_from_being_negative() -> None:
    bank = PhraseBank(
        [Cluster(phrase="a", alternatives=("x",)), Cluster(phrase="b", alternatives=("X ",)), Cluster(phrase="c")]
    )
    for seed in range(20):
        assert sample_phrases(["a"], bank, 2, np.random.default_rng(seed)).texts[1] == "c"


def test_bank_round_trip_and_finelap_form(tmp_path: Path) -> None:
    BANK.save(tmp_path / "bank.jsonl")
    assert PhraseBank.load(tmp_path / "bank.jsonl").clusters == BANK.clusters
    first = json.loads((tmp_path / "bank.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["alternatives"] == ["dog", "dog barking", "bark"]  # FineLAP draws from the alternatives alone
    lines = PhraseBank([Cluster(phrase="one\u2028phrase\x85 of one line")])
    lines.save(tmp_path / "lines.jsonl")
    assert PhraseBank.load(tmp_path / "lines.jsonl").clusters == lines.clusters
    row = {"phrase": "Röhren", "alternatives": ["Röhren", "Rohr"]}
    (tmp_path / "theirs.jsonl").write_text(json.dumps(row) + "\n\n", encoding="utf-8")
    assert PhraseBank.load(tmp_path / "theirs.jsonl").clusters == (Cluster(phrase="Röhren", alternatives=("Rohr",)),)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"alternatives": []}',
        '{"phrase": 3}',
        '{"phrase": "a", "alternatives": 1}',
        '{"phrase": " "}',
        '{"phrase": "a", "alternatives": [null]}',
    ],
)
def test_a_broken_bank_is_an_input_error(tmp_path: Path, line: str) -> None:
    (tmp_path / "bank.jsonl").write_text('{"phrase": "ok"}\n' + line, encoding="utf-8")
    with pytest.raises(InputError, match=r"bank\.jsonl:2|cluster 2"):
        PhraseBank.load(tmp_path / "bank.jsonl")


def test_merged_banks_share_clusters_by_centroid() -> None:
    both = BANK.merged(
        PhraseBank([Cluster(phrase="Dog", alternatives=("hound", "bark"), related=("pet",)), Cluster(phrase="pet")])
    )
    assert both.clusters[0].alternatives == ("dog barking", "bark", "hound")
    assert {both.clusters[i].phrase for i in both.near(0)} == {"dog", "animal", "pet"}


@given(start=st.floats(0, 9.99), length=st.floats(0.001, 10))
def test_every_span_has_a_frame_and_labels_follow_the_formula(start: float, length: float) -> None:
    end = min(10.0, start + length)
    labels = frame_labels([(start, end)], 64)
    assert labels.any()
    first, last = int(start / 0.15625), int(end / 0.15625)
    if last > first:
        assert np.flatnonzero(labels).tolist() == list(range(first, last))
    else:
        assert np.flatnonzero(labels).tolist() == [first]


def test_every_word_of_music_is_said_and_no_centroid_is_said_twice() -> None:
    bank = music_bank()
    assert len(bank) > 800 and all(len(c.texts) > 1 for c in bank.clusters)
    assert {"plays", "enters", "solo", "fill", "drop", "break", "key_change"} <= set(table()["kinds"])
    guitar = bank.clusters_of("guitar solo")[0]
    near = {bank.clusters[i].phrase for i in bank.near(guitar)}
    assert "electric guitar solo" in near and "piano solo" not in near and "guitar" not in near


def test_labels_that_differ_in_case_are_one_cluster() -> None:
    bank = bank_of({"Solo of a Zorb", "solo of a zorb ", "dog"})
    assert len(bank) == len(bank_of(set())) + 1
    assert bank.clusters_of("SOLO of a zorb") == bank.clusters_of("solo of a zorb ") != ()
