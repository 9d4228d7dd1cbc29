"""Fidelity and diversity of generated queries (GD-Retriever): FD, motion FD, PRDC, Vendi, MICS, MIVS, modality gap.

Conventions
-----------
Legend: N, M vectors, P prompts, S samples per prompt, T steps, D dimensions. Sums are float64.
Every function raises InputError for fewer vectors than it needs, dead or non-finite ones, and shapes that do not fit.
Sources: Heusel et al. 2017 (FD), Naeem et al. 2020 (density and coverage), Friedman and Dieng 2023 (Vendi), Liang et
al. 2022 (modality gap).
"""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh
from scipy.spatial.distance import cdist

from solfa.core.errors import InputError
from solfa.evaluation.ranking import Floats, Vectors
from solfa.evaluation.similarity import unit_rows

NUM_MOTION_BINS = 32


def fidelity(samples: Vectors, real_MD: Vectors, k: int = 5) -> dict[str, float]:
    """Every score of generated vectors, [shape=(N, D)] or samples of prompts [shape=(P, S, D)], by name."""
    fake = samples.reshape(-1, samples.shape[-1])
    found = {"FD": frechet_distance(fake, real_MD), **prdc(fake, real_MD, k=k), "Vendi": vendi_score(fake)}
    found |= modality_gap(fake, real_MD)
    if samples.ndim == 3:
        found |= {"MICS": intra_prompt_cosine(samples), "MIVS": intra_prompt_vendi(samples)}
    return found


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
    # The eigenvalues of a product of two covariances are real and not negative, but for rounding.
    cross = np.sqrt(np.maximum(np.linalg.eigvals(cov_a @ cov_b).real, 0.0)).sum()
    shift = a.mean(axis=0) - b.mean(axis=0)
    return float(max(shift @ shift + np.trace(cov_a) + np.trace(cov_b) - 2 * cross, 0.0))


def motion_features(sequences: Sequence[Vectors]) -> Floats:
    """How latents move in time: histograms of speed and of acceleration [shape=(N, 64)].

    Each sequence [shape=(T, D), T >= 3] is put to unit norm step by step, so that the norm of a first difference is
    in 0..2 and of a second difference in 0..4; 32 equal bins each, as shares of the sequence's steps. Sequences may
    differ in length. (The published code does not state its bins; these are ours.)
    """
    if not sequences:
        raise InputError("no sequences to compare.")
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


def prdc(generated_ND: Vectors, real_MD: Vectors, *, k: int = 5) -> dict[str, float]:
    """By k-nearest-neighbour balls, Euclidean, as the ``prdc`` package; higher is better. Memory: 8 bytes a pair.

    ``precision`` (share of generated near real), ``recall`` (share of real near generated), ``density`` and
    ``coverage``.
    """
    fake, real = _checked(generated_ND, real_MD, k + 1)
    # Distance to the k-th nearest other vector; the vector itself is the 0-th.
    real_radius, fake_radius = (np.partition(cdist(x, x), k, axis=1)[:, k] for x in (real, fake))
    distance = cdist(real, fake)
    in_real_ball = distance < real_radius[:, None]
    return {
        "precision": float(in_real_ball.any(axis=0).mean()),
        "recall": float((distance < fake_radius).any(axis=1).mean()),
        "density": float(in_real_ball.sum(axis=0).mean() / k),
        "coverage": float((distance.min(axis=1) < real_radius).mean()),
    }


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


def modality_gap(generated_ND: Vectors, real_MD: Vectors) -> dict[str, float]:
    """``centroid distance`` of two sets of unit vectors, and how far each set spreads from its own on average."""
    fake, real = _checked(unit_rows(generated_ND, "generated"), unit_rows(real_MD, "real"), 1)
    spreads = [float(np.linalg.norm(x - x.mean(axis=0), axis=1).mean()) for x in (fake, real)]
    distance = float(np.linalg.norm(fake.mean(axis=0) - real.mean(axis=0)))
    return {"centroid distance": distance, "generated spread": spreads[0], "real spread": spreads[1]}


def query_of_samples(latents_PSTD: Vectors) -> Vectors:
    """One query per prompt: the mean over samples, then over time, at unit norm [shape=(P, D)].

    GD-Retriever's retrieval with several samples; rank it against keys pooled the same way.
    """
    if latents_PSTD.ndim != 4:
        raise InputError(f"need latents of shape (P, S, T, D), got {latents_PSTD.shape}.")
    return unit_rows(latents_PSTD.mean(axis=(1, 2), dtype=np.float64), "queries")
