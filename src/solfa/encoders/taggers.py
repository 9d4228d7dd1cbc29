"""The default audio backbone: the layers of the pretrained taggers before their tags, one row a second. No torch.

A row is ``[musicnn MTT | musicnn MSD | YAMNet]``, 200 + 200 + 1024 numbers, each as a standard score of music at large
(``bridge_space.fit``), clipped: their raw scales differ by a hundred. musicnn takes 3 s at once, so three rows share
its part; YAMNet's is of the second itself. The pass over the sound is the one that tags and the bridge use, so that it
costs nothing where they run anyway.
"""

import hashlib
from collections.abc import Sequence
from functools import cache

import numpy as np

from solfa.analysis.tagging import HOP_S, PATCH_S, SAMPLE_RATE_HZ, VERSION, tag_frames
from solfa.core.types import Audio, EncoderSpec, FloatArray, States
from solfa.encoders.bridge_space import NETS, fit
from solfa.encoders.registry import stated_spec
from solfa.encoders.vectors import pack_states, refuse_not_finite
from solfa.weights import weight

DIM = 1424
_REPEAT = int(HOP_S / PATCH_S)
_MOST = 8.0  # standard deviations; seconds vary more than the 3 s that the scale was taken from


class TaggersBackbone:
    """Sound to rows of 1424 numbers, one a second; a rest under half a second has none unless it is all there is.

    Networks are read when they are first used.
    """

    @property
    def spec(self) -> EncoderSpec:
        """What this backbone is; the space changes with the networks and with what the scores are taken against."""
        space = f"taggers/1/{DIM}/{_digest()}"
        return stated_spec("audio", "taggers", space, DIM, sample_rate_hz=SAMPLE_RATE_HZ, hop_s=PATCH_S)

    def states(self, batch: Sequence[Audio]) -> States:
        """Rows of each stretch, and their mean.

        Raises InputError if sound is not of finite numbers; WeightsError if a network's file is damaged.
        """
        refuse_not_finite(batch)
        return pack_states([_rows(audio) for audio in batch], DIM)


@cache
def _digest() -> str:
    """A hash of what the states depend on: the networks and the scale, not the text side of the bridge."""
    digest = hashlib.sha256(" ".join([VERSION, *(weight(name).values for name in NETS)]).encode())
    digest.update(fit().timbre_mean_E.tobytes() + fit().timbre_scale_E.tobytes())
    return digest.hexdigest()[:12]


def _rows(audio: Audio) -> FloatArray:
    """Standard scores [shape=(T, 1424)]."""
    if len(audio.samples) == 0:
        return np.zeros((0, DIM), np.float32)
    frames = tag_frames(audio)
    three = np.repeat(np.concatenate([frames.mtt_TD, frames.msd_TD], axis=1), _REPEAT, axis=0)
    count = min(len(three), max(1, int(audio.duration_s / PATCH_S + 0.5)))
    raw = np.concatenate([three, frames.yamnet_PD], axis=1)[:count]
    scores: FloatArray = np.clip((raw - fit().timbre_mean_E) / fit().timbre_scale_E, -_MOST, _MOST).astype(np.float32)
    return scores
