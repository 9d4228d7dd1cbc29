"""A query that is refined turn by turn: the state and what can be done to it, without a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from solfa.api import read_query
from solfa.core.errors import InputError
from solfa.query import Query, override
from solfa.retrieval import Display, Hit, Like, Results, Searcher, like_example


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is asked: wanted parts, unwanted parts, dropped words, example files, and the page."""

    wanted: tuple[str, ...] = ()
    avoided: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    page: int = 1

    def __str__(self) -> str:
        parts = [", ".join(self.wanted), *(f"- {text}" for text in self.avoided)]
        parts += [*(f"drop {text}" for text in self.dropped), *(f"like {text}" for text in self.examples)]
        return "  ".join(filter(None, parts)) or "nothing yet"

    def query(self) -> Query:
        """The request as the parser reads it; raises InputError where a part cannot be read."""
        return override(read_query(", ".join(self.wanted)), avoid=self.avoided, drop=self.dropped)


@dataclass(slots=True)
class Session:
    """A request, its answer, and what was asked before. A refinement that cannot be answered changes nothing."""

    searcher: Searcher
    display: Display = field(default_factory=Display)
    request: Request = field(default_factory=Request)
    results: Results | None = None
    selected: tuple[int, ...] = ()
    _before: list[tuple[Request, Results | None]] = field(default_factory=list)
    _examples: dict[str, Like] = field(default_factory=dict)  # read once, however often the query is refined

    def ask(self, text: str) -> Results:
        """Begin with a new query."""
        return self._search(Request(wanted=(text,)))

    def add(self, text: str) -> Results:
        """Ask for something more."""
        return self._refine(wanted=(*self.request.wanted, text))

    def avoid(self, text: str) -> Results:
        """Ask for something not to be there."""
        return self._refine(avoided=(*self.request.avoided, text))

    def drop(self, text: str) -> Results:
        """Take back a part of the request: one that was added, or words of the query."""
        asked, avoided = self.request.wanted, self.request.avoided
        if text not in (*asked[1:], *avoided):
            return self._refine(dropped=(*self.request.dropped, text))
        wanted = (*asked[:1], *(t for t in asked[1:] if t != text))
        return self._refine(wanted=wanted, avoided=tuple(t for t in avoided if t != text))

    def like(self, numbers: str) -> Results:
        """Ask for more that sounds like the best places of hits."""
        examples = [f"{h.path}@{h.start_s:.2f}-{h.end_s:.2f}" for h in self.hits(numbers)]
        return self._refine(examples=(*self.request.examples, *examples))

    def more(self) -> Results:
        """The next page; raises InputError if there is none."""
        return self._refine(page=self.request.page + 1)

    def undo(self) -> Results | None:
        """Back to the request before this one.

        Raises InputError if there is none.
        """
        if not self._before:
            raise InputError("nothing to undo.")
        self.request, self.results = self._before.pop()
        self.selected = ()
        return self.results

    def select(self, numbers: str) -> Sequence[Hit]:
        """Choose hits for ``play`` and ``playlist``."""
        chosen = self.hits(numbers)
        self.selected = tuple(dict.fromkeys(map(int, numbers.replace(",", " ").split())))
        return chosen

    def hits(self, numbers: str = "") -> Sequence[Hit]:
        """The hits with these numbers ("1 3"), else those that are selected, else all that are shown.

        Raises InputError if there is no such hit.
        """
        shown = self.results.hits if self.results else ()
        first = self.results.before + 1 if self.results else 1
        words = numbers.replace(",", " ").split()
        if not all(word.isascii() and word.isdigit() for word in words):
            raise InputError(f"not the number of a hit: {numbers!r}. Expected something like 2 or 1 3.")
        chosen = [int(word) for word in words] or list(self.selected)
        wrong = [number for number in chosen if not first <= number < first + len(shown)]
        if wrong or not shown:
            there = f"shown are {first} to {first + len(shown) - 1}" if shown else "none are shown"
            raise InputError(f"no hit {wrong[0]}: {there}." if wrong else "no hits yet: ask for something first.")
        return [shown[number - first] for number in chosen] if chosen else shown

    def _refine(self, **changes: Any) -> Results:
        return self._search(replace(self.request, **{"page": 1, **changes}))

    def _search(self, request: Request) -> Results:
        query = request.query()
        for text in request.examples:
            if text not in self._examples:
                self._examples[text] = like_example(self.searcher, text)
        examples = [self._examples[text] for text in request.examples]
        found = self.searcher.search(query, like=examples, display=replace(self.display, page=request.page))
        if request.page > 1 and not found.hits:
            raise InputError(found.note)
        self._before.append((self.request, self.results))
        self.request, self.results, self.selected = request, found, ()
        return found
