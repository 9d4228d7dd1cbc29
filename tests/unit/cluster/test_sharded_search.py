"""Search over shards against a searcher of one machine: a Ray cluster of this machine, as a user gets it."""

import os
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes.tiny import tiny_model
from solfa.cluster.lance_store import LanceStore
from solfa.cluster.shards import ShardedSearcher
from solfa.collection import Collection
from solfa.core.errors import CollectionError, InputError
from solfa.core.types import JointModel
from solfa.query import Query, parse, parse_where
from solfa.retrieval import Display, Results, Searcher, like_example

ray = pytest.importorskip("ray")
pytest.importorskip("lance")
pytestmark = pytest.mark.filterwarnings("ignore")  # of Ray's own
TEXTS = ("110 BPM, low", "F major, Am-F-C-G, Rhodes, no vocals, low", "bright", "right wrong key", "waltz in D minor",
         "drums come in late", "low, without vocals but with choir", "starts quiet and builds up", "under 20 seconds",
         "chords Bm-G-D-A", "solo Rhodes", "3/4", "no drums in the first half, drums")  # fmt: skip
WHERE = ((), ("tempo_bpm=100..120",), ("metre=3/4",), ("key=F major", "duration_s>10"), ("tempo_bpm>300",),
         ("path~wrong",))  # fmt: skip
DISPLAYS = (Display(k=4), Display(k=2, page=2, duplicates=True), Display(sort="-tempo", per_artist=1),
            Display(sort="title"))  # fmt: skip


def loaded(name: str, allowed: bool) -> JointModel:
    return tiny_model()


@pytest.fixture(scope="module")
def cluster(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOLFA_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # the nodes import what tests define
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        address = f"lance://{tmp_path_factory.mktemp('store')}/store"
        LanceStore(address).copy_from(shelf)
        ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
        yield address
        ray.shutdown()


def opened(address: str, shards: int, **options: Any) -> ShardedSearcher:
    return ShardedSearcher(address, shards, loaded=options.pop("loaded", loaded), **options)


def agree(one: Results, other: Results) -> None:
    assert one.hits == other.hits
    for name in ("query", "parsed", "candidates", "note", "before", "space"):
        assert getattr(one, name) == getattr(other, name), name


@pytest.mark.parametrize("count", [15, pytest.param(500, marks=pytest.mark.slow)])
def test_hits_and_scores_are_those_of_one_machine(shelf: Path, cluster: str, music: Path, count: int) -> None:
    sharded = opened(cluster, 3)
    with Collection.open(shelf) as collection:
        alone = Searcher(collection, tiny_model)
        asked = list(product(TEXTS, WHERE, DISPLAYS, ("search", "vectors")))
        for at in np.random.default_rng(0).choice(len(asked), count, replace=False).tolist():
            text, where, display, by = asked[at]
            filters = [parse_where(one) for one in where]
            agree(*(s.search(parse(text), where=filters, display=display, by=by) for s in (alone, sharded)))  # type: ignore[arg-type]
        file = f"{music / 'right.wav'}@0:02-0:10"
        for text in ("150 bpm", "but slower"):
            agree(*(s.search(parse(text), like=[like_example(s, file)]) for s in (alone, sharded)))
        for searcher in (alone, sharded):
            with pytest.raises(InputError, match="nothing to search for"):
                searcher.search(Query(text=""))
    sharded.close()


@pytest.mark.slow
def test_a_replica_that_dies_is_not_noticed_and_a_lost_shard_is_said(cluster: str) -> None:
    sharded = opened(cluster, 2, replicas=2)
    every = Display(k=20, duplicates=True)
    before = sharded.search(parse("low"), display=every)
    for number, replica in ((0, 0), (1, 1)):
        ray.kill(sharded.replicas[number][replica])
        for _ in range(2):  # whichever replica's turn it is
            agree(before, sharded.search(parse("low"), display=every))
    ray.kill(sharded.replicas[1][0])
    less = sharded.search(parse("low"), display=every)
    first, last = sharded.ranges[1]
    assert sharded.missing == {1} and f"shard 2 of 2, tracks {first} to {last}" in less.note
    assert {hit.track_id for hit in less.hits} == {hit.track_id for hit in before.hits if hit.track_id < first}
    ray.kill(sharded.replicas[0][0])
    with pytest.raises(CollectionError, match="no shard answers"):
        sharded.search(parse("low"))


@pytest.mark.slow
def test_a_shard_that_crashes_comes_back(cluster: str) -> None:
    sharded = opened(cluster, 2)
    before = sharded.search(parse("low"))
    ray.kill(sharded.replicas[0][0], no_restart=False)
    agree(before, sharded.search(parse("low")))
    sharded.close()


@pytest.mark.slow
def test_mistakes_are_said_as_on_one_machine(cluster: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one shard"):
        opened(cluster, 0)
    with Collection.open(tmp_path / "empty", create=True):
        pass
    LanceStore(f"lance://{tmp_path}/none").copy_from(tmp_path / "empty")
    with pytest.raises(CollectionError, match="has no tracks"):
        opened(f"lance://{tmp_path}/none", 2)
    sharded = opened(cluster, 2)
    with pytest.raises(InputError, match="not understood"):
        sharded.search(parse("low"), where=[parse_where("key=F major"), parse_where("key=H")])
    sharded.close()
