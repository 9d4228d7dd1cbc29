"""The terminal: lines, tables, JSON, complaints, and long work as people see it.

Work shows bars on a terminal, a line now and then elsewhere, and one line that sums it up.
"""

import json
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import typer
from rich.console import Console, RenderableType

from solfa.core.text import clock, plain, printable

T = TypeVar("T")
NOTHING_DONE, SOME_FAILED, INTERRUPTED = 2, 3, 130  # exit codes
_LINES_EVERY_S = 10.0  # where there is no terminal


def console(stderr: bool = False) -> Console:
    """A console that breaks no line: terminals do, and a path remains one word. Tables go through ``show``."""
    made = Console(stderr=stderr, highlight=False, soft_wrap=True)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, width=200, soft_wrap=True)


def tell(line: str) -> None:
    """Print one line as it is: no markup, not wrapped."""
    console().print(line, markup=False)


def complain(message: str) -> None:
    """One line on standard error."""
    typer.echo(f"solfa: {printable(message)}", err=True)


def show(renderable: RenderableType) -> None:
    """Print it; without the blanks that pad tables when the output goes to a pipe."""
    out = console()
    if out.is_terminal:
        out.print(renderable, crop=False, soft_wrap=False)
        return
    with out.capture() as captured:
        out.print(renderable, crop=False)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))


def print_json(value: Any, indent: int | None = 2) -> None:
    """Print a value (see ``plain``) as JSON."""
    typer.echo(json.dumps(plain(value), ensure_ascii=False, indent=indent, allow_nan=False))


class Work:
    """Stages of work while the block runs: call it with a stage, how much is done, of how much, and what else to say.

    ``stderr`` where standard output is for the results.
    """

    def __init__(self, *stages: str, stderr: bool = False) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.out = console(stderr=stderr)
        texts = [TextColumn(text) for text in ("{task.description}", "{task.fields[detail]}", "left")]
        columns = (texts[0], BarColumn(), MofNCompleteColumn(), texts[1], TimeRemainingColumn(), texts[2])
        self._bars = Progress(*columns, console=self.out, transient=True, disable=not self.out.is_terminal)
        self._tasks = {stage: self._bars.add_task(stage, total=None, detail="") for stage in stages}
        self._next_s = dict.fromkeys(stages, 0.0)
        self._start_s = time.monotonic()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    @property
    def seconds(self) -> float:
        """Since the work began."""
        return time.monotonic() - self._start_s

    def __call__(self, stage: str, done: int, total: int, detail: str = "") -> None:
        self._bars.update(self._tasks[stage], completed=done, total=total, detail=detail)
        if self.out.is_terminal or not total or (self.seconds < self._next_s[stage] and done < total):
            return
        self._next_s[stage] = self.seconds + _LINES_EVERY_S
        left = f"{clock(self.seconds / done * (total - done))} left" if done else ""
        said = ", ".join(filter(None, (f"{stage}: {done}/{total}", detail, left)))
        self.out.print(said, markup=False)

    def each(self, stage: str, items: list[T]) -> Iterator[T]:
        """The items, with progress shown."""
        for done, item in enumerate(items):
            self(stage, done, len(items))
            yield item
        self(stage, len(items), len(items))

    def end(self, what: str, failed: int = 0, audio_s: float = 0.0) -> None:
        """The line that sums it up: what was made, how many failed, how long it took; call it after the block."""
        rate = f"{clock(audio_s)} of music in " if audio_s else ""
        speed = f" ({audio_s / max(self.seconds, 1e-3):.0f} x real time)" if audio_s else ""
        self.out.print(f"{what}, {failed} failed; {rate}{self.seconds:.1f} s{speed}", markup=False)
