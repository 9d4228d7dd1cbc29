"""Worker processes that may die: a crash, a hang or a memory hog costs one item and one fresh worker.

``concurrent.futures.ProcessPoolExecutor`` declares the whole pool broken when one worker dies, and cannot stop a task;
pebble restarts workers and stops tasks, but knows neither heartbeats (a 5-hour file may take long, a stuck one may
not) nor memory limits, and is LGPL. What is needed beyond them is small, so this is ``multiprocessing.Process`` and
one pipe for each worker, nothing else.
"""

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any, TypeVar

from solfa.core.errors import InputError, SolfaError
from solfa.jobs.executors import Done, Failed, FailureKind, Worker, attempt, prepare

T = TypeVar("T")
R = TypeVar("R")

_READY, _BEAT, _RESULT, _PREPARE_FAILED = "ready", "beat", "result", "prepare failed"
_BEAT_EVERY_S = 0.2
_POLL_S = 0.5
_NOTHING: Any = object()
_START_LIMIT_S = 300.0
_LEAST_SHARE = 0.25  # of the processor: a worker that gets less is held up from outside
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class WorkerLost(SolfaError):
    """A worker process that died while it was starting."""


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ProcessExecutor:
    """Spread items over worker processes (started fresh, so safe with threads).

    - ``workers``: number of processes; one for each core when None
    - ``timeout_s``: longest silence of a worker on one item; ``jobs.heartbeat()`` starts it again
    - ``max_rss_bytes``: memory of one worker, above which it is ended (measured where ``/proc`` exists)
    - ``threads``: of numeric libraries in each worker; an equal share of the cores when None

    Raises InputError if ``workers`` is below 1.
    """

    def __init__(
        self, workers: int | None = None, *, timeout_s: float = 120.0, max_rss_bytes: int = 4 << 30,
        threads: int | None = None,
    ) -> None:  # fmt: skip
        self.workers = cores() if workers is None else workers
        if self.workers < 1:
            raise InputError(f"the number of workers must be at least 1, got {self.workers}.")
        self.timeout_s, self.max_rss_bytes = timeout_s, max_rss_bytes
        self.threads = threads or max(1, cores() // self.workers)

    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Generator[Done[T, R] | Failed[T]]:
        """Every item once, as soon as it is done or has failed. Closing the generator ends the workers."""
        source = iter(items)
        pool: list[_Process] = []
        payload = pickle.dumps(fn)  # travels between our own processes only; nothing pickled is ever stored
        try:
            while True:
                while len(busy := [p for p in pool if p.busy]) < self.workers:
                    item = next(source, _NOTHING)
                    if item is _NOTHING:
                        break
                    self._idle(pool, payload, self.threads).give(item)
                if not busy:
                    return
                yield from self._collect(pool, busy)
        finally:
            for process in pool:
                process.end()

    def _idle(self, pool: "list[_Process]", payload: bytes, threads: int) -> "_Process":
        for process in pool:
            if not process.busy:
                return process
        pool.append(_Process(payload, threads))
        return pool[-1]

    def _collect(self, pool: "list[_Process]", busy: "list[_Process]") -> Iterator[Done[Any, Any] | Failed[Any]]:
        connection.wait([p.pipe for p in busy], timeout=_POLL_S)
        for process in busy:
            result = process.read() or self._verdict(process)
            if result is None:
                continue
            if process.gone:
                process.end()
                pool.remove(process)
            yield result

    def _verdict(self, process: "_Process") -> Failed[Any] | None:
        """Why a worker that has said nothing has to go, if it has to."""
        silence = time.monotonic() - process.at_s
        limit = self.timeout_s if process.ready else max(self.timeout_s, _START_LIMIT_S)
        if process.rss() > self.max_rss_bytes:
            return process.fail("memory", f"took more than {self.max_rss_bytes / 2**30:.1f} GiB of memory")
        if silence > limit:
            if process.cpu_s() - process.cpu_at_s < _LEAST_SHARE * limit:
                return process.fail("starved", f"no progress for {limit:g} s, and hardly any processor time in it")
            return process.fail("timeout", f"no progress for {limit:g} s")
        return None


class _Process:
    """One worker and its pipe, as the parent sees it."""

    def __init__(self, payload: bytes, threads: int) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, payload, threads), daemon=True)
        with _limited_threads(threads), _interrupts_ignored():
            self._process.start()
        theirs.close()
        self.busy = self.ready = self.gone = False
        self.at_s, self.cpu_at_s = time.monotonic(), 0.0
        self._item: Any = None

    def give(self, item: Any) -> None:
        """Send the next item; a worker that has died meanwhile shows it at the next reading."""
        self._item, self.busy, self.at_s, self.cpu_at_s = item, True, time.monotonic(), self.cpu_s()
        try:
            self.pipe.send(item)
        except (BrokenPipeError, ConnectionResetError):
            return

    def read(self) -> Done[Any, Any] | Failed[Any] | None:
        """The result, if it has come; None while the worker is still at it."""
        try:
            while self.pipe.poll():
                kind, value = self.pipe.recv()
                self.at_s, self.cpu_at_s = time.monotonic(), self.cpu_s()
                if kind == _RESULT:
                    self.busy = False
                    result: Done[Any, Any] | Failed[Any] = value
                    return result
                if kind == _PREPARE_FAILED:
                    raise rebuilt(*value)
                self.ready = self.ready or kind == _READY
        except (EOFError, ConnectionResetError):
            self._process.join(5)
            code = self._process.exitcode
            if not self.ready:
                raise WorkerLost(f"a worker process died before its first item (exit code {code}).") from None
            return self.fail("crashed", f"its worker died ({'signal ' if code and code < 0 else 'exit code '}{code})")
        return None

    def fail(self, kind: FailureKind, reason: str) -> Failed[Any]:
        self.busy, self.gone = False, True
        return Failed(item=self._item, kind=kind, reason=reason)

    def rss(self) -> int:
        try:
            pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError, ValueError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu_s(self) -> float:
        """Processor time so far; where it cannot be determined, as if the worker had all it wanted."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, IndexError, ValueError):
            return time.monotonic()

    def end(self) -> None:
        if self._process.is_alive():
            self._process.kill()
        self._process.join(10)
        self.pipe.close()


def rebuilt(kind: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    """The exception that a worker raised; its constructor is not called again with a ready-made message."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """A child inherits that Ctrl-C is ignored, also before its own code runs: the parent ends it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _limited_threads(threads: int) -> Iterator[None]:
    """Numeric libraries read these variables when they load, so they must be set before the child starts."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# --- inside a worker process ------------------------------------------------------------------------------------------


def _serve(pipe: Any, payload: bytes, threads: int) -> None:
    """Answer items with results until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it ends us
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _silence_stderr()
    Worker.threads = threads
    Worker.beat = _beat_to(pipe)
    try:
        fn = pickle.loads(payload)
        prepare(fn)
    except Exception as error:  # marked edge: handed to the parent, which raises it
        pipe.send((_PREPARE_FAILED, (type(error), error.args, error.__dict__)))
        return
    pipe.send((_READY, None))
    while True:
        try:
            item = pipe.recv()
        except (EOFError, OSError):
            return
        result = attempt(fn, item)
        try:
            pipe.send((_RESULT, result))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            reason = f"its result cannot be sent: {error}"
            pipe.send((_RESULT, Failed(item=result.item, kind="raised", reason=reason, error="PicklingError")))
        except (BrokenPipeError, ConnectionResetError):
            return


def _beat_to(pipe: Any) -> Any:
    last = [0.0]

    def beat() -> None:
        now = time.monotonic()
        if now - last[0] >= _BEAT_EVERY_S:
            last[0] = now
            pipe.send((_BEAT, None))

    return beat


def _silence_stderr() -> None:
    """Codec libraries print about damaged files; what matters is in the result."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    os.close(sink)


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
