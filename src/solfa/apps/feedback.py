"""``solfa feedback``: what a person says of hits, kept, listed, taken back. ``solfa learn``: what is learnt from it."""

import time
from typing import Annotated, Literal

import typer

from solfa.apps.options import (
    JUDGES,
    CollectionOption,
    JsonOption,
    LlmKeyOption,
    LlmModelOption,
    SeedOption,
    default_collection,
)
from solfa.apps.terminal import Work, complain, print_json, tell
from solfa.core.errors import InputError
from solfa.core.text import printable


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
            print_json({"schema": "solfa.feedback/1", "verdicts": listed, "counting": sorted(counting), "notes": notes})
            return
        for v in listed:
            about = [v.sought.query, *(f"like {name}" for name in v.sought.examples), v.sought.context]
            said = f"{v.id:>4}  {'good' if v.is_good else 'bad':<4}  {name_of(opened, v.track_id)}  "
            day = time.strftime("%Y-%m-%d %H:%M", time.localtime(v.time_s))
            later = "" if v.id in counting else "  (a later one counts)"
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
            tell("removed: searches are as before" if was else "nothing was learnt, nothing to remove")
            return
        name, allowed = resolve_model(opened, None, False)
        model, judging = load_model(name, allow_noncommercial=allowed), None
        if judge:
            judging = judge_of(judge, llm_model, llm_key_env)
        with Work("learning", stderr=True) as work:
            learnt = learning.learn(opened, model, judge=judging, anchors=anchors, rounds=rounds, seed=seed,
                                    progress=lambda done, total: work("learning", done, total))  # fmt: skip
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
