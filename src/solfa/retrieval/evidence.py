"""What a hit has to show for each part of the query: asked, measured, how sure, where, and a verdict.

A verdict follows from the value shown with it and from nothing else: met, not met, or undecided. It is
undecided where the measurement is, where only another reading of it would fit (half or double tempo, an alternative,
another way to write the metre), and where only a broader concept was measured; the reading is then named.
"""

import re
from collections.abc import Sequence

import numpy as np

from solfa.alignment.scores import Floats
from solfa.collection import TrackRow
from solfa.constraints import Constraint, Measured, Presence
from solfa.core.filters import PRESENT, folded
from solfa.core.types import Span
from solfa.core.vocabulary import lineage
from solfa.query import Query
from solfa.retrieval.alignment import WordMatch
from solfa.retrieval.targets import BestWindows, QueryEmbedding
from solfa.retrieval.types import Evidence, Hit

HALF_NAMED = 0.5  # share of the query's rare words from which a track counts as the one that was named
FITS = 0.7  # probability from which a text is said to fit, and below whose complement it is said not to


def describe(constraint: Constraint, track: Measured) -> Evidence:
    """Evidence of one track for one constraint, its negation included in the verdict."""
    found = constraint.evidence(track)
    met, measured = found.met, found.measured
    if found.confidence < PRESENT:
        met, measured = None, measured if met is None else f"{measured}, unsure"
    elif met is not None and constraint.negated:
        met = not met
    return Evidence(constraint=constraint.label, asked=constraint.words(), measured=measured,
                    confidence=float(found.confidence), satisfied=met, spans=found.spans)  # fmt: skip


def of_constraints(query: Query, track: Measured) -> list[Evidence]:
    """Evidence of one track for every constraint."""
    return [
        Evidence(constraint=constraint.label, asked=constraint.words(), confidence=0.0, satisfied=None,
                 measured="a kind of it is wanted; the others cannot be distinguished")
        if overruled(constraint, query) else describe(constraint, track)
        for constraint in query.constraints
    ]  # fmt: skip


def overruled(constraint: Constraint, query: Query) -> bool:
    """Whether a negated presence covers one that is wanted ("no vocals, but a choir"): it then says nothing."""
    if not isinstance(constraint, Presence) or not constraint.negated or constraint.place is not None:
        return False
    wanted = (c.concept for c in query.constraints if isinstance(c, Presence) and not c.negated)
    return any(constraint.concept in lineage(name)[1:] for name in wanted)


def of_names(words: str, track: TrackRow, share: float) -> Evidence:
    """Which words of the query are in which tags, or in the path."""
    tags = {name: getattr(track.tags, name) for name in ("title", "artist", "album", "genre", "comment")}
    texts = {**tags, "path": str(track.paths[0])}
    asked = dict.fromkeys(re.findall(r"[^\W_]+", folded(words)))  # as the index of names has them
    held = {name: set(re.findall(r"[^\W_]+", folded(text))) for name, text in texts.items()}
    places = [name for name, own in held.items() if own & asked.keys()]
    found = [word for word in asked if any(word in own for own in held.values())]
    return Evidence(
        constraint="name", asked=" ".join(found), measured=f"in {', '.join(places)}", confidence=min(share, 1.0),
        satisfied=True if share >= HALF_NAMED else None,
    )  # fmt: skip


def of_targets(
    embedding: QueryEmbedding, p_L: Floats, z_L: Floats, best: BestWindows, words: Sequence[tuple[WordMatch, ...]]
) -> list[Evidence]:
    """What the vectors say: a verdict only where a probability was fitted; a rank in the collection proves nothing."""
    found = []
    for i, label in enumerate(embedding.targets.labels):
        if not embedding.targets.shown_L[i]:
            continue  # an instrument or mood: its own evidence says more
        avoided, p = float(embedding.targets.weights_L[i]) < 0, float(p_L[i])
        if np.isnan(p):
            shown, met, sure = embedding.similarity_words(i, float(z_L[i])), None, 0.0
        else:
            met = True if p >= FITS else False if p <= 1 - FITS else None
            shown = {True: "fits", False: "does not fit", None: "may fit"}[met]
            if i >= len(embedding.targets.texts.tokens):  # an example
                shown = f"{shown} ({embedding.similarity_words(i, float(z_L[i]))})"
            met, sure = (met if met is None else met != avoided), max(p, 1 - p)
        start, end = best.best_s_L[i]
        found.append(Evidence(
            constraint="not like" if avoided else "sounds like", asked=label, measured=shown, confidence=sure,
            satisfied=met, spans=(Span(start_s=start, end_s=end, confidence=p),) if p >= FITS else (), words=words[i],
        ))  # fmt: skip
    return found


def note_on(query: Query, hits: Sequence[Hit], *, shut_out: bool = False) -> str:
    """One line where nothing fits: no hit shows that anything asked was met, or the filters leave no track."""
    if not hits:
        unread = ", ".join(repr(phrase) for phrase in query.unknown)
        why = f": not understood, and in no name or tag: {unread}." if unread else "."
        return "Nothing fits" + (": no track passes the filters." if shut_out else why)
    asked = [evidence for hit in hits for evidence in hit.evidence]
    if not asked or any(evidence.satisfied for evidence in asked):
        return ""
    return "Nothing fits well; these tracks are the nearest."
