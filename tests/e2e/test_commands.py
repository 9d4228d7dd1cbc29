import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from fakes.files import write_audio
from fakes.synth import tone

Run = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).parents[2]
Done = subprocess.CompletedProcess[str]


def test_index_lists_what_failed_and_says_so_in_the_exit_code(indexed: Done) -> None:
    assert indexed.returncode == 3, indexed.stderr
    assert "3 added" in indexed.stdout and "1 failed" in indexed.stdout
    assert "broken.mp3: " in indexed.stdout and "Traceback" not in indexed.stderr


def test_indexing_again_does_nothing(indexed: Done, run: Run, music: Path) -> None:
    done = run("index", music, "--workers", "1", "--json")
    again = json.loads(done.stdout)
    assert (again["added"], again["unchanged"], len(again["known_bad"])) == (0, 3, 1)
    assert done.returncode == 3  # a file that was asked for is not indexed, whenever it failed


def test_a_folder_without_music_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no music")
    done = run("index", tmp_path, "--collection", tmp_path / "c")
    assert done.returncode == 2 and f"no audio found in {tmp_path}" in done.stdout and ".flac" in done.stdout


def test_search_finds_the_song_with_the_asked_attributes(indexed: Done, run: Run) -> None:
    done = run("search", "waltz in D major around 90 bpm", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    jsonschema.validate(answer, json.loads((ROOT / "src/solfa/apps/search.schema.json").read_text()))
    assert Path(answer["hits"][0]["path"]).name == "waltz-90.flac"
    by_name = {e["constraint"]: e for e in answer["hits"][0]["evidence"]}
    assert by_name["tempo"]["satisfied"] and by_name["key"]["measured"] == "D major"
    unquoted = json.loads(run("search", *["waltz", "in", "D", "major", "around", "90", "bpm"], "--json").stdout)
    assert unquoted["query"] == answer["query"]


def test_chords_are_found_in_order_up_to_rotation(indexed: Done, run: Run) -> None:
    answer = json.loads(run("search", "chords C-G-Am-F", "--json").stdout)
    assert Path(answer["hits"][0]["path"]).name == "minor-loop-120.wav"
    evidence = next(e for e in answer["hits"][0]["evidence"] if e["constraint"] == "chords")
    assert evidence["satisfied"] and evidence["spans"]


def test_overrides_filters_and_playlists(indexed: Done, run: Run, music: Path, tmp_path: Path) -> None:
    done = run("search", "slow", "--bpm", "150", "--where", "tempo_bpm>=140", "--m3u", tmp_path / "hits.m3u8")
    assert done.returncode == 0, done.stderr
    assert "fast-150" in done.stdout and "waltz-90" not in done.stdout
    assert str(music / "fast-150.ogg") in (tmp_path / "hits.m3u8").read_text()


def test_pages_and_orders(indexed: Done, run: Run) -> None:
    def names(*options: str) -> list[str]:
        hits = json.loads(run("search", "music in a major key", *options, "--json").stdout)["hits"]
        return [Path(hit["path"]).name.partition(".")[0] for hit in hits]

    ranked = names()
    assert [name for page in "123" for name in names("-k", "1", "--page", page)] == ranked and len(ranked) == 3
    assert names("-k", "2", "--page", "3") == []
    by_tempo = ["waltz-90", "minor-loop-120", "fast-150"]
    assert names("--sort", "tempo") == by_tempo and names("--sort", "-tempo") == by_tempo[::-1]
    assert names("-k", "2", "--sort", "path") == sorted(ranked[:2])
    wrong = run("search", "major", "--sort", "colour")
    assert wrong.returncode == 2 and "colour" in wrong.stderr and "tempo" in wrong.stderr


def test_similar_is_search_by_example(indexed: Done, run: Run, music: Path) -> None:
    example = f"{music / 'fast-150.ogg'}@0:02-0:08"
    hits = [json.loads(run(*a, "--json").stdout)["hits"] for a in (("similar", example), ("search", "--like", example))]
    assert hits[0] == hits[1] and len(hits[0]) == 2


def test_more_like_this_leaves_the_example_out(indexed: Done, run: Run, music: Path) -> None:
    answer = json.loads(run("search", "--like", f"{music / 'fast-150.ogg'}@0:02-0:08", "--json").stdout)
    assert len(answer["hits"]) == 2
    assert "fast-150.ogg" not in {Path(hit["path"]).name for hit in answer["hits"]}


def test_analyze_follows_its_schema(run: Run, music: Path) -> None:
    done = run("analyze", music / "minor-loop-120.wav", "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    path = value.pop("path")
    assert path.endswith("minor-loop-120.wav")
    jsonschema.validate(value, json.loads((ROOT / "src/solfa/analysis/analysis.schema.json").read_text()))
    assert value["tempo_bpm"]["value"] == pytest.approx(120, rel=0.02)
    assert {c["label"].partition(":")[0] for c in value["chords"]} >= {"A", "F", "C", "G"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("search", ""), "nothing to search for"),
        (("search", "piano", "--where", "colour=red"), "colour"),
        (("search", "piano", "--bpm", "quick-ish"), "quick-ish"),
        (("search", "piano", "--like", "nowhere.mp3"), "no such file"),
        (("analyze", "nowhere.mp3"), "nowhere.mp3"),
        (("models", "pull", "nonsense"), "nonsense"),
        (("models", "pull", "muq-mulan"), "--allow-noncommercial"),
        (("demo", "--music", "nowhere"), "no such folder"),
        (("search", "???"), "nothing to search for"),
        (("status", "--collection", "nowhere"), "nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(indexed: Done, run: Run, arguments: tuple[str, ...], said: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_nothing_to_index_is_said(run: Run, needs_models: None, tmp_path: Path) -> None:
    done = run("index", tmp_path / "nowhere", "--collection", tmp_path / "c")
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_damaged_vectors_are_made_again(run: Run, music: Path, needs_models: None, tmp_path: Path) -> None:
    where = ("--collection", tmp_path / "c")
    assert run("index", music / "waltz-90.flac", *where).returncode == 0
    (vectors,) = (tmp_path / "c").glob("vectors/1/segments.*.i8")
    vectors.write_bytes(b"")
    damaged = run("search", "waltz", *where)
    assert damaged.returncode == 2 and "run solfa index again" in damaged.stderr
    again = json.loads(run("index", music / "waltz-90.flac", *where, "--json").stdout)
    assert again["updated"] == 1
    assert run("search", "waltz", *where).returncode == 0


def test_several_files_are_told_apart(run: Run, tmp_path: Path) -> None:
    files = [write_audio(tmp_path / f"{name}.wav", tone(60, 1.0), 22050) for name in "ab"]
    assert [Path(d["path"]) for d in json.loads(run("analyze", *files, "--json").stdout)] == files
    assert all(f"{file}:" in run("analyze", *files).stdout for file in files)


def test_a_full_output_is_one_line(indexed: Done) -> None:
    code = f"{sys.executable} -m solfa --version > /dev/full"
    done = subprocess.run(["sh", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr


def test_a_terminal_without_unicode_shows_words(indexed: Done, run: Run) -> None:
    shown = run("search", "waltz around 90 bpm", encoding="ascii").stdout
    assert "ok 90." in shown and "no 120." in shown and not set(shown.splitlines()[3].partition("0:")[2]) & set("?")
    assert "ok tempo: 86-94 BPM -> 90." in run("search", "waltz around 90 bpm", "-v", encoding="ascii").stdout


def test_status_and_doctor(indexed: Done, run: Run) -> None:
    status = run("status", "--failures")
    assert "3 tracks" in status.stdout and "broken.mp3" in status.stdout
    doctor = run("doctor", "--json")
    assert doctor.returncode == 0, doctor.stdout
    findings = json.loads(doctor.stdout)
    assert all(finding["ok"] is not False for finding in findings)
    assert {"extra torch", "extra eval"} <= {finding["name"] for finding in findings}


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_is_cheap() -> None:
    timed = "import time; t = time.process_time(); import solfa; print(time.process_time() - t)"  # load does not count
    assert min(float(python(timed)) for _ in range(3)) < 0.3


def test_finding_music_and_reading_data_load_no_heavy_package() -> None:
    heavy = "torch transformers librosa pyarrow mirdata mir_eval nltk matplotlib pandas"
    rooms = "analysis apps audio collection constraints core datasets evaluation query retrieval"
    code = f"""
import pkgutil, sys
from importlib import import_module
for room in "{rooms}".split():
    for module in pkgutil.walk_packages(import_module("solfa." + room).__path__, f"solfa.{{room}}."):
        import_module(module.name)
print([name for name in "{heavy}".split() if name in sys.modules])"""
    assert python(code) == "[]"
