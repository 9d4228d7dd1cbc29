"""The executor of a Ray cluster: same results as on one machine, and the same limits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

sys.path += [str(Path(__file__).parents[1] / "jobs"), str(Path(__file__).parents[1] / "collection")]
from indexing import content, extractors, make_music
from test_executors import CannotPrepare, Misbehave, square

from fakes.s3 import Faults, upload
from fakes.tiny import tiny_model
from solfa.cluster.ray_executor import RayExecutor, connect
from solfa.cluster.sources import RemoteFiles
from solfa.collection import Collection
from solfa.core.errors import InputError, MissingWeights, SolfaError
from solfa.datasets.building import ShardTask, build
from solfa.datasets.shards import Dataset
from solfa.jobs import Done, Failed, SerialExecutor, worker_threads

TESTS = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("default")  # of Ray, at its start


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    import ray

    before = os.environ.get("PYTHONPATH", "")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["PYTHONPATH"] = os.pathsep.join([*map(str, sys.path), before])  # the nodes import what tests define
    ray.init("local", num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    try:
        yield ray
    finally:
        ray.shutdown()
        os.environ["PYTHONPATH"] = before


class KillActor:
    """Kills the process above its own for the items that are asked for, once each (or for ever)."""

    def __init__(self, folder: Path, always: bool = False) -> None:
        self.folder, self.always = folder, always

    def __call__(self, item: str) -> str:
        mark = self.folder / item
        if item.startswith("kill") and (self.always or not mark.exists()):
            mark.touch()
            os.kill(os.getppid() if "actor" in item else os.getpid(), signal.SIGKILL)
            time.sleep(30)
        return item.upper()


class Where:
    def __call__(self, item: str) -> tuple[bool, str, int | None]:
        return Path(item).exists(), os.environ["OMP_NUM_THREADS"], worker_threads()


def outcomes(results: Any) -> list[tuple[Any, ...]]:
    return sorted(
        (str(r.item), "done", r.value) if isinstance(r, Done) else (str(r.item), r.kind, r.reason) for r in results
    )


def test_the_results_are_those_of_one_process(ray: Any) -> None:
    assert outcomes(RayExecutor(workers=2).map(square, range(30))) == outcomes(SerialExecutor().map(square, range(30)))
    assert list(RayExecutor().map(square, [])) == []


@pytest.mark.slow
def test_a_bad_item_costs_itself(ray: Any) -> None:
    items = ["a", "segfault", "exit", "slow", "hang", "greedy", "unsendable", "b", "c"]
    executor = RayExecutor(workers=2, timeout_s=3, max_rss_bytes=600 << 20)
    results = {r.item: r for r in executor.map(Misbehave(), items)}
    assert sorted(results) == sorted(items)
    kinds = {item: r.kind for item, r in results.items() if isinstance(r, Failed)}
    assert kinds == {
        "segfault": "crashed", "exit": "crashed", "hang": "starved", "greedy": "memory", "unsendable": "raised",
    }  # fmt: skip
    assert results["a"].value == "a:1" and "signal -11" in results["segfault"].reason


def test_a_worker_or_an_actor_that_is_killed_costs_nothing(ray: Any, tmp_path: Path) -> None:
    items = [*map(str, range(6)), "kill worker", "kill actor", "kill actor 2", *map(str, range(6, 12))]
    assert outcomes(RayExecutor(workers=2).map(KillActor(tmp_path), items)) == [
        (item, "done", item.upper()) for item in sorted(items)
    ]


def test_an_item_that_always_kills_its_actor_does_not_hold_up_the_others(ray: Any, tmp_path: Path) -> None:
    results = outcomes(RayExecutor(workers=2).map(KillActor(tmp_path, always=True), ["a", "kill actor", "b"]))
    assert [row[1] for row in results] == ["done", "done", "starved"] and "8 workers" in results[2][2]


def test_what_prepare_raises_ends_the_run(ray: Any) -> None:
    with pytest.raises(MissingWeights, match="solfa models pull musicnn"):
        list(RayExecutor(workers=1).map(CannotPrepare(), [1, 2]))


def test_workers_end_with_the_run_and_items_are_taken_as_they_are_needed(ray: Any) -> None:
    taken = list[int]()

    def items() -> Iterator[int]:
        for i in range(1000):
            taken.append(i)
            yield i

    results = RayExecutor(workers=2).map(square, items())
    next(results)
    assert len(taken) < 20
    results.close()
    end_s = time.monotonic() + 20
    while _actors() and time.monotonic() < end_s:
        time.sleep(0.1)
    assert not _actors()


def _actors() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "ray::_Worker" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_relative_paths_and_threads(ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here.txt").touch()
    [result] = RayExecutor(workers=1, cpus=2).map(Where(), ["here.txt"])
    assert isinstance(result, Done) and result.value == (True, "2", 2)


def test_shares_are_kept(ray: Any) -> None:
    assert RayExecutor()._most(ray) == 2 and RayExecutor(cpus=0.5)._most(ray) == 4
    assert RayExecutor(gpus=1)._most(ray) == 1  # no GPU here: one worker waits for it
    assert RayExecutor(workers=7)._most(ray) == 7


def test_no_room_is_told(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solfa.cluster.ray_executor._START_LIMIT_S", 1.0)
    monkeypatch.setattr("solfa.cluster.ray_executor._POLL_S", 0.5)
    with pytest.raises(SolfaError, match="no room"):
        list(RayExecutor(workers=1, cpus=64).map(square, [1]))


@pytest.mark.parametrize("options", [{"workers": 0}, {"cpus": 0.0}, {"gpus": -1.0}, {"cpus": float("nan")}])
def test_shares_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        RayExecutor(**options)


def test_a_store_is_indexed_over_the_cluster(ray: Any, moto: str, faults: Faults, tmp_path: Path) -> None:
    """The command, as people run it, on a cluster that is there; then again, which finds nothing to do."""
    make_music(tmp_path / "music", 5)
    (tmp_path / "music" / "bad.mp3").write_text("no music")
    upload(moto, tmp_path / "music")
    # The nodes were started before the address of this test's store was known.
    with Collection.open(tmp_path / "shelf", create=True) as shelf:
        report = shelf.add(
            ["s3://music"], model=tiny_model, extractors=extractors, source=Store(faults.url),
            executor=RayExecutor(workers=2),
        )  # fmt: skip
        assert (report.added, [str(f.path) for f in report.failed]) == (5, ["s3://music/bad.mp3"]), report
        shelf.refresh()
        found = content(shelf)
        again = shelf.add(["s3://music"], model=tiny_model, extractors=extractors, source=Store(faults.url),
                          executor=RayExecutor(workers=2))  # fmt: skip
        assert (again.unchanged, len(again.known_bad)) == (5, 1)
    with Collection.open(tmp_path / "one", create=True) as one:
        one.add(["s3://music"], model=tiny_model, extractors=extractors, source=RemoteFiles())
        one.refresh()
        assert content(one) == found


class Store(RemoteFiles):
    """Tells the processes of the nodes where the store is, as an administrator does by their environment."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __setstate__(self, state: dict[str, str]) -> None:
        from fakes.s3 import ENVIRONMENT

        self.url = state["url"]
        os.environ.update(ENVIRONMENT, AWS_ENDPOINT_URL=self.url)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "solfa", *arguments], capture_output=True, text=True, check=False, timeout=100,
        env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.slow
def test_commands_on_a_cluster(ray: Any, tmp_path: Path) -> None:
    make_music(tmp_path / "music", 3)
    environment = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address, "SOLFA_HOME": str(tmp_path / "home")}
    shelf = str(tmp_path / "shelf")
    made = run("index", str(tmp_path / "music"), "--collection", shelf, "--executor", "ray", **environment)
    assert made.returncode == 0 and "3 added" in made.stdout and made.stderr == "", made
    for label in ("bell", "drum", "horn"):
        make_music(tmp_path / "events" / label, 3)
    for executor in ("ray", "processes"):
        arguments = ["--events", str(tmp_path / "events"), "--count", "3", "--per-shard", "1", "--executor", executor]
        made = run("data", "scenes", str(tmp_path / executor), *arguments, **environment)
        assert made.returncode == 0 and "Traceback" not in made.stderr, made
        made = run("data", "caption", str(tmp_path / "music"), str(tmp_path / f"c-{executor}"), "--executor", executor,
                   "--seconds", "1", **environment)  # fmt: skip
        assert made.returncode == 0, made
    for name in ("", "c-"):
        revisions = {Dataset.open(tmp_path / f"{name}{kind}").manifest["revision"] for kind in ("ray", "processes")}
        assert len(revisions) == 1  # down to the last byte


def test_a_folder_that_workers_do_not_share_is_told(ray: Any, tmp_path: Path) -> None:
    """A node with another disk, as far as the driver can see: what was made there is not here."""
    with pytest.raises(SolfaError, match="all nodes share"):
        build(tmp_path / "out", made_elsewhere, name="x", config={}, seed=0, num_shards={"train": 1},
              executor=Elsewhere(workers=1))  # fmt: skip


def made_elsewhere(task: ShardTask) -> list[Any]:
    return []


class Elsewhere(RayExecutor):
    def map(self, fn: Any, items: Any) -> Any:
        for result in super().map(fn, items):
            (fn.folder / result.item.file).unlink(missing_ok=True)
            yield result


@pytest.mark.parametrize("name", ["dask", "ray:", "ray://", "Ray"])
def test_an_executor_that_is_none_is_told(name: str, tmp_path: Path) -> None:
    made = run("index", str(tmp_path), "--executor", name)
    assert made.returncode == 2 and "expected processes, ray" in made.stderr, made


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_music(tmp_path / "music", 1)
    made = run("index", str(tmp_path / "music"), "--collection", str(tmp_path / "c"), "--executor",
               "ray://127.0.0.1:9", RAY_CLIENT_MAX_CONNECTION_RETRIES="1")  # fmt: skip
    assert made.returncode == 2 and "cannot connect to the Ray cluster ray://127.0.0.1:9" in made.stderr, made
    assert "Traceback" not in made.stderr


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SolfaError, match=r"solfa\[cluster\]"):
        connect()
