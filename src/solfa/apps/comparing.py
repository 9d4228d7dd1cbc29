"""``solfa compare``, and hits in the order of a judge (``--for``, ``--rerank``)."""

import os
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from solfa.apps.captioning import client_of
from solfa.apps.options import (
    JUDGES,
    Asked,
    CollectionOption,
    ContextOption,
    JsonOption,
    LlmKeyOption,
    LlmModelOption,
    default_collection,
)
from solfa.apps.terminal import Work, complain, print_json, show, tell
from solfa.core.errors import InputError, SolfaError
from solfa.core.text import printable
from solfa.weights import home

if TYPE_CHECKING:  # --help loads none of these
    from solfa.collection import Collection
    from solfa.core.types import Analysis
    from solfa.relevance import Judge
    from solfa.retrieval import Results


def judge_of(name: str, model: str, key_env: str) -> "Judge":
    """The judge of a name (``JUDGES``). Raises InputError if it is none, or its model is not named."""
    from solfa.relevance import LlmJudge, RuleJudge

    if name in ("", "rules"):
        return RuleJudge()
    url = os.environ.get("SOLFA_LLM_URL", "") if name == "llm" else name
    if ("://" not in url and url != "local") or not model:
        raise InputError(f"not a judge: {name!r} with the model {model!r}. Expected {JUDGES}, and --llm-model NAME.")
    return LlmJudge(client=client_of(url, model, key_env, most_tokens=4000))


def reranked(asked: Asked, collection: "Collection", results: "Results", query: str) -> tuple["Results", bool]:
    """The page of the hits in the order of a judge, or of the search if the judge failed, and whether it did."""
    from solfa.relevance.makers import kept_summary
    from solfa.relevance.rerank import MOST, page_of, rerank

    if not (context := asked.context or query).strip():
        raise InputError("--rerank without words: say what the music is for with --for TEXT.")
    judge, failed, made = judge_of(asked.rerank, asked.llm_model, asked.llm_key_env), False, None
    if asked.summaries != "rules":
        rows = collection.rows([hit.track_id for hit in results.hits[:MOST]])
        kept = ((row.id, kept_summary(home() / "summaries", row.hash, asked.summaries)) for row in rows)
        made = {track_id: summary for track_id, summary in kept if summary is not None}
        if rows and not made:
            raise InputError(f"no summary of these hits by a model {asked.summaries!r} is kept. Make them with: "
                             f"solfa describe --all --llm URL --llm-model NAME")  # fmt: skip
    try:
        results = rerank(collection, results, context, judge, made)
    except InputError:
        raise
    except SolfaError as error:
        complain(f"not reranked, the hits are in the order of the search: {error}")
        failed = True
    return page_of(results, asked.k, asked.page), failed


def weighed(asked: Asked, collection: "Collection", results: "Results", like: list[str]) -> "Results":
    """The page of the hits by their stems' similarity with the examples; says how long separating them took."""
    from solfa.relevance.rerank import page_of
    from solfa.relevance.stems import StemStore, by_stems, read_weights

    weights, store = read_weights(asked.weights), StemStore(collection)
    if not like:
        raise InputError("--weights compares with an example sound: give one with --like FILE.")
    with Work("stems", stderr=True) as work:
        results = by_stems(store, results, like, weights, partial(work, "stems"))
    if made := len(store.made_s):
        work.end(f"{made} tracks separated, {sum(store.made_s) / made:.1f} s each; those of the collection are kept")
    return page_of(results, asked.k, asked.page)


def compare(
    first: Annotated[str, typer.Argument(help="Audio file, track:ID, or the number of a hit of the last search.")],
    second: Annotated[str, typer.Argument(help="The same for the other track.")],
    context: ContextOption = "",
    judge: Annotated[str, typer.Option(help=f"Who judges: {JUDGES}.")] = "rules",
    attribute: Annotated[
        list[str] | None, typer.Option(help="Attribute to compare, such as rhythm or mood, repeatable.")
    ] = None,
    llm_model: LlmModelOption = "",
    llm_key_env: LlmKeyOption = "",
    collection: CollectionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two tracks: tempo, key, instruments, voice, mood; whether they are similar; which fits a context."""
    from solfa.collection import Collection
    from solfa.collection.database import Database
    from solfa.relevance import summarize
    from solfa.serve.documents import COMPARED, compare_json

    judging, place = judge_of(judge, llm_model, llm_key_env), collection or default_collection()
    with Collection.open(place) if Database(place).exists() else nullcontext() as opened:
        named = [(item, summarize(analysis_of(item, opened))) for item in (first, second)]
    found = compare_json(named, judging, judge_name=judge, attributes=attribute or COMPARED, context=context)
    if as_json:
        print_json(found)
        return
    alike, verdict, unread = (found[name] for name in ("similarity", "verdict", "not_understood"))
    table = Table("", "A", "B", "B against A")
    for row in found["attributes"]:
        name = row.attribute.removesuffix("_bpm").replace("_", " ")
        table.add_row(*map(printable, (name, row.first, row.second, row.relation)))
    show(table)
    mean = "" if alike.verdict == "NOT_ENOUGH_KNOWN" else f" ({alike.core_mean:.2f} of 1)"
    said = [f"{alike.verdict.lower().replace('_', ' ')}{mean}; {alike.reason}"]
    if verdict is not None:
        winner = {"first": "A fits better", "second": "B fits better", "tie": "neither fits better"}[verdict.winner]
        said.append(f"for '{context}': {winner} (confidence {verdict.confidence:.2f}); {verdict.reason}")
    for line in (*said, *([f"not understood: {', '.join(unread)}"] if unread else [])):
        tell(printable(line))


def analysis_of(item: str, collection: "Collection | None") -> "Analysis":
    """The analysis of a file, or of a track of the collection by ``track:ID`` or its number in the last search."""
    from solfa.analysis.analyze import analyze
    from solfa.relevance.feedback import track_of

    by_name = not Path(item).is_file() and (item.isdecimal() or item.startswith("track:"))
    track_id = None if collection is None else track_of(collection, item) if by_name else collection.at(item)
    return analyze(item) if track_id is None else collection.analysis(track_id)  # type: ignore[union-attr]
