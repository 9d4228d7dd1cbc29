"""Sound in windows of one length for backbones on torch, and their states of the windows on one grid of frames.

Windows start every ``step_s`` from the start of the sound; a rest under 1 s is no window of its own, a longer one is
filled up as in the network's own training. So a state depends on its own window only, and never on the batch.

SpecAugment (Park et al., Interspeech 2019) sets stripes of time and of frequency of normalised spectrograms to 0, as
FineLAP's public code has it: some stripes along each axis, each of a width below a bound and anywhere. They are drawn
with the batch, from (seed, epoch, position, rank), so that chunks and resumed runs have the same; in use, and in
validation, there are none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from solfa.audio import at_rate
from solfa.core.errors import InputError
from solfa.core.types import Audio, EncoderSpec, FloatArray, States
from solfa.encoders.checkpoints import Checkpoint
from solfa.encoders.torch_backbone import Cut, PieceNetwork, Tensors, TorchBackbone
from solfa.encoders.vectors import refuse_not_finite

_AT_ONCE = 64  # windows in a pass of a GPU
LEAST_REST_S = 1.0  # a shorter rest of a sound is no window of its own


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """Windows and states in time.

    ``window_s`` is the length of a window, ``step_s`` the time from one to the next (0: windows follow each other),
    ``hop_s`` from one state to the next (0: a window has one). ``fill`` says what a short window is filled with: zeros,
    the window again, the start of the sound, or what the network's own front end fills it with.
    """

    sample_rate_hz: int
    window_s: float
    step_s: float = 0.0
    hop_s: float = 0.0
    fill: Literal["zeros", "repeat", "start", "front"] = "repeat"

    def __post_init__(self) -> None:
        object.__setattr__(self, "step_s", self.step_s or self.window_s)
        object.__setattr__(self, "hop_s", self.hop_s or self.step_s)
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
        least = int(min(LEAST_REST_S, self.step_s) * self.sample_rate_hz)
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


class WindowedNetwork(PieceNetwork):
    """A network over windows.

    ``backbone`` takes windows [shape=(W, N), or what ``WindowedBackbone`` made of them] and their lengths in samples
    [shape=(W,)], and gives pooled vectors [shape=(W, D)], or None for the mean of the states, and states
    [shape=(W, S, D)].
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.body = backbone  # tensors of tuned backbones are named so in files

    @property
    def striped(self) -> "list[Stripes]":
        """Where spectrograms can be striped (SpecAugment); none where the network takes no spectrogram."""
        return [module for module in self.body.modules() if isinstance(module, Stripes)]

    def of_pieces(self, tensors: Tensors) -> tuple[Tensor | None, Tensor]:
        """The network over all windows; a few at once where no gradient needs the rest, so that long sound fits."""
        windows, lengths, stripes = tensors["windows"], tensors["lengths"], tensors.get("stripes")
        if stripes is not None:  # of items; their windows have the same
            stripes = stripes[tensors["share"].argmax(dim=0)]
        count = len(windows) if torch.is_grad_enabled() else 1 if windows.device.type == "cpu" else _AT_ONCE
        parts = []
        for part in (slice(i, i + count) for i in range(0, len(windows), count)):
            for module in self.striped:
                module.stripes_WM3 = None if stripes is None else stripes[part]
            parts.append(self.body(windows[part], lengths[part]))
        pooled, states = zip(*parts, strict=True)
        return None if pooled[0] is None else torch.cat(pooled), torch.cat(states)


class WindowedBackbone(TorchBackbone[Audio]):
    """A backbone of sound; made by ``windowed``."""

    def __init__(
        self,
        backbone: nn.Module,
        spec: EncoderSpec,
        device: Any,
        grid: Grid,
        file: Path | None,
        front: Callable[[list[FloatArray]], FloatArray] = np.stack,
    ) -> None:
        super().__init__(WindowedNetwork(backbone), spec, device, file)
        self.grid, self._front = grid, front

    def states(self, batch: Sequence[Audio]) -> States:
        """As ``TorchBackbone.states``; also raises InputError for sound that is not of finite numbers."""
        refuse_not_finite(batch)
        return super().states(batch)

    def cut(self, item: Audio) -> Cut:
        """The windows of a sound, of full length."""
        samples = at_rate(item, self.grid.sample_rate_hz).samples
        pieces = self.grid.pieces(samples)
        places = self.grid.frames(len(samples) / self.grid.sample_rate_hz, len(pieces))
        return Cut([self.grid.filled(piece, samples) for piece in pieces], [len(piece) for piece in pieces], places)

    def inputs(self, pieces: list[Any], lengths: list[int]) -> dict[str, NDArray[Any]]:
        """Windows, and the samples of each that are sound."""
        if not pieces:  # the network needs some input; no item's frames are in it
            pieces, lengths = [np.zeros(self.grid.window, np.float32)], [self.grid.window]
        return {"windows": self._front(pieces).astype(np.float32), "lengths": np.array(lengths)}


def windowed(
    checkpoint: Checkpoint,
    network: nn.Module,
    file: Path,
    key: str,
    dim: int,
    grid: Grid,
    front: Callable[[list[FloatArray]], FloatArray] = np.stack,
    *,
    rebuilt: bool = True,
) -> WindowedBackbone:
    """A published network, with states of ``dim`` numbers, as a backbone of sound.

    ``key`` is what its preprocessing is called in the name of the space; ``front`` makes the network's input of full
    windows where it is not the samples themselves; ``rebuilt`` says whether the file alone rebuilds it.
    """
    spec = checkpoint.spec(dim, key, file, sample_rate_hz=grid.sample_rate_hz, hop_s=grid.hop_s)
    return WindowedBackbone(network, spec, checkpoint.device, grid, file if rebuilt else None, front)


TIME, FREQUENCY = 0, 1


def draw(items: int, counts: tuple[int, int], bounds: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Stripes of some items, as (axis, width, place 0..1) [shape=(items, sum of counts, 3)].

    ``counts`` and ``bounds`` are of time and of frequency: a width is 0 to one less than its bound, in frames or bands.
    """
    axes = np.repeat([TIME, FREQUENCY], counts)
    widths = rng.integers(0, np.maximum(1, np.array(bounds))[axes], (items, len(axes)))
    return np.stack([np.broadcast_to(axes, widths.shape), widths, rng.random(widths.shape)], axis=-1).astype(np.float32)


class Stripes(nn.Module):
    """Where a network's spectrogram, with these dimensions, passes through; the identity until stripes are given."""

    def __init__(self, time: int, frequency: int) -> None:
        super().__init__()
        self.dims = time, frequency
        self.stripes_WM3: Tensor | None = None

    def forward(self, spectrogram: Tensor) -> Tensor:
        """The spectrogram [shape=(W, ...)] with its stripes at 0; a stripe never covers all of an axis."""
        if self.stripes_WM3 is None:
            return spectrogram
        axis, width, place = self.stripes_WM3.unbind(-1)
        for which, dim in enumerate(self.dims):
            size = spectrogram.shape[dim]
            wide = torch.where(axis == which, width, 0).clamp(max=size - 1)
            first = (place * (size - wide)).floor()
            at = torch.arange(size, device=spectrogram.device)
            masked = ((at >= first[..., None]) & (at < (first + wide)[..., None])).any(dim=1)
            shape = [1] * spectrogram.ndim
            shape[0], shape[dim] = len(masked), size
            spectrogram = spectrogram.masked_fill(masked.view(shape), 0.0)
        return spectrogram

    def after(self, module: Any, inputs: Any, output: Tensor) -> Tensor:
        """As a hook of a library's normalisation."""
        return self.forward(output)
