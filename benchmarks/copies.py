"""How alike copies of a recording are to the default model, and how alike different recordings: for SAME_RECORDING.

    python benchmarks/copies.py --data DIR [--limit 40]

Each file of DIR is compared with itself as mp3 (default quality), at half volume, resampled to 22,050 Hz and with half
a second cut off the front, and with every other file. Prints the lowest and 5 % quantile of the cosines of mean frames
for each kind of copy, and the highest and 99.9 % quantile between different files.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from solfa.api import DEFAULT_MODEL
from solfa.audio import SUFFIXES, at_rate, stretches
from solfa.core.types import Audio
from solfa.encoders.registry import load_model

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from fakes.files import write_audio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=40)
    args = parser.parse_args()
    encoder = load_model(DEFAULT_MODEL).audio

    def vector(audio: Audio) -> np.ndarray:
        features = encoder.encode([audio])
        mean = features.frames_BTD[0][features.mask_BT[0]].mean(axis=0)
        return mean / np.linalg.norm(mean)

    originals, cosines = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(p for p in args.data.iterdir() if p.suffix in SUFFIXES)[: args.limit]:
            audio = next(stretches(path))
            whole = vector(audio)
            originals.append(whole)
            mp3 = write_audio(Path(folder) / "copy.mp3", audio.samples, audio.sample_rate_hz)
            copies = {
                "mp3": next(stretches(mp3)),
                "half volume": Audio(audio.samples * np.float32(0.5), audio.sample_rate_hz),
                "22,050 Hz": at_rate(audio, 22050),
                "0.5 s cut": Audio(audio.samples[audio.sample_rate_hz // 2 :], audio.sample_rate_hz),
            }
            for name, copy in copies.items():
                cosines.setdefault(name, []).append(float(whole @ vector(copy)))
    for name, values in cosines.items():
        print(f"{name:<12} lowest {min(values):.4f}  5 % {np.percentile(values, 5):.4f}")
    matrix = np.stack(originals) @ np.stack(originals).T
    others = matrix[~np.eye(len(matrix), dtype=bool)]
    print(
        f"{'different':<12} highest {others.max():.4f}  99.9 % {np.percentile(others, 99.9):.4f}  ({len(matrix)} files)"
    )


if __name__ == "__main__":
    main()
