"""A whole training step on cached states: its time, its parts, the feed rate it needs, what a full run would take.

    python benchmarks/training.py figma                    # published sizes, MuQ-shaped states, on CUDA
    python benchmarks/training.py finelap --batch 1024     # EAT-shaped states
    python benchmarks/training.py united --small --device cpu
    python benchmarks/training.py figma --device cpu --small --grow    # peak memory against batch, frames and tokens

States are random, float16, of the shapes of the paper's bodies, and are read through the cache and the loader as in
training. Parts are timed one after the other, each waited for (medians); a whole step may be shorter than their sum. On
a CPU times are processor time of all threads, the loader's too, which other processes do not disturb.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from solfa.alignment.joint import Projected
from solfa.core.clip import Clip, Phrase
from solfa.core.types import EncoderSpec, States
from solfa.datasets.bank import Cluster, PhraseBank
from solfa.datasets.building import ShardTask, build
from solfa.datasets.shards import Member
from solfa.encoders.vectors import pack_states
from solfa.training.batches import prepare
from solfa.training.recipes import RECIPES
from solfa.training.trainer import Trainer

PAIRS, EPOCHS = 380_878, 15  # FIGMA's
BANK = PhraseBank(Cluster(phrase=f"phrase {i}") for i in range(200))


@dataclass(frozen=True)
class Clips:
    """Clips of a tenth of a second of silence: only their states matter."""

    count: int

    def __call__(self, task: ShardTask) -> Iterator[Member]:
        for i in range(self.count):
            phrases = tuple(Phrase(text=f"phrase {(i + n) % 200}", spans_s=((0.0, 0.05),)) for n in range(3))
            record = Clip(id=f"{i}", duration_s=0.1, captions=(f"caption {i}",), phrases=phrases)
            yield Member(record=record, samples=np.zeros(800, np.float32), sample_rate_hz=8000, format="wav")


class Body:
    """Random states of one shape, or of an eighth of its rows up to all."""

    def __init__(self, name: str, rows: int, dim: int, hop_s: float, ragged: bool = False) -> None:
        self._rows, self._ragged, self._rng = rows, ragged, np.random.default_rng(0)
        self.spec = EncoderSpec(
            name=name, space=f"{name}/{rows}/{dim}", dim=dim, licence="", commercial_use=True, sample_rate_hz=8000,
            hop_s=hop_s,
        )  # fmt: skip

    def states(self, batch: Sequence[Any]) -> States:
        if self._ragged:
            lengths = self._rng.integers(self._rows // 8, self._rows, len(batch), endpoint=True).tolist()
            rows = [self._rng.standard_normal((count, self.spec.dim)).astype(np.float32) for count in lengths]
            return pack_states(rows, self.spec.dim)
        states = self._rng.standard_normal((len(batch), self._rows, self.spec.dim)).astype(np.float32)
        return States(states.mean(axis=1), states, np.ones(states.shape[:2], np.bool_))


def timed(device: str, run: Callable[[], Any]) -> tuple[float, Any]:
    if device != "cpu":
        torch.cuda.synchronize()
    clock = time.perf_counter if device != "cpu" else time.process_time
    start = clock()
    out = run()
    if device != "cpu":
        torch.cuda.synchronize()
    return 1000 * (clock() - start), out


def measure(o: argparse.Namespace, folder: Path) -> dict[str, float]:
    dataset = build(folder / "data", Clips(o.clips), name="random", config={}, seed=0, num_shards={"train": 1})
    audio, text = Body("hear", o.frames, o.audio_dim, 10 / o.frames), Body("read", o.tokens, o.text_dim, 0.0, o.ragged)
    data = prepare(dataset, folder / "features", audio=audio, text=text, phrases=True, bank=BANK)
    recipe = replace(
        RECIPES[o.recipe](data.audio.dim, data.text.dim, small=o.small),
        batch_size=o.batch,
        chunk_size=o.chunk,
        epochs=1000,
    )
    recipe = replace(recipe, precision=o.precision or recipe.precision, bucket_batches=o.bucket)
    trainer = Trainer(recipe, data, folder / "run", device=o.device)
    batches = (batch for _ in range(1000) for batch in trainer.loader)
    for _ in range(3):
        trainer.step(next(batches))  # compiles, tunes
    if o.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    loop, _ = timed(o.device, lambda: [trainer.step(next(batches)) for _ in range(o.steps)])
    parts: dict[str, list[float]] = {n: [] for n in ("project", "loss", "step")}
    for _ in range(o.steps):
        batch = next(batches).to(trainer.device)
        with torch.no_grad():
            project, vectors = timed(o.device, lambda batch=batch: trainer._project(batch, 0))
        leaves = [v.detach().requires_grad_() for v in vectors]
        given = Projected.of(leaves, batch, trainer.model.token_mask(batch), 0)
        loss, _ = timed(o.device, lambda given=given: sum(trainer.objective.losses(given).values()).backward())
        whole, _ = timed(o.device, lambda batch=batch: trainer.step(batch))
        for name, value in zip(parts, (project, loss, whole), strict=True):
            parts[name].append(value)
    peak = (
        torch.cuda.max_memory_allocated()
        if o.device != "cpu"
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    cached = sum(t.numel() * (2 if t.is_floating_point() else t.element_size()) for t in batch.tensors().values())
    medians = {n: statistics.median(v) for n, v in parts.items()}
    return {**medians, "loop": loop / o.steps, "GiB": peak / 2**30, "MB": cached / 1e6}


def table(o: argparse.Namespace, r: dict[str, float]) -> None:
    where = torch.cuda.get_device_name() if o.device != "cpu" else f"{torch.get_num_threads()} CPU threads"
    size = "small" if o.small else "published"
    shape = f"B {o.batch}, F {o.frames}, T {o.tokens}"
    print(f"{o.recipe}, {size} sizes, {o.precision or 'own precision'}, {shape}; {where}, torch {torch.__version__}\n")
    print("| part | ms |\n|---|---|")
    names = {
        "project": "project (forward alone)", "loss": "loss (forward and backward)",
        "step": "whole step, batch at hand",
        "loop": "**whole step, fed by the loader as in training**",
    }  # fmt: skip
    for name, words in names.items():
        print(f"| {words} | {r[name]:.2f} |")
    per_s = 1000 / r["loop"]
    print(
        f"{per_s:.2f} steps/s, {per_s * o.batch:.0f} clips/s, needs {r['MB'] * per_s:.0f} MB/s of states, "
        f"peak {r['GiB']:.2f} GiB."
    )
    print(f"{EPOCHS} epochs of {PAIRS:,} pairs: {EPOCHS * PAIRS / o.batch / per_s / 60:.1f} minutes.")


def grow(o: argparse.Namespace) -> None:
    """Peak memory of a step in processes of their own, above that of the smallest batch."""
    print("| B | F | T | peak GiB |\n|---|---|---|---|")
    B, F, T = o.batch, o.frames, o.tokens
    sizes = [
        (B, F, T),
        *((B * k, F, T) for k in (2, 4)),
        *((B, F * k, T) for k in (2, 4)),
        *((B, F, T * k) for k in (2, 4)),
    ]
    for b, f, t in sizes:
        options = [
            "--batch",
            b,
            "--frames",
            f,
            "--tokens",
            t,
            "--clips",
            max(o.clips, b),
            "--steps",
            3,
            "--device",
            o.device,
        ]
        options += ["--audio-dim", o.audio_dim, "--text-dim", o.text_dim, *(["--small"] if o.small else []), "--peak"]
        done = subprocess.run([sys.executable, __file__, o.recipe, *map(str, options)], capture_output=True, text=True)
        print(f"| {b} | {f} | {t} | {done.stdout.strip() or done.stderr.strip().splitlines()[-1][:80]} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=list(RECIPES))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--chunk", type=int)
    parser.add_argument("--precision", choices=["float32", "bfloat16"])
    parser.add_argument("--clips", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--frames", type=int, help="250 (MuQ), 64 (EAT), 10 (small)")
    parser.add_argument("--tokens", type=int, help="128 (E5), 30 (RoBERTa), 64 (small)")
    parser.add_argument("--audio-dim", type=int, help="1024 (MuQ), 768 (EAT), 1424 (small: taggers)")
    parser.add_argument("--text-dim", type=int, help="1024 (E5), 768 (RoBERTa), 384 (small: MiniLM)")
    parser.add_argument("--grow", action="store_true", help="peak memory against batch, frames and tokens")
    parser.add_argument("--ragged", action="store_true", help="captions of an eighth of --tokens up to all")
    parser.add_argument("--bucket", type=int, default=1, help="batches sorted by length together")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    o = parser.parse_args()
    shape = (
        (64, 10, 64, 1424, 384)
        if o.small
        else (1024, 64, 30, 768, 768)
        if o.recipe == "finelap"
        else (256, 250, 128, 1024, 1024)
    )
    for name, value in zip(("batch", "frames", "tokens", "audio_dim", "text_dim"), shape, strict=True):
        setattr(o, name, getattr(o, name) or value)
    o.clips = max(o.clips, o.batch)
    if o.grow:
        grow(o)
        return
    with tempfile.TemporaryDirectory() as folder:
        result = measure(o, Path(folder))
    if o.peak:
        print(f"{result['GiB']:.3f}")
    else:
        table(o, result)


if __name__ == "__main__":
    main()
