from pathlib import Path

import pytest
from typer.testing import CliRunner

from solfa.apps.cli import app
from solfa.apps.config import defaults
from solfa.core.errors import InputError


def run(path: Path, *arguments: str, **environment: str) -> tuple[int, str, BaseException | None]:
    done = CliRunner().invoke(app, arguments, env={"SOLFA_CONFIG": str(path), "SOLFA_COLLECTION": None, **environment})
    return done.exit_code, done.output, done.exception


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_the_command_line_goes_before_the_environment_before_the_file(config: Path, tmp_path: Path) -> None:
    config.write_text('collection = "here"\n')
    assert f"collection: {tmp_path / 'here'}" in run(config, "config")[1]  # beside the file, wherever it is called
    assert "collection: there" in run(config, "config", SOLFA_COLLECTION="there")[1]
    assert "collection: flag" in run(config, "config", "--collection", "flag", SOLFA_COLLECTION="there")[1]
    config.unlink()
    assert "not found" in run(config, "config")[1]


def test_keys_are_options_and_tables_commands(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    config.write_text('model = "bridge"\nk = 3\n[search]\nk = 20\nwhere = ["voice=no"]\n[train.figma]\nseed = 5\n')
    root = typer.main.get_command(app)
    with root.make_context("solfa", ["config"]) as ctx:
        found = defaults(root, ctx, config)
    assert found["search"] == {"model": "bridge", "k": 20, "where": ["voice=no"]}
    assert found["similar"]["k"] == 3 and found["train"]["figma"]["seed"] == 5 and "k" not in found["index"]


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("k = 3\nkk = 4\n", "toml, kk", "'kk'"), ("[search]\n\nkk = 4\n", "[search], kk", "'kk'"),
        ("[serch]\nk = 4\n", "[serch]", "serch"), ("[search]\nk = 'two'\n", "[search], k", "k = 'two'"),
        ("[search]\nk = '2'\n", "[search], k", "number"), ("[search]\nk = 0\n", "[search], k", "k = 0"),
        ("[search]\nduplicates = 1\n", "[search], duplicates", "true or false"),
        ("[search]\nwhere = 'a=b'\n", "[search], where", "list"), ("k = [1]\n", "toml, k", "k = [1]"),
        ("model = 5\n", "toml, model", "quotes"), ("[index]\nworkers = true\n", "[index], workers", "truth"),
        ("[eval]\nseed = 1\n", "[eval], seed", "seed"), ("k = \n", "line 1", "TOML"),
        ("[search]\nforce = true\n", "[search], force", "force"), ("[search]\nby = 'magic'\n", "[search], by", "magic"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_table_and_key(config: Path, text: str, where: str, said: str) -> None:
    config.write_text(text)
    error = run(config, "config")[2]
    assert isinstance(error, InputError)
    assert where in str(error) and said in str(error) and "\n" not in str(error)


def test_no_terminal_no_session(config: Path) -> None:
    code, out, _ = run(config)
    assert code == 2 and "Usage" in out


def test_the_shell_completes_fields_orders_and_options(config: Path) -> None:
    def complete(line: str) -> set[str]:
        words = {"_SOLFA_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
        return set(
            CliRunner().invoke(app, [], prog_name="solfa", env={"SOLFA_CONFIG": str(config), **words}).output.split()
        )

    assert complete("solfa search --where t") == {"tempo_bpm", "title", "tag_tempo_bpm", "tag_key"}
    assert complete("solfa search --sort t") == {"tempo", "title"}
    assert "bridge" in complete("solfa search --model b")
    assert "--page" in complete("solfa similar --p")
