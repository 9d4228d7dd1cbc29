"""The FGMCaps pipeline: tracks in, captioned clips out, in stages that go on where they stopped.

::

    hear      each track once: content hash, analysis, fingerprint, attributes of each clip   OUT.stages/heard-*.jsonl
    write     captions for each clip, by grammar or language model, held against the rules    OUT.stages/written-*.jsonl
    split     equal sound dropped, families of tracks, artists, pieces and copies kept whole  OUT.stages/plan-*/
    shards    the clips, cut and encoded                                                      OUT/

A stage's files carry a hash of its settings, so other settings begin it anew and leave the earlier stages as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock, Timeout

from solfa.audio import stretches
from solfa.core.clip import SPLITS, Clip
from solfa.core.errors import DecodeError, InputError
from solfa.core.files import check_output, write_whole
from solfa.core.text import printable
from solfa.datagen.captions.fingerprints import near_duplicates
from solfa.datagen.captions.llm import Usage, estimate
from solfa.datagen.captions.originals import originals
from solfa.datagen.captions.sources import metadata_of
from solfa.datagen.captions.stages import Hear, Settings, Write, load_print, own_confidence, phrases_in, run_stage
from solfa.datasets.building import ShardTask, build
from solfa.datasets.shards import Dataset, Failure, Member
from solfa.datasets.splits import assign, families, link_keys, targets
from solfa.jobs import Executor, SerialExecutor, ThreadExecutor

Stage = Literal["analyze", "write", "split", "shards"]
Rows = Mapping[str, Mapping[str, Any]]  # what a stage made of each track, by its key


def caption_tracks(
    tracks: Sequence[Clip],
    out: Path | str,
    settings: Settings,
    *,
    executor: Executor | None = None,
    progress: Callable[[Stage, int, int], None] = lambda *_: None,
    announce: Callable[[Usage], None] = lambda _: None,
) -> Dataset:
    """A data set of captioned clips; a stopped run goes on where it was.

    Files that cannot be read or are too short are listed as failures, with the reason; clips and captions that break a
    rule are counted by rule in the manifest (``config.rules``).

    The stages' files lie beside the data set, in ``OUT.stages``, and can be deleted in the end. ``progress`` is called
    with a stage and how many of its items are done, ``announce`` with what a language model will be asked, before it
    is; what it raises ends the run. Raises InputError if no clip is left, the endpoint refuses, or another process is
    at it; SolfaError if the endpoint does not answer, or a shard could not be made.
    """
    out = Path(out)
    stages = stages_of(out)
    executor = executor or SerialExecutor()
    for folder in (out, stages):
        check_output(folder, force=True, folder=True)
    try:
        stages.mkdir(parents=True, exist_ok=True)
        with FileLock(stages / ".lock", timeout=0):
            hear, write = Hear(settings, stages / "prints"), Write(settings, stages / "answers")
            journal = stages / f"heard-{_digest(settings.of_hearing())[:16]}.jsonl"
            heard = run_stage(journal, hear, {_key(t): t for t in tracks}, executor, partial(progress, "analyze"))
            journal = stages / f"written-{_digest(settings.of_writing())[:16]}.jsonl"
            fatal = ("InputError", "SolfaError") if settings.endpoint is not None else ()
            distinct = _distinct(heard)
            if settings.endpoint is not None:
                clips = [c["attributes"] for row in distinct.values() for c in row["clips"] if not write.refused(c)]
                announce(estimate(clips, settings.per_clip))
            writers = executor if settings.endpoint is None else ThreadExecutor(settings.endpoint.concurrency)
            written = run_stage(journal, write, distinct, writers, partial(progress, "write"), fatal=fatal)
            plan = _plan(tracks, heard, written, stages, settings)
            progress("split", 1, 1)
            return build(
                out, _Cut(plan.folder, settings.seconds), name="captions", config=plan.config, seed=settings.seed,
                num_shards=plan.num_shards, executor=executor,
                progress=partial(progress, "shards"),
            )  # fmt: skip
    except Timeout as busy:
        raise InputError(f"{out}: another process is making this data set.") from busy
    except OSError as bad:
        raise InputError(f"{stages} cannot be used: {bad.strerror}.") from bad


def stages_of(out: Path) -> Path:
    """Where the stages of a data set keep their files."""
    return out.with_name(f"{out.name}.stages")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _key(track: Clip) -> str:
    """Names a track as it is now: a file that has changed is another one."""
    try:
        status = Path(str(track.audio)).stat()
        now = [status.st_size, status.st_mtime_ns]
    except OSError:
        now = []
    return _digest([str(track.audio), track.source, track.id, metadata_of(track), now])


def _distinct(heard: Rows) -> Rows:
    """What was heard of the tracks that could be; of equal sound the first."""
    first: dict[str, str] = {}
    return {k: row for k, row in heard.items() if "failed" not in row and first.setdefault(row["content"], k) == k}


@dataclass(frozen=True, slots=True)
class _Plan:
    folder: Path
    config: dict[str, Any]
    num_shards: dict[str, int]


def _plan(tracks: Sequence[Clip], heard: Rows, written: Rows, stages: Path, settings: Settings) -> _Plan:
    """Which clip goes to which shard, one file for each shard."""
    by_key = {_key(t): t for t in tracks}
    kept = {key: row for key, row in written.items() if row.get("clips")}
    family = _families(by_key, kept, stages)
    clips = [(key, clip) for key, row in kept.items() for clip in row["clips"]]
    source = [by_key[key].source for key, _ in clips]
    wanted = settings.counts if settings.counts is not None else targets(Counter(source), settings.shares)
    own, exact = [family[key] for key, _ in clips], settings.counts is not None
    split = assign(own, source, wanted, seed=settings.seed, exact=exact)
    shards = _shards(clips, split, by_key, kept, settings)
    if not shards:
        raise InputError(f"no clip is left of {len(tracks)} tracks: {_why(heard, written)}")
    failures = [(by_key[k].id, r["failed"]) for k, r in (*heard.items(), *written.items()) if "failed" in r]
    shards[min(shards, key=lambda s: (SPLITS.index(s[0]), s[1]))][:0] = [{"failure": f} for f in failures]
    # Where the tracks lie is not what is made of them.
    digest = _digest(sorted((*name, [{**row, "path": ""} for row in rows]) for name, rows in shards.items()))
    folder = stages / f"plan-{digest[:16]}"
    folder.mkdir(exist_ok=True)
    for (name, number), rows in shards.items():
        write_whole(folder / f"{name}-{number:06}.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    config = {
        "pipeline": "captions", **settings.of_writing(), "shares": list(settings.shares),
        "counts": None if settings.counts is None else {k: list(v) for k, v in settings.counts.items()},
        "clips_per_shard": settings.clips_per_shard, "plan": digest, "tracks": len(tracks),
        "failed": len(failures), "equal_sound": sum("failed" not in r for r in heard.values()) - len(written),
        "families": len(set(family.values())), "left_over": split.count(""), "rules": _rules(written),
        "own_confidence": own_confidence(settings, heard.values()),
    }  # fmt: skip
    return _Plan(folder, config, dict(Counter(name for name, _ in shards)))


def _families(by_key: Mapping[str, Clip], kept: Rows, stages: Path) -> dict[str, int]:
    tracks = [by_key[key] for key in kept]
    prints = [load_print(stages / "prints", row["content"]) for row in kept.values()]
    original = dict(zip(by_key, originals([Path(str(t.audio)).as_posix() for t in by_key.values()]), strict=True))
    keys = [
        (*link_keys(source=t.source, track=t.id, artist=t.artist, piece=t.piece, content=row["content"]),
         f"original:{original[key]}")
        for t, (key, row) in zip(tracks, kept.items(), strict=True)
    ]  # fmt: skip
    return dict(zip(kept, families(keys, near_duplicates(prints)), strict=True))


def _rules(written: Rows) -> dict[str, int]:
    """How often each rule was broken, beside how many clips were heard and kept."""
    broken = Counter[str]()
    for row in written.values():
        broken.update(row.get("broken", {}))
    clips = {"clips_heard": sum(r.get("heard", 0) for r in written.values()),
             "clips_kept": sum(len(r.get("clips", ())) for r in written.values())}  # fmt: skip
    return {**clips, **dict(sorted(broken.items()))}


def _why(heard: Rows, written: Rows) -> str:
    reasons = [r["failed"] for r in (*heard.values(), *written.values()) if "failed" in r]
    rules = ", ".join(f"{name} {count}" for name, count in _rules(written).items())
    return f"{len(reasons)} failed{f' (such as: {reasons[0]})' if reasons else ''}; rules: {rules}."


def _shards(
    clips: Sequence[tuple[str, Mapping[str, Any]]], split: Sequence[str], by_key: Mapping[str, Clip],
    kept: Rows, settings: Settings,
) -> dict[tuple[str, int], list[dict[str, Any]]]:  # fmt: skip
    """Rows of each shard: tracks in an order of the seed, the clips of one track together."""
    order = {key: i for i, key in enumerate(kept)}
    shuffled = np.random.default_rng(settings.seed).permutation(len(order))
    shards: dict[tuple[str, int], list[dict[str, Any]]] = {}
    sizes = Counter[str]()
    for i in sorted(range(len(clips)), key=lambda i: (shuffled[order[clips[i][0]]], i)):
        key, clip = clips[i]
        if split[i]:
            track = by_key[key]
            record = _record(track, kept[key]["content"], clip, split[i]).to_json()
            row = {"path": str(track.audio), "start_s": clip["start_s"], "record": record}
            shards.setdefault((split[i], sizes[split[i]] // settings.clips_per_shard), []).append(row)
            sizes[split[i]] += 1
    return shards


def _record(track: Clip, content: str, clip: Mapping[str, Any], split: str) -> Clip:
    return Clip(
        id=f"{content[:16]}-{round(clip['start_s'] * 1000):08d}", duration_s=clip["duration_s"],
        captions=tuple(clip["captions"]), phrases=phrases_in(clip),
        attributes={**clip["attributes"], "caption_styles": clip["styles"],
                    **({"unchecked": clip["unchecked"]} if clip.get("unchecked") else {})},
        source=track.source, licence=track.licence, track=content, artist=track.artist, piece=track.piece, split=split,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Cut:
    """Makes the shards of a plan: decodes each track once and cuts its clips out."""

    folder: Path
    seconds: float

    def __call__(self, task: ShardTask) -> Iterator[Member | Failure]:
        lines = (self.folder / f"{task.split}-{task.number:06}.jsonl").read_text(encoding="utf-8").splitlines()
        by_path: dict[str, dict[float, dict[str, Any]]] = {}
        for row in map(json.loads, lines):
            if "failure" in row:
                yield Failure(item=row["failure"][0], reason=row["failure"][1])
            else:
                by_path.setdefault(row["path"], {})[row["start_s"]] = row["record"]
        for path, records in by_path.items():
            try:
                yield from self._clips(path, records)
            except DecodeError as bad:
                yield Failure(item=printable(path), reason=bad.reason)

    def _clips(self, path: str, records: Mapping[float, Mapping[str, Any]]) -> Iterator[Member]:
        left = len(records)
        for audio in stretches(path, self.seconds):
            # Stretches start at whole samples, clips at whole multiples of their length.
            document = records.get(round(audio.start_s / self.seconds) * self.seconds)
            if document is not None:
                record = Clip.from_json({**document, "duration_s": audio.duration_s})
                yield Member(record=record, samples=np.clip(audio.samples, -1, 1), sample_rate_hz=audio.sample_rate_hz)
                left -= 1
            if left == 0:
                return
        raise DecodeError(path, f"is shorter than it was, {left} clips are gone")
