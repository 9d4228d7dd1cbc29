"""Making a data set shard by shard: spread over processes, resumed where it stopped, whole or not there at all."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
from filelock import FileLock, Timeout

from solfa.core.clip import SPLITS
from solfa.core.errors import InputError, SolfaError
from solfa.core.files import check_output
from solfa.datasets.shards import (
    SCHEMA,
    Dataset,
    Failure,
    Member,
    ShardIndex,
    index_path,
    read_json,
    write_json,
    write_shard,
)  # fmt: skip
from solfa.jobs import Done, Executor, Failed, ProcessExecutor, SerialExecutor, prepare

BUILDING_SCHEMA = "solfa.building/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardTask:
    """Which shard to make. ``rng`` is its own source of chance: equal for equal (seed, split, number), else apart."""

    split: str
    number: int
    seed: int

    @property
    def file(self) -> str:
        """``train/000000.tar``."""
        return f"{self.split}/{self.number:06}.tar"

    def rng(self, *place: int) -> np.random.Generator:
        """A fresh generator for a place in the shard, the same on every call."""
        return np.random.default_rng([self.seed, SPLITS.index(self.split), self.number, *place])


# Makes the clips of one shard, a pure function of the task and of what it was built with; must be picklable to run in
# processes. Its method ``prepare()``, if it has one, is called once in each. Its field ``each``, if it has one, is the
# executor of its items; a shard whose worker they ended is made again with each in another process.
MakeShard = Callable[[ShardTask], Iterable[Member | Failure]]


def build(
    folder: Path | str,
    make_shard: MakeShard,
    *,
    name: str,
    config: Mapping[str, Any],
    seed: int,
    num_shards: Mapping[str, int],
    executor: Executor | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Dataset:
    """Make the shards that are not there yet, then write ``dataset.json``; a stopped run continues where it stopped.

    ``folder`` is absent, empty, or begun with the same name, config and seed. ``make_shard`` makes the clips of
    shard k as a pure function of (config, seed, k). ``config`` is plain JSON that decides what comes out, down to
    the version of the pipeline and the number of shards if it divides something among them; another one is another
    data set. ``num_shards`` is how many for each split; more than before extends the data set. ``executor`` spreads
    shards (None: in this process), ``progress`` is called with how many shards are made, and of how many, after every
    shard. Raises InputError if the folder holds something else, or another process is at it; SolfaError if a shard
    could not be made; the others are kept, and a rerun tries again.
    """
    folder = Path(folder)
    plan = _plan(name, config, seed)
    tasks = _tasks(num_shards, seed)
    _begin(folder, plan)
    try:
        with FileLock(folder / ".lock", timeout=0):
            return _run(folder, plan, tasks, make_shard, executor or SerialExecutor(), progress)
    except Timeout as busy:
        raise InputError(f"{folder}: another process is making this data set.") from busy


def _plan(name: str, config: Mapping[str, Any], seed: int) -> dict[str, Any]:
    text = json.dumps({"name": name, "config": dict(config), "seed": seed}, sort_keys=True, allow_nan=False)
    # What is written is what is compared: tuples have become lists.
    return {**json.loads(text), "config_hash": hashlib.sha256(text.encode()).hexdigest()}


def _tasks(num_shards: Mapping[str, int], seed: int) -> list[ShardTask]:
    counts = list(num_shards.values())
    if not {*num_shards} <= {*SPLITS} or sum(counts) < 1 or min(counts) < 0 or max(counts) > 999_999:
        raise InputError(f"num_shards {dict(num_shards)}: expected 0-999999 for {', '.join(SPLITS)}, one at least.")
    return [ShardTask(split=s, number=n, seed=seed) for s in SPLITS for n in range(num_shards.get(s, 0))]


def _begin(folder: Path, plan: Mapping[str, Any]) -> None:
    marks = {"building.json": BUILDING_SCHEMA, "dataset.json": SCHEMA}
    check_output(folder, force=True, folder=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = {file: read_json(folder / file, schema) for file, schema in marks.items() if (folder / file).exists()}
        if not found and any(not p.name.startswith(".") for p in folder.iterdir()):
            raise InputError(f"{folder} holds other files, not a data set. Choose an empty folder.")
    except OSError as bad:
        raise InputError(f"{folder} cannot be used: {bad.strerror}.") from bad
    for file, old in found.items():
        if old.get("config_hash") != plan["config_hash"]:
            raise InputError(
                f"{folder}/{file} was made from something else: {_difference(old, plan)}. Choose another folder, or "
                f"delete this one to make it again."
            )
    if not found:
        write_json(folder / "building.json", {"schema": BUILDING_SCHEMA, "solfa": version("solfa"), **plan})


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    def flat(plan: Mapping[str, Any]) -> dict[str, Any]:
        return {"name": plan.get("name"), "seed": plan.get("seed"), **(plan.get("config") or {})}

    before, after = flat(old), flat(new)
    names = [n for n in {**before, **after} if before.get(n) != after.get(n)]
    return "; ".join(f"{n} was {before.get(n)!r}, is {after.get(n)!r}"[:200] for n in names[:4]) or "another version"


def _run(
    folder: Path, plan: Mapping[str, Any], tasks: list[ShardTask], make_shard: MakeShard, executor: Executor,
    progress: Callable[[int, int], None],
) -> Dataset:  # fmt: skip
    for left in folder.glob("*/.*.tmp"):  # of a killed run; nobody else writes here while we hold the lock
        left.unlink()
    done = {t: index for t in tasks if (index := _there(folder, t, plan["config_hash"])) is not None}
    failed = []
    progress(len(done), len(tasks))
    missing = [t for t in tasks if t not in done]
    work = _Work(folder=folder, make=make_shard, config_hash=plan["config_hash"])
    for result in _results(executor, work, missing):
        if isinstance(result, Done):
            if not (folder / result.item.file).is_file():
                raise SolfaError(f"{folder} is not the same folder for the worker that made {result.item.file}. "
                                 f"Choose one that all nodes share.")  # fmt: skip
            done[result.item] = ShardIndex.read(folder / result.item.file)
            progress(len(done), len(tasks))
        else:
            failed.append(f"{result.item.file}: {result.reason}")
    if failed:
        raise SolfaError(
            f"{len(failed)} of {len(tasks)} shards could not be made, the others are kept; run the same command again "
            f"to retry. {'; '.join(sorted(failed)[:3])}"
        )
    _finish(folder, plan, {t: done[t] for t in tasks})
    return Dataset.open(folder)


def _results(executor: Executor, work: "_Work", tasks: list[ShardTask]) -> Iterator[Done[Any, None] | Failed[Any]]:
    make = cast(Any, work.make)
    for result in executor.map(work, tasks):
        if isinstance(result, Failed) and result.kind != "raised" and hasattr(make, "each"):
            apart = replace(work, make=replace(make, each=ProcessExecutor(1)))
            yield from SerialExecutor().map(apart, [result.item])
        else:
            yield result


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    folder: Path
    make: MakeShard
    config_hash: str

    def prepare(self) -> None:
        prepare(self.make)

    def __call__(self, task: ShardTask) -> None:
        write_shard(self.folder / task.file, self._named(task), config_hash=self.config_hash)

    def _named(self, task: ShardTask) -> Iterator[Member | Failure]:
        for item in self.make(task):
            if isinstance(item, Member):
                item = replace(item, record=replace(item.record, split=task.split))
            yield item


def _there(folder: Path, task: ShardTask, config_hash: str) -> ShardIndex | None:
    path = folder / task.file
    if not (path.is_file() and index_path(path).is_file()):
        return None
    index = ShardIndex.read(path)
    if index.config_hash != config_hash:
        raise InputError(f"{path} was made from something else. Choose another folder, or delete this one.")
    return index if path.stat().st_size == index.size_bytes else None


def _finish(folder: Path, plan: Mapping[str, Any], done: Mapping[ShardTask, ShardIndex]) -> None:
    shards = [
        {"file": t.file, "sha256": i.sha256, "records": len(i.members), "duration_s": i.duration_s,
         "failures": len(i.failures)}
        for t, i in done.items()
    ]  # fmt: skip
    hashes = [plan["config_hash"], *(f"{s['file']}={s['sha256']}" for s in shards)]
    failures = [{"shard": t.file, "item": f.item, "reason": f.reason} for t, i in done.items() for f in i.failures]
    write_json(folder / "dataset.json", {
        "schema": SCHEMA, **plan, "solfa": version("solfa"),
        "revision": hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:16],
        "shards": shards, "failures": failures,
    })  # fmt: skip
    (folder / "building.json").unlink(missing_ok=True)
