"""A model file is used only where it is the one that the manifest names."""

import json
from pathlib import Path

import pytest

from solfa import weights
from solfa.core.errors import InputError, MissingWeights, WeightsError
from solfa.weights import store


def place(home: Path, data: bytes) -> Path:
    file = home / "models" / "toy" / "model.bin"
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    return file


def test_a_model_that_is_not_here_says_how_to_get_it(toys):
    assert not weights.pulled("toy")
    with pytest.raises(MissingWeights, match="solfa models pull toy"):
        weights.path("toy")


def test_the_right_file_is_found_under_solfa_home(toys, home):
    file = place(home, toys.content)
    assert weights.pulled("toy")
    assert weights.path("toy") == file


def test_one_changed_byte_is_refused(toys, home):
    place(home, toys.content[:-1] + b"X")
    with pytest.raises(WeightsError, match=r"SHA-256 .* expected .*solfa models pull toy"):
        weights.path("toy")


def test_a_hash_is_computed_once_and_again_when_the_file_changes(toys, home, monkeypatch):
    file = place(home, toys.content)
    hashed = []
    digest = store.file_hash
    monkeypatch.setattr(store, "file_hash", lambda file: hashed.append(1) or digest(file))
    weights.path("toy")
    weights.path("toy")
    assert len(hashed) == 1
    file.write_bytes(b"something else")
    with pytest.raises(WeightsError):
        weights.path("toy")


def test_a_snapshot_is_checked_against_its_record(toys, home):
    folder = home / "models" / "toy-hub"
    folder.mkdir(parents=True)
    (folder / "w.bin").write_bytes(b"1")
    with pytest.raises(MissingWeights):
        weights.path("toy-hub")
    digest = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    (folder / store.RECORD).write_text(json.dumps({"w.bin": digest}))
    assert weights.path("toy-hub") == folder
    (folder / "w.bin").write_bytes(b"22")
    with pytest.raises(WeightsError, match=r"w\.bin"):
        weights.path("toy-hub")


@pytest.mark.parametrize("record", ["[]", "{}", "not json", '{"../../etc/passwd": "00"}', '{"w.bin": 1}'])
def test_a_damaged_record_is_refused(toys, home, record):
    folder = home / "models" / "toy-hub"
    folder.mkdir(parents=True)
    (folder / store.RECORD).write_text(record)
    with pytest.raises(WeightsError, match="record"):
        weights.path("toy-hub")


def test_without_solfa_home_files_go_to_the_platforms_data_directory(monkeypatch):
    monkeypatch.delenv("SOLFA_HOME", raising=False)
    assert weights.home().name == "solfa"
    assert weights.home().is_absolute()


def test_a_home_of_nobody_is_a_plain_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLFA_HOME", "~nobody-of-this-name/solfa")
    with pytest.raises(InputError, match="SOLFA_HOME is '~nobody-of-this-name/solfa'"):
        store.home()
