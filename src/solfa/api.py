"""The two things to do with a collection, in one call each; the command line calls the same."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from pathlib import Path

from solfa.analysis.registry import extractors as make_extractors
from solfa.collection import AddReport, Collection, Progress
from solfa.collection.scan import FileSource
from solfa.core.registry import absolute
from solfa.core.types import JointModel, ViewName
from solfa.encoders.registry import load_model
from solfa.jobs import Executor
from solfa.query import Query, parse, parse_where
from solfa.relevance.head import headed
from solfa.relevance.learn import preference_of
from solfa.retrieval import Display, RankBy, Results, Searcher, like_example

DEFAULT_MODEL = "solfa-1"


def index(
    collection: Collection,
    paths: Iterable[Path | str],
    *,
    model: str | None = None,
    extractors: Sequence[str] | None = None,
    executor: Executor | None = None,
    source: FileSource | None = None,
    progress: Callable[[Progress], None] | None = None,
    retry_failed: bool = False,
    allow_noncommercial: bool = False,
) -> AddReport:
    """What was done to bring a collection in step with files and folders. Safe to stop and call again.

    - ``collection``: an open collection
    - ``paths``: files, and folders to search
    - ``model``: name of a joint model (``solfa models list``); None: the one that the collection was last indexed with,
      at first ``solfa-1``. It is remembered: a search takes it too
    - ``extractors``: names of analysis tools; the permissive defaults when None
    - ``executor``: who does the work (``solfa.jobs``); this process when None
    - ``source``: where the files are (``solfa.cluster.sources`` for URLs); this machine when None
    - ``progress``: called after each file is committed
    - ``retry_failed``: also files that failed before and have not changed
    - ``allow_noncommercial``: must be True for weights that may not be used commercially

    Raises SolfaError as ``Collection.add`` and ``load_model`` do.
    """
    name, allowed = resolve_model(collection, model, allow_noncommercial)
    report = collection.add(
        paths,
        model=partial(load_model, name, allow_noncommercial=allowed),
        model_name=name,
        allow_noncommercial=allowed,
        extractors=partial(make_extractors, extractors),
        executor=executor,
        source=source,
        progress=progress,
        retry_failed=retry_failed,
    )
    if (head := collection.head()) is not None and head.space != head.base:
        made_by = load_model(name, allow_noncommercial=allowed)
        if made_by.space == head.base:
            collection.install_head(head, made_by.views)  # what is new or changed
    return report


def search(
    collection: Collection,
    query: str | Query = "",
    *,
    where: Sequence[str] = (),
    like: Sequence[str] = (),
    k: int = 10,
    per_artist: int = 0,
    duplicates: bool = False,
    page: int = 1,
    sort: str = "score",
    model: str | None = None,
    allow_noncommercial: bool = False,
    view: ViewName | None = None,
    by: RankBy = "search",
) -> Results:
    """Ranked hits with evidence. For many queries make one ``solfa.retrieval.Searcher`` and keep it.

    - ``collection``: an open collection
    - ``query``: free text, or a parsed (and perhaps overridden) query
    - ``where``: exact filters, such as ``"tempo_bpm=90..110"``
    - ``like``: example sounds, ``FILE`` or ``FILE@0:30-0:50``
    - ``k``: how many hits, at least 1
    - ``per_artist``: at most so many hits by one artist; 0: no limit
    - ``duplicates``: show every copy of a recording
    - ``page``: which k hits, counted from 1
    - ``sort``: what the hits of the page are ordered by: a name of ``solfa.core.filters.SORTS``, turned round after a
      ``-``
    - ``model``: the model whose vectors to search; None: the one that the collection was last indexed with
    - ``allow_noncommercial``: must be True for weights that may not be used commercially (unless the collection was
      indexed so)
    - ``view``: ``global``, ``frame`` or ``mix``: how sound and text are scored; None: as the model is made to rank
    - ``by``: what orders the hits: all evidence (``search``), or the model's view of the whole text alone (``vectors``)

    Raises InputError if there is nothing to search for, or a filter or example cannot be read; SpaceMismatch if the
    collection has no vectors of the model.
    """
    parsed = read_query(query) if isinstance(query, str) else query
    filters = [parse_where(expression) for expression in where]
    searcher = open_searcher(collection, model, allow_noncommercial=allow_noncommercial, view=view)
    examples = [like_example(searcher, text) for text in like]
    return searcher.search(
        parsed, where=filters, like=examples, by=by,
        display=Display(k=k, per_artist=per_artist, duplicates=duplicates, page=page, sort=sort),
    )  # fmt: skip


def open_searcher(
    collection: Collection,
    model: str | None = None,
    *,
    allow_noncommercial: bool = False,
    view: ViewName | None = None,
    loaded: Callable[[str, bool], JointModel] | None = None,
) -> Searcher:
    """A searcher for many queries; arguments as ``search`` takes them. The model is loaded when it is first needed, by
    ``loaded``, of its name and whether non-commercial weights are allowed, for those who keep it.
    """
    name, allowed = resolve_model(collection, model, allow_noncommercial)
    make = partial(loaded, name, allowed) if loaded else partial(load_model, name, allow_noncommercial=allowed)
    load, head = cache(make), collection.head()
    if head is None or load().space != head.base:  # what was learnt for another model says nothing of this one's order
        return Searcher(collection, load, view)
    weights = preference_of(head)
    prefer = None if weights is None else weights.preferring(collection.attributes())
    said = ("ordered also by what was learnt (undo: solfa learn --remove)",)
    return Searcher(collection, lambda: headed(load(), head), view, prefer, said)


def resolve_model(collection: Collection | None, model: str | None, allow_noncommercial: bool) -> tuple[str, bool]:
    """The model to use, by a name that holds in any directory, and whether non-commercial weights are allowed.

    Of a ``model`` that is None it is the one that the collection was last indexed with, or ``DEFAULT_MODEL``.
    """
    if model is not None:
        return absolute(model), allow_noncommercial
    remembered = None if collection is None else collection.remembered_model()
    name, allowed = remembered or (DEFAULT_MODEL, False)
    return name, allowed or allow_noncommercial


def read_query(text: str) -> Query:
    """The parsed text; an empty one is a query without requirements, for filters or examples alone.

    Raises InputError if the text is too long.
    """
    return parse(text) if text.strip() else Query(text="")
