"""``solfa train``: projectors on frozen or tuned backbones, from a data set to a model folder."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from solfa.apps.options import NoncommercialOption
from solfa.apps.terminal import INTERRUPTED, console, tell
from solfa.core.errors import InputError, MissingExtra
from solfa.core.text import clock

if TYPE_CHECKING:
    from solfa.training.recipes import Recipe
    from solfa.training.trainer import Outcome, StepReport


class _Group(TyperGroup):
    """``solfa train --config FILE`` is ``solfa train RECIPE --config FILE`` with the recipe of the file."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first, _, inline = args[0].partition("=") if args else ("", "", "")
        if first == "--config" and (inline or len(args) > 1):
            args = [str(_recorded(Path(inline or args[1]))["command"]["name"]), *args]
        return super().parse_args(ctx, args)


train_app = typer.Typer(
    cls=_Group, no_args_is_help=True,
    help="Train a model on a data set; share it. To repeat a run: --config config.json --out FOLDER.",
)  # fmt: skip
TERMINATED = 143  # 128 + SIGTERM
_TEXTS, _MOST_BYTES = ("audio", "text", "features", "precision", "frames", "bank", "init"), 1 << 20
RECIPES = {
    "figma": "FIGMA: captions against frames, by the best token of each frame.",
    "finelap": "FineLAP: captions against clips, timed phrases against frames.",
    "united": "FIGMA and FineLAP together: FIGMA on captions, FineLAP's frame loss where phrases are timed.",
    "clap": "Fine-tune a CLAP on new pairs: both backbones, from their own projections (--tune audio,text).",
    "gdr": "GD-Retriever: a diffusion model that generates the audio vectors of a text (UNet over time).",
    "gdr-mlp": "GD-Retriever's smaller variant: an MLP over the mean of a track's vectors.",
    "tutorial": "Two small maps of pooled vectors to 128 dimensions, to learn how it works.",
    "captioner": "A language model that says what sound is like: --kind, --mode, --lm; for solfa describe --captioner.",
}


def _train(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder of the run; the model is in its folder 'model'.")],
    data: Annotated[
        list[str] | None,
        typer.Option(help="Folder of the data set (see 'solfa data'); of several FOLDER=WEIGHT, repeatable."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="config.json of a run, whose settings are the defaults.")] = None,
    audio: Annotated[
        str | None,
        typer.Option(help="Backbone of sound; NAME or NAME:SOURCE, ?option=value.", show_default="taggers"),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="Backbone of text; NAME or NAME:SOURCE, ?option=value.", show_default="minilm")
    ] = None,
    size: Annotated[
        Literal["small", "published"] | None, typer.Option(help="Model size; small is for a CPU.", show_default="small")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Most passes over the data.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Pairs of one step.")] = None,
    chunk_size: Annotated[int | None, typer.Option(min=1, help="Pairs projected at once; bounds memory.")] = None,
    lr: Annotated[float | None, typer.Option(min=0, max=1000, help="Learning rate.")] = None,
    precision: Annotated[
        Literal["float32", "bfloat16"] | None, typer.Option(help="Precision of the projectors (default: by size).")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="Random seed.", show_default="0")] = None,
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    features: Annotated[
        Path | None, typer.Option(help="Cache of states (default: 'features' in the data set).")
    ] = None,
    states_precision: Annotated[
        Literal["float32", "tf32", "bfloat16"] | None,
        typer.Option(help="Precision of frozen torch backbones; tf32 on CUDA only.", show_default="float32"),
    ] = None,
    bank: Annotated[Path | None, typer.Option(help="Phrases to draw from (JSONL; default: solfa's bank).")] = None,
    init: Annotated[Path | None, typer.Option(help="Folder of a model to start from.")] = None,
    tune: Annotated[
        str | None, typer.Option(help="Backbones to train too: audio, text or audio,text (on torch only).")
    ] = None,
    body_lr: Annotated[
        float | None,
        typer.Option(
            "--backbone-lr", "--body-lr", min=0, max=1000, help="Learning rate of backbones, a factor of --lr."
        ),
    ] = None,
    crop_s: Annotated[
        float | None, typer.Option(min=0.1, max=3600, help="Length of the crops for a tuned backbone, in seconds.")
    ] = None,
    frames: Annotated[
        Literal["transformer", "bigru", "linear", "shared"] | None, typer.Option(help="finelap: projector of frames.")
    ] = None,
    kind: Annotated[
        Literal["prefix", "qformer", "linear", "encoder-decoder"] | None,
        typer.Option(help="captioner: what makes vectors for the language model.", show_default="prefix"),
    ] = None,
    mode: Annotated[
        Literal["prefix", "concatenation", "modulation", "cross-attention"] | None,
        typer.Option(help="captioner: how the language model gets them (default: by kind)."),
    ] = None,
    lm: Annotated[
        str | None,
        typer.Option(help="captioner: language model, a folder or Hugging Face id, frozen (default: a new one)."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Set a value of the recipe, repeatable: objective.alpha=0.3.")
    ] = None,
    track: Annotated[
        list[str] | None, typer.Option(help="Show figures in tensorboard, wandb or trackio too; repeatable.")
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="As --track tensorboard.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    allow_noncommercial: NoncommercialOption = False,
) -> None:
    """Train projectors, and backbones that --tune names; states of others are computed once and kept."""
    name = str(context.info_name)
    try:
        import safetensors  # noqa: F401
        import scipy  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtra("training", "pip install 'solfa[torch]'") from error
    from solfa.alignment.gather import rank
    from solfa.datasets.shards import Dataset
    from solfa.training.recipes import changed, settings_of
    from solfa.training.run import run, text_name
    from solfa.training.trackers import tracker
    from solfa.training.trainer import joined

    recorded = {} if config is None else _recorded(config)
    before: dict[str, Any] = recorded.get("command", {})
    if before.get("name", name) != name:
        raise InputError(f"{config} is of the recipe {before['name']}, not of {name}.")
    old = settings_of(recorded["fixed"]["recipe"]) if recorded else {}
    if any((audio, text, size, frames)):  # other networks than the recorded ones
        old = {key: value for key, value in old.items() if not key.startswith("model.")}

    changes: dict[str, Any] = {
        "epochs": epochs, "batch_size": batch_size, "chunk_size": chunk_size, "learning_rate": lr, "seed": seed,
        "precision": precision, "body_lr": body_lr, "crop_s": crop_s,
    }  # fmt: skip

    def change(recipe: "Recipe") -> "Recipe":
        recipe = replace(changed(recipe, old), **{k: v for k, v in changes.items() if v is not None})
        return changed(recipe, assigned(settings))

    def report(progress: "StepReport") -> None:
        for each in trackers:
            each(progress)
        values = ", ".join(f"{k} {v:.4g}" for k, v in progress.metrics.items() if isinstance(v, float))
        if progress.step % 20 == 0 or progress.step == 1 or any(k.startswith("val") for k in progress.metrics):
            left = clock(progress.seconds_left)
            console().print(
                f"step {progress.step}/{progress.num_steps}: {values}; {progress.clips_per_s:.0f} clips/s, {left} left",
                markup=False, highlight=False, soft_wrap=True,
            )  # fmt: skip

    folders = dict(map(weighted, data)) if data else {Path(f): w for f, w in before.get("data", {}).items()}
    if len(folders) < len(data or ()):
        raise InputError("one data set was given twice. Give it once, with a weight: --data FOLDER=2.")
    if not folders:
        raise InputError("no data set to train on. Give one: --data FOLDER, or a run's file: --config FILE.")
    sides = tuple(before.get("tune", ())) if tune is None else tuple(sorted(set(filter(None, tune.split(",")))))
    places: dict[str, Any] = {
        key: given or (Path(before[key]) if before.get(key) else None)
        for key, given in (("features", features), ("init", init), ("bank", bank))
    }
    small = before.get("small", True) if size is None else size == "small"
    words = text or before.get("text", "minilm")
    with stoppable(), joined(device), ExitStack() as closing:
        if rank() == 0 and not any(len(Dataset.open(folder).split("val")) for folder in folders):
            console().print("no val split: the last weights are kept", highlight=False)
        if (
            rank() == 0
            and name != "captioner"
            and (named := text_name(words, small=small, init=places["init"])) != words
        ):
            console().print(f"long texts are cut off as published: --text {named}", markup=False, highlight=False)
        names = [*(track or ()), *(["tensorboard"] if tensorboard else ())]
        trackers = [tracker(each, out) for each in dict.fromkeys(names)] if rank() == 0 else []
        for each in trackers:
            closing.callback(each.close)
        own: dict[str, Any] = {"kind": kind, "mode": mode, "lm": lm}
        common: dict[str, Any] = {
            "audio": audio or before.get("audio", "taggers"), "device": device, "small": small, "resume": resume,
            "allow_noncommercial": allow_noncommercial, "report": report, "change": change,
            "progress": lambda done, total: console().print(f"states: {done}/{total} blocks", highlight=False),
        }  # fmt: skip
        if name == "captioner":
            from solfa.training.captioner import run_captioner

            if any((text, frames, sides, bank, init, states_precision)) or len(folders) > 1:
                raise InputError("a captioner takes one --data; --text, --frames, --tune, --bank, --init and "
                                 "--states-precision are for other recipes.")  # fmt: skip
            own = {key: value or before.get(key) for key, value in own.items()}
            folder, outcome = run_captioner(next(iter(folders)), out, features=places["features"], **own, **common)
        elif any(own.values()):
            raise InputError("--kind, --mode and --lm are for a captioner: solfa train captioner.")
        else:
            folder, outcome = run(
                name, folders, out, text=words, tune=sides, **places, **common,
                precision=states_precision or before.get("precision", "float32"), frames=frames or before.get("frames"),
            )  # fmt: skip
        if rank() == 0:
            python = {"gdr": "solfa.diffusion.network.load, of ", "gdr-mlp": "solfa.diffusion.network.load, of "}
            tell(_summary(folder, outcome, {"captioner": "solfa describe FILE --captioner ", **python}.get(name, "")))


def _recorded(file: Path) -> dict[str, Any]:
    """The ``config.json`` of a run. Raises InputError if it is none."""
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ValueError("too large")
        found: dict[str, Any] = json.loads(file.read_bytes())
        command, recipe = found["command"], found["fixed"]["recipe"]
        texts = [command["name"], *command["data"], *(command[k] for k in _TEXTS if command.get(k) is not None)]
        weights = [w for w in command["data"].values() if w is not None]
        fine = all(isinstance(t, str) for t in [*texts, *command["tune"]]) and isinstance(recipe, dict)
        if not fine or command["name"] not in RECIPES or not all(isinstance(w, int | float) for w in weights):
            raise ValueError("a value of another kind")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as bad:
        raise InputError(f"{file} is not the config.json of a run ({bad!r}). Runs of solfa train have one.") from bad
    return found


def assigned(settings: list[str] | None) -> dict[str, str]:
    """``KEY=VALUE`` of each ``--set``."""
    pairs = (setting.partition("=") for setting in settings or ())
    return {key.strip(): value.strip() for key, _, value in pairs}


def weighted(text: str) -> tuple[Path, float | None]:
    """``FOLDER`` or ``FOLDER=WEIGHT``."""
    folder, _, weight = text.rpartition("=")
    if not folder or Path(text).exists():
        return Path(text), None
    try:
        return Path(folder), float(weight)
    except ValueError:
        return Path(text), None


@contextmanager
def stoppable() -> Iterator[None]:
    """Say how to go on where a run was stopped."""
    try:
        yield
    except KeyboardInterrupt as stop:
        typer.echo(f"solfa: stopped{' ' if str(stop) else ''}{stop}; go on with --resume", err=True)
        raise typer.Exit(TERMINATED if str(stop) else INTERRUPTED) from None


def _summary(folder: Path, outcome: "Outcome", use: str = "") -> str:
    early = ", stopped early" if outcome.stopped_early else ""
    found = "" if outcome.text is None else f", validation {outcome.text}"
    return f"{outcome.steps} steps{early}{found}. Use it: {use or 'solfa index MUSIC --model trained:'}{folder}"


for _recipe, _what in RECIPES.items():
    train_app.command(_recipe, help=f"{_what} States are computed once and kept; --resume continues a run.")(_train)


@train_app.command("push")
def push(
    folder: Annotated[Path, typer.Argument(help="Folder of a model.")],
    repo: Annotated[str, typer.Argument(help="NAME/MODEL on the Hugging Face hub.")],
    public: Annotated[bool, typer.Option("--public", help="Make the model public.")] = False,
) -> None:
    """Upload a model to the Hugging Face hub, with its model card."""
    from solfa.training.hub import push as put

    tell(put(folder, repo, private=not public))


@train_app.command("pull")
def pull(
    repo: Annotated[str, typer.Argument(help="NAME/MODEL on the Hugging Face hub.")],
    folder: Annotated[Path, typer.Argument(help="Folder to make.")],
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch.")] = None,
) -> None:
    """Download a model from the Hugging Face hub."""
    from solfa.training.hub import pull as fetch

    tell(f"model is in {fetch(repo, folder, revision=revision)}")
