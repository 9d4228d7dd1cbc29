"""Tags: calibrated, monotone, placed in time; nothing is heard in silence."""

import numpy as np
import pytest

from fakes.synth import song, tone
from solfa.analysis import tags
from solfa.analysis.tagging import labels, voters
from solfa.analysis.tags import TagsExtractor
from solfa.core.types import Audio
from solfa.core.vocabulary import concepts


def _votes(seconds: int, **high: slice) -> dict[str, np.ndarray]:
    names = list(voters())
    votes = np.full((seconds, len(names)), -11.0, np.float32)
    votes[:, names.index("music")] = 5.0
    votes[::2] -= 0.2  # what never changes is hum
    for name, where in high.items():
        votes[where, names.index(name)] = 3.0
    return {"evidence": votes, "sounding": np.ones(seconds, np.bool_)}


def test_a_solo_is_placed_to_the_second() -> None:
    result = TagsExtractor().conclude([_votes(60), _votes(60, trumpet=slice(10, 30))], 120.0)
    found = {t.concept: t for t in result["instruments"]}
    assert found["trumpet"].confidence > 0.7 and len(found["trumpet"].spans) == 1
    span = found["trumpet"].spans[0]
    assert abs(span.start_s - 70) <= 1 and abs(span.end_s - 90) <= 1 and span.confidence > 0.5
    assert found["trumpet"].share == pytest.approx(20 / 120, abs=0.02)
    assert found["brass"].confidence >= found["trumpet"].confidence  # a trumpet is brass
    assert found["violin"].confidence < 0.1 and result["voice"].confidence < 0.05


def test_female_needs_a_voice() -> None:
    alone = TagsExtractor().conclude([_votes(30, female_voice=slice(0, 30))], 30.0)
    assert all(t.confidence < 0.1 for t in alone["instruments"] if t.concept == "female_voice")
    sung = TagsExtractor().conclude([_votes(30, female_voice=slice(0, 30), voice=slice(0, 30))], 30.0)
    found = {t.concept: t.confidence for t in sung["instruments"]}
    assert found["female_voice"] > 0.5 > found.get("male_voice", 0.0)
    assert sung["voice"].spans[0].end_s == 30.0


def test_a_loud_kit_is_sure_and_its_pieces_need_it() -> None:
    def confidences(**high: slice) -> dict[str, float]:
        found = TagsExtractor().conclude([_votes(30, **high)], 30.0)["instruments"]
        return {t.concept: t.confidence for t in found}

    kit, alone = confidences(drums=slice(0, 30)), confidences(hi_hat=slice(0, 30))
    assert kit["drums"] > 0.95 and 0.3 < kit["hi_hat"] < 0.9
    assert alone["drums"] < 0.05 and alone["hi_hat"] < 0.05


def test_the_same_song_with_and_without_drums() -> None:
    tool, sure = TagsExtractor(), {}
    for drums in (True, False):
        audio = song(bars=4, drums=drums).audio
        found = tool.conclude([tool.observe(audio)], audio.duration_s)["instruments"]
        sure[drums] = {t.concept: t.confidence for t in found}["drums"]
    assert sure[True] > 0.8 and sure[False] < 0.3


@pytest.mark.parametrize("genre", ["disco", "jazz", "reggae", "ambient", "rock", "metal", "classical", "electronic"])
def test_a_genre_that_a_network_is_sure_of_is_found(genre: str) -> None:
    names = list(voters())
    votes = np.full((30, len(names)), -7.0, np.float32)  # a usual level
    votes[:, names.index("music")] = 5.0
    votes[::2] -= 0.2
    votes[:, names.index(genre)] = 0.0  # the networks are in two minds: for a genre that is loud and clear
    found = TagsExtractor().conclude([{"evidence": votes, "sounding": np.ones(30, np.bool_)}], 30.0)["genres"]
    assert {t.concept for t in found if t.confidence > 0.5} >= {genre}
    assert sum(t.confidence > 0.5 for t in found) <= 2  # itself and what it is a case of


def test_length_does_not_dilute_a_short_appearance() -> None:
    short = TagsExtractor().conclude([_votes(30, flute=slice(0, 15))], 30.0)
    long = TagsExtractor().conclude([_votes(120, flute=slice(60, 75)), _votes(120), _votes(120)], 360.0)
    one, other = ({t.concept: t for t in r["instruments"]}["flute"] for r in (short, long))
    assert one.confidence == pytest.approx(other.confidence, abs=0.02) and one.share > other.share


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.4, 5.0])
def test_silence_and_scraps_give_empty_results(seconds: float) -> None:
    tool = TagsExtractor()
    audio = Audio(np.zeros(int(seconds * 22050), np.float32), 22050)
    for observations in ([], [tool.observe(audio)]):
        result = tool.conclude(observations, seconds)
        assert result["voice"].confidence == 0 and not result["voice"].spans
        assert result["instruments"] == result["genres"] == result["moods"] == ()
        assert [t.concept for t in result["sounds"]] == (["silence"] if observations and seconds else [])


def test_sound_to_tags() -> None:
    tool = TagsExtractor()
    audio = song(bars=4).audio
    result = tool.conclude([tool.observe(audio)], audio.duration_s)
    every = [result["voice"], *result["instruments"], *result["genres"], *result["moods"], *result["sounds"]]
    assert set(result) == set(tool.spec.provides) and len(every) > 10
    assert all(0 <= t.confidence <= 1 and 0 <= t.share <= 1 and t.kind == concepts()[t.concept].kind for t in every)
    assert result["voice"].confidence < 0.2
    assert all(s.end_s <= audio.duration_s for t in every for s in t.spans)
    short = Audio(tone(60, 0.3), 22050)
    assert tool.observe(short)["evidence"].shape[0] == 1


def test_every_curve_rises_and_every_wider_concept_is_as_likely() -> None:
    curves = tags.calibrations()
    assert set(curves) == set(voters()) <= set(concepts())
    assert all(c.slope > 0 for c in curves.values()) and {c.given for c in curves.values()} == {
        "",
        "voice",
        "drums",
        "music",
    }
    assert "piano" in voters() and "rhodes" not in voters()


def test_a_bark_of_a_second_is_found_and_placed_in_a_long_track() -> None:
    votes = _votes(120, dog_bark=slice(70, 71), rain=slice(0, 120))
    found = {t.concept: t for t in TagsExtractor().conclude([votes], 120.0)["sounds"]}
    assert found["dog_bark"].confidence > 0.5 and len(found["dog_bark"].spans) == 1
    assert abs(found["dog_bark"].spans[0].start_s - 70) <= 1 and found["dog_bark"].spans[0].end_s <= 72
    assert found["dog"].confidence >= found["dog_bark"].confidence <= found["animal"].confidence
    assert found["rain"].share == 1.0 and found["applause"].confidence < 0.01


def test_silence_is_measured_by_level() -> None:
    tool = TagsExtractor()
    samples = np.concatenate([song(bars=4).audio.samples[: 6 * 22050], np.zeros(4 * 22050, np.float32)])
    found = {t.concept: t for t in tool.conclude([tool.observe(Audio(samples, 22050))], 10.0)["sounds"]}
    assert [(s.start_s, s.end_s) for s in found["silence"].spans] == [(6.0, 10.0)]


def test_every_output_of_yamnet_speaks_for_a_concept() -> None:
    spoken = {label for rows in voters().values() for row in rows if row.net == "yamnet" for label in row.labels}
    assert spoken == set(labels()["yamnet"])


def no_music(kind: str) -> np.ndarray:
    rng, count = np.random.default_rng(3), 12 * 22050
    seconds = np.arange(count) / 22050
    if kind == "moving filter":  # a band of noise that wanders like a voice
        pitch = np.interp(seconds, np.arange(0, 13, 0.5), 600 * 3.0 ** rng.uniform(-1, 1, 26))
        return np.sin(2 * np.pi * np.cumsum(pitch + 3000 * rng.standard_normal(count)) / 22050)
    if kind == "mains hum":
        return sum(np.sin(2 * np.pi * 50 * k * seconds + k * k) / k for k in range(1, 20))
    if kind == "clicks":
        clicks = np.where(rng.random(count) < 8 / 22050, rng.uniform(-1, 1, count), 0)
        return np.convolve(clicks, np.exp(-np.arange(300) / 50))[:count]
    return rng.standard_normal(count) if kind == "noise" else np.ones(count)


@pytest.mark.parametrize("kind", ["noise", "moving filter", "mains hum", "clicks", "constant"])
def test_what_is_no_music_has_no_genre_instrument_mood_or_voice(kind: str) -> None:
    samples = no_music(kind)
    audio = Audio((samples / np.abs(samples).max() * 0.3).astype(np.float32), 22050)
    tool = TagsExtractor()
    found = tool.conclude([tool.observe(audio)], audio.duration_s)
    assert (kind != "noise") or {"noise", "white_noise"} <= {t.concept for t in found["sounds"] if t.confidence > 0.9}
    musical = [t for t in (*found["instruments"], *found["genres"], *found["moods"]) if t.confidence > 0.3]
    assert {t.concept for t in musical} <= {"sound_effects"} and found["voice"].confidence < 0.1
