"""One door for spreading work: ``Executor.map``. Which executor runs it changes the speed, never the results.

Here are the executors of this process; ``processes`` has the one of worker processes.
"""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from solfa.core.errors import DecodeError

T = TypeVar("T")
R = TypeVar("R")

FailureKind = Literal["raised", "timeout", "starved", "crashed", "memory"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Done(Generic[T, R]):
    """One item and what the function made of it."""

    item: T
    value: R


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed(Generic[T]):
    """One item that came to nothing; the others go on.

    ``kind``: the function ``raised``; its worker went silent at work (``timeout``) or without
    getting to work (``starved``: a busy machine, a disk that does not answer), died (``crashed``) or took too much
    ``memory``. ``reason`` is a short clause; ``error`` is the class of what was raised.
    """

    item: T
    kind: FailureKind
    reason: str
    error: str = ""


class Executor(Protocol):
    """Runs a function over items, in any order.

    If the function has a method ``prepare()``, each worker calls it once before its first item (loading models); what
    that raises ends the run, because it would fail every item.
    """

    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Generator[Done[T, R] | Failed[T]]:
        """Every item once, as soon as it is done or has failed. Closing the generator ends the work."""


def prepare(fn: object) -> None:
    """Call the function's own ``prepare()``, if it has one."""
    own = getattr(fn, "prepare", None)
    if own is not None:
        own()


class Worker:
    """What a worker process knows about itself; in the main process everything is a no-op."""

    threads: int | None = None
    beat: Callable[[], None] | None = None


def heartbeat() -> None:
    """Say that the current item is moving: its time limit starts again. Free of cost outside a worker process."""
    if Worker.beat is not None:
        Worker.beat()


def worker_threads() -> int | None:
    """How many threads numeric libraries may use in this worker process; None outside of one."""
    return Worker.threads


class SerialExecutor:
    """The plainest executor. It cannot stop an item that hangs, nor survive one that kills the process."""

    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Generator[Done[T, R] | Failed[T]]:
        """Every item once, in order."""
        prepare(fn)
        for item in items:
            yield attempt(fn, item)


class ThreadExecutor:
    """Items in threads of this process: for work that waits for others, such as a server, and not for a core.

    What raises ends its own item; an item that hangs holds its thread.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Generator[Done[T, R] | Failed[T]]:
        """Every item once, as soon as it is done. Closing the generator drops what has not begun."""
        prepare(fn)
        pool = ThreadPoolExecutor(self.workers)
        try:
            for future in as_completed([pool.submit(attempt, fn, item) for item in items]):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def attempt(fn: Callable[[T], R], item: T) -> Done[T, R] | Failed[T]:
    """One item, with whatever it raises turned into a failure of this item alone."""
    try:
        return Done(item=item, value=fn(item))
    except MemoryError as error:
        return Failed(item=item, kind="memory", reason="not enough memory", error=type(error).__name__)
    except Exception as error:  # the marked edge: one item of a batch must not end the others
        name = type(error).__name__
        reason = error.reason if isinstance(error, DecodeError) else " ".join(f"{name}: {error}".split())[:200]
        return Failed(item=item, kind="raised", reason=reason, error=name)
