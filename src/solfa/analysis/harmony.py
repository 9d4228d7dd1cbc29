"""Key and chords: the default extractor. Two small networks on a constant-Q transform, no torch.

``cqt`` makes what the networks read. ``harmony_chords`` decodes the chords of one; the other, trained on rendered music
and on recordings (``tools/fit_key.py``), says the key, where ``harmony_key`` finds that there is one. All fitted
constants are in ``harmony.json``, with how they were fitted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solfa.analysis import harmony_chords, harmony_key
from solfa.analysis.cqt import BINS_PER_OCTAVE, HOP, N_BINS, RATE_HZ, cqt, tuning_of
from solfa.analysis.filters import block_means, running_mean
from solfa.analysis.protocol import NOTHING, ExtractorSpec, Observation, empty, ranked
from solfa.audio import at_rate
from solfa.core.files import table_of
from solfa.core.theory import KEYS
from solfa.core.types import Audio, BoolArray, ChordSegment, FloatArray
from solfa.weights import session

NET, KEY_NET = "chords", "key"
N_HEADS = harmony_chords.N_HEADS  # numbers in a frame of ``log_heads``
# Two frames of the transform are one of the chord network, 46 ms; it reads blocks of about 23 s, with a second more on
# both sides.
_POOL, _BLOCK, _MARGIN = 2, 512, 22
# The key network reads means of frames (0.19 s), in blocks of about 40 s; it was trained on 15 s.
_KEY_POOL, _KEY_BLOCK, _KEY_LEAST = 8, 215, 55
_CHROMA_BLOCK = 64
_ENVELOPE_BINS = 3 * BINS_PER_OCTAVE
_SILENCE = 1e-4  # peak below -80 dBFS
_REST = 21  # frames: silence within half a second of sound belongs to it
_MIN_SAMPLES = RATE_HZ // 4
_NUM_KEYS = 5  # that are reported
_FLOOR = np.float32(np.log(1e-6))  # of a log-probability


@cache
def constants() -> dict[str, Any]:
    """The fitted numbers of ``harmony.json``."""
    return table_of("solfa.analysis", "harmony.json")


class HarmonyExtractor:
    """Key and chord segments of a track. Implements ``analysis.protocol.Extractor``."""

    spec = ExtractorSpec(
        name="solfa-harmony",
        version="7",
        licence="Apache-2.0, network MIT",
        commercial_use=True,
        provides=("key", "chords"),
    )

    def observe(self, audio: Audio) -> Observation:
        """Frame features of one stretch.

        ``start_s`` float64 [T]; ``log_heads`` float16 [T, 100], log-probabilities of the network's six heads, a frame
        every 46 ms; ``chroma`` float32 [B, 12], pitch-class energy every 1.5 s; ``log_keys`` float32 [K, 24],
        log-probabilities of the keys in each block of about 40 s that sounds.
        """
        return _stretch(audio).observation

    def conclude(self, observations: Sequence[Observation], duration_s: float) -> dict[str, Any]:
        """``key`` and ``chords`` of the track; silence, noise and hum give key None and one segment ``N``."""
        if not observations or duration_s <= 0:
            return empty(self.spec.provides)
        chroma = np.concatenate([o["chroma"] for o in observations]).astype(np.float32)
        times = [np.asarray(o["start_s"], np.float64) for o in observations]
        starts = np.concatenate([t[t < duration_s] for t in times])
        heads = [np.asarray(o["log_heads"], np.float16) for o in observations]
        blocks = [h[t < duration_s] for h, t in zip(heads, times, strict=True)]
        decoded = harmony_chords.decode(blocks, constants()["chords"]["change_cost"])
        chroma = chroma[chroma.any(axis=1)]  # what sounds
        sounding_s = min(duration_s, len(chroma) * _CHROMA_BLOCK * HOP / RATE_HZ)
        decoded = replace(decoded, clear=decoded.clear * duration_s / max(sounding_s, 1e-9))  # of what sounds
        if not len(chroma) or not harmony_key.has_harmony(chroma, decoded):
            sure = 1 - decoded.clear
            none = ChordSegment(start_s=0.0, end_s=duration_s, label=harmony_chords.NO_CHORD, confidence=sure)
            return {"key": NOTHING, "chords": (none,)}
        chords = harmony_chords.segments(starts, duration_s, decoded, constants()["chords"])
        if sounding_s < harmony_key.MIN_SOUNDING_S:
            return {"key": NOTHING, "chords": chords}
        log_keys = np.concatenate([o["log_keys"] for o in observations])
        return {"key": ranked(KEYS, _probabilities(log_keys, sounding_s), _NUM_KEYS), "chords": chords}


@dataclass(frozen=True, eq=False, slots=True)
class _Stretch:
    """What is observed of a stretch, and means of 8 frames of its transform, with those that sound."""

    observation: Observation
    spectra_KB: FloatArray
    sounds_K: BoolArray


def _stretch(audio: Audio) -> _Stretch:
    """Computed once for a stretch (``Audio.derive``)."""
    return audio.derive("harmony", _transformed)


def _transformed(audio: Audio) -> _Stretch:
    samples = at_rate(audio, RATE_HZ).samples
    n_frames = 1 + len(samples) // HOP
    starts = np.arange(0, n_frames, _POOL)
    log_heads, chroma = np.full((len(starts), N_HEADS), _FLOOR), np.zeros((0, 12), np.float32)
    blocks = np.arange(0, n_frames, _KEY_POOL)
    log_keys, spectra = np.zeros((0, 24), np.float32), np.zeros((len(blocks), N_BINS), np.float32)
    sounding = np.zeros(len(blocks), np.bool_)
    log_heads[:, [harmony_chords.TRIAD, harmony_chords.BASS]] = 0.0
    edges = np.arange(0, len(samples), HOP)
    swing = np.maximum.reduceat(samples, edges) - np.minimum.reduceat(samples, edges) if len(samples) else edges
    near = np.convolve(np.resize(swing >= 2 * _SILENCE, n_frames), np.ones(2 * _REST + 1))
    sounds = near[_REST : _REST + n_frames] > 0
    if len(samples) >= _MIN_SAMPLES and sounds.any():
        magnitudes = cqt(samples, tuning_of(samples))
        present = np.logical_or.reduceat(sounds, starts)
        log_heads[present] = _log_heads(magnitudes)[present]
        chroma = _chroma(magnitudes * sounds[:, None])  # in silence rounding errors are left, and have pitches
        log_keys, spectra = _log_keys(pooled(magnitudes[sounds])), pooled(magnitudes)
        sounding = np.logical_or.reduceat(sounds, blocks)
    # A frame's centre is its time: the border between two is half a hop earlier.
    start_s = np.maximum(0.0, (starts - 0.5) * HOP / RATE_HZ) + audio.start_s
    kept = log_heads.astype(np.float16)
    observation: Observation = {"start_s": start_s, "log_heads": kept, "chroma": chroma, "log_keys": log_keys}
    return _Stretch(observation, spectra, sounding)


def local_keys(audio: Audio, edges_s: Sequence[float]) -> NDArray[np.float64]:
    """Probability of each major, then minor key from the tonic C up in parts of a stretch [shape=(parts, 24)].

    Part i is of the seconds ``edges_s[i]`` to ``edges_s[i + 1]`` of the stretch; zeros where nothing sounds.
    """
    stretch, keys = _stretch(audio), np.zeros((len(edges_s) - 1, 24))
    edges = np.rint(np.asarray(edges_s) * RATE_HZ / (HOP * _KEY_POOL)).astype(int)
    for row, (first, last) in enumerate(pairwise(edges.tolist())):
        frames = stretch.spectra_KB[first:last][stretch.sounds_K[first:last]]
        keys[row] = _probabilities(_log_keys(frames)) if len(frames) else 0.0
    return keys


def _probabilities(log_keys: FloatArray, sounding_s: float = np.inf) -> NDArray[np.float64]:
    """Of each key, from its mean log-probability over blocks [shape=(K, 24)]; a bar or two say less than a song."""
    fitted = constants()["key"]
    sharpness = fitted["sharpness"] * min(1.0, sounding_s / fitted["enough_s"]) ** fitted["growth"]
    scores = sharpness * log_keys.astype(np.float64).mean(axis=0)
    powers = np.exp(scores - scores.max())
    return np.asarray(powers / powers.sum())


def pooled(magnitudes: FloatArray) -> FloatArray:
    """What the key network reads of a transform [shape=(T, 252)]: means of 8 frames [shape=(ceil(T / 8), 252)]."""
    return block_means(magnitudes, _KEY_POOL).astype(np.float32)


def _log_keys(frames: FloatArray) -> FloatArray:
    """The key network's log-probabilities of each block of ``pooled`` frames [shape=(K, 24)]; under 10 s repeats."""
    net, blocks = session(KEY_NET), np.array_split(frames, max(1, round(len(frames) / _KEY_BLOCK)))
    longer = [np.resize(b, (1, max(len(b), _KEY_LEAST), N_BINS)) for b in blocks]
    return np.concatenate([net.run(None, {"spectra": b})[0] for b in longer])


def _log_heads(magnitudes: FloatArray) -> FloatArray:
    """The chord network's log-probabilities float32 [shape=(ceil(T / 2), 100)], at least ``_FLOOR``."""
    net, spectra = session(NET), block_means(magnitudes, _POOL).astype(np.float32)
    out = np.empty((len(spectra), N_HEADS), np.float32)
    # Blocks of equal length, so that the last is not a fraction of a second alone.
    n_blocks = max(1, round(len(spectra) / _BLOCK))
    edges = np.linspace(0, len(spectra), n_blocks + 1).astype(int)
    for first, last in pairwise(edges):
        low, high = max(0, first - _MARGIN), min(len(spectra), last + _MARGIN)
        (log_heads,) = net.run(None, {"spectra": spectra[None, low:high]})
        np.maximum(log_heads[0, first - low : last - low], _FLOOR, out=out[first:last])
    return out


def _chroma(magnitudes: FloatArray) -> FloatArray:
    """Pitch-class energy float32 [shape=(B, 12)], mean over frames that are each scaled to a maximum of 1.

    A semitone counts by how far its centre exceeds the two bins next to it (noise and drums cancel), and a pitch
    by its first six partials, so that overtones are credited to the note that makes them (Gomez, 2006). Half of the
    spectral envelope (a running mean over three octaves) is divided out first: a loud bass or a bright lead says no
    more of the key than the rest.
    """
    envelope = running_mean(magnitudes, _ENVELOPE_BINS) + np.float32(1e-3 * magnitudes.max() + 1e-12)
    padded = np.pad(magnitudes / np.sqrt(envelope), ((0, 0), (1, 1)))
    partials = np.sqrt(np.maximum(0.0, padded[:, 1:-1:3] - 0.5 * (padded[:, 0:-2:3] + padded[:, 2::3])))
    salience = partials.copy()
    for semitones, weight in ((12, 0.6), (19, 0.36), (24, 0.22), (28, 0.13), (31, 0.08)):
        salience[:, :-semitones] += np.float32(weight) * partials[:, semitones:]
    energy = salience.reshape(len(salience), -1, 12).sum(axis=1)
    loudest = energy.max(axis=1, keepdims=True)
    energy = np.where(loudest > 0, energy / np.where(loudest > 0, loudest, 1.0), 0.0)
    return block_means(energy, _CHROMA_BLOCK).astype(np.float32)
