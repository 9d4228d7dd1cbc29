"""The pages are read: links lead somewhere, commands exist, code runs, every model and tool has its line."""

import doctest
import importlib
import re
from pathlib import Path

import pytest
import typer

import solfa
from fakes.files import write_audio
from fakes.synth import song
from solfa.analysis.registry import extractor_specs
from solfa.apps.cli import app
from solfa.encoders.registry import available
from solfa.weights import models, pulled

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
SOURCE = ROOT / "src"
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py") if ">>>" in path.read_text(encoding="utf-8")
)  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_command_is_in_the_readme_and_has_help() -> None:
    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert f"`{name}" in README or f"solfa {name}" in README, f"the README does not name {name!r}"
        assert command.help or getattr(command, "commands", None), f"{name} has no help"


def test_every_room_is_in_the_readme() -> None:
    for room in (ROOT / "src" / "solfa").iterdir():
        if (room / "__init__.py").exists():
            assert f"`src/solfa/{room.name}`" in README


def test_every_model_and_tool_is_described() -> None:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    names = [*(i.name for i in available()), *(i.name for i in models()), *(s.name for s in extractor_specs())]
    missing = [name for name in names if f"`{name}`" not in text]
    assert not missing


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_the_public_names_are_those_that_are_documented() -> None:
    documented = "Client Collection Session analyze index load_model parse search summaries summarize"
    assert set(solfa.__all__) == {"__version__", *documented.split()}
    for name in solfa.__all__:
        assert getattr(solfa, name)


def test_the_readme_s_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not pulled("minilm"):
        pytest.skip("the default model's text tower is not here: solfa models pull")
    made = song("D:maj G:maj A:7 D:maj", tempo_bpm=90, beats_per_bar=3, bars=10)
    (tmp_path / "songs").mkdir()
    write_audio(tmp_path / "songs" / "waltz.wav", made.audio.samples, made.audio.sample_rate_hz)
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    said: list[tuple[object, ...]] = []
    exec(code, {"print": lambda *values: said.append(values)})
    assert "waltz.wav" in str(said[0][0])
    assert said[1][0] == pytest.approx(90, rel=0.03) and said[1][1] == "D major"
