import argparse
import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solfa.analysis.document import to_json
from solfa.core.errors import InputError
from solfa.core.types import Analysis, ChordSegment, Curve, Estimate, Span, TagTrack
from solfa.datagen.captions.trust import FIELDS, Trust, candidates

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "caption_truth.py"
spec = importlib.util.spec_from_file_location("caption_truth", SCRIPT)
assert spec is not None and spec.loader is not None
benchmark = importlib.util.module_from_spec(spec)
spec.loader.exec_module(benchmark)
fit, holds = benchmark.fit, benchmark.holds

TOOLS = ("solfa-rhythm@2", "solfa-harmony@3", "solfa-tags@4/1")


def noisy(rng: np.random.Generator) -> tuple[Analysis, dict[str, Any]]:
    """An analysis that is right as often as it says, about a random truth."""
    truth: dict[str, Any] = {"tempo_bpm": float(rng.uniform(60, 180)), "metre": "4/4", "key": "C major",
                             "chords": ["C:maj", "G:maj"], "instruments": ["piano"]}  # fmt: skip
    sure = {name: float(rng.uniform(0.3, 0.99)) for name in FIELDS}
    right = {name: bool(rng.random() < p) for name, p in sure.items()}
    bpm = truth["tempo_bpm"] * (1 if right["tempo"] else 2)
    tag = TagTrack(concept="piano" if right["instruments"] else "violin", kind="instrument", share=1.0,
                   confidence=sure["instruments"],
                   spans=(Span(start_s=0.0, end_s=10.0, confidence=sure["instruments"]),))  # fmt: skip
    labels = [(0.0, 5.0, "C:maj"), (5.0, 10.0, "G:maj" if right["chords"] else "D:min")]
    return Analysis(
        duration_s=10.0, tempo_bpm=Estimate(value=bpm, confidence=sure["tempo"]),
        metre=Estimate(value="4/4" if right["metre"] else "3/4", confidence=sure["metre"]),
        beats_s=tuple(np.arange(0, 10, 60 / bpm).tolist()), downbeats_s=(),
        key=Estimate(value="C major" if right["key"] else "A minor", confidence=sure["key"]),
        chords=tuple(ChordSegment(start_s=a, end_s=b, label=c, confidence=sure["chords"]) for a, b, c in labels),
        loudness_lufs=Estimate(value=-14.0, confidence=1.0), energy=Curve(hop_s=1.0, values=()),
        voice=TagTrack(concept="voice", kind="voice", confidence=0.0, share=0.0), instruments=(tag,), genres=(),
        moods=(), extractors=TOOLS,
    ), truth  # fmt: skip


@pytest.fixture(scope="module")
def fitted() -> Trust:
    rng = np.random.default_rng(0)
    rows = [(*noisy(rng), 0.0, 10.0, str(i)) for i in range(600)]
    return Trust(fit(rows, seed=0, about={}))


@pytest.mark.parametrize("precision", [0.8, 0.9])
def test_what_is_told_is_as_true_as_asked_for_on_other_clips(fitted: Trust, precision: float) -> None:
    rng = np.random.default_rng(1)
    rows = [noisy(rng) for _ in range(600)]
    found = [fitted.statements(analysis, 0.0, 10.0, precision) for analysis, _ in rows]
    possible = [candidates(analysis, 0.0, 10.0) for analysis, _ in rows]
    for name in ("tempo", "metre", "instruments"):
        told = [
            bool(holds(name, value, truth))
            for said, (_, truth) in zip(found, rows, strict=True) for value, hedged in said[name] if not hedged
        ]  # fmt: skip
        every = np.mean([
            bool(holds(name, c.value, truth)) for own, (_, truth) in zip(possible, rows, strict=True) for c in own[name]
        ])  # fmt: skip
        assert len(told) > 60 and np.mean(told) > precision - 0.04 > every, name


def test_a_higher_precision_tells_less(fitted: Trust) -> None:
    for name in FIELDS:
        sure = [fitted.thresholds(name, p)[0] for p in (0.6, 0.8, 0.9, 0.95, 0.999999)]
        assert sure == sorted(sure) and sure[-1] == np.inf, name


def test_another_tool_is_believed_by_its_own_confidence(fitted: Trust) -> None:
    analysis, _ = noisy(np.random.default_rng(2))
    other = Analysis(**{n: getattr(analysis, n) for n in analysis.__slots__} | {
        "extractors": (*TOOLS, "essentia-key@1"), "key": Estimate(value="C major", confidence=0.95)})  # fmt: skip
    assert fitted.unfitted(TOOLS) == {} and fitted.unfitted(other.extractors) == {"key": "essentia-key@1"}
    assert fitted.statements(other, 0.0, 10.0, 0.9)["key"] == [("C major", False)]
    assert fitted.statements(other, 0.0, 10.0, 0.97)["key"] == [("C major", True)]


def test_the_shipped_table_is_one_and_others_are_refused(tmp_path: Path) -> None:
    table = Trust.load().table
    assert table["about"]["clips"] >= 1000 and set(table["statements"]) == set(FIELDS)
    short = {**table["statements"], "key": {**table["statements"]["key"], "mean": []}}
    for name, text in {
        "no json": "{", "other": "{}", "wrong": json.dumps({**table, "schema": "x"}),
        "short": json.dumps({**table, "statements": short}),
    }.items():  # fmt: skip
        path = tmp_path / f"{name}.json"
        path.write_text(text)
        with pytest.raises(InputError, match=r"caption_truth\.py fit"):
            Trust.load(path)
    with pytest.raises(InputError, match="fit on more"):
        fit([], seed=0, about={})


def test_claims_of_a_narration_are_judged_by_what_is_true_of_the_clip(tmp_path: Path, capsys: Any) -> None:
    def tag(concept: str, *spans: tuple[float, float]) -> TagTrack:
        found = tuple(Span(start_s=a, end_s=b, confidence=0.95) for a, b in spans)
        return TagTrack(concept=concept, kind="instrument", confidence=0.95, spans=found,
                        share=sum(b - a for a, b in spans) / 60)  # fmt: skip

    analysis = replace(
        noisy(np.random.default_rng(0))[0], duration_s=60.0, tempo_bpm=Estimate(value=101.0, confidence=0.95),
        metre=Estimate(value="3/4", confidence=0.8), key=Estimate(value="C major", confidence=0.6), beats_s=(),
        instruments=(tag("piano", (0, 60)), tag("drums", (30, 60)), tag("flute", (0, 30))),
        energy=Curve(hop_s=1.0, values=(0.3,) * 30 + (0.8,) * 30), voice=TagTrack(concept="voice", kind="voice",
        confidence=0.01), chords=tuple(ChordSegment(start_s=2.0 * i, end_s=2.0 * i + 2, confidence=0.9,
                                       label=("C:maj", "G:maj")[i % 2]) for i in range(30)),
    )  # fmt: skip
    truth = {"tempo_bpm": 100.0, "metre": "4/4", "key": "C major", "chords": ["C:maj", "F:maj"], "voice": False}
    timed = {"instruments": [[0, 60, "piano"], [31, 60, "drum_machine"], [0, 60, "cello"]], "keys": [], "sections": []}
    row = {"split": "test", "truth": truth, "analysis": to_json(analysis), "timed": timed}
    (tmp_path / "clips.jsonl").write_text(json.dumps(row) + "\n")
    benchmark.narration(argparse.Namespace(clips=[f"{tmp_path}/clips.jsonl:test"]))
    claims, facts = (text.splitlines() for text in capsys.readouterr().out.split("| fact |"))

    def shares(lines: list[str]) -> dict[str, tuple[int, float]]:
        cells = [line.strip("| ").split(" | ") for line in lines if " | " in line]
        return {name: (int(n), float(rest[0].split()[0])) for name, n, *rest in cells if n.isdigit()}

    told = shares(claims)
    assert told["tempo"] == (1, 1.0) and told["metre"] == (1, 0.0) and told["key"] == (1, 1.0)
    assert told["chords"] == (2, 0.5) and told["vocals"] == (1, 1.0)
    assert told["instruments"] == (2, 0.5) and told["entering"] == (1, 1.0) and told["leaving"] == (1, 0.0)
    found = shares(facts)
    assert found["instruments"] == (3, 0.667) and found["entering"] == (1, 1.0) and found["metre"] == (1, 0.0)
