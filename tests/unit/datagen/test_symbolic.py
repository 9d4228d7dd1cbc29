"""Questions about notation: an ABC reader of the test's own finds in each question what its right option says."""

import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from solfa.apps.cli import app
from solfa.core.errors import InputError, UnknownName
from solfa.datagen.symbolic import MODES, TASKS, Choice, choices
from solfa.evaluation.multiple_choice import find_answer, read_items

NOTE = re.compile(r"([_=^])([A-Ga-g])('*)(,*)(\d+)|z(\d+)")
UNITS = {"4/4": 16, "3/4": 12, "2/4": 8, "5/4": 20, "6/8": 6, "9/8": 9, "12/8": 12, "7/8": 14}
STEPS = dict(zip("CDEFGAB", (0, 2, 4, 5, 7, 9, 11), strict=True))
INTERVALS = {3: "minor third", 4: "major third", 7: "perfect fifth", 12: "octave", 2: "major second", 1: "minor second"}


def bars(abc: str) -> list[tuple[str, list[int], list[int]]]:
    """Chord, MIDI pitches and lengths of each bar."""
    found = []
    for bar in abc.rstrip("|] \n").split("|"):
        chord = re.match(r'\s*"([^"]*)"', bar)
        text = bar[chord.end() :] if chord else bar
        assert not NOTE.sub("", text).strip(), text
        pitches, lengths = [], []
        for accidental, letter, up, down, length, _ in NOTE.findall(text):
            if letter:
                octave = 5 + letter.islower() + len(up) - len(down)
                pitches.append(12 * octave + STEPS[letter.upper()] + "_=^".index(accidental) - 1)
                lengths.append(int(length))
        found.append((chord[1] if chord else "", pitches, lengths))
        metre_units = sum(int(m[4] or 0) + int(m[5] or 0) for m in NOTE.findall(text))
        assert metre_units == UNITS_OF_BAR[0], (bar, metre_units)
    return found


UNITS_OF_BAR = [0]


def tune_of(text: str) -> list[tuple[str, list[int], list[int]]]:
    metre = re.findall(r"\nM:(\S+)", text)[-1]
    UNITS_OF_BAR[0] = UNITS[metre]
    return bars(re.split(r"\nK:\S+\n", text)[-1].splitlines()[0])


def right(choice: Choice) -> str:
    return choice.options[choice.order.index(0)]


MADE = list(choices(30, seed=3))


def test_the_tasks_take_turns_and_follow_from_the_seed() -> None:
    assert [c.task for c in MADE] == [*TASKS] * 6 and list(choices(30, seed=3)) == MADE
    assert MADE[0] == next(choices(1, seed=3)) and MADE[0] != next(choices(1, seed=4))
    assert all(sorted(c.order) == [0, 1, 2, 3] and len({*c.options}) == 4 for c in MADE)
    assert len({c.order.index(0) for c in MADE}) == 4


@pytest.mark.parametrize("choice", MADE, ids=lambda c: c.id)
def test_the_right_option_is_what_the_notation_says(choice: Choice) -> None:
    if choice.task == "theory":
        ((_, pitches, _), *_) = tune_of(choice.text)
        gap = next(abs(b - a) for a, b in pairwise(pitches) if a != b)
        assert INTERVALS.get(gap, right(choice)) == right(choice)
    elif choice.task == "motif":
        common = Counter(tuple(lengths) for _, _, lengths in tune_of(choice.text) if lengths).most_common()
        assert right(choice) == " ".join(map(str, common[0][0])) and common[0][1] > common[1][1]
    elif choice.task == "form":
        rows, long = tune_of(choice.text), int(re.findall(r"are (\d+) bars", choice.text)[-1])
        loops = [tuple(chord for chord, _, _ in rows[i : i + long]) for i in range(0, len(rows), long)]
        letters = "".join("ABCDEFG"[list(dict.fromkeys(loops)).index(loop)] for loop in loops)
        assert right(choice) == letters and len({len(option) for option in choice.options}) == 1
    elif choice.task == "harmony":
        assert len(tune_of(choice.text)) == 4 and all(option.count(" - ") == 3 for option in choice.options)
    else:
        metre = re.findall(r"\nM:(\S+)", choice.text)[-1]
        UNITS_OF_BAR[0] = UNITS[metre]
        first, *others = (bars(option) for option in choice.options)
        moved = {b[1][0] - a[1][0] for other in others for a, b in zip(first, other, strict=True)}
        assert len(moved) == 3 and 0 not in moved  # the same tune on other pitches


def test_most_notes_of_a_tune_fit_the_chords_that_are_right() -> None:
    """Of all harmony questions together: the right row has more of the notes that begin a bar than the others have."""
    roots = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
    hits = Counter[bool]()
    for choice in choices(150, seed=9):
        if choice.task == "harmony":
            starts = [pitches[0] % 12 for _, pitches, _ in tune_of(choice.text)]
            for option, order in zip(choice.options, choice.order, strict=True):
                for start, name in zip(starts, option.split(" - "), strict=True):
                    if name[0] in roots:
                        root = (roots[name[0]] + name[1:2].count("#") - name[1:2].count("b")) % 12
                        hits[order == 0] += (start - root) % 12 in (0, 3, 4, 7)
    assert hits[True] > 1.3 * hits[False] / 3


def test_prompts_of_each_mode() -> None:
    by_mode = {mode: list(choices(5, mode=mode)) for mode in MODES}
    assert all([c.options for c in made] == [c.options for c in by_mode["default"]] for made in by_mode.values())
    for plain, thought, shown in zip(*by_mode.values(), strict=True):
        assert "Example" not in plain.text and '"reason"' in thought.text and "letter" in plain.text
        example, _, question = shown.text.partition("\n\n")
        assert re.search(r"Choices: \(A\) .*\nAnswer: [A-D]$", example) and question.startswith(plain.text[:20])
    with pytest.raises(UnknownName, match="chain-of-thought"):
        next(choices(1, mode="aloud"))
    with pytest.raises(InputError, match="1 or more"):
        next(choices(0))


def test_a_model_is_asked_and_scored_without_sound(
    llm_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOLFA_HOME", str(tmp_path / "home"))
    file, report = tmp_path / "items.json", tmp_path / "report.json"
    made = CliRunner().invoke(app, ["data", "symbolic", str(file), "--count", "10", "--mode", "chain-of-thought"])
    assert made.exit_code == 0, made.output
    items = read_items(file)
    letters = {item.question: "ABCD"[item.answer_orders.index(0)] for item in items}
    assert [i.knowledge for i in items] == [(t,) for t in TASKS] * 2 and "CC0" in items[0].dataset

    def reply(body: dict[str, Any], n: int) -> tuple[int, bytes]:
        asked = body["messages"][-1]["content"]
        letter = next(letter for question, letter in letters.items() if question in asked)
        said = json.dumps({"reason": "A dominant; D is tempting.", "answer": letter})
        assert find_answer(said, ["one", "two", "three", "four"]) == "ABCD".index(letter)
        return 200, json.dumps({"choices": [{"message": {"content": said}}]}).encode()

    with llm_server(reply) as fake:
        given = ["eval", "qa", str(file), "--system", fake.url, "--llm-model", "m", "--out", str(report)]
        done = CliRunner().invoke(app, given)
        assert done.exit_code == 0, done.output
        assert len(fake.asked) == 10  # answers are kept: each question is asked once
    metrics = json.loads(report.read_text())["metrics"]
    assert metrics["accuracy"]["value"] == 1.0 and metrics["unanswered"]["value"] == 0.0
    assert {f"knowledge {task}" for task in TASKS} <= set(metrics)
