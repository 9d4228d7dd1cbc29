"""States of frozen backbones, computed once and kept on disk: what projectors are trained on.

A cache is a folder of ``SPACE/KEY/`` blocks (``datasets.blocks``). SPACE names the backbone (``spec.space``), KEY the
content: the sound of a shard, its records, or a list of texts. So a second run computes nothing, a changed shard is
computed alone, and states of two backbones never meet. Texts (captions and phrases) are kept once for each shard.
Blocks do not depend on each other: processes share them out by number, and the cache of eight is to the byte that of
one.

A batch is copied straight from memory maps into the arrays that are handed out, its pages asked for beforehand (half
the processor time of reading files). float16 remains float16: converting takes numpy some 15 times as long as copying,
and the accelerator does it for nothing.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from filelock import FileLock, Timeout

from solfa.audio import at_rate
from solfa.core.clip import Clip, Phrase
from solfa.core.errors import InputError, UnknownName, WeightsError
from solfa.core.types import Audio, Backbone, BoolArray, FloatArray, HalfArray, States
from solfa.datasets.blocks import Block, write_block
from solfa.datasets.loading import IntArray, prefetched
from solfa.datasets.shards import Clips, Shard
from solfa.jobs.processes import cores

Precision = Literal["float32", "tf32", "bfloat16"]
X = TypeVar("X")


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class FeatureBatch:
    """States of some clips and of one caption of each, and the timed phrases of each.

    ``ids`` [shape=(B,)] of the clips; ``audio`` and ``text`` are float16 states of the sound and of the caption that
    was drawn (None of a live side), which ``captions`` has ("" where a clip has none, and no text row). States of
    ``phrases`` are had from ``FrozenFeatures.texts``.
    """

    ids: tuple[str, ...]
    audio: States | None
    text: States | None
    captions: tuple[str, ...]
    phrases: tuple[tuple[Phrase, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Computed:
    """What a run of ``compute`` did: blocks made by this process, blocks that were there or are another's."""

    made: int
    kept: int


class _InPrecision(Generic[X]):
    def __init__(self, backbone: Any, precision: Precision) -> None:
        self._backbone, self._precision = backbone, precision
        self.spec = replace(backbone.spec, space=f"{backbone.spec.space}/{precision}")

    def states(self, batch: Sequence[X]) -> States:
        import torch

        before = torch.get_float32_matmul_precision()  # convolutions on CUDA are in TF32 unless it is forbidden
        try:
            torch.set_float32_matmul_precision("high" if self._precision == "tf32" else before)
            with torch.autocast(self._backbone.device.type, torch.bfloat16, enabled=self._precision == "bfloat16"):
                found: States = self._backbone.states(batch)
        finally:
            torch.set_float32_matmul_precision(before)
        return found


def in_precision(backbone: Backbone[X], precision: Precision) -> Backbone[X]:
    """A backbone on torch that computes in TF32 (CUDA only) or, by autocast, in bfloat16; others remain as they are.

    Its ``spec.space`` ends with the precision, so that a cache never mixes two. Raises InputError if TF32 is asked for
    on another device than CUDA.
    """
    device = getattr(backbone, "device", None)
    if precision == "float32" or getattr(device, "type", None) is None:
        return backbone
    if precision == "tf32" and device.type != "cuda":  # type: ignore[union-attr]
        raise InputError(f"{backbone.spec.name} runs on {device}, TF32 is of CUDA devices. Take bfloat16 or float32.")
    return _InPrecision(backbone, precision)


def compute(
    folder: Path | str,
    records: Clips,
    *,
    audio: Backbone[Audio] | None,
    text: Backbone[str] | None,
    texts: Sequence[str] = (),
    batch_size: int = 16,
    rank: int = 0,
    world_size: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Computed:
    """Compute the states that the cache does not hold yet; a stopped run goes on at the block where it was.

    Sound is decoded and resampled by threads while the backbone computes. A side whose backbone is None is left out.

    ``folder`` is the cache's; one serves any number of data sets and backbones. ``texts`` are more than the records
    have, such as a phrase bank; clips of like length share a batch of ``batch_size``. Of ``world_size`` processes,
    number ``rank`` makes every ``world_size``-th block and returns when its own are done; ``progress`` is called
    with the blocks that it has done and all that it does (two for each shard, one for ``texts``). Raises InputError
    if states cannot be held in float16 or are not as wide as the backbone says, another process is at it, or the disk
    refuses; DecodeError if a clip cannot be decoded.
    """
    folder = Path(folder)
    if not 0 <= rank < world_size:
        raise InputError(f"rank {rank} of {world_size}: expected a number from 0 to {world_size - 1}.")
    # Texts come first: they take less time until a model's files are missed. They are dealt from the other end, so that
    # of a single shard one process has the texts and another the sound.
    spoken, sounds = _jobs(folder, records, audio, text, texts, batch_size, max(1, cores() // world_size))
    jobs = [*spoken.items()][world_size - 1 - rank :: world_size] + [*sounds.items()][rank::world_size]
    missing = {block: write for block, write in jobs if not block.is_dir()}
    if missing:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / (f".lock-{rank}" if rank else ".lock"), timeout=0):
                for number, (block, write) in enumerate(missing.items()):
                    progress(len(jobs) - len(missing) + number, len(jobs))
                    if not block.is_dir():  # made by another process since
                        write(block)
        except Timeout as busy:
            raise InputError(f"{folder}: another process is computing into this cache; wait for it.") from busy
        except OSError as bad:
            raise InputError(
                f"states cannot be kept in {folder}: {bad.strerror or bad}. Choose another folder (--features)."
            ) from bad
    progress(len(jobs), len(jobs))
    return Computed(made=len(missing), kept=len(jobs) - len(missing))


_Jobs = dict[Path, Callable[[Path], None]]


def _jobs(
    folder: Path, records: Clips, audio: Backbone[Audio] | None, text: Backbone[str] | None, texts: Sequence[str],
    size: int, threads: int,
) -> tuple[_Jobs, _Jobs]:  # fmt: skip
    spoken, sounds = _Jobs(), _Jobs()
    for shard in records.shards:
        if text is not None:
            place = _block(folder, text.spec.space, shard.index.records_sha256)
            spoken[place] = partial(_write_texts, partial(_said, shard), text, size)
        if audio is not None:
            place = _block(folder, audio.spec.space, shard.index.audio_sha256)
            sounds[place] = partial(_write_audio, shard, audio, size, threads)
    if texts and text is not None:
        bank = partial(_write_texts, lambda: _once(texts), text, size)
        spoken[_block(folder, text.spec.space, _hash_of(texts))] = bank
    return spoken, sounds


def _block(folder: Path, space: str, key: str) -> Path:
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", space).strip(".-")[:60]
    return folder / f"{readable}-{hashlib.sha256(space.encode()).hexdigest()[:8]}" / key[:32]


def _once(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _hash_of(texts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(_once(texts)).encode()).hexdigest()


def _said(shard: Shard) -> list[str]:
    """Every text of a shard once."""
    records = map(shard.record, shard.index.members)
    return _once(text for r in records for text in (*r.captions, *(p.text for p in r.phrases)))


def _write_audio(shard: Shard, backbone: Backbone[Audio], batch_size: int, threads: int, block: Path) -> None:
    clips = sorted(map(shard.record, shard.index.members), key=lambda record: record.duration_s)
    parts = [clips[at : at + batch_size] for at in range(0, len(clips), batch_size)]

    def decoded(part: Sequence[Clip]) -> list[Audio]:
        sounds = [shard.audio(record) for record in part]
        for sound in sounds:
            at_rate(sound, backbone.spec.sample_rate_hz)  # the sound keeps it for the backbone
        return sounds

    sounds = prefetched(decoded, parts, workers=threads, depth=threads)

    def states() -> Iterator[States]:
        for part, own in zip(parts, sounds, strict=True):
            try:
                yield backbone.states(own)
            except (InputError, WeightsError) as bad:  # not finite; a backbone does not know which clip it has
                raise type(bad)(f"{bad} Clips: {', '.join(record.id for record in part)}.") from bad

    write_block(block, backbone.spec, states(), [record.id for record in clips])


def _write_texts(content: Callable[[], list[str]], backbone: Backbone[str], batch_size: int, block: Path) -> None:
    texts = sorted(content(), key=len)  # texts of like length share a batch, so that little is padded
    parts = (texts[at : at + batch_size] for at in range(0, len(texts), batch_size))
    write_block(block, backbone.spec, map(backbone.states, parts), texts)


class FrozenFeatures:
    """The states of a split's clips and texts; a ``BatchSource`` for the ``Loader``.

    ``ids``, ``captions``, ``phrases``: of every clip, in order; ``hop_s``: how far audio states are apart; ``live``:
    sides (``audio``, ``text``) of which no states are kept: these backbones make them whenever they are asked for.
    """

    def __init__(
        self, records: Clips, audio: Sequence[Block], said: Sequence[Block], live: Mapping[str, Backbone[Any]]
    ) -> None:
        self.ids, self.live, self._records = records.ids, live, records
        self.hop_s = audio[0].hop_s if audio else live["audio"].spec.hop_s
        self._clips: list[tuple[Block, int]] = []
        for shard, block in zip(records.shards, audio, strict=False):  # stored by length, not in the shard's order
            where = {name: i for i, name in enumerate(block.items)}
            self._clips += [(block, where[name]) for name in shard.index.members]
        self._texts = {text: (block, i) for block in said for i, text in enumerate(block.items)}
        texts = [(record.captions, record.phrases) for record in records]
        self.captions, self.phrases = tuple(own for own, _ in texts), tuple(own for _, own in texts)
        self._audio_dims = max(((b.dim, b.pooled_dim) for b in audio), default=(0, 0))
        self._said_dims = max(((b.dim, b.pooled_dim) for b in said), default=(0, 0))

    @classmethod
    def open(
        cls, folder: Path | str, records: Clips, *, audio_space: str, text_space: str, texts: Sequence[str] = (),
        live: Mapping[str, Backbone[Any]] | None = None,
    ) -> "FrozenFeatures":  # fmt: skip
        """What ``compute`` has kept for these records and texts, but for the sides that are ``live``.

        Raises InputError if there are no records, or states are missing, damaged, or of another space.
        """
        folder = Path(folder)
        if not len(records):
            raise InputError(f"no records to compute states of in {folder}.")
        live = live or {}
        sounds = [] if "audio" in live else [shard.index.audio_sha256 for shard in records.shards]
        words = [] if "text" in live else [shard.index.records_sha256 for shard in records.shards]
        words += [_hash_of(texts)] if texts and words else []
        audio = [Block(_block(folder, audio_space, key), audio_space) for key in sounds]
        said = [Block(_block(folder, text_space, key), text_space) for key in words]
        return cls(records, audio, said, live)

    def with_live(self, live: Mapping[str, Backbone[Any]]) -> "FrozenFeatures":
        """The same split with other backbones for its ``live`` sides."""
        other = copy(self)
        other.live = live
        return other

    def __len__(self) -> int:
        return len(self.ids)

    def relabelled(
        self, *, captions: Sequence[Sequence[str]] | None = None, phrases: Sequence[Sequence[Phrase]] | None = None
    ) -> "FrozenFeatures":
        """The same clips with other captions or phrases, one sequence for each clip; None leaves those there are.

        Raises InputError if there are not as many as clips.
        """
        other = copy(self)
        for name, given in (("captions", captions), ("phrases", phrases)):
            if given is not None:
                if len(given) != len(self):
                    raise InputError(f"{len(given)} sequences were given for {len(self)} clips.")
                setattr(other, name, tuple(map(tuple, given)))
        return other

    def tracks(self) -> list[str]:
        """The track that each clip is of."""
        return [record.track for record in self._records]

    def lengths(self) -> tuple[IntArray, IntArray]:
        """How many states the sound of each clip has [shape=(N,)], and the caption of each that has fewest.

        1 each of a ``live`` side, whose lengths are not known before.
        """
        audio = [int(block.lengths[i]) for block, i in self._clips] or [1] * len(self)
        count = {text: int(block.lengths[i]) if text else 0 for text, (block, i) in self._texts.items()}
        said = [min((count.get(c, 1) for c in own), default=0) for own in self.captions]
        return np.array(audio, np.int64), np.array(said, np.int64)

    def pooled_audio(self, rows: IntArray) -> HalfArray | FloatArray:
        """Pooled vectors of the sound of these clips [shape=(B, P)]; the rest of their states is not read."""
        if "audio" in self.live:
            return self.audio(rows).pooled_BD
        return np.stack([block.read(i)[1] for block, i in (self._clips[row] for row in rows.tolist())])

    def pooled_texts(self, texts: Sequence[str]) -> HalfArray | FloatArray:
        """Pooled vectors of these texts [shape=(B, P)], likewise."""
        if "text" in self.live:
            return self.texts(texts).pooled_BD
        return np.stack([block.read(i)[1] for block, i in (self._texts[text] for text in texts)])

    def audio(self, rows: IntArray) -> States:
        """States of the sound of these clips."""
        if "audio" in self.live:
            return self.live["audio"].states([self._records.shard_at(r).audio(self._records[r]) for r in rows.tolist()])
        return _gathered([self._clips[i] for i in rows.tolist()], *self._audio_dims)

    def texts(self, texts: Sequence[str]) -> States:
        """States of these texts; "" has none. Raises UnknownName if one was not among what was computed."""
        if "text" in self.live:
            return self.live["text"].states(texts)
        for text in texts:
            if text and text not in self._texts:
                raise UnknownName("text", text, ())
        return _gathered([self._texts[t] if t else None for t in texts], *self._said_dims)

    def gather(self, rows: IntArray, rng: np.random.Generator) -> FeatureBatch:
        """States of these clips, each with one of its captions drawn at random; none of a ``live`` side."""
        owns = [self.captions[row] or ("",) for row in rows.tolist()]
        captions = tuple(own[int(at * len(own))] for own, at in zip(owns, rng.random(len(rows)).tolist(), strict=True))
        return FeatureBatch(
            ids=tuple(self.ids[row] for row in rows.tolist()), captions=captions,
            audio=None if "audio" in self.live else self.audio(rows),
            text=None if "text" in self.live else self.texts(captions),
            phrases=tuple(self.phrases[row] for row in rows.tolist()),
        )  # fmt: skip


def _gathered(items: Sequence[tuple[Block, int] | None], dim: int, pooled_dim: int) -> States:
    lengths = [0 if item is None else int(item[0].lengths[item[1]]) for item in items]
    states = np.empty((len(items), max(lengths, default=0), dim), np.float16)
    pooled = np.zeros((len(items), pooled_dim), np.float16)
    mask: BoolArray = np.arange(states.shape[1]) < np.array(lengths, np.int64)[:, None]
    for block, number in filter(None, items):
        block.expect(number)
    for i, (item, length) in enumerate(zip(items, lengths, strict=True)):
        states[i, length:] = 0
        if item is not None:
            states[i, :length], pooled[i] = item[0].read(item[1])
    return States(pooled_BD=pooled, states_BTD=states, mask_BT=mask)
