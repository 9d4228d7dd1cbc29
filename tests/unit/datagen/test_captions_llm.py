import json
from pathlib import Path
from typing import Any

import pytest

from solfa.datagen.captions.checks import Reading, read
from solfa.datagen.captions.llm import Captioner, estimate, facts
from solfa.llm import Endpoint

SONG = {"key": "F major", "tempo_bpm": 110.2, "tempo_marking": "moderato", "beats_per_bar": 4,
        "chords": ["A:min", "F:maj", "C:maj", "G:maj"], "genre": ["jazz"], "mood": ["sad"]}  # fmt: skip
GOOD = "A sad jazz piece in F major at 110 BPM, marked moderato, with 4 beats per bar, over the chords Am - F - C - G."


def said(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def captioned(text: str) -> bytes:
    return said(json.dumps({"caption": text}))


def asker(fake: Any, folder: Path, **options: Any) -> Captioner:
    return Captioner(Endpoint(url=fake.url, model="m", first_wait_s=0.01, timeout_s=5.0, **options), folder)


def test_a_good_answer_is_taken_cached_and_asked_for_in_an_order_of_the_seed(
    llm_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "secret-token")
    with llm_server(lambda body, n: (200, captioned(GOOD + "\x1b\n"))) as fake:
        first = asker(fake, tmp_path, key_env="A_KEY").caption(SONG, seed=1)
        again = asker(fake, tmp_path, key_env="A_KEY").caption(SONG, seed=1)
        orders = [asker(fake, tmp_path, key_env="A_KEY").caption(SONG, seed=s) for s in range(2, 5)]
    assert first.text == again.text == GOOD and all(o.text == GOOD for o in orders)
    assert len(fake.asked) == 4 and set(fake.keys) == {"Bearer secret-token"}
    rows = [json.loads(body["messages"][1]["content"]) for body in fake.asked]
    assert len({json.dumps(r) for r in rows}) > 1 and all(
        sorted(map(str, r)) == sorted(map(str, facts(SONG))) for r in rows
    )
    assert not any(b"secret-token" in p.read_bytes() for p in tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("Sure! Here is a caption: jazz.", "malformed"),
        ('{"caption": 3}', "malformed"),
        ('{"caption": "x"', "malformed"),
        ('{"text": "x", "more": {"caption": 3}}', "malformed"),
        ("<think>" + "{" * 5000, "malformed"),
        (json.dumps({"caption": GOOD.replace(" at 110", " in a very fast tempo of 110")}), "invented"),
        (json.dumps({"caption": GOOD.replace("piece", "piece recorded live in 1969 by the Beatles")}), "invented"),
        (json.dumps({"caption": GOOD.replace("piece", "piece without drums")}), "invented"),
        (json.dumps({"caption": GOOD.replace("piece", "piece from London")}), "invented"),
        (json.dumps({"caption": GOOD.replace("piece", "slow piece")}), "invented"),
        ("[" * 10_000, "malformed"),
        (json.dumps({"caption": ""}), "empty"),
        (json.dumps({"caption": GOOD.replace("F major", "G major")}), "false"),
        (json.dumps({"caption": GOOD.replace("sad ", "")}), "missing"),
        (json.dumps({"caption": GOOD.replace("piece", "piece with violin")}), "false"),
        (json.dumps({"caption": GOOD + " It is nice."}), "sentences"),
        (json.dumps({"caption": GOOD.replace("sad", "beautiful sad")}), "subjective"),
        (json.dumps({"caption": GOOD.replace("piece", "<b>piece</b>")}), "markup"),
        (json.dumps({"caption": GOOD.replace("piece", "пьеса")}), "wrong_script"),
        (json.dumps({"caption": GOOD + " and" * 200}), "too_long"),
    ],
)
def test_nonsense_is_rejected_by_name_after_two_attempts_and_never_replaced(
    content: str, rule: str, llm_server: Any, tmp_path: Path
) -> None:
    with llm_server(lambda body, n: (200, said(content))) as fake:
        answer = asker(fake, tmp_path).caption(SONG, seed=0)
        assert answer.text == "" and rule in answer.rejected
        assert len(fake.asked) == 2


@pytest.mark.parametrize(
    "content",
    [
        "```json\n" + json.dumps({"caption": GOOD}) + "\n```",
        '<think>Perhaps {"caption": "no"}? {{{</think>\n' + json.dumps({"caption": GOOD, "confidence": 0.9}),
        "Here it is: " + json.dumps({"notes": [1, {}], "caption": GOOD}) + " Tell me if you need more.",
    ],
)
def test_fences_thinking_and_further_keys_are_passed_over(content: str, llm_server: Any, tmp_path: Path) -> None:
    with llm_server(lambda body, n: (200, said(content))) as fake:
        assert asker(fake, tmp_path).caption(SONG, seed=0).text == GOOD and len(fake.asked) == 1


def test_a_model_is_told_what_is_not_sure_and_must_hedge_it(llm_server: Any, tmp_path: Path) -> None:
    known = {"genre": ["jazz"], "some_chords": ["A:min", "F:maj"],
             "unsure": {"key": "A minor", "tempo_bpm": 93.0, "tempo_marking": "andante", "metre": "3/4"}}  # fmt: skip
    assert {"name": "some of the chords, in no order", "value": "Am, F"} in facts(known)
    unsure = [(f["name"], f["value"]) for f in facts(known) if f.get("sure") is False]
    assert unsure == [("tempo", "93 BPM"), ("metre", "3/4"), ("key", "A minor")]
    text = "A jazz piece with chords such as Am and F, probably in A minor, perhaps in 3/4 and probably at 93 BPM."
    for said_, rejected in {
        text: (), text.replace("probably in A", "in A"): ("false",), text.replace("perhaps ", ""): ("false",),
        text.replace("probably at ", "at "): ("false",), text.replace("and F", "and G"): ("false",),
        text.replace("93", "120"): ("false", "invented"),
    }.items():  # fmt: skip
        with llm_server(lambda body, n, said_=said_: (200, captioned(said_))) as fake:
            assert asker(fake, tmp_path / said_).caption(known, seed=0).rejected == rejected, said_


def test_the_gate_says_what_it_cannot_check() -> None:
    text = GOOD.replace("piece", "piece of shimmering nostalgia")
    assert read(text, SONG).unchecked == ("shimmering", "nostalgia") and not read(text, SONG).invented
    assert read(GOOD, SONG) == Reading()


def test_a_malformed_or_refused_answer_is_rejected_by_that_name(llm_server: Any, tmp_path: Path) -> None:
    with llm_server(lambda body, n: (200, captioned(GOOD + " " * 10_000_000))) as fake:
        assert asker(fake, tmp_path).caption(SONG, seed=0).rejected == ("malformed",)
    with llm_server(lambda body, n: (500, b"")) as fake:
        assert asker(fake, tmp_path, retries=0).caption(SONG, seed=0).rejected == ("refused",)
        assert len(fake.asked) == 1


def test_what_captions_take_is_estimated() -> None:
    expected = estimate([SONG, SONG], 3)
    assert expected.requests == 6 and 150 < expected.prompt_tokens / 6 < 600
    assert expected.cost(1.0, 2.0) == pytest.approx((expected.prompt_tokens + 2 * expected.completion_tokens) / 1e6)
