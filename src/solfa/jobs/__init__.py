"""Spreading work over processes, and surviving what a hostile file does to one of them."""

from solfa.jobs.processes import ProcessExecutor, cores
from solfa.jobs.protocol import Done, Executor, Failed, heartbeat, prepare, worker_threads
from solfa.jobs.serial import SerialExecutor, ThreadExecutor

__all__ = [
    "Done",
    "Executor",
    "Failed",
    "ProcessExecutor",
    "SerialExecutor",
    "ThreadExecutor",
    "cores",
    "heartbeat",
    "prepare",
    "worker_threads",
]
