"""``solfa eval``: a model on a task of the field, one table row, one report that can be repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer
from rich.table import Table
from rich.text import Text

from solfa.apps.render import console
from solfa.core.errors import InputError, UnknownName
from solfa.core.files import write_text
from solfa.core.types import JointModel

if TYPE_CHECKING:  # --help loads none of these
    from solfa.collection import Collection
    from solfa.evaluation.finequeries import Rank
    from solfa.evaluation.readers import DataSet
    from solfa.evaluation.reports import Report

eval_app = typer.Typer(no_args_is_help=True, help="Measure a model on a task; compare two reports.")

OWN = "solfa"  # as the name of a data set: one that solfa made

# The tasks of solfa.evaluation.tasks, named here so that --help does not load them (held equal by a test).
TASKS = {
    "retrieval": "Text to audio and audio to text: R@K, median rank, mAP, nDCG.",
    "saturation": "Recall against the number of caption tokens kept (FIGMA).",
    "perturbation": "Audio to text with one attribute of the caption made false (FIGMA).",
    "zeroshot": "Classification by a template sentence for each label.",
    "sed": "Sound events: PSDS, segment and collar F1 (FineLAP).",
    "grounding": "Where in the audio a phrase is heard (FineLAP).",
    "finegrained": "Constraint satisfaction@K and attribute sensitivity, on music with known truth.",
}


def _run(
    context: typer.Context,
    dataset: Annotated[str, typer.Option(help="Data set: see 'solfa eval datasets'; 'solfa': one of your own.")],
    data: Annotated[Path, typer.Option(help="Folder of the data set, as its authors lay it out.")],
    split: Annotated[str | None, typer.Option(help="Split (default: the data set's first).")] = None,
    model: Annotated[str, typer.Option(help="Joint model: see 'solfa models list'.")] = "bridge",
    view: Annotated[
        Literal["global", "frame", "mix"] | None,
        typer.Option(help="Score to rank by (default: the one that the model is made to rank by)."),
    ] = None,
    by: Annotated[
        Literal["vectors", "search"],
        typer.Option(help="finegrained: rank by the model's vectors, or by the whole search."),
    ] = "vectors",
    seed: Annotated[int, typer.Option(min=0, help="Of resampling and edits.")] = 0,
    with_audio: Annotated[
        bool, typer.Option("--with-audio", help="Leave out clips without audio (the pool is then another one).")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write the report as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the figure as SVG.")] = None,
    allow_noncommercial: Annotated[bool, typer.Option("--allow-noncommercial", help="Accept such weights.")] = False,
) -> None:
    """Measure a model on one split of a data set; published numbers stand beside, each with its source."""
    from solfa.encoders.registry import load_model
    from solfa.evaluation import reports, tasks
    from solfa.evaluation.saturation import tokenizer_spans

    task = str(context.info_name)
    loaded = load_model(model, allow_noncommercial=allow_noncommercial)
    settings = tasks.Settings(view=None if view is None else replace(loaded.views.rank, name=view), seed=seed)
    if task == "saturation":
        tokenizer = getattr(loaded.text, "tokenizer", None)
        if tokenizer is None:
            raise InputError(f"model {model!r} does not show its tokenizer, which token saturation cuts with.")
        settings = replace(settings, spans=tokenizer_spans(tokenizer))
    if by == "search" and task != "finegrained":
        raise InputError(f"--by search ranks for the task finegrained only, not for {task!r}.")
    with ExitStack() as stack:
        clips = stack.enter_context(_opened(dataset, data, split))
        clips = clips.with_audio() if with_audio else clips
        rank = stack.enter_context(_searched(loaded, clips)) if by == "search" else None
        report = tasks.run_task(task, loaded, clips, settings=replace(settings, rank=rank))
    if by == "search":
        report = replace(report, model=f"{report.model}, whole search")
    _show(report, out, plot)
    for row in reports.beside(report):
        values = ", ".join(f"{name} {value:g}" for name, value in row.metrics.items())
        console().print(Text(f"published: {row.model}: {values} ({row.source}{'; ' + row.note if row.note else ''})"))


for _task, _what in TASKS.items():
    eval_app.command(_task, help=f"{_what} Published numbers stand beside, each with its source.")(_run)


# Fields of a truth that tools measure by the same name, and what stands for "not annotated".
_TRUTHS: dict[str, Any] = {
    "tempo_bpm": None,
    "key": None,
    "metre": None,
    "beats_s": (),
    "downbeats_s": (),
    "chords": (),
}


@eval_app.command("mir")
def mir(
    data: Annotated[Path, typer.Option(help="Folder of the data set.")],
    dataset: Annotated[str, typer.Option(help="Data set with the truth of its music: 'jams' or 'solfa'.")] = "jams",
    split: Annotated[str | None, typer.Option(help="Split (default: the data set's first).")] = None,
    extractor: Annotated[list[str] | None, typer.Option(help="Analysis tool, repeatable (default: 'default').")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of resampling.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write the report as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the figure as SVG.")] = None,
) -> None:
    """Measure tempo, key, metre, chords and beats against truth (JAMS), with mir_eval's scores."""
    from solfa.analysis.analyze import analyze
    from solfa.analysis.registry import extractors
    from solfa.evaluation import tasks
    from solfa.evaluation.annotation import MusicAnnotation

    tools = extractors(extractor)
    with _opened(dataset, data, split) as clips:
        known = {item.id: (item.audio, item.music) for item in clips.with_audio().items}
        # What no tool claims to measure is not held against it.
        silent = _TRUTHS.keys() - {field for tool in tools for field in tool.spec.provides}
        unasked = {field: _TRUTHS[field] for field in silent}
        truth = {name: replace(music, **unasked) for name, (_, music) in known.items() if music is not None}
        claims = {n: MusicAnnotation.of(analyze(path, tools)) for n, (path, _) in known.items() if path and n in truth}
    if not truth:
        raise InputError(f"{clips.source.title}: no truth of the music is known of any clip.")
    system = " ".join(f"{tool.spec.name}@{tool.spec.version}" for tool in tools)
    report = tasks.run_mir(truth, claims, system=system, data=clips.name, split=clips.split,
                           revision=clips.revision, seed=seed)  # fmt: skip
    _show(report, out, plot)


@contextmanager
def _opened(dataset: str, folder: Path, split: str | None) -> Iterator[DataSet]:
    """A data set of the field, or one of solfa's own; sound that is packed is laid out for as long as it is needed."""
    from tempfile import TemporaryDirectory

    from solfa.data.judging import data_set
    from solfa.evaluation.readers import load, sources, unpack_fgm_caps

    with TemporaryDirectory() as scratch:
        if dataset == OWN:
            yield data_set(folder, split or "test", Path(scratch))
            return
        if dataset not in sources():
            raise UnknownName("data set", dataset, [*sources(), OWN])
        clips = load(dataset, folder, split)
        if dataset == "fgmcaps" and all(item.audio is None for item in clips.items):
            unpack_fgm_caps(folder, clips.split, Path(scratch))
            sound = {path.stem: path for path in Path(scratch, "audio").iterdir()}
            clips = replace(clips, items=tuple(replace(item, audio=sound[item.id]) for item in clips.items))
        yield clips


@contextmanager
def _searched(model: JointModel, clips: DataSet) -> Iterator[Rank]:
    """How the whole search orders the clips: they are indexed into a collection that is thrown away."""
    from tempfile import TemporaryDirectory

    from solfa.analysis.registry import extractors
    from solfa.collection import Collection

    paths = [item.audio for item in clips.items if item.audio is not None]
    with TemporaryDirectory() as folder, Collection.open(Path(folder, "collection"), create=True) as collection:
        failed = collection.add(paths, model=lambda: model, extractors=extractors).failed
        if failed:
            raise InputError(f"{len(failed)} clips could not be indexed, such as {failed[0].path}: {failed[0].reason}.")
        yield by_search(collection, lambda: model, paths)


def by_search(collection: Collection, load_model: Callable[[], JointModel], paths: Sequence[Path]) -> Rank:
    """The whole search as an order of these files for each text (``solfa.evaluation.finequeries.Rank``)."""
    from solfa.query import parse
    from solfa.retrieval import Display, Searcher

    rows = {path.resolve(): row for row, path in enumerate(paths)}
    row_of = {t.id: rows[p.resolve()] for t in collection.tracks() for p in t.paths if p.resolve() in rows}
    if len(row_of) < len(paths):
        raise InputError(f"{len(paths)} clips are {len(row_of)} recordings: the pool holds copies. Leave them out.")
    searcher, whole = Searcher(collection, load_model), Display(k=len(paths), duplicates=True)
    return lambda texts: [[row_of[h.track_id] for h in searcher.search(parse(t), display=whole).hits] for t in texts]


@eval_app.command("compare")
def compare(
    a: Annotated[Path, typer.Argument(help="Report of one system.")],
    b: Annotated[Path, typer.Argument(help="Report of another, on the same pool.")],
) -> None:
    """Say whether the difference of two reports is real: paired, with interval and p-value."""
    from solfa.evaluation import reports

    first, second = reports.read_report(a), reports.read_report(b)
    table = Table("metric", f"{first.model} to {second.model}", "95 % interval", "p", "real?")
    for name, found in reports.compare(first, second).items():
        change = found.difference
        p = max(found.p_bootstrap, found.p_randomisation)
        interval, real = f"[{change.low:+.4f}, {change.high:+.4f}]", "yes" if found.real else "not shown"
        table.add_row(*map(Text, (name, f"{change.value:+.4f}", interval, f"{p:.4f}", real)))
    console().print(table)


@eval_app.command("datasets")
def datasets() -> None:
    """Every data set that can be read: its layout, licence, and where to get it."""
    from solfa.evaluation.readers import sources

    table = Table("name", "title", "splits", "licence", "where", "reader written from")
    table.add_row(OWN, "any data set that solfa made", "test, train, val", "that of its records",
                  "solfa data world, scenes, caption, import", "real files")  # fmt: skip
    for name, source in sorted(sources().items()):
        cells = (name, source.title, ", ".join(source.splits), source.licence, source.where, source.seen)
        table.add_row(*map(Text, cells))
    console().print(table)


def _figure(report: Report) -> str:
    from solfa.evaluation import plots
    from solfa.evaluation.psds import Curve
    from solfa.evaluation.reports import in_percent

    title = f"{report.model} on {report.data}, {report.task}"
    if "PSD-ROC" in report.details:
        rocs = report.details["PSD-ROC"]
        stairs = {n: Curve(np.array(r["efpr_per_hour"]), np.array(r["tpr"])) for n, r in rocs.items()}
        limit = min(r["max_efpr_per_hour"] for r in rocs.values())
        return plots.staircases(stairs, max_efpr_per_hour=limit, title=title)
    if report.task == "finegrained":
        falls = {n.removesuffix(" fall"): i for n, i in report.metrics.items() if n.endswith(" fall")}
        return plots.bars(falls, title=title, y_label="fall, doublings of the rank", scale=1.0)
    if report.task == "saturation":
        points = report.details["curve"]
        whole = max((p["tokens"] for p in points if p["tokens"] is not None), default=0) + 5
        names = [name for name in points[0] if name.startswith("R@")]
        series = {n: [(whole if p["tokens"] is None else p["tokens"], 100 * p[n]) for p in points] for n in names}
        return plots.curves(series, title=title, x_label="tokens kept", y_label="recall, %")
    shares = {name: value for name, value in report.metrics.items() if in_percent(name)}
    return plots.bars(shares, title=title, y_label="%")


def _show(report: Report, out: Path | None, plot: Path | None) -> None:
    from solfa.evaluation import reports

    if out is not None:
        reports.write_report(report, out)
    if plot is not None:
        write_text(plot, _figure(report))
    _print_row(reports.row(report))


def _print_row(row: dict[str, str]) -> None:
    """One line while it fits a terminal, one line for each number where there are many."""
    wide = len(row) > 9
    table = Table(*(("", "value") if wide else row))
    for cells in row.items() if wide else [row.values()]:
        table.add_row(*map(Text, cells))
    console().print(table)
