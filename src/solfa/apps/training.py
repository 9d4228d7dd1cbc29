"""``solfa train``: projectors on frozen or tuned bodies, from a data set to a model folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from solfa.apps.render import INTERRUPTED, clock, console, tell
from solfa.core.errors import MissingExtra

if TYPE_CHECKING:
    from solfa.training.recipes import Recipe
    from solfa.training.trainer import Outcome, Progress

train_app = typer.Typer(no_args_is_help=True, help="Train a model on a data set; share it.")
RECIPES = {
    "figma": "FIGMA: captions against frames, by the best token of each frame.",
    "finelap": "FineLAP: captions against clips, timed phrases against frames.",
    "united": "Both: FIGMA on captions, FineLAP's frame loss where phrases are timed.",
    "clap": "A CLAP, on new pairs: both backbones from their own projections (--tune audio,text).",
    "tutorial": "Two small maps of pooled vectors into 128 numbers, to learn how it works.",
}


def _train(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="Folder of the data set (see 'solfa data').")],
    out: Annotated[Path, typer.Option(help="Folder of the run; the model is in its folder 'model'.")],
    audio: Annotated[str, typer.Option(help="Body that hears; NAME or NAME:SOURCE, ?option=value.")] = "taggers",
    text: Annotated[str, typer.Option(help="Body that reads; NAME or NAME:SOURCE, ?option=value.")] = "minilm",
    size: Annotated[Literal["small", "published"], typer.Option(help="small is for a CPU.")] = "small",
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data at most.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Pairs of one step.")] = None,
    chunk_size: Annotated[int | None, typer.Option(min=1, help="Pairs projected at once; bounds memory.")] = None,
    lr: Annotated[float | None, typer.Option(min=0, max=1000, help="Learning rate.")] = None,
    precision: Annotated[
        Literal["float32", "bfloat16"] | None, typer.Option(help="Of the projectors (default: by size).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of all chance.")] = 0,
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    features: Annotated[
        Path | None, typer.Option(help="Cache of states (default: 'features' in the data set).")
    ] = None,
    states_precision: Annotated[
        Literal["float32", "tf32", "bfloat16"], typer.Option(help="Of frozen backbones on torch; tf32 on CUDA only.")
    ] = "float32",
    init: Annotated[Path | None, typer.Option(help="Folder of a model to start from.")] = None,
    tune: Annotated[str, typer.Option(help="Bodies to train too: audio, text or audio,text (on torch only).")] = "",
    body_lr: Annotated[
        float | None, typer.Option(min=0, max=1000, help="Learning rate of bodies, as a factor of --lr.")
    ] = None,
    crop_s: Annotated[
        float | None, typer.Option(min=0.1, max=3600, help="Seconds that a tuned body hears of a clip.")
    ] = None,
    frames: Annotated[
        Literal["transformer", "bigru", "linear", "shared"] | None, typer.Option(help="finelap's projector of frames.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any value of the recipe, repeatable: objective.alpha=0.3.")
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write RUN/tensorboard too.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    allow_noncommercial: Annotated[bool, typer.Option("--allow-noncommercial", help="Accept such weights.")] = False,
) -> None:
    """Train projectors, and bodies that --tune names; states of others are computed once and kept."""
    name = str(context.info_name)
    try:
        import safetensors  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtra("training", "pip install 'solfa[torch]'") from error
    from solfa.data.shards import Dataset
    from solfa.training.recipes import changed
    from solfa.training.run import run, text_name
    from solfa.training.trainer import joined, rank

    changes: dict[str, Any] = {
        "epochs": epochs, "batch_size": batch_size, "chunk_size": chunk_size, "learning_rate": lr, "seed": seed,
        "precision": precision, "body_lr": body_lr, "crop_s": crop_s,
    }  # fmt: skip
    pairs = [setting.partition("=") for setting in settings or []]

    def change(recipe: Recipe) -> Recipe:
        recipe = replace(recipe, **{k: v for k, v in changes.items() if v is not None})
        return changed(recipe, {key.strip(): value.strip() for key, _, value in pairs})

    def report(progress: Progress) -> None:
        if board is not None:
            board(progress)
        values = ", ".join(f"{k} {v:.4g}" for k, v in progress.metrics.items() if isinstance(v, float))
        if progress.step % 20 == 0 or progress.step == 1 or any(k.startswith("val") for k in progress.metrics):
            left = clock(progress.seconds_left)
            console().print(
                f"step {progress.step}/{progress.num_steps}: {values}; {progress.clips_per_s:.0f} clips/s, {left} left",
                markup=False, highlight=False, soft_wrap=True,
            )  # fmt: skip

    with _stoppable(), joined(device):
        if rank() == 0 and not len(Dataset.open(data).split("val")):
            console().print("no val split: the last weights are kept", highlight=False)
        if rank() == 0 and (named := text_name(text, small=size == "small", init=init)) != text:
            console().print(f"long texts are cut off as published: --text {named}", markup=False, highlight=False)
        board = _board(out) if tensorboard and rank() == 0 else None
        folder, outcome = run(
            name, data, out, audio=audio, text=text, small=size == "small", device=device, features=features,
            precision=states_precision, init=init, tune=tuple(sorted(set(filter(None, tune.split(","))))),
            resume=resume, frames=frames, allow_noncommercial=allow_noncommercial, report=report, change=change,
            progress=lambda done, total: console().print(f"states: {done}/{total} blocks", highlight=False),
        )  # fmt: skip
        if rank() == 0:
            tell(_summary(folder, outcome))


@contextmanager
def _stoppable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("solfa: stopped; go on with --resume", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _board(out: Path) -> Callable[[Progress], None]:
    """What writes a line of metrics; its files are made with the first: a run has its folder to itself until then."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtra("--tensorboard", "pip install tensorboard") from error
    writers: list[Any] = []

    def write(progress: Progress) -> None:
        if not writers:  # what a killed run wrote after its last checkpoint comes again, and is to be shown once
            made: Any = SummaryWriter
            writers.append(made(str(out / "tensorboard"), purge_step=progress.step))
        for key, value in progress.metrics.items():
            writers[0].add_scalar(key, value, progress.step)

    return write


def _summary(folder: Path, outcome: Outcome) -> str:
    early = ", stopped early" if outcome.stopped_early else ""
    found = "" if outcome.text is None else f", validation {outcome.text}"
    return f"{outcome.steps} steps{early}{found}. Use it: solfa index MUSIC --model trained:{folder}"


for _recipe, _what in RECIPES.items():
    train_app.command(_recipe, help=f"{_what} States are computed once and kept; a killed run goes on with --resume.")(
        _train
    )


@train_app.command("push")
def push(
    folder: Annotated[Path, typer.Argument(help="Folder of a model.")],
    repo: Annotated[str, typer.Argument(help="NAME/MODEL on the Hugging Face hub.")],
    public: Annotated[bool, typer.Option("--public", help="Let everyone see it.")] = False,
) -> None:
    """Put a model on the Hugging Face hub, with its card."""
    from solfa.training.hub import push as put

    tell(put(folder, repo, private=not public))


@train_app.command("pull")
def pull(
    repo: Annotated[str, typer.Argument(help="NAME/MODEL on the Hugging Face hub.")],
    folder: Annotated[Path, typer.Argument(help="Folder to make.")],
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch.")] = None,
) -> None:
    """Fetch a model from the Hugging Face hub."""
    from solfa.training.hub import pull as fetch

    tell(f"model is in {fetch(repo, folder, revision=revision)}")
