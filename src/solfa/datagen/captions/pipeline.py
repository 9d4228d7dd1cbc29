"""The FGMCaps pipeline: tracks in, captioned clips out, in stages that go on where they stopped.

::

    analyze  the tracks are indexed, without vectors; a collection is taken as it is         OUT.stages/collection
    write    captions for each clip, by grammar or language model, held against the rules    OUT.stages/answers
    split    families of tracks, artists, pieces and copies kept whole                       OUT.stages/prints, plan-*
    shards   the clips, cut and encoded                                                      OUT/

What takes long is kept there: analyses, answers of a language model, fingerprints.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock, Timeout

from solfa.analysis.protocol import STRETCH_S
from solfa.analysis.registry import extractors
from solfa.audio import ContentHash, at_rate, side_of, stretches
from solfa.collection import Collection
from solfa.core.clip import SPLITS, Clip
from solfa.core.errors import DecodeError, InputError, SolfaError
from solfa.core.files import check_output, write_whole
from solfa.core.text import printable
from solfa.core.types import Audio, FloatArray
from solfa.datagen.captions.fingerprints import PRINT, Fingerprint, fingerprint, near_duplicates
from solfa.datagen.captions.llm import estimate
from solfa.datagen.captions.sources import originals
from solfa.datagen.captions.stages import Analyzed, Settings, WriteCaptions, captioner
from solfa.datagen.captions.trust import Trust
from solfa.datasets.building import ShardTask, build
from solfa.datasets.shards import Dataset, Failure, Member
from solfa.datasets.splits import assign, families, link_keys, targets
from solfa.jobs import Done, Executor, SerialExecutor, ThreadExecutor
from solfa.llm import Usage

Stage = Literal["analyze", "write", "split", "shards"]
ShowStage = Callable[[Stage, int, int], None]


def caption_tracks(
    tracks: Sequence[Clip],
    out: Path | str,
    settings: Settings,
    *,
    collection: Path | None = None,
    executor: Executor | None = None,
    progress: ShowStage = lambda *_: None,
    announce: Callable[[Usage], None] = lambda _: None,
) -> Dataset:
    """A data set of captioned clips; a stopped run continues where it stopped.

    Files that cannot be read or are too short are listed as failures, with the reason; clips and captions that break a
    rule are counted by rule in the manifest (``config.rules``).

    What is known of the tracks is read in ``collection``; None indexes them into one of our own first. The files of
    the stages are in ``OUT.stages`` and can be deleted in the end. ``progress`` is called with a stage and how many of
    its items are done, ``announce`` with what a language model will be asked, before it is; what it raises ends the
    run. Raises InputError if no clip is left, the endpoint refuses, or another process is at it; SolfaError if the
    endpoint does not answer, or a shard could not be made.
    """
    out, executor = Path(out), executor or SerialExecutor()
    stages = _stages_of(out)
    for folder in (out, stages):
        check_output(folder, force=True, folder=True)
    try:
        stages.mkdir(parents=True, exist_ok=True)
        with FileLock(stages / ".lock", timeout=0):
            tracks, failed = list({_path(t): t for t in tracks}.values()), dict[str, str]()
            analyzed = _analyzed(tracks, settings, collection, stages, failed, executor, progress)
            num_equal = len(tracks) - len(failed) - len(analyzed)
            written, rules = _written(analyzed, settings, stages, failed, executor, progress, announce)
            prints = _prints(analyzed, written, stages / "prints", failed, executor, progress)
            shards, config = _planned(tracks, analyzed, written, rules, prints, failed, settings)
            folder = stages / f"plan-{config['plan'][:16]}"
            folder.mkdir(exist_ok=True)
            for (name, number), rows in shards.items():
                text = "".join(json.dumps(row) + "\n" for row in rows)
                write_whole(folder / f"{name}-{number:06}.jsonl", text.encode())
            return build(
                out, _Cut(folder, settings.seconds, settings.sample_rate_hz), name="captions",
                config={**config, "equal_sound": num_equal}, seed=settings.seed, executor=executor,
                num_shards=Counter(name for name, _ in shards), progress=partial(progress, "shards"),
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


def _path(track: Clip) -> str:
    return os.path.abspath(str(track.audio))  # noqa: PTH100  (as collections name it; resolve() would follow links)


def _analyzed(
    tracks: Sequence[Clip], settings: Settings, collection: Path | None, stages: Path, failed: dict[str, str],
    executor: Executor, progress: ShowStage,
) -> dict[str, Analyzed]:  # fmt: skip
    """What is known of the tracks, by content; of equal sound the first. ``failed`` gets reasons by path."""
    found: dict[str, Analyzed] = {}
    with Collection.open(collection or stages / "collection", create=collection is None) as known:
        if collection is None and tracks:
            report = known.add(
                map(_path, tracks), model=None, extractors=partial(extractors, settings.extractors), executor=executor,
                progress=lambda p: progress("analyze", p.done, p.total),
            )  # fmt: skip
            failed |= {str(f.path): f.reason for f in (*report.known_bad, *report.failed)}
            known.refresh()
        rows = {str(path): row for row in known.tracks() for path in row.paths}
        for path, track in zip(map(_path, tracks), tracks, strict=True):
            if path in failed or path not in rows:
                failed.setdefault(path, "cannot be reached any more")
            elif (content := rows[path].hash) not in found:
                of = known.analysis(rows[path].id)
                clips = settings.cut(track, content, of)
                found[content] = Analyzed(content, track, clips, of.key.confidence, of.extractors)
    progress("analyze", len(tracks), len(tracks))
    return found


def _written(
    analyzed: Mapping[str, Analyzed], settings: Settings, stages: Path, failed: dict[str, str], executor: Executor,
    progress: ShowStage, announce: Callable[[Usage], None],
) -> tuple[dict[str, list[Clip]], Counter[str]]:  # fmt: skip
    """Clips with captions, by content, and how often each rule was broken."""
    work, found = WriteCaptions(settings, stages / "answers"), dict[str, tuple[list[Clip], Counter[str]]]()
    if settings.endpoint is not None:
        clips = [(clip.attributes, track.key_confidence) for track in analyzed.values() for clip in track.clips]
        announce(estimate([known for known, sure in clips if not work.refused(known, sure)], settings.per_clip))
        executor = ThreadExecutor(settings.endpoint.concurrency)
    for done, result in enumerate(executor.map(work, list(analyzed.values())), 1):
        if isinstance(result, Done):
            found[result.item.content] = result.value
        elif settings.endpoint is not None and result.error in ("InputError", "SolfaError"):
            raise SolfaError(result.reason.partition(": ")[2])  # the others would fail as well
        else:
            failed[_path(result.item.track)] = result.reason
        progress("write", done, len(analyzed))
    order = [content for content in analyzed if content in found]
    return {c: found[c][0] for c in order if found[c][0]}, sum((found[c][1] for c in order), Counter[str]())


def _prints(
    analyzed: Mapping[str, Analyzed], written: dict[str, list[Clip]], folder: Path, failed: dict[str, str],
    executor: Executor, progress: ShowStage,
) -> list[Fingerprint]:  # fmt: skip
    """A fingerprint for each content that is ``written``, which loses those that cannot be read any more."""
    files = {content: folder / content[:2] / f"{content}.print" for content in written}
    missing = [(content, _path(analyzed[content].track), file) for content, file in files.items() if not file.exists()]
    for done, result in enumerate(executor.map(_print, missing), 1):
        if not isinstance(result, Done):
            failed[result.item[1]] = result.reason
            del written[result.item[0]]
        progress("split", done, len(missing) + 1)
    progress("split", 1, 1)
    return [np.frombuffer(files[content].read_bytes(), PRINT) for content in written]


def _print(item: tuple[str, str, Path]) -> None:
    expected, path, file = item
    content = ContentHash()
    found = fingerprint(stretches(path, STRETCH_S, content=content))
    if content.hex != expected:
        raise DecodeError(path, "has changed since it was analyzed")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, found.tobytes())


def _planned(
    tracks: Sequence[Clip], analyzed: Mapping[str, Analyzed], written: Mapping[str, list[Clip]],
    broken: Mapping[str, int], prints: Sequence[Fingerprint], failed: Mapping[str, str], settings: Settings,
) -> tuple[dict[tuple[str, int], list[dict[str, Any]]], dict[str, Any]]:  # fmt: skip
    """Which clips go to which shard (split, number), and the configuration."""
    kept = {content: analyzed[content].track for content in written}
    clips = [
        replace(clip, audio=t.audio, source=t.source, licence=t.licence, track=content, artist=t.artist, piece=t.piece)
        for content, t in kept.items() for clip in written[content]
    ]  # fmt: skip
    original = dict(zip(map(_path, tracks), originals([Path(str(t.audio)).as_posix() for t in tracks]), strict=True))
    keys = [
        (*link_keys(source=t.source, track=t.id, artist=t.artist, piece=t.piece, content=content),
         f"original:{original[_path(t)]}")
        for content, t in kept.items()
    ]  # fmt: skip
    family = dict(zip(kept, families(keys, near_duplicates(prints)), strict=True))
    source, exact = [clip.source for clip in clips], settings.counts is not None
    wanted = targets(Counter(source), settings.shares) if settings.counts is None else settings.counts
    split = assign([family[clip.track] for clip in clips], source, wanted, seed=settings.seed, exact=exact)
    shards = _shards([replace(c, split=s) for c, s in zip(clips, split, strict=True)], list(kept), settings)
    failures = [(t.id, failed[_path(t)]) for t in tracks if _path(t) in failed]
    rules = {"clips_heard": sum(len(t.clips) for t in analyzed.values()), "clips_kept": len(clips),
             **dict(sorted(broken.items()))}  # fmt: skip
    if not shards:
        such = f" (such as: {failures[0][1]})" if failures else ""
        counts = ", ".join(f"{name} {count}" for name, count in rules.items())
        raise InputError(f"no clips left of {len(tracks)} tracks: {len(failures)} failed{such}; rules: {counts}.")
    shards[min(shards, key=lambda s: (SPLITS.index(s[0]), s[1]))][:0] = [{"failure": f} for f in failures]
    # The folder of the tracks does not matter for what is made of them.
    plan = _digest(sorted((*name, [{**row, "path": ""} for row in rows]) for name, rows in shards.items()))
    return shards, {
        "pipeline": "captions", **settings.of_writing(), "shares": settings.shares, "counts": settings.counts,
        "clips_per_shard": settings.clips_per_shard, "plan": plan, "tracks": len(tracks), "failed": len(failures),
        "families": len(set(family.values())), "left_over": split.count(""), "rules": rules,
        "own_confidence": _own_confidence(settings, analyzed.values()),
    }  # fmt: skip


def _own_confidence(settings: Settings, tracks: Iterable[Analyzed]) -> dict[str, list[str]]:
    """Statements decided by the confidence of tools that the trust table was not fitted on, and these tools."""
    trust, found = Trust.load(settings.trust), dict[str, set[str]]()
    for used in {track.extractors for track in tracks}:
        for name, tool in trust.unfitted(used).items():
            if tool:
                found.setdefault(name, set()).add(tool)
    return {name: sorted(tools) for name, tools in sorted(found.items())}


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
    sample_rate_hz: int

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
                samples, rate_hz = self._samples(audio), self.sample_rate_hz or audio.sample_rate_hz
                record = Clip.from_json({**document, "duration_s": len(samples) / rate_hz})
                yield Member(record=record, samples=np.clip(samples, -1, 1), sample_rate_hz=rate_hz)
            if not records:
                return
        raise DecodeError(path, f"is shorter than before: {len(records)} clips are missing")

    def _samples(self, audio: Audio) -> FloatArray:
        """Mono as it is; at another rate all of it, in stereo where the file is, to the sample."""
        if not (rate_hz := self.sample_rate_hz):
            return audio.samples
        mono, side = at_rate(audio, rate_hz).samples, side_of(audio)
        if side is not None:
            side = at_rate(Audio(side, audio.sample_rate_hz), rate_hz).samples
            mono = np.stack([mono + side, mono - side], axis=1)
        missing = round(self.seconds * rate_hz) - len(mono)
        return np.pad(mono, [(0, max(0, missing)), (0, 0)][: mono.ndim])[: len(mono) + missing]
