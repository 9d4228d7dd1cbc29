"""Train the shipped denoiser (``weights/files/gdr.onnx``): texts to vectors of the default model, by diffusion.

    python tools/fit_gdr.py --data world --data games --features cache --out runs/gdr --text tower:bridge \\
        --set model.prediction=v --set epochs=110

``--data``: data sets of clips (``solfa data world``; ``solfa data import pairs`` of recordings), FOLDER or
FOLDER=SHARDS for so many shards of its split 'train'; what the cache lacks is computed. Captions are made here, 24 of
each clip: what the data set says of it (instruments, genre, voice, as a rendered clip has them), and what stands out
in it among all clips by the tags that its vector holds, in the words that ``bridge_prompts.toml`` has for each. So
nothing is learnt from annotated recordings. Training is that of ``solfa train gdr``; a run that was stopped goes on.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solfa.api import DEFAULT_MODEL
from solfa.core.clip import Clip
from solfa.core.files import table_of
from solfa.datasets.features import FrozenFeatures, compute
from solfa.datasets.shards import Clips, Dataset, Shard
from solfa.encoders.bridge_space import axes
from solfa.encoders.registry import load_backbone
from solfa.training.batches import TrainingData
from solfa.training.gdr import DenoiserTrainer, save_denoiser
from solfa.training.recipes import RECIPES, changed
from solfa.training.trainer import StepReport

CAPTIONS = 24  # of a clip
STANDS_OUT = 0.8  # standard deviations above the mean of all clips from which a tag is said
BEFORE = ("", "", "", "", "music with ", "a track with ", "something with ", "a piece featuring ", "sounds like ")


def phrases_of(tag: tuple[str, str]) -> list[str]:
    """What people say when they mean a tag of a network."""
    net, name = tag
    own = table_of("solfa.encoders", "bridge_prompts.toml").get(net, {}).get(name, [])
    return [name.lower(), *own]


def said_of(clip: Clip) -> list[str]:
    """Words for what a data set states of a clip; none of an unlabelled recording."""
    about = clip.attributes
    words = [str(name).replace("_", " ") for key in ("instruments", "genre") for name in about.get(key) or ()]
    if "voice" in about:
        words.append(("singing", "vocals", "a singer")[len(words) % 3] if about["voice"] else "instrumental")
    return words


def captions(clips: Sequence[Clip], vectors_ND: NDArray[np.float32], seed: int) -> list[tuple[str, ...]]:
    """Captions of each clip from its attributes and from the tags that stand out in its vector."""
    tags = axes()
    tags_NA = vectors_ND[:, : len(tags)].astype(np.float64)
    standard_NA = (tags_NA - tags_NA.mean(axis=0)) / (tags_NA.std(axis=0) + 1e-9)
    words, draw, found = [phrases_of(tag) for tag in tags], random.Random(seed), []
    for clip, standard_A in zip(clips, standard_NA, strict=True):
        stated, out = said_of(clip), np.flatnonzero(standard_A > STANDS_OUT)
        out = out[np.argsort(-standard_A[out])][:16]
        own = []
        for _ in range(CAPTIONS):
            said = draw.sample(stated, min(len(stated), draw.randint(0, 3)))
            if len(out):
                chosen = draw.choices(list(out), [float(standard_A[a]) for a in out], k=draw.randint(not said, 3))
                said += [draw.choice(words[a]) for a in dict.fromkeys(chosen)]
            draw.shuffle(said)
            joined = ", ".join(said[:-1]) + (draw.choice((", ", " and ")) if len(said) > 1 else "") + "".join(said[-1:])
            own.append(draw.choice(BEFORE) + (joined or "music"))
        found.append(tuple(own))
    return found


def main() -> None:
    """Compute states, make captions, train, write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, help="FOLDER or FOLDER=SHARDS, repeatable")
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--audio", default=f"tower:{DEFAULT_MODEL}", help="its first numbers are the tags'")
    parser.add_argument("--text", default="minilm")
    parser.add_argument("--recipe", choices=("gdr", "gdr-mlp"), default="gdr-mlp")
    parser.add_argument("--set", action="append", default=[], help="a value of the recipe: epochs=50")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    audio, text = load_backbone(args.audio, "audio"), load_backbone(args.text, "text")
    shards: list[Shard] = []
    stated: list[dict[str, Any]] = []
    for named in args.data:
        folder, _, count = named.partition("=")
        dataset = Dataset.open(Path(folder))
        chosen = dataset.split("train").shards[: int(count or 1_000_000)]
        shards += chosen
        stated.append({"name": dataset.name, "revision": dataset.revision, "shards": len(chosen)})
    clips = Clips(shards)
    compute(args.features, clips, audio=audio, text=None)
    open_audio: Any = {"audio_space": audio.spec.space, "text_space": text.spec.space}
    records = [clips[i] for i in range(len(clips))]
    bare = FrozenFeatures.open(args.features, clips, **open_audio, live={"text": text})
    vectors = bare.pooled_audio(np.arange(len(clips))).astype(np.float32)
    made = captions(records, vectors, args.seed)
    texts = sorted({caption for own in made for caption in own})
    compute(args.features, clips, audio=None, text=text, texts=texts, batch_size=64)
    train = FrozenFeatures.open(args.features, clips, **open_audio, texts=texts).relabelled(captions=made)
    about = {"sets": stated, "num_clips": len(clips), "captions": CAPTIONS, "seed": args.seed}
    data = TrainingData(train=train, val=None, bank=None, audio=audio.spec, text=text.spec, stated=about)
    recipe = RECIPES[args.recipe](audio.spec.dim, text.spec.dim, small=True)
    recipe = changed(recipe, {"seed": str(args.seed), **dict(pair.split("=", 1) for pair in args.set)})

    def report(at: StepReport) -> None:
        if at.step % 100 == 0:
            sys.stdout.write(f"step {at.step}/{at.num_steps}: {at.metrics['loss']:.4f}, {at.seconds_left:.0f} s left\n")
            sys.stdout.flush()

    trainer = DenoiserTrainer(recipe, data, args.out)
    trainer.run(resume=True, report=report)
    licences = sorted({each.strip() for record in records for each in record.licence.split(";")} - {""})
    save_denoiser(
        args.out / "model", trainer.model.denoiser, audio=audio.spec, text=text.spec, backbones=(args.audio, args.text),
        trained_on={"recipe": recipe.to_json(), "data": {**about, "licences": licences}},
    )  # fmt: skip


if __name__ == "__main__":
    main()
