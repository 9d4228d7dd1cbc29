"""Discrete tokens of states: targets of self-supervised training, as MusicFM and MuQ have them.

``RandomProjectionTokens`` is BEST-RQ (Chiu et al., ICML 2022): a random projection that is never trained, and the
nearest of random codes on the sphere. ``ResidualTokens`` is residual vector quantisation (Zeghidour et al., 2021): each
codebook holds the means (k-means) of what the ones before it left over, so that the error decreases with each.

Shape letters: N states, D dimensions, Q codebooks.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solfa.core.errors import InputError, need
from solfa.core.types import FloatArray

Tokens = NDArray[np.int64]
_vq = need("scipy.cluster.vq", "making tokens", "pip install 'solfa[torch]'")


class RandomProjectionTokens:
    """One token a state, 0 to ``codes`` less one; the same seed and examples give the same tokens.

    Raises InputError if there are no examples, or they are not finite numbers.

    ``examples_ND``: states whose mean and variance bring all to mean 0 and variance 1: without it few codes are ever
    the nearest; ``codes``, ``code_dim``: of the codebook, and of the space that states are projected into (8,192 and 16
    in the paper); ``seed``: random seed.
    """

    def __init__(self, examples_ND: FloatArray, *, codes: int = 8192, code_dim: int = 16, seed: int = 0) -> None:
        examples = _checked(examples_ND, 1)
        self._mean, self._std = examples.mean(axis=0), np.maximum(examples.std(axis=0), 1e-8)
        rng, limit = np.random.default_rng(seed), np.sqrt(6 / (examples.shape[1] + code_dim))
        self._map = rng.uniform(-limit, limit, (examples.shape[1], code_dim))  # Xavier's
        self._codes = _unit(rng.standard_normal((codes, code_dim)))

    def __call__(self, states: FloatArray) -> Tokens:
        """Tokens [shape=(...)] of states [shape=(..., D)]."""
        flat = (np.reshape(states, (-1, len(self._map))) - self._mean) / self._std
        return np.asarray(_vq.vq(_unit(flat @ self._map), self._codes)[0], np.int64).reshape(np.shape(states)[:-1])


class ResidualTokens:
    """Q tokens a state, the coarsest first, from ``codebooks`` of so many ``codes`` that k-means fits to examples.

    Raises InputError if there are fewer examples than codes, or they are not finite numbers.
    """

    def __init__(self, examples_ND: FloatArray, *, codebooks: int = 8, codes: int = 1024, seed: int = 0) -> None:
        rest = _checked(examples_ND, codes)
        self.codebooks_QKD = np.zeros((codebooks, codes, rest.shape[1]))
        rng = np.random.default_rng(seed)
        for book in self.codebooks_QKD:
            start = rest[rng.choice(len(rest), codes, replace=False)]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # with equal examples a code has none, and is not moved
                book[:] = _vq.kmeans2(rest, start, iter=20, minit="matrix")[0]
            rest = rest - book[_vq.vq(rest, book)[0]]

    def __call__(self, states: FloatArray) -> Tokens:
        """Tokens [shape=(..., Q)] of states [shape=(..., D)]."""
        rest, found = np.reshape(states, (-1, self.codebooks_QKD.shape[2])).astype(np.float64), []
        for book in self.codebooks_QKD:
            found.append(_vq.vq(rest, book)[0])
            rest = rest - book[found[-1]]
        return np.stack(found, axis=-1).astype(np.int64).reshape(*np.shape(states)[:-1], -1)

    def decode(self, tokens: Tokens) -> FloatArray:
        """States [shape=(..., D)] of tokens [shape=(..., q)] of the first q codebooks."""
        parts = [book[tokens[..., q]] for q, book in enumerate(self.codebooks_QKD[: tokens.shape[-1]])]
        return np.asarray(np.sum(parts, axis=0), np.float32)

    def errors(self, states_ND: FloatArray) -> NDArray[np.float64]:
        """Mean squared error of states after 1, 2, ... Q codebooks, as a share of their mean square [shape=(Q,)]."""
        tokens, power = self(states_ND), np.square(states_ND).mean()
        counts = range(1, len(self.codebooks_QKD) + 1)
        return np.array([np.square(self.decode(tokens[..., :q]) - states_ND).mean() / power for q in counts])


def _checked(examples_ND: FloatArray, least: int) -> NDArray[np.float64]:
    if np.ndim(examples_ND) != 2 or len(examples_ND) < least or not np.isfinite(examples_ND).all():
        raise InputError(
            f"examples of shape {np.shape(examples_ND)}: expected {least} or more states [N, D] of finite numbers."
        )
    return np.asarray(examples_ND, np.float64)


def _unit(rows: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12))
