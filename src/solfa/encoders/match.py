"""What turns a model's scores into probabilities whatever is searched: the file that ``tools/fit_match.py`` writes."""

import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from solfa.alignment.scores import INT8_SCALE
from solfa.core.errors import WeightsError
from solfa.core.types import EncoderSpec, Match

FILE = "match.npz"


def load_match(file: Path, spec: EncoderSpec) -> Match:
    """The match of a model. Raises WeightsError if the file is damaged, or of another space than the model's."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            sounds, texts = (
                arrays[name].astype(np.float32) / np.float32(INT8_SCALE) for name in ("sounds_SD", "texts_XD")
            )
            sound, text, known, constant = arrays["weights"].astype(float).tolist()
            slope, offset, other_z, same_z = arrays["likeness"].astype(float).tolist()
            made_for = str(arrays["space"])
        fits = sounds.shape[1:] == texts.shape[1:] == (spec.dim,) and len(sounds) and len(texts)
        if not fits or not np.isfinite([sound, text, known, constant, slope, offset, other_z, same_z]).all():
            raise ValueError(f"vectors of shape {sounds.shape} and {texts.shape}, or numbers that are not finite")
    except (OSError, EOFError, ValueError, LookupError, TypeError, BadZipFile, zlib.error) as bad:
        raise WeightsError(f"{file} cannot be read: {bad}. Copy it again.") from bad
    if made_for != spec.space:
        raise WeightsError(
            f"{file} is of the space {made_for!r}, the model's is {spec.space!r}. Copy the folder again."
        )
    return Match(
        sounds_SD=sounds, texts_XD=texts, weights=(sound, text, known, constant),
        likeness=(slope, offset, other_z, same_z),
    )  # fmt: skip
