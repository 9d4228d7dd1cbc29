"""Hits in the order of a judge, and two tracks side by side: from Python and from the command line."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from given import analysis, collection_of
from test_judge import CHASE, NOCTURNE
from test_llm_judge import claim, said
from typer.testing import CliRunner, Result

from solfa.apps.cli import app
from solfa.collection import Collection
from solfa.core.errors import InputError, SolfaError, UnknownName
from solfa.core.types import FileTags
from solfa.query import Query
from solfa.relevance import Ranking, RuleJudge, TrackSummary, summarize, to_json
from solfa.relevance.rerank import BUDGET_MS, MOST, rerank, stages_ms
from solfa.retrieval import Hit, Results

CALM = analysis({"piano": 0.9, "calm": 0.9, "soft": 0.8, "voice": 0.02}, tempo_bpm=(66.0, 0.9), key=("F major", 0.9),
                metre=("3/4", 0.9), loudness_lufs=(-26.0, 1.0))  # fmt: skip
WILD = analysis({"brass": 0.9, "drums": 0.9, "exciting": 0.9, "soundtrack": 0.8, "voice": 0.02}, tempo_bpm=(132.0, 0.9),
                key=("D minor", 0.9), metre=("4/4", 0.9), loudness_lufs=(-7.0, 1.0))  # fmt: skip
UNKNOWN = analysis({"voice": 0.4}, tempo_bpm=(100.0, 0.2), key=("C major", 0.1))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music") / "c"
    collection_of(folder, [WILD, UNKNOWN, CALM], [FileTags(title=name) for name in ("wild", "unknown", "calm")]).close()
    return folder


@pytest.fixture
def opened(place: Path) -> Iterator[Collection]:
    with Collection.open(place) as collection:
        yield collection


def results_of(*scores: float, track_ids: tuple[int, ...] = (1, 2, 3)) -> Results:
    hits = tuple(
        Hit(
            track_id=i,
            path=Path(f"{i}.wav"),
            score=score,
            start_s=0,
            end_s=1,
            duration_s=9,
            tags=FileTags(),
            evidence=(),
        )
        for i, score in zip(track_ids, scores, strict=True)
    )
    timing = {"text": 3.0, "vectors": 1.0, "evidence": 2.0, "total": 7.0}
    return Results(query=Query(text="x"), parsed=(), hits=hits, candidates=3, timing_ms=timing)


def ids(results: Results) -> list[int]:
    return [hit.track_id for hit in results.hits]


def test_the_same_hits_have_another_order_for_another_context(opened: Collection) -> None:
    hits = results_of(0.6, 0.6, 0.6)
    reading, chase = (
        rerank(opened, hits, text, RuleJudge()) for text in ("late-night reading", "a spy chase in a film")
    )
    assert ids(reading) == [3, 2, 1] and ids(chase) == [1, 2, 3]
    [line] = reading.parsed
    assert "'late-night reading'" in line and "those of the search" in line
    assert chase.parsed == ()  # its order is that of the search
    evidence = {e.measured: e for e in chase.hits[0].evidence}
    assert evidence["energy level very high"].satisfied and evidence["energy level very high"].asked == "fits 'chase'"
    assert evidence["mood exciting"].confidence == 0.9 and {e.constraint for e in evidence.values()} == {"for"}
    assert chase.hits[1].evidence == () and any(e.satisfied is False for e in chase.hits[2].evidence)


def test_hits_that_fit_the_query_much_less_stay_behind(opened: Collection) -> None:
    assert ids(rerank(opened, results_of(0.9, 0.5, 0.4), "late-night reading", RuleJudge())) == [2, 1, 3]


class Counting:
    """Counts what it is asked; the last come first."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def listwise(self, context: str, summaries: Mapping[str, TrackSummary]) -> Ranking:
        self.asked.append([*summaries])
        return Ranking(order=tuple(reversed(summaries)), claims={}, notes=("a note",))

    pairwise = compare = None


def test_a_judge_is_asked_once_about_the_first_hits(tmp_path: Path) -> None:
    judge: Any = Counting()
    with collection_of(tmp_path / "c", [UNKNOWN] * (MOST + 7)) as collection:
        every = tuple(range(1, MOST + 8))
        found = rerank(collection, results_of(*[0.5] * len(every), track_ids=every), "reading", judge)
    assert judge.asked == [[str(i) for i in every[:MOST]]] and found.note == "a note"
    assert ids(found) == [*reversed(every[:MOST]), *every[MOST:]]


def test_tracks_without_a_made_summary_follow_and_are_counted(opened: Collection) -> None:
    found = rerank(opened, results_of(0.6, 0.6, 0.6), "late-night reading", RuleJudge(), {2: CHASE, 3: NOCTURNE})
    assert ids(found) == [3, 2, 1] and found.note.startswith("without a summary")
    judge: Any = Counting()
    assert ids(rerank(opened, results_of(0.6, 0.6, 0.6), "reading", judge, {})) == [1, 2, 3] and not judge.asked
    assert rerank(opened, results_of(track_ids=()), "reading", judge).hits == () and not judge.asked


def test_stages_are_counted_beside_the_published_budget(opened: Collection) -> None:
    timing = rerank(opened, results_of(0.6, 0.6, 0.6), "late-night reading", RuleJudge()).timing_ms
    stages = stages_ms(timing)
    assert list(stages) == list(BUDGET_MS) and stages["embedding"] == 3.0 and stages["candidates"] == pytest.approx(2.0)
    assert timing["total"] == pytest.approx(7.0 + stages["summaries"] + stages["rerank"])


# --- the command line ------------------------------------------------------------------------------------------------


def run(*arguments: str, place: Path, fails: bool = False) -> Result:
    return CliRunner().invoke(app, [*arguments, "--collection", str(place)], catch_exceptions=fails)


SEARCH = ("search", "--where", "duration_s=1..1000")


def test_search_for_a_context(place: Path) -> None:
    found = json.loads(run(*SEARCH, "--for", "late-night reading by my aquarium", "--json", place=place).stdout)
    assert [h["tags"]["title"] for h in found["hits"]] == ["calm", "unknown", "wild"]
    assert found["note"] == "not understood: aquarium" and {"summaries", "rerank"} <= found["timing_ms"].keys()
    page = json.loads(run(*SEARCH, "--for", "chase", "-k", "1", "--page", "2", "--json", place=place).stdout)
    assert [h["tags"]["title"] for h in page["hits"]] == ["unknown"] and page["before"] == 1
    beyond = run(*SEARCH, "--for", "chase", "--page", "9", place=place).stdout
    assert "No page 9: 3 hits." in beyond
    shown = run(*SEARCH, "--for", "a spy chase", "--explain", place=place).stdout
    assert "✓ fits 'chase': energy level very high" in shown and "of 500" in shown
    assert "ordered for 'reading', and not by the scores" in run(*SEARCH, "--for", "reading", place=place).stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--rerank", "rules"), "what the music is for"),
        (("--for", "  ", "--rerank", "rules"), "what the music is for"),
        (("--for", "reading", "--rerank", "gpt"), "not a judge: 'gpt'"),
        (("--for", "reading", "--rerank", "http://127.0.0.1:9/v1"), "--llm-model"),
        (("--for", "reading", "--rerank", "llm", "--llm-model", "m"), "SOLFA_LLM_URL"),
        (("--for", "reading", "--rerank", "ftp://h/v1", "--llm-model", "m"), "endpoint"),
        (("--for", "reading", "--sort", "tempo"), "two orders"),
        (("--for", "x" * 200_000), "characters"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(options: tuple[str, ...], said: str, place: Path) -> None:
    with pytest.raises(InputError, match=said):
        run(*SEARCH, *options, place=place)


def test_search_judges_by_the_kept_summaries_of_a_model(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOLFA_HOME", str(tmp_path))
    for i, summary in ((0, summarize(WILD)), (2, summarize(CALM))):
        file = tmp_path / "summaries" / f"{i:040x}" / "0.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(to_json(replace(summary, maker="Listener-7B, Reader"))))
    options = ("--for", "late-night reading", "--json", "--summaries")
    for name in ("Reader", "Listener-7B"):
        found = json.loads(run(*SEARCH, *options, name, place=place).stdout)
        assert [h["track_id"] for h in found["hits"]] == [3, 1, 2] and "1 of 3 hits (track:2)" in found["note"]
    file.write_text("[")  # a damaged one is as one that is missing
    found = json.loads(run(*SEARCH, *options, "Reader", place=place).stdout)
    assert [h["track_id"] for h in found["hits"]] == [1, 2, 3] and "(track:2, track:3)" in found["note"]
    with pytest.raises(InputError, match="no summary of these hits by a model 'Other' is kept"):
        run(*SEARCH, *options, "Other", place=place)


def test_search_asks_a_model_once_and_keeps_its_answer(
    place: Path, llm_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOLFA_HOME", str(tmp_path))
    answer = {"ranking": [{"id": "3", "claims": [claim("mood", "as calm as reading is")]}, {"id": "1", "claims": []}]}
    with llm_server(lambda body, n: said(answer)) as fake:
        monkeypatch.setenv("SOLFA_LLM_URL", fake.url)
        options = ("--for", "late-night reading", "--rerank", "llm", "--llm-model", "m", "--json")
        for _ in range(2):
            found = json.loads(run(*SEARCH, *options, place=place).stdout)
    assert len(fake.asked) == 1 and [h["track_id"] for h in found["hits"]] == [3, 1, 2]
    assert found["note"] == "tracks that the model left out, in the order of the search: 1"
    [evidence] = [e for e in found["hits"][0]["evidence"] if e["constraint"] == "for"]
    assert (evidence["asked"], evidence["measured"]) == ("as calm as reading is", "mood calm, soft")
    assert evidence["satisfied"] is None


def test_a_model_that_fails_leaves_the_order_of_the_search(
    place: Path, llm_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOLFA_HOME", str(tmp_path))
    options = ("--for", "reading", "--llm-model", "m", "--json", "--rerank")
    done = run(*SEARCH, *options, "http://127.0.0.1:9/v1", place=place)
    assert done.exit_code == 3 and "not reranked" in done.stderr
    assert [h["track_id"] for h in json.loads(done.stdout)["hits"]] == [1, 2, 3]
    with llm_server(lambda body, n: said("I would rather not.")) as fake:
        found = json.loads(run(*SEARCH, *options, fake.url, place=place).stdout)
    assert [h["track_id"] for h in found["hits"]] == [1, 2, 3] and "no answer that can be read" in found["note"]


def test_compare_prints_what_a_musician_asks(place: Path) -> None:
    done = run("compare", "track:3", "track:1", "--for", "a spy chase with a zeppelin", place=place).stdout
    rows = {line.split("│")[1].strip(): line.split("│")[-2].strip() for line in done.splitlines() if "│" in line}
    assert rows["tempo"] == "ratio 2:1" and rows["key"] == "the same notes, relative" and rows["metre"] == "different"
    assert rows["instruments"].startswith("only A: piano; only B: brass")
    assert "B fits better" in done and "not understood: zeppelin" in done and "not known: " in done
    unsure = run("compare", "track:1", "track:2", place=place).stdout
    assert "not enough known; " in unsure  # the mean of one or two dimensions is no figure to show
    found = json.loads(run("compare", "track:1", "track:2", "--json", place=place).stdout)
    assert found["schema"] == "solfa.compare/1" and found["verdict"] is None
    assert found["similarity"]["verdict"] == "NOT_ENOUGH_KNOWN"
    tempo = found["attributes"][0]
    assert tempo == {
        "attribute": "tempo_bpm",
        "first": "132.0 BPM",
        "second": "not known",
        "relation": "",
        "match": None,
    }


def test_a_track_and_itself_are_a_tie(place: Path) -> None:
    found = json.loads(run("compare", "track:1", "track:1", "--for", "a spy chase", "--json", place=place).stdout)
    assert found["verdict"]["winner"] == "tie" and found["similarity"]["verdict"] != "NOT_SIMILAR"
    assert {row["relation"] for row in found["attributes"]} <= {"the same", ""}
    nothing = json.loads(run("compare", "track:2", "track:1", "--for", "a spy chase", "--json", place=place).stdout)
    assert nothing["verdict"]["winner"] == "tie" and nothing["verdict"]["confidence"] == 0


@pytest.mark.parametrize(
    ("a", "b", "relation"),
    [
        ("C major", "G major", "1 fifth up"), ("C major", "Bb major", "2 fifths down"),
        ("A minor", "C major", "the same"),
        ("C major", "C minor", "3 fifths down, parallel"), ("C major", "F# major", "6 fifths up"),
    ],
)  # fmt: skip
def test_keys_are_related_by_fifths(a: str, b: str, relation: str) -> None:
    one, other = (replace(NOCTURNE, key=key) for key in (a, b))
    assert RuleJudge().compare(one, other, ["key"])[0].relation.startswith(relation)


@pytest.mark.parametrize(("a", "b", "relation"), [(60.0, 90.0, "3:2"), (90.0, 60.0, "2:3"), (100.0, 101.0, "1:1"),
                                                  (60.0, 66.0, "1.10"), (60.0, 30.4, "1:2")])  # fmt: skip
def test_tempi_are_related_by_simple_ratios(a: float, b: float, relation: str) -> None:
    one, other = (replace(NOCTURNE, tempo_bpm=bpm) for bpm in (a, b))
    assert RuleJudge().compare(one, other, ["tempo_bpm"])[0].relation == f"ratio {relation}"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("track:99", "track:1"), SolfaError), (("nothing.wav", "track:1"), SolfaError), (("7", "track:1"), SolfaError),
        (("track:1", "track:3", "--attribute", "loudness"), UnknownName),
        (("track:1", "track:3", "--judge", "x"), InputError),
    ],
)  # fmt: skip
def test_what_cannot_be_compared(arguments: tuple[str, ...], error: type[SolfaError], place: Path) -> None:
    with pytest.raises(error):
        run("compare", *arguments, place=place)
