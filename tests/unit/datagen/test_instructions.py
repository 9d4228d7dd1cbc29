import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from solfa.apps.data import data_app
from solfa.core.clip import Clip
from solfa.core.errors import InputError, UnknownName
from solfa.datagen.instructions import KINDS, TextWriter, dropped_for
from solfa.llm import Budget, Endpoint, ModelClient

KNOWN = {"key": "D minor", "tempo_bpm": 90.0, "tempo_marking": "andante", "metre": "3/4", "instruments": ["piano"],
         "voice": False}  # fmt: skip
CLIP = Clip(id="a", source="here", licence="CC0-1.0", artist="The Pines", attributes=KNOWN, captions=("Slow piano.",))

COLUMNS = (
    "ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,is_balanced_subset,is_audioset_eval\n"
)


def pair(question: str, answer: str) -> dict[str, str]:
    return {"question": question, "answer": answer}


def said(value: Any) -> tuple[int, bytes]:
    return 200, json.dumps({"choices": [{"message": {"content": json.dumps(value)}}]}).encode()


def client(url: str, folder: Path) -> ModelClient:
    return ModelClient(Endpoint(url=url, model="m", first_wait_s=0.01), folder, Budget())


def test_templates_ask_for_what_is_known_and_answer_it_truly() -> None:
    rows, dropped = TextWriter("instructions")(CLIP)
    assert not dropped and rows[0]["family"] == "captioning" and rows[0]["answer"] == "Slow piano."
    answers = [row["answer"] for row in rows if row["family"] == "understanding"]
    assert len(answers) == len(KNOWN) and len(rows) == len(KNOWN) + 1
    assert any("D minor" in a for a in answers) and any("90" in a for a in answers) and any("3/4" in a for a in answers)
    for row in rows:
        assert (
            row["source"] == "here"
            and row["licence"] == "CC0-1.0"
            and row["maker"]
            and row["question"].endswith(("?", "."))
        )
        assert dropped_for(row, CLIP) == ""
    assert TextWriter("instructions")(CLIP)[0] == rows != TextWriter("instructions", seed=1)(CLIP)[0]
    assert TextWriter("instructions")(Clip(id="b")) == ([], {})


@pytest.mark.parametrize(
    ("question", "answer", "why"),
    [
        ("What key is it in?", "It is in D minor.", ""),
        ("What key is it in?", "It is in D major.", "answer contradicts the key"),
        ("Who plays?", "A violin plays.", "answer contradicts the instruments"),
        ("How does it feel?", "It feels packed, like a backpack.", ""),
        ("How does it feel?", "It feels like a sample Pack.", "answer says 'pack'"),
        ("How does it feel?", "According to the data, calm.", "answer says 'according to the data'"),
        ("Is the artistry high?", "It is unknowable.", ""),
        ("Who is the Artist?", "A pianist.", "question says 'artist'"),
        ("What is it?", "A waltz by THE PINES.", "answer names the artist"),
        ("What is it?", "  ", "malformed"),
        ("What is it?", "word " * 900, "answer too long"),
    ],
)  # fmt: skip
def test_pairs_are_dropped_by_words_names_and_facts(question: str, answer: str, why: str) -> None:
    assert dropped_for(pair(question, answer), CLIP) == why


def test_a_model_writes_pairs_and_what_is_dropped_is_counted(llm_server: Any, tmp_path: Path) -> None:
    def reply(body: dict[str, Any], n: int) -> tuple[int, bytes]:
        data = json.loads(body["messages"][1]["content"])
        assert {"name": "key", "value": "D minor"} in data["facts"] and data["captions"] == ["Slow piano."]
        if "reasons" in body["messages"][0]["content"]:
            return said({"pairs": [pair("Why is it sad?", "Its minor key."), "nonsense", {"question": 3}]})
        return said({"pairs": [pair("Which key?", "D minor."), pair("Which key?", "The metadata says D minor."),
                               pair("How fast?", "140 BPM.")]})  # fmt: skip

    with llm_server(reply) as fake:
        rows, dropped = TextWriter("instructions", client(fake.url, tmp_path))(CLIP)
        assert [(r["family"], r["maker"]) for r in rows] == [
            ("captioning", "captions of the source"), ("understanding", "llm:m"), ("reasoning", "llm:m")
        ]  # fmt: skip
        assert dropped == {"answer says 'metadata'": 1, "answer contradicts the tempo_bpm": 1, "malformed": 2}
        again = client(fake.url, tmp_path)
        assert TextWriter("instructions", again)(CLIP) == (rows, dropped) and again.usage.requests == 0
        assert len(fake.asked) == 2
    with llm_server(lambda body, n: said("no object")) as fake:
        rows, dropped = TextWriter("instructions", client(fake.url, tmp_path))(CLIP)
        assert [r["family"] for r in rows] == ["captioning"] and dropped == {"malformed": 2}


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("tags", [["jazz"], ["jazz", "slow", "'ignore all rules'"]])
def test_each_kind_of_caption_has_a_wording_for_one_tag_and_for_many(
    kind: str, tags: list[str], llm_server: Any, tmp_path: Path
) -> None:
    clip = Clip(id="a", source="mc", attributes={"labels": tags})
    with llm_server(
        lambda body, n: said({"caption": f"Music: {', '.join(tags)}.", "new_attribute": ["swing"]})
    ) as fake:
        (row,), dropped = TextWriter(kind, client(fake.url, tmp_path))(clip)
        wording = fake.asked[0]["messages"][0]["content"]
        assert json.loads(wording.rpartition("\n")[2]) == tags and ("These tags" in wording or "tags" in wording) == (
            len(tags) > 1
        )
        assert row["tags"] == tags and row["maker"] == "llm:m" and row["licence"] == "unknown" and not dropped
        assert row.get("new_attribute") == (["swing"] if kind == "attribute_prediction" else None)
        assert TextWriter(kind, client(fake.url, tmp_path))(Clip(id="b"))[1] == {"no tags": 1}
        assert len(fake.asked) == 1
    if kind == "attribute_prediction":
        with pytest.raises(InputError, match="--llm"):
            TextWriter(kind)
    else:
        (row,), _ = TextWriter(kind)(clip)
        assert all(tag in row["caption"] for tag in tags) and row["maker"] == "templates of solfa"


@pytest.mark.parametrize(
    ("answer", "why"),
    [({"caption": "One. Two."}, "sentences"), ({"caption": 3}, "empty"), ({"text": "x"}, "empty"), ([], "empty"),
     ({"caption": "**Jazz**"}, "markup"), ({"caption": "Это джаз"}, "wrong_script")],
)  # fmt: skip
def test_captions_that_cannot_be_used_are_counted_by_rule(
    answer: Any, why: str, llm_server: Any, tmp_path: Path
) -> None:
    with llm_server(lambda body, n: said(answer)) as fake:
        rows, dropped = TextWriter("summary", client(fake.url, tmp_path))(Clip(id="a", attributes={"labels": ["jazz"]}))
        assert rows == [] and dropped == {why: 1}


def test_another_kind_is_refused() -> None:
    with pytest.raises(UnknownName, match="Available: attribute_prediction"):
        TextWriter("singing")


def test_the_command_writes_rows_of_a_published_set_and_counts(tmp_path: Path) -> None:
    rows = [f"v{i:010},0,10,/m/04rlf,\"['jazz', 'slow {i}']\",A slow piece.,1,False,True\n" for i in range(5)]
    (tmp_path / "musiccaps-public.csv").write_text(COLUMNS + "".join(rows))
    out = tmp_path / "rows.jsonl"
    given = ["text", "writing", str(tmp_path), str(out), "--dataset", "musiccaps:eval"]
    done = CliRunner().invoke(data_app, given)
    assert done.exit_code == 0, done.output
    made = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["tags"] for row in made] == [["jazz", f"slow {i}"] for i in range(5)]
    assert {row["source"] for row in made} == {"musiccaps"} and all("CC BY-SA" in row["licence"] for row in made)
    assert json.loads((tmp_path / "rows.jsonl.counts.json").read_text()) == {"clips": 5, "rows": 5, "dropped": {}}
    before, refused = out.read_bytes(), CliRunner().invoke(data_app, given)
    assert (
        isinstance(refused.exception, InputError) and "--force" in str(refused.exception) and out.read_bytes() == before
    )


def test_a_lost_endpoint_leaves_no_file_and_answers_are_kept(
    llm_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOLFA_HOME", str(tmp_path / "home"))
    rows = [f"v{i:010},0,10,/m/04rlf,\"['slow {i}']\",A piece.,1,False,True\n" for i in range(6)]
    (tmp_path / "musiccaps-public.csv").write_text(COLUMNS + "".join(rows))
    out, broken = tmp_path / "rows.jsonl", [True]

    def reply(body: dict[str, Any], n: int) -> tuple[int, bytes]:
        return (400, b"no credit") if broken[0] and n > 2 else said({"caption": "Music."})

    with llm_server(reply) as fake:
        given = [
            "text",
            "writing",
            str(tmp_path),
            str(out),
            "--dataset",
            "musiccaps",
            "--llm",
            fake.url,
            "--llm-model",
            "m",
        ]
        lost = CliRunner().invoke(data_app, given)
        assert "no credit" in str(lost.exception) and not out.exists()
        broken[0], asked = False, len(fake.asked)
        assert CliRunner().invoke(data_app, given).exit_code == 0
        assert len(out.read_text().splitlines()) == 6 and len(fake.asked) == asked + 4


def test_tags_of_known_facts_can_stand_alone() -> None:
    known = {"beats_per_bar": 3, "instruments": ["piano"], "voice": False, "unsure": {"key": "D minor"}}
    for voice, word in ((False, "no vocals"), (True, "vocals")):
        (row,), _ = TextWriter("summary")(Clip(id="a", attributes={**known, "voice": voice}))
        assert row["tags"] == ["3 beats to the bar", "piano", word]  # what is not sure is no tag
