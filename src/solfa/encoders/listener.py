"""The backbone that our own recipes train on: another's rows, and the analysis of chords, key and tempo.

A row is ``[taggers 1424 | chord network 100 | key 24 | periodicity 2 x 64]``, one a second. The taggers know sounds and
styles, and next to nothing of keys, chords and tempi; the analysis' own networks know those and nothing else. The
chord part is of the row's own time; key and periodicity are of its part of the stretch, one of equal parts of about
15 s. All parts are brought to about unit scale, and read the transform, onsets and taggers' outputs that the analysis
computed of the stretch. ``listener:NAME`` has vectors of a joint model (``tower:NAME``) in place of the taggers' rows.
No torch of its own.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from solfa.analysis import harmony, rhythm
from solfa.core.types import Audio, Backbone, EncoderSpec, FloatArray, States
from solfa.encoders import taggers, towers
from solfa.encoders.registry import stated_spec
from solfa.encoders.vectors import pack_states
from solfa.weights import weight

TEMPI = 64  # places on a logarithmic scale of beats per minute at which the periodicity is read
MEASURED = harmony.N_HEADS + 24 + 2 * TEMPI  # numbers of a row that are the analysis'
DIM = taggers.DIM + MEASURED
_VERSION = "3"  # of what is done with the networks' outputs
_AROUND_S = 15.0  # length of the parts of a stretch that key and periodicity are of
_KEY_SHARPEST = 6.0  # log-probabilities are cut here: a key is not less likely than e to minus this


class MusicBackbone:
    """Sound to rows of ``MEASURED`` numbers after those of ``base``; a stretch has as many rows as that gives it."""

    def __init__(self, base: Backbone[Audio] | None = None) -> None:
        self._base: Backbone[Audio] = base or taggers.TaggersBackbone()
        self._harmony = harmony.HarmonyExtractor()

    @property
    def spec(self) -> EncoderSpec:
        """What this backbone is; the space changes with the base's and with the networks of chords and key."""
        base = self._base.spec
        dim, networks = base.dim + MEASURED, [weight(name).values for name in ("chords", "key")]
        space = f"listener/{_VERSION}/{dim}/{hashlib.sha256(repr([base.space, *networks]).encode()).hexdigest()[:12]}"
        stated = stated_spec("audio", "listener", space, dim, sample_rate_hz=base.sample_rate_hz, hop_s=base.hop_s)
        licence = stated.licence if base.name == "taggers" else f"{base.licence}; {stated.licence}"
        return replace(stated, licence=licence, commercial_use=base.commercial_use)

    def states(self, batch: Sequence[Audio], only: Literal["", "harmony", "rhythm"] = "") -> States:
        """Rows of each stretch, and their mean; with ``only`` the other part beside the base's is zeros.

        Raises InputError if sound is not of finite numbers; WeightsError if a network's file is damaged.
        """
        states = self._base.states(batch)
        rows = [
            np.concatenate(
                [states.states_BTD[i][states.mask_BT[i]], self._measured(audio, int(states.mask_BT[i].sum()), only)], 1
            )
            for i, audio in enumerate(batch)
        ]
        return pack_states(rows, self._base.spec.dim + MEASURED)

    def _measured(self, audio: Audio, count: int, only: str) -> FloatArray:
        """Chords by the row, key and periodicity of the part around it [shape=(count, MEASURED)]."""
        rows: FloatArray = np.zeros((count, MEASURED), np.float32)
        if count == 0:
            return rows
        edges_s = np.linspace(0.0, audio.duration_s, max(1, round(audio.duration_s / _AROUND_S)) + 1)
        centres_s = (np.arange(count) + 0.5) * self._base.spec.hop_s
        part = np.searchsorted(edges_s[1:-1], centres_s, side="right")
        if only != "harmony":
            local = rhythm.local_periodicity(audio, edges_s.tolist(), TEMPI)
            rows[:, -2 * TEMPI :] = 2 * local.reshape(len(local), -1)[part]
        if only == "rhythm":
            return rows
        seen = self._harmony.observe(audio)
        log_heads = seen["log_heads"].astype(np.float32)
        start_s = np.asarray(seen["start_s"], np.float64) - audio.start_s
        row = np.minimum(np.floor_divide(start_s, self._base.spec.hop_s).astype(int), count - 1)
        chords = np.zeros((count, log_heads.shape[1]), np.float32)
        np.add.at(chords, row, log_heads)
        # Every second of a stretch holds ten frames, so none of the counts is zero before the last.
        chords /= np.maximum(np.bincount(row, minlength=count), 1).astype(np.float32)[:, None]
        keys = _scaled(harmony.local_keys(audio, edges_s.tolist()))
        rows[:, : harmony.N_HEADS], rows[:, harmony.N_HEADS : -2 * TEMPI] = chords / 4 + 1, keys[part]
        return rows


def load(*, source: str = "", allow_noncommercial: bool = False) -> MusicBackbone:
    """The backbone on the taggers, or on the joint model ``source``. Raises as ``load_model``."""
    if not source:
        return MusicBackbone()
    return MusicBackbone(towers.load_audio(source, allow_noncommercial=allow_noncommercial))


def _scaled(keys: NDArray[np.float64]) -> FloatArray:
    """Log-probabilities of keys at about unit scale [same shape]; zeros where there are none."""
    logs = np.maximum(np.log(np.maximum(keys, 1e-9)), -_KEY_SHARPEST) / 2 + 1
    return np.where(keys.any(axis=1, keepdims=True), logs, 0.0).astype(np.float32)
