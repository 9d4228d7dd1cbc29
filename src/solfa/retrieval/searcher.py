"""From a query to hits: filters, evidence from columns and vectors for all, detail for the best, proof for the few."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from solfa.alignment.scores import Floats, Texts, Windows
from solfa.collection import Collection, FlatStore
from solfa.collection.flat import spread
from solfa.constraints import Constraint, Likelihood, Measured, Presence, Tempo, Unbased
from solfa.core.errors import InputError
from solfa.core.filters import Filter
from solfa.core.types import Curve, FloatArray, JointModel, View, ViewName
from solfa.core.vocabulary import concept
from solfa.query import Query, beside, by_sound, is_measured, whole_text
from solfa.retrieval import plan
from solfa.retrieval.alignment import WordMatch, word_matches, word_rows
from solfa.retrieval.display import Fingerprint, sort_value
from solfa.retrieval.evidence import of_constraints, of_names, of_targets, overruled
from solfa.retrieval.fusion import extremes, summed
from solfa.retrieval.plan import NEAREST, SOUND, WORDS, Clock, PlannedQuery, Ranked, SharedCounts, Shortlist
from solfa.retrieval.targets import BestWindows, QueryEmbedding, Targets, familiarity, no_texts
from solfa.retrieval.types import Display, Hit, Like, RankBy, Results

T = TypeVar("T")
_REMEMBERED = 256  # vectors of texts
_REMEMBERED_COLUMNS = 64  # what constraints say: a number for each track of the collection
SAMPLE = 4096  # segments over which texts are standardised
SAMPLE_TRACKS = 64  # tracks, where windows are scored by their frames
FIT_Z, MISS_Z = 2.0, 1.0  # standard scores of sounds that are what a text says, and of sounds that are not
UNKNOWN = 0.1  # familiarity below which a text tower knows nothing of a phrase
_NOTHING = np.zeros(0, np.float32)


@dataclass(frozen=True, eq=False, slots=True)
class _Found:
    """The shortlist as it was scored: ids, evidence in nats, scores of each text, and the evidence of names in nats;
    what constraints and sound give at least and at most, and whether names alone are the evidence."""

    track_ids: NDArray[np.int64]
    total: FloatArray
    scores_NL: Floats
    named: FloatArray
    ends: tuple[float, float, bool]


class Asking(ABC):
    """The part of a search that needs no collection: a query read, its texts and examples as vectors.

    ``load_model`` is called at the first query that has something to compare by sound. ``view`` overrides the view that
    the model ranks by.
    """

    def __init__(self, load_model: Callable[[], JointModel], view: ViewName | None = None) -> None:
        self._load_model, self._view = load_model, view
        self._vectors: dict[str, tuple[FloatArray, FloatArray]] = {}

    @cached_property
    def model(self) -> JointModel:
        """The model whose vectors the collection holds."""
        return self._load_model()

    @abstractmethod
    def find(self, content_hash: str) -> int | None:
        """The track with this content, None if there is none."""

    @abstractmethod
    def tempi(self, track_ids: Sequence[int]) -> list[float]:
        """The measured tempi in BPM of those tracks that have one."""

    @cached_property
    def view(self) -> View:
        """The view that tracks are ranked by.

        Raises InputError if a view is asked for that the model has no vectors for.
        """
        if self._view not in (None, "global") and not self.model.audio.spec.window_s:
            raise InputError(f"model {self.model.name!r} has only the global view, got {self._view!r}. Omit --view.")
        rank = self.model.views.rank
        return rank if self._view is None else replace(rank, name=self._view)

    def asked(
        self, query: Query, where: Sequence[Filter], like: Sequence[Like], display: Display | None, by: RankBy,
        instead: Like | None,
    ) -> PlannedQuery:  # fmt: skip
        """What every part of a collection is asked; arguments as ``Searcher.search`` takes them."""
        asked = query.constraints or query.phrases or query.negated_phrases or query.words
        if not (asked or where or like or instead):
            unread = f" Not understood: {', '.join(query.unknown)}." if query.unknown else ""
            raise InputError(f"nothing to search for.{unread} Give a query, an example sound or a filter.")
        query = self._understood(query)
        seeds = tuple(e.track_id for e in like if e.track_id is not None and e.weight > 0)
        if seeds and any(isinstance(c, Tempo) for c in query.constraints) and (tempi := self.tempi(seeds)):
            query = beside(query, float(np.median(tempi)))
        if by == "vectors":
            query = Query(text=query.text, phrases=(query.text,) if query.text.strip() else ())
        targets = self._targets(query, like, instead)
        return PlannedQuery(
            query=query, where=tuple(where), targets=targets, display=display or Display(), by=by,
            without=tuple(e.track_id for e in (*like, *filter(None, (instead,))) if e.track_id is not None),
            seeds=seeds,
            anything=bool(targets or query.constraints or where or like),
        )  # fmt: skip

    def _understood(self, query: Query) -> Query:
        """The query without phrases that the text tower knows nothing of; those are noted, and looked up as names."""
        phrases, avoided = by_sound(query)
        if not (phrases or avoided):
            return query
        unknown = tuple(p for p in (*phrases, *avoided) if familiarity(self.model, p) < UNKNOWN)
        if not unknown:
            return query
        kept, apart = (tuple(p for p in own if p not in unknown) for own in (query.phrases, query.negated_phrases))
        return replace(query, phrases=kept, negated_phrases=apart, unknown=(*query.unknown, *unknown))

    def _targets(self, query: Query, like: Sequence[Like], instead: Like | None = None) -> Targets | None:
        """What is looked for by sound; None if nothing is."""
        phrases, avoided = by_sound(query)
        whole: tuple[str, ...] = ()
        named: tuple[str, ...] = ()
        only = self.model.match is None  # probabilities were fitted to no phrases
        if instead is not None:
            phrases, avoided = (instead.label,), ()
        elif self.model.captions:
            whole = tuple(filter(None, [whole_text(query)]))  # ranked by what the model was trained on
            only = only or phrases == whole
            phrases = () if only and whole else phrases
        else:
            presences = [c for c in query.constraints if isinstance(c, Presence)]
            named = tuple(dict.fromkeys(concept(c.concept).title for c in presences if not c.negated))
        texts = (*whole, *phrases, *avoided, *named)
        if not texts and not like:
            return None
        # Phrases beside the whole text show what was found of each, and weigh nothing.
        said = [(1.0, only and not is_measured(text, query)) for text in whole]
        said += [(0.0 if whole else 1.0, instead is not None or not is_measured(text, query)) for text in phrases]
        said += [(-1.0, not is_measured(text, query)) for text in avoided] + [(1.0, False)] * len(named)
        weights, shown = zip(*said, *[(e.weight, True) for e in like], strict=True)
        dim = self.model.audio.spec.dim
        made = Texts(instead.vector_D[None], (instead.vector_D[None],)) if instead is not None else self._encode(texts)
        return Targets(
            texts=made,
            examples_ED=np.stack([e.vector_D for e in like]) if like else np.zeros((0, dim), np.float32),
            labels=(*texts, *(example.label for example in like)),
            weights_L=np.array(weights, np.float32),
            shown_L=shown,
        )

    def _encode(self, texts: Sequence[str]) -> Texts:
        """Vectors of texts; instruments and moods come again and again."""
        if len(self._vectors) > _REMEMBERED:
            self._vectors.clear()
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            found = Texts.of(self.model.text.encode(new))
            self._vectors.update(zip(new, zip(found.pooled_XD, found.tokens, strict=True), strict=True))
        if not texts:
            return no_texts(self.model.audio.spec.dim)
        pooled, tokens = zip(*(self._vectors[text] for text in texts), strict=True)
        return Texts(np.stack(pooled), tokens)


class Searcher(Asking):
    """Answers queries over one snapshot of an open collection, or of a part of one.

    ``prefer`` gives evidence in nats that is no part of a query (what a listener likes), for rows
    of the columns and rows of example tracks; ``said`` are lines about it for people, after those on the query.
    """

    def __init__(
        self, collection: Collection, load_model: Callable[[], JointModel], view: ViewName | None = None,
        prefer: Callable[[NDArray[np.intp], Sequence[int]], FloatArray] | None = None, said: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(load_model, view)
        self.collection, self._prefer, self._said = collection, prefer, said
        # Queries are refined part by part: what a part says of all tracks is remembered.
        self._known: dict[object, Any] = {}

    @cached_property
    def store(self) -> FlatStore:
        """The vectors of the model's space.

        Raises SpaceMismatch if the collection has vectors of other spaces only.
        """
        return self.collection.store(self.model.space)

    @cached_property
    def sample(self) -> list[Windows]:
        """The sounds over which texts are standardised."""
        if self.model.match is not None and not self.sample_size:
            return [of_segments(self.model.match.sounds_SD)]
        return self.sampled(spread(self.sample_size, SAMPLE_TRACKS if self.store.space.window_s else SAMPLE))

    @property
    def sample_size(self) -> int:
        """How many sounds there are to draw the sample from; 0 where the model has one."""
        if self.store.space.window_s:
            return len(self.store.track_ids)
        return self.store.num_segments if self.model.match is None else 0

    @property
    def prefers(self) -> bool:
        """Whether what a listener likes is part of the order."""
        return self._prefer is not None

    def sampled(self, numbers: NDArray[np.int64]) -> list[Windows]:
        """Those sounds by their numbers, counted over the tracks by id."""
        if self.store.space.window_s:
            return self.store.windows(self.store.track_ids[numbers].tolist())
        return [of_segments(self.store.segments_at(numbers))]

    def find(self, content_hash: str) -> int | None:
        """The track with this content, None if there is none."""
        return self.collection.find(content_hash)

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
        clock, started = Clock(), time.perf_counter()
        with clock.stage("text"):
            asked = self.asked(query, where, like, display, by, instead)
        steps = self.steps(asked)

        def ask(before: Sequence[plan.Said]) -> list[Any]:
            return [steps.send(before[-1] if before else None)]

        space = self.model.space if asked.targets else ""
        results = plan.answer(asked, ask, clock, space=space, said=self._said)
        clock.ms["total"] = (time.perf_counter() - started) * 1000
        return results

    def tempi(self, track_ids: Sequence[int]) -> list[float]:
        """The measured tempi in BPM of those tracks that are here and have one."""
        table = self.collection.attributes()
        bpm = table.column("tempo_bpm")[np.isin(table.track_ids, track_ids), 0]
        return [*map(float, bpm[~np.isnan(bpm)])]

    def evidence(self, query: Query) -> tuple[NDArray[np.int64], FloatArray, FloatArray]:
        """Every track with its evidence in nats: of constraints, and of sound [shape=(N,)]; names count nothing."""
        query, table = self._understood(query), self.collection.attributes()
        targets = self._targets(query, ())
        embedding = None if targets is None else self._embedding(targets)
        found = [self._remembered(c, partial(self._from_columns, c)) for c in query.constraints]
        rates = np.array([rate for _, rate in found], np.int64).reshape(-1, 2)
        counts = SharedCounts(rates=rates, words=np.zeros(2, np.int64), near_ids=rates[:0, 0], cosines=_NOTHING)
        rows, none = np.arange(len(table)), np.zeros(len(table), np.float32)
        likelihoods = self._likelihoods(query, [own for own, _ in found], counts, rows)
        attributes = self._in_detail(query, None, rows, (none, none), likelihoods, "search").total
        sound = none
        if embedding is not None:
            tracks = self._remembered("windows", lambda: self.store.windows(table.track_ids.tolist()))
            sound = np.float32(SOUND) * embedding.evidence(embedding.score(tracks))
        return table.track_ids, attributes, sound

    def steps(self, asked: PlannedQuery) -> Generator[Any, Any, None]:
        """This part's side of ``plan.answer``: what it says of its tracks; it is sent what all parts say together."""
        query, clock = asked.query, Clock()
        with clock.stage("filter"):
            table, rows = self.collection.attributes(), self._allowed(asked.where, asked.without)
            ids = table.track_ids[rows]
        if asked.targets:  # what opens files is done here: the other thread only computes
            self.store, self.sample, self.view  # noqa: B018
        # Networks, the scan, numpy and SQLite let go of the interpreter: vectors and columns are compared in parallel.
        with ThreadPoolExecutor(1) as beside:
            comparing = beside.submit(self._compare, asked.targets, ids, clock) if asked.targets else None
            with clock.stage("attributes"):
                found = [self._remembered(c, partial(self._from_columns, c)) for c in query.constraints]
            with clock.stage("words"):
                words = self.collection.word_counts(query.words) if query.words else np.zeros(2, np.int64)
            embedding, near_ids, cosines = comparing.result() if comparing else (None, ids[:0], _NOTHING)
        rates = np.array([rate for _, rate in found], np.int64).reshape(-1, 2)
        counts: SharedCounts = yield SharedCounts(rates=rates, words=words, near_ids=near_ids, cosines=cosines)
        with clock.stage("attributes"):
            likelihoods = self._likelihoods(query, [own for own, _ in found], counts, rows)
            total = summed(query.constraints, likelihoods, len(rows))
        with clock.stage("words"):
            named = self._named(query, rows, counts)
            total += named
        if embedding is not None:
            total += _from_vectors(embedding, ids, counts, asked.by)
        liked = np.zeros(len(rows), np.float32)
        if self._prefer is not None and asked.by == "search":
            liked = self._prefer(rows, table.rows(np.array(asked.seeds, np.int64)).tolist())
            total += liked
        best_ids, best_totals = plan.best([(ids, np.round(total, 6))], asked.shortlist)
        short: Shortlist = yield Shortlist(ids=best_ids, totals=best_totals, most=asked.shortlist, tracks=len(rows),
                                           named=bool(named.any()))  # fmt: skip
        with clock.stage("detail"):
            mine = np.flatnonzero(np.isin(ids, short.ids))
            known = [None if p is None else Likelihood(p.p[mine], p.base) for p in likelihoods]
            scored = self._in_detail(query, embedding, rows[mine], (named[mine], liked[mine]), known, asked.by)
        wanted: plan.Wanted = yield Ranked(
            ids=scored.track_ids, totals=scored.total, named=bool(scored.named.any()),
            ends=scored.ends if len(mine) else None, ms=clock.ms,
        )  # fmt: skip
        place = {track_id: row for row, track_id in enumerate(scored.track_ids.tolist())}
        while True:
            described = plan.Described()
            for track_id, score in zip(*(part.tolist() for part in wanted), strict=True):
                if track_id in place:
                    hit = self._hit(query, embedding, scored, place[track_id], asked.where, score)
                    value = sort_value(hit, asked.display.sort, table, int(rows[mine][place[track_id]]))
                    mark = None if asked.display.duplicates else self._fingerprint(track_id)
                    described[track_id] = hit, mark, value
            wanted = yield described

    def _allowed(self, where: Sequence[Filter], without: Sequence[int]) -> NDArray[np.intp]:
        ids = self.collection.attributes().track_ids
        keep = np.isin(ids, self.collection.select(where), kind="table") if where else np.ones(len(ids), bool)
        keep &= ~np.isin(ids, without)
        return np.flatnonzero(keep)

    def direction(self, query: Query | None, like: Sequence[Like] = ()) -> FloatArray | None:
        """The unit vector that a query and examples are compared by [shape=(D,)]; None if nothing is by sound."""
        targets = self._targets(self._understood(query or Query(text="")), like)
        direction = None if targets is None else self._embedding(targets).direction_D
        return None if direction is None else direction / max(float(np.linalg.norm(direction)), 1e-9)

    def _embedding(self, targets: Targets) -> QueryEmbedding:
        return QueryEmbedding(targets, self.model, self.view, self.sample)

    def _compare(
        self, targets: Targets, ids: NDArray[np.int64], clock: Clock
    ) -> tuple[QueryEmbedding, NDArray[np.int64], FloatArray]:
        with clock.stage("text"):
            embedding = self._embedding(targets)
        with clock.stage("vectors"):
            unit_D = embedding.direction_D / max(float(np.linalg.norm(embedding.direction_D)), 1e-9)
            everything = np.array_equal(ids, self.store.track_ids)
            return embedding, *self.store.nearest(unit_D, NEAREST, allowed=None if everything else ids)

    def _remembered(self, what: object, make: Callable[[], T]) -> T:
        if what not in self._known:
            if len(self._known) >= _REMEMBERED_COLUMNS:
                self._known.clear()
            self._known[what] = make()
        known: T = self._known[what]
        return known

    def _from_columns(self, constraint: Constraint) -> tuple[Likelihood | Unbased | None, tuple[int, int]]:
        found = constraint.from_columns(self.collection)
        return found, found.counted() if isinstance(found, Unbased) else (0, 0)

    def _likelihoods(
        self, query: Query, found: Sequence[Likelihood | Unbased | None], counts: SharedCounts, rows: NDArray[np.intp]
    ) -> list[Likelihood | None]:
        everything = len(rows) == len(self.collection.attributes())
        likelihoods: list[Likelihood | None] = []
        for constraint, own, rate in zip(query.constraints, found, counts.rates.tolist(), strict=True):
            if isinstance(own, Unbased):
                own = self._remembered((constraint, *rate), partial(own.based, *rate))
            known = _signed(constraint, own)
            if known is not None and not everything:
                known = Likelihood(known.p[rows], known.base)
            likelihoods.append(None if overruled(constraint, query) else known)
        return likelihoods

    def _named(self, query: Query, rows: NDArray[np.intp], counts: SharedCounts) -> FloatArray:
        named, table = np.zeros(len(rows), np.float32), self.collection.attributes()
        if query.words and (ids := table.track_ids[rows]).size:
            allowed = None if len(rows) == len(table) else ids
            hits = self.collection.text_search(query.words, None, allowed, counts.words)
            at = np.searchsorted(ids, np.array([track_id for track_id, _ in hits], np.int64))
            named[at] = WORDS * np.array([share for _, share in hits])
        return named

    def _in_detail(
        self, query: Query, embedding: QueryEmbedding | None, rows: NDArray[np.intp],
        besides: tuple[FloatArray, FloatArray], likelihoods: list[Likelihood | None], by: RankBy,
    ) -> _Found:  # fmt: skip
        ids = [int(i) for i in self.collection.attributes().track_ids[rows]]
        if ids and any(constraint.needs_timeline for constraint in query.constraints):
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
                total = total + np.float32(SOUND) * embedding.evidence(scores_NL)
        least, most = extremes(query.constraints, likelihoods)
        if embedding is not None:
            miss_z, fit_z = embedding.ends(-MISS_Z, FIT_Z)
            least, most = least + SOUND * miss_z, most + SOUND * fit_z
        names_alone = embedding is None and all(known is None for known in likelihoods)
        return _Found(np.array(ids, np.int64), total, scores_NL, named, (least, most, names_alone))

    def _hit(
        self, query: Query, embedding: QueryEmbedding | None, found: _Found, row: int, where: Sequence[Filter],
        score: float,
    ) -> Hit:  # fmt: skip
        track_id = int(found.track_ids[row])
        track = self.collection.track(track_id, where)
        table, [timeline] = self.collection.attributes(), self.collection.timelines([track_id])
        measured = Measured(table=table, row=int(table.rows(found.track_ids[row : row + 1])[0]), timeline=timeline)
        evidence = of_constraints(query, measured)
        if found.named[row] > 0:
            evidence.append(of_names(query.words, track, float(found.named[row]) / WORDS))
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
                   score=score, start_s=span[0], end_s=span[1], duration_s=duration_s,
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


def _from_vectors(embedding: QueryEmbedding, ids: NDArray[np.int64], counts: SharedCounts, by: RankBy) -> FloatArray:
    """Evidence in nats of these tracks, from the nearest of all."""
    scores = counts.cosines * float(np.linalg.norm(embedding.direction_D)) - embedding.offset
    if by == "search":
        scores = np.clip(scores, -4, 4)
    # Tracks beyond the list are at most as near as its last entry; those without vectors say nothing.
    full = len(scores) == NEAREST
    evidence = np.full(len(ids), min(float(scores.min()), 0.0) if full else 0.0, np.float32)
    mine = np.isin(counts.near_ids, ids)
    evidence[np.searchsorted(ids, counts.near_ids[mine])] = scores[mine]
    return evidence * np.float32(SOUND)


def of_segments(rows_SD: FloatArray) -> Windows:
    """Segments as the sample of a model that has no windows."""
    return Windows(rows_SD, rows_SD[:0], np.zeros((0, 2), np.int64), np.zeros(0, np.float32))
