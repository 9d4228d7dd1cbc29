"""Voices, instruments, genres, moods and everyday sounds: how sure, and where, to the second.

The scores of the tagging networks become evidence per concept (``solfa.analysis.tagging``) and then probabilities by
monotone logistic curves, whose parameters and origin are in ``tags.toml`` next to this file.

Shape letters: S seconds, C concepts (in the order of ``solfa.analysis.tagging.voters``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from solfa.analysis.filters import expit
from solfa.analysis.protocol import ExtractorSpec, Observation
from solfa.analysis.tagging import PATCH_S, VERSION, by_second, evidence, logit, tag_frames, voters
from solfa.core.files import table_of
from solfa.core.types import Audio, BoolArray, FloatArray, Span, TagTrack
from solfa.core.vocabulary import concepts, lineage

# A track counts by its best half minute: the curves were fitted on clips of that length, and a solo in a long track
# counts as much as one in a short track.
_WINDOW_S = 30
# Evidence (mean over concepts) changes by 0.08 and more from second to second in music, by 0.04 and less in hum.
_LEAST_CHANGE, _STEADY_S = 0.06, 4
# A span begins where the probability passes the first bound and ends where it drops below the second.
_ENTER, _LEAVE = 0.5, 0.3
# Root mean square, less a constant, below which a second is silence (-60 dB of full scale): the networks name
# instruments even there.
_SILENCE = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Probability = expit(offset + slope * evidence), times that of the concept ``given`` where there is one."""

    offset: float
    slope: float
    given: str = ""


class TagsExtractor:
    """Which concepts of the vocabulary are present, with calibrated confidence and spans of whole seconds."""

    spec = ExtractorSpec(
        name="solfa-tags",
        version=f"7/{VERSION}",
        licence="Apache-2.0 (networks: ISC and Apache-2.0)",
        commercial_use=True,
        provides=("voice", "instruments", "genres", "moods", "sounds"),
    )

    def observe(self, audio: Audio) -> Observation:
        """``evidence`` float32 [shape=(S, C)] and ``sounding`` bool [shape=(S,)] of one stretch."""
        frames = tag_frames(audio)
        seconds = min(len(frames.yamnet_PL), int(np.ceil(audio.duration_s / PATCH_S)))
        probs = {net: rows[:seconds] for net, rows in by_second(frames).items()}
        votes = np.stack([evidence(concept, probs) for concept in voters()], axis=1)
        return {"evidence": votes, "sounding": _sounding(audio, seconds)}

    def conclude(self, observations: Sequence[Observation], duration_s: float) -> dict[str, Any]:
        """``voice``, ``instruments``, ``genres``, ``moods`` (uses among them) and ``sounds``, surest first.

        Every concept that some network can detect is there, however unlikely: that it is absent is a measurement,
        and a concept that is missing was not looked for. A silent track has none but the sound "silence".
        """
        names = list(voters())
        votes = np.concatenate([np.zeros((0, len(names)), np.float32), *(o["evidence"] for o in observations)])
        sounding = np.concatenate([np.zeros(0, np.bool_), *(o["sounding"] for o in observations)])
        tracks = _tracks(names, votes, sounding, duration_s) if sounding.any() else {}
        if len(sounding):
            tracks["silence"] = _track("silence", float(not sounding.all()), (~sounding).astype(np.float32), duration_s)
        by_kind: dict[str, list[TagTrack]] = {}
        for track in sorted(tracks.values(), key=lambda t: (-t.confidence, t.concept)):
            by_kind.setdefault(track.kind, []).append(track)
        voice = tracks.get("voice", TagTrack(concept="voice", kind="voice", confidence=0.0))
        voices = [t for t in by_kind.get("voice", []) if t.concept != "voice"]
        moods = sorted([*by_kind.get("mood", []), *by_kind.get("use", [])], key=lambda t: (-t.confidence, t.concept))
        return {
            "voice": voice,
            "instruments": (*by_kind.get("instrument", []), *voices),
            "genres": tuple(by_kind.get("genre", [])),
            "moods": tuple(moods),
            "sounds": tuple(by_kind.get("sound", [])),
        }


@cache
def calibrations() -> dict[str, Calibration]:
    """The curve of each measurable concept, from ``tags.toml``."""
    table, found = table_of("solfa.analysis", "tags.toml"), {}
    for name in voters():
        row = table["kind"][concepts()[name].kind] | table["concept"].get(name, {})
        offset = row["offset"] + row.get("shift", 0.0)
        found[name] = Calibration(offset=offset, slope=row["slope"], given=row.get("given", ""))
    return found


def _tracks(names: list[str], votes: FloatArray, sounding: BoolArray, duration_s: float) -> dict[str, TagTrack]:
    """Every measurable concept, whatever its confidence."""
    # Music counts by its half minute, unlike other sounds: the networks call a few seconds of many a noise music.
    sounds = np.array([concepts()[name].kind == "sound" and name != "music" for name in names])
    smooth = smoothed(votes)
    smooth[_steady(votes), names.index("music")] = logit(np.zeros(1, np.float32))
    smooth[:, sounds] = over_three_seconds(votes[:, sounds])
    by_second = probabilities(names, smooth) * sounding[:, None]
    pooled = np.stack([over_window(smooth[window], sounding[window]) for window in _windows(len(votes))])
    pooled[:, sounds] = smooth[sounding][:, sounds].max(axis=0)
    by_window = probabilities(names, pooled).max(axis=0)
    return {name: _track(name, float(by_window[i]), by_second[:, i], duration_s) for i, name in enumerate(names)}


def probabilities(names: list[str], votes: FloatArray) -> FloatArray:
    """Calibrated probabilities [shape of votes]; a wider concept is at least as likely as any case of it."""
    curves = calibrations()
    place = {name: i for i, name in enumerate(names)}
    out = np.empty_like(votes)
    for name, i in place.items():
        out[:, i] = expit(curves[name].offset + curves[name].slope * votes[:, i])
    for name, i in place.items():  # singing needs music, a voice does not: speech is one
        if curves[name].given == "music":
            out[:, i] *= out[:, place["music"]]
    for name, i in place.items():
        if curves[name].given not in lineage(name):
            for wider in lineage(name)[1:]:
                if wider in place:
                    np.maximum(out[:, place[wider]], out[:, i], out=out[:, place[wider]])
    for name, i in place.items():  # what is given stands before what depends on it
        if curves[name].given not in ("", "music"):
            out[:, i] *= out[:, place[curves[name].given]]
    return out


def _track(name: str, confidence: float, by_second: FloatArray, duration_s: float) -> TagTrack:
    spans = []
    for start, end in _runs(by_second):
        sure = round(float(by_second[start:end].mean()), 3)
        spans.append(Span(start_s=start * PATCH_S, end_s=min(end * PATCH_S, duration_s), confidence=sure))
    share = min(1.0, sum(s.end_s - s.start_s for s in spans) / duration_s) if duration_s > 0 else 0.0
    kind, confidence = concepts()[name].kind, round(confidence, 3)
    return TagTrack(concept=name, kind=kind, confidence=confidence, share=round(share, 3), spans=tuple(spans))


def _runs(by_second: FloatArray) -> Iterator[tuple[int, int]]:
    """Stretches that reach ``_ENTER`` and remain above ``_LEAVE``, from the first to the last second above it."""
    if by_second.max(initial=0.0) < _ENTER:  # most concepts, most of the time
        return
    above = np.flatnonzero(np.diff(np.concatenate([[False], by_second >= _LEAVE, [False]]).astype(np.int8)))
    for start, end in zip(above[::2], above[1::2], strict=True):
        if by_second[start:end].max() >= _ENTER:
            yield int(start), int(end)


def _sounding(audio: Audio, seconds: int) -> BoolArray:
    step = round(PATCH_S * audio.sample_rate_hz)
    pieces = (audio.samples[i * step : (i + 1) * step] for i in range(seconds))
    loud: BoolArray = np.array([len(p) > 0 and float(np.std(p)) > _SILENCE for p in pieces], np.bool_)
    return loud


def smoothed(rows: FloatArray, weights: tuple[int, int, int] = (1, 2, 1)) -> FloatArray:
    """Weighted mean of each second with the one before and the one after [same shape]; ends are repeated."""
    padded = np.pad(rows, ((1, 1), (0, 0)), mode="edge")
    total = sum(np.float32(weight) * padded[i : i + len(rows)] for i, weight in enumerate(weights))
    return np.asarray(total / np.float32(sum(weights)), np.float32)


def over_three_seconds(votes: FloatArray) -> FloatArray:
    """Log-odds of the mean probability over three seconds [same shape].

    A sound counts by its best such mean: a bark is short, and YAMNet was trained to find it in ten seconds.
    """
    return logit(smoothed(expit(votes), (1, 1, 1)))


def _steady(votes: FloatArray) -> BoolArray:
    """Seconds of a hum or a steady tone, which the networks call music [shape=(S,)]."""
    change = np.abs(np.diff(votes, axis=0)).mean(axis=1)
    steady = np.zeros(len(votes), np.bool_)
    for start in range(len(change) - _STEADY_S + 1):
        if change[start : start + _STEADY_S].mean() < _LEAST_CHANGE:
            steady[start : start + _STEADY_S + 1] = True
    return steady


def _windows(seconds: int) -> list[slice]:
    """Half minutes that overlap by half; the last one ends with the track."""
    last = max(0, seconds - int(_WINDOW_S / PATCH_S))
    starts = [*range(0, last, int(_WINDOW_S / PATCH_S / 2)), last]
    return [slice(start, start + int(_WINDOW_S / PATCH_S)) for start in starts]


def over_window(votes: FloatArray, sounding: BoolArray) -> FloatArray:
    """Log-odds of the mean probability over the seconds of a window, 0 where one is silent [shape=(C,)]."""
    mean = (expit(votes) * sounding[:, None]).sum(axis=0) / len(votes)
    return logit(mean.astype(np.float32))
