"""The default joint model: sound by pretrained taggers, text by MiniLM, bridged by the names of the tags.

No network was trained on pairs of sound and text. A sound is what the taggers say of it, compared with what they say
of music at large; a text is which tags its words are near to (``bridge_text``). See ``bridge_space`` for the axes.
"""

from collections.abc import Sequence
from importlib.resources import as_file, files

import numpy as np

from solfa.analysis.tagging import HOP_S, SAMPLE_RATE_HZ, TagFrames, evidence, logit, tag_frames
from solfa.core.types import Audio, EncoderSpec, Features, FloatArray, JointModel
from solfa.encoders.bridge_space import DIM, columns, fit, sounds, space
from solfa.encoders.bridge_text import BridgeText
from solfa.encoders.match import load_match
from solfa.encoders.registry import stated_spec
from solfa.encoders.vectors import pack, refuse_not_finite

# Part of a sound's squared length that is on the tag axes; the rest is timbre.
_TAG_SHARE = 0.5
# Standard deviations beyond which a score counts no more: one wild output must not be the whole vector.
_MOST = 4.0
# Log-odds from which an everyday sound counts, and above which it counts no more. In music they are near -11, so that
# music is where it would be without these axes.
_SOUND_LEAST, _SOUND_MOST = -6.0, 6.0


class BridgeAudio:
    """Sound to vectors, one frame every 3 s (the last one may be shorter, as in ``analysis.tagging.tag_frames``)."""

    @property
    def spec(self) -> EncoderSpec:
        """What this encoder is."""
        return _spec(HOP_S, SAMPLE_RATE_HZ)

    def encode(self, batch: Sequence[Audio]) -> Features:
        """Encode stretches of sound; the global vector is the mean direction of the frames.

        Raises InputError if sound is not of finite numbers; WeightsError if a network's file is damaged.
        """
        refuse_not_finite(batch)
        return pack([_vectors(tag_frames(audio)) for audio in batch], DIM)


def load() -> JointModel:
    """The bridge; networks are read when they are first used."""
    text = load_text()
    with as_file(files("solfa.encoders").joinpath("bridge_match.npz")) as file:
        match = load_match(file, text.spec)
    return JointModel(name="bridge", audio=BridgeAudio(), text=text, match=match)


def load_text() -> BridgeText:
    """Its text side alone."""
    return BridgeText(_spec(0.0, 0))


def _spec(hop_s: float, sample_rate_hz: int) -> EncoderSpec:
    return stated_spec("model", "bridge", space(), DIM, sample_rate_hz=sample_rate_hz, hop_s=hop_s)


def _vectors(frames: TagFrames) -> FloatArray:
    """Unit vectors [shape=(T, DIM)]."""
    f = fit()
    scores = {"mtt": frames.mtt_TL, "msd": frames.msd_TL, "yamnet": frames.yamnet_TL}
    logits = np.concatenate([logit(scores[net][:, list(where)]) for net, where in columns().items()], axis=1)
    tags = np.clip((logits - f.tag_mean_A) / f.tag_scale_A, -_MOST, _MOST)
    hidden = np.concatenate([frames.mtt_TD, frames.msd_TD, frames.yamnet_TD], axis=1)
    standard = np.clip((hidden - f.timbre_mean_E) / f.timbre_scale_E, -_MOST, _MOST)
    # einsum without BLAS: the same bits for a frame whatever the number of frames.
    timbre = np.einsum("te,ek->tk", standard, f.timbre_axes_EK)
    everyday = np.stack([evidence(name, scores) for name in sounds()], axis=1)
    everyday = np.clip(everyday, _SOUND_LEAST, _SOUND_MOST) - np.float32(_SOUND_LEAST)
    folded = np.einsum("ts,sf->tf", everyday, f.sound_fold_SF)
    tags = np.concatenate([tags, folded], axis=1)
    parts = (_unit(tags) * _TAG_SHARE**0.5, _unit(timbre) * (1 - _TAG_SHARE) ** 0.5)
    whole: FloatArray = np.concatenate(parts, axis=1).astype(np.float32)
    return whole


def _unit(rows: FloatArray) -> FloatArray:
    unit: FloatArray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-9))
    return unit
