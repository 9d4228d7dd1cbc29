"""The frame score of FIGMA forward and backward: time, memory, error and share of the roofline of each implementation.

    python benchmarks/alignment.py                       # five sizes in bfloat16 on CUDA
    python benchmarks/alignment.py --device cpu          # small sizes in float32
    python benchmarks/alignment.py --sizes 256,250,128,512 --implementations blocked,fused
    python benchmarks/alignment.py --resources 86        # what the kernel's candidates take of a card; needs no GPU

Every case runs in a process of its own, so that one that runs out of memory stops no other and peaks are its own.
Memory is the peak above the inputs and their gradients. The error is the largest difference from float64 over the first
items: of scores, and of gradients relative to the largest one. The roofline is three matrix products of
2 B B F T d FLOP (forward and two gradients) at --peak-tflops; on a CPU the peak is measured by a matrix product. On a
CPU times are processor time of all threads, which other processes do not disturb; take one thread.
Naive, blocked and compiled run in --dtype throughout, as PyTorch does it; the fused kernel adds up in float32.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from solfa.alignment.pairwise import blocked_scores, frame_scores

CUDA_SIZES = "256,250,64,512 256,250,128,512 256,750,128,512 256,750,256,512 1024,250,128,512"
CPU_SIZES = "32,50,32,128 64,50,32,128 32,100,32,128 32,50,64,128 64,100,64,128"
ITEMS = 2  # of each side that the error is taken over


def naive(frames: Tensor, frame_mask: Tensor, tokens: Tensor, token_mask: Tensor) -> Tensor:
    """The whole B x B x F x T tensor."""
    cosines = torch.einsum("afd,ctd->afct", frames, tokens).masked_fill(~token_mask, torch.finfo(frames.dtype).min / 2)
    weights = frame_mask.float() / frame_mask.sum(dim=1, keepdim=True)
    return torch.einsum("afc,af->ac", cosines.max(dim=-1).values.float(), weights)


IMPLEMENTATIONS: dict[str, Callable[..., Tensor]] = {
    "naive": naive,
    "blocked": lambda *inputs: blocked_scores(*inputs, block=32),
    "compiled": torch.compile(naive, dynamic=False),
    "fused": lambda a, am, c, cm: frame_scores(a, am, c, cm, implementation="fused", precision=a.dtype),
}


def inputs_of(B: int, F: int, T: int, D: int, dtype: torch.dtype, device: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    vectors = [torch.nn.functional.normalize(torch.randn((B, n, D), generator=generator), dim=-1) for n in (F, T)]
    frame_mask = torch.arange(F) < torch.randint(max(1, F * 9 // 10), F + 1, (B, 1), generator=generator)
    token_mask = torch.arange(T) < torch.randint(max(1, T // 2), T + 1, (B, 1), generator=generator)
    frames, tokens = (v.to(device, dtype).requires_grad_() for v in vectors)
    return [frames, frame_mask.to(device), tokens, token_mask.to(device)]


def error(inputs: list[Tensor], upstream: Tensor, scores: Tensor) -> tuple[float, float]:
    """Largest difference from float64 of scores and, relative to the largest, of gradients."""
    frames, frame_mask, tokens, token_mask = inputs
    assert frames.grad is not None and tokens.grad is not None
    a, c = frames.detach().double(), tokens.detach().double()
    rows, columns = a[:ITEMS].clone().requires_grad_(), c[:ITEMS].clone().requires_grad_()
    across = torch.cat(
        [naive(rows, frame_mask[:ITEMS], c[i : i + 32], token_mask[i : i + 32]) for i in range(0, len(c), 32)], 1
    )
    down = torch.cat(
        [naive(a[i : i + 32], frame_mask[i : i + 32], columns, token_mask[:ITEMS]) for i in range(0, len(a), 32)]
    )
    (across * upstream[:ITEMS]).sum().backward()
    (down * upstream[:, :ITEMS]).sum().backward()
    score = float((scores[:ITEMS] - across).abs().max().detach())
    pairs = [(frames.grad[:ITEMS], rows.grad), (tokens.grad[:ITEMS], columns.grad)]
    return score, max(float((got - want).abs().max() / want.abs().max()) for got, want in pairs if want is not None)


def measure(name: str, B: int, F: int, T: int, D: int, device: str, dtype: str, repeat: int) -> dict[str, float]:
    inputs = inputs_of(B, F, T, D, getattr(torch, dtype), device)
    upstream = torch.randn((B, B), generator=torch.Generator().manual_seed(1)).to(device) / B
    cuda = device != "cpu"
    clock = time.perf_counter if cuda else time.process_time

    def once() -> tuple[float, Tensor]:
        inputs[0].grad = inputs[2].grad = None
        if cuda:
            torch.cuda.synchronize()
        start = clock()
        scores = IMPLEMENTATIONS[name](*inputs)
        scores.backward(upstream)
        if cuda:
            torch.cuda.synchronize()
        return clock() - start, scores.detach()

    small = inputs_of(2, 4, 4, D, getattr(torch, dtype), device)  # what the libraries take when first called
    IMPLEMENTATIONS[name](*small).sum().backward()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    once()  # compiles and tunes
    grads = sum(x.numel() * x.element_size() for x in (inputs[0], inputs[2]))
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        inputs[0].grad = inputs[2].grad = None
        before = torch.cuda.memory_allocated()
    times = [once() for _ in range(repeat)]
    after = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    score, gradient = error(inputs, upstream, times[-1][1])
    milliseconds = 1000 * statistics.median(t for t, _ in times)
    return {"ms": milliseconds, "MiB": (after - before - grads) / 2**20, "score": score, "gradient": gradient}


def peak_tflops(device: str, dtype: str) -> float:
    a = torch.randn((2048, 2048), device=device).to(getattr(torch, dtype))
    times = []
    for _ in range(8):
        start = time.process_time()
        (a @ a).sum().item()
        times.append(time.process_time() - start)
    return 2 * 2048**3 / min(times) / 1e12


def resources(capability: int, D: int = 512, lengths: tuple[int, ...] = (16, 512)) -> None:
    """Registers, spilled bytes and shared memory of every candidate for a card, compiled.

    ``blocks`` are those that share a multiprocessor; forward is compiled for each of ``lengths``.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from solfa.alignment import kernel as kernels

    dump = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    shared_kib, at_once = {80: (163, 164), 90: (227, 228)}.get(capability, (99, 100))
    print("| kernel | type, tokens | candidate | registers | spilled bytes | shared KiB | blocks | product |")
    print("|---|---|---|---|---|---|---|---|")
    for name, kinds in kernels._CANDIDATES.items():
        kernel = getattr(kernels, name)
        wide = "bfloat16" if shared_kib >= kernels._LARGE_KIB else "bfloat16 in 99 KiB"
        runs = [(kind, row, T) for kind in (wide, "float32") for row in kinds[kind] for T in lengths]
        for kind, (*values, warps, stages), T in runs:
            if max(lengths) != T and name != "_forward":  # the others do not depend on it
                continue
            float_type = "*fp32" if kind == "float32" else "*bf16"
            types = dict.fromkeys(("frames", "tokens", "d_frames", "d_tokens"), float_type)
            types |= dict.fromkeys(("partial", "weights"), "*fp32")
            types |= dict.fromkeys(("frame_mask", "token_mask"), "*u8")
            types |= dict.fromkeys(("place", "numbers"), "*u8" if T < 256 else "*i16")
            types |= dict.fromkeys(("frame_len", "token_len", "slots", "num_slots"), "*i32")
            known = dict(zip(kinds["names"], values, strict=True)) | {
                "D": D,
                "T_POW": T,
                "NONE": 255 if T < 256 else -1,
            }
            constants = {arg: known[arg] for arg in kernel.arg_names if arg in known}
            signature = {arg: "constexpr" if arg in constants else types.get(arg, "i32") for arg in kernel.arg_names}
            aligned = {(i,): [["tt.divisibility", 16]] for i, arg in enumerate(kernel.arg_names) if arg in types}
            options = {"num_warps": warps, "num_stages": stages}
            made = compile(ASTSource(kernel, signature, constants, aligned), GPUTarget("cuda", capability, 32), options)
            with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
                Path(file.name).write_bytes(made.asm["cubin"])
                usage = subprocess.run([dump, "-res-usage", file.name], capture_output=True, text=True, check=True)
            registers, spilled = (int(re.search(rf"{n}:(\d+)", usage.stdout)[1]) for n in ("REG", "STACK"))
            shared = made.metadata.shared
            blocks = min(65536 // (-(-registers // 8) * 8 * warps * 32), at_once * 1024 // (shared + 1024))
            shown = "x".join(map(str, values)) + f", {warps} warps, {stages} stages"
            product = next((p for p in ("wgmma", "mma") if p in made.asm["ptx"]), "")
            took = f"{registers} | {spilled} | {shared / 1024:.0f} | {blocks}"
            print(f"| {name[1:]} | {kind}, {T} | {shown} | {took} | {product} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", help="default: bfloat16 on CUDA, float32 on a CPU")
    parser.add_argument("--sizes", nargs="+", help="B,F,T,d each")
    parser.add_argument("--implementations", default="naive,blocked,compiled,fused")
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--peak-tflops", type=float, help="default: 790 on CUDA (an H200, dense bf16), else measured")
    parser.add_argument(
        "--resources", type=int, metavar="CAPABILITY", help="compile the kernel for 80, 86, 89, 90, 120"
    )
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.resources:
        resources(options.resources)
        return
    if options.case:
        print(json.dumps(measure(**json.loads(options.case))))
        return
    cpu = options.device == "cpu"
    dtype = options.dtype or ("float32" if cpu else "bfloat16")
    peak = options.peak_tflops or (peak_tflops("cpu", dtype) if cpu else 790.0)
    where = f"{torch.get_num_threads()} CPU threads" if cpu else torch.cuda.get_device_name()
    print(f"{where}, torch {torch.__version__}, {dtype}, roofline at {peak:.3g} TFLOP/s, forward + backward\n")
    print("| B, F, T, d | implementation | ms | MiB above inputs | score error | gradient error | share of roofline |")
    print("|---|---|---|---|---|---|---|")
    for size in options.sizes or (CPU_SIZES if cpu else CUDA_SIZES).split():
        B, F, T, D = map(int, size.split(","))
        floor_ms = 3 * 2 * B * B * F * T * D / peak / 1e9
        for name in options.implementations.split(","):
            if cpu and name == "fused":
                continue
            case = {"name": name, "B": B, "F": F, "T": T, "D": D, "device": options.device, "dtype": dtype}
            command = [sys.executable, __file__, "--case", json.dumps({**case, "repeat": options.repeat})]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["killed"])[-1][:80]
                print(f"| {size.replace(',', ', ')} | {name} | {reason} | | | | |", flush=True)
                continue
            r = json.loads(done.stdout.strip().splitlines()[-1])
            print(
                f"| {size.replace(',', ', ')} | {name} | {r['ms']:.2f} | {r['MiB']:.0f} | {r['score']:.1e} | "
                f"{r['gradient']:.1e} | {floor_ms / r['ms']:.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
