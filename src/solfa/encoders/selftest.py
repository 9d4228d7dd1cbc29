"""A check that a model works: it distinguishes unlike inputs, and gives the same output twice.

Published checkpoints are sometimes dead in one tower (every text at cosine 0.999 of every other). Such a model answers
every search, wrongly; so each model is tried once before it is used.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import combinations

import numpy as np

from solfa.core.errors import WeightsError
from solfa.core.types import Audio, Features, FloatArray, JointModel
from solfa.weights import home

# Unlike things above this cosine mean a collapsed tower; live ones remain well below (0.9 between the sounds at most).
COLLAPSED = 0.99

TEXTS = (
    "solo piano, slow and sad",
    "heavy metal with screaming vocals and very fast drums",
    "a calm field recording of birds and rain",
)
_SECONDS = 4.0


def check(model: JointModel) -> None:
    """Nothing, where both towers of a model are alive.

    Raises WeightsError if a vector is not finite, not of unit length or not of the stated dimension, if unlike texts or
    unlike sounds have a cosine above 0.99, or if the same input gives another vector the second time. The message says
    what was seen.
    """
    if model.audio.spec.space != model.text.spec.space:
        raise WeightsError(
            f"the towers of model {model.name!r} map to different spaces: {model.audio.spec.space!r} and "
            f"{model.text.spec.space!r}."
        )
    names, clips = zip(*sounds(model.audio.spec.sample_rate_hz), strict=True)
    _tower(model.name, "sound", model.audio.spec.dim, names, lambda: model.audio.encode(clips))
    _tower(model.name, "text", model.text.spec.dim, TEXTS, lambda: model.text.encode(TEXTS))


def check_once(model: JointModel) -> None:
    """``check``, unless this very space passed it on this machine before (a note under ``weights.home()``).

    The space names the checkpoint's hash, so other weights are checked again. Raises WeightsError as ``check``.
    """
    digest = hashlib.sha256(model.space.encode()).hexdigest()[:24]
    note = home() / "selftest" / f"{digest}.txt"
    if note.is_file():
        return
    check(model)
    with suppress(OSError):  # a home that cannot be written only means that the check runs again next time
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{model.space}\npassed\n", encoding="utf-8")


def sounds(sample_rate_hz: int) -> tuple[tuple[str, Audio], ...]:
    """Three sounds as unlike as sounds can be, four seconds each: a low chord, white noise, sparse clicks."""
    count = int(_SECONDS * sample_rate_hz)
    t = np.arange(count) / sample_rate_hz
    chord = sum(np.sin(2 * np.pi * hz * h * t) / h for hz in (110.0, 138.6, 164.8) for h in (1, 2, 3))
    noise = np.random.default_rng(0).standard_normal(count)
    clicks = np.zeros(count)
    clicks[:: max(1, sample_rate_hz // 2)] = 1.0
    named = (("a chord", chord), ("white noise", noise), ("clicks", clicks))
    return tuple(
        (name, Audio((0.5 * wave / np.abs(wave).max()).astype(np.float32), sample_rate_hz)) for name, wave in named
    )


def _tower(name: str, tower: str, dim: int, inputs: Sequence[str], encode: Callable[[], Features]) -> None:
    features = encode()
    vectors = features.global_BD
    _check_vectors(name, f"{tower} vectors", vectors, (len(inputs), dim))
    frames = features.frames_BTD[features.mask_BT]
    _check_vectors(name, f"{tower} frames", frames, (len(frames), dim))
    for i, j in combinations(range(len(inputs)), 2):
        cosine = float(vectors[i] @ vectors[j])
        if cosine > COLLAPSED:
            raise WeightsError(
                f"model {name!r} has a dead {tower} tower: {inputs[i]!r} and {inputs[j]!r} have cosine {cosine:.4f}, "
                f"expected below {COLLAPSED}. Use another checkpoint."
            )
    if not np.array_equal(encode().global_BD, vectors):
        raise WeightsError(f"model {name!r} gave two answers for one {tower} input. It cannot be indexed or searched.")


def _check_vectors(name: str, what: str, rows: FloatArray, shape: tuple[int, int]) -> None:
    lengths = np.linalg.norm(rows, axis=1)
    if rows.shape != shape or not (np.abs(lengths - 1.0) <= 1e-3).all():
        seen = f"of the shape {rows.shape}, expected {shape}"
        if rows.shape == shape:
            seen = f"of lengths {lengths.min():.4f} to {lengths.max():.4f}, expected 1 and finite numbers"
        raise WeightsError(f"model {name!r}: {what} are {seen}.")
