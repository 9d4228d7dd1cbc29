"""What a data set holds, counted; and what is wrong with it, listed."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from solfa.core.clip import SPLITS, Clip
from solfa.core.errors import SolfaError
from solfa.core.files import file_hash
from solfa.datasets import tar
from solfa.datasets.shards import Dataset, Shard

_MOST = 8  # values of one attribute that are shown


def summarise(dataset: Dataset) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Sizes of each split that has clips, and for each attribute a line on how its values are spread.

    Sizes are ``clips``, ``duration_s``, ``captions``, ``phrases`` and ``with_truth`` (clips with a JAMS file).
    """
    splits, numbers, names = {}, dict[str, list[float]](), dict[str, Counter[str]]()
    for split in SPLITS:
        clips, captions, phrases = dataset.split(split), 0, 0
        for clip in clips:
            captions, phrases = captions + len(clip.captions), phrases + len(clip.phrases)
            _note(clip, numbers, names)
        indexes = [shard.index for shard in clips.shards]
        if len(clips):
            splits[split] = {
                "clips": len(clips), "duration_s": sum(i.duration_s for i in indexes), "captions": captions,
                "phrases": phrases, "with_truth": sum("jams" in m for i in indexes for m in i.members.values()),
            }  # fmt: skip
    spread = {name: _range(values) for name, values in numbers.items()}
    return splits, {**spread, **{name: _top(counts) for name, counts in names.items()}}


def _note(clip: Clip, numbers: dict[str, list[float]], names: dict[str, Counter[str]]) -> None:
    numbers.setdefault("duration_s", []).append(clip.duration_s)
    for caption in clip.captions:
        numbers.setdefault("words in a caption", []).append(len(caption.split()))
    facts: dict[str, Any] = {"licence": clip.licence, "source": clip.source, **clip.attributes}
    for name, value in facts.items():
        if isinstance(value, bool) or (isinstance(value, str) and value):
            names.setdefault(name, Counter())[str(value)] += 1
        elif isinstance(value, int | float):
            numbers.setdefault(name, []).append(float(value))
        elif isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
            names.setdefault(name, Counter()).update(value)


def _range(values: list[float]) -> str:
    low, quarter, middle, three, high = np.percentile(values, (0, 25, 50, 75, 100))
    return f"{len(values)} values, {low:g} to {high:g}, half of them in {quarter:g} to {three:g}, median {middle:g}"


def _top(counts: Counter[str]) -> str:
    shown = ", ".join(f"{name} {count}" for name, count in counts.most_common(_MOST))
    return f"{len(counts)} different: {shown}{', ...' if len(counts) > _MOST else ''}" if counts else "none"


def defects(dataset: Dataset) -> Iterator[str]:
    """One line for everything that is not as it should be; every byte is read."""
    for shard in dataset.shards:
        if file_hash(shard.path) != shard.index.sha256:
            yield f"{shard.path}: its hash is not that of its index"
        places = [place for parts in shard.index.members.values() for place in parts.values()]
        if tar.size_of(places) != shard.path.stat().st_size:
            yield f"{shard.path}: its index does not list what it holds"
            continue
        yield from _clip_defects(dataset, shard)


def _clip_defects(dataset: Dataset, shard: Shard) -> Iterator[str]:
    for name in shard.index.members:
        try:
            clip = shard.record(name)
            sound_s, truth = dataset.audio(clip).duration_s, dataset.annotation(clip)
        except SolfaError as bad:
            yield str(bad)
            continue
        if abs(sound_s - clip.duration_s) > 0.1:
            yield f"{shard.path}: {name} sounds for {sound_s:.2f} s, its record says {clip.duration_s:.2f} s"
        if truth is not None and abs(truth.duration_s - clip.duration_s) > 0.1:
            yield f"{shard.path}: {name}.jams is of {truth.duration_s:.2f} s, its record of {clip.duration_s:.2f} s"
