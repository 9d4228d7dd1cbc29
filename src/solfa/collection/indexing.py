"""One file becomes everything that is stored about it, in one decode. Runs in worker processes."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from solfa.analysis.analyze import Analyzer
from solfa.analysis.protocol import STRETCH_S, Extractor
from solfa.audio import ContentHash, Limits, read_tags, stretches
from solfa.collection.scan import FileSource
from solfa.collection.store import Space, TrackVectors
from solfa.core.errors import FileUnavailable
from solfa.core.types import Analysis, Audio, FileTags, JointModel
from solfa.encoders.windows import candidates, embed
from solfa.jobs import heartbeat, worker_threads
from solfa.weights import set_threads


@dataclass(frozen=True, slots=True)
class Needs:
    """What is still missing for a content."""

    analysis: bool = True
    vectors: bool = True

    def covers(self, other: "Needs") -> bool:
        """True if doing this does the other as well."""
        return self.analysis >= other.analysis and self.vectors >= other.vectors


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexTask:
    """A file to be indexed.

    ``known`` maps content hashes that this may turn out to be to what they still need; ``guess`` is done during the
    first decode. If the content turns out to need more, there is a second one.
    """

    path: str
    guess: Needs = Needs()
    known: dict[str, Needs] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class IndexedFile:
    """What came of a file; ``analysis`` and ``vectors`` are None where they were not needed."""

    path: str
    size: int
    mtime_ns: int
    hash: str
    duration_s: float
    tags: FileTags
    analysis: Analysis | None = None
    vectors: TrackVectors | None = None


class FileIndexer:
    """A job for an executor: ``IndexTask`` in, ``IndexedFile`` out. Models are made once for each worker.

    ``model`` and ``extractors`` are functions that can be pickled by name, so that every process makes its own; without
    a model nothing may need vectors. ``source`` is where the files are.
    """

    def __init__(
        self,
        model: Callable[[], JointModel] | None,
        extractors: Callable[[], Sequence[Extractor]],
        limits: Limits,
        source: FileSource | None = None,
    ) -> None:
        self._model, self._make_extractors, self._limits = model, extractors, limits
        self._source = source or FileSource()
        self._made: JointModel | None = None
        self._extractors: tuple[Extractor, ...] = ()

    def prepare(self) -> None:
        """Load the models."""
        threads = worker_threads()
        if threads is not None:
            set_threads(threads)
        self._made = self._model() if self._model else None
        self._extractors = tuple(self._make_extractors())

    def __call__(self, task: IndexTask) -> IndexedFile:
        """Everything about one file.

        Raises DecodeError if it cannot be read; FileUnavailable where it cannot be reached or changes while it is read.
        """
        before = self._source.state(task.path)
        with self._source.local(task.path, before[0], self._limits) as path:
            tags = read_tags(path)
            indexed = self._index(path, before, tags, task.guess)
            needs = task.known.get(indexed.hash, Needs(vectors=self._model is not None))
            if not task.guess.covers(needs):
                indexed = self._index(path, before, tags, needs)
        if self._source.state(task.path) != before:
            raise FileUnavailable(task.path, "changed while it was read")
        return replace(indexed, path=task.path)

    def _index(self, path: str, stat: tuple[int, int], tags: FileTags, needs: Needs) -> IndexedFile:
        content, end_s = ContentHash(), 0.0
        analyzer = Analyzer(self._extractors if needs.analysis else ())

        def analyzed() -> Iterator[Audio]:
            nonlocal end_s
            for audio in stretches(path, STRETCH_S, limits=self._limits, content=content):
                end_s = audio.start_s + audio.duration_s
                analyzer.observe(audio)
                yield audio
                heartbeat()

        vectors = None
        if needs.vectors:
            assert self._made is not None, "prepare() comes first, with a model"
            windows, space = embed(self._made, analyzed()), Space.of(self._made.audio.spec)
            vectors = TrackVectors.of(0, space, candidates(self._made.views, windows), windows)
        else:
            deque(analyzed(), maxlen=0)
        analysis = analyzer.conclude() if needs.analysis else None
        return IndexedFile(
            path=path,
            size=stat[0],
            mtime_ns=stat[1],
            hash=content.hex,
            duration_s=round(end_s, 3),
            tags=tags,
            analysis=analysis,
            vectors=vectors,
        )
