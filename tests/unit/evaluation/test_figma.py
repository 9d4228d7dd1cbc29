"""FIGMA's protocols: captions cut, pools shrunk, attributes falsified."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from solfa.core.errors import InputError
from solfa.core.theory import Chord, Key
from solfa.evaluation.claims import KINDS, Attributes, describe, find_claims, marking_of
from solfa.evaluation.perturbation import perturb, robustness
from solfa.evaluation.ranking import MatrixScores, Ranks, rank_relevant
from solfa.evaluation.relevance import Relevance
from solfa.evaluation.saturation import cut_tokens, pool_size_curve, saturation, tokenizer_spans

WORDS = lambda text: [m.span() for m in re.finditer(r"[\w#]+", text)]  # noqa: E731


def attributes(seed: int) -> Attributes:
    rng = np.random.default_rng(seed)
    chords = tuple(
        Chord(int(rng.integers(12)), str(rng.choice(["maj", "min", "min7", "7"]))) for _ in range(rng.integers(2, 6))
    )
    return Attributes(
        key=Key(int(rng.integers(12)), "minor" if rng.random() < 0.5 else "major"),
        tempo_bpm=float(rng.integers(50, 200)),
        beats=int(rng.integers(2, 8)),
        chords=chords,
    )


class Reader:
    """A model that reads the first ``limit`` words and knows which attributes each clip truly has."""

    def __init__(self, captions: list[str], limit: int, deaf_to: str | None = None) -> None:
        self.true = [self.bag(c, limit, deaf_to) for c in captions]
        self.limit, self.deaf_to = limit, deaf_to

    @staticmethod
    def bag(text: str, limit: int, deaf_to: str | None) -> set[str]:
        claim = find_claims(text).get(deaf_to)  # type: ignore[call-overload]
        if claim is not None:
            text = text[: claim.start] + text[claim.end :]
        return {f"{i}:{w}" for i, w in enumerate(re.findall(r"[\w#]+", text)[:limit])}

    def score(self, rows: np.ndarray, texts: list[str]) -> MatrixScores:
        bags = [self.bag(t, self.limit, self.deaf_to) for t in texts]
        return MatrixScores(np.array([[float(len(self.true[r] & b)) for b in bags] for r in rows]))


CAPTIONS = [describe(attributes(s), seed=s) for s in range(40)]


def test_every_attribute_is_stated_once_and_found_again() -> None:
    for seed in range(200):
        truth = attributes(seed)
        claims = find_claims(describe(truth, seed=seed))
        assert set(claims) == set(KINDS)
        assert truth.key is not None and truth.tempo_bpm is not None
        assert claims["key"].value == str(truth.key)
        assert claims["bpm"].value == f"{truth.tempo_bpm:.0f}"
        assert claims["marking"].value == marking_of(truth.tempo_bpm)
        assert claims["beats"].value == str(truth.beats)
        assert len(claims["chords"].value.split(" - ")) == len(truth.chords)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The four control sentences as MusicBench words them.
        ("This song is in the key of D# minor.", {"key": "D# minor"}),
        (
            "The tempo of this song is 110.0 beats per minute. This song goes at a Moderato speed.",
            {"bpm": "110.0", "marking": "Moderato"},
        ),
        (
            "The chord sequence is Em7, F#m, Bbmaj7/D. The beat counts to 3.",
            {"chords": "Em7, F#m, Bbmaj7/D", "beats": "3"},
        ),
        ("Adagio, then Presto; from C major to A minor.", {}),  # two of a kind: no claim
        ("A slow song with a guitar and 3 singers. It ends in 2020.", {}),
        ("The beat is 3. A 3-beat figure.", {}),
        ("A waltz with a 3-beat count", {"beats": "3"}),
        ("The bpm is 98, time signature 6/8", {"bpm": "98", "beats": "6"}),
    ],
)
def test_claims_in_real_wordings(text: str, expected: dict[str, str]) -> None:
    assert {k: c.value for k, c in find_claims(text).items()} == expected


@settings(max_examples=150)
@given(st.integers(0, 5000), st.integers(0, 50), st.sampled_from(KINDS))
def test_an_edit_changes_its_span_only_and_makes_it_false(caption: int, seed: int, kind: str) -> None:
    text = describe(attributes(caption), seed=caption)
    twin = perturb(text, kind, seed=seed)  # type: ignore[arg-type]
    assert twin is not None and twin == perturb(text, kind, seed=seed)  # type: ignore[arg-type]
    before, after = find_claims(text), find_claims(twin)
    assert set(after) == set(KINDS)
    assert {k: c.value for k, c in before.items() if k != kind} == {k: c.value for k, c in after.items() if k != kind}
    old, new = before[kind].value, after[kind].value  # type: ignore[index]
    if kind == "key":
        assert Key.parse(old) != Key.parse(new)
    elif kind == "bpm":
        assert not 0.8 < float(new) / float(old) < 1.25 and 0.49 <= float(new) / float(old) <= 2.02
    elif kind == "chords":
        loops = [x.split(" - ") for x in (old, new)]
        assert len(loops[0]) == len(loops[1])
        assert all(loops[0][i:] + loops[0][:i] != loops[1] for i in range(len(loops[0])))
    else:
        assert old != new


def test_seeds_differ_and_spelling_is_kept() -> None:
    text = "Ballad in Bb min, 92.50 BPM, Allegro, the beat counts to 4, chords C | C | C."
    assert len({perturb(text, "key", seed=s) for s in range(300)}) == 23
    for seed in range(20):
        twin = perturb(text, "bpm", seed=seed)
        assert twin is not None and re.search(r" \d+\.\d\d BPM", twin)
        assert re.search(r", [A-Z][a-z]+, the beat", perturb(text, "marking", seed=seed) or "")
        assert " min" in (perturb(text, "key", seed=seed) or "") or " maj," in (perturb(text, "key", seed=seed) or "")
        chords = re.search(r"chords (.*)\.", perturb(text, "chords", seed=seed) or "")
        assert chords is not None and chords[1].count(" | ") == 2 and chords[1] != "C | C | C"


def test_a_model_that_reads_all_hears_every_edit_and_a_deaf_one_does_not() -> None:
    everything = robustness(Reader(CAPTIONS, 99).score, CAPTIONS)
    assert set(everything) == set(KINDS)
    for result in everything.values():
        assert result.preferred.value == 1 and result.num == 40 and result.num_skipped == 0
        assert result.twins["R@1"].value == result.original["R@1"].value == 1
    deaf = robustness(Reader(CAPTIONS, 99, deaf_to="bpm").score, CAPTIONS, kinds=("bpm", "beats"))
    assert deaf["bpm"].preferred.value == 0 and deaf["bpm"].twins["R@1"].value == 0  # ties are pessimistic
    assert deaf["bpm"].twins["R@5"].value == deaf["bpm"].replaced["R@1"].value == 1
    assert deaf["beats"].preferred.value == 1


def test_captions_without_the_attribute_are_skipped_and_counted() -> None:
    captions = [*CAPTIONS[:5], "A quiet song.", "A loud song."]
    result = robustness(Reader(captions, 99).score, captions, kinds=("key",))["key"]
    assert (result.num, result.num_skipped) == (5, 2)
    with pytest.raises(InputError, match="none of 1 captions states the attribute 'key'"):
        robustness(Reader(captions, 99).score, ["A quiet song."], kinds=("key",))


def test_cutting_is_by_the_models_own_tokens() -> None:
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    spans = tokenizer_spans(tokenizer)
    assert cut_tokens("Slow waltz, in D minor", 3, spans) == "Slow waltz,"
    assert cut_tokens("Slow waltz", 3, spans) == "Slow waltz"
    with pytest.raises(InputError, match="at least one token"):
        cut_tokens("x", 0, spans)


def test_a_model_that_stops_reading_goes_flat() -> None:
    relevance = Relevance.of_targets(range(40), 40)

    def curve(limit: int) -> object:
        reader = Reader(CAPTIONS, limit)

        def rank(texts: object) -> Ranks:
            audio_by_text = reader.score(np.arange(40), list(texts)).matrix  # type: ignore[call-overload]
            return rank_relevant(MatrixScores(audio_by_text.T), relevance)

        return saturation(rank, CAPTIONS, WORDS, steps=(2, 4, 6, 8, 10, 500), metrics=("R@1",))

    full, short = curve(99), curve(6)
    assert [p.num_tokens for p in full.points] == [2, 4, 6, 8, 10, None]  # type: ignore[attr-defined]
    assert short.gain_after(6, "R@1") == 0 < full.gain_after(6, "R@1")  # type: ignore[attr-defined]
    assert full.points[-1].share_cut == 0 and full.points[0].share_cut == 1  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="no point at 7 tokens"):
        full.gain_after(7)  # type: ignore[attr-defined]


def test_pool_size_curve_is_the_mean_over_all_small_pools() -> None:
    rng = np.random.default_rng(0)
    matrix, target = rng.random((30, 60)), rng.integers(60, size=30)
    ranks = rank_relevant(MatrixScores(matrix), Relevance.of_targets(target, 60))
    curve = pool_size_curve(ranks, [0, 10, 59], k=2)
    assert curve[0].value == 1
    assert curve[59].value == np.mean(ranks.first <= 2)
    hits = []
    for q in range(30):
        others = np.delete(matrix[q], target[q])
        draws = np.array([rng.choice(others, 10, replace=False) for _ in range(400)])
        hits.append(np.mean((draws >= matrix[q, target[q]]).sum(axis=1) < 2))
    assert abs(curve[10].value - np.mean(hits)) < 0.01
    with pytest.raises(InputError, match="60 irrelevant items cannot be drawn from 59"):
        pool_size_curve(ranks, [60], k=2)
