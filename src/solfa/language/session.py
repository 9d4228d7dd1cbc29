"""A search that goes on turn by turn: the query as it stands, operations that edit it, and what stood before.

Operations are data (JSON in, ``Session.state`` out), so that sentences read by rule, a language model and a page drive
the same session. A turn that cannot be carried out changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np

from solfa.constraints import (
    FASTEST_BPM,
    LONGEST_S,
    SLOWEST_BPM,
    Constraint,
    Duration,
    InKey,
    Metre,
    Presence,
    Tempo,
)
from solfa.core.errors import InputError, SolfaError
from solfa.core.filters import Filter
from solfa.core.text import plain
from solfa.core.theory import KEYS
from solfa.language.edits import cut, merged, replaces, without
from solfa.language.turns import EVERYTHING, KINDS, Operation, Relative, Seen, hit_numbers, read, relative
from solfa.query import Query, by_sound, is_measured, parse
from solfa.relevance.feedback import give
from solfa.retrieval import Display, Hit, Results, Searcher
from solfa.retrieval.like import like_track

_MOST_OPERATIONS = 20
_LIKE, _GOOD, _DISLIKE = 2.0, 1.0, -1.0  # beside 1 for a text, as Rocchio's beta and gamma (benchmarks/conversation.py)
_FIELDS = {"genre": "style", "use": "mood"}  # of filters, where they are not called as the kinds of concepts


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is asked: a query, constraints that each hit must surely meet, hits with weights (below 0: to avoid), and
    the page."""

    query: Query = field(default_factory=lambda: Query(text=""))
    limits: tuple[Constraint, ...] = ()
    liked: Mapping[int, tuple[Hit, float]] = field(default_factory=dict)
    page: int = 1

    @property
    def words(self) -> str:
        """What is asked in words, without examples: such as could be typed as a query."""
        query = self.query
        parts = [" or ".join(dict.fromkeys(map(_said, group)))
                 for _, group in groupby(query.constraints, key=lambda c: c.any_of or c)]  # fmt: skip
        wanted, unwanted = ([p for p in own if not is_measured(p, query)] for own in by_sound(query))
        parts += [*wanted, *(f"not {p}" for p in unwanted), *(f"only {_said(c)}" for c in self.limits)]
        return ", ".join(dict.fromkeys(parts))

    def __str__(self) -> str:
        likes = [f"{'not ' * (w < 0)}like {h.tags.title or h.path.stem}" for h, w in self.liked.values()]
        return "; ".join(filter(None, (self.words, *likes))) or "nothing yet"


@dataclass(slots=True)
class Session:
    """A request, its answer, and what stood before.

    ``said`` are lines on the last turn: how words were read, and what was kept as feedback.
    """

    searcher: Searcher
    display: Display = field(default_factory=Display)
    request: Request = field(default_factory=Request)
    results: Results | None = None
    selected: tuple[int, ...] = ()
    said: tuple[str, ...] = ()
    _before: list[tuple[Request, Results | None, tuple[int, ...]]] = field(default_factory=list)

    def say(self, text: str) -> Results | None:
        """Carry out a sentence, read by rule: a new query at first, then edits of the query as it stands.

        Raises InputError, and changes nothing, if a part of it is not understood or cannot be carried out.
        """
        return self.apply(self.understood(text))

    def understood(self, text: str) -> list[Operation]:
        """The operations that ``say`` carries out."""
        page = 0 if self.request == Request() else self.request.page
        return read(text, Seen(self.shown, self.selected, page, self._stands))

    def apply(self, operations: Iterable[Operation | Mapping[str, Any]]) -> Results | None:
        """One turn: carry out operations, or JSON objects of their fields, in order; then search once.

        The hits, or None if nothing is asked any more. Raises InputError, and changes nothing, if one of them is none
        or cannot be carried out; SolfaError as ``Searcher.search`` does.
        """
        turn = [op if isinstance(op, Operation) else Operation.of(op) for op in operations]
        if not turn or len(turn) > _MOST_OPERATIONS:
            raise InputError(f"a turn has 1 to {_MOST_OPERATIONS} operations, got {len(turn)}.")
        before, request, said = [*self._before], self.request, list[str]()
        undone: tuple[int, ...] = ()
        results: Results | None = None
        for number, op in enumerate(turn):
            if op.op == "undo":
                if not before or number:
                    raise InputError("undo comes first in a turn." if number else "nothing to undo.")
                request, results, undone = before.pop()
            else:
                request = self._edited(request, op, turn, said)
        only_undo = len(turn) == 1 and turn[0].op == "undo"
        if not only_undo:
            results = self._searched(request)
            before.append((self.request, self.results, ()))
        given = self._judged(turn, undone, said)
        if given:
            before[-1] = (*before[-1][:2], given)
        self.request, self.results, self.selected = request, results, ()
        self.said, self._before = tuple(said), before
        return results

    def ask(self, text: str) -> Results | None:
        """Begin with a new query, which is not read as a sentence."""
        return self.apply([EVERYTHING, Operation(op="set", text=text)])

    def undo(self) -> Results | None:
        """Back to what stood before the last turn, verdicts too. Raises InputError if there is nothing to undo."""
        return self.apply([Operation(op="undo")])

    def select(self, numbers: str) -> Sequence[Hit]:
        """Choose hits for ``play`` and ``playlist``."""
        chosen = self.hits(numbers)
        self.selected = hit_numbers(numbers, self.shown, ()) or ()
        return chosen

    @property
    def shown(self) -> range:
        """The numbers of the hits that are shown."""
        first = self.results.before + 1 if self.results else 1
        return range(first, first + len(self.results.hits if self.results else ()))

    def hits(self, numbers: str = "") -> Sequence[Hit]:
        """The hits with these numbers ("1 3", "the second"), else those that are selected, else all that are shown.

        Raises InputError if there is no such hit.
        """
        chosen = hit_numbers(numbers, self.shown, self.selected) if numbers.strip() else self.selected
        if chosen is None:
            raise InputError(f"not the number of a hit: {numbers!r}. Expected something like 2 or 1 3.")
        return self._hits(chosen or self.shown)

    def state(self) -> dict[str, Any]:
        """The session as JSON (``solfa.session/1``): the query as it stands, part by part, and the hits' numbers."""
        asked = [(c, False) for c in self.request.query.constraints] + [(c, True) for c in self.request.limits]
        liked = [{"track_id": i, "name": h.tags.title or h.path.stem, "weight": w}
                 for i, (h, w) in self.request.liked.items()]  # fmt: skip
        wanted, unwanted = by_sound(self.request.query)
        state = {
            "schema": "solfa.session/1", "asked": str(self.request), "said": self.said, "liked": liked,
            "parts": [{"kind": c.label, "words": c.words(), "text": c.text, "only": only} for c, only in asked],
            "phrases": wanted, "negated_phrases": unwanted, "page": self.request.page,
            "shown": [[number, hit.track_id] for number, hit in zip(self.shown, self.hits() if self.shown else (),
                                                                   strict=True)],
            "can_undo": bool(self._before),
        }  # fmt: skip
        value: dict[str, Any] = plain(state)
        return value

    def _stands(self, what: str) -> bool:
        """Whether a kind of constraint, or what these words ask, is part of the query."""
        try:
            return forgotten(self.request, what) != self.request
        except InputError:
            return False

    def _hits(self, numbers: Iterable[int]) -> list[Hit]:
        chosen, shown = list(numbers), self.shown
        if not shown or self.results is None:
            raise InputError("no hits yet: ask for something first.")
        if wrong := [number for number in chosen if number not in shown]:
            raise InputError(f"no hit {wrong[0]}: shown are {shown[0]} to {shown[-1]}.")
        return [self.results.hits[number - shown[0]] for number in chosen]

    def _edited(self, request: Request, op: Operation, turn: Sequence[Operation], said: list[str]) -> Request:
        if op.op == "page":
            return replace(request, page=op.page if op.page > 0 else max(1, request.page + (op.page or 1)))
        if op.op in ("like", "dislike"):
            weight = _DISLIKE if op.op == "dislike" else _GOOD if op.verdict else _LIKE
            chosen = self._hits(op.hits or self.selected or self.shown)
            return replace(request, liked={**request.liked, **{h.track_id: (h, weight) for h in chosen}}, page=1)
        if op.op in ("forget", "remove"):
            return replace(forgotten(request, op.text), page=1)
        how = relative(op.text) if op.op in ("set", "add", "limit") else None
        if how is not None:
            liked = [n for other in turn if other.op == "like" for n in other.hits]
            new = Query(text="", constraints=(self._compared(how, self._hits(op.hits or liked or self.shown)),))
            said.append(f"'{op.text}' read as {new.constraints[0].words()}")
        else:
            new = _understood(op.text)
        if op.op == "avoid":
            away = tuple(replace(c, negated=True, any_of=0) for c in new.constraints)
            new = replace(new, text="", constraints=away, phrases=(), words="",
                          negated_phrases=(*new.negated_phrases, *new.phrases))  # fmt: skip
        limits = [c for c in new.constraints if op.op == "limit" and _filter(c) is not None and not c.any_of]
        new = without(new, limits)
        again = {_alike(c) for c in request.query.constraints if not c.negated}
        weighed = tuple(replace(c, weight=2.0) if _alike(c) in again or op.op == "limit" else c
                        for c in new.constraints)  # fmt: skip
        new = replace(new, constraints=weighed)
        kept = [c for c in request.limits if not any(replaces(n, c) for n in (*new.constraints, *limits))]
        gone = [c for c in request.query.constraints if any(replaces(n, c) for n in limits)]
        query = merged(without(request.query, gone), new, by_kind=op.op == "set")
        return replace(request, query=query, limits=(*kept, *limits), page=1)

    def _compared(self, how: Relative, hits: Sequence[Hit]) -> Constraint:
        """What "slower" or "in the key of 2" asks, against the measurements of hits."""
        table = self.searcher.collection.attributes()
        rows = table.rows(np.array([hit.track_id for hit in hits], np.int64))
        low, high = how.between
        if how.kind == "duration":
            middle = float(np.median([hit.duration_s for hit in hits]))
            made = Duration(text="", low_s=round(middle * low), high_s=round(min(middle * high, LONGEST_S)))
            return replace(made, text=made.asked())
        first = rows[0]
        if how.kind == "tempo" and not np.isnan(tempi := table.column("tempo_bpm")[rows, 0]).all():
            bounds = (float(np.nanmedian(tempi)) * by + how.plus_bpm for by in (low, high))
            low_bpm, high_bpm = (float(np.clip(round(b), SLOWEST_BPM, FASTEST_BPM)) for b in bounds)
            tempo = Tempo(text="", low_bpm=low_bpm, high_bpm=high_bpm)
            return replace(tempo, text=tempo.asked())
        if how.kind == "key" and (number := int(table.column("key")[first, 0])) >= 0:
            return InKey(text=str(KEYS[number]), tonic=KEYS[number].tonic, mode=KEYS[number].mode)
        if how.kind == "metre" and (metre := "{}/{}".format(*table.column("metre")[first, 0].tolist())) != "0/0":
            return Metre(text=metre, metres=(metre,))
        raise InputError(f"the {how.kind} of these hits could not be measured.")

    def _searched(self, request: Request) -> Results | None:
        if not (request.words or request.liked):
            return None
        likes = []
        for hit, weight in request.liked.values():
            like = like_track(self.searcher, hit.track_id, hit.start_s, hit.end_s)
            stays = weight == _GOOD  # where the person saw it
            likes.append(replace(like, weight=weight, track_id=None if stays else hit.track_id))
        where = [limit for c in request.limits if (limit := _filter(c)) is not None]
        found = self.searcher.search(request.query, where=where, like=likes,
                                     display=replace(self.display, page=request.page))  # fmt: skip
        if not found.hits and (request.page > 1 or (where and request.limits != self.request.limits)):
            raise InputError(found.note if request.page > 1 else f"no track is left with {request.words!r}.")
        old = {*self.request.query.phrases, *self.request.query.negated_phrases}
        strange = [p for p in found.query.unknown if p not in request.query.unknown and p not in old]
        named = any(e.constraint == "name" and e.satisfied for hit in found.hits for e in hit.evidence)
        if strange and not named and self.request != Request():
            raise InputError(f"not understood: {', '.join(map(repr, strange))}.")
        return found

    def _judged(self, turn: Sequence[Operation], undone: Iterable[int], said: list[str]) -> tuple[int, ...]:
        """Keep verdicts as feedback on what was asked when they were given, and take back those that are undone."""
        collection, kept = self.searcher.collection, list[int]()
        try:
            if undone:
                collection.change_verdicts((), undone)
            for op in (op for op in turn if op.verdict and op.op in ("like", "dislike")):
                tracks = [f"track:{hit.track_id}" for hit in self._hits(op.hits or self.selected or self.shown)]
                new, notes = give(collection, tracks, op.op == "like", query=self.request.words)
                kept += [verdict.id for verdict in new]
                said += [f"kept as feedback: {len(new)} {'good' if op.op == 'like' else 'bad'}"] * bool(new) + notes
        except SolfaError as error:
            said.append(f"feedback was not changed: {error}")
        return tuple(kept)


def _said(constraint: Constraint) -> str:
    return constraint.words() if constraint.negated else constraint.text


def _alike(constraint: Constraint) -> Constraint:
    return replace(constraint, text="", weight=1.0, any_of=0)


def _understood(text: str) -> Query:
    """The words as a query. Raises InputError if a part of them is not understood."""
    new = parse(text)
    if new.unknown or not (new.constraints or new.phrases or new.negated_phrases):
        reason = f" {new.notes[-1]}." if new.unknown and new.notes else ""
        raise InputError(f"not understood: {', '.join(map(repr, new.unknown)) or repr(text)}.{reason}")
    return new


def forgotten(request: Request, text: str) -> Request:
    """The request without a kind of constraint, or without what these words ask.

    Raises InputError if nothing of it stands.
    """
    what = text.casefold().strip()
    kind = next((kind for kind, names in KINDS.items() if what == kind or what in names), "")
    if kind == "everything":
        return Request()
    every = (*request.query.constraints, *request.limits)
    words: list[str] = []
    gone = [c for c in every if c.label == kind or (kind == "limits" and c in request.limits)]
    if not gone and what and kind not in ("likes", "limits"):
        alike = {replace(_alike(c), negated=False) for c in parse(text).constraints}
        concepts = {c.concept for c in alike if isinstance(c, Presence)}
        gone = [c for c in every if replace(_alike(c), negated=False) in alike or c.text.casefold() == what
                or (isinstance(c, Presence) and c.concept in concepts)]  # fmt: skip
        phrases = (*request.query.phrases, *request.query.negated_phrases, *request.query.unknown)
        held = any(cut(phrase, [text]) != phrase or phrase.casefold() == what for phrase in phrases)
        words = [text] * held
    liked = {} if kind == "likes" else request.liked
    if not gone and not words and liked == request.liked:
        raise InputError(f"nothing is asked of {text!r}. The query is: {request}")
    limits = tuple(c for c in request.limits if c not in gone)
    return replace(request, query=without(request.query, gone, words), limits=limits, liked=liked)


def _filter(constraint: Constraint) -> Filter | None:
    """The exact condition that a constraint becomes as a limit; None if there is none."""
    words, negated = constraint.words(), constraint.negated
    if isinstance(constraint, Tempo):
        return Filter(field="tempo_bpm", kind="number", text=words, negated=negated, low=constraint.low_bpm,
                      high=constraint.high_bpm)  # fmt: skip
    if isinstance(constraint, Duration):
        return Filter(field="duration_s", kind="number", text=words, negated=negated, low=constraint.low_s,
                      high=constraint.high_s)  # fmt: skip
    if isinstance(constraint, InKey):
        keys = tuple(str(key) for key in KEYS if constraint.fits(key))
        return Filter(field="key", kind="key", text=words, negated=negated, values=keys)
    if isinstance(constraint, Metre):
        return Filter(field="metre", kind="metre", text=words, negated=negated, values=constraint.metres)
    if isinstance(constraint, Presence) and not constraint.needs_timeline:
        name = _FIELDS.get(constraint.kind, constraint.kind)
        return Filter(field=name, kind="concept", text=words, negated=negated, values=(constraint.concept,))
    return None
