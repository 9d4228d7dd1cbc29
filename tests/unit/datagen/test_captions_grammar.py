import re

import numpy as np
import pytest

from solfa.core.claims import find_claims, tempo_marking
from solfa.core.clip import Phrase
from solfa.core.errors import InputError, UnknownName
from solfa.core.theory import QUALITIES, Chord, Key
from solfa.core.vocabulary import concepts
from solfa.datagen.captions import STYLES, caption
from solfa.datagen.captions.checks import claims_agree, read
from solfa.datagen.captions.facts import grammar, harmony, loop
from solfa.datagen.captions.grammar import FULL_STYLES, LANGUAGES
from solfa.evaluation.perturbation import counterfactuals
from solfa.query import parse

SONG = {
    "key": "Db major", "tempo_bpm": 110.3, "tempo_marking": "moderato", "metre": "4/4", "beats_per_bar": 4,
    "chords": ["Bb:min", "Gb:maj", "Db:maj", "Ab:maj/3"] * 2, "instruments": ["rhodes", "bass_guitar"],
    "voice": False, "genre": ["jazz"], "mood": ["sad"],
}  # fmt: skip


def drawn(rng: np.random.Generator) -> dict[str, object]:
    bpm = round(float(rng.uniform(45, 200)), 2)
    metre = str(rng.choice(["2/4", "3/4", "4/4", "5/4", "6/8", "7/8"]))
    chords = [Chord(int(rng.integers(12)), str(rng.choice(list(QUALITIES)))) for _ in range(int(rng.integers(2, 8)))]
    by_kind = {k: [c.id for c in concepts().values() if c.kind == k] for k in ("instrument", "genre", "mood")}
    whole = {
        "key": str(Key(int(rng.integers(12)), "major" if rng.random() < 0.5 else "minor")),
        "tempo_bpm": bpm, "tempo_marking": tempo_marking(bpm), "metre": metre, "beats_per_bar": int(metre[0]),
        "chords": [str(c) for c in chords], "voice": bool(rng.integers(2)),
        "instruments": [str(i) for i in rng.choice(by_kind["instrument"], 2, replace=False)],
        "genre": [str(rng.choice(by_kind["genre"]))], "mood": [str(rng.choice(by_kind["mood"]))],
    }  # fmt: skip
    keep = [name for name in whole if rng.random() < 0.85]
    return {name: whole[name] for name in keep} or whole


def test_full_english_captions_claim_every_attribute_truly_and_can_be_perturbed() -> None:
    rng = np.random.default_rng(7)
    read = total = 0
    for i in range(60):
        attributes = drawn(rng)
        for style in FULL_STYLES:
            (text,) = caption(attributes, seed=i, style=style)
            if style in LANGUAGES:
                continue
            read += claims_agree(text, attributes, complete=True)
            total += 1
            assert claims_agree(text, attributes, complete=False), text
    assert read / total > 0.99
    texts = [caption(drawn(rng), seed=i, style="figma")[0] for i in range(80)]
    assert all(counterfactuals(texts, kind) for kind in ("key", "tempo", "bpm", "beats"))


def test_every_style_is_read_by_the_query_parser() -> None:
    rng = np.random.default_rng(8)
    wrong, total = [], 0
    for i in range(16):
        attributes = drawn(rng)
        for style in STYLES:
            (text,) = caption(attributes, seed=i, style=style)
            seen = read(text, attributes)
            total += 1
            if seen.false or (style in FULL_STYLES and seen.missing):
                wrong.append((text, seen))
    assert len(wrong) <= 0.015 * total, wrong


def test_a_reading_says_what_is_false_missing_and_invented() -> None:
    text = (
        "A sad jazz piece in Db major at 110 BPM (moderato), 4/4, over Bbm - Gb - Db - Ab, with Rhodes and bass "
        "guitar, no vocals."
    )
    assert read(text, SONG).false == read(text, SONG).missing == ()
    assert read(text.replace("Db major", "D major"), SONG).false == ("key",)
    assert read(text.replace("110", "120"), SONG).false == ("tempo_bpm",)
    assert read(text.replace("moderato", "presto"), SONG).false == ("tempo_marking",)
    assert read(text.replace("Bbm - Gb", "Gb - Bbm"), SONG).false == ("chords",)
    assert set(read(text.replace("4/4", "3/4"), SONG).false) == {"metre", "beats_per_bar"}
    assert read(text.replace("no vocals", "with vocals"), SONG).false == ("voice", "instruments:voice")
    assert read(text.replace("Rhodes", "trumpet"), SONG).false == ("instruments:trumpet",)
    assert read(text.replace("Rhodes and ", ""), SONG).missing == ("instruments:rhodes",)
    assert read("A piece in F major.", {"tempo_bpm": 90.0}).false == ("key",)


def test_same_seed_same_captions_and_other_seeds_others() -> None:
    first = caption(SONG, seed=1, num=5)
    assert first == caption(dict(reversed(SONG.items())), seed=1, num=5)
    assert len(set(first)) == 5
    assert first != caption(SONG, seed=2, num=5)


def test_the_style_does_not_follow_from_the_values() -> None:
    def shape(key: str, bpm: float) -> list[str]:
        texts = [caption({"key": key, "tempo_bpm": bpm}, seed=i, style=None)[0] for i in range(40)]
        return [
            re.sub(r"[A-Ga-g][#b]?( sharp| flat)? (maj|min)\w*|\d+(\.\d)?|\b\w+-(Dur|Moll)\b.*", "_", t) for t in texts
        ]

    same = sum(a == b for a, b in zip(shape("C major", 100.0), shape("D minor", 150.0), strict=True))
    assert same >= 30


def test_late_captions_say_what_decides_after_fifty_words() -> None:
    for seed in range(20):
        (text,) = caption(SONG, seed=seed, style="late")
        first = min(claim.start for claim in find_claims(text).values())
        assert len(text[:first].split()) > 50, text


def test_figma_is_one_sentence_with_every_kind_of_claim() -> None:
    for seed in range(20):
        (text,) = caption(SONG, [Phrase(text="drum fill", spans_s=((1.0, 2.0),))], seed=seed, style="figma")
        assert set(find_claims(text)) == {"key", "bpm", "marking", "beats", "chords"} and "drum fill" not in text
        assert text.count(". ") == 0 and text.endswith(".")


def test_phrases_are_told_with_their_place_where_it_is_true() -> None:
    solo = Phrase(text="guitar solo", spans_s=((6.0, 9.5),))
    for seed in range(20):
        (text,) = caption({"genre": ["rock"]}, [solo], seed=seed, style="prose", duration_s=10.0)
        assert "uitar solo" in text and re.search(r"0:06 to 0:10|second half", text), text
    always = Phrase(text="drums", spans_s=((0.0, 10.0),))
    assert "drums" not in caption({"genre": ["rock"]}, [always], seed=0, style="prose", duration_s=10.0)[0]


def test_a_little_is_said_in_every_drawn_style() -> None:
    for seed in range(120):
        assert caption({"some_chords": ["A:min"]}, seed=seed)[0]
        assert "110" in caption({"unsure": {"tempo_bpm": 110.0}}, seed=seed)[0]


def test_what_is_not_known_is_not_said() -> None:
    (text,) = caption({"mood": ["sad"]}, seed=0, style="prose")
    assert not find_claims(text) and "vocal" not in text
    with pytest.raises(InputError, match="nothing to say"):
        caption({}, seed=0)
    with pytest.raises(InputError, match="at least 1"):
        caption(SONG, seed=0, num=0)
    with pytest.raises(UnknownName, match="caption style"):
        caption(SONG, seed=0, style="sonnet")


def test_loops_are_said_once_and_long_progressions_by_their_beginning() -> None:
    assert len(loop(harmony(["C", "G", "A:min", "F"] * 3 + ["C"]))) == 4
    long = [str(Chord(i * 5 % 12, "maj")) for i in range(40) if i != 24]
    (text,) = caption({"chords": [*long, "E:min7"]}, seed=0, style="catalogue")
    assert re.search(r"(First|Opening) chords", text) and claims_agree(text, {"chords": long}, complete=False)


def test_inversions_are_told_or_merged() -> None:
    known = {"chords": ["G:7", "C:maj", "G:maj/3", "G:maj", "C:maj"]}
    texts = {caption(known, seed=i, style="catalogue")[0].partition(": ")[2] for i in range(40)}
    plain = {re.sub(r"[^A-G/7]+", " ", t).strip() for t in texts}
    assert plain == {"G7 C G/B G C", "G7 C G C"}
    assert all(not read(f"Chords: {t}", known).false for t in texts)


def test_synonyms_are_names_of_the_vocabulary() -> None:
    for concept, names in grammar()["synonyms"].items():
        known = {n.lower() for n in concepts()[concept].names}
        assert {n.lower() for n in names} <= known, concept
    for language in LANGUAGES:
        for concept, name in grammar()[language]["names"].items():
            found = [c.concept for c in parse(name).constraints if hasattr(c, "concept")]
            assert found == [concept], (language, concept, name)
