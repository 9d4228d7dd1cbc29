"""The table of concepts speaks of things that exist, and evidence rises with the outputs that speak for it."""

import numpy as np
import pytest

from solfa.analysis.tagging import evidence, labels, logit, voters
from solfa.core.vocabulary import concepts, lineage


def _probs(value: float = 0.01) -> dict[str, np.ndarray]:
    return {net: np.full((2, len(names)), value, np.float32) for net, names in labels().items()}


def test_every_row_names_a_concept_and_outputs_that_exist() -> None:
    assert set(voters()) <= set(concepts())
    for concept, rows in voters().items():
        assert rows and all(voter.columns and voter.weight for voter in rows), concept
        assert any(voter.weight > 0 for voter in rows), concept


@pytest.mark.parametrize("concept", sorted(voters()))
def test_evidence_follows_every_voter(concept: str) -> None:
    for voter in voters()[concept]:
        probs = _probs()
        probs[voter.net][1, voter.columns[-1]] = 0.9
        low, high = evidence(concept, probs)
        assert (high > low) == (voter.weight > 0)


def test_synonyms_are_one_voice() -> None:
    one, two = _probs(), _probs()
    columns = voters()["drums"][0].columns
    one["yamnet"][0, columns[0]] = 0.8
    two["yamnet"][0, columns[0]] = two["yamnet"][0, columns[1]] = 0.8
    assert evidence("drums", one)[0] == evidence("drums", two)[0]


def test_logit_is_finite_at_both_ends() -> None:
    odds = logit(np.array([0.0, 0.5, 1.0], np.float32))
    assert np.isfinite(odds).all() and odds[1] == 0 and odds[0] < -11 and odds[2] > 11


def test_what_no_output_hears_is_said() -> None:
    assert "violin" in voters() and "mellotron" not in voters() and "no such thing" not in voters()


@pytest.mark.parametrize(
    "name", ["salsa", "lullaby", "singing_bowl", "eighties", "grunge", "video_game_music", "claves"]
)
def test_a_narrow_concept_with_an_output_of_its_own_is_heard_itself(name: str) -> None:
    wider = [c for c in voters() if c in lineage(name)[1:]]
    assert name in voters() and all(voters()[name] != voters()[c] for c in wider)


def test_tempo_is_no_mood() -> None:
    assert "slow" not in voters() and "fast" not in voters()
