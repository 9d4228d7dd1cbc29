"""The backbone that our own recipes train on: the taggers' rows, and the analysis of chords, key and tempo.

A row is ``[taggers 1424 | chord network 100 | key 24 | periodicity 2 x 64]``, one a second. The taggers know sounds and
styles, and next to nothing of keys, chords and tempi; the analysis' own networks know those and nothing else. The
chord part is of the second itself; key and periodicity are of the whole stretch, the same in every row. All parts are
brought to about unit scale. No torch.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from solfa.analysis import harmony, rhythm
from solfa.analysis.protocol import Observation
from solfa.core.types import Audio, EncoderSpec, FloatArray, States
from solfa.encoders import taggers
from solfa.encoders.registry import stated_spec
from solfa.encoders.vectors import pack_states

TEMPI = 64  # places on a logarithmic scale of beats per minute at which the periodicity is read
DIM = taggers.DIM + harmony.N_HEADS + 24 + 2 * TEMPI
_KEY_SHARPEST = 6.0  # log-probabilities are cut here: a key is not less likely than e to minus this


class MusicBackbone:
    """Sound to rows of ``DIM`` numbers, one a second; a stretch has as many rows as the taggers give it."""

    def __init__(self) -> None:
        self._taggers = taggers.TaggersBackbone()
        self._harmony = harmony.HarmonyExtractor()

    @property
    def spec(self) -> EncoderSpec:
        """What this backbone is; the space changes with the taggers' and with the versions of the two extractors."""
        base = self._taggers.spec
        space = f"listener/{self._harmony.spec.version}/{DIM}/{base.space.rsplit('/', 1)[1]}"
        return stated_spec("audio", "listener", space, DIM, sample_rate_hz=base.sample_rate_hz, hop_s=base.hop_s)

    def states(self, batch: Sequence[Audio], only: Literal["", "harmony", "rhythm"] = "") -> States:
        """Rows of each stretch, and their mean; with ``only`` the other part beside the taggers' is zeros.

        Raises InputError if sound is not of finite numbers; WeightsError if a network's file is damaged.
        """
        states = self._taggers.states(batch)
        rows = [
            np.concatenate(
                [states.states_BTD[i][states.mask_BT[i]], self._measured(audio, int(states.mask_BT[i].sum()), only)], 1
            )
            for i, audio in enumerate(batch)
        ]
        return pack_states(rows, DIM)

    def _measured(self, audio: Audio, count: int, only: str) -> FloatArray:
        """Chords by the second, key and periodicity of the stretch [shape=(count, DIM - 1424)]."""
        rows: FloatArray = np.zeros((count, DIM - taggers.DIM), np.float32)
        if count == 0:
            return rows
        whole = Audio(audio.samples, audio.sample_rate_hz)
        if only != "harmony":
            rows[:, -2 * TEMPI :] = 2 * rhythm.periodicity(whole, TEMPI).ravel()
        if only == "rhythm":
            return rows
        seen = self._harmony.observe(whole)
        log_heads = seen["log_heads"].astype(np.float32)
        second = np.minimum(seen["start_s"].astype(int), count - 1)
        chords = np.zeros((count, log_heads.shape[1]), np.float32)
        np.add.at(chords, second, log_heads)
        # Every second of a stretch holds twenty frames, so none of the counts is zero before the last.
        chords /= np.maximum(np.bincount(second, minlength=count), 1).astype(np.float32)[:, None]
        rows[:, : harmony.N_HEADS], rows[:, harmony.N_HEADS : -2 * TEMPI] = chords / 4 + 1, _key(seen)
        return rows


def _key(seen: Observation) -> FloatArray:
    """Log-probabilities of the 24 keys, major then minor, from the tonic C up; even where nothing is present."""
    if len(seen["chroma"]) == 0:
        return np.zeros(24, np.float32)
    logs = np.maximum(np.log(np.maximum(harmony.key_probabilities(seen).ravel(), 1e-9)), -_KEY_SHARPEST)
    row: FloatArray = (logs / 2 + 1).astype(np.float32)
    return row
