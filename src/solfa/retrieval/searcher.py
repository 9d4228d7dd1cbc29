"""From a query to hits: filters, evidence from columns and vectors for all, detail for the best, proof for the few."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from solfa.alignment.scores import Floats, Texts, Windows
from solfa.collection import Collection, FlatStore
from solfa.constraints import Constraint, Likelihood, Measured, Presence
from solfa.core.errors import InputError
from solfa.core.filters import Filter
from solfa.core.types import Curve, FloatArray, JointModel, View, ViewName
from solfa.core.vocabulary import concept
from solfa.query import Query, by_sound, explain, is_measured
from solfa.retrieval.alignment import WordMatch, word_matches, word_rows
from solfa.retrieval.display import Fingerprint, collapse_hits, ordered
from solfa.retrieval.evidence import note_on, of_constraints, of_names, of_targets, overruled
from solfa.retrieval.fusion import extremes, summed, to_unit
from solfa.retrieval.targets import BestWindows, QueryEmbedding, Targets, familiarity, no_texts
from solfa.retrieval.types import Display, Hit, Like, RankBy, Results

CANDIDATES = 200  # tracks that are scored in detail
_REMEMBERED = 256  # vectors of texts
_REMEMBERED_COLUMNS = 32  # what constraints say: a number for each track of the collection
_SAMPLE = 4096  # segments over which texts are standardised
_SAMPLE_TRACKS = 64  # tracks, where windows are scored by their frames
_SOUND = 0.5  # nats per standard score of the embedding
FIT_Z, MISS_Z = 2.0, 1.0  # standard scores of sounds that are what a text says, and of sounds that are not
UNKNOWN = 0.1  # familiarity below which a text tower knows nothing of a phrase
_WORDS = 3.0  # nats for a title, artist or path that holds all rare words of the query


@dataclass(frozen=True, eq=False, slots=True)
class _Found:
    """The shortlist as it was scored: ids, evidence in nats, scores, texts, and the evidence of names in nats."""

    track_ids: NDArray[np.int64]
    total: FloatArray
    scores: FloatArray
    scores_NL: Floats
    named: FloatArray


@dataclass(slots=True)
class _Clock:
    ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.ms[name] = self.ms.get(name, 0.0) + (time.perf_counter() - start) * 1000


class Searcher:
    """Answers queries over one snapshot of an open collection.

    ``load_model`` is called at the first query that has something to compare by sound. ``view`` overrides the view that
    the model ranks by. ``prefer`` gives evidence in nats that is no part of a query (what a listener likes), for rows
    of the columns and rows of example tracks; ``said`` are lines about it for people, after those on the query.
    """

    def __init__(
        self, collection: Collection, load_model: Callable[[], JointModel], view: ViewName | None = None,
        prefer: Callable[[NDArray[np.intp], Sequence[int]], FloatArray] | None = None, said: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.collection, self._prefer, self._said = collection, prefer, said
        self._load_model, self._view = load_model, view
        self._vectors: dict[str, tuple[FloatArray, FloatArray]] = {}
        # Queries are refined part by part: what a part says of all tracks is remembered.
        self._known: dict[Constraint, Likelihood | None] = {}

    @cached_property
    def model(self) -> JointModel:
        """The model whose vectors the collection holds."""
        return self._load_model()

    @cached_property
    def store(self) -> FlatStore:
        """The vectors of the model's space.

        Raises SpaceMismatch if the collection has vectors of other spaces only.
        """
        return self.collection.store(self.model.space)

    @cached_property
    def view(self) -> View:
        """The view that tracks are ranked by.

        Raises InputError if a view is asked for that the model has no vectors for.
        """
        if self._view not in (None, "global") and not self.model.audio.spec.window_s:
            raise InputError(f"model {self.model.name!r} has only the global view, got {self._view!r}. Omit --view.")
        rank = self.model.views.rank
        return rank if self._view is None else replace(rank, name=self._view)

    @cached_property
    def _sample(self) -> list[Windows]:
        store = self.store
        if store.space.window_s:
            ids = store.track_ids
            at = np.unique(np.linspace(0, max(len(ids) - 1, 0), min(_SAMPLE_TRACKS, len(ids))).round().astype(np.int64))
            return store.windows(ids[at].tolist())
        match = self.model.match
        segments = store.sample(_SAMPLE) if match is None else match.sounds_SD
        return [Windows(segments, segments[:0], np.zeros((0, 2), np.int64), np.zeros(0, np.float32))]

    def search(
        self,
        query: Query,
        *,
        where: Sequence[Filter] = (),
        like: Sequence[Like] = (),
        display: Display | None = None,
        by: RankBy = "search",
        instead: Like | None = None,
    ) -> Results:
        """The hits of a query, best first; ties by track id.

        A track must meet all of the exact conditions ``where``; example sounds, ``like``, are combined with the text.
        ``by`` says what orders the hits: all evidence together (``search``), or the model's view of the query's whole
        text alone (``vectors``), as ``solfa eval`` ranks. ``instead`` is a vector in the place of those of the texts,
        such as a generated one (``diffusion.retriever``), with a label; its weight is that of a text.

        Raises InputError if there is nothing to search for; SpaceMismatch if the model's vectors cannot be compared
        with the collection's.
        """
        display = display or Display()
        asked = query.constraints or query.phrases or query.negated_phrases or query.words
        if not (asked or where or like or instead):
            unread = f" Not understood: {', '.join(query.unknown)}." if query.unknown else ""
            raise InputError(
                f"nothing to search for.{unread} Give a query, an example sound (--like) or a filter (--where)."
            )
        clock = _Clock()
        started = time.perf_counter()
        with clock.stage("text"):
            query = self._understood(query)
        with clock.stage("filter"):
            table = self.collection.attributes()
            rows = self._allowed(where, (*like, *filter(None, (instead,))))
        if by == "vectors":
            query = Query(text=query.text, phrases=(query.text,) if query.text.strip() else ())
        embed, embedding = self._targets(query, like, instead), None
        # Networks, the scan, numpy and SQLite let go of the interpreter: vectors and columns are compared in parallel.
        with ThreadPoolExecutor(1) as beside:
            comparing = beside.submit(self._compare, embed, rows, clock, by) if embed else None
            with clock.stage("attributes"):
                total, likelihoods = self._from_columns(query, rows)
            with clock.stage("words"):
                named = self._named(query, rows)
                total += named
            if comparing is not None:
                embedding, near = comparing.result()
                total += near
        liked = np.zeros(len(rows), np.float32)
        if self._prefer is not None and by == "search":
            of_collection = [e.track_id for e in like if e.track_id is not None and e.weight > 0]
            liked = self._prefer(rows, table.rows(np.array(of_collection, np.int64)).tolist())
            total += liked
        if embed is None and not (query.constraints or where or like or named.any()):
            rows, total = rows[:0], total[:0]  # nothing to rank by: any order would be made up
            named, liked, likelihoods = named[:0], liked[:0], []
        with clock.stage("detail"):
            short = _top(total, table.track_ids[rows], max(CANDIDATES, 4 * display.k * display.page))
            known = [None if p is None else Likelihood(p.p[short], p.base) for p in likelihoods]
            found = self._in_detail(query, embedding, rows[short], (named[short], liked[short]), known, by)
        with clock.stage("evidence"):
            order = np.lexsort((found.track_ids, -np.round(found.total.astype(np.float64), 9)))
            hits = collapse_hits(
                (self._hit(query, embedding, found, i, where) for i in order.tolist()), self._fingerprint,
                display.k * display.page, per_artist=display.per_artist, duplicates=display.duplicates,
            )  # fmt: skip
            before = min(display.k * (display.page - 1), len(hits))
            note = note_on(query, hits)
            if hits and before == len(hits):
                note = f"No page {display.page}: {before} hits, {-(-before // display.k)} pages."
            hits = ordered(hits[before:], display.sort, table)
        clock.ms["total"] = (time.perf_counter() - started) * 1000
        space = self.model.space if embed else ""
        return Results(query=query, parsed=(*explain(query), *self._said), hits=tuple(hits), candidates=len(rows),
                       timing_ms=clock.ms, note=note, before=before, space=space)  # fmt: skip

    def _understood(self, query: Query) -> Query:
        """The query without phrases that the text tower knows nothing of; those are noted, and looked up as names."""
        phrases, avoided = by_sound(query)
        if not (phrases or avoided) or self._reads_captions:
            return query
        unknown = tuple(p for p in (*phrases, *avoided) if familiarity(self.model, p) < UNKNOWN)
        if not unknown:
            return query
        kept, apart = (tuple(p for p in own if p not in unknown) for own in (query.phrases, query.negated_phrases))
        return replace(query, phrases=kept, negated_phrases=apart, unknown=(*query.unknown, *unknown))

    def _allowed(self, where: Sequence[Filter], like: Sequence[Like]) -> NDArray[np.intp]:
        ids = self.collection.attributes().track_ids
        keep = np.isin(ids, self.collection.select(where), kind="table") if where else np.ones(len(ids), bool)
        keep &= ~np.isin(ids, [example.track_id for example in like if example.track_id is not None])
        return np.flatnonzero(keep)

    def _targets(
        self, query: Query, like: Sequence[Like], instead: Like | None = None
    ) -> Callable[[], QueryEmbedding] | None:
        """What makes the query embedding, in any thread; None if nothing is looked for by sound."""
        phrases, avoided = by_sound(query)
        named: tuple[str, ...] = ()
        if instead is not None:
            phrases, avoided = (instead.label,), ()
        elif query.text.strip() and self._reads_captions and (phrases or query.constraints):
            phrases = (query.text,)  # what the model was trained on
        else:
            presences = [c for c in query.constraints if isinstance(c, Presence)]
            named = tuple(dict.fromkeys(concept(c.concept).title for c in presences if not c.negated))
        texts = (*phrases, *avoided, *named)
        if not texts and not like:
            return None
        shown_texts = [instead is not None or not is_measured(phrase, query) for phrase in (*phrases, *avoided)]
        weights_of = [1.0] * len(phrases) + [-1.0] * len(avoided)
        said = [*zip(weights_of, shown_texts, strict=True), *[(1.0, False)] * len(named)]
        weights, shown = zip(*said, *[(e.weight, True) for e in like], strict=True)
        sample, space, view = self._sample, self.store.space, self.view

        def embed() -> QueryEmbedding:
            targets = Targets(
                texts=self._encode(texts)
                if instead is None
                else Texts(instead.vector_D[None], (instead.vector_D[None],)),
                examples_ED=np.stack([e.vector_D for e in like]) if like else np.zeros((0, space.dim), np.float32),
                labels=(*texts, *(example.label for example in like)),
                weights_L=np.array(weights, np.float32),
                shown_L=shown,
            )
            return QueryEmbedding(targets, self.model, view, sample)

        return embed

    def direction(self, query: Query | None, like: Sequence[Like] = ()) -> FloatArray | None:
        """The unit vector that a query and examples are compared by [shape=(D,)]; None if nothing is by sound."""
        embed = self._targets(self._understood(query or Query(text="")), like)
        direction = None if embed is None else embed().direction_D
        return None if direction is None else direction / max(float(np.linalg.norm(direction)), 1e-9)

    @property
    def _reads_captions(self) -> bool:
        """Whether the model was trained on whole captions, rather than put together from the names of tags."""
        return bool(self.model.audio.spec.window_s)

    def _compare(
        self, embed: Callable[[], QueryEmbedding], rows: NDArray[np.intp], clock: _Clock, by: RankBy
    ) -> tuple[QueryEmbedding, FloatArray]:
        with clock.stage("text"):
            embedding = embed()
        with clock.stage("vectors"):
            return embedding, self._from_vectors(embedding, rows, by)

    def _encode(self, texts: Sequence[str]) -> Texts:
        """Vectors of texts; instruments and moods come again and again."""
        if len(self._vectors) > _REMEMBERED:
            self._vectors.clear()
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            found = Texts.of(self.model.text.encode(new))
            self._vectors.update(zip(new, zip(found.pooled_XD, found.tokens, strict=True), strict=True))
        if not texts:
            return no_texts(self.store.space.dim)
        pooled, tokens = zip(*(self._vectors[text] for text in texts), strict=True)
        return Texts(np.stack(pooled), tokens)

    def _from_columns(self, query: Query, rows: NDArray[np.intp]) -> tuple[FloatArray, list[Likelihood | None]]:
        everything = len(rows) == len(self.collection.attributes())
        likelihoods: list[Likelihood | None] = []
        for constraint in query.constraints:
            if constraint not in self._known:
                if len(self._known) >= _REMEMBERED_COLUMNS:
                    self._known.clear()
                self._known[constraint] = _signed(constraint, constraint.from_columns(self.collection))
            known = self._known[constraint]
            if known is not None and not everything:
                known = Likelihood(known.p[rows], known.base)
            likelihoods.append(None if overruled(constraint, query) else known)
        return summed(query.constraints, likelihoods, len(rows)), likelihoods

    def _named(self, query: Query, rows: NDArray[np.intp]) -> FloatArray:
        found = np.zeros(len(rows), np.float32)
        if query.words:
            ids = self.collection.attributes().track_ids[rows]
            everything = len(rows) == len(self.collection.attributes())
            best = self.collection.text_search(
                query.words, CANDIDATES if everything else len(rows), None if everything else ids
            )
            at = np.searchsorted(ids, np.array([track_id for track_id, _ in best], np.int64))
            found[at] = _WORDS * np.array([share for _, share in best])
        return found

    def _from_vectors(self, embedding: QueryEmbedding, rows: NDArray[np.intp], by: RankBy) -> FloatArray:
        ids = self.collection.attributes().track_ids[rows]
        direction = embedding.direction_D
        length = float(np.linalg.norm(direction))
        unit_D = direction / max(length, 1e-9)
        everything = np.array_equal(ids, self.store.track_ids)
        near_ids, cosines = self.store.nearest(unit_D, 4 * CANDIDATES, allowed=None if everything else ids)
        scores = cosines * length - embedding.offset
        if by == "search":
            scores = np.clip(scores, -4, 4)
        # Tracks beyond the list are at most as near as its last entry; those without vectors say nothing.
        full = len(scores) == 4 * CANDIDATES
        evidence = np.full(len(rows), min(float(scores.min()), 0.0) if full else 0.0, np.float32)
        evidence[np.searchsorted(ids, near_ids)] = scores
        return evidence * np.float32(_SOUND)

    def _in_detail(
        self, query: Query, embedding: QueryEmbedding | None, rows: NDArray[np.intp],
        besides: tuple[FloatArray, FloatArray], likelihoods: list[Likelihood | None], by: RankBy,
    ) -> _Found:  # fmt: skip
        ids = [int(i) for i in self.collection.attributes().track_ids[rows]]
        if any(constraint.needs_timeline for constraint in query.constraints):
            table, timelines = self.collection.attributes(), self.collection.timelines(ids)
            likelihoods = [
                _signed(constraint, constraint.from_timelines(table, rows, timelines))
                if constraint.needs_timeline and not overruled(constraint, query) else known
                for constraint, known in zip(query.constraints, likelihoods, strict=True)
            ]  # fmt: skip
        named, liked = besides
        total = summed(query.constraints, likelihoods, len(rows)) + named + liked
        scores_NL = np.zeros((len(ids), 0 if embedding is None else len(embedding.targets.labels)))
        if embedding is not None:
            there = np.array([row for row, track_id in enumerate(ids) if track_id in self.store], np.intp)
            scores_NL[there] = embedding.score(self.store.windows([ids[i] for i in there]))
            if by == "vectors":
                missing = np.ones(len(ids), bool)
                missing[there] = False
                total = np.where(missing, -np.inf, embedding.total(scores_NL))
            else:
                total = total + np.float32(_SOUND) * embedding.evidence(scores_NL)
        least, most = extremes(query.constraints, likelihoods)
        if embedding is not None:
            miss_z, fit_z = embedding.ends(-MISS_Z, FIT_Z)
            least, most = least + _SOUND * miss_z, most + _SOUND * fit_z
        elif named.any() and all(known is None for known in likelihoods):
            most = _WORDS
        scores = to_unit(_SOUND * total if by == "vectors" else total, least, most)
        return _Found(np.array(ids, np.int64), total, scores, scores_NL, named)

    def _hit(
        self, query: Query, embedding: QueryEmbedding | None, found: _Found, row: int, where: Sequence[Filter]
    ) -> Hit:
        track_id = int(found.track_ids[row])
        track = self.collection.track(track_id, where)
        table, [timeline] = self.collection.attributes(), self.collection.timelines([track_id])
        measured = Measured(table=table, row=int(table.rows(found.track_ids[row : row + 1])[0]), timeline=timeline)
        evidence = of_constraints(query, measured)
        if found.named[row] > 0:
            evidence.append(of_names(query.words, track, float(found.named[row]) / _WORDS))
        duration_s, span, heat = track.duration_s, (0.0, track.duration_s), None
        if embedding is not None and track_id in self.store:
            windows = self.store.windows([track_id])[0]
            best = embedding.best_windows(windows, duration_s)
            words = [self._words(embedding, i, windows, best) for i in range(len(embedding.targets.labels))]
            evidence += of_targets(
                embedding,
                embedding.probabilities(windows, found.scores_NL[row]),
                found.scores_NL[row],
                best,
                words,
            )
            span = best.best_s
            heat = Curve(hop_s=best.hop_s, values=tuple(round(z, 2) for z in best.heat_T.tolist()))
        else:
            spans = [s for e in evidence if e.satisfied for s in e.spans]
            surest = max(spans, key=lambda s: (s.confidence, -s.start_s), default=None)
            span = (surest.start_s, surest.end_s) if surest else span
        return Hit(track_id=track_id, path=track.paths[0], copies=track.paths[1:],
                   score=float(found.scores[row]), start_s=span[0], end_s=span[1], duration_s=duration_s,
                   tags=track.tags, evidence=tuple(evidence), heat=heat)  # fmt: skip

    def _words(
        self, embedding: QueryEmbedding, thing: int, windows: Windows, best: BestWindows
    ) -> tuple[WordMatch, ...]:
        """Which words of a text met which seconds of its best window; nothing of example sounds or untrained tokens."""
        if "frame" not in self.model.views.trained or thing >= len(embedding.targets.texts.tokens):
            return ()
        tokens_LD = embedding.targets.texts.tokens[thing]
        start_s, end_s = best.best_s_L[thing]
        window = int(np.searchsorted(windows.start_s_T[windows.ranges_W2[:, 0]], start_s + 1e-3, side="right")) - 1
        words = word_rows(self.model, embedding.targets.labels[thing], tokens_LD)
        return word_matches(words, tokens_LD, windows, window, end_s)

    def _fingerprint(self, track_id: int) -> Fingerprint | None:
        """Mean of the frames in the first space that has the track, unit norm; None where there are none."""
        for space in self.collection.spaces():
            store = self.collection.store(space)
            if track_id in store:
                mean = store.windows([track_id])[0].frames_TD.astype(np.float32).mean(axis=0)
                unit: FloatArray = mean / max(float(np.linalg.norm(mean)), 1e-9)
                return space, unit
        return None


def _signed(constraint: Constraint, likelihood: Likelihood | None) -> Likelihood | None:
    return likelihood.negated() if likelihood is not None and constraint.negated else likelihood


def _top(total: FloatArray, ids: NDArray[np.int64], count: int) -> NDArray[np.intp]:
    """Rows of the highest totals, ties by id."""
    rounded = np.round(total, 6)
    rows = np.arange(len(total))
    if len(total) > count:
        rows = np.flatnonzero(rounded >= np.partition(rounded, len(total) - count)[len(total) - count])
    order: NDArray[np.intp] = rows[np.lexsort((ids[rows], -rounded[rows]))[:count]]
    return order
