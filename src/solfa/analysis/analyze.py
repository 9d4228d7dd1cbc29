"""One decode that feeds every extractor, and one analysis out of what they conclude."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from solfa.analysis.protocol import STRETCH_S, Extractor, Observation, empty
from solfa.analysis.registry import extractors as extractors_named
from solfa.audio import stretches
from solfa.core.errors import InputError
from solfa.core.types import Alternative, Analysis, Audio, ChordSegment, Estimate, Span, TagTrack
from solfa.jobs import heartbeat

P = TypeVar("P", ChordSegment, Span)
_SILENT_PEAK = 1e-5  # -100 dBFS
_MUSIC = 0.08  # confidence of music below which what sounds has no key and no beat, whatever fits it best
_MUSICAL = ("tempo_bpm", "metre", "beats_s", "downbeats_s", "key", "chords")
DECODER_VERSION = "2"  # raised when the same file would give extractors other samples


def analyze(source: Path | str | Iterable[Audio], extractors: Sequence[Extractor] | None = None) -> Analysis:
    """All that the extractors measure about a file, or about stretches of at most ``STRETCH_S`` in order.

    ``extractors`` None means the permissive defaults.

    Raises
    ------
    DecodeError
        If the file cannot be read.
    InputError
        If two extractors provide the same field.
    """
    analyzer = Analyzer(extractors_named() if extractors is None else extractors)
    for audio in stretches(source, STRETCH_S) if isinstance(source, Path | str) else source:
        analyzer.observe(audio)
    return analyzer.conclude()


def analysis_version(extractors: Sequence[Extractor]) -> str:
    """A name for what these tools would measure; an analysis of another version is made again."""
    return "+".join([f"decode@{DECODER_VERSION}", *sorted(f"{e.spec.name}@{e.spec.version}" for e in extractors)])


class Analyzer:
    """Analyzes one track stretch by stretch: observes each, in order, and concludes once.

    Raises
    ------
    InputError
        If two extractors provide the same field.
    """

    def __init__(self, extractors: Sequence[Extractor]) -> None:
        self._extractors = tuple(extractors)
        self._observations: list[list[Observation]] = [[] for _ in self._extractors]
        self._silence: dict[tuple[int, int], tuple[float, list[Observation]]] = {}
        self._end_s = 0.0
        owner: dict[str, str] = {}
        for extractor in self._extractors:
            for field in extractor.spec.provides:
                if field in owner:
                    raise InputError(
                        f"extractors {owner[field]!r} and {extractor.spec.name!r} both provide {field!r}; choose one."
                    )
                owner[field] = extractor.spec.name

    def observe(self, audio: Audio) -> None:
        """Let every extractor observe the next stretch."""
        # Silence is observed once and then only placed: hours of it cost no network.
        shape = (len(audio.samples), audio.sample_rate_hz)
        silent = len(audio.samples) == 0 or float(np.ptp(audio.samples)) < 2 * _SILENT_PEAK
        if silent and shape in self._silence:
            at_s, before = self._silence[shape]
            observed = [_later(o, audio.start_s - at_s) for o in before]
        else:
            observed = []
            for extractor in self._extractors:
                observed.append(extractor.observe(audio))
                heartbeat()
        for seen, observation in zip(self._observations, observed, strict=True):
            seen.append(observation)
        if silent:
            self._silence[shape] = (audio.start_s, observed)
        self._end_s = max(self._end_s, audio.start_s + audio.duration_s)

    def conclude(self) -> Analysis:
        """The analysis of what was observed; fields that no extractor provides are empty, with confidence 0."""
        fields = empty()
        for extractor, seen in zip(self._extractors, self._observations, strict=True):
            concluded = extractor.conclude(seen, self._end_s)
            heartbeat()
            fields.update({name: concluded[name] for name in extractor.spec.provides})
        if next((tag.confidence for tag in fields["sounds"] if tag.concept == "music"), 1.0) < _MUSIC:
            fields.update(empty(_MUSICAL))
        names = tuple(f"{e.spec.name}@{e.spec.version}" for e in self._extractors)
        return tidy(Analysis(duration_s=self._end_s, extractors=names, **fields))


def _later(observation: Observation, seconds: float) -> Observation:
    """The same, where it says when it was, so much later."""
    return {name: np.asarray(v, np.float64) + seconds if name == "start_s" else v for name, v in observation.items()}


def tidy(analysis: Analysis) -> Analysis:
    """The same analysis in plain Python numbers: times to the millisecond, confidences to four places in 0..1.

    What is stored, shown and read back is then exactly what was measured, and numpy scalars stay inside extractors.
    """
    energy = tuple(round(float(v), 4) for v in analysis.energy.values)
    return replace(
        analysis,
        duration_s=_time(analysis.duration_s),
        tempo_bpm=_estimate(analysis.tempo_bpm, 2),
        metre=_estimate(analysis.metre),
        beats_s=tuple(map(_time, analysis.beats_s)),
        downbeats_s=tuple(map(_time, analysis.downbeats_s)),
        key=_estimate(analysis.key),
        chords=tuple(replace(_placed(c), label=str(c.label)) for c in analysis.chords),
        loudness_lufs=_estimate(analysis.loudness_lufs, 2),
        energy=replace(analysis.energy, hop_s=float(analysis.energy.hop_s), values=energy),
        voice=_tag(analysis.voice),
        instruments=tuple(map(_tag, analysis.instruments)),
        genres=tuple(map(_tag, analysis.genres)),
        moods=tuple(map(_tag, analysis.moods)),
        sounds=tuple(map(_tag, analysis.sounds)),
    )


def _time(seconds: float) -> float:
    return round(float(seconds), 3)


def _placed(part: P) -> P:
    """A chord or a span."""
    sure = _confidence(part.confidence)
    return replace(part, start_s=_time(part.start_s), end_s=_time(part.end_s), confidence=sure)


def _confidence(value: float) -> float:
    return round(min(max(float(value), 0.0), 1.0), 4)


def _estimate(estimate: Estimate[Any], digits: int | None = None) -> Estimate[Any]:
    def plain(value: Any) -> Any:
        return value if value is None or digits is None else round(float(value), digits)

    others = [Alternative(value=plain(a.value), confidence=_confidence(a.confidence)) for a in estimate.alternatives]
    sure = _confidence(estimate.confidence)
    return replace(estimate, value=plain(estimate.value), confidence=sure, alternatives=tuple(others))


def _tag(tag: TagTrack) -> TagTrack:
    spans = tuple(map(_placed, tag.spans))
    return replace(tag, confidence=_confidence(tag.confidence), share=_confidence(tag.share), spans=spans)
