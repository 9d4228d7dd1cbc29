"""All-pairs frame scores with gradients: the twin of ``scoring.frame_score`` that training uses. Needs torch.

``S(i, j)`` is the mean over the real frames of item i of the maximum over the real tokens of item j (FIGMA, arXiv
2606.06615); ``direction="tokens"`` takes the mean over tokens of the maximum over frames instead (late interaction).
An item without a real row scores ``EMPTY_SCORE`` against all and has no gradient. Of equal cosines the first row is the
maximum, and it alone receives the gradient.

Two implementations give the same scores: ``blocked`` runs anywhere, holds the cosines of one block of texts at a time
and computes them again for the gradient, so memory grows linearly in items, frames and tokens; ``fused`` is a Triton
kernel (``alignment_kernel``) that never writes a cosine, only the place of each maximum (one or two bytes each).

Shape letters: A items that have frames, C items that have tokens, F frames, T tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from solfa.core.errors import InputError, MissingExtra
from solfa.models.scoring import EMPTY_SCORE

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

    Parameters
    ----------
    frames_AFD, tokens_CTD
        unit vectors
    frame_mask_AF, token_mask_CT
        bool, True where a row is real (anywhere, not only in front)
    implementation
        ``auto`` is ``fused`` on CUDA where Triton is installed, else ``blocked``
    direction
        what the mean runs over
    precision
        what vectors are rounded to before they are multiplied; ``fused`` adds up in float32 whatever it is
    block
        how many texts ``blocked`` scores at once; by default what fits ``BLOCK_COSINES``

    Raises
    ------
    InputError
        If shapes do not fit, or ``fused`` is asked for on a device it does not run on.
    MissingExtra
        If ``fused`` is asked for and Triton is not installed.
    """
    if direction == "tokens":
        frames_AFD, frame_mask_AF, tokens_CTD, token_mask_CT = tokens_CTD, token_mask_CT, frames_AFD, frame_mask_AF
    for vectors, mask in ((frames_AFD, frame_mask_AF), (tokens_CTD, token_mask_CT)):
        if vectors.shape[:2] != mask.shape or vectors.shape[2] != frames_AFD.shape[2]:
            raise InputError(f"vectors {tuple(vectors.shape)} and mask {tuple(mask.shape)} do not fit.")
    if implementation == "auto":
        implementation = "fused" if frames_AFD.is_cuda and find_spec("triton") is not None else "blocked"
    with torch.autocast(frames_AFD.device.type, enabled=False):
        if 0 in (*frame_mask_AF.shape, *token_mask_CT.shape):
            nothing = frames_AFD.float().sum() * 0 + tokens_CTD.float().sum() * 0
            scores = nothing.expand(len(frames_AFD), len(tokens_CTD))
        elif implementation == "fused":
            scores = _fused()(frames_AFD, frame_mask_AF, tokens_CTD, token_mask_CT, precision)
        else:
            scores = blocked_scores(
                frames_AFD.to(precision), frame_mask_AF, tokens_CTD.to(precision), token_mask_CT, block=block
            )
    empty = ~frame_mask_AF.any(dim=1)[:, None] | ~token_mask_CT.any(dim=1)[None, :]
    scores = scores.masked_fill(empty, EMPTY_SCORE)
    return scores.T if direction == "tokens" else scores


def blocked_scores(
    frames_AFD: Tensor,
    frame_mask_AF: Tensor,
    tokens_CTD: Tensor,
    token_mask_CT: Tensor,
    *,
    block: int | None = None,
    compile_block: bool = False,
) -> Tensor:
    """Scores [shape=(A, C)] by blocks of texts; what pairs with an empty item get is arbitrary but finite."""
    size = block or max(1, BLOCK_COSINES // (frame_mask_AF.numel() * token_mask_CT.shape[1]))
    score: Callable[..., Tensor] = torch.compile(_block, dynamic=False) if compile_block else _block
    weights_AF = frame_mask_AF.float() / frame_mask_AF.sum(dim=1, keepdim=True).clamp(min=1)
    columns = [
        checkpoint(score, frames_AFD, weights_AF, tokens, mask, use_reentrant=False, preserve_rng_state=False)
        for tokens, mask in (
            (tokens_CTD[start : start + size], token_mask_CT[start : start + size])
            for start in range(0, len(tokens_CTD), size)
        )
    ]
    return torch.cat(columns, dim=1)


def _block(frames_AFD: Tensor, weights_AF: Tensor, tokens_CTD: Tensor, token_mask_CT: Tensor) -> Tensor:
    cosines_AFCT = torch.einsum("afd,ctd->afct", frames_AFD, tokens_CTD)
    # A text without tokens is filled with the lowest value too; it stays finite, so that 0 * value is 0.
    lowest = torch.finfo(cosines_AFCT.dtype).min / 2
    best_AFC = cosines_AFCT.masked_fill(~token_mask_CT, lowest).max(dim=-1).values  # max, not amax: the first of equals
    return torch.einsum("afc,af->ac", best_AFC.float(), weights_AF)


def _fused() -> Callable[..., Tensor]:
    try:
        import triton  # noqa: F401  (a CUDA build of torch brings it)
    except ImportError as error:
        raise MissingExtra("the fused frame score", "pip install triton") from error
    from solfa.models.alignment_kernel import fused_scores

    return fused_scores
