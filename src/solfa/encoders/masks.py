"""SpecAugment (Park et al., Interspeech 2019): stripes of time and of frequency set to 0 in normalised spectrograms.

As FineLAP's public code has it: some stripes along each axis, each of a width below a bound and anywhere. They are
drawn with the batch, from (seed, epoch, position, rank), so that chunks and resumed runs see the same; in use, and in
validation, there are none. Needs torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

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
