import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fakes.files import write_audio
from fakes.synth import song, tone
from fakes.tiny import tiny_model
from solfa.apps.cli import app
from solfa.apps.evaluating import TASKS
from solfa.apps.reporting import names
from solfa.core.annotation import MusicAnnotation, write_jams
from solfa.core.clip import Clip, Phrase
from solfa.core.errors import InputError
from solfa.core.theory import Key
from solfa.core.types import JointModel
from solfa.datasets.building import build
from solfa.datasets.shards import Member
from solfa.evaluation import tasks

WORDS = {"a": ("low", 31), "b": ("middle", 60), "c": ("high", 90), "d": ("bright", 111)}


@pytest.fixture
def song_describer(tmp_path: Path) -> Path:
    """Four tones described by the words of the tiny model, in Song Describer's layout."""
    header = "caption_id,track_id,caption,is_valid_subset,familiarity,artist_id,album_id,path,duration"
    rows = [header]
    for number, (name, (word, midi)) in enumerate(WORDS.items()):
        audio = tmp_path / "audio" / "00" / f"{number}.2min.mp3"
        audio.parent.mkdir(parents=True, exist_ok=True)
        write_audio(audio, tone(midi, 4.0, 22050, harmonics=1), 22050)
        rows.append(f"{number},{number},{word},True,1,{name},{name},00/{number}.mp3,4.0")
    (tmp_path / "song_describer.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def load(name: str, **options: Any) -> JointModel:
    return replace(tiny_model(), name=name) if name.startswith("trained:") else tiny_model()


def call(monkeypatch: pytest.MonkeyPatch, arguments: Sequence[Any]) -> str:
    monkeypatch.setattr("solfa.encoders.registry.load_model", load)
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_named_tasks_are_all_there_are() -> None:
    assert set(TASKS) == set(tasks.TASKS)


def test_a_run_prints_a_row_and_writes_report_and_figure(
    song_describer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, figure = tmp_path / "report.json", tmp_path / "figure.svg"
    arguments = ["eval", "retrieval", "--dataset", "song_describer", "--data", song_describer]
    output = call(monkeypatch, [*arguments, "--out", report, "--plot", figure])
    assert "tiny" in output
    value = json.loads(report.read_text())
    assert value["metrics"]["T2A R@1"]["value"] == 1.0 and value["num_items"] == 4
    assert "<svg" in figure.read_text()
    compared = call(monkeypatch, ["eval", "compare", report, report])
    assert "not shown" in compared and "yes" not in compared
    for option, path in (("--out", report), ("--plot", figure)):
        with pytest.raises(InputError, match=rf"{path.name} exists"):  # before the work: the data set is not looked at
            call(monkeypatch, [*arguments[:5], "nowhere", option, path])


def test_several_models_stand_in_one_table_with_blind_rows(
    song_describer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["eval", "retrieval", "--dataset", "song_describer", "--data", song_describer]
    output = call(monkeypatch, [*arguments, "--model", "a", "--model", "b", "--out", tmp_path / "reports"])
    assert len(list((tmp_path / "reports").glob("*.json"))) == 2
    assert all(word in output for word in ("random", "popularity", "text-only"))
    with pytest.raises(InputError, match="draws one model, got 2"):
        call(monkeypatch, [*arguments, "--model", "a", "--model", "b", "--plot", tmp_path / "x.svg"])


def test_a_denoiser_stands_beside_other_models(
    song_describer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[tuple[Any, dict[str, Any]]]()

    class Shown:
        def __init__(self, place: str | None, **options: Any) -> None:
            self.place = place

        def joint(self, **how: Any) -> JointModel:
            asked.append((self.place, how))
            return replace(tiny_model(), name="gdr")

    monkeypatch.setattr("solfa.diffusion.retriever.Retriever", Shown)
    arguments = ["eval", "retrieval", "--dataset", "song_describer", "--data", song_describer, "--seed", "3"]
    output = call(monkeypatch, [*arguments, "--model", "bridge", "--model", "gdr", "--model", "gdr:runs/own"])
    assert asked == [(None, {"seed": 3}), ("runs/own", {"seed": 3})] and "gdr" in output


def test_trained_models_are_told_apart_in_a_narrow_table(
    song_describer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    folder = f"trained:/{'long/' * 12}runs"
    arguments = ["eval", "retrieval", "--dataset", "song_describer", "--data", song_describer, "--out", tmp_path / "r"]
    models = (f"{folder}/figma/model", f"{folder}/united/model")
    output = call(monkeypatch, [*arguments, *(word for model in models for word in ("--model", model))])
    assert "…/figma/model" in output and "…/united/model" in output and "long/long" not in output
    assert [p.name[-12:] for p in sorted((tmp_path / "r").iterdir())] == ["a-model.json", "d-model.json"]
    compared = call(monkeypatch, ["eval", "compare", *sorted((tmp_path / "r").iterdir())])
    assert "…/figma/model" in compared and "…/united/model" in compared


@pytest.mark.parametrize(
    ("models", "shown"),
    [
        (["bridge", "clap"], ["bridge", "clap"]),
        (["trained:a/model", "trained:a/model"], ["trained:a/model", "trained:a/model"]),
        (["trained:/x/a/m", "trained:/y/a/m", "trained:/y/b/m"], ["…/x/a/m", "…/y/a/m", "…/b/m"]),
        (["trained:a/m", "trained:/x/a/m"], ["trained:a/m", "…/a/m"]),
        ([r"trained:C:\runs\one\m", r"trained:C:\runs\two\m"], ["…/one/m", "…/two/m"]),
    ],
)
def test_names_of_models_are_cut_from_the_left(models: list[str], shown: list[str]) -> None:
    assert names(models) == shown


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    """Six tones with JAMS beside them."""
    for number, midi in enumerate((31, 60, 90, 111, 45, 75)):
        write_audio(tmp_path / f"{number}.wav", tone(midi, 4.0, 22050, harmonics=1), 22050)
        key, metre = Key(2 * number, "major"), f"{3 + number % 2}/4"
        music = MusicAnnotation(duration_s=4.0, tempo_bpm=70.0 + 20 * number, key=key, metre=metre)
        write_jams(music, tmp_path / f"{number}.jams", tool="test")
    return tmp_path


def test_fine_grained_by_vectors_and_by_the_whole_search(annotated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report, figure = annotated / "report.json", annotated / "figure.svg"
    arguments = ["eval", "finegrained", "--dataset", "jams", "--data", annotated, "--out", report, "--plot", figure]
    vectors = call(monkeypatch, arguments)
    assert "tiny" in vectors and "doublings of the rank" in figure.read_text()
    pool = json.loads(report.read_text())["pool"]
    call(monkeypatch, [*arguments, "--by", "search", "--force"])
    value = json.loads(report.read_text())
    assert value["model"] == "tiny, whole search" and value["pool"] == pool and "key fall" in value["metrics"]
    assert set(value["details"]["blind"]) == {"random", "text-only", "popularity-only"}


def test_the_analysis_is_judged_against_jams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = song(chords="A:min F:maj C:maj G:maj", tempo_bpm=120.0, bars=8, seed=0)
    write_audio(tmp_path / "a.wav", made.audio.samples, made.audio.sample_rate_hz)
    music = MusicAnnotation(duration_s=made.audio.duration_s, tempo_bpm=120.0, metre="4/4", key=Key(9, "minor"))
    write_jams(music, tmp_path / "a.jams", tool="test")
    report = tmp_path / "report.json"
    call(monkeypatch, ["eval", "mir", "--data", tmp_path, "--extractor", "solfa-rhythm", "--out", report])
    value = json.loads(report.read_text())
    assert value["metrics"]["tempo_acc1"]["value"] == 1.0 and "solfa-rhythm@4" in value["model"]
    assert "metre_acc" in value["metrics"] and "key_weighted" not in value["metrics"]  # no tool here hears keys


def test_a_data_set_of_solfa_is_judged_like_those_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def clip(number: int, word: str, midi: int) -> Member:
        sound = tone(midi, 2.0, 22050, harmonics=1) * 0.5
        detected = (Phrase(text=word, spans_s=((0.0, 2.0),)),)
        truth = MusicAnnotation(duration_s=2.0, tempo_bpm=60.0 + 30 * number, key=Key(number, "major"))
        record = Clip(id=f"{word}-{number}", duration_s=2.0, captions=(word,), phrases=detected, annotation=truth)
        return Member(record=record, samples=sound, sample_rate_hz=22050)

    words = [clip(n, *WORDS[name]) for n, name in enumerate(WORDS)]
    build(tmp_path / "set", lambda task: iter(words), name="tones", config={}, seed=0, num_shards={"test": 1})
    own = ["--dataset", "solfa", "--data", tmp_path / "set", "--out", tmp_path / "report.json", "--force"]
    for task, metric in (("retrieval", "T2A R@1"), ("grounding", "PSDS2021")):
        call(monkeypatch, ["eval", task, *own])
        value = json.loads((tmp_path / "report.json").read_text())
        assert (value["data"], value["split"], value["metrics"][metric]["value"]) == ("tones", "test", 1.0)
    with pytest.raises(InputError, match="split 'val' is empty"):
        call(monkeypatch, ["eval", "retrieval", *own, "--split", "val"])


def test_an_export_in_the_layout_of_fgmcaps_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")

    def clip(word: str, midi: int) -> Member:
        record = Clip(id=word, duration_s=2.0, captions=(word,))
        return Member(record=record, samples=tone(midi, 2.0, 22050, harmonics=1) * 0.5, sample_rate_hz=22050)

    words = [clip(*pair) for pair in WORDS.values()]
    build(tmp_path / "set", lambda task: iter(words), name="tones", config={}, seed=0, num_shards={"test": 1})
    call(monkeypatch, ["data", "export", tmp_path / "set", tmp_path / "fgm", "--to", "fgmcaps"])
    report = tmp_path / "report.json"
    call(monkeypatch, ["eval", "retrieval", "--dataset", "fgmcaps", "--data", tmp_path / "fgm", "--out", report])
    assert json.loads(report.read_text())["metrics"]["T2A R@1"]["value"] == 1.0
    assert not (tmp_path / "fgm" / "audio").exists()


def test_an_unknown_data_set_is_told_all_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"unknown data set 'nope'.* jams, .*solfa, "):
        call(monkeypatch, ["eval", "retrieval", "--dataset", "nope", "--data", tmp_path])


def test_search_ranks_one_task_only(song_describer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="finegrained only"):
        call(
            monkeypatch,
            ["eval", "retrieval", "--dataset", "song_describer", "--data", song_describer, "--by", "search"],
        )


def test_a_model_without_a_tokenizer_has_no_saturation(song_describer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="tokenizer"):
        call(monkeypatch, ["eval", "saturation", "--dataset", "song_describer", "--data", song_describer])


def test_data_sets_are_listed_with_their_licences(monkeypatch: pytest.MonkeyPatch) -> None:
    output = call(monkeypatch, ["eval", "datasets"])
    assert "any data set that" in output and "jams" in output
    assert "song_describer" in output and "musiccaps" in output
