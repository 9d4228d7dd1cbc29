"""Pictures with matplotlib (extra ``plot``): SVG or PNG, by the name of the file."""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from solfa.analysis.sections import sections
from solfa.constraints import ABSENT
from solfa.core.errors import InputError, MissingExtra
from solfa.core.files import check_output, write_output
from solfa.core.theory import Chord
from solfa.core.vocabulary import concept

if TYPE_CHECKING:
    from solfa.core.types import Analysis
    from solfa.evaluation.significance import Interval
    from solfa.retrieval.alignment import TimedMap

_MOST_ROWS = 16  # of what is drawn over time


def pyplot(path: Path) -> Any:
    """matplotlib without a display, after the name of the file was seen to be a picture's.

    Raises InputError if the name does not end in .svg or .png; MissingExtra if matplotlib is not installed.
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


@contextmanager
def _drawing(path: Path, force: bool, *shape: int, **options: Any) -> Iterator[tuple[Any, Any]]:
    """A figure and its axes, written, whole or not at all, when the block has ended."""
    plt = pyplot(path)
    figure, axes = plt.subplots(*shape, layout="constrained", **options)
    try:
        yield figure, axes
        drawn = io.BytesIO()
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for part in figure.axes:  # the solver's last digits differ from run to run
            part.set_position([round(edge, 6) for edge in part.get_position().bounds])
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
        figure.savefig(drawn, format=path.suffix[1:].lower(), dpi=150, metadata=metadata)
        write_output(path, drawn.getvalue(), force=force)
    finally:
        plt.close(figure)


def heat_map(found: "TimedMap", path: Path, *, title: str, force: bool = False) -> None:
    """Rows of words or phrases over time, the value as colour. Raises as ``pyplot`` and ``write_output``."""
    rows = len(found.rows)
    edges = np.append(found.start_s_T, found.end_s)
    limits = {"vmin": 0.0, "vmax": 1.0} if found.unit == "probability" else {}
    with _drawing(path, force, figsize=(10, 1.2 + 0.3 * max(3, rows))) as (figure, axes):
        drawn = axes.pcolormesh(edges, np.arange(rows + 1), found.values_RT, cmap="viridis", rasterized=True, **limits)
        axes.set_yticks(np.arange(rows) + 0.5, [_plain(row[:40]) for row in found.rows])
        axes.invert_yaxis()
        axes.set_xlabel("time, s")
        axes.set_title(_plain(title), fontsize=10)
        figure.colorbar(drawn, ax=axes, label=found.unit)


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
        raise InputError("nothing to draw: no finite points.")
    with _drawing(path, force, figsize=(7, 4)) as (_, axes):
        for name, line in series.items():
            axes.plot(*zip(*line, strict=True), label=_plain(name), drawstyle="steps-post" if steps else "default")
        axes.set(xlabel=x_label, ylabel=y_label, title=_plain(title), ylim=(min(0.0, axes.get_ylim()[0]), None))
        axes.grid(alpha=0.3)
        axes.legend()


def bars(
    values: "Mapping[str, Interval]", path: Path, *, title: str, y_label: str, scale: float = 100.0, force: bool = False
) -> None:
    """Bars with their intervals, by name, times ``scale`` (100: per cent). Raises as ``heat_map``, and InputError if
    there are none."""
    if not values:
        raise InputError("nothing to draw: no bars.")
    places, ends = range(len(values)), [(scale * i.low, scale * i.high) for i in values.values()]
    with _drawing(path, force, figsize=(7, 4)) as (_, axes):
        axes.bar(places, [scale * i.value for i in values.values()])
        axes.vlines(places, *zip(*ends, strict=True), "k")
        axes.set_xticks(places, map(_plain, values), rotation=0 if len(values) < 9 else 90)
        axes.set(ylabel=y_label, title=_plain(title))


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # no formula


def draw_analysis(analysis: "Analysis", path: Path, *, title: str, force: bool = False) -> None:
    """What was measured of a track over time; tempo, key and metre in the title. Raises as ``heat_map``.

    Energy with bars (downbeats), chords coloured by root, and a row for the voice and for each instrument and sound
    that is or may be present, darker where it is surer; dashed lines where a section begins.
    """
    timed = [t for t in (analysis.voice, *analysis.instruments, *analysis.sounds)
             if t.spans and t.confidence >= ABSENT]  # fmt: skip
    timed = sorted(timed, key=lambda tag: -tag.confidence)[:_MOST_ROWS]
    tall = 0.25 * max(1, len(timed))
    shape: dict[str, Any] = {"sharex": True, "figsize": (10, 3.4 + tall), "height_ratios": [2, 0.6, tall]}
    with _drawing(path, force, 3, 1, **shape) as (figure, (energy, chords, tags)):
        times = np.arange(len(analysis.energy.values)) * analysis.energy.hop_s
        energy.fill_between(times, analysis.energy.values, color="tab:blue", alpha=0.4, linewidth=0)
        energy.vlines(analysis.beats_s, 0, 0.04, color="black", linewidth=0.4)
        energy.vlines(analysis.downbeats_s, 0, 0.1, color="black", linewidth=0.8)
        energy.set(ylim=(0, 1), ylabel="energy\n(ticks: beats, bars;\ndashed: sections)", xlim=(0, analysis.duration_s))
        for section in sections(analysis)[1:]:
            for axes in (energy, chords, tags):
                axes.axvline(section.start_s, color="black", linewidth=0.8, linestyle="--", alpha=0.6)
        wheel, wide_s = pyplot(path).get_cmap("hsv"), analysis.duration_s / 45
        for segment in analysis.chords:
            chord, length_s = Chord.parse(segment.label), segment.end_s - segment.start_s
            if chord is not None:  # neighbours on the circle of fifths have neighbouring colours
                colour = wheel(chord.root * 7 % 12 / 12)
                chords.broken_barh(
                    [(segment.start_s, length_s)], (0, 1), color=colour, alpha=0.25 + 0.4 * segment.confidence
                )
                if length_s > wide_s:
                    chords.text(
                        segment.start_s + length_s / 2, 0.5, segment.label, ha="center", va="center", fontsize=7
                    )
        chords.set(yticks=[], ylim=(0, 1), ylabel="chords")
        for row, tag in enumerate(timed):
            for span in tag.spans:
                tags.broken_barh([(span.start_s, span.end_s - span.start_s)], (row + 0.1, 0.8), color="tab:green",
                                 alpha=min(1.0, max(0.15, span.confidence)), linewidth=0)  # fmt: skip
        names = [f"{concept(tag.concept).title} ({tag.confidence:.2f})" for tag in timed]
        tags.set(yticks=np.arange(len(timed)) + 0.5, yticklabels=names, ylim=(max(1, len(timed)), 0), xlabel="time, s")
        known = [(analysis.tempo_bpm.value, "{:.1f} BPM"), (analysis.metre.value, "{}"), (analysis.key.value, "{}")]
        found = ", ".join(form.format(value) for value, form in known if value is not None)
        figure.suptitle(f"{title}: {found or 'no tempo, metre or key found'}".replace("$", r"\$"), fontsize=10)
