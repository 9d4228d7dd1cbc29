"""The JSON document: held to its schema, and exact both ways."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solfa.analysis.analyze import analyze, tidy
from solfa.analysis.document import SCHEMA, from_json, to_json
from solfa.core.errors import InputError
from solfa.core.files import table_of
from solfa.core.theory import Key
from solfa.core.types import Alternative, Analysis, ChordSegment, Curve, Estimate, Span, TagTrack

JSON_SCHEMA = table_of("solfa.analysis", "analysis.schema.json")
VALIDATOR = jsonschema.Draft202012Validator(JSON_SCHEMA)
confidences = st.floats(0, 1)
times = st.floats(0, 30_000)
texts = st.text(max_size=20)


def estimates(values: st.SearchStrategy[object]) -> st.SearchStrategy[Estimate[object]]:
    alternatives = st.lists(st.builds(Alternative, value=values, confidence=confidences), max_size=3).map(tuple)
    return st.builds(Estimate, value=st.none() | values, confidence=confidences, alternatives=alternatives, unit=texts)


spans = st.lists(st.builds(Span, start_s=times, end_s=times, confidence=confidences), max_size=3).map(tuple)
tags = st.builds(TagTrack, concept=texts, kind=texts, confidence=confidences, share=confidences, spans=spans)
tag_lists = st.lists(tags, max_size=3).map(tuple)
keys = st.builds(lambda tonic, mode: str(Key(tonic, mode)), st.integers(0, 11), st.sampled_from(["major", "minor"]))
analyses = st.builds(
    Analysis,
    duration_s=times,
    tempo_bpm=estimates(st.floats(20, 400)),
    metre=estimates(st.sampled_from(["4/4", "3/4", "12/8"])),
    beats_s=st.lists(times, max_size=5).map(tuple),
    downbeats_s=st.lists(times, max_size=5).map(tuple),
    key=estimates(keys),
    chords=st.lists(
        st.builds(ChordSegment, start_s=times, end_s=times, label=texts, confidence=confidences), max_size=3
    ).map(tuple),
    loudness_lufs=estimates(st.floats(-70, 10)),
    energy=st.builds(Curve, hop_s=st.just(1.0), values=st.lists(confidences, max_size=5).map(tuple), unit=texts),
    voice=tags,
    instruments=tag_lists,
    genres=tag_lists,
    moods=tag_lists,
    sounds=tag_lists,
    extractors=st.lists(texts, max_size=2).map(tuple),
)


@settings(max_examples=40)
@given(analyses)
def test_round_trip_is_exact_and_valid(analysis: Analysis) -> None:
    analysis = tidy(analysis)
    document = json.loads(json.dumps(to_json(analysis), allow_nan=False))
    VALIDATOR.validate(document)
    assert from_json(document) == analysis


def test_the_keys_that_others_build_on() -> None:
    document = to_json(analyze((), ()))
    assert document["schema"] == SCHEMA == "solfa.analysis/1"
    for name in ("tempo_bpm", "key", "metre", "loudness_lufs"):
        assert {"value", "confidence", "alternatives"} <= document[name].keys()
    assert sorted(document) == sorted([*JSON_SCHEMA["required"], "sounds"])  # older documents have none
    VALIDATOR.validate(document)


def test_the_schema_itself_is_sound_and_closed_to_nonsense() -> None:
    jsonschema.Draft202012Validator.check_schema(JSON_SCHEMA)
    document = to_json(analyze((), ()))
    for change in ({"tempo_bpm": 120}, {"key": {"value": "H dur"}}, {"schema": "solfa.analysis/2"}):
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate(document | change)


def test_unknown_keys_are_passed_over() -> None:
    analysis = analyze((), ())
    assert from_json(to_json(analysis) | {"later": 1}) == analysis


@pytest.mark.parametrize("document", [{}, [], "x", {"schema": "solfa.analysis/9"}, {"schema": SCHEMA}])
def test_other_documents_are_refused(document: object) -> None:
    with pytest.raises(InputError):
        from_json(document)  # type: ignore[arg-type]


def test_a_damaged_document_is_refused() -> None:
    document = to_json(analyze((), ()))
    with pytest.raises(InputError, match="damaged"):
        from_json(document | {"tempo_bpm": {"value": 3}})


def test_a_document_from_before_sounds_is_read() -> None:
    old = to_json(analyze((), ()))
    del old["sounds"]
    VALIDATOR.validate(json.loads(json.dumps(old)))
    assert from_json(old).sounds == ()
