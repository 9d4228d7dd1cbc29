"""Cutting recordings: the one event of a clip by its energy, and backgrounds in even pieces.

The event rule is that of FineLAP's data (its code; the paper gives the idea): the energy of frames of 1,024 samples
every 512, in dB, against an absolute threshold. The onset is the first window of frames with any frame above; the
offset is the first window after that one with no frame above, or the last frame. So silence of almost a window may
stand before the onset; ``tight`` cuts it, which labels of frames are the better for.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from solfa.core.types import BoolArray, FloatArray

FRAME, HOP, WINDOW, THRESHOLD_DB = 1024, 512, 20, -20.0  # samples, samples, frames
_TINY = 1e-12
_LOOP_S = 0.25  # crossfade where a short background is repeated


def frame_energy_db(samples: FloatArray) -> FloatArray:
    """10 log10(sum of squares) of whole frames [shape=(T,)]; none if there are fewer samples than a frame."""
    if len(samples) < FRAME:
        return np.empty(0, np.float32)
    frames = sliding_window_view(samples, FRAME)[::HOP]
    energy: FloatArray = 10 * np.log10(np.einsum("tn,tn->t", frames, frames, dtype=np.float64) + _TINY)
    return energy


def event_span(samples: FloatArray, *, tight: bool = False, window: int = WINDOW) -> tuple[int, int] | None:
    """Where the event is, in samples (start, end); None if no frame is above the threshold.

    ``tight`` cuts the silence that the window (in frames) leaves before and after.

    >>> sound = np.zeros(16 * 512, np.float32)
    >>> sound[8 * 512 : 10 * 512] = 0.5
    >>> event_span(sound, window=3), event_span(sound, window=3, tight=True)
    ((2560, 5120), (4096, 5120))
    """
    above = frame_energy_db(samples) > THRESHOLD_DB
    if not above.any():
        return None
    window = min(window, len(above))
    sounding: BoolArray = np.any(sliding_window_view(above, window), axis=1, keepdims=False)
    onset = int(np.argmax(sounding))
    quiet = np.flatnonzero(~sounding[onset + window :])
    offset = onset + window + int(quiet[0]) if len(quiet) else len(above) - 1
    if not tight:
        return onset * HOP, offset * HOP
    loud = np.flatnonzero(above[onset : offset + 1]) + onset
    first, last = int(loud[0]), int(loud[-1])
    # A loud frame next to a quiet one is loud by the part that the two do not share.
    start = first * HOP + (FRAME - HOP if first else 0)
    return start, (last + 1) * HOP if last + 1 < len(above) else len(samples)


def background_cuts(samples: FloatArray, length: int, min_length: int) -> list[FloatArray]:
    """Pieces of ``length`` samples without overlap; one piece, repeated with crossfades, of a shorter recording.

    What is left over, or shorter than ``min_length`` to begin with, gives nothing.
    """
    if len(samples) >= length:
        return [samples[at : at + length] for at in range(0, len(samples) - length + 1, length)]
    return [_looped(samples, length)] if len(samples) >= max(min_length, 2) else []


def _looped(samples: FloatArray, length: int) -> FloatArray:
    fade = max(1, round(_LOOP_S * min(len(samples), length) / 2.0))
    rise = np.sin(np.linspace(0, np.pi / 2, fade, dtype=np.float32))
    out = np.zeros(length + len(samples), np.float32)
    step = len(samples) - fade
    for at in range(0, length, step):
        piece = samples.copy()
        if at:
            piece[:fade] *= rise
        piece[-fade:] *= rise[::-1]
        out[at : at + len(piece)] += piece
    return out[:length]
