import json
import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from songs import KEYS, record, shelve
from typer.testing import CliRunner

from fakes.tiny import tiny_model
from solfa.apps.cli import app
from solfa.collection import Collection
from solfa.core.errors import InputError
from solfa.relevance.playlists import _apart, flow_order, path, transitions
from solfa.retrieval import Searcher


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    record(folder / "music", [*["Ada"] * 6, *["Bo"] * 4, "", "", *"cdefgh"])
    shelve(folder / "shelf", folder / "music").close()
    return folder / "shelf"


def loudness(shelf: Collection, ids: Sequence[int]) -> np.ndarray:
    table = shelf.attributes()
    return np.asarray(table.column("loudness_lufs")[table.rows(np.array(ids))])


def repeats(artists: Sequence[object]) -> int:
    return sum(a == b for a, b in pairwise(artists))


def test_loudness_follows_the_flow_and_the_order_given_does_not_matter(shelf: Collection) -> None:
    ids = shelf.attributes().track_ids.tolist()
    shuffled = random.Random(0).sample(ids, len(ids))
    curves = {"rise": np.arange(18), "fall": -np.arange(18), "arc": -abs(np.arange(18) - 8.5)}
    for flow, curve in curves.items():
        order, no_way = flow_order(shelf, ids, flow)  # type: ignore[arg-type]
        assert order == flow_order(shelf, shuffled, flow)[0] and sorted(order) == ids and no_way == 0  # type: ignore[arg-type]
        assert np.corrcoef(loudness(shelf, order), curve)[0, 1] > 0.55, flow
    even, _ = flow_order(shelf, ids, "flat")
    steps = [np.abs(np.diff(loudness(shelf, order))).mean() for order in (even, shuffled)]
    assert steps[0] < 0.8 * steps[1]


def test_neighbours_are_near_in_tempo_and_key(shelf: Collection) -> None:
    ids = shelf.attributes().track_ids.tolist()
    table = shelf.attributes()

    def cost(order: Sequence[int]) -> float:
        rows = table.rows(np.array(order))
        between = transitions(table, rows)
        return float(np.diag(between, 1).sum())

    others = [cost(random.Random(seed).sample(ids, len(ids))) for seed in range(50)]
    assert cost(flow_order(shelf, ids, "arc")[0]) < np.mean(others) * 0.95
    assert flow_order(shelf, ids[:1], "rise") == (ids[:1], 0)


@pytest.mark.parametrize("seed", range(40))
def test_no_artist_comes_twice_in_a_row_where_it_can_be_avoided(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 14))
    artists = [str(a) for a in rng.integers(0, rng.integers(1, 5), count)]
    order = _apart(rng.permutation(count).tolist(), artists, rng.random((count, count)))
    most = max(artists.count(a) for a in artists)
    assert sorted(order) == list(range(count))
    assert repeats([artists[i] for i in order]) == max(0, most - (count - most) - 1)


def test_an_artist_that_has_nearly_all_tracks_is_told(shelf: Collection) -> None:
    ids = shelf.attributes().track_ids.tolist()
    order, told = flow_order(shelf, ids[:8], "rise")  # six by Ada, two by Bo
    assert told == repeats([shelf.track(i).tags.artist for i in order]) == 3


def test_a_path_leads_on_step_by_step(shelf: Collection) -> None:
    searcher, ids = Searcher(shelf, tiny_model), shelf.attributes().track_ids.tolist()
    found = path(shelf, searcher, ids[3], ids[15], 5)
    assert found[0] == ids[3] and found[-1] == ids[15] and len(set(found)) == len(found) <= 7
    assert found == path(shelf, Searcher(shelf, tiny_model), ids[3], ids[15], 5)
    vectors = np.stack([w.frames_TD.astype(float).mean(axis=0) for w in searcher.store.windows(found)])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    towards = vectors @ vectors[-1] - vectors @ vectors[0]
    assert (np.diff(towards) > -0.02).all()  # vectors are stored in int8
    if len(found) > 2:
        direct = float(vectors[0] @ vectors[-1])
        assert min(float(a @ b) for a, b in pairwise(vectors)) > direct
    assert path(shelf, searcher, ids[0], ids[1], 100)[-1] == ids[1]
    for first, last in ((ids[0], ids[0]), (ids[0], 999)):
        with pytest.raises(InputError):
            path(shelf, searcher, first, last, 3)


def test_half_and_double_tempo_and_relative_keys_are_near(shelf: Collection) -> None:
    table = shelf.attributes()
    between = transitions(table, np.arange(18))
    assert between[0, 16] == pytest.approx(0, abs=1e-6)  # 80 and 160 BPM, both in C major
    assert KEYS[3] == "A minor" and between[0, 3] < between[0, 2]  # a relative key, though 95 BPM; D major and 90
    assert np.allclose(between, between.T)


def test_the_commands_write_playlists(shelf: Collection, tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        done = CliRunner().invoke(app, [*map(str, arguments), "--collection", str(shelf.directory)])
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    a, b = (str(shelf.track(i).paths[0]) for i in shelf.attributes().track_ids[[2, 14]].tolist())
    blend = json.loads(run("similar", a, b, "-k", "8", "--json"))
    alone = json.loads(run("similar", a, "-k", "8", "--json"))
    assert {a, b}.isdisjoint(hit["path"] for hit in blend["hits"])
    assert [h["path"] for h in blend["hits"]] != [h["path"] for h in alone["hits"]]
    flowing = json.loads(run("similar", a, b, "-k", "8", "--flow", "rise", "--json", "--m3u", tmp_path / "rise.m3u8"))
    assert {h["path"] for h in flowing["hits"]} == {h["path"] for h in blend["hits"]}
    listed = [line for line in (tmp_path / "rise.m3u8").read_text().splitlines() if not line.startswith("#")]
    assert listed == [h["path"] for h in flowing["hits"]]
    run("feedback", "good", "1")
    shelf.refresh()
    assert (
        shelf.verdicts()[0].track_id == flowing["hits"][0]["track_id"] and len(shelf.verdicts()[0].sought.examples) == 2
    )
    run("path", a, b, "--steps", "3", "--m3u", tmp_path / "path.m3u8")
    listed = [line for line in (tmp_path / "path.m3u8").read_text().splitlines() if not line.startswith("#")]
    assert listed[0] == a and listed[-1] == b
    assert [t["paths"][0] for t in json.loads(run("path", a, b, "--steps", "3", "--json"))["tracks"]] == listed
    failed = CliRunner().invoke(
        app, ["similar", a, "--flow", "rise", "--sort", "tempo", "--collection", str(shelf.directory)]
    )
    assert isinstance(failed.exception, InputError)
