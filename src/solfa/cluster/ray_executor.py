"""Spreading work over a Ray cluster, with the limits of one machine on every node.

An actor holds one worker process of ``jobs`` and takes one item at a time. A file that crashes, hangs or hoards memory
costs its worker process; the actor only watches. An actor or node that dies costs the time of its item, which goes to
another. The driver alone sees results and hands each on once, so what it commits is committed once.
"""

import logging
import os
import pickle
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from solfa.core.errors import InputError, SolfaError, need
from solfa.jobs import Done, Failed, ProcessExecutor, WorkerLost, prepare
from solfa.jobs.processes import rebuilt

T = TypeVar("T")
R = TypeVar("R")

_TRIES = 3  # for an item whose worker process died: from outside, or of the item
_LOSSES = 8  # actors that an item may lose; and, times the number of workers, that may be lost without any result
_POLL_S = 5.0  # between looks at how large the cluster is
_START_LIMIT_S = 600.0  # a node that an autoscaler starts takes minutes
_NOTHING: Any = object()


def connect(address: str = "") -> Any:
    """The module ``ray``, connected to a cluster; a connection that this process already has is kept.

    ``address``: ``HOST`` or ``HOST:PORT`` of the cluster's Ray Client server; "": the cluster that ``RAY_ADDRESS``
    names (``auto``: one that runs on this machine), or else one of this machine's cores, for as long as the process
    runs. Ray's own search would also find one whose driver was killed, and wait for it.

    Raises MissingExtra without Ray; SolfaError if the cluster cannot be reached.
    """
    ray = need("ray", "a Ray cluster", "pip install 'solfa[cluster]'")
    if ray.is_initialized():
        return ray
    os.environ.setdefault("RAY_worker_niceness", "0")  # of a cluster that begins here: as fast as processes would be
    place = f"ray://{address}" if address else os.environ.get("RAY_ADDRESS", "local")
    options = {} if address else {"include_dashboard": False}
    try:
        ray.init(place, logging_level=logging.ERROR, log_to_driver=False, **options)
    except (OSError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())[:300]
        raise SolfaError(f"cannot connect to the Ray cluster {place}: {said} See docs/scale.md.") from error
    # Ray prints that nodes have died to standard output, which may be JSON; what was lost is done again.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    return ray


@dataclass(eq=False, slots=True)
class _Task:
    item: Any
    tries: int = 0
    losses: int = 0


class RayExecutor:
    """Spread items over the nodes of a Ray cluster, one worker process for each share of it.

    The function must be importable on every node (the same solfa there), and files must be where it looks for them: in
    an object store, or in a folder that all nodes share.

    - ``address``: as ``connect`` takes it
    - ``workers``: how many at most, also as the demand that an autoscaler sees; as many as the nodes hold when None
    - ``cpus``, ``gpus``: share of each worker; more than one CPU is as many threads
    - ``timeout_s``, ``max_rss_bytes``: of a worker process on one item, as ``ProcessExecutor`` has them

    Raises InputError if ``workers`` is below 1 or a share makes no sense.
    """

    def __init__(
        self, address: str = "", *, workers: int | None = None, cpus: float = 1.0, gpus: float = 0.0,
        timeout_s: float = 120.0, max_rss_bytes: int = 4 << 30,
    ) -> None:  # fmt: skip
        if not (0 < cpus < 1e6 and 0 <= gpus < 1e6 and (workers is None or workers >= 1)):
            raise InputError(f"workers {workers} of {cpus} CPUs and {gpus} GPUs: expected at least 1, of more than 0 "
                             f"CPUs and of 0 GPUs or more.")  # fmt: skip
        self._address, self._workers, self._cpus, self._gpus = address, workers, cpus, gpus
        self._limits = {"timeout_s": timeout_s, "max_rss_bytes": max_rss_bytes, "threads": max(1, int(cpus))}

    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Generator[Done[T, R] | Failed[T]]:
        """Every item once, as soon as it is done or has failed; what has not begun is not held in memory.

        Closing the generator ends the workers. Raises what ``prepare()`` of the function raises; SolfaError if the
        cluster cannot be reached or is lost, or workers die without doing anything, or cannot be started.
        """
        source = iter(items)
        if (first := next(source, _NOTHING)) is _NOTHING:
            return  # without starting a cluster
        ray = connect(self._address)
        options = {"num_cpus": self._cpus, "num_gpus": self._gpus, "max_restarts": 0}
        actor = ray.remote(_Worker).options(scheduling_strategy="SPREAD", **options)
        payload, cwd = pickle.dumps(fn), str(Path.cwd())
        crew = _Crew(ray, lambda: actor.remote(payload, cwd, self._limits), self._most)
        try:
            yield from crew.work(chain([first], source))
        except (ConnectionError, ray.exceptions.RaySystemError) as error:
            raise SolfaError(f"the Ray cluster was lost ({error}); run the same command again to go on.") from error
        finally:
            crew.end()

    def _most(self, ray: Any) -> int:
        if self._workers is not None:
            return self._workers
        held = ray.cluster_resources()
        gpu_workers = held.get("GPU", 0) / self._gpus if self._gpus else float("inf")
        return max(1, int(min(held.get("CPU", 0) / self._cpus, gpu_workers)))


class _Crew:
    """The actors of one run, and what each of them does."""

    def __init__(self, ray: Any, hire: Callable[[], Any], most: Callable[[Any], int]) -> None:
        self._ray, self._hire, self._count = ray, hire, most
        self._todo: deque[_Task] = deque()
        self._running: dict[Any, tuple[Any, _Task | None]] = {}  # reference of a result -> actor, None while it starts
        self._idle: list[Any] = []
        self._looked_s, self._most, self._losses = 0.0, 1, 0

    def work(self, source: Iterator[Any]) -> Iterator[Done[Any, Any] | Failed[Any]]:
        """Every item of the source once."""
        event_s = time.monotonic()
        while True:
            self._fill(source)
            busy = sum(task is not None for _, task in self._running.values())
            if not (self._todo or busy):
                return
            ready, _ = self._ray.wait(list(self._running), timeout=_POLL_S)
            if ready or busy:
                event_s = time.monotonic()
            elif time.monotonic() - event_s > _START_LIMIT_S:
                raise SolfaError(f"no worker could start in {_START_LIMIT_S / 60:g} minutes: the cluster has no room "
                                 f"for one. See what it has with: ray status")  # fmt: skip
            for ref in ready:
                result = self._take(ref)
                self._fill(source)  # the next item first: the caller may take its time with this one
                if result is not None:
                    yield result

    def end(self) -> None:
        """End all workers."""
        if self._ray.is_initialized():  # Ray would begin a cluster of its own to kill them in
            for actor in [*self._idle, *(actor for actor, _ in self._running.values())]:
                self._dismiss(actor)

    def _fill(self, source: Iterator[Any]) -> None:
        """Start workers as long as there is work for more, and give it to those that have none."""
        if time.monotonic() - self._looked_s > _POLL_S:
            self._most, self._looked_s = self._count(self._ray), time.monotonic()
        free = len(self._idle) + sum(task is None for _, task in self._running.values())
        room = max(0, self._most - len(self._running) - len(self._idle))
        while len(self._todo) < free + room and (item := next(source, _NOTHING)) is not _NOTHING:
            self._todo.append(_Task(item))
        for _ in range(min(room, len(self._todo) - free)):
            actor = self._hire()
            self._running[actor.__ray_ready__.remote()] = actor, None
        while self._idle and self._todo:
            task, actor = self._todo.popleft(), self._idle.pop()
            self._running[actor.run.remote(pickle.dumps(task.item))] = actor, task

    def _take(self, ref: Any) -> Done[Any, Any] | Failed[Any] | None:
        """The result behind a reference; None where there is none yet."""
        actor, task = self._running.pop(ref)
        try:
            result = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            return self._lost(actor, task, error)
        self._idle.append(actor)
        if task is None:
            return None
        if isinstance(result, tuple):
            raise rebuilt(*result)
        self._losses = 0
        task.tries += 1
        if isinstance(result, Done):
            return Done(item=task.item, value=pickle.loads(result.value))
        if result.kind == "crashed" and task.tries < _TRIES:
            self._todo.appendleft(task)
            return None
        return Failed(item=task.item, kind=result.kind, reason=result.reason, error=result.error)

    def _lost(self, actor: Any, task: _Task | None, error: Exception) -> Failed[Any] | None:
        """What becomes of the item of a worker that cannot answer any more: another gets it, some times over."""
        said = " ".join(str(error).split())[-300:]
        if getattr(error, "actor_init_failed", False):
            raise SolfaError(f"a node of the cluster cannot start a worker; is the same solfa there? {said}")
        self._dismiss(actor)
        self._losses += 1
        if self._losses > 2 * self._most + _LOSSES:
            raise SolfaError(f"{self._losses} workers died one after the other without any result: {said}")
        if task is None:
            return None
        task.losses += 1
        if task.losses < _LOSSES:
            self._todo.appendleft(task)
            return None
        return Failed(item=task.item, kind="starved", reason=f"{task.losses} workers or their nodes died at it")

    def _dismiss(self, actor: Any) -> None:
        with suppress(ConnectionError, ValueError, self._ray.exceptions.RayError):  # where it, or the cluster, is gone
            self._ray.kill(actor)


# --- inside an actor, and its worker process --------------------------------------------------------------------------


class _Worker:
    """The actor: watches one worker process. What passes through is packed, so that it need not import its classes."""

    def __init__(self, payload: bytes, cwd: str, limits: dict[str, Any]) -> None:
        # Otherwise multiprocessing runs the script of Ray's workers again in ours, which loads all of Ray.
        vars(sys.modules["__main__"]).pop("__file__", None)
        self._item = b""
        self._results = ProcessExecutor(1, **limits).map(_Packed(payload, cwd), iter(lambda: self._item, None))

    def run(self, item: bytes) -> Any:
        """The result; a tuple that tells the exception where the function could not be prepared."""
        self._item = item
        try:
            return next(self._results)
        except WorkerLost:
            raise  # Ray tells it to the driver like the death of an actor
        except Exception as error:  # marked edge: handed to the driver, which raises it
            return type(error), error.args, error.__dict__


class _Packed:
    """A function of pickled values, itself unpickled where it runs; between our own processes only."""

    def __init__(self, payload: bytes, cwd: str) -> None:
        self._payload, self._cwd = payload, cwd

    def prepare(self) -> None:
        """Unpickle the function and prepare it, in the driver's folder if it is there: paths may be relative."""
        with suppress(OSError):
            os.chdir(self._cwd)
        self._fn = pickle.loads(self._payload)
        prepare(self._fn)

    def __call__(self, item: bytes) -> bytes:
        return pickle.dumps(self._fn(pickle.loads(item)))
