"""The settings of the pipeline, the work on one track (hear it, write about it), and journals of what is done.

A journal is a file of JSON lines, one for each finished item, appended as the work goes on. A killed run leaves at
most one torn line, which the next run cuts off; everything before it is not done again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from solfa.analysis.analyze import Analyzer
from solfa.analysis.protocol import STRETCH_S
from solfa.analysis.registry import extractors as extractors_named
from solfa.audio import ContentHash, stretches
from solfa.collection import Collection
from solfa.core.clip import Clip, Phrase
from solfa.core.errors import DecodeError, InputError, SolfaError, UnknownName
from solfa.core.files import write_whole
from solfa.core.types import Audio
from solfa.datagen.captions.attributes import ATTRIBUTES, attributes_of
from solfa.datagen.captions.checks import CaptionRules, broken_rules, read
from solfa.datagen.captions.fingerprints import PRINT, Fingerprint, fingerprint
from solfa.datagen.captions.grammar import ENGLISH_ONLY, FULL_STYLES, LANGUAGES, STYLES, caption, drawn_style
from solfa.datagen.captions.llm import PROMPT_VERSION, Captioner, Endpoint, Usage
from solfa.datagen.captions.sources import ANALYSED, metadata_of
from solfa.datagen.captions.trust import Trust
from solfa.datasets.splits import targets
from solfa.jobs import Done, Executor

VERSION = 2

# FGMCaps: clips for train, val and test by source, as published (their validation and test halves are nearly equal).
FGMCAPS: dict[str, tuple[int, int, int]] = {
    "mtg_jamendo": (48_709, 2_707, 2_707),
    "music4all": (100_750, 3_646, 3_646),
    "jamendomaxcaps": (180_541, 3_647, 3_647),
    "musicbench": (50_878, 0, 0),
}
_SHORTEST_S = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """All that decides what comes out: clips of ``seconds``, with ``per_clip`` captions each.

    ``clips`` of one track at most are taken, spread evenly (0: all), none that lacks a ``required`` attribute. A
    ``style`` of None draws one of the grammar's for each caption. ``precision`` is the share of true statements aimed
    at, of each kind; ``trust`` is a table other than the shipped one that says which are sure enough, and ``guesses``
    takes genres and moods that only a tagger names. ``shares`` are those of train, val and test in each
    source; ``counts`` instead are their clips by source, such as ``FGMCAPS``, and other sources are left out.

    At an ``endpoint`` a language model writes instead of the grammar. Where its answer is rejected the caption is lost,
    and counted, unless ``grammar_on_failure``.
    """

    seconds: float = 10.0
    clips: int = 0
    per_clip: int = 1
    style: str | None = None
    required: tuple[str, ...] = ()
    extractors: tuple[str, ...] = ("default",)
    precision: float = 0.9
    guesses: bool = False
    trust: Path | None = None
    shares: tuple[float, ...] = (0.9, 0.05, 0.05)
    counts: Mapping[str, tuple[int, int, int]] | None = None
    endpoint: Endpoint | None = None
    grammar_on_failure: bool = False
    clips_per_shard: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1.0 <= self.seconds <= 120.0 or self.clips < 0 or self.per_clip < 1 or self.clips_per_shard < 1:
            raise InputError(
                f"clips of {self.seconds:g} s, {self.clips} a track, {self.per_clip} captions each, "
                f"{self.clips_per_shard} a shard: expected 1-120 s, 0 or more, 1 or more, 1 or more."
            )
        if self.style is not None and self.style not in STYLES:
            raise UnknownName("caption style", self.style, STYLES)
        if not 0.5 <= self.precision < 1.0:
            raise InputError(f"a precision of {self.precision:g}: expected 0.5 or more and below 1, such as 0.9.")
        targets({}, self.shares)
        if unknown := [name for name in self.required if name not in ATTRIBUTES]:
            raise UnknownName("attribute", unknown[0], ATTRIBUTES)

    def of_hearing(self) -> dict[str, Any]:
        """What decides the first stage."""
        return {"version": VERSION, "seconds": self.seconds, "clips": self.clips, "extractors": list(self.extractors),
                "precision": self.precision, "guesses": self.guesses,
                "trust": _digest_of(self.trust)}  # fmt: skip

    def of_writing(self) -> dict[str, Any]:
        """What decides the first two stages."""
        model = self.endpoint
        endpoint = model and {"url": model.url, "model": model.model, "temperature": model.temperature,
                              "prompt": PROMPT_VERSION}  # fmt: skip
        return {**self.of_hearing(), "per_clip": self.per_clip, "style": self.style, "required": list(self.required),
                "endpoint": endpoint, "grammar_on_failure": self.grammar_on_failure, "seed": self.seed}  # fmt: skip


class Journal:
    """Finished items by key. Raises InputError if the file cannot be read or written."""

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
    path: Path,
    work: Callable[[tuple[str, Any]], dict[str, Any]],
    items: Mapping[str, Any],
    executor: Executor,
    progress: Callable[[int, int], None],
    *,
    fatal: Sequence[str] = (),
) -> dict[str, dict[str, Any]]:
    """A row for each item, in the order of the items; what the journal at ``path`` has is not done again.

    ``work`` gives the row of a key and its item; one that fails gets a row with ``failed``, the reason. Raises
    SolfaError if an item fails with an error whose class ``fatal`` names: the others would fail as well.
    """
    journal = Journal(path)
    missing = {key: item for key, item in items.items() if key not in journal.rows}
    done = len(items) - len(missing)
    progress(done, len(items))
    try:
        for result in executor.map(work, missing.items()):
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
    return {key: journal.rows[key] for key in items}


@dataclass(frozen=True, slots=True)
class Hear:
    """Decode a track once: content hash, analysis, fingerprint, and the attributes of each of its clips."""

    settings: Settings
    prints: Path

    def prepare(self) -> None:
        """Load the extractors."""
        _extractors(self.settings.extractors)

    def __call__(self, item: tuple[str, Clip]) -> dict[str, Any]:
        track, wanted, content = item[1], self.settings, ContentHash()
        analyzer = None if ANALYSED in track.attributes else Analyzer(_extractors(wanted.extractors))
        end_s = 0.0

        def heard() -> Iterator[Audio]:
            nonlocal end_s
            for audio in stretches(str(track.audio), STRETCH_S, content=content):
                if analyzer is not None:
                    analyzer.observe(audio)
                end_s = audio.start_s + audio.duration_s
                yield audio

        found = fingerprint(heard())
        path = print_path(self.prints, content.hex)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, found.tobytes())
        if end_s < min(wanted.seconds, _SHORTEST_S):
            raise DecodeError(str(track.audio), f"{end_s:.1f} s are too short for a clip")
        if analyzer is not None:
            analysis = analyzer.conclude()
        else:
            folder, number = track.attributes[ANALYSED]
            analysis = _collection(folder).analysis(number)
        clips = []
        for start_s in windows(end_s, wanted.seconds, wanted.clips):
            stop_s = min(start_s + wanted.seconds, end_s)
            attributes, phrases = attributes_of(
                analysis, start_s=start_s, end_s=stop_s, metadata=metadata_of(track), trust=_trust(wanted.trust),
                precision=wanted.precision, guesses=wanted.guesses,
            )  # fmt: skip
            clips.append({
                "start_s": start_s, "duration_s": round(stop_s - start_s, 6), "attributes": attributes,
                "phrases": [asdict(p) for p in phrases], "key_confidence": analysis.key.confidence,
            })  # fmt: skip
        return {"content": content.hex, "clips": clips, "extractors": list(analysis.extractors)}


# Loaded once in each process.
_extractors, _collection, _captioner = cache(extractors_named), cache(Collection.open), cache(Captioner)
_trust = cache(Trust.load)


def usage_of(settings: Settings, answers: Path) -> Usage | None:
    """What the endpoint of the settings was asked by this process."""
    return None if settings.endpoint is None else _captioner(settings.endpoint, answers).usage


def own_confidence(settings: Settings, rows: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Statements told by the own confidence of tools that the trust table was not fitted on, and these tools."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for name, tool in _trust(settings.trust).unfitted(row.get("extractors", ())).items():
            found.setdefault(name, set()).update([tool] if tool else [])
    return {name: sorted(tools) for name, tools in found.items() if tools}


def _digest_of(trust: Path | None) -> str:
    return hashlib.sha256(json.dumps(_trust(trust).table, sort_keys=True).encode()).hexdigest()[:16]


def windows(duration_s: float, seconds: float, most: int) -> list[float]:
    """Where clips of ``seconds`` start: one after the other, or ``most`` of them spread evenly; a short track is one.

    >>> windows(35.0, 10.0, 0), windows(65.0, 10.0, 2), windows(4.0, 10.0, 0)
    ([0.0, 10.0, 20.0], [0.0, 50.0], [0.0])
    """
    starts = [i * seconds for i in range(max(1, int(duration_s / seconds + 1e-6)))]
    if most and len(starts) > most:
        starts = [starts[i] for i in np.linspace(0, len(starts) - 1, most).round().astype(int)]
    return starts


def load_print(folder: Path, content: str) -> Fingerprint:
    """The fingerprint of a content."""
    return np.frombuffer(print_path(folder, content).read_bytes(), PRINT)


def print_path(folder: Path, content: str) -> Path:
    """Where the fingerprint of a content lies."""
    return folder / content[:2] / f"{content}.print"


def phrases_in(clip: Mapping[str, Any]) -> tuple[Phrase, ...]:
    """The timed phrases of a clip as a journal keeps it."""
    return tuple(Phrase(text=p["text"], spans_s=tuple((a, b) for a, b in p["spans_s"])) for p in clip["phrases"])


@dataclass(frozen=True, slots=True)
class Write:
    """Captions for the clips of a track that was heard, held against the rules; answers of a model are kept.

    Rules of clips: ``nothing_known`` (no attribute is sure enough to be told), ``failed_extraction`` (a required one
    could not be measured), ``key_confidence`` (a required key is not sure enough). ``unchecked_words`` counts captions
    of a model with words that nothing can check; the clip's attribute ``unchecked`` lists them.
    """

    settings: Settings
    answers: Path

    def prepare(self) -> None:
        """See that the endpoint's key is there."""
        _captioner.cache_clear()  # an earlier run in this process may have given up
        if self.settings.endpoint is not None:
            _captioner(self.settings.endpoint, self.answers)

    def __call__(self, item: tuple[str, Mapping[str, Any]]) -> dict[str, Any]:
        heard, clips, broken = item[1], [], Counter[str]()
        for clip in heard["clips"]:
            refused = self.refused(clip)
            broken.update(refused)
            if refused:
                continue
            texts = self._texts(clip, f"{self.settings.seed}/{heard['content']}/{clip['start_s']:.3f}", broken)
            if texts:
                model = [
                    read(t, clip["attributes"]).unchecked if s.startswith("llm:") else () for t, s in texts.items()
                ]
                unchecked = {"unchecked": [list(words) for words in model]} if any(model) else {}
                broken["unchecked_words"] += sum(map(bool, model))
                clips.append({**clip, "captions": list(texts), "styles": list(texts.values()), **unchecked})
        broken = +broken
        return {"content": heard["content"], "clips": clips, "broken": dict(broken), "heard": len(heard["clips"])}

    def refused(self, clip: Mapping[str, Any]) -> list[str]:
        """The rules of clips that one breaks."""
        known = clip["attributes"]
        few = ENGLISH_ONLY if self.settings.style in LANGUAGES else {"unsure"}
        if set(known) <= few:
            return ["nothing_known"]
        lost = [name for name in self.settings.required if name not in known]
        rules = ["failed_extraction"] if set(lost) - {"key"} else []
        if "key" in lost:
            rules.append("key_confidence" if clip["key_confidence"] > 0 else "failed_extraction")
        return list(dict.fromkeys(rules))

    def _texts(self, clip: Mapping[str, Any], seed: str, broken: Counter[str]) -> dict[str, str]:
        """Captions and who wrote them: a style, or ``llm:MODEL``."""
        known, phrases, wanted = clip["attributes"], phrases_in(clip), self.settings
        found: dict[str, str] = {}
        for i in range(wanted.per_clip):
            if wanted.endpoint is not None:
                answer = _captioner(wanted.endpoint, self.answers).caption(known, seed=f"{seed}/{i}")
                broken.update(answer.rejected)
                if answer.text:
                    found[answer.text] = f"llm:{wanted.endpoint.model}"
                if answer.text or not wanted.grammar_on_failure:
                    continue
            style = "figma" if wanted.endpoint is not None else wanted.style or drawn_style(f"{seed}/{i}", known)
            (text,) = caption(known, phrases, seed=f"{seed}/{i}", style=style, duration_s=clip["duration_s"])
            figma = style == "figma"
            asked = CaptionRules(complete=style in FULL_STYLES, one_sentence=figma, objective=figma)
            rules = broken_rules(text, known, asked)
            broken.update(rules)
            if not rules:
                found[text] = style
        return found
