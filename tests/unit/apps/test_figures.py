"""Figures are well-formed, safe, and put numbers where they belong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from solfa.apps import figures
from solfa.core.errors import InputError
from solfa.evaluation.significance import Interval

LABELS = {"title": "a & b", "x_label": "tokens", "y_label": "R@1"}


def interval(value: float) -> Interval:
    return Interval(value=value, low=value - 0.1, high=value + 0.1, num=3)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The axes of every figure that is saved."""
    axes: list[Any] = []
    drawing = figures._drawing

    @contextmanager
    def keep(*args: Any, **options: Any) -> Iterator[tuple[Any, Any]]:
        with drawing(*args, **options) as (figure, plots):
            yield figure, plots
            axes.append(figure.axes[0])

    monkeypatch.setattr(figures, "_drawing", keep)
    return axes


def test_curves_and_hostile_names(tmp_path: Path, drawn: list[Any]) -> None:
    path = tmp_path / "a.svg"
    figures.curves({"<script>$\\x$": [(5, 0.1), (50, 0.4)], "b": [(5, 0.2), (50, 0.2)]}, path, **LABELS)
    assert ElementTree.fromstring(path.read_text()).tag.endswith("svg") and "<script>" not in path.read_text()
    assert drawn[0].lines[0].get_xydata().tolist() == [[5, 0.1], [50, 0.4]] and drawn[0].get_ylim()[0] == 0


def test_bars_reach_their_value_and_negative_ones_hang(tmp_path: Path, drawn: list[Any]) -> None:
    figures.bars({"key": interval(0.5), "bpm": interval(-0.25)}, tmp_path / "a.png", title="t", y_label="%")
    assert [bar.get_height() for bar in drawn[0].patches] == [50.0, -25.0]
    ends = [end for line in drawn[0].collections[0].get_segments() for end in line[:, 1].tolist()]
    assert ends == pytest.approx([40.0, 60.0, -35.0, -15.0])


def test_steps_hold_up_to_the_next_rate(tmp_path: Path, drawn: list[Any]) -> None:
    figures.curves({"a": [(0.0, 0.2), (10.0, 0.6), (100.0, 0.6)]}, tmp_path / "a.svg", **LABELS, steps=True)
    assert drawn[0].lines[0].get_drawstyle() == "steps-post"


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finite points"):
        figures.curves({}, tmp_path / "a.svg", **LABELS)
    with pytest.raises(InputError, match="no finite points"):
        figures.curves({"a": [(0.0, float("nan"))]}, tmp_path / "a.svg", **LABELS)
    with pytest.raises(InputError, match="no bars"):
        figures.bars({}, tmp_path / "a.svg", title="", y_label="")
