"""The settings of the pipeline, the clips of a track, and the captions of its clips."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from solfa.core.clip import Clip
from solfa.core.errors import DecodeError, InputError, UnknownName
from solfa.core.types import Analysis
from solfa.datagen.captions.attributes import ATTRIBUTES, attributes_of
from solfa.datagen.captions.checks import CaptionRules, broken_rules, read
from solfa.datagen.captions.grammar import ENGLISH_ONLY, FULL_STYLES, LANGUAGES, STYLES, caption, drawn_style
from solfa.datagen.captions.llm import PROMPT_VERSION, Captioner
from solfa.datagen.captions.sources import metadata_of
from solfa.datagen.captions.trust import Trust
from solfa.datasets.splits import targets
from solfa.llm import Endpoint

VERSION = 2

# FGMCaps: clips for train, val and test by source, as published (their validation and test halves are nearly equal).
FGMCAPS: dict[str, tuple[int, int, int]] = {
    "mtg_jamendo": (48_709, 2_707, 2_707),
    "music4all": (100_750, 3_646, 3_646),
    "jamendomaxcaps": (180_541, 3_647, 3_647),
    "musicbench": (50_878, 0, 0),
}
_SHORTEST_S = 2.0
_WRITING = ("seconds", "clips", "extractors", "precision", "guesses", "per_clip", "style", "required",
            "grammar_on_failure", "sample_rate_hz", "most_voice", "seed")  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """All that decides what comes out: clips of ``seconds``, with ``per_clip`` captions each.

    ``clips`` of one track at most are taken, spread evenly (0: all), none that lacks a ``required`` attribute. A
    ``style`` of None draws one of the grammar's for each caption. ``precision`` is the share of true statements aimed
    at, of each kind; ``trust`` is a table other than the shipped one that says which are sure enough, and ``guesses``
    takes genres and moods that only a tagger names. With a ``sample_rate_hz`` clips are just ``seconds`` long, stereo
    where the file is (0: the file's, mono); those with a voice surer than ``most_voice`` are left out. ``shares`` are
    those of train, val and test in each source; ``counts`` instead are their clips by source, such as ``FGMCAPS``, and
    other sources are left out.

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
    sample_rate_hz: int = 0
    most_voice: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1.0 <= self.seconds <= 120.0 or self.clips < 0 or self.per_clip < 1 or self.clips_per_shard < 1:
            raise InputError(
                f"clips of {self.seconds:g} s, {self.clips} a track, {self.per_clip} captions each, "
                f"{self.clips_per_shard} a shard: expected 1-120 s, 0 or more, 1 or more, 1 or more."
            )
        if self.style is not None and self.style not in STYLES:
            raise UnknownName("caption style", self.style, STYLES)
        if not (0.0 <= self.most_voice <= 1.0 and (self.sample_rate_hz == 0 or 8000 <= self.sample_rate_hz <= 192_000)):
            got = f"{self.sample_rate_hz} Hz, a voice of {self.most_voice:g} at most"
            raise InputError(f"{got}: expected 8000-192000 Hz (0: the file's), and a confidence in 0..1.")
        if not 0.5 <= self.precision < 1.0:
            raise InputError(f"a precision of {self.precision:g}: expected 0.5 or more and below 1, such as 0.9.")
        targets({}, self.shares)
        if unknown := [name for name in self.required if name not in ATTRIBUTES]:
            raise UnknownName("attribute", unknown[0], ATTRIBUTES)

    def of_writing(self) -> dict[str, Any]:
        """What decides the texts, as plain JSON."""
        model, trust = self.endpoint, json.dumps(Trust.load(self.trust).table, sort_keys=True)
        endpoint = model and {"url": model.url, "model": model.model, "temperature": model.temperature,
                              "prompt": PROMPT_VERSION}  # fmt: skip
        return {
            "version": VERSION, "trust": hashlib.sha256(trust.encode()).hexdigest()[:16], "endpoint": endpoint,
            **{name: getattr(self, name) for name in _WRITING},
        }  # fmt: skip

    def cut(self, track: Clip, content: str, analysis: Analysis) -> list[Clip]:
        """The clips of a track with what is sure of each; none of a track that is too short for one."""
        if analysis.duration_s < (self.seconds if self.sample_rate_hz else min(self.seconds, _SHORTEST_S)):
            return []
        found = []
        for start_s in windows(analysis.duration_s, self.seconds, self.clips):
            end_s = min(start_s + self.seconds, analysis.duration_s)
            attributes, phrases = attributes_of(
                analysis, start_s=start_s, end_s=end_s, metadata=metadata_of(track), trust=Trust.load(self.trust),
                precision=self.precision, guesses=self.guesses,
            )  # fmt: skip
            if self.sample_rate_hz or self.most_voice < 1:
                spans = [s.confidence for s in analysis.voice.spans if s.start_s < end_s and s.end_s > start_s]
                sung = max(spans, default=0.0 if analysis.voice.spans else analysis.voice.confidence)
                attributes |= {"voice_confidence": sung, "from_s": start_s}
            found.append(Clip(id=f"{content[:16]}-{round(start_s * 1000):08d}", start_s=start_s, attributes=attributes,
                              duration_s=round(end_s - start_s, 6), phrases=phrases))  # fmt: skip
        return found


@dataclass(frozen=True, slots=True)
class Analyzed:
    """The clips of a content, by the first ``track`` that has it, and what its analysis says of itself."""

    content: str
    track: Clip
    clips: Sequence[Clip]
    key_confidence: float
    extractors: tuple[str, ...]


captioner = cache(Captioner)  # one in each process


def windows(duration_s: float, seconds: float, most: int) -> list[float]:
    """Where clips of ``seconds`` start: one after the other, or ``most`` of them spread evenly; a short track is one.

    >>> windows(35.0, 10.0, 0), windows(65.0, 10.0, 2), windows(4.0, 10.0, 0)
    ([0.0, 10.0, 20.0], [0.0, 50.0], [0.0])
    """
    starts = [i * seconds for i in range(max(1, int(duration_s / seconds + 1e-6)))]
    if most and len(starts) > most:
        starts = [starts[i] for i in np.linspace(0, len(starts) - 1, most).round().astype(int)]
    return starts


@dataclass(frozen=True, slots=True)
class WriteCaptions:
    """Captions for the clips of a track, held against the rules; answers of a model are kept.

    Rules of clips: ``nothing_known`` (no attribute is sure enough to be stated), ``failed_extraction`` (a required one
    could not be measured), ``key_confidence`` (a required key is not sure enough), ``vocals``. ``unchecked_words``
    counts captions of a model with words that nothing can check; the clip's attribute ``unchecked`` lists them.
    """

    settings: Settings
    answers: Path

    def prepare(self) -> None:
        """Check that the key of the endpoint is set."""
        captioner.cache_clear()  # an earlier run in this process may have given up
        if self.settings.endpoint is not None:
            captioner(self.settings.endpoint, self.answers)

    def __call__(self, track: Analyzed) -> tuple[list[Clip], Counter[str]]:
        """The clips that can be captioned, and how often each rule was broken."""
        if not track.clips:
            raise DecodeError(str(track.track.audio), "is too short for a clip")
        clips, broken = [], Counter[str]()
        for clip in track.clips:
            refused = self.refused(clip.attributes, track.key_confidence)
            broken.update(refused)
            texts = {} if refused else self._texts(clip, track.content, broken)
            if texts:
                unchecked = [
                    list(read(t, clip.attributes).unchecked) if s.startswith("llm:") else [] for t, s in texts.items()
                ]
                broken["unchecked_words"] += sum(map(bool, unchecked))
                own = {"caption_styles": list(texts.values()), **({"unchecked": unchecked} if any(unchecked) else {})}
                clips.append(replace(clip, captions=tuple(texts), attributes={**clip.attributes, **own}))
        return clips, +broken

    def refused(self, attributes: Mapping[str, Any], key_confidence: float) -> Sequence[str]:
        """The rules of clips that one with these attributes breaks."""
        few = ENGLISH_ONLY if self.settings.style in LANGUAGES else {"unsure"}
        if set(attributes) - {"voice_confidence", "from_s"} <= few:
            return ["nothing_known"]
        if attributes.get("voice_confidence", 0.0) > self.settings.most_voice:
            return ["vocals"]
        lost = {name for name in self.settings.required if name not in attributes}
        sure = {"key"} if key_confidence > 0 else set[str]()
        return ["failed_extraction"] * bool(lost - sure) + ["key_confidence"] * bool(lost & sure)

    def _texts(self, clip: Clip, content: str, broken: Counter[str]) -> dict[str, str]:
        """Captions and who wrote them: a style, or ``llm:MODEL``."""
        known, asked = clip.attributes, self.settings
        found: dict[str, str] = {}
        for i in range(asked.per_clip):
            seed = f"{asked.seed}/{content}/{clip.start_s:.3f}/{i}"
            if asked.endpoint is not None:
                answer = captioner(asked.endpoint, self.answers).caption(known, seed=seed)
                broken.update(answer.rejected)
                if answer.text:
                    found[answer.text] = f"llm:{asked.endpoint.model}"
                if answer.text or not asked.grammar_on_failure:
                    continue
            style = "figma" if asked.endpoint is not None else asked.style or drawn_style(seed, known)
            (text,) = caption(known, clip.phrases, seed=seed, style=style, duration_s=clip.duration_s)
            figma = style == "figma"
            rules = CaptionRules(complete=style in FULL_STYLES, one_sentence=figma, objective=figma)
            broken.update(bad := broken_rules(text, known, rules))
            if not bad:
                found[text] = style
        return found
