"""Multiple choice: letters in words, items from exact truth, scores beside blind systems."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from solfa.core.annotation import MusicAnnotation
from solfa.core.clip import Clip
from solfa.core.errors import InputError
from solfa.core.intervals import Segment
from solfa.evaluation.multiple_choice import KINDS, Item, document, evaluate, find_answer, make_items, read_items

KEYS = ("D minor", "A minor", "C major", "B major")
PLAYED = ("piano", "electric guitar", "guitar", "drums")
CHORDS = ("C - F - G - C", "D - A - B - G", "Am - F - C - G", "E - B - A - D")


@pytest.mark.parametrize(
    ("output", "options", "chosen"),
    [
        ("(B)", KEYS, 1), ("B", KEYS, 1), ("b)", KEYS, 1), ("B.", KEYS, 1), ("B) A minor", KEYS, 1), ("**D**", KEYS, 3),
        ('{"answer": "C"}', KEYS, 2), ("<answer>C</answer>", KEYS, 2), ("Final answer: \\boxed{B}", KEYS, 1),
        ("The answer is D, not A.", KEYS, 3), ("It is B because of the mood", KEYS, 1), ("My choice: C", KEYS, 2),
        ("Both A and D are possible", KEYS, None), ("A, B, C and D", KEYS, None), ("I don't know", KEYS, None),
        ("(A) is wrong, (C) fits", KEYS, 2), ("It is not (A). It is (B).", KEYS, 1), ("It can't be A so B", KEYS, 1),
        ("The key is D minor, so the answer is A.", KEYS, 0), ("the answer is A minor", KEYS, 1),
        ("A calm piece in C major.", KEYS, 2), ("The piece is in D.", KEYS, None), ("C# is the tonic", KEYS, None),
        ("A piano is playing", PLAYED, 0), ("An electric guitar plays.", PLAYED, 1), ("Bad Drumming", PLAYED, None),
        ("A guitar and drums", PLAYED, None), ("(B) piano", PLAYED, None), ("answer is a piano", PLAYED, 0),
        ("(A) piano (B) electric guitar (C) guitar (D) drums\n The correct answer is: (D)", PLAYED, 3),
        ("D\n\nBecause a drum kit plays and A piano does not", PLAYED, 3), ("the chords C, F and G", PLAYED, None),
        ("The answer is C - F - G - C", CHORDS, 0), ("The answer is C", CHORDS, 2), ("", CHORDS, None),
    ],
)  # fmt: skip
def test_letters_count_as_words(output: str, options: tuple[str, ...], chosen: int | None) -> None:
    assert find_answer(output, options) == chosen


def clips(count: int = 12) -> list[Clip]:
    truth = MusicAnnotation(duration_s=60.0, instruments=(Segment(0, 60, "piano"), Segment(20.0, 60, "cello")))
    return [
        Clip(
            id=f"c{n}", audio=Path(f"/x/c{n}.flac"), duration_s=60.0, source="s", licence="CC0", split="test",
            attributes={"key": "D minor", "tempo_bpm": 90.0 + n, "metre": "3/4", "instruments": ["piano", "cello"],
                        "chords": ["D:min", "G:min", "A:7", "D:min", "F:maj"]},
            annotation=truth,
        )
        for n in range(count)
    ]  # fmt: skip


def test_items_from_truth_have_each_kind_of_option() -> None:
    items = list(make_items(clips(), seed=3))
    assert {i.knowledge[0] for i in items} == {"key", "tempo", "metre", "instruments", "entrance", "chords"}
    assert items == list(make_items(clips(), seed=3)) != list(make_items(clips(), seed=4))
    assert len(Counter(i.answer_orders.index(0) for i in items)) == 4  # the right one is anywhere
    true = {"D minor", "3/4", "piano", "cello", "0:20", "Dm - Gm - A7 - Dm"}
    for item in items:
        by_kind = {KINDS[kind]: text for kind, text in zip(item.answer_orders, item.answers, strict=True)}
        own = true | {f"{90 + int(item.id[1:].split('-')[0])} BPM"}
        assert by_kind["right"] in own and by_kind["correct but unrelated"] in own
        assert by_kind["incorrect but related"] not in own and by_kind["incorrect and unrelated"] not in own


def test_items_are_read_as_they_were_written(tmp_path: Path) -> None:
    items = tuple(make_items(clips(2), dataset="d"))
    path = tmp_path / "items.json"
    path.write_text(document(items))
    assert read_items(path) == items
    row = {  # as MuChoMusic writes it, with an example before the question
        "id": 7, "prompt": " Question: Q0\n Options: (A) x (B) y \n The correct answer is: (A) \n Question: What plays?"
        "\n Options: (A) drums (B) piano \n The correct answer is: ", "answers": ["drums", "piano"],
        "answer_orders": [1, 0], "dataset": "sdd", "genre": "jazz", "reasoning": [], "knowledge": ["instrumentation"],
        "audio_path": "a.mp3", "model_output": "B",
    }  # fmt: skip
    path.write_text(json.dumps([row]))
    (item,) = read_items(path)
    assert item.question == "What plays?" and item.answer_orders.index(0) == 1 and item.model_output == "B"


@pytest.mark.parametrize(
    "bad",
    ["", "[]", "{}", "[1]", '[{"prompt": "x"}]', '[{"prompt": 3, "answers": ["a", "b"], "answer_orders": [0, 1]}]',
     '[{"prompt": "Question: x", "answers": ["a", "b"], "answer_orders": [1, 1]}]',
     '[{"prompt": "Question: x", "answers": ["a", ""], "answer_orders": [0, 1]}]',
     '[{"prompt": "Question: x", "answers": "ab", "answer_orders": [0, 1]}]',
     '[{"prompt": "Question: x", "answers": ["a", "b"], "answer_orders": [0, "x"]}]'],
)  # fmt: skip
def test_a_file_of_another_shape_is_refused(bad: str, tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    path.write_text(bad)
    with pytest.raises(InputError):
        read_items(path)
    with pytest.raises(InputError, match="No such file"):
        read_items(tmp_path / "none.json")


def test_scores_stand_beside_blind_systems() -> None:
    items = list(make_items(clips()))

    def system(item: Item, sound: Item | None) -> int | None:  # right from its own sound, else nothing
        return item.answer_orders.index(0) if sound and sound.audio_path == item.audio_path else None

    report = evaluate(items, system, model="m", data="d")
    assert report.metrics["accuracy"].value == report.metrics["knowledge key"].value == 1.0
    blind: dict[str, Any] = report.details["blind"]
    assert blind["mismatched"]["accuracy"]["value"] == blind["text-only"]["accuracy"]["value"] == 0.0
    assert blind["text-only"]["unanswered"]["value"] == 1.0
    assert 0.1 < blind["random"]["accuracy"]["value"] < 0.45
    assert 0.25 <= blind["constant letter"]["accuracy"]["value"] < 0.5
    assert report.num_items == 12 and report.details["chosen"] == {"right": len(items)}


def test_outputs_of_a_file_are_scored() -> None:
    items = [Item(id=f"{n}", question="Q", answers=PLAYED, answer_orders=(0, 1, 2, 3), model_output=said, genre="jazz")
             for n, said in enumerate(("A", "B because", "no idea", None))]  # fmt: skip
    report = evaluate(items, None, model="m", data="d")
    assert report.metrics["accuracy"].value == report.metrics["genre jazz"].value == 0.25
    assert report.metrics["unanswered"].value == 0.5
    assert report.details["chosen"] == {"right": 1, "incorrect but related": 1}
    with pytest.raises(InputError):
        evaluate([items[3]], None, model="m", data="d")
