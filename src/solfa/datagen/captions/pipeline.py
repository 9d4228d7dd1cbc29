"""The FGMCaps pipeline: tracks in, captioned clips out, in stages that go on where they stopped.

::

    analyze  each track once: content hash, analysis, fingerprint, attributes of each clip   OUT.stages/analyzed-*.jsonl
    write    captions for each clip, by grammar or language model, held against the rules   OUT.stages/captioned-*.jsonl
    split    equal sound dropped, families of tracks, artists, pieces and copies kept whole  OUT.stages/plan-*/
    shards   the clips, cut and encoded                                                      OUT/

A stage's files carry a hash of its settings, so other settings begin it again and leave the earlier stages as they are.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock, Timeout

from solfa.audio import stretches
from solfa.core.clip import SPLITS, Clip
from solfa.core.errors import DecodeError, InputError, SolfaError
from solfa.core.files import check_output, write_whole
from solfa.core.text import printable
from solfa.datagen.captions.fingerprints import PRINT, near_duplicates
from solfa.datagen.captions.llm import estimate
from solfa.datagen.captions.sources import metadata_of, originals
from solfa.datagen.captions.stages import AnalyzeTrack, Settings, WriteCaptions, captioner, print_path
from solfa.datagen.captions.trust import Trust
from solfa.datasets.building import ShardTask, build
from solfa.datasets.shards import Dataset, Failure, Member
from solfa.datasets.splits import assign, families, link_keys, targets
from solfa.jobs import Done, Executor, SerialExecutor, ThreadExecutor
from solfa.llm import Usage

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
    """A data set of captioned clips; a stopped run continues where it stopped.

    Files that cannot be read or are too short are listed as failures, with the reason; clips and captions that break a
    rule are counted by rule in the manifest (``config.rules``).

    The files of the stages are in ``OUT.stages`` and can be deleted in the end. ``progress`` is called
    with a stage and how many of its items are done, ``announce`` with what a language model will be asked, before it
    is; what it raises ends the run. Raises InputError if no clip is left, the endpoint refuses, or another process is
    at it; SolfaError if the endpoint does not answer, or a shard could not be made.
    """
    out, executor = Path(out), executor or SerialExecutor()
    stages = _stages_of(out)
    for folder in (out, stages):
        check_output(folder, force=True, folder=True)
    try:
        stages.mkdir(parents=True, exist_ok=True)
        with FileLock(stages / ".lock", timeout=0):
            by_key = {_key(t): t for t in tracks}
            journal = stages / f"analyzed-{_digest(settings.of_analysis())[:16]}.jsonl"
            work = AnalyzeTrack(settings, stages / "prints")
            analyzed = _journalled(journal, work, by_key, executor, partial(progress, "analyze"))
            written = _written(_distinct(analyzed), stages, settings, executor, progress, announce)
            plan, config, num_shards = _plan(by_key, analyzed, written, stages, settings)
            progress("split", 1, 1)
            return build(
                out, _Cut(plan, settings.seconds), name="captions", config=config, seed=settings.seed,
                num_shards=num_shards, executor=executor, progress=partial(progress, "shards"),
            )  # fmt: skip
    except Timeout as busy:
        raise InputError(f"{out}: another process is making this data set.") from busy
    except OSError as bad:
        raise InputError(f"{stages} cannot be used: {bad.strerror}.") from bad


def usage_of(settings: Settings, out: Path) -> Usage | None:
    """What this process asked the endpoint of the settings for a data set; None if there is no endpoint."""
    return None if settings.endpoint is None else captioner(settings.endpoint, _stages_of(out) / "answers").usage


def _stages_of(out: Path) -> Path:
    out = out.absolute()  # "." has no name
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


def _journalled(
    path: Path,
    work: Callable[[tuple[str, Any]], dict[str, Any]],
    items: Mapping[str, Any],
    executor: Executor,
    progress: Callable[[int, int], None],
    *,
    fatal: Sequence[str] = (),
) -> dict[str, Mapping[str, Any]]:
    """A row for each item, in the order of the items; what the journal at ``path`` has is not done again.

    The journal has a line of JSON for each finished item. A killed run leaves at most one torn line, which is cut off.
    ``work`` gives the row of a key and its item; one that fails gets a row with ``failed``, the reason. Raises
    SolfaError if an item fails with an error whose class ``fatal`` names: the others would fail as well.
    """
    data = path.read_bytes() if path.exists() else b""
    data = data[: data.rfind(b"\n") + 1]
    rows = {row["key"]: row for row in map(json.loads, data.splitlines())}
    missing = [(key, item) for key, item in items.items() if key not in rows]
    progress(len(items) - len(missing), len(items))
    with path.open("ab") as file:
        file.truncate(len(data))
        for done, result in enumerate(executor.map(work, missing), len(items) - len(missing) + 1):
            if not isinstance(result, Done) and result.error in fatal:
                raise SolfaError(result.reason.partition(": ")[2])
            key, row = result.item[0], result.value if isinstance(result, Done) else {"failed": result.reason}
            rows[key] = {"key": key, **row}
            file.write(json.dumps(rows[key]).encode() + b"\n")
            file.flush()
            progress(done, len(items))
        os.fsync(file.fileno())
    return {key: rows[key] for key in items}


def _distinct(analyzed: Rows) -> Rows:
    """The tracks that could be analyzed; of equal sound the first."""
    first: dict[str, str] = {}
    return {k: row for k, row in analyzed.items() if "failed" not in row and first.setdefault(row["content"], k) == k}


def _written(
    tracks: Rows, stages: Path, settings: Settings, executor: Executor, progress: Callable[[Stage, int, int], None],
    announce: Callable[[Usage], None],
) -> Rows:  # fmt: skip
    work, fatal = WriteCaptions(settings, stages / "answers"), list[str]()
    if settings.endpoint is not None:
        clips = [(clip["attributes"], row["key_confidence"]) for row in tracks.values() for clip in row["clips"]]
        announce(estimate([known for known, sure in clips if not work.refused(known, sure)], settings.per_clip))
        executor, fatal = ThreadExecutor(settings.endpoint.concurrency), ["InputError", "SolfaError"]
    journal = stages / f"captioned-{_digest(settings.of_writing())[:16]}.jsonl"
    return _journalled(journal, work, tracks, executor, partial(progress, "write"), fatal=fatal)


def _plan(
    by_key: Mapping[str, Clip], analyzed: Rows, written: Rows, stages: Path, settings: Settings
) -> tuple[Path, dict[str, Any], dict[str, int]]:
    """A folder with a file for each shard that says which clips go there, the configuration, shards of each split."""
    kept = {row["content"]: by_key[key] for key, row in written.items() if row.get("clips")}
    clips = [
        replace(Clip.from_json(clip), audio=t.audio, source=t.source, licence=t.licence, track=row["content"],
                artist=t.artist, piece=t.piece)
        for row in written.values() for clip in row.get("clips", ()) for t in [kept[row["content"]]]
    ]  # fmt: skip
    family = _families([Path(str(t.audio)).as_posix() for t in by_key.values()], kept, stages)
    source, exact = [clip.source for clip in clips], settings.counts is not None
    wanted = targets(Counter(source), settings.shares) if settings.counts is None else settings.counts
    split = assign([family[clip.track] for clip in clips], source, wanted, seed=settings.seed, exact=exact)
    shards = _shards([replace(c, split=s) for c, s in zip(clips, split, strict=True)], list(kept), settings)
    failures = [(by_key[k].id, r["failed"]) for k, r in (*analyzed.items(), *written.items()) if "failed" in r]
    rules = _rules(written)
    if not shards:
        such = f" (such as: {failures[0][1]})" if failures else ""
        counts = ", ".join(f"{name} {count}" for name, count in rules.items())
        raise InputError(f"no clips left of {len(by_key)} tracks: {len(failures)} failed{such}; rules: {counts}.")
    shards[min(shards, key=lambda s: (SPLITS.index(s[0]), s[1]))][:0] = [{"failure": f} for f in failures]
    # The folder of the tracks does not matter for what is made of them.
    digest = _digest(sorted((*name, [{**row, "path": ""} for row in rows]) for name, rows in shards.items()))
    folder = stages / f"plan-{digest[:16]}"
    folder.mkdir(exist_ok=True)
    for (name, number), rows in shards.items():
        write_whole(folder / f"{name}-{number:06}.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    config = {
        "pipeline": "captions", **settings.of_writing(), "shares": settings.shares, "counts": settings.counts,
        "clips_per_shard": settings.clips_per_shard, "plan": digest, "tracks": len(by_key),
        "failed": len(failures), "equal_sound": sum("failed" not in r for r in analyzed.values()) - len(written),
        "families": len(set(family.values())), "left_over": split.count(""), "rules": rules,
        "own_confidence": _own_confidence(settings, analyzed),
    }  # fmt: skip
    return folder, config, dict(Counter(name for name, _ in shards))


def _families(paths: Sequence[str], kept: Mapping[str, Clip], stages: Path) -> dict[str, int]:
    """The family of each content that is kept; ``paths`` are those of all tracks."""
    original = dict(zip(paths, originals(paths), strict=True))
    keys = [
        (*link_keys(source=t.source, track=t.id, artist=t.artist, piece=t.piece, content=content),
         f"original:{original[Path(str(t.audio)).as_posix()]}")
        for content, t in kept.items()
    ]  # fmt: skip
    prints = [np.frombuffer(print_path(stages / "prints", content).read_bytes(), PRINT) for content in kept]
    return dict(zip(kept, families(keys, near_duplicates(prints)), strict=True))


def _own_confidence(settings: Settings, analyzed: Rows) -> dict[str, list[str]]:
    """Statements decided by the confidence of tools that the trust table was not fitted on, and these tools."""
    trust, found = Trust.load(settings.trust), dict[str, list[str]]()
    for extractors in sorted({tuple(row.get("extractors", ())) for row in analyzed.values()}):
        for name, tool in trust.unfitted(extractors).items():
            if tool and tool not in found.setdefault(name, []):
                found[name].append(tool)
    return {name: sorted(tools) for name, tools in found.items() if tools}


def _rules(written: Rows) -> dict[str, int]:
    """How often each rule was broken, and how many clips there were and how many were kept."""
    broken = sum((Counter(row.get("broken")) for row in written.values()), Counter[str]())
    clips = {"clips_heard": sum(r.get("seen", 0) for r in written.values()),
             "clips_kept": sum(len(r.get("clips", ())) for r in written.values())}  # fmt: skip
    return {**clips, **dict(sorted(broken.items()))}


def _shards(
    clips: Sequence[Clip], contents: Sequence[str], settings: Settings
) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Rows of each shard: tracks in an order of the seed, the clips of one track together."""
    order = dict(zip(contents, np.random.default_rng(settings.seed).permutation(len(contents)), strict=True))
    shards: dict[tuple[str, int], list[dict[str, Any]]] = {}
    sizes = Counter[str]()
    for clip in sorted([c for c in clips if c.split], key=lambda c: order[c.track]):
        record = replace(clip, audio=None, start_s=0.0).to_json()
        row = {"path": str(clip.audio), "start_s": clip.start_s, "record": record}
        shards.setdefault((clip.split, sizes[clip.split] // settings.clips_per_shard), []).append(row)
        sizes[clip.split] += 1
    return shards


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

    def _clips(self, path: str, records: dict[float, dict[str, Any]]) -> Iterator[Member]:
        for audio in stretches(path, self.seconds):
            # Stretches start at whole samples, clips at whole multiples of their length.
            document = records.pop(round(audio.start_s / self.seconds) * self.seconds, None)
            if document is not None:
                record = Clip.from_json({**document, "duration_s": audio.duration_s})
                yield Member(record=record, samples=np.clip(audio.samples, -1, 1), sample_rate_hz=audio.sample_rate_hz)
            if not records:
                return
        raise DecodeError(path, f"is shorter than before: {len(records)} clips are missing")
