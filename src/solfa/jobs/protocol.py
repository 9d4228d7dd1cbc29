"""One door for spreading work: ``Executor.map``. Which executor runs it changes the speed, never the results."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

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
    ``memory``. ``reason`` is a short clause; ``error`` is the class of what was raised, ``details`` its traceback.
    """

    item: T
    kind: FailureKind
    reason: str
    error: str = ""
    details: str = ""


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
