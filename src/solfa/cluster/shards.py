"""Search over shards: actors hold parts of a store, and answer as one collection does.

A shard is a range of track ids of one version, copied to the disk of the node that holds it. Every shard goes through
the plan of a search (``retrieval.plan``) with what all of them say together, so that hits and scores are those of one
machine. Each has replicas; one that dies is replaced, and what it was asked is asked of the next. A shard none of whose
replicas answers is left out, which the answer says.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from secrets import token_hex
from typing import Any

import numpy as np

from solfa.alignment.scores import Windows
from solfa.api import open_searcher
from solfa.cluster.lance_store import LanceStore
from solfa.cluster.ray_executor import connect
from solfa.collection import Collection
from solfa.collection.flat import spread
from solfa.core.errors import CollectionError, InputError
from solfa.core.filters import Filter
from solfa.core.types import JointModel, ViewName
from solfa.query import Query
from solfa.retrieval import Display, Like, RankBy, Results, Searcher
from solfa.retrieval.plan import Clock, PlannedQuery, Said, answer
from solfa.retrieval.searcher import SAMPLE, SAMPLE_TRACKS, Asking, of_segments

_PAUSE_S = 0.5  # before a replica that is being started is asked again
_PLANS = 64  # searches that a shard goes through at a time


class ShardActor:
    """A part of a version of a store: the tracks from the first to the last of two ids. Lives in a Ray actor."""

    def __init__(self, address: str, tracks: tuple[int, int], options: Mapping[str, Any]) -> None:
        self._searcher = _searcher(address, tracks, options)
        self._plans: OrderedDict[str, tuple[int, Generator[Any, Any, None]]] = OrderedDict()

    def opened(self) -> tuple[set[str], int]:
        """The concepts that were looked for in its tracks, and how many sounds a sample can be drawn from."""
        return self._searcher.collection.attributes().looked_for(), self._searcher.sample_size

    def sampled(self, numbers: Any) -> list[Windows]:
        """Sounds of the sample by their numbers here."""
        return self._searcher.sampled(numbers)

    def find(self, content_hash: str) -> int | None:
        """The track with this content, if it is here."""
        return self._searcher.collection.find(content_hash)

    def tempi(self, track_ids: Sequence[int]) -> list[float]:
        """The measured tempi in BPM of those tracks that are here and have one."""
        return self._searcher.tempi(track_ids)

    def step(self, key: str, asked: PlannedQuery, said: Sequence[Said], shared: tuple[set[str], list[Windows]]) -> Any:
        """The next step of a search after what was said so far; a replica that begins late goes through it all."""
        self._searcher.collection.attributes().elsewhere.update(shared[0])
        if shared[1]:
            self._searcher.sample = shared[1]
        at, plan = self._plans.pop(key, (0, None))
        if plan is not None and at in (len(said) - 1, len(said)):
            found = plan.send(said[-1])
        else:
            plan = self._searcher.steps(asked)
            found = next(plan)
            for one in said:
                found = plan.send(one)
        self._plans[key] = len(said), plan
        if len(self._plans) > _PLANS:
            self._plans.popitem(last=False)
        return found


class ShardedSearcher(Asking):
    """Answers queries over a version of a store in shards, with the hits and scores of a ``Searcher``.

    - ``address``: of the store, as ``LanceStore`` takes it; the version is the same until a new searcher is made
    - ``shards``: into how many parts the tracks are divided; ``replicas`` of each, on different nodes where there are
    - ``ray``: as ``connect`` takes it
    - ``model``, ``allow_noncommercial``, ``view``: as ``solfa.search`` takes them; ``loaded`` as ``open_searcher``
    - ``cpus``: share of each replica, by which Ray places it, and an autoscaler adds nodes; None: all fit now
    - ``limit_s``: how long an answer of a shard may take; its first includes making the copy

    ``missing`` are the shards that did not answer the last search, counted from 0.

    Raises InputError for a number below 1, or where weights of attributes were learnt, which compare examples with all
    tracks; CollectionError as ``LanceStore``, or if no shard can be opened.
    """

    def __init__(
        self, address: str, shards: int, *, replicas: int = 1, ray: str = "", model: str | None = None,
        allow_noncommercial: bool = False, view: ViewName | None = None, cpus: float | None = None,
        limit_s: float = 600.0, loaded: Callable[[str, bool], JointModel] | None = None,
    ) -> None:  # fmt: skip
        if min(shards, replicas) < 1:
            raise InputError(f"at least one shard and one replica of it, got {shards} and {replicas}.")
        store = LanceStore(address)
        data, _ = store.open()
        address = f"{address.rpartition('@')[0] if store.asked else address}@{data.version}"
        ids = np.sort(data.to_table(["of"], filter="track IS NOT NULL")["of"].to_numpy())
        if not len(ids):
            raise CollectionError(f"{address} has no tracks. Fill it with: solfa index FOLDER --collection {address}")
        options = {"model": model, "allow_noncommercial": allow_noncommercial, "view": view, "loaded": loaded}
        own = _searcher(address, (-1, -1), options)  # of no tracks: here a query becomes what is asked
        if own.prefers:
            raise InputError("'solfa learn' learnt weights that compare examples with all tracks; shards cannot. "
                             "Search one collection, or undo it: solfa learn --remove")  # fmt: skip
        super().__init__(lambda: own.model, view)
        self._ray, self._limit_s, self._turn, self.missing = connect(ray), limit_s, 0, set[int]()
        self.ranges = [(int(part[0]), int(part[-1])) for part in np.array_split(ids, min(shards, len(ids)))]
        if cpus is None:
            room = self._ray.cluster_resources().get("CPU", 1.0) / (len(self.ranges) * replicas)
            cpus = min(int(100 * room) / 100, 1.0)
        actor = self._ray.remote(ShardActor).options(num_cpus=cpus, max_restarts=-1, scheduling_strategy="SPREAD")
        self.replicas = [[actor.remote(address, part, options) for _ in range(replicas)] for part in self.ranges]
        self._shared = self._ray.put(self._together())

    def find(self, content_hash: str) -> int | None:
        """The track with this content, None if there is none."""
        found = self._all("find", *[(content_hash,)] * len(self.ranges)).values()
        return next((track_id for track_id in found if track_id is not None), None)

    def tempi(self, track_ids: Sequence[int]) -> list[float]:
        """The measured tempi in BPM of those tracks that have one."""
        found = self._all("tempi", *[(track_ids,)] * len(self.ranges)).values()
        return [bpm for own in found for bpm in own]

    def search(
        self, query: Query, *, where: Sequence[Filter] = (), like: Sequence[Like] = (), display: Display | None = None,
        by: RankBy = "search", instead: Like | None = None,
    ) -> Results:  # fmt: skip
        """The hits of a query, as ``Searcher.search`` gives them; the ``note`` says which shards did not answer.

        Raises CollectionError if none does.
        """
        clock, started = Clock(), time.perf_counter()
        with clock.stage("text"):
            asked = self.asked(query, where, like, display, by, instead)
        self.missing.clear()
        self._turn += 1
        results = None
        while results is None:  # from the start where a shard is lost: parts of an answer would not be comparable
            key, lost = token_hex(8), len(self.missing)

            def ask(said: Sequence[Said], key: str = key, lost: int = lost) -> list[Any]:
                found = self._all("step", *((key, asked, said, self._shared),) * len(self.ranges))
                if len(self.missing) > lost:
                    raise _Lost
                return [*found.values()]

            with suppress(_Lost):
                results = answer(asked, ask, clock, at_once=True, space=self.model.space if asked.targets else "")
        clock.ms["total"] = (time.perf_counter() - started) * 1000
        if not self.missing:
            return results
        parts = "; ".join(f"shard {n + 1} of {len(self.ranges)}, tracks {self.ranges[n][0]} to {self.ranges[n][1]}"
                          for n in sorted(self.missing))  # fmt: skip
        return replace(results, note=f"Not searched, for no replica answered: {parts}. {results.note}".strip())

    def close(self) -> None:
        """Let go of the actors."""
        for handle in (handle for own in self.replicas for handle in own):
            self._ray.kill(handle)

    def _together(self) -> tuple[set[str], list[Windows]]:
        """What shards are told of each other: the concepts that were looked for in any, and the sample of all."""
        opened = self._all("opened", *[()] * len(self.ranges))
        sizes = np.array([opened.get(shard, ((), 0))[1] for shard in range(len(self.ranges))])
        numbers = spread(int(sizes.sum()), SAMPLE_TRACKS if self.model.audio.spec.window_s else SAMPLE)
        ends = np.cumsum(sizes)
        parts = np.split(numbers, np.searchsorted(numbers, ends[:-1]))
        local = [(part - first,) for part, first in zip(parts, ends - sizes, strict=True)]
        drawn = [windows for part in self._all("sampled", *local).values() for windows in part] if len(numbers) else []
        if drawn and not self.model.audio.spec.window_s:
            drawn = [of_segments(np.concatenate([windows.pooled_WD for windows in drawn]))]
        return set().union(*(concepts for concepts, _ in opened.values())), drawn

    def _all(self, method: str, *arguments: tuple[Any, ...]) -> dict[int, Any]:
        """What every shard answers to its own arguments, by number. Those that do not answer are noted as missing.

        Raises what a shard raises; CollectionError if none answers.
        """
        found, pending, why = dict[int, Any](), dict[Any, tuple[int, int, Any]](), ""
        failed, until = self._ray.exceptions, time.monotonic() + self._limit_s

        def send(shard: int, tried: int) -> None:
            own = self.replicas[shard]
            if not own or time.monotonic() > until:
                self.missing.add(shard)
                return
            time.sleep(_PAUSE_S if tried >= len(own) else 0)  # all have been asked: one of them is being started
            handle = own[(self._turn + tried) % len(own)]
            pending[getattr(handle, method).remote(*arguments[shard])] = shard, tried, handle

        for shard in {*range(len(self.ranges))} - self.missing:
            send(shard, 0)
        while pending:
            done, _ = self._ray.wait([*pending], timeout=max(until - time.monotonic(), 0))
            for answered in done or [*pending]:
                shard, tried, handle = pending.pop(answered)
                try:
                    found[shard] = self._ray.get(answered, timeout=0)
                except failed.RayTaskError as error:
                    raise error.cause from None
                except (failed.RayError, TimeoutError) as error:
                    why = str(error).strip().rpartition("\n")[2][:300]
                    if isinstance(error, failed.ActorDiedError):  # for good: those that crash are started again
                        self.replicas[shard].remove(handle)
                    send(shard, tried + 1)
        if not found:
            why = why or "none is left"
            raise CollectionError(f"no shard answers ({why}). See what became of them with: ray list actors")
        return dict(sorted(found.items()))


class _Lost(Exception):
    """A shard that answered before does not any more."""


def _searcher(address: str, tracks: tuple[int, int], options: Mapping[str, Any]) -> Searcher:
    return open_searcher(Collection.open(LanceStore(address).local(tracks)), **options)
