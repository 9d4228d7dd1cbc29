"""A sound of any length to the windows that search and evaluation score.

A model that was trained on clips of one length (``spec.window_s``) gets just such clips: windows of that length from
the start of the sound, each encoded by itself, so that a clip inside a long file has the vectors of the clip alone. A
rest shorter than half a window belongs to the window before it. The vectors of other models hardly depend on where
sound is cut; their windows are segments of 30 s (the last one moved back to end with the sound), pooled by the mean of
their frames.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from solfa.alignment.scores import Texts, Windows, laid_out
from solfa.core.types import Audio, FloatArray, JointModel, Views

SEGMENT_S = 30.0


def embed(model: JointModel, stretches: Iterable[Audio]) -> Windows:
    """The windows of a sound that comes in stretches; sound of no length has none.

    Memory is bounded by a stretch and a window. Raises InputError if the encoder refuses the sound.
    """
    spec = model.audio.spec
    pooled, counts, frames = [np.zeros((0, spec.dim), np.float32)], [], [np.zeros((0, spec.dim), np.float32)]
    for audio in _windows(stretches, spec.window_s) if spec.window_s else stretches:
        features = model.audio.encode([audio])
        pooled.append(features.global_BD)
        frames.append(features.frames_BTD[0][features.mask_BT[0]])
        counts.append(len(frames[-1]))
    frames_TD = np.concatenate(frames)
    if spec.window_s:
        return laid_out(np.concatenate(pooled), frames_TD, counts, spec.window_s, spec.hop_s)
    ranges = segment_ranges(len(frames_TD), spec.hop_s)
    times = (np.arange(len(frames_TD)) * spec.hop_s).astype(np.float32)
    return Windows(pool(frames_TD, ranges), frames_TD, np.array(ranges, np.int64).reshape(-1, 2), times)


def _windows(stretches: Iterable[Audio], window_s: float) -> Iterator[Audio]:
    rest: Audio | None = None
    for audio in stretches:
        if rest is not None and len(rest.samples):
            audio = Audio(np.concatenate([rest.samples, audio.samples]), audio.sample_rate_hz, rest.start_s)
        size, at = round(window_s * audio.sample_rate_hz), 0
        while len(audio.samples) - at >= size + math.ceil(size / 2):  # what is left is a window of its own
            yield _part(audio, at, at + size)
            at += size
        rest = _part(audio, at, len(audio.samples))
    if rest is not None and len(rest.samples):
        yield rest


def track_vector(views: Views, windows: Windows) -> FloatArray:
    """The one vector of a sound: the mean direction of its ``candidates`` [shape=(D,)]; zeros if it has no window."""
    vectors_WD = candidates(views, windows)
    (vector,) = pool(vectors_WD, [(0, len(vectors_WD))])
    return np.asarray(vector, np.float32)


def candidates(views: Views, windows: Windows) -> FloatArray:
    """The vectors that a first search finds windows by [shape=(W, D)].

    The pooled vectors, or the mean of the frames where the pooled view was not trained and says nothing.
    """
    if "global" in views.trained:
        return np.asarray(windows.pooled_WD, np.float32)
    return pool(np.asarray(windows.frames_TD, np.float32), [(int(a), int(b)) for a, b in windows.ranges_W2])


def text_candidates(views: Views, texts: Texts) -> FloatArray:
    """What texts are compared with ``candidates`` by [shape=(X, D)]."""
    if "global" in views.trained:
        return texts.pooled_XD
    return np.concatenate([pool(tokens, [(0, len(tokens))]) for tokens in texts.tokens])


def segment_ranges(num_frames: int, hop_s: float) -> list[tuple[int, int]]:
    """First and last+1 frame of every segment.

    >>> segment_ranges(75, 1.0), segment_ranges(10, 1.0), segment_ranges(0, 1.0)
    ([(0, 30), (30, 60), (45, 75)], [(0, 10)], [])
    """
    width = max(1, round(SEGMENT_S / hop_s))
    if num_frames <= width:
        return [(0, num_frames)] if num_frames else []
    starts = [i * width for i in range(math.ceil(num_frames / width))]
    starts[-1] = num_frames - width
    return [(start, start + width) for start in starts]


def pool(frames_TD: FloatArray, ranges: list[tuple[int, int]]) -> FloatArray:
    """Unit vectors of ranges of frames: the mean of each, zeros for an empty one [shape=(S, D)]."""
    means = np.zeros((len(ranges), frames_TD.shape[1]), np.float32)
    for row, (start, end) in enumerate(ranges):
        if start < end:
            mean = frames_TD[start:end].mean(axis=0, dtype=np.float64)
            means[row] = mean / max(float(np.linalg.norm(mean)), 1e-9)
    return means


def _part(audio: Audio, start: int, end: int) -> Audio:
    rate = audio.sample_rate_hz
    return Audio(audio.samples[start:end], rate, audio.start_s + start / rate)
