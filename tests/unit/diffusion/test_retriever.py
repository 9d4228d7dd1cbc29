import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from fakes.given_tracks import RATE, TRACKS, sound, write_collection, write_tracks
from fakes.tiny import tiny_model
from solfa.apps.cli import app
from solfa.collection import Collection
from solfa.core.errors import InputError, SolfaError
from solfa.core.types import Audio, States
from solfa.diffusion import retriever as module
from solfa.diffusion.guidance import DenoiserSpec
from solfa.diffusion.retriever import Retriever, moved, prompts
from solfa.query import Query, parse
from solfa.retrieval import Display, Searcher


class Tower:
    """One of the tiny model's towers as a backbone."""

    def __init__(self, kind: str) -> None:
        self._tower: Any = getattr(tiny_model(), kind)
        self.spec = self._tower.spec

    def states(self, batch: list[Any]) -> States:
        found = self._tower.encode(batch)
        return States(found.global_BD, found.frames_BTD, found.mask_BT)


class Denoiser:
    """Knows the answer: what a text sounds like is the mean of its states, more or less noise or not."""

    def __init__(self, **changed: Any) -> None:
        text = Tower("text").spec
        self.spec = DenoiserSpec(**{
            "space": tiny_model().space, "audio": "none", "text": "tiny", "text_space": text.space, "length": 2,
            "dim": text.dim, "text_dim": text.dim, "hop_s": 1.0, "mean_D": np.zeros(text.dim, np.float32), "scale": 1.0,
            "null_LE": np.full((1, text.dim), 1e-3, np.float32), **changed,
        })  # fmt: skip

    def __call__(self, z_BTD: Any, t_B: Any, text_BLE: Any, mask_BL: Any) -> Any:
        mean_BE = (text_BLE * mask_BL[..., None]).sum(axis=1) / mask_BL.sum(axis=1, keepdims=True)
        noise = 0.2 * z_BTD / np.linalg.norm(z_BTD, axis=-1, keepdims=True)
        return (mean_BE[:, None] + noise).astype(np.float32)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Retriever:
    monkeypatch.setattr(module, "load", lambda place: Denoiser(**(place or {})))
    monkeypatch.setattr(module, "load_backbone", lambda name, kind, **_: Tower(kind))
    return Retriever()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_collection(write_tracks(tmp_path_factory.mktemp("music")), tmp_path_factory.mktemp("collection"))


@pytest.fixture
def searcher(directory: Path) -> Iterator[Searcher]:
    with Collection.open(directory) as collection:
        yield Searcher(collection, tiny_model)


DEEP = Display(k=50, duplicates=True)


def test_what_is_generated_takes_the_place_of_the_text(made: Retriever, searcher: Searcher) -> None:
    query = made.generate("low", samples=3)
    assert query.latents_STD.shape == (3, 2, made.spec.dim) and np.linalg.norm(query.vector_D) == pytest.approx(1)
    np.testing.assert_array_equal(query.vector_D, made.generate("low", samples=3).vector_D)
    assert not np.array_equal(query.vector_D, made.generate("low", samples=3, seed=1).vector_D)
    for words in ("high", "low"):  # the words of the query are not compared: the vector is
        found = searcher.search(parse(words), instead=made.instead(query, searcher), by="vectors", display=DEEP)
        of_text = searcher.search(parse("low"), by="vectors", display=DEEP)
        assert found.hits[0].path == of_text.hits[0].path
        assert found.hits[0].evidence[0].asked == "low"
    away = made.generate("low sound", "high", scale=4)
    low, high = (made.generate(text).vector_D for text in ("low", "high"))
    near = made.generate("low sound").vector_D
    assert away.vector_D @ high < near @ high and away.vector_D @ low > 0 and away.label == "low sound, not high"


def test_constraints_are_measured_beside_what_is_generated(made: Retriever, searcher: Searcher) -> None:
    like = made.instead(made.generate("low"), searcher)
    found = searcher.search(parse("low, 110 BPM"), instead=like, display=DEEP)
    assert {e.constraint for e in found.hits[0].evidence} == {"tempo", "sounds like"}
    assert found.hits[0].evidence[0].satisfied


def test_an_edit_says_what_moved_and_why(made: Retriever, searcher: Searcher) -> None:
    old = made.generate("low")
    unchanged = made.edit(old, "high", strength=0)
    np.testing.assert_array_equal(unchanged.latents_STD, old.latents_STD)
    new = made.edit(old, "high", strength=0.8)
    likes = [made.instead(each, searcher) for each in (old, new)]
    before, after = (searcher.search(Query(text=""), instead=like, display=DEEP) for like in likes)
    found = moved(searcher, before, after, likes, "make it high", ())
    ranks = {hit.track_id: rank for rank, hit in enumerate(before.hits, 1)}
    for rank, hit in enumerate(found.hits, 1):
        was, said = ranks[hit.track_id], hit.evidence[0]
        assert (said.constraint, said.asked) == ("edit", "make it high") and "similarity" in said.measured
        assert said.satisfied is (None if was == rank else was > rank)
        assert said.measured.startswith("same place" if was == rank else f"{'up' if was > rank else 'down'} from {was}")
    assert before.hits[0].track_id != after.hits[0].track_id
    assert "moved down: " in found.note and " 1 → " in found.note
    values = [float(x) for x in found.hits[0].evidence[0].measured.split("similarity ")[1].rstrip(")").split(" → ")]
    assert -1 <= values[0] < values[1] <= 1


def test_a_track_is_edited_by_what_the_collection_keeps_and_is_not_its_own_answer(
    made: Retriever, searcher: Searcher
) -> None:
    track = searcher.search(parse("low"), display=DEEP).hits[0]
    sound = made.of_track(searcher, track.track_id)
    assert sound.latents_STD.shape == (1, 2, made.spec.dim) and not sound.text
    without = made.edit(sound, "", "high", strength=0.5)  # a negative alone
    found = searcher.search(Query(text=""), instead=made.instead(without, searcher), display=DEEP)
    assert track.track_id not in {hit.track_id for hit in found.hits} and without.label.endswith("not high")


def test_a_slider_moves_toward_its_concept_and_away(made: Retriever) -> None:
    query, direction = made.generate("low"), made.slider("high")
    high = made.generate("high").vector_D
    near = [float(query.toward(direction, weight).vector_D @ high) for weight in (-1, -0.5, 0, 0.5, 1)]
    assert near == sorted(near) and near[0] < near[-1]


@pytest.mark.parametrize(
    ("text", "negative", "how", "says"),
    [
        (" ", "", {}, "the prompt is empty"), ("low", " LOW ", {}, "are the same"),
        ("low", "", {"scale": -1}, "0 to 20"),
        ("low", "", {"scale": float("nan")}, "0 to 20"), ("low", "", {"samples": 0}, "1 to 256"),
        ("low", "", {"seed": -1}, "seed from 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_generated_is_refused(made: Retriever, text: str, negative: str, how: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        made.generate(text, negative, **how)


def test_edits_out_of_range_and_other_spaces_are_refused(made: Retriever, searcher: Searcher) -> None:
    for strength in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match=r"strength .* expected 0"):
            made.edit(made.generate("low"), "high", strength=strength)
    with pytest.raises(InputError, match="prompt is empty"):
        made.edit(made.generate("low"), "", "")
    other = Retriever({"space": "other/1"})  # type: ignore[arg-type]
    for use in (lambda: other.instead(made.generate("low"), searcher), lambda: other.of_track(searcher, 1)):
        with pytest.raises(InputError, match=r"'other/1'.*solfa train gdr --audio tower:"):
            use()
    with pytest.raises(InputError, match="Train it again"):
        Retriever({"text_space": "before/1"})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no such file"):
        made.of_sound("nothing.wav")


def test_prompts_are_what_is_said_and_excluded() -> None:
    assert prompts(parse("dreamy pads, no drums")) == ("dreamy pads", "drums")
    assert prompts(replace(parse("90 bpm"), negated_phrases=("a", "b"))) == ("", "a, b")


@pytest.fixture
def ask(made: Retriever, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command on the collection, with the tiny model and the denoiser above."""
    monkeypatch.setattr("solfa.api.load_model", lambda name, **_: tiny_model())

    def run(*given: object) -> Result:
        return CliRunner().invoke(app, ["search", *map(str, given), "--collection", str(directory), "--json"])

    return run


def hits_of(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output + str(result.exception)
    return list(json.loads(result.stdout)["hits"])


def test_the_command_searches_and_edits(ask: Callable[..., Result], directory: Path) -> None:
    by_text, by_gdr = (hits_of(ask("low", *via, "--by", "vectors")) for via in ((), ("--via", "gdr")))
    assert by_text[0]["path"] == by_gdr[0]["path"]
    low = {hit["path"] for hit in by_text}
    said = json.loads(ask("low, 110 bpm", "--via", "gdr", "--not", "high", "--samples", 2).stdout)
    assert "generated: 'low, not high', 2 samples" in said["parsed"]["lines"][-1]
    assert {"tempo", "sounds like"} <= {e["constraint"] for e in said["hits"][0]["evidence"]}
    last = json.loads((directory / "last-search.json").read_text())["sought"]
    assert last["query"] == "low, 110 bpm"
    edited = hits_of(ask("--edit", "add high", "--strength", 0.9))
    assert edited[0]["evidence"][0]["constraint"] == "edit" and "similarity" in edited[0]["evidence"][0]["measured"]
    assert json.loads((directory / "last-search.json").read_text())["sought"]["query"] == "low, 110 bpm, high"
    for source in ("1", "track:1", next(iter(low))):
        words = "remove the high" if source == "track:1" else "not high"
        found = hits_of(ask("--edit", words, "--from", source))
        assert found and all(hit["track_id"] != 1 for hit in found if source == "track:1")
        assert json.loads((directory / "last-search.json").read_text())["sought"]["examples"]
    one, two = (hits_of(ask("--edit", "110 bpm", "--from", "track:1", "--strength", s)) for s in (0, 0.9))
    assert all(hit["evidence"][0]["measured"].startswith("same place") for hit in one)
    assert any(e["constraint"] == "tempo" for hit in two for e in hit["evidence"])
    ask("low")
    ask("--edit", "add high", "--strength", 0)  # changes nothing, of what is remembered either
    assert json.loads((directory / "last-search.json").read_text())["sought"]["query"] == "low"


def test_a_denoiser_is_a_joint_model_to_measure(made: Retriever) -> None:
    model, own = made.joint(seed=1), tiny_model()
    sounds = [Audio(sound(track.sound, 4.0), RATE) for track in TRACKS[:2]]
    assert np.allclose(model.audio.encode(sounds).global_BD, own.audio.encode(sounds).global_BD, atol=1e-5)
    texts = model.text.encode(["low", "high"])
    assert np.array_equal(texts.global_BD[1], made.generate("high", seed=1).vector_D)
    assert texts.frames_BTD.shape == (2, 2, made.spec.dim) and texts.mask_BT.all()
    assert model.space == model.text.spec.space == made.spec.space and model.name == "gdr"
    assert (texts.global_BD @ own.text.encode(["low", "high"]).global_BD.T).argmax(axis=1).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["low", "--guidance", "2"], "give --via gdr"), (["low", "--seed", "1"], "give --via gdr"),
        (["low", "--strength", "0.4"], "about --edit"), (["low", "--from", "LAST"], "about --edit"),
        (["low", "--edit", "add high"], "leave the words out"), (["--via", "gdr"], "prompt is empty"),
        (["90 bpm", "--via", "gdr"], "prompt is empty"), (["low", "--via", "gdr", "--not", "low"], "are the same"),
        (["low", "--via", "gdr", "--guidance", "21"], "0 to 20"), (["--edit", " "], "say what to change"),
        (["--edit", "add high", "--from", "track:1", "--strength", "2"], "0 .unchanged. to 1"),
        (["--edit", "add high", "--from", "none.wav"], "no such file"),
        (["--edit", "add high", "--from", "999"], "no hit"),
        (["--edit", "add high", "--from", "track:1", "--sort", "tempo"], "leave --sort out"),
    ],
)  # fmt: skip
def test_what_the_command_refuses(ask: Callable[..., Result], given: list[str], says: str) -> None:
    ask("low")
    refused = ask(*given)
    assert isinstance(refused.exception, SolfaError) and re.search(says, str(refused.exception)), refused.exception
