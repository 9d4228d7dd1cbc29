"""What a person says of hits (``solfa feedback``), what is learnt from it (``learn``), and paths (``solfa path``)."""

import time
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from solfa.apps.options import (
    JUDGES,
    CollectionOption,
    ForceOption,
    JsonOption,
    LlmKeyOption,
    LlmModelOption,
    SeedOption,
    default_collection,
)
from solfa.apps.terminal import Work, complain, print_json, tell
from solfa.core.errors import InputError
from solfa.core.files import check_output
from solfa.core.text import clock, printable


def feedback(
    action: Annotated[Literal["good", "bad", "list", "remove"], typer.Argument(help="What to do.")],
    items: Annotated[
        list[str] | None,
        typer.Argument(help="good, bad: numbers of hits of the last search, paths, or track:ID; remove: verdicts."),
    ] = None,
    query: Annotated[str | None, typer.Option(help="What was searched for (default: the last search).")] = None,
    context: Annotated[str | None, typer.Option("--for", help="What the music is for, such as 'driving'.")] = None,
    collection: CollectionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which hits were good or bad answers; 'solfa learn' learns from it. The latest verdict counts."""
    from solfa.collection import Collection
    from solfa.relevance.feedback import as_number, give, in_force, name_of
    from solfa.serve.documents import feedback_json

    if (action == "list") != (not items):
        raise InputError(f"'feedback {action}' takes {'nothing' if items else 'numbers of hits, or paths'} after it.")
    with Collection.open(collection or default_collection()) as opened:
        notes: list[str] = []
        if action == "remove":
            wrong = [item for item in items or () if not item.isdecimal()]
            if wrong:
                raise InputError(f"not the number of a verdict: {wrong[0]!r}. List them with: solfa feedback list")
            opened.change_verdicts((), dict.fromkeys(map(as_number, items or ())))
            notes = ["removed; what was learnt before stays until the next 'solfa learn'"]
        listed = opened.verdicts() if action == "list" else []
        if action in ("good", "bad"):
            listed, notes = give(opened, items or (), action == "good", query=query, context=context)
        counting = {v.id for v in in_force(opened.verdicts())}
        if as_json:
            print_json(feedback_json(opened, listed, notes))
            return
        for v in listed:
            about = [v.sought.query, *(f"like {name}" for name in v.sought.examples), v.sought.context]
            day = time.strftime("%Y-%m-%d %H:%M", time.localtime(v.time_s))
            later = "" if v.id in counting else "  (a later one counts)"
            said = f"{v.id:>4}  {'good' if v.is_good else 'bad':<4}  {name_of(opened, v.track_id)}  "
            tell(printable(f"{said}[{' · '.join(filter(None, about))}]  {day}{later}"))
    for note in notes:
        tell(f"note: {printable(note)}")
    if action == "list" and not listed:
        tell("no verdicts yet. Search, then: solfa feedback good 1")


def learn(
    judge: Annotated[str, typer.Option(help=f"Also learn from pairs that a judge finds similar: {JUDGES}.")] = "",
    anchors: Annotated[int, typer.Option(min=1, help="Tracks whose 50 nearest the judge compares, each round.")] = 20,
    rounds: Annotated[int, typer.Option(min=1, max=10, help="Most rounds of judging and tuning.")] = 3,
    seed: SeedOption = 0,
    remove: Annotated[bool, typer.Option("--remove", help="Undo what was learnt; verdicts are kept.")] = False,
    llm_model: LlmModelOption = "",
    llm_key_env: LlmKeyOption = "",
    collection: CollectionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn from your verdicts how hits should be ordered; keep it only if it helps on artists that were held out."""
    from solfa.api import resolve_model
    from solfa.apps.comparing import judge_of
    from solfa.collection import Collection
    from solfa.encoders.registry import load_model
    from solfa.relevance import learn as learning

    with Collection.open(collection or default_collection()) as opened:
        if remove:
            was = opened.head() is not None
            opened.install_head(None)
            if as_json:
                print_json({"schema": "solfa.learn/1", "removed": was})
            else:
                tell("removed: searches are as before" if was else "nothing was learnt, nothing to remove")
            return
        name, allowed = resolve_model(opened, None, False)
        model = load_model(name, allow_noncommercial=allowed)
        judging = judge_of(judge, llm_model, llm_key_env) if judge else None
        with Work("learning", stderr=True) as work:
            learnt = learning.learn(opened, model, judge=judging, anchors=anchors, rounds=rounds, seed=seed,
                                    progress=partial(work, "learning"))  # fmt: skip
            if learnt.head is not None:
                opened.install_head(learnt.head, model.views)
            elif opened.head() is not None:
                complain("nothing that helps was learnt; what was installed before stays (solfa learn --remove)")
    if as_json:
        whole = {name: getattr(learnt, name) for name in ("verdicts", "weights", "agreement", "rounds", "notes")}
        print_json({"schema": "solfa.learn/1", "space": learnt.head and learnt.head.space, **whole})
        return
    for line in learning.lines(learnt):
        tell(printable(line))


def path(
    first: Annotated[str, typer.Argument(help="Where it begins: an indexed file, track:ID, or a hit's number.")],
    last: Annotated[str, typer.Argument(help="Where it ends, the same.")],
    steps: Annotated[int, typer.Option(min=1, max=100, help="Most tracks between them.")] = 6,
    m3u: Annotated[Path | None, typer.Option("--m3u", help="Write an M3U8 playlist (-: standard output).")] = None,
    xspf: Annotated[Path | None, typer.Option("--xspf", help="Write an XSPF playlist (-: standard output).")] = None,
    force: ForceOption = False,
    collection: CollectionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find a path of tracks from one to another, each step near in sound, tempo and key."""
    from solfa.api import open_searcher
    from solfa.apps import playlist
    from solfa.collection import Collection
    from solfa.relevance.feedback import track_of
    from solfa.relevance.playlists import path as between
    from solfa.serve.documents import hit_of, name_of

    for output in filter(None, (m3u, xspf)):  # before the work
        check_output(output, force=force)
    with Collection.open(collection or default_collection()) as opened:
        ids = between(opened, open_searcher(opened), track_of(opened, first), track_of(opened, last), steps)
        rows = opened.rows(ids)
    hits = [hit_of(row) for row in rows]
    playlist.write(hits, m3u, xspf, force=force)
    if as_json:
        names = ("id", "paths", "tags", "duration_s", "tempo_bpm", "key")
        tracks = [{name: getattr(row, name) for name in names} for row in rows]
        print_json({"schema": "solfa.path/1", "tracks": tracks})
        return
    for number, (row, hit) in enumerate(zip(rows, hits, strict=True), 1):
        tempo = "tempo not measured" if row.tempo_bpm is None else f"{row.tempo_bpm:.1f} BPM"
        tell(f"{number:>2}. {name_of(hit)}  {tempo}  {row.key or 'key not measured'}  {clock(row.duration_s)}")
        tell(printable(f"    {hit.path}"))
