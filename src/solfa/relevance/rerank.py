"""The first hits of a search in the order of a judge: one call over summaries, each claim of it shown as evidence."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from solfa.collection import Collection
from solfa.relevance.judge import FieldClaim, Judge, Ranking
from solfa.relevance.rules import summaries
from solfa.relevance.summary import TrackSummary
from solfa.retrieval import Evidence, Hit, Results

MOST = 50  # hits that are judged
# Milliseconds that the published pipeline gives each of its stages, whatever the hardware; a summary is for one track.
BUDGET_MS = {"embedding": 50.0, "candidates": 5.0, "summaries": 2000.0, "rerank": 500.0}
_MOST_NAMED = 5  # tracks in a note
_FITTING = 0.5  # share of the best hit's score from which a hit is a candidate: others stay behind those


def rerank(
    collection: Collection, results: Results, context: str, judge: Judge,
    made: Mapping[int, TrackSummary] | None = None,
) -> Results:  # fmt: skip
    """The hits ordered for a context, with what speaks for and against each as evidence named ``for``.

    At most ``MOST`` hits with at least half of the best one's score are judged, in one call; the others follow.
    ``made`` has summaries that something else than the rules made: nothing is made here, tracks without one are behind
    those that have one, and a note says how many. Without it the rules summarize what was measured.

    Raises InputError if the context is blank or too long; what the judge raises.
    """
    start_s = time.perf_counter()
    best = max((hit.score for hit in results.hits), default=0.0)
    hits = {str(hit.track_id): hit for hit in results.hits[:MOST] if hit.score >= _FITTING * best}
    found = dict(summaries(collection, [*map(int, hits)])) if made is None else made
    known = {i: found[int(i)] for i in hits if int(i) in found}
    read_s = time.perf_counter()
    ranking = judge.listwise(context, known) if known else Ranking(order=(), claims={})
    done_s = time.perf_counter()
    order = [*ranking.order, *(i for i in hits if i not in known)]
    said = f"ordered for '{context}', and not by the scores, which are those of the search"
    notes = [results.note, *ranking.notes]
    if lacking := [f"track:{i}" for i in hits if i not in known]:
        notes.append(f"without a summary, and behind the others: {len(lacking)} of {len(hits)} hits "
                     f"({', '.join(lacking[:_MOST_NAMED])}{', ...' * (len(lacking) > _MOST_NAMED)})")  # fmt: skip
    timing_ms = {"summaries": 1000 * (read_s - start_s), "rerank": 1000 * (done_s - read_s)}
    total_ms = results.timing_ms["total"] + sum(timing_ms.values())
    return replace(
        results, parsed=(*results.parsed, *[said] * (order != [*hits])),
        note="; ".join(filter(None, notes)), timing_ms={**results.timing_ms, **timing_ms, "total": total_ms},
        hits=(*(_explained(hits[i], ranking.claims.get(i, ()), known.get(i)) for i in order),
              *(hit for hit in results.hits if str(hit.track_id) not in hits)),
    )  # fmt: skip


def page_of(results: Results, k: int, page: int) -> Results:
    """One page of hits that were ordered together; pages count from 1."""
    first, num_hits = k * (page - 1), len(results.hits)
    note = results.note if first < num_hits or not num_hits else f"No page {page}: {num_hits} hits."
    return replace(results, hits=results.hits[first : first + k], before=min(first, num_hits), note=note)


def _explained(hit: Hit, claims: Sequence[FieldClaim], summary: TrackSummary | None) -> Hit:
    """The hit with its claims in front of its evidence; the confidence is that of the measurement of the field."""
    sources = {} if summary is None else summary.sources
    sure = {name: source.confidence or 0.0 for name, source in sources.items()}
    evidence = [
        Evidence(constraint="for", asked=claim.text, measured=f"{claim.field.replace('_', ' ')} {claim.value}",
                 confidence=sure.get(claim.field, 0.0), satisfied=None if claim.fit is None else claim.fit > 0)
        for claim in claims
    ]  # fmt: skip
    return replace(hit, evidence=(*evidence, *hit.evidence))


def stages_ms(timing_ms: Mapping[str, float]) -> dict[str, float]:
    """The timing of a reranked search by the stages of ``BUDGET_MS``: all that finds hits counts as candidates."""
    own = {"embedding": timing_ms["text"], **{name: timing_ms[name] for name in ("summaries", "rerank")}}
    finding = timing_ms["total"] - timing_ms["evidence"] - sum(own.values())
    return {name: own.get(name, finding) for name in BUDGET_MS}
