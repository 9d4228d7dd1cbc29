"""``solfa data soundfonts`` and ``solfa data world``: music with exact truth, rendered from scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from solfa.apps.render import console, progress_bars

Folder = Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="A corpus as its authors publish it.")]


def soundfonts() -> None:
    """Fetch six General MIDI soundfonts (250 MB, free licences) with pip and apt-get download; nothing is installed."""
    from solfa.data.world.soundfonts import fetch

    found = fetch(lambda line: console().print(line, markup=False))
    console().print("\n".join(str(f.path) for f in found), markup=False, soft_wrap=True)


def world(
    out: Annotated[Path, typer.Argument(help="Folder of the data set; a stopped run goes on where it was.")],
    count: Annotated[int, typer.Option(min=1, help="Clips at least: 9 of 10 train, then as many val as test.")] = 1000,
    seconds: Annotated[float, typer.Option(help="Length of a clip.")] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="Of all chance.")] = 0,
    rate: Annotated[int, typer.Option(help="Sample rate in Hz.")] = 24_000,
    soundfont: Annotated[
        list[Path] | None, typer.Option(help="SF2 or SF3, repeatable; all of 'solfa data soundfonts' if not given.")
    ] = None,
    held_out: Annotated[str, typer.Option(help="File name of the soundfont that sounds in the test split only.")] = "",
    billboard: Folder = None,
    openewld: Folder = None,
    pop909: Folder = None,
    groove: Folder = None,
    midi: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="Any folder of MIDI files.")] = None,
    background: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Recordings to mix under one clip in eight.")
    ] = None,
    captions: Annotated[int, typer.Option(min=0, help="Captions of each clip.")] = 3,
    per_shard: Annotated[int, typer.Option(min=1, max=1000, help="Clips in a shard.")] = 100,
    jobs: Annotated[int | None, typer.Option(help="Processes; one for each core if not given.")] = None,
) -> None:
    """Make music whose truth is exact: scores made up or read from corpora, played by soundfonts, through effects."""
    from solfa.data.building import build
    from solfa.data.world.generate import World
    from solfa.data.world.soundfonts import here
    from solfa.jobs import ProcessExecutor

    corpora = {"billboard": billboard, "openewld": openewld, "pop909": pop909, "groove": groove, "midi": midi}
    fonts = [f.path for f in here()] if not soundfont else [p.resolve() for p in soundfont]
    held = held_out or next((f.file for f in here() if f.held_out and not soundfont), fonts[-1].name if fonts else "")
    maker = World(
        soundfonts=tuple(fonts), held_out=held, corpora={n: p.resolve() for n, p in corpora.items() if p is not None},
        background=None if background is None else background.resolve(), seconds=seconds, sample_rate_hz=rate,
        clips_per_shard=min(per_shard, count), captions=captions,
    )  # fmt: skip
    maker.prepare()  # what is missing is said here, not by every process
    shards = -(-count // maker.clips_per_shard)
    few = max(1, round(shards * 0.05)) if shards > 2 else 0
    with progress_bars("shards") as show:
        made = build(
            out, maker, name="world", config=maker.config(), seed=seed,
            num_shards={"train": shards - 2 * few, "val": few, "test": few}, executor=ProcessExecutor(jobs),
            progress=lambda p: show("shards", p.done, p.total),
        )  # fmt: skip
    failures = made.manifest["failures"]
    console().print(
        f"{sum(len(s.index.members) for s in made.shards)} clips are in {out}; {len(failures)} attempts came to "
        f"nothing (solfa data info {out} names some)", markup=False, soft_wrap=True,
    )  # fmt: skip
