import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from songs import KEYS, record, shelve
from typer.testing import CliRunner

import solfa
from fakes.tiny import tiny_model
from solfa.apps.cli import app
from solfa.collection import Collection
from solfa.collection.feedback import Sought, TrackVerdict
from solfa.core.errors import InputError
from solfa.core.types import FloatArray
from solfa.relevance import learn as learning
from solfa.relevance.head import (
    ALPHA,
    Judged,
    agreement,
    distillation,
    hard_share,
    headed,
    mine,
    objective,
    part_of,
    split,
    stored,
    train,
    triplet_loss,
)
from solfa.relevance.preference import Preference, Traits, fifths_apart, octaves_apart

SPACE = "tiny/1/32"


def units(count: int, dim: int, seed: int = 0) -> FloatArray:
    rows = np.random.default_rng(seed).standard_normal((count, dim))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def slopes(loss: Any, at: FloatArray, step: float = 1e-6) -> FloatArray:
    """Central differences of a loss at every entry."""
    found = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        shift = np.zeros_like(at)
        shift[place] = step
        found[place] = (loss(at + shift) - loss(at - shift)) / (2 * step)
    return found


TRIPLETS = np.array([[0, 1, 2], [3, 4, 5], [0, 2, 4]])


def test_gradients_equal_finite_differences() -> None:
    vectors, sample, weights = units(6, 4), units(5, 4, 1), np.eye(4) + 0.1 * units(4, 4, 2)
    assert np.allclose(
        triplet_loss(vectors, TRIPLETS)[1], slopes(lambda v: triplet_loss(v, TRIPLETS)[0], vectors), atol=1e-7
    )
    assert np.allclose(distillation(sample, units(5, 4, 3))[1],
                       slopes(lambda v: distillation(v, units(5, 4, 3))[0], sample), atol=1e-7)  # fmt: skip
    loss, gradient = objective(weights, vectors, TRIPLETS, sample, 10)
    assert loss > 0
    assert np.allclose(gradient, slopes(lambda w: objective(w, vectors, TRIPLETS, sample, 10)[0], weights), atol=1e-5)


def test_a_triplet_beyond_the_margin_costs_nothing() -> None:
    a, p = np.array([1.0, 0.0]), np.array([1.0, 0.0])
    for distance, expected in ((1.01 * ALPHA, 0.0), (ALPHA / 2, ALPHA / 2)):
        cos = 1 - distance / 2
        n = np.array([cos, np.sqrt(1 - cos**2)])
        loss, gradient = triplet_loss(np.stack([a, p, n]), np.array([[0, 1, 2]]))
        assert loss == pytest.approx(expected, abs=1e-9) and bool(gradient.any()) == (expected > 0)


def test_a_planted_direction_is_learnt_and_the_rest_stays() -> None:
    """Tracks that agree in the first of 16 numbers belong together; the others are noise."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((400, 16)).astype(np.float32)
    rows[:, 0] = np.where(np.arange(400) % 2, 0.8, -0.8)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    own = np.arange(400) % 2

    def triplets(among: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        drawn = [(a, rng.choice(among[own[among] == own[a]]), rng.choice(among[own[among] != own[a]])) for a in among]
        return np.array(drawn)

    weights = train(rows, triplets(np.arange(200)), rows[:100])
    held, new = triplets(np.arange(200, 400)), stored("x", weights, "").apply(rows)
    assert agreement(new, held) > agreement(rows, held) + 0.1
    assert np.array_equal(weights, train(rows, triplets(np.arange(200)), rows[:100])) is False  # other triplets
    assert float(((new @ new.T - rows @ rows.T) ** 2).mean()) < 0.05


def test_mining_takes_hard_negatives_and_leaves_out_artists_copies_and_ties() -> None:
    angles = {
        "anchor": 0,
        "good": 20,
        "near": 13,
        "nearer": 8,
        "far": 80,
        "farther": 90,
        "copy": 0.1,
        "same": 15,
        "tie": 11,
    }
    names = list(angles)
    vectors = np.array([[np.cos(np.radians(d)), np.sin(np.radians(d))] for d in angles.values()])
    artists = [{"same": "artist of anchor", "anchor": "artist of anchor"}.get(n, n) for n in names]

    def judged(**verdicts: bool | tuple[bool, float]) -> list[Judged]:
        given = {n: v if isinstance(v, tuple) else (v, 1.0) for n, v in verdicts.items()}
        return [Judged(anchor=0, track=names.index(n), is_good=g, confidence=c) for n, (g, c) in given.items()]

    def mined(*given: Judged) -> list[str]:
        return [names[n] for _, _, n in mine(vectors, artists, given)]

    said = judged(good=True, near=False, nearer=False, far=False, copy=False, same=False, tie=(False, 0.69))
    assert mined(*said) == ["nearer", "near"]  # hard ones only, nearest first; no copy, no same artist, no tie
    assert mined(*judged(good=True, far=False, farther=False)) == ["far", "farther"]  # semi-hard where none is hard
    assert len(mined(*judged(good=True, near=False, nearer=False), *judged(tie=False, farther=False))) == 3
    assert mined(*judged(near=False, far=False)) == [] and mined(*judged(good=(True, 0.5), far=False)) == []
    assert hard_share(vectors, said) == pytest.approx(4 / 6)


def test_held_out_anchors_never_enter_training() -> None:
    rng = np.random.default_rng(1)
    artists = [f"artist {i % 17}" for i in range(60)]
    triplets = rng.integers(0, 60, (500, 3))
    for part in range(4):
        train_T, held_T = split(artists, triplets, part)
        seen = {artists[row] for row in train_T.ravel()}
        assert len(train_T) and len(held_T) and not seen & {artists[row] for row in held_T[:, 0]}
        assert all(part_of(artists[row]) == part for row in held_T[:, 0])


def test_keys_and_tempi_are_compared_as_musicians_do() -> None:
    c, a_minor, g, f_sharp = 0, 21, 7, 6
    assert [int(fifths_apart(np.array(c), np.array(k))) for k in (c, a_minor, g, f_sharp)] == [0, 0, 1, 6]
    assert octaves_apart(np.array([60.0, 60.0, 90.0]), np.array([120.0, 66.0, np.nan]))[:2] == pytest.approx(
        [0.0, np.log2(1.1)]
    )


ARTISTS = [f"artist {i // 2}" for i in range(40)]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    record(folder / "music", ARTISTS)
    shelve(folder / "shelf", folder / "music").close()
    return folder / "shelf"


def say(shelf: Collection, pairs: Sequence[tuple[int, int]], is_good: Any) -> None:
    """Verdicts on (anchor, track), found by ``solfa similar ANCHOR``."""
    paths = {row.id: str(row.paths[0]) for row in shelf.tracks()}
    shelf.change_verdicts([
        TrackVerdict(track_id=t, is_good=bool(is_good(a, t)), sought=Sought(examples=(paths[a],)), time_s=1.0)
        for a, t in pairs
    ])  # fmt: skip


@dataclass(frozen=True)
class Spaced:
    tower: Any
    spec: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tower, name)


def same_key(a: int, t: int) -> bool:
    return (a - t) % len(KEYS) == 0


def test_what_a_listener_weighs_is_learnt_kept_and_undone(shelf: Collection) -> None:
    ids = shelf.attributes().track_ids.tolist()
    path = str(shelf.track(ids[0]).paths[0])
    before = solfa.search(shelf, like=[path], k=40)
    say(shelf, [(a, t) for a in ids[1:9] for t in ids[12:24]], same_key)
    learnt = learning.learn(shelf, tiny_model())
    assert learnt.agreement is not None and learnt.agreement[1] > learnt.agreement[0]
    assert max(learnt.weights, key=lambda name: learnt.weights[name]) in ("key near", "mode alike")
    assert learnt.head is not None
    shelf.install_head(learnt.head, tiny_model().views)
    after = solfa.search(shelf, like=[path], k=40)

    def keys_right(results: Any) -> int:
        return sum(same_key(ids[0], hit.track_id) for hit in results.hits[:8])

    assert keys_right(after) > keys_right(before)
    assert "solfa learn --remove" in after.parsed[-1] and before.parsed == ()
    assert learnt.weights["vocals, by words"] == 0  # verdicts on similar tracks change no search by words
    assert learning.learn(shelf, tiny_model()).weights == learnt.weights
    shelf.install_head(None)
    assert [h.track_id for h in solfa.search(shelf, like=[path], k=40).hits] == [h.track_id for h in before.hits]


def test_verdicts_without_a_pattern_install_nothing(shelf: Collection) -> None:
    rng = np.random.default_rng(3)
    ids = shelf.attributes().track_ids.tolist()
    say(shelf, [(a, t) for a in ids[1:6] for t in ids[12:20]], lambda a, t: rng.random() < 0.5)
    learnt = learning.learn(shelf, tiny_model())
    if learnt.agreement is not None and learnt.agreement[1] <= learnt.agreement[0]:
        assert not learnt.weights
    assert all(r.taken == (r.agreement is not None and r.agreement[1] > r.agreement[0]
                           and r.general[1] > r.general[0] - 0.01) for r in learnt.rounds)  # fmt: skip


def test_a_map_that_costs_general_retrieval_is_refused(shelf: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = shelf.attributes().track_ids.tolist()
    say(shelf, [(a, t) for a in ids[:20] for t in ids[20:32]], same_key)
    for cost, taken in ((0.02, False), (0.005, True)):
        scores, told = iter([0.5, *[0.5 - cost] * 2]), iter([0.5, 0.6, 0.6])  # before once, then each map
        monkeypatch.setattr(learning, "_precision", lambda *_, scores=scores: next(scores))
        monkeypatch.setattr("solfa.relevance.learn.agreement", lambda *_, told=told: next(told))
        [one] = learning.learn(shelf, tiny_model()).rounds
        assert one.taken is taken and one.general == (0.5, 0.5 - cost)


class PlantedJudge:
    """Finds tracks similar on the same side of a direction; knows them by their tempo, as ``Numbers`` measures it."""

    def __init__(self, sides: np.ndarray[Any, Any]) -> None:
        self._sides = sides

    def compare(self, a: Any, b: Any, attributes: Sequence[str]) -> tuple[Any, ...]:
        from solfa.relevance.judge import Compared

        first, second = (self._sides[round((track.tempo_bpm - 80) / 5)] for track in (a, b))
        match = float(first == second)
        return tuple(Compared(attribute=n, first="", second="", match=match, relation="") for n in attributes)


def test_a_judge_is_asked_about_near_tracks_once_and_the_head_has_a_space_of_its_own(shelf: Collection) -> None:
    ids = shelf.attributes().track_ids.tolist()
    at = shelf.attributes().column("tempo_bpm")[:, 0].argsort()
    rows = np.stack([w.pooled_WD.astype(float).mean(axis=0) for w in shelf.store(SPACE).windows(ids)])[at]
    along = np.linalg.svd(rows - rows.mean(axis=0))[2][3]
    judge = PlantedJudge(rows @ along > np.median(rows @ along))
    learnt = learning.learn(shelf, tiny_model(), judge=judge, anchors=40)  # type: ignore[arg-type]
    first = learnt.rounds[0]
    assert first.judged == 40 * 39 and first.trained > 100 and first.held_out and 0 < first.hard < 1
    assert learnt.verdicts == 0 and not learnt.weights
    assert learnt.head is not None and first.taken
    assert shelf.install_head(learnt.head, tiny_model().views) == 40
    results = solfa.search(shelf, "low")
    assert results.space == learnt.head.space != SPACE
    assert headed(tiny_model(), learnt.head).text.spec.space == learnt.head.space
    assert headed(tiny_model(), None).space == SPACE


def test_the_head_maps_what_is_indexed_later(shelf: Collection, tmp_path: Path) -> None:
    weights = (np.eye(32) + 0.05 * units(32, 32)).astype(np.float32)
    head = stored(SPACE, weights, json.dumps({"preference": None}))
    shelf.install_head(head)
    record(tmp_path / "new", ["Zoe"], seed=5)
    solfa.index(shelf, [tmp_path / "new"])
    assert shelf.stats().spaces == {SPACE: 41, head.space: 41}
    assert "Zoe" in [hit.tags.artist for hit in solfa.search(shelf, "low", k=41).hits]


def test_what_was_learnt_for_one_model_is_not_used_with_another(
    shelf: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {"preference": {"weights": {"vocals": 3.0}, "scales": {"vocals": (0.0, 1.0)}}}
    path = str(next(iter(shelf.tracks())).paths[0])
    before = solfa.search(shelf, like=[path], k=40)
    shelf.install_head(stored(SPACE, (np.eye(32) + 0.05 * units(32, 32)).astype(np.float32), json.dumps(weights)))
    other = tiny_model()
    spec = replace(other.audio.spec, space="other/1/32")
    other = replace(
        other, audio=Spaced(other.audio, spec), text=Spaced(other.text, replace(other.text.spec, space="other/1/32"))
    )
    for module in ("solfa.api", "solfa.encoders.registry"):
        monkeypatch.setattr(f"{module}.load_model", lambda *_, **__: other)
    record(tmp_path / "new", ["Zoe"], seed=5)
    solfa.index(shelf, [tmp_path / "new", Path(path).parent])
    assert shelf.stats().spaces["other/1/32"] == 41 and sum(shelf.stats().spaces.values()) == 40 + 40 + 41
    after = solfa.search(shelf, like=[path], k=40, model="other")
    assert after.space == "other/1/32" and after.parsed == before.parsed == ()


def test_a_collection_without_tracks_teaches_nothing(tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    record(tmp_path / "music", ["Ada"])
    with shelve(tmp_path / "shelf", tmp_path / "music") as shelf:
        with pytest.raises(InputError, match="learning needs 5"):
            learning.learn(shelf, tiny_model())
        one = learning.learn(shelf, tiny_model(), judge=PlantedJudge(np.zeros(40)))  # type: ignore[arg-type]
        assert one.head is None and one.rounds[0].judged == 0
        with sqlite3.connect(shelf.directory / "collection.sqlite") as db:
            db.execute("UPDATE file SET present = 0")
        db.close()
        shelf.refresh()
        with pytest.raises(InputError, match="no track of the collection has vectors"):
            learning.learn(shelf, tiny_model(), judge=PlantedJudge(np.zeros(40)))  # type: ignore[arg-type]


def test_too_few_verdicts_are_told(shelf: Collection) -> None:
    ids = shelf.attributes().track_ids.tolist()
    with pytest.raises(InputError, match="0 verdicts that count; learning needs 5"):
        learning.learn(shelf, tiny_model())
    say(shelf, [(ids[0], t) for t in ids[5:12]], lambda a, t: True)
    with pytest.raises(InputError, match="good and bad ones"):
        learning.learn(shelf, tiny_model())


def test_learning_recovers_planted_weights_of_a_logistic_listener() -> None:
    rng = np.random.default_rng(0)
    scales: Mapping[str, Sequence[float]] = {"a": (0.0, 1.0), "b": (2.0, 3.0), "c": (0.0, 1.0)}
    values = rng.standard_normal((4000, 3)) * [1, 3, 1] + [0, 2, 0]
    chance = 1 / (1 + np.exp(-(2 * values[:, 0] - 1.5 * (values[:, 1] - 2) / 3)))
    found = [dict(zip(scales, row, strict=True)) for row in values]
    learnt = Preference(weights={}, scales=scales).learnt(found, (rng.random(4000) < chance).tolist(), np.zeros(4000))
    assert learnt.weights["a"] == pytest.approx(2, abs=0.2) and learnt.weights["b"] == pytest.approx(-1.5, abs=0.15)
    assert abs(learnt.weights["c"]) < 0.25
    columns = {name: values[:, i] for i, name in enumerate(scales)}
    assert np.abs(learnt.evidence(columns, 4000)).max() <= 4
    assert learnt.evidence({"a": np.array([np.nan])}, 1).tolist() == [0.0]


def test_features_of_text_queries_are_those_of_the_track_alone(shelf: Collection) -> None:
    features, rows = Traits(shelf.attributes()), np.arange(40)
    assert set(features.of([], rows)) == {"vocals, by words"}
    assert len(features.of([3], rows)) == 9 and features.of([3], rows)["key near"][3] == 0


def test_the_command_learns_reports_and_undoes(shelf: Collection) -> None:
    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, "--collection", str(shelf.directory)])
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    assert "nothing to remove" in run("learn", "--remove")
    ids = shelf.attributes().track_ids.tolist()
    say(shelf, [(a, t) for a in ids[1:9] for t in ids[12:24]], same_key)
    said = json.loads(run("learn", "--json"))
    assert said["schema"] == "solfa.learn/1" and said["verdicts"] == 96 and said["weights"]
    assert "undo it with: solfa learn --remove" in run("status")
    assert "held-out pairs in the right order" in run("learn")
    assert "searches are as before" in run("learn", "--remove")
    assert json.loads(run("learn", "--remove", "--json")) == {"schema": "solfa.learn/1", "removed": False}
    assert "solfa learn" not in run("status")
    failed = CliRunner().invoke(app, ["learn", "--judge", "nobody", "--collection", str(shelf.directory)])
    assert isinstance(failed.exception, InputError)
