"""ONNX Runtime sessions over model files: CPU, deterministic, one a process."""

import os
from pathlib import Path
from typing import Any

from solfa.core.errors import InputError, WeightsError
from solfa.weights.store import path

_sessions: dict[tuple[int, str, int], Any] = {}
_threads: list[int] = []


def set_threads(count: int) -> None:
    """Let every network that is loaded from now on use this many threads (worker processes: 1).

    Raises InputError if ``count`` is below 1.
    """
    if count < 1:
        raise InputError(f"the number of threads must be at least 1, got {count}.")
    _threads[:] = [count]


def num_threads() -> int:
    """How many threads a network may use: what ``set_threads`` said, else every core this process may run on."""
    if _threads:
        return _threads[0]
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def session(name: str, *, threads: int | None = None) -> Any:
    """The ``onnxruntime.InferenceSession`` of a model file, loaded once a process and thread count.

    Raises UnknownName, MissingWeights, WeightsError as ``path``; WeightsError also where ONNX Runtime cannot load the
    file.
    """
    count = num_threads() if threads is None else threads
    # The process id is part of the key: the thread pool of a session does not survive a fork.
    key = (os.getpid(), name, count)
    if key not in _sessions:
        _sessions[key] = open_session(path(name), f"model {name!r}", count)
    return _sessions[key]


def open_session(file: Path, what: str = "", threads: int | None = None) -> Any:
    """An ``onnxruntime.InferenceSession`` of a file, deterministic, on the CPU.

    Raises WeightsError if ONNX Runtime cannot load the file.
    """
    import onnxruntime as ort

    ort.disable_telemetry_events()  # solfa/__init__.py comes too late where the caller imported it first
    state = ort.capi.onnxruntime_pybind11_state  # where its exceptions live; they share no base class
    failures = state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NotImplemented
    options = ort.SessionOptions()
    options.intra_op_num_threads = num_threads() if threads is None else threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 3  # errors are raised; warnings about the host are no concern of the user's
    try:
        return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except (*failures, RuntimeError) as error:
        raise WeightsError(f"ONNX Runtime cannot load {what or file}: {error}") from error
