"""The work on one track: hear it, write about it. And the journals that remember what is done.

A journal is a file of JSON lines, one for each finished item, appended as the work goes on. A killed run leaves at
most one torn line, which the next run cuts off; everything before it is not done again.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from solfa.analysis.analyze import Listening
from solfa.analysis.protocol import STRETCH_S, Extractor
from solfa.analysis.registry import extractors as extractors_named
from solfa.audio import ContentHash, stretches
from solfa.collection import Collection
from solfa.core.errors import DecodeError, InputError, SolfaError
from solfa.core.files import write_whole
from solfa.core.types import Analysis, Audio
from solfa.data.captions.attributes import Thresholds, attributes_of
from solfa.data.captions.fingerprints import Fingerprint, fingerprint
from solfa.data.captions.grammar import FULL_STYLES, caption, drawn_style
from solfa.data.captions.llm import Captioner, Endpoint
from solfa.data.captions.quality import Wishes, broken_rules
from solfa.data.captions.sources import Track
from solfa.data.records import Phrase
from solfa.jobs import Done, Executor

_SHORTEST_S = 2.0


class Journal:
    """Finished items by key.

    Raises
    ------
    InputError
        If the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab+")
        except OSError as bad:
            raise InputError(f"{path} cannot be written: {bad.strerror}.") from bad
        self._file.seek(0)
        data = self._file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._file.truncate(len(whole))
        self.rows: dict[str, dict[str, Any]] = {}
        for line in whole.splitlines():
            row = json.loads(line)
            self.rows[row["key"]] = row

    def add(self, row: dict[str, Any]) -> None:
        """Remember one item, at once."""
        self._file.write(json.dumps(row).encode() + b"\n")
        self._file.flush()
        self.rows[row["key"]] = row

    def close(self) -> None:
        """Force what was written to disk."""
        os.fsync(self._file.fileno())
        self._file.close()


def run_stage(
    journal: Journal,
    work: Callable[[Any], dict[str, Any]],
    items: Mapping[str, Any],
    executor: Executor,
    progress: Callable[[int, int], None],
    *,
    fatal: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """A row for each item, in the order of the items; what the journal has is not done again.

    ``work`` gives the row of an item; one that fails gets a row with ``failed``, the reason.

    Raises
    ------
    SolfaError
        If an item fails with an error whose class ``fatal`` names: the others would fail as well.
    """
    missing = {key: item for key, item in items.items() if key not in journal.rows}
    done = len(items) - len(missing)
    progress(done, len(items))
    try:
        for result in executor.map(_Keyed(work), missing.items()):
            key = result.item[0]
            if isinstance(result, Done):
                journal.add({"key": key, **result.value})
            elif result.error in fatal:
                raise SolfaError(result.reason.partition(": ")[2])
            else:
                journal.add({"key": key, "failed": result.reason})
            done += 1
            progress(done, len(items))
    finally:
        journal.close()
    return [journal.rows[key] for key in items]


@dataclass(frozen=True, slots=True)
class _Keyed:
    work: Callable[[Any], dict[str, Any]]

    def prepare(self) -> None:
        prepare = getattr(self.work, "prepare", None)
        if prepare is not None:
            prepare()

    def __call__(self, item: tuple[str, Any]) -> dict[str, Any]:
        return self.work(item[1])


@dataclass(frozen=True, kw_only=True, slots=True)
class Hear:
    """Decode a track once: content hash, analysis, fingerprint, and the attributes of each of its clips.

    ``clips`` is how many clips of a track are taken at most, spread evenly; 0 takes all.
    """

    seconds: float
    clips: int
    extractors: tuple[str, ...]
    thresholds: Thresholds
    prints: Path

    def prepare(self) -> None:
        """Load the extractors."""
        _extractors(self.extractors)

    def __call__(self, track: Track) -> dict[str, Any]:
        content = ContentHash()
        listening = None if track.collection else Listening(_extractors(self.extractors))
        end_s = 0.0

        def heard() -> Iterator[Audio]:
            nonlocal end_s
            for audio in stretches(track.path, STRETCH_S, content=content):
                if listening is not None:
                    listening.hear(audio)
                end_s = audio.start_s + audio.duration_s
                yield audio

        save_print(self.prints, fingerprint(heard()), lambda: content.hex)
        if end_s < min(self.seconds, _SHORTEST_S):
            raise DecodeError(track.path, f"{end_s:.1f} s are too short for a clip")
        analysis = _stored(track) if listening is None else listening.conclude()
        clips = []
        for start_s in windows(end_s, self.seconds, self.clips):
            stop_s = min(start_s + self.seconds, end_s)
            attributes, phrases = attributes_of(
                analysis, start_s=start_s, end_s=stop_s, metadata=track.metadata, thresholds=self.thresholds
            )
            clips.append({
                "start_s": start_s, "duration_s": round(stop_s - start_s, 6), "attributes": attributes,
                "phrases": [asdict(p) for p in phrases], "key_confidence": analysis.key.confidence,
            })  # fmt: skip
        return {"content": content.hex, "clips": clips, "extractors": list(analysis.extractors)}


@cache
def _extractors(names: tuple[str, ...]) -> tuple[Extractor, ...]:
    return extractors_named(names)


@cache
def _collection(directory: str) -> Collection:
    return Collection.open(directory)


def _stored(track: Track) -> Analysis:
    return _collection(track.collection).analysis(track.number)


def windows(duration_s: float, seconds: float, most: int) -> list[float]:
    """Where clips of ``seconds`` start: one after the other, or ``most`` of them spread evenly; a short track is one.

    >>> windows(35.0, 10.0, 0), windows(65.0, 10.0, 2), windows(4.0, 10.0, 0)
    ([0.0, 10.0, 20.0], [0.0, 50.0], [0.0])
    """
    starts = [i * seconds for i in range(max(1, int(duration_s / seconds + 1e-6)))]
    if most and len(starts) > most:
        starts = [starts[i] for i in np.linspace(0, len(starts) - 1, most).round().astype(int)]
    return starts


_PRINT = np.dtype([("hash", "<u4"), ("time_s", "<f4"), ("bin", "<f4"), ("span_s", "<f4")])


def save_print(folder: Path, found: Fingerprint, content: Callable[[], str]) -> None:
    """Keep a fingerprint under the name of its content."""
    table = np.empty(len(found.hashes), _PRINT)
    table["hash"], table["time_s"] = found.hashes, found.times_s
    table["bin"], table["span_s"] = found.bins, found.spans_s
    path = print_path(folder, content())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, table.tobytes())


def load_print(folder: Path, content: str) -> Fingerprint:
    """The fingerprint of a content."""
    table = np.frombuffer(print_path(folder, content).read_bytes(), _PRINT)
    return Fingerprint(table["hash"].copy(), table["time_s"].copy(), table["bin"].copy(), table["span_s"].copy())


def print_path(folder: Path, content: str) -> Path:
    """Where the fingerprint of a content lies."""
    return folder / content[:2] / f"{content}.print"


@dataclass(frozen=True, kw_only=True, slots=True)
class Write:
    """Captions for the clips of a track that was heard, held against the rules.

    ``required`` names attributes without which a clip is left out. With an ``endpoint`` a language model writes;
    ``grammar_on_failure`` lets the grammar (style figma) write where the model's answer is rejected.
    """

    per_clip: int
    style: str | None
    seed: int
    required: tuple[str, ...]
    thresholds: Thresholds
    endpoint: Endpoint | None
    grammar_on_failure: bool
    cache: Path

    def prepare(self) -> None:
        """See that the endpoint's key is there."""
        _captioner.cache_clear()  # an earlier run in this process may have given up
        if self.endpoint is not None:
            _captioner(self.endpoint, self.cache)

    def __call__(self, heard: Mapping[str, Any]) -> dict[str, Any]:
        clips, broken = [], Counter[str]()
        for clip in heard["clips"]:
            refused = self._refused(clip)
            broken.update(refused)
            if refused:
                continue
            texts = self._texts(clip, f"{self.seed}/{heard['content']}/{clip['start_s']:.3f}", broken)
            if texts:
                clips.append({**clip, "captions": list(texts), "styles": list(texts.values())})
        return {"content": heard["content"], "clips": clips, "broken": dict(broken), "heard": len(heard["clips"])}

    def _refused(self, clip: Mapping[str, Any]) -> list[str]:
        known = clip["attributes"]
        if not known:
            return ["nothing_known"]
        lost = [name for name in self.required if name not in known]
        rules = ["failed_extraction"] if set(lost) - {"key"} else []
        if "key" in lost:
            rules.append("key_confidence" if clip["key_confidence"] > 0 else "failed_extraction")
        return list(dict.fromkeys(rules))

    def _texts(self, clip: Mapping[str, Any], seed: str, broken: Counter[str]) -> dict[str, str]:
        """Captions and who wrote them: a style, or ``llm:MODEL``."""
        known = clip["attributes"]
        phrases = [Phrase(text=p["text"], spans_s=tuple(map(tuple, p["spans_s"]))) for p in clip["phrases"]]
        found: dict[str, str] = {}
        for i in range(self.per_clip):
            if self.endpoint is not None:
                answer = _captioner(self.endpoint, self.cache).caption(known, seed=f"{seed}/{i}")
                broken.update(answer.rejected)
                if answer.text:
                    found[answer.text] = f"llm:{self.endpoint.model}"
                if answer.text or not self.grammar_on_failure:
                    continue
            style = "figma" if self.endpoint is not None else self.style or drawn_style(f"{seed}/{i}")
            (text,) = caption(known, phrases, seed=f"{seed}/{i}", style=style, duration_s=clip["duration_s"])
            figma = style == "figma"
            wishes = Wishes(complete=style in FULL_STYLES, one_sentence=figma, objective=figma)
            rules = broken_rules(text, known, wishes)
            broken.update(rules)
            if not rules:
                found[text] = style
        return found


@cache
def _captioner(endpoint: Endpoint, cache_folder: Path) -> Captioner:
    return Captioner(endpoint, cache_folder)
