"""``solfa train solfa-1``: from recordings without labels to the model that solfa ships, stage by stage."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from solfa.apps.options import SeedOption, WorkersOption, executor_of
from solfa.apps.terminal import Work, tell
from solfa.apps.training import assigned, stoppable, train_app, weighted
from solfa.core.errors import InputError

_STAGES = ("index", "analyze", "write", "split", "shards", "teacher", "states", "train")
_TAUGHT_BY = "bridge"  # the joint model that search, the teacher, compares texts and sound with
_REQUESTS = 4000  # drawn from the vocabulary
_FORMS = ("{mood} {genre} with {instrument}", "{genre} for {use}", "{mood} {instrument} without vocals",
          "no {instrument}, {mood} {genre}", "{genre}, {instrument}, {instrument}", "{mood}, {mood}")  # fmt: skip


@train_app.command("solfa-1")
def train_solfa1(
    out: Annotated[Path, typer.Option(help="Folder of all stages; the model is in OUT/run/model.")],
    recordings: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of music; no labels needed.")],
    captions: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="What people write of music: a table with a column caption, or "
                     "lines of text."),
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="Data set with exact truth ('solfa data world'); FOLDER or FOLDER=WEIGHT.")
    ] = None,
    audio: Annotated[
        str, typer.Option(help="States of sound: listener:bridge (chords, key and periodicity beside the bridge's "
                          "vectors), or tower:bridge (those alone).")
    ] = "listener:bridge",
    settings: Annotated[list[str] | None, typer.Option("--set", help="Set a value of the recipe, repeatable.")] = None,
    seed: SeedOption = 0,
    workers: WorkersOption = None,
) -> None:  # fmt: skip
    """Train solfa's own joint model: search with the bridge teaches it which texts fit recordings.

    What a stage has made is kept in OUT and not made again: run the same command to go on.
    """
    from solfa.api import index, open_searcher
    from solfa.collection import Collection
    from solfa.core.files import write_whole
    from solfa.datagen.captions.pipeline import caption_tracks
    from solfa.datagen.captions.sources import collection_tracks
    from solfa.datagen.captions.stages import Settings
    from solfa.encoders.registry import load_backbone
    from solfa.training.recipes import changed
    from solfa.training.run import run
    from solfa.training.teacher import Teacher

    load_backbone(audio)  # a mistake in its name shows now, not after the first stages
    said = "" if captions is None else hashlib.sha256(captions.read_bytes()).hexdigest()
    given, begun = json.dumps([str(recordings.absolute()), said, seed]).encode(), out / "solfa-1.json"
    if begun.read_bytes() != given if begun.exists() else out.exists() and any(out.iterdir()):
        raise InputError(
            f"{out} was begun with other recordings, captions or seed, or holds something else: other --out."
        )
    out.mkdir(parents=True, exist_ok=True)
    write_whole(begun, given)
    worlds, spread = [weighted(text) for text in data or ()], executor_of("processes", workers)
    values = {"seed": str(seed)} | assigned(settings)
    with stoppable(), Work(*_STAGES) as work:
        with Collection.open(out / "recordings", create=True) as music:
            index(
                music, [recordings], model=_TAUGHT_BY, executor=spread,
                progress=lambda p: work("index", p.done, p.total),
            )  # fmt: skip
            kept = out / "recordings"
            made = caption_tracks(
                collection_tracks(kept), out / "captioned", collection=kept, executor=spread,
                settings=Settings(seconds=15.0, clips=4, per_clip=3, precision=0.8, seed=seed), progress=work,
            )  # fmt: skip
            if not (file := out / "teacher.npz").exists():
                texts = [*([] if captions is None else sentences(captions)), *requests(_REQUESTS, seed)]
                texts += [text for split in ("train", "val") for clip in made.split(split) for text in clip.captions]
                searcher, answers = open_searcher(music, _TAUGHT_BY), out / "answers"
                Teacher.of(texts, searcher, lambda n, total: work("teacher", n, total), answers).save(file)
                shutil.rmtree(answers)
        sets = {out / "captioned": 0.7 if worlds else None}
        sets |= {folder: weight or 0.3 / len(worlds) for folder, weight in worlds}
        folder, outcome = run(
            "solfa-1", sets, out / "run", audio=audio, text="tagged", teacher=file, features=out / "states",
            licence="Apache-2.0", resume=(out / "run" / "config.json").exists(),
            change=lambda recipe: changed(recipe, values), report=lambda p: work("train", p.step, p.num_steps),
            progress=lambda done, total: work("states", done, total),
        )  # fmt: skip
    tell(f"{outcome.steps} steps. Use it: solfa index MUSIC --model trained:{folder}")


def sentences(file: Path) -> Iterator[str]:
    """Captions of a file, and the sentences of each. Raises InputError if it has none."""
    from solfa.datasets.tables import ENDINGS, table_rows

    if file.suffix.lower() in ENDINGS:
        captions = [str(row.get("caption") or "").strip() for _, row in table_rows(file) if not isinstance(row, str)]
    else:
        captions = file.read_text("utf-8", errors="replace").splitlines()
    if not any(captions):
        raise InputError(f"{file}: no captions; expected a column 'caption', or a text file with one a line.")
    for caption in (text.strip()[:2000] for text in captions if text.strip()):
        yield from dict.fromkeys([caption, *re.split(r"(?<=[.!?])\s+", caption)])


def requests(count: int, seed: int) -> Iterator[str]:
    """The names of the vocabulary, and requests of several of them, drawn."""
    from solfa.core.vocabulary import concepts

    names = {
        kind: [c for c in concepts().values() if c.kind == kind] for kind in ("instrument", "genre", "mood", "use")
    }
    yield from (name for own in names.values() for c in own for name in c.names[:2])
    rng = np.random.default_rng(seed)
    for form in rng.choice(_FORMS, count).tolist():
        yield re.sub(r"\{(\w+)\}", lambda found: names[found[1]][rng.integers(len(names[found[1]]))].title, form)
