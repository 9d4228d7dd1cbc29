"""Whether vectors alone know the key and the tempo of recordings, judged by another tool.

    pip install essentia && python benchmarks/exact.py --data DIR [--model solfa-1 --model bridge] [--seed 0]

Every key that Essentia (bgate) finds among the files of DIR is asked for ("Key: A minor"), and every tempo from 70 to
180 BPM that it finds within 5 % ("120 BPM"). Right are the files of which Essentia says so, which is no truth, but does
not depend on solfa. Prints the mean average precision of files ordered by their vector's cosine with the query's, that
of random orders, how often the nearest of the keys is Essentia's, and the differences to the last model named (95 %
bootstrap over queries).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gdr import average_precision
from harmony import essentia_key
from solfa.api import DEFAULT_MODEL
from solfa.audio import SUFFIXES, stretches
from solfa.core.types import FloatArray
from solfa.encoders.registry import load_model
from solfa.encoders.windows import embed, track_vector
from tempo import essentia

TEMPI_BPM, TOLERANCE = range(70, 181, 10), 0.05
Right = dict[str, NDArray[np.bool_]]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", action="append")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, found = np.random.default_rng(args.seed), dict[str, NDArray[np.float64]]()
    sounds = [next(iter(stretches(f))) for f in sorted(args.data.iterdir()) if f.suffix.lower() in SUFFIXES]
    key_of = essentia_key("bgate")
    keys = np.array([key_of(a.samples, a.sample_rate_hz)["key"] for a in sounds])
    tempi = np.array([essentia(a.samples, a.sample_rate_hz)["tempo_bpm"] for a in sounds])
    names = sorted(set(keys.tolist()))
    right: Right = {f"Key: {name}": keys == name for name in names}
    near = {f"{bpm} BPM": np.abs(tempi / bpm - 1) < TOLERANCE for bpm in TEMPI_BPM}
    right |= {text: rows for text, rows in near.items() if rows.any()}
    parts = {"keys": slice(0, len(names)), "tempi": slice(len(names), None)}
    for name in args.model or [DEFAULT_MODEL, "bridge"]:
        model = load_model(name)
        vectors_ND: FloatArray = np.stack([track_vector(model.views, embed(model, [a])) for a in sounds])
        cosines = vectors_ND @ model.text.encode(list(right)).global_BD.T
        found[name] = np.array([average_precision(c, r) for c, r in zip(cosines.T, right.values(), strict=True)])
        standard = cosines[:, parts["keys"]]
        standard = (standard - standard.mean(axis=0)) / standard.std(axis=0)
        nearest = np.array(names)[standard.argmax(axis=1)] == keys
        print(f"{name}: nearest of {len(names)} keys right {nearest.mean():.3f} of {len(sounds)} files")
    chance = np.array([np.mean([average_precision(rng.random(len(r)), r) for _ in range(200)]) for r in right.values()])
    last = found[list(found)[-1]]
    for what, at in parts.items():
        print(f"{what}: {len(chance[at])} queries, random mAP {chance[at].mean():.3f}")
        for name, own in found.items():
            drawn = (own - last)[at][rng.integers(len(own[at]), size=(4000, len(own[at])))].mean(axis=1)
            low, high = np.percentile(drawn, [2.5, 97.5])
            print(f"  {name}: mAP {own[at].mean():.3f}, {(own - last)[at].mean():+.3f} [{low:+.3f}, {high:+.3f}]")


if __name__ == "__main__":
    main()
