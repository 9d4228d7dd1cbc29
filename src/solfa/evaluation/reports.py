"""One measurement with everything that is needed to repeat it, and whether two of them differ.

A report is JSON (schema ``solfa.report/1``, docs/evaluation.md). It is never written for an empty or mismatched pool:
the metrics refuse those, and so there is nothing to write.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from solfa.core.errors import InputError
from solfa.core.files import table_of, write_output
from solfa.evaluation.significance import Difference, Interval, Statistic, compare_paired

SCHEMA = "solfa.report/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was measured, on what, with what.

    ``space`` names the checkpoint by its hash, ``revision`` is a hash of the data's metadata. ``pool`` is a fingerprint
    of who answers whom: only reports with the same one can be compared. ``seed`` is that of resampling and edits,
    ``options`` everything else that was set. ``metrics`` are fractions unless a name says otherwise; ``per_query`` has
    the values that they were averaged from, where there are such, as ``statistics`` says (mean or median); ``groups``
    numbers the queries that hang together (empty if none do). ``details`` is what a task has to say beyond metrics.
    """

    task: str
    model: str
    space: str
    data: str
    split: str
    revision: str
    pool: str
    num_queries: int
    num_items: int
    seed: int
    metrics: Mapping[str, Interval]
    options: Mapping[str, Any] = field(default_factory=dict)
    per_query: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    statistics: Mapping[str, Statistic] = field(default_factory=dict)
    groups: tuple[int, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    solfa_version: str = field(default_factory=lambda: version("solfa"))
    numpy_version: str = np.__version__

    def __post_init__(self) -> None:
        if self.num_queries < 1 or self.num_items < 1 or not self.metrics:
            raise InputError(
                f"a report needs a pool and a number: {self.num_queries} queries, {self.num_items} items, "
                f"{len(self.metrics)} metrics."
            )
        bad = [name for name, i in self.metrics.items() if not all(map(math.isfinite, (i.value, i.low, i.high)))]
        if bad:
            raise InputError(f"metric {bad[0]!r} is not a finite number; it cannot be reported.")


def write_report(report: Report, path: Path, *, force: bool = False) -> None:
    """The report as JSON, whole or absent; ``-`` is standard output, ``force`` replaces an existing file.

    Raises InputError if the file cannot be written.
    """
    text = json.dumps({"schema": SCHEMA, **asdict(report)}, indent=1, allow_nan=False, ensure_ascii=False)
    write_output(path, f"{text}\n", force=force)


def read_report(path: Path) -> Report:
    """The report that `write_report` wrote.

    Raises InputError if the file is not such a report.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        schema = raw.pop("schema")
        if schema != SCHEMA:
            raise InputError(f"{path}: a report of schema {schema!r}; this version reads {SCHEMA!r}.")
        raw["metrics"] = {name: Interval(**i) for name, i in raw["metrics"].items()}
        raw["per_query"] = {name: tuple(map(float, values)) for name, values in raw["per_query"].items()}
        raw["groups"] = tuple(raw["groups"])
        return Report(**raw)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as bad:
        raise InputError(f"{path}: not a solfa report ({getattr(bad, 'strerror', None) or repr(bad)}).") from bad


def compare(a: Report, b: Report) -> dict[str, Difference]:
    """How much better ``b`` is than ``a``, metric by metric, and whether that is more than chance; the seed is ``a``'s.

    Raises InputError if tasks, data or pools differ, or there is no metric with values per query in both.
    """
    for name in ("task", "data", "split", "revision", "pool"):
        ours, theirs = getattr(a, name), getattr(b, name)
        if ours != theirs:
            raise InputError(f"the reports cannot be compared: {name} is {ours!r} in one and {theirs!r} in the other.")
    shared = [name for name in a.per_query if name in b.per_query]
    if not shared:
        raise InputError("the reports hold no metric with one value per query in common; run the task again for both.")
    return {
        name: compare_paired(
            a.per_query[name],
            b.per_query[name],
            statistic=a.statistics[name],
            groups=a.groups if len(a.groups) == len(a.per_query[name]) else None,
            seed=a.seed,
        )
        for name in shared
    }


_DOUBLINGS = (" fall", " control", " placebo")  # in doublings of a rank
_PLAIN = ("CIDEr-D", "FD", "motion FD", "Vendi", "MIVS", "MICS", "density", "distance", "spread", "words", "kappa")


def row(report: Report) -> dict[str, str]:
    """The report as one row of a table: fractions in per cent with their interval, ranks as they are.

    >>> in_percent("T2A R@10"), in_percent("T2A MedR"), in_percent("chords fall")
    (True, False, False)
    """
    cells = {"model": report.model, "data": f"{report.data}/{report.split}", "pool": str(report.num_items)}
    with_interval = "intervals" not in report.details  # says why there are none
    return cells | {name: _cell(name, i, with_interval) for name, i in report.metrics.items()}


def blind_rows(report: Report) -> dict[str, dict[str, str]]:
    """The rows of blind systems for the report, written as `row` writes its own; by their names."""
    found: Mapping[str, Mapping[str, Any]] = report.details.get("blind", {})
    return {row: {name: _cell(name, Interval(**i)) for name, i in own.items()} for row, own in found.items()}


def _cell(name: str, i: Interval, with_interval: bool = True) -> str:
    scale, digits = 100.0 if in_percent(name) else 1.0, 2 if name.endswith(_DOUBLINGS) else 1
    value, low, high = (f"{scale * v:.{digits}f}" for v in (i.value, i.low, i.high))
    if with_interval:
        return f"{value} [{low}, {high}]"
    return f"{scale * i.value:.{3 if name.endswith(_PLAIN) else digits}f}"


def in_percent(metric: str) -> bool:
    """Whether a metric is a fraction that tables show in per cent (not a rank, nor in per cent already)."""
    return not metric.endswith(("MedR", "MeanR", "MedR%", *_DOUBLINGS, *_PLAIN))


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """Numbers that someone else printed: in per cent where ours are fractions, without intervals."""

    task: str
    data: str
    model: str
    source: str
    note: str
    metrics: Mapping[str, float]


@cache
def published() -> tuple[Published, ...]:
    """Every published row that ships with solfa (``published.toml``), each with its source."""
    rows = []
    for table in table_of("solfa.evaluation", "published.toml")["table"]:
        common = {"note": "", **{name: value for name, value in table.items() if name != "rows"}}
        for model, values in table["rows"].items():
            if len(values) != len(table["metrics"]):
                raise InputError(f"published.toml: {model!r} of {table['data']!r} has {len(values)} values.")
            pairs = zip(table["metrics"], values, strict=True)
            metrics = {name: float(v) for name, v in pairs if not math.isnan(v)}
            rows.append(Published(**{**common, "model": model, "metrics": metrics}))
    return tuple(rows)


def beside(report: Report) -> tuple[Published, ...]:
    """The published rows of the same task and data set. Their pools and splits may differ: read the notes."""
    return tuple(p for p in published() if (p.task, p.data) == (report.task, report.data))
