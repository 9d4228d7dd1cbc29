"""Options that several commands share."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_type_hints

import typer

from solfa.core.errors import InputError
from solfa.core.filters import FIELDS, SORTS
from solfa.weights import home

if TYPE_CHECKING:
    from solfa.jobs import Executor


def _starting(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """What the shell completes from these names."""
    return lambda incomplete: [name for name in names() if name.startswith(incomplete)]


def _models() -> Iterable[str]:
    from solfa.encoders.registry import available

    return (info.name for info in available())


def default_collection() -> Path:
    """The collection in the platform's data directory (``SOLFA_HOME`` moves it)."""
    return home() / "collection"


def collection_folder(text: str) -> Path:
    """The folder of a collection; that of a store is a copy on this machine."""
    if not text.startswith("lance"):
        return Path(text)
    from solfa.cluster.lance_store import LanceStore, is_store

    return LanceStore(text).local() if is_store(text) else Path(text)


ForceOption = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
_COLLECTION: Any = {
    "help": "Folder of the collection (default: in the platform's data directory), or a store: lance://FOLDER, "
    "lance+s3://BUCKET/KEY.", "envvar": "SOLFA_COLLECTION", "metavar": "PATH",
}  # fmt: skip
CollectionOption = Annotated[Path | None, typer.Option("--collection", parser=collection_folder, **_COLLECTION)]
PlaceOption = Annotated[str | None, typer.Option("--collection", **_COLLECTION)]  # as it is given
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON (docs/json.md) instead of text.")]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="Joint model, see 'solfa models list' (default: the collection's last, else solfa-1).",
                 autocompletion=_starting(_models)),
]  # fmt: skip
NoncommercialOption = Annotated[
    bool, typer.Option("--allow-noncommercial", help="Allow weights whose licence forbids commercial use.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="Random seed.")]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", "--jobs", min=1, help="Processes (default: one for each core).")
]
ExecutorOption = Annotated[
    str,
    typer.Option(
        "--executor", help="Who does the work: processes here, ray (a cluster, see docs/scale.md), ray://HOST[:PORT]."
    ),
]
PlotOption = Annotated[
    Path | None, typer.Option("--plot", help="Draw a figure into FILE.svg or FILE.png (needs solfa\\[plot]).")
]

ContextOption = Annotated[str, typer.Option("--for", help="What the music is for, such as 'late-night reading'.")]
JUDGES = "rules, the address of an OpenAI-compatible endpoint up to /v1 (local: a model here), or llm for SOLFA_LLM_URL"
LlmModelOption = Annotated[
    str,
    typer.Option(
        "--llm-model", help="The model's name at the endpoint; of local, see the docs.", envvar="SOLFA_LLM_MODEL"
    ),
]
LlmKeyOption = Annotated[str, typer.Option("--llm-key-env", help="Environment variable that holds the endpoint's key.")]

CountOption = Annotated[int, typer.Option("-k", min=1, max=1000, help="How many hits.")]
PlayerOption = Annotated[
    str | None, typer.Option("--player", help="Program to play with (default: mpv, ffplay, vlc or the desktop's).")
]


def executor_of(executor: str, workers: int | None, gpus: float = 0.0, **limits: float) -> "Executor":
    """The executor that the option names. Raises InputError if it names none."""
    from solfa.jobs import ProcessExecutor

    kind, _, address = executor.partition("://")
    if executor == "ray" or (kind == "ray" and address):
        from solfa.cluster.ray_executor import RayExecutor

        return RayExecutor(address, workers=workers, gpus=gpus, **cast(Any, limits))
    if executor != "processes":
        raise InputError(f"--executor {executor!r}: expected processes, ray, or ray://HOST:PORT.")
    if gpus:
        raise InputError("--gpu-share goes with --executor ray; processes here use what the model names (?device=).")
    return ProcessExecutor(workers, **cast(Any, limits))


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """The options that `search` and `similar` have in common."""

    collection: CollectionOption = None
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", help="Exact filter, e.g. tempo_bpm=90..110, repeatable.", autocompletion=_starting(FIELDS.keys)
        ),
    ] = None
    k: CountOption = 10
    page: Annotated[int, typer.Option("--page", min=1, help="Page of the results, of -k hits each.")] = 1
    sort: Annotated[
        str,
        typer.Option("--sort", help=f"Order of the hits shown: {', '.join(SORTS)}; a '-' before it reverses the order.",
                     autocompletion=_starting(SORTS.__iter__)),
    ] = "score"  # fmt: skip
    per_artist: Annotated[int, typer.Option("--per-artist", min=0, help="Most hits by one artist (0: no limit).")] = 0
    duplicates: Annotated[bool, typer.Option("--duplicates", help="Show every copy of a recording.")] = False
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show all evidence: what was asked, how sure it is, and where.")
    ] = False
    explain: Annotated[bool, typer.Option("--explain", help="Show how long each stage took.")] = False
    m3u: Annotated[
        Path | None, typer.Option("--m3u", help="Write the hits as an M3U8 playlist (-: standard output).")
    ] = None
    xspf: Annotated[
        Path | None, typer.Option("--xspf", help="Write the hits as an XSPF playlist (-: standard output).")
    ] = None
    force: ForceOption = False
    play: Annotated[bool, typer.Option("--play", help="Play the hits, one after the other.")] = False
    player: PlayerOption = None
    flow: Annotated[
        Literal["rise", "fall", "arc", "flat"] | None,
        typer.Option("--flow", help="Order the hits as a playlist: how loudness goes; near tempi and keys, no artist "
                     "twice in a row."),
    ] = None  # fmt: skip
    weights: Annotated[
        str,
        typer.Option("--weights", help="Compare with the examples stem by stem: rhythm, harmony, mood, or numbers such "
                     "as drums=2,vocals=0."),
    ] = ""  # fmt: skip
    context: ContextOption = ""
    rerank: Annotated[
        str, typer.Option("--rerank", help=f"Who orders the first hits for it (default: rules): {JUDGES}.")
    ] = ""
    summaries: Annotated[
        str,
        typer.Option("--summaries", help="What is judged: rules (what was measured), or the name of a model "
                     "whose summaries 'solfa describe --llm' kept."),
    ] = "rules"  # fmt: skip
    llm_model: LlmModelOption = ""
    llm_key_env: LlmKeyOption = ""
    model: ModelOption = None
    view: Annotated[
        Literal["global", "frame", "mix"] | None,
        typer.Option(
            "--view", help="What a trained model compares: pooled vectors, frames, or both (default: its own)."
        ),
    ] = None
    allow_noncommercial: NoncommercialOption = False
    as_json: JsonOption = False


@dataclass(frozen=True, kw_only=True, slots=True)
class _Limits:
    """How much a command may ask language models."""

    llm_calls: Annotated[int, typer.Option(min=0, help="Most requests to language models; 0: no limit.")] = 0
    llm_tokens: Annotated[int, typer.Option(min=0, help="Most tokens they are asked and answer; 0: no limit.")] = 0
    llm_dry_run: Annotated[
        bool, typer.Option("--llm-dry-run", help="Print the first prompt for a language model, ask nothing, stop.")
    ] = False


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes ``asked``, with the options of ``Asked`` in its place."""
    return _sharing(command, Asked, lambda asked, given: command(asked=asked, **given), "asked")


def limit(app: typer.Typer) -> None:
    """Let each command of an app that takes ``llm_model`` be limited in what it asks."""
    for group in app.registered_groups:
        limit(cast(typer.Typer, group.typer_instance))
    for info in app.registered_commands:
        if info.callback is not None and "llm_model" in inspect.signature(info.callback).parameters:
            info.callback = _sharing(info.callback, _Limits, partial(_within, info.callback))


def _within(command: Callable[..., None], limits: _Limits, given: dict[str, Any]) -> None:
    from solfa.llm import BUDGET

    BUDGET.calls, BUDGET.tokens, BUDGET.dry_run = limits.llm_calls, limits.llm_tokens, limits.llm_dry_run
    command(**given)


def _sharing(
    command: Callable[..., None], options: Any, use: Callable[..., None], name: str = ""
) -> Callable[..., None]:
    """A command with the options of a class in the place of ``name``, run by ``use`` of them and the others."""
    own, hints = inspect.signature(command), get_type_hints(command, include_extras=True)
    shared = get_type_hints(options, include_extras=True)

    def run(**given: Any) -> None:
        use(options(**{name: given.pop(name) for name in shared}), given)

    keyword = inspect.Parameter.KEYWORD_ONLY
    mine = [p.replace(annotation=hints[p.name], kind=keyword) for p in own.parameters.values() if p.name != name]
    theirs = [inspect.Parameter(f.name, keyword, default=f.default, annotation=shared[f.name]) for f in fields(options)]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {p.name: p.annotation for p in (*mine, *theirs)}
    run.__signature__ = inspect.Signature([*mine, *theirs])  # type: ignore[attr-defined]
    return run
