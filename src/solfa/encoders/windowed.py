"""Sound in windows of one length for bodies on torch, and what they say of the windows on one grid of frames.

Windows start every ``step_s`` from the start of the sound; a rest under 1 s is no window of its own, a longer one is
filled up as the body was trained to hear it. So a state depends on its own window only, and never on the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from solfa.audio.resample import at_rate
from solfa.core.errors import InputError
from solfa.core.types import Audio, EncoderSpec, FloatArray, States
from solfa.encoders import towers
from solfa.encoders.masks import Stripes
from solfa.encoders.torch_backbone import Tensors, TorchBackbone, masked_mean

_AT_ONCE = 64  # windows in a pass of a GPU


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """How a body hears.

    ``window_s`` is the length of a window, ``step_s`` the time from one to the next, ``hop_s`` from one state to the
    next. ``fill`` says what a short window is filled with: zeros, the window again, the start of the sound, or what
    the body's own front end fills it with.
    """

    sample_rate_hz: int
    window_s: float
    step_s: float
    hop_s: float
    fill: Literal["zeros", "repeat", "start", "front"] = "repeat"

    def __post_init__(self) -> None:
        if not (0.1 <= self.window_s <= 600 and 0 < self.step_s <= self.window_s and self.hop_s > 0):
            raise InputError(
                f"windows of {self.window_s:g} s, every {self.step_s:g} s, a state every {self.hop_s:g} s: expected "
                "windows of 0.1 to 600 s, a step above 0 and no longer than they are, and states some time apart."
            )

    @property
    def window(self) -> int:
        """Samples of a window."""
        return round(self.window_s * self.sample_rate_hz)

    def pieces(self, samples: FloatArray) -> list[FloatArray]:
        """The windows of a sound, the last ones as short as they are; none of an empty one."""
        step = round(self.step_s * self.sample_rate_hz)
        least = int(min(towers.LEAST_REST_S, self.step_s) * self.sample_rate_hz)
        starts = [s for s in range(0, len(samples), step) if s == 0 or len(samples) - s >= least]
        return [samples[s : s + self.window] for s in starts]

    def filled(self, piece: FloatArray, samples: FloatArray) -> FloatArray:
        """A window of full length, unless the front end fills it."""
        if self.fill == "front":
            return piece
        if self.fill == "zeros":
            return np.pad(piece, (0, self.window - len(piece)))
        return np.resize(piece if self.fill == "repeat" else np.concatenate([piece, samples]), self.window)

    def frames(self, duration_s: float, windows: int) -> list[tuple[int, int]]:
        """(window, state of the window) of every frame of a sound."""
        covered = min(duration_s, windows * self.step_s)
        times = [i * self.hop_s for i in range(int(np.ceil(covered / self.hop_s - 1e-6)))]
        homes = [min(int(t / self.step_s + 1e-6), windows - 1) for t in times]
        return [(k, round((t - k * self.step_s) / self.hop_s)) for t, k in zip(times, homes, strict=True)]


class WindowedNetwork(nn.Module):
    """A body over windows, put together item by item.

    ``body`` takes windows [shape=(W, N), or what ``WindowedBackbone`` made of them] and their lengths in samples
    [shape=(W,)], and gives pooled vectors [shape=(W, D)], or None for the mean of the states, and states
    [shape=(W, S, D)].
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    @property
    def striped(self) -> list[Stripes]:
        """Where spectrograms can be striped (SpecAugment); none where the body takes no spectrogram."""
        return [module for module in self.body.modules() if isinstance(module, Stripes)]

    def forward(self, tensors: Tensors) -> tuple[Tensor, Tensor, Tensor]:
        """Pooled [shape=(B, D)], states [shape=(B, T, D)] and mask [shape=(B, T)]."""
        stripes = None
        if "stripes" in tensors:  # of items; their windows have the same
            stripes = tensors["stripes"][tensors["share"].argmax(dim=0)]
        pooled_WD, states_WSD = self._hear(tensors["windows"], tensors["lengths"], stripes)
        last = states_WSD.shape[1] - 1
        at_BT = tensors["window"] * (last + 1) + tensors["state"].clamp(max=last)
        mask = tensors["window"] >= 0
        states = states_WSD.flatten(0, 1)[at_BT.clamp(min=0)] * mask.unsqueeze(-1)
        if pooled_WD is None:
            return masked_mean(states, mask), states, mask
        return tensors["share"].to(pooled_WD.dtype) @ pooled_WD, states, mask

    def _hear(self, windows: Tensor, lengths: Tensor, stripes: Tensor | None) -> tuple[Tensor | None, Tensor]:
        """The body over all windows; a few at once where no gradient needs the rest, so that long sound fits."""
        count = len(windows) if torch.is_grad_enabled() else 1 if windows.device.type == "cpu" else _AT_ONCE
        parts = []
        for part in (slice(i, i + count) for i in range(0, len(windows), count)):
            for module in self.striped:
                module.stripes_WM3 = None if stripes is None else stripes[part]
            parts.append(self.body(windows[part], lengths[part]))
        pooled, states = zip(*parts, strict=True)
        return None if pooled[0] is None else torch.cat(pooled), torch.cat(states)


class WindowedBackbone(TorchBackbone[Audio]):
    """A body that hears sound.

    ``front`` makes the body's input of full windows where it is not the samples themselves.
    """

    def __init__(
        self,
        body: nn.Module,
        spec: EncoderSpec,
        device: Any,
        grid: Grid,
        file: Path | None,
        front: Callable[[list[FloatArray]], FloatArray] = np.stack,
    ) -> None:
        super().__init__(WindowedNetwork(body), spec, device, file)
        self.grid, self._front = grid, front

    def states(self, batch: Sequence[Audio]) -> States:
        """As ``TorchBackbone.states``; also raises InputError for sound that is not of finite numbers."""
        towers.refuse_not_finite(batch)
        return super().states(batch)

    def lengths(self, batch: Sequence[Audio]) -> list[int]:
        """How many frames each sound will have."""
        rate = self.grid.sample_rate_hz
        sounds = [at_rate(audio, rate).samples for audio in batch]
        return [len(self.grid.frames(len(sound) / rate, len(self.grid.pieces(sound)))) for sound in sounds]

    def prepare(self, batch: Sequence[Audio]) -> Tensors:
        """Windows of all sounds, where each frame finds its state (-1: nowhere), and each window's part of an item."""
        rate = self.grid.sample_rate_hz
        windows: list[FloatArray] = []
        lengths, frames, owners = [], [], []
        for item, audio in enumerate(batch):
            samples = at_rate(audio, rate).samples
            pieces = self.grid.pieces(samples)
            found = self.grid.frames(len(samples) / rate, len(pieces))
            frames.append([(len(windows) + window, state) for window, state in found])
            windows += [self.grid.filled(piece, samples) for piece in pieces]
            lengths += [len(piece) for piece in pieces]
            owners += [item] * len(pieces)
        at = np.full((len(batch), max(map(len, frames), default=0), 2), -1, np.int64)
        for row, places in zip(at, frames, strict=True):
            row[: len(places)] = np.array(places, np.int64).reshape(-1, 2)
        if not windows:  # the body needs something to hear; nobody's frames are in it
            windows, lengths, owners = [np.zeros(self.grid.window, np.float32)], [self.grid.window], [-1]
        share = np.array(lengths) * (np.array(owners) == np.arange(len(batch))[:, None])
        arrays = {
            "windows": self._front(windows).astype(np.float32),
            "lengths": np.array(lengths),
            "window": at[..., 0],
            "state": at[..., 1],
            "share": (share / np.maximum(share.sum(axis=1, keepdims=True), 1)).astype(np.float32),
        }
        return {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}
