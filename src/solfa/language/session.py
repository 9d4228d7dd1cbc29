"""A search that goes on turn by turn: the query as it stands, operations that edit it, and what stood before.

Operations are data, so that sentences read by rule, a language model and a page drive the same session.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

import numpy as np

from solfa.constraints import LONGEST_S, Constraint, Duration, InKey, Metre, Presence, Tempo
from solfa.core.errors import InputError, SolfaError
from solfa.core.filters import Filter
from solfa.core.text import plain
from solfa.core.theory import KEYS
from solfa.language.edits import merged, replaces
from solfa.language.turns import KINDS, Operation, Relative, Seen, hit_numbers, read, relative
from solfa.query import Query, by_sound, is_measured, parse
from solfa.query.override import cut, without
from solfa.relevance.feedback import give
from solfa.retrieval import Display, Hit, Results, Searcher
from solfa.retrieval.like import like_track

_LIKE, _GOOD, _DISLIKE = 2.0, 1.0, -1.0  # beside 1 for a text, as in Rocchio's feedback
_FIELDS = {"genre": "style", "use": "mood"}  # of filters, where they are not called as the kinds of concepts
_MOST_OPERATIONS = 20
_FEW, _FEW_SHARE, _ABOVE = 20, 0.03, 1.03  # where so few tracks are as fast as "faster" asks, 3 % faster is enough


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A query, constraints that each hit must surely meet, hits by track with weights (below 0: to avoid), the page."""

    query: Query = field(default_factory=lambda: Query(text=""))
    limits: tuple[Constraint, ...] = ()
    liked: Mapping[int, tuple[Hit, float]] = field(default_factory=dict)
    page: int = 1

    @property
    def words(self) -> str:
        """What is asked, such as could be typed; without examples."""
        groups: dict[Any, list[str]] = {}
        for c in self.query.constraints:
            groups.setdefault(c.any_of or c, []).append(c.words() if c.negated else c.text)
        wanted, unwanted = ([p for p in own if not is_measured(p, self.query)] for own in by_sound(self.query))
        only = [f"only {c.words() if c.negated else c.text}" for c in self.limits]
        parts = [" or ".join(dict.fromkeys(own)) for own in groups.values()]
        return ", ".join(dict.fromkeys([*parts, *wanted, *(f"not {p}" for p in unwanted), *only]))

    def __str__(self) -> str:
        likes = [f"{'not ' * (w < 0)}like {h.tags.title or h.path.stem}" for h, w in self.liked.values()]
        return "; ".join(filter(None, (self.words, *likes))) or "nothing yet"


@dataclass(slots=True)
class Session:
    """A request, its answer, and what stood before; ``said`` are lines on the last turn: how words were read."""

    searcher: Searcher
    display: Display = field(default_factory=Display)
    request: Request = field(default_factory=Request)
    results: Results | None = None
    selected: tuple[int, ...] = ()
    said: tuple[str, ...] = ()
    _before: tuple[tuple[Request, Results | None, tuple[int, ...]], ...] = ()
    _judged: Collection[int] = ()  # tracks of which something was said in the last turn: "more like that"

    def say(self, text: str) -> Results | None:
        """Carry out a sentence, read by rule: a query at first, then edits of the query as it stands.

        Raises InputError, and changes nothing, if a part of it is not understood or cannot be carried out.
        """
        return self.apply(self.understood(text))

    def understood(self, text: str) -> list[Operation]:
        """The operations that ``say`` carries out."""
        page = 0 if self.request == Request() else self.request.page
        these = self.selected or [n for n in self.shown if self.hits([n])[0].track_id in self._judged]
        return read(text, Seen(self.shown, these, page, lambda what: forgotten(self.request, what) is not None))

    def edited(self, text: str) -> Request:
        """The request as a sentence would change it, read as an edit even of nothing: what it removes is then avoided.

        Raises InputError as ``say``.
        """
        request, said = self.request, list[str]()
        turn = read(text, Seen(self.shown, self.selected, 1, lambda what: True))
        for op in turn:
            gone = op.op in ("remove", "forget") and forgotten(request, op.text) is None
            request = self._edited(request, replace(op, op="avoid") if gone else op, turn, said)
        return request

    def apply(self, operations: Iterable[Operation | Mapping[str, Any]]) -> Results | None:
        """One turn: carry out operations, or JSON objects of their fields, in order; then search once.

        The hits, or None if nothing is asked any more. Raises InputError, and changes nothing, if one of them cannot be
        carried out or no track is left; SolfaError as ``Searcher.search`` does.
        """
        turn = [op if isinstance(op, Operation) else Operation.of(op) for op in operations]
        undos = len([*takewhile(lambda op: op.op == "undo", turn)])
        if not 1 <= len(turn) <= _MOST_OPERATIONS or any(op.op == "undo" for op in turn[undos:]):
            raise InputError(f"a turn has 1 to {_MOST_OPERATIONS} operations, and undo comes first.")
        before, request, results, said = self._before, self.request, self.results, list[str]()
        undone: tuple[int, ...] = ()
        if undos > len(before):
            raise InputError(f"only {len(before)} turns can be undone." if before else "nothing to undo.")
        for _ in range(undos):
            *rest, (request, results, kept) = before
            before, undone = tuple(rest), (*undone, *kept)
        for op in (op for op in turn if op.op != "undo"):
            request = self._edited(request, op, turn, said)
        if turn[-1].op != "undo":
            results = self._searched(request)
        judged = {h.track_id for op in turn if op.verdict for h in self.hits(op.hits)}
        given = self._feedback(turn, undone, said)
        if turn[-1].op != "undo":
            before = (*before, (self.request, self.results, given))
        self.request, self.results, self._before = request, results, before
        self.selected, self.said, self._judged = (), tuple(said), judged
        return results

    def select(self, numbers: str) -> Sequence[Hit]:
        """Choose the hits that ``hits`` gives, and "these" means, until the next turn."""
        chosen = self.hits(numbers)
        self.selected = hit_numbers(numbers, self.shown, ()) or ()
        return chosen

    @property
    def shown(self) -> range:
        """The numbers of the hits that are shown."""
        first = self.results.before + 1 if self.results else 1
        return range(first, first + len(self.results.hits if self.results else ()))

    def hits(self, numbers: str | Sequence[int] = "") -> Sequence[Hit]:
        """The hits with these numbers ("1 3", "the second"), else those that are selected, else all that are shown.

        Raises InputError if there is no such hit.
        """
        if isinstance(numbers, str) and numbers.strip():
            given, numbers = numbers, hit_numbers(numbers, self.shown, self.selected) or (-1,)
            if numbers == (-1,):
                raise InputError(f"not the number of a hit: {given!r}. Expected something like 2 or 1 3.")
        if self.results is None or not self.shown:
            raise InputError("no hits yet: ask for something first.")
        chosen = [int(n) for n in numbers or self.selected or self.shown]
        if wrong := [n for n in chosen if n not in self.shown]:
            raise InputError(f"no hit {wrong[0]}: shown are {self.shown[0]} to {self.shown[-1]}.")
        return [self.results.hits[n - self.shown[0]] for n in chosen]

    def state(self) -> dict[str, Any]:
        """The session as JSON (``solfa.session/1``): the query as it stands, part by part, and the hits' numbers."""
        asked, limits = self.request.query.constraints, self.request.limits
        wanted, unwanted = by_sound(self.request.query)
        value: dict[str, Any] = plain({
            "schema": "solfa.session/1", "asked": str(self.request), "said": self.said,
            "parts": [{"kind": c.label, "words": c.words(), "text": c.text, "only": i >= len(asked)}
                      for i, c in enumerate((*asked, *limits))],
            "phrases": wanted, "negated_phrases": unwanted, "page": self.request.page, "can_undo": bool(self._before),
            "liked": [{"track_id": i, "name": h.tags.title or h.path.stem, "weight": w}
                      for i, (h, w) in self.request.liked.items()],
            "shown": [[n, self.hits([n])[0].track_id] for n in self.shown],
        })  # fmt: skip
        return value

    def _edited(self, request: Request, op: Operation, turn: Sequence[Operation], said: list[str]) -> Request:
        if op.op == "page":
            return replace(request, page=op.page if op.page > 0 else request.page + 1)
        request = replace(request, page=1)
        if op.op in ("like", "dislike"):
            weight = _DISLIKE if op.op == "dislike" else _GOOD if op.verdict else _LIKE
            return replace(request, liked={**request.liked, **{h.track_id: (h, weight) for h in self.hits(op.hits)}})
        if op.op in ("forget", "remove"):
            if (left := forgotten(request, op.text)) is None:
                raise InputError(f"nothing is asked of {op.text!r}. The query is: {request}")
            return left
        how = relative(op.text) if op.op != "avoid" else None
        named = op.hits or (hit_numbers(how.hits, self.shown, self.selected) if how and how.hits else ())
        if how is not None and named is not None:
            liked = [n for other in turn if other.op == "like" for n in other.hits]
            stands = () if named or liked else (*request.query.constraints, *request.limits)
            compared = self._compared(how, self.hits(named or liked), stands)
            new = Query(text="", constraints=(replace(compared, text=compared.asked()),))
            said.append(f"'{op.text}' read as {compared.asked()}")
        elif (new := parse(op.text)).unknown or not (new.constraints or new.phrases or new.negated_phrases):
            raise InputError(f"not understood: {op.text!r}. {'. '.join(new.notes)}")
        if op.op == "avoid":
            away = tuple(replace(c, negated=True, any_of=0) for c in new.constraints)
            new = Query(text="", constraints=away, negated_phrases=(*new.negated_phrases, *new.phrases))
        again = {_bare(c) for c in request.query.constraints if not c.negated}  # what stands becomes a must
        sure = tuple(c for c in new.constraints if op.op == "limit" and _filter(c) is not None)
        new = replace(without(new, sure), constraints=tuple(
            replace(c, weight=2.0) if _bare(c) in again or op.op == "limit" else c
            for c in new.constraints if c not in sure))  # fmt: skip
        kept = [c for c in request.limits if not any(replaces(n, c) for n in (*new.constraints, *sure))]
        gone = [c for c in request.query.constraints if any(replaces(n, c) for n in sure)]
        query = merged(without(request.query, gone), new, by_kind=op.op == "set")
        return replace(request, query=query, limits=(*kept, *sure))

    def _compared(self, how: Relative, hits: Sequence[Hit], stands: Sequence[Constraint]) -> Constraint:
        """What "slower" or "in the key of 2" asks, against the measurements of hits and beyond a tempo that stands."""
        table = self.searcher.collection.attributes()
        rows = table.rows(np.array([hit.track_id for hit in hits], np.int64))
        low, high = how.between
        if how.kind == "duration":
            middle = float(np.median([hit.duration_s for hit in hits]))
            return Duration(text="", low_s=round(middle * low), high_s=round(min(middle * high, LONGEST_S)))
        if how.kind == "tempo" and not np.isnan(tempi := table.column("tempo_bpm")[rows, 0]).all():
            middle, every = float(np.nanmedian(tempi)), table.column("tempo_bpm")[:, 0]
            for asked in (c for c in stands if isinstance(c, Tempo) and not c.negated):
                middle = min(middle, asked.high_bpm) if low + high < 2 else max(middle, asked.low_bpm)
            bounds = np.clip(middle * np.array([low, high]) + how.plus_bpm, 20, 400).round()
            if ((every >= bounds[0]) & (every <= bounds[1])).sum() < max(_FEW, _FEW_SHARE * len(every)):
                low, high = (min(low, _ABOVE), high) if low > 1 else (low, max(high, 1 / _ABOVE) if high < 1 else high)
                bounds = np.clip(middle * np.array([low, high]) + how.plus_bpm, 20, 400).round()
            return Tempo(text="", low_bpm=float(bounds[0]), high_bpm=float(bounds[1]))
        if how.kind == "key" and (number := int(table.column("key")[rows[0], 0])) >= 0:
            return InKey(text="", tonic=KEYS[number].tonic, mode=KEYS[number].mode)
        if how.kind == "metre" and (metre := "{}/{}".format(*table.column("metre")[rows[0], 0].tolist())) != "0/0":
            return Metre(text="", metres=(metre,))
        raise InputError(f"the {how.kind} of these hits could not be measured.")

    def _searched(self, request: Request) -> Results | None:
        if not (request.words or request.liked):
            return None
        likes = []
        for hit, weight in request.liked.values():  # what was called good stays where the person saw it
            like = like_track(self.searcher, hit.track_id, hit.start_s, hit.end_s)
            likes.append(replace(like, weight=weight, track_id=None if weight == _GOOD else hit.track_id))
        where = [limit for c in request.limits if (limit := _filter(c)) is not None]
        display = replace(self.display, page=request.page)
        found = self.searcher.search(request.query, where=where, like=likes, display=display)
        if not found.hits and (request.page > 1 or request.limits != self.request.limits):
            raise InputError(found.note if request.page > 1 else f"no track is left with {request.words!r}.")
        old = (*self.request.query.phrases, *self.request.query.negated_phrases, *request.query.unknown)
        strange = [repr(p) for p in found.query.unknown if all(cut(said, [p]) == said for said in old)]
        named = any(e.constraint == "name" and e.satisfied for hit in found.hits for e in hit.evidence)
        if strange and not named and self.request != Request():
            raise InputError(f"not understood: {', '.join(strange)}.")
        return found

    def _feedback(self, turn: Sequence[Operation], undone: Sequence[int], said: list[str]) -> tuple[int, ...]:
        """Keep verdicts as feedback on what was asked when they were given, and take back those that are undone."""
        collection, kept = self.searcher.collection, list[int]()
        try:
            if undone:
                collection.change_verdicts((), undone)
            for op in (op for op in turn if op.verdict and op.op in ("like", "dislike")):
                tracks = [f"track:{hit.track_id}" for hit in self.hits(op.hits)]
                new, notes = give(collection, tracks, op.op == "like", query=self.request.words)
                kept += [verdict.id for verdict in new]
                said += [f"kept as feedback: {len(new)} {'good' if op.op == 'like' else 'bad'}"] * bool(new) + notes
        except SolfaError as error:
            said.append(f"feedback was not changed: {error}")
        return tuple(kept)


def _bare(constraint: Constraint) -> Constraint:
    return replace(constraint, text="", weight=1.0, any_of=0)


def forgotten(request: Request, text: str) -> Request | None:
    """The request without a kind of constraint, or without what these words ask; None if nothing of it stands."""
    what, query = text.casefold().strip(), request.query
    kind = next((kind for kind, names in KINDS.items() if what == kind or what in names), "")
    if kind == "everything":
        return Request()
    if kind == "likes":
        return replace(request, liked={}) if request.liked else None
    every, words = (*query.constraints, *request.limits), list[str]()
    gone = [c for c in every if c.label == kind or (kind == "limits" and c in request.limits)]
    if not gone and what:
        asked = {replace(_bare(c), negated=False) for c in parse(text).constraints}
        concepts = {c.concept for c in asked if isinstance(c, Presence)}
        gone = [c for c in every if replace(_bare(c), negated=False) in asked or c.text.casefold() == what
                or (isinstance(c, Presence) and c.concept in concepts)]  # fmt: skip
        phrases = (*query.phrases, *query.negated_phrases, *query.unknown)
        words = [text] * any(cut(phrase, [text]) != phrase for phrase in phrases)
    limits = tuple(c for c in request.limits if c not in gone)
    return replace(request, query=without(query, gone, words), limits=limits) if gone or words else None


def _filter(constraint: Constraint) -> Filter | None:
    """The exact condition that a constraint becomes as a limit; None if there is none."""
    values: dict[str, Any]
    match constraint:
        case Tempo():
            values = {"field": "tempo_bpm", "kind": "number", "low": constraint.low_bpm, "high": constraint.high_bpm}
        case Duration():
            values = {"field": "duration_s", "kind": "number", "low": constraint.low_s, "high": constraint.high_s}
        case InKey():
            values = {"field": "key", "kind": "key", "values": tuple(str(k) for k in KEYS if constraint.fits(k))}
        case Metre():
            values = {"field": "metre", "kind": "metre", "values": constraint.metres}
        case Presence() if not constraint.needs_timeline:
            name = _FIELDS.get(constraint.kind, constraint.kind)
            values = {"field": name, "kind": "concept", "values": (constraint.concept,)}
        case _:
            return None
    return None if constraint.any_of else Filter(text=constraint.words(), negated=constraint.negated, **values)
