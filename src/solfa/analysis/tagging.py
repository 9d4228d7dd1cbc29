"""Pretrained tagging networks (musicnn twice, YAMNet): one forward pass over a stretch, which all rooms share.

``labels.toml`` next to this file names the outputs of the networks; ``concepts.toml`` says which are evidence of which
concept of the vocabulary.

Shape letters: T frames or windows (3 s), P patches (1 s), L labels, D dimensions.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.fft import rfft
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from solfa.analysis.filters import expit
from solfa.audio import at_rate
from solfa.core.files import table_of
from solfa.core.types import Audio, FloatArray
from solfa.weights import num_threads, path, session

SAMPLE_RATE_HZ = 16000
HOP_S = 3.0
PATCH_S = 1.0
_FILES = ("musicnn", "yamnet")
NETS = ("mtt", "msd", "yamnet")
_MUSICNN = ["mtt_probs", "msd_probs", "mtt_penultimate", "msd_penultimate"]
# Raise when anything between the samples and the scores changes: part of cache keys and of the embedding space.
VERSION = "3"

_WINDOW = int(HOP_S * SAMPLE_RATE_HZ)
_PATCHES = int(HOP_S / PATCH_S)
_PATCH = 15600
_FFT = 512
# A rest shorter than this at the end of a track is not a frame of its own.
_LEAST_REST = SAMPLE_RATE_HZ // 2
# For YAMNet the rest of a second counts as one where it is longer than a tenth of it.
_LEAST_OF_UNIT = 10
# Peaks of a stretch: between the first two it is raised to the second, beyond the last it is brought to full scale.
_SILENT, _QUIET, _LOUD = 1e-3, 0.1, 2.0
_LEAST_SCORE = 1e-5  # scores are clipped to this and one minus this before the logit


@dataclass(frozen=True, eq=False, slots=True)
class TagFrames:
    """Scores of the three networks; frame i covers seconds ``[3i, 3i+3)`` of the stretch, patch j ``[j, j+1)``.

    ``mtt_TL`` (T, 50), ``msd_TL`` (T, 50) and ``yamnet_PL`` (3T, 521) are independent probabilities (sigmoid outputs,
    not calibrated); ``mtt_TD`` (T, 200), ``msd_TD`` (T, 200) and ``yamnet_PD`` (3T, 1024) are the layers before them.
    All float32.
    """

    mtt_TL: FloatArray
    msd_TL: FloatArray
    yamnet_PL: FloatArray
    mtt_TD: FloatArray
    msd_TD: FloatArray
    yamnet_PD: FloatArray
    hop_s: ClassVar[float] = HOP_S

    def __len__(self) -> int:
        return len(self.mtt_TL)

    @property
    def yamnet_TL(self) -> FloatArray:
        """Mean of the three patches of a frame."""
        mean: FloatArray = self.yamnet_PL.reshape(len(self), _PATCHES, -1).mean(axis=1)
        return mean

    @property
    def yamnet_TD(self) -> FloatArray:
        """Mean of the three patches of a frame."""
        mean: FloatArray = self.yamnet_PD.reshape(len(self), _PATCHES, -1).mean(axis=1)
        return mean


@cache
def labels() -> dict[str, tuple[str, ...]]:
    """Names of the outputs by network: ``mtt`` (50), ``msd`` (50), ``yamnet`` (521), and those of ``probe``."""
    table = table_of("solfa.analysis", "labels.toml")
    return {net: tuple(table[net]) for net in (*NETS, "probe")}


def tag_frames(audio: Audio) -> TagFrames:
    """What the networks say about a stretch, computed once for it (``Audio.derive``).

    A rest of half a second or more at the end is a frame too, filled up by repeating it; a shorter rest is left out
    unless it is all there is. YAMNet sees silence after the rest of a second, and then whole seconds again: a short
    sound repeated at once has a beat, which it calls music. Empty sound is one frame of silence.

    Raises WeightsError if a network's file is damaged.
    """
    return audio.derive(f"tagging/{VERSION}", _scores)


def num_frames(audio: Audio) -> int:
    """How many frames ``tag_frames`` gives, without running a network."""
    samples = round(audio.duration_s * SAMPLE_RATE_HZ)
    return max(1, samples // _WINDOW + (samples % _WINDOW >= _LEAST_REST))


def _scores(audio: Audio) -> TagFrames:
    samples, count = _levelled(at_rate(audio, SAMPLE_RATE_HZ).samples), num_frames(audio)
    windows, seconds = _windows(samples, count, 1), _windows(samples, count, SAMPLE_RATE_HZ)
    for file in _FILES:
        session(file, threads=1)  # read the files before there are threads
    # One window a run: its activations (20 MB) remain near the cores, which is a quarter faster than eight at once and
    # takes a quarter of the memory; and a window's scores are the same to the last bit whatever is around it. Threads
    # take a window each, rather than parts of a layer, so that none waits for another.
    loud = np.flatnonzero(windows.any(axis=1))
    rows = [_silence() if len(loud) < count else ()] * count  # hours of silence cost no network
    with ThreadPoolExecutor(threads := min(num_threads(), max(1, len(loud)))) as pool:
        each = pool.map if threads > 1 else map  # a pool of one would only pass the work back and forth
        for i, row in zip(loud, each(_run, windows[loud, None], seconds[loud, None]), strict=True):
            rows[i] = row
    return TagFrames(*(np.concatenate(field) for field in zip(*rows, strict=True)))


def _levelled(samples: FloatArray) -> FloatArray:
    """The samples, scaled to the levels that the networks know where a stretch is far from them."""
    peak = float(np.abs(samples).max(initial=0.0))
    wanted = _QUIET if _SILENT < peak < _QUIET else 1.0 if peak > _LOUD else peak
    return samples if wanted == peak else samples * np.float32(wanted / peak)


@cache
def _silence() -> tuple[FloatArray, ...]:
    return _run(*np.zeros((2, 1, _WINDOW), np.float32))


def _windows(samples: FloatArray, count: int, unit: int) -> FloatArray:
    """Windows [shape=(count, 48000)]; a short piece is filled up with zeros to whole units, and then repeats."""
    out = np.zeros((count, _WINDOW), np.float32)
    for i in range(count):
        piece = samples[i * _WINDOW : (i + 1) * _WINDOW]
        if len(piece):
            units = max(1, -(-(len(piece) - unit // _LEAST_OF_UNIT) // unit))
            out[i] = np.resize(np.pad(piece, (0, max(0, units * unit - len(piece))))[: units * unit], _WINDOW)
    return out


def _run(windows: FloatArray, seconds: FloatArray) -> tuple[FloatArray, ...]:
    """The fields of ``TagFrames`` in their order, for windows [shape=(T, 48000)] as musicnn and as YAMNet sees them."""
    musicnn, yamnet = (session(file, threads=1) for file in _FILES)
    mtt, msd, mtt_hidden, msd_hidden = musicnn.run(_MUSICNN, {"mel": musicnn_mel(windows)})
    patches = seconds.reshape(-1, int(PATCH_S * SAMPLE_RATE_HZ))[:, :_PATCH]
    probs, embedding = yamnet.run(["probs", "embedding"], {"patch": yamnet_mel(patches)[:, None]})
    return mtt, msd, probs, mtt_hidden, msd_hidden, embedding


# --- from scores to evidence for concepts -----------------------------------------------------------------------------


def by_second(frames: TagFrames) -> dict[str, FloatArray]:
    """Scores of the three networks and of ``probe`` [shape=(3T, L)] on the grid of seconds, by the names of ``labels``.

    The probe is a logistic regression of instruments on YAMNet's last layer (``tools/fit_tags_probe.py``).
    Raises WeightsError if its file is damaged.
    """
    weights, offset = _probe()
    three_s = {net: np.repeat(rows, _PATCHES, axis=0) for net, rows in (("mtt", frames.mtt_TL), ("msd", frames.msd_TL))}
    return three_s | {"yamnet": frames.yamnet_PL, "probe": expit(frames.yamnet_PD @ weights + offset)}


@cache
def _probe() -> tuple[FloatArray, FloatArray]:
    """Weights [shape=(1024, L)] and offsets [shape=(L,)]."""
    with path("tags-probe").open("rb") as source, np.load(source) as stored:
        return stored["weights"].astype(np.float32), stored["offset"].astype(np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Voter:
    """Outputs of one net (or of the probe) that mean the same; the strongest of them counts, times ``weight``."""

    net: str
    labels: tuple[str, ...]
    weight: float

    @classmethod
    def parse(cls, row: str) -> "Voter":
        """Out of ``NET:LABEL | LABEL``, with the weight in front where it is not 1."""
        head, _, names = row.partition(":")
        weight, net = head.split() if " " in head else ("1", head)
        return cls(net=net, labels=tuple(name.strip() for name in names.split(" | ")), weight=float(weight))

    @property
    def columns(self) -> tuple[int, ...]:
        """Where the outputs are in the net's scores."""
        return tuple(labels()[self.net].index(name) for name in self.labels)


@cache
def voters() -> dict[str, tuple[Voter, ...]]:
    """By concept id, in the order of the table; a concept without an output is not in it."""
    table = table_of("solfa.analysis", "concepts.toml")
    return {concept: tuple(map(Voter.parse, rows)) for kind in table.values() for concept, rows in kind.items()}


def evidence(concept: str, probs: Mapping[str, FloatArray]) -> FloatArray:
    """Weighted mean of the voters' logits for a measurable concept, one value a row.

    ``probs`` are the scores of each net on one grid, float32 [shape=(T, L)].
    """
    total, weight = np.zeros(len(next(iter(probs.values()))), np.float32), 0.0
    for voter in voters()[concept]:
        total += np.float32(voter.weight) * logit(probs[voter.net][:, voter.columns].max(axis=1))
        weight += abs(voter.weight)
    mean: FloatArray = total / np.float32(weight)
    return mean


def logit(probs: FloatArray) -> FloatArray:
    """Log-odds of scores in 0..1, finite at both ends."""
    p = np.clip(probs, _LEAST_SCORE, 1 - _LEAST_SCORE)
    odds: FloatArray = np.log(p / (1 - p)).astype(np.float32)
    return odds


# --- log-mel spectrograms as the networks were trained on them --------------------------------------------------------


def musicnn_mel(windows_TN: FloatArray) -> FloatArray:
    """Log-mel of 3 s windows for musicnn [shape=(T, 187, 96)].

    librosa's ``melspectrogram`` with n_fft 512, hop 256, 96 bands (Slaney scale and area), then ``log10(10000 x + 1)``,
    in float32. Each window is framed on its own (centred frames, zeros outside), so that windows start exactly 3 s
    apart, which a running spectrogram (187 hops = 2.992 s) would not give.
    ``windows_TN`` float32 [shape=(T, 48000)] is sound at 16 kHz, one window a row.
    """
    padded = np.pad(windows_TN, ((0, 0), (_FFT // 2, _FFT // 2)))
    mel = np.empty((len(windows_TN), 187, 96), np.float32)
    for frames, out in zip(_frames(padded, _FFT, 256, 187), mel, strict=True):  # one at a time remains in the cache
        spectrum = rfft(frames * _hann(_FFT))
        np.matmul(spectrum.real**2 + spectrum.imag**2, _slaney_bank(), out=out)
    np.log10(10000 * mel + 1, out=mel)
    return mel


def yamnet_mel(patches_TN: FloatArray) -> FloatArray:
    """Log-mel of 0.975 s patches for YAMNet [shape=(T, 96, 64)].

    Magnitude of a 512-point FFT of 25 ms Hann frames every 10 ms, 64 HTK bands between 125 and 7500 Hz, then
    ``log(x + 0.001)``; equals the front end inside ``yamnet.tflite`` to 2e-5.
    ``patches_TN`` float32 [shape=(T, 15600)] is sound at 16 kHz, one patch a row.
    """
    mel = np.empty((len(patches_TN), 96, 64), np.float32)
    for frames, out in zip(_frames(patches_TN, 400, 160, 96), mel, strict=True):
        np.matmul(np.abs(rfft(frames * _hann(400), _FFT)), _htk_bank(), out=out)
    np.log(mel + np.float32(0.001), out=mel)
    return mel


def _frames(rows: FloatArray, size: int, hop: int, count: int) -> FloatArray:
    row, item = rows.strides
    return as_strided(rows, (len(rows), count, size), (row, hop * item, item), writeable=False)


@cache
def _hann(size: int) -> FloatArray:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


@cache
def _slaney_bank() -> FloatArray:
    hz = np.linspace(0, SAMPLE_RATE_HZ / 2, _FFT // 2 + 1)
    top = _KNEE + float(np.log(SAMPLE_RATE_HZ / 2 / _KNEE_HZ)) / _LOG_STEP
    edges = _slaney_to_hz(np.linspace(0, top, 98))
    bank: FloatArray = (_triangles(hz, edges) * (2 / (edges[2:] - edges[:-2]))).astype(np.float32)
    return bank


@cache
def _htk_bank() -> FloatArray:
    # TensorFlow's: triangles are straight on the mel scale, and bin 0 belongs to no band.
    mels = 1127 * np.log1p(np.linspace(0, SAMPLE_RATE_HZ / 2, _FFT // 2 + 1) / 700)
    low, high = 1127 * np.log1p(np.array([125.0, 7500.0]) / 700)
    bank = _triangles(mels, np.linspace(low, high, 66))
    bank[0] = 0
    weights: FloatArray = bank.astype(np.float32)
    return weights


def _triangles(points: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    x = points[:, None]
    return np.maximum(0.0, np.minimum((x - low) / (centre - low), (high - x) / (high - centre)))


# Slaney's scale: linear below 1 kHz, then 27 bands for each factor of 6.4.
_LINEAR_HZ, _KNEE_HZ = 200 / 3, 1000.0
_KNEE, _LOG_STEP = _KNEE_HZ / _LINEAR_HZ, float(np.log(6.4) / 27)


def _slaney_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < _KNEE, mel * _LINEAR_HZ, _KNEE_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _KNEE) - _KNEE)))
