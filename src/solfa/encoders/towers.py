"""Vectors of a joint model's towers as states, for a diffusion model that generates in a space that is searched."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from solfa.core.errors import InputError
from solfa.core.types import Audio, Encoder, JointModel, States
from solfa.encoders.registry import load_model
from solfa.encoders.vectors import pack_states
from solfa.encoders.windows import candidates, embed

X = TypeVar("X")


class TowerStates(Generic[X]):
    """An encoder's vectors of frames or tokens, and the one vector of all. Raises what the encoder raises."""

    def __init__(self, encoder: Encoder[X], suffix: str = "") -> None:
        self._encoder, self.spec = encoder, replace(encoder.spec, space=encoder.spec.space + suffix)

    def states(self, batch: Sequence[X]) -> States:
        features = self._encoder.encode(batch)
        return States(features.global_BD, features.frames_BTD, features.mask_BT)


def load_audio(source: str = "", *, allow_noncommercial: bool = False) -> TowerStates[Audio]:
    """What a collection of a joint model keeps of a sound. ``spec.space`` is the model's.

    Raises InputError if no model is named, and as ``load_model``.
    """
    model = _model(source, allow_noncommercial)

    class WindowStates(TowerStates[Audio]):
        def states(self, batch: Sequence[Audio]) -> States:
            found = [candidates(model.views, embed(model, [audio])) for audio in batch]
            return pack_states(found, model.audio.spec.dim)

    window_s = model.audio.spec.window_s
    tower: TowerStates[Audio] = WindowStates(model.audio) if window_s else TowerStates(model.audio)
    tower.spec = replace(tower.spec, hop_s=window_s or tower.spec.hop_s, window_s=0.0)
    return tower


def load_text(source: str = "", *, allow_noncommercial: bool = False) -> TowerStates[str]:
    """A joint model's text tower, likewise."""
    return TowerStates(_model(source, allow_noncommercial).text, "/text")


def _model(source: str, allow_noncommercial: bool) -> JointModel:
    if not source:
        raise InputError("tower needs the name of a joint model: tower:solfa-1 (see solfa models list).")
    return load_model(source, allow_noncommercial=allow_noncommercial)
