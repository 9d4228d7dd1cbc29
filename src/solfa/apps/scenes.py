"""``solfa data sounds`` and ``solfa data scenes``: event sounds from Debian or your own, mixed into scenes."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from solfa.apps.captioning import endpoint_of
from solfa.apps.options import ExecutorOption, SeedOption, WorkersOption, executor_of
from solfa.apps.terminal import Work, console, tell
from solfa.core.errors import InputError

_SHORTEST_S = 0.06  # of the packages' sounds: most of them are shorter than FineLAP's second


def sounds() -> None:
    """Fetch the sounds of eight Debian packages (650 MB, free licences) with apt-get download; no root, no install."""
    from solfa.datagen.packages import fetch_sounds

    with Work() as work:
        folder = fetch_sounds(tell)
    work.end(f"sounds are in {folder}")


def scenes(
    out: Annotated[Path, typer.Argument(help="Folder of the data set; a stopped run continues where it stopped.")],
    count: Annotated[int, typer.Option(min=1, help="Scenes at least (each split is filled to whole shards).")] = 1000,
    seed: SeedOption = 0,
    events: Annotated[
        Path | None,
        typer.Option(help="Folder of folders named by label, a CSV or JSONL table (path, label), or FSD50K."),
    ] = None,
    backgrounds: Annotated[Path | None, typer.Option(help="Folder of background recordings.")] = None,
    rate: Annotated[int, typer.Option(help="Sample rate in Hz.")] = 22_050,
    pick: Annotated[str, typer.Option(help="Draw events evenly over files or over labels: file, label.")] = "",
    min_event: Annotated[float | None, typer.Option(help="Shortest event that is kept, in seconds.")] = None,
    noise: Annotated[float | None, typer.Option(min=0, max=1, help="Share of scenes over coloured noise.")] = None,
    llm: Annotated[str, typer.Option(help="OpenAI-compatible endpoint that writes the captions, up to /v1.")] = "",
    llm_model: Annotated[str, typer.Option(help="Its model.")] = "",
    llm_key_env: Annotated[str, typer.Option(help="Environment variable with its key.")] = "",
    per_shard: Annotated[int, typer.Option(min=1, max=1000, help="Scenes in a shard.")] = 100,
    workers: WorkersOption = None,
    executor: ExecutorOption = "processes",
) -> None:
    """Mix sound scenes with timed phrases and captions (the synthesis of FineLAP-100k).

    Without --events the sounds of "solfa data sounds" are used, drawn by label, short ones too, long ones shortened,
    a third of the scenes over noise. With --events the values are FineLAP's: by file, events of 1 to 7.5 s, over
    recorded backgrounds.
    """
    from solfa.core.clip import SPLITS
    from solfa.datagen.packages import sounds_folder
    from solfa.datagen.scenes.pipeline import SceneConfig, make_scenes
    from solfa.datagen.scenes.pool import PoolRule, make_pool, summary
    from solfa.datagen.scenes.sources import read_backgrounds, read_events, read_packages
    from solfa.weights.store import home

    if pick not in ("", "file", "label"):
        raise InputError(f"--pick {pick!r}: expected file or label.")
    own = events is not None
    shortest = min_event if min_event is not None else 1.0 if own else _SHORTEST_S
    rule = PoolRule(sample_rate_hz=rate, min_event_s=shortest, short_sounds=not own)
    share = noise if noise is not None else (1 / 3 if not own else 1.0 if backgrounds is None else 0.0)
    config = SceneConfig(
        by_label=pick == "label" or (not pick and not own), noise_share=share, per_shard=per_shard,
        endpoint=endpoint_of(llm, llm_model, llm_key_env),
    )  # fmt: skip
    sources = read_packages(sounds_folder()) if events is None else read_events(events)
    sources += read_backgrounds(backgrounds) if backgrounds is not None else []
    spread = executor_of(executor, workers)
    with Work("cutting recordings", "mixing") as work:
        pool = make_pool(
            sources, rule, home() / "scenes", executor=spread, progress=partial(work, "cutting recordings")
        )
        made = make_scenes(
            out, pool, config, count=count, seed=seed, executor=spread,
            progress=partial(work, "mixing"),
        )  # fmt: skip
    console().print("\n".join(summary(pool)), markup=False)
    clips = sum(len(made.split(split)) for split in SPLITS)
    work.end(f"{clips} scenes are in {out}", len(made.manifest["failures"]))
