"""Shards in one process, without Ray: what each is told and says, for many queries and models of every shape."""

import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

sys.path += [str(Path(__file__).parents[1] / "retrieval")]
from test_search_views import CAPTION, collection, files, trained  # noqa: F401  (fixtures)

from fakes.tiny import tiny_model
from solfa.cluster import shards
from solfa.cluster.lance_store import LanceStore
from solfa.collection import Collection
from solfa.core.errors import CollectionError
from solfa.core.types import JointModel, ViewName
from solfa.query import parse, parse_where
from solfa.retrieval import Display, Results, Searcher

pytest.importorskip("lance")
pytestmark = pytest.mark.usefixtures("own_home")
TEXTS = ("110 BPM, low", "F major, Am-F-C-G, Rhodes, no vocals, low", "bright", "right wrong key", "waltz in D minor",
         "drums come in late", "low, without vocals but with choir", "starts quiet and builds up", "under 20 seconds",
         "chords Bm-G-D-A", "solo Rhodes", "3/4", "no drums in the first half, drums", "copy of right")  # fmt: skip
WHERE = ((), ("tempo_bpm=100..120",), ("metre=3/4",), ("key=F major", "duration_s>10"), ("tempo_bpm>300",),
         ("path~wrong",), ("duration_s<16",))  # fmt: skip
DISPLAYS = (Display(k=4), Display(k=2, page=2, duplicates=True), Display(sort="-tempo", per_artist=1),
            Display(sort="title"))  # fmt: skip


class Error(Exception):
    pass


class Task(Error):
    pass


class Died(Error):
    pass


@dataclass(eq=False)
class Call:
    actor: Any
    name: str
    arguments: tuple[Any, ...]


class Here:
    """What shards use of Ray, done at once in this process; ``gone`` are calls of actors that have died."""

    exceptions = SimpleNamespace(RayError=Error, RayTaskError=Task, ActorDiedError=Died)

    def __init__(self) -> None:
        self.gone: set[int] = set()

    def remote(self, kind: type) -> Any:
        def made(*arguments: Any) -> Any:
            actor = kind(*arguments)
            methods = {name: SimpleNamespace(remote=lambda *a, name=name: Call(actor, name, a)) for name in dir(actor)}
            return SimpleNamespace(**{n: m for n, m in methods.items() if not n.startswith("_")}, actor=actor)

        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=made))

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def put(self, value: Any) -> Any:
        return value

    def wait(self, calls: list[Any], timeout: float) -> Any:
        return calls[:1], calls[1:]

    def get(self, call: Any, timeout: float) -> Any:
        if id(call.actor) in self.gone:
            raise Died
        return getattr(call.actor, call.name)(*call.arguments)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    found = Here()
    monkeypatch.setattr(shards, "connect", lambda address: found)

    return found


def agree(one: Results, other: Results) -> None:
    assert one.hits == other.hits
    for name in ("query", "parsed", "candidates", "note", "before", "space"):
        assert getattr(one, name) == getattr(other, name), name


def opened(folder: Path, tmp_path: Path, count: int, model: JointModel, **options: Any) -> shards.ShardedSearcher:
    address = f"lance://{tmp_path}/store"
    LanceStore(address).copy_from(folder)
    return shards.ShardedSearcher(address, count, loaded=lambda name, allowed: model, **options)


@pytest.mark.parametrize("count", [1, 2, 9])
def test_hits_and_scores_are_those_of_one_collection(shelf: Path, tmp_path: Path, here: Here, count: int) -> None:
    sharded = opened(shelf, tmp_path, count, tiny_model())
    with Collection.open(shelf) as whole:
        alone = Searcher(whole, tiny_model)
        asked = list(product(TEXTS, WHERE, DISPLAYS, ("search", "vectors")))
        for at in np.random.default_rng(count).choice(len(asked), 200, replace=False).tolist():
            text, where, display, by = asked[at]
            filters = [parse_where(one) for one in where]
            agree(*(s.search(parse(text), where=filters, display=display, by=by) for s in (alone, sharded)))  # type: ignore[arg-type]


@pytest.mark.parametrize("view", ["global", "frame", "mix"])
def test_models_with_windows(collection: Collection, tmp_path: Path, here: Here, view: ViewName) -> None:  # noqa: F811
    sharded = opened(collection.directory, tmp_path, 3, trained(), view=view)
    alone = Searcher(collection, trained, view)
    for text, by in product((CAPTION, "low", "bright noisy bells, no vocals"), ("search", "vectors")):
        agree(*(s.search(parse(text), display=Display(k=20), by=by) for s in (alone, sharded)))  # type: ignore[arg-type]


def test_a_replica_takes_over_in_the_middle_of_a_search(shelf: Path, tmp_path: Path, here: Here) -> None:
    sharded = opened(shelf, tmp_path, 2, tiny_model(), replicas=2)
    before = sharded.search(parse("low, 110 BPM"))
    actors = [handle.actor for handle in sharded.replicas[0]]
    step = shards.ShardActor.step

    def dying(self: Any, key: str, asked: Any, said: Any, shared: Any) -> Any:
        if self in actors and len(said) == 2 and not here.gone:
            here.gone.add(id(self))
            raise Died
        return step(self, key, asked, said, shared)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards.ShardActor, "step", dying)
        agree(before, sharded.search(parse("low, 110 BPM")))
    assert len(here.gone) == 1 and not sharded.missing and len(sharded.replicas[0]) == 1
    here.gone.add(id(sharded.replicas[0][0].actor))
    less = sharded.search(parse("low, 110 BPM"))
    assert sharded.missing == {0} and "shard 1 of 2" in less.note and less.candidates < before.candidates
    here.gone.update(id(handle.actor) for handle in sharded.replicas[1])
    with pytest.raises(CollectionError, match="no shard answers"):
        sharded.search(parse("low"))
