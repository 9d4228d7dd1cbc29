"""All-pairs frame scores with gradients: ``scores.frame_scores`` as training uses it. Needs torch.

``S(i, j)`` is the mean over the real frames of item i of the maximum over the real tokens of item j (FIGMA, arXiv
2606.06615); ``direction="tokens"`` takes the mean over tokens of the maximum over frames instead (late interaction).
An item without a real row scores ``EMPTY_SCORE`` against all and has no gradient. Of equal cosines the first row is the
maximum, and it alone receives the gradient. A real row of NaN makes its scores and gradients NaN; what masked rows hold
changes nothing. There is no second derivative.

Two implementations give the same scores: ``blocked`` runs anywhere, holds the cosines of one block of texts at a time
and computes them again for the gradient, so memory grows linearly in items, frames and tokens; ``fused`` is a Triton
kernel (``kernel.py``) that never writes a cosine, only the place of each maximum (one or two bytes each).

Shape letters: A items that have frames, C items that have tokens, F frames, T tokens, D dimensions.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from solfa.alignment.scores import EMPTY_SCORE
from solfa.core.errors import InputError, need

Implementation = Literal["auto", "blocked", "fused"]
Direction = Literal["frames", "tokens"]
# Cosines of one block: 2**26 are 256 MiB in float32.
BLOCK_COSINES = 1 << 26


def frame_scores(
    frames_AFD: Tensor,
    frame_mask_AF: Tensor,
    tokens_CTD: Tensor,
    token_mask_CT: Tensor,
    *,
    implementation: Implementation = "auto",
    direction: Direction = "frames",
    precision: torch.dtype = torch.float32,
    block: int | None = None,
) -> Tensor:
    """Scores of all pairs, float32 [shape=(A, C)].

    Raises InputError if shapes or devices do not fit, or ``fused`` is asked for on a device it does not run on; in the
    backward pass if a second derivative is asked for (``create_graph=True``). Raises MissingExtra if ``fused`` is asked
    for and Triton is not installed.

    - ``frames_AFD``, ``tokens_CTD``: unit vectors
    - ``frame_mask_AF``, ``token_mask_CT``: bool, True where a row is real (anywhere, not only in front)
    - ``implementation``: ``auto`` is ``fused`` on CUDA, and ``blocked`` elsewhere and where the kernel does not fit the
      card or Triton is not installed, which is logged once
    - ``direction``: what the mean runs over
    - ``precision``: what vectors are rounded to before they are multiplied; ``fused`` adds up in float32 whatever it is
    - ``block``: how many texts ``blocked`` scores at once; by default what fits ``BLOCK_COSINES``
    """
    if direction == "tokens":
        frames_AFD, frame_mask_AF, tokens_CTD, token_mask_CT = tokens_CTD, token_mask_CT, frames_AFD, frame_mask_AF
    for vectors, mask in ((frames_AFD, frame_mask_AF), (tokens_CTD, token_mask_CT)):
        if vectors.shape[:2] != mask.shape or vectors.shape[2] != frames_AFD.shape[2]:
            raise InputError(f"vectors {tuple(vectors.shape)} and mask {tuple(mask.shape)} do not fit.")
        if vectors.device != frames_AFD.device:
            raise InputError(f"frames are on {frames_AFD.device}, tokens on {vectors.device}; move one.")
    if implementation == "auto":
        implementation = "fused" if frames_AFD.is_cuda and _fits(frames_AFD.device) else "blocked"
    # Padding of NaN would come through a product with its weight of 0.
    frames_AFD, tokens_CTD = (
        v.masked_fill(~m[..., None], 0.0) for v, m in ((frames_AFD, frame_mask_AF), (tokens_CTD, token_mask_CT))
    )
    with torch.autocast(frames_AFD.device.type, enabled=False):
        if 0 in (*frame_mask_AF.shape, *token_mask_CT.shape):
            nothing = frames_AFD.float().sum() * 0 + tokens_CTD.float().sum() * 0
            scores = nothing.expand(len(frames_AFD), len(tokens_CTD))
        elif implementation == "fused":
            need("triton", "the fused frame score", "pip install triton")  # a CUDA build of torch brings it
            kernel = import_module("solfa.alignment.kernel")
            scores = kernel.fused_scores(frames_AFD, frame_mask_AF, tokens_CTD, token_mask_CT, precision)
        else:
            scores = blocked_scores(
                frames_AFD.to(precision), frame_mask_AF, tokens_CTD.to(precision), token_mask_CT, block=block
            )
    empty = ~frame_mask_AF.any(dim=1)[:, None] | ~token_mask_CT.any(dim=1)[None, :]
    scores = cast(Tensor, _Once.apply(scores.masked_fill(empty, EMPTY_SCORE)))  # type: ignore[no-untyped-call]
    return scores.T if direction == "tokens" else scores


def blocked_scores(
    frames_AFD: Tensor,
    frame_mask_AF: Tensor,
    tokens_CTD: Tensor,
    token_mask_CT: Tensor,
    *,
    block: int | None = None,
) -> Tensor:
    """Scores [shape=(A, C)] by blocks of texts; what pairs with an empty item get is arbitrary but finite."""
    size = block or max(1, BLOCK_COSINES // (frame_mask_AF.numel() * token_mask_CT.shape[1]))
    weights_AF = frame_mask_AF.to(torch.float32) / frame_mask_AF.sum(dim=1, keepdim=True).clamp(min=1)
    scores: Tensor = _Blocked.apply(frames_AFD, tokens_CTD, weights_AF, token_mask_CT, size)  # type: ignore[no-untyped-call]
    return scores


class _Once(torch.autograd.Function):
    """The identity, which is differentiated once only."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        return scores.view_as(scores)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise InputError("the frame score has no second derivative: call backward without create_graph=True.")
        return grads[0]


class _Blocked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, frames: Tensor, tokens: Tensor, weights: Tensor, mask: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(frames, tokens, weights, mask)
        ctx.parts = [slice(start, start + size) for start in range(0, len(tokens), size)]
        return torch.cat([_score(frames, tokens[part], weights, mask[part]) for part in ctx.parts], dim=1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        frames, tokens, weights, mask = ctx.saved_tensors
        d_frames, d_tokens = torch.zeros_like(frames), torch.empty_like(tokens)
        for part in ctx.parts:
            add, d_tokens[part] = _gradients(frames, tokens[part], weights, mask[part], grads[0][:, part])
            d_frames += add
        return d_frames, d_tokens, None, None, None


def _cosines(frames_AFD: Tensor, tokens_CTD: Tensor, token_mask_CT: Tensor) -> Tensor:
    cosines_AFCT = torch.einsum("afd,ctd->afct", frames_AFD, tokens_CTD)
    # The lowest finite value: 0 * it is 0.
    return cosines_AFCT.masked_fill_(~token_mask_CT, torch.finfo(cosines_AFCT.dtype).min / 2)


def _score(frames_AFD: Tensor, tokens_CTD: Tensor, weights_AF: Tensor, token_mask_CT: Tensor) -> Tensor:
    best_AFC = _cosines(frames_AFD, tokens_CTD, token_mask_CT).amax(dim=-1)
    return torch.einsum("afc,af->ac", best_AFC.float(), weights_AF)


def _gradients(
    frames_AFD: Tensor, tokens_CTD: Tensor, weights_AF: Tensor, token_mask_CT: Tensor, grad_AC: Tensor
) -> tuple[Tensor, Tensor]:
    """A frame's gradient gathers the tokens that won; a token's is a product with the one-hot matrix of places."""
    (A, F, D), (C, T, _) = frames_AFD.shape, tokens_CTD.shape
    # max names the first of equals (argmax need not)
    place_AFC = _cosines(frames_AFD, tokens_CTD, token_mask_CT).max(dim=-1).indices
    scale_AFC = (weights_AF[:, :, None] * grad_AC[:, None, :]).to(frames_AFD.dtype)
    rows = (place_AFC + T * torch.arange(C, device=place_AFC.device)).view(A * F, C)
    flat = tokens_CTD.reshape(C * T, D)
    d_frames = embedding_bag(rows, flat, mode="sum", per_sample_weights=scale_AFC.reshape(A * F, C)).view(A, F, D)
    won_AFCT = scale_AFC.new_zeros((A, F, C, T)).scatter_(3, place_AFC[..., None], scale_AFC[..., None])
    return d_frames, torch.einsum("afct,afd->ctd", won_AFCT, frames_AFD)


def kernel_choices() -> dict[str, list[int]]:
    """The block sizes that the fused kernel was tuned to in this process, as plain JSON; empty if it did not run."""
    kernel = sys.modules.get("solfa.alignment.kernel")
    return kernel.chosen() if kernel else {}


def use_kernel_choices(choices: Mapping[str, Sequence[int]]) -> None:
    """Take block sizes of an earlier process (``kernel_choices``), so that a run has the same bits when it goes on."""
    if choices and find_spec("triton") is not None:
        import_module("solfa.alignment.kernel").choose(choices)


@cache
def _fits(device: torch.device) -> bool:
    """Whether the kernel runs on a CUDA device; where not, one sentence says so, once."""
    why = "needs Triton, which is not installed"
    if find_spec("triton") is not None:
        why = import_module("solfa.alignment.kernel").unfit(device)
    if why:
        logging.getLogger(__name__).warning("The fused frame score %s: the slower blocked one is used.", why)
    return not why
