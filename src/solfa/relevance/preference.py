"""What a listener weighs: a few weights over measured attributes, learnt from verdicts, added to search evidence."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solfa.collection import Attributes
from solfa.core.theory import KEYS
from solfa.core.types import FloatArray
from solfa.core.vocabulary import concepts, lineage

_PRIOR = 3.0  # precision of the prior at 0 of each weight: benchmarks/listeners.py
_MOST = 4.0  # nats that it may add or take
_ROUNDS = 2000  # within 0.001 of the optimum, also of a thousand verdicts that agree
Rows = NDArray[np.intp]
_FIFTHS = np.array([key.fifths for key in KEYS])


def fifths_apart(first: NDArray[np.integer], second: NDArray[np.integer]) -> NDArray[np.integer]:
    """Steps on the circle of fifths between keys by number, 0..6; a key and its relative are none apart [broadcast]."""
    steps = np.abs(_FIFTHS[first] - _FIFTHS[second])
    return np.asarray(np.minimum(steps, 12 - steps))


def octaves_apart(first: FloatArray, second: FloatArray) -> FloatArray:
    """Distance of tempi in octaves, 0..0.5, half and double tempo taken as the same [broadcast]; NaN for NaN."""
    apart = np.abs(np.log2(first) - np.log2(second)) % 1.0
    return np.asarray(np.minimum(apart, 1.0 - apart))


@dataclass(slots=True)
class Traits:
    """Attributes of tracks, and how those of two agree; rows are those of the columns."""

    table: Attributes
    _profiles: dict[str, FloatArray] = field(default_factory=dict)

    def of(self, seeds: Sequence[int], rows: Rows) -> dict[str, FloatArray]:
        """Each feature of ``rows``: of the track alone, and, where there are ``seeds``, mean agreement with those."""
        table = self.table
        loud, key, tempo = table.column("loudness_lufs"), table.column("key")[:, 0], table.column("tempo_bpm")[:, 0]
        # Two names, so that verdicts on similar tracks change no search by words, and the other way round.
        if not len(seeds):
            return {"vocals, by words": table.confidence("voice")[rows]}
        one, all_seeds = rows[:, None], np.asarray(seeds)[None]
        unknown = (key[one] < 0) | (key[all_seeds] < 0)
        pairs = {
            "tempo alike": -octaves_apart(tempo[one], tempo[all_seeds]),
            "key near": np.where(unknown, np.nan, -fifths_apart(key[one], key[all_seeds])),
            "mode alike": np.where(unknown, np.nan, (key[one] >= 12) == (key[all_seeds] >= 12)),
            "loudness alike": -np.abs(loud[one] - loud[all_seeds]),
        }
        profiles = {kind: self._profile(kind) for kind in ("instrument", "percussion", "genre", "mood")}
        return {
            "vocals": table.confidence("voice")[rows],
            **{f"{kind} alike": own[rows] @ own[seeds].mean(axis=0) for kind, own in profiles.items()},
            **{name: values.mean(axis=1) for name, values in pairs.items()},
        }

    def _profile(self, kind: str) -> FloatArray:
        """Confidences of a kind's concepts around their means, unit norm [shape=(N, C)]."""
        if kind not in self._profiles:
            drums = {n for n in concepts() if {"drums", "percussion"} & {*lineage(n)}}
            names = [n for n, c in concepts().items() if (n in drums) == (kind == "percussion")
                     and c.kind in (kind, "instrument" if kind == "percussion" else kind)]  # fmt: skip
            sure = np.nan_to_num(np.stack([self.table.confidence(n) for n in names], axis=1))
            sure -= sure.mean(axis=0)
            self._profiles[kind] = sure / np.maximum(np.linalg.norm(sure, axis=1, keepdims=True), 1e-6)
        return self._profiles[kind]


@dataclass(frozen=True, kw_only=True, slots=True)
class Preference:
    """Weights in nats for a standard score, by feature, and each feature's mean and deviation in the collection."""

    weights: Mapping[str, float]
    scales: Mapping[str, Sequence[float]]

    def evidence(self, features: Mapping[str, FloatArray], count: int) -> FloatArray:
        """What is added to the evidence of tracks, in nats, within +-4 [shape=(count,)]."""
        total = np.zeros(count)
        for name in (n for n in features if n in self.weights):  # in one order: sums of floats depend on it
            total += self.weights[name] * self.standard(name, features[name])
        return np.clip(total, -_MOST, _MOST).astype(np.float32)

    def standard(self, name: str, values: FloatArray) -> FloatArray:
        """Standard scores of a feature; 0 where it was not measured."""
        mean, deviation = self.scales[name]
        return np.asarray(np.nan_to_num((values - mean) / max(deviation, 1e-6)))

    def preferring(self, table: Attributes) -> Callable[[Rows, Sequence[int]], FloatArray]:
        """What a searcher takes as ``prefer``."""
        features = Traits(table)
        return lambda rows, seeds: self.evidence(features.of(seeds, rows), len(rows))

    @classmethod
    def scaled(cls, features: Traits, rng: np.random.Generator) -> "Preference":
        """No weights yet, and the scales of features over random pairs of tracks."""
        every = np.arange(len(features.table))
        seeds, drawn = rng.choice(every, 30).tolist(), rng.choice(every, 100)
        pairs = [{**features.of([seed], drawn), **features.of([], drawn)} for seed in seeds]
        scales = {}
        for name in pairs[0]:
            known = (values := np.concatenate([one[name] for one in pairs]))[~np.isnan(values)]
            scales[name] = (float(known.mean()), float(known.std())) if len(known) else (0.0, 0.0)
        return cls(weights={}, scales=scales)

    def learnt(
        self, features: Sequence[Mapping[str, Any]], is_good: Sequence[bool], given: NDArray[np.float64]
    ) -> "Preference":
        """Logistic regression of verdicts on features, on top of the evidence ``given`` by the search itself.

        A prior holds each weight near 0 (ridge), so that few verdicts change little. Each step goes to the least of a
        quadratic that is nowhere below the loss (Böhning 1992); the intercept is not kept, it changes no order.
        """
        rows = [[self.standard(n, np.ravel(f[n]))[0] if n in f else 0.0 for n in self.scales] for f in features]
        inputs, good = np.c_[np.array(rows), np.ones(len(rows))], np.array(is_good, float)
        prior, weights = np.r_[np.full(len(self.scales), _PRIOR), 0.01], np.zeros(len(self.scales) + 1)
        inverse = np.linalg.inv(inputs.T @ inputs / 4 + np.diag(prior))
        for _ in range(_ROUNDS):
            p = 1 / (1 + np.exp(-(inputs @ weights + given)))
            weights -= inverse @ (inputs.T @ (p - good) + prior * weights)
        kept = dict(zip(self.scales, weights[:-1].round(4).tolist(), strict=True))
        return Preference(weights=kept, scales=self.scales)
