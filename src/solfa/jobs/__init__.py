"""Spreading work over processes, and surviving what a hostile file does to one of them."""

from solfa.jobs.executors import (
    Done,
    Executor,
    Failed,
    SerialExecutor,
    ThreadExecutor,
    heartbeat,
    prepare,
    worker_threads,
)
from solfa.jobs.processes import ProcessExecutor, WorkerLost, cores

__all__ = [
    "Done",
    "Executor",
    "Failed",
    "ProcessExecutor",
    "SerialExecutor",
    "ThreadExecutor",
    "WorkerLost",
    "cores",
    "heartbeat",
    "prepare",
    "worker_threads",
]
