"""The frame score with gradients: all implementations against float64 loops, on ragged shapes, with ties."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from solfa.alignment.scores import EMPTY_SCORE, similarity
from solfa.alignment.scores import frame_scores as scored
from solfa.core.errors import InputError

torch = pytest.importorskip("torch")
from solfa.alignment.pairwise import frame_scores  # noqa: E402


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
            real = frames[i][frame_mask[i]].astype(np.float32), tokens[j][token_mask[j]].astype(np.float32)
            ranges, counts = np.array([[0, len(real[0])]]), np.array([len(real[1])])
            searched = scored(similarity(*real), ranges, counts)
            assert scores[i, j] == pytest.approx(searched[0, 0], abs=1e-6)


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
import test_alignment
for fused, blocked in zip(test_alignment.nan_cases("fused"), test_alignment.nan_cases("blocked")):
    for value, want in zip(fused, blocked):
        torch.testing.assert_close(value, want, equal_nan=True, atol=2e-6, rtol=0)
frames, mask = torch.randn(2, 3, 16).requires_grad_(), torch.ones(2, 3, dtype=torch.bool)
try:
    scores = test_alignment.frame_scores(frames, mask, torch.randn(2, 3, 16), mask, implementation="fused")
    torch.autograd.grad(scores.sum(), frames, create_graph=True)
    raise SystemExit("a second derivative")
except test_alignment.InputError:
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
@pytest.mark.parametrize(("capability", "shared_kib"), [(86, 99), (90, 227)])
def test_kernels_compile_for_a_card_without_one(capability, shared_kib):
    pytest.importorskip("triton")
    script = Path(__file__).parents[3] / "benchmarks" / "alignment.py"
    command = [sys.executable, script, "--resources", str(capability)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()[2:]]
    fitting = {(row[0], row[1].split()[0].rstrip(",")) for row in rows if float(row[5]) <= shared_kib}
    kernels = ("forward", "frames_backward", "tokens_backward")
    assert fitting == {(kernel, dtype) for kernel in kernels for dtype in ("float32", "bfloat16")}
    for kernel, kind, _, _, _, shared, blocks, product in rows:
        assert float(shared) <= shared_kib and int(blocks) >= 1
        matrix = (
            "" if kernel == "frames_backward" or kind.startswith("float32") else "wgmma" if shared_kib > 99 else "mma"
        )
        assert product == matrix
    for kernel in kernels:  # at least one candidate of each keeps its numbers in registers
        for dtype in ("float32", "bfloat16"):
            assert min(int(row[4]) for row in rows if row[0] == kernel and row[1].startswith(dtype)) <= 64


def test_a_card_that_the_kernel_does_not_fit_is_told_once(monkeypatch, caplog):
    kernels = pytest.importorskip("solfa.alignment.kernel")
    from solfa.alignment import pairwise as alignment

    for name, value in {"get_device_capability": (8, 6), "get_device_name": "Tiny"}.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    monkeypatch.setattr(kernels, "INTERPRETED", False)
    monkeypatch.setattr(kernels, "_shared_kib", lambda device: 48)
    alignment._fits.cache_clear()
    device = torch.device("cuda:1")
    assert not alignment._fits(device) and not alignment._fits(device)
    assert [record.getMessage() for record in caplog.records] == [
        "The fused frame score needs 99 KiB of shared memory a block; Tiny has 48: the slower blocked one is used."
    ]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert "compute capability 8.0" in kernels.unfit(device)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    for shared, dtype, kind in (
        (227, torch.bfloat16, "bfloat16"),
        (99, torch.bfloat16, "bfloat16 in 99 KiB"),
        (99, torch.float32, "float32"),
    ):
        monkeypatch.setattr(kernels, "_shared_kib", lambda device, shared=shared: shared)
        assert kernels.unfit(device) == "" and kernels._kind(device, dtype) == kind
    alignment._fits.cache_clear()


def test_a_launch_is_on_the_device_of_its_tensors_and_takes_the_chosen_blocks(monkeypatch):
    kernels = pytest.importorskip("solfa.alignment.kernel")
    launched, current = [], ["cuda:0"]

    class Device:
        def __init__(self, device):
            self.device = device

        def __enter__(self):
            current.append(str(self.device))

        def __exit__(self, *error):
            current.pop()

    class Kernel:
        fn = SimpleNamespace(__name__="_frames_backward")
        best_config = SimpleNamespace(kwargs={"BLOCK_M": 32, "BLOCK_D": 256}, num_warps=4, num_stages=4)

        def __getitem__(self, grid):
            return lambda *tensors, **sizes: launched.append((current[-1], sizes))

    there = SimpleNamespace(device=torch.device("cuda:1"), dtype=torch.float32)
    monkeypatch.setattr(torch.cuda, "device", Device)
    monkeypatch.setattr(kernels, "_kind", lambda device, dtype: "float32")
    monkeypatch.setattr(kernels, "_tuner", lambda kernel, kind: kernel)
    monkeypatch.setattr(kernels, "_CHOSEN", {})
    key = "frames_backward, float32, width 64"
    kernels._launch(Kernel(), None, there, D=64)
    assert kernels.chosen() == {key: [32, 256, 4, 4]} and launched == [("cuda:1", {"D": 64})]
    kernels.choose({key: [64, 128, 4, 4]})  # another process chose it
    kernels._launch(Kernel(), None, there, D=64)
    assert launched[1] == ("cuda:1", {"D": 64, "BLOCK_M": 64, "BLOCK_D": 128, "num_warps": 4, "num_stages": 4})
    kernels.choose({key: [1, 2, 3, 4]})  # of another card
    kernels._launch(Kernel(), None, there, D=64)
    assert launched[2] == ("cuda:1", {"D": 64}) and kernels.chosen() == {key: [32, 256, 4, 4]}


def nan_cases(implementation):
    """Scores and gradients of one NaN in a real frame, a real token, and in the padding of each."""
    out = []
    for place in ("frame", "token", "frame padding", "token padding"):
        frames, frame_mask, tokens, token_mask = (
            torch.from_numpy(x) for x in case(2, 3, 66, 5, 16, seed=9, holes=False, empty=False)
        )
        frame_mask[:], token_mask[:] = torch.arange(66) < 60, torch.arange(5) < 3
        frames, tokens = frames.float(), tokens.float()
        where = {"frame": (frames, 0, 3), "token": (tokens, 1, 2), "frame padding": (frames, 0, 65)}
        vectors, item, row = where.get(place, (tokens, 1, 4))
        vectors[item, row] = float("nan")
        frames.requires_grad_(), tokens.requires_grad_()
        scores = frame_scores(frames, frame_mask, tokens, token_mask, implementation=implementation)
        scores.sum().backward()
        bad = scores.isnan().tolist(), frames.grad.isnan().any().item(), tokens.grad.isnan().any().item()
        padding = "padding" in place
        expected = [[not padding and (i == 0 if place == "frame" else j == 1) for j in range(3)] for i in range(2)]
        assert bad == (expected, place == "token", place == "frame"), (implementation, place)
        out.append((scores.detach(), frames.grad, tokens.grad))
    return out


def test_nan_stays_nan_and_padding_of_nan_changes_nothing():
    nan_cases("blocked")


@pytest.mark.parametrize("direction", ["frames", "tokens"])
@pytest.mark.parametrize("frames_masked", [True, False])
def test_a_second_derivative_is_refused(direction, frames_masked):
    frames, tokens = torch.randn(2, 3, 4).requires_grad_(), torch.randn(2, 5, 4)
    mask = torch.ones(2, 3, dtype=torch.bool)
    mask[0] = frames_masked
    scores = frame_scores(frames, mask, tokens, torch.ones(2, 5, dtype=torch.bool), direction=direction)
    with pytest.raises(InputError, match="no second derivative"):
        torch.autograd.grad(scores.sum(), frames, create_graph=True)


@pytest.mark.gpu
def test_the_kernel_runs_on_another_card_than_the_current_one():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two cards")
    frames, frame_mask, tokens, token_mask = (torch.from_numpy(x).to("cuda:1") for x in case(4, 5, 65, 9, 32, seed=4))
    inputs = frames.float(), frame_mask, tokens.float(), token_mask
    fused, blocked = (frame_scores(*inputs, implementation=name) for name in ("fused", "blocked"))
    torch.testing.assert_close(fused, blocked, atol=1e-5, rtol=1e-4)


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
