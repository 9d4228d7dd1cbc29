"""What holds for every text."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solfa.constraints import FASTEST_BPM, SLOWEST_BPM, Chords, Duration, InKey, Metre, Presence, Tempo
from solfa.core.errors import InputError
from solfa.core.vocabulary import concepts
from solfa.query import Query, explain, override, parse, parse_value
from solfa.query.source import MAX_CHARS

PIECES = [
    "piano",
    "no",
    "without",
    "drums",
    "or",
    "and",
    ",",
    "slow",
    "110 bpm",
    "around",
    "in F major",
    "in",
    "a minor",
    "3/4",
    "waltz",
    "Am-F-C-G",
    "ii-V-I",
    "starts with",
    "near the end",
    "at 0:30",
    "under 3 minutes",
    "must be",
    "maybe",
    "not",
    "but",
    "with",
    "vocals",
    "sad",
    "jazz",
    "only",
    "solo",
    "-free",
    "12-bar blues",
    "(",
    ")",
    ".",
    "\n",
    "♭",
    "é",
    "8A",
    "in five",
    "fades out",
    "until",
    "then",
    "5",
    "II",
    "C",
    "G7",
    "/",
    "between 90 and 100",
    "the",
    "few",
    "0:42-1:10",
]
texts = st.text(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join)


def read(text: str) -> Query | None:
    try:
        return parse(text)
    except InputError:
        assert not text.strip() or not any(c.isprintable() and not c.isspace() for c in text)
        return None


@given(texts)
@settings(max_examples=120)
def test_any_text_is_read_or_refused_cleanly(text: str) -> None:
    query = read(text)
    if query is None:
        return
    flat = " ".join(query.text.split())
    for constraint in query.constraints:
        assert constraint.text in flat
        assert constraint.weight in (0.5, 1.0, 2.0)
        if isinstance(constraint, Tempo):
            assert SLOWEST_BPM <= constraint.low_bpm <= constraint.high_bpm <= FASTEST_BPM
        if isinstance(constraint, Duration):
            assert 0 <= constraint.low_s <= constraint.high_s
        if isinstance(constraint, Presence) and constraint.place is not None:
            low, high = constraint.place.span_s(200.0)
            assert 0 <= low <= high <= 200
    for unknown in query.unknown:
        assert unknown in flat
    assert all(isinstance(line, str) and line for line in explain(query))


@given(texts)
@settings(max_examples=60)
def test_reading_is_deterministic_and_survives_its_own_text(text: str) -> None:
    query = read(text)
    if query is not None:
        assert parse(text) == query
        assert parse(query.text) == query


@given(st.text(max_size=60))
@settings(max_examples=60)
def test_flags_refuse_what_they_cannot_read(text: str) -> None:
    for kind in (Tempo, InKey, Metre, Chords, Duration):
        try:
            assert parse_value(kind, text)
        except InputError as error:
            assert str(error)


NAMES = sorted(
    name for c in concepts().values() if c.kind in ("instrument", "voice") for name in c.names[:1] if name.isascii()
)


@given(st.sampled_from(NAMES), st.sampled_from(["no {}", "without {}", "{}, but no {}"[:2] + ", not slow"]))
@settings(max_examples=50)
def test_negation_turns_a_wish_round(name: str, frame: str) -> None:
    wanted = {c.concept: c.negated for c in parse(name).constraints if isinstance(c, Presence)}
    framed = {c.concept: c.negated for c in parse(frame.format(name)).constraints if isinstance(c, Presence)}
    assert wanted
    turned = frame.startswith(("no", "without"))
    assert framed == {concept: negated ^ turned for concept, negated in wanted.items()}


@pytest.mark.parametrize("concept", sorted(concepts()))
def test_every_concept_is_found_by_its_title(concept: str) -> None:
    title = concepts()[concept].title
    query = parse(title)
    if concept in ("slow", "fast"):
        assert any(isinstance(c, Tempo) for c in query.constraints)
    elif concept in ("loud", "soft"):
        assert query.constraints
    else:
        assert concept in {c.concept for c in query.constraints if isinstance(c, Presence)}


def test_every_word_of_a_long_query_counts() -> None:
    words = [f"zor{i}blat" for i in range(3000)]
    query = parse("I want " + " ".join(words))
    assert query.words.split() == words
    assert " ".join(query.phrases).split() == words


@pytest.mark.parametrize(
    "unit",
    [
        "a ",
        "piano and ",
        "not ",
        "Am ",
        "I-V-",
        "I-",
        "to ",
        "so ",
        "Am-F-C-G, ",
        "little ",
        "title: a, ",
        "free download. ",
        "1 ",
        "1:00-2:00 ",
        "drums until ",
        "starts with piano in the end ",
        "must ",
        "piano, or ",
        "110 ",
        "the ",
        "(",
        "key of ",
        "vocals are ok ",
        "8A ",
        "big ",
    ],
)
def test_time_grows_with_length_only(unit: str) -> None:
    parse("warm up")
    short, long = (unit * (n // len(unit)) for n in (4_000, 32_000))
    start = time.process_time()
    parse(short)
    first = time.process_time() - start
    start = time.process_time()
    parse(long)
    # 8 times the text: a quadratic step would take 64 times as long.
    assert time.process_time() - start < 24 * max(first, 0.05)


def test_a_long_mixed_query_is_quick() -> None:
    rng = random.Random(0)
    text = " ".join(rng.choice(PIECES) for _ in range(9000))[:50_000]
    parse("warm up")
    start = time.process_time()
    query = parse(text)
    assert time.process_time() - start < 3.0  # under 1 s on an idle laptop core
    assert query.constraints


def test_blank_and_endless_texts_are_refused() -> None:
    for text in ("", "   ", "\n\t", "\x00\x01"):
        with pytest.raises(InputError, match="empty"):
            parse(text)
    with pytest.raises(InputError, match="100,000"):
        parse("a" * (MAX_CHARS + 1))


def test_text_of_an_override_is_checked() -> None:
    with pytest.raises(InputError, match="Expected a tempo"):
        override(parse("piano"), tempo="purple")
