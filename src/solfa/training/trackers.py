"""Where the figures of a run are shown as it goes: TensorBoard, Weights & Biases, Trackio. None is a dependency.

A tracker is called with each ``StepReport``, as ``run(report=...)`` is. Its files are made with the first: a run has
its folder to itself until then.
"""

import json
from pathlib import Path
from typing import Any, Protocol

from solfa.core.errors import InputError, need
from solfa.training import checkpoint
from solfa.training.trainer import StepReport

NAMES = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb", "trackio": "trackio"}


class Tracker(Protocol):
    """Takes the figures of a run."""

    def __call__(self, progress: StepReport) -> None:
        """A step or a validation."""

    def close(self) -> None:
        """The run has ended, well or not."""


def tracker(name: str, out: Path) -> Tracker:
    """A tracker by name, for the run in a folder.

    Raises InputError if there is none of that name; MissingExtra if its package is not installed.
    """
    if name not in NAMES:
        raise InputError(f"{name!r} is not a tracker; expected {', '.join(NAMES)}.")
    module = need(NAMES[name], f"--track {name}", f"pip install {name}")
    return _Board(module, out) if name == "tensorboard" else _Online(module, name, out)


class _Board:
    def __init__(self, module: Any, out: Path) -> None:
        self._module, self._out = module, out
        self._writer: Any = None

    def __call__(self, progress: StepReport) -> None:
        if self._writer is None:  # what a killed run wrote after its last checkpoint comes again, to be shown once
            self._writer = self._module.SummaryWriter(str(self._out / "tensorboard"), purge_step=progress.step)
        for key, value in progress.metrics.items():
            self._writer.add_scalar(key, value, progress.step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _Online:
    """wandb, and Trackio, which is called alike. A resumed run is a run of its own there, in the same group."""

    def __init__(self, module: Any, name: str, out: Path) -> None:
        self._module, self._out, self._begun = module, out, False
        self._options: dict[str, Any] = {"dir": str(out)} if name == "wandb" else {}

    def __call__(self, progress: StepReport) -> None:
        if not self._begun:
            recipe = json.loads((self._out / checkpoint.CONFIG).read_bytes())["fixed"]["recipe"]
            self._module.init(project="solfa", group=self._out.absolute().name, config=recipe, **self._options)
            self._begun = True
        self._module.log(dict(progress.metrics), step=progress.step)

    def close(self) -> None:
        if self._begun:
            self._module.finish()
