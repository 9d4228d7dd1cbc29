"""``solfa data soundfonts`` and ``solfa data world``: music with exact truth, rendered from scores."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from solfa.apps.options import ExecutorOption, SeedOption, WorkersOption, executor_of
from solfa.apps.terminal import Work, tell
from solfa.core.errors import InputError

_HELD_OUT, _FEW = 0.05, 3  # share of the clips that val and test have each, and the fewest if there are enough

Folder = Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="Folder of the corpus, as published.")]


def soundfonts() -> None:
    """Fetch nine soundfonts (300 MB, free licences) with pip and apt-get download; nothing is installed."""
    from solfa.datagen.packages import fetch_soundfonts

    with Work() as work:
        fonts = fetch_soundfonts(tell)
    tell("\n".join(str(font.path) for font in fonts))
    work.end(f"{len(fonts)} soundfonts are here")


def world(
    out: Annotated[Path, typer.Argument(help="Folder of the data set; a stopped run continues where it stopped.")],
    count: Annotated[int, typer.Option(min=1, help="Least number of clips; about 90 % are train.")] = 1000,
    seconds: Annotated[float, typer.Option(help="Length of a clip.")] = 10.0,
    seed: SeedOption = 0,
    rate: Annotated[int, typer.Option(help="Sample rate in Hz.")] = 24_000,
    soundfont: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True, dir_okay=False, help="SF2 or SF3, repeatable; all of 'solfa data soundfonts' if not given."
        ),
    ] = None,
    held_out: Annotated[str, typer.Option(help="File name of the soundfont that only the test split uses.")] = "",
    billboard: Folder = None,
    openewld: Folder = None,
    pop909: Folder = None,
    groove: Folder = None,
    midi: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="Any folder of MIDI files.")] = None,
    background: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Recordings to mix into one clip in eight.")
    ] = None,
    production: Annotated[str, typer.Option(help="studio: a stereo mix. none: the mono sum of parts.")] = "studio",
    singing: Annotated[float, typer.Option(min=0, max=1, help="Share of tunes that espeak-ng sings.")] = 0.0,
    captions: Annotated[int, typer.Option(min=0, help="Captions of each clip.")] = 3,
    per_shard: Annotated[int, typer.Option(min=1, max=1000, help="Clips in a shard at most.")] = 100,
    workers: WorkersOption = None,
    executor: ExecutorOption = "processes",
) -> None:
    """Render music with exact annotations: scores generated or from corpora, played by soundfonts, with effects."""
    from solfa.datagen.packages import local_soundfonts
    from solfa.datagen.world.generate import World
    from solfa.datagen.world.render import synthesiser
    from solfa.datasets.building import build

    synthesiser()  # what is missing is said before anything else is done
    corpora = {"billboard": billboard, "openewld": openewld, "pop909": pop909, "groove": groove, "midi": midi}
    fonts = [f.path for f in local_soundfonts()] if not soundfont else [p.resolve() for p in soundfont]
    if not fonts:
        raise InputError("no soundfonts found. Get them with: solfa data soundfonts")
    held = held_out or next((f.file for f in local_soundfonts() if f.held_out and not soundfont), fonts[-1].name)
    size, num_shards = plan_shards(count, per_shard)
    maker = World(
        soundfonts=tuple(fonts), held_out=held, corpora={n: p.resolve() for n, p in corpora.items() if p is not None},
        background=None if background is None else background.resolve(), seconds=seconds, sample_rate_hz=rate,
        clips_per_shard=size, captions=captions, production=production, singing=singing,
    )  # fmt: skip
    maker.prepare()  # what is missing is said here, not by every process
    with Work("shards") as work:
        made = build(
            out, maker, name="world", config=maker.config(), seed=seed,
            num_shards=num_shards, executor=executor_of(executor, workers),
            progress=partial(work, "shards"),
        )  # fmt: skip
    failures = len(made.manifest["failures"])
    clips = sum(len(s.index.members) for s in made.shards)
    work.end(f"{clips} clips are in {out} (see: solfa data info {out})", failures)


def plan_shards(count: int, per_shard: int) -> tuple[int, dict[str, int]]:
    """Clips in a shard, and shards of each split: no split is empty, none much smaller or larger than its share.

    >>> plan_shards(40, 100), plan_shards(10_000, 100)
    ((3, {'train': 12, 'val': 1, 'test': 1}), (100, {'train': 90, 'val': 5, 'test': 5}))
    """
    few = min(max(_FEW, round(_HELD_OUT * count)), max(1, count // 3))
    size = min(per_shard, few)
    shards = max(3, -(-count // size))
    small = max(1, min(round(few / size), (shards - 1) // 3))
    return size, {"train": shards - 2 * small, "val": small, "test": small}
