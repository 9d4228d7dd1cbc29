"""What several devices have, on each of them, with exact gradients. Objectives use it and see neither rank nor size.

Each device computes the same loss from what was gathered, and backward adds up what all devices ask of a slice. The
gradient that then reaches a device's own rows is the number of devices times that of one process with the whole batch;
averaging parameter gradients over devices (``average_gradients``) takes that factor out again. Parameters of the loss
itself have the whole gradient on each device, and the average is the same.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn


def num_devices() -> int:
    """How many processes take part; 1 where none were started together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Which of the processes this is; 0 writes files and messages."""
    return distributed.get_rank() if num_devices() > 1 else 0


def gather(rows: Tensor) -> Tensor:
    """The rows of all devices in order [shape=(devices * B, ...)]; the tensor itself on one device.

    All devices have the same shape but for the second dimension, which is filled up with zeros (False) to the longest.
    """
    if num_devices() == 1:
        return rows
    if rows.ndim > 1:
        longest = torch.tensor(rows.shape[1], device=rows.device)
        distributed.all_reduce(longest, distributed.ReduceOp.MAX)
        missing = int(longest) - rows.shape[1]
        if missing:
            rows = F.pad(rows, (0, 0) * (rows.ndim - 2) + (0, missing))
    if rows.dtype is torch.bool:
        return gather(rows.to(torch.uint8)).bool()
    out: Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return out


class _Gather(torch.autograd.Function):  # torch's own all_gather with gradients is deprecated, its successor is new
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.count = len(rows)
        parts = [torch.empty_like(rows) for _ in range(num_devices())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        distributed.all_reduce(total := grads[0].clone(memory_format=torch.contiguous_format))
        return total[rank() * ctx.count :][: ctx.count]


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over devices; nothing on one device."""
    if num_devices() == 1:
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    if grads:
        flat = torch.cat([g.flatten() for g in grads])
        distributed.all_reduce(flat)
        for grad, mean in zip(grads, torch.split(flat / num_devices(), [g.numel() for g in grads]), strict=True):
            grad.copy_(mean.view_as(grad))
