import json
from pathlib import Path

from typer.testing import CliRunner

from fakes.files import write_audio
from fakes.synth import song
from solfa.apps.cli import app
from solfa.datasets.shards import Dataset

RUN = CliRunner()


def test_caption_makes_a_data_set_and_says_what_was_left_out(tmp_path: Path) -> None:
    folder, out = tmp_path / "music", tmp_path / "set"
    folder.mkdir()
    made = song(bars=5)
    write_audio(folder / "song.wav", made.audio.samples, made.audio.sample_rate_hz)
    (folder / "broken.wav").write_bytes(b"RIFF")
    arguments = ["data", "caption", str(folder), str(out), "--style", "catalogue", "--require", "none", "--jobs", "1"]
    arguments += ["--seconds", "4", "--splits", "1,0,0", "--extractors", "solfa-harmony", "--per-clip", "2"]
    result = RUN.invoke(app, arguments)
    assert result.exit_code == 3, result.output
    assert "failed: broken.wav: " in result.output
    assert "of 2 tracks" in result.output and ", 1 failed; " in result.output and "clips_kept" in result.output
    records = Dataset.open(out).split("train")
    assert len(records) == 2 and all(": " in c for r in records for c in r.captions)
    assert json.loads((out / "dataset.json").read_bytes())["failures"][0]["item"] == "broken.wav"
    assert RUN.invoke(app, arguments).exit_code == 3


def test_options_that_contradict_are_refused(tmp_path: Path) -> None:
    source, out = str(tmp_path), str(tmp_path / "set")
    for options, words in (
        (["--llm", "http://localhost/v1"], "--llm and --llm-model"),
        (["--splits", "most,some,few"], "three shares"),
        (["--style", "haiku"], "unknown caption style"),
        ([], "no audio found"),
    ):
        result = RUN.invoke(app, ["data", "caption", source, out, *options])
        assert result.exit_code != 0 and words in str(result.exception), (options, result.output)
