"""Write the numbers of the default joint model: ``python tools/fit_bridge.py FOLDER [FOLDER...]``.

The folders hold varied music, of which only the mean and spread of network outputs and the principal axes of their last
layers are kept (first two minutes of each file). The prompts of ``bridge_prompts.toml`` are encoded by MiniLM.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import solfa.encoders.bridge_space as bridge
from solfa.analysis.tagging import TagFrames, logit, tag_frames
from solfa.audio import SUFFIXES, stretches
from solfa.core.vocabulary import concepts
from solfa.encoders.minilm import MiniLM

ROOM = Path(bridge.__file__).parent
_NAMES = 2  # of a sound; the text tower knows the others by the vocabulary


def hear(folders: list[Path]) -> list[TagFrames]:
    """Tag frames of the first stretch of every sound file."""
    found = sorted(f for folder in folders for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES)
    return [tag_frames(next(iter(stretches(file)))) for file in found]


def tag_statistics(heard: list[TagFrames]) -> dict[str, NDArray[np.float32]]:
    """Mean and spread of the outputs' logits over all frames."""
    where = bridge.columns()
    rows = [np.concatenate([logit(s[:, list(where[n])]) for n, s in _scores(h).items()], axis=1) for h in heard]
    logits = np.concatenate(rows)
    return {"tag_mean_A": logits.mean(axis=0), "tag_scale_A": np.maximum(logits.std(axis=0), 0.3)}


def timbre_axes(heard: list[TagFrames], count: int) -> dict[str, NDArray[np.float32]]:
    """Standardisation of the last layers and their principal axes, the three networks with equal weight."""
    blocks = [np.concatenate([getattr(h, name) for h in heard]) for name in ("mtt_TD", "msd_TD", "yamnet_TD")]
    hidden = np.concatenate(blocks, axis=1)
    mean, scale = hidden.mean(axis=0), hidden.std(axis=0) + 1e-3
    weight = np.concatenate([np.full(b.shape[1], b.shape[1] ** -0.5) for b in blocks])
    standard = np.clip((hidden - mean) / scale, -4, 4) * weight
    _, _, axes = np.linalg.svd(standard, full_matrices=False)
    return {
        "timbre_mean_E": mean,
        "timbre_scale_E": scale,
        "timbre_axes_EK": (weight[:, None] * axes[:count].T).astype(np.float32),
    }


def prompt_vectors() -> dict[str, NDArray[np.float32]]:
    """Vectors of the prompts, the axis of each, and how near each axis is to the names of the vocabulary."""
    table = tomllib.loads((ROOM / "bridge_prompts.toml").read_text(encoding="utf-8"))
    texts, owner = [], []
    for i, (net, name) in enumerate(bridge.axes()):
        # "80s" alone says little to a sentence encoder; its prompts say "1980s".
        plain = re.sub(r" \(.*\)", "", name).lower()
        own = [] if re.fullmatch(r"\d\ds", plain) else [plain]
        for text in dict.fromkeys([*own, *table[net].get(name, [])]):
            texts.append(text)
            owner.append(i)
    encoder = MiniLM()
    vectors = encoder.encode(texts)
    general = encoder.encode(_musical())
    near = general @ vectors.T
    bias = np.maximum.reduceat(near, np.flatnonzero(np.diff(owner, prepend=-1)), axis=1).mean(axis=0)
    return {"prompt_PM": vectors, "prompt_axis_P": np.array(owner, np.float32), "prompt_bias_A": bias}


def sound_vectors(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Vectors of the first names of everyday sounds, how near these are to musical words, and the random fold."""
    names = [(i, name) for i, sound in enumerate(bridge.sounds()) for name in concepts()[sound].names[:_NAMES]]
    owner, encoder = np.array([i for i, _ in names]), MiniLM()
    vectors = encoder.encode([name for _, name in names])
    near = encoder.encode(_musical()) @ vectors.T
    bias = np.maximum.reduceat(near, np.flatnonzero(np.diff(owner, prepend=-1)), axis=1).mean(axis=0)
    shape = len(bridge.sounds()), bridge.SOUND_DIM
    axes, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal(shape))
    fold = (axes * (shape[0] / shape[1]) ** 0.5).astype(np.float32)
    return {"sound_prompt_PM": vectors, "sound_axis_P": owner, "sound_bias_S": bias, "sound_fold_SF": fold}


def _musical() -> list[str]:
    return [name for c in concepts().values() if c.kind != "sound" for name in c.names]


def _scores(heard: TagFrames) -> dict[str, NDArray[np.float32]]:
    return {"mtt": heard.mtt_TL, "msd": heard.msd_TL, "yamnet": heard.yamnet_TL}


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="folders of varied music")
    heard = hear(parser.parse_args().folders)
    count = bridge.DIM - len(bridge.axes()) - bridge.SOUND_DIM
    arrays = tag_statistics(heard) | timbre_axes(heard, count) | prompt_vectors() | sound_vectors()
    np.savez_compressed(ROOM / "bridge.npz", **{name: value.astype(np.float16) for name, value in arrays.items()})


if __name__ == "__main__":
    main()
