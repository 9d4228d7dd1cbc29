"""Objectives against plain loops in float64, their invariants, and many devices against one."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from solfa.core import types
from solfa.core.errors import InputError

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402

from solfa.alignment.joint import Projected  # noqa: E402
from solfa.alignment.objectives import (  # noqa: E402
    FigmaConfig,
    FineLapConfig,
    LearntLogit,
    UnitedConfig,
    distilled,
    info_nce,
    objective,
    to_json,
    views_of,
)

NAMES = [field.name for field in fields(Projected)]


def projected(B=6, T=5, L=4, N=3, D=8, seed=0, dtype=torch.float32):
    rng = np.random.default_rng(seed)

    def unit(*shape):
        x = rng.standard_normal((*shape, D))
        return torch.tensor(x / np.linalg.norm(x, axis=-1, keepdims=True), dtype=dtype)

    frame_mask = torch.arange(T) < torch.tensor(rng.integers(1, T + 1, B))[:, None]
    token_mask = torch.arange(L) < torch.tensor(rng.integers(1, L + 1, B))[:, None]
    labels = torch.tensor(rng.random((B, N, T)) < 0.4)
    grounded = torch.arange(B) % 2 == 0
    vectors = unit(B), unit(B, T), unit(B), unit(B, L), unit(B, N)
    return Projected(*vectors, frame_mask, token_mask, labels, grounded, seed=3)


def nce_loop(scores, tau):
    scores, total = np.asarray(scores, np.float64) / tau, 0.0
    for matrix in (scores, scores.T):
        for i in range(len(matrix)):
            total -= matrix[i, i] - np.log(np.exp(matrix[i]).sum())
    return total / (2 * len(scores))


def frame_loop(p):
    B = len(p.audio_BD)
    out = np.zeros((B, B))
    for i in range(B):
        for j in range(B):
            frames = p.frames_BTD[i][p.frame_mask_BT[i]].double().numpy()
            tokens = p.tokens_BLD[j][p.token_mask_BL[j]].double().numpy()
            out[i, j] = (frames @ tokens.T).max(axis=1).mean()
    return out


def bce_loop(p, t, b):
    total, count = 0.0, 0
    for i in np.flatnonzero(p.grounded_B):
        for n in range(p.phrases_BND.shape[1]):
            for k in np.flatnonzero(p.frame_mask_BT[i]):
                x = float(p.phrases_BND[i, n].double() @ p.frames_BTD[i, k].double()) / t + b
                y = bool(p.labels_BNT[i, n, k])
                total += math.log1p(math.exp(-x)) if y else math.log1p(math.exp(x))
                count += 1
    return total / count


def value(config, p):
    return {name: float(term.detach()) for name, term in objective(config).losses(p).items()}


def test_figma_is_the_formula():
    p = projected()
    got = value(FigmaConfig(), p)
    whole = (p.audio_BD @ p.text_BD.T).numpy()
    assert got["global"] == pytest.approx(0.6 * nce_loop(whole, 0.07), rel=1e-5)
    assert got["frame"] == pytest.approx(0.4 * nce_loop(frame_loop(p), 0.07), rel=1e-5)
    assert set(value(FigmaConfig(alpha=1.0), p)) == {"global"}
    assert set(value(FigmaConfig(alpha=0.0), p)) == {"frame"}


def test_figma_with_one_frame_and_one_token_is_the_global_term():
    p = projected(T=1, L=1)
    same = Projected(
        p.audio_BD, p.audio_BD[:, None], p.text_BD, p.text_BD[:, None], p.phrases_BND, p.frame_mask_BT,
        p.token_mask_BL, p.labels_BNT, p.grounded_B,
    )  # fmt: skip
    got = value(FigmaConfig(alpha=0.5), same)
    assert got["global"] == pytest.approx(got["frame"], rel=1e-5)


def test_one_pair_has_no_loss_and_empties_have_no_gradient():
    p = projected(B=1)
    assert sum(value(FigmaConfig(), p).values()) == pytest.approx(0, abs=1e-6)


def test_negatives_are_drawn_from_the_seed():
    p = projected(B=12)
    few = [value(FigmaConfig(num_negatives=3), q) for q in (p, p, projected(B=12))]
    assert few[0] == few[1] == few[2]
    assert sum(few[0].values()) < sum(value(FigmaConfig(), p).values())
    assert value(FigmaConfig(num_negatives=11), p) == pytest.approx(value(FigmaConfig(), p), rel=1e-5)
    with pytest.raises(InputError, match="12 negatives"):
        value(FigmaConfig(num_negatives=12), p)
    logits = torch.zeros(12, 12)
    assert float(info_nce(logits, 3)) == pytest.approx(math.log(4), rel=1e-5)


@pytest.mark.parametrize("safe", [True, False])
def test_finelap_is_the_formula(safe):
    p = projected()
    got = value(FineLapConfig(safe_temperature=safe, alpha=0.7, beta=1.3), p)
    x = 10 * (p.audio_BD @ p.text_BD.T).double().numpy() - 10
    y = 2 * np.eye(6) - 1
    assert got["clip"] == pytest.approx(0.7 * np.log1p(np.exp(-y * x)).sum() / 6, rel=1e-5)
    assert got["frame"] == pytest.approx(1.3 * bce_loop(p, 0.1, -10.0), rel=1e-5)


def test_finelaps_ablations_and_batches_without_labels():
    p = projected()
    assert set(value(FineLapConfig(beta=0), p)) == {"clip"} and set(value(FineLapConfig(alpha=0), p)) == {"frame"}
    nce = value(FineLapConfig(clip_loss="infonce", beta=0), p)["clip"]
    assert nce == pytest.approx(nce_loop((p.audio_BD @ p.text_BD.T).numpy(), 0.1), rel=1e-5)
    none = Projected(*(getattr(p, n) for n in NAMES[:8]), torch.zeros(6, dtype=torch.bool))
    assert value(FineLapConfig(), none)["frame"] == 0.0


def test_united_is_both_and_learns_its_temperature():
    p = projected()
    config = UnitedConfig(beta=0.5, bias=-4.0)
    got = value(config, p)
    assert {"global": got["global"], "frame": got["frame"]} == value(FigmaConfig(), p)
    assert got["label"] == pytest.approx(0.5 * bce_loop(p, 0.1, -4.0), rel=1e-5)
    made = objective(config)
    sum(made.losses(p).values()).backward()
    assert all(parameter.grad is not None and parameter.grad != 0 for parameter in made.parameters())
    assert to_json(config)["figma"]["alpha"] == 0.6


@pytest.mark.parametrize("start", [1e-5, 0.1, 1.0, 3.0, 1e5])
def test_a_temperature_comes_back_from_anywhere(start):
    logit = LearntLogit(start, 0.0, safe=True)
    optimizer = torch.optim.Adam(logit.parameters(), lr=0.2, betas=(0.9, 0.9))
    cosines = torch.tensor([1.0, -1.0])
    for _ in range(200):  # to sigmoid(1 / t + b) = 0.9, t = 0.455
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(logit(cosines), torch.tensor([0.9, 0.1])).backward()
        assert logit.scale.grad.abs() > 0
        optimizer.step()
    assert logit.value.temperature == pytest.approx(1 / math.log(9), rel=0.02)


def test_what_a_sigmoid_loss_learnt_goes_on_and_is_a_probability():
    made = objective(UnitedConfig(temperature=0.2, bias=-1.5))
    learnt = made.logits["frame"].value
    cosines = np.linspace(-1, 1, 9, dtype=np.float32)
    expected = torch.sigmoid(made.logits["frame"](torch.from_numpy(cosines))).detach().numpy()
    np.testing.assert_allclose(learnt.probability(cosines), expected, atol=1e-6)
    for safe in (True, False):
        other = LearntLogit(0.1, -10.0, safe)
        other.start(learnt)
        assert other.value.temperature == pytest.approx(0.2) and other.value.bias == -1.5
    with pytest.raises(InputError, match="above 0"):
        LearntLogit(0.1, -10.0, True).start(types.Logit(temperature=-0.1, bias=0.0))
    used = {name: set(objective(config).logits) for name, config in {
        "figma": FigmaConfig(), "both": FineLapConfig(), "nce": FineLapConfig(clip_loss="infonce"),
        "clips": FineLapConfig(beta=0), "frames": FineLapConfig(alpha=0), "captions": UnitedConfig(beta=0),
    }.items()}  # fmt: skip
    assert used == {"figma": set(), "both": {"clip", "frame"}, "nce": {"frame"}, "clips": {"clip"},
                    "frames": {"frame"}, "captions": set()}  # fmt: skip


def test_the_views_that_a_loss_trains():
    def views(config):
        return views_of(config).trained, views_of(config).rank.name

    assert views(FigmaConfig(alpha=1.0)) == (("global",), "global")
    assert views(FigmaConfig(alpha=0.0)) == (("frame",), "frame")
    assert views(UnitedConfig()) == views(FigmaConfig()) == (("global", "frame", "mix"), "mix")
    assert views(FineLapConfig()) == (("global", "frame"), "global")
    assert views(FineLapConfig(beta=0)) == (("global",), "global")
    assert views(FineLapConfig(alpha=0)) == (("frame",), "frame")
    rank = views_of(UnitedConfig(figma=FigmaConfig(alpha=0.3, direction="tokens"))).rank
    assert (rank.alpha, rank.direction) == (0.3, "tokens")


def test_values_out_of_range_are_refused():
    with pytest.raises(InputError, match="alpha"):
        objective(FigmaConfig(alpha=2.0))
    with pytest.raises(InputError, match="temperature"):
        objective(FineLapConfig(temperature=0.0))


DEVICES = """
import os, sys
sys.path.insert(0, {here!r})
import torch
from torch import distributed, multiprocessing
from test_objectives import NAMES, projected
from solfa.alignment.joint import Projected
from solfa.alignment.gather import average_gradients, gather
from solfa.alignment.objectives import *

CONFIGS = [FigmaConfig(num_negatives=4), FineLapConfig(), FineLapConfig(clip_loss="infonce"), UnitedConfig()]

def run(config, p, weight):
    made = objective(config)
    w = torch.nn.Parameter(weight.clone())
    vectors = [torch.nn.functional.normalize(getattr(p, n) @ w, dim=-1) for n in NAMES[:5]]
    moved = Projected(*vectors, p.frame_mask_BT, p.token_mask_BL, p.labels_BNT, p.grounded_B, seed=p.seed)
    loss = sum(made.losses(moved).values())
    loss.backward()
    parameters = [w, *made.parameters()]
    average_gradients(parameters)
    return [loss.detach()] + [q.grad for q in parameters if q.grad is not None]

def child(rank, port, out):
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    p, weight = projected(B=6), torch.eye(8) + 0.1 * torch.arange(64.0).view(8, 8).sin()
    own = slice(0, 3) if rank == 0 else slice(3, 6)
    part = {{n: getattr(p, n)[own] for n in NAMES[:9]}}
    if rank:  # one device has shorter sequences than the other
        longest = int(part["token_mask_BL"].sum(1).max())
        part["token_mask_BL"], part["tokens_BLD"] = part["token_mask_BL"][:, :longest], part["tokens_BLD"][:, :longest]
    for config in CONFIGS:
        got = run(config, Projected(**part, seed=3), weight)
        out.put([x.numpy().tolist() for x in got])
    a, b = (torch.ones(3, 2, requires_grad=True) for _ in range(2))
    ((gather(a) + gather(b)) * torch.arange(12.0).view(6, 2)).sum().backward()  # both are given one gradient
    assert torch.equal(a.grad, b.grad) and torch.equal(a.grad, 2 * torch.arange(12.0).view(6, 2)[own])
    distributed.barrier()
    distributed.destroy_process_group()

if __name__ == "__main__":
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0)); port = s.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    both = [context.Process(target=child, args=(rank, port, queue)) for rank in range(2)]
    [process.start() for process in both]
    got = [queue.get() for _ in range(2 * len(CONFIGS))]
    [process.join() for process in both]
    assert not any(process.exitcode for process in both)
    weight = torch.eye(8) + 0.1 * torch.arange(64.0).view(8, 8).sin()
    expected = [run(config, projected(B=6), weight) for config in CONFIGS]
    for want in expected:
        near = [g for g in got if len(g) == len(want) and abs(g[0] - float(want[0])) < 1e-5 * abs(float(want[0]))]
        assert len(near) == 2, (float(want[0]), [g[0] for g in got])
        for one in near:
            for a, b in zip(one, want):
                torch.testing.assert_close(torch.tensor(a), b, atol=1e-5, rtol=1e-4)
    print("equal")
"""


@pytest.mark.slow
def test_two_devices_have_the_loss_and_gradients_of_one(tmp_path):
    script = tmp_path / "devices.py"
    script.write_text(DEVICES.format(here=str(Path(__file__).parent)))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.strip() == "equal", done.stderr[-3000:]


def test_a_teacher_in_place_of_pairs():
    torch.manual_seed(0)
    logits, teacher, unknown = torch.randn(6, 6), 3 * torch.randn(6, 6), torch.full((6, 6), torch.nan)
    assert torch.isclose(distilled(logits, unknown, 1.0), info_nce(logits))  # it knows none
    assert torch.isclose(distilled(logits, teacher, 0.0), info_nce(logits))  # it counts nothing
    p, q = teacher.softmax(dim=1), teacher.softmax(dim=0)
    loop = -((p * logits.log_softmax(dim=1)).sum() + (q * logits.log_softmax(dim=0)).sum()) / 12
    assert torch.isclose(distilled(logits, teacher, 1.0), loop)
    assert distilled(teacher, teacher, 1.0) < distilled(logits, teacher, 1.0)  # it is best to say what it says
    half = (distilled(logits, teacher, 1.0) + info_nce(logits)) / 2
    assert torch.isclose(distilled(logits, teacher, 0.5), half)


def test_what_a_teacher_does_not_know_is_compared_among_itself():
    torch.manual_seed(1)
    logits, teacher = torch.randn(6, 6), torch.full((6, 6), torch.nan)
    teacher[:3, :3] = torch.randn(3, 3)
    apart = (distilled(logits[:3, :3], teacher[:3, :3], 1.0) + info_nce(logits[3:, 3:])) / 2
    assert torch.isclose(distilled(logits, teacher, 1.0), apart)
    teacher[:, 1] = torch.nan  # a text that it does not know, of a clip that it does: the pair of the data counts
    logits.requires_grad_()
    distilled(logits, teacher, 1.0).backward()
    assert logits.grad.isfinite().all() and not logits.grad[3:, [0, 2]].any()
    assert logits.grad[1, 1] < 0 and not logits.grad[[0, 2], 1].any()


def test_figma_takes_a_batch_with_a_teacher():
    batch = projected()
    taught = replace(batch, teacher_BB=torch.randn(6, 6))
    for alpha in (0.0, 0.6, 1.0):
        plain, other = (objective(FigmaConfig(alpha=alpha)).losses(b) for b in (batch, taught))
        assert plain.keys() == other.keys() and all(not torch.isclose(plain[n], other[n]) for n in plain)
        off = objective(FigmaConfig(alpha=alpha, distil=0.0)).losses(taught)
        assert all(torch.isclose(plain[n], off[n]) for n in plain)
    with pytest.raises(InputError, match="distil"):
        objective(FigmaConfig(distil=1.5))
