"""What can be earned without sound: rules that see only texts, and vectors that hold no sound.

A benchmark is worth what a system earns above these. `plausibility` is the rule against which counterfactual captions
are made; `Unigrams` prefers texts whose words are frequent in other captions; `without_sound` and `random_vectors` put
a model's own text tower, or nothing, in the place of a model.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from solfa.core.claims import claimed_key, claimed_triads, find_claims, main_marking, tempo_marking
from solfa.core.theory import Key
from solfa.core.types import FloatArray
from solfa.evaluation.similarity import Pool, unit_rows

_SCALE_TRIADS = {
    "major": {(0, "maj"), (2, "min"), (4, "min"), (5, "maj"), (7, "maj"), (9, "min")},
    "minor": {(0, "min"), (3, "maj"), (5, "min"), (7, "min"), (7, "maj"), (8, "maj"), (10, "maj")},
}
_BEATS = {"4": 1.0, "3": 0.4, "2": 0.2, "6": 0.2}
_TIE_NOISE = 1e-4  # breaks ties at random: below any difference that a model makes, above the rounding of scores


def plausibility(text: str) -> float:
    """How likely a caption is by what its statements say of each other; higher is more plausible.

    Does the number fit the marking, do the chords fit the key, does the tonic come first, is four beats likely, is no
    chord repeated at once, is the key a common one, does the article fit?

    >>> plausibility("A piece in C major, C - F - G.") > plausibility("A piece in Db major, C - F - G.")
    True
    """
    claims, score = find_claims(text), 0.0
    if "bpm" in claims and "marking" in claims:
        score += tempo_marking(float(claims["bpm"].value)) == main_marking(claims["marking"].value)
    chords = claimed_triads(claims["chords"].value) if "chords" in claims else []
    score -= sum(a == b for a, b in pairwise(chords))
    if "key" in claims:
        key = claimed_key(claims["key"].value)
        score -= 0.05 * _num_accidentals(key)
        if chords:
            degrees = [((root - key.tonic) % 12, triad) for root, triad in chords]
            score += float(np.mean([d in _SCALE_TRIADS[key.mode] for d in degrees]))
            score += 0.5 * (degrees[0][0] == 0) + 0.25 * any(d[0] == 0 for d in degrees)
    if "beats" in claims:
        score += _BEATS.get(claims["beats"].value, 0.0)
    if "bpm" in claims:
        score += 0.1 * (float(claims["bpm"].value) % 10 == 0) + 0.1 * (80 <= float(claims["bpm"].value) <= 140)
    score -= len(re.findall(r"\b[Aa] (?:[AEF](?![a-z])|8\d?\b|1[18]\b|a(?:ll|nd|da))", text))
    score -= len(re.findall(r"\b[Aa]n (?:[BCDG](?![a-z])|[2-79]\d?\b|[lmpvg](?:a|o|i|r))", text))
    return float(score)


def _num_accidentals(key: Key) -> int:
    return min(key.fifths, 12 - key.fifths)


class Unigrams:
    """Mean log likelihood of a text's words, by their frequency in captions (add-one)."""

    def __init__(self, captions: Iterable[str]) -> None:
        self._counts = Counter(word for caption in captions for word in self.words(caption))

    @staticmethod
    def words(text: str) -> list[str]:
        """Words and signs of a text in lower case."""
        return re.findall(r"[\w#♯♭]+(?:[./][\w#♯♭]+)*|[^\w\s]", text.lower())

    def score(self, text: str) -> float:
        """Higher is more usual."""
        total = self._counts.total() + len(self._counts) + 1
        found = [math.log((self._counts[word] + 1) / total) for word in self.words(text)]
        return sum(found) / max(len(found), 1)


def without_sound(pool: Pool, *, seed: int = 0) -> Pool:
    """The pool's mean sound in the place of every clip: what is left of a model is what its texts alone decide."""
    means = [
        np.concatenate([np.asarray(part, np.float64) for part in parts]).mean(axis=0)
        for parts in ([s.pooled_WD for s in pool.sounds], [s.frames_TD for s in pool.sounds])
    ]
    rng = np.random.default_rng([seed, 17])

    def mean(row: int, num: int, of_frames: bool) -> FloatArray:
        vector = means[of_frames] / max(float(np.linalg.norm(means[of_frames])), 1e-12)
        return unit_rows(vector + _TIE_NOISE * rng.standard_normal((num, len(vector))))

    return filled(pool, mean)


def random_vectors(pool: Pool, *, seed: int = 0) -> Pool:
    """Random unit vectors of the same shapes."""
    rng, dim = np.random.default_rng([seed, 18]), pool.sounds[0].pooled_WD.shape[1]
    return filled(pool, lambda row, num, of_frames: unit_rows(rng.standard_normal((num, dim))))


def filled(pool: Pool, vectors: Callable[[int, int, bool], FloatArray]) -> Pool:
    """The pool with other vectors: those of a row's windows (False) or frames (True), as many as there are."""
    return Pool([
        replace(s, pooled_WD=vectors(row, len(s.pooled_WD), False), frames_TD=vectors(row, len(s.frames_TD), True))
        for row, s in enumerate(pool.sounds)
    ])  # fmt: skip


def at_cosines(cosines: ArrayLike) -> FloatArray:
    """Unit vectors at these cosines, 0..1, with (1, 0); equal ones are parted at random [shape=(N, 2)]."""
    values = np.asarray(cosines, np.float64) * 0.999
    values = values + 1e-5 * np.random.default_rng(0).random(len(values))
    return np.stack([values, np.sqrt(1 - values**2)], axis=1).astype(np.float32)
