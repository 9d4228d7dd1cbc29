"""Everything in this process, one item after the other."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from solfa.core.errors import DecodeError
from solfa.jobs.protocol import Done, Failed, prepare

T = TypeVar("T")
R = TypeVar("R")


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
        with ThreadPoolExecutor(self.workers) as pool:
            futures = [pool.submit(attempt, fn, item) for item in items]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:
                for future in futures:
                    future.cancel()


def attempt(fn: Callable[[T], R], item: T) -> Done[T, R] | Failed[T]:
    """One item, with whatever it raises turned into a failure of this item alone."""
    try:
        return Done(item=item, value=fn(item))
    except MemoryError as error:
        return Failed(item=item, kind="memory", reason="not enough memory", error=type(error).__name__)
    except Exception as error:  # the marked edge: one item of a batch must not end the others
        name = type(error).__name__
        if isinstance(error, DecodeError):
            return Failed(item=item, kind="raised", reason=error.reason, error=name)
        reason = " ".join(f"{name}: {error}".split())[:200]
        return Failed(item=item, kind="raised", reason=reason, error=name, details=traceback.format_exc())
