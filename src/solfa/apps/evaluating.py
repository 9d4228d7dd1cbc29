"""``solfa eval``: a model on a task of the field, one table row, one report that can be repeated."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer
from rich.table import Column, Table
from rich.text import Text

from solfa.apps.measuring import captions, fidelity, judges
from solfa.apps.options import ForceOption, NoncommercialOption, PlotOption, SeedOption
from solfa.apps.reporting import OutOption, check, names, show
from solfa.apps.terminal import console
from solfa.core.errors import InputError, UnknownName
from solfa.core.types import JointModel

if TYPE_CHECKING:  # --help loads none of these
    from solfa.datasets.readers import DataSet
    from solfa.evaluation.finegrained import Rank

eval_app = typer.Typer(no_args_is_help=True, help="Measure a model on a task; compare two reports.")

OWN = "solfa"  # as the name of a data set: one that solfa made

SplitOption = Annotated[str | None, typer.Option(help="Split (default: the data set's first).")]

# The tasks of solfa.evaluation.tasks, named here so that --help does not load them (held equal by a test).
TASKS = {
    "retrieval": "Text to audio and audio to text: R@K, median rank, mAP, nDCG.",
    "saturation": "Recall against the number of caption tokens kept (FIGMA).",
    "perturbation": "Audio to text against counterfactual captions: one attribute false (FIGMA).",
    "zeroshot": "Classification by a template sentence for each label.",
    "tagging": "Multi-label classification by a template sentence for each: mAP, PR-AUC, ROC-AUC.",
    "sed": "Sound events: PSDS, segment and collar F1 (FineLAP).",
    "grounding": "Where in the audio a phrase is present (FineLAP).",
    "finegrained": "Constraint satisfaction@K and attribute sensitivity, on music with annotations.",
}


def _run(
    context: typer.Context,
    dataset: Annotated[str, typer.Option(help="Data set, see 'solfa eval datasets'; 'solfa': made by solfa data.")],
    data: Annotated[Path, typer.Option(help="Folder of the data set, as its authors lay it out.")],
    split: SplitOption = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Joint model, repeatable for one table: see 'solfa models list'; gdr, or gdr:RUN of "
            "'solfa train gdr': texts by what is generated."
        ),
    ] = None,
    view: Annotated[
        Literal["global", "frame", "mix"] | None,
        typer.Option(help="Score to rank by (default: set by the model)."),
    ] = None,
    by: Annotated[
        Literal["vectors", "search"],
        typer.Option(help="finegrained: rank by the model's vectors, or by the whole search."),
    ] = "vectors",
    wording: Annotated[
        Literal["paraphrased", "plain"],
        typer.Option(help="finegrained: queries in free words, or in those of the query grammar."),
    ] = "paraphrased",
    seed: SeedOption = 0,
    with_audio: Annotated[
        bool, typer.Option("--with-audio", help="Leave out clips without audio (this changes the pool).")
    ] = False,
    out: OutOption = None,
    plot: PlotOption = None,
    force: ForceOption = False,
    allow_noncommercial: NoncommercialOption = False,
) -> None:
    """Measure models on one split of a data set: one table over one pool, with what blind systems earn below."""
    from solfa.api import DEFAULT_MODEL
    from solfa.diffusion.retriever import Retriever
    from solfa.encoders.registry import load_model
    from solfa.evaluation import reports, tasks
    from solfa.evaluation.saturation import tokenizer_spans

    task, names = str(context.info_name), model or [DEFAULT_MODEL]
    if by == "search" and task != "finegrained":
        raise InputError(f"--by search ranks for the task finegrained only, not for {task!r}.")
    if len(names) > 1 and plot is not None:
        raise InputError(f"--plot draws one model, got {len(names)}. Run it for each.")
    check(out, plot, len(names), force=force)
    found = []
    with ExitStack() as stack:
        clips = stack.enter_context(opened(dataset, data, split))
        clips = clips.with_audio() if with_audio else clips
        for name in names:
            kind, _, run = name.partition(":")
            if kind == "gdr":
                loaded = Retriever(run or None, allow_noncommercial=allow_noncommercial).joint(seed=seed)
            else:
                loaded = load_model(name, allow_noncommercial=allow_noncommercial)
            rank_by = None if view is None else replace(loaded.views.rank, name=view)
            settings = tasks.TaskSettings(view=rank_by, seed=seed, wording=wording)
            if task == "saturation":
                tokenizer = getattr(loaded.text, "tokenizer", None)
                if tokenizer is None:
                    raise InputError(f"model {name!r} does not show its tokenizer, which token saturation cuts with.")
                settings = replace(settings, spans=tokenizer_spans(tokenizer))
            with _searched(loaded, clips) if by == "search" else nullcontext() as rank:
                report = tasks.run_task(task, loaded, clips, settings=replace(settings, rank=rank))
            found.append(replace(report, model=f"{report.model}, whole search") if rank else report)
    show(found, out, plot, force=force)
    for row in reports.beside(found[0]):
        values = ", ".join(f"{name} {value:g}" for name, value in row.metrics.items())
        console().print(Text(f"published: {row.model}: {values} ({row.source}{'; ' + row.note if row.note else ''})"))


for _task, _what in TASKS.items():
    eval_app.command(_task, help=f"{_what} Published figures are shown for comparison, each with its source.")(_run)


for _command in (captions, fidelity, judges):
    eval_app.command()(_command)


# What tools measure of a truth by the same name.
_MEASURED = {"tempo_bpm", "key", "metre", "beats_s", "downbeats_s", "chords"}


@eval_app.command("mir")
def mir(
    data: Annotated[Path, typer.Option(help="Folder of the data set.")],
    dataset: Annotated[
        str, typer.Option(help="Data set with annotated music: 'jams', 'solfa' or 'mirdata:NAME'.")
    ] = "jams",
    split: SplitOption = None,
    extractor: Annotated[list[str] | None, typer.Option(help="Analysis tool, repeatable (default: 'default').")] = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    plot: PlotOption = None,
    force: ForceOption = False,
) -> None:
    """Measure tempo, key, metre, chords and beats against annotations (JAMS), with mir_eval's scores."""
    from solfa.analysis.analyze import analyze
    from solfa.analysis.registry import extractors
    from solfa.core.annotation import MusicAnnotation
    from solfa.evaluation import tasks

    check(out, plot, force=force)
    tools = extractors(extractor)
    with opened(dataset, data, split) as clips:
        known = {clip.id: (clip.audio, clip.annotation) for clip in clips.with_audio().clips}
        # What no tool claims to measure is not held against it.
        silent = _MEASURED.difference(*(tool.spec.provides for tool in tools))
        unasked: dict[str, Any] = {f.name: f.default for f in fields(MusicAnnotation) if f.name in silent}
        truth = {name: replace(music, **unasked) for name, (_, music) in known.items() if music is not None}
        paths = {name: path for name, (path, _) in known.items() if isinstance(path, Path) and name in truth}
        claims = {name: MusicAnnotation.of(analyze(path, tools)) for name, path in paths.items()}
    if not truth:
        raise InputError(f"{clips.source.title}: no truth of the music is known of any clip.")
    system = " ".join(f"{tool.spec.name}@{tool.spec.version}" for tool in tools)
    report = tasks.run_mir(truth, claims, system=system, data=clips.name, split=clips.split,
                           revision=clips.revision, seed=seed)  # fmt: skip
    show([report], out, plot, force=force)


@contextmanager
def opened(dataset: str, folder: Path, split: str | None) -> "Iterator[DataSet]":
    """A data set of the field, or one of solfa's own; sound that is packed is laid out for as long as it is needed."""
    from tempfile import TemporaryDirectory

    from solfa.datagen.judging import data_set
    from solfa.datasets.readers import laid_out, load, sources

    with TemporaryDirectory() as scratch:
        if dataset == OWN:
            yield data_set(folder, split or "test", Path(scratch))
            return
        if dataset.startswith("mirdata:"):
            from solfa.datasets.readers.from_mirdata import load_mirdata

            yield load_mirdata(dataset.partition(":")[2], folder)
            return
        if dataset not in sources():
            raise UnknownName("data set", dataset, [*sources(), OWN])
        yield laid_out(load(dataset, folder, split), Path(scratch))


@contextmanager
def _searched(model: JointModel, clips: "DataSet") -> "Iterator[Rank]":
    """How the whole search orders the clips: they are indexed into a collection that is thrown away."""
    from tempfile import TemporaryDirectory

    from solfa.analysis.registry import extractors
    from solfa.collection import Collection
    from solfa.query import parse
    from solfa.retrieval import Display, Searcher

    paths = [clip.audio for clip in clips.clips if isinstance(clip.audio, Path)]
    with TemporaryDirectory() as folder, Collection.open(Path(folder, "collection"), create=True) as collection:
        failed = collection.add(paths, model=lambda: model, extractors=extractors).failed
        if failed:
            raise InputError(f"{len(failed)} clips could not be indexed, such as {failed[0].path}: {failed[0].reason}.")
        rows = {path.resolve(): row for row, path in enumerate(paths)}
        row_of = {t.id: rows[p.resolve()] for t in collection.tracks() for p in t.paths if p.resolve() in rows}
        if len(row_of) < len(paths):
            raise InputError(f"{len(paths)} clips are {len(row_of)} recordings: the pool holds copies. Leave them out.")
        searcher, whole = Searcher(collection, lambda: model), Display(k=len(paths), duplicates=True)

        def rank(texts: Sequence[str]) -> Any:
            scores = np.full((len(texts), len(paths)), -np.inf)
            for q, text in enumerate(texts):
                for hit in searcher.search(parse(text), display=whole).hits:
                    scores[q, row_of[hit.track_id]] = hit.score
            return scores

        yield rank


@eval_app.command("compare")
def compare(
    a: Annotated[Path, typer.Argument(help="Report of one system.")],
    b: Annotated[Path, typer.Argument(help="Report of another, on the same pool.")],
) -> None:
    """Test whether two reports differ significantly: paired, with confidence interval and p-value."""
    from solfa.evaluation import reports

    first, second = reports.read_report(a), reports.read_report(b)
    systems = Text(" to ".join(names([first.model, second.model])))
    table = Table("metric", Column(systems, overflow="fold"), "95 % interval", "p", "real?")
    for name, found in reports.compare(first, second).items():
        change = found.difference
        p = max(found.p_bootstrap, found.p_randomisation)
        interval, real = f"[{change.low:+.4f}, {change.high:+.4f}]", "yes" if found.real else "not shown"
        table.add_row(*map(Text, (name, f"{change.value:+.4f}", interval, f"{p:.4f}", real)))
    console().print(table, soft_wrap=False)


@eval_app.command("datasets")
def datasets() -> None:
    """List every data set that can be read: its splits, licence, and where to get it."""
    from solfa.datasets.readers import sources

    table = Table("name", "title", "splits", "licence", "where", "reader written from")
    table.add_row(OWN, "any data set that solfa made", "test, train, val", "that of its records",
                  "solfa data world, scenes, caption, import", "real files")  # fmt: skip
    for name, source in sorted(sources().items()):
        cells = (name, source.title, ", ".join(source.splits), source.licence, source.where, source.seen)
        table.add_row(*map(Text, cells))
    console().print(table, soft_wrap=False)
