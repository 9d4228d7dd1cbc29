"""``solfa data caption``: music in, captioned clips out."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer
from rich.table import Table

from solfa.apps.options import ExecutorOption, SeedOption, WorkersOption, executor_of
from solfa.apps.terminal import SOME_FAILED, Work, console, tell
from solfa.core.errors import InputError
from solfa.core.text import printable
from solfa.weights import home

if TYPE_CHECKING:  # --help loads none of these
    from solfa.datasets.shards import Dataset
    from solfa.llm import Endpoint, ModelClient, Usage

_MOST_NAMED = 5


def caption(
    src: Annotated[Path, typer.Argument(help="Folder of music, a collection, or the folder of a published data set.")],
    out: Annotated[Path, typer.Argument(help="Folder of the new data set; a stopped run continues where it stopped.")],
    dataset: Annotated[
        str, typer.Option(help="SRC is this published data set, see 'solfa eval datasets'; NAME:SPLIT for a split.")
    ] = "",
    style: Annotated[
        str, typer.Option(help="One style for all captions, such as figma, late or tags; else they are drawn.")
    ] = "",
    per_clip: Annotated[int, typer.Option(help="Captions of one clip.")] = 1,
    seconds: Annotated[float, typer.Option(help="Length of a clip.")] = 10.0,
    clips: Annotated[int, typer.Option(help="Most clips of one track, evenly spaced; 0: all.")] = 0,
    require: Annotated[
        str, typer.Option(help="Attributes without which a clip is left out, such as tempo_bpm,metre,key,chords: the "
                               "four of FGMCaps.")
    ] = "",
    precision: Annotated[
        float, typer.Option(help="Target share of true statements, for each kind; less certain ones are left out.")
    ] = 0.9,
    trust: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Table of thresholds, fitted by "
                                  "benchmarks/caption_truth.py (default: the one that is shipped).")
    ] = None,
    guesses: Annotated[
        bool, typer.Option("--guesses", help="Also use genres and moods that only a tagger found.")
    ] = False,
    extractors: Annotated[str, typer.Option(help="Analysis tools, see 'solfa models list'.")] = "default",
    splits: Annotated[
        str, typer.Option(help="Shares of train, val, test within each source; or 'fgmcaps' for its clip counts.")
    ] = "0.9,0.05,0.05",
    sample_rate: Annotated[
        int, typer.Option(help="Rate in Hz of clips of exactly --seconds, stereo as the file is; 0: its own, mono.")
    ] = 0,
    most_voice: Annotated[
        float, typer.Option(help="Leave out clips in which a voice is surer than this, 0..1; 1: none.")
    ] = 1.0,
    seed: SeedOption = 0,
    llm: Annotated[str, typer.Option(help="Endpoint of an OpenAI-compatible language model, up to /v1.")] = "",
    llm_model: Annotated[str, typer.Option(help="Its name at the endpoint.")] = "",
    llm_key_env: Annotated[str, typer.Option(help="Environment variable that holds the endpoint's key.")] = "",
    llm_rate: Annotated[float, typer.Option(min=0, help="Most requests per second; 0: no limit.")] = 0.0,
    llm_concurrency: Annotated[int, typer.Option(min=1, max=256, help="Most requests at a time.")] = 8,
    llm_omit: Annotated[
        str, typer.Option(help="Fields of the request to leave out, for servers that refuse them: temperature, "
                               "max_tokens, seed, response_format.")
    ] = "",
    llm_price: Annotated[
        str, typer.Option(help="Prices of a million input and output tokens, such as 0.15,0.60, to show the cost.")
    ] = "",
    on_failure: Annotated[
        Literal["drop", "grammar"], typer.Option(help="What to do with a rejected answer of the model.")
    ] = "drop",
    workers: WorkersOption = None,
    executor: ExecutorOption = "processes",
) -> None:  # fmt: skip
    """Cut music into clips, analyze them, and write captions of what was found (the pipeline of FGMCaps).

    Only what is measured with enough confidence is stated. Captions come from a grammar, or with --llm from a
    language model whose answers are checked. No track, artist or copy of a recording is in two splits.

    Exit code 0: all is well; 2: nothing was made; 3: some files failed, they are listed.
    """
    from solfa.collection.database import Database
    from solfa.datagen.captions.pipeline import caption_tracks, usage_of
    from solfa.datagen.captions.sources import tracks_in
    from solfa.datagen.captions.stages import FGMCAPS, Settings

    options = {"rate_per_s": llm_rate, "omit": _names(llm_omit), "concurrency": llm_concurrency}
    cost, fgmcaps = _cost(llm_price), splits == "fgmcaps"
    settings = Settings(
        seconds=seconds, clips=clips, per_clip=per_clip, style=style or None, seed=seed, required=_names(require),
        precision=precision, trust=trust, guesses=guesses, extractors=tuple(e.strip() for e in extractors.split(",")),
        endpoint=endpoint_of(llm, llm_model, llm_key_env, **options), grammar_on_failure=on_failure == "grammar",
        sample_rate_hz=sample_rate, most_voice=most_voice, counts=FGMCAPS if fgmcaps else None,
        shares=(1.0, 0.0, 0.0) if fgmcaps else shares_of(splits),
    )  # fmt: skip

    def announce(expected: "Usage") -> None:
        tell(f"about {expected.requests} requests, {expected.prompt_tokens} tokens asked and "
             f"{expected.completion_tokens} answered{cost(expected)}, fewer where answers are kept, up to twice as "
             f"many where they are rejected")  # fmt: skip

    spread, tracks = executor_of(executor, workers), tracks_in(src, dataset)
    known = src if not dataset and Database(src).path.is_file() else None
    with Work("analyze", "write", "split", "shards") as work:
        made = caption_tracks(
            tracks, out, settings, collection=known, executor=spread, progress=work, announce=announce
        )
    if usage := usage_of(settings, out):
        tell(
            f"{usage.requests} requests, {usage.kept} answers kept from before, {usage.prompt_tokens} tokens asked "
            f"and {usage.completion_tokens} answered{cost(usage)}; {usage.uncounted} answers without a count"
        )
    failed, config = tell_failures(made), made.manifest["config"]
    for statement, tools in config["own_confidence"].items():
        tell(f"{statement}: decided by the confidence of {', '.join(tools)}; "
             f"the trust table was fitted on another tool")  # fmt: skip
    table, rules = Table("rule", "how often"), config["rules"]
    for name, count in rules.items():
        table.add_row(name, str(count))
    console().print(table, soft_wrap=False)
    work.end(f"{rules['clips_kept']} clips are in {out} (see: solfa data info {out}), of {config['tracks']} tracks, "
             f"{config['equal_sound']} of equal sound, {config['families']} families", failed)  # fmt: skip
    raise typer.Exit(SOME_FAILED if failed else 0)


def endpoint_of(url: str, model: str, key_env: str, **options: Any) -> "Endpoint | None":
    """The language model that the options name; None if they name none."""
    from solfa.llm import Endpoint

    if bool(url) != bool(model):
        raise InputError("--llm and --llm-model go together: an endpoint up to /v1, and the name of its model.")
    return Endpoint(url=url, model=model, key_env=key_env, **options) if url else None


def client_of(url: str, model: str, key_env: str, **options: Any) -> "ModelClient":
    """The client of a language model that is asked for its most probable answer."""
    from solfa.llm import ModelClient

    endpoint = endpoint_of(url, model, key_env, retries=1, temperature=0.0, **options)
    return ModelClient(cast("Endpoint", endpoint), home() / "answers")


def tell_failures(made: "Dataset") -> int:
    """How many items failed on the way to a data set; some are printed, with the reason."""
    failures = made.manifest.get("failures", ())
    for failure in failures[:_MOST_NAMED]:
        tell(printable(f"failed: {failure.get('item')}: {failure.get('reason')}"))
    if len(failures) > _MOST_NAMED:
        tell(f"and {len(failures) - _MOST_NAMED} more, see {made.folder}/dataset.json")
    return len(failures)


def _names(text: str) -> tuple[str, ...]:
    return () if text in ("", "none") else tuple(n.strip() for n in text.split(","))


def _cost(prices: str) -> "Callable[[Usage], str]":
    """Words for what a usage costs; none where no prices are given."""
    try:
        asked, answered = map(float, prices.split(",")) if prices else (0.0, 0.0)
    except ValueError:
        expected = "expected two prices of a million tokens, such as 0.15,0.60."
        raise InputError(f"--llm-price {prices!r}: {expected}") from None
    return lambda usage: f", a cost of {usage.cost(asked, answered):.2f}" if prices else ""


def shares_of(text: str) -> tuple[float, ...]:
    """The shares of train, val and test that an option names."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--splits {text!r}: expected three shares such as 0.9,0.05,0.05, or fgmcaps.") from None
