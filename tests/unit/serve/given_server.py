"""What tests of the server put behind it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from solfa.core.types import FloatArray

RATE = 16_000
TONES = {"low.wav": 110.0, "middle.flac": 440.0, "high.ogg": 2000.0, "bright.aiff": 5000.0}
API = "/api/v1"


def sine(hz: float, seconds: float) -> FloatArray:
    """A tone that grows louder."""
    time_s = np.arange(round(RATE * seconds)) / RATE
    return (0.8 * time_s / seconds * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)


class HereSandbox:
    """Does in this process what the server does in another, so that a test's model is used."""

    def __call__(self, work: Callable[..., Any], path: Path, *args: Any) -> Any:
        return work(path, *args)

    def end(self) -> None:
        return None
