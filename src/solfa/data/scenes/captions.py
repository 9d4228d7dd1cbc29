"""Captions of scenes: ten templates with one slot for the joined labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TEMPLATES = (
    "You can hear {}.",
    "The recording holds the sounds of {}.",
    "A scene with {}.",
    "Sound events in this clip: {}.",
    "In this recording there is {}.",
    "A ten-second mixture of {}.",
    "Audio of {}.",
    "This clip has the following sounds: {}.",
    "Heard over a background: {}.",
    "What sounds here is {}.",
)


def rule_caption(labels: Sequence[str], rng: np.random.Generator) -> str:
    """One of ten sentences with the labels, lower-cased and joined by commas, in the given order.

    >>> rule_caption(["dog barking", "Piano"], np.random.default_rng(0))
    'What sounds here is dog barking, piano.'
    """
    return TEMPLATES[int(rng.integers(len(TEMPLATES)))].format(", ".join(label.lower() for label in labels))
