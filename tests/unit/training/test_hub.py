"""Models on the hub: only their own files go and come, and what comes is whole and what it says, or not there."""

from __future__ import annotations

import json
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from small import body
from test_model_file import saved

from solfa.core.errors import InputError, MissingExtra, WeightsError
from solfa.encoders import trained
from solfa.training.hub import pull, push


class Unreachable(Exception):
    """The base class of the HTTP library."""


class Hub:
    """The part of huggingface_hub that is used, over a dictionary."""

    class errors:
        HfHubHTTPError = type("HfHubHTTPError", (Unreachable, OSError), {})
        HFValidationError = type("HFValidationError", (ValueError,), {})

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}

    def HfApi(self) -> Hub:
        return self

    def create_repo(self, repo: str, *, private: bool, exist_ok: bool) -> None:
        if "/" not in repo:
            raise self.errors.HFValidationError("a name has a slash")
        self.repos.setdefault(repo, {})

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str, allow_patterns: list[str]) -> str:
        files = {p.relative_to(folder_path).as_posix(): p for p in Path(folder_path).rglob("*") if p.is_file()}
        self.repos[repo_id] = {n: p.read_bytes() for n, p in files.items() if self._any(n, allow_patterns)}
        return f"https://hub/{repo_id}"

    def _any(self, name: str, patterns: list[str]) -> bool:
        return any(fnmatch(name, pattern) for pattern in patterns)

    def snapshot_download(self, repo: str, *, revision: str | None, local_dir: str, allow_patterns: list[str]) -> None:
        if repo not in self.repos:
            raise self.errors.HfHubHTTPError("404")
        (Path(local_dir) / ".cache").mkdir(exist_ok=True)
        for name, content in self.repos[repo].items():
            if self._any(name, allow_patterns):
                (Path(local_dir) / name).parent.mkdir(exist_ok=True)
                (Path(local_dir) / name).write_bytes(content)


@pytest.fixture
def hub(monkeypatch) -> Hub:
    made = Hub()
    monkeypatch.setitem(sys.modules, "huggingface_hub", made)
    monkeypatch.setattr(trained, "load_backbone", body)
    return made


def test_pushed_and_pulled(data, tmp_path, hub, monkeypatch):
    path, _ = saved(data, tmp_path / "model")
    (path / "secret.txt").write_text("mine")
    assert push(path, "me/notes") == "https://hub/me/notes"
    assert set(hub.repos["me/notes"]) == {"model.json", "model.safetensors", "audio.onnx", "text.onnx", "README.md"}
    pulled = pull("me/notes", tmp_path / "pulled")
    assert trained.load(source=pulled).space == trained.load(source=path).space
    assert {p.name for p in pulled.iterdir()} == set(hub.repos["me/notes"])
    with pytest.raises(InputError, match="exists already"):
        pull("me/notes", tmp_path / "pulled")
    with pytest.raises(WeightsError, match="404"):
        pull("me/other", tmp_path / "other")
    with pytest.raises(WeightsError, match="slash"):
        push(path, "notes")
    with pytest.raises(WeightsError, match=r"model\.json"):
        push(tmp_path, "me/notes")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match="huggingface_hub"):
        push(path, "me/notes")


def test_a_hub_that_cannot_be_reached_is_one_clear_error(data, tmp_path, hub, monkeypatch):
    def fail(*given, **options):
        raise Unreachable("name not known")

    for name in ("create_repo", "snapshot_download"):
        monkeypatch.setattr(hub, name, fail)
    with pytest.raises(WeightsError, match="name not known"):
        push(saved(data, tmp_path / "model")[0], "me/notes")
    with pytest.raises(WeightsError, match="name not known"):
        pull("me/notes", tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/passwd", "a/b", "audio_body/../x", "audio_body/a/b", "c:x", "*", ".git", ""]
)
def test_names_that_lead_elsewhere_are_refused(name, data, tmp_path, hub):
    path, _ = saved(data, tmp_path / "model")
    push(path, "me/notes")
    described = json.loads(hub.repos["me/notes"]["model.json"])
    described["sha256"][name] = "0" * 64
    hub.repos["me/notes"] |= {"model.json": json.dumps(described).encode(), "extra.py": b"print()"}
    with pytest.raises(WeightsError, match="not a file of a model"):
        pull("me/notes", tmp_path / "pulled")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize("content", [b"junk", None])
def test_damage_on_the_way_leaves_nothing_behind(content, data, tmp_path, hub):
    push(saved(data, tmp_path / "model")[0], "me/notes")
    if content is None:
        del hub.repos["me/notes"]["text.onnx"]
    else:
        hub.repos["me/notes"]["text.onnx"] = content
    with pytest.raises(WeightsError, match=r"text\.onnx"):
        pull("me/notes", tmp_path / "pulled")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


def test_a_path_of_this_machine_does_not_go_there(data, tmp_path, hub):
    path, _ = saved(data, tmp_path / "model")
    described = json.loads((path / "model.json").read_text())
    described["audio"]["backbone"] = f"mert:{tmp_path}?layer=5"
    (path / "model.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match="only this machine has"):
        push(path, "me/notes")
    assert not hub.repos
