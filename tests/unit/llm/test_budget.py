import json
from pathlib import Path
from typing import Any

import pytest
import typer.main

from solfa.apps.cli import app, main
from solfa.core.errors import DryRun, SolfaError
from solfa.jobs import ThreadExecutor
from solfa.llm import BUDGET, Budget, Endpoint, ModelClient

HELLO = [{"role": "user", "content": "hello " * 20}]


def reply(body: dict[str, Any], n: int) -> tuple[int, bytes]:
    usage = {"prompt_tokens": 30, "completion_tokens": 10}
    return 200, json.dumps({"choices": [{"message": {"content": f"{n}"}}], "usage": usage}).encode()


def client(url: str, folder: Path, budget: Budget, **options: Any) -> ModelClient:
    return ModelClient(Endpoint(url=url, model="m", most_tokens=50, first_wait_s=0.01, **options), folder, budget)


def test_clients_share_a_limit_of_calls_and_kept_answers_cost_none(llm_server: Any, tmp_path: Path) -> None:
    budget = Budget(calls=2)
    with llm_server(reply) as fake:
        first, second = (client(fake.url, tmp_path, budget) for _ in range(2))
        first.text(HELLO, seed=1), second.text(HELLO, seed=2), first.text(HELLO, seed=2)
        with pytest.raises(SolfaError, match=r"2 of 2 calls.*--llm-calls"):
            first.text(HELLO, seed=3)
        assert len(fake.asked) == 2


def test_a_limit_of_tokens_is_never_passed_whatever_runs_at_once(llm_server: Any, tmp_path: Path) -> None:
    budget = Budget(tokens=300)  # a request may take 30 asked and 50 answered, and takes 40
    with llm_server(reply) as fake:
        asked = client(fake.url, tmp_path, budget)
        done = list(ThreadExecutor(8).map(lambda seed: asked.text(HELLO, seed=seed), range(20)))
        assert len(fake.asked) * 40 == budget.spent_tokens <= 300 and len(fake.asked) >= 3
        assert {getattr(result, "error", "") for result in done} == {"", "SolfaError"}


def test_attempts_that_fail_count_as_calls_but_take_no_tokens(llm_server: Any, tmp_path: Path) -> None:
    budget = Budget(calls=2)
    with llm_server(lambda body, n: (503, b"")) as fake, pytest.raises(SolfaError, match="2 of 2 calls"):
        client(fake.url, tmp_path, budget).text(HELLO)
    assert len(fake.asked) == 2 and budget.spent_tokens == 0


def test_a_dry_run_shows_the_prompt_from_any_thread_and_sends_nothing(llm_server: Any, tmp_path: Path) -> None:
    with llm_server(reply) as fake:
        asked = client(fake.url, tmp_path, Budget(dry_run=True))
        with pytest.raises(DryRun, match=r"(?s)--- user\nhello hello.*Nothing was sent.*80 tokens"):
            list(ThreadExecutor(4).map(lambda seed: asked.text(HELLO, seed=seed), range(9)))
        sound = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "A" * 9000}},
                                              {"type": "text", "text": "what is it?"}]}]  # fmt: skip
        with pytest.raises(DryRun, match="at most about 52 tokens") as shown:
            asked.text(sound)
        assert len(str(shown.value)) < 5000 and not fake.asked


def commands(group: Any) -> list[Any]:
    return [c for one in group.commands.values() for c in (commands(one) if hasattr(one, "commands") else [one])]


def test_every_command_that_asks_language_models_has_the_limits() -> None:
    with_model = [c for c in commands(typer.main.get_command(app)) if any(p.name == "llm_model" for p in c.params)]
    assert {"describe", "compare", "search", "similar", "caption", "scenes"} <= {c.name for c in with_model}
    for command in with_model:
        assert {"llm_calls", "llm_tokens", "llm_dry_run"} <= {p.name for p in command.params}, command.name


def test_the_limits_of_a_command_reach_its_clients(
    llm_server: Any, wav: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("calls", "tokens", "dry_run", "spent_calls", "spent_tokens"):  # set back in the end
        monkeypatch.setattr(BUDGET, name, 0)
    with llm_server(reply) as fake:
        given = ["describe", str(wav), "--llm", fake.url, "--llm-model", "m"]
        main(lambda: app([*given, "--llm-dry-run"]))
        assert "--- system\nYou read" in (said := capsys.readouterr().out) and said.count("\n") > 4
        with pytest.raises(SystemExit, match="2"):
            main(lambda: app([*given, "--llm-tokens", "7"]))
        assert "of 7 tokens" in capsys.readouterr().err and not fake.asked


@pytest.fixture
def wav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import numpy as np
    import soundfile

    monkeypatch.setenv("SOLFA_HOME", str(tmp_path / "home"))
    path = tmp_path / "tone.wav"
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 220 * np.arange(3 * 22050) / 22050), 22050)
    return path
