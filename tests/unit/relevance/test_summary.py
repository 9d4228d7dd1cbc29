import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from given import analysis, collection_of

from solfa.analysis.document import to_json as analysis_json
from solfa.core.errors import CollectionError, InputError
from solfa.core.types import Analysis
from solfa.core.vocabulary import concepts
from solfa.relevance import TrackSummary, from_json, summaries, summarize, to_json

GRUNGE = analysis(
    {"distorted_guitar": (0.9, 0.95), "drums": (0.8, 0.7), "guitar": 0.9, "rock": 0.8, "grunge": 0.7, "pop": 0.4,
     "angry": 0.7, "party": 0.55, "voice": (0.95, 0.7), "male_voice": (0.8, 0.7), "female_voice": 0.1, "speech": 0.05},
    tempo_bpm=(128.0, 0.9), key=("D minor", 0.45), metre=("4/4", 0.95), loudness_lufs=(-10.0, 1.0),
)  # fmt: skip


def test_every_field_says_which_measurement_it_comes_from() -> None:
    summary = summarize(GRUNGE)
    assert summary.known() == {
        "dominant_feature": "distorted_guitar", "energy_level": "very_high", "genre": "grunge", "genre_family": "rock",
        "instruments": ("distorted_guitar", "guitar", "drums"), "mood": ("angry",), "suitable_usages": ("party",),
        "tempo": "fast", "tempo_bpm": 128.0, "metre": "4/4", "vocals": "male vocals throughout", "vocal_role": "lead",
        "vocal_delivery": "sung", "production_style": "electric", "timbre": ("distorted", "percussive"),
    }  # fmt: skip
    assert set(summary.sources) == set(summary.known()) and summary.maker == "rules"
    assert summary.sources["tempo"].measurement == "tempo_bpm" and summary.sources["tempo"].value == 128.0
    assert summary.sources["genre"].confidence == 0.7 and summary.sources["energy_level"].value == -10.0
    assert summary.sources["energy_level"].measurement == "loudness_lufs, angry 0.70, party 0.55"
    sure = {
        n: summary.sources[n].confidence for n in ("instruments", "timbre", "production_style", "vocals", "vocal_role")
    }
    assert sure == {"instruments": 0.8, "timbre": 0.8, "production_style": 0.9, "vocals": 0.8, "vocal_role": 0.8}
    assert summary.description == (
        "Angry fast grunge music of very high energy with distorted guitar and drums, male vocals throughout."
    )
    assert summarize(analysis_json(GRUNGE)) == summary


@pytest.mark.parametrize(
    ("tags", "values", "unknown"),
    [
        ({"voice": 0.4}, {}, ("vocals", "vocal_role", "vocal_delivery")),
        ({"voice": 0.1, "rapping": 0.7}, {}, ("vocals", "vocal_role")),
        ({"voice": (0.9, 0.9), "rapping": 0.7, "operatic_voice": 0.66}, {}, ("vocal_delivery",)),
        ({"voice": (0.9, 0.1), "male_voice": 0.9}, {}, ("vocal_role",)),
        ({"voice": (0.9, 0.9), "male_voice": 0.9, "choir": 0.8}, {}, ("vocal_role",)),
        ({"rock": 0.6, "jazz": 0.55}, {}, ("genre", "genre_family")),
        ({"rock": 0.52, "jazz": 0.48}, {}, ("genre", "genre_family")),
        ({"christmas": 0.9}, {}, ("genre", "genre_family")),
        ({"exciting": 0.7, "calm": 0.6}, {"loudness_lufs": (-15.0, 1.0)}, ("energy_level",)),
        ({"exciting": 0.7}, {"loudness_lufs": (-40.0, 1.0)}, ("energy_level",)),
        ({"calm": 0.7}, {"loudness_lufs": (-6.0, 1.0)}, ("energy_level",)),
        ({"piano": 0.6, "drums": 0.6}, {}, ("dominant_feature",)),
        ({"piano": 0.49, "happy": 0.49, "film": 0.3}, {}, ("instruments", "mood", "suitable_usages", "timbre")),
        ({}, {"tempo_bpm": (90.0, 0.49), "key": ("C major", 0.3)}, ("tempo", "tempo_bpm", "key", "metre")),
    ],
)
def test_unsure_and_contradicting_measurements_leave_a_field_unknown(
    tags: dict[str, Any], values: dict[str, Any], unknown: tuple[str, ...]
) -> None:
    summary = summarize(analysis(tags, **values))
    assert not set(unknown) & (summary.known().keys() | summary.sources.keys())


@pytest.mark.parametrize(
    ("lufs", "moods", "level"),
    [(-38, {}, "very_low"), (-38, {"calm": 0.6}, "very_low"), (-28, {"calm": 0.6}, "low"), (-20, {"calm": 0.6}, "low"),
     (-20, {}, "medium"), (-20, {"exciting": 0.6}, "high"), (-10, {}, "high"), (-6, {"exciting": 0.6}, "very_high")],
)  # fmt: skip
def test_energy_is_loudness_and_what_moods_add(lufs: float, moods: dict[str, float], level: str) -> None:
    assert summarize(analysis(moods, loudness_lufs=(float(lufs), 1.0))).energy_level == level


def test_instrumental_is_said_only_where_voices_were_looked_for() -> None:
    assert summarize(analysis({"voice": 0.02})).vocals == "instrumental"
    silent = replace(analysis(), instruments=(), sounds=())
    assert summarize(silent).known() == {} and summarize(silent).description == "Silence."
    hum = summarize(analysis({"music": 0.05}, loudness_lufs=(-20.0, 1.0)))
    assert hum.description == "Sound of medium energy." and hum.known() == {"energy_level": "medium"}
    untagged = summarize(replace(silent, loudness_lufs=GRUNGE.loudness_lufs, tempo_bpm=GRUNGE.tempo_bpm))
    assert set(untagged.known()) == {"energy_level", "tempo", "tempo_bpm"}
    assert untagged.description == "Fast music of high energy."


def test_what_is_read_is_what_was_written_and_nothing_else() -> None:
    written = json.loads(json.dumps(to_json(summarize(GRUNGE))))
    assert from_json(written) == summarize(GRUNGE)
    for other in ({**written, "schema": "solfa.summary/2"}, {}, [], None, "text", {"schema": {}}):
        with pytest.raises(InputError, match=r"not a summary that this version reads.*solfa.summary/1.*solfa describe"):
            from_json(other)
    source = written["sources"]["tempo"]
    for damage in (
        {"energy_level": "huge"}, {"tempo_bpm": "128"}, {"tempo_bpm": float("nan")}, {"instruments": "piano"},
        {"mood": ["x"] * 99}, {"description": None}, {"genre": 3}, {"more": 1}, {"vocals": "a" * 5000}, {"flags": 3},
        {"sources": {"tempo": {**source, "confidence": 2}}}, {"sources": {"odd": source}}, {"sources": [1]},
        {"sources": {"tempo": {**source, "value": [1]}}}, {"sources": {"tempo": 3}}, {"genre": ["a"]},
        {"tempo": ["slow"]}, {"flags": "odd"},
        {"sources": {**written["sources"], "genre": {**source, "confidence": ""}}},
        {"sources": {k: v for k, v in written["sources"].items() if k != "genre"}}, {"key": "D minor"},
    ):  # fmt: skip
        with pytest.raises(InputError, match="damaged summary"):
            from_json({**written, **damage})


def test_a_collection_gives_the_summaries_of_its_documents(tmp_path: Path) -> None:
    every: list[Analysis] = [
        GRUNGE, analysis(), analysis({"music": 0.05}), replace(analysis({"voice": 0.2}), sounds=()),
        replace(analysis(), instruments=(), sounds=()),
        *(analysis({name: (round(0.3 + 0.001 * i, 4), 0.37)}, loudness_lufs=(-20.12, 1.0), key=("F# minor", 0.5),
                   tempo_bpm=(round(75.99 + i / 50, 2), 0.9), metre=("6/8", 0.5001))
          for i, name in enumerate(c.id for c in concepts().values() if c.kind != "sound")),
    ]  # fmt: skip
    with collection_of(tmp_path / "c", every) as collection:
        found = dict(summaries(collection))
        assert [*found.values()] == [summarize(collection.analysis(i)) for i in found] and len(found) == len(every)
        assert [i for i, _ in summaries(collection, [3, 1])] == [3, 1]
        with pytest.raises(CollectionError, match="has a file"):
            list(summaries(collection, [1, 10_000]))
    with collection_of(tmp_path / "empty", []) as collection:
        assert list(summaries(collection)) == []


def test_a_summary_needs_only_its_sentence() -> None:
    assert TrackSummary(description="Music.").known() == {}
