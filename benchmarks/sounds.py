"""How well everyday sounds are told apart and found, on real recordings that ``solfa data sounds`` fetches.

``python benchmarks/sounds.py [--model NAME] [--sounds DIR] [--music DIR] [--fit DIR]``

A clip's class is the phrase that names it in ``solfa/datasets/phrases.toml``; classes that the vocabulary knows
as an everyday sound are judged. Zero-shot: the nearest text of the joint model ("The sound of {class}") among all
classes and among the ten with most clips, beside the network's own outputs (their best three seconds), a random choice,
and a system that sees only the texts (it takes the class with most clips). Confidences: held-out packages, and music
(``--music``), where any sound but music itself is counted as false. ``--fit`` prints the curve for
``solfa/analysis/tags.toml``, from packages and music that are not reported.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from solfa.analysis import tags
from solfa.analysis.tagging import voters
from solfa.api import DEFAULT_MODEL
from solfa.audio import SUFFIXES, stretches
from solfa.core.types import Audio, JointModel
from solfa.core.vocabulary import concepts, lineage
from solfa.datagen.packages import sounds_folder
from solfa.datagen.scenes.sources import read_packages
from solfa.datasets.phrases import sound_bank
from solfa.encoders.registry import load_model
from solfa.evaluation.openvocab import class_prompts
from solfa.query.concepts import concept_named

JUDGED, FITTED, HELD_OUT = ("scratch", "stamps"), ("stamps", "minetest", "lmms", "sonic"), ("scratch", "wesnoth")
# The vocabulary has these words for something else.
OTHER = {
    "monster roar", "burst of flame", "splat", "electric buzz", "electronic whoop", "splash cymbal", "phone tone",
    "rattle", "bones rattling", "swish through the air", "beast growling",
}  # fmt: skip
NAMES = tuple(c for c in voters() if concepts()[c].kind == "sound")
# True of many clips without being said: unknown rather than false.
UNSAID = {"noise", "environmental_noise", "small_room", "large_room", "public_space", "urban", "rural", "music",
          "field_recording", "reverberation", "echo_sound", "effects_unit", "static", "silence"}  # fmt: skip
MISSED, FALSE_WEIGHT = 0.1, 0.4  # share of true sounds that the network does not notice; what a false cell weighs


def known() -> dict[str, list[str]]:
    """Concepts of sounds that each class is called by."""
    clusters = (c for c in sound_bank().clusters if c.phrase not in OTHER)
    named = {c.phrase: dict.fromkeys(map(concept_named, c.texts)) for c in clusters}
    return {p: [c for c in found if c and concepts()[c].kind == "sound"] for p, found in named.items()}


def best(audio: Audio) -> NDArray[np.float32]:
    """Log-odds of every sound in its best three seconds [shape=(C,)], as the analysis pools them."""
    votes = tags.TagsExtractor().observe(audio)["evidence"][:, [list(voters()).index(c) for c in NAMES]]
    pooled: NDArray[np.float32] = tags.over_three_seconds(votes).max(axis=0)
    return pooled


def truth(said: list[str]) -> NDArray[np.float64]:
    """1, 0, or NaN where it is not known [shape=(C,)]; no names: music."""
    true = {wider for c in said for wider in lineage(c)}
    roots = {lineage(c)[-1] for c in said}
    unknown = {c for c in NAMES if c in UNSAID or (said and lineage(c)[-1] in roots)}
    return np.array([1.0 if c in true else np.nan if c in unknown else 0.0 for c in NAMES])


def zero_shot(
    title: str,
    phrases: dict[str, list[str]],
    model: JointModel,
    audio: NDArray[np.float32],
    outputs: NDArray[np.float32],
    labels: list[str],
) -> None:
    """Print accuracies over the classes of some clips."""
    classes, count = sorted(set(labels)), Counter(labels)
    right = np.array([classes.index(label) for label in labels])
    texts = model.text.encode(class_prompts(classes)).global_BD
    own = np.stack([outputs[:, [NAMES.index(c) for c in phrases[name][:1]]].max(axis=1) for name in classes], axis=1)
    scores = audio @ texts.T
    hit = scores.argmax(axis=1) == right
    draws = [hit[d].mean() for d in np.random.default_rng(0).integers(len(hit), size=(1000, len(hit)))]
    low, high = np.percentile(draws, [2.5, 97.5])
    top = [right[np.argsort(-column)[0]] == j for j, column in enumerate(scores.T)]
    print(f"{title}: {len(labels)} clips, {len(classes)} classes: {model.name} {hit.mean():.3f} "
          f"[{low:.2f}, {high:.2f}], "
          f"network {(own.argmax(axis=1) == right).mean():.3f}, random {1 / len(classes):.3f}, "
          f"texts only {max(count.values()) / len(labels):.3f}; text to audio R@1 {np.mean(top):.3f}")  # fmt: skip


def reliability(title: str, log_odds: NDArray[np.float64], true: NDArray[np.float64]) -> None:
    """Print of how many cells above each confidence the sound is said to be there."""
    cells = ~np.isnan(true)
    sure, there = expit(log_odds)[cells], true[cells]
    bins = [(low, (sure >= low) & (sure < high)) for low, high in ((0.2, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.01))]
    shown = ", ".join(f"{low}: {there[on].mean() if on.any() else float('nan'):.2f} of {on.sum()}" for low, on in bins)
    found = f", found above 0.5: {(sure[there == 1] > 0.5).mean():.2f}" if there.any() else ""
    print(f"{title}: {len(true)} clips, true from {shown}{found}")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a joint model")
    parser.add_argument("--sounds", type=Path, default=sounds_folder(), help="where 'solfa data sounds' put them")
    parser.add_argument("--music", type=Path, help="folder of recordings of music, judged")
    parser.add_argument("--fit", type=Path, help="folder of other music: print the curve")
    args = parser.parse_args()
    phrases = known()
    packs = (*JUDGED, *HELD_OUT, *(FITTED if args.fit else ()))
    clips = [s for s in read_packages(args.sounds) if phrases.get(s.labels[0]) and s.id.split("/")[0] in packs]
    detected = [next(iter(stretches(str(s.audio)))) for s in clips]
    pack, labels = np.array([s.id.split("/")[0] for s in clips]), np.array([s.labels[0] for s in clips])
    outputs, true = np.stack([best(a) for a in detected]), np.stack([truth(phrases[s.labels[0]]) for s in clips])
    judged = np.flatnonzero(np.isin(pack, JUDGED))
    model = load_model(args.model)
    vectors = model.audio.encode([detected[i] for i in judged]).global_BD
    zero_shot("all classes", phrases, model, vectors, outputs[judged], list(labels[judged]))
    ten = [name for name, _ in sorted(Counter(labels[judged]).items(), key=lambda c: (-c[1], c[0]))[:10]]
    few = np.isin(labels[judged], ten)
    zero_shot(", ".join(ten), phrases, model, vectors[few], outputs[judged][few], list(labels[judged][few]))
    curve = tags.calibrations()["rain"]
    for name in HELD_OUT:
        reliability(name, curve.offset + curve.slope * outputs[pack == name], true[pack == name])
    if args.music:
        music = _music(args.music)
        reliability("music", curve.offset + curve.slope * music, np.stack([truth([])] * len(music)))
    if args.fit:
        other = _music(args.fit)
        on = np.isin(pack, FITTED)
        x, y = np.concatenate([outputs[on], other]), np.concatenate([true[on], np.stack([truth([])] * len(other))])
        offset, slope = fitted(x[~np.isnan(y)], y[~np.isnan(y)])
        print(f"sound = {{ offset = {offset:.2f}, slope = {slope:.2f} }}")


def _music(folder: Path) -> NDArray[np.float32]:
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES)
    return np.stack([best(next(iter(stretches(f)))) for f in files])


def fitted(x: NDArray[np.float32], y: NDArray[np.float64]) -> tuple[float, float]:
    """Offset and slope; a share of the true sounds counts as not noticed, which no curve could explain."""

    def loss(p: NDArray[np.float64]) -> float:
        sure = expit(p[0] + p[1] * x)
        said = np.log(MISSED + (1 - MISSED) * sure + 1e-12)
        return float(-np.where(y == 1, said, FALSE_WEIGHT * np.log(1 - sure + 1e-12)).sum())

    offset, slope = minimize(loss, np.array([1.0, 1.0])).x
    return float(offset), float(slope)


if __name__ == "__main__":
    main()
