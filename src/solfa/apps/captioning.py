"""``solfa data caption``: music in, captioned clips out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from solfa.apps.render import SOME_FAILED, console, progress_bars, tell
from solfa.core.errors import InputError
from solfa.core.text import printable

if TYPE_CHECKING:  # --help loads none of these
    from solfa.data.captions.llm import Endpoint
    from solfa.data.shards import Dataset

_MOST_NAMED = 5


def caption(
    src: Annotated[Path, typer.Argument(help="Folder of music, a collection, or the folder of a published data set.")],
    out: Annotated[Path, typer.Argument(help="Folder of the new data set; a stopped run goes on where it was.")],
    dataset: Annotated[
        str, typer.Option(help="SRC is this published data set, see 'solfa eval datasets'; NAME:SPLIT for a split.")
    ] = "",
    style: Annotated[
        str, typer.Option(help="One style for all captions, such as figma, late or tags; else they are drawn.")
    ] = "",
    per_clip: Annotated[int, typer.Option(help="Captions of one clip.")] = 1,
    seconds: Annotated[float, typer.Option(help="Length of a clip.")] = 10.0,
    clips: Annotated[int, typer.Option(help="Clips of one track at most, spread evenly; 0: all.")] = 0,
    require: Annotated[
        str, typer.Option(help="Attributes without which a clip is left out; 'none'. Default for figma and --llm: "
                               "tempo_bpm,metre,key,chords.")
    ] = "",
    extractors: Annotated[str, typer.Option(help="Analysis tools, see 'solfa models list'.")] = "default",
    splits: Annotated[
        str, typer.Option(help="Shares of train, val, test within each source; or 'fgmcaps' for its clip counts.")
    ] = "0.9,0.05,0.05",
    seed: Annotated[int, typer.Option(min=0, help="Of all chance.")] = 0,
    llm: Annotated[str, typer.Option(help="A language model writes: OpenAI-compatible address, up to /v1.")] = "",
    llm_model: Annotated[str, typer.Option(help="Its name at the endpoint.")] = "",
    llm_key_env: Annotated[str, typer.Option(help="Environment variable that holds the endpoint's key.")] = "",
    llm_rate: Annotated[float, typer.Option(min=0, help="Requests a second at most, all together; 0: no limit.")] = 0.0,
    on_failure: Annotated[
        Literal["drop", "grammar"], typer.Option(help="What becomes of a rejected answer of the model.")
    ] = "drop",
    jobs: Annotated[int | None, typer.Option(help="Processes; one for each core if not given.")] = None,
) -> None:  # fmt: skip
    """Cut music into clips, hear what they are, and write captions that say it (the pipeline of FGMCaps).

    What is not heard surely is not said. Captions come from a grammar, or with --llm from a language model whose
    answers are checked. No track, artist or copy of a recording ends in two splits.

    Exit code 0: all is well; 2: nothing was made; 3: some files failed, they are listed.
    """
    from solfa.data.captions.pipeline import FIGMA_REQUIRED, caption_tracks
    from solfa.data.captions.sources import tracks_in
    from solfa.data.captions.splits import FGMCAPS
    from solfa.data.captions.stages import Settings
    from solfa.jobs import ProcessExecutor

    executor = ProcessExecutor(jobs)
    endpoint = endpoint_of(llm, llm_model, llm_key_env, llm_rate / executor.workers)
    figma = style == "figma" or endpoint is not None
    settings = Settings(
        seconds=seconds, clips=clips, per_clip=per_clip, style=style or None, seed=seed, endpoint=endpoint,
        required=_names(require) if require else FIGMA_REQUIRED if figma else (),
        extractors=tuple(e.strip() for e in extractors.split(",")), grammar_on_failure=on_failure == "grammar",
        counts=FGMCAPS if splits == "fgmcaps" else None,
        shares=(1.0, 0.0, 0.0) if splits == "fgmcaps" else shares_of(splits),
    )  # fmt: skip
    tracks = tracks_in(src, dataset)
    with progress_bars("hear", "write", "split", "shards") as show:
        made = caption_tracks(tracks, out, settings, executor=executor, progress=show)
    _report(made.manifest["config"], len(made.manifest["failures"]), out)
    raise typer.Exit(SOME_FAILED if tell_failures(made) else 0)


def endpoint_of(url: str, model: str, key_env: str, rate_per_s: float = 0.0) -> Endpoint | None:
    """The language model that the options name; None if they name none."""
    from solfa.data.captions.llm import Endpoint

    if bool(url) != bool(model):
        raise InputError("--llm and --llm-model go together.")
    return Endpoint(url=url, model=model, key_env=key_env, rate_per_s=rate_per_s) if url else None


def tell_failures(made: Dataset) -> int:
    """How many items failed on the way to a data set; some are printed, with the reason."""
    failures = made.manifest.get("failures", ())
    for failure in failures[:_MOST_NAMED]:
        tell(printable(f"failed: {failure.get('item')}: {failure.get('reason')}"))
    if len(failures) > _MOST_NAMED:
        tell(f"and {len(failures) - _MOST_NAMED} more, see {made.folder}/dataset.json")
    return len(failures)


def _names(text: str) -> tuple[str, ...]:
    return () if text == "none" else tuple(n.strip() for n in text.split(","))


def shares_of(text: str) -> tuple[float, ...]:
    """The shares of train, val and test that an option names."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--splits {text!r}: expected three shares such as 0.9,0.05,0.05, or fgmcaps.") from None


def _report(config: dict[str, object], failures: int, out: Path) -> None:
    table = Table("rule", "how often")
    rules = config["rules"]
    assert isinstance(rules, dict)
    for name, count in rules.items():
        table.add_row(name, str(count))
    console().print(table)
    tell(
        f"{config['tracks']} tracks, {failures} failed, {config['equal_sound']} of equal sound, {config['families']} "
        f"families; {rules['clips_kept']} clips are in {out}; see: solfa data info {out}"
    )
