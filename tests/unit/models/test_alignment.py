"""The frame score with gradients: all implementations against float64 loops, on ragged shapes, with ties."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from solfa.core.errors import InputError
from solfa.models.scoring import EMPTY_SCORE, frame_score, similarity

torch = pytest.importorskip("torch")
from solfa.models.alignment import frame_scores  # noqa: E402


def case(A, C, F, T, D, seed, *, holes=True, empty=True, ties=True):
    rng = np.random.default_rng(seed)
    frames, tokens = (rng.standard_normal((n, m, D)) for n, m in ((A, F), (C, T)))
    if ties:  # equal tokens, and equal frames
        tokens[:, T // 2] = tokens[:, 0]
        frames[:, F // 2] = frames[:, -1]
    # Multiples of 1/64: products and their sums are exact in every precision, so that ties are ties everywhere.
    frames, tokens = (np.rint(64 * x / np.linalg.norm(x, axis=-1, keepdims=True)) / 64 for x in (frames, tokens))
    frame_mask = np.arange(F) < rng.integers(1, F + 1, A)[:, None]
    token_mask = np.arange(T) < rng.integers(1, T + 1, C)[:, None]
    if holes:
        token_mask[:, 0] &= rng.random(C) < 0.5  # a special token left out
        frame_mask &= rng.random((A, F)) < 0.9
    if empty:
        frame_mask[0], token_mask[-1] = False, False
    return frames, frame_mask, tokens, token_mask


def loops(frames, frame_mask, tokens, token_mask, upstream):
    """Scores and gradients in float64, one number after the other; the first of equal cosines wins."""
    A, C = len(frames), len(tokens)
    scores = np.full((A, C), EMPTY_SCORE)
    d_frames, d_tokens = np.zeros_like(frames), np.zeros_like(tokens)
    for i in range(A):
        for j in range(C):
            real_f, real_t = np.flatnonzero(frame_mask[i]), np.flatnonzero(token_mask[j])
            if len(real_f) == 0 or len(real_t) == 0:
                continue
            cosines = frames[i] @ tokens[j].T
            total = 0.0
            for f in real_f:
                best = real_t[0]
                for t in real_t:
                    if cosines[f, t] > cosines[f, best]:
                        best = t
                total += cosines[f, best]
                d_frames[i, f] += upstream[i, j] / len(real_f) * tokens[j, best]
                d_tokens[j, best] += upstream[i, j] / len(real_f) * frames[i, f]
            scores[i, j] = total / len(real_f)
    return scores, d_frames, d_tokens


def run(data, upstream, dtype=torch.float32, **options):
    frames, frame_mask, tokens, token_mask = (torch.from_numpy(x) for x in data)
    frames, tokens = (x.to(torch.float32).requires_grad_() for x in (frames, tokens))
    scores = frame_scores(frames, frame_mask, tokens, token_mask, precision=dtype, **options)
    (scores * torch.from_numpy(upstream)).sum().backward()
    return scores.detach().numpy(), frames.grad.numpy(), tokens.grad.numpy()


SHAPES = [
    (1, 1, 1, 1, 8),
    (3, 4, 7, 5, 12),
    (2, 5, 70, 16, 16),
    (4, 3, 130, 40, 32),
    (5, 2, 3, 300, 20),
    (3, 9, 65, 33, 48),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("block", [None, 2])
def test_blocked_is_the_loop(shape, block):
    data = case(*shape, seed=1)
    upstream = np.random.default_rng(2).standard_normal(shape[:2])
    expected = loops(*data, upstream)
    for got, want in zip(run(data, upstream, implementation="blocked", block=block), expected, strict=True):
        np.testing.assert_allclose(got, want, atol=2e-6)


def test_gradcheck_in_float64():
    data = case(2, 3, 6, 4, 5, seed=3, ties=False, empty=False)
    frames, frame_mask, tokens, token_mask = (torch.from_numpy(x) for x in data)

    def scored(a, b):
        weights = frame_mask.double() / frame_mask.sum(1, keepdim=True)
        cosines = torch.einsum("afd,ctd->afct", a, b).masked_fill(~token_mask, -9)
        return torch.einsum("afc,af->ac", cosines.max(-1).values, weights)

    assert torch.autograd.gradcheck(scored, (frames.requires_grad_(), tokens.requires_grad_()))
    ours = frame_scores(frames, frame_mask, tokens, token_mask, precision=torch.float64)
    torch.testing.assert_close(ours.double(), scored(frames, tokens), atol=1e-6, rtol=0)


def test_it_is_the_score_that_search_uses():
    frames, frame_mask, tokens, token_mask = case(4, 5, 9, 6, 16, seed=5)
    scores, _, _ = run((frames, frame_mask, tokens, token_mask), np.ones((4, 5)))
    for i in range(4):
        for j in range(5):
            cosines = similarity(frames[i].astype(np.float32), tokens[j].astype(np.float32))
            assert scores[i, j] == pytest.approx(frame_score(cosines, frame_mask[i], token_mask[j]), abs=1e-6)


def test_direction_tokens_is_the_transposed_score_of_exchanged_sides():
    data = case(3, 4, 8, 5, 16, seed=6)
    upstream = np.random.default_rng(7).standard_normal((3, 4))
    expected, d_tokens, d_frames = loops(data[2], data[3], data[0], data[1], upstream.T)
    got = run(data, upstream, direction="tokens")
    for value, want in zip(got, (expected.T, d_frames, d_tokens), strict=True):
        np.testing.assert_allclose(value, want, atol=2e-6)


def test_padding_and_order_change_nothing():
    frames, frame_mask, tokens, token_mask = case(3, 4, 8, 5, 16, seed=8, ties=False)
    scores, _, _ = run((frames, frame_mask, tokens, token_mask), np.ones((3, 4)))
    order = np.random.default_rng(0).permutation(8)
    wide = np.pad(tokens, ((0, 0), (0, 3), (0, 0)), constant_values=0.3)
    again = run((frames[:, order], frame_mask[:, order], wide, np.pad(token_mask, ((0, 0), (0, 3)))), np.ones((3, 4)))
    np.testing.assert_allclose(scores, again[0], atol=1e-6)


def test_nothing_at_all_scores_empty():
    zero = np.zeros((2, 0, 4)), np.zeros((2, 0), bool), np.ones((3, 2, 4)) / 2, np.ones((3, 2), bool)
    scores, d_frames, d_tokens = run(zero, np.ones((2, 3)))
    assert (scores == EMPTY_SCORE).all() and not d_tokens.any() and d_frames.size == 0


def test_shapes_that_do_not_fit_and_a_missing_device():
    frames, mask = torch.ones(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(InputError, match="do not fit"):
        frame_scores(frames, mask[:, :2], frames, mask)
    pytest.importorskip("triton")
    if os.environ.get("TRITON_INTERPRET") != "1":
        with pytest.raises(InputError, match="CUDA"):
            frame_scores(frames, mask, frames, mask, implementation="fused")


KERNEL = """
import sys
sys.path.insert(0, {here!r})
import numpy as np, torch
from test_alignment import case, loops, run
for shape in [(1, 1, 1, 1, 8), (2, 5, 65, 33, 20), (2, 3, 130, 5, 16), (2, 2, 3, 300, 20)]:
    data = case(*shape, seed=1)
    upstream = np.random.default_rng(2).standard_normal(shape[:2])
    expected = loops(*data, upstream)
    for dtype in (torch.float32, torch.bfloat16):
        got = run(data, upstream, implementation="fused", dtype=dtype)
        again = run(data, upstream, implementation="fused", dtype=dtype)
        for value, want, other in zip(got, expected, again):
            np.testing.assert_allclose(value, want, atol=2e-6)
            assert np.array_equal(value, other)
    tokens = run(data, upstream, implementation="fused", direction="tokens")
    blocked = run(data, upstream, implementation="blocked", direction="tokens")
    for value, want in zip(tokens, blocked):
        np.testing.assert_allclose(value, want, atol=2e-6)
print("equal")
"""


@pytest.mark.slow
def test_the_kernel_under_the_interpreter_is_the_loop():
    pytest.importorskip("triton")
    code = KERNEL.format(here=str(Path(__file__).parent))
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.strip().endswith("equal"), done.stderr[-2000:]


@pytest.mark.slow
def test_kernels_compile_for_a_hopper_gpu_without_one():
    pytest.importorskip("triton")
    script = Path(__file__).parents[3] / "benchmarks" / "alignment.py"
    done = subprocess.run([sys.executable, script, "--resources"], capture_output=True, text=True, check=True)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()[2:]]
    assert {row[0] for row in rows} == {"forward", "frames_backward", "tokens_backward"}
    for kernel, _, _, spilled, shared, blocks, product in rows:
        assert int(spilled) <= 64 and float(shared) <= 227 and int(blocks) >= 1
        assert product == ("" if kernel == "frames_backward" else "wgmma")  # a gather needs no tensor cores


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(16, 24, 250, 128, 512), (7, 9, 130, 300, 128), (32, 32, 64, 30, 1024)])
@pytest.mark.parametrize("direction", ["frames", "tokens"])
def test_the_kernel_on_a_gpu_is_the_blocked_score(shape, direction):
    data = [torch.from_numpy(x).cuda() for x in case(*shape, seed=4)]
    upstream = torch.randn(shape[:2], generator=torch.Generator().manual_seed(0)).cuda()
    results = {}
    for implementation, dtype in (("blocked", torch.float32), ("fused", torch.float32), ("fused", torch.bfloat16)):
        frames, tokens = (data[i].float().clone().requires_grad_() for i in (0, 2))
        options = {"implementation": implementation, "precision": dtype, "direction": direction}
        scores = frame_scores(frames, data[1], tokens, data[3], **options)
        scores.backward(upstream)
        results[implementation, dtype] = scores.detach(), frames.grad, tokens.grad
    for dtype in (torch.float32, torch.bfloat16):  # the vectors are exact in both
        for k, (got, want) in enumerate(zip(results["fused", dtype], results["blocked", torch.float32], strict=True)):
            # The gradient that is a product takes its weights in bfloat16, of eight bits.
            rounded = dtype == torch.bfloat16 and k == (2 if direction == "frames" else 1)
            torch.testing.assert_close(got, want, atol=want.abs().max() * 2**-8 if rounded else 1e-5, rtol=1e-4)
