"""The table of concepts is sound."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files

import pytest

from solfa.core.errors import UnknownName
from solfa.core.vocabulary import KINDS, concept, concepts, lineage
from solfa.query.concepts import concept_named, correction, lexicon, name_words
from solfa.query.lexis import Regexes, patterns_table, words_table


def test_a_name_belongs_to_one_concept() -> None:
    owners: dict[tuple[str, ...], str] = {}
    for key, entry in concepts().items():
        for name in entry.names:
            assert owners.setdefault(name_words(name), key) == key, name


def test_every_concept_has_a_kind_and_names() -> None:
    assert len(concepts()) > 400
    for key, entry in concepts().items():
        assert entry.kind in KINDS and entry.names and key == entry.id
        assert key.isidentifier() and key == key.lower()
        assert len(set(entry.names)) == len(entry.names), key


def test_lineages_end_and_exist() -> None:
    table = tomllib.loads(files("solfa.core").joinpath("vocabulary.toml").read_text(encoding="utf-8"))
    for child, parent in table["is_a"].items():
        assert child in concepts() and parent in concepts()
        assert len(lineage(child)) <= 5


def test_ids_are_unique_across_kinds() -> None:
    table = tomllib.loads(files("solfa.core").joinpath("vocabulary.toml").read_text(encoding="utf-8"))
    ids = [key for kind in KINDS for key in table[kind]]
    assert len(ids) == len(set(ids))


def test_unknown_concepts_are_refused() -> None:
    with pytest.raises(UnknownName, match="piano"):
        concept("pianno")


def test_names_of_other_languages_point_at_concepts() -> None:
    for key, names in words_table()["names"].items():
        for name in names:
            assert concept_named(name) == key, name


def test_word_lists_speak_of_existing_concepts() -> None:
    assert set(words_table()["less"].values()) <= set(concepts())
    assert set(words_table()["names"]) <= set(concepts())


def test_patterns_have_no_capturing_groups() -> None:
    for name, value in patterns_table().items():
        if isinstance(value, list) and value and isinstance(value[0], str):
            for fragment in value:
                assert re.compile(re.sub(r"<<\w+>>", "x", fragment)).groups == 0, (name, fragment)


def test_every_regex_of_the_grammar_compiles_and_is_used() -> None:
    table = tomllib.loads(files("solfa.query").joinpath("grammar.toml").read_text(encoding="utf-8"))
    for module, patterns in table.items():
        source = files("solfa.query").joinpath(f"{module}.py").read_text(encoding="utf-8")
        used = {*re.findall(r"regex\.(\w+)", source), *re.findall(r"<<(\w+)>>", str(patterns))}
        assert {name for name in patterns if name not in used and f'"{name}"' not in source} == set(), module
        assert all(getattr(Regexes(module), name).pattern for name in patterns)
        assert set(re.findall(r"regex\.(\w+)", source)) <= set(patterns), module


def test_names_are_never_taken_for_typing_errors() -> None:
    for entries in lexicon().values():
        for words in entries:
            assert all(correction(word) is None for word in words)


def test_an_unknown_name_lists_each_name_once() -> None:
    assert str(UnknownName("thing", "c", ["b", "a", "b"])).endswith("Available: a, b.")
