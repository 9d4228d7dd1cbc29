"""Threads for what would hold up the server, and the error of a request that is refused."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from solfa.core.errors import SolfaError

T = TypeVar("T")


class Refused(SolfaError):
    """A request that is not answered, with the HTTP status that says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class BoundedPool:
    """Threads for blocking work: so many at once, so many waiting, each for at most ``limit_s`` with its waiting."""

    def __init__(self, threads: int, waiting: int, limit_s: float) -> None:
        self._threads, self._limit_s, self._most = ThreadPoolExecutor(threads), limit_s, threads + waiting
        self._free = threading.BoundedSemaphore(self._most)

    def begin(self, work: Callable[..., T], *args: Any) -> Future[T]:
        """Work that nobody waits for. Raises Refused (429) where too much waits."""
        if not self._free.acquire(blocking=False):
            raise Refused(429, f"{self._most} requests are at work or waiting. Try again in a moment.")
        future = self._threads.submit(work, *args)
        future.add_done_callback(lambda _: self._free.release())
        return future

    async def __call__(self, work: Callable[..., T], *args: Any) -> T:
        """What the work returns. Raises what it raises, and Refused: 429 where too much waits, 503 after the limit.

        Work that has begun cannot be stopped: it keeps its thread until it ends.
        """
        future = self.begin(work, *args)
        done, _ = await asyncio.wait([asyncio.wrap_future(future)], timeout=self._limit_s)
        if not done:
            future.cancel()
            raise Refused(503, f"no answer within {self._limit_s:g} s. Ask for less, or try again.")
        return done.pop().result()

    def close(self) -> None:
        """Drop what waits; what has begun ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
