"""Batches in a seeded random order, made ahead of time by threads, resumable at any step.

Order
-----
Each epoch is one permutation of all clips, drawn from (seed, epoch). Shards are read at any place through their index,
so a full permutation costs what a shuffle buffer costs, mixes better (a buffer keeps neighbours of a shard together),
and its state is two numbers instead of the content of a buffer. Step by step, ``world_size`` ranks take neighbouring
pieces of ``batch_size`` clips: together they see what one process with the whole batch would, and no clip twice.
The position counts clips of all ranks: a run may go on with another number of ranks.

Chance inside a batch (which caption, where to cut) is drawn from (seed, epoch, position, rank), so a resumed run sees
the same batches to the bit, whatever the number of threads.

Threads, not processes: decoders, resamplers and copies of arrays let go of the interpreter lock, and a batch need not
be sent anywhere (``benchmarks/loading.py`` has the figures). numpy only; ``torch.from_numpy`` takes what comes out.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from solfa.audio import at_rate
from solfa.core.clip import Clip, Phrase
from solfa.core.errors import InputError
from solfa.core.types import FloatArray, Rng
from solfa.datasets.shards import Clips

IntArray = NDArray[np.int64]
_SHORTEST_CUT_S = 0.1
T = TypeVar("T")
J = TypeVar("J")
B = TypeVar("B", covariant=True)


class BatchSource(Protocol[B]):
    """What batches are made of."""

    def __len__(self) -> int:
        """How many clips there are."""

    def gather(self, rows: IntArray, rng: Rng) -> B:
        """The batch of these clips [shape=(B,)]; a pure function of both, called from several threads."""


def prefetched(make: Callable[[J], T], jobs: Iterable[J], *, workers: int, depth: int) -> Generator[T]:
    """``map(make, jobs)`` in order, with up to ``depth`` results made ahead by ``workers`` threads (0: none)."""
    if workers == 0:
        yield from map(make, jobs)
        return
    pending: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="solfa-loader")
    try:
        for job in jobs:
            pending.append(pool.submit(make, job))
            if len(pending) > depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class Loader(Generic[B]):
    """Iterating gives the rest of the current epoch; iterating again gives the next one.

    Process ``rank`` of ``world_size`` takes batches of ``batch_size`` clips; ``seed`` decides order and draws, and
    without ``shuffle`` clips come in order, for evaluation. ``workers`` threads make batches (0: made when they are
    asked for), of which ``prefetch`` are ready or in the making.

    Where the source is several data sets one after the other, ``shares`` say how many clips each has, and its
    weight. An epoch is as long as without, and has as many clips of each as its share says, spread evenly over the
    batches; each data set is gone through again and again, in a new order, from one epoch into the next.

    With ``lengths_N``, ``bucket`` batches (of all ranks) that follow each other are sorted by length together, so
    that little is padded, and the batches of an epoch are shuffled; 1 leaves batches as they are drawn. With more,
    a state goes on only with the same batch size times ranks. ``drop_last`` leaves out the clips at the end of an
    epoch that do not fill a batch on every rank; without it the last batches are smaller, and ranks may have
    unequal numbers of them. Raises InputError if a number is out of range, or no batch can be filled.
    """

    def __init__(
        self, source: BatchSource[B], *, batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1,
        shuffle: bool = True, shares: Sequence[tuple[int, float]] = (), lengths_N: IntArray | None = None,
        bucket: int = 1, drop_last: bool = True, workers: int = 2, prefetch: int = 4,
    ) -> None:  # fmt: skip
        if batch_size < 1 or not 0 <= rank < world_size or workers < 0 or prefetch < 1 or seed < 0:
            raise InputError(
                f"loader: got batch_size {batch_size}, rank {rank} of {world_size}, workers {workers}, prefetch "
                f"{prefetch}, seed {seed}; expected positive sizes, rank below world_size, the others not negative."
            )
        if len(source) < (batch_size * world_size if drop_last else 1):
            raise InputError(
                f"loader: {len(source)} clips do not fill one batch of {batch_size} on {world_size} ranks. "
                f"Take a smaller batch."
            )
        weights = [weight for _, weight in shares]
        if shares and not (
            sum(count for count, _ in shares) == len(source) and sum(weights) > 0 and min(weights) >= 0
            and min(count for count, _ in shares) > 0 and sum(weights) < np.inf
        ):  # fmt: skip
            raise InputError(f"loader: shares {list(shares)} of {len(source)} clips; expected weights above 0.")
        self._source, self._batch_size, self._seed, self._shares = source, batch_size, seed, tuple(shares)
        self._lengths_N, self._bucket = lengths_N, bucket
        self._rank, self._world_size, self._shuffle, self._drop_last = rank, world_size, shuffle, drop_last
        self._workers, self._prefetch = workers, prefetch
        self._epoch = self._position = 0

    @property
    def state(self) -> dict[str, int]:
        """Where the next batch is: plain JSON, the same on all ranks. As of the batch that was given out last."""
        clips = len(self._source)
        return {"seed": self._seed, "clips": clips, "epoch": self._epoch, "position": self._position}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken. Raises InputError if it is of another seed or of other data."""
        for name in ("seed", "clips"):
            if state.get(name) != self.state[name]:
                raise InputError(f"the loader's state is of {name} {state.get(name)}, this one has {self.state[name]}.")
        epoch, position = state.get("epoch"), state.get("position")
        if not (
            isinstance(epoch, int) and isinstance(position, int) and 0 <= position < len(self._source) and epoch >= 0
        ):
            raise InputError(f"the loader's state has epoch {epoch!r} and position {position!r}; expected counts.")
        self._epoch, self._position = epoch, position

    def __len__(self) -> int:
        """Batches of a whole epoch on this rank."""
        return len(range(0, self._end(), self._batch_size * self._world_size))

    def __iter__(self) -> Iterator[B]:
        epoch, step, end = self._epoch, self._batch_size * self._world_size, self._end()
        rows = self._bucketed(self._order(epoch), epoch)

        def make(position: int) -> B:
            first = position + self._rank * self._batch_size
            rng = np.random.default_rng([self._seed, epoch, position, self._rank])
            return self._source.gather(rows[first : first + self._batch_size], rng)

        positions = range(self._position, end, step)
        if len(positions) == 0:  # resumed with a larger batch than is left
            self._epoch, self._position = epoch + 1, 0
        mine = [p for p in positions if p + self._rank * self._batch_size < len(rows)]
        with closing(prefetched(make, mine, workers=self._workers, depth=self._prefetch)) as batches:
            for position, batch in zip(mine, batches, strict=True):
                last = position + step >= end
                self._epoch, self._position = (epoch + 1, 0) if last else (epoch, position + step)
                yield batch
        self._epoch, self._position = epoch + 1, 0

    def _order(self, epoch: int) -> IntArray:
        rng = np.random.default_rng([self._seed, epoch])
        if not self._shuffle:
            return np.arange(len(self._source))
        if not self._shares:
            return rng.permutation(len(self._source))
        total, first, taken = sum(weight for _, weight in self._shares), 0, 0.0
        rows, places = [], []
        for number, (count, weight) in enumerate(self._shares):
            start, taken = taken, taken + weight
            wanted = round(taken / total * len(self._source)) - round(start / total * len(self._source))
            begin = epoch * wanted
            passes = range(begin // count, -(-(begin + wanted) // count))
            orders = [np.random.default_rng([self._seed, number, p]).permutation(count) for p in passes]
            stream = np.concatenate([np.zeros(0, np.int64), *orders])[begin % count :][:wanted]
            rows.append(stream + first)
            places.append((np.arange(wanted) + rng.random(wanted)) / max(wanted, 1))
            first += count
        return np.concatenate(rows)[np.argsort(np.concatenate(places), kind="stable")]

    def _bucketed(self, rows: IntArray, epoch: int) -> IntArray:
        step = self._batch_size * self._world_size
        if self._lengths_N is None or self._bucket == 1 or not self._shuffle:
            return rows
        full, size = len(rows) // step * step, step * self._bucket
        parts = [rows[at : min(at + size, full)] for at in range(0, full, size)]
        ordered = [part[np.argsort(self._lengths_N[part], kind="stable")] for part in parts]
        batches = np.concatenate([rows[:0], *ordered]).reshape(-1, step)
        order = np.random.default_rng([self._seed, epoch, len(rows)]).permutation(len(batches))
        return np.concatenate([batches[order].ravel(), rows[full:]])

    def _end(self) -> int:
        # The first position at which no batch begins; after resuming with another batch size it may be between two.
        step = self._batch_size * self._world_size
        return len(self._source) - step + 1 if self._drop_last else len(self._source)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class AudioBatch:
    """Cuts of some clips.

    ``samples_BN`` float32, zero beyond each clip's own ``num_samples_B``; ``starts_s_B`` says where in its clip each
    cut begins, and ``phrases`` are those of the record as far as they are in the cut, in its own time.
    """

    records: tuple[Clip, ...]
    samples_BN: FloatArray
    num_samples_B: IntArray
    starts_s_B: NDArray[np.float64]
    phrases: tuple[tuple[Phrase, ...], ...]
    sample_rate_hz: int


class AudioSource:
    """Cuts of fixed length, at random places, of clips of any length and sample rate.

    ``records`` are of one split (``Dataset.split``), or several joined; cuts last ``crop_s``, shorter clips are
    filled with silence.
    """

    def __init__(self, records: Clips, *, crop_s: float, sample_rate_hz: int) -> None:
        self.records, self.crop_s, self.sample_rate_hz = records, crop_s, sample_rate_hz

    def __len__(self) -> int:
        return len(self.records)

    def gather(self, rows: IntArray, rng: Rng) -> AudioBatch:
        """Decode, resample, cut. Raises InputError or DecodeError if a shard is damaged."""
        size = round(self.crop_s * self.sample_rate_hz)
        samples = np.zeros((len(rows), size), np.float32)
        lengths, starts = np.zeros(len(rows), np.int64), np.zeros(len(rows))
        records = []
        for i, (row, where) in enumerate(zip(rows.tolist(), rng.random(len(rows)), strict=True)):
            record = self.records[row]
            audio = at_rate(self.records.shard_at(row).audio(record), self.sample_rate_hz)
            start = int(where * (max(0, len(audio.samples) - size) + 1))
            cut = audio.samples[start : start + size]
            samples[i, : len(cut)], lengths[i], starts[i] = cut, len(cut), start / self.sample_rate_hz
            records.append(record)
        cut_phrases = [cropped(r.phrases, s, self.crop_s) for r, s in zip(records, starts.tolist(), strict=True)]
        return AudioBatch(
            records=tuple(records), samples_BN=samples, num_samples_B=lengths, starts_s_B=starts,
            phrases=tuple(cut_phrases), sample_rate_hz=self.sample_rate_hz,
        )  # fmt: skip


def cropped(phrases: Iterable[Phrase], start_s: float, length_s: float) -> tuple[Phrase, ...]:
    """The phrases as far as they are between ``start_s`` and ``length_s`` later, times from there.

    Of a span that is cut, less than a tenth of a second is left out.

    >>> cropped([Phrase(text="solo", spans_s=((0.0, 1.0), (2.0, 6.0)))], 1.5, 3.0)
    (Phrase(text='solo', spans_s=((0.5, 3.0),)),)
    """
    out = []
    for phrase in phrases:
        moved = [((max(a - start_s, 0.0), min(b - start_s, length_s)), b - a) for a, b in phrase.spans_s]
        spans = tuple(span for span, whole in moved if span[1] - span[0] >= min(whole - 1e-9, _SHORTEST_CUT_S))
        if spans:
            out.append(Phrase(text=phrase.text, spans_s=spans))
    return tuple(out)
