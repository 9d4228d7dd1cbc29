import io
import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console
from typer.testing import CliRunner

from fakes.files import write_audio
from fakes.synth import tone
from solfa.apps.cli import app
from solfa.apps.render import _tags_line, results_text
from solfa.apps.terminal import Work, show
from solfa.constraints import presence_words
from solfa.core.text import clock
from solfa.core.types import FileTags, Span, TagTrack
from solfa.query import parse
from solfa.retrieval import Evidence, Hit, Results
from solfa.serve.documents import results_json

SCHEMA = json.loads((Path(__file__).parents[3] / "src/solfa/apps/search.schema.json").read_text())


def results() -> Results:
    evidence = (
        Evidence(constraint="tempo", asked="110 BPM", measured="110.2 BPM", confidence=0.93, satisfied=True),
        Evidence(constraint="instrument", asked="Rhodes", measured="heard", confidence=0.8, satisfied=True,
                 spans=(Span(start_s=42, end_s=70, confidence=0.8),)),
        Evidence(constraint="key", asked="F major", measured="could not be measured", confidence=0.0, satisfied=None),
    )  # fmt: skip
    hit = Hit(track_id=7, path=Path("/music/[red]a\x1b[31m.mp3"), score=0.87, start_s=42, end_s=72, duration_s=200,
              tags=FileTags(title="T", tempo_bpm=110.0), evidence=evidence, more=2)  # fmt: skip
    return Results(
        query=parse(
            "in F major with drums entering late, Am-F-C-G, 110 bpm, waltz, no vocals, fades out, under 3 minutes"
        ),
        parsed=("tempo: 110 BPM",),
        hits=(hit,),
        candidates=3,
        timing_ms={"total": 1.5},
    )


def test_the_table_shows_evidence_and_is_safe_for_the_terminal() -> None:
    out = io.StringIO()
    Console(file=out, width=160).print(results_text(results(), verbose=True, explain=True))
    text = out.getvalue()
    for part in ("tempo: 110 BPM", "→ 110.2 BPM (0.93)", "0:42-1:10", "0:42-1:12 of 3:20", "(+2 alike)", "[red]a"):
        assert part in text
    assert "\x1b" not in text


def test_compact_marks_are_kept_apart_and_nothing_is_broken_at_any_width(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    Console(file=out, width=40, force_terminal=True, no_color=True, _environ={}).print(
        results_text(results()), crop=False
    )
    lines = re.sub(r"\x1b\[\d*m", "", out.getvalue()).splitlines()
    assert "    ✓ 110.2 BPM  ✓ Rhodes: heard" in lines and "    ? key: could not be measured" in lines
    assert f"    {results().hits[0].path}".replace("\x1b", "\ufffd") in lines
    long = replace(results().hits[0], path=Path("/music/" + "a name " * 20 + ".mp3"), evidence=())
    monkeypatch.setattr("sys.stdout", out := io.StringIO())
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    show(results_text(replace(results(), hits=(long,), before=20)))
    assert f"    {long.path}" in re.sub(r"\x1b\[\d*m", "", out.getvalue()).splitlines()
    assert "21. " in out.getvalue()


def test_what_is_said_of_presence_is_one_set_of_words() -> None:
    tags = [TagTrack(concept=c, kind="instrument", confidence=p) for c, p in
            (("piano", 0.9), ("cello", 0.4), ("guitar", 0.5), ("violin", 0.1))]  # fmt: skip
    assert _tags_line(tags) == "present: piano (0.90), guitar (0.50); may be present: cello (0.40)"
    assert _tags_line(tags[3:]) == "none found" == presence_words(0.1)


def test_json_follows_its_schema() -> None:
    value = json.loads(json.dumps(results_json(results()), allow_nan=False))
    jsonschema.validate(value, SCHEMA)
    kinds = [c["constraint"] for c in value["parsed"]["constraints"]]
    assert {"tempo", "key", "metre", "chords", "presence", "dynamics", "duration"} == set(kinds)
    assert value["hits"][0]["evidence"][1]["spans"] == [{"start_s": 42, "end_s": 70, "confidence": 0.8}]
    assert value["hits"][0]["tags"] == {"title": "T", "tempo_bpm": 110.0}


def test_clock() -> None:
    assert [clock(s) for s in (0, 59.6, 3600)] == ["0:00", "1:00", "1:00:00"]


def test_work_is_told_and_summed_up(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, *(1000.0 + s for s in range(100))])
    monkeypatch.setattr("solfa.apps.terminal.time.monotonic", lambda: next(now))
    with Work("reading", "writing", stderr=True) as work:
        assert list(work.each("reading", ["a", "b"])) == ["a", "b"]
        work("writing", 1, 4, "2 [b]bad[/b]")
        work("writing", 0, 0)
    work.end("3 files", 1, audio_s=90)
    told = capsys.readouterr()
    assert not told.out and "reading: 2/2" in told.err and "writing: 1/4, 2 [b]bad[/b], " in told.err
    assert "0/0" not in told.err and "3 files, 1 failed; 1:30 of music in " in told.err.splitlines()[-1]


def test_commands_over_many_things_end_in_one_line(tmp_path: Path) -> None:
    for name in "ab":
        write_audio(tmp_path / f"{name}.wav", tone(60, 1.0), 22050)
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    done = CliRunner().invoke(app, ["analyze", *(str(tmp_path / f"{n}.wav") for n in ("a", "b", "bad"))])
    assert done.exit_code == 3 and re.fullmatch(
        r"2 files analyzed, 1 failed; 0:02 of music in .* s \(.* x real time\)", done.stderr.splitlines()[-1]
    )
    done = CliRunner().invoke(app, ["models", "pull"])
    assert re.fullmatch(r"0 fetched and verified, 1 already here, 0 failed; .* s\n", done.output)
