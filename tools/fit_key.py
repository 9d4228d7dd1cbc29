"""Train the key network (``weights/files/key.onnx``): rendered truth beside recordings that nobody annotated.

    python tools/fit_key.py features --rendered CLIPS --recordings MUSIC [MUSIC ...] --out features
    python tools/fit_key.py train features --out key.onnx

- ``features``: pooled constant-Q transforms of excerpts of 40 s, and of recordings the answers of the eleven profiles
  of Essentia's KeyExtractor (``pip install --pre essentia``; only its answers are used). Safe to stop; run it again to
  go on.
- ``train``: the label of a rendered clip (``benchmarks/render.py --part fit``) is the key of its chart. That of a
  recording is the consensus of the eleven answers (Dawid and Skene, 1979; errors are relative to the key, so that one
  table serves all tonics), shared by the excerpts of a track. The network is equivariant in pitch, so that every
  excerpt counts for all twelve tonics; excerpts are moved by up to half an octave and a third of a semitone,
  equalized, band-limited, compressed, and noise is added. A fifth of the songs and of the folders is held out; the
  temperature of the probabilities is fitted on it.
"""

import argparse
import hashlib
import json
import multiprocessing
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from solfa.analysis import harmony
from solfa.analysis.cqt import RATE_HZ, cqt, tuning_of
from solfa.audio import at_rate, stretches
from solfa.core.errors import SolfaError
from solfa.core.theory import Key
from solfa.weights import set_threads
from solfa.weights.sessions import open_session

EXCERPT_S, MOST_EXCERPTS = 40.0, 4
PROFILES = (
    "diatonic", "krumhansl", "temperley", "temperley2005", "thpcp", "shaath", "noland", "edmm", "edma", "bgate", "braw",
)  # fmt: skip
FRAMES = 110  # of an excerpt in training: 20 s
KEEP = 0.4  # of a witness' log-odds: they look at the same sound, so they are not independent
Scores = NDArray[np.float64]


# --- features -------------------------------------------------------------------------------------------------------


def excerpts(path: Path) -> Any:
    """Starts and samples of up to four excerpts of a file, evenly spread."""
    parts = [at_rate(part, RATE_HZ).samples for part in stretches(path)]
    samples = np.concatenate(parts)
    length_s = len(samples) / RATE_HZ
    count = min(MOST_EXCERPTS, int(length_s // 60) + 1)
    starts = (
        np.linspace(0, max(0.0, length_s - EXCERPT_S), count + 2)[1:-1]
        if count > 1
        else [max(0, length_s - EXCERPT_S) / 2]
    )
    for start_s in starts:
        part = samples[int(start_s * RATE_HZ) : int((start_s + EXCERPT_S) * RATE_HZ)]
        if length_s >= 20 and np.abs(part).max() > 1e-3:
            yield part


def essentia_keys(samples: NDArray[np.float32]) -> list[int]:
    """Essentia's answer by each profile: 0..11 major, 12..23 minor."""
    import essentia.standard as standard
    import soxr

    sound = soxr.resample(samples, RATE_HZ, 44100).astype(np.float32)
    found = [standard.KeyExtractor(profileType=p, sampleRate=44100)(sound) for p in PROFILES]
    return [number(Key.parse(f"{tonic} {mode}")) for tonic, mode, _ in found]


def number(key: Key) -> int:
    """0..11 major, 12..23 minor."""
    return key.tonic + 12 * (key.mode == "minor")


def features(task: tuple[Path, Path]) -> None:
    """Write what training needs of one file, unless it is there."""
    path, out = task
    target = out / f"{hashlib.sha1(str(path).encode()).hexdigest()[:16]}.npz"
    if target.exists():
        return
    set_threads(1)
    truth = path.with_suffix(".json")
    label = number(Key.parse(json.loads(truth.read_text(encoding="utf-8"))["key"])) if truth.exists() else -1
    song = (
        "/".join(json.loads(truth.read_text(encoding="utf-8"))[k] for k in ("corpus", "source"))
        if truth.exists()
        else ""
    )
    spectra: list[Any] = []
    witnesses: list[list[int]] = []
    try:
        for samples in excerpts(path):
            spectra.append(harmony.pooled(cqt(samples, tuning_of(samples))).astype(np.float16))
            witnesses.append([] if truth.exists() else essentia_keys(samples))
    except SolfaError as bad:
        sys.stderr.write(f"left out: {bad}\n")
    if spectra:
        part = target.with_suffix(".part.npz")
        arrays = {f"spectra_{i}": s for i, s in enumerate(spectra)} | {"witnesses": np.array(witnesses)}
        np.savez_compressed(part, label=label, group=song or str(path.parent), **arrays)
        part.rename(target)


# --- labels ---------------------------------------------------------------------------------------------------------


def consensus(answers: NDArray[np.intp], rounds: int = 50) -> Scores:
    """Probability of each key [shape=(N, 24)] from the answers [shape=(N, W)] of witnesses who err in their own ways.

    Expectation maximisation (Dawid and Skene, 1979). The error of an answer is its interval from the key's tonic, and
    whether the mode is right, for major and minor keys apart: 48 classes a witness.
    """
    keys = np.arange(24)
    interval = (answers[:, :, None] - keys) % 12 + 12 * (answers[:, :, None] // 12 != keys // 12) + 24 * (keys // 12)
    chance = (answers[:, :, None] == keys).mean(axis=1)
    for _ in range(rounds):
        log_P = np.tile(
            np.log(np.repeat([chance[:, :12].sum(), chance[:, 12:].sum()], 12) / len(chance) / 12), (len(chance), 1)
        )
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


def load(folder: Path) -> dict[str, Any]:
    """Excerpts of every file: spectra, scores, targets [shape=(N, 24)], whether rendered, whether held out, track."""
    files = [np.load(f) for f in sorted(folder.glob("*.npz"))]
    each = [len(f["witnesses"]) for f in files]
    track = np.repeat(np.arange(len(files)), each)
    rendered = np.repeat([int(f["label"]) >= 0 for f in files], each)
    target = np.zeros((len(track), 24))
    target[rendered, np.repeat([int(f["label"]) for f in files], each)[rendered]] = 1
    spectra = [f[f"spectra_{i}"] for f, n in zip(files, each, strict=True) for i in range(n)]
    if not rendered.all():
        answers = np.concatenate([f["witnesses"] for f in files if int(f["label"]) < 0]).astype(np.intp)
        own = np.log(consensus(answers) + 1e-4)
        tracks = track[~rendered]
        shared = np.array([own[tracks == t].mean(axis=0) for t in tracks])
        target[~rendered] = softmax((own + shared) / 2)
    held = np.repeat([hashlib.sha1(str(f["group"]).encode()).digest()[0] % 5 == 0 for f in files], each)
    return {"spectra": spectra, "target": target, "rendered": rendered, "held": held, "track": track}


# --- network --------------------------------------------------------------------------------------------------------


def build(width: int) -> Any:
    """The network: spectra [shape=(B, T, 252)] to log-probabilities of C major up to B minor [shape=(B, 24)].

    Convolutions see the same at every pitch; octaves are folded by learnt weights; what remains is circular in the
    twelve pitch classes.
    """
    import torch
    from torch import Tensor, nn
    from torch.nn import functional

    def ring(x: Tensor) -> Tensor:
        return torch.cat([x, x[:, :, :11]], 2)

    class Block(nn.Module):
        def __init__(self, width: int, time: int, pitch: int, step: int = 1) -> None:
            super().__init__()
            self.spread = nn.Conv2d(
                width, width, (time, pitch), padding=(time // 2, step * (pitch // 2)), dilation=(1, step), groups=width
            )
            self.mix = nn.Sequential(
                nn.GroupNorm(1, width), nn.Conv2d(width, 2 * width, 1), nn.GELU(), nn.Conv2d(2 * width, width, 1)
            )

        def forward(self, x: Tensor) -> Tensor:
            return x + self.mix(self.spread(x))

    class KeyNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(1, width, (5, 5), stride=(4, 3), padding=(2, 2))
            self.blocks = nn.Sequential(
                Block(width, 5, 13),
                Block(width, 3, 5, 12),
                Block(width, 5, 13),
                Block(width, 3, 5, 12),
                nn.Conv2d(width, width, 1),
                nn.GELU(),
            )
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

    return KeyNet()


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
    if rng.random() < 0.3:
        x = np.sqrt(x * (x.mean() + 1e-9))
    return x, semitones


def batch(data: dict[str, Any], at: NDArray[np.intp], rng: np.random.Generator) -> tuple[Any, Any]:
    """Varied windows of excerpts and their targets, as tensors."""
    import torch

    spectra, targets = [], []
    for i in at:
        length = int(rng.integers(FRAMES // 2, FRAMES + 1)) if rng.random() < 0.5 else FRAMES
        begin = int(rng.integers(0, max(1, len(data["spectra"][i]) - length + 1)))
        part = data["spectra"][i][begin : begin + length].astype(np.float32)
        moved, semitones = varied(np.resize(part, (FRAMES, 252)), rng)
        spectra.append(moved)
        targets.append(np.roll(data["target"][i].reshape(2, 12), semitones, axis=1).ravel())
    return torch.from_numpy(np.stack(spectra)), torch.from_numpy(np.stack(targets)).float()


def train(args: argparse.Namespace) -> None:
    """Train, say what is right of the held-out parts, write the ONNX file."""
    import torch

    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    rng, data = np.random.default_rng(args.seed), load(args.features)
    used = np.ones(len(data["held"]), bool) if args.on_all else ~data["held"]
    used &= {"both": used, "rendered": data["rendered"], "recordings": ~data["rendered"]}[args.use]
    rows, net = np.flatnonzero(used), build(args.width).to(memory_format=torch.channels_last)
    steps = args.epochs * (len(rows) // args.batch)
    sys.stdout.write(f"{len(rows)} excerpts, {sum(p.numel() for p in net.parameters())} parameters, {steps} steps\n")
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    for epoch in range(args.epochs):
        order, total = rng.permutation(rows), 0.0
        for first in range(0, len(rows) - args.batch + 1, args.batch):
            spectra, targets = batch(data, order[first : first + args.batch], rng)
            loss = -((0.95 * targets + 0.05 / 24) * net(spectra)).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        sys.stdout.write(f"epoch {epoch + 1}: loss {total * args.batch / len(rows):.3f}\n")
        sys.stdout.flush()
    net.eval()
    example = torch.rand(1, FRAMES, 252)
    axes = {"spectra": {0: "batch", 1: "frames"}, "log_p": {0: "batch"}}
    torch.onnx.export(
        net,
        (example,),
        str(args.out),
        input_names=["spectra"],
        output_names=["log_p"],
        dynamic_axes=axes,
        opset_version=17,
        dynamo=False,
    )
    figures(load(args.features), args.out)


# --- figures --------------------------------------------------------------------------------------------------------


def answers_of(network: Path, spectra: list[Any]) -> Scores:
    """Log-probabilities of the network [shape=(N, 24)]."""
    session = open_session(network)
    return np.array([session.run(None, {"spectra": s[None].astype(np.float32)})[0][0] for s in spectra], np.float64)


def figures(data: dict[str, Any], network: Path) -> None:
    """What is right of the held-out parts, and the factor of the log-probabilities that fits them best."""
    at = np.flatnonzero(data["held"])
    log_P, target, rendered = (
        answers_of(network, [data["spectra"][i] for i in at]),
        data["target"][at],
        data["rendered"][at],
    )
    right = log_P.argmax(axis=1) == target.argmax(axis=1)
    share = np.where(rendered, 0.5 / rendered.sum(), 0.5 / max(1, (~rendered).sum()))

    def loss(factor: float) -> float:
        return float(-(share * (target * np.log(softmax(factor * log_P) + 1e-12)).sum(axis=1)).sum())

    factor = minimize_scalar(loss, bounds=(0.2, 5), method="bounded").x
    sys.stdout.write(
        f"held out: exact, rendered {right[rendered].mean():.3f} of {rendered.sum()}, recordings (consensus) "
        f"{right[~rendered].mean():.3f} of {(~rendered).sum()}; sharpness {factor:.3f}\n"
    )


def main() -> None:
    """Run one of the two steps."""
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
    for name, default in (("width", 24), ("epochs", 28), ("batch", 32), ("seed", 0), ("threads", 2)):
        step.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    if args.step == "train":
        return train(args)
    args.out.mkdir(parents=True, exist_ok=True)
    clips = [p.with_suffix(".wav") for folder in args.rendered for p in sorted(folder.glob("*.json"))]
    music = [
        p
        for folder in args.recordings
        for p in sorted(folder.rglob("*"))
        if p.suffix in (".ogg", ".mp3", ".opus", ".flac", ".wav")
    ]
    with multiprocessing.get_context("spawn").Pool(args.jobs, maxtasksperchild=50) as pool:
        for _ in pool.imap_unordered(features, [(p, args.out) for p in clips + music]):
            pass


if __name__ == "__main__":
    main()
