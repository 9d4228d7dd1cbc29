"""Threads for what would hold up the server, and the error of a request that is refused."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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

    def __init__(self, name: str, threads: int, waiting: int, limit_s: float) -> None:
        self.limit_s, self.most = limit_s, threads + waiting
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = threading.BoundedSemaphore(self.most)

    async def __call__(self, work: Callable[..., T], *args: Any) -> T:
        """What the work returns. Raises what it raises, and Refused: 429 where too much waits, 503 after the limit.

        Work that has begun cannot be stopped: it keeps its thread until it ends.
        """
        if not self._free.acquire(blocking=False):
            raise Refused(429, f"{self.most} requests are at work or waiting. Try again in a moment.")
        future = self._threads.submit(work, *args)
        future.add_done_callback(lambda _: self._free.release())
        try:
            async with asyncio.timeout(self.limit_s) as limit:
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if not limit.expired():
                raise
            raise Refused(503, f"no answer within {self.limit_s:g} s. Ask for less, or try again.") from None

    @property
    def taken(self) -> int:
        """How many are at work or waiting."""
        return self.most - self._free._value

    def close(self) -> None:
        """Drop what waits; what has begun ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
