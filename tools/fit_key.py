"""Train the key network (``weights/files/key.onnx``): rendered truth beside recordings that nobody annotated.

    python tools/fit_key.py features --rendered CLIPS [CLIPS ...] --recordings MUSIC [MUSIC ...] --out features
    python tools/fit_key.py train features --seed 0 --out first.onnx
    python tools/fit_key.py join features --networks first.onnx second.onnx --out key.onnx

- ``features``: pooled constant-Q transforms of excerpts of 40 s. Safe to stop; run it again to go on.
- ``train``: the label of a rendered clip (``benchmarks/render.py --part fit``, ``benchmarks/render_styles.py``) is the
  key of its chart. That of a recording is the consensus of nine published key profiles on its chroma (Dawid and
  Skene, 1979; errors are relative to the key, so that one table serves all tonics), shared by the excerpts of a track;
  with ``--teachers``, the mean of that and of what other networks say. Beside these labels, two windows of a track that
  were moved by different intervals must have keys as far apart (self-supervision by equivariance: ``--agree`` by their
  product, ``--stone`` by their cross-power spectral density). Windows are moved by up to half an octave and a third of
  a semitone, equalized, band-limited, compressed, distorted; noise, drums and other music are added. A fifth of the
  songs and folders is held out. Safe to stop; run it again to go on.
- ``join``: networks as one, whose log-probabilities are the mean of theirs.
"""

import argparse
import hashlib
import json
import multiprocessing
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn import functional

from solfa.analysis import harmony
from solfa.analysis.cqt import RATE_HZ, cqt, tuning_of
from solfa.audio import SUFFIXES, at_rate, stretches
from solfa.core.errors import SolfaError
from solfa.core.theory import Key
from solfa.weights import set_threads
from solfa.weights.sessions import open_session

EXCERPT_S, MOST_EXCERPTS = 40.0, 4
# Published key profiles, C major and C minor from C up: Krumhansl (1990), Temperley (2005), Aarden (2003), Bellman
# (2005), Albrecht and Shanahan (2013), Sha'ath (2011), Faraldo et al. (2016: edma; 2017: bgate, braw).
PROFILES = (
    ("6.35 2.23 3.48 2.33 4.38 4.09 2.52 5.19 2.39 3.66 2.29 2.88",
     "6.33 2.68 3.52 5.38 2.60 3.53 2.54 4.75 3.98 2.69 3.34 3.17"),
    (".748 .060 .488 .082 .670 .460 .096 .715 .104 .366 .057 .400",
     ".712 .084 .474 .618 .049 .460 .105 .747 .404 .067 .133 .330"),
    ("17.77 .1456 14.93 .160 19.80 11.36 .291 22.06 .1456 8.155 .233 4.951",
     "18.26 .738 14.05 16.86 .702 14.44 .702 18.62 4.566 1.932 7.376 1.756"),
    ("16.80 .86 12.95 1.41 13.49 11.93 1.25 20.28 1.80 8.04 .62 10.57",
     "18.16 .69 12.99 13.34 1.07 11.15 1.38 21.07 7.49 1.53 .92 10.21"),
    (".238 .006 .111 .006 .137 .094 .016 .214 .009 .080 .008 .081",
     ".220 .006 .104 .123 .019 .103 .012 .214 .062 .022 .061 .052"),
    ("6.6 2.0 3.5 2.3 4.6 4.0 2.5 5.2 2.4 3.7 2.3 3.4", "6.5 2.7 3.5 5.4 2.6 3.5 2.5 5.2 4.0 2.7 4.3 3.2"),
    ("1 .29 .50 .40 .60 .56 .32 .80 .31 .45 .42 .39", "1 .31 .44 .58 .33 .49 .29 .78 .43 .29 .53 .32"),
    ("1 0 .42 0 .53 .37 0 .77 0 .38 .21 .30", "1 0 .36 .39 0 .38 0 .74 .27 0 .42 .23"),
    ("1 .157 .42 .157 .53 .367 .163 .771 .168 .383 .211 .297",
     "1 .233 .362 .391 .293 .378 .196 .743 .27 .216 .423 .227"),
)  # fmt: skip
FRAMES = 80  # of an excerpt in training: 15 s
KEEP = 0.4  # of a witness' log-odds: they look at the same sound, so they are not independent
Scores = NDArray[np.float64]


# --- features -------------------------------------------------------------------------------------------------------


def excerpts(path: Path) -> Iterator[NDArray[np.float32]]:
    """Samples of up to four excerpts of a file, evenly spread."""
    samples = np.concatenate([at_rate(part, RATE_HZ).samples for part in stretches(path)])
    length_s = len(samples) / RATE_HZ
    count = min(MOST_EXCERPTS, int(length_s // 60) + 1)
    for start_s in np.linspace(0, max(0.0, length_s - EXCERPT_S), count + 2)[1:-1]:
        part = samples[int(start_s * RATE_HZ) : int((start_s + EXCERPT_S) * RATE_HZ)]
        if length_s >= 20 and np.abs(part).max() > 1e-3:
            yield part


def number(key: Key) -> int:
    """0..11 major, 12..23 minor."""
    return key.tonic + 12 * (key.mode == "minor")


def target_of(truth: Path) -> tuple[Scores, str]:
    """Probability of each key [shape=(24,)] and the song, of a rendered clip's record."""
    about, target = json.loads(truth.read_text(encoding="utf-8")), np.zeros(24)
    for key, share in about.get("key_shares", {about["key"]: 1.0}).items():
        target[number(Key.parse(key))] = share
    return target, f"{about['corpus']}/{about['source']}"


def features(task: tuple[Path, Path]) -> None:
    """Write what training needs of one file, unless it is there; an unknown key is a target of zeros."""
    path, out = task
    target = out / f"{hashlib.sha1(str(path).encode()).hexdigest()[:16]}.npz"
    if target.exists():
        return
    set_threads(1)
    truth, spectra = path.with_suffix(".json"), list[Any]()
    label, group = target_of(truth) if truth.exists() else (np.zeros(24), path.parent.name)
    try:
        for samples in excerpts(path):
            spectra.append(harmony.pooled(cqt(samples, tuning_of(samples))).astype(np.float16))
    except SolfaError as bad:
        sys.stderr.write(f"left out: {bad}\n")
    if spectra:
        part = target.with_suffix(".part.npz")
        np.savez_compressed(part, target=label, group=group, **{f"spectra_{i}": s for i, s in enumerate(spectra)})
        part.rename(target)


# --- labels ---------------------------------------------------------------------------------------------------------


def witnesses(spectra: Any) -> list[int]:
    """The key that each profile names for an excerpt [shape=(T, 252)]: that of the highest correlation."""
    chroma = harmony._chroma(spectra.astype(np.float32)).mean(axis=0)
    moved = np.array([np.roll(chroma - chroma.mean(), -tonic) for tonic in range(12)])
    answers = []
    for pair in PROFILES:
        profiles = np.array([text.split() for text in pair], np.float64)
        profiles -= profiles.mean(axis=1, keepdims=True)
        profiles /= np.linalg.norm(profiles, axis=1, keepdims=True)
        answers.append(int((profiles @ moved.T).argmax()))
    return answers


def held_out(group: str) -> bool:
    """Whether a song or a folder is not trained on: one in five."""
    return int(hashlib.sha1(group.encode()).hexdigest(), 16) % 5 == 0


def consensus(answers: NDArray[np.intp], rounds: int = 50) -> Scores:
    """Probability of each key [shape=(N, 24)] from the answers [shape=(N, W)] of witnesses who err in their own ways.

    Expectation maximisation (Dawid and Skene, 1979). The error of an answer is its interval from the key's tonic, and
    whether the mode is right, for major and minor keys apart: 48 classes a witness.
    """
    keys = np.arange(24)
    interval = (answers[:, :, None] - keys) % 12 + 12 * (answers[:, :, None] // 12 != keys // 12) + 24 * (keys // 12)
    chance = (answers[:, :, None] == keys).mean(axis=1)
    for _ in range(rounds):
        modes = chance.reshape(-1, 2, 12).sum(axis=(0, 2)) / len(chance) / 12
        log_P = np.tile(np.log(np.repeat(modes, 12)), (len(chance), 1))
        for w in range(answers.shape[1]):
            counts = np.full(48, 0.5)
            np.add.at(counts, interval[:, w], chance)
            share = counts.reshape(2, 24) / counts.reshape(2, 24).sum(axis=1, keepdims=True)
            log_P += KEEP * np.log(share.ravel())[interval[:, w]]
        chance = np.exp(log_P - log_P.max(axis=1, keepdims=True))
        chance /= chance.sum(axis=1, keepdims=True)
    return chance


def softmax(scores: Scores) -> Scores:
    """Over the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def load(folder: Path, teachers: list[Path]) -> dict[str, Any]:
    """Excerpts of every file: spectra, targets [shape=(N, 24)], whether rendered, whether held out, track."""
    files = [np.load(f) for f in sorted(folder.glob(f"{'?' * 16}.npz"))]  # none that was being written
    each = [len(f.files) - 2 for f in files]
    track = np.repeat(np.arange(len(files)), each)
    target = np.repeat([f["target"] for f in files], each, axis=0)
    rendered = target.any(axis=1)
    spectra = [f[f"spectra_{i}"] for f, n in zip(files, each, strict=True) for i in range(n)]
    if not rendered.all():
        answers = np.array([witnesses(spectra[i]) for i in np.flatnonzero(~rendered)])
        own = np.log(consensus(answers) + 1e-4)
        if teachers:
            sounds = [spectra[i] for i in np.flatnonzero(~rendered)]
            own = (own + np.mean([answers_of(t, sounds) for t in teachers], axis=0)) / 2
        tracks = track[~rendered]
        shared = np.array([own[tracks == t].mean(axis=0) for t in tracks])
        target[~rendered] = softmax((own + shared) / 2)
    held = np.repeat([held_out(str(f["group"])) for f in files], each)
    return {"spectra": spectra, "target": target, "rendered": rendered, "held": held, "track": track}


# --- network --------------------------------------------------------------------------------------------------------


def ring(x: Tensor) -> Tensor:
    """Pitch classes [shape=(B, C, 12)], and the first eleven once more."""
    return torch.cat([x, x[:, :, :11]], 2)


class Block(nn.Module):
    """A residual block: a wide view of time and pitch of each channel, then a mixture of channels."""

    def __init__(self, width: int, time: int, pitch: int, step: int = 1) -> None:
        super().__init__()
        edge = (time // 2, step * (pitch // 2))
        self.spread = nn.Conv2d(width, width, (time, pitch), padding=edge, dilation=(1, step), groups=width)
        self.mix = nn.Sequential(
            nn.GroupNorm(1, width), nn.Conv2d(width, 2 * width, 1), nn.GELU(), nn.Conv2d(2 * width, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(self.spread(x))


class KeyNet(nn.Module):
    """Spectra [shape=(B, T, 252)] to log-probabilities of C major up to B minor [shape=(B, 24)].

    Convolutions see the same at every pitch; octaves are folded by learnt weights; what remains is circular in the
    twelve pitch classes.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, (5, 5), stride=(4, 3), padding=(2, 2))
        blocks = [Block(width, *shape) for shape in ((5, 13), (3, 5, 12), (5, 13), (3, 5, 12))]
        self.blocks = nn.Sequential(*blocks, nn.Conv2d(width, width, 1), nn.GELU())
        self.octaves = nn.Parameter(torch.zeros(width, 7, 1))
        self.relate, self.judge = nn.Conv1d(2 * width, 48, 12), nn.Conv1d(48, 2, 12)

    def forward(self, spectra: Tensor) -> Tensor:
        level = spectra.mean(dim=(1, 2), keepdim=True)
        x = self.blocks(self.first(torch.log1p(20 * spectra / (level + 1e-9)).unsqueeze(1)))
        x = (x.unflatten(3, (7, 12)) * torch.softmax(self.octaves, 1).unsqueeze(1)).sum(3)
        mean = x.mean(2)
        x = torch.cat([mean, torch.sqrt(((x - mean.unsqueeze(2)) ** 2).mean(2) + 1e-5)], 1)
        x = self.judge(ring(functional.gelu(self.relate(ring(x)))))
        return functional.log_softmax(x.flatten(1), 1)


def varied(spectra: NDArray[np.float32], rng: np.random.Generator) -> tuple[NDArray[np.float32], int]:
    """An excerpt as another recording might have it, and by how many semitones it was moved."""
    semitones = int(rng.integers(-6, 6))
    bins = 3 * semitones + (int(rng.integers(-1, 2)) if rng.random() < 0.3 else 0)
    x = np.zeros_like(spectra)
    x[:, max(0, bins) : 252 + min(0, bins)] = spectra[:, max(0, -bins) : 252 - max(0, bins)]
    if rng.random() < 0.6:
        x *= np.exp(np.interp(np.arange(252), np.linspace(0, 251, 8), rng.normal(0, 0.5, 8))).astype(np.float32)
    if rng.random() < 0.3:
        x += np.float32(rng.uniform(0, 0.3) * x.mean()) * rng.exponential(1, x.shape).astype(np.float32)
    if rng.random() < 0.2:
        x[:, int(rng.integers(150, 252)) :] = 0
    if rng.random() < 0.15:
        x[:, : int(rng.integers(6, 40))] = 0
    if rng.random() < 0.25:  # overtones of distortion
        for partial in (36, 57, 72):
            x[:, partial:] += np.float32(rng.uniform(0, 0.4)) * x[:, :-partial]
    if rng.random() < 0.25:  # drums
        hits = (rng.random(len(x)) < rng.uniform(0.1, 0.5)) * rng.uniform(0, 3) * x.mean()
        x += np.outer(hits, rng.exponential(1, 252)).astype(np.float32)
    if rng.random() < 0.3:
        x = np.sqrt(x * (x.mean() + 1e-9))
    return x, semitones


def window(data: dict[str, Any], i: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A stretch of an excerpt [shape=(FRAMES, 252)]; half of them are shorter and repeated."""
    length = int(rng.integers(FRAMES // 2, FRAMES + 1)) if rng.random() < 0.5 else FRAMES
    begin = int(rng.integers(0, max(1, len(data["spectra"][i]) - length + 1)))
    part = np.resize(data["spectra"][i][begin : begin + length].astype(np.float32), (FRAMES, 252))
    return part / (part.mean() + np.float32(1e-9))


def batch(data: dict[str, Any], at: NDArray[np.intp], rng: np.random.Generator) -> tuple[Tensor, Tensor, list[int]]:
    """Varied windows, two of each track one after the other, their targets, and by how much each was moved."""
    spectra, targets, moves = [], [], []
    for i in at:
        for j in (i, int(rng.choice(data["partners"][data["track"][i]]))):
            part = window(data, j, rng)
            if rng.random() < 0.15:  # something else in the background
                part += np.float32(rng.uniform(0, 0.15)) * window(data, int(rng.choice(at)), rng)
            moved, semitones = varied(part, rng)
            spectra.append(moved)
            targets.append(np.roll(data["target"][j].reshape(2, 12), semitones, axis=1).ravel())
            moves.append(semitones)
    return torch.from_numpy(np.stack(spectra)), torch.from_numpy(np.stack(targets)).float(), moves


def disagreement(log_P: Tensor, moves: list[int]) -> Tensor:
    """Mean of -log of the probability that the two windows of a pair have the same key, moved back."""
    back = [torch.roll(p.view(2, 12), -m, 1).flatten() for p, m in zip(log_P, moves, strict=True)]
    pairs = torch.stack(back).unflatten(0, (-1, 2))
    return -torch.logsumexp(pairs.sum(1), 1).mean()


def spectral_distance(log_P: Tensor, moves: list[int]) -> Tensor:
    """STONE's loss (Kong et al., 2024): a move of the sound turns the cross-power spectral density as far.

    Of the probabilities of the twelve key signatures of the two windows of a pair, at the frequency of the circle of
    fifths (7 of 12). 0 where both are sure of keys as far apart as they were moved, 0.5 where they say nothing.
    """
    modes = log_P.exp().view(-1, 2, 12)
    signature = modes[:, 0] + torch.roll(modes[:, 1], 3, 1)
    turn = -2j * np.pi * 7 / 12
    first, second = (signature * torch.exp(turn * torch.arange(12))).sum(1).unflatten(0, (-1, 2)).unbind(1)
    apart = torch.exp(turn * torch.tensor(moves).view(-1, 2).diff(dim=1).squeeze(1))
    return (apart - first.conj() * second).abs().square().mean() / 2


def train(args: argparse.Namespace) -> None:
    """Train, say what is right of the held-out parts, write the ONNX file; run it again to go on where it stopped."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    rng, data = np.random.default_rng(args.seed), load(args.features, args.teachers)
    used = np.ones(len(data["held"]), bool) if args.on_all else ~data["held"]
    used &= {"both": used, "rendered": data["rendered"], "recordings": ~data["rendered"]}[args.use]
    rows, net = np.flatnonzero(used), KeyNet(args.width).to(memory_format=torch.channels_last)
    data["partners"] = {t: rows[data["track"][rows] == t] for t in np.unique(data["track"][rows])}
    pairs = args.batch // 2
    steps = args.epochs * (len(rows) // pairs)
    sys.stdout.write(f"{len(rows)} excerpts, {sum(p.numel() for p in net.parameters())} parameters, {steps} steps\n")
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    state, begin = args.out.with_suffix(".pt"), 0
    settings = {name: value for name, value in vars(args).items() if name not in ("out", "threads")}
    if state.exists():
        kept = torch.load(state, weights_only=False)
        if kept["settings"] != settings:
            sys.exit(f"{state} is of other settings, {kept['settings']}: remove it, or give another --out.")
        begin, rng.bit_generator.state = kept["epoch"], kept["rng"]
        for part, values in zip((net, optimizer, schedule), kept["parts"], strict=True):
            part.load_state_dict(values)
    for epoch in range(begin, args.epochs):
        order, total = rng.permutation(rows), 0.0
        for first in range(0, len(rows) - pairs + 1, pairs):
            spectra, targets, moves = batch(data, order[first : first + pairs], rng)
            log_P = net(spectra)
            loss = -((0.95 * targets + 0.05 / 24) * log_P).sum(1).mean()
            loss = loss + args.agree * disagreement(log_P, moves) + args.stone * spectral_distance(log_P, moves)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        sys.stdout.write(f"epoch {epoch + 1}: loss {total * pairs / len(rows):.3f}\n")
        sys.stdout.flush()
        parts = [part.state_dict() for part in (net, optimizer, schedule)]
        kept = {"settings": settings, "epoch": epoch + 1, "rng": rng.bit_generator.state, "parts": parts}
        torch.save(kept, state)
    net.eval()
    axes = {"spectra": {0: "batch", 1: "frames"}, "log_p": {0: "batch"}}
    names: dict[str, Any] = {"input_names": ["spectra"], "output_names": ["log_p"], "dynamic_axes": axes}
    torch.onnx.export(net, (torch.rand(1, FRAMES, 252),), str(args.out), **names, opset_version=17, dynamo=False)
    figures(data, args.out)


def join(args: argparse.Namespace) -> None:
    """Write one network whose log-probabilities are the mean of those of several; weights are kept as float16."""
    import onnx
    from onnx import TensorProto, compose, helper, numpy_helper

    nets = [compose.add_prefix(onnx.load(p), f"{i}/", rename_inputs=False) for i, p in enumerate(args.networks)]
    outputs = [net.graph.output[0].name for net in nets]
    nodes, weights = [], []
    for tensor in (t for net in nets for t in net.graph.initializer):
        half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{tensor.name}/half")
        weights.append(half)
        nodes.append(helper.make_node("Cast", [half.name], [tensor.name], to=TensorProto.FLOAT))
    nodes += [node for net in nets for node in net.graph.node]
    nodes += [helper.make_node("Mean", outputs, ["mean"]), helper.make_node("LogSoftmax", ["mean"], ["log_p"], axis=1)]
    last = helper.make_tensor_value_info("log_p", TensorProto.FLOAT, ["batch", 24])
    graph = helper.make_graph(nodes, "key", nets[0].graph.input, [last], weights)
    model = helper.make_model(graph, opset_imports=nets[0].opset_import, ir_version=nets[0].ir_version)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, args.out)
    figures(load(args.features, []), args.out)


# --- figures --------------------------------------------------------------------------------------------------------


def answers_of(network: Path, spectra: list[Any]) -> Scores:
    """Log-probabilities of the network [shape=(N, 24)]."""
    session = open_session(network)
    return np.array([session.run(None, {"spectra": s[None].astype(np.float32)})[0][0] for s in spectra], np.float64)


def figures(data: dict[str, Any], network: Path) -> None:
    """What is right of the held-out parts, and the factor of the log-probabilities that fits them best."""
    at = np.flatnonzero(data["held"])
    log_P = answers_of(network, [data["spectra"][i] for i in at])
    target, rendered = data["target"][at], data["rendered"][at]
    right = log_P.argmax(axis=1) == target.argmax(axis=1)
    share = np.where(rendered, 0.5 / rendered.sum(), 0.5 / max(1, (~rendered).sum()))

    def loss(factor: float) -> float:
        return float(-(share * (target * np.log(softmax(factor * log_P) + 1e-12)).sum(axis=1)).sum())

    factor = minimize_scalar(loss, bounds=(0.2, 5), method="bounded").x
    counts = [f"{right[kind].sum()} of {kind.sum()}" for kind in (rendered, ~rendered)]
    sys.stdout.write(f"right, held out: rendered {counts[0]}, consensus {counts[1]}; sharpness {factor:.3f}\n")


def main() -> None:
    """Run one of the three steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("features")
    step.add_argument("--rendered", type=Path, nargs="*", default=[])
    step.add_argument("--recordings", type=Path, nargs="*", default=[])
    step.add_argument("--out", type=Path, required=True)
    step.add_argument("--jobs", type=int, default=1)
    step = steps.add_parser("train")
    step.add_argument("features", type=Path)
    step.add_argument("--out", type=Path, required=True)
    step.add_argument("--use", choices=("both", "rendered", "recordings"), default="both", help="for ablations")
    step.add_argument("--on-all", action="store_true", help="the held-out fifth too")
    step.add_argument("--agree", type=float, default=0.3, help="weight of: two windows have the same key")
    step.add_argument("--stone", type=float, default=0.0, help="weight of STONE's loss")
    for name, default in (("width", 16), ("epochs", 12), ("batch", 32), ("seed", 0), ("threads", 2)):
        step.add_argument(f"--{name}", type=int, default=default)
    step.add_argument("--teachers", type=Path, nargs="+", default=[], help="networks that label recordings too")
    step = steps.add_parser("join")
    step.add_argument("features", type=Path)
    step.add_argument("--networks", type=Path, nargs="+", required=True)
    step.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.step != "features":
        return (train if args.step == "train" else join)(args)
    args.out.mkdir(parents=True, exist_ok=True)
    clips = [p.with_suffix(".wav") for folder in args.rendered for p in sorted(folder.glob("*.json"))]
    music = [p for folder in args.recordings for p in sorted(folder.rglob("*")) if p.suffix in SUFFIXES]
    with multiprocessing.get_context("spawn").Pool(args.jobs, maxtasksperchild=50) as pool:
        for _ in pool.imap_unordered(features, [(p, args.out) for p in clips + music]):
            pass


if __name__ == "__main__":
    main()
