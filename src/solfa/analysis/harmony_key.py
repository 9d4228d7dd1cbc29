"""Whether what sounds has a key at all; which one is for the key network to say (``harmony``)."""

import numpy as np
from numpy.typing import NDArray

from solfa.analysis.harmony_chords import Decoded, tables, vocabulary
from solfa.core.types import FloatArray

# A key needs this much sound.
MIN_SOUNDING_S = 2.0
# Bounds of ``has_harmony``, set between noises and real music (docs/analysis.md). Change: L1 distance of the chroma of
# 1.5 s to the next, and that where there is one chord alone. Pitch classes: perplexity of the mean chroma.
_STEADY_BLOCKS, _LEAST_CHANGE, _LEAST_CHANGE_OF_ONE = 5, 0.055, 0.1
_CLEAR_CHORDS, _EVEN_CLASSES, _LEAST_FIT = 0.25, 11.85, 0.67


def profile_fit(chroma: FloatArray) -> NDArray[np.float64]:
    """Correlation -1..1 of the track's chroma [shape=(B, 12)] with each key's profile: [shape=(2, 12)]."""
    mean = chroma.mean(axis=0).astype(np.float64)
    mean -= mean.mean()
    size = float(np.linalg.norm(mean))
    profiles = np.array([tables()["profile"][mode] for mode in ("major", "minor")])
    profiles = profiles - profiles.mean(axis=1, keepdims=True)
    profiles = profiles / np.linalg.norm(profiles, axis=1, keepdims=True)
    moved = np.array([np.roll(mean, -tonic) for tonic in range(12)])
    return profiles @ moved.T / size if size > 1e-9 else np.zeros((2, 12))


def has_harmony(chroma: FloatArray, decoded: Decoded) -> bool:
    """Whether pitches change, and chords or the key profiles fit them better than they fit noise.

    ``chroma`` [shape=(B, 12)] and ``decoded.clear`` are of what sounds. Mains hum and steady tones do not change;
    noise, sweeps and clicks have no clear chords, and pitch classes that are alike or fit no key.
    """
    shares = chroma / chroma.sum(axis=1, keepdims=True)
    change = float(np.abs(np.diff(shares, axis=0)).sum(axis=1).mean()) if len(shares) >= _STEADY_BLOCKS else np.inf
    if change < (_LEAST_CHANGE if np.ptp(vocabulary().group[decoded.path]) else _LEAST_CHANGE_OF_ONE):
        return False
    mean = shares.mean(axis=0)
    classes = float(np.exp(-(mean * np.log(mean + 1e-9)).sum()))
    fits = float(profile_fit(chroma).max()) + decoded.clear / 2 > _LEAST_FIT
    return fits and (decoded.clear >= _CLEAR_CHORDS or classes < _EVEN_CLASSES)
