"""The figures of reports as SVG text, without a plotting package: curves, bars with intervals, staircases.

Axes start at the smallest round number below the data (bars at 0) and end at the smallest above it. Colours are told
apart by people who cannot tell red from green (Okabe and Ito 2008).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

from solfa.core.errors import InputError
from solfa.evaluation.psds import Curve
from solfa.evaluation.significance import Interval

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 360, 60, 150, 36, 52


def ticks(low: float, high: float) -> list[float]:
    """Round numbers that cover the range, four to nine of them.

    >>> ticks(0, 100), ticks(3, 7.5)
    ([0.0, 20.0, 40.0, 60.0, 80.0, 100.0], [3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    """
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 5))
    step = next(s * power for s in (1, 2, 5, 10) if span / (s * power) <= 7)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


class _Axes:
    def __init__(self, title: str, x_label: str, y_label: str, x: Sequence[float], y: Sequence[float]) -> None:
        self.x_ticks, self.y_ticks = list(x), list(y)
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
            f'font-size="12"><rect width="100%" height="100%" fill="white"/>',
            f'<text x="{_LEFT}" y="20" font-size="14">{escape(title)}</text>',
            f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 10}" text-anchor="middle">'
            f"{escape(x_label)}</text>",
            f'<text transform="translate(16 {(_TOP + _HEIGHT - _BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
            f"{escape(y_label)}</text>",
        ]
        for value in self.y_ticks:
            at = self.y(value)
            self.parts.append(f'<path d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
            self.text(_LEFT - 6, at + 4, f"{value:g}", "end")

    def x(self, value: float) -> float:
        low, high = self.x_ticks[0], self.x_ticks[-1]
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _RIGHT - _LEFT)

    def y(self, value: float) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _BOTTOM - _TOP)

    def text(self, x: float, y: float, text: str, anchor: str = "middle") -> None:
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>')

    def line(self, points: Sequence[tuple[float, float]], name: str, number: int) -> None:
        colour = _COLOURS[number % len(_COLOURS)]
        path = "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)
        self.parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        self.parts.append(
            f'<rect x="{_WIDTH - _RIGHT + 12}" y="{_TOP + 18 * number}" width="12" height="4" fill="{colour}"/>'
        )
        self.text(_WIDTH - _RIGHT + 30, _TOP + 18 * number + 7, name, "start")

    def done(self) -> str:
        return "\n".join([*self.parts, "</svg>"]) + "\n"


def curves(series: Mapping[str, Sequence[tuple[float, float]]], *, title: str, x_label: str, y_label: str) -> str:
    """Lines over a common axis, such as saturation curves or recall by pool size: points in order of x, by name.

    Raises
    ------
    InputError
        If there is no point, or one is not finite.
    """
    points = [p for line in series.values() for p in line]
    if not points or not all(math.isfinite(v) for p in points for v in p):
        raise InputError("there is no finite point to draw.")
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    axes = _Axes(title, x_label, y_label, ticks(min(xs), max(xs)), ticks(min(0.0, *ys), max(ys)))
    for value in axes.x_ticks:
        axes.text(axes.x(value), _HEIGHT - _BOTTOM + 18, f"{value:g}")
    for number, (name, line) in enumerate(series.items()):
        axes.line(line, name, number)
    return axes.done()


def staircases(series: Mapping[str, Curve], *, max_efpr_per_hour: float, title: str = "PSD-ROC") -> str:
    """PSD-ROC curves up to a rate of false positives."""
    lines = {}
    for name, curve in series.items():
        rates = [*curve.efpr_per_hour[curve.efpr_per_hour <= max_efpr_per_hour].tolist(), max_efpr_per_hour]
        corners = [(rates[0], float(curve.tpr[0]))]
        for (_, end), height in zip(pairwise(rates), curve.tpr.tolist(), strict=False):
            corners += [(corners[-1][0], height), (end, height)]
        lines[name] = corners
    return curves(lines, title=title, x_label="effective false positives per hour", y_label="effective TPR")


def bars(values: Mapping[str, Interval], *, title: str, y_label: str, scale: float = 100.0) -> str:
    """Bars with intervals by name, such as perturbation robustness, times ``scale`` (100 for per cent).

    Raises
    ------
    InputError
        If there are no values.
    """
    if not values:
        raise InputError("there is no bar to draw.")
    ends = [scale * e for i in values.values() for e in (i.low, i.high, i.value)]
    axes = _Axes(title, "", y_label, [0.0, float(len(values))], ticks(min(0.0, *ends), max(0.0, *ends) or 1.0))
    width = (axes.x(1) - axes.x(0)) * 0.6
    for number, (name, i) in enumerate(values.items()):
        middle, zero, at = axes.x(number + 0.5), axes.y(0), axes.y(scale * i.value)
        axes.parts.append(
            f'<rect x="{middle - width / 2:.1f}" y="{min(zero, at):.1f}" width="{width:.1f}" '
            f'height="{abs(zero - at):.1f}" fill="{_COLOURS[0]}"/>'
        )
        axes.parts.append(
            f'<path d="M{middle:.1f} {axes.y(scale * i.low):.1f}V{axes.y(scale * i.high):.1f}" stroke="black"/>'
        )
        axes.text(middle, _HEIGHT - _BOTTOM + 18, name)
    return axes.done()
