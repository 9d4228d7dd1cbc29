"""FIGMA's protocols: captions cut, pools shrunk, attributes falsified."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from solfa.constraints import Chords, Tempo
from solfa.core.annotation import MusicAnnotation
from solfa.core.claims import KINDS, chord_symbol, claimed_key, claimed_triads, find_claims, tempo_marking
from solfa.core.errors import InputError
from solfa.core.theory import Chord, Key
from solfa.core.types import ChordSegment
from solfa.evaluation.blind import Unigrams, plausibility
from solfa.evaluation.perturbation import counterfactuals, robustness
from solfa.evaluation.ranking import Ranks, Relevance, Scores, rank_relevant
from solfa.evaluation.saturation import (
    SaturationPoint,
    cut_tokens,
    gain_after,
    pool_size_curve,
    saturation,
    tokenizer_spans,
)
from solfa.evaluation.significance import interval
from solfa.evaluation.truth import holds

WORDS = lambda text: [m.span() for m in re.finditer(r"[\w#]+", text)]  # noqa: E731


@dataclass(frozen=True, kw_only=True)
class Attributes:
    key: Key
    tempo_bpm: float
    beats: int
    chords: tuple[Chord, ...]


def describe(attributes: Attributes, seed: int = 0) -> str:
    """One sentence that states every attribute once, in an order that follows from the seed."""
    parts = [
        f"in {attributes.key}",
        f"at {attributes.tempo_bpm:.0f} BPM",
        f"marked {tempo_marking(attributes.tempo_bpm)}",
        f"with {attributes.beats} beats per bar",
        "over the chords " + " - ".join(chord_symbol(c) for c in attributes.chords),
    ]
    return "A piece " + ", ".join(parts[i] for i in np.random.default_rng(seed).permutation(len(parts))) + "."


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

    def score(self, rows: np.ndarray, texts: list[str]) -> Scores:
        bags = [self.bag(t, self.limit, self.deaf_to) for t in texts]
        return Scores.of(np.array([[float(len(self.true[r] & b)) for b in bags] for r in rows]))


CAPTIONS = [describe(attributes(s), seed=s) for s in range(40)]


def test_every_attribute_is_stated_once_and_found_again() -> None:
    for seed in range(200):
        truth = attributes(seed)
        claims = find_claims(describe(truth, seed=seed))
        assert set(claims) == set(KINDS)
        assert truth.key is not None and truth.tempo_bpm is not None
        assert claims["key"].value == str(truth.key)
        assert claims["bpm"].value == f"{truth.tempo_bpm:.0f}"
        assert claims["marking"].value == tempo_marking(truth.tempo_bpm)
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


PROGRESSIONS = ("0 9m 5 7", "0 5 7 0", "9m 5 0 7", "2m 7 0 9m", "0 7 9m 5", "5 0 7 2m", "0 4m 5 7", "9m 2m 7 0")
NAMES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
WAYS = (
    "A {genre} piece in {key}, at {bpm} BPM, marked {marking}, with {beats} beats per bar, over the chords {chords}.",
    "The chord sequence is {chords}. The tempo of this song is {bpm}.0 beats per minute. {Marking} throughout, "
    "it is in the key of {key}. The beat counts to {beats}.",
    "An upbeat {genre} track: {chords}. It moves at {bpm} bpm ({marking}), {beats}/4, and stays in {key}.",
)


def music(num: int, seed: int) -> list[MusicAnnotation]:
    """Made-up music with the habits of the real: common keys, chords of the key, four beats, round tempi."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(num):
        tonic = int(
            rng.choice([0, 2, 4, 5, 7, 9, 10, 11, 3, 6], p=[0.2, 0.15, 0.1, 0.1, 0.15, 0.1, 0.05, 0.05, 0.05, 0.05])
        )
        minor = rng.random() < 0.3
        bpm = float(rng.choice([60, 72, 80, 90, 100, 110, 120, 128, 140, 165])) + float(rng.integers(-3, 4))
        beats = int(rng.choice([4, 3, 5, 7], p=[0.7, 0.2, 0.05, 0.05]))
        tones = [re.fullmatch(r"(\d+)(m?)", t) for t in str(rng.choice(PROGRESSIONS)).split()]
        home = (tonic + 3) % 12 if minor else tonic
        labels = [f"{NAMES[(home + int(t[1])) % 12]}:{'min' if t[2] else 'maj'}" for t in tones if t]
        chords = tuple(
            ChordSegment(start_s=2.0 * i, end_s=2.0 * i + 2, label=c, confidence=1.0) for i, c in enumerate(labels * 2)
        )
        made.append(MusicAnnotation(duration_s=16.0, tempo_bpm=bpm, key=Key(tonic, "minor" if minor else "major"),
                                    metre=f"{beats}/4", chords=chords))  # fmt: skip
    return made


def told(pool: list[MusicAnnotation], seed: int) -> list[str]:
    rng, texts = np.random.default_rng(seed), []
    for m in pool:
        chords = " - ".join(c.label.replace(":maj", "").replace(":min", "m") for c in m.chords[: len(m.chords) // 2])
        assert m.tempo_bpm is not None and m.metre is not None
        word = tempo_marking(m.tempo_bpm)
        texts.append(str(rng.choice(WAYS)).format(
            genre=rng.choice(["rock", "folk", "jazz"]), key=m.key, bpm=f"{m.tempo_bpm:.0f}", marking=word,
            Marking=word.capitalize(), beats=m.metre[0], chords=chords,
        ))  # fmt: skip
    return texts


MUSIC = music(200, 0)
TOLD = told(MUSIC, 0)
STATED = ("key", "tempo", "bpm", "marking", "beats", "chords", "mode")


@pytest.mark.parametrize("kind", STATED)
def test_counterfactuals_are_false_and_exchange_what_depends_on_the_value(kind: str) -> None:
    made = counterfactuals(TOLD, kind, truths=MUSIC, seed=3)  # type: ignore[arg-type]
    assert made == counterfactuals(TOLD, kind, truths=MUSIC, seed=3)  # type: ignore[arg-type]
    assert made != counterfactuals(TOLD, kind, truths=MUSIC, seed=4)  # type: ignore[arg-type]
    assert len(made) > 60 and {(c.partner, c.row) for c in made} == {(c.row, c.partner) for c in made}
    changing = {"key": {"key", "chords"}, "tempo": {"bpm", "marking"}, "mode": {"key", "chords"}}
    may_change = changing.get(kind, {kind})
    for c in made:
        before, after, truth = find_claims(c.true), find_claims(c.text), MUSIC[c.row]
        assert {k for k in before if before[k].value != after[k].value} <= may_change and set(before) == set(after)
        assert not re.search(
            r"\b[Aa] (?:[AEF] |allegro|andante)|\b[Aa]n (?:[BCDG] |presto|largo|moderato|vivace)", c.text
        )
        if kind == "key":
            old, new = claimed_key(before["key"].value), claimed_key(after["key"].value)
            assert old != new and old.mode == new.mode
            degrees = [
                [(r - k.tonic) % 12 for r, _ in claimed_triads(x["chords"].value)]
                for k, x in ((old, before), (new, after))
            ]
            assert degrees[0] == degrees[1]
        if kind == "mode":
            old, new = claimed_key(before["key"].value), claimed_key(after["key"].value)
            assert old.mode != new.mode and (old.tonic == new.tonic or old.relative == new)
            theirs = find_claims(TOLD[c.partner])
            assert [after[k].value for k in ("key", "chords")] == [theirs[k].value for k in ("key", "chords")]
        if kind == "marking":
            assert "bpm" not in before and not re.search(r"\d+(?:\.\d)? (?:bpm|beats per min)", c.text, re.IGNORECASE)
            assert len(c.true) - len(TOLD[c.row]) == len("some") - len(find_claims(TOLD[c.row])["bpm"].value)
        else:
            assert c.true == TOLD[c.row]
        if "marking" in after and kind in ("tempo", "bpm"):
            assert tempo_marking(float(after["bpm"].value)) == after["marking"].value.lower()
        if kind in ("tempo", "bpm"):
            asked = Tempo(text="", low_bpm=float(after["bpm"].value), high_bpm=float(after["bpm"].value), exact=False)
            assert holds(asked, truth) is False  # nor at half or double of it
        if kind == "beats":
            assert after["beats"].value != before["beats"].value
        if kind == "chords":
            loop = claimed_triads(after["chords"].value)
            assert all(a != b for a, b in pairwise(loop))
            assert holds(Chords(text="", chords=tuple(Chord(*c) for c in loop)), truth) is False


def test_a_marking_alone_and_signatures_and_articles() -> None:
    words = ["An Allegro for strings.", "A Presto for strings.", "A largo, slow, at 50 BPM.", "Slow, an adagio."]
    assert [c.text for c in counterfactuals(words, "marking")] == ["A Presto for strings.", "An Allegro for strings."]
    metres = [
        "A tune in 6/8.",
        "A tune in 4/4.",
        "In 3/4, a waltz.",
        "2 beats per bar, in 6/8.",
        "The beat counts to 2.",
    ]
    assert [c.text for c in counterfactuals(metres, "beats")] == ["A tune in 4/4.", "A tune in 6/8."]
    counts = [MusicAnnotation(duration_s=9.0, metre=m) for m in ("6/8", "9/8")]
    six, nine = "It has 2 beats per bar.", "It has 3 beats per bar."
    assert len(counterfactuals([six, nine], "beats", truths=counts)) == 2
    assert not counterfactuals(
        ["It has 2 beats per bar.", "It has 6 beats per bar."], "beats"
    )  # one metre, counted twice
    keys = ["Over an F chord, in F major.", "An F major song.", "A C major song."]
    assert [c.text for c in counterfactuals(keys, "key")] == ["A C major song.", "An F major song."]
    half = ["Drums at 80 BPM.", "Drums at 160 BPM.", "Bass at 82 BPM."]
    assert not counterfactuals(half, "bpm")  # half, and too near
    with pytest.raises(InputError, match="annotations of 0 clips"):
        counterfactuals(keys, "key", truths=[])


class Blind:
    """A system that scores texts only."""

    def __init__(self, rule: object) -> None:
        self.rule = rule

    def score(self, rows: np.ndarray, texts: list[str]) -> Scores:
        values = np.array([float(self.rule(t)) for t in texts])  # type: ignore[operator]
        return Scores.of(np.tile(values, (len(rows), 1)))


def test_blind_rules_earn_a_half() -> None:
    other = Unigrams(told(music(400, 9), 9))
    pairs = lambda t: " ".join(f"{a}_{b}" for a, b in pairwise(t.split()))  # noqa: E731
    bigrams = Unigrams(map(pairs, told(music(400, 8), 8)))
    rules = {
        "plausibility": plausibility,
        "words of other captions": other.score,
        "pairs of words": lambda t: bigrams.score(pairs(t)),
        "length": len,
        "short": lambda t: -len(t),
        "constant": lambda t: 0.0,
        "order of letters": lambda t: sum(map(ord, t[40:])) % 101,
    }  # fmt: skip
    for kind in STATED:
        edits = counterfactuals(TOLD, kind, truths=MUSIC)  # type: ignore[arg-type]
        pair = [min(e.row, e.partner) for e in edits]
        for name, rule in rules.items():
            margins = np.array([float(rule(e.true)) - float(rule(e.text)) for e in edits])  # type: ignore[operator]
            share = interval(0.5 + 0.5 * np.sign(margins), groups=pair, proportion=True)
            assert share.low <= 0.5 <= share.high and abs(share.value - 0.5) < 0.1, (name, kind, share)
    for result in robustness(Blind(plausibility).score, TOLD, truths=MUSIC).values():
        assert result.preferred.low <= 0.5 <= result.preferred.high
        assert not result.detected and result.beyond.difference.value == pytest.approx(0, abs=0.05)
        assert all(i.low <= 0.5 <= i.high for i in result.text_only.values()), (result.kind, result.text_only)


@cache
def stated(text: str, but: str) -> dict[str, str]:
    return {kind: claim.value for kind, claim in find_claims(text).items() if kind != but}


plausible = cache(plausibility)


class Detects:
    """Scores a text by how many of its statements are true of the clip, but for one kind that it cannot detect."""

    def __init__(self, deaf_to: str = "", prior: float = 0.0) -> None:
        self.deaf_to, self.prior = deaf_to, prior

    def score(self, rows: np.ndarray, texts: list[str]) -> Scores:
        claims, true = ([stated(t, self.deaf_to) for t in own] for own in (texts, TOLD))
        likely = [self.prior and self.prior * plausible(t) for t in texts]
        agree = [[len(true[r].items() & c.items()) + p for c, p in zip(claims, likely, strict=True)] for r in rows]
        return Scores.of(np.array(agree))


def test_what_detects_is_told_from_what_is_deaf() -> None:
    oracle = robustness(Detects().score, TOLD, truths=MUSIC)
    assert set(oracle) == set(STATED)
    for result in oracle.values():
        assert result.preferred.value == 1 and result.detected and result.num + result.num_skipped == len(TOLD)
        assert abs(result.mismatched.value - 0.5) < 0.15
    deaf = robustness(Detects("beats", prior=0.3).score, TOLD, kinds=("beats", "tempo"), truths=MUSIC)
    assert not deaf["beats"].detected and deaf["beats"].preferred.low <= 0.5 <= deaf["beats"].preferred.high
    assert deaf["tempo"].detected
    rng, noise = np.random.default_rng(0), lambda rows, texts: Scores.of(rng.random((len(rows), len(texts))))
    alarms = [r.detected for seed in range(2) for r in robustness(noise, TOLD, kinds=STATED, seed=seed).values()]
    assert len(alarms) == 14 and sum(alarms) <= 2


def test_captions_without_the_attribute_are_skipped_and_counted() -> None:
    captions = [*TOLD[:40], "A quiet song.", "A loud song."]
    result = robustness(Detects().score, captions, kinds=("tempo", "marking"))
    assert set(result) == {"tempo", "marking"} and result["tempo"].num + result["tempo"].num_skipped == 42
    with pytest.raises(InputError, match="none of key is stated once by enough of 1 captions"):
        robustness(Detects().score, ["A quiet song."], kinds=("key",))


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

    def curve(limit: int) -> list[SaturationPoint]:
        reader = Reader(CAPTIONS, limit)

        def rank(texts: object) -> Ranks:
            audio_by_text = reader.score(np.arange(40), list(texts)).matrix()  # type: ignore[call-overload]
            return rank_relevant(Scores.of(audio_by_text.T), relevance)

        return saturation(rank, CAPTIONS, WORDS, steps=(2, 4, 6, 8, 10, 500), metrics=("R@1",))

    full, short = curve(99), curve(6)
    assert [p.num_tokens for p in full] == [2, 4, 6, 8, 10, None]
    assert gain_after(short, 6, "R@1") == 0 < gain_after(full, 6, "R@1")
    assert full[-1].share_cut == 0 and full[0].share_cut == 1
    with pytest.raises(InputError, match="no point at 7 tokens"):
        gain_after(full, 7)


def test_pool_size_curve_is_the_mean_over_all_small_pools() -> None:
    rng = np.random.default_rng(0)
    matrix, target = rng.random((30, 60)), rng.integers(60, size=30)
    ranks = rank_relevant(Scores.of(matrix), Relevance.of_targets(target, 60))
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
