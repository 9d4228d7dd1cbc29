"""``solfa data``: make data sets, look into them, check them, hand them on."""

import json
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from solfa.apps.captioning import caption, endpoint_of, shares_of, tell_failures
from solfa.apps.options import ForceOption, LlmKeyOption, LlmModelOption, SeedOption, WorkersOption
from solfa.apps.scenes import scenes, sounds
from solfa.apps.terminal import SOME_FAILED, Work, console, tell
from solfa.apps.world import soundfonts, world
from solfa.core.errors import InputError, SolfaError
from solfa.core.text import clock, printable
from solfa.weights import home

data_app = typer.Typer(no_args_is_help=True, help="Make data sets for training; inspect, verify and export them.")

data_app.command("sounds")(sounds)
data_app.command("scenes")(scenes)
data_app.command("caption")(caption)
data_app.command(
    "text-to-music", help="Prepare data for text-to-music: 'caption' with clips of 47 s at 44.1 kHz without voices.",
    context_settings={"default_map": {"seconds": 47.0, "sample_rate": 44100, "most_voice": 0.5, "style": "prose"}},
)(caption)  # fmt: skip
data_app.command("soundfonts")(soundfonts)
data_app.command("world")(world)

DatasetArgument = Annotated[Path, typer.Argument(help="Folder of a data set (it has a dataset.json).")]


@data_app.command("info")
def info(dataset: DatasetArgument) -> None:
    """Show what a data set holds: splits, hours, licences, and the distribution of tempo, key, metre and so on."""
    from solfa.datagen.summary import summarise
    from solfa.datasets.shards import Dataset

    opened = Dataset.open(dataset)
    out = console()
    out.print(printable(f"{opened.name}, revision {opened.revision}, seed {opened.manifest.get('seed')}"), markup=False)
    splits, spread = summarise(opened)
    table = Table("split", "clips", "duration", "captions", "timed phrases", "exact truth")
    for split, sizes in splits.items():
        table.add_row(split, *(clock(size) if name == "duration_s" else str(size) for name, size in sizes.items()))
    out.print(table)
    values = Table("what", "distribution")
    for name, text in spread.items():
        values.add_row(Text(printable(name)), Text(printable(text)))
    out.print(values)
    if failures := opened.manifest.get("failures", ()):
        out.print(f"{len(failures)} failed:")
        tell_failures(opened)


@data_app.command("verify")
def verify(dataset: DatasetArgument) -> None:
    """Verify every byte: hashes, records, annotations, and that each clip is as long as its record says.

    Exit code 0: all is well; 3: something is wrong, it is listed.
    """
    from solfa.datagen.summary import defects
    from solfa.datasets.shards import Dataset

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
    """Export a data set in a layout that other tools read."""
    from solfa.datasets.exports import export as write
    from solfa.datasets.shards import Dataset

    with Work() as work:
        count = write(Dataset.open(dataset), to, out)
    work.end(f"{count} clips are in {out}")


@data_app.command("text")
def text(
    kind: Annotated[
        str,
        typer.Argument(help="instructions, or captions of tags: writing, summary, paraphrase, attribute_prediction."),
    ],
    src: Annotated[Path, typer.Argument(help="Folder of a data set (it has a dataset.json), or of --dataset.")],
    out: Annotated[Path, typer.Argument(help="JSON lines to write; what was dropped is counted in OUT.counts.json.")],
    dataset: Annotated[str, typer.Option(help="SRC is this published data set, NAME or NAME:SPLIT.")] = "",
    seed: SeedOption = 0,
    llm: Annotated[str, typer.Option(help="Endpoint of a language model, up to /v1, or local.")] = "",
    llm_model: LlmModelOption = "",
    llm_key_env: LlmKeyOption = "",
    force: ForceOption = False,
) -> None:
    """Write text data for language models from what is known of clips, by templates or with --llm.

    Answers are kept: a stopped run goes on where it stopped.
    """
    from solfa.core.clip import SPLITS
    from solfa.core.files import check_output, write_output
    from solfa.datagen.instructions import TextWriter
    from solfa.datasets.readers import load
    from solfa.datasets.shards import Dataset
    from solfa.jobs import Done, ThreadExecutor
    from solfa.llm import ModelClient

    counted = out.with_name(f"{out.name}.counts.json")
    for place in (out, counted):
        check_output(place, force=force)
    endpoint, (name, _, split) = endpoint_of(llm, llm_model, llm_key_env), dataset.partition(":")
    writer = TextWriter(kind, ModelClient(endpoint, home() / "answers") if endpoint else None, seed)
    if name:
        known = load(name, src, split or None)
        clips = [replace(clip, source=name, licence=known.source.licence) for clip in known.clips]
    else:
        clips = [clip for s in SPLITS for clip in Dataset.open(src).split(s)]
    rows, dropped = dict[str, list[dict[str, Any]]](), Counter[str]()
    with Work(kind) as work:
        for result in ThreadExecutor(endpoint.concurrency if endpoint else 1).map(writer, clips):
            if not isinstance(result, Done):
                raise SolfaError(result.reason.partition(": ")[2])
            rows[result.item.id], counts = result.value
            dropped.update(counts)
            work(kind, len(rows), len(clips))
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for clip in clips for row in rows[clip.id]]
    write_output(out, "".join(lines), force=force)
    write_output(
        counted, json.dumps({"clips": len(clips), "rows": len(lines), "dropped": dropped}, indent=1), force=force
    )
    work.end(f"{len(lines)} rows of {len(clips)} clips, {dropped.total()} dropped: {dict(dropped.most_common(5))}")


@data_app.command("symbolic")
def symbolic(
    out: Annotated[Path, typer.Argument(help="JSON to write, for 'solfa eval qa'.")],
    count: Annotated[int, typer.Option(min=1, help="Questions: theory, motif, form, harmony, melody in turn.")] = 100,
    mode: Annotated[str, typer.Option(help="default, chain-of-thought or in-context.")] = "default",
    seed: SeedOption = 0,
    force: ForceOption = False,
) -> None:
    """Write multiple-choice questions about notation (ABC) from scores of the music world, whose answers are exact."""
    from solfa.core.files import check_output, write_output
    from solfa.datagen.symbolic import choices
    from solfa.evaluation.multiple_choice import Item, document

    check_output(out, force=force)
    items = [
        Item(id=c.id, question=c.text, answers=c.options, answer_orders=c.order, knowledge=(c.task,), reasoning=(mode,),
             dataset="solfa music world, CC0-1.0") for c in choices(count, mode=mode, seed=seed)
    ]  # fmt: skip
    write_output(out, document(items), force=force)
    tell(f"{count} questions are in {out}; ask a model: solfa eval qa {out} --system URL --llm-model NAME")


@data_app.command("import")
def import_(
    name: Annotated[
        str, typer.Argument(help="'pairs' or 'finelap': a table of your own; or a data set of 'solfa eval datasets'.")
    ],
    root: Annotated[
        Path, typer.Argument(help="The table (.jsonl, .json, .csv, .parquet), or the folder of the data set.")
    ],
    out: Annotated[
        Path | None, typer.Argument(help="Folder of the new data set; a stopped run continues where it stopped.")
    ] = None,
    out_option: Annotated[Path | None, typer.Option("--out", help="The same as OUT.")] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Split to import, as OURS=THEIRS, such as val=valid; repeatable.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="Pairs: where a column has another name, such as caption=title,text or "
                          "path=audio/{id}.flac; repeatable.")
    ] = None,
    audio: Annotated[
        Path | None, typer.Option(help="Pairs: folder that paths start at (default: the table's own).")
    ] = None,
    licence: Annotated[str, typer.Option(help="Pairs: of rows without one.")] = "",
    splits: Annotated[
        str, typer.Option(help="Shares of train, val, test for pairs without splits (default: 0.9,0.05,0.05), or for "
                               "the one published split that --split names; a group is never divided.")
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the splits.")] = 0,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Pairs: leave out rows that cannot be used.")] = False,
    clips_per_shard: Annotated[
        int, typer.Option(min=1, help="Fewer make more shards, which several GPUs share when states are computed.")
    ] = 500,
    workers: WorkersOption = None,
) -> None:  # fmt: skip
    """Make shards of your own pairs of sound and text, or of a published data set, to train on them.

    Rows of a table have path and caption (text or a list); optional: phrases with times, split, group, licence.

    Exit code 0: all is well; 2: nothing could be imported; 3: some clips failed or were left out, they are listed.
    """
    from solfa.core.clip import SPLITS
    from solfa.datasets.imports import import_pairs, import_published
    from solfa.datasets.pairs import Table as Pairs
    from solfa.jobs import ProcessExecutor

    into = out or out_option
    if into is None or (out and out_option):
        raise InputError("give the folder of the new data set once, as OUT or with --out.")
    ours = {theirs: name for name, theirs in pairs_of("--split", split, "val=valid")}
    executor = ProcessExecutor(workers)
    with Work("shards") as work:
        shares = shares_of(splits or "0.9,0.05,0.05")
        given: Any = {
            "clips_per_shard": clips_per_shard, "executor": executor,
            "progress": partial(work, "shards"),
        }  # fmt: skip
        if name in ("pairs", "finelap"):
            table = Pairs(
                columns=dict(pairs_of("--column", column, "path=file")), root=audio, splits=ours,
                shares=shares, seed=seed, licence=licence, skip_bad=skip_bad,
            )  # fmt: skip
            made = import_pairs(root, into, table, **given)
        elif column or audio or licence or skip_bad:
            raise InputError(f"--column, --audio, --licence and --skip-bad are for pairs, not for {name}.")
        elif not ours:
            raise InputError(f"name the splits of {name} to import: --split train=train --split val=valid.")
        else:
            given |= {"shares": shares, "seed": seed} if splits else {}
            made = import_published(name, root, into, {ours[theirs]: theirs for theirs in ours}, **given)
    counts = {name: num for name in SPLITS if (num := len(made.split(name)))}
    failed = tell_failures(made)
    if name in ("pairs", "finelap") and len(counts) == 1 and not ours:
        tell("all are in one split; if one artist or group holds them all, leave that column out: --column artist=")
    work.end(f"{sum(counts.values())} clips are in {into} ({', '.join(f'{s} {n}' for s, n in counts.items())}; "
             f"see: solfa data info {into})", failed)  # fmt: skip
    raise typer.Exit(SOME_FAILED if failed else 0)


def pairs_of(option: str, given: list[str] | None, example: str) -> list[tuple[str, str]]:
    """NAME=VALUE as often as an option was given."""
    found = [tuple(text.split("=", 1)) for text in given or ()]
    if any(len(pair) != 2 for pair in found):
        raise InputError(f"{option} {' '.join(given or ())}: expected OURS=THEIRS, such as {example}.")
    return [(ours, theirs) for ours, theirs in found]
