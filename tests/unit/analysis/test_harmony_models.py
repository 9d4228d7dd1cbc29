"""The decoder against brute force, the vocabulary against theory, the key model against transposition."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest

from solfa.analysis import harmony_chords as chords
from solfa.analysis import harmony_key as key
from solfa.core.theory import Chord


def test_best_path_is_the_best_of_all_paths() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores = rng.normal(0, 2, (5, 3)).astype(np.float32)
        cost = float(rng.uniform(0, 4))

        def value(path: tuple[int, ...], scores: np.ndarray = scores, cost: float = cost) -> float:
            changes = sum(a != b for a, b in pairwise(path))
            return float(sum(scores[t, s] for t, s in enumerate(path))) - cost * changes

        found = tuple(int(s) for s in chords.best_path([scores], cost))
        assert found == tuple(int(s) for s in chords.best_path([scores[:2], scores[2:2], scores[2:]], cost))
        assert value(found) == pytest.approx(max(value(p) for p in product(range(3), repeat=5)), abs=1e-4)


def test_every_label_of_the_vocabulary_is_a_chord_of_the_core() -> None:
    table = chords.vocabulary()
    assert {"maj", "min", "7", "maj7", "min7", "dim", "sus2", "sus4", "hdim7", "aug"} <= set(table.quality)
    for label, root, quality in zip(table.labels, table.root, table.quality, strict=True):
        chord = Chord.parse(label)
        assert (chord is None) == (root < 0)
        if chord is not None:
            assert (chord.root, chord.quality) == (root, quality)


def test_a_chord_said_by_the_heads_is_the_likeliest_state() -> None:
    table = chords.vocabulary()
    for state in (0, 1, 40, 130, len(table.labels) - 1):
        heads = np.full((1, chords.N_HEADS), 0.01, np.float32)
        heads[0, [c for c in table.columns[state] if c >= 0]] = 0.9
        assert table.labels[int(chords.log_likelihoods(np.log(heads)).argmax())] == table.labels[state]


def test_posteriors_are_distributions() -> None:
    share = chords.posteriors(np.random.default_rng(1).normal(0, 5, (7, len(chords.vocabulary().labels))))
    assert share.sum(axis=1) == pytest.approx(np.ones(7), abs=1e-5)


@pytest.mark.parametrize(("mode", "row"), [("C major", 0), ("A minor", 1)])
def test_scale_notes_fit_their_own_key_best(mode: str, row: int) -> None:
    tonic = 0 if row == 0 else 9
    chroma = np.zeros((3, 12), np.float32)
    weights = {0: 3, 2: 1, 4: 2, 5: 1, 7: 2, 9: 1, 11: 1} if row == 0 else {9: 3, 11: 1, 0: 2, 2: 1, 4: 2, 5: 1, 7: 1}
    for note, weight in weights.items():
        chroma[:, note] = weight
    fit = key.profile_fit(chroma)
    assert np.unravel_index(fit.argmax(), fit.shape) == (row, tonic), mode


def test_no_chroma_fits_nothing() -> None:
    assert not key.profile_fit(np.zeros((2, 12), np.float32)).any()
