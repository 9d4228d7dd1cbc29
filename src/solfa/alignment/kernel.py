"""The fused frame score: one tiled matrix product with a segment-max epilogue, in Triton. Called by ``alignment``.

Forward: the [A F, D] x [D, C T] product is cut into tiles of ``BLOCK_M`` frames of one item and ``BLOCK_N`` tokens: all
tokens of several texts where texts are short, a loop over one text's tokens where they are long. A tile is reduced on
chip to the maximum of each (frame, text) and its place; the mean over frames leaves as one partial sum for each slot of
64 frames. Written are the partial sums and the places (one byte, two above 255 tokens), never a cosine.

Backward: the gradient of frame f of item i is the sum over texts j of g(i, j) times the winning token, a gather; that
of token t of text j is the sum over items i of g(i, j) times the frames that it won, a product of the frames with a
matrix that holds g where t won, built on chip in the registers that feed the tensor cores. Both follow the maxima that
forward found, add up in float32, use no atomics and run in a fixed order, so that they are the same bits each time.

Slots of masked rows at the end of an item are skipped; masks may have holes. With ``TRITON_INTERPRET=1`` it all runs on
a CPU, slowly, for tests.

Shape letters: A items that have frames, C items that have tokens, F frames, T tokens, D dimensions.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from typing import Any

import torch
import torch.nn.functional as nnf
import triton
import triton.language as tl
from torch import Tensor

from solfa.core.errors import InputError
from solfa.core.files import table_of

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
_SLOT = 64  # frames of one partial sum; every BLOCK_M is a multiple
_K = 16 if INTERPRETED else 64  # widths are filled up to a multiple of it, the largest BLOCK_K

# It tunes for each width and type, and forward for each power of two of tokens; not for every length.
_CANDIDATES = table_of("solfa.alignment", "kernel.toml")
_LEAST_KIB, _LARGE_KIB = 99, 160  # shared memory of a block
_CHOSEN: dict[str, list[int]] = {}
# Compiled once, whatever the sizes are; addresses are multiples of the width, which is a constant.
_SIZES = ["A", "C", "F", "T", "SLOTS"]


def fused_scores(
    frames_AFD: Tensor,
    frame_mask_AF: Tensor,
    tokens_CTD: Tensor,
    token_mask_CT: Tensor,
    precision: torch.dtype = torch.bfloat16,
) -> Tensor:
    """Scores [shape=(A, C)], float32; what pairs with an empty item get is arbitrary but finite.

    Vectors are multiplied in ``precision``, by weights in the same where a token's gradient is added up; gradients come
    out in the type that went in. Raises InputError if the tensors are not on a CUDA device that the kernel fits (and
    Triton's interpreter is not on).
    """
    if why := unfit(frames_AFD.device):
        raise InputError(f"the fused frame score {why}; use implementation='blocked' here.")
    rest = -frames_AFD.shape[2] % _K
    frames, tokens = (nnf.pad(x, (0, rest)) if rest else x for x in (frames_AFD, tokens_CTD))
    masks = (mask.to(torch.uint8).contiguous() for mask in (frame_mask_AF, token_mask_CT))
    scores: Tensor = _FrameScores.apply(frames, tokens, *masks, precision)
    return scores


def unfit(device: torch.device) -> str:
    """Why the kernel does not run on a device, as the end of a sentence; empty where it does."""
    if INTERPRETED:
        return ""
    if device.type != "cuda":
        return "runs on CUDA devices"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return f"needs compute capability 8.0, which {torch.cuda.get_device_name(device)} has not"
    if (found := _shared_kib(device)) < _LEAST_KIB:
        return f"needs {_LEAST_KIB} KiB of shared memory a block; {torch.cuda.get_device_name(device)} has {found}"
    return ""


def chosen() -> dict[str, list[int]]:
    """The block sizes that the autotuner chose in this process, by kernel and sizes, as plain JSON.

    Another choice adds up in another order. A run that is to have the same bits again gives them to ``choose`` first.
    """
    return dict(_CHOSEN)


def choose(choices: Mapping[str, Sequence[int]]) -> None:
    """Take these block sizes (of ``chosen``) and tune no more for them; a card that has no such candidate tunes."""
    _CHOSEN.update({key: list(row) for key, row in choices.items()})


def _shared_kib(device: torch.device) -> int:
    index = torch.cuda.current_device() if device.index is None else device.index
    return int(triton.runtime.driver.active.utils.get_device_properties(index)["max_shared_mem"]) // 1024


def _kind(device: torch.device, dtype: torch.dtype) -> str:
    """Which candidates are for a card and a type."""
    if INTERPRETED:
        return "interpreted"
    if dtype.itemsize > 2:
        return "float32"
    return "bfloat16" if _shared_kib(device) >= _LARGE_KIB else "bfloat16 in 99 KiB"


class _FrameScores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, frames: Tensor, tokens: Tensor, frame_mask: Tensor, token_mask: Tensor, precision: torch.dtype
    ) -> Tensor:
        ctx.types = frames.dtype, tokens.dtype
        frames, tokens = (x.to(precision).contiguous() for x in (frames, tokens))
        if INTERPRETED:  # it multiplies bfloat16 as if it were integers
            frames, tokens = frames.float(), tokens.float()
        (A, F, D), (C, T, _) = frames.shape, tokens.shape
        frame_len, token_len = _last(frame_mask), _last(token_mask)
        slots = triton.cdiv(F, _SLOT)
        ctx.sizes = {"A": A, "C": C, "F": F, "T": T, "SLOTS": slots, "D": D}
        partial = torch.empty((A, slots, C), dtype=torch.float32, device=frames.device)
        kind, ctx.none = (torch.uint8, 255) if T <= 255 else (torch.int16, -1)
        place = torch.empty((C, A, slots * _SLOT), dtype=kind, device=frames.device)
        width = max(16, triton.next_power_of_2(T))

        def grid(meta: dict[str, Any]) -> tuple[int]:
            texts = max(1, meta["BLOCK_N"] // width)
            return (A * triton.cdiv(F, meta["BLOCK_M"]) * triton.cdiv(C, texts),)

        tensors = (frames, tokens, frame_mask, token_mask, frame_len, token_len, partial, place)
        _launch(_forward, grid, *tensors, **ctx.sizes, T_POW=width, NONE=ctx.none)
        counts = frame_mask.sum(dim=1, keepdim=True).clamp(min=1)
        ctx.save_for_backward(frames, tokens, frame_len, counts, place)
        return partial.sum(dim=1) / counts

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        frames, tokens, frame_len, counts, place = ctx.saved_tensors
        (A, F, D), (C, T, _) = frames.shape, tokens.shape
        weights = (grads[0].float() / counts).T.contiguous()
        d_frames = d_tokens = None
        if ctx.needs_input_grad[0]:
            d_frames = torch.empty_like(frames, dtype=ctx.types[0])

            def rows(meta: dict[str, Any]) -> tuple[int, int]:
                return A * triton.cdiv(F, meta["BLOCK_M"]), triton.cdiv(D, meta["BLOCK_D"])

            _launch(_frames_backward, rows, tokens, frame_len, weights, place, d_frames, **ctx.sizes, NONE=ctx.none)
        if ctx.needs_input_grad[1]:
            d_tokens = torch.empty_like(tokens, dtype=ctx.types[1])
            starts = torch.arange(0, F, _SLOT, device=frames.device)
            filled = (starts < frame_len[:, None]).flatten()
            order = torch.argsort(~filled, stable=True).to(torch.int32)  # slots with frames in front
            numbers = torch.arange(triton.next_power_of_2(T) + 128, device=frames.device).to(place.dtype)

            def columns(meta: dict[str, Any]) -> tuple[int, int]:
                return C * triton.cdiv(T, meta["BLOCK_N"]), triton.cdiv(D, meta["BLOCK_D"])

            tensors = (frames, weights, place, order, filled.sum(dtype=torch.int32), numbers, d_tokens)
            _launch(_tokens_backward, columns, *tensors, **ctx.sizes)
        return d_frames, d_tokens, None, None, None


def _launch(kernel: Any, grid: Any, *tensors: Tensor, **sizes: int) -> None:
    """Run a kernel where its tensors are, in the block sizes that were chosen, or that are fastest now."""
    device, dtype, name = tensors[0].device, tensors[0].dtype, kernel.fn.__name__
    kind = _kind(device, dtype)
    names, rows = _CANDIDATES[name]["names"], _CANDIDATES[name][kind]
    key = f"{name[1:]}, {kind}, width {sizes['D']}" + (f", tokens {sizes['T_POW']}" if "T_POW" in sizes else "")
    row = rows[0] if len(rows) == 1 else _CHOSEN.get(key, [])
    # Triton launches on the current device, whatever the tensors are on.
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        if row in rows:
            kernel[grid](*tensors, **sizes, **dict(zip((*names, "num_warps", "num_stages"), row, strict=True)))
        else:
            tuner = _tuner(kernel, kind)
            tuner[grid](*tensors, **sizes)
            best = tuner.best_config
            row = [*(best.kwargs[n] for n in names), best.num_warps, best.num_stages]
    _CHOSEN[key] = row


@cache
def _tuner(kernel: Any, kind: str) -> Any:
    """The kernel, which tries its candidates at the first call for each width and length of text."""
    names, rows = _CANDIDATES[kernel.fn.__name__]["names"], _CANDIDATES[kernel.fn.__name__][kind]
    configs = [
        triton.Config(dict(zip(names, row[:-2], strict=True)), num_warps=row[-2], num_stages=row[-1]) for row in rows
    ]
    return triton.autotune(configs, key=[n for n in ("T_POW", "D") if n in kernel.arg_names])(kernel)


def _last(mask: Tensor) -> Tensor:
    """Index of the last real row of each item plus one, int32."""
    return (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).amax(dim=1).to(torch.int32)


@triton.jit(do_not_specialize=_SIZES)
def _forward(
    frames, tokens, frame_mask, token_mask, frame_len, token_len, partial, place,
    A, C, F, T, SLOTS, D: tl.constexpr, T_POW: tl.constexpr, NONE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    WIDTH: tl.constexpr = T_POW if T_POW < BLOCK_N else BLOCK_N  # tokens of one text that a tile holds
    TEXTS: tl.constexpr = BLOCK_N // WIDTH
    # Programs that run together share tiles in the L2 cache: GROUP tiles of frames go through all texts.
    tiles_f = tl.cdiv(F, BLOCK_M)
    num_m, num_n = A * tiles_f, tl.cdiv(C, TEXTS)
    program = tl.program_id(0)
    first = program // (GROUP * num_n) * GROUP
    size = tl.minimum(num_m - first, GROUP)
    m = first + program % (GROUP * num_n) % size
    n = program % (GROUP * num_n) // size

    i, f0 = m // tiles_f, m % tiles_f * BLOCK_M
    f = f0 + tl.arange(0, BLOCK_M)
    j = n * TEXTS + tl.arange(0, TEXTS)
    real_f = tl.load(frame_mask + i * F + f, mask=f < F, other=0) != 0
    best = tl.full((BLOCK_M, TEXTS), -1e30, tl.float32)
    where = tl.zeros((BLOCK_M, TEXTS), tl.int32)
    column = tl.arange(0, BLOCK_N)
    row_j = n * TEXTS + column // WIDTH
    longest = tl.max(tl.load(token_len + j, mask=j < C, other=0), axis=0)
    longest = tl.where(f0 < tl.load(frame_len + i), longest, 0)  # nothing to do for a tile of padding
    k = tl.arange(0, BLOCK_K)
    for t0 in range(0, longest, WIDTH):
        t = t0 + column % WIDTH
        there = (row_j < C) & (t < T)
        row = (row_j * T + t).to(tl.int64)
        acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        for k0 in range(0, D, BLOCK_K):
            x = tl.load(
                frames + (i * F + f).to(tl.int64)[:, None] * D + (k0 + k)[None, :], mask=(f < F)[:, None], other=0
            )
            y = tl.load(tokens + row[None, :] * D + (k0 + k)[:, None], mask=there[None, :], other=0)
            acc = tl.dot(x, y, acc, input_precision="ieee")
        real = tl.load(token_mask + row, mask=there, other=0) != 0
        acc = tl.where(real[None, :], acc, -1e30)
        acc = tl.where(acc != acc, float("inf"), acc)  # a maximum may pass over NaN; nothing passes over infinity
        top, at = tl.max(tl.reshape(acc, (BLOCK_M, TEXTS, WIDTH)), axis=2, return_indices=True)
        better = top > best  # not at equality: the first of equals is kept
        where = tl.where(better, at + t0, where)
        best = tl.where(better, top, best)
    best = tl.where(best == float("inf"), float("nan"), best)
    total = tl.sum(tl.where(real_f[:, None], best, 0.0), axis=0)
    slot = f0 // 64
    for s in tl.static_range(BLOCK_M // 64):
        value = total if s == 0 else tl.zeros_like(total)
        tl.store(partial + (i * SLOTS + slot + s) * C + j, value, mask=j < tl.where(slot + s < SLOTS, C, 0))
    where = tl.where(real_f[:, None], where, NONE)
    target = place + (j * A + i).to(tl.int64)[None, :] * SLOTS * 64 + f[:, None]
    tl.store(target, where.to(place.dtype.element_ty), mask=(f < SLOTS * 64)[:, None] & (j < C)[None, :])


@triton.jit(do_not_specialize=_SIZES)
def _frames_backward(
    tokens, frame_len, weights, place, d_frames, A, C, F, T, SLOTS, D: tl.constexpr, NONE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    tiles_f = tl.cdiv(F, BLOCK_M)
    i, f0 = tl.program_id(0) // tiles_f, tl.program_id(0) % tiles_f * BLOCK_M
    f = f0 + tl.arange(0, BLOCK_M)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    texts = tl.where(f0 < tl.load(frame_len + i), C, 0)
    acc = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    for j in range(0, texts):
        g = tl.load(weights + j * A + i)
        winner = tl.load(place + (j * A + i).to(tl.int64) * SLOTS * 64 + f, mask=f < F, other=NONE)
        source = tokens + (j * T + winner.to(tl.int32)).to(tl.int64)[:, None] * D + d[None, :]
        acc += g * tl.load(source, mask=(winner != NONE)[:, None] & (d < D)[None, :], other=0).to(tl.float32)
    target = d_frames + (i * F + f).to(tl.int64)[:, None] * D + d[None, :]
    tl.store(target, acc.to(d_frames.dtype.element_ty), mask=(f < F)[:, None] & (d < D)[None, :])


@triton.jit(do_not_specialize=_SIZES)
def _tokens_backward(
    frames, weights, place, slots, num_slots, numbers, d_tokens, A, C, F, T, SLOTS, D: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    tiles_t = tl.cdiv(T, BLOCK_N)
    j, t0 = tl.program_id(0) // tiles_t, tl.program_id(0) % tiles_t * BLOCK_N
    t = t0 + tl.arange(0, BLOCK_N)
    # From memory: what is loaded can be laid out as the tensor cores want it, what is computed cannot.
    number = tl.load(numbers + t)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    m = tl.arange(0, 64)
    acc = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for s in range(0, tl.load(num_slots)):
        slot = tl.load(slots + s)
        i = slot // SLOTS
        row = (i * F + slot % SLOTS * 64 + m).to(tl.int64)
        x = tl.load(frames + row[:, None] * D + d[None, :], mask=(row < A * F)[:, None] & (d < D)[None, :], other=0)
        winner = tl.load(place + ((j * A).to(tl.int64) * SLOTS + slot) * 64 + m)
        g = tl.load(weights + j * A + i + 0 * m).to(x.dtype)
        won = tl.where(number[:, None] == winner[None, :], g[None, :], 0.0)
        acc = tl.dot(won.to(x.dtype), x, acc, input_precision="ieee")
    target = d_tokens + (j * T + t).to(tl.int64)[:, None] * D + d[None, :]
    tl.store(target, acc.to(d_tokens.dtype.element_ty), mask=(t < T)[:, None] & (d < D)[None, :])
