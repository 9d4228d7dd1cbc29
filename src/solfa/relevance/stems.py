"""Similarity stem by stem: drums, bass, vocals and the rest of two tracks are compared apart, and weighed.

``sim(A, B) = sum_k w_k cos(phi(A_k), phi(B_k))`` with w >= 0 and sum 1. Stems are separated without a network, by masks
on the spectrogram; ``phi`` is what the `listener` backbone says of a stem: its timbre, and the rhythm of drums or the
chords and key of other stems.
"""

import hashlib
import io
import math
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from solfa.analysis.analyze import analyze
from solfa.analysis.registry import extractors
from solfa.audio import ContentHash, at_rate, stretches
from solfa.collection import Collection
from solfa.core.errors import DecodeError, InputError
from solfa.core.files import write_whole
from solfa.core.types import Analysis, Audio, FloatArray, Span
from solfa.encoders import listener, taggers
from solfa.retrieval import Evidence, Hit, Results
from solfa.retrieval.like import cut, parse_example

STEMS = ("drums", "bass", "vocals", "other")
PRESETS = {
    "rhythm": {"drums": 0.8, "bass": 0.2},
    "harmony": {"bass": 0.3, "vocals": 0.1, "other": 0.6},
    "mood": {"drums": 0.1, "bass": 0.1, "vocals": 0.3, "other": 0.5},
}
MOST = 50  # hits that are compared
SILENT_DBFS = -60.0  # RMS
EXCERPT_S = 30.0  # around the middle of a track
_RATE_HZ, _SIZE, _HOP = 22_050, 2048, 512
_MEDIAN, _MARGIN = 17, 2.0  # frames or bins, about 0.4 s and 180 Hz; how far one median exceeds the other
_BASS_HZ = 200.0
PARTS = (taggers.DIM, listener.DIM - 2 * listener.TEMPI)  # where timbre ends, and harmony

Vectors = FloatArray  # [shape=(len(STEMS), D)], zeros for a silent stem


class Separator(Protocol):
    """Splits a sound into stems of ``STEMS``; ``voice`` is where somebody sings, in seconds from its start.

    ``name`` has its version: vectors of two separators never meet.
    """

    name: str

    def __call__(self, audio: Audio, voice: Sequence[Span]) -> Mapping[str, Audio]: ...


class Masks:
    """Harmonic, percussive and residual parts by median filters, after Driedger, Müller and Disch (ISMIR 2014).

    Drums are what is percussive; bass what is harmonic below 200 Hz; the rest counts as vocals while somebody sings,
    accompaniment included, and as other elsewhere. No network: parts leak into each other.
    """

    name = "masks/1"

    def __call__(self, audio: Audio, voice: Sequence[Span]) -> dict[str, Audio]:
        """Mono stems at 22,050 Hz. Memory: about 10 MB a second."""
        samples = at_rate(audio, _RATE_HZ).samples
        window = np.hanning(_SIZE + 1)[:-1].astype(np.float32)
        padded = np.pad(samples, (_SIZE, _SIZE))
        frames = np.lib.stride_tricks.sliding_window_view(padded, _SIZE)[::_HOP]
        spectrum = np.fft.rfft(frames * window, axis=1).astype(np.complex64)
        steady, sudden = (_median(np.abs(spectrum), axis) for axis in (0, 1))
        drums, harmonic = sudden > _MARGIN * steady, steady >= _MARGIN * sudden
        bass = harmonic & (np.fft.rfftfreq(_SIZE, 1 / _RATE_HZ) < _BASS_HZ)
        times_s, sung = (np.arange(len(spectrum)) * _HOP - _SIZE / 2) / _RATE_HZ, np.zeros((len(spectrum), 1), bool)
        for span in voice:
            sung[(times_s >= span.start_s) & (times_s < span.end_s)] = True
        rest = ~drums & ~bass
        masks = {"drums": drums, "bass": bass, "vocals": rest & sung, "other": rest & ~sung}
        return {k: Audio(_sound(spectrum * mask, window, len(samples)), _RATE_HZ) for k, mask in masks.items()}


def _median(magnitudes: FloatArray, axis: int) -> FloatArray:
    around = [(_MEDIAN // 2, _MEDIAN // 2) if a == axis else (0, 0) for a in (0, 1)]
    view = np.lib.stride_tricks.sliding_window_view(np.pad(magnitudes, around, mode="reflect"), _MEDIAN, axis)
    out = np.empty_like(magnitudes)
    for at in range(0, len(out), 64):  # a block at a time, so that the copies stay small
        out[at : at + 64] = np.partition(view[at : at + 64], _MEDIAN // 2, axis=-1)[..., _MEDIAN // 2]
    return out


def _sound(spectrum: NDArray[np.complex64], window: FloatArray, count: int) -> FloatArray:
    frames = (np.fft.irfft(spectrum, _SIZE, axis=1) * window / 1.5).astype(np.float32).reshape(len(spectrum), -1, _HOP)
    out = np.zeros((len(frames) + _SIZE // _HOP, _HOP), np.float32)
    for i in range(_SIZE // _HOP):  # Hann squared adds up to 1.5 in steps of a quarter
        out[i : i + len(frames)] += frames[:, i]
    return out.ravel()[_SIZE:][:count]


@dataclass(frozen=True, slots=True)
class StemMatch:
    """How alike two tracks are; None where no weighted stem is in both. ``one_sided`` stems are in only one of them."""

    score: float | None
    cosines: Mapping[str, float]
    one_sided: tuple[str, ...]


def stem_similarity(a: Vectors, b: Vectors, weights: Mapping[str, float]) -> StemMatch:
    """The weighted cosines of two tracks; stems that one of them lacks are dropped, the other weights scaled up.

    >>> a, b = np.eye(4)[[0, 1, 2, 2]], np.eye(4)[[0, 2, 3, 2]] * [[1], [1], [0], [1]]
    >>> stem_similarity(a, b, {"drums": 3, "bass": 1})
    StemMatch(score=0.75, cosines={'drums': 1.0, 'bass': 0.0, 'other': 1.0}, one_sided=('vocals',))
    """
    inside = {k: (bool(a[i].any()), bool(b[i].any())) for i, k in enumerate(STEMS)}
    unit_a, unit_b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9) for x in (a, b))
    cosines = {k: round(float(unit_a[i] @ unit_b[i]), 6) for i, k in enumerate(STEMS) if all(inside[k])}
    total = sum(weights.get(k, 0.0) for k in cosines)
    score = sum(weights.get(k, 0.0) * cosine for k, cosine in cosines.items()) / total if total > 0 else None
    return StemMatch(score, cosines, tuple(k for k, (one, other) in inside.items() if one != other))


def read_weights(text: str) -> dict[str, float]:
    """Weights that sum to 1, of a name of ``PRESETS`` or ``drums=2,vocals=0``; a stem that is not named has 1.

    Raises InputError for other names and numbers below 0, and if all are 0.

    >>> read_weights("drums=2,vocals=0")
    {'drums': 0.5, 'bass': 0.25, 'vocals': 0.0, 'other': 0.25}
    """
    if text in PRESETS:
        return dict(PRESETS[text])
    found = dict.fromkeys(STEMS, 1.0)
    try:
        for part in text.split(","):
            name, _, value = part.partition("=")
            found[STEMS[STEMS.index(name.strip())]] = float(value)
        if not all(0 <= w < math.inf for w in found.values()) or not sum(found.values()):
            raise ValueError
    except ValueError:
        expected = f"expected {', '.join(PRESETS)}, or numbers from 0 for {', '.join(STEMS)} such as drums=2,vocals=0"
        raise InputError(f"not weights of stems: {text!r}; {expected}.") from None
    return {k: w / sum(found.values()) for k, w in found.items()}


def learn_weights(matches: Sequence[StemMatch], alike: Sequence[bool]) -> dict[str, float]:
    """The weights, sum 1, by which the cosines of pairs tell those that somebody finds ``alike`` from the others.

    Logistic regression with weights >= 0 and a small ridge. A stem that a pair lacks counts as the mean of its others.
    Raises InputError without pairs of both kinds, and if no stem is more alike in the pairs that are alike.
    """
    labels = np.array(alike, np.float64)
    if len(labels) != len(matches) or len(set(alike)) != 2 or not all(m.cosines for m in matches):
        raise InputError("weights are learned from pairs with stems in common, some alike and some not.")
    x = np.array([[m.cosines.get(k, np.mean([*m.cosines.values()])) for k in STEMS] for m in matches])
    x = np.hstack([x - x.mean(axis=0), np.ones((len(x), 1))])
    w, step = np.ones(len(STEMS) + 1), 4 * len(x) / np.linalg.norm(x, 2) ** 2
    for _ in range(5000):
        gap = 1 / (1 + np.exp(-x @ w)) - labels
        w -= step * (x.T @ gap / len(x) + 1e-3 * np.append(w[:-1], 0.0))
        w[:-1] = np.maximum(w[:-1], 0.0)
    if not w[:-1].any():
        raise InputError("no stem is more alike in the pairs that are alike: nothing can be learned from these pairs.")
    return dict(zip(STEMS, (w[:-1] / w[:-1].sum()).tolist(), strict=True))


class StemStore:
    """Stems of tracks as vectors: made once for a content, then kept in the folder of the collection."""

    def __init__(self, collection: Collection, separator: Separator | None = None) -> None:
        self._collection, self._separator, self._backbone = collection, separator or Masks(), listener.MusicBackbone()
        made_by = f"{self._separator.name} {self._backbone.spec.space} {EXCERPT_S:g} 3"
        self._folder = collection.directory / "stems" / hashlib.sha256(made_by.encode()).hexdigest()[:12]
        self.made_s: list[float] = []  # how long each took

    def track(self, track_id: int, names: Sequence[str] = STEMS) -> Vectors:
        """The named stems of a track; zeros for others. Raises DecodeError if its file cannot be read, or is gone."""
        row, known = self._collection.track(track_id), self._collection.analysis(track_id)
        file = self._folder / row.hash[:2] / f"{row.hash}-{zlib.crc32(repr(known.voice.spans).encode()):08x}.npy"
        found, asked = np.full((len(STEMS), listener.DIM), np.nan, np.float32), np.isin(STEMS, list(names))
        with suppress(OSError, ValueError, EOFError):  # not there, or damaged: made again
            kept = np.load(file, allow_pickle=False)
            if kept.shape == found.shape and not np.isinf(kept).any():
                found = np.asarray(kept, np.float32)  # a stem that was not made yet is NaN
        missing = asked & np.isnan(found).any(axis=1)
        if missing.any():
            if not row.paths:
                raise DecodeError(f"track {track_id}", "its file is gone")
            wanted = [k for k, is_missing in zip(STEMS, missing, strict=True) if is_missing]
            found[missing] = self._vectors(row.paths[0], known, 0.0, None, wanted, row.hash)[missing]
            with suppress(OSError):  # what cannot be written is searched all the same
                file.parent.mkdir(parents=True, exist_ok=True)
                data = io.BytesIO()
                np.save(data, found.astype(np.float16))
                write_whole(file, data.getvalue())
        return np.where(asked[:, None], found, np.float32(0))

    def example(self, text: str, names: Sequence[str] = STEMS) -> Vectors:
        """Of a file, or a part of it (``FILE@0:30-0:50``). Raises InputError or DecodeError if it cannot be read."""
        path, start_s, end_s = parse_example(text)
        track_id = self._collection.at(path)
        if track_id is not None and end_s is None:
            return self.track(track_id, names)
        known = analyze(path, extractors(("solfa-tags",))) if track_id is None else self._collection.analysis(track_id)
        return self._vectors(path, known, start_s, end_s, names)

    def _vectors(
        self, path: Path, known: Analysis, start_s: float, end_s: float | None, names: Sequence[str], content: str = ""
    ) -> Vectors:
        begun_s, stop_s, read = time.perf_counter(), min(end_s or math.inf, known.duration_s), ContentHash()
        middle_s = (start_s + stop_s) / 2
        start_s, stop_s = max(start_s, middle_s - EXCERPT_S / 2), min(stop_s, middle_s + EXCERPT_S / 2)
        parts = [cut(audio, start_s, stop_s) for audio in stretches(path, content=read)]
        if content not in ("", read.hex):
            raise DecodeError(str(path), "has changed since it was indexed")
        audio = Audio(np.concatenate([a.samples for a in parts]), parts[0].sample_rate_hz)
        voice = [replace(s, start_s=s.start_s - start_s, end_s=s.end_s - start_s) for s in known.voice.spans]
        out = vectors_of(audio, voice, self._separator, self._backbone, names)
        self.made_s.append(time.perf_counter() - begun_s)
        return out


def vectors_of(
    audio: Audio, voice: Sequence[Span], separator: Separator, backbone: listener.MusicBackbone,
    names: Sequence[str] = STEMS,
) -> Vectors:  # fmt: skip
    """The named stems of a sound as vectors; zeros for others, and for those that are below ``SILENT_DBFS``."""
    out = np.zeros((len(STEMS), listener.DIM), np.float32)
    for name, stem in separator(audio, voice).items():
        level = 10 * np.log10(np.mean(np.square(stem.samples), dtype=np.float64) + 1e-12)
        if name in names and level > SILENT_DBFS:
            rows = backbone.states([stem], "rhythm" if name == "drums" else "harmony").pooled_BD
            out[STEMS.index(name)] = _phi(name, rows[0])
    return out.astype(np.float16).astype(np.float32)  # as kept ones are


def _phi(stem: str, row: FloatArray) -> FloatArray:
    """Timbre beside rhythm for drums, beside harmony for others, with the same weight: each around its mean."""
    parts = [part - part.mean() for part in np.split(row, PARTS)]
    parts[1 if stem == "drums" else 2][:] = 0.0
    return np.concatenate([part / max(float(np.linalg.norm(part)), 1e-9) for part in parts])


def by_stems(
    store: StemStore, results: Results, examples: Sequence[str], weights: Mapping[str, float],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Results:  # fmt: skip
    """The first ``MOST`` hits, ordered by their mean similarity with the examples, with its cosines as evidence.

    A hit that cannot be compared (its file is gone, no weighted stem in common) comes last, with the reason.
    """
    begun_s, names, found = time.perf_counter(), [k for k in STEMS if weights.get(k)], list[Hit]()
    asked = [store.example(text, names) for text in examples]
    said = ", ".join(f"{k} {w:.2g}" for k, w in weights.items() if w)
    for done, hit in enumerate(results.hits[:MOST], 1):
        try:
            own = store.track(hit.track_id, names)
            matches, why = [stem_similarity(one, own, weights) for one in asked], "no such stem in both"
        except DecodeError as error:
            matches, why = [], error.reason
        scores = [m.score for m in matches if m.score is not None]
        score = max(sum(scores) / len(scores), 0.0) if scores else 0.0
        cosines = {k: [m.cosines[k] for m in matches if k in m.cosines] for k in STEMS}
        words = [f"{k} {np.mean(of):.2f}" for k, of in cosines.items() if of]
        words += [f"{k} in one of them only" for k in STEMS if any(k in m.one_sided for m in matches)]
        proof = Evidence(constraint="stems", asked=said, measured=", ".join(words) if scores else why,
                         confidence=score, satisfied=None)  # fmt: skip
        found.append(replace(hit, score=score, evidence=(proof, *hit.evidence)))
        progress(done, min(len(results.hits), MOST))
    timing_ms = {**results.timing_ms, "stems": 1000 * (time.perf_counter() - begun_s)}
    timing_ms["total"] += timing_ms["stems"]
    return replace(results, hits=tuple(sorted(found, key=lambda h: -h.score)), timing_ms=timing_ms)
