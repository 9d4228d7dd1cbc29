"""FIGMA's and FineLAP's experiments in kind: small training runs on a CPU, over several seeds, with tables and curves.

    python benchmarks/experiments.py late         --data WORLD [WORLD ...] --out DIR   losses; what decides stands last
    python benchmarks/experiments.py saturation   --data WORLD [WORLD ...] --out DIR   recall by tokens kept
    python benchmarks/experiments.py perturbation --data WORLD [WORLD ...] --out DIR   one false attribute
    python benchmarks/experiments.py alpha        --data WORLD [WORLD ...] --out DIR
    python benchmarks/experiments.py negatives    --data WORLD [WORLD ...] --out DIR   negatives of each anchor
    python benchmarks/experiments.py finelap      --data SCENES --out DIR              Q1-Q3, InfoNCE, projectors
    python benchmarks/experiments.py phrases      --data SCENES --out DIR              phrases of each clip

WORLD is a data set of ``solfa data world``: the first gives the train split, all of them the pool; SCENES is one of
``solfa data scenes``. States are computed once (DIR/states), and so is each run (DIR/runs): names share runs, a stopped
command goes on. Tables are mean ± standard deviation over seeds; a variant without a finished run is left out where
``--report`` trains nothing. ``--split val`` is for choosing epochs and rates.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch

from experiments_music import LOSSES, NEGATIVES, SHORT, STEPS, VIEWS, music, music_run
from experiments_runs import Job
from experiments_scenes import SCENES, attainable, scenes, scenes_pool, scenes_run
from solfa.apps.figures import curves
from solfa.datasets.shards import Dataset
from solfa.evaluation.perturbation import EDITS
from solfa.training.trainer import Trainer

# Name -> the runs that it needs.
NAMES = {
    "late": ("global", "frame", "figma", "united", *SHORT), "saturation": ("global", "figma", *SHORT),
    "perturbation": ("global", "figma"), "alpha": ("frame", "alpha-0.3", "figma", "global"),
    "negatives": tuple(f"negatives-{n}" for n in NEGATIVES),
    "finelap": tuple(name for name in SCENES if not name.startswith("N ")),
    "phrases": ("N 5", "N 10", "full", "N 30"),
}  # fmt: skip
ALPHAS = {"frame": 0.0, "alpha-0.3": 0.3, "figma": 0.6, "global": 1.0}
Rows = list[list[str]]


def run(job: Job) -> str:
    """Train and measure, unless it has been done."""
    if job.result.exists():
        return f"{job.variant} {job.seed}: kept"
    torch.set_num_threads(1)
    data, recipe, measure = (music_run if job.variant in LOSSES else scenes_run)(job)
    trainer = Trainer(replace(recipe, seed=job.seed), data, job.folder)
    # No choice by validation: every variant has the same steps, and not all of them train what R@1 would look at.
    trainer.run(resume=(job.folder / "config.json").exists())
    job.result.write_text(json.dumps(measure(trainer.model.eval())))
    return f"{job.variant} {job.seed}: done"


class Results:
    """What the runs of a name gave: mean and deviation of any number over seeds."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        self._found: dict[str, list[dict[str, float]]] = {}
        for job in jobs:
            if job.result.exists():
                self._found.setdefault(job.variant, []).append(json.loads(job.result.read_text()))
        self.variants = tuple(self._found)

    def has(self, variant: str, key: str) -> bool:
        return all(key in one for one in self._found[variant])

    def mean(self, variant: str, key: str) -> float:
        return statistics.mean(one[key] for one in self._found[variant])

    def cell(self, variant: str, key: str, scale: float = 100.0, digits: int = 1) -> str:
        values = [scale * one[key] for one in self._found[variant]]
        spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.{digits}f}{spread}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def late(r: Results, figures: Path) -> str:
    ways = (("T2A", 1), ("T2A", 10), ("A2T", 1))
    head = ["loss", "ranked by", *(f"{o} {w} R@{k}" for o in ("early", "late") for w, k in ways)]
    rows = [
        [v, view, *(r.cell(v, f"{o} {view} {w} R@{k}") for o in ("early", "late") for w, k in ways)]
        for v in r.variants
        for view in VIEWS
    ]
    return table(head, rows)


def saturated(r: Results, figures: Path) -> str:
    lines = [(v, "global" if "global" in v else "mix", o) for o in ("early", "late") for v in r.variants]
    series = {v: [(float(n), 100 * r.mean(v, f"cut {o} {view} {n}")) for n in STEPS]
              for v, view, o in lines if o == "late"}  # fmt: skip
    labels = {"title": "What decides stands last", "x_label": "tokens kept", "y_label": "T2A R@10, %"}
    curves(series, figures / "experiments-saturation.svg", **labels, force=True)
    head = ["loss", "ranked by", "what decides", *map(str, STEPS), "whole"]
    return table(head, [[v, view, o, *(r.cell(v, f"cut {o} {view} {n}") for n in (*STEPS, "whole"))]
                        for v, view, o in lines])  # fmt: skip


def perturbed(r: Results, figures: Path) -> str:
    asked = ("original R@1", "counterfactuals R@1", "replaced R@1", "preferred", "mismatched", "detected")
    head = ["loss", "ranked by", "false", "clips", *asked, "text-only, best rule"]
    lines = [
        (v, "global" if v == "global" else "mix", kind) for v in r.variants for kind in EDITS if r.has(v, f"{kind} num")
    ]
    return table(head, [
        [v, view, kind, f"{r.mean(v, f'{kind} num'):.0f}", *(r.cell(v, f"{kind} {view} {what}") for what in asked),
         r.cell(v, f"{kind} text-only")]
        for v, view, kind in lines
    ])  # fmt: skip


def swept(r: Results, figures: Path) -> str:
    """Alpha, or the number of negatives: recall of captions in which what decides stands last."""
    names = {v: f"alpha {ALPHAS[v]}" if v in ALPHAS else v.replace("-", " ") for v in r.variants}
    if "frame" in r.variants:
        series = {view: [(ALPHAS[v], 100 * r.mean(v, f"late {view} T2A R@1")) for v in r.variants] for view in VIEWS}
        labels = {"title": "What decides stands last", "x_label": "alpha", "y_label": "T2A R@1, %"}
        curves(series, figures / "experiments-alpha.svg", **labels, force=True)
    keys = [f"{view} {way}" for way in ("T2A R@1", "T2A R@10") for view in VIEWS]
    return table(["", *keys], [[names[v], *(r.cell(v, f"late {key}") for key in keys)] for v in r.variants])


def detecting(r: Results, figures: Path) -> str:
    keys = ("T2A R@1", "T2A R@10", "A2T R@1", "A2T R@10")
    rows = [[v, *(r.cell(v, k) for k in keys), r.cell(v, "PSDS1", 1, 3)] for v in r.variants]
    pool = scenes_pool(r.jobs[0].data[0], r.jobs[0].out, r.jobs[0].split)
    rows.append(["(true labels, at the distance of these frames)", *("" for _ in keys), f"{attainable(*pool):.3f}"])
    return table(["variant", *keys, "PSDS1"], rows)


TABLES = {
    "late": late, "saturation": saturated, "perturbation": perturbed, "alpha": swept, "negatives": swept,
    "finelap": detecting, "phrases": detecting,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--split", choices=("test", "val"), default="test")
    parser.add_argument("--epochs", type=int, help="default: 6 for music, 12 for scenes")
    parser.add_argument("--rate", type=float, help="default: 0.002 for music, 0.001 for scenes")
    parser.add_argument("--shards", type=int, default=36, help="of the music world's train split")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="print what is there")
    args = parser.parse_args()
    data, is_music = tuple(args.data), NAMES[args.name][0] in LOSSES
    epochs, rate = args.epochs or (6 if is_music else 12), args.rate or (2e-3 if is_music else 1e-3)
    jobs = [
        Job(variant, seed, data, args.out, args.split, epochs, rate, args.shards)
        for variant in NAMES[args.name]
        for seed in range(args.seeds)
    ]
    if not args.report:
        if is_music:
            music(data, args.out, args.split, args.shards)
        else:
            scenes(data[0], args.out)
            scenes_pool(data[0], args.out, args.split)
        with ProcessPoolExecutor(args.workers, multiprocessing.get_context("spawn")) as pool:
            for line in pool.map(run, jobs):
                print(line, flush=True)
    figures = args.out / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    revisions = ", ".join(f"{one.name} {one.revision}" for one in map(Dataset.open, data))
    print(f"\n{args.name}: {revisions}; {epochs} epochs at {rate:g}, {args.seeds} seeds, {args.split}\n")
    print(TABLES[args.name](Results(jobs), figures))


if __name__ == "__main__":
    main()
