"""Pretrained backbones on torch, frozen or tuned: what their families share.

Frozen, ``states`` gives what the network says, without gradients and whatever the batch. Tuned, a trainer calls
``network(prepare(batch))`` itself and trains ``network.parameters()``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from solfa.core.errors import InputError, WeightsError
from solfa.core.types import EncoderSpec, States
from solfa.encoders.vectors import pack_states

X = TypeVar("X")
Tensors = dict[str, Tensor]


class Cut(NamedTuple):
    """An item's pieces as a network takes them, their lengths (parts of the item), and (piece, state) of each state."""

    pieces: list[Any]
    lengths: list[int]
    places: list[tuple[int, int]]


class PieceNetwork(nn.Module):
    """A network over pieces of items (windows of sound, parts of a text); states are put together item by item."""

    def of_pieces(self, tensors: Tensors) -> tuple[Tensor | None, Tensor]:
        """A vector of each piece [shape=(P, D)], or None for the mean of an item's states; states [shape=(P, S, D)]."""
        raise NotImplementedError

    def forward(self, tensors: Tensors) -> tuple[Tensor, Tensor, Tensor]:
        """Pooled [shape=(B, D)], states [shape=(B, T, D)], zero where nothing is real, and the mask [shape=(B, T)]."""
        pooled_PD, states_PSD = self.of_pieces(tensors)
        piece_BT, state_BT = tensors["at"].unbind(-1)
        mask, last = piece_BT >= 0, states_PSD.shape[1] - 1
        rows_BT = piece_BT * (last + 1) + state_BT.clamp(max=last)
        states = states_PSD.flatten(0, 1)[rows_BT.clamp(min=0)] * mask.unsqueeze(-1)
        if pooled_PD is None:
            return masked_mean(states, mask), states, mask
        with torch.autocast(states.device.type, enabled=False):
            return tensors["share"] @ pooled_PD.float(), states, mask


class TorchBackbone(ABC, Generic[X]):
    """A backbone as a torch module.

    ``spec``: what it is; ``network``: takes what ``prepare`` gives; ``file``: the weights that it was loaded from; None
    where they alone cannot rebuild it.
    """

    def __init__(self, network: PieceNetwork, spec: EncoderSpec, device: Any, file: Path | None) -> None:
        self.network = network.to(device).eval()
        self.spec = spec
        self.device = device
        self.file = file
        # One item a pass on a CPU: nothing is gained by more, and its states are then the same to the last bit in any
        # batch.
        self._items = 1 if device.type == "cpu" else 32

    @abstractmethod
    def cut(self, item: X) -> Cut:
        """The pieces of an item."""

    @abstractmethod
    def inputs(self, pieces: list[Any], lengths: list[int]) -> dict[str, NDArray[Any]]:
        """What the network takes of these pieces."""

    def lengths(self, batch: Sequence[X]) -> list[int]:
        """How many states each item will have."""
        return [len(self.cut(item).places) for item in batch]

    def prepare(self, batch: Sequence[X]) -> Tensors:
        """What the network takes, on its device.

        The pieces of all items; ``at`` [shape=(B, T, 2)], the piece and state of each state of an item (-1: none); and
        ``share`` [shape=(B, P)], how much of an item each piece is.
        """
        cuts = [self.cut(item) for item in batch]
        made = self.inputs([p for cut in cuts for p in cut.pieces], [n for cut in cuts for n in cut.lengths])
        made["at"] = np.full((len(cuts), max((len(cut.places) for cut in cuts), default=0), 2), -1, np.int64)
        made["share"] = np.zeros((len(cuts), len(next(iter(made.values())))), np.float32)
        first = 0
        for at, share, cut in zip(made["at"], made["share"], cuts, strict=True):
            at[: len(cut.places)] = np.array([(first + piece, state) for piece, state in cut.places]).reshape(-1, 2)
            share[first : first + len(cut.pieces)] = np.array(cut.lengths) / sum(cut.lengths)
            first += len(cut.pieces)
        return {name: torch.from_numpy(array).to(self.device) for name, array in made.items()}

    def states(self, batch: Sequence[X]) -> States:
        """The states of a batch, without gradients, dropout or anything else of training.

        Raises WeightsError if a state is not a finite number: dead weights, or a precision that the network does not
        bear.
        """
        if isinstance(batch, str):
            raise TypeError("states takes a sequence, got one string")
        training = self.network.training
        self.network.eval()
        rows, pooled = [], []
        try:
            for start in range(0, len(batch), self._items):
                with torch.no_grad():
                    mean, states, mask = self.network(self.prepare(batch[start : start + self._items]))
                counts = mask.sum(dim=1).tolist()
                rows += [row[:n] for row, n in zip(states.float().cpu().numpy(), counts, strict=True)]
                pooled += list(mean.float().cpu().numpy())
        finally:
            self.network.train(training)
        if any(row.shape[1] != self.spec.dim for row in rows):
            raise WeightsError(f"{self.spec.name} gave states of {rows[0].shape[1]} numbers, expected {self.spec.dim}.")
        if not all(np.isfinite(row).all() for row in (*rows, *pooled)):
            raise WeightsError(
                f"{self.spec.name} gave states that are not finite. Use another checkpoint, or float32 weights."
            )
        return pack_states(rows, self.spec.dim, pooled)


def masked_mean(states_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """The mean over real rows, in float32; zeros where there are none."""
    real = mask_BT.unsqueeze(-1)
    total = (states_BTD * real).sum(dim=1, dtype=torch.float32)
    return total / real.sum(dim=1).clamp(min=1)


def layer_of(name: str, layer: int, depth: int) -> int:
    """The layer whose input is read, counted from 0; ``depth`` is the output of the last. Raises InputError if none."""
    if not -depth - 1 <= layer <= depth:
        raise InputError(f"{name} has the layers 0 to {depth}, got layer {layer}.")
    return layer % (depth + 1)


def states_at(layer: int, layers: Sequence[nn.Module], run: Callable[[], Any]) -> Tensor:
    """The hidden states that go into a layer while ``run`` runs, or that it gives where there are no more layers."""
    seen, out = inputs_of(layers[layer : layer + 1], run)
    states: Tensor = seen[0] if seen else out.last_hidden_state
    return states


def inputs_of(layers: Iterable[nn.Module], run: Callable[[], Any]) -> tuple[list[Tensor], Any]:
    """The hidden states that go into layers while ``run`` runs, and what it gives.

    They are what libraries call the hidden states of these indices; their own lists of them differ by release.
    """
    seen: list[Tensor] = []
    with ExitStack() as hooks:
        for layer in layers:
            hook = layer.register_forward_pre_hook(
                lambda _, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
            )
            hooks.callback(hook.remove)
        return seen, run()
