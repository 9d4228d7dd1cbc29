"""How a report is shown: a table with the blind rows, the file, the figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from solfa.apps import figures
from solfa.apps.terminal import console
from solfa.core.files import check_output

if TYPE_CHECKING:  # --help loads none of these
    from solfa.evaluation.reports import Report


OutOption = Annotated[
    Path | None, typer.Option("--out", help="Write the report as JSON; a folder of them for several models.")
]


def draw(report: "Report", path: Path, *, force: bool = False) -> None:
    """The figure of a task: staircases, curves or bars (``figures``)."""
    from solfa.evaluation.reports import in_percent

    title = f"{report.model} on {report.data}, {report.task}"
    if "PSD-ROC" in report.details:
        rocs = report.details["PSD-ROC"]
        limit = min(r["max_efpr_per_hour"] for r in rocs.values())
        stairs = {n: [p for p in zip(r["efpr_per_hour"], r["tpr"], strict=True) if p[0] <= limit]
                  for n, r in rocs.items()}  # fmt: skip
        stairs = {n: [*points, (limit, points[-1][1])] for n, points in stairs.items()}
        labels = {"x_label": "effective false positives per hour", "y_label": "effective TPR"}
        figures.curves(stairs, path, title=title, **labels, steps=True, force=force)
    elif report.task == "saturation":
        points = report.details["curve"]
        whole = max((p["tokens"] for p in points if p["tokens"] is not None), default=0) + 5
        names = [name for name in points[0] if name.startswith("R@")]
        series = {n: [(whole if p["tokens"] is None else p["tokens"], 100 * p[n]) for p in points] for n in names}
        figures.curves(series, path, title=title, x_label="tokens kept", y_label="recall, %", force=force)
    elif report.task == "finegrained":
        rank_drops = {n.removesuffix(" fall"): i for n, i in report.metrics.items() if n.endswith(" fall")}
        figures.bars(rank_drops, path, title=title, y_label="rank drop, doublings of the rank", scale=1.0, force=force)
    else:
        shares = {name: value for name, value in report.metrics.items() if in_percent(name)}
        figures.bars(shares, path, title=title, y_label="%", force=force)


def check(out: Path | None, plot: Path | None, num_reports: int = 1, *, force: bool) -> None:
    """See that ``show`` may write there, before long work; raises InputError."""
    if out is not None:
        check_output(out, force=force, folder=num_reports > 1)
    figures.check_plot(plot, force=force)


def names(models: Sequence[str]) -> list[str]:
    """What tables call models: of a trained folder as many last parts of its path as make it unique, at least two.

    >>> names(["bridge", "trained:/home/a/runs/figma/model", "trained:/home/a/runs/united/model, whole search"])
    ['bridge', '…/figma/model', '…/united/model, whole search']
    """
    paths = [m.replace("\\", "/").split("/") for m in models]

    def tail(path: Sequence[str], num: int) -> str:
        return "…/" + "/".join(path[-num:]) if num < len(path) else "/".join(path)

    def own(path: Sequence[str]) -> str:
        others = [p for p in paths if p != path]
        tails = (tail(path, num) for num in range(2, len(path) + 2))
        return next(t for num, t in enumerate(tails, 2) if all(tail(other, num) != t for other in others))

    return [own(path) for path in paths]


def show(found: "Sequence[Report]", out: Path | None = None, plot: Path | None = None, *, force: bool = False) -> None:
    """The reports of several systems on one pool as one table, the blind rows below; files where asked for."""
    from solfa.core.errors import InputError
    from solfa.evaluation import reports

    if len({r.pool for r in found}) > 1:
        raise InputError("the reports are of different pools and cannot be compared in one table.")
    if out is not None and len(found) > 1:
        out.mkdir(parents=True, exist_ok=True)
        for number, report in enumerate(found):
            name = "".join(c if c.isalnum() else "-" for c in report.model)[-80:].strip("-")
            reports.write_report(report, out / f"{number}-{name}.json", force=force)
    elif out is not None:
        reports.write_report(found[0], out, force=force)
    if plot is not None:
        draw(found[0], plot, force=force)
    called = names([report.model for report in found])
    rows = [{**reports.row(report), "model": name} for report, name in zip(found, called, strict=True)]
    for report, model in zip(found, called, strict=True):
        for name, cells in reports.blind_rows(report).items():
            own = name if len(found) == 1 or name != "text-only" else f"text-only ({model})"
            if all(row["model"] != own for row in rows):
                rows.append({"model": own, **cells})
    columns = list(dict.fromkeys(name for row in rows[: len(found)] for name in row))
    if len(columns) <= 9:
        table = Table(*(Column(name, overflow="fold") for name in columns))
        for row in rows:
            table.add_row(*(Text(row.get(name, "")) for name in columns))
    else:  # one line for each number where there are many
        table = Table("", *(Column(Text(row["model"]), overflow="fold") for row in rows))
        for name in columns[1:]:
            table.add_row(Text(name), *(Text(row.get(name, "")) for row in rows))
    console().print(table, soft_wrap=False)
