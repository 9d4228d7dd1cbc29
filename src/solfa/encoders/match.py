"""What turns a model's scores into probabilities whatever is searched: the file that ``tools/fit_match.py`` writes."""

from pathlib import Path

import numpy as np

from solfa.alignment.scores import INT8_SCALE
from solfa.core.errors import WeightsError
from solfa.core.types import Match

FILE = "match.npz"


def load_match(file: Path, space: str) -> Match:
    """The match of a model of this space. Raises WeightsError if the file is damaged, or of another space."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            sounds, texts = (
                arrays[name].astype(np.float32) / np.float32(INT8_SCALE) for name in ("sounds_SD", "texts_XD")
            )
            sound, text, known, constant = arrays["weights"].astype(float).tolist()
            slope, offset, other_z, same_z = arrays["likeness"].astype(float).tolist()
            made_for = str(arrays["space"])
    except (OSError, ValueError, LookupError, TypeError) as bad:
        raise WeightsError(f"{file} cannot be read: {bad}. Copy it again.") from bad
    if made_for != space:
        raise WeightsError(f"{file} is of the space {made_for!r}, the model's is {space!r}. Copy the folder again.")
    return Match(
        sounds_SD=sounds, texts_XD=texts, weights=(sound, text, known, constant),
        likeness=(slope, offset, other_z, same_z),
    )  # fmt: skip
