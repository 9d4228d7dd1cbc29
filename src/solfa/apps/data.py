"""``solfa data``: make data sets, look into them, check them, hand them on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from solfa.apps.captioning import caption, tell_failures
from solfa.apps.render import SOME_FAILED, clock, console, progress_bars, tell
from solfa.apps.scenes import scenes, sounds
from solfa.apps.world import soundfonts, world
from solfa.core.text import printable

data_app = typer.Typer(no_args_is_help=True, help="Make data sets for training; look into them, check them, export.")

data_app.command("sounds")(sounds)
data_app.command("scenes")(scenes)
data_app.command("caption")(caption)
data_app.command("soundfonts")(soundfonts)
data_app.command("world")(world)

DatasetArgument = Annotated[Path, typer.Argument(help="Folder of a data set (it has a dataset.json).")]


@data_app.command("info")
def info(dataset: DatasetArgument) -> None:
    """Say what a data set holds: splits, hours, licences, and how tempi, keys, metres and the like are spread."""
    from solfa.data.shards import Dataset
    from solfa.data.summary import summarise

    opened = Dataset.open(dataset)
    out = console()
    out.print(printable(f"{opened.name}, revision {opened.revision}, seed {opened.manifest.get('seed')}"), markup=False)
    summary = summarise(opened)
    table = Table("split", "clips", "duration", "captions", "timed phrases", "exact truth")
    for split, count in summary.splits.items():
        cells = (count.clips, clock(count.duration_s), count.captions, count.phrases, count.with_truth)
        table.add_row(split, *map(str, cells))
    out.print(table)
    spread = Table("what", "how it is spread")
    for name, text in summary.spread.items():
        spread.add_row(Text(printable(name)), Text(printable(text)))
    out.print(spread)
    if failures := opened.manifest.get("failures", ()):
        out.print(f"{len(failures)} items failed on the way:")
        tell_failures(opened)


@data_app.command("verify")
def verify(dataset: DatasetArgument) -> None:
    """Read every byte again: hashes, records, truth, and that each clip sounds as long as its record says.

    Exit code 0: all is well; 3: something is wrong, it is listed.
    """
    from solfa.data.shards import Dataset
    from solfa.data.summary import defects

    found = 0
    for defect in defects(Dataset.open(dataset)):
        found += 1
        tell(printable(defect))
    console().print("all is well" if not found else f"{found} defects")
    raise typer.Exit(3 if found else 0)


@data_app.command("export")
def export(
    dataset: DatasetArgument,
    out: Annotated[Path, typer.Argument(help="New folder.")],
    to: Annotated[str, typer.Option(help="Layout: parquet (Hugging Face datasets), webdataset, fgmcaps, finelap.")],
) -> None:
    """Hand a data set on in a layout that others read."""
    from solfa.data.exports import export as write
    from solfa.data.shards import Dataset

    tell(f"{write(Dataset.open(dataset), to, out)} clips are in {out}")


@data_app.command("import")
def import_published(
    name: Annotated[str, typer.Argument(help="Published data set: see 'solfa eval datasets'.")],
    root: Annotated[Path, typer.Argument(help="Its folder, as its authors lay it out.")],
    out: Annotated[Path, typer.Argument(help="Folder of the new data set; a stopped run goes on where it was.")],
    split: Annotated[list[str], typer.Option(help="Which of its splits becomes ours, such as val=valid; repeatable.")],
    workers: Annotated[int | None, typer.Option(help="Processes; one for each core if not given.")] = None,
) -> None:
    """Make shards of a published data set, to train on it like on our own.

    Exit code 0: all is well; 2: nothing could be imported; 3: some clips failed, they are listed.
    """
    from solfa.core.errors import InputError
    from solfa.data.imports import import_published as read
    from solfa.jobs import ProcessExecutor

    pairs = [s.split("=", 1) for s in split]
    if any(len(p) != 2 for p in pairs):
        raise InputError(f"--split {' '.join(split)}: expected OURS=THEIRS, such as train=train or val=valid.")
    with progress_bars("shards") as show:
        made = read(
            name, root, out, dict(pairs), executor=ProcessExecutor(workers),
            progress=lambda p: show("shards", p.done, p.total),
        )  # fmt: skip
    clips, failures = sum(len(s.index.members) for s in made.shards), len(made.manifest["failures"])
    tell(f"{clips} clips are in {out}, {failures} failed; see: solfa data info {out}")
    raise typer.Exit(SOME_FAILED if tell_failures(made) else 0)
