"""Whether the check of sound tells captions of a track from captions of other tracks, in the default space.

python benchmarks/caption_sound.py DIR      # audio files and index.csv (file, description, genre, ...)
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from solfa.alignment.scores import Texts
from solfa.api import DEFAULT_MODEL
from solfa.encoders.registry import load_model
from solfa.encoders.windows import text_candidates
from solfa.relevance.captions import SoundCheck

TEXTS = (["description"], ["genre", "feel", "instruments"], ["description", "genre", "feel", "instruments"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    directory: Path = parser.parse_args().directory
    with (directory / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    model = load_model(DEFAULT_MODEL)
    assert model.match is not None
    check = SoundCheck(model, model.match.texts_XD)
    tracks_ND = np.stack([check.vector(directory / row["file"]) for row in rows])
    others_NX = tracks_ND @ check.others_XD.T
    own = np.eye(len(rows), dtype=bool)
    for columns in TEXTS:
        texts = [". ".join(filter(None, (row[c] for c in columns))) for row in rows]
        scores_NN = tracks_ND @ text_candidates(model.views, Texts.of(model.text.encode(texts))).T
        for deviations in (0, 1, 2):
            passed_NN = scores_NN > (others_NX.mean(axis=1) + deviations * others_NX.std(axis=1))[:, None]
            print(f"{'+'.join(columns)}, mean + {deviations} sd: own text {passed_NN[own].mean():.2f}, "
                  f"text of another track {passed_NN[~own].mean():.2f} ({len(rows)} tracks)")  # fmt: skip


if __name__ == "__main__":
    main()
