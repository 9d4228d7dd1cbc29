"""Pictures with matplotlib (extra ``plot``): SVG or PNG, by the name of the file."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from solfa.core.errors import InputError, MissingExtra
from solfa.core.files import check_output, write_output

if TYPE_CHECKING:
    from solfa.evaluation.significance import Interval
    from solfa.retrieval.alignment import TimedMap


def pyplot(path: Path) -> Any:
    """matplotlib without a display, after the name of the file was seen to be a picture's.

    Raises
    ------
    InputError
        If the name does not end in .svg or .png.
    MissingExtra
        If matplotlib is not installed.
    """
    if path.suffix.lower() not in (".svg", ".png"):
        raise InputError(f"cannot draw {path.name!r}: expected a name that ends in .svg or .png.")
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtra("drawing", "pip install 'solfa[plot]'") from error
    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "solfa"  # the same picture is the same file
    import matplotlib.pyplot as plt

    return plt


def check_plot(path: Path | None, *, force: bool) -> None:
    """See that a picture can be drawn and written there. Raises as ``pyplot`` and ``write_output``."""
    if path is not None:
        pyplot(path)
        check_output(path, force=force)


def save(plt: Any, figure: Any, path: Path, force: bool) -> None:
    """Write a figure, whole or not at all, and close it."""
    drawn = io.BytesIO()
    metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
    figure.savefig(drawn, format=path.suffix[1:].lower(), dpi=150, metadata=metadata)
    plt.close(figure)
    write_output(path, drawn.getvalue(), force=force)


def heat_map(found: TimedMap, path: Path, *, title: str, force: bool = False) -> None:
    """Rows of words or phrases over time, the value as colour. Raises as ``pyplot`` and ``write_output``."""
    plt = pyplot(path)
    rows = len(found.rows)
    figure, axes = plt.subplots(figsize=(10, 1.2 + 0.3 * max(3, rows)), layout="constrained")
    edges = np.append(found.start_s_T, found.end_s)
    limits = {"vmin": 0.0, "vmax": 1.0} if found.unit == "probability" else {}
    drawn = axes.pcolormesh(edges, np.arange(rows + 1), found.values_RT, cmap="viridis", rasterized=True, **limits)
    axes.set_yticks(np.arange(rows) + 0.5, [_plain(row[:40]) for row in found.rows])
    axes.invert_yaxis()
    axes.set_xlabel("time, s")
    axes.set_title(_plain(title), fontsize=10)
    figure.colorbar(drawn, ax=axes, label=found.unit)
    save(plt, figure, path, force)


def curves(
    series: Mapping[str, Sequence[tuple[float, float]]],
    path: Path,
    *,
    title: str,
    x_label: str,
    y_label: str,
    steps: bool = False,
    force: bool = False,
) -> None:
    """Lines by name, points in order of x; with ``steps`` each y holds up to the next x. Raises as ``heat_map``, and
    InputError if there is no point, or one is not finite."""
    points = [p for line in series.values() for p in line]
    if not points or not all(math.isfinite(v) for p in points for v in p):
        raise InputError("there is no finite point to draw.")
    plt = pyplot(path)
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, line in series.items():
        axes.plot(*zip(*line, strict=True), label=_plain(name), drawstyle="steps-post" if steps else "default")
    axes.set(xlabel=x_label, ylabel=y_label, title=_plain(title), ylim=(min(0.0, axes.get_ylim()[0]), None))
    axes.grid(alpha=0.3)
    axes.legend()
    save(plt, figure, path, force)


def bars(
    values: Mapping[str, Interval], path: Path, *, title: str, y_label: str, scale: float = 100.0, force: bool = False
) -> None:
    """Bars with their intervals, by name, times ``scale`` (100: per cent). Raises as ``heat_map``, and InputError if
    there are none."""
    if not values:
        raise InputError("there is no bar to draw.")
    plt = pyplot(path)
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.bar(range(len(values)), [scale * i.value for i in values.values()])
    axes.vlines(range(len(values)), *zip(*((scale * i.low, scale * i.high) for i in values.values()), strict=True), "k")
    axes.set_xticks(range(len(values)), map(_plain, values), rotation=0 if len(values) < 9 else 90)
    axes.set(ylabel=y_label, title=_plain(title))
    save(plt, figure, path, force)


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # no formula
