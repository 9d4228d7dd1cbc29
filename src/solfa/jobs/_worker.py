"""The inside of a worker process."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from multiprocessing import connection, parent_process
from typing import Any

from solfa.jobs.executors import Failed, Worker, attempt, prepare

READY, BEAT, RESULT, PREPARE_FAILED = "ready", "beat", "result", "prepare failed"
_BEAT_EVERY_S = 0.2


def serve(pipe: Any, payload: bytes, threads: int) -> None:
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
        pipe.send((PREPARE_FAILED, (type(error), error.args, error.__dict__)))
        return
    pipe.send((READY, None))
    while True:
        try:
            item = pipe.recv()
        except (EOFError, OSError):
            return
        result = attempt(fn, item)
        try:
            pipe.send((RESULT, result))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            reason = f"its result cannot be sent: {error}"
            pipe.send((RESULT, Failed(item=result.item, kind="raised", reason=reason, error="PicklingError")))
        except (BrokenPipeError, ConnectionResetError):
            return


def _beat_to(pipe: Any) -> Any:
    last = [0.0]

    def beat() -> None:
        now = time.monotonic()
        if now - last[0] >= _BEAT_EVERY_S:
            last[0] = now
            pipe.send((BEAT, None))

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
