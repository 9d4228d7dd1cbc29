"""Published data sets in their authors' layouts, and tables of pairs, as shards: to be trained on like our own."""

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from solfa.audio import SUFFIXES, stretches
from solfa.core.clip import Clip, joined_phrases
from solfa.core.errors import DecodeError, InputError
from solfa.core.text import printable
from solfa.datasets.building import ShardTask, build
from solfa.datasets.loading import cropped
from solfa.datasets.pairs import Table, read_pairs, spread
from solfa.datasets.readers import load
from solfa.datasets.shards import Dataset, Failure, Member
from solfa.jobs import Done, Executor, SerialExecutor

_SLACK_S = 1.0  # a published set's file longer than the clip by more than this is the whole recording
_ID_CHARACTERS = 80


def import_published(
    name: str,
    root: Path,
    out: Path | str,
    splits: Mapping[str, str],
    *,
    shares: Sequence[float] | None = None,
    seed: int = 0,
    clips_per_shard: int = 500,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Dataset:
    """The clips of a published data set whose sound is there and sound; the others are listed as failures.

    Files are taken as they are; a clip that is part of a longer file is cut out of it (mono, flac). Labels and events
    become ``attributes`` and phrases.

    ``name`` and ``root`` are as in ``readers.load``, ``executor`` and ``progress`` as in ``build``;
    ``splits`` says which of its splits becomes our ``train``, ``val``, ``test``. With ``shares`` of these three it
    names one split, whose groups (artists, recordings with their copies) are spread over them by ``seed``. Raises
    UnknownName, InputError or SolfaError as in ``datasets.readers.load`` and ``build``; InputError also if no clip
    has sound that can be read.
    """
    read = {ours: load(name, Path(root), theirs) for ours, theirs in splits.items()}
    config: dict[str, Any] = {
        "imported": name, "clips_per_shard": clips_per_shard, "splits": dict(splits),
        "revisions": {ours: data.revision for ours, data in read.items()},
    }  # fmt: skip
    source = next(iter(read.values())).source if read else None
    if source and all(clip.audio is None for data in read.values() for clip in data.clips):
        raise InputError(f"{root}: no audio files found, nothing to import. Expected: {source.layout}.")
    clips = {ours: data.clips for ours, data in read.items()}
    if shares is not None:
        if len(clips) != 1:
            raise InputError(f"shares are of one split of {name}, got {', '.join(splits.values()) or 'none'}.")
        clips = spread(next(iter(clips.values())), shares, seed)
        config |= {"shares": list(shares), "seed": seed}
    make = _Import(clips, clips_per_shard)
    if source:
        make = replace(make, title=source.title, licence=source.licence)
    return _made(root, out, name, config, make, executor, progress)


def import_pairs(
    place: Path,
    out: Path | str,
    table: Table,
    *,
    clips_per_shard: int = 500,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Dataset:
    """The clips of a table of pairs (``pairs.read_pairs``), files taken as they are, parts of files cut out.

    Rows that were left out and sound that cannot be read are listed as failures. A stopped run goes on where it was, as
    long as the table and the files that it names are the same. Raises InputError, SolfaError or MissingExtra as in
    ``pairs.read_pairs`` and ``build``; InputError also if no clip has sound that can be read.
    """
    clips, bad = read_pairs(place, table)
    left_out = tuple(Failure(item=where, reason=reason) for where, reason in bad)
    make = _Import(clips, clips_per_shard, place.stem, table.licence, left_out, slack_s=-math.inf)
    content = hashlib.sha256(repr((clips, bad)).encode()).hexdigest()[:16]
    config = {"imported": "pairs", "clips_per_shard": clips_per_shard, "table": place.name, "content": content,
              "licence": table.licence}  # fmt: skip
    return _made(place, out, "pairs", config, make, executor, progress)


def _made(
    root: Path, out: Path | str, name: str, config: Mapping[str, Any], make: "_Import", executor: Executor | None,
    progress: Callable[[int, int], None],
) -> Dataset:  # fmt: skip
    made = build(
        out, make, name=name, config=config, seed=0, executor=executor, progress=progress,
        num_shards={ours: -(-len(clips) // make.clips_per_shard) for ours, clips in make.clips.items()},
    )  # fmt: skip
    if not any(s.index.members for s in made.shards):
        failure = made.manifest["failures"][0]
        raise InputError(
            f"{root}: nothing was imported, all {len(made.manifest['failures'])} clips failed, such as "
            f"{printable(failure['item'])}: {printable(failure['reason'])}. Delete {out} before the next attempt."
        )
    return made


@dataclass(frozen=True, slots=True)
class _Import:
    clips: Mapping[str, Sequence[Clip]]
    clips_per_shard: int
    title: str = ""
    licence: str = ""
    failures: tuple[Failure, ...] = ()
    slack_s: float = _SLACK_S
    each: Executor = field(default_factory=SerialExecutor)

    def __call__(self, task: ShardTask) -> Iterator[Member | Failure]:
        if task.number == 0 and task.split == next(iter(self.clips)):
            yield from self.failures
        clips = self.clips[task.split][task.number * self.clips_per_shard :][: self.clips_per_shard]
        for result in self.each.map(self._member, clips):
            yield result.value if isinstance(result, Done) else Failure(item=result.item.id, reason=result.reason)

    def _member(self, clip: Clip) -> Member:
        if clip.audio is None:
            raise DecodeError(clip.id, "its audio file is missing")
        file, data = (clip.audio, None) if isinstance(clip.audio, Path) else (Path(clip.audio.name), clip.audio.read())
        parts = list(stretches(file, data=data))
        samples, rate = np.concatenate([p.samples for p in parts]), parts[0].sample_rate_hz
        cut = None
        if clip.duration_s and len(samples) / rate > clip.duration_s + self.slack_s:
            cut = samples[round(clip.start_s * rate) : round((clip.start_s + clip.duration_s) * rate)]
            if not len(cut):
                raise DecodeError(
                    file, f"ends at {len(samples) / rate:.1f} s, before the clip begins ({clip.start_s:g} s)"
                )
        kept = samples if cut is None else cut
        record = self._record(clip, len(kept) / rate)
        if cut is None and file.suffix.lower() in SUFFIXES:
            return Member(record=record, audio_bytes=data or file.read_bytes(), format=file.suffix[1:].lower())
        # Decoders of lossy formats overshoot; what is written is 16 bits.
        quieter = np.asarray(kept / max(1.0, float(np.abs(kept).max())), np.float32)
        return Member(record=record, samples=quieter, sample_rate_hz=rate)

    def _record(self, clip: Clip, duration_s: float) -> Clip:
        """The clip as it is in a shard: its own id, starting at 0, phrases of one text joined and inside it."""
        phrases = joined_phrases((p.text, a, b) for p in clip.phrases for a, b in p.spans_s)
        return replace(
            clip, id=_plain(clip.id), start_s=0.0, duration_s=duration_s, phrases=cropped(phrases, 0.0, duration_s),
            source=self.title, licence=clip.licence or self.licence,
            attributes={"published_id": clip.id, **clip.attributes},
        )  # fmt: skip


def _plain(name: str) -> str:
    """An id of letters, digits, "_" and "-" that no other name shares.

    >>> _plain("a1"), _plain("rock/a b.mp3")
    ('a1', 'rock-a-b-mp3-67edcfba')
    """
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).lstrip("-_")[:_ID_CHARACTERS]
    return plain if plain == name else f"{plain or 'clip'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
