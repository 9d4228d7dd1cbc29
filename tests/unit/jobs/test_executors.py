"""Executors: same results, and one bad item costs one item."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from solfa.core.errors import DecodeError, InputError, MissingWeights, UnknownName
from solfa.jobs import Done, Executor, Failed, ProcessExecutor, SerialExecutor, heartbeat, worker_threads


def square(x: int) -> int:
    if x == 3:
        raise DecodeError("three.wav", "holds no samples")
    if x == 4:
        raise KeyError("four")
    return x * x


class Misbehave:
    """Items say what to do; prepared once for each worker."""

    def __init__(self) -> None:
        self.prepared = 0

    def prepare(self) -> None:
        self.prepared += 1

    def __call__(self, item: str) -> str:
        if item == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if item == "exit":
            os._exit(7)
        if item == "hang":
            time.sleep(60)
        if item == "slow":
            for _ in range(14):
                time.sleep(0.3)
                heartbeat()
        if item == "greedy":
            hoard = []
            while True:
                hoard.append(b"x" * (64 << 20))
                time.sleep(0.02)
        if item == "unsendable":
            return lambda: None  # type: ignore[return-value]
        return f"{item}:{self.prepared}"


class CannotPrepare:
    def prepare(self) -> None:
        raise MissingWeights("musicnn")

    def __call__(self, item: int) -> int:
        return item


class UnknownPrepare(CannotPrepare):
    def prepare(self) -> None:
        raise UnknownName("model", "x", ["y"])


def threads(_: int) -> tuple[int | None, str]:
    return worker_threads(), os.environ.get("OMP_NUM_THREADS", "")


@pytest.mark.parametrize("executor", [SerialExecutor(), ProcessExecutor(2)])
def test_every_item_comes_back_once_and_failures_are_typed(executor: Executor) -> None:
    results = list(executor.map(square, range(8)))
    assert {r.item: r.value for r in results if isinstance(r, Done)} == {x: x * x for x in (0, 1, 2, 5, 6, 7)}
    failed = {r.item: r for r in results if isinstance(r, Failed)}
    assert sorted(failed) == [3, 4]
    assert (failed[3].kind, failed[3].reason, failed[3].error) == ("raised", "holds no samples", "DecodeError")
    assert failed[4].reason == "KeyError: 'four'"


def test_a_crash_a_hang_and_a_hog_cost_one_item_each() -> None:
    executor = ProcessExecutor(2, timeout_s=3.0, max_rss_bytes=256 << 20)
    items = ["a", "segfault", "b", "hang", "slow", "exit", "c", "greedy", "d", "unsendable", "e"]
    results = {r.item: r for r in executor.map(Misbehave(), items)}
    assert sorted(results) == sorted(items)
    good = {k for k, r in results.items() if isinstance(r, Done)}
    assert good == {"a", "b", "c", "d", "e", "slow"}  # slow takes longer than the limit, but keeps moving
    assert all(results[k].value == f"{k}:1" for k in good)  # type: ignore[union-attr]
    kinds = {k: r.kind for k, r in results.items() if isinstance(r, Failed)}
    assert kinds == {
        "segfault": "crashed",
        "exit": "crashed",
        "hang": "starved",
        "greedy": "memory",
        "unsendable": "raised",
    }
    assert results["segfault"].reason == "its worker died (signal -11)"  # type: ignore[union-attr]


@pytest.mark.parametrize("executor", [SerialExecutor(), ProcessExecutor(2)])
def test_what_fails_every_item_ends_the_run(executor: Executor) -> None:
    with pytest.raises(MissingWeights, match="solfa models pull musicnn") as caught:
        list(executor.map(CannotPrepare(), range(3)))
    assert caught.value.name == "musicnn"
    with pytest.raises(UnknownName, match="unknown model 'x'"):
        list(executor.map(UnknownPrepare(), range(3)))


def test_closing_the_iterator_ends_the_workers() -> None:
    results = ProcessExecutor(2).map(Misbehave(), ["a", "hang", "hang", "hang"])
    assert next(iter(results)).item == "a"
    assert multiprocessing.active_children()
    results.close()
    assert not multiprocessing.active_children()


def test_workers_share_the_cores_and_the_parent_keeps_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    [result] = ProcessExecutor(64).map(threads, [0])
    assert isinstance(result, Done) and result.value == (1, "1")
    assert os.environ["OMP_NUM_THREADS"] == "9" and "MKL_NUM_THREADS" not in os.environ
    assert worker_threads() is None


def test_no_items_start_no_process() -> None:
    assert list(ProcessExecutor(2).map(CannotPrepare(), [])) == []


def test_a_pool_needs_a_worker() -> None:
    with pytest.raises(InputError, match="at least 1, got 0"):
        ProcessExecutor(0)
