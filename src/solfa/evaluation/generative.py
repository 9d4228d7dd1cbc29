"""Fidelity and diversity of generated queries (GD-Retriever): FD, motion FD, PRDC, Vendi, MICS, MIVS, modality gap.

Conventions
-----------
Legend: N, M vectors, P prompts, S samples per prompt, T steps, D dimensions. Sums are float64.
Every function raises InputError for fewer vectors than it needs, dead or non-finite ones, and shapes that do not fit.
Sources: Heusel et al. 2017 (FD), Naeem et al. 2020 (density and coverage), Friedman and Dieng 2023 (Vendi), Liang et
al. 2022 (modality gap).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.spatial.distance import cdist

from solfa.core.errors import InputError
from solfa.evaluation.relevance import Bools, Floats, Vectors
from solfa.evaluation.similarity import unit_rows

NUM_MOTION_BINS = 32
_BLOCK_ROWS = 1024


def _checked(generated_ND: Vectors, real_MD: Vectors, least: int) -> tuple[Floats, Floats]:
    generated, real = np.asarray(generated_ND, np.float64), np.asarray(real_MD, np.float64)
    for what, data in (("generated", generated), ("real", real)):
        if data.ndim != 2 or len(data) < least or not np.isfinite(data).all():
            raise InputError(f"{what}: need at least {least} finite vectors of shape (N, D), got {data.shape}.")
    if generated.shape[1] != real.shape[1]:
        raise InputError(f"generated vectors have {generated.shape[1]} dimensions, real ones {real.shape[1]}.")
    return generated, real


def frechet_distance(generated_ND: Vectors, real_MD: Vectors) -> float:
    """Squared Frechet distance of Gaussian fits: ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))``; 0 is the same.

    With fewer vectors than dimensions the covariance is singular and the value depends on N: compare equal N only.

    >>> x = np.array([[0.0], [2.0]])
    >>> frechet_distance(x, x + 3.0)
    9.0
    """
    a, b = _checked(generated_ND, real_MD, 2)
    cov_a, cov_b = np.atleast_2d(np.cov(a.T)), np.atleast_2d(np.cov(b.T))
    # tr (A B)^(1/2) is the trace of the root of the symmetric A^(1/2) B A^(1/2): real and without a matrix root of a
    # non-symmetric product.
    values, vectors = eigh(cov_a)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    cross = np.sqrt(np.maximum(eigh(root @ cov_b @ root, eigvals_only=True), 0.0)).sum()
    shift = a.mean(axis=0) - b.mean(axis=0)
    return float(max(shift @ shift + np.trace(cov_a) + np.trace(cov_b) - 2 * cross, 0.0))


def motion_features(sequences: Sequence[Vectors]) -> Floats:
    """How latents move in time: histograms of speed and of acceleration [shape=(N, 64)].

    Each sequence [shape=(T, D), T >= 3] is put to unit norm step by step, so that the norm of a first difference lies
    in 0..2 and of a second difference in 0..4; 32 equal bins each, as shares of the sequence's steps. Sequences may
    differ in length. (The published code does not state its bins; these are ours.)
    """
    if not sequences:
        raise InputError("there are no sequences to compare.")
    out = np.empty((len(sequences), 2 * NUM_MOTION_BINS))
    for i, sequence in enumerate(sequences):
        if np.ndim(sequence) != 2 or len(sequence) < 3:
            raise InputError(f"sequence {i} has shape {np.shape(sequence)}; motion needs (T, D) with T >= 3.")
        steps = unit_rows(sequence, f"sequence {i}").astype(np.float64)
        for order, top in ((1, 2.0), (2, 4.0)):
            norms = np.minimum(np.linalg.norm(np.diff(steps, n=order, axis=0), axis=1), top)
            counts = np.histogram(norms, bins=NUM_MOTION_BINS, range=(0.0, top))[0]
            out[i, (order - 1) * NUM_MOTION_BINS :][:NUM_MOTION_BINS] = counts / len(norms)
    return out


def motion_frechet_distance(generated: Sequence[Vectors], real: Sequence[Vectors]) -> float:
    """Frechet distance of `motion_features`; 0 if both move alike."""
    return frechet_distance(motion_features(generated), motion_features(real))


@dataclass(frozen=True, kw_only=True, slots=True)
class Prdc:
    """Precision (generated near real), recall (real near generated), density, coverage. Higher is better."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(generated_ND: Vectors, real_MD: Vectors, *, k: int = 5) -> Prdc:
    """Precision, recall, density and coverage by k-nearest-neighbour balls, Euclidean, as the ``prdc`` package."""
    fake, real = _checked(generated_ND, real_MD, k + 1)
    real_radius, fake_radius = _radii(real, k), _radii(fake, k)
    in_real_balls, in_fake_ball, covered = np.zeros(len(fake)), np.empty(len(real), bool), np.empty(len(real), bool)
    for i in range(0, len(real), _BLOCK_ROWS):
        rows = slice(i, i + _BLOCK_ROWS)
        distance = cdist(real[rows], fake)
        inside: Bools = distance < real_radius[rows, None]
        in_real_balls += inside.sum(axis=0)
        covered[rows] = distance.min(axis=1) < real_radius[rows]
        in_fake_ball[rows] = (distance < fake_radius[None, :]).any(axis=1)
    return Prdc(
        precision=float((in_real_balls > 0).mean()),
        recall=float(in_fake_ball.mean()),
        density=float(in_real_balls.mean() / k),
        coverage=float(covered.mean()),
    )


def _radii(vectors: Floats, k: int) -> Floats:
    # Distance to the k-th nearest other vector; the vector itself is the 0-th.
    parts = [
        np.partition(cdist(vectors[i : i + _BLOCK_ROWS], vectors), k, axis=1)[:, k]
        for i in range(0, len(vectors), _BLOCK_ROWS)
    ]
    return np.concatenate(parts)


def vendi_score(vectors_ND: Vectors) -> float:
    """How many different vectors there are in effect: 1 if all are one, N if all are orthogonal.

    The exponential of the entropy of the eigenvalues of the cosine Gram matrix over N.

    >>> round(vendi_score(np.eye(4)), 9), round(vendi_score(np.ones((4, 3))), 9)
    (4.0, 1.0)
    """
    unit = unit_rows(vectors_ND).astype(np.float64)
    gram = unit @ unit.T if len(unit) <= unit.shape[1] else unit.T @ unit  # the same non-zero eigenvalues
    values = np.maximum(eigh(gram / len(unit), eigvals_only=True), 0.0)
    values = values[values > 0] / values.sum()
    return float(np.exp(-(values * np.log(values)).sum()))


def _per_prompt(samples_PSD: Vectors) -> Vectors:
    if samples_PSD.ndim != 3 or samples_PSD.shape[1] < 2:
        raise InputError(f"need (P, S, D) with at least two samples per prompt, got {samples_PSD.shape}.")
    return unit_rows(samples_PSD, "samples")


def intra_prompt_cosine(samples_PSD: Vectors) -> float:
    """MICS: mean cosine of pairs of samples of one prompt, averaged over prompts; 1 if every sample is the same."""
    unit = _per_prompt(samples_PSD).astype(np.float64)
    num = unit.shape[1]
    pair_sums = (unit.sum(axis=1) ** 2).sum(axis=1) - (unit**2).sum(axis=(1, 2))
    return float((pair_sums / (num * (num - 1))).mean())


def intra_prompt_vendi(samples_PSD: Vectors) -> float:
    """MIVS: Vendi score of the samples of one prompt, averaged over prompts; 1 if every sample is the same."""
    return float(np.mean([vendi_score(samples) for samples in _per_prompt(samples_PSD)]))


@dataclass(frozen=True, kw_only=True, slots=True)
class ModalityGap:
    """Distance of the centroids of two sets of unit vectors, and how far each set lies from its own on average."""

    centroid_distance: float
    generated_spread: float
    real_spread: float


def modality_gap(generated_ND: Vectors, real_MD: Vectors) -> ModalityGap:
    """How far generated vectors lie from real ones as a whole, beside how wide each set is."""
    fake, real = _checked(unit_rows(generated_ND, "generated"), unit_rows(real_MD, "real"), 1)
    centres = fake.mean(axis=0), real.mean(axis=0)
    spreads = [float(np.linalg.norm(x - c, axis=1).mean()) for x, c in zip((fake, real), centres, strict=True)]
    distance = float(np.linalg.norm(centres[0] - centres[1]))
    return ModalityGap(centroid_distance=distance, generated_spread=spreads[0], real_spread=spreads[1])


def query_of_samples(latents_PSTD: Vectors) -> Vectors:
    """One query per prompt: the mean over samples, then over time, at unit norm [shape=(P, D)].

    GD-Retriever's retrieval with several samples; rank it against keys pooled the same way.
    """
    if latents_PSTD.ndim != 4:
        raise InputError(f"need latents of shape (P, S, T, D), got {latents_PSTD.shape}.")
    return unit_rows(latents_PSTD.mean(axis=(1, 2), dtype=np.float64), "queries")
