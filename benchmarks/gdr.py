"""How well queries that a denoiser generates find rendered clips, and how long they take, by solver and steps.

    python benchmarks/gdr.py --data world --split test --features cache [--model runs/gdr] [--shards 1]

``--data`` is a data set with exact truth (``solfa data world``). Each instrument, genre and singing that 3 clips or
more have, up to 60 % of them, is a query (mean average precision), and so is each clip's own list of them (rank of
that clip). Keys are the mean vectors of the clips. The first row is the text side of the model whose space it is.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from solfa.core.clip import Clip
from solfa.datasets.features import FrozenFeatures, compute
from solfa.datasets.shards import Clips, Dataset
from solfa.diffusion.network import OnnxDenoiser, load
from solfa.diffusion.samplers import Solver, sample
from solfa.encoders.registry import load_backbone, load_model

Vectors = NDArray[np.float32]
Encode = Callable[[str], Vectors]
RUNS: tuple[tuple[Solver, int], ...] = (
    ("ddim", 5), ("ddim", 10), ("ddim", 20), ("ddim", 50), ("dpm++", 3), ("dpm++", 5), ("dpm++", 10), ("dpm++", 20),
)  # fmt: skip


def unit(vectors: Vectors) -> Vectors:
    """At unit norm along the last axis."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9), np.float32)


def words_of(clip: Clip) -> list[str]:
    """Instruments, genre and singing of a clip, as its truth says."""
    about = clip.attributes
    words = [str(name).replace("_", " ") for key in ("instruments", "genre") for name in about.get(key) or ()]
    return words + ["singing"] * bool(about.get("voice"))


def average_precision(scores: Vectors, right: NDArray[np.bool_]) -> float:
    """Of one query."""
    ordered = right[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(ordered)[ordered] / (np.flatnonzero(ordered) + 1)).mean())


def judged(encode: Encode, clips: Sequence[Clip], keys_ND: Vectors) -> tuple[float, float, float, Vectors]:
    """Mean average precision of attributes, R@10 and median rank in per cent of clips' own words; all queries."""
    own = [words_of(clip) for clip in clips]
    names = sorted({word for words in own for word in words})
    right = {name: np.array([name in words for words in own]) for name in names}
    right = {name: there for name, there in right.items() if 3 <= there.sum() <= 0.6 * len(clips)}
    queries = np.stack([encode(name) for name in right] + [encode(", ".join(words)) for words in own])
    scores = queries @ keys_ND.T
    precision = [average_precision(row, there) for row, there in zip(scores, right.values(), strict=False)]
    ranks = np.array([int((row > row[i]).sum()) + 1 for i, row in enumerate(scores[len(right) :])])
    return float(np.mean(precision)), float((ranks <= 10).mean()), 100 * float(np.median(ranks)) / len(clips), queries


def generator(denoiser: OnnxDenoiser, scale: float, samples: int, steps: int, solver: Solver) -> Encode:
    """Queries by the denoiser; states of a text are kept."""
    backbone, kept = load_backbone(denoiser.spec.text, "text"), dict[str, Vectors]()

    def encode(text: str) -> Vectors:
        if text not in kept:
            states = backbone.states([text])
            kept[text] = states.states_BTD[0][states.mask_BT[0]].astype(np.float32)
        made = sample(denoiser, kept[text], scale=scale, samples=samples, steps=steps, solver=solver)
        return unit(made.mean(axis=(0, 1)))

    encode("warm")
    return encode


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="a run of solfa train gdr (default: the shipped one)")
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    denoiser = load(args.model, threads=args.threads)
    audio, clips = (
        load_backbone(denoiser.spec.audio, "audio"),
        Clips(Dataset.open(args.data).split(args.split).shards[: args.shards]),
    )
    compute(args.features, clips, audio=audio, text=None)
    live = {"text": load_backbone("minilm", "text")}
    features = FrozenFeatures.open(args.features, clips, audio_space=audio.spec.space, text_space="", live=live)
    keys_ND, records = unit(features.pooled_audio(np.arange(len(clips))).astype(np.float32)), list(clips)
    print(f"{len(records)} clips, guidance {args.guidance:g}, {args.samples} samples, {args.threads} threads")
    name = denoiser.spec.audio.removeprefix("tower:")
    text_side = load_model(name).text
    found = judged(lambda text: text_side.encode([text]).global_BD[0], records, keys_ND)
    print(f"text side of {name}  mAP {found[0]:.3f}  R@10 {found[1]:.2f}  MedR {found[2]:.1f} %")
    *_, fine = judged(generator(denoiser, args.guidance, args.samples, 200, "ddim"), records, keys_ND)
    for solver, steps in RUNS:
        encode = generator(denoiser, args.guidance, args.samples, steps, solver)
        *scores, queries = judged(encode, records, keys_ND)
        timed = []
        for _ in range(20):
            begun = time.perf_counter()
            encode("warm")
            timed.append(1000 * (time.perf_counter() - begun))
        print(
            f"{solver:6} {steps:3} steps      mAP {scores[0]:.3f}  R@10 {scores[1]:.2f}  MedR {scores[2]:.1f} %  "
            f"cosine with 200 steps {float((queries * fine).sum(axis=1).mean()):.4f}  {np.median(timed):.0f} ms"
        )


if __name__ == "__main__":
    main()
