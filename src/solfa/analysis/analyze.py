"""One decode that feeds every extractor, and one analysis out of what they conclude."""

from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from solfa.analysis.protocol import STRETCH_S, Extractor, Observation, empty
from solfa.analysis.registry import extractors as extractors_named
from solfa.audio import stretches
from solfa.core.errors import InputError
from solfa.core.types import Analysis, Audio, Estimate
from solfa.jobs import heartbeat

_SILENT_PEAK = 1e-5  # -100 dBFS
_MUSIC = 0.08  # confidence of music below which what sounds has no key and no metre, whatever fits it best
_MUSICAL = ("tempo_bpm", "metre", "beats_s", "downbeats_s", "key", "chords")
# A click track is no music but has a tempo: kept, at this share of its confidence, where that of the tempo, its halves
# and its doubles together is at least _PULSE (clicks 0.78 and more; engines, wind and moving filters 0.59 and less).
_PULSE, _PULSE_ALONE = 0.68, 0.4
_DIGITS = {
    **dict.fromkeys(("duration_s", "start_s", "end_s", "beats_s", "downbeats_s"), 3),
    **dict.fromkeys(("confidence", "share", "values"), 4),
    "value": 2,
}
DECODER_VERSION = "3"  # raised when the same file would give extractors other samples, or their answers count otherwise


def analyze(source: Path | str | Iterable[Audio], extractors: Sequence[Extractor] | None = None) -> Analysis:
    """All that the extractors measure about a file, or about stretches of at most ``STRETCH_S`` in order.

    ``extractors`` None means the permissive defaults.

    Raises DecodeError if the file cannot be read; InputError if two extractors provide the same field.
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

    Raises InputError if two extractors provide the same field.
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
        measured = empty()
        for extractor, seen in zip(self._extractors, self._observations, strict=True):
            concluded = extractor.conclude(seen, self._end_s)
            heartbeat()
            measured.update({name: concluded[name] for name in extractor.spec.provides})
        sounds = {tag.concept: tag.confidence for tag in measured["sounds"]}
        music = sounds.get("music", 0.0 if "silence" in sounds else 1.0)
        measured.update(_with_music(measured, min(1.0, 2 * music)) if music >= _MUSIC else _without_music(measured))
        names = tuple(f"{e.spec.name}@{e.spec.version}" for e in self._extractors)
        return tidy(Analysis(duration_s=self._end_s, extractors=names, **measured))


def _with_music(measured: dict[str, Any], by: float) -> dict[str, Any]:
    """What only music has, less sure (by a factor in 0..1) where it may be no music."""
    chords = (c if c.label == "N" else replace(c, confidence=by * c.confidence) for c in measured["chords"])
    found = {name: _scaled(measured[name], by) for name in ("tempo_bpm", "metre", "key")}
    return {**found, "chords": tuple(chords)}


def _without_music(measured: dict[str, Any]) -> dict[str, Any]:
    """Nothing that only music has, but an even pulse keeps its tempo and beats."""
    kept = empty(_MUSICAL)
    tempo = measured["tempo_bpm"]
    octaves = [(a.confidence, np.log2(a.value / tempo.value)) for a in tempo.alternatives if tempo.value and a.value]
    if tempo.confidence + sum(sure for sure, apart in octaves if abs(apart - round(apart)) < 0.05) >= _PULSE:
        kept.update(tempo_bpm=_scaled(tempo, _PULSE_ALONE), beats_s=measured["beats_s"])
    return kept


def _scaled(found: Estimate[Any], by: float) -> Estimate[Any]:
    others = tuple(replace(a, confidence=a.confidence * by) for a in found.alternatives)
    return replace(found, confidence=found.confidence * by, alternatives=others)


def _later(observation: Observation, seconds: float) -> Observation:
    """The same, where it says when it was, so much later."""
    return {name: np.asarray(v, np.float64) + seconds if name == "start_s" else v for name, v in observation.items()}


def tidy(analysis: Analysis) -> Analysis:
    """The same analysis in plain Python numbers: times to the millisecond, confidences to four places in 0..1.

    What is stored, shown and read back is then exactly what was measured, and numpy scalars remain inside extractors.
    """
    plain: Analysis = _plain("", analysis)
    return plain


@cache
def _fields(kind: type[Any]) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind))


def _plain(name: str, value: Any) -> Any:
    """The value of a field of this name, and all that is in it."""
    if value is None or isinstance(value, str):
        return value if value is None else str(value)
    if is_dataclass(kind := type(value)):  # asked of the class: what a value has, and a track has hundreds of them
        return kind(**{field: _plain(field, getattr(value, field)) for field in _fields(kind)})
    if not isinstance(value, float) and np.ndim(value):
        return tuple(_plain(name, item) for item in value)
    number = min(max(float(value), 0.0), 1.0) if name in ("confidence", "share") else float(value)
    return round(number, _DIGITS[name]) if name in _DIGITS else number
